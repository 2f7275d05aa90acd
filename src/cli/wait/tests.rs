use super::*;
use crate::model::{
    RunState,
    status::{JobStatus, ReplicaCounts, RunStatus},
};

fn status(observed: u64, ready: ConditionStatus, reason: Reason, counts: [u32; 4]) -> ServiceStatus {
    let [desired, running, ready_count, updated] = counts;
    ServiceStatus {
        conditions: vec![Condition {
            kind: ConditionType::Ready,
            status: ready,
            reason,
            message: String::new(),
            last_transition_time: 0,
            observed_generation: observed,
        }],
        observed_generation: observed,
        replicas: ReplicaCounts { desired, running, ready: ready_count, updated, completed: 0 },
        ..ServiceStatus::default()
    }
}

#[test]
fn a_service_arrives_only_at_its_generation() {
    use ConditionStatus::{False, True, Unknown};
    let table = [
        ("no status", 2, None, Verdict::Waiting),
        ("an old status", 2, Some(status(1, True, Reason::UpToDate, [3, 3, 3, 3])), Verdict::Waiting),
        ("ready", 2, Some(status(2, True, Reason::UpToDate, [3, 3, 3, 3])), Verdict::Done),
        ("a newer generation is ready", 3, Some(status(3, True, Reason::UpToDate, [1, 1, 1, 1])), Verdict::Done),
        ("too few", 2, Some(status(2, False, Reason::MinimumReplicasUnavailable, [3, 1, 1, 1])), Verdict::Waiting),
        ("unknown", 2, Some(status(2, Unknown, Reason::HealthUnknown, [3, 3, 0, 3])), Verdict::Waiting),
        ("not all up to date", 2, Some(status(2, True, Reason::UpToDate, [3, 3, 3, 1])), Verdict::Waiting),
        ("too many after a scale", 2, Some(status(2, True, Reason::UpToDate, [1, 3, 3, 3])), Verdict::Waiting),
        ("scaled to none", 2, Some(status(2, True, Reason::UpToDate, [0, 0, 0, 0])), Verdict::Done),
        ("suspended, still stopping", 2, Some(status(2, False, Reason::Suspended, [0, 2, 2, 2])), Verdict::Waiting),
        ("suspended", 2, Some(status(2, False, Reason::Suspended, [0, 0, 0, 0])), Verdict::Done),
        ("completed", 2, Some(status(2, False, Reason::Completed, [1, 0, 0, 1])), Verdict::Done),
        ("failed for good", 2, Some(status(2, False, Reason::Failed, [1, 0, 0, 1])), Verdict::Failed),
        ("an old failure", 2, Some(status(1, False, Reason::Failed, [1, 0, 0, 1])), Verdict::Waiting),
    ];
    for (case, generation, status, verdict) in table {
        let mut wait = Wait::new([("web".into(), Aim::Ready { generation: 2 })]);
        wait.service("web", generation, status.as_ref());
        assert_eq!(wait.verdict(), verdict, "{case}");
    }
}

