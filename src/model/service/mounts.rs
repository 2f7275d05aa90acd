//! What a container sees in its file system: mounts with what their data means, configs and secrets as files.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{is_default, is_false};
use crate::model::{Kind, Uid, quantity::Bytes};

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mount {
    /// What is mounted.
    #[serde(rename = "type")]
    pub kind: MountKind,
    /// Absolute host path (bind) or volume name; none for tmpfs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Absolute path inside.
    pub target: String,
    /// No writes from the container.
    #[serde(default, skip_serializing_if = "is_false")]
    pub read_only: bool,
    /// Options of a bind.
    #[serde(default, skip_serializing_if = "is_default")]
    pub bind: BindOptions,
    /// Options of a volume.
    #[serde(default, skip_serializing_if = "is_default")]
    pub volume: VolumeOptions,
    /// Options of a tmpfs.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tmpfs: TmpfsOptions,
    /// What its data means; worked out when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_policy: Option<DataPolicy>,
    /// One volume for each slot, `<name>-<slot>`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub per_replica: bool,
    /// The volume exists already, under exactly this name. Needs the grant `binds`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub external: bool,
}

/// Host paths that exist on every Linux host and are not anybody's data.
const HOST_PATHS: [&str; 6] = ["/var/run/docker.sock", "/proc", "/sys", "/dev", "/etc/localtime", "/lib/modules"];

impl Mount {
    /// The data policy in force: the written one, else the rule of the manifest page.
    #[must_use]
    pub fn policy(&self) -> DataPolicy {
        if let Some(policy) = self.data_policy {
            return policy;
        }
        let source = self.source.as_deref().unwrap_or_default();
        let below = |root: &str| source == root || source.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'));
        match self.kind {
            MountKind::Tmpfs => DataPolicy::Cache,
            MountKind::Bind if HOST_PATHS.into_iter().any(below) || below("/run") || below("/var/run") => {
                DataPolicy::Host
            }
            MountKind::Bind if self.read_only => DataPolicy::Shared,
            MountKind::Bind | MountKind::Volume if !self.read_only => DataPolicy::State,
            MountKind::Bind | MountKind::Volume => DataPolicy::Shared,
        }
    }

    /// Docker's name of a named volume.
    #[must_use]
    pub fn volume_name(&self, slot: &str, lineage: &Uid) -> String {
        let source = self.source.as_deref().unwrap_or_default();
        match (self.external, self.per_replica) {
            (true, _) => source.to_owned(),
            (false, true) => format!("{source}-{slot}_{}", lineage.short()),
            (false, false) => format!("{source}_{}", lineage.short()),
        }
    }

    /// What of the host a slot mounts: Docker's name of a volume, or a path in its shortest form. Two
    /// mounts with equal answers on one node see the same data. None for memory.
    #[must_use]
    pub fn place(&self, slot: &str, lineage: &Uid) -> Option<String> {
        match self.kind {
            MountKind::Tmpfs => None,
            MountKind::Volume => Some(self.volume_name(slot, lineage)),
            MountKind::Bind => self.source.as_deref().map(shortest),
        }
    }
}

impl DataPolicy {
    /// Whether a first use is recorded, and what is mounted later must be the same: everything but what may
    /// be empty, and what each start of a host makes anew.
    #[must_use]
    pub const fn remembered(self) -> bool {
        match self {
            Self::State | Self::Shared | Self::Config => true,
            Self::Cache | Self::Host => false,
        }
    }
}

/// A path without what changes nothing: `/srv//a/./b/../` is `/srv/a`. Links are not followed.
fn shortest(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Kind of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    /// A path of the host.
    Bind,
    /// A Docker volume.
    Volume,
    /// Memory.
    Tmpfs,
}

/// Options of a bind mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BindOptions {
    /// Make the source directory when it is missing. Off: a missing source is an error, never an empty start.
    #[serde(default, skip_serializing_if = "is_false")]
    pub create_host_path: bool,
    /// `rprivate` (default), `private`, `rshared`, `shared`, `rslave`, `slave`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub propagation: Option<String>,
}

