//! Hooks before and after a rollout, against a small cluster.

use std::sync::Arc;

use super::super::{
    Step,
    cluster::{Cluster, failed, resolved, spec},
    word::{Word, said},
};
use crate::model::{
    Index, Period, Reason, ReplicaPhase, ReplicaStatus, RolloutPhase, ServiceSpec, Stage,
    service::{FailureAction, Hook, OnFailure},
    status::LastExit,
};

fn hook(command: &str) -> Hook {
    serde_json::from_value(serde_json::json!({ "command": [command], "timeout": "60s" })).unwrap()
}
fn hooked(image: &str, before: &[&str], after: &[&str]) -> ServiceSpec {
    let mut spec = spec(image, 2);
    spec.hooks.pre_deploy = before.iter().map(|c| hook(c)).collect();
    spec.hooks.post_deploy = after.iter().map(|c| hook(c)).collect();
    spec
}
/// Takes one plan; answers what was placed.
fn step(cluster: &mut Cluster) -> Vec<String> {
    let plan = cluster.plan();
    cluster.take(&plan);
    cluster.now += 1;
    let placed = |step: &Step| match step {
        Step::Place { hook: Some(run), revision, .. } => Some(format!("{} r{revision}", run.hook.told(run.stage))),
        Step::Place { slot, revision, .. } => Some(format!("{slot} r{revision}")),
        _ => None,
    };
    plan.steps.iter().filter_map(placed).collect()
}
/// What is placed until nothing more is.
fn steps(cluster: &mut Cluster) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let (before, placed) = (cluster.view.rollout.clone(), step(cluster));
        if placed.is_empty() && cluster.view.rollout == before {
            return all;
        }
        all.extend(placed);
    }
}
fn newest(cluster: &Cluster) -> Arc<str> {
    cluster.view.hooks.iter().max_by_key(|r| r.replica.index).unwrap().replica.name.clone()
}
fn ends(cluster: &mut Cluster, code: i64) {
    let name = newest(cluster);
    let phase = if code == 0 { ReplicaPhase::Completed } else { ReplicaPhase::Failed };
    let exit = LastExit { code, log_tail: vec!["last words".into()], ..LastExit::default() };
    let status = ReplicaStatus { phase, last_exit: Some(exit), ..ReplicaStatus::default() };
    cluster.find(&name).status = Some(status);
}
fn runs(cluster: &mut Cluster) {
    let (name, now) = (newest(cluster), cluster.now);
    let status = ReplicaStatus { phase: ReplicaPhase::Running, since: now, ..ReplicaStatus::default() };
    cluster.find(&name).status = Some(status);
}
/// Until all that is placed is ready and nothing follows.
fn settle(cluster: &mut Cluster) {
    cluster.settle();
}
fn record(cluster: &Cluster) -> crate::model::Rollout {
    (**cluster.view.rollout.as_ref().unwrap()).clone()
}
/// A service whose first revision is complete, with its hooks run.
fn complete(before: &[&str], after: &[&str]) -> Cluster {
    let mut cluster = Cluster::new(2, hooked("a:1", before, after));
    for _ in before {
        steps(&mut cluster);
        ends(&mut cluster, 0);
    }
    settle(&mut cluster);
    for _ in after {
        ends(&mut cluster, 0);
        settle(&mut cluster);
    }
    assert_eq!(record(&cluster).phase, RolloutPhase::Complete);
    cluster
}

#[test]
fn before_the_first_replica_of_a_revision_its_hooks_run_one_after_the_other() {
    let mut cluster = Cluster::new(2, hooked("a:1", &["one", "two"], &[]));
    assert_eq!(steps(&mut cluster), ["preDeploy: one r1"]);
    let held = cluster.plan().holds.into_values().next().unwrap();
    assert!(
        held.reason == Reason::WaitingForHook && held.message.starts_with("preDeploy: one begins on n"),
        "{held:?}"
    );
    runs(&mut cluster);
    assert_eq!(steps(&mut cluster), [""; 0], "it runs");
    ends(&mut cluster, 0);
    assert_eq!(steps(&mut cluster), ["preDeploy: two r1"]);
    ends(&mut cluster, 0);
    assert_eq!(steps(&mut cluster), ["1 r1", "2 r1"]);
    settle(&mut cluster);
    assert_eq!((record(&cluster).phase, cluster.ready()), (RolloutPhase::Complete, 2));
}

