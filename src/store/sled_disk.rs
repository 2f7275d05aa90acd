//! Records in sled, in generations: a fresh database as the log grows, old ones removed as whole folders.
//!
//! Here: [`Sled`], which generation is written, read and removed. Not here: what is in one (`generation`).
//! Why generations: in one database of a million entries each purge blocked the store for
//! 0.6–1.3 s, longer than an election; removing a folder takes milliseconds (measured).
//! Why `fdatasync` after `flush`: sled's flush is `sync_file_range`, which does not survive a loss of power.
//! Why the next generation is opened ahead on another thread: opening takes 20–300 ms.
//! Why only the newest is open: each open database costs megabytes, and old entries are read only by
//! members that lag.
//! Invariants: every mark stands in the newest generation before it counts; a generation counts only
//! once its `ready` file is durable; a folder is renamed to `dead-…` before it is removed. So a crash at
//! any point leaves either a whole generation or one that holds no entry, which the next start removes.

mod generation;
mod salvage;
#[cfg(test)]
mod tests;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::mpsc,
    thread::{self, JoinHandle},
};

use super::{disk::Disk, durable, fault::crash, record::Kind, witness::Notes};
use generation::{Generation, holds_an_entry, is_ready, name};
pub use salvage::{Salvage, salvage};

const MARKS: [Kind; 3] = [Kind::Vote, Kind::Purged, Kind::Committed];

/// Appends after which an old generation that nobody read is closed.
const READ_ON: usize = 64;

/// A generation that is not written any more; it is closed, and opened again to be read.
#[derive(Debug, Clone, Copy)]
struct Sealed {
    number: u64,
    last: Option<u64>,
}

/// The log's folder.
pub struct Sled {
    folder: PathBuf,
    /// A generation that holds more bytes makes room for the next one.
    full: usize,
    /// Oldest first.
    sealed: Vec<Sealed>,
    /// The sealed one that was read last.
    reading: Option<Generation>,
    /// Appends since then.
    unread: usize,
    newest: Generation,
    notes: Notes,
    /// The one after the newest, opened ahead.
    next: mpsc::Receiver<io::Result<Generation>>,
    /// Threads that close or remove generations.
    sweepers: Vec<JoinHandle<()>>,
}

fn not_opened() -> io::Error {
    io::Error::other("the next generation was not opened")
}

fn open_ahead(folder: &Path, number: u64) -> mpsc::Receiver<io::Result<Generation>> {
    let (send, receive) = mpsc::sync_channel(1);
    let folder = folder.to_owned();
    thread::spawn(move || {
        // Nobody waits any more: the store was closed.
        let _ = send.send(Generation::open(&folder, number));
    });
    receive
}

impl Sled {
    /// Opens the folder, making it if needed and removing what never counted or no longer does.
    ///
    /// # Errors
    /// When the disk fails; `InvalidData` when sled finds damage, or when a generation that holds entries
    /// does not say that it counts.
    pub fn open(folder: &Path, full: usize) -> io::Result<Self> {
        durable::private_directory(folder)?;
        let mut numbers = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            match name.strip_prefix("gen-").map(str::parse::<u64>) {
                Some(Ok(number)) if is_ready(&path) => numbers.push(number),
                Some(Ok(_)) if holds_an_entry(&path)? => {
                    let what = format!("{} holds entries and its file ready is missing", path.display());
                    return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                }
                Some(Ok(_)) => fs::remove_dir_all(&path)?,
                Some(Err(_)) | None if name.starts_with("dead-") => fs::remove_dir_all(&path)?,
                Some(Err(_)) | None => {}
            }
        }
        numbers.sort_unstable();
        let notes = Notes::open(folder, numbers.is_empty())?;
        let newest = match numbers.pop() {
            Some(number) => Generation::open(folder, number)?,
            None => {
                let first = Generation::open(folder, 1)?;
                first.mark_ready()?;
                first
            }
        };
        let next = open_ahead(folder, newest.number + 1);
        // Their highest index is known once they were read.
        let sealed = numbers.into_iter().map(|number| Sealed { number, last: Some(u64::MAX) }).collect();
        Ok(Self {
            folder: folder.to_owned(),
            full,
            sealed,
            reading: None,
            unread: 0,
            newest,
            notes,
            next,
            sweepers: Vec::new(),
        })
    }

    /// The next generation becomes the newest; all marks stand in it, durably.
    fn rotate(&mut self, next: Generation) -> io::Result<()> {
        for kind in MARKS {
            if let Some(record) = self.marked(kind)? {
                next.mark(kind, record)?;
            }
        }
        crash("generation-marked");
        next.sync()?;
        crash("generation-synced");
        next.mark_ready()?;
        crash("generation-ready");
        self.next = open_ahead(&self.folder, next.number + 1);
        let old = std::mem::replace(&mut self.newest, next);
        self.sealed.push(Sealed { number: old.number, last: old.last() });
        // Closing takes its time.
        self.sweepers.push(thread::spawn(move || drop(old)));
        Ok(())
    }

    /// Opens a sealed generation, closing the one read before.
    fn open_sealed(&mut self, at: usize) -> io::Result<&mut Generation> {
        let sealed = self.sealed.get_mut(at).ok_or_else(|| io::Error::other("there is no such generation"))?;
        if self.reading.as_ref().is_none_or(|r| r.number != sealed.number) {
            self.reading = None;
            // It may be on its way to being closed: its lock ends with that.
            for sweeper in self.sweepers.drain(..) {
                let _ = sweeper.join();
            }
            self.reading = Some(Generation::open(&self.folder, sealed.number)?);
        }
        let open = self.reading.as_mut().ok_or_else(|| io::Error::other("no generation is open"))?;
        sealed.last = open.last();
        Ok(open)
    }

    fn bury(&mut self, dead: Vec<Sealed>) {
        if self.reading.as_ref().is_some_and(|r| dead.iter().any(|d| d.number == r.number)) {
            self.reading = None;
        }
        let closing = std::mem::take(&mut self.sweepers);
        if dead.is_empty() && closing.iter().all(JoinHandle::is_finished) {
            return;
        }
        let log = self.folder.clone();
        self.sweepers.push(thread::spawn(move || {
            for thread in closing {
                let _ = thread.join();
            }
            for Sealed { number, .. } in dead {
                let grave = log.join(format!("dead-{number:012}"));
                let named = fs::rename(log.join(name(number)), &grave);
                crash("grave-named");
                let removed = named.and_then(|()| durable::sync(&log)).and_then(|()| fs::remove_dir_all(&grave));
                if let Err(error) = removed {
                    tracing::warn!(number, %error, "an old generation of the log stays until the next start");
                }
            }
        }));
    }
}

