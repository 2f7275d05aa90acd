//! Tables: one row a situation, in words.

use super::{attempts::Cause, *};
use crate::model::status::LastExit;

const NOW: u64 = 1_000_000;

pub(super) fn wanted() -> Wanted {
    Wanted {
        name: "web-1-abcde".into(),
        spec_hash: "h".into(),
        epoch: "0.7".into(),
        restart: Restart::Always,
        once: false,
        auto_restart: AutoRestart::default(),
        probe_interval: Duration::from_secs(5),
        looks_at_host: false,
        gate: None,
        reload: None,
    }
}
fn found(state: ContainerState) -> Found {
    Found {
        id: "c7".into(),
        name: "web-1-abcde".into(),
        state,
        spec_hash: "h".into(),
        epoch: "0.7".into(),
        made_at: Index(10),
        restart: EngineRestart::No,
        ours: true,
        missing: Vec::new(),
        changed: Vec::new(),
    }
}
fn known(state: ContainerState) -> Seen {
    Seen::Known(vec![found(state)])
}
/// The word for a step, and its reason.
fn name(step: &Step) -> (&'static str, Option<Reason>) {
    match step {
        Step::Nothing { .. } => ("nothing", None),
        Step::Wait { reason, .. } => ("wait", Some(*reason)),
        Step::Create => ("create", None),
        Step::Start { .. } => ("start", None),
        Step::Restart { reason, .. } => ("restart", Some(*reason)),
        Step::Retire { reason, .. } => ("retire", Some(*reason)),
        Step::Remove { reason, .. } => ("remove", Some(*reason)),
        Step::Connect { .. } => ("connect", None),
        Step::Reload { .. } => ("reload", None),
        Step::Protect { restart: EngineRestart::No, .. } => ("protect: no", None),
        Step::Protect { restart: EngineRestart::UnlessStopped, .. } => ("protect: unless-stopped", None),
        Step::End { reason, .. } => ("end", Some(*reason)),
    }
}
fn exited(code: i64, times: u32, cause: Cause) -> Attempts {
    let mut attempts = Attempts::default();
    let id: Arc<str> = "c7".into();
    for n in 0..times {
        attempts.runs(&id, &format!("s{n}"), 0);
        attempts.exited(&id, LastExit { code, cause, finished_at: format!("f{n}"), ..LastExit::default() }, NOW);
    }
    attempts
}

#[test]
fn a_replica_is_driven_to_what_the_log_wants() {
    use ContainerState as S;
    let run = || Want::Run(wanted());
    let gated =
        Want::Run(Wanted { gate: Some(Gate { reason: Reason::SecretMissing, message: String::new() }), ..wanted() });
    let silent = Seen::Unknown(Gate { reason: Reason::DockerUnresponsive, message: String::new() });
    let none = || Seen::Known(vec![]);
    let with = |change: &dyn Fn(&mut Found)| {
        let mut f = found(S::Running);
        change(&mut f);
        Seen::Known(vec![f])
    };
    for (case, want, seen, step, reason) in [
        ("engine silent", run(), silent.clone(), "wait", Some(Reason::DockerUnresponsive)),
        (
            "engine silent, to be stopped",
            Want::Stop(Reason::Superseded),
            silent.clone(),
            "wait",
            Some(Reason::DockerUnresponsive),
        ),
        ("new here", run(), none(), "create", None),
        ("new here, something missing", gated.clone(), none(), "wait", Some(Reason::SecretMissing)),
        ("made but not started", run(), known(S::Created), "start", None),
        ("runs though something is missing now", gated, known(S::Running), "nothing", None),
        ("runs", run(), known(S::Running), "nothing", None),
        ("paused by somebody", run(), known(S::Paused), "wait", Some(Reason::DriftDetected)),
        ("being removed", run(), known(S::Removing), "wait", Some(Reason::DriftDetected)),
        ("dead", run(), known(S::Dead), "remove", Some(Reason::DriftDetected)),
        ("another revision", run(), with(&|f| f.spec_hash = "x".into()), "retire", Some(Reason::DriftDetected)),
        ("another placement", run(), with(&|f| f.epoch = "0.6".into()), "retire", Some(Reason::DriftDetected)),
        ("renamed", run(), with(&|f| f.name = "mine".into()), "retire", Some(Reason::DriftDetected)),
        ("a copy of ours by its labels", run(), with(&|f| f.ours = false), "create", None),
        ("taken off a network", run(), with(&|f| f.missing = vec!["net".into()]), "connect", None),
        ("our log is behind", run(), with(&|f| f.made_at = Index(99)), "wait", Some(Reason::StoreBehind)),
        (
            "unknown and newer than our log",
            Want::Nothing(Reason::Orphaned),
            with(&|f| f.made_at = Index(99)),
            "wait",
            Some(Reason::StoreBehind),
        ),
        (
            "replaced by a newer one",
            Want::Stop(Reason::Superseded),
            known(S::Running),
            "retire",
            Some(Reason::Superseded),
        ),
        (
            "replaced, ended already",
            Want::Stop(Reason::Superseded),
            known(S::Exited),
            "remove",
            Some(Reason::Superseded),
        ),
        (
            "paused and to be stopped",
            Want::Stop(Reason::ScaledDown),
            known(S::Paused),
            "retire",
            Some(Reason::ScaledDown),
        ),
        (
            "cut off, kept for its log",
            Want::Halt(Reason::DeadlineExceeded),
            known(S::Running),
            "retire",
            Some(Reason::DeadlineExceeded),
        ),
        (
            "cut off, stopped",
            Want::Halt(Reason::DeadlineExceeded),
            known(S::Exited),
            "end",
            Some(Reason::DeadlineExceeded),
        ),
        ("cut off, gone", Want::Halt(Reason::DeadlineExceeded), none(), "end", Some(Reason::DeadlineExceeded)),
        ("stopped and gone", Want::Stop(Reason::ScaledDown), none(), "end", Some(Reason::ScaledDown)),
        ("an orphan", Want::Nothing(Reason::Orphaned), known(S::Running), "retire", Some(Reason::Orphaned)),
        ("an orphan's copy", Want::Nothing(Reason::Orphaned), with(&|f| f.ours = false), "nothing", None),
        (
            "stopped, a copy is left",
            Want::Stop(Reason::ScaledDown),
            with(&|f| f.ours = false),
            "end",
            Some(Reason::ScaledDown),
        ),
        ("an orphan, gone", Want::Nothing(Reason::Orphaned), none(), "nothing", None),
    ] {
        let found = plan(&want, &seen, &Attempts::default(), Index(50), NOW);
        assert_eq!(name(&found), (step, reason), "{case}");
    }
}

