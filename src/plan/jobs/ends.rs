//! How runs end.
//!
//! Here: [`count`], from what attempts report to the record. Not here: the next attempt ([`super`]).

use super::{Look, millis};
use crate::model::{JobRecord, Reason, ReplicaPhase, Run, RunState, Slot};
use crate::plan::{
    rollout::{Standing, refused},
    told,
    view::ReplicaView,
};

/// Counts what ended, and ends the runs that this ends. Answers when time alone ends one.
pub(super) fn count(record: &mut JobRecord, look: &Look<'_>) -> Option<u64> {
    let mut again = None;
    record.runs.iter_mut().for_each(|run| last_words(run, look));
    for run in record.runs.iter_mut().filter(|run| run.runs()) {
        let refused = attempts(run, look);
        again = [again, refused].into_iter().flatten().min();
        if run.succeeded >= run.completions {
            run.end(RunState::Succeeded, look.now);
            continue;
        }
        if look.spec.suspend {
            run.fail(Reason::Suspended, "the service was suspended".into(), look.now);
            continue;
        }
        if !look.view.revisions.contains_key(&run.revision) {
            run.fail(Reason::Failed, format!("revision {} is not kept any more", run.revision), look.now);
            continue;
        }
        if run.failed > look.spec.may_fail() {
            give_up(run, look);
            continue;
        }
        let Some(limit) = look.spec.active_deadline else { continue };
        let until = run.started_at.saturating_add(millis(limit.0));
        if until <= look.now {
            run.fail(Reason::DeadlineExceeded, format!("it took longer than {limit}"), look.now);
        } else {
            again = [again, Some(until)].into_iter().flatten().min();
        }
    }
    again
}

/// What an attempt wrote that was stopped because its run was given up: it reports that only afterwards.
fn last_words(run: &mut Run, look: &Look<'_>) {
    if run.state != RunState::Failed || !run.log_tail.is_empty() {
        return;
    }
    let newest = look.of(run.number).max_by_key(|r| r.replica.index);
    if let Some(exit) = newest.and_then(|r| r.status.as_ref()?.last_exit.as_ref()) {
        run.log_tail.clone_from(&exit.log_tail);
    }
}

/// Answers when one that its engine refuses counts as failed.
fn attempts(run: &mut Run, look: &Look<'_>) -> Option<u64> {
    let mut again = None;
    for r in look.of(run.number) {
        let name = &r.replica.name;
        if run.counted.contains(name) {
            continue;
        }
        let phase = r.status.as_ref().map(|s| s.phase);
        match (look.standing(r), phase, &r.replica.slot) {
            (Standing::Ended | Standing::Gone, Some(ReplicaPhase::Completed), Slot::Number(slot)) => {
                run.completed.insert(*slot);
            }
            // Its node is gone, or somebody had it stopped: another one follows, and that has an end.
            (Standing::Ended | Standing::Gone | Standing::Stopped, _, _) => {
                run.failed = run.failed.saturating_add(1);
                run.failed_at = Some(look.now);
            }
            (Standing::NotReady, _, _) if refused(r).is_some() => {
                if let Some(until) = refused(r).filter(|until| *until > look.now) {
                    again = [again, Some(until)].into_iter().flatten().min();
                    continue;
                }
                run.failed = run.failed.saturating_add(1);
                run.failed_at = Some(look.now);
            }
            (Standing::Unknown | Standing::NotReady | Standing::Ready | Standing::Stopping, _, _) => continue,
        }
        run.counted.insert(name.clone());
    }
    run.counted.retain(|name| look.own.iter().any(|r| r.replica.name == *name));
    run.succeeded = u32::try_from(run.completed.len()).unwrap_or(u32::MAX);
    again
}

/// More failed than may.
fn give_up(run: &mut Run, look: &Look<'_>) {
    let phase = |r: &ReplicaView| r.status.as_ref().map(|s| s.phase);
    let failed = |r: &&ReplicaView| matches!(phase(r), Some(ReplicaPhase::Failed | ReplicaPhase::BackOff));
    let last = look.of(run.number).filter(failed).max_by_key(|r| r.replica.index);
    let log = last.and_then(|r| r.status.as_ref()?.last_exit.as_ref()).map(|e| e.log_tail.clone());
    let count = super::plural(run.failed, "attempt failed", "attempts failed");
    let message = last.map_or_else(|| count.clone(), |r| format!("{count}, the last {}", told::failed(r)));
    run.log_tail = log.unwrap_or_default();
    run.fail(Reason::BackoffLimitExceeded, message, look.now);
}
