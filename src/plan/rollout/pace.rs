//! How many replicas are replaced at a time, and in which order.
//!
//! Here: [`go`], the steps of one look at all wanted slots; [`order`]. Not here: what is wanted and what failed
//! (`super::turn`), how a replica goes (`super::leave`), which node takes one ([`super::Round`]).
//! Invariant: with `stop-first` at least `replicas - parallelism` stay available, with `start-first` all; those that
//! the update allows to fail, and that did, are not counted on.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Plan, Round, Seat, Standing, hooks, needs_gap, spec_of,
    turn::{self, Judge, millis},
};
use crate::model::{
    Meta, Reason, ReplicaPhase, Resolution, ResolvedImage, Revision, Rollout, RolloutPhase, ServiceSpec, Slot,
    service::{FailureAction, NetworkMode, Order},
};
use crate::plan::view::{NodeView, ReplicaView, ServiceView};

/// Which of two replicas of a slot comes first, never [`Order::Auto`]. `old`: none when it cannot be read.
#[must_use]
pub fn order(policy: Order, new: &ServiceSpec, old: Option<&ServiceSpec>) -> Order {
    let Some(old) = old else { return Order::StopFirst };
    let both = [new, old];
    // Two writers of the same data: whatever was asked for.
    if both.iter().any(|spec| spec.container.exclusive()) {
        return Order::StopFirst;
    }
    // What listens in the host's network may listen at the same port.
    let host = |spec: &ServiceSpec| spec.container.network_mode == NetworkMode::Host;
    match policy {
        Order::Auto if both.iter().any(|spec| needs_gap(spec) || host(spec)) => Order::StopFirst,
        Order::Auto | Order::StartFirst => Order::StartFirst,
        Order::StopFirst => Order::StopFirst,
    }
}

/// What a look knows.
pub(super) struct Facts<'a> {
    pub view: &'a ServiceView,
    pub meta: &'a Meta,
    pub declared: &'a ServiceSpec,
    pub seats: &'a BTreeMap<Slot, Seat<'a>>,
    pub wanted: &'a BTreeSet<Slot>,
    pub nodes: &'a [NodeView],
    pub now: u64,
}

/// What a new replica would be of, and whether its image is known.
struct Next<'a> {
    revision: &'a Revision,
    image: Result<&'a ResolvedImage, (Reason, String)>,
}
impl<'a> Next<'a> {
    fn of(revision: &'a Revision) -> Self {
        let image = match &revision.image {
            Resolution::Resolved { image } => Ok(image),
            Resolution::Pending => Err((Reason::ImageUnresolved, "its image is not resolved yet".to_owned())),
            Resolution::Failed { reason, message, .. } => Err((*reason, message.clone())),
        };
        Self { revision, image }
    }
}

/// Moves the record on and plans the steps that follow from it.
pub(super) fn go<'a>(plan: &mut Plan, mut record: Rollout, target: &'a Revision, facts: Facts<'a>) {
    let view = facts.view;
    let judge = |target: &'a Revision| Judge {
        view,
        nodes: facts.nodes,
        spec: facts.declared,
        target,
        restarted: record.restarted,
        now: facts.now,
    };
    let before = judge(target);
    let waits = hooks::before(plan, &mut record, &before, &facts);
    let turned = turn::turn(&mut record, &before, facts.seats, waits.is_some());
    plan.again(turned.again);
    // It may have gone back just now.
    let before_hooks = waits.filter(|_| record.target == target.number);
    let target = view.revisions.get(&record.target).map_or(target, |revision| &**revision);
    hooks::after(plan, &mut record, target, &facts);
    hooks::clear(plan, &record, view, facts.nodes);
    let judge = Judge { target, ..before };
    let spec = with_container(facts.declared, view, target);
    let round = Round {
        view,
        meta: facts.meta,
        spec: &spec,
        wanted: facts.wanted,
        nodes: facts.nodes.to_vec(),
        places: Vec::new(),
        run: None,
    };
    let motion = Vec::new();
    let pace =
        Pace { facts, judge, record: &record, round, motion, waits: turned.waits_for_promotion, hook: before_hooks };
    let places = pace.walk(plan, &Next::of(target));
    plan.steps.extend(places);
    plan.record = Some(record);
}

/// As declared, with the container part of a revision.
pub(in crate::plan) fn with_container(declared: &ServiceSpec, view: &ServiceView, revision: &Revision) -> ServiceSpec {
    let newest = view.newest().is_some_and(|newest| newest.spec_hash == revision.spec_hash);
    let old = if newest { None } else { spec_of(view, revision.number) };
    match old {
        Some(old) => ServiceSpec { container: old.container, ..declared.clone() },
        None => declared.clone(),
    }
}

