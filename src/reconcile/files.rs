//! Configs and secrets as files: written below the agent's run directory and bind-mounted read-only.
//!
//! Here: which files a replica needs ([`wanted`], pure), writing them ([`write`]), and the memory that they lie in
//! ([`in_memory`]).
//! Not here: opening seals (the caller brings clear values), mounting (`super::container`).
//! Invariant: a clear secret is written to no disk by us: that directory is on a tmpfs, or a tmpfs is mounted there, 0700
//! and root's; the files of a replica go when it ends. What the kernel writes to swap is the machine's: our own mount
//! keeps out of it where the kernel can, and `doctor` warns of the rest.
//! A file takes the place of another at once, by its name. Only a single file of a container that runs is written where
//! it is: the container holds the file itself, not its name.
//! The mount of our own stays when the agent ends: containers that go on have their files there. It goes with the machine.
//! Why not the engine's archive upload: it is refused for a read-only root file system.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use rustix::mount::{MountFlags, mount};
use zeroize::Zeroizing;

use crate::{
    model::{Kind, Reason, service::FileRef},
    plan::told,
};

/// Who sees to the memory of a run directory.
static MOUNTING: Mutex<()> = Mutex::new(());

/// Values of a Config or Secret, by key.
pub type Values = BTreeMap<String, Zeroizing<Vec<u8>>>;

/// One mount of one or several files.
#[derive(Debug, PartialEq, Eq)]
pub struct FileMount {
    /// Path inside the container.
    pub target: String,
    /// File name → content; a single entry under the empty name is one file, else a directory.
    pub files: BTreeMap<String, Zeroizing<Vec<u8>>>,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Mode bits of the files.
    pub mode: u32,
    /// They hold a Secret's values.
    pub secret: bool,
    /// What they come from, as a reference is told and kept.
    pub reference: String,
}

impl FileMount {
    /// One file, not a directory.
    fn is_file(&self) -> bool {
        self.files.len() == 1 && self.files.contains_key("")
    }
}

/// Why a replica's files cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// `SecretMissing` or `ConfigMissing`.
    pub reason: Reason,
    /// Which, for people.
    pub message: String,
}

/// What one reference turns into.
#[derive(Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Files.
    Mount(FileMount),
    /// A variable.
    Variable(String, String),
}

/// Which of the two kinds a reference names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A Config.
    Config,
    /// A Secret.
    Secret,
}

impl Origin {
    const fn reason(self) -> Reason {
        match self {
            Self::Config => Reason::ConfigMissing,
            Self::Secret => Reason::SecretMissing,
        }
    }
    const fn kind(self) -> Kind {
        match self {
            Self::Config => Kind::Config,
            Self::Secret => Kind::Secret,
        }
    }
}

/// What a reference turns into, given the object's values (`None`: there is no such object).
///
/// # Errors
/// [`Missing`] when the object or its key does not exist.
pub fn wanted(reference: &FileRef, origin: Origin, values: Option<&Values>) -> Result<Wanted, Missing> {
    let (kind, word) = (origin.kind(), origin.kind().name().to_lowercase());
    let missing = |message: String| Missing { reason: origin.reason(), message };
    let name = reference.object();
    let values = values.ok_or_else(|| missing(told::absent(kind, name)))?;
    let chosen: BTreeMap<String, Zeroizing<Vec<u8>>> = match reference.key() {
        Some(key) => {
            let value = values.get(key).ok_or_else(|| {
                let keys: Vec<_> = values.keys().map(String::as_str).collect();
                missing(format!("{}; it has {}", told::lacks(kind, name, key), keys.join(", ")))
            })?;
            BTreeMap::from([(String::new(), value.clone())])
        }
        None => match values.len() {
            0 => return Err(missing(format!("{word} {name} has no keys"))),
            1 => values.values().map(|v| (String::new(), v.clone())).collect(),
            _ => values.clone(),
        },
    };
    if let Some(variable) = &reference.env {
        let [(_, value)] = chosen.iter().collect::<Vec<_>>()[..] else {
            return Err(missing(format!("{word} {name} has several keys; name one as {name}/KEY for a variable")));
        };
        let text = String::from_utf8(value.to_vec())
            .map_err(|_| missing(format!("{word} {} is not text and cannot be a variable", reference.source)))?;
        return Ok(Wanted::Variable(variable.clone(), text));
    }
    let (target, mode) = match origin {
        Origin::Config => (format!("/{name}"), 0o444),
        Origin::Secret => (format!("/run/secrets/{name}"), 0o400),
    };
    Ok(Wanted::Mount(FileMount {
        target: reference.target.clone().unwrap_or(target),
        files: chosen,
        owner: (reference.uid.unwrap_or(0), reference.gid.unwrap_or(0)),
        mode: reference.mode.as_deref().and_then(|m| u32::from_str_radix(m, 8).ok()).unwrap_or(mode),
        secret: origin == Origin::Secret,
        reference: reference.label(kind),
    }))
}

