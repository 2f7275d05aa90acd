//! Tables for single decisions; for histories a small cluster that carries out what is planned.

use proptest::prelude::*;

mod ahead;
mod ends;
mod fleet;
mod updates;
mod words;

use super::{cluster::*, *};
use crate::model::{
    Bytes, Index, Resolution, rotation,
    service::{Mount, Port},
};

fn state_mount() -> Mount {
    serde_json::from_value(serde_json::json!({"type": "bind", "source": "/srv/x", "target": "/data"})).unwrap()
}
/// `stop web-1-00001 Superseded`, `place 2 r1 n1`, `forget …`.
fn told(plan: &Plan) -> Vec<String> {
    plan.steps
        .iter()
        .map(|s| match s {
            Step::Stop { replica, reason } => format!("stop {replica} {reason}"),
            Step::Place { slot, revision, node, beside: None, .. } => format!("place {slot} r{revision} {}", node.0),
            Step::Place { slot, revision, node, beside: Some(beside), .. } => {
                format!("place {slot} r{revision} {} beside {beside}", node.0)
            }
            Step::Drain { replica, reason } => format!("drain {replica} {reason}"),
            Step::DropEdge { edge } => format!("drop edge {}", edge.node),
            Step::Forget { replica } => format!("forget {replica}"),
        })
        .collect()
}

#[test]
fn all_replicas_of_a_new_service_are_placed_at_once() {
    let cluster = Cluster::new(1, spec("a", 30));
    assert_eq!(cluster.plan().steps.len(), 30);
    assert!(cluster.plan().holds.is_empty());
}

#[test]
fn nothing_is_placed_before_the_image_is_resolved_and_nothing_working_is_stopped_for_one_that_cannot_be() {
    for (image, reason) in [(Resolution::Pending, Reason::ImageUnresolved), (failed(), Reason::ImageNotFound)] {
        let mut cluster = Cluster::new(1, spec("a", 2));
        cluster.settle();
        cluster.declare(spec("b", 3), image);
        let plan = cluster.plan();
        assert_eq!(told(&plan), Vec::<String>::new());
        assert_eq!(plan.holds.values().map(|h| h.reason).collect::<Vec<_>>(), vec![reason; 3]);
    }
}

#[test]
fn an_update_replaces_one_at_a_time_and_waits_for_ready() {
    let mut cluster = Cluster::new(1, spec("a", 3));
    cluster.settle();
    cluster.declare(spec("b", 3), resolved());
    let first = cluster.plan();
    assert_eq!(told(&first), ["stop web-1-00001 Superseded"]);
    assert!(first.holds[&Slot::Number(2)].message.contains("waits until web.1 is ready"), "{first:?}");
    cluster.take(&first);
    let waiting = cluster.plan();
    assert!(waiting.steps.is_empty(), "the end of the old one is not reported yet: {waiting:?}");
    assert_eq!(waiting.holds[&Slot::Number(1)].reason, Reason::ReplicaSetUpdated);
    cluster.report("web-1-00001", ReplicaPhase::Stopped, false);
    assert_eq!(told(&cluster.plan()), ["place 1 r2 n1"]);
    cluster.take(&cluster.plan());
    for phase in [ReplicaPhase::Pending, ReplicaPhase::Pulling, ReplicaPhase::Running] {
        assert!(cluster.plan().steps.is_empty());
        cluster.report("web-1-00004", phase, false);
    }
    assert!(cluster.plan().steps.is_empty(), "running is not ready");
    cluster.report("web-1-00004", ReplicaPhase::Running, true);
    assert_eq!(told(&cluster.plan()), ["stop web-2-00002 Superseded"]);
}

