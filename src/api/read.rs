//! Reads of one object: itself, desired beside actual, and why they differ.

use http::{HeaderValue, header::ETAG};
use warp::reply::Response;

use super::{
    objects,
    problem::Failure,
    reply,
    request::Request,
    wire::{Actual, ReplicaRow, ServiceReport, Wanted, WhyReport},
};
use crate::{
    model::{Desired, ObjectKey, Replica, ReplicaStatus, Resolution, ServiceSpec, ServiceStatus},
    store::State,
};

/// `GET /api/v1/{kind}/{name}`.
///
/// # Errors
/// 404.
pub async fn one(request: Request) -> Result<Response, Failure> {
    let shared = &request.server.shared;
    let state = shared.store.state();
    let object = objects::Reader::new(&state, &shared.sealer, shared.addresses).find(&request.key()?)?;
    let version = format!("\"{}\"", object.metadata.resource_version);
    let mut response = reply::json(&object)?;
    if let Ok(version) = HeaderValue::from_str(&version) {
        response.headers_mut().insert(ETAG, version);
    }
    Ok(response)
}

/// `GET /api/v1/{kind}/{name}/why`.
///
/// # Errors
/// 404.
pub async fn why(request: Request) -> Result<Response, Failure> {
    let shared = &request.server.shared;
    let state = shared.store.state();
    let (key, now) = (request.key()?, shared.store.now());
    let differences = objects::differences(&state, (&shared.sealer, &shared.addresses), &key, now)?;
    reply::json(&WhyReport { differences, chain: objects::chain(&state, &key, now) })
}

/// `GET /api/v1/services/{name}/status`.
///
/// # Errors
/// 404.
pub async fn service_report(request: Request) -> Result<Response, Failure> {
    let state = request.server.shared.store.state();
    let key = request.key()?;
    let object = state.object(&key).ok_or_else(|| Failure::absent(&key))?;
    let status = state.service_status(&key.name).cloned().unwrap_or_else(|| unreported(&state, &key));
    let mut replicas: Vec<ReplicaRow> = state.replicas_of(&object.meta.uid).map(|r| row(&state, r)).collect();
    replicas.sort_by(|a, b| {
        let ended = |r: &ReplicaRow| r.desired.state == Desired::Stop;
        (ended(a), &a.slot, b.created_at).cmp(&(ended(b), &b.slot, a.created_at))
    });
    reply::json(&ServiceReport {
        index: state.index().0,
        name: key.name.clone(),
        generation: object.meta.generation,
        observed_generation: status.observed_generation,
        revision: state.newest_revision(&object.meta.uid).map_or(0, |r| r.number),
        conditions: status.conditions,
        counts: status.replicas,
        replicas,
        unplaced: status.unplaced,
    })
}

/// Before the leader has looked: what is wanted is known, nothing else.
fn unreported(state: &State, key: &ObjectKey) -> ServiceStatus {
    let wanted = state.object(key).and_then(|o| o.parse::<ServiceSpec>().ok()).map_or(0, |s| s.wanted());
    let mut status = ServiceStatus::default();
    status.replicas.desired = wanted;
    status
}

fn row(state: &State, replica: &Replica) -> ReplicaRow {
    let image = state.revision(&replica.service_uid, replica.revision).and_then(|r| match &r.image {
        Resolution::Resolved { image } => Some(image.reference().to_owned()),
        Resolution::Pending | Resolution::Failed { .. } => None,
    });
    let status = state.replica_status(&replica.name);
    ReplicaRow {
        replica: replica.name.clone(),
        display: replica.display(),
        slot: replica.slot.clone(),
        node: replica.node.clone(),
        created_at: replica.created_at,
        desired: Wanted {
            state: replica.desired,
            revision: replica.revision,
            spec_hash: replica.spec_hash.clone(),
            image,
            epoch: replica.epoch.to_string(),
            stop_reason: replica.stop_reason,
        },
        actual: status.map(actual),
        reason: status.and_then(|s| s.reason),
        message: status.map_or_else(String::new, |s| s.message.clone()),
        next_attempt: status.and_then(|s| s.next_attempt),
    }
}

fn actual(status: &ReplicaStatus) -> Actual {
    Actual {
        state: status.phase,
        ready: status.ready,
        since: status.since,
        health: status.health.clone(),
        container: status.container.clone(),
        image: status.image.clone(),
        address: status.address.clone(),
        started_at: status.started_at.clone(),
        restarts: status.restarts,
        last_exit: status.last_exit.clone(),
        published: status.published.clone(),
    }
}
