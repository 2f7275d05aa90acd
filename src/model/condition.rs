//! Conditions: what holds now, with its cause. Keyed by type; the first one sums up.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Reason;

/// True, False, or not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Nobody knows: silence is not an answer.
    Unknown,
}
impl From<bool> for ConditionStatus {
    fn from(b: bool) -> Self {
        if b { Self::True } else { Self::False }
    }
}
impl std::fmt::Display for ConditionStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        })
    }
}

/// What a condition speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ConditionType {
    /// The summary, always first.
    Ready,
    /// A change is on its way.
    Progressing,
    /// Enough replicas are ready.
    Available,
    /// Every replica has a node.
    Scheduled,
    /// Containers run with the Configs and Secrets as they are now.
    ConfigSynced,
    /// Containers differ from their revision.
    Drifted,
    /// A node takes new replicas.
    Schedulable,
    /// A node's engine answers.
    DockerReachable,
    /// Every public port that routes ask for is open on a node.
    EdgeServing,
    /// Some container uses it.
    InUse,
    /// A Route is taken as it is written.
    Accepted,
    /// Everything that a Route names is there.
    ResolvedRefs,
    /// Every live edge serves a Route as it is written.
    Programmed,
    /// Every live edge serves the `routes` of a Service as they are written.
    RoutesProgrammed,
    /// The `postDeploy` hooks of the newest revision have succeeded; absent when none of them ran or is going to.
    HooksSucceeded,
    /// The newest version has arrived at every replica that shall have it.
    RotationComplete,
}
impl std::fmt::Display for ConditionType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

/// One statement about an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it speaks of.
    #[serde(rename = "type")]
    pub kind: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Its cause, from the closed set.
    pub reason: Reason,
    /// For people.
    #[serde(default)]
    pub message: String,
    /// Since when it has this status, cluster time in milliseconds.
    pub last_transition_time: u64,
    /// Generation of the spec it was made from.
    pub observed_generation: u64,
}
