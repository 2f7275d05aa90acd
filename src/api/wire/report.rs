//! Reports: desired beside actual, reasons, the cluster, health, metrics.

use std::{collections::BTreeMap, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    model::{
        Condition, Decision, Desired, Reason, Slot, published,
        status::{LastExit, ReplicaCounts, ReplicaPhase},
    },
    plan::why::Difference,
    store::state::Restored,
};

/// `GET /api/v1/services/NAME/status`: desired beside actual.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceReport {
    /// The state it was read from.
    pub index: u64,
    /// The Service.
    pub name: Arc<str>,
    /// Generation of its spec.
    pub generation: u64,
    /// Generation that the loops dealt with last.
    pub observed_generation: u64,
    /// Number of the newest revision.
    pub revision: u64,
    /// `Ready` first.
    pub conditions: Vec<Condition>,
    /// Counts.
    pub counts: ReplicaCounts,
    /// Each replica, running slots first, ended ones after them.
    pub replicas: Vec<ReplicaRow>,
    /// Slots without a node, with the reasons for each node.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unplaced: BTreeMap<String, Decision>,
}

/// One replica: what shall be and what is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaRow {
    /// Full name, `web-1-x7k2p`.
    pub replica: Arc<str>,
    /// `web.1`.
    pub display: String,
    /// Its place.
    pub slot: Slot,
    /// Its node.
    pub node: Arc<str>,
    /// When it was placed, cluster time in milliseconds.
    pub created_at: u64,
    /// What shall be.
    pub desired: Wanted,
    /// What its node reported; absent when nobody has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual: Option<Actual>,
    /// What keeps the two apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The same for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When the next attempt is made, cluster time in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt: Option<u64>,
}

/// What a replica shall be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Wanted {
    /// Run or Stop.
    pub state: Desired,
    /// Number of the revision.
    pub revision: u64,
    /// Stored hash of the revision.
    pub spec_hash: String,
    /// What the engine is given: digest or image id; absent while it is not resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Fencing token, `0.7`.
    pub epoch: String,
    /// Why it shall stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<Reason>,
}

/// What a replica is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Actual {
    /// Where its container is in its life.
    pub state: ReplicaPhase,
    /// Whether it may get traffic.
    pub ready: bool,
    /// Since when, cluster time in milliseconds.
    pub since: u64,
    /// `starting`, `healthy`, `unhealthy`, or `-`.
    pub health: String,
    /// Docker's id of the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Image id it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Its address on its first network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Docker's `StartedAt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// Containers started after the first.
    pub restarts: u32,
    /// How the last container ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<LastExit>,
    /// Where its ports are published, `8080/tcp` → `0.0.0.0:49153`, `127.0.0.1:8081`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "published::one_or_more")]
    pub published: BTreeMap<String, Vec<String>>,
}

/// `GET …/why`: each difference with its reason; empty when everything is as declared.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WhyReport {
    /// Sorted by path.
    pub differences: Vec<Difference>,
    /// From a Service that is not as declared to what keeps it, a cause at a time, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<String>,
}

/// `GET /api/v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// The cluster's name; empty until it is formed.
    pub name: String,
    /// Identity of the cluster.
    pub cluster: String,
    /// Identity of its data: survives a restore.
    pub lineage: String,
    /// Higher after each rescue or restore.
    pub recovery: u32,
    /// The state that it goes on from after a restore or a loss, while nobody has confirmed it: nothing is started or stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<Restored>,
    /// Index of this node's state.
    pub index: u64,
    /// Cluster time, milliseconds since 1970.
    pub now: u64,
    /// Version of this node's agent.
    pub version: String,
    /// The node that answers.
    pub node: String,
    /// The leader's node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// Whether a write would be taken.
    pub writable: bool,
    /// What the disk of the data directory lacks, when changes are refused for want of room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full: Option<String>,
    /// Members that count for quorum.
    pub voters: u32,
    /// Nodes in all and ready ones.
    pub nodes: Ratio,
    /// Services in all and ready ones.
    pub services: Ratio,
    /// Replicas wanted and ready ones.
    pub replicas: Ratio,
}

/// How many of how many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ratio {
    /// Ready ones.
    pub ready: u32,
    /// All.
    pub total: u32,
}

/// `GET /api/v1/raft/leader`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RaftLeader {
    /// Raft's member id.
    pub member: u64,
    /// Its node.
    pub node: Arc<str>,
    /// Process start of that member.
    pub incarnation: u64,
    /// Index at which its leadership began: the token of what it decides.
    pub token: u64,
    /// Whether the node that answers is the leader.
    pub here: bool,
}

/// `GET /health`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// `alive`.
    pub status: String,
}

/// `GET /ready`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Readiness {
    /// Whether every check is good.
    pub ready: bool,
    /// Each check.
    pub checks: Vec<Check>,
}

/// One check of readiness.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// `cluster`, `leader`, `engine`.
    pub name: String,
    /// Whether it is good.
    pub ok: bool,
    /// The facts.
    pub message: String,
}

/// `GET /api/v1/metrics`: the same numbers as `/metrics`, as JSON.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricsReport {
    /// Sorted as they were registered.
    pub metrics: Vec<MetricFamily>,
}

/// One metric.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MetricFamily {
    /// Its name.
    pub name: String,
    /// `counter`, `gauge`, `histogram`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it counts.
    pub help: String,
    /// Its values.
    pub samples: Vec<Sample>,
}

/// One value.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sample {
    /// The metric's name, with `_total`, `_count`, `_sum` or `_bucket`.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_single_place_of_an_older_agent_is_read() {
        for (sent, read) in [(json!("0.0.0.0:80"), vec!["0.0.0.0:80"]), (json!(["a:1", "b:2"]), vec!["a:1", "b:2"])] {
            let actual = json!({"state": "Running", "ready": true, "since": 1, "health": "-", "restarts": 0,
                                "published": {"80/tcp": sent}});
            let actual: Actual = serde_json::from_value(actual).unwrap();
            assert_eq!(actual.published["80/tcp"], read);
        }
    }
}
