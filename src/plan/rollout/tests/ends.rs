//! How an update ends: deadlines and what they do not count, what may fail, what is gone back to, what a person undoes.

use super::{
    super::word::{Word, said},
    updates::{crash, record, step, updated, updating},
    *,
};
use crate::model::{RolloutPhase, service::Order};

/// As a person says it.
fn say(cluster: &mut Cluster, word: Word) {
    let index = Index(cluster.view.replicas.iter().map(|r| r.replica.index.0).max().unwrap_or(0));
    let now = cluster.now;
    if let Some(next) = said(&cluster.view, word, ("ada", now), index).unwrap() {
        cluster.view.rollout = Some(Arc::new(next));
    }
}

#[test]
fn the_time_that_a_person_takes_to_promote_is_not_the_rollouts() {
    let mut cluster = updating(3, |u| (u.canary, u.auto_promote) = (1, false));
    cluster.settle();
    assert_eq!(record(&cluster).phase, RolloutPhase::Progressing);
    cluster.now += 3_600_000;
    say(&mut cluster, Word::Promote);
    assert_eq!(step(&mut cluster).len(), 1, "the next one goes");
    cluster.settle();
    assert_eq!((record(&cluster).phase, record(&cluster).target), (RolloutPhase::Complete, 2));
}

#[test]
fn no_deadline_runs_while_nothing_is_wanted_while_one_leaves_or_while_nobody_knows() {
    // Changed while it was suspended, and wanted again much later.
    let mut cluster = updating(2, |_| ());
    let (spec, idle) = (updated("b", 2, |_| ()), ServiceSpec { suspend: true, ..updated("b", 2, |_| ()) });
    cluster.declare(idle, resolved());
    cluster.settle();
    cluster.now += 3_600_000;
    cluster.declare(spec, resolved());
    cluster.settle();
    assert_eq!((record(&cluster).phase, record(&cluster).target, cluster.ready()), (RolloutPhase::Complete, 2, 2));
    // The old one takes its time to end.
    let mut cluster = updating(2, |u| u.order = Order::StopFirst);
    assert_eq!(step(&mut cluster), ["stop web-1-00001 Superseded"]);
    step(&mut cluster);
    cluster.now += 3_600_000;
    assert_eq!(step(&mut cluster), [""; 0]);
    cluster.report("web-1-00001", ReplicaPhase::Stopped, false);
    cluster.settle();
    assert_eq!((record(&cluster).phase, record(&cluster).target), (RolloutPhase::Complete, 2));
    // A node was silent.
    let mut cluster = updating(1, |_| ());
    let name = step(&mut cluster).pop().unwrap();
    assert!(name.starts_with("place 1 r2"), "{name}");
    step(&mut cluster);
    cluster.now += 3_600_000;
    let newest = cluster.names().pop().unwrap();
    cluster.report(&newest, ReplicaPhase::Running, false);
    step(&mut cluster);
    assert_eq!(record(&cluster).phase, RolloutPhase::Progressing, "its time begins now");
    cluster.now += 3_600_000;
    step(&mut cluster);
    assert_eq!(record(&cluster).phase, RolloutPhase::RollingBack, "and is over");
}

#[test]
fn what_is_gone_back_to_and_does_not_come_back_either_stands_still_with_both_reasons() {
    let mut cluster = updating(2, |u| u.order = Order::StopFirst);
    step(&mut cluster);
    cluster.report("web-1-00001", ReplicaPhase::Stopped, false);
    step(&mut cluster);
    let new = cluster.names().into_iter().find(|n| n.ends_with("3")).unwrap();
    crash(&mut cluster, &new);
    step(&mut cluster);
    assert_eq!(record(&cluster).phase, RolloutPhase::RollingBack);
    cluster.report(&new, ReplicaPhase::Stopped, false);
    step(&mut cluster);
    let back = cluster.names().pop().unwrap();
    crash(&mut cluster, &back);
    step(&mut cluster);
    assert_eq!(record(&cluster).phase, RolloutPhase::RollingBack, "it is given its time");
    cluster.now += 3_600_000;
    step(&mut cluster);
    let end = record(&cluster);
    assert_eq!(end.phase, RolloutPhase::Halted);
    assert!(end.message.starts_with("revision 1 does not come back") && end.message.contains("; before that: web.1"));
    cluster.report(&back, ReplicaPhase::Running, true);
    cluster.settle();
    assert_eq!((record(&cluster).phase, cluster.ready()), (RolloutPhase::RolledBack, 2));
}

#[test]
fn what_may_fail_does_not_hold_the_others_up_for_ever() {
    let mut cluster = updating(3, |u| u.max_failures = 1);
    step(&mut cluster);
    step(&mut cluster);
    let new = cluster.names().pop().unwrap();
    crash(&mut cluster, &new);
    // The others work, that one never does.
    for _ in 0..20 {
        step(&mut cluster);
        for name in cluster.names().into_iter().filter(|name| *name != new) {
            let at = cluster.names().iter().position(|n| *n == name).unwrap();
            cluster.work_one(at);
        }
    }
    let end = record(&cluster);
    assert_eq!((end.phase, end.target, end.stable), (RolloutPhase::Complete, 2, Some(2)), "{end:?}");
    assert!(end.message.starts_with("1 of 3 failed: web.1"), "{}", end.message);
    cluster.now += 3_600_000;
    step(&mut cluster);
    assert_eq!(record(&cluster).phase, RolloutPhase::Complete);
}

#[test]
fn old_ones_that_run_and_are_not_ready_are_not_all_risked_for_one_that_nobody_knows() {
    let mut cluster = updating(3, |_| ());
    for name in ["web-1-00001", "web-2-00002", "web-3-00003"] {
        cluster.report(name, ReplicaPhase::Running, false);
    }
    assert_eq!(step(&mut cluster), ["stop web-1-00001 Superseded"]);
    assert_eq!(step(&mut cluster), [""; 0], "one at a time");
    for name in ["web-2-00002", "web-3-00003"] {
        crash(&mut cluster, name);
    }
    assert_eq!(step(&mut cluster).len(), 2, "those that plainly do not work are no loss");
}

#[test]
fn undo_goes_to_what_worked_and_never_to_what_failed() {
    let mut cluster = updating(1, |_| ());
    cluster.settle();
    let target = |cluster: &Cluster| {
        said(&cluster.view, Word::Undo(None), ("ada", 1), Index(9)).map(|record| record.unwrap().target)
    };
    assert_eq!(target(&cluster), Ok(1));
    cluster.declare(updated("c", 1, |_| ()), resolved());
    step(&mut cluster);
    let new = cluster.names().pop().unwrap();
    crash(&mut cluster, &new);
    step(&mut cluster);
    assert_eq!(record(&cluster).phase, RolloutPhase::RollingBack);
    assert!(target(&cluster).unwrap_err().message.contains("has gone back already, to revision 2"));
    cluster.settle();
    assert!(target(&cluster).is_err());
    cluster.declare(updated("d", 1, |_| ()), resolved());
    cluster.settle();
    assert_eq!((record(&cluster).target, target(&cluster)), (4, Ok(2)), "3 never worked");
    // One that fails leaves its reason.
    say(&mut cluster, Word::Undo(Some(1)));
    step(&mut cluster);
    let new = cluster.names().pop().unwrap();
    crash(&mut cluster, &new);
    cluster.settle();
    let end = record(&cluster);
    assert_eq!((end.phase, end.target), (RolloutPhase::RolledBack, 4));
    assert!(end.message.contains("web.1") && !end.log_tail.is_empty(), "{end:?}");
}
