//! Commands around the life of replicas.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::is_default;
use crate::model::quantity::Period;

/// The longest `timeout` of a hook, and of all that precede a stop together.
pub const HOOK_TIMEOUT_MAX: Duration = Duration::from_secs(3_600);

/// What runs around the life of replicas. A replica has those that were declared last with its revision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hooks {
    /// In the container after each start, one after the other; the replica is not ready before they have succeeded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub post_start: Vec<Hook>,
    /// In the container before it is asked to end, when nothing new is sent to it any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pre_stop: Vec<Hook>,
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hook {
    /// What is run.
    pub command: Vec<String>,
    /// It has failed when it runs longer; 5 min.
    #[serde(default = "five_minutes", skip_serializing_if = "is_five_minutes")]
    pub timeout: Period,
    /// What follows when it fails.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_failure: OnFailure,
}

/// What follows a hook that failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// What it belongs to has failed too.
    #[default]
    Abort,
    /// An event says so, and it goes on.
    Continue,
}

const fn five_minutes() -> Period {
    Period(Duration::from_secs(300))
}
/// Serde hands it over by reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_five_minutes(period: &Period) -> bool {
    *period == five_minutes()
}
