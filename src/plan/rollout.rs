//! What follows next for the replicas of one Service: place, take off routes, stop, forget.
//!
//! Here: [`plan`], from a Service, all nodes and the time to [`Step`]s that may all be taken at once, the
//! record of the rollout as it is now, and for each slot that waits the [`Hold`] that says why. [`slots`] and
//! [`Standing`] are the shared reading of what is there; [`turn`] moves the record on, [`pace`] says how many are
//! replaced at a time and in which order, [`round`] whether one can be placed or replaced at all, [`leave`] how one
//! goes. Not here: which node ([`super::scheduler`]), proposing it (`reconcile::rollout`), containers (the agent).
//!
//! Invariants:
//! - of one slot two replicas run only where both may, and only while the newer one takes over; an exclusive one is placed only after every
//!   other of its slot, and every one of any service that writes the same data on that node, has reported
//!   its end. One that ended by itself may have been started again by hand: it is told to stop first;
//! - a working replica is stopped for a newer revision, or for newer content of a Config or Secret, only when the image of that is resolved, a
//!   node would take it and has it, and as many stay as have to; replicas that do not work are replaced at once;
//! - unknown is neither available nor missing: nothing is made for it, no deadline runs, and nothing else is stopped
//!   for an update meanwhile;
//! - hooks of a rollout run one at a time, in containers of their own ([`hooks`]);
//! - a replica that edges send to leaves their routes before it is stopped;
//! - a replica that ended by itself as its restart policy allows stays ended until the spec changes.
//!
//! Chosen: the whole next set of steps from the whole present, no remembered phase: a leader that
//! took over goes on. The record holds only what cannot be read off the replicas. Source: nomad's `reconcile_cluster.go`
//! for the shape, Kubernetes' deployment controller for surge and unavailability counted over what is ready.

mod ahead;
mod hooks;
mod leave;
mod pace;
mod round;
mod turn;
pub mod word;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::model::{
    ConditionStatus, ConditionType, Decision, Desired, Edge, HookRun, JobRecord, Reason, ReplicaPhase, Rollout,
    ServiceSpec, Slot, Uid, service::Mode,
};

use super::{
    jobs, scheduler,
    view::{NodeView, ReplicaView, ServiceView, published},
};

pub use pace::order;
pub(super) use pace::with_container;
pub(super) use round::Round;
use turn::REFUSALS;
pub(super) use turn::refused;

/// Ended replicas kept for `ps`: so many a slot, and so many in all of slots that are not wanted now.
pub const KEPT: usize = 5;

/// One step. All steps of a plan may be taken together, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The replica shall not run any more.
    Stop {
        /// Its name.
        replica: Arc<str>,
        /// Why.
        reason: Reason,
    },
    /// A new replica for a slot.
    Place {
        /// The slot.
        slot: Slot,
        /// Number of the revision.
        revision: u64,
        /// Its stored hash.
        spec_hash: String,
        /// The node.
        node: (Arc<str>, Uid),
        /// Why this node.
        decision: Decision,
        /// The replica that has the slot until the new one is good; none: the slot is free.
        beside: Option<Arc<str>>,
        /// Of a job: the run that it is an attempt of.
        run: Option<u64>,
        /// It runs this to its end, in a place of no replica.
        hook: Option<Box<HookRun>>,
    },
    /// Edges shall send nothing new to the replica: it is about to be stopped.
    Drain {
        /// Its name.
        replica: Arc<str>,
        /// Why.
        reason: Reason,
    },
    /// An edge has been silent for so long that nobody waits for it any more.
    DropEdge {
        /// What it said last.
        edge: Arc<Edge>,
    },
    /// An ended replica that nobody needs to see any more.
    Forget {
        /// Its name.
        replica: Arc<str>,
    },
}

/// Why a slot is not as wanted and nothing is done for it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The cause.
    pub reason: Reason,
    /// For people.
    pub message: String,
}

/// The next steps of a Service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// What to do.
    pub steps: Vec<Step>,
    /// Slots that wait, and for what.
    pub holds: BTreeMap<Slot, Hold>,
    /// Slots without a node, with what each node lacks.
    pub unplaced: BTreeMap<Slot, Decision>,
    /// What `postDeploy` hooks that are due wait for.
    pub follows: Option<Hold>,
    /// The record of the rollout, as it is now; none when the Service is deleted or has no revision.
    pub record: Option<Rollout>,
    /// Of a job: its runs, as they are now.
    pub job: Option<JobRecord>,
    /// When time alone changes something, cluster time in milliseconds.
    pub look_again: Option<u64>,
}

/// A wanted slot, and who is in it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seat<'a> {
    /// The newest that shall run and is not on its way out.
    current: Option<&'a ReplicaView>,
    /// An older one beside it.
    before: Option<&'a ReplicaView>,
    /// Another one of it is on its way out.
    leaves: bool,
}

/// How a replica stands, as far as anybody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nobody has reported it, or its node or its engine is silent.
    Unknown,
    /// Reported, not ready.
    NotReady,
    /// Ready.
    Ready,
    /// Ended by itself, for good.
    Ended,
    /// To be stopped, and its end is not reported.
    Stopping,
    /// Stopped, as wanted.
    Stopped,
    /// Its node was removed from the cluster: nobody will report it any more.
    Gone,
}

