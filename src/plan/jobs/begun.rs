//! Which runs begin.
//!
//! Here: [`begin`], for a revision that is new and for times that have come. Not here: what a person asks for ([`super::word`]).
//! Invariants: a time is dealt with once; of times that were missed at most the newest is made good, and only within
//! [`WINDOW`]: whoever was away does not begin a day's work at once when back.

use super::Look;
use crate::model::{
    JobRecord, Reason, ReplicaPhase,
    job::{Skipped, Trigger},
    schedule::Schedule,
    service::{Concurrency, Mode},
};
use crate::plan::view::ReplicaView;

/// A time that was missed is made good so long, milliseconds.
const WINDOW: u64 = 600_000;
/// Runs of one job that are under way at one time.
pub(super) const UNDER_WAY: usize = 50;
/// Times that are counted one by one.
const MOST: u32 = 1_000;

/// Begins what is due. Answers when the next is.
pub(super) fn begin(record: &mut JobRecord, look: &Look<'_>) -> Option<u64> {
    let newest = look.view.newest()?.number;
    if look.spec.suspend {
        // What comes due meanwhile is nobody's loss.
        record.schedule = String::new();
        // A run that a revision was begun with and that this stopped is begun anew afterwards.
        let stopped = |run: &&crate::model::Run| run.trigger == Trigger::Spec && run.reason == Some(Reason::Suspended);
        if let Some(run) = record.newest().filter(stopped) {
            record.spec_run = record.spec_run.min(run.revision.saturating_sub(1));
        }
        return None;
    }
    give_way(record, newest, look);
    match look.spec.mode {
        Mode::Job if newest > record.spec_run => {
            // One that is new is not let pass: it waits for its turn.
            if make_way(record, look.spec.concurrency_policy, look.now).is_ok() {
                record.begin(Trigger::Spec, newest, look.spec.wanted_completions(), look.now);
                record.spec_run = newest;
            }
            None
        }
        Mode::Cron => due(record, newest, look),
        Mode::Job | Mode::Replicated | Mode::Global => None,
    }
}

/// Gives up what never started, of revisions that are not the newest: whoever mended an image or a command does not wait
/// for what cannot begin.
fn give_way(record: &mut JobRecord, newest: u64, look: &Look<'_>) {
    let mut due = None;
    for run in record.runs.iter_mut().filter(|run| run.runs() && run.revision < newest) {
        if run.succeeded == 0 && look.of(run.number).all(never_started) {
            run.fail(Reason::Replaced, format!("nothing of it had started when revision {newest} came"), look.now);
            due = Some(run.trigger.clone());
        }
    }
    // A job has a run for each revision; of a schedule the time would be lost.
    if let Some(trigger) = due.filter(|_| look.spec.mode == Mode::Cron)
        && make_way(record, look.spec.concurrency_policy, look.now).is_ok()
    {
        record.begin(trigger, newest, look.spec.wanted_completions(), look.now);
    }
}

/// Whether an attempt was reported as one that nothing of has run. Without a report nobody knows.
fn never_started(r: &ReplicaView) -> bool {
    use ReplicaPhase::{BackOff, Pulling, Stopped, Waiting};
    let waits = |phase| matches!(phase, Waiting | Pulling | BackOff | Stopped);
    r.status.as_ref().is_some_and(|s| waits(s.phase) && s.started_at.is_none() && s.last_exit.is_none())
}

/// Whether another run may begin now; what it replaces is given up.
///
/// # Errors
/// The run that is in the way.
pub(super) fn make_way(record: &mut JobRecord, policy: Concurrency, now: u64) -> Result<(), u64> {
    let next = record.last.saturating_add(1);
    let mut under_way = record.runs.iter().filter(|run| run.runs());
    if let Some(run) = under_way.nth(UNDER_WAY - 1) {
        return Err(run.number);
    }
    for run in record.runs.iter_mut().filter(|run| run.runs()) {
        match policy {
            Concurrency::Allow => {}
            Concurrency::Forbid => return Err(run.number),
            Concurrency::Replace => run.fail(Reason::Replaced, format!("run {next} took its place"), now),
        }
    }
    Ok(())
}

/// What a schedule says of the time since it was looked at last.
struct Times {
    newest: u64,
    count: u32,
    /// There were more than were counted; the newest may be another one.
    more: bool,
}

fn times(schedule: &Schedule, looked: u64, now: u64) -> Option<Times> {
    let due = |from: u64| schedule.next_due(from).filter(|next| *next <= now);
    let mut found = Times { newest: due(looked)?, count: 1, more: false };
    while let Some(next) = due(found.newest) {
        found.newest = next;
        found.count = found.count.saturating_add(1);
        if found.count >= MOST {
            // Those that could still be made good are near the end.
            found.more = true;
            found.newest = found.newest.max(now.saturating_sub(WINDOW + 1));
            while let Some(next) = due(found.newest) {
                found.newest = next;
            }
            break;
        }
    }
    Some(found)
}

fn due(record: &mut JobRecord, newest: u64, look: &Look<'_>) -> Option<u64> {
    // What this version cannot read is told where it is shown.
    let schedule = look.spec.due()?.ok()?;
    let label = format!("{} {}", look.spec.schedule.as_deref().unwrap_or_default(), look.spec.zone());
    if record.schedule != label {
        // Times of a schedule count from when it was declared.
        (record.schedule, record.looked) = (label, look.now);
    }
    if let Some(times) = times(&schedule, record.looked, look.now) {
        record.looked = times.newest;
        let mut skipped = times.count.saturating_sub(1);
        let mut why = Vec::new();
        if look.now.saturating_sub(times.newest) > WINDOW {
            skipped = times.count;
            why.push("nobody was there to begin them within 10m".to_owned());
        } else {
            if skipped > 0 {
                why.push("nobody was there to begin them, and only the newest is made good".to_owned());
            }
            match make_way(record, look.spec.concurrency_policy, look.now) {
                Ok(()) => {
                    let trigger = Trigger::Schedule { due: times.newest };
                    record.begin(trigger, newest, look.spec.wanted_completions(), look.now);
                }
                Err(busy) => {
                    skipped = skipped.saturating_add(1);
                    why.push(match look.spec.concurrency_policy {
                        Concurrency::Forbid => format!("run {busy} is under way (concurrencyPolicy: forbid)"),
                        Concurrency::Allow | Concurrency::Replace => format!("{UNDER_WAY} runs are under way"),
                    });
                }
            }
        }
        if skipped > 0 {
            let more = if times.more { "and more; " } else { "" };
            let message = format!("{more}due at {}: {}", schedule.told(times.newest), why.join("; "));
            record.skipped = Some(Skipped { due: times.newest, count: skipped, message });
        }
    }
    schedule.next_due(record.looked.max(look.now))
}
