//! One generation: a sled database of its own.
//!
//! Here: [`Generation`], its trees and its keys. Not here: which generation is written, read or removed
//! (`super`).
//! Why records are cut into pieces: sled writes a page above a quarter of a segment into a file of its
//! own and never syncs that file. A page holds at most about 20 pieces, so [`PIECE`] keeps it below.
//! Why runs, a tree for each [`RUN`] bytes: sled writes a leaf anew, with all its values, after nine links
//! and when it splits, which made three to four bytes of one that was asked for (measured). A run of large
//! records ends before that: when many write, nearly all is written once. One of small records does not, and
//! then there is little to write.
//! Why a run's name says where it begins: to find an entry, no other run is read.
//! Why an emptied run stays, as a tree without keys: a newer run takes its place by its name alone.
//! Invariants: what one append writes is in one run, so it is there as a whole or not at all; runs follow
//! each other as their entries do.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use crate::store::{
    durable,
    record::{self, Kind},
};

/// sled's page cache. The idle agent has 40 MB in all.
const CACHE: u64 = 8 << 20;
/// sled's segment: a page above a quarter of it would leave the synced file.
const SEGMENT: usize = 2 << 20;
/// Largest value given to sled.
const PIECE: usize = 16 << 10;
/// Bytes of a run, unless one append has more: as many whole pieces as sled links to a leaf before it writes
/// the leaf anew.
const RUN: usize = 9 * PIECE;
/// How long a database that was closed may still be locked.
const HELD: Duration = Duration::from_secs(5);
const READY: &str = "ready";
/// sled's file of pages.
pub(super) const DB: &str = "db";
/// The first run. Those after it have a number behind it.
const LOG: &str = "log";

/// An open database.
pub(super) struct Generation {
    pub number: u64,
    /// What its file held when it was opened, and what was written since.
    pub bytes: usize,
    path: PathBuf,
    db: sled::Db,
    /// Oldest first, never empty; each ends where the next begins.
    runs: Vec<Run>,
    /// Higher than that of any run there ever was.
    next_run: u64,
    /// Runs at its end were emptied: what comes next begins a run at or before them.
    emptied: bool,
    /// Its lowest index.
    first: Option<u64>,
    /// Its highest index.
    last: Option<u64>,
    marks: sled::Tree,
    raw: File,
}

/// Entries that were written one after the other.
struct Run {
    tree: sled::Tree,
    /// It holds none before this.
    first: u64,
    bytes: usize,
}

