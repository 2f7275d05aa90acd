//! Who changed what, and from where.
//!
//! Here: [`AuditRecord`]. Not here: keeping it (`store::audit`), showing it (`api::audit`).
//! Invariant: nothing of a request's body or query is in it, so no secret is; each text has a bound.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Index;

/// One change through the API, as it was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditRecord {
    /// Counts records; one that is missing between two others was dropped.
    pub number: u64,
    /// Index after the change; of what changed nothing, the index then.
    pub index: Index,
    /// Cluster time, milliseconds since 1970.
    pub time: u64,
    /// Caller: `admin-token`, `token ci`, `root@socket`, …
    pub who: Arc<str>,
    /// Address, or user id at the socket.
    pub from: Arc<str>,
    /// `POST`, `PUT`, `DELETE`.
    pub method: Arc<str>,
    /// Path without its query.
    pub path: Arc<str>,
    /// Why, in the caller's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Arc<str>>,
    /// What it was about.
    pub objects: Vec<AuditObject>,
    /// So many objects more than are listed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more: u32,
    /// Why nothing was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Arc<str>>,
}

/// One object of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditObject {
    /// `svc/web`, `token/ci`, `image/web:1`.
    pub object: Arc<str>,
    /// What became of it; nothing where the change was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<AuditResult>,
}

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuditResult {
    /// It is new.
    Created,
    /// It is another now.
    Configured,
    /// It was as asked.
    Unchanged,
    /// It is gone.
    Deleted,
    /// It is not valid any more.
    Revoked,
    /// It was begun; how it ended stands elsewhere.
    Begun,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}
