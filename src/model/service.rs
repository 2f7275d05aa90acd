//! The Service: a workload, as compose and Swarm mean the word (not a Kubernetes virtual IP).
//!
//! Here: the canonical long form of the spec, with its defaults as functions. Short forms and
//! snake_case are turned into this by `manifest`; what stands in the log is this, without
//! fields that were not set.
//! Invariant: every field here works; what is not built is refused by `manifest` and has no field.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::quantity::{Bytes, Millicores, Period};

fn yes() -> bool {
    true
}
fn is_false(b: &bool) -> bool {
    !*b
}
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What a Service shall be.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceSpec {
    // ---- orchestration: a change here replaces no container -------------------------------
    /// `replicated` (a number of replicas) or `global` (one on each node that fits).
    #[serde(default, skip_serializing_if = "is_default")]
    pub mode: Mode,
    /// How many replicas; 1 when not set. Not with `mode: global`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1000))]
    pub replicas: Option<u32>,
    /// Where replicas may run.
    #[serde(default, skip_serializing_if = "is_default")]
    pub placement: Placement,
    /// Stops every replica without forgetting the service.
    #[serde(default, skip_serializing_if = "is_false")]
    pub suspend: bool,

    // ---- the container: a change here makes a new revision --------------------------------
    /// What runs in it.
    #[serde(flatten)]
    pub container: ContainerSpec,
}

/// The container part of a Service: a change here makes a new revision and replaces replicas.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContainerSpec {
    /// Image reference as the user wrote it; resolved after the commit.
    pub image: String,
    /// When to ask the registry.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pull_policy: PullPolicy,
    /// Names of Secrets of `type: registry` with credentials.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<String>,
    /// `os/arch[/variant]`, like `linux/arm64`; the node's own when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Overrides the image's CMD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Overrides the image's ENTRYPOINT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Directory the process starts in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// `user[:group]`, names or numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Further groups of the process.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub group_add: Vec<String>,
    /// Host name inside; `<service>-<slot>` when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Environment variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Published ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Port>,
    /// Ports other services may use; the first is probed when nothing else says how.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expose: Vec<u16>,
    /// Bind mounts, volumes and tmpfs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Mount>,
    /// Paths to mount an empty tmpfs at, `path[:options]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tmpfs: Vec<String>,
    /// Docker's health check; the image's when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// When a replica counts as ready; derived when not set, see [`ContainerSpec::readiness`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness: Option<Readiness>,
    /// Reservations (for placement) and limits (for the kernel).
    #[serde(default, skip_serializing_if = "is_default")]
    pub resources: Resources,
    /// Host devices, `host[:container[:rwm]]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// Added Linux capabilities.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cap_add: Vec<String>,
    /// Dropped Linux capabilities.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cap_drop: Vec<String>,
    /// Kernel parameters of the container's namespaces.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctls: BTreeMap<String, String>,
    /// Process limits by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ulimits: BTreeMap<String, Ulimit>,
    /// Labels of the container. `metadata.labels` are the object's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Further lines of /etc/hosts, name → address (`host-gateway` too).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra_hosts: BTreeMap<String, String>,
    /// Name servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<String>,
    /// Search domains.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns_search: Vec<String>,
    /// Options of resolv.conf.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns_opt: Vec<String>,
    /// Networks to join; the cluster's default network when empty. Only with `networkMode: bridge`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<NetworkAttachment>,
    /// `bridge`, `host` or `none`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub network_mode: NetworkMode,
    /// Log driver and its options.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logging: Option<Logging>,
    /// Signal that asks the process to end; the image's when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Time between that signal and SIGKILL; 10 s when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_grace_period: Option<Period>,
    /// Runs an init as process 1 that forwards signals and reaps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<bool>,
    /// IPC namespace: `private`, `shareable`, `host`, `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipc: Option<String>,
    /// PID namespace: `host`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<String>,
    /// All capabilities and devices of the host.
    #[serde(default, skip_serializing_if = "is_false")]
    pub privileged: bool,
    /// Options of AppArmor, SELinux, seccomp, no-new-privileges.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub security_opt: Vec<String>,
    /// Root file system read-only.
    #[serde(default, skip_serializing_if = "is_false")]
    pub read_only: bool,
    /// Size of /dev/shm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shm_size: Option<Bytes>,
    /// Configs as files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub configs: Vec<FileRef>,
    /// Secrets as files or, with `env`, as variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<FileRef>,
    /// Services that have to be there first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<Dependency>,
    /// What follows an exit.
    #[serde(default, skip_serializing_if = "is_default")]
    pub restart: Restart,
    /// Restarting what is unhealthy; on when not set.
    #[serde(default, skip_serializing_if = "is_default")]
    pub auto_restart: AutoRestart,
}