#[test]
fn a_hook_that_succeeded_does_not_run_for_its_revision_again() {
    let mut cluster = complete(&["migrate"], &[]);
    cluster.declare(hooked("a:2", &["migrate"], &[]), resolved());
    assert_eq!(steps(&mut cluster), ["preDeploy: migrate r2"]);
    ends(&mut cluster, 0);
    // Whoever takes over knows no more than the record and the replicas; what ended may be gone.
    step(&mut cluster);
    let name = newest(&cluster);
    cluster.view.hooks.retain(|r| r.replica.name != name);
    settle(&mut cluster);
    assert_eq!((record(&cluster).target, record(&cluster).phase), (2, RolloutPhase::Complete));
    for word in [Word::Undo(Some(1)), Word::Undo(Some(2)), Word::Restart] {
        let next = said(&cluster.view, word.clone(), ("ann", cluster.now), Index(cluster.now)).unwrap().unwrap();
        cluster.view.rollout = Some(Arc::new(next));
        settle(&mut cluster);
        assert!(cluster.view.hooks.iter().all(|r| r.replica.hook.as_ref().unwrap().stage == Stage::PreDeploy));
        assert!(cluster.view.hooks.iter().all(|r| r.status.is_some()), "{word:?} runs none");
        assert_eq!(record(&cluster).phase, RolloutPhase::Complete, "{word:?}");
    }
    // Other hooks around the same container deploy nothing.
    cluster.declare(hooked("a:2", &["other"], &["another"]), resolved());
    assert_eq!(steps(&mut cluster), [""; 0]);
}

#[test]
fn a_failed_hook_fails_the_update_before_anything_of_the_old_is_touched() {
    for (action, phase, target) in [
        (FailureAction::Rollback, RolloutPhase::RolledBack, 1),
        (FailureAction::Pause, RolloutPhase::Halted, 2),
        (FailureAction::Continue, RolloutPhase::Halted, 2),
    ] {
        let mut cluster = complete(&["migrate"], &[]);
        let before: Vec<_> = cluster.view.replicas.iter().map(|r| r.replica.clone()).collect();
        let mut spec = hooked("a:2", &["migrate", "never"], &[]);
        spec.update.failure_action = action;
        cluster.declare(spec, resolved());
        steps(&mut cluster);
        ends(&mut cluster, 3);
        assert_eq!(steps(&mut cluster), [""; 0], "{action:?}");
        let found = record(&cluster);
        assert_eq!((found.phase, found.target, found.reason), (phase, target, Some(Reason::HookFailed)), "{action:?}");
        assert_eq!(
            (found.message.as_str(), &found.log_tail[..]),
            ("preDeploy: migrate: exit 3", &["last words".into()][..])
        );
        let now: Vec<_> = cluster.view.replicas.iter().map(|r| r.replica.clone()).collect();
        assert_eq!(now, before, "{action:?}");
        // Whoever asks for it once more gets it from the beginning.
        let word = if phase == RolloutPhase::Halted { Word::Resume } else { Word::Undo(Some(2)) };
        let next = said(&cluster.view, word, ("ann", cluster.now), Index(1)).unwrap().unwrap();
        cluster.view.rollout = Some(Arc::new(next));
        assert_eq!(steps(&mut cluster), ["preDeploy: migrate r2"], "{action:?}");
    }
}

#[test]
fn a_pause_holds_hooks_up_in_the_words_of_who_said_it() {
    let mut cluster = complete(&["migrate"], &[]);
    let word = Word::Pause(Some("the disks are slow".into()));
    let paused = said(&cluster.view, word, ("ada", cluster.now), Index(1)).unwrap().unwrap();
    cluster.view.rollout = Some(Arc::new(paused));
    cluster.declare(hooked("a:2", &["migrate"], &[]), resolved());
    assert_eq!(steps(&mut cluster), [""; 0]);
    let held = cluster.plan().holds.into_values().next().unwrap();
    assert_eq!((held.reason, held.message.as_str()), (Reason::Paused, "paused by ada: the disks are slow"));
    // So does what waits for no hook.
    cluster.declare(hooked("a:3", &[], &[]), resolved());
    let held = cluster.plan().holds.into_values().next().unwrap();
    assert_eq!((held.reason, held.message.as_str()), (Reason::Paused, "paused by ada: the disks are slow"));
}

#[test]
fn at_a_first_deploy_nothing_is_placed_after_a_failed_hook() {
    let mut cluster = Cluster::new(1, hooked("a:1", &["migrate"], &[]));
    steps(&mut cluster);
    ends(&mut cluster, 1);
    settle(&mut cluster);
    assert_eq!((record(&cluster).phase, cluster.view.replicas.len()), (RolloutPhase::Halted, 0));
    let held = cluster.plan().holds.into_values().next().unwrap();
    assert_eq!(held.message, "stands still: preDeploy: migrate: exit 1");
    cluster.declare(hooked("a:2", &[], &[]), resolved());
    settle(&mut cluster);
    assert_eq!((record(&cluster).phase, cluster.ready()), (RolloutPhase::Complete, 2));
}

