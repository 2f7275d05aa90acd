//! What an engine answers about containers: their state, events, logs and commands.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use bytes::Bytes as Chunk;

use super::{ContainerState, EngineRestart};

/// One container in a list: enough to know whose it is and whether it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The engine's id.
    pub id: Arc<str>,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its state.
    pub state: ContainerState,
    /// Networks it is on, running or not.
    pub networks: BTreeSet<String>,
}

/// One container, inspected.
#[derive(Debug, Clone, PartialEq)]
pub struct Container {
    /// The engine's id.
    pub id: Arc<str>,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its state.
    pub state: ContainerState,
    /// Image it was made from, `sha256:…`.
    pub image_id: String,
    /// Of the last run; 0 while it runs.
    pub exit_code: i64,
    /// The kernel ended the last run for want of memory.
    pub oom_killed: bool,
    /// What the engine says went wrong at start.
    pub error: String,
    /// RFC 3339; empty when never started.
    pub started_at: String,
    /// RFC 3339; empty when it never ended.
    pub finished_at: String,
    /// `none`, `starting`, `healthy`, `unhealthy`; none: no health check.
    pub health: Option<String>,
    /// Last output of the health check, for people.
    pub health_log: Option<String>,
    /// Networks it is on, running or not.
    pub networks: BTreeSet<String>,
    /// Docker network → address.
    pub addresses: BTreeMap<String, IpAddr>,
    /// `8080/tcp` → `0.0.0.0:49153`, `127.0.0.1:8081`; sorted, however the engine lists them.
    pub published: BTreeMap<String, Vec<String>>,
    /// The engine's own restart policy.
    pub restart: EngineRestart,
    /// Number of the signal that asks it to end; none: SIGTERM.
    pub stop_signal: Option<u8>,
    /// Seconds from that signal to SIGKILL; none: the engine's own ten.
    pub stop_timeout: Option<u64>,
    /// What it is limited to, by name, as [`super::plan::limits`] writes it.
    pub limits: BTreeMap<&'static str, String>,
    /// Process id of its first process; 0 when it does not run.
    pub pid: i64,
}

/// Something happened to a container; a hint to look, never the truth itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeEvent {
    /// Its id.
    pub container: Arc<str>,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// `create`, `start`, `die`, `stop`, `kill`, `oom`, `destroy`, `health_status`, `pause`, `rename`, …
    pub action: String,
    /// Of `kill`: number of the signal that was sent.
    pub signal: Option<u8>,
    /// Nanoseconds since 1970 at the engine: where to resume.
    pub at: i64,
}

/// One piece of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogChunk {
    /// From standard error.
    pub stderr: bool,
    /// Bytes as written; not always whole lines.
    pub bytes: Chunk,
}

/// Which part of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Goes on while the container runs.
    pub follow: bool,
    /// Last lines; none: all.
    pub tail: Option<u32>,
    /// Seconds since 1970.
    pub since: Option<i64>,
    /// Puts RFC 3339 before each line.
    pub timestamps: bool,
}

/// How a command in a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecResult {
    /// Exit code.
    pub code: i64,
    /// At most 4 KiB of its output.
    pub output: String,
}
