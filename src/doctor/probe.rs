//! Reading the facts, each within a bound.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, SystemTime},
};

use tokio::{process::Command, time::timeout};

use super::{
    engine::Rotates,
    machine::{controllers_of, files_of, memory_of},
};
use crate::runtime::docker::{Docker, Survey};

/// How long the engine may take: its calls have bounds of their own, this one is for all of them.
const ENGINE: Duration = Duration::from_secs(10);
/// How long a look at a disk may take: a mount whose server is gone never answers.
const DISK: Duration = Duration::from_secs(15);
/// How long a program that knows about the clock may take.
const PROGRAM: Duration = Duration::from_secs(3);
/// How far ahead of the clock a file may have been written before the clock must have gone back.
const AHEAD: Duration = Duration::from_secs(5);

/// What the kernel and its helpers say. None: they do not say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Release of the kernel.
    pub kernel: String,
    /// File systems that it can mount.
    pub filesystems: Option<BTreeSet<String>>,
    /// Whether nf_tables is there.
    pub nf_tables: Option<bool>,
    /// Controllers of control groups that are on.
    pub controllers: Option<BTreeSet<String>>,
    /// Memory: all, and what is available; bytes.
    pub memory: Option<(u64, u64)>,
    /// Whether the clock is synchronised.
    pub synchronised: Synchronised,
    /// How far in the future the store was written last.
    pub written_ahead: Option<Duration>,
}

/// Whether the clock is synchronised, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Synchronised {
    /// It is.
    Yes(String),
    /// It is not.
    No(String),
    /// Nobody says.
    Unknown,
}

/// How many files may be opened, by whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Descriptors {
    /// By the agent that runs here.
    OfAgent {
        /// Its process.
        pid: u32,
        /// Its soft limit.
        limit: u64,
    },
    /// By what is started from here.
    OfShell {
        /// The soft limit.
        limit: u64,
    },
}

/// What the engine says of itself, or why it says nothing.
///
/// # Errors
/// For people.
pub async fn survey(host: &str) -> Result<Survey, String> {
    let docker = Docker::connect(host).map_err(|e| e.to_string())?;
    match timeout(ENGINE, docker.survey()).await {
        Ok(survey) => survey.map_err(|e| e.to_string()),
        Err(_) => Err(format!("{host} gave no answer within {ENGINE:?}")),
    }
}

/// A look that may block, on a thread that nobody waits for longer than [`DISK`].
///
/// # Errors
/// That of the look, or that it took longer.
pub async fn blocking<T: Send + 'static>(
    look: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    match timeout(DISK, tokio::task::spawn_blocking(look)).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => Err(format!("the look ended by itself: {error}")),
        Err(_) => Err(format!("no answer within {DISK:?}: is its disk or server gone?")),
    }
}