#[test]
fn an_update_arrives_when_it_is_good_and_is_lost_when_it_was_taken_back() {
    let rollout = |phase, generation, target| RolloutStatus {
        phase,
        target,
        newest: 2,
        generation,
        protected: true,
        record: crate::model::Index(50),
        ..RolloutStatus::default()
    };
    use RolloutPhase::{Complete, Halted, Progressing, RolledBack, RollingBack};
    for (case, rollout, verdict) in [
        ("all are ready, and not for long enough", rollout(Progressing, 2, 2), Verdict::Waiting),
        ("good", rollout(Complete, 2, 2), Verdict::Done),
        ("on its way back", rollout(RollingBack, 2, 1), Verdict::Waiting),
        ("back", rollout(RolledBack, 2, 1), Verdict::Failed),
        ("stands still", rollout(Halted, 2, 2), Verdict::Failed),
        ("paused", RolloutStatus { paused: true, ..rollout(Progressing, 2, 2) }, Verdict::Failed),
        ("canaries wait", RolloutStatus { waits: true, ..rollout(Progressing, 2, 2) }, Verdict::Done),
        ("undone by somebody", rollout(Complete, 2, 1), Verdict::Failed),
        ("a scale of what was taken back before", rollout(RolledBack, 1, 1), Verdict::Done),
        ("hooks follow", RolloutStatus { hooks: true, ..rollout(Complete, 2, 2) }, Verdict::Waiting),
        ("hooks are paused", RolloutStatus { hooks: true, paused: true, ..rollout(Complete, 2, 2) }, Verdict::Failed),
        ("the first deployment", RolloutStatus { protected: false, ..rollout(Progressing, 2, 2) }, Verdict::Done),
    ] {
        let ready = ServiceStatus {
            rollout: Some(rollout),
            ..status(2, ConditionStatus::True, Reason::UpToDate, [3, 3, 3, 3])
        };
        let mut wait = Wait::new([("web".into(), Aim::Ready { generation: 2 })]);
        wait.service("web", 2, Some(&ready));
        assert_eq!(wait.verdict(), verdict, "{case}");
        // After a word about it its record counts, whatever is declared.
        for (since, goes) in [(50, true), (51, false)] {
            let mut wait = Wait::new([("web".into(), Aim::Rolled { since })]);
            wait.service("web", 2, Some(&ready));
            let phase = ready.rollout.as_ref().map(|r| r.phase);
            let hooks = ready.rollout.as_ref().is_some_and(|r| r.hooks);
            let asks = ready.rollout.as_ref().is_some_and(|r| r.waits);
            let done = goes && ((phase == Some(Complete) && !hooks) || asks);
            assert_eq!(wait.verdict() == Verdict::Done, done, "{case}, since {since}");
            // A pause holds the hooks up as it does the replicas, and a person is waited for either way.
            let paused = ready.rollout.as_ref().is_some_and(|r| r.paused);
            assert!(!paused || !goes || wait.verdict() == Verdict::Failed, "{case}, since {since}");
        }
    }
}

#[test]
fn a_deletion_arrives_when_the_last_replica_ended() {
    let (web, one, two): (Arc<str>, Arc<str>, Arc<str>) = ("web".into(), "web-1-a".into(), "web-2-b".into());
    let mut wait = Wait::new([(web.clone(), Aim::Gone)]);
    wait.replica(&one, &web, false);
    wait.replica(&two, &web, false);
    wait.replica(&"other-1-c".into(), &"other".into(), false);
    assert_eq!(wait.verdict(), Verdict::Waiting, "still declared");
    wait.service_gone("web");
    assert_eq!(wait.progress().next().unwrap().1.said(), "2 replicas stop");
    wait.replica(&one, &web, true);
    assert_eq!(wait.verdict(), Verdict::Waiting, "one is left");
    wait.replica_gone(&two);
    assert_eq!(wait.verdict(), Verdict::Done);
}

#[test]
fn whoever_undoes_the_change_ends_the_wait() {
    let mut wait = Wait::new([("web".into(), Aim::Ready { generation: 1 })]);
    wait.service_gone("web");
    assert_eq!(wait.verdict(), Verdict::Failed);
    let mut wait = Wait::new([("web".into(), Aim::Gone)]);
    wait.service_gone("web");
    wait.service("web", 1, None);
    assert_eq!(wait.verdict(), Verdict::Failed);
}

#[test]
fn one_that_is_lost_ends_no_wait_for_another() {
    let goals = [("a".into(), Aim::Ready { generation: 1 }), ("b".into(), Aim::Ready { generation: 1 })];
    let mut wait = Wait::new(goals);
    wait.service("a", 1, Some(&status(1, ConditionStatus::False, Reason::Failed, [1, 0, 0, 1])));
    wait.service("b", 1, None);
    assert!(matches!(wait.progress().next(), Some((_, Progress::Lost(_)))), "it is told at once");
    assert_eq!(wait.verdict(), Verdict::Waiting);
    wait.service("b", 1, Some(&status(1, ConditionStatus::True, Reason::UpToDate, [1, 1, 1, 1])));
    assert_eq!(wait.verdict(), Verdict::Failed);
}

