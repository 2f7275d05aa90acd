//! What happens to a store that is not what was written: its files stay as they were found, and it does not
//! open again until they are whole or a person decides.
//!
//! Here: a copy of the log from before sled touches it ([`keep_as_found`], [`put_back`], [`forget`]), and the
//! [`Verdict`] that keeps a damaged store closed. Not here: what counts as damage (`log_thread`, `snapshot`, `member`, `open`), what to do about
//! it (`rescue`).
//! Why a copy: sled cuts a log where it finds damage, as it opens it, and what it cut off is gone.
//! Why a verdict: what was seen first is the cause; `rescue` goes on only from a store that has one.
//! Invariant: nothing is appended to a log while its copy is there, and no start is counted. So the copy of an opening
//! that a kill ended is put back; one of another boot may be torn, and is not.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::{
    durable,
    fault::{Mistake, crash, is_made},
    member::LOG,
};

/// Name of the verdict's file, beside the log.
pub const VERDICT: &str = "quarantine.json";
/// Folders that hold a copy begin with this; the boot in which it was made follows.
const FOUND: &str = "log-as-found-";
/// A copy that is not complete.
const DRAFT: &str = "log-as-found.tmp";
/// What sled made of a log whose copy is put back.
const ALTERED: &str = "log-altered.tmp";
/// Where a log is copied to, to be surveyed ([`super::rescue`]).
pub(super) const SURVEYED: &str = "rescue.tmp";
/// Most bytes of a log that are copied.
const MOST: u64 = 1 << 30;
/// Bytes that are copied at once.
const PIECE: usize = 1 << 20;
/// Bytes that a copy leaves free.
const SPARE: u64 = 64 << 20;

/// Why a store stays closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// What was found.
    pub what: String,
    /// When, wall clock, milliseconds since 1970.
    pub at: u64,
}

impl Verdict {
    /// The verdict on a store, if there is one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(dir: &Path) -> io::Result<Option<Self>> {
        match fs::read(dir.join(VERDICT)) {
            // What it says does not matter: it is there.
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).unwrap_or_else(|error| Self {
                what: format!("{VERDICT} says that it is damaged, and cannot be read: {error}"),
                at: 0,
            }))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps the store closed from now on, durably.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn give(dir: &Path, what: &str) -> io::Result<()> {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let verdict = Self { what: what.into(), at: u64::try_from(at.as_millis()).unwrap_or(u64::MAX) };
        durable::write_durably(dir, VERDICT, &serde_json::to_vec(&verdict).map_err(io::Error::other)?)
    }
}

impl Verdict {
    /// Lifts it: somebody put back what was damaged, and the store is what was written.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn lift(self, dir: &Path) -> io::Result<()> {
        tracing::warn!(was = %self.what, "the store was damaged, and is whole again");
        fs::remove_file(dir.join(VERDICT))?;
        durable::sync(dir)
    }
}

/// Copies the log of a store's folder before it is opened, after the copy of an interrupted opening was put back.
/// Without room for it there is none.
///
/// # Errors
/// When the disk fails.
pub fn keep_as_found(dir: &Path) -> io::Result<()> {
    let (log, copy, draft) = (dir.join(LOG), copy_of_this_boot(dir), dir.join(DRAFT));
    if !put_back(dir)? && !log.exists() && dir.join(ALTERED).exists() {
        // The power was lost between the two renames of putting it back.
        fs::rename(dir.join(ALTERED), &log)?;
    }
    for name in [DRAFT, ALTERED, SURVEYED] {
        if dir.join(name).exists() {
            fs::remove_dir_all(dir.join(name))?;
        }
    }
    if !log.exists() {
        return Ok(());
    }
    let bytes = size(&log)?;
    let free = rustix::fs::statvfs(dir).map(|fs| fs.f_bavail.saturating_mul(fs.f_frsize))?;
    if bytes > MOST || free < bytes + SPARE {
        tracing::warn!(bytes, free, "no room for a copy of the log: if it is damaged, sled may cut it further");
        return Ok(());
    }
    match copy_folder(&log, &draft) {
        Ok(()) => {
            fs::rename(draft, copy)?;
            crash("copied");
            Ok(())
        }
        Err(error) => {
            tracing::warn!(%error, "the log cannot be copied: if it is damaged, sled may cut it further");
            fs::remove_dir_all(draft)
        }
    }
}

/// Puts the copy of this boot in the place of the log; false when there is none.
///
/// # Errors
/// When the disk fails.
pub fn put_back(dir: &Path) -> io::Result<bool> {
    if is_made(Mistake::KeepAltered) {
        return forget(dir).map(|()| true);
    }
    let (log, copy, altered) = (dir.join(LOG), copy_of_this_boot(dir), dir.join(ALTERED));
    if !copy.exists() {
        return Ok(false);
    }
    if log.exists() {
        if altered.exists() {
            fs::remove_dir_all(&altered)?;
        }
        fs::rename(&log, &altered)?;
    }
    sync_folder(&copy)?;
    fs::rename(&copy, &log)?;
    durable::sync(dir)?;
    if altered.exists() {
        fs::remove_dir_all(&altered)?;
    }
    Ok(true)
}

