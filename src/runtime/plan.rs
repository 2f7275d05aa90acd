//! What a container is made from, in the engine's names.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::EngineRestart;
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

/// Limits that an engine can change while a container runs, by name; what is not limited is not named.
#[must_use]
pub fn limits(
    cpus: Option<Millicores>,
    memory: Option<Bytes>,
    reservation: Option<Bytes>,
    pids: Option<u32>,
) -> BTreeMap<&'static str, String> {
    let all = [
        ("cpus", cpus.filter(|c| c.0 > 0).map(|c| c.to_string())),
        ("memory", memory.filter(|b| b.0 > 0).map(|b| b.to_string())),
        ("memory reservation", reservation.filter(|b| b.0 > 0).map(|b| b.to_string())),
        ("pids", pids.filter(|n| *n > 0).map(|n| n.to_string())),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

impl ContainerPlan {
    /// What it is limited to.
    #[must_use]
    pub fn limits(&self) -> BTreeMap<&'static str, String> {
        limits(self.cpus, self.memory, self.memory_reservation, self.pids)
    }
    /// Whether something is mounted at exactly this path.
    #[must_use]
    pub fn mounts_at(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        let mut targets = self.mounts.iter().map(MountPlan::target).chain(self.tmpfs.keys().map(String::as_str));
        targets.any(|target| target.trim_end_matches('/') == path)
    }
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
        /// It is there: should the engine have to make it, it is told from one that was asked for
        /// ([`NamedVolume::unasked`]).
        must_exist: bool,
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

/// A volume as an engine knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedVolume {
    /// Where it lies on the host.
    pub path: String,
    /// It was gone when a container that mounts it was made, and the engine made an empty one.
    pub unasked: bool,
    /// Its driver may mount it at `path` only while a container uses it (NFS, CIFS, drivers that we do not know):
    /// what lies there otherwise says nothing, and to miss what is not there is the driver's affair.
    pub mounted_late: bool,
    /// The folder of the host that it is under another name.
    pub folder: Option<String>,
}

/// Label of a volume that the engine made for a container that was to find it. Engines make what is missing
/// without a word, and no option keeps them from it.
pub const UNASKED: &str = "constellation.unasked";

impl MountPlan {
    /// Path inside.
    #[must_use]
    pub fn target(&self) -> &str {
        match self {
            Self::Bind { target, .. } | Self::Volume { target, .. } | Self::Tmpfs { target, .. } => target,
        }
    }
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