#[test]
fn one_of_two_is_not_all_and_strangers_do_not_matter() {
    let goals = [("a".into(), Aim::Ready { generation: 1 }), ("b".into(), Aim::Ready { generation: 1 })];
    let mut wait = Wait::new(goals);
    let good = status(1, ConditionStatus::True, Reason::UpToDate, [1, 1, 1, 1]);
    wait.service("a", 1, Some(&good));
    wait.service("stranger", 1, None);
    assert_eq!(wait.verdict(), Verdict::Waiting);
    wait.service("b", 1, Some(&good));
    assert_eq!(wait.verdict(), Verdict::Done);
    assert_eq!(Wait::default().verdict(), Verdict::Done, "nothing to wait for");
}

#[test]
fn each_has_the_time_of_its_own_arrival() {
    let (seconds, replica) = (Duration::from_secs, Arc::<str>::from("a-1-x"));
    let mut wait = Wait::new(["a", "b"].map(|name| (name.into(), Aim::Gone)));
    wait.service_gone("a");
    wait.note(seconds(1));
    wait.note(seconds(2));
    assert_eq!((wait.arrived("a"), wait.arrived("b")), (Some(seconds(1)), None));
    wait.replica(&replica, &"a".into(), false);
    wait.service_gone("b");
    wait.note(seconds(15));
    assert_eq!((wait.arrived("a"), wait.arrived("b")), (None, Some(seconds(15))), "one is not gone after all");
    wait.replica(&replica, &"a".into(), true);
    wait.note(seconds(16));
    assert_eq!((wait.arrived("a"), wait.arrived("b")), (Some(seconds(16)), Some(seconds(15))));
}

#[test]
fn a_fresh_list_tells_what_was_missed() {
    let web: Arc<str> = "web".into();
    let mut wait = Wait::new([(web.clone(), Aim::Gone)]);
    wait.replica(&"web-1-a".into(), &web, false);
    wait.only(&BTreeSet::new(), &BTreeSet::new());
    assert_eq!(wait.verdict(), Verdict::Done);
}

