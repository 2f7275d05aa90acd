//! `GET` and `PUT /api/v1/services/{name}/scale`.

use warp::reply::Response;

use super::{
    commit::{Change, Commit},
    documents,
    made::Maker,
    problem::Failure,
    reply,
    request::Request,
    wire::Scale,
    write,
};
use crate::model::{ObjectKey, ServiceSpec, service::Mode};

/// Replicas wanted, suspended or not.
///
/// # Errors
/// 404; 422 for a service that is not counted.
pub async fn get(request: Request) -> Result<Response, Failure> {
    let state = request.server.shared.store.state();
    let key = request.key()?;
    let object = state.object(&key).ok_or_else(|| Failure::absent(&key))?;
    let spec: ServiceSpec = object.parse().map_err(|e| Failure::unreadable(&key, e))?;
    if spec.mode == Mode::Global {
        return Err(global(&key));
    }
    reply::json(&Scale { replicas: counted(&spec) })
}

/// Changes the replicas wanted and nothing else: whoever changes another field meanwhile is not undone.
///
/// # Errors
/// 404, 422, and those of every write.
pub async fn put(mut request: Request) -> Result<Response, Failure> {
    let body = request.bytes().await?;
    let wanted: Scale = request.json(&body)?;
    let key = request.key()?;
    let maker = Maker::of(&request);
    let answer = Commit::of(&request, body)?
        .if_at(write::if_match(&request, &key)?)
        .run(move |state| {
            let object = state.object(&key).ok_or_else(|| Failure::absent(&key))?;
            let spec: ServiceSpec = object.parse().map_err(|e| Failure::unreadable(&key, e))?;
            if spec.mode == Mode::Global {
                return Err(global(&key));
            }
            // A number that stands there unsaid is not written: it would be a difference to the manifest.
            let same = counted(&spec) == wanted.replicas;
            // The whole document is checked anew: not every service may have more than one replica.
            let item = documents::edited(object, |spec| {
                if !same {
                    spec["replicas"] = wanted.replicas.into();
                }
            })?;
            Ok(Change {
                commands: write::commands(&item, None, state, &maker)?,
                read: vec![(key.clone(), Some(object.meta.resource_version))],
            })
        })
        .await?;
    reply::json(&answer)
}

/// One, when nothing is said.
fn counted(spec: &ServiceSpec) -> u32 {
    spec.replicas.unwrap_or(1)
}

fn global(key: &ObjectKey) -> Failure {
    Failure::unprocessable(format!("{key} is global: it has one replica on each node that fits"))
        .hint("set mode: replicated to count its replicas")
}
