//! How an update goes: order, pace, edges, failures, canaries, pauses. `properties`: in whatever order that is reported.

mod properties;

use super::*;
use crate::model::{
    Paused, Period, Rollout, RolloutPhase,
    service::{FailureAction, Order, UpdatePolicy},
    status::LastExit,
};

pub(super) fn updated(image: &str, replicas: u32, update: impl FnOnce(&mut UpdatePolicy)) -> ServiceSpec {
    let mut spec = spec(image, replicas);
    spec.update.order = Order::Auto;
    update(&mut spec.update);
    spec
}
/// A settled service of revision 1, with revision 2 declared.
pub(super) fn updating(replicas: u32, update: impl Fn(&mut UpdatePolicy)) -> Cluster {
    let mut cluster = Cluster::new(1, updated("a", replicas, &update));
    cluster.settle();
    assert_eq!(record(&cluster).phase, RolloutPhase::Complete);
    cluster.declare(updated("b", replicas, &update), resolved());
    cluster
}
pub(super) fn record(cluster: &Cluster) -> Rollout {
    (**cluster.view.rollout.as_ref().unwrap()).clone()
}
/// Carries out one plan and says what it was.
pub(super) fn step(cluster: &mut Cluster) -> Vec<String> {
    let plan = cluster.plan();
    cluster.take(&plan);
    told(&plan)
}
pub(super) fn crash(cluster: &mut Cluster, name: &str) {
    cluster.report(name, ReplicaPhase::BackOff, false);
    let status = cluster.find(name).status.as_mut().unwrap();
    (status.reason, status.failures) = (Some(Reason::CrashLoopBackOff), 2);
    status.last_exit = Some(LastExit { code: 1, log_tail: vec!["no database".into()], ..LastExit::default() });
}
pub(super) fn edit(cluster: &mut Cluster, change: impl FnOnce(&mut Rollout)) {
    let mut changed = record(cluster);
    change(&mut changed);
    cluster.view.rollout = Some(Arc::new(changed));
}

#[test]
fn the_new_one_starts_beside_the_old_one_where_both_may_run() {
    let mut cluster = updating(2, |u| u.min_healthy_time = Period::secs(10));
    assert_eq!(step(&mut cluster), ["place 1 r2 n1 beside web-1-00001"]);
    assert_eq!(step(&mut cluster), [""; 0]);
    cluster.report("web-1-00003", ReplicaPhase::Running, true);
    let plan = cluster.plan();
    assert_eq!(told(&plan), [""; 0], "ready is not good yet");
    assert_eq!(plan.look_again, Some(cluster.now + 10_000));
    cluster.now += 10_000;
    assert_eq!(step(&mut cluster), ["stop web-1-00001 Superseded"]);
    assert_eq!(step(&mut cluster), [""; 0], "its end is not reported: the slot is in motion");
    cluster.report("web-1-00001", ReplicaPhase::Stopped, false);
    assert_eq!(step(&mut cluster), ["place 2 r2 n1 beside web-2-00002"]);
    cluster.settle();
    let record = record(&cluster);
    assert_eq!(
        (record.phase, record.target, record.stable, record.from),
        (RolloutPhase::Complete, 2, Some(2), Some(1))
    );
}

#[test]
fn which_comes_first_follows_from_what_two_at_once_would_do() {
    let plain = spec("a", 1);
    let with = |change: fn(&mut ServiceSpec)| {
        let mut spec = spec("a", 1);
        change(&mut spec);
        spec
    };
    let state = with(|s| s.container.volumes.push(state_mount()));
    let port = with(|s| {
        s.container.ports.push(serde_json::from_value(serde_json::json!({"target": 80, "published": 80})).unwrap());
    });
    let host = with(|s| s.container.network_mode = crate::model::service::NetworkMode::Host);
    for (policy, new, old, wanted) in [
        (Order::Auto, &plain, Some(&plain), Order::StartFirst),
        (Order::StopFirst, &plain, Some(&plain), Order::StopFirst),
        (Order::Auto, &state, Some(&plain), Order::StopFirst),
        (Order::StartFirst, &plain, Some(&state), Order::StopFirst),
        (Order::Auto, &plain, Some(&port), Order::StopFirst),
        (Order::StartFirst, &port, Some(&port), Order::StartFirst),
        (Order::Auto, &host, Some(&host), Order::StopFirst),
        (Order::StartFirst, &plain, None, Order::StopFirst),
    ] {
        assert_eq!(order(policy, new, old), wanted, "{policy:?}");
    }
}

