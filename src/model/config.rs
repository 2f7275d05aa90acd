//! The Config: plain files and values for services.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Largest sum of keys and values, bytes.
pub const CONFIG_LIMIT: usize = 1 << 20;

/// What a Config holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfigSpec {
    /// Key → plain text; each key is one file.
    #[serde(default)]
    pub data: BTreeMap<String, String>,
}
