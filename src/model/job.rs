//! The runs of a job: what was begun, why, and how it ended.
//!
//! Here: [`JobRecord`], one for each Service of `mode: job` or `cron`, written by the leader's loop and by `job run`.
//! Every attempt of a run is a Replica of its own, which bears the run's number.
//! Not here: what follows from it (`plan::jobs`), when a schedule is due ([`super::schedule`]).
//! Invariants: numbers only grow; a run that ended stays as it ended.

use std::{collections::BTreeSet, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Index, Reason};

/// What began a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Trigger {
    /// A new container part of a `mode: job`.
    #[default]
    Spec,
    /// Its schedule.
    Schedule {
        /// The time it was due at, cluster time in milliseconds.
        due: u64,
    },
    /// A person.
    Hand {
        /// Who.
        by: Arc<str>,
    },
}

/// How a run stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RunState {
    /// Some of its slots are not completed.
    #[default]
    Running,
    /// Every slot ended with 0.
    Succeeded,
    /// It was given up; the reason says why.
    Failed,
}
impl std::fmt::Display for RunState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

/// One run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// 1, 2, 3, …
    pub number: u64,
    /// What began it.
    pub trigger: Trigger,
    /// Number of the revision that its attempts are of.
    pub revision: u64,
    /// Slots that have to end with 0.
    pub completions: u32,
    /// How it stands.
    pub state: RunState,
    /// When it began, cluster time in milliseconds.
    pub started_at: u64,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<u64>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Last lines of the log of the attempt that it failed with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_tail: Vec<String>,
    /// Slots that ended with 0.
    #[serde(default)]
    pub succeeded: u32,
    /// Attempts that failed.
    #[serde(default)]
    pub failed: u32,
    /// When the last of them did, cluster time in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_at: Option<u64>,
    /// While it runs: which slots ended with 0.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub completed: BTreeSet<u32>,
    /// While it runs: attempts whose end was counted and which are not forgotten yet.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub counted: BTreeSet<Arc<str>>,
    /// Index at which it began; filled in by apply.
    #[serde(default)]
    pub index: Index,
}

impl Run {
    /// Whether it is under way.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.state == RunState::Running
    }
    /// Ends it.
    pub fn end(&mut self, state: RunState, now: u64) {
        (self.state, self.ended_at) = (state, Some(now));
        self.completed.clear();
        self.counted.clear();
    }
    /// Gives it up.
    pub fn fail(&mut self, reason: Reason, message: String, now: u64) {
        (self.reason, self.message) = (Some(reason), message);
        self.end(RunState::Failed, now);
    }
}

/// Times that came and were let pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Skipped {
    /// The newest of them, cluster time in milliseconds.
    pub due: u64,
    /// How many.
    pub count: u32,
    /// Why, for people.
    pub message: String,
}

/// The runs of one Service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobRecord {
    /// Number of the last run that was begun; 0: none was.
    pub last: u64,
    /// Runs that are kept, oldest first.
    #[serde(default)]
    pub runs: Vec<Run>,
    /// The newest revision that a run was begun for because it was new.
    #[serde(default)]
    pub spec_run: u64,
    /// The schedule and zone that were looked at last; empty: none was, or the service was suspended.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub schedule: String,
    /// Every time up to here was dealt with, cluster time in milliseconds.
    #[serde(default)]
    pub looked: u64,
    /// Times that were let pass last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<Skipped>,
    /// Index of its last change.
    #[serde(default)]
    pub resource_version: Index,
}

impl JobRecord {
    /// A run by its number.
    #[must_use]
    pub fn run(&self, number: u64) -> Option<&Run> {
        self.runs.iter().find(|run| run.number == number)
    }
    /// The newest run.
    #[must_use]
    pub fn newest(&self) -> Option<&Run> {
        self.runs.last()
    }
    /// Begins a run; answers its number.
    pub fn begin(&mut self, trigger: Trigger, revision: u64, completions: u32, now: u64) -> u64 {
        self.last = self.last.saturating_add(1);
        let number = self.last;
        self.runs.push(Run { number, trigger, revision, completions, started_at: now, ..Run::default() });
        number
    }
}