/// How a replica stands.
#[must_use]
pub fn standing(view: &ReplicaView, nodes: &[NodeView]) -> Standing {
    let Some(node) = nodes.iter().find(|n| n.uid == view.replica.node_uid) else { return Standing::Gone };
    let ended = view.status.as_ref().is_some_and(|s| s.phase.ended());
    match (view.replica.desired, &view.status) {
        // An end of its own was reported before it was told to stop, and says nothing of now.
        (Desired::Stop, Some(status)) if status.phase == ReplicaPhase::Stopped => Standing::Stopped,
        (Desired::Stop, _) => Standing::Stopping,
        (Desired::Run, Some(_)) if ended => Standing::Ended,
        (Desired::Run, None) => Standing::Unknown,
        (Desired::Run, Some(_)) if silent(node) => Standing::Unknown,
        // Its engine is silent, and nobody else knows.
        (Desired::Run, Some(status)) if status.ready && status.is_unknown() => Standing::Unknown,
        (Desired::Run, Some(status)) if status.ready && status.phase == ReplicaPhase::Running => Standing::Ready,
        (Desired::Run, Some(_)) => Standing::NotReady,
    }
}

/// Whether nobody would report the end of a replica now.
pub(super) fn unseen(view: &ReplicaView, nodes: &[NodeView]) -> bool {
    nodes.iter().any(|n| n.uid == view.replica.node_uid && silent(n))
}

/// Whether what a node said last is not news any more.
fn silent(node: &NodeView) -> bool {
    let ready = |s: &crate::model::NodeStatus| s.conditions.iter().find(|c| c.kind == ConditionType::Ready).cloned();
    node.status.as_ref().and_then(ready).is_some_and(|c| c.status == ConditionStatus::Unknown)
}

/// The slots that a Service shall have now.
#[must_use]
pub fn slots(spec: &ServiceSpec, nodes: &[NodeView]) -> BTreeSet<Slot> {
    match spec.mode {
        Mode::Replicated => (1..=spec.wanted()).map(Slot::Number).collect(),
        // What a job runs comes and goes with its runs.
        Mode::Job | Mode::Cron => BTreeSet::new(),
        Mode::Global if spec.suspend => BTreeSet::new(),
        Mode::Global => {
            nodes.iter().filter(|n| scheduler::eligible(spec, n)).map(|n| Slot::Node(n.name.clone())).collect()
        }
    }
}

/// Why a slot is not wanted any more.
#[must_use]
pub const fn surplus(spec: &ServiceSpec, slot: &Slot) -> Reason {
    match (spec.mode, slot) {
        _ if spec.suspend => Reason::Suspended,
        // One on each node that fits: this one does not any more.
        (Mode::Global, Slot::Node(_)) => Reason::NotPlacedHere,
        (Mode::Job | Mode::Cron, _) => Reason::Superseded,
        (Mode::Global | Mode::Replicated, _) => Reason::ScaledDown,
    }
}

/// Whether the old container must be gone before a new one of the same slot may start: two writers of
/// one `state` mount, or two holders of one port or address.
#[must_use]
pub fn needs_gap(spec: &ServiceSpec) -> bool {
    spec.container.exclusive()
        || published(spec).next().is_some()
        || spec.container.networks.iter().any(|n| n.ipv4_address.is_some() || n.ipv6_address.is_some())
}

