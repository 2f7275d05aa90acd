//! What of the host a service takes for itself: power that not everybody who may write has.
//!
//! Here: [`needs`], which names each field and the grant that it asks for, and [`only_counts`], whether a change
//! leaves alone how that power is used. Not here: who has which grant (`api::grants`).
//! Invariant: a field is harmless because it is known to be, never because it is not known.
//! A path is compared as it is written, without `.` and `..`; a symbolic link on the node is not followed here.

use std::fmt;

use crate::model::{
    Kind, ServiceSpec,
    service::{MountKind, NetworkMode},
};

/// A grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Power {
    /// Everything the kernel has.
    Privileged,
    /// Capabilities that containers do not have.
    Capabilities,
    /// Devices of the host.
    Devices,
    /// The host's network.
    HostNetwork,
    /// The host's processes.
    HostPid,
    /// The host's shared memory.
    HostIpc,
    /// The engine's socket, itself or a directory above it: as good as root.
    DockerSocket,
    /// Settings of the kernel.
    Sysctls,
    /// Without the engine's confinement.
    Unconfined,
    /// Paths of the host.
    Binds,
}

impl Power {
    /// As a configuration names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Capabilities => "capabilities",
            Self::Devices => "devices",
            Self::HostNetwork => "hostNetwork",
            Self::HostPid => "hostPid",
            Self::HostIpc => "hostIpc",
            Self::DockerSocket => "dockerSocket",
            Self::Sysctls => "sysctls",
            Self::Unconfined => "unconfined",
            Self::Binds => "binds",
        }
    }
}
impl fmt::Display for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One field that needs a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// Which grant.
    pub power: Power,
    /// `spec.privileged`.
    pub field: String,
}

/// What of it is the engine's socket.
const SOCKETS: [&str; 4] = [
    "/var/run/docker.sock",
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/var/run/containerd/containerd.sock",
];

/// Options that take power away.
const CONFINES: [&str; 3] = ["no-new-privileges", "no-new-privileges=true", "no-new-privileges:true"];

/// Every field of a service that needs a grant, in the order of the fields.
#[must_use]
pub fn needs(spec: &ServiceSpec) -> Vec<Need> {
    let c = &spec.container;
    let mut all = Vec::new();
    let mut need = |power, field: String| all.push(Need { power, field });
    for (i, mount) in c.volumes.iter().enumerate().filter(|(_, m)| m.kind == MountKind::Bind) {
        let source = mount.source.as_deref().unwrap_or_default();
        need(if holds_socket(source) { Power::DockerSocket } else { Power::Binds }, format!("spec.volumes[{i}]"));
    }
    if !c.devices.is_empty() {
        need(Power::Devices, "spec.devices".into());
    }
    if !c.cap_add.is_empty() {
        need(Power::Capabilities, "spec.capAdd".into());
    }
    if !c.sysctls.is_empty() {
        need(Power::Sysctls, "spec.sysctls".into());
    }
    match c.network_mode {
        NetworkMode::Host => need(Power::HostNetwork, "spec.networkMode".into()),
        NetworkMode::Bridge | NetworkMode::None => {}
    }
    if !matches!(c.ipc.as_deref(), None | Some("private" | "shareable" | "none")) {
        need(Power::HostIpc, "spec.ipc".into());
    }
    if c.pid.is_some() {
        need(Power::HostPid, "spec.pid".into());
    }
    if c.privileged {
        need(Power::Privileged, "spec.privileged".into());
    }
    for (i, _) in c.security_opt.iter().enumerate().filter(|(_, o)| !CONFINES.contains(&o.as_str())) {
        need(Power::Unconfined, format!("spec.securityOpt[{i}]"));
    }
    all
}

/// Whether two declarations differ in how many replicas run alone: whoever may do no more than that does not use
/// the power of the service.
#[must_use]
pub fn only_counts(old: &ServiceSpec, new: &ServiceSpec) -> bool {
    let counted = |spec: &ServiceSpec| ServiceSpec { replicas: None, suspend: false, ..spec.clone() };
    counted(old) == counted(new)
}

/// Whether a service reads this Config or Secret: what stands in it may be what the container runs.
#[must_use]
pub fn reads(spec: &ServiceSpec, kind: Kind, name: &str) -> bool {
    let c = &spec.container;
    match kind {
        Kind::Config => c.configs.iter().any(|file| file.object() == name),
        Kind::Secret => {
            c.secrets.iter().any(|file| file.object() == name) || c.image_pull_secrets.iter().any(|s| s == name)
        }
        Kind::Service | Kind::Node | Kind::Replica => false,
    }
}

