//! What planners read: one Service, one Node, as plain values taken from one state.
//!
//! Made by `reconcile::view` from the store; made by hand in tables and properties.

use std::{collections::BTreeMap, sync::Arc};

use crate::model::{
    Bytes, Meta, Millicores, NodeStatus, Replica, ReplicaStatus, Revision, ServiceSpec, ServiceStatus, Uid,
    node::NodeSpec, service::Protocol,
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
