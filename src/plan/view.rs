//! What planners read: one Service, one Node, as plain values taken from one state.
//!
//! Here: the views, and what a node's bookkeeping of placed replicas means ([`NodeView::take`]): capacity,
//! ports, and the data that is written there ([`Claim`]).
//! Made by `reconcile::view` from the store; made by hand in tables and properties.

use std::{collections::BTreeMap, sync::Arc};

use crate::model::{
    Bytes, Desired, Edge, Index, JobRecord, Kind, Meta, Millicores, NodeStatus, Object, ObjectKey, Reason, Replica,
    ReplicaPhase, ReplicaStatus, Revision, Rollout, ServiceSpec, ServiceStatus, Slot, Uid,
    node::NodeSpec,
    rotation::Strategy,
    service::{DataPolicy, NetworkMode, Port, Protocol},
};

/// A Service with everything that belongs to it.
#[derive(Debug, Clone)]
pub struct ServiceView {
    /// Its name.
    pub name: Arc<str>,
    /// Its identity.
    pub uid: Uid,
    /// Its declaration; none when it was deleted and only replicas are left.
    pub declared: Option<(Meta, Arc<ServiceSpec>)>,
    /// Its revisions by number.
    pub revisions: BTreeMap<u64, Arc<Revision>>,
    /// How far it is on its way to one of them; none: nobody has looked yet.
    pub rollout: Option<Arc<Rollout>>,
    /// Its runs, when it is a job; none: nobody has looked yet.
    pub job: Option<Arc<JobRecord>>,
    /// Live edges that may send something to its replicas.
    pub edges: Vec<Arc<Edge>>,
    /// Its replicas, ended ones too, by name.
    pub replicas: Vec<ReplicaView>,
    /// Those that run hooks of its rollouts, likewise: none of them is a replica of a slot.
    pub hooks: Vec<ReplicaView>,
    /// What the leader said of it last.
    pub status: Option<ServiceStatus>,
    /// What it refers to and what is not there.
    pub missing: Vec<Missing>,
    /// Where its data lies already.
    pub homes: Vec<Home>,
    /// Digests of the Configs and Secrets that its spec names, as they are now, by reference.
    pub contents: BTreeMap<String, String>,
    /// How their changes reach replicas, by reference; a reference that does not stand here is rolled.
    pub strategies: BTreeMap<String, Strategy>,
}

impl ServiceView {
    /// How a change behind a reference reaches the replicas. A variable of a running container cannot be changed.
    #[must_use]
    pub fn strategy(&self, reference: &str) -> Strategy {
        match self.strategies.get(reference).copied().unwrap_or_default() {
            Strategy::Reload if reference.contains('=') => Strategy::Manual,
            strategy => strategy,
        }
    }
    /// Whether a replica was started with content that has changed since and shall be replaced for it. One that nobody
    /// wrote down what it was started with stays, and one that ended by itself has had what it needed.
    #[must_use]
    pub fn outdated(&self, replica: &ReplicaView) -> bool {
        let Some(status) = replica.status.as_ref().filter(|s| !s.phase.ended()) else { return false };
        self.contents.iter().any(|(reference, now)| {
            self.strategy(reference) == Strategy::Rolling
                && status.contents.get(reference).is_some_and(|had| had != now)
        })
    }
    /// Whether a replica is as it would be made now.
    #[must_use]
    pub fn up_to_date(&self, replica: &ReplicaView) -> bool {
        let restarted = self.rollout.as_ref().map_or(Index(0), |r| r.restarted);
        self.target().is_some_and(|revision| self.fits(revision, restarted, replica))
    }
    /// Whether a replica is of a revision, with the contents of now, and placed after an index.
    #[must_use]
    pub fn fits(&self, revision: &Revision, restarted: Index, replica: &ReplicaView) -> bool {
        revision.spec_hash == replica.replica.spec_hash && replica.replica.index > restarted && !self.outdated(replica)
    }
    /// The revision that its replicas shall be of: the newest, unless it was gone back from.
    #[must_use]
    pub fn target(&self) -> Option<&Arc<Revision>> {
        let newest = self.newest()?;
        let wanted = self.rollout.as_ref().filter(|r| r.newest >= newest.number);
        wanted.and_then(|r| self.revisions.get(&r.target)).or(Some(newest))
    }
    /// Whether its replicas shall be of another revision than what is declared: an update went wrong or was undone.
    #[must_use]
    pub fn gone_back(&self) -> bool {
        match (self.target(), self.newest()) {
            (Some(target), Some(newest)) => target.spec_hash != newest.spec_hash,
            (_, _) => false,
        }
    }
    /// Its newest revision.
    #[must_use]
    pub fn newest(&self) -> Option<&Arc<Revision>> {
        self.revisions.values().next_back()
    }
}