impl ServiceSpec {
    /// Replicas wanted of a replicated service; 0 while suspended.
    #[must_use]
    pub fn wanted(&self) -> u32 {
        if self.suspend { 0 } else { self.replicas.unwrap_or(1) }
    }
}

/// Where a readiness verdict comes from; worked out by [`ContainerSpec::readiness`].
#[derive(Debug, Clone, PartialEq)]
pub enum ReadinessSource {
    /// An explicit probe.
    Probe(Readiness),
    /// Docker's health status (the spec's or the image's health check).
    Healthcheck,
    /// A TCP connection to the first exposed or published port, with the default timings.
    Tcp(u16),
    /// Running for this long.
    RunningFor(Duration),
}

/// `minHealthyTime` until rollouts can be configured.
pub const MIN_HEALTHY_TIME: Duration = Duration::from_secs(10);
/// Docker's own default grace.
pub const STOP_GRACE_PERIOD: Duration = Duration::from_secs(10);

impl ContainerSpec {
    /// The readiness rule: explicit, else the health check, else TCP on the first exposed port, else
    /// "running for a while". `image_has_healthcheck`: what the image brings.
    #[must_use]
    pub fn readiness(&self, image_has_healthcheck: bool) -> ReadinessSource {
        if let Some(probe) = &self.readiness {
            return ReadinessSource::Probe(probe.clone());
        }
        let own = self.healthcheck.as_ref();
        if own.is_some_and(|h| !h.disable) || (own.is_none() && image_has_healthcheck) {
            return ReadinessSource::Healthcheck;
        }
        match self
            .expose
            .first()
            .copied()
            .or_else(|| self.ports.iter().find(|p| p.protocol == Protocol::Tcp).map(|p| p.target))
        {
            Some(port) if self.network_mode != NetworkMode::None => ReadinessSource::Tcp(port),
            _ => ReadinessSource::RunningFor(MIN_HEALTHY_TIME),
        }
    }
    /// Time between the stop signal and SIGKILL.
    #[must_use]
    pub fn grace(&self) -> Duration {
        self.stop_grace_period.map_or(STOP_GRACE_PERIOD, |p| p.0)
    }
    /// Whether two containers of it must never run at once: any mount is `state`.
    #[must_use]
    pub fn exclusive(&self) -> bool {
        self.volumes.iter().any(|m| m.policy() == DataPolicy::State)
    }
}

/// How replicas are counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A number of replicas.
    #[default]
    Replicated,
    /// One on each node that fits.
    Global,
}

/// Where replicas may run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Placement {
    /// All must hold: `node.labels.x == y`, `!=`, `in (a, b)`, `exists`; `node.role`, `node.hostname`, `node.arch`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<String>,
}

/// When to ask the registry for the image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PullPolicy {
    /// Before each new container.
    Always,
    /// When the node does not have it.
    #[default]
    Missing,
    /// Never; the node must have it.
    Never,
}

