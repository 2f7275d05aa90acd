//! Which services have failed for good, and who waits for them in vain.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Progress, because, job};
use crate::model::{ConditionStatus, ConditionType, Reason, RolloutPhase, ServiceStatus};

/// So long a failure has to stand: one of before may be mended by the very change that is awaited.
const STANDS: Duration = Duration::from_secs(1);

/// A service that was seen to have failed.
#[derive(Debug, Default)]
pub(super) struct Failure {
    /// As it said last.
    pub why: String,
    since: Option<Duration>,
    /// It has stood long enough.
    pub sure: bool,
}

impl Failure {
    /// It stands at this time of the wait.
    pub fn note(&mut self, now: Duration) {
        let since = *self.since.get_or_insert(now);
        self.sure |= now.saturating_sub(since) >= STANDS;
    }
}

/// Why a service does not work and does not become as its generation says by itself. One that went back to a revision
/// of before is none: that one may be ready again at any time.
pub(super) fn broken(generation: u64, status: Option<&ServiceStatus>) -> Option<String> {
    let status = status.filter(|status| status.observed_generation >= generation)?;
    let ready = status.conditions.iter().find(|c| c.kind == ConditionType::Ready)?;
    if ready.observed_generation < generation || ready.status == ConditionStatus::True {
        return None;
    }
    if let Some(job) = status.job.as_ref().filter(|_| ready.reason != Reason::Suspended) {
        return match job::done(job, ready) {
            Progress::Lost(why) => Some(why),
            Progress::Waiting(_) | Progress::Reached(_) | Progress::Paused(_) | Progress::Asks(_) => None,
        };
    }
    let halted = status.rollout.as_ref().filter(|rollout| rollout.phase == RolloutPhase::Halted);
    match halted.filter(|_| status.replicas.desired > 0) {
        Some(rollout) => Some(format!("revision {} stands still: {}", rollout.target, rollout.message)),
        None => (ready.reason == Reason::Failed).then(|| because(ready)),
    }
}

/// Who waits in vain, and why: for one that has failed for good, or for another one that waits in vain.
pub(super) fn stranded(
    failed: &BTreeMap<Arc<str>, Failure>,
    needs: &BTreeMap<Arc<str>, Vec<Arc<str>>>,
) -> BTreeMap<Arc<str>, String> {
    let sure = failed.iter().filter(|(_, failure)| failure.sure);
    let mut lost: BTreeMap<&Arc<str>, String> = sure.map(|(name, failure)| (name, failure.why.clone())).collect();
    let mut stranded = BTreeMap::new();
    loop {
        // Each round finds at least one more, or is the last: a circle ends too.
        let new = needs.iter().filter(|(name, _)| !stranded.contains_key(*name)).filter_map(|(name, needs)| {
            let (target, why) = needs.iter().find_map(|target| lost.get_key_value(target))?;
            Some((name, format!("it waits for svc/{target}, which does not come: {why}")))
        });
        let new: Vec<_> = new.collect();
        if new.is_empty() {
            return stranded;
        }
        for (name, why) in new {
            lost.entry(name).or_insert_with(|| why.clone());
            stranded.insert(name.clone(), why);
        }
    }
}
