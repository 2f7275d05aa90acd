//! The state machine: what the log means. In memory; a clone is O(1), so readers and snapshots hold one.
//!
//! Here: [`State`], its readers, and `apply`, pure and total: the same commands give the same state
//! hash on every node. Not here: durability (`log`), ordering (`raft`).

use std::{collections::BTreeMap, sync::Arc};

use imbl::OrdMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{audit::Audit, keys::Keys, ring};
use crate::model::{
    Edge, Event, Index, JobRecord, Kind, NodeStatus, Object, ObjectKey, Replica, ReplicaStatus, Revision, Rollout,
    ServiceStatus, Status, Token, Uid, Version, Volume,
};

/// Who and what this cluster is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterInfo {
    /// For people.
    pub name: Arc<str>,
    /// Identity of this cluster.
    pub cluster: Uid,
    /// Survives a restore and decides adoption of containers.
    pub lineage: Uid,
    /// Higher after each rescue or restore.
    pub recovery: u32,
    /// It comes from a backup or lost something, and until somebody confirms it nothing is started or stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<Restored>,
}

/// The state that a cluster goes on from: that of a backup, or what was left after a loss.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Restored {
    /// The cluster that it is of; after a rescue the same one.
    pub cluster: Uid,
    /// Index of its state then.
    pub index: Index,
    /// Newest cluster time in it, milliseconds since 1970.
    pub time: u64,
}

/// The process that leads, as the log knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaderInfo {
    /// Raft's member id.
    pub member: u64,
    /// Process start of that member.
    pub incarnation: u64,
    /// Random, from that process.
    pub nonce: u64,
    /// Its node's name.
    pub node: Arc<str>,
    /// Index of the entry that began this leadership: the token.
    pub token: Index,
}

/// One change, for watchers.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Where it stands in the history.
    pub index: Index,
    /// What changed.
    pub key: ObjectKey,
    /// The object after the change; before it when it was deleted.
    pub what: Changed,
}

/// What a change was.
#[derive(Debug, Clone, PartialEq)]
pub enum Changed {
    /// A declared object was written (its spec or metadata).
    Put {
        /// As it is now.
        object: Arc<Object>,
        /// Its labels before, where they were others: whoever selected it by them lets go of it.
        relabelled: Option<BTreeMap<String, String>>,
    },
    /// A declared object was deleted.
    Deleted(Arc<Object>),
    /// A Replica was placed or changed.
    Replica(Arc<Replica>),
    /// A Replica was forgotten.
    ReplicaForgotten(Arc<Replica>),
    /// A status changed, or the record of a rollout or of a job.
    Status,
    /// An edge said how far it is.
    Edge,
}

/// The asked-for position is older than what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("index {asked} is older than the oldest kept, {oldest}")]
pub struct Gone {
    /// What was asked.
    pub asked: Index,
    /// The oldest that is kept.
    pub oldest: Index,
}

/// The state at one index.
#[derive(Debug, Clone, Default)]
pub struct State {
    pub(super) index: Index,
    pub(super) cluster: Option<ClusterInfo>,
    pub(super) leader: Option<LeaderInfo>,
    pub(super) objects: OrdMap<ObjectKey, Arc<Object>>,
    pub(super) revisions: OrdMap<(Uid, u64), Arc<Revision>>,
    /// Of Configs and Secrets, by identity and number.
    pub(super) versions: OrdMap<(Uid, u64), Arc<Version>>,
    /// Objects by identity.
    pub(super) uids: OrdMap<Uid, ObjectKey>,
    pub(super) replicas: OrdMap<Arc<str>, Arc<Replica>>,
    /// The same by service and by node.
    pub(super) by_service: OrdMap<(Uid, Arc<str>), Arc<Replica>>,
    pub(super) by_node: OrdMap<(Arc<str>, Arc<str>), Arc<Replica>>,
    pub(super) statuses: OrdMap<ObjectKey, Arc<(Uid, Status)>>,
    pub(super) volumes: OrdMap<Arc<str>, Arc<Volume>>,
    /// By the identity of the Service.
    pub(super) rollouts: OrdMap<Uid, Arc<Rollout>>,
    /// Runs of jobs, by the identity of the Service.
    pub(super) jobs: OrdMap<Uid, Arc<JobRecord>>,
    /// Live ones, by the identity of the node.
    pub(super) edges: OrdMap<Uid, Arc<Edge>>,
    /// API tokens by their ids, expired ones too.
    pub(super) tokens: OrdMap<Arc<str>, Arc<Token>>,
    pub(super) audit: Audit,
    pub(super) events: ring::Events,
    pub(super) changes: ring::Changes,
    /// Counts grants.
    pub(super) epochs: u64,
    pub(super) keys: Keys,
    /// Newest cluster time in a command.
    pub(super) time: u64,
}

