//! Where records lie: the seam below the log, with sled and an in-memory twin.
//!
//! Here: [`Disk`], entries and marks behind blocking calls made by the one store thread, and [`Memory`].
//! Not here: sled (`super::sled_disk`), what records mean (`super::log`).
//! Why a seam: sled cannot be simulated; the same log, tested the same way, runs on both.

use std::{collections::BTreeMap, io};

use super::record::Kind;

/// Records by index, and a few marks. Only [`Disk::sync`] makes anything durable.
pub trait Disk: Send + 'static {
    /// Adds entries with ascending indexes.
    ///
    /// # Errors
    /// Any error is fatal to the store.
    fn append(&mut self, records: Vec<(u64, Vec<u8>)>) -> io::Result<()>;
    /// Replaces a mark.
    ///
    /// # Errors
    /// Any error is fatal to the store.
    fn mark(&mut self, kind: Kind, record: Vec<u8>) -> io::Result<()>;
    /// Makes everything before it durable, against loss of power too.
    ///
    /// # Errors
    /// Any error is fatal to the store.
    fn sync(&mut self) -> io::Result<()>;
    /// Removes entries from this index on, from the end backwards.
    ///
    /// # Errors
    /// Any error is fatal to the store.
    fn truncate(&mut self, from: u64) -> io::Result<()>;
    /// Forgets entries up to this index; the purge mark is durable before.
    ///
    /// # Errors
    /// Any error is fatal to the store.
    fn purge(&mut self, upto: u64) -> io::Result<()>;
    /// Entries of `from..to`, ascending; stops after the one that reaches `limit` bytes.
    ///
    /// # Errors
    /// When they cannot be read.
    fn read(&mut self, from: u64, to: u64, limit: usize) -> io::Result<Vec<(u64, Vec<u8>)>>;
    /// The newest mark of a kind.
    ///
    /// # Errors
    /// When it cannot be read.
    fn marked(&mut self, kind: Kind) -> io::Result<Option<Vec<u8>>>;
    /// Notes what is durable, in a place of its own. [`Disk::truncate`] makes the newest note durable first.
    ///
    /// # Errors
    /// Any error is fatal to the store.
    fn note(&mut self, note: &[u8]) -> io::Result<()>;
    /// Makes the newest note durable.
    ///
    /// # Errors
    /// Any error is fatal to the store.
    fn sync_note(&mut self) -> io::Result<()>;
    /// The newest note.
    fn noted(&self) -> Option<&[u8]>;
}

/// A disk in memory: for tests and simulation.
#[derive(Debug, Default)]
pub struct Memory {
    entries: BTreeMap<u64, Vec<u8>>,
    marks: BTreeMap<u8, Vec<u8>>,
    note: Option<Vec<u8>>,
}

impl Disk for Memory {
    fn append(&mut self, records: Vec<(u64, Vec<u8>)>) -> io::Result<()> {
        self.entries.extend(records);
        Ok(())
    }
    fn mark(&mut self, kind: Kind, record: Vec<u8>) -> io::Result<()> {
        self.marks.insert(kind as u8, record);
        Ok(())
    }
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn truncate(&mut self, from: u64) -> io::Result<()> {
        self.entries.split_off(&from);
        Ok(())
    }
    fn purge(&mut self, upto: u64) -> io::Result<()> {
        self.entries = self.entries.split_off(&upto.saturating_add(1));
        Ok(())
    }
    fn read(&mut self, from: u64, to: u64, limit: usize) -> io::Result<Vec<(u64, Vec<u8>)>> {
        let (mut found, mut bytes) = (Vec::new(), 0);
        for (index, record) in self.entries.range(from..to.max(from)) {
            bytes += record.len();
            found.push((*index, record.clone()));
            if bytes >= limit {
                break;
            }
        }
        Ok(found)
    }
    fn marked(&mut self, kind: Kind) -> io::Result<Option<Vec<u8>>> {
        Ok(self.marks.get(&(kind as u8)).cloned())
    }
    fn note(&mut self, note: &[u8]) -> io::Result<()> {
        self.note = Some(note.to_vec());
        Ok(())
    }
    fn sync_note(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn noted(&self) -> Option<&[u8]> {
        self.note.as_deref()
    }
}
