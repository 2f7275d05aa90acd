//! Shapes of backups and of what a restored cluster waits for.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    model::{Kind, Resolution, status::HeldAction},
    plan::rollout::{self, Step},
    reconcile::view,
    store::{
        State,
        state::{ClusterInfo, Restored},
    },
};

/// `POST /api/v1/backups`: what seals it; the answer is an age file.
#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupRequest {
    /// Whoever knows it opens the file. Not beside `recipients`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase: Option<String>,
    /// Public keys, `age1…`; whoever has the secret part of one opens the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
}

/// `GET /api/v1/cluster/restore`: what a confirmation of the restored backup would change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreReport {
    /// The backup that waits to be confirmed; none: nothing waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Restored>,
    /// Containers that run as the backup declares them: they stay as they are.
    pub adopted: u32,
    /// What would be done, by node and replica.
    pub steps: Vec<RestoreStep>,
    /// How many more steps are not listed.
    #[serde(default)]
    pub untold: u32,
    /// Nodes that have not said what runs on them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unheard: Vec<Arc<str>>,
    /// What a confirmation has to name: it changes with what is shown.
    pub shown: String,
}

/// What would be done.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreStep {
    /// On which node; empty: the leader's own doing.
    pub node: Arc<str>,
    /// The replica, which is the container's name; of one that is not placed yet its service and slot, of a new value its Secret.
    pub replica: Arc<str>,
    /// Its service; none: the restored state knows of no such replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Arc<str>>,
    /// What.
    pub action: HeldAction,
    /// Why.
    pub message: String,
}

/// `POST /api/v1/cluster/restore`: what was shown may be done.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RestoreConfirm {
    /// [`RestoreReport::shown`] of what the caller has seen.
    pub shown: String,
    /// Nodes that may stay unheard: what runs on them is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<String>,
}

impl RestoreReport {
    /// Of a state. `now`: cluster time, milliseconds.
    #[must_use]
    pub fn of(state: &State, now: u64) -> Self {
        let Some(ClusterInfo { cluster, restored: Some(from), .. }) = state.cluster() else { return Self::default() };
        let mut report = Self { from: Some(from.clone()), ..Self::default() };
        for node in state.objects(Kind::Node).map(|o| o.meta.name.clone()) {
            let said = state.node_status(&node).and_then(|s| s.restoring.as_ref());
            let Some(said) = said.filter(|said| said.whole) else {
                report.unheard.push(node);
                continue;
            };
            report.adopted += said.adopted;
            report.untold += said.untold;
            report.steps.extend(said.steps.iter().map(|step| RestoreStep {
                node: node.clone(),
                replica: step.replica.clone(),
                service: state.replica(&step.replica).map(|r| r.service.clone()),
                action: step.action,
                message: step.message.clone(),
            }));
        }
        report.steps.extend(placements(state, now));
        report.steps.extend(rotations(state, now));
        report.steps.sort();
        let mut hasher = blake3::Hasher::new();
        hasher.update(cluster.0.as_bytes());
        let seen = serde_json::to_vec(&(&report.steps, report.untold, &report.unheard)).unwrap_or_default();
        hasher.update(&seen);
        report.shown = hasher.finalize().to_hex()[..16].to_owned();
        report
    }
}

/// What the rollouts would begin with: they go on where the restored state left them, and with what was written since.
fn placements(state: &State, now: u64) -> Vec<RestoreStep> {
    let nodes = view::nodes(state);
    let mut steps = Vec::new();
    for object in state.objects(Kind::Service) {
        // Nothing asks what its image is meanwhile, and until that is known nothing of it can be placed.
        let newest = state.newest_revision(&object.meta.uid);
        if let Some(revision) = newest.filter(|r| !matches!(r.image, Resolution::Resolved { .. })) {
            steps.push(RestoreStep {
                node: "".into(),
                replica: object.key().to_string().into(),
                service: Some(object.meta.name.clone()),
                action: HeldAction::Create,
                message: format!("the image of revision {} is looked up, then it is rolled out", revision.number),
            });
        }
    }
    for service in view::services(state) {
        for step in rollout::plan(&service, &nodes, now).steps {
            let (node, replica, action, message) = match step {
                // Here an end begins: that routes lose it first is no other end.
                Step::Stop { replica, reason } | Step::Drain { replica, reason } => {
                    let node = state.replica(&replica).map_or_else(|| "".into(), |r| r.node.clone());
                    (node, replica, HeldAction::Stop, reason.meaning().trim().to_owned())
                }
                Step::Place { slot, node, revision, .. } => {
                    let message = format!("a replica of revision {revision} is wanted");
                    (node.0, format!("{}.{slot}", service.name).into(), HeldAction::Create, message)
                }
                Step::Forget { .. } | Step::DropEdge { .. } => continue,
            };
            steps.push(RestoreStep { node, replica, service: Some(service.name.clone()), action, message });
        }
    }
    steps
}

/// Values that a schedule would draw at once.
fn rotations(state: &State, now: u64) -> Vec<RestoreStep> {
    let due = state.objects(Kind::Secret).filter(|o| view::schedule(state, o).is_some_and(|s| s.due() <= now));
    due.map(|object| RestoreStep {
        node: "".into(),
        replica: object.key().to_string().into(),
        service: None,
        action: HeldAction::Rotate,
        message: "its schedule is due; whoever uses it gets the new value".into(),
    })
    .collect()
}
