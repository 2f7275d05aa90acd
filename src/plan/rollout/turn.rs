//! The turns of a rollout: which revision is wanted now, and what went wrong.
//!
//! Here: [`turn`], from the record of before and the replicas as they are to the record of now; what counts as
//! good ([`Judge::good`]) and as failed ([`Judge::failing`]). Not here: which replica is replaced next ([`super`]).
//! Invariants: no deadline runs while anybody is unknown or on the way out, nor while a person is waited for, and the time
//! until then does not count; a service that never was ready is not taken back to anything;
//! every rollout of a service that was ready once ends: complete, rolled back, or standing still with its reason.

use std::collections::BTreeMap;

use super::{Seat, Standing, ahead, standing};
use crate::model::{
    Index, Reason, ReplicaPhase, Resolution, Revision, Rollout, RolloutPhase, ServiceSpec, Slot,
    rollout::Hooked,
    service::{FailureAction, MIN_HEALTHY_TIME, UpdatePolicy},
};
use crate::plan::{
    agent::attempts::refuses,
    told,
    view::{NodeView, ReplicaView, ServiceView},
};

/// What is asked of a replica by a rollout.
pub(super) struct Judge<'a> {
    pub view: &'a ServiceView,
    pub nodes: &'a [NodeView],
    pub spec: &'a ServiceSpec,
    pub target: &'a Revision,
    pub restarted: Index,
    pub now: u64,
}

impl Judge<'_> {
    /// Whether it is as it would be made now.
    pub fn fits(&self, r: &ReplicaView) -> bool {
        self.view.fits(self.target, self.restarted, r)
    }
    pub fn standing(&self, r: &ReplicaView) -> Standing {
        standing(r, self.nodes)
    }
    /// From when on it counts as good; none: it is not ready, and nobody knows when it is.
    pub fn good_at(&self, r: &ReplicaView) -> Option<u64> {
        let status = r.status.as_ref()?;
        match self.standing(r) {
            Standing::Ended => (status.phase == ReplicaPhase::Completed).then_some(0),
            Standing::Ready => {
                let healthy = self.spec.update.min_healthy_time.0;
                // Where nobody asks, to be ready already means to have run for a while.
                let asked = if status.health == "-" { healthy.saturating_sub(MIN_HEALTHY_TIME) } else { healthy };
                // A version of ours that noted no time was there before any rollout.
                Some(status.ready_since.map_or(0, |since| since.saturating_add(millis(asked))))
            }
            _ => None,
        }
    }
    /// Whether it was ready for long enough.
    pub fn good(&self, r: &ReplicaView) -> bool {
        self.good_at(r).is_some_and(|at| at <= self.now)
    }
    /// Whether it is plain that it does not work: it ended more than once, is restarted for bad health, or cannot start. One
    /// that ended once may have been too early for what it needs.
    pub fn failing(&self, r: &ReplicaView) -> bool {
        matches!(self.standing(r), Standing::Ended | Standing::NotReady) && self.fails(r)
    }
    /// When it counts as failed that cannot be made or started: an engine may refuse once what it takes a moment later.
    pub fn refused_until(&self, r: &ReplicaView) -> Option<u64> {
        refused(r)
    }
    /// As [`Self::failing`], by what its node said last.
    pub fn fails(&self, r: &ReplicaView) -> bool {
        r.status.as_ref().is_some_and(|status| match status.phase {
            ReplicaPhase::Failed => true,
            ReplicaPhase::Stopped | ReplicaPhase::Completed => false,
            _ if status.ready => false,
            phase => {
                status.failures > 1
                    || status.unhealthy_restarts > 0
                    || (phase == ReplicaPhase::BackOff && status.reason.is_some_and(ends))
                    || self.refused_until(r).is_some_and(|until| until <= self.now)
            }
        })
    }
}

/// For so long a replica may be refused by its engine after the first time, milliseconds: more than its next attempts take.
pub(super) const REFUSALS: u64 = 20_000;

/// As [`Judge::refused_until`].
pub(in crate::plan) fn refused(r: &ReplicaView) -> Option<u64> {
    let status = r.status.as_ref().filter(|s| s.phase == ReplicaPhase::BackOff)?;
    status.reason.filter(|reason| refuses(*reason))?;
    // A version of ours that noted no first refusal notes when they began to have this reason.
    Some(status.refused_since.unwrap_or(status.since).saturating_add(REFUSALS))
}

/// Whether a wait with this reason follows an end of the container.
const fn ends(reason: Reason) -> bool {
    matches!(reason, Reason::CrashLoopBackOff | Reason::OOMKilled | Reason::Unhealthy | Reason::Failed)
}

