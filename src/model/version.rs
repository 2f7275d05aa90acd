//! A Version: one value that a Config or Secret has or had.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Object, Uid};

/// One kept version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// The Config or Secret.
    pub object: Uid,
    /// Of a Secret 1, 2, 3, …; of a Config the generation that it came with.
    pub number: u64,
    /// When it was made, cluster time in milliseconds.
    pub made_at: u64,
    /// Who made it.
    pub by: Arc<str>,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Arc<str>>,
    /// The object as it was, a Secret's values sealed; none: as it is now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Arc<Object>>,
}