#[test]
fn without_room_for_both_auto_stops_first_and_start_first_waits() {
    for (policy, first) in [(Order::Auto, vec!["stop web-1-00001 Superseded"]), (Order::StartFirst, vec![])] {
        let large = |image| {
            let mut spec = updated(image, 1, |u| u.order = policy);
            spec.container.resources.reservations.memory = Some(Bytes(40 << 30));
            spec
        };
        let mut cluster = Cluster::new(1, large("a"));
        cluster.settle();
        cluster.declare(large("b"), resolved());
        let plan = cluster.plan();
        assert_eq!(told(&plan), first, "{policy:?}");
        let waits = plan.holds.get(&Slot::Number(1)).map(|hold| hold.reason);
        assert_eq!(waits, (policy == Order::StartFirst).then_some(Reason::NoNodeFits));
    }
}

#[test]
fn so_many_are_replaced_at_a_time_and_so_many_stay() {
    let mut cluster = updating(5, |u| (u.parallelism, u.order) = (2, Order::StopFirst));
    assert_eq!(step(&mut cluster).len(), 2);
    cluster.report("web-4-00004", ReplicaPhase::BackOff, false);
    cluster.work_one(0);
    // An old one that does not work is replaced at once; no other may be missed now.
    let steps = step(&mut cluster);
    assert_eq!(
        steps,
        ["place 1 r2 n1", "stop web-4-00004 Superseded"].map(str::to_owned).into_iter().rev().collect::<Vec<_>>()
    );
    let plan = cluster.plan();
    assert!(plan.holds[&Slot::Number(3)].message.contains("2 replicas are replaced at a time"), "{plan:?}");
    cluster.settle();
    assert_eq!(cluster.ready(), 5);
}

#[test]
fn the_next_one_waits_for_the_delay() {
    let mut cluster = updating(2, |u| (u.delay, u.order) = (Period::secs(30), Order::StopFirst));
    assert_eq!(step(&mut cluster), ["stop web-1-00001 Superseded"]);
    cluster.work();
    step(&mut cluster);
    cluster.now += 500;
    cluster.work();
    let plan = cluster.plan();
    assert_eq!((told(&plan), plan.look_again), (vec![], Some(cluster.now + 30_000)));
    assert!(plan.holds[&Slot::Number(2)].message.starts_with("waits for `delay` 30s"));
    cluster.now += 30_000;
    assert_eq!(step(&mut cluster), ["stop web-2-00002 Superseded"]);
}

#[test]
fn one_that_edges_send_to_leaves_their_routes_before_it_is_stopped() {
    let mut cluster = updating(1, |u| u.order = Order::StopFirst);
    cluster.edge("n1");
    assert_eq!(step(&mut cluster), ["drain web-1-00001 Superseded"]);
    let waiting = cluster.plan();
    assert_eq!(told(&waiting), [""; 0]);
    assert_eq!(
        waiting.holds[&Slot::Number(1)].message,
        "waits until the edge on n1 has taken web-1-00001 off its routes"
    );
    // It serves what follows, and a request is still being answered.
    cluster.serve();
    let edge = Edge { drained: BTreeSet::new(), ..(*cluster.view.edges[0]).clone() };
    cluster.view.edges = vec![Arc::new(edge)];
    let waiting = cluster.plan();
    // Nobody else answers: new requests wait meanwhile, and half of their time is for the swap.
    assert_eq!((told(&waiting), waiting.look_again), (vec![], Some(cluster.now + 7_500)));
    assert_eq!(waiting.holds[&Slot::Number(1)].message, "waits until web-1-00001 has answered what it began");
    let mut late = cluster.clone();
    late.now += 7_500;
    assert_eq!(told(&late.plan()), ["stop web-1-00001 Superseded"], "it had its time");
    let mut beside = updating(2, |u| u.order = Order::StopFirst);
    beside.edge("n1");
    assert_eq!(step(&mut beside), ["drain web-1-00001 Superseded"]);
    beside.serve();
    let edge = Edge { drained: BTreeSet::new(), ..(*beside.view.edges[0]).clone() };
    beside.view.edges = vec![Arc::new(edge)];
    assert_eq!(beside.plan().look_again, Some(beside.now + 30_000), "another one answers");
    cluster.serve();
    assert_eq!(step(&mut cluster), ["stop web-1-00001 Superseded"]);
    cluster.report("web-1-00001", ReplicaPhase::Stopped, false);
    assert_eq!(step(&mut cluster), ["place 1 r2 n1"]);
}

