//! How replicas are replaced by those of a newer revision, and how they come back.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{is_default, yes};
use crate::model::quantity::Period;

/// How a new revision reaches the replicas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpdatePolicy {
    /// Replicas that are replaced at a time; 1. 0: all.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub parallelism: u32,
    /// Whether the new one starts before the old one stops; `auto` does where two may run at once.
    #[serde(default, skip_serializing_if = "is_default")]
    pub order: Order,
    /// Between a replica that is good and the next one that is replaced; 0 s.
    #[serde(default = "zero", skip_serializing_if = "is_zero")]
    pub delay: Period,
    /// A replica counts as good when it was ready for so long without a break; 10 s.
    #[serde(default = "ten_seconds", skip_serializing_if = "is_ten_seconds")]
    pub min_healthy_time: Period,
    /// When nothing became ready for so long, the update has failed; 10 min.
    #[serde(default = "ten_minutes", skip_serializing_if = "is_ten_minutes")]
    pub progress_deadline: Period,
    /// So many replicas may fail before the update has; 0.
    #[serde(default, skip_serializing_if = "is_default")]
    pub max_failures: u32,
    /// What follows a failed update.
    #[serde(default, skip_serializing_if = "is_default")]
    pub failure_action: FailureAction,
    /// So many replicas go first; the others wait until those are good; 0.
    #[serde(default, skip_serializing_if = "is_default")]
    pub canary: u32,
    /// Good canaries let the others follow; else `rollout promote` does; true.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub auto_promote: bool,
    /// With one replica that stops first: requests to its routes wait for the new one so long instead of failing; 15 s.
    #[serde(default = "fifteen_seconds", skip_serializing_if = "is_fifteen_seconds")]
    pub hold_requests: Period,
    /// A replica that leaves its routes may answer what it began for so long; 30 s.
    #[serde(default = "thirty_seconds", skip_serializing_if = "is_thirty_seconds")]
    pub drain_timeout: Period,
}

/// How the last ready revision comes back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RollbackPolicy {
    /// Replicas that are replaced at a time; 0: all.
    #[serde(default, skip_serializing_if = "is_default")]
    pub parallelism: u32,
    /// As in an update.
    #[serde(default, skip_serializing_if = "is_default")]
    pub order: Order,
}

/// Which of two replicas of a slot comes first: the start of the new one or the stop of the old one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// The start, where two may run at once.
    #[default]
    Auto,
    /// The start.
    StartFirst,
    /// The stop.
    StopFirst,
}
impl Order {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::StartFirst => "start-first",
            Self::StopFirst => "stop-first",
        }
    }
}

/// What follows a failed update.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FailureAction {
    /// Every replica goes back to the last ready revision.
    #[default]
    Rollback,
    /// Nothing more is replaced until a person decides.
    Pause,
    /// The next ones are replaced all the same.
    Continue,
}

impl Default for UpdatePolicy {
    fn default() -> Self {
        Self {
            parallelism: one(),
            order: Order::Auto,
            delay: zero(),
            min_healthy_time: ten_seconds(),
            progress_deadline: ten_minutes(),
            max_failures: 0,
            failure_action: FailureAction::Rollback,
            canary: 0,
            auto_promote: true,
            hold_requests: fifteen_seconds(),
            drain_timeout: thirty_seconds(),
        }
    }
}

/// For how long a replica whose Service is gone may answer what it began.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Serde hands fields over by reference.
macro_rules! defaults {
    ($($make:ident $is:ident: $type:ty = $value:expr;)+) => {
        $(
            const fn $make() -> $type {
                $value
            }
            #[allow(clippy::trivially_copy_pass_by_ref)]
            fn $is(value: &$type) -> bool {
                *value == $make()
            }
        )+
    };
}
defaults! {
    one is_one: u32 = 1;
    zero is_zero: Period = Period(Duration::ZERO);
    ten_seconds is_ten_seconds: Period = Period(Duration::from_secs(10));
    fifteen_seconds is_fifteen_seconds: Period = Period(Duration::from_secs(15));
    thirty_seconds is_thirty_seconds: Period = Period(DRAIN_TIMEOUT);
    ten_minutes is_ten_minutes: Period = Period(Duration::from_secs(600));
}
#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_yes(value: &bool) -> bool {
    *value
}