/// Options of a volume mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VolumeOptions {
    /// Do not copy the image's files into a new volume.
    #[serde(default, skip_serializing_if = "is_false")]
    pub nocopy: bool,
}

/// Options of a tmpfs mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TmpfsOptions {
    /// Largest size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Bytes>,
    /// Mode bits, written as an octal text like `"1777"`.
    #[serde(default, with = "octal", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub mode: Option<u32>,
}

/// Mode bits as people read them: `"0755"`.
mod octal {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    #[allow(clippy::ref_option)] // serde's signature
    pub(super) fn serialize<S: Serializer>(mode: &Option<u32>, s: S) -> Result<S::Ok, S::Error> {
        match mode {
            Some(mode) => s.collect_str(&format_args!("{mode:04o}")),
            None => s.serialize_none(),
        }
    }
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u32>, D::Error> {
        Option::<String>::deserialize(d)?
            .map(|t| u32::from_str_radix(&t, 8).map_err(|_| D::Error::custom(format!("{t:?} is not octal"))))
            .transpose()
    }
}

/// What the data of a mount means for moves, copies and second writers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DataPolicy {
    /// Moves with the replica, verified; never two containers at once.
    State,
    /// Must be present wherever the replica runs.
    Shared,
    /// Copied as content.
    Config,
    /// May be empty.
    Cache,
    /// Belongs to the host; never moves.
    Host,
}
impl std::fmt::Display for DataPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::State => "state",
            Self::Shared => "shared",
            Self::Config => "config",
            Self::Cache => "cache",
            Self::Host => "host",
        })
    }
}

/// A Config or Secret as file, directory or variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileRef {
    /// `NAME` or `NAME/KEY`. `NAME/KEY` is always one file at `target`. `NAME` alone is one file while the object has
    /// one key, and a directory with a file for each key when it has several.
    pub source: String,
    /// Path inside; `/NAME` for a config, `/run/secrets/NAME` for a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Owner; 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Group; 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// Mode bits as an octal text like `"0440"`; 0444 for a config, 0400 for a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Secrets only: name of a variable instead of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
}

impl FileRef {
    /// Name of the object.
    #[must_use]
    pub fn object(&self) -> &str {
        self.source.split_once('/').map_or(self.source.as_str(), |(name, _)| name)
    }
    /// As it is told and kept: `configs/nginx/a.conf`, with the variable's name when it becomes one:
    /// `secrets/db/url=PASSWORD`.
    #[must_use]
    pub fn label(&self, kind: Kind) -> String {
        let variable = self.env.as_deref().map(|name| format!("={name}")).unwrap_or_default();
        format!("{}/{}{variable}", kind.plural(), self.source)
    }
    /// The one key, when one is named.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.source.split_once('/').map(|(_, key)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_data_has_an_equal_place() {
        let lineage = Uid("0123456789abcdef".into());
        let place = |json: serde_json::Value| {
            serde_json::from_value::<Mount>(json).ok().and_then(|mount| mount.place("2", &lineage))
        };
        let bind = |source: &str| place(serde_json::json!({"type": "bind", "source": source, "target": "/x"}));
        for path in ["/srv/a", "/srv/a/", "/srv//a", "/srv/./a", "/srv/b/../a", "/../srv/a"] {
            assert_eq!(bind(path).as_deref(), Some("/srv/a"), "{path}");
        }
        assert_eq!(bind("/").as_deref(), Some("/"));
        let volume = |more: serde_json::Value| {
            let mut json = serde_json::json!({"type": "volume", "source": "data", "target": "/x"});
            json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            place(json)
        };
        assert_eq!(volume(serde_json::json!({})).as_deref(), Some("data_01234567"));
        assert_eq!(volume(serde_json::json!({"perReplica": true})).as_deref(), Some("data-2_01234567"));
        assert_eq!(volume(serde_json::json!({"external": true})).as_deref(), Some("data"));
        assert_eq!(place(serde_json::json!({"type": "tmpfs", "target": "/x"})), None);
    }
}
