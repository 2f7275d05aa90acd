//! What is worth an event when a Service's status moves. Pure: two statuses in, events out.
//!
//! Not here: events that `apply` derives from commands (`Scheduled`, `Killing`, `ImageResolved`, …) and
//! those that agents observe.

use super::conditions::engine_is_silent;
use crate::model::{
    Condition, ConditionStatus, ConditionType, EventType, NewEvent, Reason, ServiceStatus, event::Subject,
};

/// Events of the step from one status to the next.
#[must_use]
pub fn news(old: Option<&ServiceStatus>, new: &ServiceStatus, subject: &Subject, now: u64) -> Vec<NewEvent> {
    let event = |kind, reason, message: String| NewEvent {
        kind,
        reason,
        object: subject.clone(),
        node: None,
        message,
        time: now,
        count: 1,
    };
    let mut events = Vec::new();
    let before = |kind| old.and_then(|s| find(s, kind));
    let ready = find(new, ConditionType::Ready);
    let was_true = |c: Option<&Condition>| c.is_some_and(|c| c.status == ConditionStatus::True);

    // What becomes of the runs of a job is told with them.
    let stays = new.job.is_none();
    if stays && old.is_some_and(|o| o.revision != new.revision && o.revision != 0) {
        let from = old.map_or(0, |o| o.revision);
        let count = new.replicas.desired;
        let plural = if count == 1 { "" } else { "s" };
        let message = format!("revision {from} -> {}: {count} replica{plural} to replace", new.revision);
        events.push(event(EventType::Normal, Reason::ReplicaSetUpdated, message));
    }
    let newly = new.unplaced.iter().filter(|(slot, _)| old.is_none_or(|o| !o.unplaced.contains_key(*slot)));
    let newly: Vec<_> = newly.collect();
    if let Some((slot, decision)) = newly.first() {
        let facts: Vec<String> = decision
            .considered
            .iter()
            .filter_map(|c| Some(format!("{}: {}", c.node, c.rejections.first()?.message)))
            .take(8)
            .collect();
        let more = if newly.len() > 1 { format!(" (and {} more slots)", newly.len() - 1) } else { String::new() };
        let message = format!("{}.{slot}{more}: {}", subject.name, facts.join("; "));
        events.push(event(EventType::Warning, Reason::FailedScheduling, message));
    }
    // A global service without a slot has nothing that could be unplaced.
    let homeless = |c: Option<&Condition>| c.is_some_and(|c| c.status == ConditionStatus::False);
    if let Some(c) = find(new, ConditionType::Scheduled).filter(|_| stays && new.replicas.desired == 0)
        && homeless(Some(c))
        && !(homeless(before(ConditionType::Scheduled)) && old.is_some_and(|o| o.replicas.desired == 0))
    {
        events.push(event(EventType::Warning, Reason::FailedScheduling, format!("no node fits: {}", c.message)));
    }
    // What is missing is the service's own matter; everything else has an event where it happens.
    if let Some(c) = ready.filter(|c| {
        matches!(c.reason, Reason::SecretMissing | Reason::ConfigMissing | Reason::WaitingForDependency)
            && before(ConditionType::Ready).is_none_or(|b| b.reason != c.reason)
    }) {
        events.push(event(EventType::Warning, c.reason, c.message.clone()));
    }
    // An engine that fell silent made nothing worse yet, and one that answers again makes nothing new.
    let silent = before(ConditionType::Ready)
        .is_some_and(|c| c.status == ConditionStatus::Unknown && engine_is_silent(c.reason));
    let was_available = before(ConditionType::Available).is_some_and(|c| match c.status {
        ConditionStatus::True => true,
        ConditionStatus::Unknown => silent,
        ConditionStatus::False => false,
    });
    if was_available && find(new, ConditionType::Available).is_some_and(|c| c.status == ConditionStatus::False) {
        let message = new.replicas.told();
        events.push(event(EventType::Warning, Reason::MinimumReplicasUnavailable, message));
    }
    let same = silent && old.is_some_and(|o| o.revision == new.revision);
    if stays && was_true(ready) && !was_true(before(ConditionType::Ready)) && !same && new.replicas.desired > 0 {
        let message = format!("{}, revision {}", new.replicas.told(), new.revision);
        events.push(event(EventType::Normal, Reason::NewReplicaReady, message));
    }
    events
}

