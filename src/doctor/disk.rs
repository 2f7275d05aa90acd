//! Disks: room, how long a sync takes, who may read the data directory.
//!
//! A directory that is not made yet is judged by the one in which it will be.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::Check;
use crate::{
    agent::home::TOKEN,
    store::{self, seal::KEY_FILE},
};

/// How many syncs are measured, and at most for how long.
const SYNCS: usize = 50;
const SYNC_TIME: Duration = Duration::from_secs(5);
/// Bytes written before each: what a small change takes in the log.
const WRITTEN: [u8; 4096] = [0; 4096];
/// A 99th percentile above this makes every change slow to see.
const SLOW: Duration = Duration::from_millis(20);
/// And above this elections of the `lan` profile would be in danger: its heartbeat is 200 ms.
const TOO_SLOW: Duration = Duration::from_millis(500);

/// Files of the data directory that let whoever reads them take over.
const PRIVATE: [&str; 2] = [KEY_FILE, TOKEN];

/// Room of a file system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// Bytes that are left to us, and all.
    pub bytes: (u64, u64),
    /// The same of files; both 0 where the file system has no limit.
    pub files: (u64, u64),
}

/// How much room something needs, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Less is a problem.
    pub least: u64,
    /// Less is a warning.
    pub good: u64,
}
/// The store: its log is cut at some hundred MiB, and one snapshot has to fit beside the other.
pub const DATA: Needs = Needs { least: 256 << 20, good: 1 << 30 };
/// The engine: one pull of a large image.
pub const ENGINE: Needs = Needs { least: 512 << 20, good: 5 << 30 };

/// The data directory as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// It is not made yet.
    Absent {
        /// Whether it would lie in memory.
        in_memory: bool,
    },
    /// It is there.
    Present {
        /// Its permissions.
        mode: u32,
        /// Whether it lies in memory.
        in_memory: bool,
        /// Its files that are for the agent alone, with their permissions; those that are not there yet are left out.
        private: Vec<(&'static str, u32)>,
        /// Why its store stays closed.
        closed: Option<String>,
    },
}

/// The directory, or the one in which it will be made.
pub(super) fn nearest(path: &Path) -> PathBuf {
    path.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/")).to_owned()
}

/// Room where a directory is, or will be.
///
/// # Errors
/// Why it cannot be seen.
pub fn room(path: &Path) -> Result<Room, String> {
    let found = rustix::fs::statvfs(nearest(path)).map_err(|e| format!("{}: {e}", path.display()))?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok(Room { bytes: (bytes(found.f_bavail), bytes(found.f_blocks)), files: (found.f_favail, found.f_files) })
}

/// Writes 4 KiB and syncs, up to 50 times in five seconds, in a trial file; how long each sync took.
///
/// # Errors
/// Why the directory cannot be written.
pub fn syncs(path: &Path) -> Result<Vec<Duration>, String> {
    let trial = nearest(path).join(format!(".constellation-doctor-{}", std::process::id()));
    let measured = measure(&trial);
    // Also one that was only half made.
    let _ = fs::remove_file(&trial);
    measured.map_err(|e| format!("{}: {e}", trial.parent().unwrap_or(path).display()))
}

fn measure(trial: &Path) -> io::Result<Vec<Duration>> {
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(trial)?;
    let (begun, mut all) = (Instant::now(), Vec::with_capacity(SYNCS));
    while all.len() < SYNCS && (all.is_empty() || begun.elapsed() < SYNC_TIME) {
        file.write_all(&WRITTEN)?;
        let at = Instant::now();
        file.sync_data()?;
        all.push(at.elapsed());
    }
    Ok(all)
}

/// Whether a directory lies, or will lie, in memory.
///
/// # Errors
/// Why that cannot be seen.
pub fn in_memory(path: &Path) -> Result<bool, String> {
    let found = rustix::fs::statfs(nearest(path)).map_err(|e| format!("{}: {e}", path.display()))?;
    // tmpfs and ramfs, as `linux/magic.h` numbers them.
    Ok([0x0102_1994, 0x8584_58f6].contains(&(found.f_type as u64)))
}

