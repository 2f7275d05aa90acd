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
mod tests {
    use super::*;

    fn exit(code: i64, finished_at: &str) -> LastExit {
        LastExit { code, finished_at: finished_at.into(), ..LastExit::default() }
    }
    fn crash(attempts: &mut Attempts, n: u32, now: u64) -> u64 {
        let id: Arc<str> = "c".into();
        attempts.runs(&id, &format!("s{n}"), now);
        attempts.exited(&id, exit(1, &format!("f{n}")), now);
        attempts.not_before - now
    }

    #[test]
    fn the_first_restart_is_at_once_then_ten_seconds_doubling_to_five_minutes() {
        let mut attempts = Attempts::default();
        let waits: Vec<_> = (0..8).map(|n| crash(&mut attempts, n, 1_000) / 1_000).collect();
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!((attempts.restarts, attempts.failures), (7, 8));
    }

    #[test]
    fn ten_healthy_minutes_are_forgiveness() {
        let mut attempts = Attempts::default();
        crash(&mut attempts, 0, 0);
        crash(&mut attempts, 1, 0);
        attempts.runs(&"c".into(), "s2", 0);
        let healthy = super::super::report::Verdict::healthy();
        attempts.health(&healthy, 0);
        attempts.health(&healthy, 599_999);
        assert_eq!(attempts.failures, 2);
        attempts.health(&healthy, 600_000);
        assert_eq!(attempts.failures, 0);
    }

    #[test]
    fn an_exit_counts_once_and_a_removal_is_no_crash() {
        let mut attempts = Attempts::default();
        let id: Arc<str> = "c".into();
        attempts.runs(&id, "s", 0);
        attempts.exited(&id, exit(137, "f"), 0);
        attempts.exited(&id, exit(137, "f"), 5);
        assert_eq!(attempts.failures, 1);
        attempts.vanished();
        assert_eq!((attempts.failures, attempts.not_before), (0, 0));
        // An exit that was followed by a start is no part of a removal.
        crash(&mut attempts, 1, 0);
        attempts.runs(&"c".into(), "s2", 0);
        attempts.vanished();
        assert_eq!(attempts.failures, 1);
    }

    #[test]
    fn only_its_own_exits_are_failures() {
        for (cause, failures, wait) in
            [(Cause::Itself, 1, 0), (Cause::Hand, 0, 10_000), (Cause::Agent, 0, 0), (Cause::Engine, 0, 0)]
        {
            let mut attempts = Attempts::default();
            attempts.runs(&"c".into(), "s", 0);
            attempts.exited(&"c".into(), LastExit { cause, ..exit(143, "f") }, 5);
            assert_eq!((attempts.failures, attempts.not_before), (failures, 5 + wait), "{cause:?}");
        }
    }

