//! Hooks of a rollout: commands in containers of their own, before the first replica of a revision and after the last.
//!
//! Here: [`before`] and [`after`], which move the record on and place what is to run next; [`clear`], what becomes of those
//! that ended. Not here: commands in a replica's own container (the agent).
//! Invariants:
//! - of a service one hook runs at a time, and one that began is left to its end: a migration is not cut in two because a
//!   newer revision came;
//! - a list of hooks that began is worked off as it was then;
//! - what succeeded for a revision does not run for it again: ends are counted in the record, by the names of Replicas;
//! - a revision that is gone back to has had its hooks;
//! - nothing of a revision is placed before its `preDeploy` has succeeded, and meanwhile what worked stays.

use super::{
    Hold, Plan, Round, Standing, Step, pace::Facts, standing, turn, turn::Judge, turn::millis, with_container,
};
use crate::model::{
    Desired, HookRun, Reason, ReplicaPhase, Resolution, ResolvedImage, Revision, Rollout, RolloutPhase, ServiceSpec,
    Slot, Stage,
    quantity::seconds,
    rollout::{Followed, HookEnd},
    service::{Hook, Mode, OnFailure},
};
use crate::plan::view::{NodeView, ReplicaView, ServiceView};

/// The place that hooks run in: no replica has it.
const SLOT: Slot = Slot::Number(0);
/// Hooks that ended and whose containers are kept for their logs.
const KEPT: usize = 3;

/// Why something waits.
pub(super) type Waits = (Reason, String);

/// What became of one.
enum Fate {
    /// It runs, or nobody knows.
    Waits(Waits),
    Succeeded(String),
    Failed(Reason, String, Vec<String>),
}

/// Moves on what precedes the first replica. Answers what new replicas wait for.
pub(super) fn before(plan: &mut Plan, record: &mut Rollout, judge: &Judge<'_>, facts: &Facts<'_>) -> Option<Waits> {
    let target = record.target;
    let fresh = target == record.newest && target > record.hooked.prepared && record.stable != Some(target);
    if !fresh || facts.seats.is_empty() {
        return watch(plan, record, facts);
    }
    let fits = |seat: &super::Seat<'_>| seat.current.is_some_and(|r| judge.fits(r)) && seat.before.is_none();
    // Nothing is to be deployed, or nothing is to precede it.
    let nothing = facts.declared.hooks.pre_deploy.is_empty() && record.hooked.list.is_empty();
    if nothing || facts.seats.values().all(fits) {
        let waits = watch(plan, record, facts);
        if waits.is_none() {
            (record.hooked.prepared, record.hooked.done, record.hooked.list) = (target, 0, Vec::new());
        }
        return waits;
    }
    if record.phase == RolloutPhase::Halted || record.paused.is_some() {
        watch(plan, record, facts);
    }
    match (record.phase, &record.paused) {
        (RolloutPhase::Halted, _) => {
            return Some((record.reason.unwrap_or(Reason::Paused), format!("stands still: {}", record.message)));
        }
        (_, Some(paused)) => return Some((Reason::Paused, paused.to_string())),
        (_, None) => {}
    }
    match stage(plan, record, Stage::PreDeploy, judge.target, facts) {
        Stand::Done => {
            record.hooked.prepared = target;
            (record.hooked.done, record.hooked.list) = (0, Vec::new());
            record.hooked.at = Some(facts.now);
            None
        }
        Stand::Waits(waits) => Some(waits),
        // It has the rollout's patience to find its place; once it runs, its own time.
        Stand::Unplaced(waits) => {
            if record.stable.is_none() {
                return Some(waits);
            }
            if let Patience::Over(told) = patience(plan, record, Some(record.started_at), facts) {
                turn::give_up(record, judge, (waits.0, format!("{told}: {}", waits.1), Vec::new()));
            }
            Some(waits)
        }
        Stand::Failed(reason, message, log) => {
            (record.hooked.done, record.hooked.list) = (0, Vec::new());
            let waits = (reason, message.clone());
            turn::give_up(record, judge, (reason, message, log));
            Some(waits)
        }
    }
}

