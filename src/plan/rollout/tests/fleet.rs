//! Two services on the same nodes that write the same data.

use super::*;

/// Services on the same nodes.
struct Fleet(Vec<Cluster>);

impl Fleet {
    fn book(&mut self) {
        let mut nodes = self.0[0].nodes.clone();
        let views: Vec<&ServiceView> = self.0.iter().map(|c| &c.view).collect();
        cluster::book(&mut nodes, &views);
        self.0.iter_mut().for_each(|c| c.nodes.clone_from(&nodes));
    }
    /// One pass over one service; answers what it does. Nothing is placed beside what may still write, were it
    /// by somebody's hand; a job that ended and stays so does not count.
    fn pass(&mut self, at: usize) -> Plan {
        let plan = self.0[at].plan();
        for step in &plan.steps {
            let Step::Place { node, .. } = step else { continue };
            for r in self.0.iter().flat_map(|c| &c.view.replicas).filter(|r| r.replica.node_uid == node.1) {
                let phase = r.status.as_ref().map(|s| s.phase);
                let stays = phase.is_some_and(ReplicaPhase::ended) && r.replica.desired == Desired::Run;
                let harmless = phase == Some(ReplicaPhase::Stopped) || stays;
                assert!(harmless || !is_state(&self.0[at]), "placed beside {}", r.replica.name);
            }
        }
        self.0[at].take(&plan);
        self.book();
        plan
    }
    fn work(&mut self, at: usize) {
        self.0[at].work();
        self.book();
    }
    fn settle(&mut self) {
        for _ in 0..200 {
            let steps: usize = (0..self.0.len()).map(|at| self.pass(at).steps.len()).sum();
            (0..self.0.len()).for_each(|at| self.work(at));
            if steps == 0 && (0..self.0.len()).all(|at| self.0[at].plan().steps.is_empty()) {
                return;
            }
        }
        panic!("it does not settle: {:#?}", self.0.iter().map(Cluster::plan).collect::<Vec<_>>());
    }
    /// On each node, how many write the data.
    fn writers(&self) -> BTreeMap<Arc<str>, usize> {
        let mut writers = BTreeMap::new();
        for r in self.0.iter().flat_map(|c| &c.view.replicas) {
            if !r.status.as_ref().is_some_and(|s| s.phase.ended()) {
                *writers.entry(r.replica.node.clone()).or_default() += 1;
            }
        }
        writers
    }
}

fn is_state(cluster: &Cluster) -> bool {
    cluster.view.declared.as_ref().is_some_and(|(_, spec)| spec.container.exclusive())
}

#[test]
fn a_service_waits_for_the_writer_of_another_and_takes_over_when_it_has_stopped() {
    let mut with_data = spec("a", 1);
    with_data.container.volumes.push(state_mount());
    let mut fleet = Fleet(vec![Cluster::named("old", 2, with_data.clone()), Cluster::named("new", 2, with_data)]);
    fleet.0.iter_mut().for_each(|c| c.nodes.truncate(1));
    fleet.pass(0);
    fleet.work(0);
    let held = fleet.0[1].plan();
    assert!(held.steps.is_empty());
    assert_eq!(held.holds[&Slot::Number(1)].reason, Reason::NoNodeFits);
    let lacks = &held.unplaced[&Slot::Number(1)].considered[0].rejections[0];
    assert_eq!(lacks.message, "/srv/x is written by old.1, and only one may");
    fleet.0[0].view.declared = None;
    fleet.pass(0);
    let held = fleet.0[1].plan();
    assert!(held.steps.is_empty() && held.unplaced.is_empty(), "{held:?}");
    let hold = &held.holds[&Slot::Number(1)];
    assert_eq!(hold.reason, Reason::ReplicaSetUpdated);
    assert_eq!(hold.message, "waits until old.1 has stopped: it holds /srv/x");
    fleet.work(0);
    assert_eq!(told(&fleet.0[1].plan()), ["place 1 r1 n1"]);
}

#[test]
fn the_data_is_waited_for_where_it_is_unless_its_node_is_silent() {
    let mut with_data = spec("a", 1);
    with_data.container.volumes.push(state_mount());
    let mut fleet = Fleet(vec![Cluster::named("old", 1, with_data.clone()), Cluster::named("new", 1, with_data)]);
    fleet.pass(0);
    fleet.0.iter_mut().for_each(|c| c.nodes.push(node("n2")));
    fleet.work(0);
    fleet.0[0].view.declared = None;
    fleet.pass(0);
    assert!(fleet.0[1].plan().steps.is_empty(), "n2 is free and has not got the data");
    let condition = serde_json::json!({"type": "Ready", "status": "Unknown", "reason": "HealthUnknown",
        "lastTransitionTime": 0, "observedGeneration": 0});
    let silent = fleet.0[1].nodes[0].status.as_mut().unwrap();
    silent.conditions = vec![serde_json::from_value(condition).unwrap()];
    assert_eq!(told(&fleet.0[1].plan()), ["place 1 r1 n2"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn of_two_services_with_the_same_data_never_two_write_it(
        nodes in 1usize..3,
        global in any::<bool>(),
        moves in prop::collection::vec((0usize..2, 0u8..7), 0..80),
    ) {
        let mut declared = spec("v0", 1);
        declared.container.volumes.push(state_mount());
        if global { (declared.mode, declared.replicas) = (Mode::Global, None); }
        let mut fleet = Fleet(vec![
            Cluster::named("a", nodes, declared.clone()),
            Cluster::named("b", nodes, declared.clone()),
        ]);
        for (at, what) in moves {
            let name = fleet.0[at].names().pop();
            match (what, name) {
                (0 | 1, _) => drop(fleet.pass(at)),
                (2, _) => fleet.work(at),
                (3, Some(name)) if fleet.0[at].find(&name).replica.desired == Desired::Run => {
                    fleet.0[at].report(&name, ReplicaPhase::Failed, false);
                }
                (4, _) => {
                    declared.container.image.push('+');
                    fleet.0[at].declare(declared.clone(), resolved());
                }
                (5, _) => fleet.0[at].declare(ServiceSpec { suspend: true, ..declared.clone() }, resolved()),
                (6, _) => fleet.0[at].declare(declared.clone(), resolved()),
                _ => {}
            }
            fleet.book();
            let writers = fleet.writers();
            prop_assert!(writers.values().all(|n| *n <= 1), "{:?}", writers);
        }
        // One of them goes: the other gets all it wants.
        fleet.0[1].declare(declared.clone(), resolved());
        fleet.0[0].view.declared = None;
        fleet.settle();
        prop_assert!(fleet.0[0].view.replicas.is_empty());
        let wanted = slots(&declared, &fleet.0[1].nodes).len();
        // What failed for good was taken back.
        let newest = fleet.0[1].view.target().unwrap().spec_hash.clone();
        let there = |r: &&ReplicaView| {
            let fine = matches!(standing(r, &fleet.0[1].nodes), Standing::Ready | Standing::Ended);
            fine && r.replica.desired == Desired::Run && r.replica.spec_hash == newest
        };
        prop_assert_eq!(fleet.0[1].view.replicas.iter().filter(there).count(), wanted);
    }
}
