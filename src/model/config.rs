//! The Config: plain files and values for services.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rotation::{ConfigRotation, ConfigValueFrom};

/// Largest sum of keys and values, bytes.
pub const CONFIG_LIMIT: usize = 1 << 20;

/// What a Config holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfigSpec {
    /// Key → plain text; each key is one file.
    #[serde(default)]
    pub data: BTreeMap<String, String>,
    /// Where the value of the key `value` comes from; the client puts it into `data`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_from: Option<ConfigValueFrom>,
    /// What follows a new value.
    #[serde(default, skip_serializing_if = "ConfigRotation::is_default")]
    pub rotation: ConfigRotation,
    /// Versions kept, the newest included; 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_versions: Option<u32>,
}

impl ConfigSpec {
    /// Digest of one key, or of all: tells whether a container was started with the same content. None
    /// when there is no such key.
    #[must_use]
    pub fn digest(&self, key: Option<&str>) -> Option<String> {
        let mut hasher = blake3::Hasher::new();
        let mut add = |key: &str, value: &str| {
            for part in [key, value] {
                hasher.update(&(part.len() as u64).to_le_bytes());
                hasher.update(part.as_bytes());
            }
        };
        match key {
            Some(key) => add(key, self.data.get(key)?),
            None => self.data.iter().for_each(|(key, value)| add(key, value)),
        }
        Some(hasher.finalize().to_hex()[..16].to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_moves_with_what_is_mounted_and_with_nothing_else() {
        let config = |pairs: &[(&str, &str)]| ConfigSpec {
            data: pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
            ..ConfigSpec::default()
        };
        let (one, two) = (config(&[("a", "1"), ("b", "2")]), config(&[("a", "1"), ("b", "3")]));
        assert_eq!(one.digest(Some("a")), two.digest(Some("a")));
        assert_ne!(one.digest(Some("b")), two.digest(Some("b")));
        assert_ne!(one.digest(None), two.digest(None));
        assert_ne!(config(&[("ab", "c")]).digest(None), config(&[("a", "bc")]).digest(None));
        assert_eq!(one.digest(Some("c")), None);
    }
}
