//! Data below a replica: is it there, is it the same, may it be made.
//!
//! Here: the verdict on each mount ([`verdict`], pure) and the look at the host ([`look`]).
//! Not here: mounting (`super::container`), the record of first mounts (`model::volume`).
//! Invariant: a missing volume or directory that had data is never made again: that would start a
//! service on nothing. Nothing here ever deletes.
//! Why the file system's UUID and not the device number: device numbers move between boots, and the id
//! that `statvfs` gives is made from them on XFS. It is the fallback where udev names no UUID.

use std::{os::unix::fs::MetadataExt as _, path::Path};

use super::disk::Disk;
use crate::{
    model::{
        Reason, Uid, Volume,
        service::{DataPolicy, Mount, MountKind},
    },
    runtime::{NamedVolume, Runtime, RuntimeError},
};

/// What a look at one mount's source found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// There is nothing.
    Absent,
    /// It is there, on this file system.
    Present {
        /// Identity of the file system.
        filesystem: String,
    },
    /// Its disk does not answer: nothing is known.
    Silent(String),
    /// It was gone when a container was made, and the engine made an empty one.
    Unasked,
}

/// What may be done about one mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Mount it.
    Use,
    /// Make it first: it never was used and the spec allows it.
    Make,
    /// Start nothing.
    Missing(Reason, String),
}

/// The key of a mount's record: unique within the cluster. By the node's uid, which outlives any name.
#[must_use]
pub fn key(node: &Uid, kind: MountKind, source: &str) -> String {
    let kind = match kind {
        MountKind::Bind => "bind",
        MountKind::Volume => "volume",
        MountKind::Tmpfs => "tmpfs",
    };
    format!("{node}/{kind}:{source}")
}

/// Where an engine's volume lies that has no path on this host, or only while it is used: nothing to compare.
const NO_PATH: &str = "driver";
/// How a file system in memory begins: it is another one after each mount.
const MEMORY: &str = "memory:";

/// Decides about one mount. `source`: host path or Docker name. `record`: of its first mount, if any.
#[must_use]
pub fn verdict(mount: &Mount, source: &str, record: Option<&Volume>, seen: &Seen) -> Verdict {
    use MountKind::{Bind, Tmpfs, Volume as Named};
    let lost = |message: String| Verdict::Missing(Reason::DataMissing, message);
    // A cache may be empty, whatever was there once.
    let record = record.filter(|_| mount.policy() != DataPolicy::Cache);
    match (mount.kind, seen, record) {
        (Tmpfs, _, _) => Verdict::Use,
        // Silence is not absence: nothing is made.
        (_, Seen::Silent(why), _) => lost(why.clone()),
        (_, Seen::Unasked, _) if mount.policy().remembered() => lost(format!(
            "volume {source} was gone when a container was made, and the engine made an empty one; \
             remove that, and before it a container that names it: docker volume rm {source}"
        )),
        (_, Seen::Unasked, _) => Verdict::Use,
        (_, Seen::Present { filesystem }, Some(record))
            if mount.policy().remembered()
                && *filesystem != record.filesystem
                && comparable(mount.policy(), filesystem, &record.filesystem) =>
        {
            let way = match mount.policy() {
                DataPolicy::State => "is a disk not mounted?",
                DataPolicy::Shared | DataPolicy::Config | DataPolicy::Cache | DataPolicy::Host => {
                    "is a disk not mounted? If it was moved on purpose, dataPolicy: host compares nothing"
                }
            };
            let first = &record.filesystem;
            lost(format!("{source} is on another file system than at its first use ({filesystem}, not {first}): {way}"))
        }
        (_, Seen::Present { .. }, _) => Verdict::Use,
        (Bind, Seen::Absent, Some(_)) => lost(format!("{source} had data and is gone: is a disk not mounted?")),
        (Named, Seen::Absent, Some(_)) => lost(format!("volume {source} had data and is gone")),
        (Named, Seen::Absent, None) if mount.external => lost(format!("external volume {source} does not exist")),
        (Named, Seen::Absent, None) => Verdict::Make,
        (Bind, Seen::Absent, None) if mount.bind.create_host_path => Verdict::Make,
        (Bind, Seen::Absent, None) => Verdict::Missing(
            Reason::BindSourceMissing,
            format!("{source} does not exist; make it, or set bind.createHostPath: true"),
        ),
    }
}

