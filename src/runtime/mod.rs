//! The container runtime: what the agent asks of an engine, and who answers.
//!
//! Here: the trait [`Runtime`] and its values. [`docker`] talks to a real engine through bollard;
//! [`fake`] is an engine in memory for fast tests; [`conformance`] is the one suite that both keep;
//! [`limits`] says how long each call may take.
//! Not here: deciding what to ask (`plan::agent`), retries (`reconcile::agent`).
//! Invariant: every call ends within a deadline of its own; a call that was answered late may have
//! had its effect, so callers look before they repeat.

pub mod docker;
pub mod limits;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes as Chunk;
use futures::{future::BoxFuture, stream::BoxStream};
use serde::{Deserialize, Serialize};

pub use crate::model::status::EngineInfo;
use crate::model::{
    Bytes, Millicores,
    service::{Healthcheck, Logging, Protocol, Ulimit},
};

/// Everything an engine needs to make one container; made by `plan::container` from a Replica's revision.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ContainerPlan {
    /// Name, unique on the engine.
    pub name: String,
    /// What the engine is given: image id or `repository@digest`.
    pub image: String,
    /// `os/arch[/variant]`.
    pub platform: Option<String>,
    /// Ours and the user's.
    pub labels: BTreeMap<String, String>,
    /// Overrides the image's CMD.
    pub command: Option<Vec<String>>,
    /// Overrides the image's ENTRYPOINT.
    pub entrypoint: Option<Vec<String>>,
    /// Directory the process starts in.
    pub working_dir: Option<String>,
    /// `user[:group]`.
    pub user: Option<String>,
    /// Further groups of the process.
    pub group_add: Vec<String>,
    /// Host name inside.
    pub hostname: Option<String>,
    /// Variables.
    pub environment: BTreeMap<String, String>,
    /// Ports to publish.
    pub ports: Vec<PublishedPort>,
    /// TCP ports that are not published.
    pub expose: Vec<u16>,
    /// Binds, volumes and tmpfs, with Docker names.
    pub mounts: Vec<MountPlan>,
    /// Path → options of an empty file system in memory.
    pub tmpfs: BTreeMap<String, String>,
    /// The engine's health check; the image's when not set.
    pub healthcheck: Option<Healthcheck>,
    /// Limit of CPU.
    pub cpus: Option<Millicores>,
    /// Limit of memory.
    pub memory: Option<Bytes>,
    /// Memory that is kept under pressure.
    pub memory_reservation: Option<Bytes>,
    /// Limit of processes.
    pub pids: Option<u32>,
    /// `host[:container[:rwm]]`.
    pub devices: Vec<String>,
    /// Added capabilities.
    pub cap_add: Vec<String>,
    /// Dropped capabilities.
    pub cap_drop: Vec<String>,
    /// Kernel parameters.
    pub sysctls: BTreeMap<String, String>,
    /// Process limits by name.
    pub ulimits: BTreeMap<String, Ulimit>,
    /// Name → address in /etc/hosts.
    pub extra_hosts: BTreeMap<String, String>,
    /// Name servers.
    pub dns: Vec<String>,
    /// Search domains.
    pub dns_search: Vec<String>,
    /// Options of resolv.conf.
    pub dns_opt: Vec<String>,
    /// How it reaches networks.
    pub network: NetworkPlan,
    /// Log driver; the engine's default when not set.
    pub logging: Option<Logging>,
    /// Signal that asks it to end; the image's when not set.
    pub stop_signal: Option<String>,
    /// Seconds between the stop signal and SIGKILL, for whoever stops it by hand.
    pub stop_timeout: u64,
    /// Runs an init as process 1.
    pub init: Option<bool>,
    /// IPC namespace.
    pub ipc: Option<String>,
    /// PID namespace.
    pub pid: Option<String>,
    /// All capabilities and devices of the host.
    pub privileged: bool,
    /// AppArmor, SELinux, seccomp, no-new-privileges.
    pub security_opt: Vec<String>,
    /// Root file system read-only.
    pub read_only: bool,
    /// Size of /dev/shm.
    pub shm_size: Option<Bytes>,
    /// `no` or `unless-stopped`: see the design on restarts.
    pub restart: EngineRestart,
}

/// Docker's own restart policy, of which we use two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EngineRestart {
    /// Only we restart it.
    #[default]
    No,
    /// The engine restarts it when we are not there.
    UnlessStopped,
}

/// A port to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedPort {
    /// Port inside.
    pub target: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// Address on the host; none: the engine's default.
    pub host_ip: Option<String>,
    /// Port on the host; none: one that the engine chooses.
    pub published: Option<u16>,
}

