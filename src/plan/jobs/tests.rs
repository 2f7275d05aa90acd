//! Tables of runs, and what holds for every history of reports.

mod history;
mod limits;

use super::*;
use crate::model::{
    Desired, Period, ReplicaPhase, Resolution, RunState, ServiceSpec,
    job::Trigger,
    schedule::Schedule,
    service::{Concurrency, Mode, Mount},
    status::LastExit,
};
use crate::plan::rollout::{
    Step,
    cluster::{Cluster, failed, resolved, spec},
};

const MINUTE: u64 = 60_000;

fn job(edit: impl FnOnce(&mut ServiceSpec)) -> Cluster {
    let mut declared = ServiceSpec { mode: Mode::Job, replicas: None, ..spec("a", 1) };
    edit(&mut declared);
    Cluster::new(2, declared)
}
fn cron(schedule: &str, edit: impl FnOnce(&mut ServiceSpec)) -> Cluster {
    job(|s| {
        (s.mode, s.schedule) = (Mode::Cron, Some(schedule.into()));
        edit(s);
    })
}
fn state_mount() -> Mount {
    serde_json::from_value(serde_json::json!({"type": "bind", "source": "/srv/db", "target": "/data"})).unwrap()
}
/// One look, carried out.
fn step(cluster: &mut Cluster) -> Plan {
    let plan = cluster.plan();
    cluster.take(&plan);
    plan
}
/// Looks until one asks for nothing; what is to stop stops.
fn settle(cluster: &mut Cluster) -> Plan {
    for _ in 0..200 {
        let plan = step(cluster);
        let stopping: Vec<_> = cluster.view.replicas.iter().filter(|r| r.replica.desired == Desired::Stop).collect();
        let stopping = stopping.iter().filter(|r| r.status.as_ref().is_none_or(|s| s.phase != ReplicaPhase::Stopped));
        let names: Vec<Arc<str>> = stopping.map(|r| r.replica.name.clone()).collect();
        if plan.steps.is_empty() && names.is_empty() {
            return plan;
        }
        names.iter().for_each(|name| cluster.report(name, ReplicaPhase::Stopped, false));
    }
    panic!("it does not settle: {:#?}", cluster.plan());
}
fn live(cluster: &Cluster) -> Vec<Arc<str>> {
    let ended = |r: &ReplicaView| r.status.as_ref().is_some_and(|s| s.phase.ended());
    cluster.view.replicas.iter().filter(|r| !ended(r)).map(|r| r.replica.name.clone()).collect()
}
/// The only one under way ends.
fn end(cluster: &mut Cluster, phase: ReplicaPhase) {
    let names = live(cluster);
    assert_eq!(names.len(), 1, "{names:?}");
    cluster.report(&names[0], phase, false);
    settle(cluster);
}
fn runs(cluster: &Cluster) -> Vec<Run> {
    cluster.view.job.as_ref().map(|job| job.runs.clone()).unwrap_or_default()
}
fn states(cluster: &Cluster) -> Vec<(u64, RunState, Option<Reason>)> {
    runs(cluster).iter().map(|run| (run.number, run.state, run.reason)).collect()
}
fn declared(cluster: &Cluster) -> ServiceSpec {
    (*cluster.view.declared.as_ref().unwrap().1).clone()
}
/// The time of a text.
fn at(text: &str) -> u64 {
    u64::try_from(text.parse::<jiff::Timestamp>().unwrap().as_millisecond()).unwrap()
}
fn begun_by(cluster: &Cluster) -> Vec<Trigger> {
    runs(cluster).into_iter().map(|run| run.trigger).collect()
}

#[test]
fn a_job_runs_once_for_each_container_part() {
    let mut cluster = job(|_| {});
    settle(&mut cluster);
    assert_eq!(live(&cluster).len(), 1);
    assert_eq!(cluster.view.replicas[0].replica.run, Some(1));
    end(&mut cluster, ReplicaPhase::Completed);
    assert_eq!(states(&cluster), [(1, RunState::Succeeded, None)]);
    assert!(live(&cluster).is_empty() && cluster.view.replicas.len() == 1, "its container is kept for its log");
    // What is around the container makes no run.
    cluster.declare(ServiceSpec { backoff_limit: Some(9), ..declared(&cluster) }, resolved());
    settle(&mut cluster);
    assert_eq!(runs(&cluster).len(), 1);
    let mut newer = declared(&cluster);
    newer.container.image = "b".into();
    cluster.declare(newer, resolved());
    settle(&mut cluster);
    assert_eq!(begun_by(&cluster), [Trigger::Spec, Trigger::Spec]);
    assert_eq!(runs(&cluster)[1].revision, 2);
}

