//! Images of what shall take the place of a replica, fetched while it still runs.
//!
//! Here: `look_ahead`, for one replica whose service goes on to a revision of another image. Where the old one is
//! stopped before the new one starts, the leader waits for this word, so that no slow or silent registry makes
//! a gap. Not here: what follows from it (`plan::rollout`), pulling (`super::pulls`).
//! Invariant: silence of the engine changes nothing that was said.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Agent, Subject, prepare::PrepareError};
use crate::{
    model::{
        Desired, Kind, NextImage, Reason, Replica, ResolvedImage, RolloutPhase, ServiceSpec, service::ContainerSpec,
    },
    plan::agent::{attempts::patience, millis},
    reconcile::registry,
    store::{State, state::Change},
};

/// Between two looks at whether an image is still there.
const LOOK: Duration = Duration::from_secs(30);

/// What is remembered of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Ahead {
    next: NextImage,
    /// When the rollout that it is for began or went on, cluster time: a later one waits for no attempt of this one.
    rollout: u64,
    /// When this attempt began.
    begun: Option<Instant>,
    /// Attempts in a row that did not work.
    failed: u32,
    /// Earliest next attempt, cluster time.
    not_before: u64,
}

/// What is to be fetched.
struct Wanted {
    spec: ContainerSpec,
    image: ResolvedImage,
    /// When the rollout began, or went on.
    since: u64,
}

impl Agent {
    /// Sees to the image that this replica's service goes on to; answers when to look again, cluster time.
    pub(super) async fn look_ahead(&self, key: &Arc<str>, subject: &Subject, silent: bool) -> Option<u64> {
        let state = self.store.state();
        let Some(Wanted { spec, image, since }) = wanted(&state, &subject.replica) else {
            self.with(key, |m| m.ahead = None);
            return None;
        };
        let (reference, now) = (image.reference().to_owned(), (self.now)());
        let mut ahead = self.with(key, |m| {
            let same = m.ahead.take_if(|ahead| ahead.next.reference == reference && ahead.rollout == since);
            // What an agent before this one said.
            let said = || m.reported.as_ref()?.next_image.clone().filter(|next| next.reference == reference);
            let known = said().filter(|next| next.failing_since.is_none_or(|failing| failing >= since));
            same.unwrap_or_else(|| Ahead {
                next: known.unwrap_or_else(|| NextImage { reference: reference.clone(), ..NextImage::default() }),
                rollout: since,
                ..Ahead::default()
            })
        });
        let again = if silent {
            now + millis(LOOK)
        } else if ahead.not_before > now {
            ahead.not_before
        } else {
            let attempt = Attempt { state: &state, subject, spec: &spec, image: &image, now };
            self.attempt(&mut ahead, attempt).await
        };
        self.with(key, |m| m.ahead = Some(ahead));
        Some(again)
    }

    async fn attempt(&self, ahead: &mut Ahead, attempt: Attempt<'_>) -> u64 {
        let Attempt { state, subject, spec, image, now } = attempt;
        let next = &mut ahead.next;
        if next.there && self.preparer.has(image).await {
            return now + millis(LOOK);
        }
        let (known, begun) = (ahead.begun.is_some(), *ahead.begun.get_or_insert_with(Instant::now));
        let error = match self.preparer.image(state, &subject.replica, spec, image, begun).await {
            Ok(_) => {
                if known {
                    self.say(Some(subject), Reason::Pulled, format!("{} is there", next.reference));
                }
                *next = NextImage { reference: next.reference.clone(), there: true, ..NextImage::default() };
                (ahead.begun, ahead.failed) = (None, 0);
                return now + millis(LOOK);
            }
            Err(error) => error,
        };
        let (reason, message) = match error {
            PrepareError::Pulling(progress) => {
                if !known && ahead.failed == 0 {
                    self.say(Some(subject), Reason::Pulling, format!("fetching {}", next.reference));
                }
                (next.there, next.fetching) = (false, true);
                // What went wrong last says more than that it is tried again.
                if next.reason.is_none() {
                    next.message = progress;
                }
                return now + millis(LOOK);
            }
            PrepareError::Engine(error) if self.is_silent(&error).await => {
                ahead.begun = None;
                return now + millis(LOOK);
            }
            PrepareError::Engine(error) => (registry::reason(&error), error.to_string()),
            PrepareError::Missing(reason, message) => (reason, message),
        };
        if next.reason != Some(reason) || next.message != message {
            self.say(Some(subject), reason, format!("{} cannot be fetched: {message}", next.reference));
        }
        let failing_since = next.failing_since.or(Some(now));
        let reference = std::mem::take(&mut next.reference);
        *next = NextImage { reference, there: false, fetching: false, reason: Some(reason), message, failing_since };
        ahead.not_before = now + patience(ahead.failed);
        (ahead.begun, ahead.failed) = (None, ahead.failed.saturating_add(1));
        ahead.not_before
    }

    /// What is said of it.
    pub(super) fn next_image(&self, key: &Arc<str>) -> Option<NextImage> {
        self.with(key, |m| m.ahead.as_ref().map(|ahead| ahead.next.clone()))
    }

    /// Replicas of this node whose service goes on to another image since a change, or does not any more.
    pub(super) fn going_on(&self, state: &State, change: &Change) -> Vec<Arc<str>> {
        if change.key.kind != Kind::Service {
            return Vec::new();
        }
        let Some(object) = state.object(&change.key) else { return Vec::new() };
        let here = state.replicas_of(&object.meta.uid).filter(|r| r.node == self.node.name);
        here.filter(|r| self.with(&r.name, |m| m.ahead.is_some()) || wanted(state, r).is_some())
            .map(|r| r.name.clone())
            .collect()
    }
}

/// One try.
struct Attempt<'a> {
    state: &'a State,
    subject: &'a Subject,
    spec: &'a ContainerSpec,
    image: &'a ResolvedImage,
    now: u64,
}

/// The image that shall run in the place of a replica, if it is another one.
fn wanted(state: &State, replica: &Replica) -> Option<Wanted> {
    if replica.desired != Desired::Run || replica.runs_once() {
        return None;
    }
    let record = state.rollout(&replica.service_uid)?;
    if !matches!(record.phase, RolloutPhase::Progressing | RolloutPhase::RollingBack) {
        return None;
    }
    let image = |number| state.revision(&replica.service_uid, number)?.image.resolved().cloned();
    let next = image(record.target).filter(|next| image(replica.revision).as_ref() != Some(next))?;
    let target = state.revision(&replica.service_uid, record.target)?;
    let spec = serde_json::from_slice::<ServiceSpec>(&target.spec).ok()?.container;
    let since = record.started_at.max(record.resumed_at.unwrap_or_default());
    Some(Wanted { spec, image: next, since })
}
