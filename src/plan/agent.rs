//! Decisions of this node about its own replicas.
//!
//! Here: [`plan`], from what the log wants and what the engine answered to the next [`Step`]; what is
//! remembered between two looks ([`attempts`]); what is said of it all ([`report`]).
//! Not here: talking to the engine (`runtime`), deadlines and retries (`reconcile::agent`), choosing
//! nodes (`plan::scheduler`).
//! Invariants: unknown is not absent, no step follows from silence; a container that was made later
//! than this node has read the log is left alone; nothing here removes data.
//! Why one step and not a list: the world moves under a list. Next: `reconcile::agent`.

pub mod attempts;
pub mod held;
pub mod report;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

pub use attempts::{Attempts, Cause};

use crate::model::{
    Index, Reason, ReplicaPhase,
    engine::{ContainerState, EngineRestart},
    service::{AutoRestart, Restart},
};

/// Healthy for so long, a replica counts as settled: its backoff is forgotten, and the engine may
/// restart it when no agent is there.
pub const SETTLED: Duration = Duration::from_secs(600);
/// Refused starts in a row after which a container is made anew.
const REFUSALS: u32 = 2;
/// How soon to look again at what the engine is busy with.
const SOON: Duration = Duration::from_secs(1);

/// What the log says of a replica on this node.
#[derive(Debug, Clone, PartialEq)]
pub enum Want {
    /// Its container shall run.
    Run(Wanted),
    /// Its container shall not run any more.
    Stop(Reason),
    /// It shall not run any more, and stays for its log.
    Halt(Reason),
    /// There is no such replica on this node: what runs for it is an orphan.
    Nothing(Reason),
}

/// What a replica's container shall be.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// The replica's name, which is the container's.
    pub name: Arc<str>,
    /// Stored hash of its revision.
    pub spec_hash: String,
    /// Fencing token of its placement, as text.
    pub epoch: String,
    /// What follows an exit.
    pub restart: Restart,
    /// An attempt of a job: it is started once, also when its container goes.
    pub once: bool,
    /// What follows bad health.
    pub auto_restart: AutoRestart,
    /// Between two verdicts on its health.
    pub probe_interval: Duration,
    /// Each start has to look at its data first, so that only this agent starts it. What has a single writer does.
    pub looks_at_host: bool,
    /// What has to be there before a start, and is not.
    pub gate: Option<Gate>,
    /// Its files changed, and are to be replaced while it runs.
    pub reload: Option<Box<Reload>>,
}

/// Files that are replaced where they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reload {
    /// What is new: `configs/nginx`.
    pub references: Vec<String>,
    /// Signals that are sent when the files are new.
    pub signals: BTreeSet<String>,
}

/// Something that holds up a start and goes away by a change elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// Its code.
    pub reason: Reason,
    /// For people.
    pub message: String,
}

/// What the engine answered about the containers of one replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// It did not answer: nothing is known.
    Unknown(Gate),
    /// These are all of them.
    Known(Vec<Found>),
}

/// One container with this replica's label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The engine's id.
    pub id: Arc<str>,
    /// Its name; not the replica's when somebody renamed it.
    pub name: String,
    /// What it is doing.
    pub state: ContainerState,
    /// Label: hash of the revision it was made from.
    pub spec_hash: String,
    /// Label: placement it was made for.
    pub epoch: String,
    /// Label: index of its Replica in the log.
    pub made_at: Index,
    /// The engine's own restart policy for it.
    pub restart: EngineRestart,
    /// It was made for this replica: by its name, or by an id that is known. What is made from an image of
    /// one of ours carries our labels too, and is somebody's own.
    pub ours: bool,
    /// Networks that it shall be on and is not, while it runs.
    pub missing: Vec<String>,
    /// Limits that are not the declared ones while it runs, in words.
    pub changed: Vec<String>,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It is as it should be.
    Nothing {
        /// When a look is due without anything happening, cluster time.
        look_again: Option<u64>,
    },
    /// Something has to happen first.
    Wait {
        /// What.
        reason: Reason,
        /// For people.
        message: String,
        /// When it is tried again, cluster time; none: when the world changes.
        until: Option<u64>,
    },
    /// Make a container and start it.
    Create,
    /// Start the one that is there.
    Start {
        /// Which.
        id: Arc<str>,
    },
    /// Stop it, so that the next step starts it again, with all checks of a start.
    Restart {
        /// Which.
        id: Arc<str>,
        /// Why.
        reason: Reason,
        /// For people.
        message: String,
    },
    /// Stop it, then remove it.
    Retire {
        /// Which.
        id: Arc<str>,
        /// Why.
        reason: Reason,
        /// For people.
        message: String,
    },
    /// Remove what does not run.
    Remove {
        /// Which.
        id: Arc<str>,
        /// Why.
        reason: Reason,
        /// For people.
        message: String,
    },
    /// Put it on networks that it was taken off.
    Connect {
        /// Which.
        id: Arc<str>,
        /// The networks.
        networks: Vec<String>,
    },
    /// Replace its files while it runs, and tell it.
    Reload {
        /// Which.
        id: Arc<str>,
        /// What is new.
        reload: Box<Reload>,
    },
    /// Change the engine's own restart policy.
    Protect {
        /// Which.
        id: Arc<str>,
        /// To what.
        restart: EngineRestart,
    },
    /// Nothing follows any more.
    End {
        /// How it ended.
        phase: ReplicaPhase,
        /// Why.
        reason: Reason,
        /// For people.
        message: String,
    },
}