/// The data directory.
///
/// # Errors
/// Why it cannot be seen.
pub fn data(path: &Path) -> Result<Data, String> {
    let why = |e: io::Error| format!("{}: {e}", path.display());
    let in_memory = in_memory(path)?;
    let found = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Data::Absent { in_memory }),
        found => found.map_err(why)?,
    };
    if !found.is_dir() {
        return Err(format!("{}: not a directory", path.display()));
    }
    if found.uid() != rustix::process::geteuid().as_raw() && !rustix::process::geteuid().is_root() {
        return Err(format!("{}: it belongs to user {}; look as that user or as root", path.display(), found.uid()));
    }
    let mut private = Vec::new();
    for name in PRIVATE {
        match fs::metadata(path.join(name)) {
            Ok(file) => private.push((name, file.permissions().mode() & 0o777)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(why(error)),
        }
    }
    let closed = store::Verdict::read(&path.join(store::FOLDER)).map_err(why)?.map(|verdict| verdict.what);
    Ok(Data::Present { mode: found.permissions().mode() & 0o777, in_memory, private, closed })
}

/// Judges room.
#[must_use]
pub fn judge_room(name: &'static str, room: &Result<Room, String>, needs: Needs) -> Check {
    let room = match room {
        Ok(room) => room,
        Err(why) => return Check::skipped(name, why),
    };
    let ((free, all), (files, all_files)) = (room.bytes, room.files);
    let share = |part: u64, whole: u64| part.saturating_mul(100).checked_div(whole).unwrap_or(100);
    let left = if all_files == 0 { String::new() } else { format!(", {files} files ({}%)", share(files, all_files)) };
    let found = format!("{} MiB free ({}%){left}", free >> 20, share(free, all));
    let advice = "make room, or more of it: a full disk ends the agent with 74 and stops pulls and builds";
    if free < needs.least || (all_files > 0 && share(files, all_files) == 0) {
        return Check::problem(name, found, advice);
    }
    if free < needs.good || share(free, all) < 5 || (all_files > 0 && share(files, all_files) < 5) {
        return Check::warning(name, found, advice);
    }
    Check::ok(name, found)
}

/// Judges how long syncs took.
#[must_use]
pub fn judge_syncs(syncs: &Result<Vec<Duration>, String>) -> Check {
    let name = "sync of the data directory";
    let mut all = match syncs {
        Ok(all) => all.clone(),
        Err(why) => return Check::skipped(name, format!("cannot be tried: {why}")),
    };
    all.sort_unstable();
    let at = |percent: usize| all.get((all.len() * percent / 100).min(all.len().saturating_sub(1))).copied();
    let (Some(middle), Some(late)) = (at(50), at(99)) else { return Check::skipped(name, "nothing was measured") };
    let milliseconds = |time: Duration| time.as_secs_f64() * 1_000.0;
    let found =
        format!("p50 {:.1} ms, p99 {:.1} ms ({} times 4 KiB)", milliseconds(middle), milliseconds(late), all.len());
    let advice = "every change waits for one: put dataDir on a faster disk, or take load off this one";
    if late > TOO_SLOW {
        return Check::problem(name, found, advice);
    }
    if late > SLOW { Check::warning(name, found, advice) } else { Check::ok(name, found) }
}

