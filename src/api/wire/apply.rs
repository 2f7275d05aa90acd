//! Writes and plans: `POST /api/v1/apply`, `POST /api/v1/plan`, `PUT …/scale`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{model::Kind, store::command::Outcome};

/// The long form of an apply or plan: documents with what must still hold when they are written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApplyRequest {
    /// Documents with `apiVersion`, `kind`, `metadata`, `spec`.
    pub objects: Vec<Value>,
    /// `svc/web` → its `resourceVersion`; null: it must not exist. 409 when one moved.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub preconditions: BTreeMap<String, Option<u64>>,
    /// Set that the objects belong to, where a document does not name one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<String>,
}

/// What an apply, PUT, DELETE or cordon did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApplyAnswer {
    /// Index after the change.
    pub index: u64,
    /// One for each object, in the order they were written.
    pub objects: Vec<ObjectOutcome>,
    /// What works but a person should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// True when nothing was written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// What became of one object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectOutcome {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// created, configured, unchanged or deleted.
    pub result: Outcome,
    /// Counts changes of its spec.
    pub generation: u64,
    /// Index of its last change.
    pub resource_version: u64,
}

/// What an apply would do and why.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PlanAnswer {
    /// The state it was made from.
    pub index: u64,
    /// What the plan read or writes: given back with the apply, so that it is refused when one moved.
    pub preconditions: BTreeMap<String, Option<u64>>,
    /// One for each object.
    pub objects: Vec<PlanObject>,
    /// What works but a person should know.
    pub warnings: Vec<String>,
}

/// What would become of one object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanObject {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// created, configured, unchanged or deleted.
    pub result: Outcome,
    /// Its generation afterwards.
    #[serde(default)]
    pub generation: u64,
    /// Changed fields.
    #[serde(default)]
    pub fields: Vec<FieldChange>,
    /// What follows for its replicas.
    #[serde(default)]
    pub operations: Vec<Operation>,
}

/// One changed field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FieldChange {
    /// `spec.environment[LOG_LEVEL]`.
    pub path: String,
    /// Before; absent when it was not set.
    #[serde(default)]
    pub from: Option<Value>,
    /// After; absent when it is no longer set.
    #[serde(default)]
    pub to: Option<Value>,
    /// Whether the replicas are replaced.
    #[serde(default)]
    pub forces_replace: bool,
}

/// What happens to one replica.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// `+` add, `-` remove, `+/-` start first, `-/+` stop first, `~` in place.
    pub op: String,
    /// `web.1`.
    pub replica: String,
    /// Where.
    #[serde(default)]
    pub node: Option<String>,
    /// `start-first`, `stop-first`.
    #[serde(default)]
    pub order: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// Score of the node.
    #[serde(default)]
    pub score: Option<u32>,
    /// Nodes that do not fit.
    #[serde(default)]
    pub rejected: Vec<RejectedNode>,
    /// More for people.
    #[serde(default)]
    pub detail: Option<String>,
}

/// A node that does not fit, with the facts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RejectedNode {
    /// Its name.
    pub node: String,
    /// Which filter refused it.
    #[serde(default)]
    pub filter: String,
    /// Why.
    #[serde(default)]
    pub message: String,
}

/// `GET` and `PUT …/scale`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scale {
    /// Replicas wanted.
    pub replicas: u32,
}