/// Decides the next step for one replica. `applied`: how far this node has read the log. `now`:
/// cluster time in milliseconds.
#[must_use]
pub fn plan(want: &Want, seen: &Seen, attempts: &Attempts, applied: Index, now: u64) -> Step {
    let found = match seen {
        // Silence is not absence: starting on it makes two writers.
        Seen::Unknown(gate) => return wait(gate.reason, gate.message.clone(), None),
        Seen::Known(found) => found,
    };
    let found: Vec<&Found> = found.iter().filter(|f| f.ours).collect();
    if let Some(newer) = found.iter().find(|f| f.made_at > applied) {
        let message =
            format!("container {} was made at index {}, this node has read up to {applied}", newer.name, newer.made_at);
        return wait(Reason::StoreBehind, message, Some(now + millis(SOON)));
    }
    match want {
        Want::Nothing(reason) => match found.first() {
            None => Step::Nothing { look_again: None },
            Some(orphan) => retire(orphan, *reason, "it runs for no replica of this node".into(), now),
        },
        Want::Stop(reason) => match found.first() {
            None => Step::End { phase: ReplicaPhase::Stopped, reason: *reason, message: String::new() },
            Some(own) => retire(own, *reason, reason.meaning().trim().into(), now),
        },
        Want::Halt(reason) => match found.iter().find(|own| is_alive(own.state)) {
            Some(own) => retire(own, *reason, reason.meaning().trim().into(), now),
            None => Step::End { phase: ReplicaPhase::Stopped, reason: *reason, message: String::new() },
        },
        Want::Run(wanted) => run(wanted, &found, attempts, now),
    }
}

fn run(wanted: &Wanted, found: &[&Found], attempts: &Attempts, now: u64) -> Step {
    if let Some(extra) = found.iter().find(|f| *f.name != *wanted.name) {
        let message = format!("container {} carries the labels of {}", extra.name, wanted.name);
        return retire(extra, Reason::DriftDetected, message, now);
    }
    if let Some((phase, reason, message)) = attempts.ended.clone() {
        // The cluster counts on its end: what it wrote to may have another writer at any moment.
        return match found.first().filter(|own| is_alive(own.state)) {
            Some(own) => {
                let message = format!("somebody started it after it had ended for good ({message})");
                retire(own, Reason::DriftDetected, message, now)
            }
            None => Step::End { phase, reason, message },
        };
    }
    let Some(own) = found.first() else {
        // What it had done is not known: the next attempt is counted, and one like it may be forbidden.
        if wanted.once && attempts.life.is_some() {
            let message = "its container was removed before it had ended".into();
            return Step::End { phase: ReplicaPhase::Failed, reason: Reason::Failed, message };
        }
        return held_up(wanted, attempts, now).unwrap_or(Step::Create);
    };
    if let Some(message) = drift(wanted, own) {
        return retire(own, Reason::DriftDetected, message, now);
    }
    match own.state {
        ContainerState::Created => held_up(wanted, attempts, now).unwrap_or_else(|| start(own, attempts)),
        ContainerState::Running => running(wanted, own, attempts, now),
        // Its processes hold their memory and data: whoever froze it knows why.
        ContainerState::Paused => wait(Reason::DriftDetected, super::told::paused(&own.name), None),
        // The engine restarts by its own policy: take the counting over.
        ContainerState::Restarting if own.restart != EngineRestart::No => {
            Step::Protect { id: own.id.clone(), restart: EngineRestart::No }
        }
        ContainerState::Restarting => {
            wait(Reason::Starting, "the engine is restarting it".into(), Some(now + millis(SOON)))
        }
        ContainerState::Exited => after_exit(wanted, own, attempts, now),
        ContainerState::Dead | ContainerState::Removing => {
            retire(own, Reason::DriftDetected, "the engine is removing it".into(), now)
        }
    }
}

