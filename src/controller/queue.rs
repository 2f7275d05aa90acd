//! The keyed work queue as a pure state machine: what runs when. No clock, no task, no lock.
//!
//! Here: [`Queue`]. Time is a [`Duration`] since any fixed moment, brought by the caller. A key is in
//! exactly one state: unknown (nothing to remember), waiting (due, in line), timed (due later), or
//! running (perhaps named again meanwhile).
//! Not here: running a pass ([`super::runner`]), how long to wait after a failure ([`super::backoff`]).
//! Invariants: a key stands in at most one place; a running key is in neither line; its memory goes
//! when there is nothing left to remember, so the queue's size is bounded by the number of live keys.
//! Timers are removed when they are superseded, so they cannot pile up either.
//! Source of the ideas: client-go's workqueue, kube-rs' `scheduler.rs`.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    hash::Hash,
    time::Duration,
};

/// Time since a fixed moment that the caller chose.
pub type Moment = Duration;

/// How a pass ended, as the queue sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// Nothing more to do.
    Done,
    /// Again after this time.
    After(Duration),
    /// It failed; again after this time. Counts as a failure in a row.
    Failed(Duration),
}

/// What is remembered of a key.
#[derive(Debug)]
struct Entry {
    place: Place,
    /// Failures in a row.
    failures: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In `ready`.
    Waiting,
    /// In `timed` under this key.
    Timed(Moment, u64),
    /// A pass runs; `again`: when it shall run once more.
    Running { again: Option<Moment> },
}

/// Which keys wait, in which order, and which run.
#[derive(Debug)]
pub struct Queue<K> {
    entries: HashMap<K, Entry>,
    ready: VecDeque<K>,
    /// By time, then in the order of naming.
    timed: BTreeMap<(Moment, u64), K>,
    counter: u64,
    running: usize,
    limit: usize,
}

impl<K: Clone + Eq + Hash> Queue<K> {
    /// An empty queue that lets at most `limit` passes run at once (at least one).
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            entries: HashMap::new(),
            ready: VecDeque::new(),
            timed: BTreeMap::new(),
            counter: 0,
            running: 0,
            limit: limit.max(1),
        }
    }

    /// Names a key: it runs as soon as its turn comes. A key that waits already keeps its turn.
    pub fn add(&mut self, key: K) {
        match self.entries.get_mut(&key).map(|e| &mut e.place) {
            None => {
                self.entries.insert(key.clone(), Entry { place: Place::Waiting, failures: 0 });
                self.ready.push_back(key);
            }
            Some(Place::Waiting) => {}
            Some(place @ Place::Timed(..)) => {
                if let Place::Timed(at, number) = *place {
                    self.timed.remove(&(at, number));
                }
                *place = Place::Waiting;
                self.ready.push_back(key);
            }
            Some(Place::Running { again }) => *again = Some(Moment::ZERO),
        }
    }

    /// Names a key for later. Of two namings the earlier one wins.
    pub fn add_at(&mut self, key: K, at: Moment) {
        let place = self.entries.get(&key).map(|e| e.place);
        match place {
            Some(Place::Waiting) => {}
            Some(Place::Timed(known, _)) if known <= at => {}
            Some(Place::Running { again }) => {
                let again = Some(again.map_or(at, |known| known.min(at)));
                self.set(&key, Place::Running { again });
            }
            Some(Place::Timed(known, number)) => {
                self.timed.remove(&(known, number));
                self.schedule(key, at);
            }
            None => self.schedule(key, at),
        }
    }

    /// The next key whose pass may begin, if any: its turn has come and there is room.
    pub fn take(&mut self, now: Moment) -> Option<K> {
        self.wake(now);
        if self.running >= self.limit {
            return None;
        }
        let key = self.ready.pop_front()?;
        self.set(&key, Place::Running { again: None });
        self.running += 1;
        Some(key)
    }

    /// Ends the pass of a key that [`Self::take`] gave out; of a key that does not run, nothing.
    pub fn finish(&mut self, key: &K, now: Moment, how: Finish) {
        let Some(Entry { place: Place::Running { again }, failures }) = self.entries.get_mut(key) else { return };
        *failures = if matches!(how, Finish::Failed(_)) { failures.saturating_add(1) } else { 0 };
        let own = match how {
            Finish::Done => None,
            Finish::After(wait) | Finish::Failed(wait) => Some(now.saturating_add(wait)),
        };
        let next = match (*again, own) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.running -= 1;
        match next {
            None => {
                self.entries.remove(key);
            }
            Some(at) if at <= now => {
                self.set(key, Place::Waiting);
                self.ready.push_back(key.clone());
            }
            Some(at) => self.schedule(key.clone(), at),
        }
    }

    /// Failures in a row of a key, 0 for one that is not remembered.
    #[must_use]
    pub fn failures(&self, key: &K) -> u32 {
        self.entries.get(key).map_or(0, |e| e.failures)
    }
    /// When the next timed key becomes due.
    #[must_use]
    pub fn next_due(&self) -> Option<Moment> {
        self.timed.first_key_value().map(|((at, _), _)| *at)
    }
    /// Keys that are due and wait for room.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.ready.len()
    }
    /// Passes that run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running
    }
    /// Whether nothing waits, is timed or runs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Moves what has become due into the line, in the order of time.
    fn wake(&mut self, now: Moment) {
        while let Some(entry) = self.timed.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let key = entry.remove();
            self.set(&key, Place::Waiting);
            self.ready.push_back(key);
        }
    }

    fn schedule(&mut self, key: K, at: Moment) {
        self.counter += 1;
        let place = Place::Timed(at, self.counter);
        self.timed.insert((at, self.counter), key.clone());
        self.entries.entry(key).and_modify(|e| e.place = place).or_insert(Entry { place, failures: 0 });
    }

    fn set(&mut self, key: &K, place: Place) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.place = place;
        }
    }
}

#[cfg(test)]
mod tests;
