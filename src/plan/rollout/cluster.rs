//! A small cluster for tests of planners: it carries out what is planned, as the store and the agents
//! would, and panics on what they would refuse.

use super::*;
use crate::model::{
    Bytes, Draining, Epoch, Index, Meta, Millicores, NextImage, NodeStatus, Period, Replica, ReplicaStatus, Resolution,
    ResolvedImage, Revision, node::NodeSpec, service, testing,
};

/// A Service on some nodes, and what agents report of it.
#[derive(Debug, Clone)]
pub(in crate::plan) struct Cluster {
    pub view: ServiceView,
    pub nodes: Vec<NodeView>,
    /// Cluster time, milliseconds.
    pub now: u64,
    made: u64,
}

impl Cluster {
    pub fn new(nodes: usize, spec: ServiceSpec) -> Self {
        Self::named("web", nodes, spec)
    }
    pub fn named(name: &str, nodes: usize, spec: ServiceSpec) -> Self {
        let nodes = (1..=nodes).map(|n| node(&format!("n{n}"))).collect();
        let view = ServiceView {
            name: name.into(),
            uid: Uid(format!("uid-{name}").into()),
            declared: None,
            revisions: BTreeMap::new(),
            rollout: None,
            job: None,
            edges: Vec::new(),
            replicas: Vec::new(),
            hooks: Vec::new(),
            status: None,
            missing: Vec::new(),
            homes: Vec::new(),
            contents: BTreeMap::new(),
            strategies: BTreeMap::new(),
        };
        let mut cluster = Self { view, nodes, now: 1_000, made: 0 };
        cluster.declare(spec, resolved());
        cluster
    }
    /// Writes a spec; a new container part makes a revision with this image.
    pub fn declare(&mut self, spec: ServiceSpec, image: Resolution) {
        let hash = spec.container_hash().unwrap();
        let generation = self.view.declared.as_ref().map_or(1, |(m, _)| m.generation + 1);
        if self.view.newest().is_none_or(|r| r.spec_hash != hash) {
            let number = self.view.newest().map_or(1, |r| r.number + 1);
            let revision = Revision {
                service: self.view.uid.clone(),
                number,
                index: Index(number),
                generation,
                spec_hash: hash,
                spec: serde_json::to_vec(&spec).unwrap(),
                image,
                tried: None,
            };
            self.view.revisions.insert(number, Arc::new(revision));
        }
        let meta = Meta {
            uid: self.view.uid.clone(),
            generation,
            resource_version: Index(generation),
            ..testing::meta(&self.view.name)
        };
        self.view.declared = Some((meta, Arc::new(spec)));
    }
    pub fn plan(&self) -> Plan {
        plan(&self.view, &self.nodes, self.now)
    }
    /// As the store would: refuses two in one slot.
    pub fn take(&mut self, plan: &Plan) {
        if let Some(record) = &plan.record {
            assert!(self.view.revisions.contains_key(&record.target));
            self.view.rollout = Some(Arc::new(record.clone()));
        }
        if let Some(job) = &plan.job {
            self.view.job = Some(Arc::new(job.clone()));
        }
        for step in &plan.steps {
            match step {
                Step::Drain { replica, reason } => {
                    self.made += 1;
                    let (index, at) = (Index(self.made), self.now);
                    let found = self.find(replica);
                    assert!(found.replica.draining.is_none() && found.replica.desired == Desired::Run);
                    let draining = Some(Draining { reason: *reason, index, at });
                    found.replica = Arc::new(Replica { draining, ..(*found.replica).clone() });
                }
                Step::DropEdge { edge } => self.view.edges.retain(|e| e != edge),
                Step::Stop { replica, reason } => {
                    let found = self.find(replica);
                    let stopped =
                        Replica { desired: Desired::Stop, stop_reason: Some(*reason), ..(*found.replica).clone() };
                    // Its agent removes what was stopped and kept.
                    if let Some(status) = found.status.as_mut().filter(|s| s.phase.ended() && !stopped.is_kept()) {
                        status.container = None;
                    }
                    found.replica = Arc::new(stopped);
                }
                Step::Forget { replica } => {
                    let found = self.find(replica);
                    let ended = found.status.as_ref().is_some_and(|s| s.phase.ended());
                    assert!(found.replica.desired == Desired::Stop || ended, "{replica} may still run");
                    self.view.replicas.retain(|r| r.replica.name != *replica);
                    self.view.hooks.retain(|r| r.replica.name != *replica);
                }
                Step::Place { slot, revision, spec_hash, node, decision, beside, run, hook } => {
                    self.made += 1;
                    let held = |r: &&ReplicaView| {
                        let ended = run.is_some() && r.status.as_ref().is_some_and(|s| s.phase.ended());
                        r.replica.slot == *slot
                            && r.replica.run == *run
                            && r.replica.desired == Desired::Run
                            && !ended
                            && Some(&r.replica.name) != beside.as_ref()
                    };
                    assert!(self.view.replicas.iter().find(held).is_none(), "two in slot {slot}");
                    let replica = Replica {
                        name: format!("{}-{slot}-{:05}", self.view.name, self.made).into(),
                        uid: Uid(format!("r{}", self.made).into()),
                        service: self.view.name.clone(),
                        service_uid: self.view.uid.clone(),
                        slot: slot.clone(),
                        revision: *revision,
                        spec_hash: spec_hash.clone(),
                        node: node.0.clone(),
                        node_uid: node.1.clone(),
                        epoch: Epoch::new(0, self.made),
                        desired: Desired::Run,
                        stop_reason: None,
                        draining: None,
                        run: *run,
                        hook: hook.clone(),
                        decision: decision.clone(),
                        index: Index(self.made),
                        resource_version: Index(self.made),
                        created_at: self.now,
                    };
                    let view = ReplicaView { replica: Arc::new(replica), status: None };
                    if hook.is_some() {
                        assert!(
                            self.view.hooks.iter().all(|r| standing(r, &self.nodes) != Standing::NotReady),
                            "one at a time"
                        );
                        self.view.hooks.push(view);
                    } else {
                        self.view.replicas.push(view);
                    }
                }
            }
        }
        self.book();
    }
    /// What the nodes hold, from what is there.
    pub fn book(&mut self) {
        book(&mut self.nodes, &[&self.view]);
    }
    pub fn find(&mut self, name: &str) -> &mut ReplicaView {
        self.view.replicas.iter_mut().chain(&mut self.view.hooks).find(|r| *r.replica.name == *name).unwrap()
    }
    pub fn report(&mut self, name: &str, phase: ReplicaPhase, ready: bool) {
        let (since, ready_since) = (self.now, ready.then_some(self.now));
        self.find(name).status = Some(ReplicaStatus { phase, ready, since, ready_since, ..ReplicaStatus::default() });
        self.book();
    }
    /// Every agent does all it is asked, and everything becomes ready.
    pub fn work(&mut self) {
        for at in 0..self.view.replicas.len() {
            self.work_one(at);
        }
    }
    pub fn work_one(&mut self, at: usize) {
        self.fetch(at, |next| next.there = true);
        let replica = &mut self.view.replicas[at];
        let old = replica.status.as_ref().map(|s| s.phase);
        let phase = match replica.replica.desired {
            Desired::Stop => ReplicaPhase::Stopped,
            Desired::Run if old.is_some_and(ReplicaPhase::ended) => return,
            Desired::Run => ReplicaPhase::Running,
        };
        if old != Some(phase) || replica.status.as_ref().is_some_and(|s| !s.ready) {
            let ready = phase == ReplicaPhase::Running;
            let ready_since = ready.then_some(self.now);
            replica.status = Some(ReplicaStatus { phase, ready, ready_since, ..ReplicaStatus::default() });
        }
        self.book();
    }
    /// What the node of a replica says of the image that its service goes on to, if that is another one.
    pub fn fetch(&mut self, at: usize, say: impl FnOnce(&mut NextImage)) {
        let image = |number| self.view.revisions.get(&number).and_then(|r: &Arc<Revision>| r.image.resolved().cloned());
        let target = self.view.rollout.as_ref().and_then(|record| image(record.target));
        let own = image(self.view.replicas[at].replica.revision);
        let next = target.filter(|target| own.as_ref() != Some(target)).map(|target| {
            let mut next = NextImage { reference: target.reference().into(), ..NextImage::default() };
            say(&mut next);
            next
        });
        if let Some(status) = &mut self.view.replicas[at].status {
            status.next_image = next;
        }
    }
    /// Every edge serves what the log says, and nothing is in flight.
    pub fn serve(&mut self) {
        let gone = self.view.replicas.iter().filter(|r| r.replica.draining.is_some());
        let drained: BTreeSet<Arc<str>> = gone.map(|r| r.replica.name.clone()).collect();
        let (served, at) = (Index(self.made), self.now);
        let edges = self.view.edges.iter().map(|e| Edge { served, at, drained: drained.clone(), node: e.node.clone() });
        self.view.edges = edges.map(Arc::new).collect();
    }
    pub fn edge(&mut self, node: &str) {
        let edge = Edge { node: node.into(), served: Index(self.made), at: self.now, drained: BTreeSet::new() };
        self.view.edges.push(Arc::new(edge));
    }
    pub fn ready(&self) -> usize {
        self.view.replicas.iter().filter(|r| standing(r, &self.nodes) == Standing::Ready).count()
    }
    /// Until nothing is left to do; panics when that does not come.
    pub fn settle(&mut self) {
        for _ in 0..2_000 {
            let plan = self.plan();
            let (before, record) = (self.view.replicas.clone(), self.view.rollout.clone());
            self.take(&plan);
            self.work();
            self.serve();
            let same = record == self.view.rollout
                && before.len() == self.view.replicas.len()
                && before.iter().zip(&self.view.replicas).all(|(a, b)| a.replica == b.replica && a.status == b.status);
            let next = self.plan();
            // What edges did just now may let something follow.
            if same && plan.steps.is_empty() && next.steps.is_empty() {
                match next.look_again {
                    Some(at) if at > self.now => self.now = at,
                    Some(_) | None => return,
                }
            }
        }
        panic!("it does not settle: {:#?}", self.plan());
    }
    pub fn names(&self) -> Vec<Arc<str>> {
        self.view.replicas.iter().map(|r| r.replica.name.clone()).collect()
    }
}

