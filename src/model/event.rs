//! Events: what happened, at an index. Kept in a ring; a repeat counts up and moves to a new index.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Index, Kind, ObjectKey, Reason, Uid};

/// Whether a person should look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum EventType {
    /// The course of things.
    Normal,
    /// Worth a look.
    Warning,
}

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Subject {
    /// Kind.
    pub kind: Kind,
    /// Name.
    pub name: Arc<str>,
    /// Identity.
    pub uid: Uid,
}
impl Subject {
    /// Its key.
    #[must_use]
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(self.kind, self.name.clone())
    }
}

/// One event as kept and shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Where it stands in the history.
    pub index: Index,
    /// Cluster time of the last occurrence, milliseconds since 1970.
    pub time: u64,
    /// Normal or Warning.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// Its cause.
    pub reason: Reason,
    /// What it is about.
    pub object: Subject,
    /// Where it happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Arc<str>>,
    /// For people.
    pub message: String,
    /// How often (object, reason, message class) occurred.
    pub count: u64,
    /// Cluster time of the first occurrence, milliseconds.
    pub first_seen: u64,
}

/// An event before it has an index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewEvent {
    /// Normal or Warning.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// Its cause.
    pub reason: Reason,
    /// What it is about.
    pub object: Subject,
    /// Where it happened.
    pub node: Option<Arc<str>>,
    /// For people.
    pub message: String,
    /// When it happened at the observer, cluster time in milliseconds.
    pub time: u64,
    /// Occurrences folded into this one, at least 1.
    pub count: u64,
}
