//! What follows when a replica does not answer.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::is_default;
use crate::model::quantity::Period;

/// What follows when a replica does not answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resilience {
    /// Asking another replica.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retries: Retries,
    /// Longest wait for the first byte of an answer; then 504.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
    /// Asks nobody for a while when too much fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<Breaker>,
}

/// Asking another replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Retries {
    /// How many are asked in all; 1 asks no other.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 10))]
    pub attempts: u32,
    /// After what: `network` (no byte was sent), or a status like 503 or 500-599.
    #[serde(default = "network", skip_serializing_if = "is_network")]
    pub on: Vec<String>,
    /// Which methods are asked again after a status.
    #[serde(default, skip_serializing_if = "is_default")]
    pub methods: RetryMethods,
    /// Longest body that is kept to be sent again, after a status; 2 MiB when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_body_bytes: Option<u64>,
}
impl Default for Retries {
    fn default() -> Self {
        Self { attempts: two(), on: network(), methods: RetryMethods::Idempotent, max_body_bytes: None }
    }
}
/// What stands in `retries.on` for an endpoint that took no byte.
pub const NETWORK: &str = "network";
fn two() -> u32 {
    2
}
fn network() -> Vec<String> {
    vec![NETWORK.into()]
}
fn is_network(on: &[String]) -> bool {
    matches!(on, [one] if one == NETWORK)
}

/// Which methods are asked again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RetryMethods {
    /// Those that may be repeated: all but POST, PATCH and LOCK.
    #[default]
    Idempotent,
    /// Every one.
    All,
}

/// Asks nobody for a while when too much fails.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Breaker {
    /// When it opens, like `NetworkErrorRatio() > 0.30`.
    pub expression: String,
}
