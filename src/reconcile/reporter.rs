//! What this node observed, on its way into the log: folded, bounded, at most ten times a second.
//!
//! Here: [`Reporter`], which loops hand statuses and events to, and the task that proposes them.
//! Not here: what to observe. Invariant: the last status of an object wins and is never dropped;
//! of events the oldest go first when more than [`KEPT`] wait without a quorum.
//! An event that repeats one told less than `REPEAT` ago waits and counts up until that time is over.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    model::{NewEvent, ObjectKey, Reason, Status, Uid},
    store::{
        Client, ProposeError,
        command::{Command, Group},
    },
};

/// Events kept while the log cannot be written.
pub const KEPT: usize = 1_000;
/// Events in one proposal.
const BATCH: usize = 64;
/// Statuses in one proposal: each may carry the last lines of a log.
const STATUSES: usize = 128;
/// A repeat moves its count at most so often.
const REPEAT: Duration = Duration::from_secs(10);
/// Shortest time between two proposals.
const PACE: Duration = Duration::from_millis(100);
/// Longest wait for an answer.
const DEADLINE: Duration = Duration::from_secs(5);
/// Wait after a proposal that failed.
const RETRY: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
struct Pending {
    statuses: BTreeMap<ObjectKey, (Uid, Status)>,
    /// With the time before which each is not told.
    events: VecDeque<(Instant, NewEvent)>,
    /// When what was told last; bounded by what is younger than [`REPEAT`].
    told: BTreeMap<(ObjectKey, Reason, String), Instant>,
}

/// One proposal's worth.
#[derive(Debug, Default)]
struct Portion {
    statuses: Vec<(ObjectKey, Uid, Status)>,
    events: Vec<NewEvent>,
}

/// Takes what loops observe. Cheap to clone; never waits.
#[derive(Debug, Clone, Default)]
pub struct Reporter {
    pending: Arc<Mutex<Pending>>,
    wake: Arc<Notify>,
}

impl Reporter {
    /// Hands over a status; a newer one of the same object replaces it.
    pub fn status(&self, key: ObjectKey, uid: Uid, status: Status) {
        self.lock().statuses.insert(key, (uid, status));
        self.wake.notify_one();
    }

    /// Hands over an event; a repeat of one that waits counts up.
    pub fn event(&self, event: NewEvent) {
        let mut pending = self.lock();
        let same =
            |e: &&mut NewEvent| e.object == event.object && e.reason == event.reason && e.message == event.message;
        if let Some(last) = pending.events.iter_mut().map(|(_, e)| e).rev().find(same) {
            last.count += event.count;
            last.time = event.time;
        } else {
            let now = Instant::now();
            let told = pending.told.get(&class(&event)).map(|at| *at + REPEAT);
            if pending.events.len() >= KEPT {
                pending.events.pop_front();
            }
            pending.events.push_back((told.unwrap_or(now).max(now), event));
        }
        drop(pending);
        self.wake.notify_one();
    }