fn failed(error: sled::Error) -> io::Error {
    match error {
        sled::Error::Io(error) => error,
        // Unsupported: its settings are not those that we gave it. A bug: what it holds contradicts itself.
        error @ (sled::Error::Corruption { .. }
        | sled::Error::CollectionNotFound(_)
        | sled::Error::Unsupported(_)
        | sled::Error::ReportableBug(_)) => io::Error::new(io::ErrorKind::InvalidData, error),
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
/// The folder of a generation.
pub(super) fn name(number: u64) -> String {
    format!("gen-{number:012}")
}
/// Whether a start counts the generation in this folder.
pub(super) fn is_ready(generation: &Path) -> bool {
    generation.join(READY).exists()
}

/// The name of a run's tree: its number and its first index say what it holds without reading it.
fn run_name(number: u64, first: u64) -> String {
    if number == 0 { LOG.to_owned() } else { format!("{LOG}-{number}-{first}") }
}
/// Number and first index; none when the tree is no run.
fn run_of(tree: &[u8]) -> Option<(u64, u64)> {
    match std::str::from_utf8(tree).ok()?.strip_prefix(LOG)? {
        "" => Some((0, 0)),
        rest => {
            let (number, first) = rest.strip_prefix('-')?.split_once('-')?;
            Some((number.parse().ok()?, first.parse().ok()?))
        }
    }
}
/// Of runs by number, those that may hold entries. One that was emptied is followed by one that begins at
/// or before it.
fn living(runs: impl IntoIterator<Item = (u64, u64)>) -> Vec<(u64, u64)> {
    let mut living: Vec<(u64, u64)> = Vec::new();
    for run in runs {
        while living.last().is_some_and(|before| before.1 >= run.1) {
            living.pop();
        }
        living.push(run);
    }
    living
}
fn first_key(tree: &sled::Tree) -> io::Result<Option<u64>> {
    tree.first().map_err(failed)?.map(|(key, _)| index_of(&key)).transpose()
}
fn last_key(tree: &sled::Tree) -> io::Result<Option<u64>> {
    tree.last().map_err(failed)?.map(|(key, _)| index_of(&key)).transpose()
}

/// Opens sled. One that was just closed in this process may still be held by the last of its threads.
fn database(path: &Path) -> io::Result<sled::Db> {
    let config = sled::Config::new()
        .path(path)
        .mode(sled::Mode::HighThroughput)
        .segment_size(SEGMENT)
        .cache_capacity(CACHE)
        .flush_every_ms(None);
    let begun = Instant::now();
    loop {
        match config.open() {
            // sled has no kind for it.
            Err(sled::Error::Io(e)) if e.to_string().contains("acquire lock") && begun.elapsed() < HELD => {
                thread::sleep(Duration::from_millis(10));
            }
            opened => return opened.map_err(failed),
        }
    }
}

impl Generation {
    /// Opens a generation of a folder, making it if needed.
    ///
    /// # Errors
    /// When the disk fails; `InvalidData` when sled finds damage.
    pub fn open(folder: &Path, number: u64) -> io::Result<Self> {
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
            let db = database(&path)?;
            let marks = db.open_tree("marks").map_err(failed)?;
            let mut found: Vec<_> = db.tree_names().iter().filter_map(|name| run_of(name)).collect();
            found.sort_unstable();
            let next_run = found.last().map_or(1, |(number, _)| number + 1);
            let mut runs = Vec::new();
            for (number, first) in living(std::iter::once((0, 0)).chain(found)) {
                let tree = db.open_tree(run_name(number, first)).map_err(failed)?;
                runs.push(Run { tree, first, bytes: 0 });
            }
            // A crash came before its first entry, or all of it was cut.
            let (mut last, before) = (None, runs.len());
            while let Some(newest) = runs.last() {
                last = last_key(&newest.tree)?;
                if last.is_some() || runs.len() == 1 {
                    break;
                }
                runs.pop();
            }
            let emptied = runs.len() < before;
            if let Some(newest) = runs.last_mut() {
                // It is written on.
                for value in newest.tree.iter().values() {
                    newest.bytes += value.map_err(failed)?.len();
                }
            }
            db.flush().map_err(failed)?;
            Ok::<_, io::Error>((db, runs, next_run, emptied, last, marks))
        };
        // sled panics on some kinds of damage.
        let (db, runs, next_run, emptied, last, marks) = catch_unwind(AssertUnwindSafe(open)).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidData, format!("sled panicked on {}", path.display()))
        })??;
        let raw = File::open(path.join(DB))?;
        raw.sync_all()?;
        File::open(path.join("conf"))?.sync_all()?;
        durable::sync(&path)?;
        durable::sync(folder)?;
        let mut first = None;
        for run in &runs {
            first = first_key(&run.tree)?;
            if first.is_some() {
                break;
            }
        }
        // A process that starts often writes little each time: what it finds counts too.
        let bytes = if last.is_some() { usize::try_from(raw.metadata()?.len()).unwrap_or(usize::MAX) } else { 0 };
        Ok(Self { number, bytes, path, db, runs, next_run, emptied, first, last, marks, raw })
    }

    /// Its highest index.
    pub fn last(&self) -> Option<u64> {
        self.last
    }

    /// Whether it keeps little that is still needed, for the room it takes.
    pub fn is_spent(&self, upto: u64, full: usize) -> bool {
        let Some(last) = self.last else { return false };
        if last <= upto || self.bytes < full / 4 {
            return last <= upto;
        }
        let Some(first) = self.first else { return false };
        (upto + 1).saturating_sub(first) > last.saturating_sub(upto)
    }

    /// Adds records: all of them or none are there after a crash.
    pub fn append(&mut self, records: &[(u64, Vec<u8>)]) -> io::Result<()> {
        let Some((first, _)) = records.first() else { return Ok(()) };
        let bytes: usize = records.iter().map(|(_, record)| record.len()).sum();
        let full = self.runs.last().is_some_and(|newest| newest.bytes > 0 && newest.bytes + bytes > RUN);
        if full || self.emptied {
            let tree = self.db.open_tree(run_name(self.next_run, *first)).map_err(failed)?;
            self.next_run += 1;
            self.emptied = false;
            self.runs.push(Run { tree, first: *first, bytes: 0 });
        }
        let run = self.runs.last_mut().ok_or_else(|| io::Error::other("a generation has no run"))?;
        let mut batch = sled::Batch::default();
        for (index, record) in records {
            for (piece, bytes) in record.chunks(PIECE).enumerate() {
                let piece = u16::try_from(piece).map_err(|_| io::Error::other("a record is too long"))?;
                batch.insert(&key(*index, piece), bytes);
            }
            self.last = self.last.max(Some(*index));
        }
        self.first = self.first.or(Some(*first));
        run.bytes += bytes;
        self.bytes += bytes;
        run.tree.apply_batch(batch).map_err(failed)
    }

    /// Adds the records of `from..to` to `found`; true when `limit` bytes are reached.
    pub fn collect(
        &self,
        (from, to, limit): (u64, u64, usize),
        found: &mut Vec<(u64, Vec<u8>)>,
        bytes: &mut usize,
    ) -> io::Result<bool> {
        // The one that `from` is in, and those that begin before `to`.
        let begin = self.runs.partition_point(|run| run.first <= from).saturating_sub(1);
        let runs = self.runs[begin..].iter().take_while(|run| run.first < to);
        for entry in runs.flat_map(|run| run.tree.range(key(from, 0)..key(to, 0))) {
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
    pub fn cut(&mut self, from: u64) -> io::Result<()> {
        while let Some(newest) = self.runs.last() {
            for found in newest.tree.range(key(from, 0)..).keys().rev() {
                newest.tree.remove(found.map_err(failed)?).map_err(failed)?;
            }
            if newest.first < from || self.runs.len() == 1 {
                break;
            }
            self.runs.pop();
            self.emptied = true;
        }
        self.sync()?;
        self.last = self.runs.last().map(|run| last_key(&run.tree)).transpose()?.flatten();
        self.first = self.first.filter(|_| self.last.is_some());
        Ok(())
    }

    /// The newest mark of a kind.
    pub fn marked(&self, kind: Kind) -> io::Result<Option<Vec<u8>>> {
        Ok(self.marks.get([kind as u8]).map_err(failed)?.map(|found| found.to_vec()))
    }

    /// Replaces a mark.
    pub fn mark(&self, kind: Kind, record: Vec<u8>) -> io::Result<()> {
        self.marks.insert([kind as u8], record).map_err(failed).map(|_| ())
    }

    /// Makes everything before it durable.
    pub fn sync(&self) -> io::Result<()> {
        self.db.flush().map_err(failed)?;
        durable::sync_data(&self.raw, &self.path.join(DB))
    }

    /// From here on a start counts it.
    pub fn mark_ready(&self) -> io::Result<()> {
        durable::private_file(&self.path.join(READY))?.sync_all()?;
        durable::sync(&self.path)
    }
}

/// Whether an entry was ever written to a generation that never counted. Its bytes say so without
/// opening it: records are stored as they are, and sled may not open what a crash left half made.
pub(super) fn holds_an_entry(generation: &Path) -> io::Result<bool> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_says_in_its_name_what_it_holds_and_a_cut_one_holds_nothing() {
        for (number, first) in [(0, 0), (1, 7), (12, u64::MAX)] {
            assert_eq!(run_of(run_name(number, first).as_bytes()), Some((number, first)));
        }
        for other in ["marks", "__sled__default", "log-", "log-1", "log-x-1", "logs"] {
            assert_eq!(run_of(other.as_bytes()), None, "{other}");
        }
        let grown = [(0, 0), (1, 50), (2, 90)];
        assert_eq!(living(grown), grown);
        // Cut from 40 on, and written again in two runs.
        assert_eq!(living(grown.into_iter().chain([(3, 40), (4, 70)])), [(0, 0), (3, 40), (4, 70)]);
    }
}
