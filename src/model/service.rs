//! The Service: a workload, as compose and Swarm mean the word (not a Kubernetes virtual IP).
//!
//! Here: the canonical long form of the spec, with its defaults as functions. Short forms and
//! snake_case are turned into this by `manifest`; what stands in the log is this, without
//! fields that were not set. `network`, `mounts`, `probe`, `resources`, `lifecycle`: the parts of a container; `job`, `update`: of the rest.
//! Invariant: every field here works; what is not built is refused by `manifest` and has no field.

mod hooks;
mod job;
mod lifecycle;
mod mounts;
mod network;
mod probe;
mod resources;
mod update;

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    hooks::{HOOK_TIMEOUT_MAX, Hook, Hooks, InnerHook, OnFailure, Stage},
    job::Concurrency,
    lifecycle::{AutoRestart, Dependency, DependencyCondition, Restart},
    mounts::{BindOptions, DataPolicy, FileRef, Mount, MountKind, TmpfsOptions, VolumeOptions},
    network::{NetworkAttachment, NetworkMode, Port, Protocol},
    probe::{Healthcheck, HttpProbe, MIN_HEALTHY_TIME, Readiness, ReadinessSource, TcpProbe},
    resources::{Amounts, Limits, Resources, Ulimit},
    update::{DRAIN_TIMEOUT, FailureAction, Order, RollbackPolicy, UpdatePolicy},
};
use super::{
    quantity::{Bytes, Period},
    route::Shorthand,
};

fn yes() -> bool {
    true
}
fn is_false(b: &bool) -> bool {
    !*b
}
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
fn three() -> u32 {
    3
}

/// What a Service shall be.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceSpec {
    // ---- orchestration: a change here replaces no container -------------------------------
    /// `replicated` (a number of replicas), `global` (one on each node that fits), `job` (runs to its end, once for each
    /// revision and whenever asked) or `cron` (runs to its end by a schedule).
    #[serde(default, skip_serializing_if = "is_default")]
    pub mode: Mode,
    /// How many replicas; 1 when not set. Not with `mode: global`; of a job: how many run at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1000))]
    pub replicas: Option<u32>,
    /// Where replicas may run.
    #[serde(default, skip_serializing_if = "is_default")]
    pub placement: Placement,
    /// Which requests from outside its replicas answer: the short form of a Route.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Shorthand>,
    /// How replicas are replaced by those of a newer revision.
    #[serde(default, skip_serializing_if = "is_default")]
    pub update: UpdatePolicy,
    /// How they come back when that goes wrong.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rollback: RollbackPolicy,
    /// When a cron is due: five fields of cron, or a word like `@daily`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// The time zone of `schedule`; UTC when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// What becomes of a run of a job that is due while another is under way.
    #[serde(default, skip_serializing_if = "is_default")]
    pub concurrency_policy: Concurrency,
    /// How many slots of a run have to end with 0; 1 when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub completions: Option<u32>,
    /// So many attempts of a run may fail; 3 when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1000))]
    pub backoff_limit: Option<u32>,
    /// A run that takes longer is stopped and has failed; no limit when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_deadline: Option<Period>,
    /// So long after its end a run and its containers are kept; 24 h when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_after_finished: Option<Period>,
    /// Commands around rollouts and the life of replicas.
    #[serde(default, skip_serializing_if = "is_default")]
    pub hooks: Hooks,
    /// So many earlier revisions are kept for `rollout undo`, besides those that replicas run; 20 when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1000))]
    pub revision_history_limit: Option<u32>,
    /// Stops every replica without forgetting the service; of a job: runs too.
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

/// Earlier revisions that are kept.
pub const REVISION_HISTORY_LIMIT: u32 = 20;

/// Docker's own default grace.
pub const STOP_GRACE_PERIOD: Duration = Duration::from_secs(10);

/// The longest grace: whatever waits for a stop has to know how long at most.
pub const STOP_GRACE_MAX: Duration = Duration::from_secs(3_600);

impl ContainerSpec {
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
    /// Whether each start has to look at the host first: where a path leads may have changed since the last one, and
    /// the disk of data may not be there.
    #[must_use]
    pub fn looks_at_host(&self) -> bool {
        // What exists already may be a folder of the host too.
        self.volumes.iter().any(|m| m.kind == MountKind::Bind || m.external || m.policy().remembered())
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
    /// Runs that end by themselves: one for each revision, and whenever asked.
    Job,
    /// Runs that end by themselves, by a schedule and whenever asked.
    Cron,
}
impl Mode {
    /// Whether what runs ends by itself.
    #[must_use]
    pub const fn is_job(self) -> bool {
        matches!(self, Self::Job | Self::Cron)
    }
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Replicated => "replicated",
            Self::Global => "global",
            Self::Job => "job",
            Self::Cron => "cron",
        }
    }
}

/// Where replicas may run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Placement {
    /// All must hold: `node.labels.x == y`, `!=`, `in (a, b)`, `exists`; `node.role`, `node.hostname`, `node.arch`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<String>,
}

/// When to ask the registry which image a name means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PullPolicy {
    /// For each revision, whatever nodes have under that name; they fetch what they do not have.
    Always,
    /// When the node does not have it.
    #[default]
    Missing,
    /// Never; the node must have it.
    Never,
}

/// Log driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Logging {
    /// `json-file`, `local`, `journald`, `none`; `syslog`, `gelf` and others need the grant `hostNetwork`.
    pub driver: String,
    /// Its options.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}