/// A mount, with Docker names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountPlan {
    /// A host path; the engine refuses a missing source.
    Bind {
        /// Path on the host.
        source: String,
        /// Path inside.
        target: String,
        /// No writes from inside.
        read_only: bool,
        /// `rprivate`, `rshared`, `rslave`, …
        propagation: Option<String>,
    },
    /// A volume by its Docker name.
    Volume {
        /// Docker name.
        name: String,
        /// Path inside.
        target: String,
        /// No writes from inside.
        read_only: bool,
        /// Leaves an empty volume empty instead of filling it from the image.
        nocopy: bool,
    },
    /// Memory.
    Tmpfs {
        /// Path inside.
        target: String,
        /// Its limit.
        size: Option<Bytes>,
        /// Permissions, `0o1777`.
        mode: Option<u32>,
    },
}

/// How the container reaches networks.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum NetworkPlan {
    /// None.
    #[default]
    None,
    /// The host's.
    Host,
    /// Bridges, the first one with the default route.
    Join(Vec<Attachment>),
}

/// One network to join, by Docker name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Docker name.
    pub network: String,
    /// Names it answers to there.
    pub aliases: Vec<String>,
    /// Fixed address.
    pub ipv4: Option<String>,
    /// Fixed address.
    pub ipv6: Option<String>,
}

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
}

/// Docker's states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerState {
    /// Made, never started.
    Created,
    /// Its process runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Between two runs by the engine's own restart policy.
    Restarting,
    /// Its process ended.
    Exited,
    /// The engine could not remove it.
    Dead,
    /// Being removed.
    Removing,
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
    /// Docker network → address.
    pub addresses: BTreeMap<String, IpAddr>,
    /// `8080/tcp` → `0.0.0.0:49153`.
    pub published: BTreeMap<String, String>,
    /// The engine's own restart policy.
    pub restart: EngineRestart,
    /// Process id of its first process; 0 when it does not run.
    pub pid: i64,
}

/// An image on the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// `sha256:…`.
    pub id: String,
    /// `repository@sha256:…`, as pulled or pushed.
    pub digests: Vec<String>,
    /// `amd64`, `arm64`, …
    pub arch: String,
    /// `linux`.
    pub os: String,
    /// It brings a health check.
    pub has_healthcheck: bool,
    /// TCP ports it names, in order.
    pub exposed: Vec<u16>,
}

/// Credentials of a registry.
#[derive(Clone)]
pub struct Credentials {
    /// Registry they are for, as in a reference.
    pub server: String,
    /// Who.
    pub username: String,
    /// Password or token.
    pub password: String,
}
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({} at {})", self.username, self.server)
    }
}

/// Progress of a pull: bytes done and in all, over all layers known so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullProgress {
    /// The engine's word for what it does.
    pub status: String,
    /// Bytes done.
    pub current: u64,
    /// Bytes in all, as far as known.
    pub total: u64,
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

/// What to build.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildRequest {
    /// `name:tag` of the result.
    pub tag: String,
    /// Path of the Dockerfile in the context.
    pub dockerfile: String,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// Stage to stop at.
    pub target: Option<String>,
    /// Runs every step anew.
    pub no_cache: bool,
    /// Asks the registry for base images.
    pub pull: bool,
    /// `os/arch[/variant]`.
    pub platform: Option<String>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
}

/// A step of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildProgress {
    /// A line of output.
    Output(String),
    /// The id of the image.
    Done(String),
}

/// What an engine can answer instead of a result. One variant for each thing a caller does differently.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeError {
    /// Its socket does not exist or refuses.
    #[error("the engine at {address} does not answer: {message}")]
    Down {
        /// Where it was looked for.
        address: String,
        /// What the attempt said.
        message: String,
    },
    /// It took the call and gave no answer.
    #[error("the engine gave no answer to {op} within {limit:?}")]
    Unresponsive {
        /// What was asked.
        op: &'static str,
        /// How long was waited.
        limit: Duration,
    },
    /// There is no such container, image, network or volume.
    #[error("{what} does not exist")]
    NotFound {
        /// `container x`, `network y`, …
        what: String,
    },
    /// The name is taken, or the object is in use.
    #[error("{message}")]
    Conflict {
        /// The engine's words.
        message: String,
    },
    /// A port is held by something else.
    #[error("port {port} is in use: {message}")]
    PortTaken {
        /// The host port.
        port: u16,
        /// The engine's words.
        message: String,
    },
    /// A registry has no such image.
    #[error("image {image} not found: {message}")]
    ImageNotFound {
        /// As it was asked for.
        image: String,
        /// The registry's words.
        message: String,
    },
    /// A registry refused.
    #[error("image {image} refused: {message}")]
    ImageRefused {
        /// As it was asked for.
        image: String,
        /// The registry's words.
        message: String,
    },
    /// A registry gave no answer.
    #[error("registry of {image} unreachable: {message}")]
    RegistryUnreachable {
        /// As it was asked for.
        image: String,
        /// What the attempt said.
        message: String,
    },
    /// No room on the disk.
    #[error("the engine's disk is full: {message}")]
    DiskFull {
        /// The engine's words.
        message: String,
    },
    /// The source of a bind mount does not exist.
    #[error("bind source {path} does not exist")]
    BindSourceMissing {
        /// On the host.
        path: String,
    },
    /// A host device does not exist.
    #[error("device missing: {message}")]
    DeviceMissing {
        /// The engine's words.
        message: String,
    },
    /// It refused the settings; trying again will not help.
    #[error("the engine refused: {message}")]
    Refused {
        /// The engine's words.
        message: String,
    },
    /// It failed inside; trying again may help.
    #[error("the engine failed: {message}")]
    Failed {
        /// The engine's words.
        message: String,
    },
}

