//! The Secret: what users write, and the sealed form that alone is stored.
//!
//! Invariant: a clear value leaves memory only into the container that names it. [`SecretSpec`] has
//! no `Serialize`; what goes into the log is [`SealedSecret`], what an API shows is [`SecretView`].

pub mod content;

use std::{collections::BTreeMap, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Uid,
    rotation::{EdgeFile, Generate, Rotation, VALUE, ValueFrom},
};

/// Largest sum of keys and values, bytes (as Swarm).
pub const SECRET_LIMIT: usize = 500_000;

/// What a user writes.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretSpec {
    /// What it is for.
    #[serde(default, rename = "type")]
    pub kind: SecretKind,
    /// Key → base64.
    #[serde(default)]
    pub data: BTreeMap<String, String>,
    /// Key → plain text.
    #[serde(default)]
    pub string_data: BTreeMap<String, String>,
    /// Where the value of the key `value` comes from.
    #[serde(default)]
    pub value_from: Option<ValueFrom>,
    /// What follows a new value.
    #[serde(default)]
    pub rotation: Rotation,
    /// Versions kept, the newest included; 5.
    #[serde(default)]
    pub keep_versions: Option<u32>,
}
impl SecretSpec {
    /// How its value is drawn, if it is.
    #[must_use]
    pub fn generate(&self) -> Option<&Generate> {
        self.value_from.as_ref()?.generate.as_ref()
    }
    /// Whether it is what Traefik is started with.
    #[must_use]
    pub fn edge(&self) -> Option<&EdgeFile> {
        self.value_from.as_ref()?.edge.as_ref()
    }
    /// With this value under the key that `valueFrom` fills.
    #[must_use]
    pub fn with_value(&self, value: &[u8]) -> Self {
        self.with(VALUE, value)
    }
    /// With this value under a key.
    #[must_use]
    pub fn with(&self, key: &str, value: &[u8]) -> Self {
        let mut spec = self.clone();
        spec.string_data.remove(key);
        spec.data.insert(key.into(), STANDARD.encode(value));
        spec
    }
}
impl fmt::Debug for SecretSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretSpec({} keys)", self.data.len() + self.string_data.len())
    }
}

/// What a Secret is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SecretKind {
    /// Anything.
    #[default]
    Opaque,
    /// Credentials of a registry: keys `server`, `username`, `password`.
    Registry,
    /// Keys `tls.crt`, `tls.key`.
    Tls,
    /// Keys `username`, `password`.
    BasicAuth,
    /// Key `token`.
    Cloudflare,
    /// Key `value`.
    Password,
}

/// What stands in the log: canonical JSON of this is an [`super::Object`]'s spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SealedSecret {
    /// What it is for.
    #[serde(rename = "type")]
    pub kind: SecretKind,
    /// Grows with each changed value; part of the seal's associated data.
    pub version: u64,
    /// Keyed digest of all clear values: decides "unchanged" without showing length or value.
    pub digest: String,
    /// Key → sealed value: base64 of nonce and ciphertext (XChaCha20-Poly1305).
    pub sealed: BTreeMap<String, String>,
    /// Name of the values: what a container was started with is told by it. It says nothing of the values and stays
    /// when they are sealed with another key. Empty in what older versions wrote: then it is the digest.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub content: String,
    /// How the value is drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generate: Option<Generate>,
    /// It is what Traefik is started with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edge: Option<EdgeFile>,
    /// What follows a new value.
    #[serde(default, skip_serializing_if = "Rotation::is_default")]
    pub rotation: Rotation,
    /// Versions kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_versions: Option<u32>,
}

impl SealedSecret {
    /// Name of a version of a Secret: `v3.0a1b2c3d`. The identity is a part of it: a Secret that was deleted and made
    /// anew counts from 1 again.
    #[must_use]
    pub fn content_of(version: u64, uid: &Uid) -> String {
        format!("v{version}.{}", uid.short())
    }
    /// What tells its values from others.
    #[must_use]
    pub fn content(&self) -> &str {
        if self.content.is_empty() { &self.digest } else { &self.content }
    }
    /// Whether a declaration asks for the same around the values: how they are drawn, kept and passed on.
    #[must_use]
    pub fn same_policy(&self, spec: &SecretSpec) -> bool {
        self.generate.as_ref() == spec.generate()
            && self.edge.as_ref() == spec.edge()
            && self.rotation == spec.rotation
            && self.keep_versions == spec.keep_versions
    }
    /// Digest of the values, and of what is declared around them: decides "unchanged".
    #[must_use]
    pub fn identity(&self) -> String {
        let plain = self.generate.is_none() && self.rotation.is_default() && self.keep_versions.is_none();
        if plain && self.edge.is_none() {
            return self.digest.clone();
        }
        // Fields that a later version adds are left out while nobody says them.
        let mut policy =
            serde_json::to_string(&(&self.generate, &self.rotation, self.keep_versions)).unwrap_or_default();
        if let Some(EdgeFile {}) = self.edge {
            policy.push_str("edge");
        }
        format!("{}+{}", self.digest, &blake3::hash(policy.as_bytes()).to_hex()[..8])
    }
}

/// What reads show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretView {
    /// What it is for.
    #[serde(rename = "type")]
    pub kind: SecretKind,
    /// Version of the values.
    pub version: u64,
    /// Keyed digest.
    pub digest: String,
    /// Names of the keys.
    pub keys: Vec<String>,
    /// How the value is drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generate: Option<Generate>,
    /// It is what Traefik is started with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edge: Option<EdgeFile>,
    /// What follows a new value.
    #[serde(default, skip_serializing_if = "Rotation::is_default")]
    pub rotation: Rotation,
    /// Versions kept, where it was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_versions: Option<u32>,
}
impl From<&SealedSecret> for SecretView {
    fn from(s: &SealedSecret) -> Self {
        Self {
            kind: s.kind,
            version: s.version,
            digest: s.digest.clone(),
            keys: s.sealed.keys().cloned().collect(),
            generate: s.generate.clone(),
            edge: s.edge.clone(),
            rotation: s.rotation.clone(),
            keep_versions: s.keep_versions,
        }
    }
}
