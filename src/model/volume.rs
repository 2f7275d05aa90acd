//! A Volume: what the cluster knows of data on a node, committed at its first mount.
//!
//! An empty start is legal only before that; later a missing path or another file system is
//! [`super::Reason::DataMissing`] and nothing starts.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Index, Uid};

/// One volume or bind directory with data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// `volume:<docker name>` or `bind:<path>`, behind the uid of its node: unique key `<node>/<source>`.
    pub key: Arc<str>,
    /// Identity.
    pub uid: Uid,
    /// Docker's name of it, or the host path.
    pub source: String,
    /// The node that has it.
    pub node: Uid,
    /// Cluster time of its first mount, milliseconds.
    pub initialised_at: u64,
    /// Identity of the file system below it (device and file-system id, text), to notice an unmounted disk.
    pub filesystem: String,
    /// No mount of it so far was `dataPolicy: state`: it is not this node's own, and keeps nobody from leaving.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shared: bool,
    /// Services that mounted it.
    pub services: Vec<Arc<str>>,
    /// Index of its last change.
    pub resource_version: Index,
}
