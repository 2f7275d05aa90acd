//! A store that goes on from a state: after a rescue, or from a backup.
//!
//! Here: [`rebuild`], a new folder for a new member that alone holds the state, and how it takes the place of
//! another. Not here: where the state comes from (`super::rescue`, `super::backup`), what a recovery changes in it
//! ([`Command::Recover`](super::command::Command::Recover)).
//! Why a new member: under the id of one that lost something this one could give a vote twice.
//! Invariant: the new folder takes the old one's place in one step, whole; the old one is kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use openraft::{LogId, Membership, StoredMembership, Vote};
use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};

use super::{
    State,
    disk::Disk as _,
    durable,
    member::{LOG, Member, SNAPSHOTS},
    quarantine::VERDICT,
    raft::{MemberId, PeerNode},
    record::{self, Kind},
    sled_disk::Sled,
    snapshot::{Content, Folder},
    witness::{Start, Witness},
};

/// Name of a folder that is being made, beside the one whose place it will take.
const DRAFT: &str = "raft.tmp";
/// Names of folders whose place another took begin with this.
pub const REPLACED: &str = "raft-replaced-";

/// Makes `folder` the store of a new member that alone holds `state`, for the node `node`. What was there is
/// moved to the answered path.
///
/// `last`: the entry that the state ends with; `term`: the highest that was ever seen.
///
/// # Errors
/// When the disk fails; then everything is as it was.
pub fn rebuild(
    folder: &Path,
    state: State,
    node: &str,
    last: LogId<MemberId>,
    term: u64,
) -> io::Result<Option<PathBuf>> {
    let data = folder.parent().ok_or_else(|| io::Error::other("a store has a data directory around it"))?;
    let draft = data.join(DRAFT);
    if draft.join(VERDICT).exists() {
        // A kill after the exchange: it is the old one, not a draft.
        fs::rename(&draft, free_name(data)?)?;
    }
    if draft.exists() {
        fs::remove_dir_all(&draft)?;
    }
    let member = Member { formed: true, ..Member::new() };
    write(&draft, &member, state, node, last, term)?;
    if !folder.exists() {
        fs::rename(&draft, folder)?;
        durable::sync(data)?;
        return Ok(None);
    }
    let kept = free_name(data)?;
    // In one step: without a store a node would begin a cluster of its own.
    match renameat_with(CWD, &draft, CWD, folder, RenameFlags::EXCHANGE) {
        Ok(()) => {
            durable::sync(data)?;
            fs::rename(&draft, &kept)?;
        }
        // Not every file system can. Between the two a start ends with 78: `node.json` says that there was a store.
        Err(Errno::INVAL | Errno::NOSYS) => {
            fs::rename(folder, &kept)?;
            durable::sync(data)?;
            fs::rename(&draft, folder)?;
        }
        Err(error) => return Err(error.into()),
    }
    durable::sync(data)?;
    Ok(Some(kept))
}

/// Where a folder is kept.
fn free_name(data: &Path) -> io::Result<PathBuf> {
    let free = (1..).map(|n| data.join(format!("{REPLACED}{n}"))).find(|path| !path.exists());
    free.ok_or_else(|| io::Error::other("no name is free"))
}

fn write(folder: &Path, member: &Member, state: State, node: &str, last: LogId<MemberId>, term: u64) -> io::Result<()> {
    durable::private_directory(folder)?;
    let peer = PeerNode { node: node.to_owned(), address: String::new() };
    let voters = vec![BTreeSet::from([member.id])];
    let membership = StoredMembership::new(Some(last), Membership::new(voters, BTreeMap::from([(member.id, peer)])));
    let content = Content { state, last: Some(last), membership };
    let snapshots = Folder::open(&folder.join(SNAPSHOTS)).map_err(io::Error::other)?;
    let bytes = content.pack().map_err(io::Error::other)?;
    // Twice, under an older name too: there is no log yet that would make up for a damaged one.
    let mut older = last;
    older.leader_id.term = last.leader_id.term.saturating_sub(1);
    for name in [older, last] {
        snapshots.write(Some(name), &bytes).map_err(io::Error::other)?;
    }
    let mut log = Sled::open(&folder.join(LOG), usize::MAX)?;
    // Its first election goes beyond every term that was.
    let vote = Vote::new(term.max(last.leader_id.term), member.id);
    log.mark(Kind::Purged, mark(Kind::Purged, &last)?)?;
    log.mark(Kind::Vote, mark(Kind::Vote, &vote)?)?;
    log.sync()?;
    let start = Some(Start { member: member.id, incarnation: member.incarnation });
    let witness = Witness { next: last.index + 1, vote: Some(vote), start, ..Witness::default() };
    log.note(&rmp_serde::to_vec_named(&witness).map_err(io::Error::other)?)?;
    log.sync_note()?;
    drop(log);
    member.save(folder)
}

fn mark(kind: Kind, value: &impl serde::Serialize) -> io::Result<Vec<u8>> {
    let payload = rmp_serde::to_vec_named(value).map_err(io::Error::other)?;
    Ok(record::encode(kind, 0, 0, 0, &payload).0)
}