#[test]
fn an_image_that_is_not_resolved_starts_nothing() {
    for image in [Resolution::Pending, failed()] {
        let mut cluster = Cluster::new(1, ServiceSpec { mode: Mode::Job, ..spec("a", 1) });
        let revision = cluster.view.revisions.values().next().unwrap().clone();
        let pending = crate::model::Revision { image, ..(*revision).clone() };
        cluster.view.revisions.insert(1, Arc::new(pending));
        let plan = settle(&mut cluster);
        assert!(live(&cluster).is_empty() && !plan.holds.is_empty(), "{plan:?}");
    }
}

#[test]
fn whoever_mends_an_image_or_a_command_does_not_wait_for_what_cannot_begin() {
    let mend = |cluster: &mut Cluster| {
        let mut newer = declared(cluster);
        newer.container.image = "b".into();
        cluster.declare(newer, resolved());
    };
    let replaced = [(1, RunState::Failed, Some(Reason::Replaced)), (2, RunState::Running, None)];
    // An image that does not exist: there is no attempt.
    let mut cluster = job(|_| {});
    let first = cluster.view.revisions[&1].clone();
    cluster.view.revisions.insert(1, Arc::new(crate::model::Revision { image: failed(), ..(*first).clone() }));
    settle(&mut cluster);
    mend(&mut cluster);
    settle(&mut cluster);
    assert_eq!((states(&cluster).as_slice(), live(&cluster).len()), (&replaced[..], 1));
    // A command that does not exist: there is one that the engine refuses.
    let mut cluster = job(|_| {});
    settle(&mut cluster);
    let name = live(&cluster)[0].clone();
    mend(&mut cluster);
    step(&mut cluster);
    assert_eq!(states(&cluster), [(1, RunState::Running, None)], "nobody knows whether it has started");
    cluster.report(&name, ReplicaPhase::BackOff, false);
    for _ in 0..3 {
        step(&mut cluster);
    }
    assert_eq!(states(&cluster), replaced);
    assert_eq!(live(&cluster), std::slice::from_ref(&name), "it may have begun meanwhile: its end is waited for");
    cluster.report(&name, ReplicaPhase::Stopped, false);
    settle(&mut cluster);
    assert_eq!(cluster.find(&live(&cluster)[0].clone()).replica.run, Some(2));
    // One that is at work is waited for.
    let mut cluster = job(|_| {});
    settle(&mut cluster);
    let name = live(&cluster)[0].clone();
    cluster.report(&name, ReplicaPhase::Running, true);
    mend(&mut cluster);
    settle(&mut cluster);
    assert_eq!(states(&cluster), [(1, RunState::Running, None)]);
    end(&mut cluster, ReplicaPhase::Completed);
    assert_eq!(states(&cluster), [(1, RunState::Succeeded, None), (2, RunState::Running, None)]);
}

#[test]
fn a_failed_attempt_is_followed_by_another_until_the_limit() {
    let mut cluster = job(|s| s.backoff_limit = Some(2));
    settle(&mut cluster);
    let mut waits = Vec::new();
    for _ in 0..2 {
        end(&mut cluster, ReplicaPhase::Failed);
        assert!(live(&cluster).is_empty(), "it waits");
        let next = cluster.plan().look_again.unwrap();
        waits.push(next - cluster.now);
        cluster.now = next;
        settle(&mut cluster);
    }
    assert_eq!(waits, [10_000, 20_000]);
    end(&mut cluster, ReplicaPhase::Failed);
    assert_eq!(states(&cluster), [(1, RunState::Failed, Some(Reason::BackoffLimitExceeded))]);
    cluster.now += 100 * MINUTE;
    settle(&mut cluster);
    assert!(live(&cluster).is_empty());
    assert_eq!(cluster.view.replicas.len(), 3, "every attempt is kept for its log");
}

#[test]
fn attempts_wait_at_most_six_minutes() {
    let run = |failed| Run { failed, failed_at: Some(0), ..Run::default() };
    let waits: Vec<u64> = (0..9).map(|failed| next_attempt(&run(failed)) / 1_000).collect();
    assert_eq!(waits, [0, 10, 20, 40, 80, 160, 320, 360, 360]);
}

