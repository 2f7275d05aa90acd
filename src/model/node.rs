//! The Node: a machine with a Docker engine. Made by the agent's registration; users edit labels and policy.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::quantity::{Bytes, Millicores};

/// What users may say of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeSpec {
    /// What it does for the cluster; left out of a manifest: what the node has, as its agent registered it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<Role>,
    /// False: takes nothing new (cordoned).
    #[serde(default = "yes")]
    pub schedulable: bool,
    /// Kept for the host itself, never given to replicas; 0.1 CPU and 256 MiB when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved: Option<Reserved>,
    /// What placement counts with instead of the measured capacity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_override: Option<Reserved>,
}
fn yes() -> bool {
    true
}
impl NodeSpec {
    /// The first node of a cluster does everything.
    #[must_use]
    pub fn first() -> Self {
        Self {
            roles: vec![Role::Server, Role::Agent, Role::Edge, Role::Builder],
            schedulable: true,
            reserved: None,
            capacity_override: None,
        }
    }
    /// This spec for a node that has another: a manifest without `roles` leaves them as they are.
    #[must_use]
    pub fn keeping_roles_of(self, had: &Self) -> Self {
        let roles = if self.roles.is_empty() { had.roles.clone() } else { self.roles };
        Self { roles, ..self }
    }
    /// What is kept for the host, defaults filled in.
    #[must_use]
    pub fn reserved(&self) -> (Millicores, Bytes) {
        let own = self.reserved.as_ref();
        (own.and_then(|r| r.cpus).unwrap_or(Millicores(100)), own.and_then(|r| r.memory).unwrap_or(Bytes(256 << 20)))
    }
}

/// An amount of CPU and memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reserved {
    /// CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Millicores>,
    /// Memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
}

/// What a node does for the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May vote and holds the sealing key.
    Server,
    /// Runs replicas.
    Agent,
    /// Takes public traffic.
    Edge,
    /// Builds images.
    Builder,
}
impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Server => "server",
            Self::Agent => "agent",
            Self::Edge => "edge",
            Self::Builder => "builder",
        })
    }
}
