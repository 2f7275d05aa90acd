//! Files of the data directory: whole after a crash, and nobody else's to read.
//!
//! Here: [`write_durably`] and [`private_directory`], whatever the umask says. Not here: what is in them.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

/// Replaces a small file so that a crash leaves the old or the new one, readable by its owner only.
///
/// # Errors
/// When the disk fails.
pub fn write_durably(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = folder.join(format!("{name}.tmp"));
    let mut file = private_file(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, folder.join(name))?;
    File::open(folder)?.sync_all()
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

/// Makes a directory, and those above it, that only its owner enters; one that is there becomes so.
///
/// # Errors
/// When the disk fails, or it belongs to somebody else.
pub fn private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    if fs::metadata(path)?.permissions().mode() & 0o777 != 0o700 {
        fs::set_permissions(path, Permissions::from_mode(0o700))?;
    }
    Ok(())
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
}
