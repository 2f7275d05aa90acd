//! Records in sled, in generations: a fresh database as the log grows, old ones removed as whole folders.
//!
//! Why generations: in one database of a million entries each purge blocked the store for
//! 0.6–1.3 s, longer than an election; removing a folder takes milliseconds (measured).
//! Why `fdatasync` after `flush`: sled's flush is `sync_file_range`, which does not survive a loss of power.
//! Why the next generation is opened ahead on another thread: opening takes 20–300 ms.
//! Why records are cut into pieces: sled writes a page above a quarter of a segment into a file of its
//! own and never syncs that file. A page holds at most about 20 pieces, so [`PIECE`] keeps it below.
//! Why only the newest is open: each open database costs megabytes, and old entries are read only by
//! members that lag.
//! Invariants: every mark stands in the newest generation before it counts; a generation counts only
//! once its `ready` file is durable; a folder is renamed to `dead-…` before it is removed. So a crash at
//! any point leaves either a whole generation or one that holds no entry, which the next start removes.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::mpsc,
    thread::{self, JoinHandle},
};

use super::{
    disk::Disk,
    durable,
    record::{self, Kind},
    witness::Notes,
};

/// sled's page cache. The idle agent has 40 MB in all.
const CACHE: u64 = 8 << 20;
/// sled's segment: a page above a quarter of it would leave the synced file.
const SEGMENT: usize = 2 << 20;
/// Largest value given to sled.
const PIECE: usize = 16 << 10;
const READY: &str = "ready";
/// sled's file of pages.
const DB: &str = "db";
const MARKS: [Kind; 3] = [Kind::Vote, Kind::Purged, Kind::Committed];

/// An open database.
struct Generation {
    path: PathBuf,
    db: sled::Db,
    log: sled::Tree,
    marks: sled::Tree,
    raw: File,
    number: u64,
    /// What its file held when it was opened, and what was written since.
    bytes: usize,
    /// Its highest index.
    last: Option<u64>,
}

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
    newest: Generation,
    notes: Notes,
    /// The one after the newest, opened ahead.
    next: mpsc::Receiver<io::Result<Generation>>,
    /// Threads that close or remove generations.
    sweepers: Vec<JoinHandle<()>>,
}

fn failed(error: sled::Error) -> io::Error {
    match error {
        sled::Error::Io(error) => error,
        error @ sled::Error::Corruption { .. } => io::Error::new(io::ErrorKind::InvalidData, error),
        error @ (sled::Error::CollectionNotFound(_) | sled::Error::Unsupported(_) | sled::Error::ReportableBug(_)) => {
            io::Error::other(error)
        }
    }
}
fn key(index: u64, piece: u16) -> [u8; 10] {
    let mut key = [0; 10];
    key[..8].copy_from_slice(&index.to_be_bytes());
    key[8..].copy_from_slice(&piece.to_be_bytes());
    key
}
fn index_of(key: &[u8]) -> io::Result<u64> {
    let index = key.get(..8).and_then(|k| Some(u64::from_be_bytes(k.try_into().ok()?)));
    index.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a key of the log is no index"))
}
fn name(number: u64) -> String {
    format!("gen-{number:012}")
}