/// One published port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Port {
    /// For people and routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Port inside the container.
    #[schemars(range(min = 1))]
    pub target: u16,
    /// Port on the host; one that Docker chooses when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub published: Option<u16>,
    /// tcp or udp or sctp.
    #[serde(default, skip_serializing_if = "is_default")]
    pub protocol: Protocol,
    /// Address on the host; the advertised address, else 0.0.0.0 with a warning in the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<String>,
    /// Hint on the application's protocol, like `http`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
}

/// Transport protocol of a port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}
impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Mount {
    /// What is mounted.
    #[serde(rename = "type")]
    pub kind: MountKind,
    /// Absolute host path (bind) or volume name; none for tmpfs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Absolute path inside.
    pub target: String,
    /// No writes from the container.
    #[serde(default, skip_serializing_if = "is_false")]
    pub read_only: bool,
    /// Options of a bind.
    #[serde(default, skip_serializing_if = "is_default")]
    pub bind: BindOptions,
    /// Options of a volume.
    #[serde(default, skip_serializing_if = "is_default")]
    pub volume: VolumeOptions,
    /// Options of a tmpfs.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tmpfs: TmpfsOptions,
    /// What its data means; worked out when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_policy: Option<DataPolicy>,
    /// One volume for each slot, `<name>-<slot>`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub per_replica: bool,
    /// The volume exists already, under exactly this name.
    #[serde(default, skip_serializing_if = "is_false")]
    pub external: bool,
}

/// Host paths that exist on every Linux host and are not anybody's data.
const HOST_PATHS: [&str; 6] = ["/var/run/docker.sock", "/proc", "/sys", "/dev", "/etc/localtime", "/lib/modules"];

impl Mount {
    /// The data policy in force: the written one, else the rule of the manifest page.
    #[must_use]
    pub fn policy(&self) -> DataPolicy {
        if let Some(policy) = self.data_policy {
            return policy;
        }
        let source = self.source.as_deref().unwrap_or_default();
        let below = |root: &str| source == root || source.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'));
        match self.kind {
            MountKind::Tmpfs => DataPolicy::Cache,
            MountKind::Bind if HOST_PATHS.into_iter().any(below) || below("/run") || below("/var/run") => {
                DataPolicy::Host
            }
            MountKind::Bind if self.read_only => DataPolicy::Shared,
            MountKind::Bind | MountKind::Volume if !self.read_only => DataPolicy::State,
            MountKind::Bind | MountKind::Volume => DataPolicy::Shared,
        }
    }
}

/// Kind of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    /// A path of the host.
    Bind,
    /// A Docker volume.
    Volume,
    /// Memory.
    Tmpfs,
}

/// Options of a bind mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BindOptions {
    /// Make the source directory when it is missing. Off: a missing source is an error, never an empty start.
    #[serde(default, skip_serializing_if = "is_false")]
    pub create_host_path: bool,
    /// `rprivate` (default), `private`, `rshared`, `shared`, `rslave`, `slave`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub propagation: Option<String>,
}

/// Options of a volume mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VolumeOptions {
    /// Do not copy the image's files into a new volume.
    #[serde(default, skip_serializing_if = "is_false")]
    pub nocopy: bool,
}

/// Options of a tmpfs mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TmpfsOptions {
    /// Largest size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Bytes>,
    /// Mode bits, written as an octal text like `"1777"`.
    #[serde(default, with = "octal", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub mode: Option<u32>,
}

/// Mode bits as people read them: `"0755"`.
mod octal {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    #[allow(clippy::ref_option)] // serde's signature
    pub(super) fn serialize<S: Serializer>(mode: &Option<u32>, s: S) -> Result<S::Ok, S::Error> {
        match mode {
            Some(mode) => s.collect_str(&format_args!("{mode:04o}")),
            None => s.serialize_none(),
        }
    }
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u32>, D::Error> {
        Option::<String>::deserialize(d)?
            .map(|t| u32::from_str_radix(&t, 8).map_err(|_| D::Error::custom(format!("{t:?} is not octal"))))
            .transpose()
    }
}

