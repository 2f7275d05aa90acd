//! How far a rollout is, and what a person says about it.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{Condition, Rollout, Tried, status::ReplicaCounts};

/// How far the rollout of a Service is, and the revisions there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutReport {
    /// Where it was read.
    pub index: u64,
    /// The Service.
    pub name: Arc<str>,
    /// The record of the rollout; absent: the leader has not looked yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// Counts of its replicas.
    pub replicas: ReplicaCounts,
    /// Conditions of the Service.
    pub conditions: Vec<Condition>,
    /// Newest first.
    pub revisions: Vec<RevisionView>,
}

/// One revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevisionView {
    /// Its number.
    pub revision: u64,
    /// Generation of the Service that made it.
    pub generation: u64,
    /// Its image as it was declared.
    pub image: String,
    /// What that was found to be; absent: not resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<String>,
    /// Replicas of it that shall run.
    pub replicas: u32,
    /// What replicas shall be of.
    pub target: bool,
    /// What all replicas were ready with last.
    pub stable: bool,
    /// When its newest rollout began and how it went; absent: none has begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tried: Option<Tried>,
}

/// What a person says about a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RolloutOrder {
    /// What shall be done.
    pub action: RolloutAction,
    /// Of `undo`: the revision to go to; absent: the one that was ready before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_revision: Option<u64>,
}

/// What shall be done about a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RolloutAction {
    /// Nothing more is replaced.
    Pause,
    /// It goes on; what failed of a halted one is let pass.
    Resume,
    /// Every replica is replaced by one of the same revision.
    Restart,
    /// The first replicas are good: the others follow.
    Promote,
    /// Replicas of another revision come back.
    Undo,
}