#[test]
fn a_failure_that_is_let_pass_is_told_and_nothing_more() {
    let mut cluster = complete(&[], &[]);
    let mut spec = hooked("a:2", &["warm"], &[]);
    spec.hooks.pre_deploy[0].on_failure = OnFailure::Continue;
    cluster.declare(spec, resolved());
    steps(&mut cluster);
    ends(&mut cluster, 1);
    settle(&mut cluster);
    let found = record(&cluster);
    assert_eq!((found.phase, found.target, found.hooked.last.unwrap().failed), (RolloutPhase::Complete, 2, true));
}

#[test]
fn what_follows_a_failure_that_is_let_pass_does_not_hide_it() {
    let mut cluster = complete(&[], &[]);
    let mut spec = hooked("a:2", &[], &["announce", "warm", "count"]);
    spec.hooks.post_deploy.iter_mut().for_each(|hook| hook.on_failure = OnFailure::Continue);
    cluster.declare(spec, resolved());
    settle(&mut cluster);
    for code in [7, 8, 0] {
        ends(&mut cluster, code);
        settle(&mut cluster);
    }
    let found = record(&cluster);
    assert_eq!((found.phase, found.hooked.due, cluster.view.hooks.len()), (RolloutPhase::Complete, None, 3));
    assert_eq!((found.reason, found.message.as_str()), (Some(Reason::HookFailed), "postDeploy: announce: exit 7"));
    assert_eq!(found.log_tail, ["last words"]);
}

#[test]
fn a_hook_has_its_time_and_one_that_takes_longer_is_stopped() {
    let mut cluster = complete(&[], &[]);
    cluster.declare(hooked("a:2", &["slow"], &[]), resolved());
    steps(&mut cluster);
    runs(&mut cluster);
    assert_eq!(cluster.plan().look_again, Some(cluster.now + 60_000));
    cluster.now += 60_000;
    let name = newest(&cluster);
    let stop = Step::Stop { replica: name.clone(), reason: Reason::DeadlineExceeded };
    assert_eq!(cluster.plan().steps, [stop]);
    step(&mut cluster);
    cluster.report(&name, ReplicaPhase::Stopped, false);
    cluster.find(&name).status.as_mut().unwrap().last_exit = Some(LastExit::default());
    settle(&mut cluster);
    let found = record(&cluster);
    assert_eq!(
        (found.phase, found.message.as_str()),
        (RolloutPhase::RolledBack, "preDeploy: slow: not done within 1m")
    );
}

#[test]
fn what_was_cut_off_is_kept_for_its_log_as_the_newest_that_ended_are() {
    for (container, stays) in [(Some("c".to_owned()), 1), (None, 0)] {
        let mut cluster = complete(&[], &[]);
        cluster.declare(hooked("a:2", &["slow"], &[]), resolved());
        steps(&mut cluster);
        runs(&mut cluster);
        cluster.now += 60_000;
        let name = newest(&cluster);
        step(&mut cluster);
        cluster.report(&name, ReplicaPhase::Stopped, false);
        let status = cluster.find(&name).status.as_mut().unwrap();
        (status.last_exit, status.container) = (Some(LastExit::default()), container);
        settle(&mut cluster);
        assert_eq!(cluster.view.hooks.len(), stays);
        // Newer ones take its place.
        for image in ["a:3", "a:4", "a:5"] {
            cluster.declare(hooked(image, &["quick"], &[]), resolved());
            steps(&mut cluster);
            ends(&mut cluster, 0);
            settle(&mut cluster);
        }
        steps(&mut cluster);
        assert!(cluster.view.hooks.iter().all(|r| r.replica.name != name), "{:?}", cluster.view.hooks);
    }
}

