//! How long each call to an engine may take.
//!
//! Here: one [`Op`] for each kind of call, its name and its deadline; real engine and fake share them.
//! Not here: what follows a missed deadline (`reconcile::agent`).
//! Why so long for create and start: thirty at once on two cores take an engine 6 s and more, and a
//! call given up is not undone. A hung engine is noticed by `info` and `list`, which are short.

use std::time::Duration;

use super::RuntimeError;

/// One kind of call, with its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Op {
    /// What it is called in errors and counters.
    pub name: &'static str,
    /// Its deadline: for the whole call, or for each item of a stream.
    pub limit: Duration,
}

const fn op(name: &'static str, seconds: u64) -> Op {
    Op { name, limit: Duration::from_secs(seconds) }
}

/// Version and platform of the engine.
pub const INFO: Op = op("info", 5);
/// Anything at all: whether the engine is there.
pub const ANSWERS: Op = op("a look", 5);
/// Since when the engine runs.
pub const BEGAN: Op = op("began", 5);
/// CPU and memory.
pub const CAPACITY: Op = op("capacity", 5);
/// Containers by label.
pub const LIST: Op = op("list", 10);
/// One container.
pub const INSPECT: Op = op("inspect", 10);
/// Making a container: with a new volume the engine copies what the image has there.
pub const CREATE: Op = op("create", 120);
/// Starting a container.
pub const START: Op = op("start", 60);
/// Stopping: the margin over the grace.
pub const STOP: Op = op("stop", 15);
/// Sending a signal.
pub const SIGNAL: Op = op("signal", 15);
/// Removing a container.
pub const REMOVE: Op = op("remove", 60);
/// Changing a restart policy.
pub const SET_RESTART: Op = op("set_restart", 15);
/// Putting a container on networks.
pub const CONNECT: Op = op("connect", 30);
/// Making a network.
pub const ENSURE_NETWORK: Op = op("ensure_network", 30);
/// Looking at a volume.
pub const VOLUME: Op = op("volume", 15);
/// Making a volume.
pub const ENSURE_VOLUME: Op = op("ensure_volume", 30);
/// Looking at an image.
pub const IMAGE: Op = op("image", 15);
/// Asking a registry for a digest.
pub const RESOLVE: Op = op("resolve", 30);
/// Silence of a pull: a big layer is unpacked without a word.
pub const PULL: Op = op("pull", 300);
/// Silence of an event stream, after which it ends; the caller resumes where it was.
pub const EVENTS: Op = op("events", 120);
/// Silence of a log that is read to its end; of a followed one, until the container is looked at.
pub const LOGS: Op = op("logs", 30);
/// Until a command runs in a container; from then on it has the caller's deadline.
pub const EXEC: Op = op("exec", 30);
/// Silence of a build: a step may compile for long without a word.
pub const BUILD: Op = op("build", 1800);

/// What is said of a command that outlived its deadline and shall begin again.
#[must_use]
pub fn still_runs(command: &[String]) -> RuntimeError {
    RuntimeError::CommandHung { message: format!("the last `{}` still runs in the container", command.join(" ")) }
}

/// What is said of a command that ran for its whole time and goes on.
#[must_use]
pub fn hung(command: &[String], limit: Duration) -> RuntimeError {
    RuntimeError::CommandHung { message: format!("`{}` did not end within {limit:?}", command.join(" ")) }
}

impl Op {
    /// The same with another deadline.
    #[must_use]
    pub const fn within(self, limit: Duration) -> Self {
        Self { name: self.name, limit }
    }
    /// What is said when the deadline is missed.
    #[must_use]
    pub const fn missed(self) -> RuntimeError {
        RuntimeError::Unresponsive { op: self.name, limit: self.limit }
    }
}