pub(super) fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The record as it begins this look: a newer revision begins a rollout of its own.
pub(super) fn begin(view: &ServiceView, newest: u64, now: u64) -> Rollout {
    let fresh = Rollout { target: newest, newest, started_at: now, ..Rollout::default() };
    match view.rollout.as_deref() {
        None => fresh,
        Some(old) if newest > old.newest => Rollout {
            stable: old.stable,
            previous: old.previous,
            from: Some(old.target),
            paused: old.paused.clone(),
            restarted: old.restarted,
            hooked: Hooked { done: 0, list: Vec::new(), due: None, at: None, ..old.hooked.clone() },
            resource_version: old.resource_version,
            ..fresh
        },
        Some(old) => old.clone(),
    }
}

/// What became of a rollout in this look.
#[derive(Debug, Default)]
pub(super) struct Turned {
    /// When time alone changes something.
    pub again: Option<u64>,
    /// The first replicas are good, and the others wait for a word.
    pub waits_for_promotion: bool,
}

/// Moves the record on. `seats`: every wanted slot with who is in it; `prepares`: a hook has to succeed first.
pub(super) fn turn(
    record: &mut Rollout,
    judge: &Judge<'_>,
    seats: &BTreeMap<Slot, Seat<'_>>,
    prepares: bool,
) -> Turned {
    let update = &judge.spec.update;
    let mut turned = Turned::default();
    let there = |seat: &Seat<'_>| seat.current.is_some_and(|r| judge.fits(r)) && seat.before.is_none() && !seat.leaves;
    let sound = |seat: &Seat<'_>| there(seat) && seat.current.is_some_and(|r| judge.good(r));
    let broken = |seat: &Seat<'_>| !seat.leaves && seat.current.is_some_and(|r| judge.fits(r) && judge.failing(r));
    let failed: Vec<&ReplicaView> =
        seats.values().filter(|seat| broken(seat)).filter_map(|seat| seat.current).collect();
    // Not all of them: then nothing is known to work.
    let lets = failed.len() < seats.len() && failed.len() as u64 <= allowed(record, update);
    let whole = !seats.is_empty() && seats.values().all(|seat| sound(seat) || (lets && broken(seat)));
    let good = whole && !prepares;
    record.stable = record.stable.or_else(|| left_ready(record, judge, seats));
    if promote(record, judge, seats) {
        record.promoted = true;
    }
    let canary = record.stable.is_some() && update.canary > 0 && !record.promoted;
    match record.phase {
        RolloutPhase::Progressing | RolloutPhase::Halted if good && (!canary || update.auto_promote) => {
            let back = record.target != record.newest && record.stable == Some(record.target);
            let phase = if back && record.phase == RolloutPhase::Halted {
                RolloutPhase::RolledBack
            } else {
                RolloutPhase::Complete
            };
            complete(record, phase, judge.now);
            if let Some(first) = failed.first() {
                record.message = format!("{} of {} failed: {}", failed.len(), seats.len(), told::failed(first));
            }
        }
        RolloutPhase::RollingBack if good => complete(record, RolloutPhase::RolledBack, judge.now),
        // Newer content, or somebody asked for a restart.
        RolloutPhase::Complete | RolloutPhase::RolledBack
            if seats.values().any(|seat| seat.current.is_some_and(|r| !judge.fits(r) && replaceable(judge, r))) =>
        {
            again(record, judge.now);
            (record.promoted, record.from) = (false, Some(record.target));
        }
        RolloutPhase::Halted if mended(judge, seats) => again(record, judge.now),
        _ => {}
    }
    let judged = matches!(record.phase, RolloutPhase::Progressing | RolloutPhase::RollingBack);
    if judged && record.stable.is_some() && !prepares {
        turned.again = fail(record, judge, seats);
    }
    turned.waits_for_promotion = canary
        && !update.auto_promote
        && record.phase == RolloutPhase::Progressing
        && canaries(update.canary, seats).all(|seat| there(seat) && seat.current.is_some_and(|r| judge.good(r)));
    let next = seats.values().flat_map(|seat| [seat.current, seat.before]).flatten().filter(|r| judge.fits(r));
    let waits = next.flat_map(|r| [judge.good_at(r), judge.refused_until(r)]).flatten();
    let waits = waits.chain(seats.values().filter_map(|seat| ahead::refused(judge, record, seat)));
    let waits = waits.filter(|at| *at > judge.now).min();
    turned.again = [turned.again, waits].into_iter().flatten().min();
    turned
}

