//! What goes over the wire: every request and answer of the API as a type.
//!
//! Here: objects and lists, and the submodules [`apply`] (writes and plans), [`report`] (status, why,
//! health, cluster), [`route`], [`problem`] (errors), [`secret`], [`stream`] (watches, events, logs, builds), [`token`] and
//! [`audit`].
//! Not here: routes (`api::routes`), behaviour (`api::read`, `api::write`, …).
//! The command line reads answers through these types, and the OpenAPI document is made from them.
//! Invariant: names are part of the API: fields are added, never renamed; a reader ignores unknown ones.

pub mod apply;
pub mod audit;
pub mod backup;
pub mod job;
pub mod problem;
pub mod report;
pub mod rollout;
pub mod route;
pub mod secret;
pub mod stream;
pub mod token;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use apply::{ApplyAnswer, ApplyRequest, ObjectOutcome, Scale, Written, WrittenMeta};
pub use audit::AuditList;
pub use backup::{BackupRequest, RestoreConfirm, RestoreReport, RestoreStep};
pub use job::{JobList, JobReport, RunView};
pub use problem::{ManifestFault, Problem};
pub use report::{
    Actual, Check, ClusterStatus, Health, MetricFamily, MetricsReport, RaftLeader, Readiness, ReplicaRow, Sample,
    ServiceReport, Wanted, WhyReport,
};
pub use rollout::{RevisionView, RolloutAction, RolloutOrder, RolloutReport};
pub use route::{Entry, RouteTable, Routed};
pub use secret::{History, Rekeyed, SecretRotate, SecretSet, VersionView};
pub use stream::{BuildLine, LogLine, Resync, WatchLine, WatchOp};
pub use token::{TokenMade, TokenRequest, TokenRevoked, TokenView};

use crate::model::{Decision, Desired, Reason, Slot, replica::Draining};
pub use crate::{
    model::{Condition, Event, Kind, Meta, secret::SecretView},
    plan::{
        change::{ChangePlan as PlanAnswer, FieldChange, ObjectChange as PlanObject, Operation},
        why::{Difference, usage::VersionUse},
    },
    store::client::RaftStatus,
};

/// One object as reads show it. `S` and `T`: its spec and status, read as far as the caller wants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Object<S = Value, T = Value> {
    /// `constellation.dev/v1`.
    pub api_version: String,
    /// Its kind.
    pub kind: Kind,
    /// Name, labels, identity, counters.
    pub metadata: Meta,
    /// What it shall be. Of a Secret: version, keyed digest and names of the keys, never a value.
    pub spec: S,
    /// What was observed; absent when nobody has reported yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<T>,
}

/// Objects of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct List<O = Object> {
    /// In order of their names.
    pub items: Vec<O>,
    /// The index of the state they were read from: a watch from here misses nothing.
    pub index: u64,
}

/// `spec` of a Replica: the placement. Read-only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaSpec {
    /// Name of its Service.
    pub service: Arc<str>,
    /// Its place in the Service.
    pub slot: Slot,
    /// `web.1`.
    pub display: String,
    /// Number of the revision it runs.
    pub revision: u64,
    /// Stored hash of that revision.
    pub spec_hash: String,
    /// Its node.
    pub node: Arc<str>,
    /// Fencing token of the placement, `0.7`.
    pub epoch: String,
    /// Whether its container shall run.
    pub desired: Desired,
    /// It ends by itself: a hook, or an attempt of a job.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub runs_once: bool,
    /// Of a hook: what stands before the lines of its log, `web.preDeploy (revision 4)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<String>,
    /// Why it shall not run any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<Reason>,
    /// Nothing new is sent to it: it is about to be stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining: Option<Draining>,
    /// Why this node.
    pub decision: Decision,
}

/// `status` of a Config or Secret.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageStatus {
    /// Whether it is there, who uses it, and whether its newest version has arrived.
    pub conditions: Vec<Condition>,
    /// Versions that replicas run with, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<VersionUse>,
    /// When the cluster draws the next value by itself, milliseconds since 1970; later while the newest has not arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_rotation: Option<u64>,
}
