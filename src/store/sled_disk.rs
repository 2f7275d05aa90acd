//! Records in sled, in generations: a fresh database for each purge, old ones removed as whole folders.
//!
//! Why generations: in one database of a million entries each purge blocked the store for
//! 0.6–1.3 s, longer than an election; removing a folder takes milliseconds (measured).
//! Why `fdatasync` after `flush`: sled's flush is `sync_file_range`, which loses power-cut data.
//! Why the next generation is opened ahead on another thread: opening takes 20–300 ms.
//! Invariant: vote and purge mark stand in every generation; the newest one counts. Reads go through
//! all generations in order.

use std::{
    fs::{self, File},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
};

use super::{disk::Disk, record::Kind};

/// sled's page cache. The idle agent has 40 MB in all.
const CACHE: u64 = 8 << 20;

struct Generation {
    number: u64,
    path: PathBuf,
    db: sled::Db,
    log: sled::Tree,
    marks: sled::Tree,
    raw: File,
}

/// The log's folder.
pub struct Sled {
    folder: PathBuf,
    /// Oldest first; never empty.
    generations: Vec<Generation>,
    /// The one after the newest, opened ahead.
    next: mpsc::Receiver<io::Result<Generation>>,
}

fn failed(error: sled::Error) -> io::Error {
    io::Error::other(error)
}
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
fn mark_key(kind: Kind) -> [u8; 1] {
    [kind as u8]
}

impl Generation {
    fn open(folder: &Path, number: u64) -> io::Result<Self> {
        let path = folder.join(format!("gen-{number:012}"));
        fs::create_dir_all(&path)?;
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
                .cache_capacity(CACHE)
                .flush_every_ms(None)
                .open()?;
            let (log, marks) = (db.open_tree("log")?, db.open_tree("marks")?);
            db.flush()?;
            Ok((db, log, marks))
        };
        // sled panics on some kinds of damage.
        let (db, log, marks) = catch_unwind(AssertUnwindSafe(open))
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("sled panicked on {}", path.display())))?
            .map_err(failed)?;
        let raw = File::open(path.join("db"))?;
        raw.sync_all()?;
        sync_folder(&path)?;
        sync_folder(folder)?;
        Ok(Self { number, path, db, log, marks, raw })
    }

    fn sync(&self) -> io::Result<()> {
        self.db.flush().map_err(failed)?;
        self.raw.sync_data()
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
    /// Opens the folder, making it if needed.
    ///
    /// # Errors
    /// When the disk fails or sled finds damage.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut numbers: Vec<u64> = fs::read_dir(folder)?
            .filter_map(|e| e.ok()?.file_name().to_str()?.strip_prefix("gen-")?.parse().ok())
            .collect();
        numbers.sort_unstable();
        let mut generations =
            numbers.into_iter().map(|n| Generation::open(folder, n)).collect::<io::Result<Vec<_>>>()?;
        if generations.is_empty() {
            generations.push(Generation::open(folder, 1)?);
        }
        let after = generations.last().map_or(1, |g| g.number) + 1;
        Ok(Self { folder: folder.to_owned(), generations, next: open_ahead(folder, after) })
    }

    fn newest(&self) -> io::Result<&Generation> {
        self.generations.last().ok_or_else(|| io::Error::other("no generation is open"))
    }
}

impl Disk for Sled {
    fn append(&mut self, records: Vec<(u64, Vec<u8>)>) -> io::Result<()> {
        let mut batch = sled::Batch::default();
        for (index, record) in records {
            batch.insert(&index.to_be_bytes(), record);
        }
        self.newest()?.log.apply_batch(batch).map_err(failed)
    }

    fn mark(&mut self, kind: Kind, record: Vec<u8>) -> io::Result<()> {
        self.newest()?.marks.insert(mark_key(kind), record).map_err(failed).map(|_| ())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.newest()?.sync()
    }

    fn truncate(&mut self, from: u64) -> io::Result<()> {
        for generation in self.generations.iter().rev() {
            let mut batch = sled::Batch::default();
            for key in generation.log.range(from.to_be_bytes()..).keys().rev() {
                batch.remove(key.map_err(failed)?);
            }
            generation.log.apply_batch(batch).map_err(failed)?;
            generation.sync()?;
        }
        Ok(())
    }

    fn purge(&mut self, upto: u64) -> io::Result<()> {
        // An empty newest generation needs no successor.
        if self.newest()?.log.is_empty() {
            return Ok(());
        }
        let next = self.next.recv().map_err(|_| io::Error::other("the next generation was not opened"))??;
        for kind in [Kind::Vote, Kind::Purged] {
            if let Some(record) = self.marked(kind)? {
                next.marks.insert(mark_key(kind), record).map_err(failed)?;
            }
        }
        next.sync()?;
        self.next = open_ahead(&self.folder, next.number + 1);
        self.generations.push(next);
        let mut dead = Vec::new();
        while self.generations.len() > 1 {
            let last = self.generations[0].log.last().map_err(failed)?;
            let last = last.and_then(|(k, _)| Some(u64::from_be_bytes(k.as_ref().try_into().ok()?)));
            if last.is_some_and(|last| last > upto) {
                break;
            }
            dead.push(self.generations.remove(0));
        }
        // Closing and removing takes its time; a folder that is left is removed by the next start's purge.
        thread::spawn(move || {
            for generation in dead {
                let path = generation.path.clone();
                drop(generation);
                if let Err(error) = fs::remove_dir_all(&path) {
                    tracing::warn!(path = %path.display(), %error, "an old generation of the log stays");
                }
            }
        });
        Ok(())
    }

    fn read(&mut self, from: u64, to: u64) -> io::Result<Vec<(u64, Vec<u8>)>> {
        let mut found = Vec::new();
        for generation in &self.generations {
            for entry in generation.log.range(from.to_be_bytes()..to.to_be_bytes()) {
                let (key, value) = entry.map_err(failed)?;
                let index = u64::from_be_bytes(
                    key.as_ref().try_into().map_err(|_| io::Error::other("a key of the log is no index"))?,
                );
                found.push((index, value.to_vec()));
            }
        }
        Ok(found)
    }

    fn marked(&mut self, kind: Kind) -> io::Result<Option<Vec<u8>>> {
        for generation in self.generations.iter().rev() {
            if let Some(found) = generation.marks.get(mark_key(kind)).map_err(failed)? {
                return Ok(Some(found.to_vec()));
            }
        }
        Ok(None)
    }
}
