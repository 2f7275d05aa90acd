//! Where the clear files of Secrets lie, or will lie: in memory, in memory that may be written to swap, or nowhere.
//!
//! Here: [`look`], as the agent looks at it (`reconcile::files`), and [`judge`]. Nothing is mounted for the look.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::Check;

/// `CAP_SYS_ADMIN`, as `linux/capability.h` numbers it: who mounts has it.
const SYS_ADMIN: u32 = 21;

/// What is where the files go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A file system that has no disk.
    Memory {
        /// Whether the kernel may write it to swap.
        swapped: bool,
    },
    /// A disk: the agent mounts a tmpfs of its own there.
    Disk {
        /// Why it cannot.
        hindered: Option<String>,
    },
}

/// The place, and where memory may go from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clear {
    /// Where the files go.
    pub place: Place,
    /// Swap that is on a disk and not encrypted.
    pub plain_swap: Vec<String>,
}

/// Looks at the run directory with the eyes of that process: the agent's, where one runs.
///
/// # Errors
/// Why that cannot be seen.
pub fn look(run_dir: &Path, process: &str) -> Result<Clear, String> {
    let root = run_dir.join("files");
    let there = super::disk::nearest(&root);
    let why = |e: io::Error| format!("{}: {e}", there.display());
    let read = |path: &str| fs::read_to_string(path).map_err(|e| format!("{path}: {e}"));
    let place = if super::disk::in_memory(&there)? {
        let device = fs::metadata(&there).map_err(why)?.dev();
        let device = (rustix::fs::major(device), rustix::fs::minor(device));
        Place::Memory { swapped: may_be_swapped(&read("/proc/self/mountinfo")?, device) }
    } else {
        let holds_files = there == root && fs::read_dir(&root).map_err(why)?.next().is_some();
        let filesystems = read("/proc/filesystems")?;
        let status = read(&format!("/proc/{process}/status"))?;
        Place::Disk { hindered: hindrance(holds_files, &filesystems, &status) }
    };
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    let plain = |name: &PathBuf| !is_sealed(name, Path::new("/sys"));
    let plain_swap = swaps_of(&swaps).into_iter().filter(plain).map(|name| name.display().to_string()).collect();
    Ok(Clear { place, plain_swap })
}

/// Whether the kernel may write a file system of this device to swap, as `/proc/PID/mountinfo` tells it.
pub(super) fn may_be_swapped(mounts: &str, (major, minor): (u32, u32)) -> bool {
    let device = format!("{major}:{minor}");
    let ours = mounts.lines().filter(|line| line.split_whitespace().nth(2) == Some(&device));
    ours.filter_map(|line| line.split_once(" - ")).any(|(_, rest)| {
        let mut rest = rest.split_whitespace();
        let (kind, options) = (rest.next(), rest.nth(1).unwrap_or_default());
        kind == Some("tmpfs") && !options.split(',').any(|option| option == "noswap")
    })
}

/// What keeps a process from having a tmpfs there.
fn hindrance(holds_files: bool, filesystems: &str, status: &str) -> Option<String> {
    let effective = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
    if holds_files {
        return Some("it holds files already".into());
    }
    if !filesystems.lines().any(|line| line.split_whitespace().last() == Some("tmpfs")) {
        return Some("this kernel has no tmpfs".into());
    }
    let allowed = effective.is_some_and(|all| all >> SYS_ADMIN & 1 == 1);
    (!allowed).then(|| "mounting takes CAP_SYS_ADMIN, which an agent of the unit does not have".into())
}

/// What `/proc/swaps` names and lies on a disk: zram is memory.
pub(super) fn swaps_of(swaps: &str) -> BTreeSet<PathBuf> {
    let names = swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| !name.starts_with("/dev/zram")).map(PathBuf::from).collect()
}

