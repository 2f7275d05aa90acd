//! Changes of Secrets beside whole documents, and the versions of Configs and Secrets.

use std::{collections::BTreeMap, fmt, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Keys of a Secret to write; the others stay as they are.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretSet {
    /// Key → base64.
    #[serde(default)]
    pub data: BTreeMap<String, String>,
    /// Keys that go.
    #[serde(default)]
    pub remove: Vec<String>,
}
impl fmt::Debug for SecretSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretSet({} keys, {} removed)", self.data.len(), self.remove.len())
    }
}

/// How a new version of a Secret is made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretRotate {
    /// With the values of this version; absent: the value is drawn anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_version: Option<u64>,
}

/// The versions of a Config or Secret; never a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct History {
    /// Newest first.
    pub versions: Vec<VersionView>,
    /// When the cluster draws the next value by itself, milliseconds since 1970; later while the newest has not arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_rotation: Option<u64>,
    /// Where it was read.
    pub index: u64,
}

/// One version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VersionView {
    /// Its number.
    pub version: u64,
    /// When it was made, milliseconds since 1970.
    pub made_at: u64,
    /// Who made it; empty when nobody noted it.
    pub by: Arc<str>,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Arc<str>>,
    /// Digest of the values, of a Secret a keyed one.
    pub digest: String,
    /// Whether it is the one that new replicas get.
    pub current: bool,
}

/// What became of a change of the key that seals Secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rekeyed {
    /// Id of the key that seals now.
    pub key: String,
    /// Values and kept versions that were sealed anew.
    pub resealed: usize,
}
