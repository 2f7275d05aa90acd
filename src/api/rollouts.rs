//! `GET` and `POST /api/v1/services/{name}/rollout`.
//!
//! Here: how far a rollout is and which revisions there are ([`get`]); pause, resume, restart, promote, undo ([`post`]).
//! Not here: what follows from them (`plan::rollout`). Invariant: the declared spec is not touched.

use std::sync::Arc;

use warp::reply::Response;

use super::{
    commit::{Change, Commit},
    problem::Failure,
    reply,
    request::Request,
    wire::{RevisionView, RolloutAction, RolloutOrder, RolloutReport},
};
use crate::{
    model::{Desired, Replica, Resolution, Revision, ServiceSpec},
    plan::rollout::word::{self, Word},
    reconcile::view,
    store::command::Command,
};

/// How far it is.
///
/// # Errors
/// 404.
pub async fn get(request: Request) -> Result<Response, Failure> {
    let state = request.server.shared.store.state();
    let key = request.key()?;
    let object = state.object(&key).ok_or_else(|| Failure::absent(&key))?;
    if object.parse::<ServiceSpec>().is_ok_and(|spec| spec.mode.is_job()) {
        let hint = format!("`constellation job ls {0}` shows them (GET /api/v1/services/{0}/runs)", key.name);
        return Err(Failure::unprocessable(format!("{key} is a job: it has runs, and no rollout")).hint(hint));
    }
    let rollout = state.rollout(&object.meta.uid).map(|r| (**r).clone());
    let status = state.service_status(&key.name).cloned().unwrap_or_default();
    let running = |number| {
        let of = |r: &&Arc<Replica>| r.revision == number && r.desired == Desired::Run && r.hook.is_none();
        u32::try_from(state.replicas_of(&object.meta.uid).filter(of).count()).unwrap_or(u32::MAX)
    };
    let view = |r: &Arc<Revision>| RevisionView {
        revision: r.number,
        generation: r.generation,
        image: serde_json::from_slice::<ServiceSpec>(&r.spec).map(|s| s.container.image).unwrap_or_default(),
        resolved: match &r.image {
            Resolution::Resolved { image } => Some(image.reference().to_owned()),
            Resolution::Pending | Resolution::Failed { .. } => None,
        },
        replicas: running(r.number),
        target: rollout.as_ref().is_some_and(|rollout| rollout.target == r.number),
        tried: r.tried.clone(),
        stable: rollout.as_ref().is_some_and(|rollout| rollout.stable == Some(r.number)),
    };
    reply::json(&RolloutReport {
        index: state.index().0,
        name: key.name.clone(),
        revisions: state.revisions(&object.meta.uid).rev().map(view).collect(),
        replicas: status.replicas,
        conditions: status.conditions,
        rollout,
    })
}

/// Pauses, resumes, restarts, promotes or undoes.
///
/// # Errors
/// 404; 422 for what cannot be done now; those of every write.
pub async fn post(mut request: Request) -> Result<Response, Failure> {
    let body = request.bytes().await?;
    let order: RolloutOrder = request.json(&body)?;
    let spoken = match (order.action, order.to_revision) {
        (RolloutAction::Undo, to) => Word::Undo(to),
        (_, Some(_)) => return Err(Failure::unprocessable("toRevision is of undo").hint("leave it out")),
        (RolloutAction::Pause, None) => Word::Pause(request.reason()?),
        (RolloutAction::Resume, None) => Word::Resume,
        (RolloutAction::Restart, None) => Word::Restart,
        (RolloutAction::Promote, None) => Word::Promote,
    };
    let key = request.key()?;
    let asked = key.clone();
    let (by, now) = (request.caller.name.clone(), request.server.shared.store.now());
    // Who says it twice is told that it was so, and by whom.
    let again = (order.action == RolloutAction::Pause).then(|| {
        let state = request.server.shared.store.state();
        let paused = state.rollout(&state.object(&key)?.meta.uid)?.paused.clone()?;
        Some(format!("{key} is {paused} already, and stays so"))
    });
    let mut answer = Commit::of(&request, body)?
        .run(move |state| {
            let object = state.object(&key).ok_or_else(|| Failure::absent(&key))?;
            let service = view::service(state, &key.name)
                .ok_or_else(|| Failure::internal(format!("{key} cannot be read by this version")))?;
            let next = word::said(&service, spoken.clone(), (&by, now), state.index())
                .map_err(|refused| Failure::unprocessable(refused.message).hint(refused.hint))?;
            let command = next.map(|next| Command::SetRollout {
                service: key.name.clone(),
                uid: object.meta.uid.clone(),
                based_on: service.rollout.as_ref().map(|old| old.resource_version),
                rollout: Box::new(next),
            });
            // A newer spec is another rollout than the one that was spoken of.
            let read = vec![(key.clone(), Some(object.meta.resource_version))];
            Ok(Change { commands: command.into_iter().collect(), read })
        })
        .await?;
    answer.warnings.extend(again.flatten());
    if matches!(order.action, RolloutAction::Undo | RolloutAction::Restart | RolloutAction::Promote) {
        let state = request.server.shared.store.state();
        let record = state.object(&asked).and_then(|object| state.rollout(&object.meta.uid));
        answer
            .warnings
            .extend(record.and_then(|record| record.paused.as_ref()).map(|paused| word::stays(&asked, paused)));
    }
    reply::json(&answer)
}
