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
        ("what was refused before has nothing to do with it", &[Fails(PortConflict), Fails(EngineRefused)], Some(1)),
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
