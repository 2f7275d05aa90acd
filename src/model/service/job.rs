//! What a Service of `mode: job` or `cron` says of its runs.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ServiceSpec;
use crate::model::schedule::{Schedule, Wrong};

/// What becomes of a run that is due while another is under way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Concurrency {
    /// It is let pass; that of a new revision waits.
    #[default]
    Forbid,
    /// Both run.
    Allow,
    /// The other is stopped.
    Replace,
}

/// So many attempts of a run may fail.
const BACKOFF_LIMIT: u32 = 3;
/// So long a run is kept after its end.
const TTL: Duration = Duration::from_secs(24 * 3_600);

impl ServiceSpec {
    /// Slots of a run that have to end with 0.
    #[must_use]
    pub fn wanted_completions(&self) -> u32 {
        self.completions.unwrap_or(1)
    }
    /// Slots of a run that may be under way at once.
    #[must_use]
    pub fn at_once(&self) -> u32 {
        self.replicas.unwrap_or(1).min(self.wanted_completions())
    }
    /// Attempts of a run that may fail.
    #[must_use]
    pub fn may_fail(&self) -> u32 {
        self.backoff_limit.unwrap_or(BACKOFF_LIMIT)
    }
    /// How long a run is kept after its end.
    #[must_use]
    pub fn kept_for(&self) -> Duration {
        self.ttl_after_finished.map_or(TTL, |period| period.0)
    }
    /// The zone of its schedule.
    #[must_use]
    pub fn zone(&self) -> &str {
        self.time_zone.as_deref().unwrap_or("UTC")
    }
    /// When it is due; none: it has no schedule.
    ///
    /// # Errors
    /// When this version cannot read the schedule.
    pub fn due(&self) -> Option<Result<Schedule, Wrong>> {
        self.schedule.as_deref().map(|schedule| Schedule::parse(schedule, self.zone()))
    }
}