/// Judges the data directory.
#[must_use]
pub fn judge_data(data: &Result<Data, String>) -> Check {
    let name = "data directory";
    let memory = "it lies in memory: everything is lost when the machine restarts";
    let disk = "choose a --data-dir on a disk";
    match data {
        Err(why) => Check::skipped(name, why),
        Ok(Data::Absent { in_memory: true } | Data::Present { in_memory: true, .. }) => {
            Check::problem(name, memory, disk)
        }
        Ok(Data::Absent { in_memory: false }) => Check::ok(name, "not made yet: the first start makes it"),
        Ok(Data::Present { closed: Some(what), .. }) => Check::problem(
            name,
            format!("its store stays closed: {what}"),
            "see what can be saved: constellation rescue --single --data-dir DIR, which changes nothing yet",
        ),
        Ok(Data::Present { mode, private, .. }) => match private.iter().find(|(_, mode)| mode & 0o077 != 0) {
            // What nobody else can reach nobody else can read; but a copy of it often keeps its mode.
            Some((file, open)) if mode & 0o077 != 0 => Check::problem(
                name,
                format!(
                    "{file} has mode {open:o}, and others may enter (mode {mode:o}): they can take over everything"
                ),
                format!("chmod 600 {file} in it; if somebody read it, make a new one"),
            ),
            Some((file, open)) => Check::warning(
                name,
                format!("{file} has mode {open:o}; only the mode of the directory, {mode:o}, keeps others out"),
                format!("chmod 600 {file} in it"),
            ),
            None if mode & 0o077 != 0 => Check::warning(
                name,
                format!("mode {mode:o}: others may enter it; what is in it is closed to them"),
                "chmod 700 it, if nothing but the agent's is in it",
            ),
            None => {
                let files: Vec<String> = private.iter().map(|(file, mode)| format!(", {file} {mode:o}")).collect();
                Check::ok(name, format!("mode {mode:o}{}", files.concat()))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn room_is_judged_by_bytes_and_by_files() {
        let room = |free: u64, all: u64, files: (u64, u64)| Ok(Room { bytes: (free << 20, all << 20), files });
        for (case, room, level) in [
            ("plenty", room(50_000, 100_000, (500, 1_000)), Level::Ok),
            ("no limit of files", room(50_000, 100_000, (0, 0)), Level::Ok),
            ("little", room(900, 2_000, (500, 1_000)), Level::Warning),
            ("a small share", room(4_000, 100_000, (500, 1_000)), Level::Warning),
            ("few files", room(50_000, 100_000, (40, 1_000)), Level::Warning),
            ("full", room(100, 100_000, (500, 1_000)), Level::Problem),
            ("no files", room(50_000, 100_000, (5, 1_000)), Level::Problem),
            ("unseen", Err("gone".into()), Level::Skipped),
        ] {
            assert_eq!(judge_room("room", &room, DATA).level, level, "{case}");
        }
    }

    #[test]
    fn the_slowest_syncs_count() {
        let times = |fast: usize, slow: usize, ms: u64| {
            let all = [vec![Duration::from_micros(200); fast], vec![Duration::from_millis(ms); slow]].concat();
            judge_syncs(&Ok(all))
        };
        for (check, level) in [
            (times(50, 0, 0), Level::Ok),
            (times(49, 1, 30), Level::Warning),
            (times(49, 1, 600), Level::Problem),
            (times(0, 1, 30), Level::Warning),
            (times(0, 0, 0), Level::Skipped),
        ] {
            assert_eq!(check.level, level, "{check:?}");
        }
        assert_eq!(times(49, 1, 30).found, "p50 0.2 ms, p99 30.0 ms (50 times 4 KiB)");
    }

    #[test]
    fn the_data_directory_is_closed_and_on_a_disk() {
        let present = |mode, in_memory, token| {
            Ok(Data::Present { mode, in_memory, private: vec![(KEY_FILE, 0o600), (TOKEN, token)], closed: None })
        };
        let damaged = Data::Present { mode: 0o700, in_memory: false, private: vec![], closed: Some("torn".into()) };
        for (data, level) in [
            (Ok(Data::Absent { in_memory: false }), Level::Ok),
            (Ok(Data::Absent { in_memory: true }), Level::Problem),
            (present(0o700, false, 0o600), Level::Ok),
            (present(0o755, false, 0o600), Level::Warning),
            (present(0o700, false, 0o640), Level::Warning),
            (present(0o755, false, 0o640), Level::Problem),
            (present(0o700, true, 0o600), Level::Problem),
            (Ok(damaged), Level::Problem),
            (Err("denied".into()), Level::Skipped),
        ] {
            assert_eq!(judge_data(&data).level, level, "{data:?}");
        }
    }

    #[test]
    fn looks_leave_nothing_behind_also_where_nothing_is_yet() {
        let dir = tempfile::tempdir().unwrap();
        let later = dir.path().join("not/yet");
        assert!(room(&later).unwrap().bytes.1 > 0);
        let measured = syncs(&later).unwrap();
        assert!(!measured.is_empty() && measured.len() <= SYNCS, "{measured:?}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "the trial file is gone");
        assert!(matches!(data(&later), Ok(Data::Absent { .. })));
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o750)).unwrap();
        fs::write(dir.path().join(KEY_FILE), "k").unwrap();
        fs::set_permissions(dir.path().join(KEY_FILE), fs::Permissions::from_mode(0o644)).unwrap();
        let found = data(dir.path()).unwrap();
        let Data::Present { mode: 0o750, private, closed: None, .. } = &found else { panic!("{found:?}") };
        assert_eq!(private, &[(KEY_FILE, 0o644)]);
        fs::create_dir(dir.path().join(store::FOLDER)).unwrap();
        store::Verdict::give(&dir.path().join(store::FOLDER), "torn").unwrap();
        assert!(judge_data(&data(dir.path())).found.ends_with("stays closed: torn"), "{:?}", data(dir.path()));
    }
}