/// Moves on what follows a rollout that is complete, and keeps in the plan what it waits for.
pub(super) fn after(plan: &mut Plan, record: &mut Rollout, target: &Revision, facts: &Facts<'_>) {
    if record.hooked.due.is_none() {
        return;
    }
    let nothing = facts.declared.hooks.post_deploy.is_empty() && record.hooked.list.is_empty();
    if record.hooked.due != Some(record.target) || nothing {
        (record.hooked.due, record.hooked.list) = (None, Vec::new());
        return;
    }
    if record.phase != RolloutPhase::Complete {
        return;
    }
    if let Some(paused) = &record.paused {
        plan.follows = Some(Hold { reason: Reason::Paused, message: paused.to_string() });
        return;
    }
    match stage(plan, record, Stage::PostDeploy, target, facts) {
        Stand::Waits((reason, message)) => plan.follows = Some(Hold { reason, message }),
        Stand::Unplaced((reason, message)) => match patience(plan, record, record.ended_at, facts) {
            Patience::Left => plan.follows = Some(Hold { reason, message }),
            Patience::Over(told) => {
                (record.hooked.due, record.hooked.done, record.hooked.list) = (None, 0, Vec::new());
                failed_after(record, (reason, format!("{told}: {message}"), Vec::new()), facts.now);
            }
        },
        Stand::Done => {
            let ran = record.hooked.done;
            (record.hooked.due, record.hooked.done, record.hooked.list) = (None, 0, Vec::new());
            // What one of them said that failed and was let pass stays.
            if record.hooked.followed_by(target.number).is_none() {
                let message = format!("{ran} of {ran} succeeded");
                let done = Followed { revision: target.number, message, at: facts.now, ..Followed::default() };
                record.hooked.followed = Some(done);
            }
        }
        // It is done already: there is nothing to go back from.
        Stand::Failed(reason, message, log) => {
            (record.hooked.due, record.hooked.done, record.hooked.list) = (None, 0, Vec::new());
            failed_after(record, (reason, message, log), facts.now);
        }
    }
}

/// Whether one without a place is waited for any longer.
enum Patience {
    Left,
    /// In words.
    Over(String),
}

/// A hook has the rollout's patience to find its place. `begun`: when its stage could begin.
fn patience(plan: &mut Plan, record: &Rollout, begun: Option<u64>, facts: &Facts<'_>) -> Patience {
    let deadline = facts.declared.update.progress_deadline;
    let since = [begun, record.hooked.at, record.resumed_at].into_iter().flatten().max().unwrap_or_default();
    let until = since.saturating_add(millis(deadline.0));
    if until > facts.now {
        plan.again(Some(until));
        return Patience::Left;
    }
    Patience::Over(format!("nothing began for {deadline}"))
}

/// Keeps what the first of a `postDeploy` stage failed with.
fn failed_after(record: &mut Rollout, (reason, message, log): (Reason, String, Vec<String>), now: u64) {
    if record.hooked.followed_by(record.target).is_none() {
        record.hooked.followed = Some(Followed {
            revision: record.target,
            failed: Some(reason),
            message: message.clone(),
            log_tail: log.clone(),
            at: now,
        });
        (record.reason, record.message, record.log_tail) = (Some(reason), message, log);
    }
}

/// How far a stage is.
enum Stand {
    Done,
    Waits(Waits),
    /// The next one has no place, and why.
    Unplaced(Waits),
    Failed(Reason, String, Vec<String>),
}

/// Sees to the end of hooks that nobody else looks at: of what is not wanted any more, or of a service that stands still.
/// Answers what new replicas wait for: a migration that began.
fn watch(plan: &mut Plan, record: &Rollout, facts: &Facts<'_>) -> Option<Waits> {
    let seen_to = |run: &HookRun, r: &ReplicaView| {
        let due = record.hooked.due == Some(record.target) && r.replica.revision == record.target;
        run.stage == Stage::PostDeploy && due && record.phase == RolloutPhase::Complete && record.paused.is_none()
    };
    let mut waits = None;
    for r in facts.view.hooks.iter().filter(|r| r.replica.service_uid == facts.view.uid && lives(r, facts.nodes)) {
        let Some(run) = r.replica.hook.as_deref().filter(|run| !seen_to(run, r)) else { continue };
        if let (Fate::Waits(found), Stage::PreDeploy) = (fate(plan, r, run, facts), run.stage) {
            waits.get_or_insert(found);
        }
    }
    waits
}