#[test]
fn a_run_that_takes_too_long_is_stopped() {
    let mut cluster = job(|s| s.active_deadline = Some(Period::secs(60)));
    settle(&mut cluster);
    assert_eq!(cluster.plan().look_again, Some(cluster.now + MINUTE));
    cluster.now += MINUTE;
    let plan = step(&mut cluster);
    let stop = |s: &Step| matches!(s, Step::Stop { reason: Reason::DeadlineExceeded, .. });
    assert!(plan.steps.iter().any(stop), "{plan:?}");
    let ended = [(1, RunState::Failed, Some(Reason::DeadlineExceeded))];
    assert_eq!(states(&cluster), ended);
    // What it wrote is reported when it has been stopped, be it with 0.
    let name = live(&cluster)[0].clone();
    cluster.report(&name, ReplicaPhase::Stopped, false);
    let at = cluster.view.replicas.iter().position(|r| r.replica.name == name).unwrap();
    let exit = LastExit { log_tail: vec!["still copying".into()], ..LastExit::default() };
    cluster.view.replicas[at].status.as_mut().unwrap().last_exit = Some(exit);
    settle(&mut cluster);
    assert_eq!(
        (states(&cluster).as_slice(), runs(&cluster)[0].log_tail.clone()),
        (&ended[..], vec!["still copying".to_owned()])
    );
    let before = cluster.view.job.clone();
    cluster.now += MINUTE;
    settle(&mut cluster);
    assert_eq!(cluster.view.job, before, "and nothing follows");
}

#[test]
fn completions_are_worked_off_a_few_at_a_time_and_stay() {
    let mut cluster = job(|s| (s.completions, s.replicas) = (Some(5), Some(2)));
    settle(&mut cluster);
    for left in [4, 3, 2, 1] {
        let names = live(&cluster);
        assert_eq!(names.len(), 2.min(left + 1));
        cluster.report(&names[0], ReplicaPhase::Completed, false);
        settle(&mut cluster);
    }
    let last = live(&cluster);
    cluster.report(&last[0], ReplicaPhase::Completed, false);
    settle(&mut cluster);
    assert_eq!(states(&cluster), [(1, RunState::Succeeded, None)]);
    assert_eq!(runs(&cluster)[0].succeeded, 5);
}

#[test]
fn what_nobody_can_see_is_neither_completed_nor_failed() {
    let mut cluster = job(|_| {});
    settle(&mut cluster);
    let mut silent = crate::model::NodeStatus::default();
    silent.conditions.push(crate::model::Condition {
        kind: crate::model::ConditionType::Ready,
        status: crate::model::ConditionStatus::Unknown,
        reason: Reason::HealthUnknown,
        message: String::new(),
        last_transition_time: 0,
        observed_generation: 0,
    });
    let name = live(&cluster)[0].clone();
    cluster.report(&name, ReplicaPhase::Running, true);
    cluster.nodes.iter_mut().for_each(|n| n.status = Some(silent.clone()));
    cluster.now += 100 * MINUTE;
    let plan = settle(&mut cluster);
    assert_eq!((plan.steps.len(), live(&cluster).len()), (0, 1));
    assert_eq!(states(&cluster)[0].1, RunState::Running);
    // Its node was taken out: that one is lost, and another follows.
    let at = cluster.view.replicas[0].replica.node_uid.clone();
    cluster.nodes.retain(|n| n.uid != at);
    let resolved = cluster.nodes[0].clone();
    cluster.nodes[0] = NodeView {
        status: Some(crate::model::NodeStatus { conditions: vec![], ..resolved.status.unwrap() }),
        ..resolved
    };
    settle(&mut cluster);
    assert_eq!(runs(&cluster)[0].failed, 1);
}

#[test]
fn a_suspended_job_stops_and_begins_anew_afterwards() {
    let mut cluster = job(|_| {});
    settle(&mut cluster);
    cluster.declare(ServiceSpec { suspend: true, ..declared(&cluster) }, resolved());
    settle(&mut cluster);
    assert!(live(&cluster).is_empty());
    assert_eq!(states(&cluster), [(1, RunState::Failed, Some(Reason::Suspended))]);
    cluster.declare(ServiceSpec { suspend: false, ..declared(&cluster) }, resolved());
    settle(&mut cluster);
    assert_eq!((live(&cluster).len(), runs(&cluster).len()), (1, 2));
}

#[test]
fn a_schedule_begins_a_run_at_each_of_its_times() {
    let mut cluster = cron("0 * * * *", |_| {});
    cluster.now = at("2026-01-01T10:20:00Z");
    let plan = settle(&mut cluster);
    assert_eq!((runs(&cluster).len(), plan.look_again), (0, Some(at("2026-01-01T11:00:00Z"))));
    for hour in 11..14 {
        cluster.now = cluster.plan().look_again.unwrap();
        assert_eq!(cluster.now, at(&format!("2026-01-01T{hour}:00:00Z")));
        settle(&mut cluster);
        end(&mut cluster, ReplicaPhase::Completed);
    }
    assert_eq!(begun_by(&cluster)[2], Trigger::Schedule { due: at("2026-01-01T13:00:00Z") });
    assert!(runs(&cluster).iter().all(|run| run.state == RunState::Succeeded));
    assert_eq!(cluster.view.job.as_ref().unwrap().skipped, None);
}

