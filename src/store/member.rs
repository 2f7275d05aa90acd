//! Who this member of Raft is: one small file beside the log.
//!
//! Invariants: a member id is drawn once and never reused; the incarnation grows with each start; a
//! member that was formed and finds an empty log has lost it, and does not form a second cluster.

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};

use super::{durable::write_durably, raft::MemberId};

const FILE: &str = "member.json";
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

impl Member {
    /// Reads this member, or draws a new one, and counts the start. Durable when it returns.
    ///
    /// # Errors
    /// When the disk fails; `InvalidData` when the file is not what was written, or is missing beside a log:
    /// under a new id this member would wait for ever for the voters of the old one.
    pub fn start(folder: &Path) -> io::Result<Self> {
        let path = folder.join(FILE);
        let damaged = |what: String| io::Error::new(io::ErrorKind::InvalidData, format!("{} {what}", path.display()));
        let mut member = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice::<Self>(&bytes).map_err(|e| damaged(format!("is damaged: {e}")))?,
            // Raft's 0 means nobody in some of its messages.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                for name in [LOG, SNAPSHOTS] {
                    if holds_anything(&folder.join(name))? {
                        return Err(damaged(format!("is missing beside a {name} folder that is not empty")));
                    }
                }
                Self { id: rand::random::<u64>().max(1), incarnation: 0, formed: false }
            }
            Err(e) => return Err(e),
        };
        member.incarnation += 1;
        member.save(folder)?;
        Ok(member)
    }

    /// Writes it durably.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn save(&self, folder: &Path) -> io::Result<()> {
        write_durably(folder, FILE, &serde_json::to_vec(self).map_err(io::Error::other)?)
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
        let first = Member::start(folder.path()).unwrap();
        let second = Member::start(folder.path()).unwrap();
        assert_eq!((second.id, second.incarnation), (first.id, first.incarnation + 1));
    }

    #[test]
    fn a_damaged_file_is_no_new_member() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), b"{\"id\":").unwrap();
        assert_eq!(Member::start(folder.path()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_log_whose_member_is_missing_is_no_new_members() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join(LOG)).unwrap();
        Member::start(folder.path()).unwrap();
        fs::remove_file(folder.path().join(FILE)).unwrap();
        for name in [LOG, SNAPSHOTS] {
            fs::create_dir_all(folder.path().join(name).join("x")).unwrap();
            let error = Member::start(folder.path()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
            assert!(error.to_string().contains("member.json is missing"), "{error}");
            fs::remove_dir_all(folder.path().join(name)).unwrap();
        }
    }
}
