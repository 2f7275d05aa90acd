//! What can be saved of a store that does not open, and going on from there.
//!
//! Here: [`survey`], which looks and changes nothing, and [`rescue`], which goes on when told what is lost. Not
//! here: the command (`cli::command::rescue`), why a store stays closed (`super::quarantine`).
//! Invariants: what is saved is the newest whole snapshot and the entries that follow it, each by the checksum of
//! the one before; the first gap ends it. The damaged folder is kept.

use std::{fs, io, path::Path};

use openraft::{Entry, EntryPayload, LogId};
use serde::Serialize;

use super::{
    State,
    command::{Command, Group},
    member::{self, LOG, SNAPSHOTS},
    packed,
    quarantine::{self, SURVEYED, Verdict},
    raft::{MemberId, Types},
    rebuild::rebuild,
    record,
    sled_disk::{Salvage, salvage},
    snapshot::{Content, Folder},
    witness::{Notes, Witness},
};

/// What of a store can be saved.
#[derive(Debug)]
pub struct Survey {
    /// Why it stays closed, if it does.
    pub verdict: Option<String>,
    /// What was seen on the way, for people.
    pub seen: Vec<String>,
    /// What is lost if it goes on from here.
    pub loss: Loss,
    /// The state that can be saved.
    pub state: State,
    /// The node that led last, as the state knows it.
    pub node: String,
    last: LogId<MemberId>,
    /// The highest that was seen.
    term: u64,
}