    #[test]
    fn attempts_that_the_engine_refuses_wait_up_to_a_minute() {
        let mut attempts = Attempts::default();
        let waits: Vec<_> = (0..8)
            .map(|_| {
                attempts.failed(Reason::PortConflict, String::new(), 0);
                attempts.trouble.as_ref().unwrap().until / 1_000
            })
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn refusals_count_from_the_first_in_a_row() {
        use Reason::{EngineRefused, ImageNotFound, NotGranted, PortConflict, RegistryUnreachable};
        #[derive(Clone, Copy)]
        enum Then {
            Fails(Reason),
            Runs,
            Ends,
            Vanishes,
            Waits,
            Freed(Reason),
            NewAgent,
        }
        use Then::{Ends, Fails, Freed, NewAgent, Runs, Vanishes, Waits};
        let table: [(&str, &[Then], Option<u64>); 14] = [
            ("nothing was refused", &[Fails(PortConflict)], None),
            ("the first counts", &[Fails(EngineRefused), Fails(EngineRefused), Fails(EngineRefused)], Some(0)),
            ("a row may have several reasons", &[Fails(EngineRefused), Fails(NotGranted)], Some(0)),
            (
                "what was refused before has nothing to do with it",
                &[Fails(PortConflict), Fails(EngineRefused)],
                Some(1),
            ),
            (
                "a registry was silent in between",
                &[Fails(ImageNotFound), Fails(RegistryUnreachable), Fails(ImageNotFound), Fails(ImageNotFound)],
                Some(2),
            ),
            ("its image came", &[Fails(ImageNotFound), Fails(EngineRefused), Fails(EngineRefused)], Some(1)),
            ("something else is waited for", &[Fails(EngineRefused), Waits, Fails(EngineRefused)], Some(2)),
            ("and nothing yet after it", &[Fails(EngineRefused), Waits], None),
            ("it runs", &[Fails(EngineRefused), Runs], None),
            ("a network of one that runs", &[Runs, Fails(EngineRefused)], None),
            ("it ran and is not started again", &[Runs, Ends, Fails(EngineRefused), Fails(EngineRefused)], Some(2)),
            ("no container is there at a look", &[Fails(EngineRefused), Vanishes, Fails(EngineRefused)], Some(0)),
            ("it is granted", &[Fails(NotGranted), Freed(NotGranted), Fails(EngineRefused)], Some(2)),
            (
                "the agent was restarted",
                &[Fails(EngineRefused), Freed(NotGranted), NewAgent, Fails(EngineRefused)],
                Some(0),
            ),
        ];
        for (case, course, since) in table {
            let mut attempts = Attempts::default();
            for (now, then) in (0..).zip(course) {
                match then {
                    Fails(reason) => attempts.failed(*reason, String::new(), now),
                    Runs => drop(attempts.runs(&"c".into(), "s", now)),
                    Ends => attempts.exited(&"c".into(), exit(1, "f"), now),
                    Vanishes => attempts.vanished(),
                    Waits => attempts.waits(),
                    Freed(from) => drop(attempts.is_freed(*from)),
                    NewAgent => {
                        let (phase, refused_since) = (ReplicaPhase::Pulling, attempts.refused_since);
                        let status = ReplicaStatus { phase, refused_since, ..ReplicaStatus::default() };
                        let stored = serde_json::to_string(&status).unwrap();
                        attempts = Attempts::resume(&serde_json::from_str(&stored).unwrap());
                    }
                }
            }
            assert_eq!(attempts.refused_since, since, "{case}");
        }
    }

    #[test]
    fn bad_health_waits_longer_each_time() {
        let (mut attempts, rules) = (Attempts::default(), AutoRestart::default());
        let waits: Vec<_> = (0..7)
            .map(|_| {
                attempts.restarting_unhealthy(0);
                attempts.unhealthy_not_before(&rules) / 1_000
            })
            .collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn a_new_agent_goes_on_where_the_old_one_was() {
        let status = ReplicaStatus {
            phase: ReplicaPhase::BackOff,
            reason: Some(Reason::CrashLoopBackOff),
            next_attempt: Some(9_000),
            restarts: 40,
            failures: 3,
            container: Some("c".into()),
            started_at: Some("s".into()),
            last_exit: Some(exit(1, "f")),
            ..ReplicaStatus::default()
        };
        let mut attempts = Attempts::resume(&status);
        attempts.exited(&"c".into(), exit(1, "f"), 5_000);
        assert_eq!((attempts.failures, attempts.not_before), (3, 9_000), "the exit that the status speaks of");
        attempts.exited(&"c".into(), exit(1, "g"), 9_000);
        assert_eq!((attempts.failures, attempts.not_before), (4, 49_000), "another one with the same code");

        // Older than its reason, which silence of its engine moves.
        let (phase, since, running_since) = (ReplicaPhase::Running, 8_000, Some(4_000));
        let status = ReplicaStatus { phase, ready: true, reason: None, since, running_since, ..status };
        let mut running = Attempts::resume(&status);
        assert!(!running.runs(&"c".into(), "s", 9_000));
        assert_eq!(running.running_since, Some(4_000));
        assert_eq!((running.restarts, running.failures, running.healthy_since), (40, 3, Some(8_000)));
        running.vanished();
        assert_eq!(running.failures, 3, "an older exit is no part of a removal");
    }

    #[test]
    fn whose_doing_an_exit_was_outlives_the_agent() {
        for cause in [Cause::Itself, Cause::Hand, Cause::Agent, Cause::Engine] {
            let status = ReplicaStatus {
                phase: ReplicaPhase::Waiting,
                container: Some("c".into()),
                last_exit: Some(LastExit { cause, ..exit(0, "f") }),
                ..ReplicaStatus::default()
            };
            let stored = serde_json::to_string(&status).unwrap();
            let attempts = Attempts::resume(&serde_json::from_str(&stored).unwrap());
            assert!(attempts.knows_exit(&"c".into(), "f"));
            assert_eq!(attempts.cause(), cause);
        }
    }

    #[test]
    fn a_new_agent_goes_on_with_the_wait_of_what_is_unhealthy() {
        let status = ReplicaStatus {
            phase: ReplicaPhase::Running,
            unhealthy_restarts: 3,
            last_exit: Some(LastExit { cause: Cause::Agent, at: 5_000, ..exit(0, "f") }),
            ..ReplicaStatus::default()
        };
        let mut attempts = Attempts::resume(&status);
        assert_eq!(attempts.unhealthy_not_before(&AutoRestart::default()), 45_000);
        attempts.restarting_unhealthy(50_000);
        assert_eq!(attempts.unhealthy_not_before(&AutoRestart::default()), 130_000);
    }
}