#[test]
fn what_follows_an_exit_is_the_restart_policy() {
    use Cause::{Agent, Engine, Hand, Itself};
    use Restart::{Always, No, OnFailure, UnlessStopped};
    for (case, restart, code, times, cause, step, reason) in [
        ("first exit", Always, 1, 1, Itself, "start", None),
        ("first exit, clean", Always, 0, 1, Itself, "start", None),
        ("second exit", Always, 1, 2, Itself, "wait", Some(Reason::CrashLoopBackOff)),
        ("we stopped it", Always, 143, 5, Agent, "start", None),
        ("stopped by hand", Always, 0, 1, Hand, "wait", Some(Reason::StoppedByHand)),
        ("stopped by hand, stays", UnlessStopped, 0, 1, Hand, "wait", Some(Reason::StoppedByHand)),
        ("crashed", UnlessStopped, 1, 1, Itself, "start", None),
        ("ran once", No, 0, 1, Itself, "end", Some(Reason::Completed)),
        ("failed once", No, 3, 1, Itself, "end", Some(Reason::Failed)),
        ("the job was stopped by hand", No, 0, 1, Hand, "end", Some(Reason::Failed)),
        ("the job ended with its engine", No, 0, 1, Engine, "end", Some(Reason::Failed)),
        ("we stopped the job", No, 0, 1, Agent, "start", None),
        ("done", OnFailure(Some(3)), 0, 1, Itself, "end", Some(Reason::Completed)),
        ("not done: stopped by hand", OnFailure(Some(3)), 0, 1, Hand, "wait", Some(Reason::StoppedByHand)),
        ("not done: we stopped it", OnFailure(Some(0)), 0, 1, Agent, "start", None),
        ("not done: its engine ended", OnFailure(Some(0)), 0, 5, Engine, "start", None),
        ("its engine ended", Always, 137, 5, Engine, "start", None),
        ("its engine ended, nobody's hand", UnlessStopped, 0, 1, Engine, "start", None),
        ("one of three", OnFailure(Some(3)), 1, 1, Itself, "start", None),
        ("three of three", OnFailure(Some(3)), 1, 3, Itself, "wait", Some(Reason::CrashLoopBackOff)),
        ("used up", OnFailure(Some(3)), 1, 4, Itself, "end", Some(Reason::Failed)),
        ("no limit", OnFailure(None), 1, 40, Itself, "wait", Some(Reason::CrashLoopBackOff)),
    ] {
        let want = Want::Run(Wanted { restart, ..wanted() });
        let found = plan(&want, &known(ContainerState::Exited), &exited(code, times, cause), Index(50), NOW);
        assert_eq!(name(&found), (step, reason), "{case}");
    }
    // Ten seconds later, what was stopped by hand comes back, except where it was asked to stay.
    let attempts = exited(0, 1, Hand);
    for (restart, step) in [(Always, "start"), (OnFailure(Some(0)), "start"), (UnlessStopped, "wait")] {
        let want = Want::Run(Wanted { restart, ..wanted() });
        let found = plan(&want, &known(ContainerState::Exited), &attempts, Index(50), NOW + 10_000);
        assert_eq!(name(&found).0, step, "{restart}");
    }
}