/// Whether two names of file systems say that the data is elsewhere. Only `state` misses what was in memory.
fn comparable(policy: DataPolicy, seen: &str, recorded: &str) -> bool {
    let both = [seen, recorded];
    let in_memory = both.iter().all(|filesystem| filesystem.starts_with(MEMORY));
    !both.contains(&NO_PATH) && (policy == DataPolicy::State || !in_memory)
}

/// What a look at a mount's source found, and the folder of the host that it is: another's than the engine's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Whether it is there.
    pub seen: Seen,
    /// A bind mount's source, or what a volume was made to be another name of.
    pub folder: Option<String>,
}

/// Looks at a mount's source.
///
/// # Errors
/// When the engine does not answer: silence is not absence.
pub async fn look(runtime: &dyn Runtime, disk: &Disk, kind: MountKind, source: &str) -> Result<Look, RuntimeError> {
    let volume = match kind {
        MountKind::Tmpfs => return Ok(Look { seen: Seen::Absent, folder: None }),
        MountKind::Bind => return Ok(Look { seen: seen(disk, source).await, folder: Some(source.to_owned()) }),
        MountKind::Volume => runtime.volume(source.to_owned()).await?,
    };
    let Some(volume) = volume else { return Ok(Look { seen: Seen::Absent, folder: None }) };
    let found = match volume {
        NamedVolume { unasked: true, .. } => Seen::Unasked,
        NamedVolume { mounted_late: true, .. } => Seen::Present { filesystem: NO_PATH.into() },
        // The engine knows it; a driver may keep it where this host has no path.
        NamedVolume { ref path, .. } => match seen(disk, path).await {
            Seen::Absent => Seen::Present { filesystem: NO_PATH.into() },
            seen => seen,
        },
    };
    Ok(Look { seen: found, folder: volume.folder })
}

async fn seen(disk: &Disk, path: &str) -> Seen {
    disk.look(Path::new(path), at).await.unwrap_or_else(|silent| Seen::Silent(silent.to_string()))
}

/// Looks at a path. A socket or device file is there too.
fn at(path: &Path) -> Seen {
    match rustix::fs::statvfs(path) {
        Ok(found) => {
            let numbered = || format!("{}{:x}", if in_memory(path) { MEMORY } else { "fsid:" }, found.f_fsid);
            Seen::Present { filesystem: uuid(path).unwrap_or_else(numbered) }
        }
        // A link to what is not mounted leads nowhere.
        Err(rustix::io::Errno::NOENT) => Seen::Absent,
        Err(_) if path.symlink_metadata().is_ok() => Seen::Present { filesystem: NO_PATH.into() },
        Err(_) => Seen::Absent,
    }
}

/// Whether a path lies on a tmpfs or ramfs; the numbers are the kernel's (`linux/magic.h`).
fn in_memory(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| [0x0102_1994, 0x8584_58f6].contains(&(found.f_type as u64)))
}

