//! A Replica: one placement attempt for a slot of a Service, immutable but for its desired state.
//!
//! The agent restarts or re-creates the container of one Replica as often as needed; a new Replica
//! comes only with a new revision, node or epoch.

use std::{collections::BTreeMap, fmt, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Epoch, Index, Reason, ServiceSpec, Uid,
    service::{Hook, Stage},
};

/// Numbered place in a Service; a global service's slot is its node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Slot {
    /// 1, 2, 3, …
    Number(u32),
    /// A node's name.
    Node(Arc<str>),
}
impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(n) => n.fmt(f),
            Self::Node(n) => f.write_str(n),
        }
    }
}

/// One placement attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Replica {
    /// `<service>-<slot>-<5 characters>`; also the container's name.
    pub name: Arc<str>,
    /// Identity.
    pub uid: Uid,
    /// Name of the Service.
    pub service: Arc<str>,
    /// Identity of the Service.
    pub service_uid: Uid,
    /// Its place.
    pub slot: Slot,
    /// Number of the revision it runs.
    pub revision: u64,
    /// Stored hash of that revision.
    pub spec_hash: String,
    /// Name of the node.
    pub node: Arc<str>,
    /// Identity of the node.
    pub node_uid: Uid,
    /// Fencing token of this placement.
    pub epoch: Epoch,
    /// Whether it shall run.
    pub desired: Desired,
    /// Why it shall not run any more; set together with `desired: Stop`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<Reason>,
    /// It is on its way out: first nothing is sent to it any more, then it is stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining: Option<Draining>,
    /// Of a job: the run that this is an attempt of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<u64>,
    /// It runs a command of a rollout to its end, and serves nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<Box<HookRun>>,
    /// Why this node.
    pub decision: Decision,
    /// Index at which it was made.
    pub index: Index,
    /// Index of its last change.
    pub resource_version: Index,
    /// Cluster time of creation, milliseconds.
    pub created_at: u64,
}

impl Replica {
    /// `web.1`: for tables and queries.
    #[must_use]
    pub fn display(&self) -> String {
        match &self.hook {
            Some(run) => format!("{}.{}", self.service, run.stage.as_str()),
            None => format!("{}.{}", self.service, self.slot),
        }
    }
    /// `web.1`; of a hook with its revision and its place in the stage, `web.preDeploy (revision 4)`: before lines of its log.
    #[must_use]
    pub fn label(&self) -> String {
        match &self.hook {
            Some(run) if run.position > 0 => {
                format!("{} (revision {}, hook {})", self.display(), self.revision, run.position + 1)
            }
            Some(_) => format!("{} (revision {})", self.display(), self.revision),
            None => self.display(),
        }
    }
    /// Whether its container has one life: it ends by itself and is never started a second time.
    #[must_use]
    pub const fn runs_once(&self) -> bool {
        self.run.is_some() || self.hook.is_some()
    }
    /// Whether its container stays when it was stopped, for its log: a hook's that was cut off at its timeout. It has no
    /// data that another one would wait for.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.hook.is_some() && self.stop_reason == Some(Reason::DeadlineExceeded)
    }
    /// What its container is, of a revision with this spec; none: as the revision says.
    #[must_use]
    pub fn altered(&self, spec: &ServiceSpec) -> Option<ServiceSpec> {
        let run = self.hook.as_ref()?;
        Some(ServiceSpec { container: spec.container.of_hook(&run.hook), ..spec.clone() })
    }
}

/// A hook that a Replica runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HookRun {
    /// When in a rollout.
    pub stage: Stage,
    /// Its place among those of the stage, from 0.
    pub position: u32,
    /// What it is.
    pub hook: Hook,
}

/// A Replica that gets nothing new to do before it is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Draining {
    /// Why it goes.
    pub reason: Reason,
    /// Whoever serves what follows from the log up to here sends it nothing.
    pub index: Index,
    /// Since when, cluster time in milliseconds.
    pub at: u64,
}

/// Whether a Replica shall run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Desired {
    /// Its container shall run.
    Run,
    /// Its container shall be stopped and removed.
    Stop,
}

/// A placement decision, kept so that it can be explained later.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// The node chosen; none when none fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Arc<str>>,
    /// Its score, 0–100.
    pub score: u32,
    /// Every node that was looked at; of more than 64, the best.
    pub considered: Vec<Considered>,
    /// How many nodes each filter refused; only when not all of them stand in `considered`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rejected_by: BTreeMap<String, u32>,
}

/// One node in a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Considered {
    /// The node.
    pub node: Arc<str>,
    /// Its score; meaningless when rejected.
    pub score: u32,
    /// Every filter that refused it, with the facts: `constraint node.labels.gpu == true: it is "no"`.
    pub rejections: Vec<Rejection>,
}

/// Why a filter refused a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rejection {
    /// Which filter: `schedulable`, `docker`, `role`, `constraint`, `architecture`, `engine`, `image`, `data`, `port`, `capacity`.
    pub filter: String,
    /// Its reason code.
    pub reason: Reason,
    /// The facts.
    pub message: String,
}
