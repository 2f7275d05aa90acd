//! A Revision: a kept, numbered container part of a Service with its hash, computed once and stored.
//!
//! Agents compare a container's label with the stored hash and never recompute it, so that a new
//! release of ours restarts nothing.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Index, Reason, RolloutPhase, Uid};

/// One kept version of a Service's container part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    /// The Service.
    pub service: Uid,
    /// 1, 2, 3, … within the Service.
    pub number: u64,
    /// Index at which it was made.
    pub index: Index,
    /// Generation of the Service at which it was made.
    pub generation: u64,
    /// Hash of the canonical JSON of the container part (BLAKE3, 32 hex characters).
    pub spec_hash: String,
    /// Canonical JSON of the whole spec, as it was declared last with this container part.
    #[serde(with = "serde_bytes")]
    pub spec: Vec<u8>,
    /// What became of its image reference.
    pub image: Resolution,
    /// How its newest rollout went; none: none has begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tried: Option<Tried>,
}

/// How a rollout of a revision went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tried {
    /// When it began, cluster time in milliseconds.
    pub began_at: u64,
    /// How far it came: what was taken back is `RollingBack`, then `RolledBack`, or `Halted` where nothing came back.
    pub phase: RolloutPhase,
    /// What went wrong, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When it was complete, back, stood still or was left, cluster time in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<u64>,
    /// Another revision was wanted instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<Left>,
}

/// Why a rollout was left for one of another revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "how")]
pub enum Left {
    /// Somebody went back from it.
    Undone {
        /// Who.
        by: Arc<str>,
        /// Why, in their words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<Arc<str>>,
    },
    /// A newer revision came before it was done.
    Superseded {
        /// Number of the newer one.
        by_revision: u64,
    },
}

/// What became of an image reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "state")]
pub enum Resolution {
    /// The leader has not asked yet.
    Pending,
    /// Fixed for the life of the revision; rollback reuses it.
    Resolved {
        /// What it is.
        image: ResolvedImage,
    },
    /// Asked and not found; asked again at `next_attempt`.
    Failed {
        /// Why.
        reason: Reason,
        /// What the registry or engine said.
        message: String,
        /// Since when, cluster time in milliseconds.
        since: u64,
        /// When it is asked again, cluster time in milliseconds.
        next_attempt: u64,
        /// How often it was asked.
        attempts: u32,
    },
}

impl Resolution {
    /// The image, if it is known.
    #[must_use]
    pub const fn resolved(&self) -> Option<&ResolvedImage> {
        match self {
            Self::Resolved { image } => Some(image),
            Self::Pending | Self::Failed { .. } => None,
        }
    }
}

/// What an image reference means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum ResolvedImage {
    /// `repository@sha256:…`: any node can pull it.
    Digest {
        /// The pullable reference.
        reference: String,
    },
    /// An image id that only this node has: limits placement to it.
    Local {
        /// `sha256:…`.
        id: String,
        /// The node that has it.
        node: Uid,
    },
}

impl ResolvedImage {
    /// What the engine is given to create a container.
    #[must_use]
    pub fn reference(&self) -> &str {
        match self {
            Self::Digest { reference } => reference,
            Self::Local { id, .. } => id,
        }
    }
}
