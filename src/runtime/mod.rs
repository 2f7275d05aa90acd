//! The container runtime: what the agent asks of an engine, and who answers.
//!
//! Here: the trait [`Runtime`] and its values. `docker` talks to a real engine through bollard;
//! `fake` is an engine in memory for fast tests; `conformance` is the one suite that both keep.
//! Not here: deciding what to ask (`plan::agent`), retries (`reconcile::agent`).
//! Invariant: every call ends within a deadline of its own; a call that was answered late may have
//! had its effect, so callers look before they repeat.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes as Chunk;
use futures::{future::BoxFuture, stream::BoxStream};

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
    pub command: Option<Vec<String>>,
    pub entrypoint: Option<Vec<String>>,
    pub working_dir: Option<String>,
    pub user: Option<String>,
    pub group_add: Vec<String>,
    pub hostname: Option<String>,
    pub environment: BTreeMap<String, String>,
    /// Ports to publish.
    pub ports: Vec<PublishedPort>,
    pub expose: Vec<u16>,
    /// Binds, volumes and tmpfs, with Docker names.
    pub mounts: Vec<MountPlan>,
    pub tmpfs: BTreeMap<String, String>,
    pub healthcheck: Option<Healthcheck>,
    pub cpus: Option<Millicores>,
    pub memory: Option<Bytes>,
    pub memory_reservation: Option<Bytes>,
    pub pids: Option<u32>,
    pub devices: Vec<String>,
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub sysctls: BTreeMap<String, String>,
    pub ulimits: BTreeMap<String, Ulimit>,
    pub extra_hosts: BTreeMap<String, String>,
    pub dns: Vec<String>,
    pub dns_search: Vec<String>,
    pub dns_opt: Vec<String>,
    pub network: NetworkPlan,
    pub logging: Option<Logging>,
    pub stop_signal: Option<String>,
    /// Seconds between the stop signal and SIGKILL, for whoever stops it by hand.
    pub stop_timeout: u64,
    pub init: Option<bool>,
    pub ipc: Option<String>,
    pub pid: Option<String>,
    pub privileged: bool,
    pub security_opt: Vec<String>,
    pub read_only: bool,
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
    pub target: u16,
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
    Bind { source: String, target: String, read_only: bool, propagation: Option<String> },
    /// A volume by its Docker name.
    Volume { name: String, target: String, read_only: bool, nocopy: bool },
    /// Memory.
    Tmpfs { target: String, size: Option<Bytes>, mode: Option<u32> },
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attachment {
    pub network: String,
    pub aliases: Vec<String>,
    pub ipv4: Option<String>,
    pub ipv6: Option<String>,
}

/// One container in a list: enough to know whose it is and whether it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    pub id: Arc<str>,
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub state: ContainerState,
}

/// Docker's states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerState {
    Created,
    Running,
    Paused,
    Restarting,
    Exited,
    Dead,
    Removing,
}

/// One container, inspected.
#[derive(Debug, Clone, PartialEq)]
pub struct Container {
    pub id: Arc<str>,
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub state: ContainerState,
    pub image_id: String,
    pub exit_code: i64,
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
    pub arch: String,
    pub os: String,
    pub has_healthcheck: bool,
    pub exposed: Vec<u16>,
}

/// Credentials of a registry.
#[derive(Clone)]
pub struct Credentials {
    pub server: String,
    pub username: String,
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
    pub status: String,
    pub current: u64,
    pub total: u64,
}

/// Something happened to a container; a hint to look, never the truth itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeEvent {
    pub container: Arc<str>,
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// `create`, `start`, `die`, `stop`, `kill`, `oom`, `destroy`, `health_status`, `pause`, `rename`, …
    pub action: String,
    /// Nanoseconds since 1970 at the engine: where to resume.
    pub at: i64,
}

/// One piece of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogChunk {
    pub stderr: bool,
    pub bytes: Chunk,
}

/// Which part of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogQuery {
    pub follow: bool,
    /// Last lines; none: all.
    pub tail: Option<u32>,
    /// Seconds since 1970.
    pub since: Option<i64>,
    pub timestamps: bool,
}

/// How a command in a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecResult {
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
    pub args: BTreeMap<String, String>,
    pub target: Option<String>,
    pub no_cache: bool,
    pub pull: bool,
    pub platform: Option<String>,
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
    Down { address: String, message: String },
    /// It took the call and gave no answer.
    #[error("the engine gave no answer to {op} within {limit:?}")]
    Unresponsive { op: &'static str, limit: Duration },
    /// There is no such container, image, network or volume.
    #[error("{what} does not exist")]
    NotFound { what: String },
    /// The name is taken, or the object is in use.
    #[error("{message}")]
    Conflict { message: String },
    /// A port is held by something else.
    #[error("port {port} is in use: {message}")]
    PortTaken { port: u16, message: String },
    /// A registry has no such image.
    #[error("image {image} not found: {message}")]
    ImageNotFound { image: String, message: String },
    /// A registry refused.
    #[error("image {image} refused: {message}")]
    ImageRefused { image: String, message: String },
    /// A registry gave no answer.
    #[error("registry of {image} unreachable: {message}")]
    RegistryUnreachable { image: String, message: String },
    /// No room on the disk.
    #[error("the engine's disk is full: {message}")]
    DiskFull { message: String },
    /// The source of a bind mount does not exist.
    #[error("bind source {path} does not exist")]
    BindSourceMissing { path: String },
    /// A host device does not exist.
    #[error("device missing: {message}")]
    DeviceMissing { message: String },
    /// It refused the settings; trying again will not help.
    #[error("the engine refused: {message}")]
    Refused { message: String },
    /// It failed inside; trying again may help.
    #[error("the engine failed: {message}")]
    Failed { message: String },
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
