//! The Raft log: checked records, one store thread, group commit.
//!
//! Here: [`Log`], what openraft reads and writes, and the thread that alone touches the [`Disk`].
//! The thread drains all waiting appends, writes them as one batch, syncs once and answers all.
//! Invariants: an append is answered only after its sync; every record is checked and chained when the
//! log is opened; any write error is fatal, because after ENOSPC sled keeps failing until it is reopened.
//! Not here: where records lie (`super::disk`), what entries do (`super::machine`).

use std::{
    collections::BTreeMap,
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use openraft::{
    Entry, EntryPayload, LogId, LogState, OptionalSend, RaftLogReader, StorageIOError, Vote,
    storage::{LogFlushed, RaftLogStorage},
};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    disk::Disk,
    raft::{MemberId, StorageError, Types},
    record::{self, Kind},
};

/// Entries are read back from memory up to this many bytes.
const CACHE: usize = 8 << 20;
/// Requests that may wait for the store thread.
const QUEUE: usize = 1_024;
/// Entries checked at once while opening.
const CHUNK: u64 = 1_024;

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
    /// The disk failed.
    #[error("the log's disk failed")]
    Disk(#[from] io::Error),
}

fn damaged(at: impl ToString, what: impl ToString) -> LogError {
    LogError::Damaged { at: at.to_string(), what: what.to_string() }
}

enum Request {
    Append(Vec<Entry<Types>>, LogFlushed<Types>),
    Vote(Vote<MemberId>, oneshot::Sender<io::Result<()>>),
    Truncate(u64, oneshot::Sender<io::Result<()>>),
    Purge(LogId<MemberId>, oneshot::Sender<io::Result<()>>),
    Read(u64, u64, oneshot::Sender<io::Result<Vec<(u64, Vec<u8>)>>>),
}

#[derive(Debug, Default)]
struct Front {
    cache: BTreeMap<u64, (Entry<Types>, usize)>,
    cached: usize,
    last: Option<LogId<MemberId>>,
    purged: Option<LogId<MemberId>>,
    vote: Option<Vote<MemberId>>,
}

/// The log as openraft sees it. Cheap to clone.
#[derive(Clone)]
pub struct Log {
    front: Arc<Mutex<Front>>,
    requests: mpsc::Sender<Request>,
}
impl Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Log")
    }
}

struct Thread<D> {
    disk: D,
    /// Checksum of the last record.
    chain: u32,
    fatal: watch::Sender<Option<String>>,
}