#[test]
fn who_waits_for_one_that_failed_for_good_waits_in_vain() {
    use ConditionStatus::{False, True};
    let on: Dependency = serde_json::from_value(serde_json::json!({"name": "db"})).unwrap();
    let waits = |message: &str| {
        let mut status = status(1, False, Reason::WaitingForDependency, [1, 0, 0, 1]);
        status.conditions[0].message = format!("web.1: {message}");
        status
    };
    let own = waits(&told::not_yet(&on));
    let other = waits("service cache has not started yet");
    let good = status(1, True, Reason::UpToDate, [1, 1, 1, 1]);
    let failed = status(1, False, Reason::Failed, [1, 0, 0, 1]);
    let late = status(1, False, Reason::MinimumReplicasUnavailable, [1, 0, 0, 1]);
    let rollout = |phase| RolloutStatus { phase, target: 1, newest: 1, generation: 1, ..RolloutStatus::default() };
    let halted = ServiceStatus { rollout: Some(rollout(RolloutPhase::Halted)), ..late.clone() };
    let paused = RolloutStatus { paused: true, ..rollout(RolloutPhase::Progressing) };
    let paused = ServiceStatus { rollout: Some(paused), ..late.clone() };
    let back = RolloutStatus { target: 1, newest: 2, ..rollout(RolloutPhase::RolledBack) };
    // The leader says it of all that went back, whether they are ready or not.
    let back = |counts| ServiceStatus { rollout: Some(back.clone()), ..status(1, False, Reason::RolledBack, counts) };
    let (restarts, works) = (back([1, 1, 0, 1]), back([1, 1, 1, 1]));
    let undone = RolloutStatus { target: 1, newest: 2, ..rollout(RolloutPhase::Complete) };
    let undone = ServiceStatus { rollout: Some(undone), ..restarts.clone() };
    let run = |state| RunStatus { number: 1, state, completions: 1, ..RunStatus::default() };
    let job = |state| JobStatus { runs: vec![run(state)], ..JobStatus::default() };
    let job = |state| ServiceStatus { job: Some(job(state)), ..status(1, False, Reason::Exited, [1, 0, 0, 1]) };
    let (ran, runs) = (job(RunState::Failed), job(RunState::Running));
    let old = ServiceStatus { observed_generation: 0, ..failed.clone() };
    for (case, web, db, verdict) in [
        ("it failed", &own, &failed, Verdict::Failed),
        ("it stands still", &own, &halted, Verdict::Failed),
        ("it is on its way", &own, &late, Verdict::Waiting),
        ("a person lets it go on", &own, &paused, Verdict::Waiting),
        ("it went back and works", &own, &works, Verdict::Waiting),
        ("it went back and restarts", &own, &restarts, Verdict::Waiting),
        ("it was undone and restarts", &own, &undone, Verdict::Waiting),
        ("its run failed", &own, &ran, Verdict::Failed),
        ("it runs", &own, &runs, Verdict::Waiting),
        ("it failed before it was declared anew", &own, &old, Verdict::Waiting),
        ("another one is waited for", &other, &failed, Verdict::Waiting),
        ("nothing is waited for any more", &good, &failed, Verdict::Done),
    ] {
        for first in ["web", "db"] {
            let mut wait = Wait::new([("web".into(), Aim::Ready { generation: 1 })]);
            let mut see = |name: &str| {
                let (status, on) = if name == "web" { (web, std::slice::from_ref(&on)) } else { (db, &[][..]) };
                wait.depends(name, on, 1, Some(status));
                wait.service(name, 1, Some(status));
            };
            see(first);
            see(if first == "web" { "db" } else { "web" });
            // What has failed may be mended by what is awaited.
            let at_once = if verdict == Verdict::Failed { Verdict::Waiting } else { verdict };
            wait.note(Duration::from_secs(3));
            wait.note(Duration::from_millis(3999));
            assert_eq!(wait.verdict(), at_once, "{case}, {first} first");
            wait.note(Duration::from_secs(4));
            assert_eq!(wait.verdict(), verdict, "{case}, {first} first");
            assert!(!wait.doubts(), "{case}: nothing is to be looked at again");
        }
    }
}

#[test]
fn a_failure_that_was_mended_is_none() {
    use ConditionStatus::{False, True};
    let on: Dependency = serde_json::from_value(serde_json::json!({"name": "db"})).unwrap();
    let mut waits = status(1, False, Reason::WaitingForDependency, [1, 0, 0, 1]);
    waits.conditions[0].message = told::not_yet(&on);
    let mut wait = Wait::new([("web".into(), Aim::Ready { generation: 1 })]);
    wait.depends("web", &[on], 1, Some(&waits));
    wait.service("web", 1, Some(&waits));
    let failed = status(1, False, Reason::Failed, [1, 0, 0, 1]);
    for (seconds, db, doubts) in [
        (0, failed.clone(), true),
        (1, status(1, True, Reason::UpToDate, [1, 1, 1, 1]), false),
        (2, failed.clone(), true),
    ] {
        wait.service("db", 1, Some(&db));
        wait.note(Duration::from_secs(seconds));
        assert_eq!((wait.verdict(), wait.doubts()), (Verdict::Waiting, doubts), "after {seconds} s");
    }
    wait.note(Duration::from_secs(3));
    assert_eq!(wait.verdict(), Verdict::Failed);
}