/// Removes every copy: the log is what was written. Those of other boots stay until then: they may be all that is left.
///
/// # Errors
/// When the disk fails.
pub fn forget(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.file_name().and_then(|n| n.to_str()).is_some_and(|name| name.starts_with(FOUND) && name != DRAFT) {
            // Under its name it is put back: half of one must not be.
            let draft = dir.join(DRAFT);
            if draft.exists() {
                fs::remove_dir_all(&draft)?;
            }
            fs::rename(&path, &draft)?;
            crash("forgetting");
            fs::remove_dir_all(&draft)?;
        }
    }
    Ok(())
}

fn copy_of_this_boot(dir: &Path) -> PathBuf {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    dir.join(format!("{FOUND}{}", boot.trim()))
}

fn size(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { size(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}

/// Whether there is room for a copy of a log, and for what else is written meanwhile.
///
/// # Errors
/// `StorageFull` when there is not.
pub(super) fn check_room(dir: &Path, log: &Path) -> io::Result<()> {
    let (bytes, free) = (size(log)?, rustix::fs::statvfs(dir).map(|fs| fs.f_bavail.saturating_mul(fs.f_frsize))?);
    if free >= bytes + SPARE {
        return Ok(());
    }
    let message = format!("{free} bytes are free, and a copy of the log takes {bytes}");
    Err(io::Error::new(io::ErrorKind::StorageFull, message))
}

/// Copies a folder with all that is in it. Not synced.
///
/// # Errors
/// When the disk fails.
pub(super) fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    durable::private_directory(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let there = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &there)?;
        } else {
            copy_file(&entry.path(), &there)?;
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let (mut from, mut to) = (fs::File::open(from)?, durable::private_file(to)?);
    let mut bytes = vec![0; PIECE];
    loop {
        match from.read(&mut bytes)? {
            0 => return Ok(()),
            read => to.write_all(&bytes[..read])?,
        }
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_folder(&entry.path())?;
        } else {
            fs::File::open(entry.path())?.sync_all()?;
        }
    }
    durable::sync(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(dir: &Path, text: &str) {
        fs::create_dir_all(dir.join("log/gen-1")).unwrap();
        fs::write(dir.join("log/gen-1/db"), text).unwrap();
    }
    fn read(dir: &Path) -> String {
        fs::read_to_string(dir.join("log/gen-1/db")).unwrap()
    }
    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_log_comes_back_as_it_was_found() {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path(), "as found");
        keep_as_found(dir.path()).unwrap();
        written(dir.path(), "cut");
        assert!(put_back(dir.path()).unwrap());
        assert_eq!((read(dir.path()).as_str(), names(dir.path())), ("as found", vec!["log".to_owned()]));
        assert!(!put_back(dir.path()).unwrap());
    }

    #[test]
    fn a_log_that_is_whole_is_written_on() {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path(), "a");
        keep_as_found(dir.path()).unwrap();
        forget(dir.path()).unwrap();
        written(dir.path(), "ab");
        keep_as_found(dir.path()).unwrap();
        assert_eq!(read(dir.path()), "ab");
    }

    #[test]
    fn an_opening_that_was_killed_leaves_no_trace_and_a_copy_of_another_boot_is_not_trusted() {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path(), "as found");
        keep_as_found(dir.path()).unwrap();
        written(dir.path(), "cut");
        keep_as_found(dir.path()).unwrap();
        assert_eq!(read(dir.path()), "as found");
        // The same after a loss of power: the copy was never synced.
        let copy = copy_of_this_boot(dir.path());
        fs::rename(&copy, dir.path().join(format!("{FOUND}other"))).unwrap();
        written(dir.path(), "cut");
        keep_as_found(dir.path()).unwrap();
        assert_eq!(
            (read(dir.path()).as_str(), names(dir.path()).len()),
            ("cut", 3),
            "it stays as long as nothing opens"
        );
        // Between the two renames of putting it back.
        fs::rename(dir.path().join("log"), dir.path().join(ALTERED)).unwrap();
        fs::remove_dir_all(copy).unwrap();
        keep_as_found(dir.path()).unwrap();
        assert_eq!(read(dir.path()), "cut");
        forget(dir.path()).unwrap();
        assert_eq!(names(dir.path()), ["log"]);
    }

    #[test]
    fn half_of_a_copy_that_is_being_removed_is_never_put_back() {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path(), "as found");
        keep_as_found(dir.path()).unwrap();
        // Removing begins with another name; from there on whatever is left of it is nobody's.
        let copy = copy_of_this_boot(dir.path());
        fs::rename(&copy, dir.path().join(DRAFT)).unwrap();
        fs::remove_file(dir.path().join(DRAFT).join("gen-1/db")).unwrap();
        keep_as_found(dir.path()).unwrap();
        assert_eq!(read(dir.path()), "as found");
        forget(dir.path()).unwrap();
        assert_eq!(names(dir.path()), ["log"]);
    }

    #[test]
    fn a_verdict_stays_whatever_its_file_holds() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Verdict::read(dir.path()).unwrap(), None);
        Verdict::give(dir.path(), "the log is damaged").unwrap();
        assert_eq!(Verdict::read(dir.path()).unwrap().unwrap().what, "the log is damaged");
        fs::write(dir.path().join(VERDICT), "{").unwrap();
        assert!(Verdict::read(dir.path()).unwrap().unwrap().what.contains("cannot be read"));
    }
}