fn find(status: &ServiceStatus, kind: ConditionType) -> Option<&Condition> {
    status.conditions.iter().find(|c| c.kind == kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Kind, ReplicaPhase, Resolution, Uid},
        plan::{
            rollout::cluster::{Cluster, resolved, spec},
            why::status,
        },
    };

    /// Brings the stored status up to date and answers the events of that step.
    fn step(cluster: &mut Cluster) -> Vec<(EventType, Reason)> {
        let new = status(&cluster.view, &cluster.nodes, cluster.now.max(5));
        let subject = Subject { kind: Kind::Service, name: "web".into(), uid: Uid("u".into()) };
        let events = new.as_ref().map(|n| news(cluster.view.status.as_ref(), n, &subject, 5)).unwrap();
        cluster.view.status = new;
        events.into_iter().map(|e| (e.kind, e.reason)).collect()
    }

    #[test]
    fn a_life_of_a_service_tells_its_turns_and_nothing_twice() {
        let mut cluster = Cluster::new(1, spec("a", 1));
        assert_eq!(step(&mut cluster), []);
        cluster.settle();
        assert_eq!(step(&mut cluster), [(EventType::Normal, Reason::NewReplicaReady)]);
        assert_eq!(step(&mut cluster), []);
        cluster.report("web-1-00001", ReplicaPhase::BackOff, false);
        assert_eq!(step(&mut cluster), [(EventType::Warning, Reason::MinimumReplicasUnavailable)]);
        cluster.declare(spec("b", 1), resolved());
        assert_eq!(step(&mut cluster), [(EventType::Normal, Reason::ReplicaSetUpdated)]);
        cluster.settle();
        assert_eq!(step(&mut cluster), [(EventType::Normal, Reason::NewReplicaReady)]);
        cluster.nodes[0].spec.schedulable = false;
        cluster.declare(spec("b", 3), resolved());
        assert_eq!(step(&mut cluster)[0], (EventType::Warning, Reason::FailedScheduling));
        assert_eq!(step(&mut cluster), []);
    }

    #[test]
    fn an_engine_that_falls_silent_makes_no_news_of_its_services_until_they_are_known_to_have_ended() {
        let mut cluster = Cluster::new(1, spec("a", 1));
        cluster.settle();
        step(&mut cluster);
        let silent = |cluster: &mut Cluster| {
            let status = cluster.find("web-1-00001").status.as_mut().unwrap();
            (status.reason, status.health) = (Some(Reason::DockerUnresponsive), "unknown".into());
        };
        silent(&mut cluster);
        assert_eq!(step(&mut cluster), []);
        cluster.report("web-1-00001", ReplicaPhase::Running, true);
        cluster.find("web-1-00001").status.as_mut().unwrap().health = "healthy".into();
        assert_eq!(step(&mut cluster), [], "it is what it was");
        silent(&mut cluster);
        assert_eq!(step(&mut cluster), []);
        cluster.report("web-1-00001", ReplicaPhase::Waiting, false);
        cluster.find("web-1-00001").status.as_mut().unwrap().health = "-".into();
        assert_eq!(step(&mut cluster), [(EventType::Warning, Reason::MinimumReplicasUnavailable)]);
    }

    #[test]
    fn a_global_service_that_fits_nowhere_is_told_once() {
        let mut declared = spec("a", 1);
        declared.mode = crate::model::service::Mode::Global;
        declared.placement.constraints = vec!["node.labels.disk == ssd".into()];
        let mut cluster = Cluster::new(1, declared);
        assert_eq!(step(&mut cluster), [(EventType::Warning, Reason::FailedScheduling)]);
        assert_eq!(step(&mut cluster), []);
        cluster.nodes[0].labels.insert("disk".into(), "ssd".into());
        cluster.settle();
        assert_eq!(step(&mut cluster), [(EventType::Normal, Reason::NewReplicaReady)]);
        cluster.nodes[0].labels.clear();
        let events = step(&mut cluster);
        assert!(events.contains(&(EventType::Warning, Reason::FailedScheduling)), "{events:?}");
    }

    #[test]
    fn what_becomes_of_a_job_is_told_with_its_runs() {
        let mut declared = spec("a", 1);
        (declared.mode, declared.replicas) = (crate::model::service::Mode::Job, None);
        let mut cluster = Cluster::new(1, declared.clone());
        let revision = cluster.view.revisions[&1].clone();
        let pending = crate::model::Revision { image: Resolution::Pending, ..(*revision).clone() };
        cluster.view.revisions.insert(1, pending.into());
        assert_eq!(step(&mut cluster), [], "an image that is not resolved yet is no lack of nodes");
        cluster.view.revisions.insert(1, revision);
        for phase in [ReplicaPhase::Running, ReplicaPhase::Failed] {
            let plan = cluster.plan();
            cluster.take(&plan);
            assert_eq!(step(&mut cluster), []);
            let name = cluster.view.replicas[0].replica.name.clone();
            cluster.report(&name, phase, phase == ReplicaPhase::Running);
            assert_eq!(step(&mut cluster), []);
        }
        let plan = cluster.plan();
        cluster.take(&plan);
        assert_eq!(step(&mut cluster), [], "another attempt is waited for");
        cluster.nodes[0].spec.schedulable = false;
        cluster.now += 60_000;
        assert_eq!(step(&mut cluster), [(EventType::Warning, Reason::FailedScheduling)]);
    }
}
