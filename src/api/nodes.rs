//! `POST /api/v1/nodes/{name}/cordon` and `…/uncordon`.

use warp::reply::Response;

use super::{
    commit::{Change, Commit},
    documents::Item,
    made::Maker,
    problem::Failure,
    reply,
    request::Request,
    write,
};
use crate::model::{Declared, Spec, node::NodeSpec};

/// The node takes nothing new; what it runs stays.
///
/// # Errors
/// 404, and those of every write.
pub async fn cordon(request: Request) -> Result<Response, Failure> {
    schedulable(request, false).await
}

/// The node takes replicas again.
///
/// # Errors
/// 404, and those of every write.
pub async fn uncordon(request: Request) -> Result<Response, Failure> {
    schedulable(request, true).await
}

async fn schedulable(mut request: Request, schedulable: bool) -> Result<Response, Failure> {
    let body = request.bytes().await?;
    let key = request.key()?;
    let maker = Maker::of(&request);
    let answer = Commit::of(&request, body)?
        .if_at(write::if_match(&request, &key)?)
        .run(move |state| {
            let object = state.object(&key).ok_or_else(|| Failure::absent(&key))?;
            let spec: NodeSpec = object.parse().map_err(|e| Failure::unreadable(&key, e))?;
            let declared = Declared {
                name: key.name.clone(),
                labels: object.meta.labels.clone(),
                annotations: object.meta.annotations.clone(),
                spec: Spec::Node(NodeSpec { schedulable, ..spec }),
            };
            let item = Item { declared, managed_by: object.meta.managed_by.clone(), at: None, warnings: Vec::new() };
            Ok(Change {
                commands: write::commands(&item, None, state, &maker)?,
                read: vec![(key.clone(), Some(object.meta.resource_version))],
            })
        })
        .await?;
    reply::json(&answer)
}