#[test]
fn an_ended_replica_stays_ended() {
    let attempts =
        Attempts { ended: Some((ReplicaPhase::Completed, Reason::Completed, "exit 0".into())), ..Attempts::default() };
    for seen in [Seen::Known(vec![]), known(ContainerState::Exited), known(ContainerState::Created)] {
        let step = plan(&Want::Run(wanted()), &seen, &attempts, Index(50), NOW);
        assert_eq!(name(&step), ("end", Some(Reason::Completed)));
    }
    // Somebody started it again: it is not reported as ended while it runs, and it is stopped.
    for state in [ContainerState::Running, ContainerState::Paused, ContainerState::Restarting] {
        let want = Want::Run(wanted());
        let step = plan(&want, &known(state), &attempts, Index(50), NOW);
        assert_eq!(name(&step), ("retire", Some(Reason::DriftDetected)), "{state:?}");
        let facts = report::Facts { running: state == ContainerState::Running, ..report::Facts::default() };
        let known = report::Known { facts: &facts, attempts: &attempts, verdict: None, previous: None };
        let said = report::status(&want, &step, &report::Doing::Step, known, NOW);
        assert_eq!(said.phase, ReplicaPhase::Stopping, "{state:?}");
    }
}

#[test]
fn bad_health_restarts_after_enough_verdicts_and_a_wait_that_grows() {
    let sick = |since, restarted: Option<u64>| Attempts {
        unhealthy_since: Some(since),
        unhealthy_restarted: restarted,
        unhealthy_restarts: u32::from(restarted.is_some()),
        ..Attempts::default()
    };
    let off = AutoRestart { on_unhealthy: false, ..AutoRestart::default() };
    use Restart::{Always, No, OnFailure};
    let on = AutoRestart::default;
    let again = || sick(NOW - 99_000, Some(NOW - 199_000));
    for (case, restart, rules, attempts, step) in [
        ("first verdict", Always, on(), sick(NOW, None), "wait"),
        ("third verdict", Always, on(), sick(NOW - 10_000, None), "restart"),
        ("restarted a moment ago", Always, on(), sick(NOW - 10_000, Some(NOW - 5_000)), "wait"),
        ("switched off", Always, off, sick(NOW - 99_000, None), "nothing"),
        ("a job runs once", No, on(), sick(NOW - 99_000, None), "nothing"),
        ("one restart of one", OnFailure(Some(1)), on(), sick(NOW - 99_000, None), "restart"),
        ("used up", OnFailure(Some(1)), on(), again(), "nothing"),
        ("no limit", OnFailure(None), on(), again(), "restart"),
    ] {
        let want = Want::Run(Wanted { auto_restart: rules, restart, ..wanted() });
        let found = plan(&want, &known(ContainerState::Running), &attempts, Index(50), NOW);
        assert_eq!(name(&found).0, step, "{case}");
    }
}

#[test]
fn the_engine_restarts_only_what_is_settled_and_looks_at_no_data() {
    let healthy = |since| Attempts { healthy_since: Some(since), ..Attempts::default() };
    let own = |restart| Seen::Known(vec![Found { restart, ..found(ContainerState::Running) }]);
    use EngineRestart::{No, UnlessStopped};
    let unless = "protect: unless-stopped";
    let long_ago = NOW - 600_000;
    for (case, restart, looks_at_host, since, engine, step) in [
        ("young", Restart::Always, false, NOW - 599_999, No, "nothing"),
        ("settled", Restart::Always, false, long_ago, No, unless),
        ("settled, unless-stopped", Restart::UnlessStopped, false, long_ago, No, unless),
        ("settled already", Restart::Always, false, long_ago, UnlessStopped, "nothing"),
        ("looks at its data", Restart::Always, true, long_ago, No, "nothing"),
        ("looks at its data, wrong", Restart::Always, true, long_ago, UnlessStopped, "protect: no"),
        ("runs once", Restart::No, false, long_ago, No, "nothing"),
        ("on failure only", Restart::OnFailure(None), false, long_ago, No, "nothing"),
        ("restarted by the engine", Restart::Always, false, NOW, UnlessStopped, "protect: no"),
    ] {
        let want = Want::Run(Wanted { restart, looks_at_host, ..wanted() });
        let found = plan(&want, &own(engine), &healthy(since), Index(50), NOW);
        assert_eq!(name(&found).0, step, "{case}");
    }
    // A new agent that knows nothing yet changes nothing.
    let step = plan(&Want::Run(wanted()), &own(UnlessStopped), &Attempts::default(), Index(50), NOW);
    assert_eq!(name(&step).0, "nothing");
}