/// What the data of a mount means for moves, copies and second writers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DataPolicy {
    /// Moves with the replica, verified; never two containers at once.
    State,
    /// Must be present wherever the replica runs.
    Shared,
    /// Copied as content.
    Config,
    /// May be empty.
    Cache,
    /// Belongs to the host; never moves.
    Host,
}
impl std::fmt::Display for DataPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::State => "state",
            Self::Shared => "shared",
            Self::Config => "config",
            Self::Cache => "cache",
            Self::Host => "host",
        })
    }
}

/// Docker's health check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Healthcheck {
    /// `["CMD", …]`, `["CMD-SHELL", "…"]` or `["NONE"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Between two checks; 30 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Period>,
    /// Of one check; 30 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
    /// Failures in a row before unhealthy; 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// Failures before this do not count; 0 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_period: Option<Period>,
    /// Between two checks in the start period; engines from API 1.44 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_interval: Option<Period>,
    /// Switches the image's health check off.
    #[serde(default, skip_serializing_if = "is_false")]
    pub disable: bool,
}

/// A readiness probe, run by the agent: needs no shell in the image (except `exec`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Readiness {
    /// GET that must answer with a status in a range. Exactly one of http, tcp, exec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpProbe>,
    /// A connection that must open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpProbe>,
    /// A command that must end with 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<Vec<String>>,
    /// Between two probes; 5 s.
    #[serde(default = "five_seconds")]
    pub interval: Period,
    /// Of one probe; 3 s.
    #[serde(default = "three_seconds")]
    pub timeout: Period,
    /// Successes in a row before ready; 1.
    #[serde(default = "one")]
    pub success_threshold: u32,
    /// Failures in a row before not ready; 3.
    #[serde(default = "three")]
    pub failure_threshold: u32,
}
impl Readiness {
    /// A TCP probe with the default timings.
    #[must_use]
    pub fn tcp(port: u16) -> Self {
        Self {
            http: None,
            tcp: Some(TcpProbe { port }),
            exec: None,
            interval: five_seconds(),
            timeout: three_seconds(),
            success_threshold: 1,
            failure_threshold: 3,
        }
    }
}
fn five_seconds() -> Period {
    Period::secs(5)
}
fn three_seconds() -> Period {
    Period::secs(3)
}
fn one() -> u32 {
    1
}
fn three() -> u32 {
    3
}

/// An HTTP probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpProbe {
    /// Path with query.
    #[serde(default = "root")]
    pub path: String,
    /// Port inside the container.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// Host header; the container's address when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Further headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Accepted statuses, `200-399` or `200,204`.
    #[serde(default = "ok_statuses")]
    pub status: String,
}
fn root() -> String {
    "/".into()
}
fn ok_statuses() -> String {
    "200-399".into()
}

/// A TCP probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TcpProbe {
    /// Port inside the container.
    #[schemars(range(min = 1))]
    pub port: u16,
}

/// Reservations and limits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resources {
    /// What placement sets aside.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reservations: Amounts,
    /// What the kernel enforces.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: Limits,
}

/// Amounts of CPU and memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Amounts {
    /// CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Millicores>,
    /// Memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
}

/// Limits of CPU, memory and processes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Millicores>,
    /// Memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u32>,
}

/// Soft and hard limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ulimit {
    /// What is in force.
    pub soft: i64,
    /// Up to where the process may raise it.
    pub hard: i64,
}

/// How the container reaches a network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// Its own address on bridges.
    #[default]
    Bridge,
    /// The host's network.
    Host,
    /// None.
    None,
}

/// One network to join.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkAttachment {
    /// `default`, or a name of your own; its Docker name is `<name>_<lineage8>`.
    pub name: String,
    /// Further names of the container there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Fixed address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4_address: Option<String>,
    /// Fixed address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_address: Option<String>,
    /// The network with the highest priority is joined first and holds the default route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
}