/// What holds up a start: a gate, or the wait after an attempt that failed.
fn held_up(wanted: &Wanted, attempts: &Attempts, now: u64) -> Option<Step> {
    if let Some(gate) = &wanted.gate {
        return Some(wait(gate.reason, gate.message.clone(), None));
    }
    let trouble = attempts.trouble.as_ref().filter(|t| t.until > now)?;
    Some(wait(trouble.reason, trouble.message.clone(), Some(trouble.until)))
}

/// Starts what is there, or makes way for a new one when the engine keeps refusing it: its network or
/// its files may be gone for good.
fn start(own: &Found, attempts: &Attempts) -> Step {
    match &attempts.trouble {
        Some(t) if t.reason == Reason::EngineRefused && t.count >= REFUSALS => Step::Remove {
            id: own.id.clone(),
            reason: Reason::DriftDetected,
            message: format!("it cannot be started ({}); a new one is made", t.message),
        },
        Some(_) | None => Step::Start { id: own.id.clone() },
    }
}

/// Whether a container is another one than the placement asks for.
fn drift(wanted: &Wanted, own: &Found) -> Option<String> {
    if own.spec_hash != wanted.spec_hash {
        return Some(format!("its label says revision hash {}, wanted is {}", own.spec_hash, wanted.spec_hash));
    }
    (own.epoch != wanted.epoch).then(|| format!("its label says placement {}, wanted is {}", own.epoch, wanted.epoch))
}

fn running(wanted: &Wanted, own: &Found, attempts: &Attempts, now: u64) -> Step {
    if !own.missing.is_empty() {
        return match attempts.trouble.as_ref().filter(|t| t.until > now) {
            Some(trouble) => wait(Reason::DriftDetected, trouble.message.clone(), Some(trouble.until)),
            None => Step::Connect { id: own.id.clone(), networks: own.missing.clone() },
        };
    }
    // What failed is tried again when its time has come: the container works as it is.
    if let Some(reload) = wanted.reload.clone().filter(|_| attempts.trouble.as_ref().is_none_or(|t| t.until <= now)) {
        return Step::Reload { id: own.id.clone(), reload };
    }
    if let Some(since) = attempts.unhealthy_since.filter(|_| restarts_unhealthy(wanted, attempts)) {
        let verdicts = wanted.auto_restart.after.saturating_sub(1);
        let due = since + millis(wanted.probe_interval.saturating_mul(verdicts));
        let due = due.max(attempts.unhealthy_not_before(&wanted.auto_restart));
        let message = attempts.health_message.clone();
        return if due > now {
            wait(Reason::Unhealthy, message, Some(due))
        } else {
            Step::Restart { id: own.id.clone(), reason: Reason::Unhealthy, message }
        };
    }
    let policy = engine_policy(wanted, own, attempts, now);
    if policy != own.restart {
        return Step::Protect { id: own.id.clone(), restart: policy };
    }
    // It works, and only a new container would be as declared: whoever changed it knows why.
    if !own.changed.is_empty() && attempts.healthy_since.is_some() {
        return wait(Reason::ChangedByHand, super::told::changed(&own.changed), None);
    }
    let may_settle = engine_may_restart(wanted) && own.restart == EngineRestart::No;
    let settles = attempts.healthy_since.map(|since| since + millis(SETTLED));
    let settles = settles.filter(|at| *at > now && (may_settle || attempts.has_history()));
    // A reload that failed.
    let again = attempts.trouble.as_ref().filter(|_| wanted.reload.is_some()).map(|t| t.until);
    Step::Nothing { look_again: [settles, again].into_iter().flatten().min() }
}