/// The next steps. `now`: cluster time in milliseconds.
#[must_use]
pub fn plan(view: &ServiceView, nodes: &[NodeView], now: u64) -> Plan {
    let Some((meta, declared)) = &view.declared else {
        let all: Vec<ReplicaView> = view.replicas.iter().chain(&view.hooks).cloned().collect();
        return remove(view, &all, nodes, now);
    };
    // Attempts of a job stay when it is one, and replicas when it is none.
    let belongs = |r: &&ReplicaView| r.replica.run.is_some() == declared.mode.is_job();
    let (own, strangers): (Vec<_>, Vec<_>) =
        view.replicas.iter().partition(|r| r.replica.service_uid == view.uid && belongs(r));
    // Replicas of a deleted Service of the same name too.
    let foreign = |r: &&ReplicaView| r.replica.service_uid != view.uid || declared.mode.is_job();
    let strangers = strangers.into_iter().chain(view.hooks.iter().filter(foreign));
    let strangers: Vec<ReplicaView> = strangers.cloned().collect();
    let mut plan = remove(view, &strangers, nodes, now);
    if declared.mode.is_job() {
        jobs::plan(&mut plan, &jobs::Look { view, meta, spec: declared, own: &own, nodes, now });
        return plan;
    }
    let wanted = slots(declared, nodes);
    let mut history: Vec<&ReplicaView> = Vec::new();
    // Newest first.
    let mut own: Vec<&ReplicaView> = own;
    own.sort_by_key(|r| std::cmp::Reverse((r.replica.index, r.replica.name.clone())));
    let mut stops: Vec<(&ReplicaView, Reason)> = Vec::new();
    let mut seats: BTreeMap<Slot, Seat<'_>> = wanted.iter().map(|slot| (slot.clone(), Seat::default())).collect();
    for replica in own {
        let slot = &replica.replica.slot;
        let standing = standing(replica, nodes);
        match (standing, replica.replica.desired, seats.get_mut(slot)) {
            (Standing::Stopped, _, _) => history.push(replica),
            (Standing::Gone, Desired::Stop, _) => plan.forget(replica),
            (Standing::Gone, Desired::Run, _) => stops.push((replica, Reason::NotPlacedHere)),
            (Standing::Stopping, _, seat) => seat.into_iter().for_each(|seat| seat.leaves = true),
            (_, _, seat) if replica.replica.draining.is_some() => {
                seat.into_iter().for_each(|seat| seat.leaves = true);
                plan.leaving(view, declared, replica, nodes, now);
            }
            (_, _, None) => stops.push((replica, surplus(declared, slot))),
            (_, _, Some(seat @ Seat { current: None, .. })) => seat.current = Some(replica),
            (_, _, Some(seat @ Seat { before: None, .. })) => seat.before = Some(replica),
            (_, _, Some(_)) => stops.push((replica, Reason::Superseded)),
        }
    }
    // Highest slot first out.
    stops.sort_by_key(|(r, _)| std::cmp::Reverse(r.replica.slot.clone()));
    stops.iter().for_each(|(r, reason)| plan.retire(view, r, *reason, nodes));
    if let Some(newest) = view.newest() {
        let record = turn::begin(view, newest.number, now);
        let target = view.revisions.get(&record.target).unwrap_or(newest);
        pace::go(
            &mut plan,
            record,
            target,
            pace::Facts { view, meta, declared, seats: &seats, wanted: &wanted, nodes, now },
        );
    }
    forget_history(&mut plan, &history, &wanted);
    plan
}

impl Plan {
    pub(super) fn stop(&mut self, replica: &ReplicaView, reason: Reason) {
        self.steps.push(Step::Stop { replica: replica.replica.name.clone(), reason });
    }
    pub(super) fn forget(&mut self, replica: &ReplicaView) {
        self.steps.push(Step::Forget { replica: replica.replica.name.clone() });
    }
    pub(super) fn hold(&mut self, slot: &Slot, reason: Reason, message: impl Into<String>) {
        self.holds.insert(slot.clone(), Hold { reason, message: message.into() });
    }
    pub(super) fn again(&mut self, at: Option<u64>) {
        self.look_again = [self.look_again, at].into_iter().flatten().min();
    }
}

/// Stops what runs, then forgets it.
fn remove(view: &ServiceView, replicas: &[ReplicaView], nodes: &[NodeView], now: u64) -> Plan {
    let mut plan = Plan::default();
    for replica in replicas {
        match (standing(replica, nodes), replica.replica.desired) {
            (Standing::Stopping, _) => {}
            (Standing::Stopped, _) if replica.replica.is_kept() && replica.is_there() => {
                plan.stop(replica, Reason::ServiceDeleted);
            }
            (Standing::Stopped, _) if replica.replica.hook.is_some() && replica.is_there() => {}
            (Standing::Stopped, _) | (Standing::Gone, Desired::Stop) => plan.forget(replica),
            (_, _) if replica.replica.draining.is_some() => {
                plan.leaving(view, &ServiceSpec::default(), replica, nodes, now);
            }
            (_, _) if view.declared.is_some() && replica.replica.service_uid == view.uid => {
                plan.retire(view, replica, Reason::Superseded, nodes);
            }
            (_, _) => plan.retire(view, replica, Reason::ServiceDeleted, nodes),
        }
    }
    plan
}

/// How many replicas of the wanted revision plainly do not work.
fn failing(view: &ServiceView, spec: &ServiceSpec, record: &Rollout, now: u64) -> usize {
    let Some(target) = view.revisions.get(&record.target) else { return 0 };
    // A replica that is silent is not failing: which nodes are silent does not matter here.
    let judge = turn::Judge { view, nodes: &[], spec, target, restarted: record.restarted, now };
    view.replicas.iter().filter(|r| judge.fits(r) && judge.fails(r)).count()
}

/// The spec of a revision.
#[must_use]
pub fn spec_of(view: &ServiceView, revision: u64) -> Option<ServiceSpec> {
    serde_json::from_slice(&view.revisions.get(&revision)?.spec).ok()
}

/// Keeps the newest ended replicas. `history` is sorted, newest first.
fn forget_history(plan: &mut Plan, history: &[&ReplicaView], wanted: &BTreeSet<Slot>) {
    let mut kept: BTreeMap<Option<&Slot>, usize> = BTreeMap::new();
    for replica in history {
        let slot = &replica.replica.slot;
        let count = kept.entry(wanted.contains(slot).then_some(slot)).or_default();
        *count += 1;
        if *count > KEPT {
            plan.forget(replica);
        }
    }
}

#[cfg(test)]
pub(in crate::plan) mod cluster;
#[cfg(test)]
mod tests;