#[test]
fn who_waits_for_one_that_waits_in_vain_does_so_too() {
    use ConditionStatus::False;
    let failed = status(1, False, Reason::Failed, [1, 0, 0, 1]);
    let late = status(1, False, Reason::MinimumReplicasUnavailable, [1, 0, 0, 1]);
    let chain = "it waits for svc/api, which does not come: it waits for svc/db, which does not come: Failed";
    // Who depends on whom, how `db` is, and what becomes of `web`.
    for (case, links, db, lost) in [
        ("three links", &[("web", "api"), ("api", "db")][..], &failed, Some(chain)),
        ("a circle", &[("web", "api"), ("api", "web")], &failed, None),
        ("a circle with one that failed", &[("web", "api"), ("api", "web"), ("api", "db")], &failed, Some(chain)),
        ("one that needs what failed itself", &[("web", "api"), ("api", "db"), ("db", "web")], &failed, Some(chain)),
        ("the last is on its way", &[("web", "api"), ("api", "db")], &late, None),
    ] {
        for awaited in [&["web"][..], &["web", "api", "db"]] {
            let goals = awaited.iter().map(|name| ((*name).into(), Aim::Ready { generation: 1 }));
            let mut wait = Wait::new(goals);
            for name in ["web", "api", "db"] {
                let links = links.iter().filter(|(from, _)| *from == name);
                let on: Vec<Dependency> =
                    links.map(|(_, to)| serde_json::from_value(serde_json::json!({"name": to})).unwrap()).collect();
                let condition = |d: &Dependency| Condition {
                    message: told::not_yet(d),
                    ..status(1, False, Reason::WaitingForDependency, [1, 0, 0, 1]).conditions[0].clone()
                };
                let said = if name == "db" { db.clone() } else { late.clone() };
                let conditions = said.conditions.iter().cloned().chain(on.iter().map(condition)).collect();
                let said = ServiceStatus { conditions, ..said };
                wait.depends(name, &on, 1, Some(&said));
                wait.service(name, 1, Some(&said));
            }
            wait.note(Duration::from_secs(0));
            wait.note(Duration::from_secs(1));
            let web = wait.progress().find(|(name, _)| ***name == *"web").map(|(_, progress)| progress);
            let web = web.and_then(|p| matches!(p, Progress::Lost(_)).then(|| p.said().to_owned()));
            assert_eq!(web.as_deref(), lost, "{case}, awaited {awaited:?}");
        }
    }
}

#[test]
fn a_change_without_a_revision_is_held_up_by_the_rollout_of_before() {
    use ConditionStatus::{False, True};
    let rollout = RolloutStatus {
        phase: RolloutPhase::Progressing,
        target: 2,
        newest: 2,
        generation: 2,
        protected: true,
        ..RolloutStatus::default()
    };
    let half = status(3, False, Reason::Paused, [5, 5, 5, 2]);
    let mixed = status(3, True, Reason::UpToDate, [5, 5, 5, 2]);
    let there = status(3, True, Reason::UpToDate, [5, 5, 5, 5]);
    let none = status(3, True, Reason::UpToDate, [0, 0, 0, 0]);
    for (case, paused, waits, status, verdict) in [
        ("paused", true, false, &half, Verdict::Failed),
        ("canaries wait", false, true, &half, Verdict::Done),
        ("paused, all are ready", true, false, &mixed, Verdict::Failed),
        ("it goes on", false, false, &half, Verdict::Waiting),
        ("paused, and all are there", true, false, &there, Verdict::Done),
        ("paused, and nothing shall run", true, false, &none, Verdict::Done),
    ] {
        let rollout = Some(RolloutStatus { paused, waits, ..rollout.clone() });
        let mut wait = Wait::new([("web".into(), Aim::Ready { generation: 3 })]);
        wait.service("web", 3, Some(&ServiceStatus { rollout, ..status.clone() }));
        assert_eq!(wait.verdict(), verdict, "{case}");
    }
}
