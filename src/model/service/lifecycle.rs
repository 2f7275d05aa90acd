//! What a container waits for, and what follows its end: dependencies, restarts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{three, yes};
use crate::model::quantity::Period;

/// A service that has to be there first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Dependency {
    /// The other Service.
    pub name: String,
    /// What "there" means.
    #[serde(default)]
    pub condition: DependencyCondition,
    /// False: a missing Service is no reason to wait.
    #[serde(default = "yes")]
    pub required: bool,
}

/// What a dependency waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DependencyCondition {
    /// A container of it runs.
    #[default]
    ServiceStarted,
    /// A replica of it is ready.
    ServiceHealthy,
    /// Its replicas ended with 0 (`restart: no`).
    ServiceCompletedSuccessfully,
}

/// What follows an exit of the container. Text form as in compose: `on-failure:3`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Restart {
    /// An exit ends the replica.
    No,
    /// Restarted after an exit other than 0, at most so often (no limit when none).
    OnFailure(Option<u32>),
    /// Always restarted.
    #[default]
    Always,
    /// Always restarted, except when stopped by hand.
    UnlessStopped,
}
impl std::fmt::Display for Restart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::No => f.write_str("no"),
            Self::OnFailure(None) => f.write_str("on-failure"),
            Self::OnFailure(Some(n)) => write!(f, "on-failure:{n}"),
            Self::Always => f.write_str("always"),
            Self::UnlessStopped => f.write_str("unless-stopped"),
        }
    }
}
impl Serialize for Restart {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for Restart {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let wrong = || {
            serde::de::Error::custom(format!(
                "{text:?} is not a restart policy; write no, on-failure, on-failure:3, always or unless-stopped"
            ))
        };
        match text.as_str() {
            "no" => Ok(Self::No),
            "always" => Ok(Self::Always),
            "unless-stopped" => Ok(Self::UnlessStopped),
            "on-failure" => Ok(Self::OnFailure(None)),
            other => other
                .strip_prefix("on-failure:")
                .and_then(|n| n.parse().ok())
                .map(|n| Self::OnFailure(Some(n)))
                .ok_or_else(wrong),
        }
    }
}
impl JsonSchema for Restart {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Restart".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^(no|always|unless-stopped|on-failure(:[0-9]+)?)$", "default": "always" })
    }
}

/// Restarting what is unhealthy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AutoRestart {
    /// Off: an unhealthy replica is only reported.
    #[serde(default = "yes")]
    pub on_unhealthy: bool,
    /// Failed verdicts in a row before a restart; 3.
    #[serde(default = "three")]
    pub after: u32,
    /// First wait; doubles; 10 s.
    #[serde(default = "ten_seconds")]
    pub backoff: Period,
    /// Longest wait; 5 min.
    #[serde(default = "five_minutes")]
    pub max_backoff: Period,
}
impl Default for AutoRestart {
    fn default() -> Self {
        Self { on_unhealthy: true, after: 3, backoff: ten_seconds(), max_backoff: five_minutes() }
    }
}
fn ten_seconds() -> Period {
    Period::secs(10)
}
fn five_minutes() -> Period {
    Period::secs(300)
}
