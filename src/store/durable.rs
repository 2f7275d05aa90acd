//! Files of the data directory: whole after a crash, and nobody else's to read.
//!
//! Here: [`write_durably`] and [`private_directory`], whatever the umask says, and the syncs below them.
//! Not here: what is in them.
//! Why folders are synced too: a new name outlasts a loss of power only once the folder that holds it was
//! synced; a file that was synced may be gone with its folder.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use super::fault::{Mistake, crash, is_made};

/// Whether a folder stays unusable until somebody mends it or names another: not its disk failed, but
/// what was found there is not what it has to be.
#[must_use]
pub fn waits_for_a_person(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, InvalidData, NotADirectory, PermissionDenied};
    matches!(error.kind(), AlreadyExists | InvalidData | NotADirectory | PermissionDenied)
}

/// Makes the names in a folder durable.
///
/// # Errors
/// When the disk fails.
pub fn sync(folder: &Path) -> io::Result<()> {
    if is_made(Mistake::SkipFolderSync) {
        return Ok(());
    }
    File::open(folder)?.sync_all()?;
    #[cfg(test)]
    seen::add(folder);
    Ok(())
}

/// Makes what was written to a file durable. `path`: its name, for tests.
///
/// # Errors
/// When the disk fails.
pub fn sync_data(file: &File, path: &Path) -> io::Result<()> {
    if is_made(Mistake::SkipDataSync) {
        return Ok(());
    }
    file.sync_data()?;
    #[cfg(test)]
    seen::add(path);
    #[cfg(not(test))]
    let _ = path;
    Ok(())
}

/// Replaces a small file so that a crash leaves the old or the new one, readable by its owner only.
///
/// # Errors
/// When the disk fails.
pub fn write_durably(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = folder.join(format!("{name}.tmp"));
    let mut file = private_file(&temporary)?;
    file.write_all(bytes)?;
    crash("file-written");
    file.sync_all()?;
    crash("file-synced");
    fs::rename(&temporary, folder.join(name))?;
    crash("file-renamed");
    sync(folder)
}

/// An empty file that its owner only reads and writes.
///
/// # Errors
/// When it cannot be made.
pub fn private_file(path: &Path) -> io::Result<File> {
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    // The umask took bits away, or an older file was there.
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

/// Makes a directory, and those above it, that only its owner enters; one that is there becomes so. Durable
/// as [`directory`].
///
/// # Errors
/// When the disk fails, or it belongs to somebody else.
pub fn private_directory(path: &Path) -> io::Result<()> {
    directory(path)?;
    if fs::metadata(path)?.permissions().mode() & 0o777 != 0o700 {
        fs::set_permissions(path, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// The same, and one that is there stays as open as it is: it may not be ours alone. Durable when it
/// returns; its own name is synced even if it was there, for whoever made it may have been killed.
///
/// # Errors
/// When the disk fails.
pub fn directory(path: &Path) -> io::Result<()> {
    let path = std::path::absolute(path)?;
    let made: Vec<_> = path.ancestors().take_while(|above| !above.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
    if made.is_empty() {
        return match path.parent().map_or(Ok(()), sync) {
            // What is above it is not ours to read.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            other => other,
        };
    }
    made.iter().filter_map(|folder| folder.parent()).try_for_each(sync)
}

/// What this thread synced: a sync that is left out fails no other test.
#[cfg(test)]
pub(super) mod seen {
    use std::{
        cell::RefCell,
        path::{Path, PathBuf},
    };

    thread_local! {
        static SYNCED: RefCell<Vec<PathBuf>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn add(path: &Path) {
        SYNCED.with_borrow_mut(|all| all.push(path.to_owned()));
    }
    /// All since the last call, in order.
    pub fn take() -> Vec<PathBuf> {
        SYNCED.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_is_made_is_its_owners_even_where_an_open_one_was() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, left) = (dir.path().join("raft"), dir.path().join("raft/x.tmp"));
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
        fs::write(&left, "half of it").unwrap();
        fs::set_permissions(&left, Permissions::from_mode(0o644)).unwrap();
        private_directory(&folder).unwrap();
        write_durably(&folder, "x", b"new").unwrap();
        assert_eq!((mode(&folder), mode(&folder.join("x"))), (0o700, 0o600));
        assert_eq!((fs::read(folder.join("x")).unwrap().as_slice(), left.exists()), (&b"new"[..], false));
    }

    #[test]
    fn every_name_on_the_way_to_a_new_directory_is_synced_and_the_last_one_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        seen::take();
        private_directory(&path).unwrap();
        assert_eq!(seen::take(), [dir.path().join("a"), dir.path().to_owned()]);
        private_directory(&path).unwrap();
        assert_eq!(seen::take(), [dir.path().join("a")], "whoever made it may have been killed before its sync");
        write_durably(&path, "x", b"1").unwrap();
        assert_eq!(seen::take(), [path]);
    }
}