    /// Proposes what was handed over until `stop`; ends after one last try.
    pub async fn run(self, store: Client, actor: Arc<str>, stop: CancellationToken) {
        loop {
            let due = self.due();
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
                () = stop.cancelled() => {}
            }
            while let Some(portion) = self.take(Instant::now(), stop.is_cancelled()) {
                let pause = self.propose(&store, &actor, portion).await;
                if stop.is_cancelled() {
                    if pause == RETRY {
                        return;
                    }
                    continue;
                }
                tokio::time::sleep(pause).await;
            }
            if stop.is_cancelled() {
                return;
            }
        }
    }

    /// Proposes one portion; answers how long to wait before the next.
    async fn propose(&self, store: &Client, actor: &Arc<str>, portion: Portion) -> Duration {
        let command =
            Command::RecordObservations { statuses: portion.statuses.clone(), events: portion.events.clone() };
        let group = Group { actor: actor.clone(), commands: vec![command], ..Group::default() };
        match store.propose(group, DEADLINE).await {
            Ok(_) => PACE,
            // Never to be taken: trying again would hold up everything behind it.
            Err(error @ (ProposeError::Refused(_) | ProposeError::TooLarge { .. })) => {
                tracing::warn!(%error, "observations are lost");
                PACE
            }
            Err(
                error @ (ProposeError::NoQuorum(_)
                | ProposeError::Unknown(_)
                | ProposeError::NoRoom(_)
                | ProposeError::Busy(_)
                | ProposeError::Closed),
            ) => {
                tracing::debug!(%error, "observations wait");
                self.put_back(portion);
                RETRY
            }
        }
    }

    /// When the first event that waits is due; none: nothing waits for time.
    fn due(&self) -> Option<Instant> {
        self.lock().events.iter().map(|(due, _)| *due).min()
    }

    /// What is due; with `all`, everything.
    fn take(&self, now: Instant, all: bool) -> Option<Portion> {
        let mut pending = self.lock();
        let mut portion = Portion::default();
        while portion.statuses.len() < STATUSES
            && let Some((key, (uid, status))) = pending.statuses.pop_first()
        {
            portion.statuses.push((key, uid, status));
        }
        let mut later = VecDeque::new();
        for (due, event) in std::mem::take(&mut pending.events) {
            if portion.events.len() < BATCH && (all || due <= now) {
                pending.told.insert(class(&event), now);
                portion.events.push(event);
            } else {
                later.push_back((due, event));
            }
        }
        pending.events = later;
        pending.told.retain(|_, at| *at + REPEAT > now);
        (!portion.statuses.is_empty() || !portion.events.is_empty()).then_some(portion)
    }

    /// What could not be proposed goes back, behind nothing newer.
    fn put_back(&self, portion: Portion) {
        let mut pending = self.lock();
        for (key, uid, status) in portion.statuses {
            pending.statuses.entry(key).or_insert((uid, status));
        }
        let now = Instant::now();
        for event in portion.events.into_iter().rev() {
            if pending.events.len() < KEPT {
                pending.events.push_front((now, event));
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pending> {
        // A panic elsewhere leaves plain data behind: it is still good.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What makes two events the same.
fn class(event: &NewEvent) -> (ObjectKey, Reason, String) {
    (event.object.key(), event.reason, event.message.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EventType, Kind, ReplicaStatus, event::Subject};

    fn event(message: &str) -> NewEvent {
        let object = Subject { kind: Kind::Replica, name: "web-1-x".into(), uid: Uid("r".into()) };
        let (kind, reason) = (EventType::Warning, Reason::Unhealthy);
        NewEvent { kind, reason, object, node: None, message: message.into(), time: 1, count: 1 }
    }
    fn status(restarts: u32) -> Status {
        Status::Replica(ReplicaStatus { restarts, ..ReplicaStatus::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_status_wins_and_repeats_count_up() {
        let reporter = Reporter::default();
        let key = ObjectKey::replica("web-1-x");
        for n in 0..3 {
            reporter.status(key.clone(), Uid("r".into()), status(n));
            reporter.event(event("no"));
        }
        let portion = reporter.take(Instant::now(), false).unwrap();
        assert_eq!(portion.statuses, [(key, Uid("r".into()), status(2))]);
        assert_eq!(portion.events.iter().map(|e| e.count).collect::<Vec<_>>(), [3]);
        // Told a moment ago: the repeat waits, another message does not.
        reporter.event(event("no"));
        reporter.event(event("still no"));
        let portion = reporter.take(Instant::now(), false).unwrap();
        assert_eq!(portion.events.iter().map(|e| e.message.as_str()).collect::<Vec<_>>(), ["still no"]);
        assert!(reporter.take(Instant::now(), false).is_none());
        tokio::time::advance(REPEAT).await;
        assert_eq!(reporter.take(Instant::now(), false).unwrap().events.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_quorum_the_oldest_events_go_first_and_no_newer_status_is_overwritten() {
        let reporter = Reporter::default();
        let key = ObjectKey::replica("web-1-x");
        reporter.status(key.clone(), Uid("r".into()), status(1));
        let old = reporter.take(Instant::now(), false).unwrap();
        reporter.status(key.clone(), Uid("r".into()), status(2));
        reporter.put_back(old);
        for n in 0..KEPT + 5 {
            reporter.event(event(&n.to_string()));
        }
        let portion = reporter.take(Instant::now(), false).unwrap();
        assert_eq!(portion.statuses[0].2, status(2));
        assert_eq!((portion.events.len(), portion.events[0].message.as_str()), (BATCH, "5"));
    }
}