/// Where a replica's files lie.
#[must_use]
pub fn directory(run_dir: &Path, replica: &str) -> PathBuf {
    run_dir.join("files").join(replica)
}

/// File beside a replica's files that says which cluster's they are: two agents with data directories of their
/// own may have had one run directory.
const OWNER: &str = "lineage";

/// The lineage of the cluster that a replica's files belong to; none: nobody wrote it down.
#[must_use]
pub fn owner(run_dir: &Path, replica: &str) -> Option<String> {
    fs::read_to_string(directory(run_dir, replica).join(OWNER)).ok()
}

/// Whether the container that has the files mounted runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writing<'a> {
    /// It does not: it finds what lies under the names when it starts.
    Stopped,
    /// It does: of these references, a single file is written where it is, and a file stays a file. The others stay
    /// as they are.
    Running(&'a [String]),
}

/// Sees to it that files below the run directory lie in memory: it is there already, or a file system of our own is
/// mounted.
///
/// # Errors
/// With what is there instead.
pub fn in_memory(run_dir: &Path) -> io::Result<()> {
    in_memory_by(&run_dir.join("files"), is_memory, |root| {
        // Older kernels (before 6.4) have no `noswap`; scripts among Configs may be run.
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount("constellation", root, "tmpfs", flags, Some(c"mode=0700,noswap"))
            .or_else(|_| mount("constellation", root, "tmpfs", flags, Some(c"mode=0700")))
            .map_err(io::Error::from)
    })
}

fn in_memory_by(
    root: &Path,
    is_memory: impl Fn(&Path) -> io::Result<bool>,
    mount: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    // Of two that look before either has mounted, the second would hide the files of the first.
    let _one = MOUNTING.lock().unwrap_or_else(PoisonError::into_inner);
    let told = |what: String| io::Error::other(format!("{} {what}", root.display()));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(root)?;
    if is_memory(root)? {
        return Ok(());
    }
    if fs::read_dir(root)?.next().is_some() {
        return Err(told("is on a disk and holds files already".into()));
    }
    mount(root).map_err(|error| told(format!("is on a disk, and no tmpfs can be mounted there ({error})")))
}

/// Whether a path is on a file system that has no disk.
fn is_memory(path: &Path) -> io::Result<bool> {
    const TMPFS: u64 = 0x0102_1994;
    const RAMFS: u64 = 0x8584_58f6;
    // The type is signed on some machines.
    #[allow(clippy::cast_sign_loss, clippy::unnecessary_cast)]
    let kind = rustix::fs::statfs(path)?.f_type as u64 & 0xffff_ffff;
    Ok(matches!(kind, TMPFS | RAMFS))
}

/// Writes a replica's files anew, without the keys that are not there any more; answers host path → path
/// inside for each mount. `lineage`: whose they are.
///
/// # Errors
/// When the run directory cannot be written; when a container that runs has a file where a directory is wanted, or the
/// other way round.
pub fn write(
    run_dir: &Path,
    replica: &str,
    lineage: &str,
    mounts: &[FileMount],
    writing: Writing<'_>,
) -> io::Result<Vec<(String, String)>> {
    let root = directory(run_dir, replica);
    if mounts.is_empty() {
        return Ok(Vec::new());
    }
    let private = |path: &Path| fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    private(&run_dir.join("files"))?;
    private(&root)?;
    if owner(run_dir, replica).as_deref() != Some(lineage) {
        // At once or not at all: whose files these are is known after a kill too.
        let half = root.join(format!("{OWNER}.tmp"));
        fs::write(&half, lineage)?;
        fs::rename(half, root.join(OWNER))?;
    }
    let stays = |mount: &FileMount| match writing {
        Writing::Stopped => false,
        Writing::Running(references) => !references.contains(&mount.reference),
    };
    if matches!(writing, Writing::Running(_)) {
        for (n, mount) in mounts.iter().enumerate().filter(|(_, mount)| !stays(mount)) {
            if fs::symlink_metadata(root.join(n.to_string()))?.is_file() != mount.is_file() {
                let message = format!("{} was one file and is a directory now, or the other way round", mount.target);
                return Err(io::Error::other(message));
            }
        }
    }
    // Beside what is mounted: no container sees a half of a file.
    let half = root.join("half.tmp");
    mounts
        .iter()
        .enumerate()
        .map(|(n, mount)| {
            let path = root.join(n.to_string());
            if stays(mount) {
                // Its container was not told of anything newer.
            } else if mount.is_file() {
                clear(&path, |found| found.is_dir())?;
                for content in mount.files.values() {
                    match writing {
                        Writing::Stopped => put(&half, content, mount).and_then(|()| fs::rename(&half, &path))?,
                        Writing::Running(_) => put(&path, content, mount)?,
                    }
                }
            } else {
                clear(&path, |found| !found.is_dir())?;
                // The directory itself is shown inside: readable for its owner, as the files are.
                fs::DirBuilder::new().recursive(true).mode(0o755).create(&path)?;
                for (name, content) in &mount.files {
                    put(&half, content, mount)?;
                    fs::rename(&half, path.join(name))?;
                }
                for found in fs::read_dir(&path)? {
                    let found = found?;
                    if found.file_name().to_str().is_none_or(|name| !mount.files.contains_key(name)) {
                        clear(&found.path(), |_| true)?;
                    }
                }
            }
            Ok((path.display().to_string(), mount.target.clone()))
        })
        .collect()
}

