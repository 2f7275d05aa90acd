//! What a node says of a replica: readiness from its sources, status from everything that is known. Pure.
//!
//! Here: [`verdict`] and [`status`]. Not here: probing (`reconcile::prober`), sending (`reconcile::reporter`).
//! Invariant: `since` moves only with phase or reason, so that an unchanged replica makes no change.

use std::{collections::BTreeMap, time::Duration};

use super::{Attempts, Step, Want, millis};
use crate::model::{NextImage, Reason, ReplicaPhase, ReplicaStatus, service::ReadinessSource, status::UNKNOWN};

/// What is known of a container's health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// No verdict yet.
    Starting,
    /// Good.
    Healthy,
    /// Bad.
    Unhealthy,
    /// Nobody asks.
    Unprobed,
    /// Who asks gives no answer: what is said is what was known last.
    Unknown,
}
impl Health {
    /// As tables show it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Unprobed => "-",
            Self::Unknown => UNKNOWN,
        }
    }
}

/// A verdict on a running container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it may get traffic.
    pub ready: bool,
    /// Its health.
    pub health: Health,
    /// Bad health is a reason for a restart. Not so when it never was good: it may be slow to start.
    pub counts: bool,
    /// What the probe said.
    pub message: String,
    /// When the verdict changes by time alone, cluster time.
    pub changes_at: Option<u64>,
}
impl Verdict {
    /// Good health.
    #[must_use]
    pub fn healthy() -> Self {
        Self { ready: true, health: Health::Healthy, counts: false, message: String::new(), changes_at: None }
    }
    /// Nothing is known yet.
    #[must_use]
    pub const fn starting(message: String) -> Self {
        Self { ready: false, health: Health::Starting, counts: false, message, changes_at: None }
    }
}

/// Whether a running container is ready. `engine`: the engine's health status and the last output of
/// its check; `probe`: our own prober's verdict; `since`: when it began to run, cluster time.
#[must_use]
pub fn verdict(
    source: &ReadinessSource,
    engine: Option<(&str, Option<&str>)>,
    probe: Option<&Verdict>,
    since: u64,
    now: u64,
) -> Verdict {
    match source {
        ReadinessSource::Probe(_) | ReadinessSource::Tcp(_) => {
            probe.cloned().unwrap_or_else(|| Verdict::starting(String::new()))
        }
        ReadinessSource::Healthcheck => match engine {
            Some(("healthy", _)) => Verdict::healthy(),
            // The engine's own start period is over when it says so.
            Some(("unhealthy", log)) => Verdict {
                ready: false,
                health: Health::Unhealthy,
                counts: true,
                message: log.unwrap_or("the health check fails").trim().into(),
                changes_at: None,
            },
            Some((_, log)) => Verdict::starting(log.unwrap_or_default().trim().into()),
            None => Verdict::starting("the container has no health check".into()),
        },
        ReadinessSource::RunningFor(time) => {
            let at = since + millis(*time);
            Verdict {
                ready: now >= at,
                health: Health::Unprobed,
                counts: false,
                message: if now >= at { String::new() } else { format!("ready after {} s", time.as_secs()) },
                changes_at: Some(at).filter(|at| *at > now),
            }
        }
    }
}

/// Between two verdicts of a source. `engine`: interval of the engine's own check.
#[must_use]
pub fn interval(source: &ReadinessSource, engine: Duration) -> Duration {
    match source {
        ReadinessSource::Probe(probe) => probe.interval.0,
        ReadinessSource::Tcp(_) => Duration::from_secs(5),
        ReadinessSource::Healthcheck => engine,
        ReadinessSource::RunningFor(_) => Duration::ZERO,
    }
}

/// What the engine told about the container of a replica.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Whether it runs.
    pub running: bool,
    /// Docker's id.
    pub container: Option<String>,
    /// Image id.
    pub image: Option<String>,
    /// Address on its first network.
    pub address: Option<String>,
    /// RFC 3339.
    pub started_at: Option<String>,
    /// Ports with where they are published.
    pub published: BTreeMap<String, Vec<String>>,
    /// Image id that the service's reference names on this node by now, when it is another one.
    pub newer_image: Option<String>,
    /// How far the node is with the image that the service goes on to.
    pub next_image: Option<NextImage>,
    /// The hooks after its start have run.
    pub hooked: bool,
}

/// What the executor is doing while a step takes its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doing {
    /// Only what the step says.
    Step,
    /// Fetching the image, so far.
    Pulling(String),
}

/// What is known of a replica when its status is made.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// From the engine.
    pub facts: &'a Facts,
    /// From before.
    pub attempts: &'a Attempts,
    /// On its health.
    pub verdict: Option<&'a Verdict>,
    /// Reported last.
    pub previous: Option<&'a ReplicaStatus>,
}