#[test]
fn what_is_due_while_another_runs_follows_the_policy() {
    let busy = |policy, exclusive: bool| {
        let mut cluster = cron("0 * * * *", |s| {
            s.concurrency_policy = policy;
            s.container.volumes.extend(exclusive.then(state_mount));
        });
        cluster.now = at("2026-01-01T10:20:00Z");
        settle(&mut cluster);
        cluster.now = at("2026-01-01T11:00:00Z");
        settle(&mut cluster);
        cluster.now = at("2026-01-01T12:00:00Z");
        cluster
    };
    let mut cluster = busy(Concurrency::Forbid, false);
    settle(&mut cluster);
    assert_eq!(states(&cluster), [(1, RunState::Running, None)]);
    let skipped = cluster.view.job.as_ref().unwrap().skipped.clone().unwrap();
    assert_eq!((skipped.due, skipped.count), (at("2026-01-01T12:00:00Z"), 1));
    assert!(skipped.message.ends_with("run 1 is under way (concurrencyPolicy: forbid)"), "{}", skipped.message);

    let mut cluster = busy(Concurrency::Allow, false);
    settle(&mut cluster);
    assert_eq!(live(&cluster).len(), 2);

    let mut cluster = busy(Concurrency::Replace, false);
    settle(&mut cluster);
    let replaced = [(1, RunState::Failed, Some(Reason::Replaced)), (2, RunState::Running, None)];
    assert_eq!(states(&cluster), replaced);
    assert_eq!(live(&cluster).len(), 1);

    // Never two writers: the new one is placed when the old one has reported its end.
    let mut cluster = busy(Concurrency::Replace, true);
    let plan = step(&mut cluster);
    assert!(!plan.steps.iter().any(|s| matches!(s, Step::Place { .. })), "{plan:?}");
    step(&mut cluster);
    assert_eq!(live(&cluster).len(), 1, "it has not reported its end");
    settle(&mut cluster);
    assert_eq!(states(&cluster), replaced);
    assert_eq!(cluster.view.replicas.iter().filter(|r| r.replica.desired == Desired::Run).count(), 1);
}

#[test]
fn of_times_that_were_missed_the_newest_is_made_good_if_it_is_recent() {
    let missed = |away: u64| {
        let mut cluster = cron("*/5 * * * *", |_| {});
        cluster.now = at("2026-01-01T10:00:30Z");
        settle(&mut cluster);
        cluster.now += away;
        settle(&mut cluster);
        let job = cluster.view.job.clone().unwrap();
        (job.runs.iter().map(|r| r.trigger.clone()).collect::<Vec<_>>(), job.skipped.clone(), cluster)
    };
    let (begun, skipped, _) = missed(17 * MINUTE);
    assert_eq!(begun, [Trigger::Schedule { due: at("2026-01-01T10:15:00Z") }]);
    assert_eq!(skipped.unwrap().count, 2);

    let mut cluster = cron("0 3 * * *", |_| {});
    cluster.now = at("2026-01-01T02:00:00Z");
    settle(&mut cluster);
    cluster.now = at("2026-01-01T03:10:01Z");
    settle(&mut cluster);
    assert!(runs(&cluster).is_empty());
    assert_eq!(cluster.view.job.as_ref().unwrap().skipped.as_ref().unwrap().count, 1);

    // Away for months: counting ends, and the newest is found all the same.
    let (begun, skipped, mut cluster) = missed(100 * 24 * 60 * MINUTE);
    assert_eq!(begun, [Trigger::Schedule { due: at("2026-04-11T10:00:00Z") }]);
    assert!(skipped.unwrap().message.contains("and more"));
    let before = cluster.view.job.clone();
    settle(&mut cluster);
    assert_eq!(cluster.view.job, before, "a time is dealt with once");
}

