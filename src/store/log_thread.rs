//! The store thread: it alone touches the [`Disk`].
//!
//! Here: group commit, and checking every record when the log is opened. The thread drains all
//! waiting appends, writes them as one batch, syncs once, notes that in the witness and answers all.
//! Invariants: an append is answered only after its sync; any error, and any panic of sled, ends the
//! thread and the process: after ENOSPC sled keeps failing until it is reopened.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    thread::JoinHandle,
    time::Instant,
};

use openraft::{Entry, EntryPayload, LogId, Vote, storage::LogFlushed};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    disk::Disk,
    fault::{Mistake, crash, is_made},
    log::LogError,
    metrics::Metrics,
    packed,
    raft::{MemberId, Types},
    record::{self, Damage, Kind},
    witness::{Start, Witness},
};

/// Bytes of records checked at once while opening.
const CHUNK: usize = 4 << 20;

/// Records by index.
pub(super) type Records = Vec<(u64, Vec<u8>)>;

/// What the thread is asked.
pub(super) enum Request {
    Append(Vec<Entry<Types>>, Option<LogId<MemberId>>, LogFlushed<Types>),
    Vote(Vote<MemberId>, oneshot::Sender<io::Result<()>>),
    Truncate(u64, oneshot::Sender<io::Result<()>>),
    Purge(LogId<MemberId>, oneshot::Sender<io::Result<()>>),
    Read(u64, u64, oneshot::Sender<io::Result<Records>>),
}

/// What a log holds when it is opened.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub vote: Option<Vote<MemberId>>,
    pub purged: Option<LogId<MemberId>>,
    pub committed: Option<LogId<MemberId>>,
    pub last: Option<LogId<MemberId>>,
    /// Checksum of the last record.
    pub chain: u32,
    /// Bytes of the records behind the newest snapshot.
    pub bytes: u64,
    /// Newest cluster time in a record.
    pub newest: u64,
}

impl Found {
    /// What of it is noted, by this start.
    fn witness(&self, start: Start) -> Witness {
        Witness {
            next: after(self.last),
            vote: self.vote,
            // The last one may be purged: nobody can look at its record then.
            chain: (self.last > self.purged).then_some(self.chain),
            committed: self.committed.map(|c| c.index),
            start: Some(start),
        }
    }
}

/// The index after a last entry.
fn after(last: Option<LogId<MemberId>>) -> u64 {
    last.map_or(0, |last| last.index + 1)
}

fn damaged(at: impl ToString, what: impl ToString) -> LogError {
    LogError::Damaged { at: at.to_string(), what: what.to_string() }
}

/// A whole record whose content this version cannot read was written by a newer one: that is no damage.
fn read<T: serde::de::DeserializeOwned>(at: &str, bytes: &[u8]) -> Result<(record::Record, T), LogError> {
    let newer = |what: String| LogError::Newer { at: at.into(), what };
    let (record, payload) = record::decode(bytes).map_err(|e| match e {
        Damage::Unknown(_) => newer(e.to_string()),
        Damage::Short | Damage::Magic | Damage::Checksum => damaged(at, e),
    })?;
    Ok((record, packed::read(payload).map_err(|e| newer(e.to_string()))?))
}

/// The newest note of the witness.
pub(super) fn noted<D: Disk>(disk: &D) -> Result<Option<Witness>, LogError> {
    let newer = |e: rmp_serde::decode::Error| LogError::Newer { at: "the witness".into(), what: e.to_string() };
    disk.noted().map(packed::read).transpose().map_err(newer)
}

