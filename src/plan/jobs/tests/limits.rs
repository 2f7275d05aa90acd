//! What ends runs that would not end by themselves, and what does not get lost with them.

use super::*;

#[test]
fn an_attempt_that_its_engine_refuses_counts_as_one_that_failed() {
    let mut cluster = job(|s| s.backoff_limit = Some(1));
    settle(&mut cluster);
    let refuse = |cluster: &mut Cluster| {
        let name = live(cluster)[0].clone();
        cluster.report(&name, ReplicaPhase::BackOff, false);
        let status = cluster.find(&name).status.as_mut().unwrap();
        status.reason = Some(Reason::EngineRefused);
        status.message = "no such command".into();
        name
    };
    let first = refuse(&mut cluster);
    let plan = settle(&mut cluster);
    let grace = cluster.now + 20_000;
    assert!(plan.look_again.is_some_and(|at| at <= grace), "an engine may take a moment later what it refused");
    assert_eq!((live(&cluster), runs(&cluster)[0].failed), (vec![first.clone()], 0));
    cluster.now = grace;
    settle(&mut cluster);
    assert_eq!(runs(&cluster)[0].failed, 1);
    cluster.now += 600_000;
    settle(&mut cluster);
    assert_ne!(refuse(&mut cluster), first, "another one follows");
    cluster.now += 20_000;
    settle(&mut cluster);
    assert_eq!(states(&cluster), [(1, RunState::Failed, Some(Reason::BackoffLimitExceeded))]);
    assert!(runs(&cluster)[0].message.contains("no such command"), "{}", runs(&cluster)[0].message);
    assert!(live(&cluster).is_empty());
}

#[test]
fn runs_that_never_end_are_not_begun_without_end() {
    let mut cluster = cron("* * * * *", |s| s.concurrency_policy = Concurrency::Allow);
    settle(&mut cluster);
    for _ in 0..80 {
        cluster.now += MINUTE;
        settle(&mut cluster);
    }
    assert_eq!(runs(&cluster).iter().filter(|run| run.runs()).count(), 50);
    let skipped = cluster.view.job.as_ref().unwrap().skipped.clone().unwrap();
    assert!(skipped.message.contains("50 runs are under way"), "{}", skipped.message);
}

#[test]
fn a_time_is_not_lost_when_a_newer_revision_takes_the_place_of_what_never_started() {
    let mut cluster = cron("* * * * *", |_| {});
    settle(&mut cluster);
    cluster.now += MINUTE;
    settle(&mut cluster);
    let due = begun_by(&cluster).pop().unwrap();
    let name = live(&cluster)[0].clone();
    cluster.report(&name, ReplicaPhase::Pulling, false);
    let mut newer = declared(&cluster);
    newer.container.image = "b".into();
    cluster.declare(newer, resolved());
    settle(&mut cluster);
    assert_eq!(states(&cluster), [(1, RunState::Failed, Some(Reason::Replaced)), (2, RunState::Running, None)]);
    assert_eq!((begun_by(&cluster)[1].clone(), runs(&cluster)[1].revision), (due, 2));
}
