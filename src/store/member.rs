//! Who this member of Raft is: one small file beside the log.
//!
//! Invariants: a member id is drawn once and never reused; the incarnation grows with each start; a
//! member that was formed and finds an empty log has lost it, and does not form a second cluster.

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};

use super::{durable::write_durably, raft::MemberId, witness::Start};

const FILE: &str = "member.json";
/// Folder of a store in the data directory.
pub const FOLDER: &str = "raft";
/// Folders beside it that a member fills.
pub const LOG: &str = "log";
/// See [`LOG`].
pub const SNAPSHOTS: &str = "snapshots";

/// This member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Raft's name of it.
    pub id: MemberId,
    /// How often it was started.
    pub incarnation: u64,
    /// Whether its log holds a cluster: an empty log is a loss from then on.
    pub formed: bool,
}

/// The file. The first version of it had no checksum.
#[derive(Serialize, Deserialize)]
struct Checked {
    #[serde(flatten)]
    member: Member,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checksum: Option<u32>,
}

impl Member {
    /// Of these three and not of the text: a later version may write more.
    fn checksum(&self) -> u32 {
        crc32c::crc32c(format!("{} {} {}", self.id, self.incarnation, self.formed).as_bytes())
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let Checked { member, checksum } = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        // A digit that flipped makes another member, who waits for ever for the voters of this one.
        if checksum.is_none_or(|sum| sum == member.checksum()) {
            Ok(member)
        } else {
            Err("its checksum does not match".into())
        }
    }

    /// Reads this member, or draws a new one, durably.
    ///
    /// # Errors
    /// When the disk fails; `InvalidData` when the file is not what was written, or is missing beside a log:
    /// under a new id this member would wait for ever for the voters of the old one.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let path = folder.join(FILE);
        let damaged = |what: String| io::Error::new(io::ErrorKind::InvalidData, format!("{} {what}", path.display()));
        match fs::read(&path) {
            Ok(bytes) => Self::parse(&bytes).map_err(|what| damaged(format!("is damaged: {what}"))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                for name in [LOG, SNAPSHOTS] {
                    if holds_anything(&folder.join(name))? {
                        return Err(damaged(format!("is missing beside a {name} folder that is not empty")));
                    }
                }
                let member = Self::new();
                member.save(folder)?;
                Ok(member)
            }
            Err(e) => Err(e),
        }
    }

    /// A member that nobody knows yet.
    #[must_use]
    pub fn new() -> Self {
        // Raft's 0 means nobody in some of its messages.
        Self { id: rand::random::<u64>().max(1), incarnation: 0, formed: false }
    }

    /// Counts a start, durably. The log has noted it before: so one that is older than the other is seen.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn count(&mut self, folder: &Path) -> io::Result<()> {
        self.incarnation += 1;
        self.save(folder)
    }

    /// The start that was counted last.
    #[must_use]
    pub fn last_start(&self) -> Start {
        Start { member: self.id, incarnation: self.incarnation }
    }

    /// Writes it durably.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn save(&self, folder: &Path) -> io::Result<()> {
        let checked = Checked { member: self.clone(), checksum: Some(self.checksum()) };
        write_durably(folder, FILE, &serde_json::to_vec(&checked).map_err(io::Error::other)?)
    }
}

fn holds_anything(folder: &Path) -> io::Result<bool> {
    match fs::read_dir(folder) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_keeps_its_id_and_counts_its_starts() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = Member::read(folder.path()).unwrap();
        first.count(folder.path()).unwrap();
        let second = Member::read(folder.path()).unwrap();
        assert_eq!((&second, second.incarnation), (&first, 1));
    }

    #[test]
    fn a_damaged_file_is_no_new_member() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), b"{\"id\":").unwrap();
        assert_eq!(Member::read(folder.path()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_flipped_bit_is_seen_and_a_file_without_a_checksum_is_read() {
        let member = Member { id: 1_234, incarnation: 7, formed: true };
        let folder = tempfile::tempdir().unwrap();
        member.save(folder.path()).unwrap();
        let bytes = fs::read(folder.path().join(FILE)).unwrap();
        for at in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            assert!(Member::parse(&flipped).is_ok_and(|found| found == member) || Member::parse(&flipped).is_err());
        }
        assert_eq!(Member::parse(&serde_json::to_vec(&member).unwrap()), Ok(member));
    }

    #[test]
    fn a_log_whose_member_is_missing_is_no_new_members() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join(LOG)).unwrap();
        Member::read(folder.path()).unwrap();
        fs::remove_file(folder.path().join(FILE)).unwrap();
        for name in [LOG, SNAPSHOTS] {
            fs::create_dir_all(folder.path().join(name).join("x")).unwrap();
            let error = Member::read(folder.path()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
            assert!(error.to_string().contains("member.json is missing"), "{error}");
            fs::remove_dir_all(folder.path().join(name)).unwrap();
        }
    }
}