/// Reads the marks and checks every record from the purge mark on, against each other and the witness. `start`: the
/// one before this one.
pub(super) fn check<D: Disk>(disk: &mut D, snapshot: Option<u64>, start: Start) -> Result<Found, LogError> {
    let mut found = Found::default();
    let witness = noted(disk)?;
    if let Some(witness) = &witness {
        same_start(witness, start)?;
    }
    if let Some(bytes) = disk.marked(Kind::Vote)? {
        found.vote = Some(read("the vote", &bytes)?.1);
    }
    if let Some(bytes) = disk.marked(Kind::Purged)? {
        found.purged = Some(read("the purge mark", &bytes)?.1);
    }
    if let Some(bytes) = disk.marked(Kind::Committed)? {
        found.committed = Some(read("the commit mark", &bytes)?.1);
    }
    found.last = found.purged;
    let first = found.purged.map_or(0, |p| p.index + 1);
    let mut expected = first;
    loop {
        let records = disk.read(expected, u64::MAX, CHUNK)?;
        if records.is_empty() {
            break;
        }
        for (index, bytes) in records {
            let at = format!("entry {index}");
            let (record, entry) = read::<Entry<Types>>(&at, &bytes)?;
            if record.index != index || index != expected {
                return Err(damaged(at, "an entry is missing before it"));
            }
            if index != first && record.previous != found.chain {
                return Err(damaged(at, "it does not follow the entry before it"));
            }
            found.chain = record.checksum;
            found.last = Some(entry.log_id);
            let known = witness.filter(|w| w.next == index + 1).and_then(|w| w.chain);
            if known.is_some_and(|chain| chain != record.checksum) {
                return Err(damaged(at, "another one was written there"));
            }
            if let EntryPayload::Normal(batch) = &entry.payload {
                found.newest = batch.0.iter().map(|group| group.at).fold(found.newest, u64::max);
            }
            if snapshot.is_none_or(|s| index > s) {
                found.bytes += bytes.len() as u64;
            }
            expected = index + 1;
        }
    }
    if found.committed > found.last {
        return Err(damaged("its end", "entries that were committed are missing"));
    }
    let Some(witness) = witness else {
        // Each start notes itself, durably, before it writes anything.
        return if found.last.is_none() && found.vote.is_none() {
            Ok(found)
        } else {
            Err(damaged("the witness", "its notes are missing"))
        };
    };
    let next = after(found.last);
    if next < witness.next && !is_made(Mistake::IgnoreWitness) {
        let to = witness.next - 1;
        return Err(damaged("its end", format!("entries {next} to {to} were written and are missing")));
    }
    if found.last.map(|last| last.index) < witness.committed {
        return Err(damaged("its end", "entries that were committed are missing"));
    }
    if found.vote < witness.vote {
        return Err(damaged("the vote", "it is older than the one that was given"));
    }
    Ok(found)
}

/// Whether the witness was written by the start before this one. Of a start that ended before it was counted,
/// there is only its first note.
fn same_start(witness: &Witness, before: Start) -> Result<(), LogError> {
    let Some(Start { member, incarnation }) = witness.start else { return Ok(()) };
    if member != before.member {
        return Err(damaged("the witness", format!("it is of member {member}, not {}", before.member)));
    }
    if incarnation < before.incarnation {
        let what = format!("the log is of start {incarnation}, an older copy: there were {}", before.incarnation);
        return Err(damaged("the witness", what));
    }
    if incarnation > before.incarnation + 1 {
        let what = format!("member.json is of start {}, an older copy: there were {incarnation}", before.incarnation);
        return Err(damaged("the witness", what));
    }
    Ok(())
}

/// The thread's own values.
pub(super) struct Thread<D> {
    disk: D,
    /// Checksum of the last record.
    chain: u32,
    /// What is durable after the next sync.
    witness: Witness,
    metrics: Metrics,
    fatal: watch::Sender<Option<String>>,
}

