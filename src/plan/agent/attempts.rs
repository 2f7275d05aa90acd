//! What a node remembers of a replica between two looks: lives, exits, backoff. Pure.
//!
//! Here: [`Attempts`] and what moves it. Not here: what follows ([`super::plan`]).
//! Kept in memory; what must survive the agent is read back from the replica's status ([`Attempts::resume`]).
//! Rules: the first restart at once, then 10 s doubling to 5 min, forgotten after ten healthy minutes;
//! what people stop or remove is no failure, nor is what ends with its engine.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{SETTLED, millis};
pub use crate::model::status::ExitCause as Cause;
use crate::model::{
    Reason, ReplicaPhase, ReplicaStatus,
    service::{AutoRestart, MIN_HEALTHY_TIME},
    status::LastExit,
};

/// Second restart in a row waits so long; each further one twice as long.
pub const FIRST_BACKOFF: Duration = Duration::from_secs(10);
/// Longest wait between two restarts.
pub const LONGEST_BACKOFF: Duration = Duration::from_secs(300);
/// What was stopped by hand is started again after this.
pub const HAND_BACKOFF: Duration = Duration::from_secs(10);
/// First wait after an attempt that the engine refused; each further one twice as long.
const FIRST_TROUBLE: Duration = Duration::from_secs(1);
/// Longest of these waits: a freed port or a mounted disk is noticed within a minute.
const LONGEST_TROUBLE: Duration = Duration::from_secs(60);

/// Memory of one replica.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attempts {
    /// The container as it was started last: its id and the engine's `StartedAt`.
    pub life: Option<(Arc<str>, String)>,
    /// When that was seen first, cluster time.
    pub running_since: Option<u64>,
    /// Starts after the first.
    pub restarts: u32,
    /// Exits of its own in a row.
    pub failures: u32,
    /// Earliest next start after an exit, cluster time.
    pub not_before: u64,
    /// The last exit.
    pub last_exit: Option<LastExit>,
    /// The exit that was counted last: id and `FinishedAt`.
    pub counted: Option<(Arc<str>, String)>,
    /// It ended for good.
    pub ended: Option<(ReplicaPhase, Reason, String)>,
    /// Why the last attempt to start it failed.
    pub trouble: Option<Trouble>,
    /// When the first of the attempts in a row that [`refuses`] names was refused, cluster time.
    pub refused_since: Option<u64>,
    /// Healthy since, cluster time.
    pub healthy_since: Option<u64>,
    /// Unhealthy since, cluster time.
    pub unhealthy_since: Option<u64>,
    /// Its bad health was told since it was ready last.
    pub told_unhealthy: bool,
    /// What the last verdict on its health said.
    pub health_message: String,
    /// Restarts for bad health in a row.
    pub unhealthy_restarts: u32,
    /// When the last of them was, cluster time.
    pub unhealthy_restarted: Option<u64>,
    /// Digests of the Configs and Secrets that the container was started with, by reference.
    pub contents: BTreeMap<String, String>,
}

/// An attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Its code.
    pub reason: Reason,
    /// For people.
    pub message: String,
    /// Next attempt, cluster time.
    pub until: u64,
    /// Failed attempts in a row.
    pub count: u32,
}

/// Whether an attempt that failed with this reason was refused for what the container is or needs.
#[must_use]
pub const fn refuses(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::EngineRefused
            | Reason::EngineTooOld
            | Reason::ImageNotFound
            | Reason::ArchitectureMismatch
            | Reason::DeviceMissing
            | Reason::NotGranted
            | Reason::BindSourceMissing
    )
}