/// Removes what is in the way, if it is such as `which` says.
fn clear(path: &Path, which: impl Fn(&fs::FileType) -> bool) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if !which(&found.file_type()) => Ok(()),
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Writes one file. Over one that is there it is never shorter than both on the way: nobody reads an empty one.
fn put(path: &Path, content: &[u8], mount: &FileMount) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.set_len(content.len() as u64)?;
    std::os::unix::fs::fchown(&file, Some(mount.owner.0), Some(mount.owner.1)).or_else(|error| {
        // Not root: our own files stay ours; another owner cannot be had and is an error.
        let own = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        if error.kind() == io::ErrorKind::PermissionDenied && (mount.owner == (0, 0) || mount.owner == own) {
            Ok(())
        } else {
            Err(error)
        }
    })?;
    file.set_permissions(fs::Permissions::from_mode(mount.mode))
}

/// Removes the files of a replica that ended. Gone already is a success.
///
/// # Errors
/// When the run directory cannot be written.
pub fn remove(run_dir: &Path, replica: &str) -> io::Result<()> {
    match fs::remove_dir_all(directory(run_dir, replica)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(source: &str) -> FileRef {
        FileRef { source: source.into(), target: None, uid: None, gid: None, mode: None, env: None }
    }
    fn values(pairs: &[(&str, &str)]) -> Values {
        pairs.iter().map(|(k, v)| ((*k).into(), Zeroizing::new(v.as_bytes().to_vec()))).collect()
    }

    #[test]
    fn a_reference_becomes_a_file_a_directory_or_a_variable() {
        let (one, two) = (values(&[("a", "1")]), values(&[("a", "1"), ("b", "2")]));
        let mount = |r: &FileRef, o, v: &Values| match wanted(r, o, Some(v)) {
            Ok(Wanted::Mount(m)) => (m.target, m.files.len(), m.mode),
            other => panic!("{other:?}"),
        };
        assert_eq!(mount(&reference("c"), Origin::Config, &one), ("/c".into(), 1, 0o444));
        assert_eq!(mount(&reference("s"), Origin::Secret, &two), ("/run/secrets/s".into(), 2, 0o400));
        assert_eq!(mount(&reference("s/b"), Origin::Secret, &two), ("/run/secrets/s".into(), 1, 0o400));
        let variable = FileRef { env: Some("X".into()), ..reference("s/b") };
        assert_eq!(wanted(&variable, Origin::Secret, Some(&two)), Ok(Wanted::Variable("X".into(), "2".into())));
    }

    #[test]
    fn what_is_missing_is_named() {
        let two = values(&[("a", "1"), ("b", "2")]);
        for (source, given, reason, part) in [
            ("s", None, Reason::SecretMissing, "does not exist"),
            ("s/c", Some(&two), Reason::SecretMissing, "it has a, b"),
        ] {
            let found = wanted(&reference(source), Origin::Secret, given).unwrap_err();
            assert_eq!(found.reason, reason);
            assert!(found.message.contains(part), "{}", found.message);
        }
        let variable = FileRef { env: Some("X".into()), ..reference("s") };
        assert!(wanted(&variable, Origin::Secret, Some(&two)).unwrap_err().message.contains("s/KEY"));
    }

    #[test]
    fn a_key_that_is_gone_leaves_no_file_and_the_shape_follows_the_keys() {
        let run = tempfile::tempdir().unwrap();
        let own = FileRef {
            uid: Some(rustix::process::getuid().as_raw()),
            gid: Some(rustix::process::getgid().as_raw()),
            ..reference("c")
        };
        let written = |pairs: &[(&str, &str)]| {
            let Ok(Wanted::Mount(mount)) = wanted(&own, Origin::Config, Some(&values(pairs))) else {
                panic!("no mount")
            };
            let path = PathBuf::from(&write(run.path(), "web-1-x", "01", &[mount], Writing::Stopped).unwrap()[0].0);
            if path.is_file() {
                return vec![fs::read_to_string(path).unwrap()];
            }
            let mut names: Vec<String> =
                fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        assert_eq!(written(&[("a", "1"), ("b", "2"), ("c", "3")]), ["a", "b", "c"]);
        assert_eq!(written(&[("b", "2"), ("d", "4")]), ["b", "d"]);
        assert_eq!(written(&[("b", "5")]), ["5"], "one key is a file");
        assert_eq!(written(&[("a", "1"), ("b", "2")]), ["a", "b"]);
    }

    #[test]
    fn a_running_container_sees_new_files_under_what_it_has_mounted() {
        use std::os::unix::fs::MetadataExt as _;
        let run = tempfile::tempdir().unwrap();
        let own = FileRef {
            uid: Some(rustix::process::getuid().as_raw()),
            gid: Some(rustix::process::getgid().as_raw()),
            mode: Some("0600".into()),
            ..reference("c")
        };
        let write = |pairs: &[(&str, &str)], writing: Writing<'_>| {
            let Ok(Wanted::Mount(mount)) = wanted(&own, Origin::Secret, Some(&values(pairs))) else {
                panic!("no mount")
            };
            write(run.path(), "web-1-x", "01", &[mount], writing).map(|mounts| PathBuf::from(&mounts[0].0))
        };
        let inode = |path: &Path| fs::metadata(path).unwrap().ino();
        let path = write(&[("a", "long")], Writing::Stopped).unwrap();
        let held = inode(&path);
        let references = [own.label(Kind::Secret)];
        let running = Writing::Running(&references);
        write(&[("a", "other")], Writing::Running(&[])).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "long", "what is not named stays");
        write(&[("a", "b")], running).unwrap();
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), inode(&path)), ("b", held), "the file itself");
        let error = write(&[("a", "1"), ("b", "2")], running).unwrap_err().to_string();
        assert!(error.contains("one file and is a directory"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "b", "and nothing was touched");
        write(&[("a", "c")], Writing::Stopped).unwrap();
        assert_ne!(inode(&path), held, "another file under the name");
        write(&[("a", "1"), ("b", "2")], Writing::Stopped).unwrap();
        let (directory, file) = (inode(&path), inode(&path.join("a")));
        write(&[("a", "3"), ("c", "4")], running).unwrap();
        assert_eq!((inode(&path), fs::read_to_string(path.join("a")).unwrap().as_str()), (directory, "3"));
        assert_ne!(inode(&path.join("a")), file, "at once or not at all");
        let names: Vec<_> = fs::read_dir(&path).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
    }

    #[test]
    fn a_tmpfs_is_mounted_once_whoever_needs_it() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let (run, mounted) = (tempfile::tempdir().unwrap(), AtomicUsize::new(0));
        let see_to_it = || {
            let mount = |_: &Path| {
                std::thread::sleep(std::time::Duration::from_millis(20));
                mounted.fetch_add(1, Ordering::Relaxed);
                Ok(())
            };
            in_memory_by(&run.path().join("files"), |_| Ok(mounted.load(Ordering::Relaxed) > 0), mount)
        };
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..4).map(|_| scope.spawn(see_to_it)).collect();
            assert!(all.into_iter().all(|one| one.join().unwrap().is_ok()));
        });
        assert_eq!(mounted.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn memory_is_told_from_a_disk() {
        assert!(is_memory(Path::new("/proc")).is_ok_and(|memory| !memory));
        let shared = Path::new("/dev/shm");
        if shared.is_dir() {
            assert!(is_memory(shared).unwrap());
        }
    }

    #[test]
    fn files_have_their_mode_and_go_with_the_replica() {
        let run = tempfile::tempdir().unwrap();
        let Ok(Wanted::Mount(mount)) = wanted(
            &FileRef {
                mode: Some("0440".into()),
                uid: Some(rustix::process::getuid().as_raw()),
                gid: Some(rustix::process::getgid().as_raw()),
                ..reference("s/a")
            },
            Origin::Secret,
            Some(&values(&[("a", "clear")])),
        ) else {
            panic!("no mount")
        };
        let mounts = write(run.path(), "web-1-x", "01", &[mount], Writing::Stopped).unwrap();
        assert_eq!(owner(run.path(), "web-1-x").as_deref(), Some("01"));
        let (source, target) = &mounts[0];
        assert_eq!((fs::read_to_string(source).unwrap().as_str(), target.as_str()), ("clear", "/run/secrets/s"));
        assert_eq!(fs::metadata(source).unwrap().permissions().mode() & 0o777, 0o440);
        assert_eq!(fs::metadata(run.path().join("files")).unwrap().permissions().mode() & 0o777, 0o700);
        remove(run.path(), "web-1-x").unwrap();
        remove(run.path(), "web-1-x").unwrap();
        assert!(!directory(run.path(), "web-1-x").exists());
    }
}