#[test]
fn a_schedule_counts_from_when_it_was_declared_or_resumed() {
    let mut cluster = cron("0 0 * * *", |_| {});
    cluster.now = at("2026-01-01T10:00:00Z");
    settle(&mut cluster);
    cluster.declare(ServiceSpec { schedule: Some("0 9 * * *".into()), ..declared(&cluster) }, resolved());
    settle(&mut cluster);
    assert!(runs(&cluster).is_empty(), "9:00 was before it was declared");
    cluster.declare(ServiceSpec { suspend: true, ..declared(&cluster) }, resolved());
    settle(&mut cluster);
    cluster.now = at("2026-01-03T09:05:00Z");
    assert_eq!(settle(&mut cluster).look_again, None);
    cluster.declare(ServiceSpec { suspend: false, ..declared(&cluster) }, resolved());
    assert_eq!(settle(&mut cluster).look_again, Some(at("2026-01-04T09:00:00Z")));
    let job = cluster.view.job.as_ref().unwrap();
    assert!(job.runs.is_empty() && job.skipped.is_none(), "{job:?}");
}

#[test]
fn a_zone_that_cannot_be_read_begins_nothing() {
    let mut cluster = cron("0 * * * *", |s| s.time_zone = Some("Mars/Olympus".into()));
    cluster.now = at("2026-01-01T10:00:00Z");
    assert_eq!(settle(&mut cluster).look_again, None);
    assert!(Schedule::parse("0 * * * *", "Mars/Olympus").is_err());
}

#[test]
fn old_runs_go_and_the_newest_few_stay() {
    let mut cluster = cron("0 * * * *", |s| s.ttl_after_finished = Some(Period::secs(3 * 3_600)));
    cluster.now = at("2026-01-01T00:30:00Z");
    settle(&mut cluster);
    for _ in 0..8 {
        cluster.now = cluster.now.div_ceil(60 * MINUTE) * 60 * MINUTE;
        settle(&mut cluster);
        end(&mut cluster, ReplicaPhase::Completed);
        cluster.now += 1;
    }
    assert_eq!(runs(&cluster).iter().map(|run| run.number).collect::<Vec<_>>(), [6, 7, 8]);
    assert!(cluster.view.replicas.len() <= 3 + HISTORY, "{:?}", cluster.names());
    cluster.declare(ServiceSpec { suspend: true, ..declared(&cluster) }, resolved());
    cluster.now += 24 * 60 * MINUTE;
    settle(&mut cluster);
    assert_eq!(runs(&cluster).len(), FEW, "they are kept to be read");
    assert!(cluster.view.replicas.is_empty(), "their containers are not: {:?}", cluster.names());
}

#[test]
fn a_service_that_was_something_else_before_lets_go_of_it() {
    let mut cluster = Cluster::new(1, spec("a", 2));
    cluster.settle();
    cluster.declare(ServiceSpec { mode: Mode::Job, replicas: None, ..declared(&cluster) }, resolved());
    cluster.view.rollout = None;
    settle(&mut cluster);
    let running: Vec<_> = live(&cluster);
    assert_eq!(running.len(), 1);
    assert_eq!(cluster.find(&running[0].clone()).replica.run, Some(1));
    cluster.declare(ServiceSpec { mode: Mode::Replicated, replicas: Some(2), ..declared(&cluster) }, resolved());
    cluster.view.job = None;
    cluster.settle();
    assert!(
        cluster.view.replicas.iter().filter(|r| r.replica.desired == Desired::Run).all(|r| r.replica.run.is_none())
    );
    assert_eq!(cluster.ready(), 2);
}

#[test]
fn a_person_may_ask_for_a_run() {
    let mut cluster = cron("0 0 * * *", |_| {});
    settle(&mut cluster);
    let ask = |cluster: &mut Cluster| {
        let next = word::asked(&cluster.view, "ada", cluster.now)?;
        cluster.view.job = Some(Arc::new(next));
        settle(cluster);
        Ok::<(), word::Refused>(())
    };
    ask(&mut cluster).unwrap();
    assert_eq!(begun_by(&cluster), [Trigger::Hand { by: "ada".into() }]);
    assert_eq!(live(&cluster).len(), 1);
    let refused = ask(&mut cluster).unwrap_err();
    assert!(refused.busy && refused.message.starts_with("run 1 of svc/web is under way"), "{refused:?}");
    cluster.declare(ServiceSpec { concurrency_policy: Concurrency::Replace, ..declared(&cluster) }, resolved());
    ask(&mut cluster).unwrap();
    assert_eq!(states(&cluster)[0].2, Some(Reason::Replaced));
    cluster.declare(ServiceSpec { suspend: true, ..declared(&cluster) }, resolved());
    assert!(!ask(&mut cluster).unwrap_err().busy);
    let mut other = Cluster::new(1, spec("a", 1));
    assert!(ask(&mut other).unwrap_err().message.contains("is no job"));
}
