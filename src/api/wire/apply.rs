//! Writes: documents, `POST /api/v1/apply`, `PUT …/scale`. The answer of a plan is `plan::change::ChangePlan`.

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
    /// Of a plan: objects that shall go beside those, `mw/auth`. An apply refuses them: each has its own `DELETE`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deletes: Vec<String>,
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

/// `GET` and `PUT …/scale`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scale {
    /// Replicas wanted.
    pub replicas: u32,
}

/// One document as a user writes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Written<S = Value> {
    /// `constellation.dev/v1`.
    pub api_version: String,
    /// Its kind.
    pub kind: Kind,
    /// Its name and what a user may say beside it.
    pub metadata: WrittenMeta,
    /// What it shall be.
    pub spec: S,
}

/// `metadata` as a user writes it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WrittenMeta {
    /// DNS-1123 label.
    pub name: String,
    /// For selection and constraints.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// For people and tools.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Set of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<String>,
    /// Only when the object is still at this version; else 409.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<u64>,
}