impl State {
    /// Index of the last change.
    #[must_use]
    pub fn index(&self) -> Index {
        self.index
    }
    /// The cluster, once formed.
    #[must_use]
    pub fn cluster(&self) -> Option<&ClusterInfo> {
        self.cluster.as_ref()
    }
    /// The state that it was restored from, while nobody has confirmed it: nothing may be started or stopped.
    #[must_use]
    pub fn unconfirmed(&self) -> Option<&Restored> {
        self.cluster.as_ref()?.restored.as_ref()
    }
    /// The leader as the log knows it.
    #[must_use]
    pub fn leader(&self) -> Option<&LeaderInfo> {
        self.leader.as_ref()
    }
    /// Newest cluster time in a command, milliseconds.
    #[must_use]
    pub fn time(&self) -> u64 {
        self.time
    }
    /// How many replicas were ever placed.
    #[must_use]
    pub fn placements(&self) -> u64 {
        self.epochs
    }
    /// A declared object.
    #[must_use]
    pub fn object(&self, key: &ObjectKey) -> Option<&Arc<Object>> {
        self.objects.get(key)
    }
    /// A declared object by its identity.
    #[must_use]
    pub fn object_by_uid(&self, uid: &Uid) -> Option<&Arc<Object>> {
        self.objects.get(self.uids.get(uid)?)
    }
    /// All declared objects of a kind, by name.
    pub fn objects(&self, kind: Kind) -> impl Iterator<Item = &Arc<Object>> {
        self.objects.range(ObjectKey::new(kind, "")..).map(|(_, o)| o).take_while(move |o| o.kind == kind)
    }
    /// One revision of a Service.
    #[must_use]
    pub fn revision(&self, service: &Uid, number: u64) -> Option<&Arc<Revision>> {
        self.revisions.get(&(service.clone(), number))
    }
    /// All revisions of a Service, oldest first.
    pub fn revisions<'a>(&'a self, service: &'a Uid) -> impl DoubleEndedIterator<Item = &'a Arc<Revision>> {
        self.revisions.range((service.clone(), 0)..=(service.clone(), u64::MAX)).map(|(_, r)| r)
    }
    /// The newest revision of a Service.
    #[must_use]
    pub fn newest_revision(&self, service: &Uid) -> Option<&Arc<Revision>> {
        let (key, newest) = self.revisions.get_prev(&(service.clone(), u64::MAX))?;
        (key.0 == *service).then_some(newest)
    }
    /// Kept versions of a Config or Secret, oldest first.
    pub fn versions<'a>(&'a self, object: &'a Uid) -> impl DoubleEndedIterator<Item = &'a Arc<Version>> {
        self.versions.range((object.clone(), 0)..=(object.clone(), u64::MAX)).map(|(_, v)| v)
    }
    /// One Replica.
    #[must_use]
    pub fn replica(&self, name: &str) -> Option<&Arc<Replica>> {
        self.replicas.get(name)
    }
    /// All Replicas, by name.
    pub fn replicas(&self) -> impl Iterator<Item = &Arc<Replica>> {
        self.replicas.values()
    }
    /// The Replicas of a Service, by name.
    pub fn replicas_of<'a>(&'a self, service: &'a Uid) -> impl Iterator<Item = &'a Arc<Replica>> {
        let from = (service.clone(), Arc::from(""));
        self.by_service.range(from..).take_while(move |((uid, _), _)| uid == service).map(|(_, r)| r)
    }
    /// The Replicas placed on a node, by name.
    pub fn replicas_on<'a>(&'a self, node: &'a str) -> impl Iterator<Item = &'a Arc<Replica>> {
        let from = (Arc::from(node), Arc::from(""));
        self.by_node.range(from..).take_while(move |((name, _), _)| &**name == node).map(|(_, r)| r)
    }
    /// A status.
    #[must_use]
    pub fn status(&self, key: &ObjectKey) -> Option<&Status> {
        self.statuses.get(key).map(|s| &s.1)
    }
    /// A Replica's status.
    #[must_use]
    pub fn replica_status(&self, name: &str) -> Option<&ReplicaStatus> {
        match self.status(&ObjectKey::replica(name))? {
            Status::Replica(s) => Some(s),
            Status::Service(_) | Status::Node(_) => None,
        }
    }
    /// A Service's status.
    #[must_use]
    pub fn service_status(&self, name: &str) -> Option<&ServiceStatus> {
        match self.status(&ObjectKey::service(name))? {
            Status::Service(s) => Some(s),
            Status::Replica(_) | Status::Node(_) => None,
        }
    }
    /// A Node's status.
    #[must_use]
    pub fn node_status(&self, name: &str) -> Option<&NodeStatus> {
        match self.status(&ObjectKey::node(name))? {
            Status::Node(s) => Some(s),
            Status::Replica(_) | Status::Service(_) => None,
        }
    }
    /// A volume by its key.
    #[must_use]
    pub fn volume(&self, key: &str) -> Option<&Arc<Volume>> {
        self.volumes.get(key)
    }
    /// All volumes.
    pub fn volumes(&self) -> impl Iterator<Item = &Arc<Volume>> {
        self.volumes.values()
    }
    /// How far the rollout of a Service is; none: the leader has not looked yet.
    #[must_use]
    pub fn rollout(&self, service: &Uid) -> Option<&Arc<Rollout>> {
        self.rollouts.get(service)
    }
    /// The runs of a job; none: it never ran.
    #[must_use]
    pub fn job(&self, service: &Uid) -> Option<&Arc<JobRecord>> {
        self.jobs.get(service)
    }
    /// Live edges, by the identity of their node.
    pub fn edges(&self) -> impl Iterator<Item = (&Uid, &Arc<Edge>)> {
        self.edges.iter()
    }
    /// The live edge of a node.
    #[must_use]
    pub fn edge(&self, node: &Uid) -> Option<&Arc<Edge>> {
        self.edges.get(node)
    }
    /// An API token by its id.
    #[must_use]
    pub fn token(&self, id: &str) -> Option<&Arc<Token>> {
        self.tokens.get(id)
    }
    /// All API tokens, expired ones too.
    pub fn tokens(&self) -> impl Iterator<Item = &Arc<Token>> {
        self.tokens.values()
    }
    /// Who changed what.
    #[must_use]
    pub fn audit(&self) -> &Audit {
        &self.audit
    }
    /// Kept events, oldest first.
    pub fn events(&self) -> impl DoubleEndedIterator<Item = &Arc<Event>> {
        self.events.iter()
    }
    /// Events after an index; 0: from the oldest kept.
    ///
    /// # Errors
    /// [`Gone`] when events after `index` were dropped.
    pub fn events_after(&self, index: Index) -> Result<impl Iterator<Item = &Arc<Event>>, Gone> {
        match self.events.gone(index).filter(|_| index != Index(0)) {
            Some(oldest) => Err(Gone { asked: index, oldest }),
            None => Ok(self.events.after(index)),
        }
    }
    /// Changes after an index; 0: from the oldest kept.
    ///
    /// # Errors
    /// [`Gone`] when changes after `index` are not kept.
    pub fn changes_after(&self, index: Index) -> Result<impl Iterator<Item = &Arc<Change>>, Gone> {
        if index != Index(0) && index < self.changes.dropped() {
            return Err(Gone { asked: index, oldest: self.changes.dropped().next() });
        }
        Ok(self.changes.after(index))
    }

    /// Keeps an object in every map that holds it.
    pub(super) fn keep_object(&mut self, object: Arc<Object>) {
        let (uid, key) = (object.meta.uid.clone(), object.key());
        let before = self.objects.insert(key.clone(), object);
        // Under one name an object keeps its identity until it is deleted.
        if before.is_none_or(|before| before.meta.uid != uid) {
            self.uids.insert(uid, key);
        }
    }
    pub(super) fn drop_object(&mut self, object: &Object) {
        self.uids.remove(&object.meta.uid);
        self.objects.remove(&object.key());
    }
    /// Keeps a Replica in every map that holds it. Its service and node never change.
    pub(super) fn keep_replica(&mut self, replica: Arc<Replica>) {
        self.by_service.insert((replica.service_uid.clone(), replica.name.clone()), replica.clone());
        self.by_node.insert((replica.node.clone(), replica.name.clone()), replica.clone());
        self.replicas.insert(replica.name.clone(), replica);
    }
    pub(super) fn drop_replica(&mut self, replica: &Replica) {
        self.by_service.remove(&(replica.service_uid.clone(), replica.name.clone()));
        self.by_node.remove(&(replica.node.clone(), replica.name.clone()));
        self.replicas.remove(&replica.name);
    }
}