/// A reference to something that does not exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Kind of what is missing.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// The key that it lacks; none: the whole object is missing.
    pub key: Option<String>,
    /// Nothing starts without it.
    pub required: bool,
}

impl Missing {
    /// Its reason code.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self.kind {
            Kind::Secret => Reason::SecretMissing,
            Kind::Config => Reason::ConfigMissing,
            Kind::Service | Kind::Node | Kind::Route | Kind::Middleware | Kind::Replica => Reason::WaitingForDependency,
        }
    }
}

/// Data that was mounted once: a replica that mounts it again belongs there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// Docker's name of the volume, or the host path.
    pub source: String,
    /// The node that has it.
    pub node: Uid,
    /// This Service mounted it; else another did, and this one names the same volume.
    pub own: bool,
}

/// A Replica with what its node reported.
#[derive(Debug, Clone)]
pub struct ReplicaView {
    /// The placement.
    pub replica: Arc<Replica>,
    /// The newest report; none: nobody has reported since it was placed.
    pub status: Option<ReplicaStatus>,
}

impl ReplicaView {
    /// Whether its container was there when it was last looked for.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.status.as_ref().is_some_and(|status| status.container.is_some())
    }
}

/// A Node as placement sees it.
#[derive(Debug, Clone)]
pub struct NodeView {
    /// Its name.
    pub name: Arc<str>,
    /// Its identity.
    pub uid: Uid,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What users say of it.
    pub spec: NodeSpec,
    /// What its agent says; none: it never reported.
    pub status: Option<NodeStatus>,
    /// Sum of what the replicas placed there reserve.
    pub reserved: (Millicores, Bytes),
    /// Published ports of the replicas placed there: host address (none: every), port, protocol, owner's display name.
    pub ports: Vec<(Option<String>, u16, Protocol, String)>,
    /// Replicas placed there, by service.
    pub replicas: BTreeMap<Arc<str>, u32>,
    /// Data that replicas placed there write.
    pub data: Vec<Claim>,
    /// The cluster's lineage: part of the names of its volumes.
    pub lineage: Uid,
}

/// Who holds something on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Name of its Service.
    pub service: Arc<str>,
    /// Identity of its Service.
    pub uid: Uid,
    /// Its slot.
    pub slot: Slot,
    /// It was told to stop, and its end is awaited.
    pub leaving: bool,
}

impl Holder {
    /// A replica.
    #[must_use]
    pub fn of(replica: &Replica) -> Self {
        Self {
            service: replica.service.clone(),
            uid: replica.service_uid.clone(),
            slot: replica.slot.clone(),
            leaving: replica.desired == Desired::Stop,
        }
    }
    /// `web.1`.
    #[must_use]
    pub fn display(&self) -> String {
        format!("{}.{}", self.service, self.slot)
    }
}

/// Data of a node that a replica writes, or wants for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Docker's name of the volume, or the host path.
    pub source: String,
    /// `dataPolicy: state`: nobody else may write it at the same time.
    pub state: bool,
    /// Whose.
    pub holder: Holder,
}

impl Claim {
    /// Whether both must never run at once. Of two replicas of one slot the slot itself takes care.
    #[must_use]
    pub fn clashes(&self, other: &Self) -> bool {
        let same_slot = self.holder.uid == other.holder.uid && self.holder.slot == other.holder.slot;
        same_data(&self.source, &other.source) && (self.state || other.state) && !same_slot
    }
}

/// Whether two places hold the same data: the same one, or a directory and what lies in it.
#[must_use]
pub fn same_data(a: &str, b: &str) -> bool {
    let within = |outer: &str, inner: &str| {
        // Only paths begin so: names of volumes have no directories.
        outer.starts_with('/') && inner.strip_prefix(outer.trim_end_matches('/')).is_some_and(|r| r.starts_with('/'))
    };
    a == b || within(a, b) || within(b, a)
}

