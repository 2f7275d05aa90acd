//! What may change the state: commands, in groups that are all or nothing.
//!
//! Here: values only. One Raft entry carries many independent groups; each group has preconditions
//! and gets its own answer. Not here: their effect ([`super::state`]).
//! Invariant: a command holds everything that `apply` needs, time and random names too.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::audit::Asked;
pub use crate::model::declared::Outcome;
use crate::model::{
    Desired, Edge, Index, JobRecord, Kind, NewEvent, ObjectKey, Reason, Replica, Resolution, Rollout, Status, Token,
    Uid, Volume,
};

/// All or nothing: every precondition holds and every command is carried out, or none is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Cluster time at the proposer, milliseconds since 1970. Stamped by the proposer.
    pub at: u64,
    /// Each named object must have exactly this `resourceVersion`; `None`: it must not exist.
    pub preconditions: Vec<(ObjectKey, Option<Index>)>,
    /// So many replicas were ever placed, and none since: of the state that placements were decided on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placements: Option<u64>,
    /// No edge is live: of the state on which a replica was stopped that nobody takes off the routes first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub edgeless: bool,
    /// The record of a Service's rollout is at this version: what was decided on it does not outlive a word that stops it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<(Uid, Index)>,
    /// A mutation with a key that was answered before gets the same answer again.
    pub idempotency: Option<Idempotency>,
    /// Who asks, for the audit record: `root@socket`, `admin-token`, `scheduler`, …
    pub actor: Arc<str>,
    /// Why, in the words of whoever asks; shown in the events of the objects that are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Arc<str>>,
    /// The request that it carries out, for the audit record; groups of the loops have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Asked>,
    /// What shall change, in this order; the indexes of a group are contiguous.
    pub commands: Vec<Command>,
}

/// A client's key for one mutation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotency {
    /// The client's key.
    pub key: Arc<str>,
    /// Hash of the request: the same key with another request is refused.
    pub request: String,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // the fields are the words of `model`
pub enum Command {
    /// The first command of a cluster.
    FormCluster { name: Arc<str>, node: Arc<str>, cluster: Uid, lineage: Uid },
    /// The cluster goes on from what was left of it: positions and epochs of before are below those that come. `cluster`: its
    /// new identity, when a backup was restored; `lost`: what was declared since may be missing.
    Recover {
        node: Arc<str>,
        told: String,
        cluster: Option<Uid>,
        #[serde(default)]
        lost: bool,
    },
    /// What a restored cluster would start and stop was seen, and may be.
    ConfirmRestore { node: Arc<str> },
    /// A process begins to lead; the index of this entry is its token.
    LeaderStarted { member: u64, incarnation: u64, nonce: u64, node: Arc<str> },
    /// Writes a declared object. Unchanged spec, labels, annotations and set: the answer is `unchanged`, no index moves.
    Put(PutObject),
    /// The same values of a Secret under another key, or those of one of its kept versions. Changes nothing that anybody sees.
    Reseal { key: ObjectKey, version: Option<u64>, sealed: Sealed },
    /// Removes a declared object. A Service's Replicas get `desired: Stop` by the rollout loop, its revisions go with the last of them.
    Delete { key: ObjectKey },
    /// Adds a Replica. Its `index`, `resource_version` and the counter of its epoch are filled in by apply. `beside`: the one that
    /// still has its slot; it has to be of another placement that may run at the same time.
    Place {
        replica: Replica,
        #[serde(default)]
        beside: Option<Arc<str>>,
    },
    /// Nothing new is sent to a Replica that is to be stopped.
    Drain { replica: Arc<str>, reason: Reason },
    /// What is wanted of a Service's revisions now; refused when the record has changed since `based_on`.
    SetRollout { service: Arc<str>, uid: Uid, rollout: Box<Rollout>, based_on: Option<Index> },
    /// The runs of a Service that is a job; refused when the record has changed since `based_on`.
    SetJob { service: Arc<str>, uid: Uid, job: Box<JobRecord>, based_on: Option<Index> },
    /// How far an edge is; none: it is no live one any more. `judged`: what it had said last when somebody else decided that;
    /// refused when it has said something since.
    RecordEdge {
        node: Uid,
        edge: Option<Edge>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        judged: Option<Arc<Edge>>,
    },
    /// Replicas end by this: `Run` never comes back.
    SetDesired { replica: Arc<str>, desired: Desired, reason: Reason },
    /// Removes an ended Replica and its status.
    Forget { replica: Arc<str> },
    /// What became of a revision's image reference.
    ResolveImage { service: Uid, revision: u64, image: Resolution },
    /// Adds an API token. Another of its name must have expired; that one goes.
    CreateToken { token: Token },
    /// Removes the API token of that name.
    RevokeToken { name: Arc<str> },
    /// Leaves an audit record of something that is no write of the store: `image/web:1` is built.
    RecordAudit { object: Arc<str> },
    /// Commits the first mount of a volume, or adds a service to it.
    InitialiseVolume { volume: Volume },
    /// Statuses and events that were observed, folded: last state wins, a status equal to the stored one changes nothing.
    RecordObservations { statuses: Vec<(ObjectKey, Uid, Status)>, events: Vec<NewEvent> },
}