/// UUID of the file system below a path, as udev names the device; none for what has no device of its own.
fn uuid(path: &Path) -> Option<String> {
    let device = path.metadata().ok()?.dev();
    let named = std::fs::read_dir("/dev/disk/by-uuid").ok()?.flatten();
    let own = |e: &std::fs::DirEntry| e.path().metadata().is_ok_and(|m| m.rdev() == device);
    named.into_iter().find(own).map(|e| format!("uuid:{}", e.file_name().to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Index;

    fn mount(kind: MountKind, create: bool, external: bool) -> Mount {
        let mut mount: Mount = serde_json::from_value(serde_json::json!({
            "type": "bind", "source": "/srv/x", "target": "/x"
        }))
        .unwrap();
        (mount.kind, mount.bind.create_host_path, mount.external) = (kind, create, external);
        mount
    }
    fn record() -> Volume {
        Volume {
            key: "n1/bind:/srv/x".into(),
            uid: Uid("v".into()),
            source: "/srv/x".into(),
            node: Uid("n".into()),
            initialised_at: 1,
            filesystem: "aa".into(),
            shared: false,
            services: vec![],
            resource_version: Index(1),
        }
    }

    #[test]
    fn nothing_starts_empty_where_data_was() {
        use MountKind::{Bind, Volume as Named};
        let here = |fs: &str| Seen::Present { filesystem: fs.into() };
        let had = record();
        let in_memory = Volume { filesystem: "memory:1".into(), ..record() };
        let with = |policy, mount| Mount { data_policy: Some(policy), ..mount };
        let (cache, host) = (with(DataPolicy::Cache, mount(Named, false, false)), mount(Bind, false, false));
        let media = || with(DataPolicy::Shared, mount(Bind, true, false));
        let config = with(DataPolicy::Config, mount(Bind, true, false));
        let missing = |v: Verdict| match v {
            Verdict::Missing(reason, _) => Some(reason),
            Verdict::Use | Verdict::Make => None,
        };
        for (case, mount, record, seen, reason) in [
            ("bind gone", mount(Bind, true, false), Some(&had), Seen::Absent, Some(Reason::DataMissing)),
            ("volume gone", mount(Named, false, false), Some(&had), Seen::Absent, Some(Reason::DataMissing)),
            ("disk not mounted", mount(Bind, false, false), Some(&had), here("bb"), Some(Reason::DataMissing)),
            ("same disk", mount(Bind, false, false), Some(&had), here("aa"), None),
            ("never there", mount(Bind, false, false), None, Seen::Absent, Some(Reason::BindSourceMissing)),
            ("external", mount(Named, false, true), None, Seen::Absent, Some(Reason::DataMissing)),
            ("made by the engine", mount(Named, false, false), None, Seen::Unasked, Some(Reason::DataMissing)),
            ("made by the engine as a cache", cache.clone(), None, Seen::Unasked, None),
            ("silent", mount(Bind, true, false), None, Seen::Silent("x".into()), Some(Reason::DataMissing)),
            ("a driver without a path", mount(Named, false, false), Some(&had), here(NO_PATH), None),
            ("shared and not mounted", media(), Some(&had), here("bb"), Some(Reason::DataMissing)),
            ("shared and gone", media(), Some(&had), Seen::Absent, Some(Reason::DataMissing)),
            ("shared and the same", media(), Some(&had), here("aa"), None),
            ("shared for the first time", media(), None, here("bb"), None),
            ("shared in memory, after a reboot", media(), Some(&in_memory), here("memory:2"), None),
            ("shared in memory, and was on a disk", media(), Some(&had), here("memory:2"), Some(Reason::DataMissing)),
            (
                "state in memory",
                mount(Bind, false, false),
                Some(&in_memory),
                here("memory:2"),
                Some(Reason::DataMissing),
            ),
            ("another configuration", config, Some(&had), here("bb"), Some(Reason::DataMissing)),
            ("a host's own", with(DataPolicy::Host, host), Some(&had), here("bb"), None),
            ("a cache may be empty", cache, Some(&had), Seen::Absent, None),
        ] {
            assert_eq!(missing(verdict(&mount, "x", record, &seen)), reason, "{case}");
        }
        assert_eq!(verdict(&mount(Named, false, false), "x", None, &Seen::Absent), Verdict::Make);
        assert_eq!(verdict(&mount(Bind, true, false), "x", None, &Seen::Absent), Verdict::Make);
    }

    #[test]
    fn a_path_is_looked_at_with_its_file_system() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(at(dir.path()), Seen::Present { .. }));
        assert_eq!(at(&dir.path().join("none")), Seen::Absent);
        std::os::unix::fs::symlink(dir.path().join("none"), dir.path().join("link")).unwrap();
        assert_eq!(at(&dir.path().join("link")), Seen::Absent);
        // Every Linux has it.
        assert!(matches!(at(Path::new("/dev/shm")), Seen::Present { filesystem } if filesystem.starts_with(MEMORY)));
    }
}