/// What a slot writes. Mounts that only read and are not `state` claim nothing.
#[must_use]
pub fn claims(holder: &Holder, spec: &ServiceSpec, lineage: &Uid) -> Vec<Claim> {
    let slot = holder.slot.to_string();
    let mounts = spec.container.volumes.iter().map(|m| (m, m.policy() == DataPolicy::State));
    mounts
        .filter(|(mount, state)| *state || !mount.read_only)
        .filter_map(|(mount, state)| {
            Some(Claim { source: mount.place(&slot, lineage)?, state, holder: holder.clone() })
        })
        .collect()
}

impl NodeView {
    /// Counts a replica as placed here, as long as it holds anything. One that ended by itself holds
    /// nothing while it stays so: a job may prepare the data of what depends on it. Once it is to be
    /// stopped it holds its data until its end is reported: somebody may have started it again.
    pub fn hold(&mut self, replica: &Replica, phase: Option<ReplicaPhase>, spec: &ServiceSpec) {
        let holder = Holder::of(replica);
        match phase {
            Some(ReplicaPhase::Stopped) => {}
            Some(ReplicaPhase::Completed | ReplicaPhase::Failed) if holder.leaving => {
                self.data.extend(claims(&holder, spec, &self.lineage));
            }
            Some(ReplicaPhase::Completed | ReplicaPhase::Failed) => {}
            Some(_) | None => self.take(&holder, spec),
        }
    }
    /// Counts one more replica here.
    pub fn take(&mut self, holder: &Holder, spec: &ServiceSpec) {
        let amounts = &spec.container.resources.reservations;
        self.reserved.0.0 = self.reserved.0.0.saturating_add(amounts.cpus.unwrap_or_default().0);
        self.reserved.1.0 = self.reserved.1.0.saturating_add(amounts.memory.unwrap_or_default().0);
        for port in published(spec) {
            self.ports.push((
                port.host_ip.clone(),
                port.published.unwrap_or(port.target),
                port.protocol,
                holder.display(),
            ));
        }
        self.data.extend(claims(holder, spec, &self.lineage));
        *self.replicas.entry(holder.service.clone()).or_default() += 1;
    }
    /// Takes back what [`Self::take`] counted.
    pub fn release(&mut self, holder: &Holder, spec: &ServiceSpec) {
        let owner = holder.display();
        let amounts = &spec.container.resources.reservations;
        self.reserved.0.0 = self.reserved.0.0.saturating_sub(amounts.cpus.unwrap_or_default().0);
        self.reserved.1.0 = self.reserved.1.0.saturating_sub(amounts.memory.unwrap_or_default().0);
        for port in published(spec) {
            let number = port.published.unwrap_or(port.target);
            let held = |p: &(Option<String>, u16, Protocol, String)| {
                p.0 == port.host_ip && p.1 == number && p.2 == port.protocol && p.3 == owner
            };
            if let Some(at) = self.ports.iter().position(held) {
                self.ports.remove(at);
            }
        }
        for claim in claims(holder, spec, &self.lineage) {
            if let Some(at) = self.data.iter().position(|c| *c == claim) {
                self.data.remove(at);
            }
        }
        if let Some(count) = self.replicas.get_mut(&holder.service) {
            *count = count.saturating_sub(1);
        }
    }
}

/// Ports of the host that a spec claims: fixed ones, and with the host's network every one it names.
pub fn published(spec: &ServiceSpec) -> impl Iterator<Item = &Port> {
    let mode = spec.container.network_mode;
    spec.container.ports.iter().filter(move |p| match mode {
        NetworkMode::Bridge => p.published.is_some(),
        NetworkMode::Host => true,
        NetworkMode::None => false,
    })
}

/// Everything that a plan of changes reads, at one index.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// Where it was read.
    pub index: Index,
    /// Every Service that can be read, by name.
    pub services: BTreeMap<Arc<str>, ServiceView>,
    /// Every Node.
    pub nodes: Vec<NodeView>,
    /// Every declared object, as it is stored.
    pub objects: BTreeMap<ObjectKey, Arc<Object>>,
}
