//! Why something is not as declared: differences with reasons from the closed set.
//!
//! Here: [`Difference`], the shape that `why`, `describe` and the API show.
//! Not here: conditions, which sum them up.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::Reason;

/// One thing that is not as declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// Where: `replicas/web.1`, `image`, `secrets/db-url`.
    pub path: String,
    /// What shall be.
    pub desired: String,
    /// What is.
    pub actual: String,
    /// Its cause, from the closed set.
    pub reason: Reason,
    /// The facts, for people.
    pub message: String,
    /// Since when, cluster time in milliseconds.
    pub since: u64,
    /// When it is tried again, cluster time in milliseconds; none: when something changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt: Option<u64>,
    /// What a person can do; none: the loops are at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}