#[test]
fn newer_content_replaces_those_that_were_started_with_older_one_at_a_time() {
    let mut cluster = Cluster::new(1, spec("a", 3));
    cluster.settle();
    let names = cluster.names();
    let had = |cluster: &mut Cluster, at: usize, reference: &str| {
        let status = cluster.find(&names[at]).status.as_mut().unwrap();
        status.contents.insert(reference.into(), "1".into());
    };
    // The third was made by a version of ours that noted nothing.
    for at in [0, 1] {
        had(&mut cluster, at, "secrets/db");
        had(&mut cluster, at, "configs/app");
    }
    cluster.view.contents =
        [("secrets/db", "1"), ("configs/app", "1")].map(|(reference, now)| (reference.into(), now.into())).into();
    assert_eq!(told(&cluster.plan()), [""; 0]);
    cluster.view.contents.insert("configs/app".into(), "2".into());
    for strategy in [rotation::Strategy::Reload, rotation::Strategy::Manual] {
        cluster.view.strategies = [("configs/app".to_owned(), strategy)].into();
        assert_eq!(told(&cluster.plan()), [""; 0], "{strategy:?} replaces nothing");
    }
    cluster.view.contents.insert("secrets/db".into(), "2".into());
    let plan = cluster.plan();
    assert_eq!(plan.steps.len(), 1, "one at a time: {plan:?}");
    assert_eq!(told(&plan), ["stop web-1-00001 Superseded"]);
    assert!(plan.holds[&Slot::Number(2)].message.contains("waits until web.1 is ready"), "{plan:?}");
    assert!(!plan.holds.contains_key(&Slot::Number(3)), "{plan:?}");
}

#[test]
fn old_replicas_that_do_not_work_are_replaced_at_once() {
    let mut cluster = Cluster::new(1, spec("a", 3));
    cluster.settle();
    cluster.report("web-2-00002", ReplicaPhase::BackOff, false);
    cluster.report("web-3-00003", ReplicaPhase::Waiting, false);
    cluster.declare(spec("b", 3), resolved());
    assert_eq!(told(&cluster.plan()), ["stop web-2-00002 Superseded", "stop web-3-00003 Superseded"]);
}

#[test]
fn what_nobody_has_reported_stops_an_update_and_is_not_replaced() {
    let mut cluster = Cluster::new(1, spec("a", 2));
    cluster.settle();
    cluster.find("web-2-00002").status = None;
    cluster.declare(spec("b", 2), resolved());
    let plan = cluster.plan();
    assert!(plan.steps.is_empty(), "{plan:?}");
    assert_eq!(plan.holds[&Slot::Number(2)].reason, Reason::HealthUnknown);
}

#[test]
fn the_highest_slots_go_first_and_a_suspended_service_keeps_nothing_running() {
    let mut cluster = Cluster::new(1, spec("a", 4));
    cluster.settle();
    cluster.declare(spec("a", 2), resolved());
    assert_eq!(told(&cluster.plan()), ["stop web-4-00004 ScaledDown", "stop web-3-00003 ScaledDown"]);
    cluster.declare(ServiceSpec { suspend: true, ..spec("a", 2) }, resolved());
    assert_eq!(cluster.plan().steps.len(), 4);
    assert!(told(&cluster.plan()).iter().all(|s| s.ends_with("Suspended")));
    cluster.settle();
    assert_eq!(cluster.ready(), 0);
}

#[test]
fn a_deleted_service_stops_everything_then_forgets_it() {
    let mut cluster = Cluster::new(1, spec("a", 2));
    cluster.settle();
    cluster.view.declared = None;
    assert!(told(&cluster.plan()).iter().all(|s| s.ends_with("ServiceDeleted")));
    cluster.settle();
    assert!(cluster.view.replicas.is_empty());
}

#[test]
fn a_service_made_again_waits_for_its_namesakes_data_and_ports() {
    for (mount, port, waits) in [(true, false, true), (false, true, true), (false, false, false)] {
        let mut cluster = Cluster::new(1, spec("a", 1));
        cluster.settle();
        cluster.view.uid = Uid("uid-second".into());
        cluster.view.revisions.clear();
        let mut second = spec("b", 1);
        second.container.volumes.extend(mount.then(state_mount));
        second.container.ports.extend(port.then(|| Port {
            name: None,
            target: 80,
            published: Some(80),
            protocol: Default::default(),
            host_ip: None,
            app_protocol: None,
        }));
        cluster.declare(second, resolved());
        let steps = told(&cluster.plan());
        assert_eq!(steps.first().map(String::as_str), Some("stop web-1-00001 ServiceDeleted"));
        assert_eq!(steps.len() == 1, waits, "{steps:?}");
    }
}