/// Whether a path is the engine's socket or a directory above it.
fn holds_socket(path: &str) -> bool {
    let parts = plain(path);
    SOCKETS.iter().any(|socket| plain(socket).starts_with(&parts))
}

/// The steps of a path without `.`, `..` and empty ones.
fn plain(path: &str) -> Vec<&str> {
    let mut steps = Vec::new();
    for step in path.split('/') {
        match step {
            "" | "." => {}
            ".." => {
                steps.pop();
            }
            step => steps.push(step),
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ServiceSpec, service::Mount};

    fn spec(fields: serde_json::Value) -> ServiceSpec {
        let mut all = serde_json::json!({"image": "nginx:1"});
        all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }
    fn names(spec: &ServiceSpec) -> Vec<String> {
        needs(spec).into_iter().map(|need| format!("{} {}", need.power, need.field)).collect()
    }

    #[test]
    fn each_field_that_reaches_the_host_needs_its_grant() {
        let table = [
            (serde_json::json!({}), vec![]),
            (serde_json::json!({"privileged": true}), vec!["privileged spec.privileged"]),
            (serde_json::json!({"capAdd": ["NET_ADMIN"], "capDrop": ["ALL"]}), vec!["capabilities spec.capAdd"]),
            (serde_json::json!({"devices": ["/dev/dri"]}), vec!["devices spec.devices"]),
            (serde_json::json!({"sysctls": {"net.core.somaxconn": "1"}}), vec!["sysctls spec.sysctls"]),
            (serde_json::json!({"networkMode": "host"}), vec!["hostNetwork spec.networkMode"]),
            (serde_json::json!({"networkMode": "none", "ipc": "private"}), vec![]),
            (serde_json::json!({"pid": "host", "ipc": "host"}), vec!["hostIpc spec.ipc", "hostPid spec.pid"]),
            (serde_json::json!({"ipc": "container:x"}), vec!["hostIpc spec.ipc"]),
            (serde_json::json!({"securityOpt": ["no-new-privileges", "no-new-privileges:true"]}), vec![]),
            (
                serde_json::json!({"securityOpt": ["no-new-privileges", "seccomp=unconfined", "label=disable"]}),
                vec!["unconfined spec.securityOpt[1]", "unconfined spec.securityOpt[2]"],
            ),
            (serde_json::json!({"securityOpt": ["no-new-privileges=false"]}), vec!["unconfined spec.securityOpt[0]"]),
        ];
        for (fields, want) in table {
            assert_eq!(names(&spec(fields.clone())), want, "{fields}");
        }
    }

    #[test]
    fn a_path_is_the_sockets_however_it_is_written() {
        let bind = |source: &str| {
            let mount: Mount =
                serde_json::from_value(serde_json::json!({"type": "bind", "source": source, "target": "/x"})).unwrap();
            let mut spec = spec(serde_json::json!({}));
            spec.container.volumes = vec![mount];
            needs(&spec)[0].power
        };
        for socket in [
            "/var/run/docker.sock",
            "/run/docker.sock",
            "/var/run",
            "/var/run/",
            "/run",
            "/var",
            "/",
            "//",
            "/.",
            "/..",
            "/var/../var/run",
            "/srv/../run//docker.sock/",
            "/var/./run/docker.sock",
            "/run/containerd",
            "",
        ] {
            assert_eq!(bind(socket), Power::DockerSocket, "{socket}");
        }
        for other in ["/srv", "/var/lib", "/var/runner", "/run/dockers.sock", "/var/run/../log", "/srv/docker.sock"] {
            assert_eq!(bind(other), Power::Binds, "{other}");
        }
        let volume: Mount =
            serde_json::from_value(serde_json::json!({"type": "volume", "source": "run", "target": "/x"})).unwrap();
        let mut kept = spec(serde_json::json!({}));
        kept.container.volumes = vec![volume];
        assert_eq!(needs(&kept), []);
    }

    #[test]
    fn whoever_only_counts_uses_no_power() {
        let old = spec(serde_json::json!({"privileged": true, "replicas": 1}));
        let changed = |fields: serde_json::Value| {
            let mut all = serde_json::to_value(&old).unwrap();
            all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            only_counts(&old, &serde_json::from_value(all).unwrap())
        };
        assert!(changed(serde_json::json!({})) && changed(serde_json::json!({"replicas": 3, "suspend": true})));
        for fields in [
            serde_json::json!({"image": "evil:1"}),
            serde_json::json!({"command": ["sh"]}),
            serde_json::json!({"environment": {"LD_PRELOAD": "/x"}}),
            serde_json::json!({"mode": "global"}),
            serde_json::json!({"placement": {"constraints": ["node.name == n2"]}}),
        ] {
            assert!(!changed(fields.clone()), "{fields}");
        }
    }
}