#[test]
fn an_edge_that_does_not_follow_is_not_waited_for_for_ever_and_without_one_nothing_is() {
    let mut cluster = updating(1, |u| u.order = Order::StopFirst);
    cluster.edge("gone");
    step(&mut cluster);
    cluster.now += 15_000;
    assert_eq!(step(&mut cluster), ["drop edge gone"]);
    assert_eq!(step(&mut cluster), ["stop web-1-00001 Superseded"]);
    // One whose node is there still sends requests to what it was told of before.
    let mut cluster = updating(1, |u| u.order = Order::StopFirst);
    cluster.edge("n1");
    step(&mut cluster);
    cluster.now += 600_000;
    let waiting = cluster.plan();
    assert_eq!((told(&waiting), waiting.look_again), (vec![], None));
    assert!(waiting.holds[&Slot::Number(1)].message.ends_with("does not take them, and its log says why"));
    // What does not run answers nothing: it is not waited for. One that runs and is not ready may be at something.
    let mut cluster = updating(1, |u| u.order = Order::StopFirst);
    cluster.edge("n1");
    step(&mut cluster);
    cluster.report("web-1-00001", ReplicaPhase::Running, false);
    assert_eq!(step(&mut cluster), [""; 0]);
    cluster.report("web-1-00001", ReplicaPhase::BackOff, false);
    assert_eq!(step(&mut cluster), ["stop web-1-00001 Superseded"]);
    // Neither is a service that goes.
    let mut cluster = Cluster::new(1, spec("a", 1));
    cluster.settle();
    cluster.edge("n1");
    cluster.view.declared = None;
    assert_eq!(step(&mut cluster), ["drain web-1-00001 ServiceDeleted"]);
    cluster.serve();
    assert_eq!(step(&mut cluster), ["stop web-1-00001 ServiceDeleted"]);
}

#[test]
fn a_broken_revision_stops_at_one_replica_and_the_last_ready_one_comes_back() {
    let mut cluster = updating(3, |_| ());
    step(&mut cluster);
    cluster.report("web-1-00004", ReplicaPhase::Running, false);
    let mut once = cluster.clone();
    once.find("web-1-00004").status.as_mut().unwrap().failures = 1;
    assert_eq!(step(&mut once), [""; 0], "one that ended once may have been too early");
    // Nor is it plain at once that an engine will not take it.
    let mut refused = cluster.clone();
    refused.report("web-1-00004", ReplicaPhase::BackOff, false);
    refused.find("web-1-00004").status.as_mut().unwrap().reason = Some(Reason::EngineRefused);
    let waiting = refused.plan();
    assert_eq!((told(&waiting), waiting.look_again), (vec![], Some(refused.now + 20_000)));
    refused.now += 20_000;
    assert_eq!(step(&mut refused), ["stop web-1-00004 Superseded"]);
    crash(&mut cluster, "web-1-00004");
    assert_eq!(step(&mut cluster), ["stop web-1-00004 Superseded"]);
    let now = record(&cluster);
    assert_eq!((now.phase, now.target, now.from), (RolloutPhase::RollingBack, 1, Some(2)));
    assert_eq!((now.reason, now.message.as_str()), (Some(Reason::CrashLoopBackOff), "web.1: exit 1"));
    assert_eq!(now.log_tail, ["no database"]);
    cluster.settle();
    let end = record(&cluster);
    assert_eq!((end.phase, end.target, end.stable), (RolloutPhase::RolledBack, 1, Some(1)));
    assert!(cluster.view.gone_back());
    let alive: Vec<_> = cluster.view.replicas.iter().filter(|r| r.replica.desired == Desired::Run).collect();
    assert!(alive.len() == 3 && alive.iter().all(|r| r.replica.revision == 1), "those of before, never stopped");
    // One that came before the first was good for long enough is taken back to it too.
    let slow = |image| updated(image, 2, |u| u.min_healthy_time = Period::secs(10));
    let mut early = Cluster::new(1, slow("a"));
    early.take(&early.plan());
    early.work();
    early.declare(slow("b"), resolved());
    assert_eq!(step(&mut early), ["place 1 r2 n1 beside web-1-00001"]);
    crash(&mut early, "web-1-00003");
    assert_eq!(step(&mut early), ["stop web-1-00003 Superseded"]);
    assert_eq!(record(&early).stable, Some(1));
    // The next revision is a rollout of its own.
    cluster.declare(updated("c", 3, |_| ()), resolved());
    cluster.settle();
    assert_eq!((record(&cluster).phase, record(&cluster).target), (RolloutPhase::Complete, 3));
}