impl Attempts {
    /// What can be known again after the agent itself was restarted.
    #[must_use]
    pub fn resume(status: &ReplicaStatus) -> Self {
        let container = status.container.as_deref().map(Arc::from);
        let life = container.zip(status.started_at.clone());
        let in_backoff = status.phase == ReplicaPhase::BackOff;
        let running = status.phase == ReplicaPhase::Running;
        let exit = status.last_exit.as_ref();
        let restarted = exit.filter(|e| e.cause == Cause::Agent && status.unhealthy_restarts > 0);
        Self {
            // What runs has not ended since; any other exit is one that the status speaks of, or a new one.
            counted: status
                .container
                .as_deref()
                .zip(exit.filter(|_| !running))
                .map(|(id, exit)| (id.into(), exit.finished_at.clone())),
            life,
            // Of a version of ours that did not note it: what was ready has run long enough for it.
            running_since: status.running_since.or_else(|| {
                let healthy = if status.ready { millis(MIN_HEALTHY_TIME) } else { 0 };
                running.then(|| status.since.saturating_sub(healthy))
            }),
            restarts: status.restarts,
            failures: status.failures,
            unhealthy_restarts: status.unhealthy_restarts,
            unhealthy_restarted: restarted.map(|e| e.at),
            not_before: status.next_attempt.filter(|_| in_backoff).unwrap_or(0),
            last_exit: status.last_exit.clone(),
            refused_since: status.refused_since,
            ended: status
                .phase
                .ended()
                .then(|| (status.phase, status.reason.unwrap_or(Reason::Completed), status.message.clone())),
            healthy_since: status.ready.then_some(status.since),
            told_unhealthy: running && status.reason == Some(Reason::Unhealthy),
            contents: status.contents.clone(),
            ..Self::default()
        }
    }

    /// A container runs. Answers whether this is a start that was not known.
    pub fn runs(&mut self, id: &Arc<str>, started_at: &str, now: u64) -> bool {
        if self.life.as_ref().is_some_and(|(known, at)| known == id && at == started_at) {
            self.running_since.get_or_insert(now);
            return false;
        }
        if self.life.is_some() {
            self.restarts = self.restarts.saturating_add(1);
        }
        self.life = Some((id.clone(), started_at.to_owned()));
        self.running_since = Some(now);
        (self.trouble, self.refused_since) = (None, None);
        (self.healthy_since, self.unhealthy_since) = (None, None);
        (self.counted, self.not_before, self.told_unhealthy) = (None, 0, false);
        self.health_message.clear();
        true
    }

    /// Whether an exit was counted already.
    #[must_use]
    pub fn knows_exit(&self, id: &Arc<str>, finished_at: &str) -> bool {
        self.counted.as_ref().is_some_and(|(known, at)| known == id && at == finished_at)
    }

    /// Whose doing the last exit was.
    #[must_use]
    pub fn cause(&self) -> Cause {
        self.last_exit.as_ref().map(|e| e.cause).unwrap_or_default()
    }

    /// A container ended; each exit counts once.
    pub fn exited(&mut self, id: &Arc<str>, exit: LastExit, now: u64) {
        if self.knows_exit(id, &exit.finished_at) {
            return;
        }
        self.counted = Some((id.clone(), exit.finished_at.clone()));
        (self.healthy_since, self.unhealthy_since, self.running_since) = (None, None, None);
        let cause = exit.cause;
        self.last_exit = Some(exit);
        self.not_before = match cause {
            Cause::Agent | Cause::Engine => now,
            Cause::Hand => now + millis(HAND_BACKOFF),
            Cause::Itself => {
                self.failures = self.failures.saturating_add(1);
                now + millis(doubled(FIRST_BACKOFF, self.failures.checked_sub(2), LONGEST_BACKOFF))
            }
        };
    }

    /// The container is gone and this agent did not remove it. Removing is no crash: the exit that came with it
    /// does not count.
    pub fn vanished(&mut self) {
        if self.counted.as_ref().map(|c| &c.0) == self.life.as_ref().map(|l| &l.0) && self.counted.is_some() {
            if self.cause() == Cause::Itself {
                self.failures = self.failures.saturating_sub(1);
            }
            self.not_before = 0;
        }
        (self.counted, self.running_since) = (None, None);
        (self.healthy_since, self.unhealthy_since) = (None, None);
    }

