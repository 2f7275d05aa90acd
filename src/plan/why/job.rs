//! What is said of a job: its runs instead of its replicas.
//!
//! Here: the differences, the conditions and the status of a Service of `mode: job` or `cron`. A job is ready while nothing
//! is wrong: one that waits for its next time is as declared, and so is one that is at work.
//! Not here: what follows (`plan::jobs`, asked by the look that all of `why` takes).

use super::{Difference, Look, conditions, hint, lower, placed, unplaced};
use crate::model::{
    Condition, ConditionStatus, ConditionType, Desired, JobRecord, Reason, ReplicaPhase, Run, RunState, ServiceStatus,
    Slot,
    service::Mode,
    status::{JobStatus, ReplicaCounts, RunStatus},
};
use crate::plan::{
    rollout::{Standing, standing},
    view::ReplicaView,
};

/// Runs that ended and stand in a status.
const SHOWN: usize = 3;
/// Slots of a run that are told one by one.
const SLOTS: usize = 16;

impl<'a> Look<'a> {
    pub(super) fn is_job(&self) -> bool {
        self.view.declared.as_ref().is_some_and(|(_, spec)| spec.mode.is_job())
    }

    /// As they are recorded: what the look would make of them is said when it is.
    fn runs(&self) -> &'a [Run] {
        self.view.job.as_ref().map_or(&[], |job| &job.runs)
    }

    /// Attempts that are not at their end.
    fn living(&self) -> impl Iterator<Item = &'a ReplicaView> {
        let ended =
            |r: &&ReplicaView| matches!(standing(r, self.nodes), Standing::Ended | Standing::Stopped | Standing::Gone);
        self.view.replicas.iter().filter(move |r| !ended(r))
    }

    /// A run is to begin as soon as it may.
    fn waits(&self) -> bool {
        let Some((_, spec)) = &self.view.declared else { return false };
        let newest = self.view.newest().map_or(0, |r| r.number);
        let begun = self.view.job.as_ref().map_or(0, |job| job.spec_run);
        spec.mode == Mode::Job && !spec.suspend && newest > begun
    }

    /// What differs of it.
    pub(super) fn of_job(&self) -> Vec<Difference> {
        let Some((_, spec)) = &self.view.declared else { return Vec::new() };
        let mut found: Vec<Difference> = self.image().into_iter().collect();
        found.extend(self.missing());
        found.extend(self.suspended(spec));
        found.extend(spec.due().and_then(Result::err).map(|wrong| {
            let schedule = spec.schedule.clone().unwrap_or_default();
            let hint = "write it anew and apply again".to_owned();
            Difference::new("schedule", schedule, "not understood", Reason::Failed)
                .because(wrong.to_string(), None)
                .hinted(Some(hint))
        }));
        if let Some(run) = self.runs().last().filter(|run| run.state == RunState::Failed && !spec.suspend) {
            let path = format!("runs/{}", run.number);
            let difference = Difference::new(path, "succeeded", "failed", run.reason.unwrap_or(Reason::Failed));
            let difference = difference.because(run.message.clone(), run.ended_at);
            let difference = difference.hinted(Some(hint::of_run(&self.view.name, run)));
            found.push(Difference { log: run.log_tail.clone(), ..difference });
        }
        if self.waits()
            && let Some(run) = self.runs().iter().find(|run| run.runs())
        {
            let newest = self.view.newest().map_or(0, |r| r.number);
            let message = format!("run {} of an older one is under way (concurrencyPolicy: forbid)", run.number);
            let path = format!("revisions/{newest}");
            let difference = Difference::new(path, "run", "waits for its turn", Reason::ReplicaSetUpdated);
            found.push(difference.because(message, run.started_at));
        }
        found.extend(self.living().filter_map(|r| self.attempt(r)));
        let taken = |slot: &Slot| self.living().any(|r| r.replica.slot == *slot && r.replica.desired == Desired::Run);
        let holds = self.plan.holds.iter().filter(|(slot, _)| !taken(slot)).take(SLOTS);
        found.extend(holds.map(|(slot, hold)| {
            let decision = self.plan.unplaced.get(slot);
            let (reason, message) = decision.map_or_else(|| (hold.reason, hold.message.clone()), unplaced);
            let next = self.plan.look_again.filter(|_| reason == Reason::CrashLoopBackOff);
            let hint = decision.and_then(|decision| hint::of_placement(reason, decision));
            let difference = Difference::new(self.path(slot), "completed", "not placed", reason);
            let last = self.last_failed(slot);
            let log = last.map(placed::log).unwrap_or_default();
            Difference { next_attempt: next, log, ..difference.because(message, None).hinted(hint) }
        }));
        found
    }

    /// What the newest attempt of a slot that failed reported.
    fn last_failed(&self, slot: &Slot) -> Option<&'a crate::model::ReplicaStatus> {
        let attempts = self.view.replicas.iter().filter(|r| r.replica.slot == *slot && r.replica.run.is_some());
        let newest = attempts.max_by_key(|r| r.replica.index)?;
        newest.status.as_ref().filter(|s| s.phase == ReplicaPhase::Failed)
    }

    /// What differs of one attempt.
    pub(super) fn attempt(&self, r: &ReplicaView) -> Option<Difference> {
        let replica = &r.replica;
        let since = r.status.as_ref().map_or(replica.created_at, |s| s.since);
        let phase = r.status.as_ref().map_or(ReplicaPhase::Pending, |s| s.phase);
        match standing(r, self.nodes) {
            Standing::Stopping => {
                let reason = replica.stop_reason.unwrap_or(Reason::Superseded);
                let message =
                    format!("{}: {} lets it end", reason.meaning().trim().trim_end_matches('.'), replica.node);
                let path = format!("replicas/{}", replica.name);
                Some(Difference::new(path, "stopped", lower(phase), reason).because(message, since))
            }
            Standing::Stopped | Standing::Gone => None,
            // The next attempt, or the end of its run, says more.
            Standing::Ended => None,
            Standing::Unknown => Some(self.not_ready(r, self.path(&replica.slot), since)),
            Standing::Ready | Standing::NotReady if phase == ReplicaPhase::Running => {
                placed::drifted(r.status.as_ref()?, self.path(&replica.slot), since)
            }
            Standing::Ready | Standing::NotReady => Some(self.not_ready(r, self.path(&replica.slot), since)),
        }
    }

    /// What keeps it from having been done: none, when its newest run succeeded.
    pub(super) fn incomplete(&self) -> Option<(Reason, String)> {
        let newest = self.runs().last();
        if newest.is_some_and(|run| run.state == RunState::Succeeded) && !self.waits() {
            return None;
        }
        let differences = self.of_job();
        Some(match (conditions::leading(&differences), newest) {
            (Some(difference), _) => (difference.reason, conditions::facts(difference)),
            (None, Some(run)) => (Reason::ReplicaSetUpdated, short(run).told()),
            (None, None) => (Reason::ReplicaSetUpdated, "it never ran".into()),
        })
    }

    pub(super) fn job_status(&self, generation: u64) -> ServiceStatus {
        let differences = self.of_job();
        let runs = self.runs();
        let newest = runs.last();
        let ended: Vec<u64> = runs.iter().rev().filter(|run| !run.runs()).take(SHOWN).map(|run| run.number).collect();
        let running = |r: &&ReplicaView| r.status.as_ref().is_some_and(|s| s.phase == ReplicaPhase::Running);
        let running = u32::try_from(self.living().filter(running).count()).unwrap_or(u32::MAX);
        let desired = newest.map_or(0, |run| run.completions);
        let done = newest.map_or(0, |run| run.succeeded);
        ServiceStatus {
            conditions: self.job_conditions(&differences, generation),
            observed_generation: generation,
            replicas: ReplicaCounts { desired, running, ready: 0, updated: desired, completed: done },
            revision: self.view.newest().map_or(0, |r| r.number),
            rollout: None,
            job: Some(JobStatus {
                waits: self.waits(),
                next_due: self.next_due(),
                runs: runs.iter().filter(|run| run.runs() || ended.contains(&run.number)).map(short).collect(),
            }),
            unplaced: self
                .plan
                .unplaced
                .iter()
                .take(conditions::UNPLACED)
                .map(|(slot, decision)| (slot.to_string(), decision.clone()))
                .collect(),
        }
    }

    fn next_due(&self) -> Option<u64> {
        let (_, spec) = self.view.declared.as_ref()?;
        let looked = self.plan.job.as_ref().map_or(0, |job: &JobRecord| job.looked);
        spec.due().filter(|_| !spec.suspend)?.ok()?.next_due(looked)
    }

    fn job_conditions(&self, differences: &[Difference], generation: u64) -> Vec<Condition> {
        let old = |kind| self.view.status.as_ref().and_then(|s| s.conditions.iter().find(|c| c.kind == kind));
        let condition = |kind, (status, reason, message): (ConditionStatus, Reason, String)| Condition {
            kind,
            status,
            reason,
            message,
            last_transition_time: old(kind).filter(|c| c.status == status).map_or(self.now, |c| c.last_transition_time),
            observed_generation: generation,
        };
        let suspended = self.view.declared.as_ref().is_some_and(|(_, spec)| spec.suspend);
        let newest = self.runs().last();
        let busy = self.runs().iter().any(Run::runs);
        let left = self.living().count();
        let stuck = differences.iter().find(|d| conditions::stuck(d.reason));
        let told = self.told();
        let ready = match (stuck, newest.map(|run| run.state)) {
            _ if suspended && left == 0 => (ConditionStatus::True, Reason::Suspended, "suspended: nothing runs".into()),
            _ if suspended => (ConditionStatus::False, Reason::Suspended, format!("{left} on their way out")),
            (Some(d), _) => (ConditionStatus::False, d.reason, conditions::facts(d)),
            (None, Some(RunState::Failed)) => {
                let reason = newest.and_then(|run| run.reason).unwrap_or(Reason::Failed);
                (ConditionStatus::False, reason, told)
            }
            (None, Some(RunState::Succeeded)) => (ConditionStatus::True, Reason::Completed, told),
            (None, Some(RunState::Running)) => (ConditionStatus::True, Reason::RunStarted, told),
            (None, None) if self.waits() => {
                (ConditionStatus::False, Reason::Starting, "its run is about to begin".into())
            }
            (None, None) => (ConditionStatus::True, Reason::UpToDate, told),
        };
        let progressing = match newest.filter(|_| busy) {
            Some(run) => (ConditionStatus::True, Reason::RunStarted, short(run).told()),
            None => (ConditionStatus::False, ready.1, String::new()),
        };
        // One that waits for its next attempt was placed well enough.
        let held = self.plan.holds.iter().find(|(_, hold)| hold.reason != Reason::CrashLoopBackOff);
        let scheduled = match (self.plan.unplaced.iter().next(), held) {
            (Some((slot, decision)), _) => {
                let (reason, facts) = unplaced(decision);
                (ConditionStatus::False, reason, format!("{}.{slot}: {facts}", self.view.name))
            }
            (None, Some((slot, hold))) => {
                (ConditionStatus::False, hold.reason, format!("{}.{slot}: {}", self.view.name, hold.message))
            }
            (None, None) => (ConditionStatus::True, Reason::Scheduled, String::new()),
        };
        vec![
            condition(ConditionType::Ready, ready),
            condition(ConditionType::Progressing, progressing),
            condition(ConditionType::Scheduled, scheduled),
        ]
    }

    /// The last run and the next one, for people.
    fn told(&self) -> String {
        let last = self.runs().last().map(|run| short(run).told());
        let next = self.next_due().and_then(|due| {
            let schedule = self.view.declared.as_ref()?.1.due()?.ok()?;
            Some(format!("next at {}", schedule.told(due)))
        });
        last.into_iter().chain(next).collect::<Vec<_>>().join("; ")
    }
}

