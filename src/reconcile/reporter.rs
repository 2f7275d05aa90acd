//! What this node observed, on its way into the log: folded, bounded, at most ten times a second.
//!
//! Here: [`Reporter`], which loops hand statuses and events to, and the task that proposes them.
//! Not here: what to observe. Invariant: the last status of an object wins and is never dropped;
//! of events the oldest go first when more than [`KEPT`] wait without a quorum.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    model::{NewEvent, ObjectKey, Status, Uid},
    store::{
        Client,
        command::{Command, Group},
    },
};

/// Events kept while the log cannot be written.
pub const KEPT: usize = 1_000;
/// Events in one proposal.
const BATCH: usize = 64;
/// Shortest time between two proposals.
const PACE: Duration = Duration::from_millis(100);
/// Longest wait for an answer.
const DEADLINE: Duration = Duration::from_secs(5);
/// Wait after a proposal that failed.
const RETRY: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
struct Pending {
    statuses: BTreeMap<ObjectKey, (Uid, Status)>,
    events: VecDeque<NewEvent>,
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

    /// Hands over an event; a repeat of the newest waiting one counts up.
    pub fn event(&self, event: NewEvent) {
        let mut pending = self.lock();
        let same =
            |e: &&mut NewEvent| e.object == event.object && e.reason == event.reason && e.message == event.message;
        if let Some(last) = pending.events.iter_mut().rev().find(same) {
            last.count += event.count;
            last.time = event.time;
        } else {
            if pending.events.len() >= KEPT {
                pending.events.pop_front();
            }
            pending.events.push_back(event);
        }
        drop(pending);
        self.wake.notify_one();
    }

    /// Proposes what was handed over until `stop`; ends after one last try.
    pub async fn run(self, store: Client, actor: Arc<str>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = self.wake.notified() => {}
                () = stop.cancelled() => {}
            }
            while let Some((statuses, events)) = self.take() {
                let command = Command::RecordObservations {
                    statuses: statuses.iter().map(|(k, (u, s))| (k.clone(), u.clone(), s.clone())).collect(),
                    events: events.clone(),
                };
                let group = Group { actor: actor.clone(), commands: vec![command], ..Group::default() };
                if let Err(error) = store.propose(group, DEADLINE).await {
                    tracing::debug!(%error, "observations wait");
                    self.put_back(statuses, events);
                    if stop.is_cancelled() {
                        break;
                    }
                    tokio::time::sleep(RETRY).await;
                }
                if stop.is_cancelled() {
                    continue;
                }
                tokio::time::sleep(PACE).await;
            }
            if stop.is_cancelled() {
                return;
            }
        }
    }

    #[allow(clippy::type_complexity, reason = "the two halves of Pending")]
    fn take(&self) -> Option<(BTreeMap<ObjectKey, (Uid, Status)>, Vec<NewEvent>)> {
        let mut pending = self.lock();
        if pending.statuses.is_empty() && pending.events.is_empty() {
            return None;
        }
        let count = pending.events.len().min(BATCH);
        let events = pending.events.drain(..count).collect();
        Some((std::mem::take(&mut pending.statuses), events))
    }

    /// What could not be proposed goes back, behind nothing newer.
    fn put_back(&self, statuses: BTreeMap<ObjectKey, (Uid, Status)>, events: Vec<NewEvent>) {
        let mut pending = self.lock();
        for (key, value) in statuses {
            pending.statuses.entry(key).or_insert(value);
        }
        for event in events.into_iter().rev() {
            if pending.events.len() < KEPT {
                pending.events.push_front(event);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pending> {
        // A panic elsewhere leaves plain data behind: it is still good.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
