//! What a change would do, before it is done.
//!
//! Here: [`ChangePlan`], the answer of `POST /api/v1/plan`.

use std::{collections::BTreeMap, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{Index, Kind, Reason, replica::Considered};

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
    /// What a person should know before saying yes.
    pub warnings: Vec<String>,
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

/// In kubectl's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// New.
    Created,
    /// Changed.
    Configured,
    /// As it is.
    Unchanged,
    /// Gone.
    Deleted,
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
    /// `stop-first` when it is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// Its cause.
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