#[test]
fn a_refused_attempt_is_made_again_later() {
    let mut attempts = Attempts::default();
    attempts.failed(Reason::PortConflict, "80 is held".into(), NOW);
    let at = |now| plan(&Want::Run(wanted()), &Seen::Known(vec![]), &attempts, Index(50), now);
    assert_eq!(name(&at(NOW)), ("wait", Some(Reason::PortConflict)));
    assert_eq!(name(&at(NOW + 1_000)).0, "create");
}

#[test]
fn a_reload_that_failed_is_made_again_later() {
    let mut attempts = Attempts { healthy_since: Some(0), ..Attempts::default() };
    let reload = Some(Box::new(Reload { references: vec!["configs/c".into()], ..Reload::default() }));
    let want = Want::Run(Wanted { reload, looks_at_host: true, ..wanted() });
    for wait in [1_000, 2_000, 4_000] {
        attempts.failed(Reason::DriftDetected, "configs/c cannot be replaced".into(), NOW);
        let at = |now| plan(&want, &known(ContainerState::Running), &attempts, Index(50), now);
        assert_eq!(at(NOW), Step::Nothing { look_again: Some(NOW + wait) });
        assert_eq!(name(&at(NOW + wait)).0, "reload");
    }
}

#[test]
fn a_container_that_the_engine_keeps_refusing_is_made_anew() {
    let mut attempts = exited(1, 1, Cause::Itself);
    for (times, step) in [(1, "start"), (2, "remove")] {
        attempts.failed(Reason::EngineRefused, "network x not found".into(), NOW);
        let later = NOW + 60_000;
        let found = plan(&Want::Run(wanted()), &known(ContainerState::Exited), &attempts, Index(50), later);
        assert_eq!(name(&found).0, step, "refused {times} times");
    }
}

#[test]
fn a_network_that_it_cannot_be_put_on_is_told_while_it_serves() {
    let mut attempts = Attempts::default();
    attempts.failed(Reason::DriftDetected, "network net: no such network".into(), NOW);
    let seen = Seen::Known(vec![Found { missing: vec!["net".into()], ..found(ContainerState::Running) }]);
    let want = Want::Run(wanted());
    let step = plan(&want, &seen, &attempts, Index(50), NOW);
    assert_eq!(name(&step), ("wait", Some(Reason::DriftDetected)));
    let facts = report::Facts { running: true, ..report::Facts::default() };
    let verdict = report::Verdict::healthy();
    let known = report::Known { facts: &facts, attempts: &attempts, verdict: Some(&verdict), previous: None };
    let said = report::status(&want, &step, &report::Doing::Step, known, NOW);
    assert_eq!((said.phase, said.ready, said.reason), (ReplicaPhase::Running, true, Some(Reason::DriftDetected)));
    assert_eq!(name(&plan(&want, &seen, &attempts, Index(50), NOW + 1_000)).0, "connect");
}

#[test]
fn an_attempt_of_a_job_has_one_container() {
    let want = |once| Want::Run(Wanted { once, restart: Restart::No, ..wanted() });
    let mut began = Attempts::default();
    began.runs(&"c7".into(), "s", 0);
    for (case, once, attempts, step) in [
        ("it never ran", true, Attempts::default(), ("create", None)),
        ("it ran, and its container is gone", true, began.clone(), ("end", Some(Reason::Failed))),
        ("a service is made anew", false, began.clone(), ("create", None)),
        ("it ended and its container is gone", true, ended(), ("end", Some(Reason::Completed))),
    ] {
        assert_eq!(name(&plan(&want(once), &Seen::Known(Vec::new()), &attempts, Index(50), NOW)), step, "{case}");
    }
}

fn ended() -> Attempts {
    let status = crate::model::ReplicaStatus {
        phase: ReplicaPhase::Completed,
        reason: Some(Reason::Completed),
        container: Some("c7".into()),
        started_at: Some("s".into()),
        ..crate::model::ReplicaStatus::default()
    };
    Attempts::resume(&status)
}
