//! How a replica goes: off the routes, then stopped.
//!
//! Here: [`Plan::retire`], the first step of its end, and [`Plan::leaving`], what follows. Not here: who has to go.
//! Invariants: a replica that edges may send to is stopped only after every live edge serves a configuration without it
//! and it has answered what it began, or `drainTimeout` has passed; with no live edge nothing is waited for. An edge that
//! does not follow leaves the set by a step of its own, so that the wait ends.

use super::{Plan, Standing, Step, standing, turn::millis};
use crate::model::{Reason, ServiceSpec};
use crate::plan::view::{NodeView, ReplicaView, ServiceView};

/// An edge that has not followed for so long is no live one: its own agent gives it ten seconds.
const SILENT: u64 = 15_000;

impl Plan {
    /// The first step of its end.
    pub(super) fn retire(&mut self, view: &ServiceView, replica: &ReplicaView, reason: Reason, nodes: &[NodeView]) {
        let name = replica.replica.name.clone();
        let serves = standing(replica, nodes) == Standing::Ready && !view.edges.is_empty();
        if replica.replica.draining.is_none() && serves {
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
        // What does not work answers nothing.
        if matches!(standing(replica, nodes), Standing::NotReady | Standing::Ended) {
            return self.stop(replica, draining.reason);
        }
        let behind: Vec<_> = view.edges.iter().filter(|e| e.served < draining.index).collect();
        if let Some(edge) = behind.first() {
            let silent = draining.at.saturating_add(SILENT);
            if now < silent {
                let message = format!("waits until the edge on {} has taken {name} off its routes", edge.node);
                self.hold(&replica.replica.slot, Reason::Draining, message);
                return self.again(Some(silent));
            }
            let drop = behind.iter().map(|e| Step::DropEdge { node: e.node.clone() });
            return self.steps.extend(drop);
        }
        let timeout = draining.at.saturating_add(millis(spec.update.drain_timeout.0));
        if now < timeout && view.edges.iter().any(|e| !e.drained.contains(name)) {
            let message = format!("waits until {name} has answered what it began");
            self.hold(&replica.replica.slot, Reason::Draining, message);
            return self.again(Some(timeout));
        }
        self.stop(replica, draining.reason);
    }
}