#[test]
fn an_exclusive_replica_is_placed_only_when_no_other_can_hold_its_data() {
    let mut exclusive = spec("a", 1);
    exclusive.container.volumes.push(state_mount());
    let mut cluster = Cluster::new(1, exclusive.clone());
    cluster.settle();
    let mut global = exclusive;
    global.mode = Mode::Global;
    global.replicas = None;
    cluster.declare(global, resolved());
    assert_eq!(told(&cluster.plan()), ["stop web-1-00001 ScaledDown"]);
    cluster.take(&cluster.plan());
    assert!(cluster.plan().steps.is_empty());
    cluster.report("web-1-00001", ReplicaPhase::Stopped, false);
    assert_eq!(told(&cluster.plan()), ["place n1 r1 n1"]);
}

#[test]
fn a_replica_that_ended_by_itself_stays_ended_until_the_spec_changes() {
    for phase in [ReplicaPhase::Completed, ReplicaPhase::Failed] {
        let mut cluster = Cluster::new(1, spec("a", 1));
        cluster.take(&cluster.plan());
        cluster.report("web-1-00001", phase, false);
        assert!(cluster.plan().steps.is_empty());
        cluster.declare(spec("b", 1), resolved());
        assert_eq!(told(&cluster.plan()), ["stop web-1-00001 Superseded", "place 1 r2 n1"]);
    }
}

#[test]
fn of_one_that_ended_the_end_is_asked_for_before_another_may_write_its_data() {
    for phase in [ReplicaPhase::Completed, ReplicaPhase::Failed] {
        let mut first = spec("a", 1);
        first.container.volumes.push(state_mount());
        let mut cluster = Cluster::new(1, first.clone());
        cluster.take(&cluster.plan());
        cluster.report("web-1-00001", phase, false);
        first.container.image = "b".into();
        cluster.declare(first, resolved());
        assert_eq!(told(&cluster.plan()), ["stop web-1-00001 Superseded"]);
        cluster.take(&cluster.plan());
        // Somebody may have started it again: only what its node says now counts.
        assert_eq!(told(&cluster.plan()), Vec::<String>::new(), "{phase:?}");
        cluster.report("web-1-00001", ReplicaPhase::Stopped, false);
        assert_eq!(told(&cluster.plan()), ["place 1 r2 n1"]);
    }
}

#[test]
fn a_working_replica_is_not_stopped_for_one_that_no_node_takes() {
    let mut cluster = Cluster::new(1, spec("a", 1));
    cluster.settle();
    let mut large = spec("b", 1);
    large.container.resources.reservations.memory = Some(Bytes(1 << 40));
    cluster.declare(large, resolved());
    let plan = cluster.plan();
    assert!(plan.steps.is_empty());
    assert_eq!(plan.holds[&Slot::Number(1)].reason, Reason::NoNodeFits);
    assert_eq!(plan.unplaced[&Slot::Number(1)].considered[0].rejections[0].filter, "capacity");
}

#[test]
fn a_fixed_port_moves_from_the_old_replica_to_the_new_one() {
    let mut with_port = spec("a", 2);
    with_port.container.ports =
        vec![serde_json::from_value(serde_json::json!({"target": 80, "published": 80})).unwrap()];
    let mut cluster = Cluster::new(1, with_port.clone());
    let plan = cluster.plan();
    assert_eq!(told(&plan), ["place 1 r1 n1"]);
    assert_eq!(plan.unplaced[&Slot::Number(2)].considered[0].rejections[0].reason, Reason::PortConflict);
    cluster.settle();
    with_port.container.image = "b".into();
    cluster.declare(with_port, resolved());
    cluster.settle();
    assert_eq!((cluster.ready(), cluster.view.newest().map(|r| r.number)), (1, Some(2)));
}

#[test]
fn a_global_service_has_one_replica_on_each_node_that_fits() {
    let mut global = ServiceSpec { mode: Mode::Global, ..spec("a", 0) };
    global.replicas = None;
    global.placement.constraints = vec!["node.hostname != n2".into()];
    let mut cluster = Cluster::new(3, global);
    assert_eq!(told(&cluster.plan()), ["place n1 r1 n1", "place n3 r1 n3"]);
    cluster.settle();
    // A cordon takes nothing away and lets nothing in.
    cluster.nodes[0].spec.schedulable = false;
    cluster.nodes.push(node("n4"));
    assert_eq!(told(&cluster.plan()), ["place n4 r1 n4"]);
}