fn stage(plan: &mut Plan, record: &mut Rollout, stage: Stage, target: &Revision, facts: &Facts<'_>) -> Stand {
    let view = facts.view;
    record.hooked.counted.retain(|name| view.hooks.iter().any(|r| r.replica.name == *name));
    for r in &view.hooks {
        let Some(run) = r.replica.hook.as_deref() else { continue };
        let ours = run.stage == stage && r.replica.revision == target.number;
        if record.hooked.counted.contains(&r.replica.name) || (!ours && !lives(r, facts.nodes)) {
            continue;
        }
        let (failed, message, verdict) = match fate(plan, r, run, facts) {
            Fate::Waits(waits) => return Stand::Waits(waits),
            Fate::Succeeded(message) => (false, message, None),
            Fate::Failed(reason, message, log) => (true, message.clone(), Some((reason, message, log))),
        };
        if !ours {
            continue;
        }
        record.hooked.counted.insert(r.replica.name.clone());
        record.hooked.at = Some(facts.now);
        record.hooked.last = Some(HookEnd { replica: r.replica.name.clone(), failed, message });
        match verdict {
            Some((reason, message, log)) if run.hook.on_failure == OnFailure::Abort => {
                return Stand::Failed(reason, message, log);
            }
            // The next one follows all the same. What the first of them said is kept.
            Some(verdict) if stage == Stage::PostDeploy => failed_after(record, verdict, facts.now),
            Some(_) | None => {}
        }
        record.hooked.done = run.position.saturating_add(1);
    }
    // A list that began is worked off as it was then.
    if record.hooked.list.is_empty() {
        record.hooked.list = facts.declared.hooks.of(stage).to_vec();
    }
    let next = usize::try_from(record.hooked.done).unwrap_or(usize::MAX);
    let Some(hook) = record.hooked.list.get(next) else { return Stand::Done };
    let steps = plan.steps.len();
    let waits = place(plan, HookRun { stage, position: record.hooked.done, hook: hook.clone() }, target, facts);
    if plan.steps.len() > steps { Stand::Waits(waits) } else { Stand::Unplaced(waits) }
}

fn lives(r: &ReplicaView, nodes: &[NodeView]) -> bool {
    !matches!(standing(r, nodes), Standing::Ended | Standing::Stopped | Standing::Gone)
}

fn fate(plan: &mut Plan, r: &ReplicaView, run: &HookRun, facts: &Facts<'_>) -> Fate {
    let told = run.hook.told(run.stage);
    let status = r.status.as_ref();
    let log = || status.and_then(|s| s.last_exit.as_ref()).map(|e| e.log_tail.clone()).unwrap_or_default();
    let completed = status.is_some_and(|s| s.phase == ReplicaPhase::Completed);
    let failed = |what: String| Fate::Failed(Reason::HookFailed, format!("{told}: {what}"), log());
    match standing(r, facts.nodes) {
        Standing::Ended | Standing::Gone if completed => {
            // Its wait for an image and a node counts too.
            let ended = status.and_then(|s| s.last_exit.as_ref()).map_or(0, |e| e.at);
            Fate::Succeeded(format!("{told}: done in {}", seconds(ended.saturating_sub(r.replica.created_at))))
        }
        Standing::Ended => {
            let exit = status.and_then(|s| s.last_exit.as_ref());
            let memory = if exit.is_some_and(|e| e.oom_killed) { ", out of memory" } else { "" };
            match exit.filter(|e| e.code != 0) {
                Some(exit) => failed(format!("exit {}{memory}", exit.code)),
                // It was taken away or stopped: its node says how.
                None => {
                    failed(status.map(|s| s.message.clone()).filter(|m| !m.is_empty()).unwrap_or("it ended".into()))
                }
            }
        }
        Standing::Gone => failed(format!("node {} was removed while it ran", r.replica.node)),
        Standing::Stopped => match r.replica.stop_reason {
            Some(Reason::DeadlineExceeded) if status.is_some_and(|s| s.last_exit.is_some()) => {
                failed(format!("not done within {}", run.hook.timeout))
            }
            Some(Reason::DeadlineExceeded) => {
                failed(format!("could not begin within {}", facts.declared.update.progress_deadline))
            }
            Some(Reason::HookFailed) => failed(status.map(|s| s.message.clone()).unwrap_or_default()),
            Some(reason) => failed(format!("it was stopped: {reason}")),
            None => failed("it was stopped".into()),
        },
        Standing::Stopping => Fate::Waits((Reason::WaitingForHook, format!("{told} is being stopped"))),
        Standing::Unknown if status.is_none() => {
            Fate::Waits((Reason::WaitingForHook, format!("{told} begins on {}", r.replica.node)))
        }
        Standing::Unknown => {
            Fate::Waits((Reason::WaitingForHook, format!("{told} on {}: nobody knows how it is", r.replica.node)))
        }
        Standing::NotReady | Standing::Ready => under_way(plan, r, run, &told, facts),
    }
}