impl Generation {
    fn open(folder: &Path, number: u64) -> io::Result<Self> {
        let path = folder.join(name(number));
        durable::private_directory(&path)?;
        // What an interrupted snapshot of sled's own left stops its open.
        for entry in fs::read_dir(&path)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().ends_with(".generating") {
                fs::remove_file(entry.path())?;
            }
        }
        let open = || {
            let db = sled::Config::new()
                .path(&path)
                .mode(sled::Mode::HighThroughput)
                .segment_size(SEGMENT)
                .cache_capacity(CACHE)
                .flush_every_ms(None)
                .open()?;
            let (log, marks) = (db.open_tree("log")?, db.open_tree("marks")?);
            let last = log.last()?.map(|(key, _)| key);
            db.flush()?;
            Ok((db, log, marks, last))
        };
        // sled panics on some kinds of damage.
        let (db, log, marks, last) = catch_unwind(AssertUnwindSafe(open))
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("sled panicked on {}", path.display())))?
            .map_err(failed)?;
        let last = last.map(|key| index_of(&key)).transpose()?;
        let raw = File::open(path.join(DB))?;
        raw.sync_all()?;
        File::open(path.join("conf"))?.sync_all()?;
        durable::sync(&path)?;
        durable::sync(folder)?;
        // A process that starts often writes little each time: what it finds counts too.
        let bytes = if last.is_some() { usize::try_from(raw.metadata()?.len()).unwrap_or(usize::MAX) } else { 0 };
        Ok(Self { number, path, db, log, marks, raw, bytes, last })
    }

    /// Whether it keeps little that is still needed, for the room it takes.
    fn is_spent(&self, upto: u64, full: usize) -> io::Result<bool> {
        let Some(last) = self.last else { return Ok(false) };
        if last <= upto || self.bytes < full / 4 {
            return Ok(last <= upto);
        }
        let Some((key, _)) = self.log.first().map_err(failed)? else { return Ok(false) };
        let first = index_of(&key)?;
        Ok((upto + 1).saturating_sub(first) > last.saturating_sub(upto))
    }

    fn sync(&self) -> io::Result<()> {
        self.db.flush().map_err(failed)?;
        durable::sync_data(&self.raw, &self.path.join(DB))
    }

    /// From here on a start counts it.
    fn mark_ready(&self) -> io::Result<()> {
        durable::private_file(&self.path.join(READY))?.sync_all()?;
        durable::sync(&self.path)
    }
}

/// Whether an entry was ever written to a generation that never counted. Its bytes say so without
/// opening it: records are stored as they are, and sled may not open what a crash left half made.
fn holds_an_entry(generation: &Path) -> io::Result<bool> {
    let mut file = match File::open(generation.join(DB)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let begin = record::beginning(Kind::Entry);
    let mut window = vec![0; 1 << 20];
    let mut kept = 0;
    loop {
        let read = file.read(&mut window[kept..])?;
        let filled = kept + read;
        if window[..filled].windows(begin.len()).any(|w| w == begin) {
            return Ok(true);
        }
        if read == 0 {
            return Ok(false);
        }
        // It may stand across two reads.
        kept = filled.min(begin.len() - 1);
        window.copy_within(filled - kept..filled, 0);
    }
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
                Some(Ok(number)) if path.join(READY).exists() => numbers.push(number),
                Some(Ok(_)) if holds_an_entry(&path)? => {
                    let what = format!("{} holds entries and its file {READY} is missing", path.display());
                    return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                }
                Some(Ok(_)) => fs::remove_dir_all(&path)?,
                Some(Err(_)) | None if name.starts_with("dead-") => fs::remove_dir_all(&path)?,
                Some(Err(_)) | None => {}
            }
        }
        numbers.sort_unstable();
        let notes = Notes::open(folder)?;
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
        Ok(Self { folder: folder.to_owned(), full, sealed, reading: None, newest, notes, next, sweepers: Vec::new() })
    }

    /// The next generation becomes the newest; all marks stand in it, durably.
    fn rotate(&mut self, next: Generation) -> io::Result<()> {
        for kind in MARKS {
            if let Some(record) = self.marked(kind)? {
                next.marks.insert([kind as u8], record).map_err(failed)?;
            }
        }
        next.sync()?;
        next.mark_ready()?;
        self.next = open_ahead(&self.folder, next.number + 1);
        let old = std::mem::replace(&mut self.newest, next);
        self.sealed.push(Sealed { number: old.number, last: old.last });
        // Closing takes its time.
        self.sweepers.push(thread::spawn(move || drop(old)));
        Ok(())
    }

    /// Opens a sealed generation, closing the one read before.
    fn open_sealed(&mut self, at: usize) -> io::Result<&Generation> {
        let sealed = self.sealed.get_mut(at).ok_or_else(|| io::Error::other("there is no such generation"))?;
        if self.reading.as_ref().is_none_or(|r| r.number != sealed.number) {
            self.reading = None;
            // It may be on its way to being closed: its lock ends with that.
            for sweeper in self.sweepers.drain(..) {
                let _ = sweeper.join();
            }
            self.reading = Some(Generation::open(&self.folder, sealed.number)?);
        }
        let open = self.reading.as_ref().ok_or_else(|| io::Error::other("no generation is open"))?;
        sealed.last = open.last;
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
                let removed = fs::rename(log.join(name(number)), &grave)
                    .and_then(|()| durable::sync(&log))
                    .and_then(|()| fs::remove_dir_all(&grave));
                if let Err(error) = removed {
                    tracing::warn!(number, %error, "an old generation of the log stays until the next start");
                }
            }
        }));
    }
}