/// The revision that was left, when all its replicas are ready: a newer one came before they were good.
fn left_ready(record: &Rollout, judge: &Judge<'_>, seats: &BTreeMap<Slot, Seat<'_>>) -> Option<u64> {
    let from = record.from?;
    let left = judge.view.revisions.get(&from).filter(|left| left.spec_hash != judge.target.spec_hash)?;
    let serves = |r: &ReplicaView| r.replica.spec_hash == left.spec_hash && judge.standing(r) == Standing::Ready;
    let all = seats.values().all(|seat| seat.current.is_some_and(serves) || seat.before.is_some_and(serves));
    (all && !seats.is_empty()).then_some(from)
}

/// What ended by itself and has had what it needed is not replaced for newer content.
fn replaceable(judge: &Judge<'_>, r: &ReplicaView) -> bool {
    !matches!(judge.standing(r), Standing::Ended | Standing::Unknown)
}

/// A rollout of the same revision begins.
pub(super) fn again(record: &mut Rollout, now: u64) {
    record.phase = RolloutPhase::Progressing;
    (record.started_at, record.ended_at, record.tolerated) = (now, None, 0);
    (record.held, record.resumed_at) = (false, None);
    (record.reason, record.message, record.log_tail) = (None, String::new(), Vec::new());
}

/// Whether what it stands still for is no more what would be made: its Config or Secret has newer content.
fn mended(judge: &Judge<'_>, seats: &BTreeMap<Slot, Seat<'_>>) -> bool {
    let mut members = seats.values().flat_map(|seat| [seat.current, seat.before]).flatten();
    let fails = |r: &ReplicaView| judge.standing(r) == Standing::NotReady || judge.failing(r);
    let older = |r: &ReplicaView| r.replica.spec_hash == judge.target.spec_hash && !judge.fits(r) && fails(r);
    members.clone().any(older) && members.all(|r| !judge.fits(r) || judge.good(r))
}

/// So many replicas may fail.
fn allowed(record: &Rollout, update: &UpdatePolicy) -> u64 {
    match update.failure_action {
        FailureAction::Continue => u64::MAX,
        FailureAction::Rollback | FailureAction::Pause => u64::from(update.max_failures) + u64::from(record.tolerated),
    }
}

fn complete(record: &mut Rollout, phase: RolloutPhase, now: u64) {
    record.phase = phase;
    if record.stable != Some(record.target) {
        record.previous = record.stable;
    }
    record.stable = Some(record.target);
    record.held = false;
    record.ended_at = Some(now);
    record.tolerated = 0;
    // Where a try of another one failed, the reason stays.
    if record.target == record.newest && phase == RolloutPhase::Complete {
        if record.target > record.hooked.complete {
            (record.hooked.complete, record.hooked.due) = (record.target, Some(record.target));
            (record.hooked.done, record.hooked.list) = (0, Vec::new());
        }
        (record.reason, record.message, record.log_tail) = (None, String::new(), Vec::new());
    }
}

/// The slots that go first.
pub(super) fn canaries<'s, 'a>(count: u32, seats: &'s BTreeMap<Slot, Seat<'a>>) -> impl Iterator<Item = &'s Seat<'a>> {
    seats.values().take(usize::try_from(count).unwrap_or(usize::MAX))
}

/// The slots that may be replaced now.
fn attempted<'s, 'a>(
    record: &Rollout,
    update: &UpdatePolicy,
    seats: &'s BTreeMap<Slot, Seat<'a>>,
) -> impl Iterator<Item = &'s Seat<'a>> {
    let first = if record.promoted { 0 } else { update.canary };
    canaries(if first == 0 { u32::MAX } else { first }, seats)
}

/// Whether the first replicas are good and nobody has to say so.
fn promote(record: &Rollout, judge: &Judge<'_>, seats: &BTreeMap<Slot, Seat<'_>>) -> bool {
    let update = &judge.spec.update;
    let asked = update.canary > 0 && update.auto_promote && !record.promoted && !seats.is_empty();
    asked
        && record.phase == RolloutPhase::Progressing
        && canaries(update.canary, seats).all(|seat| seat.current.is_some_and(|r| judge.fits(r) && judge.good(r)))
}