#[test]
fn what_an_engine_refuses_has_its_grace_from_the_first_refusal_on() {
    let mut cluster = updating(3, |_| ());
    step(&mut cluster);
    let made = cluster.now;
    let refuse = |cluster: &mut Cluster, refused_since| {
        cluster.report("web-1-00004", ReplicaPhase::BackOff, false);
        let status = cluster.find("web-1-00004").status.as_mut().unwrap();
        (status.reason, status.refused_since) = (Some(Reason::EngineRefused), refused_since);
    };
    cluster.report("web-1-00004", ReplicaPhase::Pulling, false);
    cluster.now += 120_000;
    let mut older = cluster.clone();
    refuse(&mut cluster, Some(made + 110_000));
    let waiting = cluster.plan();
    assert_eq!((told(&waiting), waiting.look_again), (vec![], Some(made + 130_000)), "its image was long in coming");
    // It is fetched again in between.
    cluster.now += 15_000;
    cluster.report("web-1-00004", ReplicaPhase::Pulling, false);
    assert_eq!(step(&mut cluster), [""; 0], "nobody refuses it now");
    refuse(&mut cluster, Some(made + 110_000));
    assert_eq!(step(&mut cluster), ["stop web-1-00004 Superseded"]);
    // A version of ours that noted no first refusal.
    refuse(&mut older, None);
    let waiting = older.plan();
    assert_eq!((told(&waiting), waiting.look_again), (vec![], Some(made + 140_000)));
    older.now += 20_000;
    assert_eq!(step(&mut older), ["stop web-1-00004 Superseded"]);
}

#[test]
fn what_follows_a_failure_is_what_was_asked_for() {
    let failed = |action: FailureAction, most: u32| {
        let mut cluster = updating(2, |u| (u.failure_action, u.max_failures) = (action, most));
        step(&mut cluster);
        crash(&mut cluster, "web-1-00003");
        let steps = step(&mut cluster);
        (record(&cluster).phase, steps)
    };
    assert_eq!(failed(FailureAction::Pause, 0), (RolloutPhase::Halted, vec![]));
    let next = vec!["place 2 r2 n1 beside web-2-00002".to_owned()];
    assert_eq!(failed(FailureAction::Rollback, 1), (RolloutPhase::Progressing, next.clone()));
    assert_eq!(failed(FailureAction::Continue, 0), (RolloutPhase::Progressing, next));
    // What never was ready has nothing to go back to: its containers are started again and again.
    let mut cluster = Cluster::new(1, updated("a", 2, |_| ()));
    step(&mut cluster);
    crash(&mut cluster, "web-1-00001");
    assert_eq!((step(&mut cluster), record(&cluster).phase), (vec![], RolloutPhase::Progressing));
}

#[test]
fn a_person_lets_a_halted_rollout_go_on() {
    let mut cluster = updating(2, |u| u.failure_action = FailureAction::Pause);
    step(&mut cluster);
    crash(&mut cluster, "web-1-00003");
    step(&mut cluster);
    let held = cluster.plan();
    assert_eq!(held.holds[&Slot::Number(2)].message, "stands still: web.1: exit 1");
    edit(&mut cluster, |r| (r.phase, r.tolerated) = (RolloutPhase::Progressing, 1));
    assert_eq!(step(&mut cluster), ["place 2 r2 n1 beside web-2-00002"]);
    cluster.settle();
    assert_eq!(record(&cluster).phase, RolloutPhase::Complete);
}