#[test]
fn a_global_replica_leaves_a_node_that_does_not_fit_any_more_and_says_so() {
    let mut global = ServiceSpec { mode: Mode::Global, ..spec("a", 0) };
    global.replicas = None;
    let mut cluster = Cluster::new(2, global.clone());
    cluster.settle();
    global.placement.constraints = vec!["node.hostname != n2".into()];
    cluster.declare(global.clone(), resolved());
    assert_eq!(told(&cluster.plan()), ["stop web-n2-00002 NotPlacedHere"]);
    cluster.declare(ServiceSpec { suspend: true, ..global }, resolved());
    assert!(told(&cluster.plan()).iter().all(|s| s.ends_with("Suspended")));
}

#[test]
fn five_ended_replicas_of_a_slot_are_kept() {
    let mut cluster = Cluster::new(1, spec("v0", 1));
    for version in 1..12 {
        cluster.settle();
        cluster.declare(spec(&format!("v{version}"), 1), resolved());
    }
    cluster.settle();
    assert_eq!(cluster.view.replicas.len(), KEPT + 1);
    assert_eq!(cluster.ready(), 1);
    let oldest = cluster.view.replicas.iter().map(|r| r.replica.index).min();
    assert_eq!(oldest, Some(Index(7)), "the newest are kept");
}

#[test]
fn a_node_that_was_removed_holds_nothing_up() {
    let mut cluster = Cluster::new(2, spec("a", 2));
    cluster.settle();
    cluster.nodes.remove(1);
    cluster.settle();
    assert_eq!(cluster.ready(), 2);
    assert!(cluster.view.replicas.iter().all(|r| r.replica.node == "n1".into()));
}

#[derive(Debug, Clone)]
enum Change {
    Image(u8),
    Scale(u32),
    Suspend(bool),
    Global(bool),
    Work(usize),
    Break(usize),
    End(usize, bool),
    Plan,
}
fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        1 => (0u8..4).prop_map(Change::Image),
        1 => (0u32..5).prop_map(Change::Scale),
        1 => any::<bool>().prop_map(Change::Suspend),
        1 => any::<bool>().prop_map(Change::Global),
        8 => (0usize..8).prop_map(Change::Work),
        1 => (0usize..8).prop_map(Change::Break),
        1 => (0usize..8, any::<bool>()).prop_map(|(n, well)| Change::End(n, well)),
        6 => Just(Change::Plan),
    ]
}

