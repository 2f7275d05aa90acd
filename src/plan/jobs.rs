//! What follows next for the runs of a job: begin, try again, end, forget.
//!
//! Here: [`plan`], from a Service of `mode: job` or `cron`, its attempts, all nodes and the time to steps and the
//! record of its runs as it is now; [`begun`] runs that are due, [`ends`] counts what ended, [`word`] what a person asks for.
//! Not here: which node ([`super::scheduler`]), proposing it (`reconcile::rollout`), containers (the agent).
//!
//! Invariants:
//! - an attempt is a Replica of its own, which is never started a second time; of one slot of a run one is under way;
//! - a run has at most `completions + backoffLimit` attempts, and ends: what is left of a run that ended is stopped;
//! - an attempt that nobody can see is neither completed nor failed, and nothing takes its place;
//! - data of its own (`state`) has one writer: the attempt before it, of whichever run, has reported its end;
//! - nothing is begun while the service is suspended.
//!
//! Chosen: ends are counted in the record, by the names of attempts, so that an attempt may be forgotten and is never
//! counted twice. Source: Kubernetes' job and cronjob controllers for the words and the numbers.

mod begun;
mod ends;
pub mod word;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{
    rollout::{Plan, Round, Standing, needs_gap, standing, unseen, with_container},
    view::{NodeView, ReplicaView, ServiceView},
};
use crate::model::{Desired, JobRecord, Meta, Reason, Resolution, Run, ServiceSpec, Slot, service::Concurrency};

/// Runs that ended and are kept at most.
const KEPT: usize = 10;
/// Runs that ended and are kept whatever their age.
const FEW: usize = 3;
/// Attempts of one run that ended and whose containers are kept for their logs.
const LOGS: usize = 20;
/// Attempts that are stopped and kept for `ps`.
const HISTORY: usize = 5;
/// The second attempt waits so long; each further one twice as long.
const FIRST_BACKOFF: Duration = Duration::from_secs(10);
/// Longest wait between two attempts.
const LONGEST_BACKOFF: Duration = Duration::from_secs(360);

/// What a look knows.
pub(super) struct Look<'a> {
    pub view: &'a ServiceView,
    pub meta: &'a Meta,
    pub spec: &'a ServiceSpec,
    /// Attempts of its runs.
    pub own: &'a [&'a ReplicaView],
    pub nodes: &'a [NodeView],
    /// Cluster time in milliseconds.
    pub now: u64,
}

impl<'a> Look<'a> {
    fn standing(&self, r: &ReplicaView) -> Standing {
        standing(r, self.nodes)
    }
    /// Whether it may still do something.
    fn lives(&self, r: &ReplicaView) -> bool {
        !matches!(self.standing(r), Standing::Ended | Standing::Stopped | Standing::Gone)
    }
    fn of(&self, run: u64) -> impl Iterator<Item = &'a ReplicaView> {
        self.own.iter().copied().filter(move |r| r.replica.run == Some(run))
    }
}