    /// An attempt failed. What a container lacks that runs is no refused start; and what is refused once its image came
    /// is another matter than that there was none.
    pub fn failed(&mut self, reason: Reason, message: String, now: u64) {
        let image = |reason| reason == Reason::ImageNotFound;
        let came = self.trouble.as_ref().is_some_and(|before| image(before.reason)) && !image(reason);
        let before = self.refused_since.filter(|_| !came);
        self.refused_since = (refuses(reason) && self.running_since.is_none()).then(|| before.unwrap_or(now));
        let count = self.trouble.as_ref().map_or(0, |t| t.count);
        let until = now + patience(count);
        self.trouble = Some(Trouble { reason, message, until, count: count.saturating_add(1) });
    }

    /// It waits for a change elsewhere: what was refused before says nothing of the attempt after it.
    pub const fn waits(&mut self) {
        self.refused_since = None;
    }

    /// What stood in its way does not any more, if that is why the last attempt failed: then it is tried at once.
    pub fn is_freed(&mut self, from: Reason) -> bool {
        let freed = self.trouble.take_if(|trouble| trouble.reason == from).is_some();
        self.refused_since = self.refused_since.filter(|_| !freed);
        freed
    }

    /// Its files are as they should be.
    pub fn reloaded(&mut self) {
        self.trouble = None;
    }

    /// It is on its networks again: what was said of its health without them does not count.
    pub fn connected(&mut self) {
        (self.trouble, self.unhealthy_since, self.told_unhealthy) = (None, None, false);
    }

    /// A verdict on the health of the running container.
    pub fn health(&mut self, verdict: &super::report::Verdict, now: u64) {
        use super::report::Health;
        self.health_message.clone_from(&verdict.message);
        self.told_unhealthy = !verdict.ready && (self.told_unhealthy || verdict.health == Health::Unhealthy);
        match verdict.health {
            // Nobody asks now: what was known stands.
            Health::Unknown => {}
            _ if verdict.ready => {
                let since = *self.healthy_since.get_or_insert(now);
                self.unhealthy_since = None;
                if now >= since + millis(SETTLED) {
                    (self.failures, self.unhealthy_restarts, self.unhealthy_restarted) = (0, 0, None);
                }
            }
            Health::Unhealthy if verdict.counts => {
                self.healthy_since = None;
                self.unhealthy_since.get_or_insert(now);
            }
            Health::Unhealthy | Health::Starting | Health::Healthy | Health::Unprobed => {
                (self.healthy_since, self.unhealthy_since) = (None, None);
            }
        }
    }

    /// It is being restarted for bad health: the next time waits longer.
    pub fn restarting_unhealthy(&mut self, now: u64) {
        self.unhealthy_restarts = self.unhealthy_restarts.saturating_add(1);
        (self.unhealthy_restarted, self.unhealthy_since) = (Some(now), None);
    }

    /// Earliest next restart for bad health, cluster time.
    #[must_use]
    pub fn unhealthy_not_before(&self, rules: &AutoRestart) -> u64 {
        let wait = doubled(rules.backoff.0, self.unhealthy_restarts.checked_sub(1), rules.max_backoff.0);
        self.unhealthy_restarted.map_or(0, |at| at + millis(wait))
    }

    /// Runs in a row that came to a bad end: what `on-failure:n` counts.
    #[must_use]
    pub const fn failed_runs(&self) -> u32 {
        self.failures.saturating_add(self.unhealthy_restarts)
    }

    /// Whether there is anything that ten healthy minutes would forget.
    #[must_use]
    pub const fn has_history(&self) -> bool {
        self.failures > 0 || self.unhealthy_restarts > 0
    }
}

/// Until what was refused so many times before is tried again, milliseconds.
#[must_use]
pub fn patience(refused: u32) -> u64 {
    millis(doubled(FIRST_TROUBLE, Some(refused), LONGEST_TROUBLE))
}

/// `first` doubled so many times; none: at once.
fn doubled(first: Duration, times: Option<u32>, longest: Duration) -> Duration {
    times.map_or(Duration::ZERO, |n| first.saturating_mul(1 << n.min(16)).min(longest))
}

#[cfg(test)]
mod tests;
