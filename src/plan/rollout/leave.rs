//! How a replica goes: off the routes, then stopped.
//!
//! Here: [`Plan::retire`], the first step of its end, and [`Plan::leaving`], what follows. Not here: who has to go.
//! Invariants: a replica that edges may send to is stopped only after every live edge serves a configuration without it
//! and it has answered what it began, or `drainTimeout` has passed; with no live edge nothing is waited for. An edge whose
//! node is silent leaves the set by a step of its own, so that the wait ends; one that is there and does not follow is
//! waited for: it still sends requests. Where nobody else answers, new requests
//! wait meanwhile: then half of `holdRequests` is the longest, and the rest of it is for the swap.

use std::sync::Arc;

use super::{Plan, Standing, Step, silent, standing, turn::millis};
use crate::model::{Edge, Reason, ReplicaPhase, ServiceSpec};
use crate::plan::view::{NodeView, ReplicaView, ServiceView};

/// An edge of a silent node that has not followed for so long is no live one: its own agent gives it ten seconds.
const SILENT: u64 = 15_000;

/// Whether it may be at a request: one that is not ready may still be at those that came before.
fn may_answer(replica: &ReplicaView, nodes: &[NodeView]) -> bool {
    let runs = replica.status.as_ref().is_some_and(|status| status.phase == ReplicaPhase::Running);
    match standing(replica, nodes) {
        Standing::Ready => true,
        Standing::NotReady => runs,
        _ => false,
    }
}

/// Whether no other replica of its Service answers.
fn alone(view: &ServiceView, replica: &ReplicaView, nodes: &[NodeView]) -> bool {
    let answers = |r: &&ReplicaView| r.replica.draining.is_none() && standing(r, nodes) == Standing::Ready;
    !view.replicas.iter().filter(|r| r.replica.name != replica.replica.name).any(|r| answers(&r))
}

impl Plan {
    /// The first step of its end.
    pub(super) fn retire(&mut self, view: &ServiceView, replica: &ReplicaView, reason: Reason, nodes: &[NodeView]) {
        let name = replica.replica.name.clone();
        if replica.replica.draining.is_none() && may_answer(replica, nodes) && !view.edges.is_empty() {
            self.steps.push(Step::Drain { replica: name, reason });
        } else {
            self.stop(replica, reason);
        }
    }

    /// What follows for one that nothing new is sent to.
    pub(super) fn leaving(
        &mut self,
        view: &ServiceView,
        spec: &ServiceSpec,
        replica: &ReplicaView,
        nodes: &[NodeView],
        now: u64,
    ) {
        let Some(draining) = &replica.replica.draining else { return };
        let name = &replica.replica.name;
        if matches!(standing(replica, nodes), Standing::NotReady | Standing::Ended) && !may_answer(replica, nodes) {
            return self.stop(replica, draining.reason);
        }
        let behind: Vec<_> = view.edges.iter().filter(|e| e.served < draining.index).collect();
        if !behind.is_empty() {
            let silent_at = draining.at.saturating_add(SILENT);
            // One whose agent is there says itself when it does not count any more; until then it may send requests here.
            let here = |edge: &Edge| nodes.iter().any(|node| node.name == edge.node && !silent(node));
            // What nobody declares any more is missed by nobody.
            let goes = draining.reason == Reason::ServiceDeleted && now >= silent_at;
            let follows = behind.iter().find(|edge| here(edge) && !goes);
            if let Some(edge) = follows.or_else(|| behind.first().filter(|_| now < silent_at)) {
                let mut message = format!("waits until the edge on {} has taken {name} off its routes", edge.node);
                if now >= silent_at {
                    message += "; its Traefik asks for them and does not take them, and its log says why";
                }
                self.hold(&replica.replica.slot, Reason::Draining, message);
                return self.again(Some(silent_at).filter(|at| now < *at));
            }
            let drop = behind.iter().map(|edge| Step::DropEdge { edge: Arc::clone(edge) });
            return self.steps.extend(drop);
        }
        let mut patience = spec.update.drain_timeout.0;
        let hold = spec.update.hold_requests.0;
        // New requests wait as long as nobody else answers, and not for ever.
        if draining.reason == Reason::Superseded && !hold.is_zero() && alone(view, replica, nodes) {
            patience = patience.min(hold / 2);
        }
        // From when the last edge let go of it, as far as that is known: they say again how far they are.
        let let_go = view.edges.iter().map(|e| e.at).max().unwrap_or(draining.at);
        let let_go = let_go.clamp(draining.at, draining.at.saturating_add(SILENT));
        let timeout = let_go.saturating_add(millis(patience));
        if now < timeout && view.edges.iter().any(|e| !e.drained.contains(name)) {
            let message = format!("waits until {name} has answered what it began");
            self.hold(&replica.replica.slot, Reason::Draining, message);
            return self.again(Some(timeout));
        }
        self.stop(replica, draining.reason);
    }
}
