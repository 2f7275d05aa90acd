//! What differs of a replica that has its place: it leaves, it is of before, it ended, or it is not ready yet.
//!
//! Here: [`Look::one`], with what a person can do about it. Not here: a slot without a replica ([`Look::slot`]), an attempt
//! of a job (`job`), what holds nothing up (`aside`).

use super::{Difference, Look, hint, lower, unplaced};
use crate::{
    model::{
        ConditionStatus, ConditionType, Desired, Reason, ReplicaPhase, ReplicaStatus, Resolution, RolloutPhase,
        service::Restart,
    },
    plan::{
        rollout::{self, Standing, standing},
        view::ReplicaView,
    },
};

impl Look<'_> {
    /// What differs of one replica.
    pub(super) fn one(&self, r: &ReplicaView) -> Option<Difference> {
        if self.is_job() && r.replica.run.is_some() {
            return self.attempt(r);
        }
        let replica = &r.replica;
        let standing = standing(r, self.nodes);
        let phase = r.status.as_ref().map_or(ReplicaPhase::Pending, |s| s.phase);
        if replica.desired == Desired::Stop {
            let reason = replica.stop_reason.unwrap_or(Reason::Superseded);
            let actual = lower(phase);
            let since = r.status.as_ref().map_or(replica.created_at, |s| s.since);
            let message = format!("{}: {} lets it end", reason.meaning().trim().trim_end_matches('.'), replica.node);
            let path = format!("replicas/{}", replica.name);
            return (standing == Standing::Stopping)
                .then(|| Difference::new(path, "stopped", actual, reason).because(message, since));
        }
        let path = self.path(&replica.slot);
        let status = r.status.as_ref();
        let since = status.map_or(replica.created_at, |s| s.since);
        let newest = self.view.target();
        if let Some(draining) = &replica.draining {
            let message = match self.plan.holds.get(&replica.slot) {
                Some(hold) if hold.reason == Reason::Draining => hold.message.clone(),
                Some(_) | None => draining.reason.meaning().trim().trim_end_matches('.').to_owned(),
            };
            let path = format!("replicas/{}", replica.name);
            let difference = Difference::new(path, "stopped", "off its routes", Reason::Draining);
            return Some(difference.because(message, draining.at));
        }
        if self.leaves(r) {
            let gone = self.view.declared.is_none() || replica.service_uid != self.view.uid;
            let spec = self.view.declared.as_ref().filter(|_| !gone).map(|(_, spec)| spec);
            let reason = spec.map_or(Reason::ServiceDeleted, |spec| rollout::surplus(spec, &replica.slot));
            return Some(
                Difference::new(path, "stopped", lower(phase), reason).because("is about to be stopped", since),
            );
        }
        let restarted = self.view.rollout.as_ref().is_some_and(|record| replica.index <= record.restarted);
        let old = restarted || newest.is_some_and(|n| n.spec_hash != replica.spec_hash);
        match standing {
            // One that failed for good is in the way of nothing: what is about to take its place counts.
            Standing::Ready | Standing::Ended if old => {
                let (wanted, has) = (newest.map_or(0, |n| n.number), replica.revision);
                let hold = self.plan.holds.get(&replica.slot);
                let (reason, message) = hold.map_or_else(
                    || (Reason::ReplicaSetUpdated, "is about to be replaced".to_owned()),
                    |hold| (hold.reason, hold.message.clone()),
                );
                let message = self.plan.unplaced.get(&replica.slot).map_or(message, |d| unplaced(d).1);
                let failed = match newest.map(|n| &n.image) {
                    Some(Resolution::Failed { since, .. }) => Some(*since),
                    _ => None,
                };
                let since = failed.or_else(|| self.since(ConditionType::Progressing, ConditionStatus::True));
                let is = if standing == Standing::Ready { "running".to_owned() } else { lower(phase) };
                let (desired, actual) = (format!("running revision {wanted}"), format!("{is} revision {has}"));
                let hint = hint::of_hold(reason, &self.view.name).or_else(|| self.of_next_image(reason, r));
                Some(Difference::new(path, desired, actual, reason).because(message, since).hinted(hint))
            }
            Standing::Ready => {
                let drifted = drifted(status?, path, since)?;
                let hint = self.hint(drifted.reason, r);
                Some(drifted.hinted(hint))
            }
            Standing::Ended => self.ended(r, path, since),
            Standing::Unknown | Standing::NotReady => Some(self.not_ready(r, path, since)),
            Standing::Gone => {
                let message = format!("node {} is not part of the cluster any more", replica.node);
                Some(Difference::new(path, "running", "unknown", Reason::NotPlacedHere).because(message, since))
            }
            Standing::Stopping | Standing::Stopped => None,
        }
    }

    /// About an old replica that stays because its node cannot fetch what comes next.
    fn of_next_image(&self, reason: Reason, r: &ReplicaView) -> Option<String> {
        let (record, next) = (self.plan.record.as_ref()?, self.view.target()?);
        // What nobody could look up is told of the image itself.
        next.image.resolved()?;
        let spec = rollout::spec_of(self.view, next.number)?;
        let fix = hint::of_next_image(reason, &spec.container.image, &r.replica.node)?;
        let (name, halted) = (&self.view.name, record.phase == RolloutPhase::Halted);
        let goes_on = halted.then(|| format!("; then: constellation rollout resume svc/{name}"));
        let back = record.stable.is_some_and(|stable| stable != record.target);
        let back = back.then(|| format!("; or keep what runs: constellation rollout undo svc/{name}"));
        Some([Some(fix), goes_on, back].into_iter().flatten().collect())
    }

    fn ended(&self, r: &ReplicaView, path: String, since: u64) -> Option<Difference> {
        let status = r.status.as_ref()?;
        let (_, spec) = self.view.declared.as_ref()?;
        // `restart: no` and `on-failure` let it end: with 0 that is what was wanted.
        let allowed = matches!(spec.container.restart, Restart::No | Restart::OnFailure(_));
        if status.phase == ReplicaPhase::Completed && allowed {
            return None;
        }
        let reason = status.reason.unwrap_or(match status.phase {
            ReplicaPhase::Completed => Reason::Completed,
            _ => Reason::Failed,
        });
        let difference = Difference::new(path, "running", lower(status.phase), reason);
        let difference = Difference { log: log(status), ..difference.because(message(status), since) };
        Some(difference.hinted(self.hint(reason, r)))
    }

    pub(super) fn not_ready(&self, r: &ReplicaView, path: String, since: u64) -> Difference {
        let Some(status) = &r.status else {
            let message = format!("placed on {}, which has not begun", r.replica.node);
            return Difference::new(path, "running", "placed", Reason::HealthUnknown).because(message, since);
        };
        let reason = status.reason.unwrap_or(match status.phase {
            ReplicaPhase::Pulling => Reason::Pulling,
            ReplicaPhase::BackOff => Reason::CrashLoopBackOff,
            ReplicaPhase::Running if status.health == "unhealthy" => Reason::Unhealthy,
            ReplicaPhase::Completed | ReplicaPhase::Failed | ReplicaPhase::Stopped => Reason::Exited,
            ReplicaPhase::Pending
            | ReplicaPhase::Waiting
            | ReplicaPhase::Starting
            | ReplicaPhase::Running
            | ReplicaPhase::Stopping => Reason::Starting,
        });
        let actual = match status.phase {
            ReplicaPhase::Running if status.ready && status.is_unknown() => "unknown, was ready".into(),
            ReplicaPhase::Running => format!(
                "running, {}",
                if status.health.is_empty() || status.health == "-" { "not ready" } else { &status.health }
            ),
            phase => lower(phase),
        };
        Difference {
            next_attempt: status.next_attempt,
            log: if status.phase == ReplicaPhase::BackOff { log(status) } else { Vec::new() },
            ..Difference::new(path, "running and ready", actual, reason)
                .because(message(status), since)
                .hinted(self.hint(reason, r))
        }
    }

    /// What a person can do about a replica.
    fn hint(&self, reason: Reason, r: &ReplicaView) -> Option<String> {
        if reason != Reason::DataMissing {
            return hint::of_replica(reason, r, self.view);
        }
        let spec = rollout::spec_of(self.view, r.replica.revision)?;
        let lineage = &self.nodes.iter().find(|n| n.uid == r.replica.node_uid)?.lineage;
        let told = r.status.as_ref().map_or("", |s| &s.message);
        let had = |place: &str| self.view.homes.iter().any(|h| h.source == place && h.node == r.replica.node_uid);
        let places = || {
            let all = spec.container.volumes.iter();
            let all = all.filter_map(|m| Some((m, m.place(&r.replica.slot.to_string(), lineage)?)));
            all.filter(|(_, place)| told.contains(place.as_str()))
        };
        Some(match places().find(|(mount, place)| mount.external && !had(place)) {
            Some((_, volume)) => hint::of_external(&r.replica, &volume),
            None => hint::of_data(&r.replica, places().map(|(_, place)| place)),
        })
    }
}

pub(super) fn drifted(status: &ReplicaStatus, path: String, since: u64) -> Option<Difference> {
    let reason = status.reason.filter(|r| matches!(r, Reason::DriftDetected | Reason::ChangedByHand))?;
    Some(Difference::new(path, "as declared", "changed by hand", reason).because(status.message.clone(), since))
}

pub(super) fn log(status: &ReplicaStatus) -> Vec<String> {
    status.last_exit.as_ref().map_or_else(Vec::new, |e| e.log_tail.clone())
}

/// The agent's words, and how the last container ended if they do not say.
fn message(status: &ReplicaStatus) -> String {
    match &status.last_exit {
        Some(exit) if status.message.is_empty() => {
            format!("exit {}{}", exit.code, if exit.oom_killed { ", out of memory" } else { "" })
        }
        _ => status.message.clone(),
    }
}
