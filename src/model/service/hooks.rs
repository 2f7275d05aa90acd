//! Commands around the life of replicas, and around a rollout.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Amounts, AutoRestart, ContainerSpec, DataPolicy, Healthcheck, NetworkAttachment, Resources, Restart, is_default,
};
use crate::model::quantity::Period;

/// The longest `timeout` of a hook, and of all that precede a stop together.
pub const HOOK_TIMEOUT_MAX: Duration = Duration::from_secs(3_600);

/// What runs around rollouts and the life of replicas. A replica has those that were declared last with its revision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hooks {
    /// In a container of its own, once for each revision, before any replica of it is placed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pre_deploy: Vec<Hook>,
    /// In the container after each start, one after the other; the replica is not ready before they have succeeded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub post_start: Vec<InnerHook>,
    /// In the container before it is asked to end, when nothing new is sent to it any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pre_stop: Vec<InnerHook>,
    /// In a container of its own, once for each revision, after all replicas of it were good.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub post_deploy: Vec<Hook>,
}
impl Hooks {
    /// Those of a stage of a rollout.
    #[must_use]
    pub fn of(&self, stage: Stage) -> &[Hook] {
        match stage {
            Stage::PreDeploy => &self.pre_deploy,
            Stage::PostDeploy => &self.post_deploy,
        }
    }
}

/// When a hook in a container of its own runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// Before the first replica of a revision.
    PreDeploy,
    /// After the last was good.
    PostDeploy,
}
impl Stage {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PreDeploy => "preDeploy",
            Self::PostDeploy => "postDeploy",
        }
    }
}

/// One command in a replica's container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InnerHook {
    /// What is run.
    pub command: Vec<String>,
    /// It has failed when it runs longer; 5 min.
    #[serde(default = "five_minutes", skip_serializing_if = "is_five_minutes")]
    pub timeout: Period,
    /// What follows when it fails.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_failure: OnFailure,
}

/// One command in a container of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hook {
    /// What is run.
    pub command: Vec<String>,
    /// Image of its container; the service's when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// It has failed when it runs longer; 5 min.
    #[serde(default = "five_minutes", skip_serializing_if = "is_five_minutes")]
    pub timeout: Period,
    /// What follows when it fails.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_failure: OnFailure,
}

/// Characters of a command in a sentence.
const SHOWN: usize = 60;

/// What follows a hook that failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// What it belongs to has failed too.
    #[default]
    Abort,
    /// An event says so, and it goes on.
    Continue,
}

impl Hook {
    /// `preDeploy: ./migrate --all`, one bounded line.
    #[must_use]
    pub fn told(&self, stage: Stage) -> String {
        // It stands in every line of events, of a plan and of a status; as it is declared it stands in the spec.
        let command = self.command.join(" ");
        let mut rest = command.chars().filter(|c| !c.is_control());
        let mut shown: String = rest.by_ref().take(SHOWN).collect();
        if rest.next().is_some() {
            shown.pop();
            shown.push('…');
        }
        format!("{}: {shown}", stage.as_str())
    }
}

impl ContainerSpec {
    /// The container of a hook: as a replica's, but that nobody reaches it by the service's names and ports, that it has
    /// none of the data with a single writer, and that it runs once.
    #[must_use]
    pub fn of_hook(&self, hook: &Hook) -> Self {
        let joined = |n: &NetworkAttachment| NetworkAttachment {
            aliases: Vec::new(),
            ipv4_address: None,
            ipv6_address: None,
            ..n.clone()
        };
        Self {
            image: hook.image.clone().unwrap_or_else(|| self.image.clone()),
            entrypoint: Some(hook.command.clone()),
            command: None,
            hostname: None,
            ports: Vec::new(),
            expose: Vec::new(),
            volumes: self.volumes.iter().filter(|m| m.policy() != DataPolicy::State).cloned().collect(),
            healthcheck: Some(Healthcheck { disable: true, ..Healthcheck::default() }),
            readiness: None,
            networks: self.networks.iter().map(joined).collect(),
            labels: std::collections::BTreeMap::new(),
            // The replicas that serve meanwhile hold theirs.
            resources: Resources { reservations: Amounts::default(), ..self.resources.clone() },
            restart: Restart::No,
            auto_restart: AutoRestart::default(),
            ..self.clone()
        }
    }
}

const fn five_minutes() -> Period {
    Period(Duration::from_secs(300))
}
/// Serde hands it over by reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_five_minutes(period: &Period) -> bool {
    *period == five_minutes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_command_is_cut_in_a_sentence() {
        let told = |command: &str| {
            let command = command.split(' ').map(str::to_owned).collect();
            Hook { command, ..serde_json::from_value(serde_json::json!({"command": ["x"]})).unwrap() }
                .told(Stage::PreDeploy)
        };
        assert_eq!(told("./migrate --all"), "preDeploy: ./migrate --all");
        assert_eq!(told(&"é".repeat(60)), format!("preDeploy: {}", "é".repeat(60)));
        assert_eq!(told(&"é".repeat(61)), format!("preDeploy: {}…", "é".repeat(59)));
    }
}
