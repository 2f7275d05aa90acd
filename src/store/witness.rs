//! What the log held when it was synced last, noted outside of it: a tail that is missing as a whole is seen.
//!
//! Here: [`Witness`], and [`Notes`], its file: two slots written in turn, so that one is whole whatever
//! is cut off. Not here: when a note is made and compared (`super::log_thread`).
//! Why: one flipped byte makes sled cut its log there, and what is left looks like a shorter, whole log.
//! Why a note is not synced: it survives a kill, and after a loss of power an older one only sees less;
//! a second sync would cost a single writer a quarter of its speed (measured). It is synced before a cut of
//! the log, where an older note would accuse, and once at each start: from then on a log that holds anything
//! without a note has lost it, and one of an older start is an older copy.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use openraft::Vote;
use serde::{Deserialize, Serialize};

use super::{
    durable,
    raft::MemberId,
    record::{self, HEADER, Kind},
};

/// Name of the file, beside the generations.
pub const FILE: &str = "witness";
/// Bytes between two slots. A note is far smaller than a sector of a disk, so it is never half written.
const SLOT: usize = 4_096;

/// What was durable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Witness {
    /// Index after the last entry.
    pub next: u64,
    /// Raft's vote.
    pub vote: Option<Vote<MemberId>>,
    /// Checksum of the last entry's record, which holds that of the one before it, and so on; none when it
    /// was purged.
    #[serde(default)]
    pub chain: Option<u32>,
    /// Last entry known to be committed; may be behind.
    #[serde(default)]
    pub committed: Option<u64>,
    /// Which start of which member wrote it.
    #[serde(default)]
    pub start: Option<Start>,
}

/// One start of a member.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Its id.
    pub member: MemberId,
    /// How often it was started.
    pub incarnation: u64,
}

/// The file.
pub struct Notes {
    file: File,
    path: PathBuf,
    /// Counts notes.
    turn: u64,
    newest: Option<Vec<u8>>,
}

impl Notes {
    /// Opens the file of a folder; makes one, durably, where there is none and `fresh` says that there was none.
    ///
    /// # Errors
    /// When the disk fails; `InvalidData` when a note was made and none is whole, or the file is missing.
    pub fn open(folder: &Path, fresh: bool) -> io::Result<Self> {
        let path = folder.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !fresh => {
                let what = format!("{} is missing beside a log", path.display());
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // All its room is taken now: later notes need none.
                let empty = vec![0; 2 * SLOT];
                durable::write_durably(folder, FILE, &empty)?;
                empty
            }
            Err(error) => return Err(error),
        };
        let newest = bytes.chunks(SLOT).filter_map(whole).max_by_key(|(turn, _)| *turn);
        if newest.is_none() && bytes.iter().any(|byte| *byte != 0) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged", path.display())));
        }
        let (turn, newest) = newest.map_or((0, None), |(turn, note)| (turn, Some(note)));
        Ok(Self { file: File::options().write(true).open(&path)?, path, turn, newest })
    }

    /// The newest note.
    #[must_use]
    pub fn newest(&self) -> Option<&[u8]> {
        self.newest.as_deref()
    }

    /// Writes a note over the one before the newest.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn write(&mut self, note: &[u8]) -> io::Result<()> {
        self.turn += 1;
        let (record, _) = record::encode(Kind::Witness, self.turn, 0, 0, note);
        self.file.write_all_at(&record, self.turn % 2 * SLOT as u64)?;
        self.newest = Some(note.to_vec());
        Ok(())
    }

    /// Makes the newest note durable.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(&self) -> io::Result<()> {
        durable::sync_data(&self.file, &self.path)
    }
}

/// The note of a slot and its number, if it is whole. What follows it in the slot is left of longer ones.
fn whole(slot: &[u8]) -> Option<(u64, Vec<u8>)> {
    let length = u32::from_le_bytes(slot.get(8..12)?.try_into().ok()?) as usize;
    let (record, note) = record::decode(slot.get(..HEADER.checked_add(length)?)?).ok()?;
    (record.kind == Kind::Witness).then(|| (record.index, note.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_whole_note_counts_and_none_where_one_was_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let newest = || Notes::open(dir.path(), true).map(|notes| notes.newest().map(<[u8]>::to_vec));
        assert_eq!(newest().unwrap(), None);
        let mut notes = Notes::open(dir.path(), true).unwrap();
        for note in [&b"a longer note"[..], b"two", b"three"] {
            notes.write(note).unwrap();
            assert_eq!(newest().unwrap().as_deref(), Some(note));
        }
        let flip = |slot: usize| {
            let mut bytes = fs::read(dir.path().join(FILE)).unwrap();
            bytes[slot * SLOT + HEADER] ^= 1;
            fs::write(dir.path().join(FILE), bytes).unwrap();
        };
        flip(1);
        assert_eq!(newest().unwrap().as_deref(), Some(&b"two"[..]), "the third was cut off");
        flip(0);
        assert_eq!(newest().unwrap_err().kind(), io::ErrorKind::InvalidData);
        fs::remove_file(dir.path().join(FILE)).unwrap();
        assert_eq!(Notes::open(dir.path(), false).err().unwrap().kind(), io::ErrorKind::InvalidData, "missing");
    }
}