/// Adds the records of `from..to` to `found`; true when `limit` bytes are reached.
fn collect(
    generation: &Generation,
    (from, to, limit): (u64, u64, usize),
    found: &mut Vec<(u64, Vec<u8>)>,
    bytes: &mut usize,
) -> io::Result<bool> {
    for entry in generation.log.range(key(from, 0)..key(to, 0)) {
        let (key, value) = entry.map_err(failed)?;
        let index = index_of(&key)?;
        match found.last_mut() {
            Some((last, record)) if *last == index => record.extend_from_slice(&value),
            Some(_) | None if *bytes >= limit => return Ok(true),
            Some(_) | None => found.push((index, value.to_vec())),
        }
        *bytes += value.len();
    }
    Ok(*bytes >= limit)
}

/// Removes what lies from an index on, from the end backwards: a crash in between leaves no hole.
fn cut(generation: &Generation, from: u64) -> io::Result<Option<u64>> {
    for found in generation.log.range(key(from, 0)..).keys().rev() {
        generation.log.remove(found.map_err(failed)?).map_err(failed)?;
    }
    generation.sync()?;
    let last = generation.log.last().map_err(failed)?;
    last.map(|(key, _)| index_of(&key)).transpose()
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
        if self.newest.bytes > self.full
            && let Ok(next) = self.next.try_recv()
        {
            self.rotate(next?)?;
        }
        let mut batch = sled::Batch::default();
        for (index, record) in &records {
            for (piece, bytes) in record.chunks(PIECE).enumerate() {
                let piece = u16::try_from(piece).map_err(|_| io::Error::other("a record is too long"))?;
                batch.insert(&key(*index, piece), bytes);
            }
            self.newest.bytes += record.len();
            self.newest.last = self.newest.last.max(Some(*index));
        }
        self.newest.log.apply_batch(batch).map_err(failed)
    }

    fn mark(&mut self, kind: Kind, record: Vec<u8>) -> io::Result<()> {
        self.newest.marks.insert([kind as u8], record).map_err(failed).map(|_| ())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.newest.sync()
    }

    fn truncate(&mut self, from: u64) -> io::Result<()> {
        self.notes.sync()?;
        self.newest.last = cut(&self.newest, from)?;
        for at in (0..self.sealed.len()).rev() {
            if self.sealed[at].last.is_some_and(|last| last >= from) {
                let last = cut(self.open_sealed(at)?, from)?;
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
        if self.newest.is_spent(upto, self.full)? {
            let next = self.next.recv().map_err(|_| io::Error::other("the next generation was not opened"))??;
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
                if collect(self.open_sealed(at)?, asked, &mut found, &mut bytes)? {
                    return Ok(found);
                }
            }
        }
        if !old {
            // The reader has come past the old ones.
            self.reading = None;
        }
        collect(&self.newest, asked, &mut found, &mut bytes)?;
        Ok(found)
    }

    fn marked(&mut self, kind: Kind) -> io::Result<Option<Vec<u8>>> {
        // A generation gets all marks before it becomes the newest.
        Ok(self.newest.marks.get([kind as u8]).map_err(failed)?.map(|found| found.to_vec()))
    }

    fn note(&mut self, note: &[u8]) -> io::Result<()> {
        self.notes.write(note)
    }

    fn noted(&self) -> Option<&[u8]> {
        self.notes.newest()
    }
}