/// Adds the next steps, and the runs as they are now.
pub(super) fn plan(plan: &mut Plan, look: &Look<'_>) {
    if look.view.newest().is_none() {
        return;
    }
    let mut record = look.view.job.as_deref().cloned().unwrap_or_default();
    plan.again(ends::count(&mut record, look));
    plan.again(begun::begin(&mut record, look));
    plan.again(forget(&mut record, look));
    let mut nodes = look.nodes.to_vec();
    for run in record.runs.iter().filter(|run| run.runs()) {
        nodes = attempts(plan, run, look, nodes);
    }
    clear(plan, &record, look);
    plan.job = Some(record);
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// When the next attempt of a run may begin.
fn next_attempt(run: &Run) -> u64 {
    let Some(doublings) = run.failed.checked_sub(1) else { return 0 };
    let wait = FIRST_BACKOFF.saturating_mul(1 << doublings.min(16)).min(LONGEST_BACKOFF);
    run.failed_at.unwrap_or(0).saturating_add(millis(wait))
}

/// Attempts of slots that lack one, as many as may be under way at once. Answers the nodes with what they hold then.
fn attempts(plan: &mut Plan, run: &Run, look: &Look<'_>, nodes: Vec<NodeView>) -> Vec<NodeView> {
    let Some(revision) = look.view.revisions.get(&run.revision) else { return nodes };
    let image = match &revision.image {
        Resolution::Resolved { image } => Ok(image),
        Resolution::Pending => Err((Reason::ImageUnresolved, "its image is not resolved yet".to_owned())),
        Resolution::Failed { reason, message, .. } => Err((*reason, message.clone())),
    };
    let spec = with_container(look.spec, look.view, revision);
    let busy: BTreeSet<&Slot> = look.of(run.number).filter(|r| look.lives(r)).map(|r| &r.replica.slot).collect();
    let mut free = usize::try_from(look.spec.at_once()).unwrap_or(usize::MAX).saturating_sub(busy.len());
    let wanted: BTreeSet<Slot> = (1..=run.completions).map(Slot::Number).collect();
    let (view, meta) = (look.view, look.meta);
    let mut round =
        Round { view, meta, spec: &spec, wanted: &wanted, nodes, places: Vec::new(), run: Some(run.number) };
    for number in (1..=run.completions).filter(|number| !run.completed.contains(number)) {
        let slot = Slot::Number(number);
        if free == 0 {
            break;
        }
        if busy.contains(&slot) {
            continue;
        }
        free -= 1;
        let next = next_attempt(run);
        if next > look.now {
            let message = format!("{}; another follows", plural(run.failed, "attempt failed", "attempts failed"));
            plan.hold(&slot, Reason::CrashLoopBackOff, message);
            plan.again(Some(next));
            continue;
        }
        if let Some(before) = in_the_way(plan, run.number, &slot, &spec, look) {
            plan.hold(&slot, Reason::ReplicaSetUpdated, format!("waits until {before} has stopped"));
            continue;
        }
        round.fill(&slot, revision, &image, None, plan);
    }
    plan.steps.append(&mut round.places);
    round.nodes
}

/// An attempt that has to have ended first. One that ended by itself may have been started again by hand: where that
/// would be a second writer, it is stopped.
fn in_the_way(plan: &mut Plan, run: u64, slot: &Slot, spec: &ServiceSpec, look: &Look<'_>) -> Option<Arc<str>> {
    let gone = |r: &ReplicaView| matches!(look.standing(r), Standing::Stopped | Standing::Gone);
    if spec.container.exclusive() {
        let mut before = look.own.iter().filter(|r| r.replica.slot == *slot && !gone(r)).peekable();
        let first = before.peek().map(|r| r.replica.name.clone());
        for r in before.filter(|r| look.standing(r) == Standing::Ended && r.replica.desired == Desired::Run) {
            plan.stop(r, Reason::Superseded);
        }
        return first;
    }
    let other = |r: &&&ReplicaView| r.replica.run != Some(run) && look.lives(r);
    // Of a run that was given up it is seen when it has stopped; one that nobody can see is not waited for.
    let seen = |r: &&&ReplicaView| other(r) && look.standing(r) != Standing::Unknown && !unseen(r, look.nodes);
    let forbids = look.spec.concurrency_policy == Concurrency::Forbid;
    let before = match needs_gap(spec) {
        true => look.own.iter().find(other),
        false => look.own.iter().filter(|_| forbids).find(seen),
    };
    before.map(|r| r.replica.name.clone())
}

/// Stops what is left of runs that ended, and forgets what nobody needs to see any more.
fn clear(plan: &mut Plan, record: &JobRecord, look: &Look<'_>) {
    let mut newest: Vec<&ReplicaView> = look.own.to_vec();
    newest.sort_by_key(|r| std::cmp::Reverse((r.replica.index, r.replica.name.clone())));
    let mut stopped = 0;
    let mut logs: std::collections::BTreeMap<u64, usize> = std::collections::BTreeMap::new();
    for r in newest {
        let run = r.replica.run.and_then(|number| record.run(number));
        let counted = run.is_none_or(|run| !run.runs() || run.counted.contains(&r.replica.name));
        let expired = run.is_none_or(|run| expires(run, look).is_some_and(|at| at <= look.now));
        match (look.standing(r), r.replica.desired) {
            (Standing::Stopping, _) => {}
            (Standing::Stopped, _) => {
                stopped += 1;
                if counted && (expired || stopped > HISTORY) {
                    plan.forget(r);
                }
            }
            (Standing::Gone, Desired::Stop) => {
                if counted {
                    plan.forget(r);
                }
            }
            (Standing::Gone, Desired::Run) => plan.stop(r, Reason::NotPlacedHere),
            (Standing::Ended, _) => {
                let kept = logs.entry(r.replica.run.unwrap_or_default()).or_default();
                *kept += 1;
                if counted && (expired || *kept > LOGS) && !stops(plan, r) {
                    plan.stop(r, Reason::Completed);
                }
            }
            // It was counted as failed: its engine refuses it.
            (Standing::NotReady, _) if run.is_some_and(|run| run.runs()) && counted => {
                plan.stop(r, r.status.as_ref().and_then(|s| s.reason).unwrap_or(Reason::EngineRefused));
            }
            (Standing::Unknown | Standing::NotReady | Standing::Ready, _) => {
                if run.is_none_or(|run| !run.runs()) {
                    let reason = run.and_then(|run| run.reason).unwrap_or(Reason::Superseded);
                    plan.stop(r, reason);
                }
            }
        }
    }
}

/// Whether it is stopped already.
fn stops(plan: &Plan, r: &ReplicaView) -> bool {
    use super::rollout::Step;
    plan.steps.iter().any(|step| matches!(step, Step::Stop { replica, .. } if *replica == r.replica.name))
}

/// When a run and its containers are not kept any more; none: it is under way.
fn expires(run: &Run, look: &Look<'_>) -> Option<u64> {
    run.ended_at.map(|at| at.saturating_add(millis(look.spec.kept_for())))
}

/// Lets runs go that ended long ago. Answers when the next one does.
fn forget(record: &mut JobRecord, look: &Look<'_>) -> Option<u64> {
    let ended: Vec<(u64, u64)> =
        record.runs.iter().rev().filter_map(|run| Some((run.number, expires(run, look)?))).collect();
    let goes = |(at, (_, expires)): (usize, &(u64, u64))| at >= KEPT || (at >= FEW && *expires <= look.now);
    let old: BTreeSet<u64> =
        ended.iter().enumerate().filter(|(at, run)| goes((*at, *run))).map(|(_, run)| run.0).collect();
    record.runs.retain(|run| !old.contains(&run.number));
    ended.iter().map(|(_, expires)| *expires).filter(|at| *at > look.now).min()
}

fn plural(count: u32, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}

#[cfg(test)]
mod tests;