/// Whether it has failed by now; answers when its deadline is.
fn fail(record: &mut Rollout, judge: &Judge<'_>, seats: &BTreeMap<Slot, Seat<'_>>) -> Option<u64> {
    let update = &judge.spec.update;
    // Whoever holds it up has it in hand.
    if record.paused.is_some() {
        record.held = true;
        return None;
    }
    // What is gone back to is not given up for a bad start.
    let counts = record.phase == RolloutPhase::Progressing;
    let members = || seats.values().flat_map(|seat| [seat.current, seat.before]).flatten();
    let failed: Vec<&ReplicaView> = members().filter(|r| judge.fits(r) && judge.failing(r)).collect();
    let refused = |seat: &&Seat<'_>| ahead::refused(judge, record, seat).is_some_and(|until| until <= judge.now);
    let stay: Vec<&Seat<'_>> = attempted(record, update, seats).filter(refused).collect();
    if counts && (failed.len() + stay.len()) as u64 > allowed(record, update) {
        let why = match failed.first() {
            Some(r) => {
                let status = r.status.as_ref();
                let reason = status.and_then(|s| s.reason).unwrap_or(Reason::Failed);
                let log = status.and_then(|s| s.last_exit.as_ref()).map(|e| e.log_tail.clone()).unwrap_or_default();
                (reason, told::failed(r), log)
            }
            None => {
                let (reason, message) = stay.iter().find_map(|seat| ahead::unfetched(judge, seat))?;
                (reason, message, Vec::new())
            }
        };
        give_up(record, judge, why);
        return None;
    }
    let unknown = members().any(|r| judge.standing(r) == Standing::Unknown);
    let leaves = seats.values().any(|seat| seat.leaves);
    let canary = update.canary > 0 && !update.auto_promote && !record.promoted;
    if unknown || leaves || seats.is_empty() || (canary && idle_canaries(judge, seats)) {
        record.held = true;
        return None;
    }
    if std::mem::take(&mut record.held) {
        record.resumed_at = Some(judge.now);
    }
    let fitting = members().filter(|r| judge.fits(r));
    // One that is ready now and then is no news.
    let good = |r: &ReplicaView| judge.good_at(r).filter(|at| *at <= judge.now);
    let news = fitting.flat_map(|r| [Some(r.replica.created_at), good(r)]).flatten();
    let last = news.chain([record.started_at]).chain(record.resumed_at).chain(record.hooked.at).max();
    let last = last.unwrap_or(record.started_at);
    let patience = update.progress_deadline.0.saturating_add(update.delay.0).saturating_add(update.min_healthy_time.0);
    let deadline = last.saturating_add(millis(patience));
    if deadline > judge.now {
        return Some(deadline);
    }
    let slow = members().filter(|r| judge.fits(r) && !judge.good(r)).min_by_key(|r| judge.failing(r));
    let log = slow.and_then(|r| r.status.as_ref()?.last_exit.as_ref()).map(|e| e.log_tail.clone()).unwrap_or_default();
    let (reason, what) = match (slow, &judge.target.image) {
        (Some(r), _) => (Reason::ProgressDeadlineExceeded, told::failed(r)),
        (None, Resolution::Failed { reason, message, .. }) => (*reason, message.clone()),
        (None, _) => {
            let stays = attempted(record, update, seats).find_map(|seat| ahead::unfetched(judge, seat));
            let (reason, what) = stays.unwrap_or((Reason::Pulling, "no replica could be replaced".into()));
            (if reason == Reason::Pulling { Reason::ProgressDeadlineExceeded } else { reason }, what)
        }
    };
    let message = match record.phase {
        RolloutPhase::RollingBack => {
            let (target, first) = (record.target, &record.message);
            format!(
                "revision {target} does not come back, nothing became ready for {}: {what}; before that: {first}",
                update.progress_deadline
            )
        }
        _ => format!("nothing became ready for {}: {what}", update.progress_deadline),
    };
    give_up(record, judge, (reason, message, log));
    None
}

fn idle_canaries(judge: &Judge<'_>, seats: &BTreeMap<Slot, Seat<'_>>) -> bool {
    canaries(judge.spec.update.canary, seats)
        .all(|seat| seat.current.is_some_and(|r| judge.fits(r) && judge.good(r)) && !seat.leaves)
}

/// Back to the last ready revision where there is another one and the service wants that; else it stands still.
pub(super) fn give_up(record: &mut Rollout, judge: &Judge<'_>, (reason, message, log): (Reason, String, Vec<String>)) {
    let stable = record.stable.and_then(|number| judge.view.revisions.get(&number));
    let back = stable.filter(|revision| revision.spec_hash != judge.target.spec_hash);
    (record.reason, record.message, record.log_tail) = (Some(reason), message, log);
    (record.held, record.resumed_at) = (false, None);
    match back.filter(|_| judge.spec.update.failure_action == FailureAction::Rollback) {
        Some(revision) => {
            record.from = Some(record.target);
            record.target = revision.number;
            record.phase = RolloutPhase::RollingBack;
            (record.started_at, record.ended_at) = (judge.now, None);
        }
        None => {
            record.phase = RolloutPhase::Halted;
            record.ended_at = Some(judge.now);
        }
    }
}
