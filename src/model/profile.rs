//! Which links the members of a cluster have between them: the agent is told, Raft is timed by it.

use serde::{Deserialize, Serialize};

/// Which links the members have between them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// One site.
    #[default]
    Lan,
    /// Several sites.
    Wan,
}