#[test]
fn an_update_that_makes_no_progress_fails_at_its_deadline_unless_somebody_is_unknown() {
    let mut cluster = updating(2, |u| u.progress_deadline = Period::secs(60));
    step(&mut cluster);
    cluster.report("web-1-00003", ReplicaPhase::Running, false);
    let deadline = cluster.now + 60_000;
    assert_eq!(cluster.plan().look_again, Some(deadline));
    let mut unknown = cluster.clone();
    unknown.find("web-2-00002").status = None;
    (cluster.now, unknown.now) = (deadline, deadline);
    assert_eq!((step(&mut unknown), record(&unknown).phase), (vec![], RolloutPhase::Progressing));
    assert_eq!(step(&mut cluster), ["stop web-1-00003 Superseded"]);
    let now = record(&cluster);
    assert_eq!((now.phase, now.reason), (RolloutPhase::RollingBack, Some(Reason::ProgressDeadlineExceeded)));
    assert_eq!(now.message, "nothing became ready for 1m: web.1 is not ready");
}

#[test]
fn canaries_go_first_and_the_others_wait_for_them_or_for_a_word() {
    for auto in [true, false] {
        let mut cluster = updating(3, |u| (u.canary, u.auto_promote, u.parallelism) = (1, auto, 0));
        assert_eq!(step(&mut cluster), ["place 1 r2 n1 beside web-1-00001"]);
        assert_eq!(cluster.plan().holds[&Slot::Number(2)].message, "waits until web.1 are good");
        cluster.work();
        assert_eq!(step(&mut cluster)[0], "stop web-1-00001 Superseded");
        cluster.work();
        if !auto {
            let plan = cluster.plan();
            assert_eq!(told(&plan), [""; 0]);
            assert_eq!(plan.holds[&Slot::Number(3)].reason, Reason::WaitingForPromotion);
            assert_eq!(plan.look_again, None, "no deadline runs while a person thinks");
            edit(&mut cluster, |r| r.promoted = true);
        }
        cluster.settle();
        assert_eq!((record(&cluster).phase, cluster.ready()), (RolloutPhase::Complete, 3));
    }
}

#[test]
fn a_paused_rollout_ends_what_it_began_and_begins_nothing() {
    let mut cluster = updating(2, |_| ());
    step(&mut cluster);
    edit(&mut cluster, |r| r.paused = Some(Paused { by: "ada".into(), at: 5, why: None }));
    cluster.work();
    assert_eq!(step(&mut cluster), ["stop web-1-00001 Superseded"]);
    cluster.work();
    let plan = cluster.plan();
    assert_eq!((told(&plan), plan.look_again), (vec![], None));
    assert_eq!(plan.holds[&Slot::Number(2)].message, "paused by ada");
    // What is missing comes back all the same.
    cluster.report("web-2-00002", ReplicaPhase::Running, true);
    cluster.nodes.push(node("n2"));
    cluster.declare(updated("b", 3, |_| ()), resolved());
    assert_eq!(step(&mut cluster).len(), 1);
    edit(&mut cluster, |r| r.paused = None);
    cluster.settle();
    assert_eq!((record(&cluster).phase, cluster.ready()), (RolloutPhase::Complete, 3));
}

#[test]
fn a_restart_replaces_every_replica_of_before_once() {
    let mut cluster = Cluster::new(1, updated("a", 2, |_| ()));
    cluster.settle();
    edit(&mut cluster, |r| r.restarted = Index(2));
    assert_eq!(step(&mut cluster), ["place 1 r1 n1 beside web-1-00001"]);
    assert_eq!(record(&cluster).phase, RolloutPhase::Progressing);
    cluster.settle();
    assert_eq!((record(&cluster).phase, cluster.ready()), (RolloutPhase::Complete, 2));
    assert!(
        cluster.view.replicas.iter().filter(|r| r.replica.desired == Desired::Run).all(|r| r.replica.index > Index(2))
    );
}

#[test]
fn the_revision_that_a_person_names_comes_back() {
    let mut cluster = updating(2, |_| ());
    cluster.settle();
    edit(&mut cluster, |r| {
        (r.target, r.from, r.phase) = (1, Some(2), RolloutPhase::Progressing);
        r.message = "undone by ada".into();
    });
    assert_eq!(step(&mut cluster), ["place 1 r1 n1 beside web-1-00003"]);
    cluster.settle();
    let end = record(&cluster);
    assert_eq!((end.phase, end.target, end.newest, end.stable), (RolloutPhase::Complete, 1, 2, Some(1)));
    assert!(cluster.view.gone_back() && end.message == "undone by ada");
}