/// A declared object at the door: validated, canonical.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutObject {
    /// Kind; never Replica.
    pub kind: Kind,
    /// Name.
    pub name: Arc<str>,
    /// For selection and constraints.
    pub labels: BTreeMap<String, String>,
    /// For people and tools.
    pub annotations: BTreeMap<String, String>,
    /// Set of the object; an object of another set is a conflict.
    pub managed_by: Option<String>,
    /// Canonical JSON of the spec (of a Secret: the sealed form).
    #[serde(with = "serde_bytes")]
    pub spec: Vec<u8>,
    /// Identity if the object is new; a Secret's seal is bound to it.
    pub uid: Uid,
    /// `resourceVersion` that a Secret was sealed over: its uid and version are part of the seal.
    pub based_on: Option<Index>,
    /// A Service's hash of its container part: a change of it makes a new revision.
    pub spec_hash: Option<String>,
}

/// A Secret's canonical JSON under a new key, and what decides "unchanged" then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Canonical JSON of the sealed form.
    #[serde(with = "serde_bytes")]
    pub spec: Vec<u8>,
    /// As [`PutObject::spec_hash`].
    pub digest: String,
}

/// What a group's author learns. A refusal leaves no trace and is the same on every node.
pub type Answer = Result<Applied, Refusal>;

/// A group was carried out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Index after the group.
    pub index: Index,
    /// One for each `Put` and `Delete`, in order.
    pub objects: Vec<ObjectResult>,
}

/// What became of one declared object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectResult {
    /// Kind.
    pub kind: Kind,
    /// Name.
    pub name: Arc<str>,
    /// What happened to it.
    pub result: Outcome,
    /// Its generation now, or when it was deleted.
    pub generation: u64,
    /// Index of its last change.
    pub resource_version: Index,
}

/// Why a group was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[allow(missing_docs)] // the messages say what the fields are
pub enum Refusal {
    /// A precondition does not hold: 409.
    #[error("{key} is at resourceVersion {}, not {}", show(.found), show(.expected))]
    Conflict { key: ObjectKey, expected: Option<Index>, found: Option<Index> },
    /// What was decided did not know of a placement: 409.
    #[error("{found} replicas have been placed, not {expected}: another was placed meanwhile")]
    Placed { expected: u64, found: u64 },
    /// What was decided of an edge did not know of its last word: 409.
    #[error("the edge on {node} has said how far it is since")]
    EdgeSpoke { node: Arc<str> },
    /// The object belongs to another set: 409.
    #[error("{key} belongs to the set {}, not {}", .found.as_deref().unwrap_or("(none)"), .asked.as_deref().unwrap_or("(none)"))]
    OtherSet { key: ObjectKey, found: Option<String>, asked: Option<String> },
    /// There is no such object: 404.
    #[error("{key} does not exist")]
    NotFound { key: ObjectKey },
    /// The object is needed: 409.
    #[error("{key} is in use: {by}")]
    InUse { key: ObjectKey, by: String },
    /// A token of that name is valid: 409.
    #[error("there is a token {name} already")]
    TokenExists { name: Arc<str> },
    /// There is no such token: 404.
    #[error("there is no token {name}")]
    NoToken { name: Arc<str> },
    /// No room for more tokens: 409.
    #[error("there are {limit} tokens already")]
    TooManyTokens { limit: usize },
    /// The same idempotency key came with another request: 409.
    #[error("the idempotency key {:?} was used for another request", sent(.key))]
    KeyReused { key: Arc<str> },
    /// No room for more idempotency keys: 429.
    #[error("too many idempotency keys are remembered; try again later")]
    TooManyKeys,
    /// A cluster exists already.
    #[error("this node belongs to a cluster already")]
    AlreadyFormed,
    /// The command does not fit the state (a replica without its service, a slot that still runs an exclusive one, …).
    #[error("{0}")]
    Invalid(String),
}

/// A key as its client sent it: the API puts whose it is before it, and which attempt after it.
fn sent(key: &str) -> &str {
    let key = key.rsplit_once('\u{2}').map_or(key, |(_, key)| key);
    key.split('\u{1}').next().unwrap_or_default()
}

fn show(index: &Option<Index>) -> String {
    index.map_or_else(|| "(absent)".into(), |i| i.to_string())
}

#[cfg(test)]
pub mod testing {
    //! Commands that tests of the state need.

    use super::{Command, Kind, PutObject, Uid};

    /// Declares an object with nothing in it; its identity is its name.
    pub fn put(kind: Kind, name: &str) -> Command {
        Command::Put(PutObject {
            kind,
            name: name.into(),
            labels: [].into(),
            annotations: [].into(),
            managed_by: None,
            spec: b"{}".to_vec(),
            uid: Uid(name.into()),
            spec_hash: Some("h".into()),
            based_on: None,
        })
    }
}