impl<D: Disk> Thread<D> {
    /// On a disk as it was [`check`]ed. Notes this start, durably.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn new(
        disk: D,
        found: &Found,
        start: Start,
        metrics: Metrics,
        fatal: watch::Sender<Option<String>>,
    ) -> io::Result<Self> {
        let mut thread = Self { disk, chain: found.chain, witness: found.witness(start), metrics, fatal };
        thread.note()?;
        thread.disk.sync_note()?;
        Ok(thread)
    }

    /// Starts it. It ends when no log is left to ask it.
    pub fn start(self, inbox: mpsc::Receiver<Request>) -> io::Result<JoinHandle<()>> {
        let fatal = self.fatal.clone();
        std::thread::Builder::new().name("store".into()).spawn(move || {
            let mut thread = self;
            let ended = catch_unwind(AssertUnwindSafe(|| thread.run(inbox)));
            if !matches!(ended, Ok(Ok(()))) {
                // sled would try to write the rest as it is dropped, once for each tree, and fail as often.
                std::mem::forget(thread);
            }
            let error = match ended {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "the database panicked".to_owned(),
            };
            tracing::error!(%error, "the log failed: this process must end");
            fatal.send_replace(Some(format!("the log failed: {error}")));
        })
    }

    fn run(&mut self, mut inbox: mpsc::Receiver<Request>) -> io::Result<()> {
        let mut flushed: Vec<LogFlushed<Types>> = Vec::new();
        let mut records = Vec::new();
        while let Some(first) = inbox.blocking_recv() {
            let mut next = Some(first);
            let mut result = Ok(());
            while let (Some(request), Ok(())) = (next.take(), &result) {
                result = match request {
                    Request::Append(entries, committed, done) => {
                        flushed.push(done);
                        self.encode(entries, committed, &mut records)
                    }
                    other @ (Request::Vote(..) | Request::Truncate(..) | Request::Purge(..) | Request::Read(..)) => {
                        self.commit(&mut records, &mut flushed).and_then(|()| self.serve(other))
                    }
                };
                next = inbox.try_recv().ok();
            }
            if let Err(error) = result.and_then(|()| self.commit(&mut records, &mut flushed)) {
                for done in flushed {
                    done.log_io_completed(Err(io::Error::new(error.kind(), error.to_string())));
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn encode(
        &mut self,
        entries: Vec<Entry<Types>>,
        committed: Option<LogId<MemberId>>,
        records: &mut Vec<(u64, Vec<u8>)>,
    ) -> io::Result<()> {
        for entry in entries {
            let payload = rmp_serde::to_vec_named(&entry).map_err(io::Error::other)?;
            let id = entry.log_id;
            let (bytes, sum) = record::encode(Kind::Entry, id.index, id.leader_id.term, self.chain, &payload);
            self.chain = sum;
            self.witness.next = id.index + 1;
            self.witness.chain = Some(sum);
            if let EntryPayload::Normal(batch) = &entry.payload {
                self.metrics.entry_groups.observe(batch.0.len() as f64);
            }
            records.push((id.index, bytes));
        }
        let Some(committed) = committed else { return Ok(()) };
        self.witness.committed = Some(committed.index);
        // Durable with the entries around it; being late only costs replay.
        self.put_mark(Kind::Committed, &committed)
    }

    /// One write and one sync for everything that waited.
    fn commit(&mut self, records: &mut Vec<(u64, Vec<u8>)>, flushed: &mut Vec<LogFlushed<Types>>) -> io::Result<()> {
        if flushed.is_empty() {
            return Ok(());
        }
        let bytes = records.iter().map(|(_, record)| record.len() as u64).sum();
        if is_made(Mistake::AnswerEarly) {
            flushed.drain(..).for_each(|done| done.log_io_completed(Ok(())));
        }
        crash("append");
        self.disk.append(std::mem::take(records))?;
        crash("appended");
        self.sync()?;
        self.metrics.log_written.inc_by(bytes);
        for done in flushed.drain(..) {
            done.log_io_completed(Ok(()));
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let begun = Instant::now();
        self.disk.sync()?;
        self.metrics.sync_seconds.observe(begun.elapsed().as_secs_f64());
        crash("synced");
        // After the sync and before any answer: it never says more than is durable, nor less than was answered.
        self.note()
    }

    fn note(&mut self) -> io::Result<()> {
        if is_made(Mistake::SkipNote) {
            return Ok(());
        }
        self.disk.note(&rmp_serde::to_vec_named(&self.witness).map_err(io::Error::other)?)?;
        crash("noted");
        Ok(())
    }

    fn serve(&mut self, request: Request) -> io::Result<()> {
        // Whoever asked may be gone; the work is done all the same. A failure drops the answer, which
        // the asker reads as "the store thread ended".
        match request {
            Request::Append(..) => {}
            Request::Vote(vote, answer) => {
                self.put_mark(Kind::Vote, &vote)?;
                self.witness.vote = Some(vote);
                if !is_made(Mistake::AnswerVoteEarly) {
                    self.sync()?;
                }
                let _ = answer.send(Ok(()));
            }
            Request::Truncate(from, answer) => {
                // Before the cut: interrupted, it must not look like a loss.
                if from < self.witness.next {
                    let before = self.checksum_before(from)?;
                    self.chain = before.unwrap_or(0);
                    self.witness = Witness { next: from, chain: before, ..self.witness };
                }
                self.note()?;
                self.disk.truncate(from)?;
                self.sync()?;
                let _ = answer.send(Ok(()));
            }
            Request::Purge(upto, answer) => {
                crash("purge");
                self.put_mark(Kind::Purged, &upto)?;
                if self.witness.next <= upto.index + 1 {
                    self.witness = Witness { next: upto.index + 1, chain: None, ..self.witness };
                }
                if !is_made(Mistake::PurgeUnmarked) {
                    self.sync()?;
                }
                crash("purge-marked");
                self.disk.purge(upto.index)?;
                let _ = answer.send(Ok(()));
            }
            Request::Read(from, to, answer) => {
                let _ = answer.send(self.disk.read(from, to, usize::MAX));
            }
        }
        Ok(())
    }

    /// Of the entry before `from`; none when it was purged.
    fn checksum_before(&mut self, from: u64) -> io::Result<Option<u32>> {
        let Some(last) = from.checked_sub(1) else { return Ok(None) };
        let records = self.disk.read(last, from, usize::MAX)?;
        let Some((_, bytes)) = records.first() else { return Ok(None) };
        let (record, _) = record::decode(bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        Ok(Some(record.checksum))
    }

    fn put_mark(&mut self, kind: Kind, value: &impl serde::Serialize) -> io::Result<()> {
        let payload = rmp_serde::to_vec_named(value).map_err(io::Error::other)?;
        self.disk.mark(kind, record::encode(kind, 0, 0, 0, &payload).0)
    }
}