/// Everything about the machine; of its disks only how far in the future the store of `data` was written.
pub async fn machine(data: PathBuf) -> Machine {
    let read = |path: &str| fs::read_to_string(path).ok();
    let filesystems = read("/proc/filesystems")
        .map(|text| text.lines().filter_map(|line| line.split_whitespace().last().map(str::to_owned)).collect());
    let cgroups = read("/proc/cgroups").unwrap_or_default();
    let controllers = controllers_of(&cgroups, &read("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default());
    let modules = read("/proc/modules");
    let nf_tables = Path::new("/sys/module/nf_tables").exists()
        || modules.as_ref().is_some_and(|text| text.lines().any(|line| line.starts_with("nf_tables ")));
    Machine {
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        filesystems,
        nf_tables: (nf_tables || modules.is_some()).then_some(nf_tables),
        controllers: Some(controllers).filter(|all| !all.is_empty()),
        memory: read("/proc/meminfo").and_then(|text| memory_of(&text)),
        synchronised: synchronised().await,
        written_ahead: blocking(move || Ok(written_ahead(&data))).await.unwrap_or_default(),
    }
}

/// Asks those who keep the clock.
async fn synchronised() -> Synchronised {
    if Path::new("/run/systemd/timesync/synchronized").exists() {
        return Synchronised::Yes("systemd-timesyncd".into());
    }
    for Teller { program, arguments, read } in TELLERS {
        let said = Command::new(program).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
        let Ok(Ok(said)) = timeout(PROGRAM, said).await else { continue };
        match read(&String::from_utf8_lossy(&said.stdout)).filter(|_| said.status.success()) {
            Some(true) => return Synchronised::Yes(program.into()),
            Some(false) => return Synchronised::No(program.into()),
            None => {}
        }
    }
    Synchronised::Unknown
}

/// A program that knows whether the clock is synchronised.
struct Teller {
    program: &'static str,
    arguments: &'static [&'static str],
    read: fn(&str) -> Option<bool>,
}

const TELLERS: [Teller; 2] = [
    // It asks the kernel, whoever keeps the clock.
    Teller {
        program: "timedatectl",
        arguments: &["show", "--property=NTPSynchronized", "--value"],
        read: |said| match said.trim() {
            "yes" => Some(true),
            "no" => Some(false),
            _ => None,
        },
    },
    Teller {
        program: "chronyc",
        arguments: &["-n", "tracking"],
        read: |said| {
            let status = said.lines().find_map(|line| line.strip_prefix("Leap status")?.split_once(':'))?;
            Some(status.1.trim() != "Not synchronised")
        },
    },
];

/// How far in the future the store was written, when that is more than some seconds.
fn written_ahead(data: &Path) -> Option<Duration> {
    let newest =
        fs::read_dir(data.join("raft")).ok()?.flatten().filter_map(|e| e.metadata().ok()?.modified().ok()).max();
    newest?.duration_since(SystemTime::now()).ok().filter(|ahead| *ahead > AHEAD)
}

/// How many files the agent of this data directory may open, or what is started from here.
#[must_use]
pub fn descriptors(data: &Path) -> Descriptors {
    // The file says whose lock it is; the process may have ended.
    let owner = fs::read_to_string(data.join("lock")).unwrap_or_default();
    let pid = owner.strip_prefix("process ").and_then(|rest| rest.split_whitespace().next()?.parse::<u32>().ok());
    let ours =
        |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "constellation");
    let of = |pid: u32| {
        let limit = files_of(&fs::read_to_string(format!("/proc/{pid}/limits")).ok()?)?;
        Some(Descriptors::OfAgent { pid, limit })
    };
    let shell = || rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    pid.filter(ours).and_then(of).unwrap_or_else(|| Descriptors::OfShell { limit: shell() })
}

/// Whether the engine's file bounds logs.
#[must_use]
pub fn rotates() -> Option<Rotates> {
    rotates_in(&fs::read_to_string("/etc/docker/daemon.json").ok()?)
}

fn rotates_in(daemon: &str) -> Option<Rotates> {
    let settings: serde_json::Value = serde_json::from_str(daemon).ok()?;
    Some(Rotates(settings.get("log-opts").and_then(|options| options.get("max-size")).is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_file_says_whether_logs_are_bounded() {
        assert_eq!(rotates_in(r#"{"log-opts": {"max-size": "10m"}}"#), Some(Rotates(true)));
        assert_eq!(rotates_in(r#"{"live-restore": true}"#), Some(Rotates(false)));
        assert_eq!(rotates_in("{"), None);
    }

    #[tokio::test]
    async fn a_machine_is_described_and_a_store_from_the_future_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("raft")).unwrap();
        let file = fs::File::create(dir.path().join("raft/x")).unwrap();
        let found = machine(dir.path().to_owned()).await;
        assert!(!found.kernel.is_empty() && found.memory.is_some() && found.written_ahead.is_none(), "{found:?}");
        file.set_modified(SystemTime::now() + Duration::from_secs(600)).unwrap();
        assert!(
            machine(dir.path().to_owned()).await.written_ahead.is_some_and(|ahead| ahead > Duration::from_secs(500))
        );
    }

    #[test]
    fn who_keeps_the_clock_is_understood() {
        let [kernel, chrony] = TELLERS.map(|teller| teller.read);
        assert_eq!((kernel("yes\n"), kernel("no\n"), kernel("Failed to connect")), (Some(true), Some(false), None));
        let leap = |status: &str| chrony(&format!("Stratum         : 3\nLeap status     : {status}\n"));
        assert_eq!(
            (leap("Normal"), leap("Not synchronised"), chrony("506 Cannot talk")),
            (Some(true), Some(false), None)
        );
    }

    #[tokio::test]
    async fn no_engine_is_an_answer() {
        let said = survey("unix:///nowhere/docker.sock").await.unwrap_err();
        assert!(said.contains("/nowhere/docker.sock"), "{said}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_engine_that_takes_requests_and_answers_none_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("docker.sock");
        let _silent = tokio::net::UnixListener::bind(&path).unwrap();
        let said = timeout(Duration::from_secs(30), survey(&format!("unix://{}", path.display()))).await.unwrap();
        assert!(said.unwrap_err().contains("within"));
    }

    #[test]
    fn a_lock_of_a_process_that_ended_is_no_agent() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("lock"), "process 4194305\n").unwrap();
        assert!(matches!(descriptors(dir.path()), Descriptors::OfShell { limit } if limit > 0));
    }
}