/// Log driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Logging {
    /// `json-file`, `local`, `journald`, `syslog`, `none`, …
    pub driver: String,
    /// Its options.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

/// A Config or Secret as file, directory or variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FileRef {
    /// `NAME` or `NAME/KEY`. A whole object with several keys becomes a directory.
    pub source: String,
    /// Path inside; `/NAME` for a config, `/run/secrets/NAME` for a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Owner; 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Group; 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// Mode bits as an octal text like `"0440"`; 0444 for a config, 0400 for a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Secrets only: name of a variable instead of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
}

impl FileRef {
    /// Name of the object.
    #[must_use]
    pub fn object(&self) -> &str {
        self.source.split_once('/').map_or(self.source.as_str(), |(name, _)| name)
    }
    /// The one key, when one is named.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.source.split_once('/').map(|(_, key)| key)
    }
}

/// A service that has to be there first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Dependency {
    /// The other Service.
    pub name: String,
    /// What "there" means.
    #[serde(default)]
    pub condition: DependencyCondition,
    /// False: a missing Service is no reason to wait.
    #[serde(default = "yes")]
    pub required: bool,
}

/// What a dependency waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DependencyCondition {
    /// A container of it runs.
    #[default]
    ServiceStarted,
    /// A replica of it is ready.
    ServiceHealthy,
    /// Its replicas ended with 0 (`restart: no`).
    ServiceCompletedSuccessfully,
}

/// What follows an exit of the container. Text form as in compose: `on-failure:3`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Restart {
    /// An exit ends the replica.
    No,
    /// Restarted after an exit other than 0, at most so often (no limit when none).
    OnFailure(Option<u32>),
    /// Always restarted.
    #[default]
    Always,
    /// Always restarted, except when stopped by hand.
    UnlessStopped,
}
impl std::fmt::Display for Restart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::No => f.write_str("no"),
            Self::OnFailure(None) => f.write_str("on-failure"),
            Self::OnFailure(Some(n)) => write!(f, "on-failure:{n}"),
            Self::Always => f.write_str("always"),
            Self::UnlessStopped => f.write_str("unless-stopped"),
        }
    }
}
impl Serialize for Restart {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for Restart {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let wrong = || {
            serde::de::Error::custom(format!(
                "{text:?} is not a restart policy; write no, on-failure, on-failure:3, always or unless-stopped"
            ))
        };
        match text.as_str() {
            "no" => Ok(Self::No),
            "always" => Ok(Self::Always),
            "unless-stopped" => Ok(Self::UnlessStopped),
            "on-failure" => Ok(Self::OnFailure(None)),
            other => other
                .strip_prefix("on-failure:")
                .and_then(|n| n.parse().ok())
                .map(|n| Self::OnFailure(Some(n)))
                .ok_or_else(wrong),
        }
    }
}
impl JsonSchema for Restart {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Restart".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^(no|always|unless-stopped|on-failure(:[0-9]+)?)$", "default": "always" })
    }
}

/// Restarting what is unhealthy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AutoRestart {
    /// Off: an unhealthy replica is only reported.
    #[serde(default = "yes")]
    pub on_unhealthy: bool,
    /// Failed verdicts in a row before a restart; 3.
    #[serde(default = "three")]
    pub after: u32,
    /// First wait; doubles; 10 s.
    #[serde(default = "ten_seconds")]
    pub backoff: Period,
    /// Longest wait; 5 min.
    #[serde(default = "five_minutes")]
    pub max_backoff: Period,
}
impl Default for AutoRestart {
    fn default() -> Self {
        Self { on_unhealthy: true, after: 3, backoff: ten_seconds(), max_backoff: five_minutes() }
    }
}
fn ten_seconds() -> Period {
    Period::secs(10)
}
fn five_minutes() -> Period {
    Period::secs(300)
}
