//! `GET /api/v1/jobs`, `GET` and `POST /api/v1/services/{name}/runs`.
//!
//! Here: the runs of jobs ([`list`], [`runs`]), and one that a person asks for ([`run`]).
//! Not here: what follows (`plan::jobs`).

use warp::reply::Response;

use super::{
    commit::{Change, Commit},
    problem::Failure,
    reply,
    request::Request,
    wire::{JobList, JobReport, RunView},
};
use crate::{
    model::{Kind, Object, Run, ServiceSpec},
    plan::jobs::word,
    reconcile::view,
    store::{State, command::Command},
};

/// Every job.
///
/// # Errors
/// None of its own.
pub async fn list(request: Request) -> Result<Response, Failure> {
    let state = request.server.shared.store.state();
    let jobs = state.objects(Kind::Service).filter_map(|object| {
        let spec: ServiceSpec = object.parse().ok()?;
        spec.mode.is_job().then(|| report(&state, object, &spec))
    });
    reply::json(&JobList { index: state.index().0, items: jobs.collect() })
}

/// The runs of one.
///
/// # Errors
/// 404; 422 for what is no job.
pub async fn runs(request: Request) -> Result<Response, Failure> {
    let state = request.server.shared.store.state();
    let key = request.key()?;
    let object = state.object(&key).ok_or_else(|| Failure::absent(&key))?;
    let spec: ServiceSpec = object.parse().map_err(|e| Failure::unreadable(&key, e))?;
    if !spec.mode.is_job() {
        let message =
            format!("{key} is no job: its replicas run until they are stopped (mode: {})", spec.mode.as_str());
        return Err(Failure::unprocessable(message).hint("`constellation job ls` lists jobs (GET /api/v1/jobs)"));
    }
    reply::json(&report(&state, object, &spec))
}

/// Begins a run.
///
/// # Errors
/// 404; 409 while another is under way and `concurrencyPolicy` forbids a second; 422 for what is no job; those of every
/// write.
pub async fn run(mut request: Request) -> Result<Response, Failure> {
    let body = request.bytes().await?;
    let key = request.key()?;
    let (by, now) = (request.caller.name.clone(), request.server.shared.store.now());
    let answer = Commit::of(&request, body)?
        .run(move |state| {
            let object = state.object(&key).ok_or_else(|| Failure::absent(&key))?;
            let service = view::service(state, &key.name)
                .ok_or_else(|| Failure::internal(format!("{key} cannot be read by this version")))?;
            let job = word::asked(&service, &by, now).map_err(|refused| {
                match refused.busy {
                    true => Failure::new(409, "run-under-way", "Another run is under way", refused.message),
                    false => Failure::unprocessable(refused.message),
                }
                .hint(refused.hint)
            })?;
            let command = Command::SetJob {
                service: key.name.clone(),
                uid: object.meta.uid.clone(),
                based_on: service.job.as_ref().map(|old| old.resource_version),
                job: Box::new(job),
            };
            Ok(Change { commands: vec![command], read: vec![(key.clone(), Some(object.meta.resource_version))] })
        })
        .await?;
    reply::json(&answer)
}

fn report(state: &State, object: &Object, spec: &ServiceSpec) -> JobReport {
    let record = state.job(&object.meta.uid).map(|job| (**job).clone()).unwrap_or_default();
    let due = spec.due().filter(|_| !spec.suspend).and_then(Result::ok);
    let view = |run: &Run| RunView {
        number: run.number,
        trigger: run.trigger.clone(),
        revision: run.revision,
        state: run.state,
        started_at: run.started_at,
        ended_at: run.ended_at,
        succeeded: run.succeeded,
        completions: run.completions,
        failed: run.failed,
        reason: run.reason,
        message: run.message.clone(),
        log_tail: run.log_tail.clone(),
        replicas: state
            .replicas_of(&object.meta.uid)
            .filter(|r| r.run == Some(run.number))
            .map(|r| r.name.clone())
            .collect(),
        index: run.index.0,
    };
    JobReport {
        index: state.index().0,
        name: object.meta.name.clone(),
        mode: spec.mode,
        schedule: spec.schedule.clone(),
        time_zone: spec.schedule.as_ref().map(|_| spec.zone().to_owned()),
        suspend: spec.suspend,
        next_due: due.and_then(|due| due.next_due(record.looked)),
        skipped: record.skipped.clone(),
        runs: record.runs.iter().rev().map(view).collect(),
    }
}