/// Whether bad health may restart it: a restart like any other, which its policy has to allow.
const fn restarts_unhealthy(wanted: &Wanted, attempts: &Attempts) -> bool {
    wanted.auto_restart.on_unhealthy
        && match wanted.restart {
            Restart::Always | Restart::UnlessStopped | Restart::OnFailure(None) => true,
            Restart::OnFailure(Some(limit)) => attempts.failed_runs() < limit,
            Restart::No => false,
        }
}

/// The engine restarts a container by itself only when it is settled, none of its data has to be looked at first,
/// and the service wants to be restarted always.
fn engine_policy(wanted: &Wanted, own: &Found, attempts: &Attempts, now: u64) -> EngineRestart {
    if !engine_may_restart(wanted) {
        return EngineRestart::No;
    }
    match attempts.healthy_since {
        Some(since) if now >= since + millis(SETTLED) => EngineRestart::UnlessStopped,
        // Not yet known to be bad: an agent that just came back changes nothing.
        None if attempts.unhealthy_since.is_none() && attempts.failures == 0 => own.restart,
        Some(_) | None => EngineRestart::No,
    }
}

const fn engine_may_restart(wanted: &Wanted) -> bool {
    match wanted.restart {
        Restart::Always | Restart::UnlessStopped => !wanted.looks_at_host,
        Restart::No | Restart::OnFailure(_) => false,
    }
}

fn after_exit(wanted: &Wanted, own: &Found, attempts: &Attempts, now: u64) -> Step {
    let code = attempts.last_exit.as_ref().map_or(0, |e| e.code);
    let failed = |message| Step::End { phase: ReplicaPhase::Failed, reason: Reason::Failed, message };
    let cause = attempts.cause();
    match (wanted.restart, cause) {
        (Restart::No | Restart::OnFailure(_), Cause::Itself) if code == 0 => {
            let (phase, reason) = (ReplicaPhase::Completed, Reason::Completed);
            return Step::End { phase, reason, message: "exit 0".into() };
        }
        (Restart::No, Cause::Itself) => return failed(format!("exit {code}")),
        // It did not come to its own end, and is not to be started twice.
        (Restart::No, Cause::Hand) => return failed(format!("somebody stopped it: exit {code}")),
        (Restart::No, Cause::Engine) => return failed(format!("it ended with its engine: exit {code}")),
        (Restart::OnFailure(Some(limit)), Cause::Itself) if attempts.failed_runs() > limit => {
            return failed(format!("exit {code}"));
        }
        (Restart::UnlessStopped, Cause::Hand) => {
            let message = "somebody stopped it, and with restart: unless-stopped it stays so".into();
            return wait(Reason::StoppedByHand, message, None);
        }
        (Restart::No | Restart::OnFailure(_) | Restart::UnlessStopped | Restart::Always, _) => {}
    }
    if attempts.not_before > now {
        let until = Some(attempts.not_before);
        if cause == Cause::Hand {
            return wait(Reason::StoppedByHand, "somebody stopped it; `suspend: true` keeps it so".into(), until);
        }
        let oom = attempts.last_exit.as_ref().is_some_and(|e| e.oom_killed);
        let reason = if oom { Reason::OOMKilled } else { Reason::CrashLoopBackOff };
        let how = if oom { ", killed for want of memory" } else { "" };
        return wait(reason, format!("exit {code}{how}, {} times in a row", attempts.failures), until);
    }
    held_up(wanted, attempts, now).unwrap_or_else(|| start(own, attempts))
}

/// Whether it has processes, or is about to.
#[must_use]
pub const fn is_alive(state: ContainerState) -> bool {
    match state {
        ContainerState::Running | ContainerState::Paused | ContainerState::Restarting => true,
        ContainerState::Created | ContainerState::Exited | ContainerState::Dead | ContainerState::Removing => false,
    }
}

/// Ends a container, in the way that its state asks for.
fn retire(found: &Found, reason: Reason, message: String, now: u64) -> Step {
    let id = found.id.clone();
    match found.state {
        ContainerState::Running | ContainerState::Paused | ContainerState::Restarting => {
            Step::Retire { id, reason, message }
        }
        ContainerState::Removing => wait(reason, "the engine is removing it".into(), Some(now + millis(SOON))),
        // A dead one stays until somebody asks for its removal again.
        ContainerState::Created | ContainerState::Exited | ContainerState::Dead => Step::Remove { id, reason, message },
    }
}

const fn wait(reason: Reason, message: String, until: Option<u64>) -> Step {
    Step::Wait { reason, message, until }
}

/// Whole milliseconds, for cluster time.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
