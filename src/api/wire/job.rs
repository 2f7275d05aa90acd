//! Jobs and their runs.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{
    Reason, RunState,
    job::{Skipped, Trigger},
    service::Mode,
};

/// Every job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobList {
    /// Where it was read.
    pub index: u64,
    /// By name.
    pub items: Vec<JobReport>,
}

/// One job with the runs that are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobReport {
    /// Where it was read.
    pub index: u64,
    /// The Service.
    pub name: Arc<str>,
    /// `job` or `cron`.
    pub mode: Mode,
    /// When it is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// In which zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Nothing is begun.
    pub suspend: bool,
    /// When it is due next, cluster time in milliseconds; absent: it has no schedule, or is suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_due: Option<u64>,
    /// Times that came last and were let pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<Skipped>,
    /// Newest first.
    pub runs: Vec<RunView>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunView {
    /// Its number.
    pub number: u64,
    /// What began it.
    pub trigger: Trigger,
    /// Number of the revision that it is of.
    pub revision: u64,
    /// How it stands.
    pub state: RunState,
    /// When it began, cluster time in milliseconds.
    pub started_at: u64,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<u64>,
    /// Slots that ended with 0.
    pub succeeded: u32,
    /// Slots that have to.
    pub completions: u32,
    /// Attempts that failed.
    pub failed: u32,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Last lines of the log of the attempt that it failed with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_tail: Vec<String>,
    /// Its attempts that are kept, by full name.
    pub replicas: Vec<Arc<str>>,
    /// Index at which it began.
    pub index: u64,
}