/// What nodes hold of all these services.
pub(in crate::plan) fn book(nodes: &mut [NodeView], services: &[&ServiceView]) {
    for node in nodes {
        (node.reserved, node.ports, node.data) = ((Millicores(0), Bytes(0)), Vec::new(), Vec::new());
        node.replicas.clear();
        for service in services {
            let here = node.uid.clone();
            for r in service.replicas.iter().filter(|r| r.replica.node_uid == here) {
                let spec = spec_of(service, r.replica.revision).unwrap();
                node.hold(&r.replica, r.status.as_ref().map(|s| s.phase), &spec);
            }
        }
    }
}

pub(in crate::plan) fn node(name: &str) -> NodeView {
    NodeView {
        name: name.into(),
        uid: Uid(format!("uid-{name}").into()),
        labels: BTreeMap::new(),
        spec: NodeSpec::first(),
        status: Some(NodeStatus { cpus: Millicores(8000), memory: Bytes(64 << 30), ..NodeStatus::default() }),
        reserved: (Millicores(0), Bytes(0)),
        ports: Vec::new(),
        replicas: BTreeMap::new(),
        data: Vec::new(),
        lineage: Uid("0123456789abcdef".into()),
    }
}
pub(in crate::plan) fn resolved() -> Resolution {
    Resolution::Resolved { image: ResolvedImage::Digest { reference: "x@sha256:1".into() } }
}
/// The image of this number.
pub(in crate::plan) fn resolved_as(number: u8) -> Resolution {
    Resolution::Resolved { image: ResolvedImage::Digest { reference: format!("x@sha256:{number}") } }
}
pub(in crate::plan) fn failed() -> Resolution {
    Resolution::Failed {
        reason: Reason::ImageNotFound,
        message: "manifest unknown".into(),
        since: 5,
        next_attempt: 9_000,
        attempts: 1,
    }
}
pub(in crate::plan) fn spec(image: &str, replicas: u32) -> ServiceSpec {
    let mut spec = ServiceSpec { replicas: Some(replicas), ..ServiceSpec::default() };
    spec.container.image = image.into();
    spec.update.min_healthy_time = Period::secs(0);
    spec.update.order = service::Order::StopFirst;
    spec
}