impl Drop for Sled {
    fn drop(&mut self) {
        // Whoever opens the folder next finds no lock of ours.
        let _ = self.next.recv();
        for sweeper in self.sweepers.drain(..) {
            let _ = sweeper.join();
        }
    }
}

impl Disk for Sled {
    fn append(&mut self, records: Vec<(u64, Vec<u8>)>) -> io::Result<()> {
        self.unread = self.unread.saturating_add(1);
        if self.unread > READ_ON {
            // The reader has come past the old ones.
            self.reading = None;
        }
        if self.newest.bytes > self.full {
            match self.next.try_recv() {
                Ok(next) => self.rotate(next?)?,
                // Not open yet: this one takes more meanwhile.
                Err(mpsc::TryRecvError::Empty) => {}
                Err(mpsc::TryRecvError::Disconnected) => return Err(not_opened()),
            }
        }
        self.newest.append(&records)
    }

    fn mark(&mut self, kind: Kind, record: Vec<u8>) -> io::Result<()> {
        self.newest.mark(kind, record)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.newest.sync()
    }

    fn truncate(&mut self, from: u64) -> io::Result<()> {
        self.notes.sync()?;
        self.newest.cut(from)?;
        for at in (0..self.sealed.len()).rev() {
            if self.sealed[at].last.is_some_and(|last| last >= from) {
                let open = self.open_sealed(at)?;
                open.cut(from)?;
                let last = open.last();
                self.sealed[at].last = last;
                // What was read of it is not what it holds.
                self.reading = None;
            }
        }
        Ok(())
    }

    fn purge(&mut self, upto: u64) -> io::Result<()> {
        // The newest one stays open for writing: with little after `upto` it makes room too, and goes
        // with the next purge.
        if self.newest.is_spent(upto, self.full) {
            let next = self.next.recv().map_err(|_| not_opened())??;
            self.rotate(next)?;
        }
        let dead = self.sealed.iter().take_while(|g| g.last.is_none_or(|last| last <= upto)).count();
        let dead = self.sealed.drain(..dead).collect();
        self.bury(dead);
        Ok(())
    }

    fn read(&mut self, from: u64, to: u64, limit: usize) -> io::Result<Vec<(u64, Vec<u8>)>> {
        let (mut found, mut bytes) = (Vec::new(), 0);
        if from >= to {
            return Ok(found);
        }
        let (asked, mut old) = ((from, to, limit), false);
        for at in 0..self.sealed.len() {
            if self.sealed[at].last.is_some_and(|last| last >= from) {
                old = true;
                if self.open_sealed(at)?.collect(asked, &mut found, &mut bytes)? {
                    return Ok(found);
                }
            }
        }
        if old {
            self.unread = 0;
        }
        self.newest.collect(asked, &mut found, &mut bytes)?;
        Ok(found)
    }

    fn marked(&mut self, kind: Kind) -> io::Result<Option<Vec<u8>>> {
        // A generation gets all marks before it becomes the newest.
        self.newest.marked(kind)
    }

    fn note(&mut self, note: &[u8]) -> io::Result<()> {
        self.notes.write(note)
    }

    fn sync_note(&mut self) -> io::Result<()> {
        self.notes.sync()
    }

    fn noted(&self) -> Option<&[u8]> {
        self.notes.newest()
    }
}
