//! Reading a store's folder: what is there, whether it is what was written, and what to do if it is not.

use std::{
    any::Any,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use tokio::sync::watch;

use super::{OpenError, Opened};
use crate::store::{
    durable,
    log::{Log, LogError},
    machine::Machine,
    member::{self, Member},
    quarantine::{self, Verdict},
    room::{Free, Room},
    sled_disk::Sled,
    snapshot::{Content, Folder, SnapshotError},
};

/// Reads a folder. One that is damaged is left as it was found, and stays closed.
pub(super) fn read(dir: PathBuf, generation: usize, fatal: watch::Sender<Option<String>>) -> Result<Opened, OpenError> {
    let io = |source: io::Error| OpenError::Io { dir: dir.clone(), source };
    durable::private_directory(&dir).map_err(io)?;
    if let Some(free) = Room::of(Some(dir.clone())).look().filter(Free::is_out) {
        return Err(io(io::Error::new(io::ErrorKind::StorageFull, free.to_string())));
    }
    let verdict = Verdict::read(&dir).map_err(io)?;
    quarantine::keep_as_found(&dir).map_err(io)?;
    // sled panics on some kinds of damage.
    let opened = catch_unwind(AssertUnwindSafe(|| read_found(&dir, generation, fatal)))
        .unwrap_or_else(|panic| Err(OpenError::Damaged { dir: dir.clone(), what: panicked(&*panic) }));
    let kept = match &opened {
        Ok(_) => verdict.map_or(Ok(()), |verdict| verdict.lift(&dir)),
        Err(OpenError::Damaged { what, .. }) => quarantine::put_back(&dir).and_then(|_| match verdict {
            // What was seen first says more than what a copy that was put back in part looks like.
            Some(_) => Ok(()),
            None => Verdict::give(&dir, what),
        }),
        Err(_) => quarantine::put_back(&dir).map(drop),
    };
    match (opened, kept) {
        (Ok(_), Err(error)) => Err(io(error)),
        (Err(damage), Err(error)) => {
            tracing::error!(%error, "the log could not be put back as it was found");
            Err(damage)
        }
        (opened, Ok(())) => opened,
    }
}

fn panicked(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("reading it panicked: {}", text.unwrap_or("without a word"))
}

fn read_found(dir: &Path, generation: usize, fatal: watch::Sender<Option<String>>) -> Result<Opened, OpenError> {
    let damaged = |what: String| OpenError::Damaged { dir: dir.to_owned(), what };
    let io = |source: io::Error| match source.kind() {
        io::ErrorKind::InvalidData => damaged(source.to_string()),
        _ => OpenError::Io { dir: dir.to_owned(), source },
    };
    let mut member = Member::read(dir).map_err(io)?;
    let snapshots = |error| match error {
        SnapshotError::Io { source, .. } => io(source),
        SnapshotError::Newer { name, what } => {
            OpenError::Newer { dir: dir.to_owned(), what: format!("snapshot {name}: {what}") }
        }
        error @ SnapshotError::Damaged { .. } => damaged(error.to_string()),
    };
    let snapshot_folder = Folder::open(&dir.join(member::SNAPSHOTS)).map_err(snapshots)?;
    let (newest, wrong) = snapshot_folder.newest().map_err(snapshots)?;
    let last = newest.as_ref().and_then(|(content, _)| content.last).map(|l| l.index);
    let disk = Sled::open(&dir.join(member::LOG), generation).map_err(io)?;
    let (log, thread) = Log::open(disk, last, member.last_start(), fatal).map_err(|error| match error {
        LogError::Disk(source) => io(source),
        LogError::Newer { at, what } => OpenError::Newer { dir: dir.to_owned(), what: format!("{at}: {what}") },
        error @ LogError::Damaged { .. } => damaged(error.to_string()),
    })?;
    let extent = log.extent();
    let alone = newest.as_ref().is_none_or(|(content, _)| is_alone(content, member.id));
    if let Some(what) = missing(member.formed, alone, last, extent.last, extent.purged, &wrong) {
        // Its thread closes what it has open.
        drop(log);
        let _ = thread.join();
        return Err(damaged(what));
    }
    // The log has noted this start. Put back from now on, it would be older than what is counted next.
    quarantine::forget(dir).map_err(io)?;
    member.count(dir).map_err(io)?;
    for error in &wrong {
        tracing::warn!(%error, "an older snapshot and the log make up for it");
    }
    let newest_time = extent.newest.max(newest.as_ref().map_or(0, |(content, _)| content.state.time()));
    let machine = Machine::new(Some(snapshot_folder), newest);
    Ok(Opened { member, log, thread, machine, newest: newest_time, folder: Some(dir.to_owned()) })
}

fn is_alone(content: &Content, member: u64) -> bool {
    content.membership.voter_ids().all(|id| id == member)
}

/// What whole files do not have although they must.
fn missing(
    formed: bool,
    alone: bool,
    snapshot: Option<u64>,
    last: Option<u64>,
    purged: Option<u64>,
    wrong: &[SnapshotError],
) -> Option<String> {
    let first = wrong.first().map(|w| format!("; {w}")).unwrap_or_default();
    if formed && last.is_none() {
        return Some(format!("its log is empty, and this member had one{first}"));
    }
    if purged > snapshot {
        return Some(format!("the log begins after entry {} and no snapshot reaches it{first}", purged.unwrap_or(0)));
    }
    // A snapshot of our own holds only what was in our log before.
    (alone && snapshot > last)
        .then(|| format!("the log ends before entry {} of its own snapshot", snapshot.unwrap_or(0)))
}