struct Pace<'a, 'r> {
    facts: Facts<'a>,
    judge: Judge<'a>,
    record: &'r Rollout,
    round: Round<'r>,
    /// Slots where something is on its way, by display name.
    motion: Vec<String>,
    waits: bool,
    /// What nothing new is placed before.
    hook: Option<hooks::Waits>,
}

impl<'a> Pace<'a, '_> {
    fn display(&self, slot: &Slot) -> String {
        format!("{}.{slot}", self.facts.view.name)
    }
    fn moves(&mut self, slot: &Slot) {
        self.motion.push(self.display(slot));
    }
    /// Nothing is replaced now.
    fn held(&self) -> Option<(Reason, String)> {
        if let Some(hook) = &self.hook {
            return Some(hook.clone());
        }
        match (&self.record.paused, self.record.phase) {
            (Some(paused), _) => Some((Reason::Paused, paused.to_string())),
            (None, RolloutPhase::Halted) => {
                Some((self.record.reason.unwrap_or(Reason::Paused), format!("stands still: {}", self.record.message)))
            }
            (None, _) => None,
        }
    }
    /// How many slots may be in motion, and in which order they are replaced.
    fn policy(&self) -> (usize, Order) {
        let (parallelism, order) = match self.record.phase {
            RolloutPhase::RollingBack => (self.facts.declared.rollback.parallelism, self.facts.declared.rollback.order),
            _ => (self.facts.declared.update.parallelism, self.facts.declared.update.order),
        };
        (if parallelism == 0 { usize::MAX } else { usize::try_from(parallelism).unwrap_or(usize::MAX) }, order)
    }
    /// How many that work may be missed at a time: a rollback replaces all at once what does not work, and what does no
    /// faster than an update, unless its own `parallelism` says so.
    fn missed(&self, parallelism: usize) -> usize {
        let rollback = self.record.phase == RolloutPhase::RollingBack && parallelism == usize::MAX;
        let update = usize::try_from(self.facts.declared.update.parallelism).unwrap_or(usize::MAX);
        if rollback && update > 0 { update } else { parallelism }
    }
    /// Only the first slots go.
    fn canary(&self) -> Option<BTreeSet<&'a Slot>> {
        let update = &self.facts.declared.update;
        let asked = update.canary > 0 && !self.record.promoted && self.record.stable.is_some();
        let first = usize::try_from(update.canary).unwrap_or(usize::MAX);
        (asked && self.record.phase == RolloutPhase::Progressing).then(|| self.facts.seats.keys().take(first).collect())
    }
    /// What an empty slot is filled with: what worked, where it is not known yet that the new one does.
    fn filling(&self, slot: &Slot) -> Option<&'a Revision> {
        let stable = self.record.stable.and_then(|number| self.facts.view.revisions.get(&number))?;
        let waits = self.canary().is_some_and(|first| !first.contains(slot));
        (self.record.phase == RolloutPhase::Halted || waits || self.hook.is_some()).then_some(&**stable)
    }

    /// Every slot in turn; answers what is placed.
    fn walk(mut self, plan: &mut Plan, next: &Next<'a>) -> Vec<super::Step> {
        let (mut working, mut limping) = (Vec::<&'a ReplicaView>::new(), Vec::<&'a ReplicaView>::new());
        let mut failed = 0usize;
        for (slot, seat) in self.facts.seats {
            let Some(current) = seat.current else {
                self.fill(slot, next, plan);
                continue;
            };
            if let Some(before) = seat.before {
                failed += usize::from(self.pair(slot, (current, before), plan));
                continue;
            }
            if seat.leaves {
                self.moves(slot);
            }
            let fits = self.judge.fits(current);
            match self.judge.standing(current) {
                Standing::Unknown => {
                    self.moves(slot);
                    if !fits {
                        plan.hold(slot, Reason::HealthUnknown, "nobody knows how it is: it is left alone");
                    }
                }
                Standing::Ready if fits && self.judge.good(current) => {}
                Standing::NotReady | Standing::Ended if fits && self.judge.failing(current) => failed += 1,
                Standing::Ready | Standing::NotReady if fits => self.moves(slot),
                Standing::Ready => working.push(current),
                Standing::NotReady => {
                    if self.held_up(slot, plan) {
                        continue;
                    }
                    if limps(current) && !self.judge.failing(current) {
                        limping.push(current);
                    } else if self.replace(current, next, plan) {
                        self.moves(slot);
                    }
                }
                Standing::Ended if fits => {}
                Standing::Ended => {
                    if self.held_up(slot, plan) {
                        continue;
                    }
                    // Nothing should run. Where two at once would do harm, that is asked first.
                    let old = spec_of(self.facts.view, current.replica.revision);
                    let gap = needs_gap(self.round.spec) || old.is_none_or(|old| needs_gap(&old));
                    if self.replace(current, next, plan) && (gap || self.fill_one(slot, next, plan)) {
                        self.moves(slot);
                    }
                }
                // Sorted out before.
                Standing::Stopping | Standing::Stopped | Standing::Gone => {}
            }
        }
        self.limping(&limping, next, plan);
        self.working(&working, failed, next, plan);
        self.round.places
    }

    /// Replaces replicas that run and are not ready before those that are; not all at once, since they may come back, and
    /// nobody knows yet whether the next works.
    fn limping(&mut self, limping: &[&'a ReplicaView], next: &Next<'a>, plan: &mut Plan) {
        let (parallelism, _) = self.policy();
        for replica in limping {
            let slot = &replica.replica.slot;
            if self.motion.len() >= parallelism {
                self.waits_its_turn(slot, parallelism, plan);
            } else if self.replace(replica, next, plan) {
                self.moves(slot);
            }
        }
    }

    fn waits_its_turn(&self, slot: &Slot, parallelism: usize, plan: &mut Plan) {
        let pace = match parallelism {
            1 => "one replica is replaced at a time".to_owned(),
            n => format!("{n} replicas are replaced at a time"),
        };
        let first = self.motion.first().cloned().unwrap_or_default();
        plan.hold(slot, Reason::ReplicaSetUpdated, format!("waits until {first} is ready; {pace}"));
    }

    fn held_up(&self, slot: &Slot, plan: &mut Plan) -> bool {
        if let Some((reason, message)) = self.held() {
            plan.hold(slot, reason, message);
            return true;
        }
        if let Some(first) = self.canary().filter(|first| !first.contains(slot)) {
            let names: Vec<String> = first.iter().map(|slot| self.display(slot)).collect();
            let (reason, message) = if self.waits {
                (
                    Reason::WaitingForPromotion,
                    format!("{} are good; `rollout promote` lets the others follow", names.join(", ")),
                )
            } else {
                (Reason::ReplicaSetUpdated, format!("waits until {} are good", names.join(", ")))
            };
            plan.hold(slot, reason, message);
            return true;
        }
        false
    }

    /// Replaces replicas that work, as many as may be missed.
    fn working(&mut self, working: &[&'a ReplicaView], failed: usize, next: &Next<'a>, plan: &mut Plan) {
        let (parallelism, policy) = self.policy();
        let mut available = self.available();
        let wanted = self.facts.seats.len();
        let counts = self.facts.declared.update.failure_action != FailureAction::Continue;
        // Where nothing ever was ready, nothing that failed is waited for.
        let allowed = match self.record.stable {
            Some(_) if counts => u64::from(self.facts.declared.update.max_failures) + u64::from(self.record.tolerated),
            Some(_) | None => u64::MAX,
        };
        let tolerated = failed.min(usize::try_from(allowed).unwrap_or(usize::MAX));
        for replica in working {
            let slot = &replica.replica.slot;
            if self.held_up(slot, plan) {
                continue;
            }
            if let Err((reason, message)) = &next.image {
                plan.hold(slot, *reason, format!("revision {} waits: {message}", next.revision.number));
                continue;
            }
            if self.motion.len() >= parallelism {
                self.waits_its_turn(slot, parallelism, plan);
                continue;
            }
            if let Some(until) = self.delayed() {
                let message = format!("waits for `delay` {} after the last one", self.facts.declared.update.delay);
                plan.hold(slot, Reason::ReplicaSetUpdated, message);
                plan.again(Some(until));
                continue;
            }
            let old = spec_of(self.facts.view, replica.replica.revision);
            let mut first = order(policy, self.round.spec, old.as_ref());
            if first == Order::StartFirst {
                match self.beside(replica, next, plan) {
                    Beside::Placed => {
                        self.moves(slot);
                        continue;
                    }
                    // There is no room for both.
                    Beside::NoRoom if policy == Order::Auto => {
                        plan.holds.remove(slot);
                        plan.unplaced.remove(slot);
                        first = Order::StopFirst;
                    }
                    Beside::NoRoom | Beside::Waits => continue,
                }
            }
            let least = wanted.saturating_sub(self.missed(parallelism)).saturating_sub(tolerated);
            if first == Order::StopFirst && available <= least {
                let message = format!("{available} of {wanted} are available, and no fewer than {least} may be");
                plan.hold(slot, Reason::ReplicaSetUpdated, message);
                continue;
            }
            if self.replace(replica, next, plan) {
                available = available.saturating_sub(1);
                self.moves(slot);
            }
        }
    }

    /// Slots that miss nothing: an old replica that is ready, or a new one that is good, were it by having done its work.
    fn available(&self) -> usize {
        let serves = |r: &ReplicaView| {
            if self.judge.fits(r) { self.judge.good(r) } else { self.judge.standing(r) == Standing::Ready }
        };
        let seats = self.facts.seats.values();
        seats.filter(|seat| seat.current.is_some_and(serves) || seat.before.is_some_and(serves)).count()
    }

    /// Until when the next one waits for `delay`.
    fn delayed(&self) -> Option<u64> {
        let delay = millis(self.facts.declared.update.delay.0);
        if delay == 0 || self.record.phase == RolloutPhase::RollingBack {
            return None;
        }
        let currents = self.facts.seats.values().filter_map(|seat| seat.current);
        let new = currents.filter(|r| self.judge.fits(r) && r.replica.created_at >= self.record.started_at);
        let last = new.filter_map(|r| self.judge.good_at(r)).filter(|at| *at > 0).max()?;
        Some(last.saturating_add(delay)).filter(|until| *until > self.facts.now)
    }

    /// Two in one slot: who stays. True: the newer one has failed, and the older one serves on.
    fn pair(&mut self, slot: &Slot, (current, before): (&'a ReplicaView, &'a ReplicaView), plan: &mut Plan) -> bool {
        if self.judge.fits(current) && self.judge.failing(current) {
            return true;
        }
        self.moves(slot);
        let ready = |r| self.judge.standing(r) == Standing::Ready;
        let goes = match (self.judge.fits(current), self.judge.fits(before)) {
            (true, _) if self.judge.good(current) => before,
            // Nothing is lost by the end of what does not work.
            (true, false) if !ready(before) && self.judge.standing(before) != Standing::Unknown => before,
            (true, false) => return false,
            // What comes back is waited for.
            (_, true) if ready(current) && !ready(before) => return false,
            (_, true) => current,
            (false, false) if ready(before) => current,
            (false, false) => before,
        };
        plan.retire(self.facts.view, goes, Reason::Superseded, self.facts.nodes);
        false
    }

    fn fill(&mut self, slot: &Slot, next: &Next<'a>, plan: &mut Plan) {
        if self.fill_one(slot, next, plan) {
            self.moves(slot);
        }
    }
    fn fill_one(&mut self, slot: &Slot, next: &Next<'a>, plan: &mut Plan) -> bool {
        match self.filling(slot) {
            Some(stable) if stable.spec_hash != next.revision.spec_hash || self.hook.is_some() => {
                let spec = with_container(self.facts.declared, self.facts.view, stable);
                let stable = Next::of(stable);
                // Its own books; what they take stands in them.
                let mut round =
                    Round { spec: &spec, places: Vec::new(), nodes: self.round.nodes.clone(), ..self.round };
                let moved = round.fill(slot, stable.revision, &stable.image, None, plan);
                let (nodes, places) = (round.nodes, round.places);
                self.round.nodes = nodes;
                self.round.places.extend(places);
                moved
            }
            None if self.hook.is_some() => {
                let (reason, message) = self.hook.clone().unwrap_or((Reason::WaitingForHook, String::new()));
                plan.hold(slot, reason, message);
                false
            }
            Some(_) | None => self.round.fill(slot, next.revision, &next.image, None, plan),
        }
    }
    fn replace(&mut self, replica: &ReplicaView, next: &Next<'a>, plan: &mut Plan) -> bool {
        self.round.replace(replica, next.revision, &next.image, plan)
    }

    /// Places the next one beside the one that works.
    fn beside(&mut self, replica: &ReplicaView, next: &Next<'a>, plan: &mut Plan) -> Beside {
        let slot = &replica.replica.slot;
        let name = replica.replica.name.clone();
        if self.round.fill(slot, next.revision, &next.image, Some(name), plan) {
            return if plan.holds.contains_key(slot) { Beside::Waits } else { Beside::Placed };
        }
        match plan.holds.get(slot).map(|hold| hold.reason) {
            Some(Reason::NoNodeFits) => {
                let message = format!("no node takes revision {} beside the old one", next.revision.number);
                plan.hold(slot, Reason::NoNodeFits, message);
                Beside::NoRoom
            }
            Some(_) | None => Beside::Waits,
        }
    }
}

/// Whether it runs and is not ready.
fn limps(replica: &ReplicaView) -> bool {
    replica.status.as_ref().is_some_and(|status| status.phase == ReplicaPhase::Running)
}

/// What came of placing a replica beside another.
enum Beside {
    Placed,
    NoRoom,
    Waits,
}