impl Log {
    /// Opens a log on a disk, checks every record, and starts the store thread.
    ///
    /// `fatal` is told why when the thread had to stop: the process must end.
    ///
    /// # Errors
    /// [`LogError::Damaged`] when a record is not what was written.
    pub fn open<D: Disk>(mut disk: D, fatal: watch::Sender<Option<String>>) -> Result<Self, LogError> {
        let mut front = Front::default();
        if let Some(bytes) = disk.marked(Kind::Vote)? {
            let (_, payload) = record::decode(&bytes).map_err(|e| damaged("the vote", e))?;
            front.vote = Some(rmp_serde::from_slice(payload).map_err(|e| damaged("the vote", e))?);
        }
        if let Some(bytes) = disk.marked(Kind::Purged)? {
            let (_, payload) = record::decode(&bytes).map_err(|e| damaged("the purge mark", e))?;
            front.purged = Some(rmp_serde::from_slice(payload).map_err(|e| damaged("the purge mark", e))?);
        }
        let chain = check(&mut disk, &mut front)?;
        let front = Arc::new(Mutex::new(front));
        let (requests, inbox) = mpsc::channel(QUEUE);
        let thread = Thread { disk, chain, fatal };
        std::thread::Builder::new().name("store".into()).spawn(move || thread.run(inbox))?;
        Ok(Self { front, requests })
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

/// Checks records from the purge mark on; answers the checksum of the last.
fn check<D: Disk>(disk: &mut D, front: &mut Front) -> Result<u32, LogError> {
    let mut at = front.purged.map_or(0, |p| p.index + 1);
    let (mut chain, mut expected) = (0, None::<u64>);
    front.last = front.purged;
    loop {
        let records = disk.read(at, at.saturating_add(CHUNK))?;
        if records.is_empty() {
            return Ok(chain);
        }
        for (index, bytes) in records {
            let (found, payload) = record::decode(&bytes).map_err(|e| damaged(format!("entry {index}"), e))?;
            if found.index != index || expected.is_some_and(|e| e != index) {
                return Err(damaged(format!("entry {index}"), "an entry is missing before it"));
            }
            if expected.is_some() && found.previous != chain {
                return Err(damaged(format!("entry {index}"), "it does not follow the entry before it"));
            }
            let entry: Entry<Types> =
                rmp_serde::from_slice(payload).map_err(|e| damaged(format!("entry {index}"), e))?;
            (chain, expected, at) = (found.checksum, Some(index + 1), index + 1);
            front.last = Some(entry.log_id);
        }
    }
}

impl<D: Disk> Thread<D> {
    fn run(mut self, mut inbox: mpsc::Receiver<Request>) {
        let mut flushed: Vec<LogFlushed<Types>> = Vec::new();
        let mut records = Vec::new();
        while let Some(first) = inbox.blocking_recv() {
            let mut next = Some(first);
            while let Some(request) = next {
                let result = match request {
                    Request::Append(entries, done) => {
                        flushed.push(done);
                        self.encode(entries, &mut records)
                    }
                    other => self.commit(&mut records, &mut flushed).and_then(|()| self.serve(other)),
                };
                if let Err(error) = result {
                    return self.stop(&error, flushed);
                }
                next = inbox.try_recv().ok();
            }
            if let Err(error) = self.commit(&mut records, &mut flushed) {
                return self.stop(&error, flushed);
            }
        }
    }

    fn encode(&mut self, entries: Vec<Entry<Types>>, records: &mut Vec<(u64, Vec<u8>)>) -> io::Result<()> {
        for entry in entries {
            let payload = rmp_serde::to_vec_named(&entry).map_err(io::Error::other)?;
            let id = entry.log_id;
            let (bytes, sum) = record::encode(Kind::Entry, id.index, id.leader_id.term, self.chain, &payload);
            self.chain = sum;
            records.push((id.index, bytes));
        }
        Ok(())
    }

    /// One write and one sync for everything that waited.
    fn commit(&mut self, records: &mut Vec<(u64, Vec<u8>)>, flushed: &mut Vec<LogFlushed<Types>>) -> io::Result<()> {
        if flushed.is_empty() {
            return Ok(());
        }
        self.disk.append(std::mem::take(records))?;
        self.disk.sync()?;
        for done in flushed.drain(..) {
            done.log_io_completed(Ok(()));
        }
        Ok(())
    }

    fn serve(&mut self, request: Request) -> io::Result<()> {
        // Whoever asked may be gone; the work is done all the same.
        match request {
            Request::Append(..) => {}
            Request::Vote(vote, answer) => {
                self.put_mark(Kind::Vote, &vote)?;
                self.disk.sync()?;
                let _ = answer.send(Ok(()));
            }
            Request::Truncate(from, answer) => {
                self.disk.truncate(from)?;
                self.disk.sync()?;
                self.chain = match from.checked_sub(1) {
                    Some(last) => self.disk.read(last, from)?.first().and_then(|(_, b)| record::decode(b).ok()).map_or(0, |r| r.0.checksum),
                    None => 0,
                };
                let _ = answer.send(Ok(()));
            }
            Request::Purge(upto, answer) => {
                self.put_mark(Kind::Purged, &upto)?;
                self.disk.sync()?;
                self.disk.purge(upto.index)?;
                let _ = answer.send(Ok(()));
            }
            Request::Read(from, to, answer) => {
                let _ = answer.send(self.disk.read(from, to));
            }
        }
        Ok(())
    }

    fn put_mark(&mut self, kind: Kind, value: &impl serde::Serialize) -> io::Result<()> {
        let payload = rmp_serde::to_vec_named(value).map_err(io::Error::other)?;
        self.disk.mark(kind, record::encode(kind, 0, 0, 0, &payload).0)
    }

    fn stop(self, error: &io::Error, flushed: Vec<LogFlushed<Types>>) {
        tracing::error!(%error, "the log cannot be written: this process must end");
        for done in flushed {
            done.log_io_completed(Err(io::Error::new(error.kind(), error.to_string())));
        }
        self.fatal.send_replace(Some(format!("the log cannot be written: {error}")));
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
        EntryPayload::Normal(batch) => batch.0.iter().map(super::proposer::size).sum::<usize>() + 64,
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
                rmp_serde::from_slice(payload).map_err(|e| read_failed(&e))
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

    async fn append<I>(&mut self, entries: I, done: LogFlushed<Types>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<_> = entries.into_iter().collect();
        {
            let mut front = self.lock();
            for entry in &entries {
                let weight = weight(entry);
                front.cached += weight;
                front.last = Some(entry.log_id);
                front.cache.insert(entry.log_id.index, (entry.clone(), weight));
            }
            while front.cached > CACHE && front.cache.len() > 1 {
                if let Some((_, (_, weight))) = front.cache.pop_first() {
                    front.cached -= weight;
                }
            }
        }
        let gone = |_| write_failed(&io::Error::other("the store thread ended"));
        self.requests.send(Request::Append(entries, done)).await.map_err(gone)
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
