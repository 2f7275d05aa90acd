//! How far the replicas of a Service are on their way to a revision.
//!
//! Here: [`Rollout`], one record for each Service, written by the leader's loop and by `rollout` commands. It holds
//! only what cannot be read off the replicas: which revision is wanted, which one worked, what a person said.
//! Not here: what follows from it (`plan::rollout`).
//! Invariant: the declared spec is never rewritten; going back to a revision changes what is wanted of it now.

use std::{collections::BTreeSet, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Index, Reason, service::Hook};

/// Where a rollout is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RolloutPhase {
    /// Replicas of the wanted revision are being made.
    #[default]
    Progressing,
    /// All of them were ready for long enough.
    Complete,
    /// It went wrong, and replicas of the last ready revision are being made.
    RollingBack,
    /// It went wrong; all are of the last ready revision again, and ready.
    RolledBack,
    /// It went wrong and stands still until a person decides.
    Halted,
}
impl std::fmt::Display for RolloutPhase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

/// The record of one Service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// Number of the revision that all replicas shall be of.
    pub target: u64,
    /// The newest revision when this was decided: a newer one begins a rollout of its own.
    pub newest: u64,
    /// The revision that all replicas were ready with last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<u64>,
    /// The one that they were ready with before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<u64>,
    /// The revision that it left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// Where it is.
    pub phase: RolloutPhase,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Last lines of the log of what went wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_tail: Vec<String>,
    /// When it began, cluster time in milliseconds.
    pub started_at: u64,
    /// Its deadline stands still: somebody is unknown or on the way out, nothing is wanted, or a person is waited for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// When that was over last, cluster time in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed_at: Option<u64>,
    /// When it was complete, rolled back or halted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<u64>,
    /// Who holds it up, since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    /// A person said that the first replicas are good.
    #[serde(default)]
    pub promoted: bool,
    /// So many failed replicas a person has seen and let pass.
    #[serde(default)]
    pub tolerated: u32,
    /// Replicas of before this index are replaced, whatever they are of.
    #[serde(default)]
    pub restarted: Index,
    /// How far its hooks are.
    #[serde(default, skip_serializing_if = "is_default")]
    pub hooked: Hooked,
    /// Index of its last change.
    #[serde(default)]
    pub resource_version: Index,
}

/// How far the hooks of a rollout are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Hooked {
    /// `preDeploy` of revisions up to this one have run.
    pub prepared: u64,
    /// When that was, or one of the stage ended, cluster time in milliseconds.
    pub at: Option<u64>,
    /// Revisions up to this one were complete: their `postDeploy` are not to begin.
    pub complete: u64,
    /// `postDeploy` of this revision are to run.
    pub due: Option<u64>,
    /// So many of the stage have ended.
    pub done: u32,
    /// What the stage runs, as it was declared when it began.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub list: Vec<Hook>,
    /// Replicas whose end stands in this record already.
    pub counted: BTreeSet<Arc<str>>,
    /// What became of the last one.
    pub last: Option<HookEnd>,
    /// How the last `postDeploy` stage went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub followed: Option<Followed>,
}
impl Hooked {
    /// How the `postDeploy` stage of a revision went, if it is the last one.
    #[must_use]
    pub fn followed_by(&self, revision: u64) -> Option<&Followed> {
        self.followed.as_ref().filter(|followed| followed.revision == revision)
    }
}

/// How a `postDeploy` stage went: kept beside the rollout's own fault, which a restart forgets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Followed {
    /// The revision that it followed.
    pub revision: u64,
    /// What the first that failed failed with; none: all succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Reason>,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Last lines of the log of the one that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_tail: Vec<String>,
    /// When it failed or ended, cluster time in milliseconds.
    pub at: u64,
}

/// How a hook ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HookEnd {
    /// The Replica that ran it.
    pub replica: Arc<str>,
    /// It failed.
    pub failed: bool,
    /// For people.
    pub message: String,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A rollout that a person holds up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Paused {
    /// Who.
    pub by: Arc<str>,
    /// Since when, cluster time in milliseconds.
    pub at: u64,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Arc<str>>,
}
impl std::fmt::Display for Paused {
    /// `paused by ada: the disks are slow`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "paused by {}", self.by)?;
        self.why.as_ref().map_or(Ok(()), |why| write!(f, ": {why}"))
    }
}