/// One that has not ended: it has its time to run, and before that a rollout's patience to begin.
fn under_way(plan: &mut Plan, r: &ReplicaView, run: &HookRun, told: &str, facts: &Facts<'_>) -> Fate {
    let Some(status) = &r.status else { return Fate::Waits((Reason::WaitingForHook, told.to_owned())) };
    let runs = status.phase == ReplicaPhase::Running;
    // A version of ours that did not note it notes since when it runs with this reason.
    let began = status.running_since.or(Some(status.since).filter(|_| runs));
    let until = match began {
        Some(began) => began.saturating_add(millis(run.hook.timeout.0)),
        None => r.replica.created_at.saturating_add(millis(facts.declared.update.progress_deadline.0)),
    };
    if until <= facts.now {
        plan.stop(r, Reason::DeadlineExceeded);
        return Fate::Waits((Reason::WaitingForHook, format!("{told} is being stopped: its time is over")));
    }
    plan.again(Some(until));
    if turn::refused(r).is_some_and(|until| until <= facts.now) {
        plan.stop(r, Reason::HookFailed);
        let message = format!("{told}: {}", status.message);
        return Fate::Failed(status.reason.unwrap_or(Reason::HookFailed), message, Vec::new());
    }
    plan.again(turn::refused(r));
    let how = match (runs, status.message.as_str()) {
        (true, _) => format!("{told} runs on {}", r.replica.node),
        (false, "") => format!("{told} begins on {}", r.replica.node),
        (false, message) => format!("{told}: {message}"),
    };
    Fate::Waits((Reason::WaitingForHook, how))
}

/// Places one. Answers what is to be said of it.
fn place(plan: &mut Plan, run: HookRun, target: &Revision, facts: &Facts<'_>) -> Waits {
    let told = run.hook.told(run.stage);
    let own = own_image(&run.hook);
    let image = match (&own, &target.image) {
        (Some(image), _) | (None, Resolution::Resolved { image }) => Ok(image),
        (None, Resolution::Pending) => Err((Reason::ImageUnresolved, "its image is not resolved yet".to_owned())),
        (None, Resolution::Failed { reason, message, .. }) => Err((*reason, message.clone())),
    };
    let spec = with_container(facts.declared, facts.view, target);
    let container = spec.container.of_hook(&run.hook);
    let spec = ServiceSpec { mode: Mode::Replicated, replicas: None, container, ..spec };
    let (wanted, nodes) = (std::collections::BTreeSet::new(), facts.nodes.to_vec());
    let (view, meta) = (facts.view, facts.meta);
    let mut round = Round { view, meta, spec: &spec, wanted: &wanted, nodes, places: Vec::new(), run: None };
    let mut tried = Plan::default();
    round.fill(&SLOT, target, &image, None, &mut tried);
    match round.places.pop() {
        Some(Step::Place { slot, revision, spec_hash, node, decision, beside, run: of_job, .. }) => {
            let message = format!("{told} begins on {}", node.0);
            let hook = Some(Box::new(run));
            plan.steps.push(Step::Place { slot, revision, spec_hash, node, decision, beside, run: of_job, hook });
            (Reason::WaitingForHook, message)
        }
        Some(_) | None => match tried.holds.remove(&SLOT) {
            Some(hold) => (hold.reason, format!("{told}: {}", hold.message)),
            None => (Reason::NoNodeFits, format!("{told}: no node takes it")),
        },
    }
}

/// The image that a hook names itself: it is looked up where the hook runs.
fn own_image(hook: &Hook) -> Option<ResolvedImage> {
    hook.image.as_ref().map(|reference| ResolvedImage::Digest { reference: reference.clone() })
}

/// Lets those go that ended and whose logs nobody needs any more.
pub(super) fn clear(plan: &mut Plan, record: &Rollout, view: &ServiceView, nodes: &[NodeView]) {
    let mut newest: Vec<&ReplicaView> = view.hooks.iter().filter(|r| r.replica.service_uid == view.uid).collect();
    newest.sort_by_key(|r| std::cmp::Reverse((r.replica.index, r.replica.name.clone())));
    let mut kept = 0;
    for r in newest {
        let of_now = r.replica.revision == record.target;
        let counted = record.hooked.counted.contains(&r.replica.name) || !of_now;
        // Its container was stopped and is there, for its log.
        let stays = r.replica.is_kept() && r.is_there();
        match (standing(r, nodes), r.replica.desired) {
            (Standing::Stopped, _) if stays => {
                kept += 1;
                if kept > KEPT && counted {
                    plan.stop(r, Reason::Completed);
                }
            }
            // Its agent removes it.
            (Standing::Stopped, _) if r.is_there() => {}
            (Standing::Stopped, _) | (Standing::Gone, Desired::Stop) if counted => plan.forget(r),
            (Standing::Gone, Desired::Run) if counted => plan.stop(r, Reason::NotPlacedHere),
            (Standing::Ended, _) => {
                kept += 1;
                if kept > KEPT && counted {
                    plan.stop(r, Reason::Completed);
                }
            }
            (_, _) => {}
        }
    }
}

#[cfg(test)]
mod tests;
