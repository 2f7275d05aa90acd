//! The Raft log as openraft sees it: checked records behind one store thread.
//!
//! Here: [`Log`], its cache of the newest entries, and its errors. Not here: the thread
//! (`super::log_thread`), where records lie (`super::disk`), what entries do (`super::machine`).
//! Invariant: what the cache holds is contiguous and ends at the last entry.

// openraft's error type is large and not ours to box.
#![allow(clippy::result_large_err)]

use std::{
    collections::BTreeMap,
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

use openraft::{
    Entry, EntryPayload, LogId, LogState, OptionalSend, RaftLogReader, StorageIOError, Vote,
    storage::{LogFlushed, RaftLogStorage},
};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    disk::Disk,
    log_thread::{self, Request, Thread},
    metrics::Metrics,
    packed, proposer,
    raft::{MemberId, StorageError, Types},
    record,
    witness::Start,
};

/// Entries are read back from memory up to this many bytes.
const CACHE: usize = 8 << 20;
/// Requests that may wait for the store thread.
const QUEUE: usize = 1_024;
/// Entries between two commit marks: what a restart may have to apply without knowing it committed.
const MARK_EVERY: u64 = 64;

/// What is wrong with a log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A record is not what was written: this member must not vote.
    #[error("the log is damaged at {at}: {what}")]
    Damaged {
        /// Where.
        at: String,
        /// In which way.
        what: String,
    },
    /// A record is whole, and this version cannot read it: apply stops here rather than skip it.
    #[error("the log was written by a newer version, at {at}: {what}")]
    Newer {
        /// Where.
        at: String,
        /// What is not known.
        what: String,
    },
    /// The disk failed.
    #[error("the log's disk failed")]
    Disk(#[from] io::Error),
}

/// How far a log reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Last entry.
    pub last: Option<u64>,
    /// Up to where it was purged.
    pub purged: Option<u64>,
    /// Bytes written since the snapshot that was there at the start.
    pub written: u64,
    /// Newest cluster time found at the start.
    pub newest: u64,
}

#[derive(Debug, Default)]
struct Front {
    cache: BTreeMap<u64, (Entry<Types>, usize)>,
    cached: usize,
    last: Option<LogId<MemberId>>,
    purged: Option<LogId<MemberId>>,
    vote: Option<Vote<MemberId>>,
    committed: Option<LogId<MemberId>>,
    /// Commit mark that was handed to the store thread last.
    marked: u64,
    /// Bytes of all entries since the snapshot that was there at the start.
    written: u64,
    /// Newest cluster time found at the start.
    newest: u64,
}

/// The log as openraft sees it. Cheap to clone.
#[derive(Clone)]
pub struct Log {
    front: Arc<Mutex<Front>>,
    requests: mpsc::Sender<Request>,
    metrics: Metrics,
}
impl Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Log")
    }
}

impl Log {
    /// Opens a log on a disk, checks every record, and starts the store thread.
    ///
    /// `snapshot`: last entry of the newest snapshot; `start`: the one before this one. `fatal` is told why when the thread had to stop:
    /// the process must end. The thread ends after the last clone of the log is dropped.
    ///
    /// # Errors
    /// [`LogError::Damaged`] when a record is not what was written.
    pub fn open<D: Disk>(
        mut disk: D,
        snapshot: Option<u64>,
        start: Start,
        fatal: watch::Sender<Option<String>>,
    ) -> Result<(Self, JoinHandle<()>), LogError> {
        let found = log_thread::check(&mut disk, snapshot, start)?;
        let front = Front {
            last: found.last,
            purged: found.purged,
            vote: found.vote,
            committed: found.committed,
            marked: found.committed.map_or(0, |c| c.index),
            written: found.bytes,
            newest: found.newest,
            ..Front::default()
        };
        let (requests, inbox) = mpsc::channel(QUEUE);
        let metrics = Metrics::default();
        let start = Start { incarnation: start.incarnation + 1, ..start };
        let thread = Thread::new(disk, &found, start, metrics.clone(), fatal)?.start(inbox)?;
        Ok((Self { front: Arc::new(Mutex::new(front)), requests, metrics }, thread))
    }

