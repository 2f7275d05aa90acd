//! What an edge says of itself: how far its Traefik serves what the log says.
//!
//! Here: [`Edge`], one for each node whose Traefik was seen to serve a configuration of ours. Not here: making
//! configurations (`plan::routes`), reading back (`edge`), waiting for it (`plan::rollout`).
//! Invariant: only the index is compared; an edge that gives no answer has none of these.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};

use super::Index;

/// A live edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Edge {
    /// Name of its node.
    pub node: Arc<str>,
    /// Its Traefik serves what follows from the log up to here.
    pub served: Index,
    /// When `served` was read back, cluster time in milliseconds.
    pub at: u64,
    /// Replicas on their way out that it sends nothing to any more, and that answer nothing of before.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub drained: BTreeSet<Arc<str>>,
}
