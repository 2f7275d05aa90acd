//! What planners read: one Service, one Node, as plain values taken from one state.
//!
//! Here: the views, and what a node's bookkeeping of placed replicas means ([`NodeView::take`]).
//! Made by `reconcile::view` from the store; made by hand in tables and properties.

use std::{collections::BTreeMap, sync::Arc};

use crate::model::{
    Bytes, Index, Kind, Meta, Millicores, NodeStatus, Object, ObjectKey, Reason, Replica, ReplicaStatus, Revision,
    ServiceSpec, ServiceStatus, Uid,
    node::NodeSpec,
    service::{NetworkMode, Port, Protocol},
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
    /// Its replicas, ended ones too, by name.
    pub replicas: Vec<ReplicaView>,
    /// What the leader said of it last.
    pub status: Option<ServiceStatus>,
    /// What it refers to and what is not there.
    pub missing: Vec<Missing>,
    /// Where its data lies already.
    pub homes: Vec<Home>,
}

impl ServiceView {
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
            Kind::Service | Kind::Node | Kind::Replica => Reason::WaitingForDependency,
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
}

/// A Replica with what its node reported.
#[derive(Debug, Clone)]
pub struct ReplicaView {
    /// The placement.
    pub replica: Arc<Replica>,
    /// The newest report; none: nobody has reported since it was placed.
    pub status: Option<ReplicaStatus>,
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
}

impl NodeView {
    /// Counts a replica as placed here: what it reserves, and its published ports.
    pub fn hold(&mut self, replica: &Replica, spec: &ServiceSpec) {
        self.take(&replica.service, &replica.display(), spec);
    }
    /// Counts one more replica of a service here, `owner` being its display name.
    pub fn take(&mut self, service: &Arc<str>, owner: &str, spec: &ServiceSpec) {
        let amounts = &spec.container.resources.reservations;
        self.reserved.0.0 = self.reserved.0.0.saturating_add(amounts.cpus.unwrap_or_default().0);
        self.reserved.1.0 = self.reserved.1.0.saturating_add(amounts.memory.unwrap_or_default().0);
        for port in published(spec) {
            self.ports.push((
                port.host_ip.clone(),
                port.published.unwrap_or(port.target),
                port.protocol,
                owner.to_owned(),
            ));
        }
        *self.replicas.entry(service.clone()).or_default() += 1;
    }
    /// Takes back what [`Self::take`] counted.
    pub fn release(&mut self, service: &Arc<str>, owner: &str, spec: &ServiceSpec) {
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
        if let Some(count) = self.replicas.get_mut(service) {
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
