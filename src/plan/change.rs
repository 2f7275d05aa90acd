//! What a change would do, before it is done.
//!
//! Here: [`plan`], from wishes and the world to [`ChangePlan`], the answer of `POST /api/v1/plan`: which
//! fields change ([`fields`]), what happens to replicas and where ([`replicas`]), and what a person
//! should know first ([`warnings`], [`served`], [`notes`]). Not here: reading text (`manifest`), doing it (`store`, `reconcile`).
//! Invariants: placement goes through the scheduler with the seed that the real one will use, so the
//! plan names the node that is then chosen if nothing moves; a secret's value never enters a plan, only
//! names of keys and the keyed digest that the caller brings.
//! Deletions and stops are counted before placements: what they free may be used by the rest.

use std::{collections::BTreeMap, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::model::declared::Outcome;
use crate::model::{
    Declared, Index, Kind, Object, ObjectKey, Reason, Spec, declared::canonical, replica::Considered,
    secret::SealedSecret,
};

use super::view::World;

mod circles;
pub mod fields;
mod keys;
mod mounts;
mod networks;
pub mod notes;
pub mod replicas;
mod runs;
pub mod served;
pub mod servers;
mod stays;
pub mod warnings;

/// What somebody wants.
#[derive(Debug, Clone)]
pub enum Wish<'a> {
    /// An object as declared.
    Put {
        /// The object.
        declared: &'a Declared,
        /// Its set; none: as it is.
        managed_by: Option<&'a str>,
        /// Of a Secret: the keyed digest of its values, as the sealer gives it.
        digest: Option<String>,
    },
    /// An object shall go.
    Delete(ObjectKey),
}

impl Wish<'_> {
    /// What it is about.
    #[must_use]
    pub fn key(&self) -> ObjectKey {
        match self {
            Self::Put { declared, .. } => declared.key(),
            Self::Delete(key) => key.clone(),
        }
    }
}

/// What a set of changes would do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangePlan {
    /// Where the state was read.
    pub index: Index,
    /// `svc/web` → its `resourceVersion`, null when it must not exist. Given to `apply`, the change is
    /// refused if one of them moved.
    pub preconditions: BTreeMap<String, Option<u64>>,
    /// What becomes of each object, in the order in which `apply` writes them.
    pub objects: Vec<ObjectChange>,
    /// What will not work or may surprise: to be read before saying yes.
    pub warnings: Vec<String>,
    /// What is good to know and needs no action, like what the data of a mount means.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// What becomes of one object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectChange {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: Arc<str>,
    /// In `apply`'s words.
    pub result: Outcome,
    /// Its generation afterwards; of a deleted one, the last.
    pub generation: u64,
    /// Fields that change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldChange>,
    /// What happens to replicas.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<Operation>,
}

/// One field that changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FieldChange {
    /// `spec.environment[LOG_LEVEL]`, `metadata.labels[app]`.
    pub path: String,
    /// Before; none: it was not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<serde_json::Value>,
    /// After; none: it is not set any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<serde_json::Value>,
    /// Replicas are replaced because of it.
    #[serde(default)]
    pub forces_replace: bool,
}

/// What happens to one replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// `+` made, `-` stopped, `-/+` stopped and then made anew, `+/-` made anew and then stopped, `~` changed in place.
    pub op: Op,
    /// `web.1`.
    pub replica: String,
    /// Where; none when no node fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Arc<str>>,
    /// `start-first` or `stop-first` when it is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// Its cause; of one without a node, what the nodes lack.
    pub reason: Reason,
    /// The node's score, 0–100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<u32>,
    /// The other nodes that were looked at: their scores, or why they were rejected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<Considered>,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// A sign before a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Op {
    /// Made.
    #[serde(rename = "+")]
    Add,
    /// Stopped.
    #[serde(rename = "-")]
    Remove,
    /// Stopped first, then made anew.
    #[serde(rename = "-/+")]
    StopFirst,
    /// Made anew first, then stopped.
    #[serde(rename = "+/-")]
    StartFirst,
    /// Changed in place.
    #[serde(rename = "~")]
    Change,
}
impl std::fmt::Display for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Add => "+",
            Self::Remove => "-",
            Self::StopFirst => "-/+",
            Self::StartFirst => "+/-",
            Self::Change => "~",
        })
    }
}

/// What the wishes would do, in their order.
#[must_use]
pub fn plan(wishes: &[Wish<'_>], world: &World) -> ChangePlan {
    let mut books = replicas::Books::new(wishes, world);
    let mut objects: Vec<ObjectChange> = wishes.iter().map(|wish| object(wish, world)).collect();
    let changes = || wishes.iter().zip(&objects).map(|(w, o)| (w, o.result)).collect::<Vec<_>>();
    let mut operations = books.operations(&changes());
    for change in &mut objects {
        change.operations = operations.remove(&ObjectKey::new(change.kind, change.name.clone())).unwrap_or_default();
    }
    ChangePlan {
        index: world.index,
        preconditions: wishes
            .iter()
            .map(|w| (w.key().to_string(), world.objects.get(&w.key()).map(|o| o.meta.resource_version.0)))
            .collect(),
        warnings: warnings::all(wishes, &objects, world),
        notes: notes::all(wishes, &objects, world),
        objects,
    }
}

fn object(wish: &Wish<'_>, world: &World) -> ObjectChange {
    let key = wish.key();
    let old = world.objects.get(&key).map(|o| &**o);
    let change = |result, generation, fields| ObjectChange {
        kind: key.kind,
        name: key.name.clone(),
        result,
        generation,
        fields,
        operations: Vec::new(),
    };
    match (wish, old) {
        (Wish::Delete(_), None) => change(Outcome::Unchanged, 0, Vec::new()),
        (Wish::Delete(_), Some(old)) => change(Outcome::Deleted, old.meta.generation, Vec::new()),
        (Wish::Put { declared, managed_by, digest }, None) => {
            change(Outcome::Created, 1, fields::changes(declared, *managed_by, digest.as_deref(), None))
        }
        (Wish::Put { declared, managed_by, digest }, Some(old)) => {
            let same = same_spec(declared, digest.as_deref(), old);
            let fields = fields::changes(declared, *managed_by, digest.as_deref(), Some(old));
            let result = if same && fields.is_empty() { Outcome::Unchanged } else { Outcome::Configured };
            change(result, old.meta.generation + u64::from(!same), fields)
        }
    }
}

/// The store's own rule: canonical bytes, of a Secret the digest and what is declared around the values.
fn same_spec(declared: &Declared, digest: Option<&str>, old: &Object) -> bool {
    match &declared.spec {
        Spec::Secret(spec) => {
            old.parse::<SealedSecret>().is_ok_and(|old| digest == Some(old.digest.as_str()) && old.same_policy(spec))
        }
        Spec::Service(spec) => canonical(spec).is_ok_and(|bytes| bytes == old.spec),
        Spec::Config(spec) => canonical(spec).is_ok_and(|bytes| bytes == old.spec),
        Spec::Node(spec) => canonical(spec).is_ok_and(|bytes| bytes == old.spec),
        Spec::Route(spec) => canonical(spec).is_ok_and(|bytes| bytes == old.spec),
        Spec::Middleware(spec) => canonical(spec).is_ok_and(|bytes| bytes == old.spec),
    }
}

#[cfg(test)]
mod tests;
