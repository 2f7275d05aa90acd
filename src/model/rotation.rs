//! What follows a new value of a Config or Secret, how many versions are kept, and where a value comes from.
//!
//! Here: [`Rotation`], [`ConfigRotation`], [`ValueFrom`], [`Generate`], and the defaults. Not here: fetching a value (`cli::values`), drawing
//! one (`store::put`), when one is due (`plan::rotation`), carrying a rotation out (`plan::rollout`, `reconcile::agent`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Period;

/// Versions kept when nothing is said, the newest included.
pub const KEPT_VERSIONS: u32 = 5;

/// Key that `valueFrom` fills.
pub const VALUE: &str = "value";

/// Key that `valueFrom.edge` fills instead.
pub const TRAEFIK_FILE: &str = "traefik.yaml";

/// Shortest time between two values that the cluster draws by itself: each replaces every replica that uses them, and
/// the five kept versions shall reach further back than a night.
pub const EVERY_MIN: Period = Period::secs(3_600);

/// Longest: a little more than the year that rules of rotation ask for at most. What is longer is a slip of the unit.
pub const EVERY_MAX: Period = Period::secs(400 * 86_400);

/// What follows a new value, and when the cluster draws one by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rotation {
    /// How it reaches the replicas that use it.
    #[serde(default, skip_serializing_if = "Strategy::is_default")]
    pub strategy: Strategy,
    /// `strategy: reload` only: sent to the container's first process when its files are new, like `SIGHUP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// Versions before the newest that replicas still have while they are replaced. Always 1: the one they were
    /// started with.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub grace_versions: u32,
    /// With `valueFrom.generate` only: a new value is drawn when the newest is so old, `1h` to `400d`. Not while an
    /// earlier one is still on its way to the replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Period>,
}
impl Default for Rotation {
    fn default() -> Self {
        Self { strategy: Strategy::Rolling, signal: None, grace_versions: 1, every: None }
    }
}
impl Rotation {
    /// Whether nothing was said.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What follows a new value of a Config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfigRotation {
    /// How it reaches the replicas that use it.
    #[serde(default, skip_serializing_if = "Strategy::is_default")]
    pub strategy: Strategy,
    /// `strategy: reload` only: sent to the container's first process when its files are new, like `SIGHUP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// Versions before the newest that replicas still have while they are replaced. Always 1: the one they were
    /// started with.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub grace_versions: u32,
}
impl Default for ConfigRotation {
    fn default() -> Self {
        Self { strategy: Strategy::Rolling, signal: None, grace_versions: 1 }
    }
}
impl ConfigRotation {
    /// Whether nothing was said.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

const fn one() -> u32 {
    1
}
#[allow(clippy::trivially_copy_pass_by_ref)] // serde asks for a reference
const fn is_one(n: &u32) -> bool {
    *n == 1
}

/// How a new value reaches the replicas that use it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Strategy {
    /// They are replaced one after another, as for a new revision.
    #[default]
    Rolling,
    /// Their files are replaced where they are, and a signal is sent; a variable stays as it is.
    Reload,
    /// They keep what they have until they are replaced for another reason.
    Manual,
}
impl Strategy {
    #[allow(clippy::trivially_copy_pass_by_ref)] // serde asks for a reference
    fn is_default(&self) -> bool {
        *self == Self::Rolling
    }
}

/// Where a Config's value under the key `value` comes from: exactly one of these.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfigValueFrom {
    /// A file, from the manifest's own folder; read where the command runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// A variable of the environment in which the command runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// Standard output of a program, run in the manifest's own folder, only with `--allow-commands`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
}
impl From<ConfigValueFrom> for ValueFrom {
    fn from(from: ConfigValueFrom) -> Self {
        let ConfigValueFrom { file, env, command } = from;
        Self { file, env, command, ..Self::default() }
    }
}

/// Where a Secret's value under the key `value` comes from (with `edge`: `traefik.yaml`): exactly one of these.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ValueFrom {
    /// A file, from the manifest's own folder; read where the command runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// A variable of the environment in which the command runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// Standard output of a program, run in the manifest's own folder, only with `--allow-commands`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Secrets only: drawn by the cluster when the Secret has no value yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generate: Option<Generate>,
    /// Secrets only: the whole static configuration of the cluster's own Traefik, under the key `traefik.yaml`, with a
    /// token of the role `edge` that is made with it. What is there stays; `secret rotate` makes both anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edge: Option<EdgeFile>,
}
/// What Traefik is started with; nothing to choose yet: addresses are settings of the agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EdgeFile {}
impl ValueFrom {
    /// Which of those that only the client can fetch.
    #[must_use]
    pub const fn of_client(&self) -> Option<&'static str> {
        match (&self.file, &self.env, &self.command) {
            (Some(_), _, _) => Some("file"),
            (_, Some(_), _) => Some("env"),
            (_, _, Some(_)) => Some("command"),
            (None, None, None) => None,
        }
    }
}

/// How a value is drawn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Generate {
    /// Characters; 32.
    #[serde(default = "length")]
    pub length: u32,
    /// Which characters; alnum.
    #[serde(default)]
    pub charset: Charset,
}
impl Default for Generate {
    fn default() -> Self {
        Self { length: length(), charset: Charset::default() }
    }
}

const fn length() -> u32 {
    32
}

/// Characters of a drawn value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Charset {
    /// Letters and digits.
    #[default]
    Alnum,
    /// `0` to `9` and `a` to `f`.
    Hex,
    /// Letters, digits, `+` and `/`: not an encoding of anything.
    Base64,
    /// Every printable character but the space.
    Ascii,
}
impl Charset {
    /// The characters.
    #[must_use]
    pub const fn characters(self) -> &'static [u8] {
        match self {
            Self::Alnum => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
            Self::Hex => b"0123456789abcdef",
            Self::Base64 => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
            Self::Ascii => {
                b"!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~"
            }
        }
    }
}
