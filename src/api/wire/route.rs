//! The table of routes as it goes over the wire.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{Condition, ObjectKey};
pub use crate::plan::routes::{Entry, LeftOut};

/// What requests from outside meet: the result, and what is not served. No certificate, no key, no user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteTable {
    /// Index of the state that it was made from.
    pub index: u64,
    /// What is served.
    pub entries: Vec<Entry>,
    /// What is said of each Route, and of each Service with `routes`.
    pub objects: Vec<Routed>,
}

/// What is said of one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Routed {
    /// `route/blog`, `svc/web`.
    #[schemars(with = "String")]
    pub object: ObjectKey,
    /// `Ready` first.
    pub conditions: Vec<Condition>,
    /// Hosts that it asks for, served or not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// What of it is not served.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
}