/// Every stop has a cause that can be seen from outside: the slot is not wanted, the revision is an older one
/// whose successor can come, or nothing of it works.
fn assert_needed(cluster: &Cluster, plan: &Plan) {
    let (_, declared) = cluster.view.declared.as_ref().unwrap();
    let wanted = slots(declared, &cluster.nodes);
    // What went wrong is stopped for what worked.
    let newest = &cluster.view.revisions[&plan.record.as_ref().unwrap().target];
    for step in &plan.steps {
        let Step::Stop { replica, reason } = step else { continue };
        let r = cluster.view.replicas.iter().find(|r| r.replica.name == *replica).unwrap();
        let surplus = !wanted.contains(&r.replica.slot);
        let older = r.replica.spec_hash != newest.spec_hash;
        assert_eq!(r.replica.desired, Desired::Run, "{replica} is told to stop twice");
        assert!(surplus || older, "{replica} is stopped for nothing: {reason}");
        assert_eq!(*reason == Reason::Superseded, !surplus, "{replica}: {reason}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// `Cluster::take` asserts that no slot ever holds two, and that nothing alive is forgotten; `settle` that
    /// there is always a next step until all is as declared.
    #[test]
    fn every_history_converges_to_what_is_declared(
        nodes in 1usize..4,
        exclusive in any::<bool>(),
        changes in prop::collection::vec(change(), 0..60),
    ) {
        let mut declared = spec("v0", 2);
        if exclusive {
            let each = serde_json::json!({"type": "volume", "source": "x", "target": "/data", "perReplica": true});
            declared.container.volumes.push(serde_json::from_value(each).unwrap());
        }
        let mut cluster = Cluster::new(nodes, declared.clone());
        for change in changes {
            match change {
                Change::Image(n) => declared.container.image = format!("v{n}"),
                Change::Scale(n) => declared.replicas = Some(n),
                Change::Suspend(yes) => declared.suspend = yes,
                Change::Global(yes) => declared.mode = if yes { Mode::Global } else { Mode::Replicated },
                Change::Work(n) if n < cluster.view.replicas.len() => cluster.work_one(n),
                Change::Break(n) if n < cluster.view.replicas.len() => {
                    let name = cluster.names()[n].clone();
                    if !cluster.find(&name).status.as_ref().is_some_and(|s| s.phase.ended()) {
                        cluster.report(&name, ReplicaPhase::BackOff, false);
                    }
                }
                // It ended by itself; what its node says later of one that is to stop is another word.
                Change::End(n, well) if n < cluster.view.replicas.len() => {
                    let name = cluster.names()[n].clone();
                    let phase = if well { ReplicaPhase::Completed } else { ReplicaPhase::Failed };
                    if cluster.find(&name).replica.desired == Desired::Run { cluster.report(&name, phase, false); }
                }
                Change::Work(_) | Change::Break(_) | Change::End(..) => {}
                Change::Plan => {
                    let plan = cluster.plan();
                    assert_needed(&cluster, &plan);
                    cluster.take(&plan);
                }
            }
            let (_, now) = cluster.view.declared.as_ref().unwrap();
            if **now != declared { cluster.declare(declared.clone(), resolved()); }
            if exclusive {
                // One writer of the data at any time: what may run, were it by somebody's hand, is at most one for
                // each slot that is there.
                let mut alive: BTreeMap<&Slot, usize> = BTreeMap::new();
                for r in &cluster.view.replicas {
                    if r.status.as_ref().is_none_or(|s| s.phase != ReplicaPhase::Stopped) {
                        *alive.entry(&r.replica.slot).or_default() += 1;
                    }
                }
                prop_assert!(alive.values().all(|n| *n == 1), "two writers: {:?}", alive);
            }
        }
        cluster.settle();
        let wanted = slots(&declared, &cluster.nodes);
        // What failed for good was taken back.
        let newest = cluster.view.target().unwrap().spec_hash.clone();
        let there: BTreeSet<Slot> = cluster.view.replicas.iter()
            .filter(|r| matches!(standing(r, &cluster.nodes), Standing::Ready | Standing::Ended))
            .filter(|r| r.replica.spec_hash == newest)
            .map(|r| r.replica.slot.clone()).collect();
        prop_assert_eq!(&there, &wanted);
        let kept = |r: &&ReplicaView| r.replica.desired == Desired::Run;
        prop_assert_eq!(cluster.view.replicas.iter().filter(kept).count(), wanted.len());
        // As declared, nothing more is done, asked as often as one likes.
        prop_assert_eq!(told(&cluster.plan()), Vec::<String>::new());
    }

    #[test]
    fn an_update_never_takes_away_more_than_one_ready_replica(
        replicas in 1u32..6,
        broken in prop::collection::btree_set(0usize..6, 0..3),
        order in prop::collection::vec(0usize..12, 0..80),
    ) {
        let mut cluster = Cluster::new(2, spec("a", replicas));
        cluster.settle();
        for at in broken {
            if let Some(name) = cluster.names().get(at).cloned() {
                cluster.report(&name, ReplicaPhase::BackOff, false);
            }
        }
        let least = cluster.ready().saturating_sub(1);
        cluster.declare(spec("b", replicas), resolved());
        for at in order {
            let plan = cluster.plan();
            cluster.take(&plan);
            // A stop takes a ready replica away as soon as it is asked for.
            let serving = cluster.view.replicas.iter()
                .filter(|r| r.replica.desired == Desired::Run && standing(r, &cluster.nodes) == Standing::Ready).count();
            prop_assert!(serving >= least, "{} serve, {} must", serving, least);
            if at < cluster.view.replicas.len() { cluster.work_one(at); }
        }
        cluster.settle();
        prop_assert_eq!(cluster.ready(), replicas as usize);
    }
}

#[test]
fn a_new_slot_whose_replica_ended_well_holds_up_no_other() {
    let mut cluster = Cluster::new(1, spec("v0", 2));
    cluster.take(&cluster.plan());
    cluster.declare(spec("v1", 3), resolved());
    cluster.take(&cluster.plan());
    cluster.report("web-3-00003", ReplicaPhase::Completed, false);
    cluster.settle();
    let new = |r: &&ReplicaView| r.replica.desired == Desired::Run && r.replica.revision == 2;
    assert_eq!(cluster.view.replicas.iter().filter(new).count(), 3, "{:#?}", cluster.plan());
}