    /// What is counted of this store; everything else of it counts there too.
    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// How far it reaches.
    #[must_use]
    pub fn extent(&self) -> Extent {
        let front = self.lock();
        Extent {
            last: front.last.map(|l| l.index),
            purged: front.purged.map(|p| p.index),
            written: front.written,
            newest: front.newest,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Front> {
        self.front.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<io::Result<T>>) -> Request) -> Result<T, StorageError> {
        let gone = || write_failed(&io::Error::other("the store thread ended"));
        let (answer, answered) = oneshot::channel();
        self.requests.send(request(answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?.map_err(|e| write_failed(&e))
    }
}

fn write_failed(error: &io::Error) -> StorageError {
    StorageIOError::write(error).into()
}
fn read_failed(error: &(impl std::error::Error + 'static)) -> StorageError {
    StorageIOError::read(error).into()
}

/// About what an entry takes in memory.
fn weight(entry: &Entry<Types>) -> usize {
    match &entry.payload {
        EntryPayload::Normal(batch) => batch.0.iter().map(proposer::size).sum::<usize>() + 64,
        EntryPayload::Blank | EntryPayload::Membership(_) => 256,
    }
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry<Types>>, StorageError> {
        let mut from = match range.start_bound() {
            Bound::Included(i) => *i,
            Bound::Excluded(i) => i.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let mut to = match range.end_bound() {
            Bound::Included(i) => i.saturating_add(1),
            Bound::Excluded(i) => *i,
            Bound::Unbounded => u64::MAX,
        };
        {
            let front = self.lock();
            from = from.max(front.purged.map_or(0, |p| p.index + 1));
            to = to.min(front.last.map_or(0, |l| l.index + 1));
            if from >= to {
                return Ok(Vec::new());
            }
            if front.cache.first_key_value().is_some_and(|(first, _)| *first <= from) {
                return Ok(front.cache.range(from..to).map(|(_, (entry, _))| entry.clone()).collect());
            }
        }
        let records = self.ask(|answer| Request::Read(from, to, answer)).await?;
        records
            .iter()
            .map(|(_, bytes)| {
                let (_, payload) = record::decode(bytes).map_err(|e| read_failed(&e))?;
                packed::read(payload).map_err(|e| read_failed(&e))
            })
            .collect()
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        let front = self.lock();
        Ok(LogState { last_purged_log_id: front.purged, last_log_id: front.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote<MemberId>) -> Result<(), StorageError> {
        let vote = *vote;
        self.ask(|answer| Request::Vote(vote, answer)).await?;
        self.lock().vote = Some(vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote<MemberId>>, StorageError> {
        Ok(self.lock().vote)
    }

    async fn save_committed(&mut self, committed: Option<LogId<MemberId>>) -> Result<(), StorageError> {
        self.lock().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId<MemberId>>, StorageError> {
        Ok(self.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, done: LogFlushed<Types>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<_> = entries.into_iter().collect();
        let committed = {
            let mut front = self.lock();
            for entry in &entries {
                let weight = weight(entry);
                front.cached += weight;
                front.written += weight as u64;
                front.last = Some(entry.log_id);
                front.cache.insert(entry.log_id.index, (entry.clone(), weight));
            }
            while front.cached > CACHE && front.cache.len() > 1 {
                if let Some((_, (_, weight))) = front.cache.pop_first() {
                    front.cached -= weight;
                }
            }
            let due = front.committed.filter(|c| c.index >= front.marked + MARK_EVERY);
            front.marked = due.map_or(front.marked, |c| c.index);
            due
        };
        let gone = |_| write_failed(&io::Error::other("the store thread ended"));
        self.requests.send(Request::Append(entries, committed, done)).await.map_err(gone)
    }

    async fn truncate(&mut self, from: LogId<MemberId>) -> Result<(), StorageError> {
        self.ask(|answer| Request::Truncate(from.index, answer)).await?;
        let before = match from.index.checked_sub(1) {
            Some(last) => self.try_get_log_entries(last..=last).await?.first().map(|e| e.log_id),
            None => None,
        };
        let mut front = self.lock();
        let cut = front.cache.split_off(&from.index);
        front.cached -= cut.values().map(|(_, w)| w).sum::<usize>();
        front.last = before.or(front.purged);
        Ok(())
    }

    async fn purge(&mut self, upto: LogId<MemberId>) -> Result<(), StorageError> {
        {
            let mut front = self.lock();
            front.purged = Some(upto);
            if front.last.is_none_or(|last| last.index < upto.index) {
                front.last = Some(upto);
            }
            let kept = front.cache.split_off(&(upto.index + 1));
            let gone = std::mem::replace(&mut front.cache, kept);
            front.cached -= gone.values().map(|(_, w)| w).sum::<usize>();
        }
        self.ask(|answer| Request::Purge(upto, answer)).await
    }
}
