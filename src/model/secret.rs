//! The Secret: what users write, and the sealed form that alone is stored.
//!
//! Invariant: a clear value leaves memory only into the container that names it. [`SecretSpec`] has
//! no `Serialize`; what goes into the log is [`SealedSecret`], what an API shows is [`SecretView`].

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
}
impl From<&SealedSecret> for SecretView {
    fn from(s: &SealedSecret) -> Self {
        Self { kind: s.kind, version: s.version, digest: s.digest.clone(), keys: s.sealed.keys().cloned().collect() }
    }
}