/// What the agent asks of an engine. Object-safe: loops, API and tests hold an `Arc<dyn Runtime>`.
///
/// Every call has a deadline inside the implementation, every item of a stream too.
pub trait Runtime: Send + Sync + 'static {
    /// Identity, version, platform.
    fn info(&self) -> BoxFuture<'_, Result<EngineInfo, RuntimeError>>;
    /// CPU and memory of the machine as the engine sees it.
    fn capacity(&self) -> BoxFuture<'_, Result<(Millicores, Bytes), RuntimeError>>;
    /// Containers that carry the label `key=value`, running or not.
    fn list(&self, key: String, value: String) -> BoxFuture<'_, Result<Vec<Summary>, RuntimeError>>;
    /// One container by id or name; `None` when there is none.
    fn inspect(&self, id: String) -> BoxFuture<'_, Result<Option<Container>, RuntimeError>>;
    /// Makes it; a name that is taken is a `Conflict`.
    fn create(&self, plan: ContainerPlan) -> BoxFuture<'_, Result<Arc<str>, RuntimeError>>;
    /// Starts it; running already is a success.
    fn start(&self, id: String) -> BoxFuture<'_, Result<(), RuntimeError>>;
    /// Asks it to end, kills it after `grace`; not running or gone is a success.
    fn stop(&self, id: String, grace: Duration) -> BoxFuture<'_, Result<(), RuntimeError>>;
    /// Removes it, killing it if it runs; its anonymous volumes too, never a named one. Gone is a success.
    fn remove(&self, id: String) -> BoxFuture<'_, Result<(), RuntimeError>>;
    /// Changes the engine's restart policy of a container.
    fn set_restart(&self, id: String, restart: EngineRestart) -> BoxFuture<'_, Result<(), RuntimeError>>;
    /// Makes a bridge with our labels unless one of that name exists.
    fn ensure_network(&self, name: String, labels: BTreeMap<String, String>)
    -> BoxFuture<'_, Result<(), RuntimeError>>;
    /// Whether a volume of exactly this name exists, and where it lies on the host.
    fn volume(&self, name: String) -> BoxFuture<'_, Result<Option<String>, RuntimeError>>;
    /// Makes a local volume with our labels; existing is a success. Answers where it lies.
    fn ensure_volume(
        &self,
        name: String,
        labels: BTreeMap<String, String>,
    ) -> BoxFuture<'_, Result<String, RuntimeError>>;
    /// An image by reference or id; `None` when the engine does not have it.
    fn image(&self, reference: String) -> BoxFuture<'_, Result<Option<Image>, RuntimeError>>;
    /// Asks the registry for `repository@digest` of a reference, without pulling.
    fn resolve(
        &self,
        reference: String,
        credentials: Option<Credentials>,
    ) -> BoxFuture<'_, Result<String, RuntimeError>>;
    /// Pulls an image. Ends with an error item or after the last progress.
    fn pull(
        &self,
        reference: String,
        platform: Option<String>,
        credentials: Option<Credentials>,
    ) -> BoxStream<'_, Result<PullProgress, RuntimeError>>;
    /// Events of containers that carry the label `key=value`, from `since` (nanoseconds since 1970) on. May end in silence: list as well.
    fn events(
        &self,
        key: String,
        value: String,
        since: Option<i64>,
    ) -> BoxStream<'static, Result<RuntimeEvent, RuntimeError>>;
    /// A container's log.
    fn logs(&self, id: String, query: LogQuery) -> BoxStream<'static, Result<LogChunk, RuntimeError>>;
    /// Runs a command in a container.
    fn exec(
        &self,
        id: String,
        command: Vec<String>,
        limit: Duration,
    ) -> BoxFuture<'_, Result<ExecResult, RuntimeError>>;
    /// Builds an image from a tar stream.
    fn build(
        &self,
        request: BuildRequest,
        context: BoxStream<'static, std::io::Result<Chunk>>,
    ) -> BoxStream<'static, Result<BuildProgress, RuntimeError>>;
}
