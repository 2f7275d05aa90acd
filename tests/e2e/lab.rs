//! The engine of the tests, taken by one test at a time.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::docker::Docker;

/// The address of the engine's host, as clients see it.
pub const OUTSIDE: &str = "198.18.0.1";

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The engine, its namespace and its registries.
pub struct Lab {
    /// Its engine.
    pub docker: Docker,
    /// For `nsenter`; agents run in it so that container addresses can be reached.
    pub netns: PathBuf,
    /// For `nsenter`: a machine beside it, which reaches it at [`OUTSIDE`].
    pub clients: PathBuf,
    /// A Python that has `websockets`.
    pub python: PathBuf,
    /// `host:port` of a registry that is open to all.
    pub registry: String,
    /// `host:port` of a registry that wants a password.
    pub private_registry: String,
    _turn: MutexGuard<'static, ()>,
}

fn variable(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run `make test`, or `eval \"$(tests/setup/lab.sh up)\"` first"))
}

impl Lab {
    /// Waits for its turn and clears the engine.
    pub fn take() -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let lab = Self {
            docker: Docker::at(&variable("CONSTELLATION_TEST_DOCKER_HOST")),
            netns: variable("CONSTELLATION_TEST_NETNS").into(),
            clients: variable("CONSTELLATION_TEST_CLIENTS").into(),
            python: variable("CONSTELLATION_TEST_PYTHON").into(),
            registry: variable("CONSTELLATION_TEST_REGISTRY"),
            private_registry: variable("CONSTELLATION_TEST_PRIVATE_REGISTRY"),
            _turn: turn,
        };
        lab.docker.clear();
        lab
    }
    /// Ends the engine, and with it what runs there, and starts it again.
    pub fn restart_engine(&self) {
        self.engine("restart");
    }
    /// `lab.sh COMMAND`: `stop`, `start`, `restart`, …
    pub fn engine(&self, command: &str) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/setup/lab.sh");
        let words = command.split(' ');
        let out = Command::new("timeout").args(["150", "bash", script]).args(words).stdin(Stdio::null()).output();
        let out = out.unwrap();
        assert!(out.status.success(), "{command} of the engine: {}", String::from_utf8_lossy(&out.stderr));
    }
    /// The engine takes every call and answers none, as long as the value is kept.
    pub fn freeze_engine(&self) -> impl Drop + '_ {
        self.engine("freeze");
        Undo(self, "thaw")
    }
    /// Whether containers outlive the engine, as long as the value is kept.
    pub fn live_engine(&self, live: bool) -> impl Drop + '_ {
        self.engine(if live { "live true" } else { "live false" });
        Undo(self, "live false")
    }
    /// A command in the namespace of the engine, without variables of ours.
    pub fn inside(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        entering(&self.netns, program.as_ref())
    }
    /// A command on the machine of the clients.
    pub fn beside(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        entering(&self.clients, program.as_ref())
    }
    /// The answer of `GET url` from inside the namespace; an error text otherwise.
    pub fn get(&self, url: &str) -> Result<String, String> {
        let out = self.inside("curl").args(["-sS", "-f", "-m", "5", url]).output().unwrap();
        if out.status.success() {
            Ok(String::from_utf8_lossy(&out.stdout).into_owned())
        } else {
            Err(String::from_utf8_lossy(&out.stderr).into_owned())
        }
    }
}

fn entering(namespace: &Path, program: &std::ffi::OsStr) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", namespace.display())).arg(program);
    without_ours(&mut command);
    command
}

/// What is to be done to the engine in the end.
struct Undo<'l>(&'l Lab, &'static str);

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        self.0.engine(self.1);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.docker.clear();
    }
}

/// Removes every `CONSTELLATION_*` variable: an agent refuses those it does not know.
pub fn without_ours(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CONSTELLATION_") {
            command.env_remove(name);
        }
    }
}

/// Whether everything is to be tried, as `make test-long` does.
pub fn long() -> bool {
    std::env::var_os("CONSTELLATION_TEST_LONG").is_some()
}

/// Full counts in `make test-long`, a tenth otherwise.
pub fn count(full: usize) -> usize {
    if long() { full } else { full / 10 }
}