/// The status after a look.
#[must_use]
pub fn status(want: &Want, step: &Step, doing: &Doing, known: Known<'_>, now: u64) -> ReplicaStatus {
    let Known { facts, attempts, verdict, previous } = known;
    if let Some(same) = previous.and_then(|p| unchanged(want, step, facts, p, now)) {
        return same;
    }
    let ready = facts.running && verdict.is_some_and(|v| v.ready) && matches!(want, Want::Run(_)) && keeps_ready(step);
    let (phase, reason, message) = match (doing, step) {
        (Doing::Pulling(progress), _) => (ReplicaPhase::Pulling, Some(Reason::Pulling), progress.clone()),
        (Doing::Step, Step::End { phase, reason, message }) => (*phase, Some(*reason), message.clone()),
        (Doing::Step, Step::Nothing { .. } | Step::Protect { .. } | Step::Connect { .. } | Step::Reload { .. })
            if ready =>
        {
            (ReplicaPhase::Running, None, String::new())
        }
        (Doing::Step, Step::Nothing { .. } | Step::Protect { .. } | Step::Connect { .. } | Step::Reload { .. }) => {
            let unhealthy = verdict.is_some_and(|v| v.health == Health::Unhealthy);
            let message = verdict.map(|v| v.message.clone()).unwrap_or_default();
            (ReplicaPhase::Running, Some(if unhealthy { Reason::Unhealthy } else { Reason::Starting }), message)
        }
        (Doing::Step, Step::Wait { reason, message, until }) => {
            let phase = match (facts.running, until, attempts.last_exit.is_some() || attempts.trouble.is_some()) {
                (true, _, _) => ReplicaPhase::Running,
                (false, Some(_), true) => ReplicaPhase::BackOff,
                (false, _, _) => ReplicaPhase::Waiting,
            };
            (phase, Some(*reason), message.clone())
        }
        (Doing::Step, Step::Create | Step::Start { .. }) => {
            (ReplicaPhase::Starting, Some(Reason::Starting), String::new())
        }
        (Doing::Step, Step::Restart { reason, message, .. }) => {
            (ReplicaPhase::Starting, Some(*reason), message.clone())
        }
        (Doing::Step, Step::Retire { reason, message, .. } | Step::Remove { reason, message, .. }) => {
            let phase = match want {
                Want::Run(_) if attempts.ended.is_some() => ReplicaPhase::Stopping,
                Want::Run(_) => ReplicaPhase::Starting,
                Want::Stop(_) | Want::Halt(_) | Want::Nothing(_) => ReplicaPhase::Stopping,
            };
            (phase, Some(*reason), message.clone())
        }
    };
    let next_attempt = match step {
        Step::Wait { until, .. } => *until,
        _ => None,
    };
    let same = previous.is_some_and(|p| p.phase == phase && p.reason == reason && p.ready == ready);
    ReplicaStatus {
        phase,
        ready,
        reason,
        message,
        since: previous.filter(|_| same).map_or(now, |p| p.since),
        ready_since: ready.then(|| previous.filter(|p| same_life(p, facts)).and_then(|p| p.ready_since).unwrap_or(now)),
        next_attempt,
        refused_since: attempts.refused_since,
        container: facts.container.clone(),
        running_since: attempts.running_since,
        image: facts.image.clone(),
        address: facts.address.clone(),
        started_at: facts.started_at.clone(),
        health: match verdict {
            Some(v) if facts.running => v.health.as_str().into(),
            Some(_) | None => "-".into(),
        },
        restarts: attempts.restarts,
        failures: attempts.failures,
        unhealthy_restarts: attempts.unhealthy_restarts,
        last_exit: attempts.last_exit.clone(),
        published: facts.published.clone(),
        newer_image: facts.newer_image.clone(),
        next_image: facts.next_image.clone(),
        hooked: facts.hooked,
        contents: attempts.contents.clone(),
    }
}

/// What was said before, when an engine that is there gives no answer to an agent that has just begun: it
/// knows of no container, which is not to know that there is none.
fn unchanged(want: &Want, step: &Step, facts: &Facts, previous: &ReplicaStatus, now: u64) -> Option<ReplicaStatus> {
    let Step::Wait { reason: Reason::DockerUnresponsive, message, until } = step else { return None };
    if facts.container.is_some() || previous.container.is_none() || !matches!(want, Want::Run(_)) {
        return None;
    }
    let reason = Some(Reason::DockerUnresponsive);
    let since = if previous.reason == reason { previous.since } else { now };
    let health = if previous.ready { UNKNOWN.into() } else { previous.health.clone() };
    Some(ReplicaStatus { reason, message: message.clone(), since, next_attempt: *until, health, ..previous.clone() })
}