/// Whether what is written there is encrypted: the device, that of the file, or all that it is made of. What cannot be
/// seen is taken for clear.
fn is_sealed(swap: &Path, sys: &Path) -> bool {
    let Ok(facts) = fs::metadata(swap) else { return false };
    let device = if facts.rdev() == 0 { facts.dev() } else { facts.rdev() };
    let folder = format!("dev/block/{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    below_is_sealed(&sys.join(folder), 8)
}

/// The same of a block device's folder in `/sys`; `depth`: how many layers are looked through.
fn below_is_sealed(device: &Path, depth: u32) -> bool {
    // dm-crypt and what `cryptsetup` opens begin so.
    if fs::read_to_string(device.join("dm/uuid")).is_ok_and(|uuid| uuid.starts_with("CRYPT-")) {
        return true;
    }
    let Some(depth) = depth.checked_sub(1) else { return false };
    let below: Vec<_> = fs::read_dir(device.join("slaves")).into_iter().flatten().flatten().collect();
    !below.is_empty() && below.iter().all(|slave| below_is_sealed(&slave.path(), depth))
}

/// Judges where clear secrets lie.
#[must_use]
pub fn judge(run_dir: &Path, clear: &Result<Clear, String>) -> Check {
    let name = "run directory";
    let path = run_dir.display();
    let clear = match clear {
        Ok(clear) => clear,
        Err(why) => return Check::skipped(name, why),
    };
    let advice = "mount a tmpfs there (most systems do at /run), or choose a --run-dir that is on one";
    match &clear.place {
        Place::Memory { swapped: true } if !clear.plain_swap.is_empty() => Check::warning(
            name,
            format!(
                "{path} is in memory that may be written to swap, which is not encrypted ({}): files of Secrets too",
                clear.plain_swap.join(", ")
            ),
            format!("encrypt the swap, turn it off, or mount a tmpfs with `noswap` (Linux 6.4) at {path}/files"),
        ),
        Place::Memory { .. } => Check::ok(name, format!("{path} is in memory")),
        Place::Disk { hindered: None } => Check::warning(
            name,
            format!(
                "{path} is on a disk: for files of Secrets the agent mounts a tmpfs at {path}/files; one that may not, as \
                 under the unit, starts nothing that has such files"
            ),
            advice,
        ),
        Place::Disk { hindered: Some(why) } => Check::problem(
            name,
            format!(
                "{path}/files is on a disk, and no tmpfs can be mounted there ({why}): the agent starts nothing that has \
                 files of Secrets"
            ),
            advice,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    const MOUNTS: &str = "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
        25 22 0:24 / /run rw,nosuid shared:1 - tmpfs tmpfs rw,size=1000k,mode=755\n\
        26 25 0:40 / /run/constellation/files rw,nosuid - tmpfs constellation rw,mode=700,noswap\n\
        27 25 0:41 / /run/old rw - ramfs x rw\n";

    #[test]
    fn memory_that_may_be_swapped_is_told_from_memory_that_stays() {
        for (device, swapped) in [((0, 24), true), ((0, 40), false), ((0, 41), false), ((9, 9), false)] {
            assert_eq!(may_be_swapped(MOUNTS, device), swapped, "{device:?}");
        }
        let swaps = "Filename\tType\tSize\tUsed\tPriority\n/dev/dm-1 partition 8 0 -2\n/dev/zram0 partition 8 0 5\n";
        assert_eq!(swaps_of(swaps), BTreeSet::from(["/dev/dm-1".into()]));
    }

    #[test]
    fn swap_is_encrypted_when_every_disk_below_it_is() {
        let sys = tempfile::tempdir().unwrap();
        let device = |name: &str, uuid: Option<&str>, below: &[&str]| {
            let folder = sys.path().join(name);
            fs::create_dir_all(folder.join("slaves")).unwrap();
            for slave in below {
                std::os::unix::fs::symlink(sys.path().join(slave), folder.join("slaves").join(slave)).unwrap();
            }
            if let Some(uuid) = uuid {
                fs::create_dir(folder.join("dm")).unwrap();
                fs::write(folder.join("dm/uuid"), uuid).unwrap();
            }
            folder
        };
        let disk = device("disk", None, &[]);
        let sealed = device("sealed", Some("CRYPT-LUKS2-1-x\n"), &["disk"]);
        let volume = device("volume", Some("LVM-1\n"), &["sealed"]);
        let mixed = device("mixed", Some("LVM-2\n"), &["sealed", "disk"]);
        let around = device("around", None, &["around"]);
        for (folder, is) in [(disk, false), (sealed, true), (volume, true), (mixed, false), (around, false)] {
            assert_eq!(below_is_sealed(&folder, 8), is, "{}", folder.display());
        }
        assert!(!is_sealed(Path::new("/no/such/swap"), sys.path()), "what is not seen is taken for clear");
    }

    #[test]
    fn a_tmpfs_takes_room_the_kernel_and_the_right_to_mount() {
        let (all, unit) = ("Name:\tx\nCapEff:\t000001ffffffffff\n", "CapEff:\t0000000000080407\n");
        let (kernel, bare) = ("nodev\ttmpfs\n\text4\n", "\text4\n");
        for (holds, kernel, status, why) in [
            (false, kernel, all, None),
            (true, kernel, all, Some("holds files")),
            (false, bare, all, Some("no tmpfs")),
            (false, kernel, unit, Some("CAP_SYS_ADMIN")),
            (false, kernel, "", Some("CAP_SYS_ADMIN")),
        ] {
            let found = hindrance(holds, kernel, status);
            assert_eq!(found.is_some(), why.is_some(), "{found:?}");
            assert!(found.unwrap_or_default().contains(why.unwrap_or_default()), "{why:?}");
        }
    }

    #[test]
    fn what_the_agent_does_with_the_directory_is_what_is_said() {
        let clear = |place: &Place, swap: &[&str]| {
            let plain_swap = swap.iter().map(ToString::to_string).collect();
            judge(Path::new("/x"), &Ok(Clear { place: place.clone(), plain_swap }))
        };
        let (swapped, stays) = (Place::Memory { swapped: true }, Place::Memory { swapped: false });
        let (mounts, refuses) = (Place::Disk { hindered: None }, Place::Disk { hindered: Some("no tmpfs".into()) });
        for (check, level, words) in [
            (clear(&swapped, &[]), Level::Ok, "/x is in memory"),
            (clear(&swapped, &["/dev/vdb"]), Level::Warning, "not encrypted (/dev/vdb)"),
            (clear(&stays, &["/dev/vdb"]), Level::Ok, "/x is in memory"),
            (clear(&mounts, &[]), Level::Warning, "mounts a tmpfs at /x/files"),
            (clear(&refuses, &[]), Level::Problem, "(no tmpfs): the agent starts nothing"),
            (judge(Path::new("/x"), &Err("denied".into())), Level::Skipped, "denied"),
        ] {
            assert!(check.level == level && check.found.contains(words), "{check:?}");
        }
    }

    #[test]
    fn a_directory_that_is_not_made_yet_is_judged_by_where_it_will_be() {
        let memory = look(Path::new("/dev/shm/not/made"), "self").unwrap();
        assert!(matches!(memory.place, Place::Memory { .. }), "{memory:?}");
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        if super::super::disk::in_memory(dir.path()).unwrap() {
            return;
        }
        fs::create_dir(dir.path().join("files")).unwrap();
        fs::write(dir.path().join("files/x"), "").unwrap();
        let held = look(dir.path(), "self").unwrap();
        assert_eq!(held.place, Place::Disk { hindered: Some("it holds files already".into()) });
    }
}
