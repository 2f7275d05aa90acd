//! What it takes to place a replica, or to take one away for the next: an image, a node, and a slot that is free.
//!
//! Here: [`Round`], the nodes' books while the slots of one Service are decided, so that no two of them get the same room.
//! Not here: which slots go and when ([`super::pace`]), which node is best ([`scheduler`]).
//! Invariant: nothing is stopped here for a newer revision unless that has an image and a node that would take it.

use std::{collections::BTreeSet, sync::Arc};

use super::{Hold, Plan, Standing, Step, ahead, needs_gap, silent, spec_of, standing};
use crate::model::{Decision, Meta, Reason, ResolvedImage, Revision, ServiceSpec, Slot};
use crate::plan::{
    scheduler::{self, Request},
    view::{Holder, NodeView, ReplicaView, ServiceView},
};

/// What is known while the slots of one Service are decided.
pub(in crate::plan) struct Round<'a> {
    pub(in crate::plan) view: &'a ServiceView,
    pub(in crate::plan) meta: &'a Meta,
    /// As it is declared, with the container part of the wanted revision.
    pub(in crate::plan) spec: &'a ServiceSpec,
    pub(in crate::plan) wanted: &'a BTreeSet<Slot>,
    /// Fills up as replicas are placed.
    pub(in crate::plan) nodes: Vec<NodeView>,
    pub(in crate::plan) places: Vec<Step>,
    /// Of a job: the run that it places attempts of.
    pub(in crate::plan) run: Option<u64>,
}

impl<'a> Round<'a> {
    /// Places a replica in an empty slot, or beside the one that has it. True: the slot is in motion.
    pub(in crate::plan) fn fill(
        &mut self,
        slot: &Slot,
        newest: &Revision,
        image: &Result<&ResolvedImage, (Reason, String)>,
        beside: Option<Arc<str>>,
        plan: &mut Plan,
    ) -> bool {
        let image = match image {
            Ok(image) => *image,
            Err((reason, message)) => {
                plan.hold(slot, *reason, message.clone());
                return false;
            }
        };
        if let Some(before) = self.still_there(slot) {
            // What the one before waits for says more.
            if !plan.holds.contains_key(slot) {
                plan.hold(slot, Reason::ReplicaSetUpdated, format!("waits until {before} has stopped"));
            }
            return true;
        }
        let decision = self.place(slot, image);
        if let Some(waits) = self.comes_free(&decision) {
            plan.hold(slot, Reason::ReplicaSetUpdated, waits);
            return true;
        }
        let found = decision.node.as_ref().and_then(|name| self.nodes.iter_mut().find(|n| n.name == *name));
        let Some(node) = found else {
            plan.hold(slot, Reason::NoNodeFits, "no node takes it");
            plan.unplaced.insert(slot.clone(), decision);
            return false;
        };
        let (service, uid) = (self.view.name.clone(), self.view.uid.clone());
        node.take(&Holder { service, uid, slot: slot.clone(), leaving: false }, self.spec);
        self.places.push(Step::Place {
            slot: slot.clone(),
            revision: newest.number,
            spec_hash: newest.spec_hash.clone(),
            node: (node.name.clone(), node.uid.clone()),
            decision,
            beside,
            run: self.run,
            hook: None,
        });
        true
    }

    /// Stops a replica of an older revision, if what follows it is sure to have an image and a node.
    pub(super) fn replace(
        &mut self,
        replica: &ReplicaView,
        newest: &Revision,
        image: &Result<&ResolvedImage, (Reason, String)>,
        plan: &mut Plan,
    ) -> bool {
        let slot = &replica.replica.slot;
        let image = match image {
            Ok(image) => *image,
            Err((reason, message)) => {
                plan.hold(slot, *reason, format!("revision {} waits: {message}", newest.number));
                return false;
            }
        };
        let released = self.release(replica);
        let decision = self.place(slot, image);
        // Until its end is reported it holds what it has.
        if let Some((node, spec)) = released {
            self.nodes[node].take(&Holder::of(&replica.replica), &spec);
        }
        if let Some(waits) = self.comes_free(&decision) {
            plan.hold(slot, Reason::ReplicaSetUpdated, format!("revision {} {waits}", newest.number));
            return false;
        }
        if decision.node.is_none() {
            plan.hold(slot, Reason::NoNodeFits, format!("no node takes revision {}; the old one stays", newest.number));
            plan.unplaced.insert(slot.clone(), decision);
            return false;
        }
        let stays = decision.node.as_ref() == Some(&replica.replica.node);
        let works = standing(replica, &self.nodes) == Standing::Ready;
        if let Some(Hold { reason, message }) = ahead::missing(self.view, replica, image).filter(|_| stays && works) {
            plan.hold(slot, reason, format!("revision {} waits: {message}", newest.number));
            return false;
        }
        plan.retire(self.view, replica, Reason::Superseded, &self.nodes);
        true
    }

    fn place(&self, slot: &Slot, image: &ResolvedImage) -> Decision {
        let request = Request {
            service: &self.view.name,
            uid: &self.view.uid,
            generation: self.meta.generation,
            slot,
            spec: self.spec,
            image: Some(image),
            homes: &self.view.homes,
        };
        scheduler::place(&request, &self.nodes)
    }

    /// What to wait for when a node is about to come free: where the data is. A silent node may never.
    fn comes_free(&self, decision: &Decision) -> Option<String> {
        let (name, waits) = scheduler::comes_free(decision)?;
        let speaks = self.nodes.iter().any(|n| n.name == *name && !silent(n));
        (speaks || decision.node.is_none()).then(|| waits.to_owned())
    }

    /// Takes a replica out of its node's books; answers what would put it back.
    fn release(&mut self, view: &ReplicaView) -> Option<(usize, ServiceSpec)> {
        let replica = &view.replica;
        // What ended does not stand in the books.
        if standing(view, &self.nodes) == Standing::Ended {
            return None;
        }
        let spec = spec_of(self.view, replica.revision)?;
        let at = self.nodes.iter().position(|n| n.uid == replica.node_uid)?;
        self.nodes[at].release(&Holder::of(replica), &spec);
        Some((at, spec))
    }

    /// A replica whose end has to be reported before another is placed in the slot.
    fn still_there(&self, slot: &Slot) -> Option<Arc<str>> {
        let (gap, exclusive) = (needs_gap(self.spec), self.spec.container.exclusive());
        let blocks = |r: &&ReplicaView| {
            let standing = standing(r, &self.nodes);
            let lives = !matches!(standing, Standing::Stopped | Standing::Gone);
            if r.replica.service_uid != self.view.uid || r.replica.run.is_some() != self.run.is_some() {
                // A deleted Service of the same name may hold the same data and ports, or what it was in another mode.
                lives && gap
            } else if r.replica.slot == *slot {
                standing == Standing::Stopping || (lives && r.replica.draining.is_some())
            } else {
                // After a change of the mode another slot may hold the same data.
                lives && exclusive && !self.wanted.contains(&r.replica.slot)
            }
        };
        self.view.replicas.iter().find(blocks).map(|r| r.replica.name.clone())
    }
}
