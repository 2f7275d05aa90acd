//! Whether the cluster has a Traefik of its own for a node, for who asks why none is there.
//!
//! Here: [`find`]. Not here: the words ([`Own`] in `plan::entry`). A Traefik of the cluster is a Service that has the file
//! of one from a Secret (`valueFrom: {edge: {}}`).

use std::sync::Arc;

use crate::{
    model::{Desired, Index, Kind, ReplicaPhase, ServiceSpec, secret::SealedSecret},
    plan::entry::Own,
    store::{State, state::Changed},
};

/// Whether anything changed after an index that the answer is made of.
pub(super) fn concerns(state: &State, seen: Index) -> bool {
    let Ok(mut changes) = state.changes_after(seen) else { return true };
    changes.any(|change| match change.key.kind {
        Kind::Service | Kind::Secret => !matches!(change.what, Changed::Status),
        Kind::Replica => true,
        Kind::Config | Kind::Node | Kind::Route | Kind::Middleware => false,
    })
}

/// The Traefik for a node, as far as it got.
pub(super) fn find(state: &State, node: &str) -> Own {
    let has_file = |secret: &SealedSecret| secret.edge.is_some();
    let secrets: Vec<Arc<str>> = state
        .objects(Kind::Secret)
        .filter(|object| object.parse().is_ok_and(|secret| has_file(&secret)))
        .map(|object| object.meta.name.clone())
        .collect();
    let Some(first) = secrets.first() else { return Own::Undeclared };
    let uses = |spec: &ServiceSpec| {
        let mut named = spec.container.secrets.iter().map(|r| r.object());
        named.find_map(|name| secrets.iter().find(|secret| ***secret == *name).cloned())
    };
    let users = state.objects(Kind::Service).filter_map(|object| Some((object, uses(&object.parse().ok()?)?)));
    let users: Vec<_> = users.collect();
    let Some((service, _)) = users.first() else { return Own::Unused { secret: first.clone() } };
    let here = |uid| state.replicas_of(uid).filter(|r| *r.node == *node && r.desired == Desired::Run);
    let replicas =
        users.iter().flat_map(|(service, secret)| here(&service.meta.uid).map(move |r| (r, service, secret)));
    let replicas: Vec<_> = replicas.collect();
    let runs = |name: &str| state.replica_status(name).is_some_and(|s| s.phase == ReplicaPhase::Running);
    match replicas.iter().find(|(replica, ..)| runs(&replica.name)).or(replicas.first()) {
        None => Own::Nowhere { service: service.meta.name.clone() },
        Some((replica, _, secret)) if runs(&replica.name) => Own::Runs { secret: (*secret).clone() },
        Some((_, service, _)) => Own::Down { service: service.meta.name.clone() },
    }
}