#[test]
fn the_time_of_a_hook_counts_from_when_it_began_to_run() {
    let mut cluster = complete(&[], &[]);
    cluster.declare(hooked("a:2", &["slow"], &[]), resolved());
    steps(&mut cluster);
    let (name, began) = (newest(&cluster), cluster.now);
    let due = Some(began + 60_000);
    let table = [
        ("it runs", ReplicaPhase::Running, Reason::Starting),
        ("its engine is silent", ReplicaPhase::Running, Reason::DockerUnresponsive),
        ("its engine is gone, and it perhaps too", ReplicaPhase::Waiting, Reason::DockerDown),
        ("its engine is back", ReplicaPhase::Running, Reason::Starting),
    ];
    for (case, phase, reason) in table {
        cluster.report(&name, phase, false);
        let status = cluster.find(&name).status.as_mut().unwrap();
        (status.reason, status.running_since) = (Some(reason), Some(began));
        let plan = cluster.plan();
        assert_eq!((plan.steps.len(), plan.look_again), (0, due), "{case}");
        cluster.now += 15_000;
    }
    let stop = Step::Stop { replica: name, reason: Reason::DeadlineExceeded };
    assert_eq!(cluster.plan().steps, [stop]);
}

#[test]
fn a_newer_revision_waits_until_the_hook_of_the_one_before_has_ended() {
    let mut cluster = complete(&[], &[]);
    cluster.declare(hooked("a:2", &["migrate"], &[]), resolved());
    steps(&mut cluster);
    runs(&mut cluster);
    cluster.declare(hooked("a:3", &["migrate"], &[]), resolved());
    assert_eq!(steps(&mut cluster), [""; 0], "it is not cut in two");
    ends(&mut cluster, 0);
    assert_eq!(steps(&mut cluster), ["preDeploy: migrate r3"]);
}

#[test]
fn while_a_hook_runs_what_worked_is_kept_going() {
    let mut cluster = complete(&[], &[]);
    let mut spec = hooked("a:2", &["long"], &[]);
    spec.update.progress_deadline = Period::secs(30);
    spec.hooks.pre_deploy[0].timeout = Period::secs(3_000);
    cluster.declare(spec, resolved());
    steps(&mut cluster);
    runs(&mut cluster);
    cluster.now += 1_000_000;
    assert_eq!(steps(&mut cluster), [""; 0]);
    assert_eq!(record(&cluster).phase, RolloutPhase::Progressing, "its time is its own");
    let lost = cluster.view.replicas[0].replica.name.clone();
    cluster.view.replicas.retain(|r| r.replica.name != lost);
    assert_eq!(steps(&mut cluster), ["1 r1"]);
    ends(&mut cluster, 0);
    settle(&mut cluster);
    assert_eq!((record(&cluster).phase, record(&cluster).target), (RolloutPhase::Complete, 2));
}

#[test]
fn what_follows_a_rollout_runs_once_when_it_is_complete_and_takes_nothing_back() {
    let mut cluster = complete(&[], &["announce"]);
    assert_eq!(cluster.view.hooks.len(), 1);
    cluster.declare(hooked("a:2", &[], &["announce", "never"]), resolved());
    settle(&mut cluster);
    assert_eq!(record(&cluster).phase, RolloutPhase::Complete);
    ends(&mut cluster, 9);
    settle(&mut cluster);
    let found = record(&cluster);
    assert_eq!((found.phase, found.target, found.reason), (RolloutPhase::Complete, 2, Some(Reason::HookFailed)));
    assert_eq!((found.message.as_str(), cluster.ready()), ("postDeploy: announce: exit 9", 2));
    let next = said(&cluster.view, Word::Restart, ("ann", cluster.now), Index(1_000)).unwrap().unwrap();
    cluster.view.rollout = Some(Arc::new(next));
    settle(&mut cluster);
    assert_eq!(cluster.view.hooks.len(), 2, "a restart is no deploy");
}

#[test]
fn the_container_of_a_hook_has_nothing_that_only_one_may_have() {
    let spec: ServiceSpec = serde_json::from_value(serde_json::json!({
        "image": "app:1", "command": ["serve"], "environment": {"A": "b"}, "labels": {"traefik.enable": "true"},
        "ports": [{"target": 80, "published": 80}], "networks": [{"name": "back", "aliases": ["web"], "ipv4Address": "10.0.0.7"}],
        "volumes": [
            {"type": "volume", "source": "data", "target": "/data"},
            {"type": "bind", "source": "/srv/conf", "target": "/conf", "readOnly": true}
        ],
        "secrets": [{"source": "db"}], "restart": "always"
    }))
    .unwrap();
    let hook = Hook { image: Some("migrate:2".into()), ..hook("migrate") };
    let made = spec.container.of_hook(&hook);
    assert_eq!((made.image.as_str(), made.entrypoint, made.command), ("migrate:2", Some(vec!["migrate".into()]), None));
    assert!(made.ports.is_empty() && made.labels.is_empty() && !spec.container.volumes.is_empty());
    assert_eq!(made.volumes.iter().map(|m| m.target.as_str()).collect::<Vec<_>>(), ["/conf"]);
    assert!(made.networks[0].aliases.is_empty() && made.networks[0].ipv4_address.is_none());
    assert_eq!((made.environment, made.secrets), (spec.container.environment, spec.container.secrets));
}