/// Whether it is the same run of the same container that was ready before.
fn same_life(previous: &ReplicaStatus, facts: &Facts) -> bool {
    previous.ready && previous.container == facts.container && previous.started_at == facts.started_at
}

/// Whether a ready container stays ready under a step. While the engine is silent the probes still say
/// what holds: an engine that restarts must not empty every route. Likewise for what differs but works.
const fn keeps_ready(step: &Step) -> bool {
    match step {
        Step::Nothing { .. } | Step::Protect { .. } | Step::Connect { .. } | Step::Reload { .. } | Step::End { .. } => {
            true
        }
        Step::Wait { reason, .. } => {
            matches!(
                reason,
                Reason::DockerDown
                    | Reason::DockerUnresponsive
                    | Reason::StoreBehind
                    | Reason::RestoreUnconfirmed
                    | Reason::DriftDetected
                    | Reason::ChangedByHand
            )
        }
        Step::Create | Step::Start { .. } | Step::Restart { .. } | Step::Retire { .. } | Step::Remove { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_comes_from_its_source() {
        use ReadinessSource::{Healthcheck, RunningFor, Tcp};
        let ten = RunningFor(Duration::from_secs(10));
        let good = Verdict::healthy();
        for (case, source, engine, probe, now, ready, health) in [
            ("not probed yet", &Tcp(80), None, None, 0, false, "starting"),
            ("probe is good", &Tcp(80), None, Some(&good), 0, true, "healthy"),
            ("the engine says so", &Healthcheck, Some(("healthy", None)), None, 0, true, "healthy"),
            ("the engine is not sure", &Healthcheck, Some(("starting", None)), None, 0, false, "starting"),
            ("the check fails", &Healthcheck, Some(("unhealthy", Some("no"))), None, 0, false, "unhealthy"),
            ("too young", &ten, None, None, 9_999, false, "-"),
            ("ran long enough", &ten, None, None, 10_000, true, "-"),
        ] {
            let verdict = verdict(source, engine, probe, 0, now);
            assert_eq!((verdict.ready, verdict.health.as_str()), (ready, health), "{case}");
        }
    }

    #[test]
    fn an_agent_that_begins_under_a_silent_engine_takes_nothing_back() {
        let ready = ReplicaStatus {
            phase: ReplicaPhase::Running,
            ready: true,
            container: Some("c".into()),
            started_at: Some("s".into()),
            since: 7,
            ..ReplicaStatus::default()
        };
        let (facts, attempts) = (Facts::default(), Attempts::resume(&ready));
        let say = |reason, want: &Want, previous| {
            let step = Step::Wait { reason, message: "no answer".into(), until: None };
            let known = Known { facts: &facts, attempts: &attempts, verdict: None, previous };
            status(want, &step, &Doing::Step, known, 10)
        };
        let run = Want::Run(crate::plan::agent::tests::wanted());
        let silent = say(Reason::DockerUnresponsive, &run, Some(&ready));
        assert_eq!(
            (silent.ready, silent.phase, silent.reason, silent.is_unknown()),
            (true, ReplicaPhase::Running, Some(Reason::DockerUnresponsive), true)
        );
        assert_eq!(
            (silent.container.as_deref(), silent.started_at.as_deref(), silent.since),
            (Some("c"), Some("s"), 10)
        );
        assert_eq!(say(Reason::DockerUnresponsive, &run, Some(&silent)), silent, "and says so once");
        // No engine at all: nothing of it can run.
        assert!(!say(Reason::DockerDown, &run, Some(&ready)).ready);
        assert!(!say(Reason::DockerUnresponsive, &run, None).ready);
        assert!(!say(Reason::DockerUnresponsive, &Want::Stop(Reason::Superseded), Some(&ready)).ready);
    }

    #[test]
    fn since_moves_only_with_the_phase_or_reason() {
        let wait = |until| Step::Wait { reason: Reason::CrashLoopBackOff, message: String::new(), until: Some(until) };
        let attempts = Attempts { last_exit: Some(Default::default()), ..Attempts::default() };
        let say = |step: &Step, previous: Option<&ReplicaStatus>, now| {
            let known = Known { facts: &Facts::default(), attempts: &attempts, verdict: None, previous };
            status(&Want::Stop(Reason::Superseded), step, &Doing::Step, known, now)
        };
        let first = say(&wait(50), None, 10);
        assert_eq!((first.phase, first.since, first.next_attempt), (ReplicaPhase::BackOff, 10, Some(50)));
        let second = say(&wait(90), Some(&first), 20);
        assert_eq!((second.since, second.next_attempt), (10, Some(90)));
        assert_eq!(say(&Step::Create, Some(&second), 30).since, 30);
    }
}
