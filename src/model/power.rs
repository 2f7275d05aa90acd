//! Power over the host, and who has it.
//!
//! Here: [`Power`], [`Grants`] (what an agent's configuration gives to which role), [`Places`] (which power a bind
//! mount of a path needs). Not here: what of a service needs power (`plan::grants`), following links (`reconcile`).
//! Invariant: paths are compared step by step, as they are written, without `.` and `..`: `/srvx` is not in `/srv`.

use std::{collections::BTreeSet, fmt};

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
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Privileged,
        Self::Capabilities,
        Self::Devices,
        Self::HostNetwork,
        Self::HostPid,
        Self::HostIpc,
        Self::DockerSocket,
        Self::Sysctls,
        Self::Unconfined,
        Self::Binds,
    ];

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
    /// The one of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|power| power.name() == name)
    }
}
impl fmt::Display for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What an agent's configuration grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grants {
    /// To the role `admin`.
    pub admin: BTreeSet<Power>,
    /// To the role `write`.
    pub write: BTreeSet<Power>,
    /// Paths that are more, or less, than others.
    pub places: Places,
}

impl Default for Grants {
    fn default() -> Self {
        Self { admin: Power::ALL.into(), write: BTreeSet::new(), places: Places::default() }
    }
}

impl Grants {
    /// Whether any role has it.
    #[must_use]
    pub fn has(&self, power: Power) -> bool {
        self.admin.contains(&power) || self.write.contains(&power)
    }
}

/// Where engines listen, whatever the configuration says.
const SOCKETS: [&str; 4] = [
    "/var/run/docker.sock",
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/var/run/containerd/containerd.sock",
];

/// Paths of the host that decide which power a bind mount needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Directories in which a mount needs none.
    pub roots: Vec<String>,
    /// Sockets of engines.
    pub sockets: Vec<String>,
    /// What is the agent's own: in no root, whatever the roots are.
    pub own: Vec<String>,
}

impl Default for Places {
    fn default() -> Self {
        Self { roots: Vec::new(), sockets: SOCKETS.map(Into::into).into(), own: Vec::new() }
    }
}

impl Places {
    /// The power that a bind mount of this path needs; none inside a root.
    #[must_use]
    pub fn power(&self, path: &str) -> Option<Power> {
        if self.sockets.iter().any(|socket| holds(path, socket)) {
            return Some(Power::DockerSocket);
        }
        let own = self.own.iter().any(|own| holds(own, path) || holds(path, own));
        let inside = path.starts_with('/') && self.roots.iter().any(|root| holds(root, path));
        (own || !inside).then_some(Power::Binds)
    }
}

/// Whether a path is this directory or lies in it.
#[must_use]
pub fn holds(directory: &str, path: &str) -> bool {
    steps(path).starts_with(&steps(directory))
}

/// The steps of a path without `.`, `..` and empty ones.
fn steps(path: &str) -> Vec<&str> {
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
    use proptest::prelude::*;

    use super::*;

    fn places(roots: &[&str]) -> Places {
        let roots = roots.iter().map(|r| (*r).to_owned()).collect();
        Places { roots, own: vec!["/data/agent".into()], ..Places::default() }
    }

    #[test]
    fn a_path_is_in_a_root_step_by_step() {
        let places = places(&["/srv", "/data/"]);
        for inside in ["/srv", "/srv/", "//srv//x", "/srv/./x", "/srv/x/..", "/etc/../srv/x", "/data/a/b"] {
            assert_eq!(places.power(inside), None, "{inside}");
        }
        for outside in [
            "/srvx",
            "/srv/../etc",
            "/srv/x/../../etc",
            "/srv/..x/../..",
            "/dat",
            "/database",
            "srv",
            "/Srv",
            "/mnt/srv",
            "/data",
            "/data/agent",
            "/data/agent/admin.token",
            "/data/x/../agent",
        ] {
            let power = places.power(outside);
            assert!(matches!(power, Some(Power::Binds | Power::DockerSocket)), "{outside}: {power:?}");
        }
    }

    #[test]
    fn a_path_is_the_sockets_however_it_is_written() {
        let places = places(&["/run", "/srv"]);
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
            assert_eq!(places.power(socket), Some(Power::DockerSocket), "{socket}");
        }
        for other in ["/var/lib", "/var/runner", "/var/run/../log"] {
            assert_eq!(places.power(other), Some(Power::Binds), "{other}");
        }
        let elsewhere = Places { sockets: vec!["/home/me/docker.sock".into()], ..Places::default() };
        assert_eq!(elsewhere.power("/home/me"), Some(Power::DockerSocket));
    }

    #[test]
    fn every_power_has_a_name_of_its_own() {
        for power in Power::ALL {
            assert_eq!(Power::of_name(power.name()), Some(power));
        }
        assert_eq!(Power::of_name("Binds"), None);
        let fresh = Grants::default();
        assert!(fresh.admin.len() == Power::ALL.len() && fresh.write.is_empty());
    }

    proptest! {
        /// Walking the steps, as a kernel does where there are no links, ends in the root or it does not.
        #[test]
        fn a_walk_ends_in_a_root_or_outside(walk in prop::collection::vec(
            prop::sample::select(vec!["..", ".", "", "srv", "srvx", "a"]), 0..8,
        )) {
            let mut at: Vec<&str> = Vec::new();
            for step in &walk {
                match *step {
                    ".." => drop(at.pop()),
                    "." | "" => {}
                    step => at.push(step),
                }
            }
            let places = Places { sockets: Vec::new(), own: Vec::new(), ..places(&["/srv"]) };
            let power = (at.first() != Some(&"srv")).then_some(Power::Binds);
            prop_assert_eq!(places.power(&format!("/{}", walk.join("/"))), power);
        }
    }
}