/// What is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Loss {
    /// Nothing that was ever answered.
    Nothing,
    /// So many entries; each holds one change, or several that were asked for at one time.
    Entries(u64),
    /// Nobody knows: what was written last is noted nowhere.
    Unknown,
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing => f.write_str("0"),
            Self::Entries(lost) => write!(f, "{lost}"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// Why a store cannot be rescued.
#[derive(Debug, thiserror::Error)]
pub enum RescueError {
    /// The disk failed.
    #[error("the store cannot be read or written")]
    Io(#[from] io::Error),
    /// There is nothing.
    #[error("nothing of this store can be saved: {0}")]
    Nothing(String),
    /// The caller accepts another loss than there is.
    #[error("the loss is {is}, not {accepted}")]
    OtherLoss {
        /// What is lost.
        is: Loss,
        /// What was said.
        accepted: String,
    },
}

/// Looks what of the store in a data directory can be saved. Nothing of it is changed.
///
/// # Errors
/// When the disk fails, or there is nothing.
pub fn survey(data: &Path) -> Result<Survey, RescueError> {
    let dir = data.join(member::FOLDER);
    let mut seen = Vec::new();
    let verdict = Verdict::read(&dir)?.map(|verdict| verdict.what);
    let snapshot = newest_snapshot(&dir, &mut seen)?;
    let witness = witness(&dir, &mut seen);
    let found = entries(&dir, &mut seen)?;
    let voted = witness.and_then(|w| w.vote).map_or(0, |vote| vote.leader_id().term);
    let followed = follow(snapshot.unwrap_or_default(), &found, &mut seen);
    let Some(last) = followed.last else {
        return Err(RescueError::Nothing("there is no whole snapshot and no beginning of a log".into()));
    };
    let loss = lost(witness.as_ref(), last.index, followed.chain, followed.beyond);
    let Some(leader) = followed.state.leader().filter(|_| followed.state.cluster().is_some()) else {
        return Err(RescueError::Nothing("what is left of it forms no cluster".into()));
    };
    let node = leader.node.to_string();
    Ok(Survey { verdict, seen, loss, node, last, term: voted.max(found.term), state: followed.state })
}

/// Goes on from what was found. `accepted`: the loss, in the caller's words; `at`: wall clock, milliseconds since
/// 1970. Answers where the damaged store lies now.
///
/// # Errors
/// [`RescueError::OtherLoss`] when the caller says another loss than there is; when the disk fails.
pub fn rescue(data: &Path, survey: Survey, accepted: &str, at: u64) -> Result<Option<std::path::PathBuf>, RescueError> {
    if survey.loss.to_string() != accepted {
        return Err(RescueError::OtherLoss { is: survey.loss, accepted: accepted.to_owned() });
    }
    let Survey { mut state, node, last, term, loss, .. } = survey;
    let told = match loss {
        Loss::Nothing => "nothing was lost".to_owned(),
        Loss::Entries(lost) => format!("{lost} entries of its log were lost"),
        Loss::Unknown => "what was written last may be lost".to_owned(),
    };
    let lost = loss != Loss::Nothing;
    let recover = Command::Recover { node: node.as_str().into(), told, cluster: None, lost };
    let group = Group { at, commands: vec![recover], actor: "rescue".into(), ..Group::default() };
    state.apply(&group).map_err(|refusal| RescueError::Nothing(refusal.to_string()))?;
    Ok(rebuild(&data.join(member::FOLDER), state, &node, last, term)?)
}

fn newest_snapshot(dir: &Path, seen: &mut Vec<String>) -> Result<Option<Content>, RescueError> {
    let folder = dir.join(SNAPSHOTS);
    let snapshots = match fs::read_dir(&folder) {
        Ok(_) => Folder::at(&folder),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let (newest, wrong) = snapshots.whole().map_err(io::Error::other)?;
    seen.extend(wrong.iter().map(|(_, error)| error.to_string()));
    Ok(newest.map(|(content, _)| content))
}

fn witness(dir: &Path, seen: &mut Vec<String>) -> Option<Witness> {
    let notes = Notes::open(&dir.join(LOG), false).map_err(|error| error.to_string());
    let read = notes.and_then(|notes| {
        let note = notes.newest().ok_or("the witness holds no note")?;
        packed::read(note).map_err(|error| format!("the witness cannot be read: {error}"))
    });
    read.map_err(|what| seen.push(what)).ok()
}

/// Reads a copy: sled alters what it opens.
fn entries(dir: &Path, seen: &mut Vec<String>) -> io::Result<Salvage> {
    let (log, copy) = (dir.join(LOG), dir.join(SURVEYED));
    if copy.exists() {
        fs::remove_dir_all(&copy)?;
    }
    if !log.exists() {
        seen.push("the log is missing".into());
        return Ok(Salvage::default());
    }
    quarantine::check_room(dir, &log)?;
    let found = quarantine::copy_folder(&log, &copy).and_then(|()| salvage(&copy));
    fs::remove_dir_all(&copy)?;
    let found = found?;
    seen.extend(found.closed.iter().cloned());
    Ok(found)
}

/// How far entries follow each other.
struct Followed {
    state: State,
    last: Option<LogId<MemberId>>,
    /// Checksum of the last one, where its record was found.
    chain: Option<u32>,
    /// The newest entry that is there and follows none of them.
    beyond: Option<u64>,
}

/// Applies what follows a snapshot.
fn follow(content: Content, found: &Salvage, seen: &mut Vec<String>) -> Followed {
    let Content { mut state, mut last, .. } = content;
    let of = |index: u64| found.entries.range((index, 0)..=(index, u32::MAX)).map(|(_, bytes)| bytes);
    // Of several that were written at one place the one that was written last counts.
    let newest = |index: u64, chain: Option<u32>| {
        let whole = of(index).filter_map(|bytes| record::decode(bytes).ok());
        whole.filter(|(record, _)| chain.is_none_or(|chain| record.previous == chain)).max_by_key(|(r, _)| r.term)
    };
    let mut chain = last.and_then(|last| newest(last.index, None)).map(|(record, _)| record.checksum);
    let first = last.map_or(0, |last| last.index + 1);
    for index in first.. {
        let Some((record, payload)) = newest(index, chain) else { break };
        let entry: Entry<Types> = match packed::read(payload) {
            Ok(entry) => entry,
            Err(error) => {
                seen.push(format!("entry {index} was written by a newer version: {error}"));
                break;
            }
        };
        if let EntryPayload::Normal(batch) = &entry.payload {
            for group in batch.0.iter() {
                // A refusal is an answer like any other.
                let _ = state.apply(group);
            }
        }
        (last, chain) = (Some(entry.log_id), Some(record.checksum));
    }
    let next = last.map_or(0, |last| last.index + 1);
    if next > first {
        seen.push(format!("entries {first} to {} of the log are whole", next - 1));
    }
    let beyond = found.entries.range((next, 0)..).next_back().map(|((index, _), _)| *index);
    if let Some(beyond) = beyond {
        seen.push(format!("entry {next} is missing or damaged; what follows it, up to entry {beyond}, is no use"));
    }
    Followed { state, last, chain, beyond }
}

/// What the witness noted and is gone, and what is there and follows nothing: after a loss of power the note may be
/// older than the log.
fn lost(witness: Option<&Witness>, last: u64, chain: Option<u32>, beyond: Option<u64>) -> Loss {
    let next = witness.map(|witness| witness.next.max(beyond.map_or(0, |beyond| beyond + 1)));
    match (witness, next) {
        (Some(_), Some(next)) if next > last + 1 => Loss::Entries(next - 1 - last),
        (Some(witness), _)
            if witness.next == last + 1 && witness.chain.is_some() && chain.is_some() && witness.chain != chain =>
        {
            Loss::Unknown
        }
        (Some(_), _) => Loss::Nothing,
        (None, _) => Loss::Unknown,
    }
}

#[cfg(test)]
mod tests;