/// A run in short.
pub(super) fn short(run: &Run) -> RunStatus {
    let reason = run.reason.map_or_else(String::new, |reason| format!("{reason}: "));
    RunStatus {
        number: run.number,
        state: run.state,
        succeeded: run.succeeded,
        completions: run.completions,
        failed: run.failed,
        message: if run.state == RunState::Failed { format!("{reason}{}", run.message) } else { String::new() },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        model::{Resolution, ServiceSpec, Slot},
        plan::{
            rollout::cluster::{Cluster, failed, resolved, spec},
            why::{differences, status},
        },
    };

    fn job(image: Resolution, edit: impl FnOnce(&mut ServiceSpec)) -> Cluster {
        let mut declared = ServiceSpec { mode: Mode::Job, replicas: None, ..spec("a", 1) };
        edit(&mut declared);
        let mut cluster = Cluster::new(1, declared);
        let revision = cluster.view.revisions[&1].clone();
        cluster.view.revisions.insert(1, Arc::new(crate::model::Revision { image, ..(*revision).clone() }));
        let plan = cluster.plan();
        cluster.take(&plan);
        cluster
    }
    /// Ready, its reason and its message; then the paths and reasons of what differs.
    fn said(cluster: &Cluster) -> (ConditionStatus, Reason, String, Vec<String>) {
        let status = status(&cluster.view, &cluster.nodes, cluster.now).unwrap();
        let ready = status.conditions[0].clone();
        let found = differences(&cluster.view, &cluster.nodes, cluster.now);
        let found = found.iter().map(|d| format!("{} {}", d.path, d.reason)).collect();
        (ready.status, ready.reason, ready.message, found)
    }
    fn end(cluster: &mut Cluster, phase: ReplicaPhase) {
        let name = cluster.view.replicas.last().unwrap().replica.name.clone();
        cluster.report(&name, phase, false);
        let plan = cluster.plan();
        cluster.take(&plan);
    }

    #[test]
    fn a_job_is_ready_while_nothing_is_wrong() {
        use ConditionStatus::{False, True};
        let mut cluster = job(resolved(), |s| s.backoff_limit = Some(1));
        let (status, reason, message, found) = said(&cluster);
        assert_eq!((status, reason), (True, Reason::RunStarted));
        assert_eq!(
            (message.as_str(), found),
            ("run 1 is under way: 0 of 1 completed", vec!["replicas/web.1 HealthUnknown".to_owned()])
        );
        let name = cluster.view.replicas[0].replica.name.clone();
        cluster.report(&name, ReplicaPhase::Running, true);
        assert_eq!(said(&cluster).3, Vec::<String>::new(), "it is at work");
        // The next attempt is waited for.
        end(&mut cluster, ReplicaPhase::Failed);
        let (status, reason, message, _) = said(&cluster);
        assert_eq!((status, reason), (False, Reason::CrashLoopBackOff));
        assert_eq!(message, "web.1: 1 attempt failed; another follows");
        cluster.now += 60_000;
        let plan = cluster.plan();
        cluster.take(&plan);
        end(&mut cluster, ReplicaPhase::Failed);
        let (status, reason, message, found) = said(&cluster);
        assert_eq!((status, reason), (False, Reason::BackoffLimitExceeded));
        assert!(message.starts_with("runs/1: 2 attempts failed, the last web.1"), "{message}");
        assert_eq!(found, ["runs/1 BackoffLimitExceeded"]);
        let hint = differences(&cluster.view, &cluster.nodes, 0)[0].hint.clone().unwrap();
        assert!(hint.contains("constellation job logs web --run 1"), "{hint}");

        let mut done = job(resolved(), |_| {});
        end(&mut done, ReplicaPhase::Completed);
        let (status, reason, message, found) = said(&done);
        assert_eq!((status, reason, message.as_str(), found.len()), (True, Reason::Completed, "run 1 succeeded", 0));
        let status = super::super::status(&done.view, &done.nodes, 0).unwrap();
        assert_eq!((status.replicas.completed, status.replicas.desired), (1, 1));
        assert_eq!(status.job.unwrap().runs[0].state, RunState::Succeeded);
    }

    #[test]
    fn what_keeps_a_job_from_running_is_told() {
        let unresolved = job(failed(), |_| {});
        let (status, reason, _, found) = said(&unresolved);
        assert_eq!((status, reason), (ConditionStatus::False, Reason::ImageNotFound));
        assert_eq!(found, ["image ImageNotFound", "replicas/web.1 ImageNotFound"]);
        let suspended = job(resolved(), |s| s.suspend = true);
        let (status, reason, message, found) = said(&suspended);
        assert_eq!(
            (status, reason, message.as_str()),
            (ConditionStatus::True, Reason::Suspended, "suspended: nothing runs")
        );
        assert_eq!(found, ["suspend Suspended"]);
        let nowhere = job(resolved(), |s| s.placement.constraints.push("node.labels.gpu exists".into()));
        let status = status_of(&nowhere);
        assert!(status.unplaced.contains_key(&Slot::Number(1).to_string()), "{status:?}");
        assert_eq!(said(&nowhere).1, Reason::NoNodeFits);
    }

    fn status_of(cluster: &Cluster) -> ServiceStatus {
        status(&cluster.view, &cluster.nodes, cluster.now).unwrap()
    }

    #[test]
    fn a_schedule_names_its_next_time() {
        let cron = |schedule: &str, zone: Option<&str>| {
            job(resolved(), |s| {
                (s.mode, s.schedule) = (Mode::Cron, Some(schedule.into()));
                s.time_zone = zone.map(str::to_owned);
            })
        };
        let waits = cron("0 3 * * *", Some("Europe/Berlin"));
        let (status, reason, message, found) = said(&waits);
        assert_eq!((status, reason, found.len()), (ConditionStatus::True, Reason::UpToDate, 0));
        assert_eq!(message, "next at 1970-01-01T03:00:00+01:00");
        assert_eq!(status_of(&waits).job.unwrap().next_due, Some(2 * 3_600_000));
        let (status, reason, message, _) = said(&cron("* * *", None));
        assert_eq!((status, reason), (ConditionStatus::False, Reason::Failed));
        assert_eq!(message, "schedule: it has 3 fields, not 5");
    }
}
