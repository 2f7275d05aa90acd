//! What can still be read of a log that does not open.
//!
//! Here: [`salvage`], every whole record of a folder of generations, by sled where it opens one, and by the
//! bytes of its file, which hold a record of up to a piece as it is. Not here: which of them follow each
//! other (`crate::store::rescue`).
//! Invariant: nothing that is found here is believed for being found: a record has its checksum, its index and
//! the checksum of the one before it.

use std::{
    collections::BTreeMap,
    fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use openraft::Vote;

use super::generation::{DB, Generation};
use crate::store::{
    packed,
    raft::MemberId,
    record::{self, HEADER, Kind},
};

/// What was found.
#[derive(Debug, Default)]
pub struct Salvage {
    /// Records of entries by index and checksum.
    pub entries: BTreeMap<(u64, u32), Vec<u8>>,
    /// The highest term of a vote.
    pub term: u64,
    /// Generations that sled does not open, and why.
    pub closed: Vec<String>,
}

/// Reads a folder of generations. Sled alters it: give it a copy.
///
/// # Errors
/// When the folder cannot be read.
pub fn salvage(folder: &Path) -> io::Result<Salvage> {
    let mut found = Salvage::default();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let Some(Ok(number)) = name.strip_prefix("gen-").map(str::parse::<u64>) else { continue };
        // Before sled cuts it.
        match fs::read(path.join(DB)) {
            Ok(bytes) => scan(&bytes, &mut found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let by_sled = catch_unwind(AssertUnwindSafe(|| read(folder, number, &mut found)));
        match by_sled {
            Ok(Ok(())) => {}
            Ok(Err(error)) => found.closed.push(format!("{name}: {error}")),
            Err(_) => found.closed.push(format!("{name}: the database panicked")),
        }
    }
    Ok(found)
}

fn read(folder: &Path, number: u64, found: &mut Salvage) -> io::Result<()> {
    let open = Generation::open(folder, number)?;
    if let Some(bytes) = open.marked(Kind::Vote)? {
        take(&bytes, found);
    }
    let mut records = Vec::new();
    let read = open.collect((0, u64::MAX, usize::MAX), &mut records, &mut 0);
    for (_, bytes) in records {
        take(&bytes, found);
    }
    read.map(|_| ())
}

/// Every whole record in the bytes of a file.
fn scan(bytes: &[u8], found: &mut Salvage) {
    let mut at = 0;
    let magic = &record::beginning(Kind::Entry)[..4];
    let next = |at: usize| bytes.get(at..)?.windows(magic.len()).position(|window| window == magic);
    while let Some(next) = next(at) {
        at += next;
        let rest = &bytes[at..];
        let length = rest.get(8..12).and_then(|l| Some(u32::from_le_bytes(l.try_into().ok()?) as usize));
        if let Some(whole) = length.and_then(|length| rest.get(..HEADER.checked_add(length)?)) {
            take(whole, found);
        }
        at += 4;
    }
}

fn take(bytes: &[u8], found: &mut Salvage) {
    let Ok((record, payload)) = record::decode(bytes) else { return };
    match record.kind {
        Kind::Entry => {
            found.entries.insert((record.index, record.checksum), bytes.to_vec());
        }
        Kind::Vote => {
            let vote: Option<Vote<MemberId>> = packed::read(payload).ok();
            found.term = found.term.max(vote.map_or(0, |vote| vote.leader_id().term));
        }
        Kind::Purged | Kind::Committed | Kind::Witness => {}
    }
}
