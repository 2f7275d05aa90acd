//! What a person says about a rollout, and what follows.

use super::{
    super::{
        cluster::failed,
        word::{self, Word},
    },
    updates::{crash, edit, record, step, updated, updating},
    *,
};
use crate::model::{
    Paused, Period, RolloutPhase,
    service::{FailureAction, Order},
};

fn say(cluster: &mut Cluster, word: Word) {
    let (now, index) = (cluster.now, Index(9));
    let next = word::said(&cluster.view, word, ("ada", now), index).unwrap().unwrap();
    edit(cluster, |r| *r = next);
}

/// Revisions of the replicas that shall run.
fn run(cluster: &Cluster) -> Vec<u64> {
    let wanted = cluster.view.replicas.iter().filter(|r| r.replica.desired == Desired::Run);
    wanted.map(|r| r.replica.revision).collect()
}

#[test]
fn words_are_taken_where_they_fit_and_refused_with_what_would() {
    let say = |cluster: &Cluster, word| word::said(&cluster.view, word, ("ada", 77), Index(9));
    let mut cluster = updating(2, |_| ());
    step(&mut cluster);
    assert!(say(&cluster, Word::Resume).unwrap_err().message.contains("not paused"));
    assert!(say(&cluster, Word::Promote).unwrap_err().hint.contains("update.canary"));
    assert_eq!(say(&cluster, Word::Undo(Some(7))).unwrap_err().hint, "kept are: 1, 2");
    let paused = say(&cluster, Word::Pause(Some("look first".into()))).unwrap().unwrap();
    assert_eq!(paused.paused, Some(Paused { by: "ada".into(), at: 77, why: Some("look first".into()) }));
    edit(&mut cluster, |r| *r = paused);
    assert_eq!(say(&cluster, Word::Pause(None)), Ok(None), "it is paused");
    assert_eq!(say(&cluster, Word::Resume).unwrap().unwrap().paused, None);
    assert_eq!(say(&cluster, Word::Restart).unwrap().unwrap().restarted, Index(9));
    let back = say(&cluster, Word::Undo(None)).unwrap().unwrap();
    assert_eq!((back.target, back.from, back.newest), (1, Some(2), 2), "the one that worked");
    assert_eq!(back.message, "revision 1 was asked for by ada");
    // What failed of a halted one is let pass, and no more.
    let mut cluster = updating(2, |u| u.failure_action = FailureAction::Pause);
    step(&mut cluster);
    crash(&mut cluster, "web-1-00003");
    step(&mut cluster);
    let on = say(&cluster, Word::Resume).unwrap().unwrap();
    assert_eq!((on.phase, on.tolerated, on.resumed_at), (RolloutPhase::Progressing, 1, Some(77)));
    // A newer revision than the record knows is what is spoken of.
    cluster.declare(updated("c", 2, |_| ()), resolved());
    assert_eq!(say(&cluster, Word::Pause(None)).unwrap().unwrap().target, 3);
    cluster.declare(updated("d", 2, |_| ()), failed());
    cluster.take(&cluster.plan());
    let unknown = say(&cluster, Word::Undo(Some(4)));
    assert_eq!(
        unknown,
        Err(word::Refused {
            message: "nobody knows what the image of revision 4 is".into(),
            hint: "apply what you want: a new revision looks its image up".into(),
        })
    );
}

#[test]
fn what_is_undone_goes_back_in_every_slot_and_waits_for_nobody() {
    for out in [false, true] {
        let mut cluster = updating(3, |u| (u.canary, u.auto_promote) = (1, false));
        cluster.settle();
        assert_eq!(run(&cluster).iter().filter(|revision| **revision == 2).count(), 1, "the canary");
        if out {
            say(&mut cluster, Word::Promote);
            cluster.settle();
            assert_eq!((record(&cluster).phase, run(&cluster)), (RolloutPhase::Complete, vec![2; 3]));
        }
        say(&mut cluster, Word::Undo(None));
        cluster.settle();
        let end = record(&cluster);
        assert_eq!((end.phase, end.target, run(&cluster)), (RolloutPhase::Complete, 1, vec![1; 3]), "{end:?}");
    }
}

#[test]
fn a_pause_does_not_shorten_the_delay_after_the_last_one() {
    let mut cluster = updating(2, |u| (u.order, u.delay) = (Order::StopFirst, Period::secs(600)));
    while !run(&cluster).contains(&2) {
        cluster.work();
        step(&mut cluster);
    }
    cluster.work();
    cluster.now += 11_000;
    step(&mut cluster);
    let (until, before) = (cluster.plan().look_again, told(&cluster.plan()));
    assert!(before.is_empty() && until.is_some_and(|until| until > cluster.now + 500_000), "{until:?}");
    say(&mut cluster, Word::Pause(None));
    say(&mut cluster, Word::Resume);
    assert_eq!((told(&cluster.plan()), cluster.plan().look_again), (before, until));
}

#[test]
fn what_works_goes_back_no_faster_than_it_came() {
    let mut cluster = updating(3, |u| (u.order, u.min_healthy_time) = (Order::StopFirst, Period::secs(0)));
    while run(&cluster).iter().filter(|revision| **revision == 2).count() < 3 {
        cluster.work();
        step(&mut cluster);
    }
    let newest = cluster.names().pop().unwrap();
    crash(&mut cluster, &newest);
    step(&mut cluster);
    assert_eq!(record(&cluster).phase, RolloutPhase::RollingBack);
    for _ in 0..50 {
        let ready = cluster.view.replicas.iter().filter(|r| standing(r, &cluster.nodes) == Standing::Ready).count();
        assert!(ready >= 2, "{:?}", run(&cluster));
        cluster.work();
        step(&mut cluster);
    }
    assert_eq!((record(&cluster).phase, run(&cluster)), (RolloutPhase::RolledBack, vec![1; 3]));
}