#[test]
fn a_hook_that_finds_no_place_has_the_patience_of_the_rollout() {
    let mut cluster = complete(&[], &[]);
    cluster.declare(hooked("a:2", &["migrate"], &[]), failed());
    assert_eq!(steps(&mut cluster), [""; 0]);
    let deadline = cluster.now.max(record(&cluster).started_at) + 700_000;
    assert!(cluster.plan().look_again.is_some_and(|at| at <= deadline), "it is looked at again");
    cluster.now = deadline;
    steps(&mut cluster);
    let end = record(&cluster);
    assert_eq!((end.target, end.phase), (1, RolloutPhase::RolledBack), "{end:?}");
    assert!(end.message.starts_with("nothing began for 10m"), "{}", end.message);
}

#[test]
fn what_follows_a_rollout_and_finds_no_place_fails_after_the_same_patience() {
    let mut cluster = complete(&[], &[]);
    cluster.declare(hooked("a:2", &[], &["announce"]), resolved());
    // The last moment at which there is room.
    while record(&cluster).phase != RolloutPhase::Complete || record(&cluster).target != 2 {
        step(&mut cluster);
        cluster.work();
        cluster.view.hooks.clear();
    }
    for node in &mut cluster.nodes {
        node.spec.schedulable = false;
    }
    (cluster.view.hooks, cluster.now) = (Vec::new(), cluster.now + 1);
    assert_eq!(steps(&mut cluster), [""; 0]);
    let plan = cluster.plan();
    let waits = plan.follows.unwrap();
    assert!(waits.message.starts_with("postDeploy: announce: "), "{waits:?}");
    let deadline = plan.look_again.expect("it is looked at again");
    assert!(deadline <= cluster.now + 600_000);
    cluster.now = deadline;
    steps(&mut cluster);
    let end = record(&cluster);
    assert_eq!((end.phase, end.target, end.hooked.due), (RolloutPhase::Complete, 2, None));
    let followed = end.hooked.followed.unwrap();
    assert_eq!((followed.failed, followed.revision), (Some(waits.reason), 2));
    assert_eq!(followed.message, format!("nothing began for 10m: {}", waits.message));
}

#[test]
fn a_list_that_began_is_worked_off_as_it_was_then() {
    let mut cluster = complete(&[], &[]);
    cluster.declare(hooked("a:2", &["one", "two"], &[]), resolved());
    assert_eq!(steps(&mut cluster), ["preDeploy: one r2"]);
    ends(&mut cluster, 0);
    assert_eq!(steps(&mut cluster), ["preDeploy: two r2"]);
    cluster.declare(hooked("a:2", &["zero", "one", "two"], &[]), resolved());
    ends(&mut cluster, 0);
    settle(&mut cluster);
    assert_eq!((record(&cluster).phase, record(&cluster).target), (RolloutPhase::Complete, 2));
    let ran: Vec<_> =
        cluster.view.hooks.iter().map(|r| r.replica.hook.clone().unwrap().hook.command[0].clone()).collect();
    assert_eq!(ran, ["one", "two"], "neither runs a second time");
    // What is declared meanwhile counts for the next revision.
    cluster.declare(hooked("a:3", &["zero"], &[]), resolved());
    assert_eq!(steps(&mut cluster), ["preDeploy: zero r3"]);
}

#[test]
fn a_hook_that_nobody_wants_any_more_has_its_time_too_and_is_waited_for() {
    let mut cluster = complete(&[], &[]);
    cluster.declare(hooked("a:2", &["migrate"], &[]), resolved());
    steps(&mut cluster);
    runs(&mut cluster);
    let name = newest(&cluster);
    // A newer revision that has none.
    cluster.declare(hooked("a:3", &[], &[]), resolved());
    assert_eq!(steps(&mut cluster), [""; 0], "not beside a migration that began");
    let idle = ServiceSpec { suspend: true, ..hooked("a:3", &[], &[]) };
    cluster.declare(idle, resolved());
    steps(&mut cluster);
    cluster.now += 60_000;
    let plan = cluster.plan();
    let stops =
        |step: &Step| matches!(step, Step::Stop { replica, reason: Reason::DeadlineExceeded } if *replica == name);
    assert!(plan.steps.iter().any(stops), "{:?}", plan.steps);
}
