//! Every setting: its names, its default, what is said of it, whether it is secret, when it takes effect.
//!
//! Not here: what a value must be (`check`), where it was written (`file`, `load`).

/// Of a list: every value there is.
pub(super) const ALL: &str = "all";
/// Of a list: no value.
pub(super) const NONE: &str = "none";

/// One setting. Its key in the file, its flag and its variable follow from one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Setting {
    DataDir,
    NodeName,
    DockerHost,
    ApiAddress,
    ApiSocket,
    RunDir,
    AdvertiseAddress,
    Join,
    PeerPort,
    JoinPort,
    GossipPort,
    Profile,
    LogFormat,
    LogFilter,
    GrantsAdmin,
    GrantsWrite,
    GrantsBindRoots,
    EdgeHttpAddress,
    EdgeHttpsAddress,
    EdgeApiAddress,
}

/// All of them.
pub(super) const SETTINGS: [Setting; 20] = [
    Setting::DataDir,
    Setting::NodeName,
    Setting::DockerHost,
    Setting::ApiAddress,
    Setting::ApiSocket,
    Setting::RunDir,
    Setting::AdvertiseAddress,
    Setting::Join,
    Setting::PeerPort,
    Setting::JoinPort,
    Setting::GossipPort,
    Setting::Profile,
    Setting::LogFormat,
    Setting::LogFilter,
    Setting::GrantsAdmin,
    Setting::GrantsWrite,
    Setting::GrantsBindRoots,
    Setting::EdgeHttpAddress,
    Setting::EdgeHttpsAddress,
    Setting::EdgeApiAddress,
];

impl Setting {
    /// Key in the file; below a dot it stands in the mapping that is named before it.
    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::DataDir => "dataDir",
            Self::NodeName => "nodeName",
            Self::DockerHost => "dockerHost",
            Self::ApiAddress => "apiAddress",
            Self::ApiSocket => "apiSocket",
            Self::RunDir => "runDir",
            Self::AdvertiseAddress => "advertiseAddress",
            Self::Join => "join",
            Self::PeerPort => "peerPort",
            Self::JoinPort => "joinPort",
            Self::GossipPort => "gossipPort",
            Self::Profile => "profile",
            Self::LogFormat => "logFormat",
            Self::LogFilter => "logFilter",
            Self::GrantsAdmin => "grants.admin",
            Self::GrantsWrite => "grants.write",
            Self::GrantsBindRoots => "grants.bindRoots",
            Self::EdgeHttpAddress => "edge.httpAddress",
            Self::EdgeHttpsAddress => "edge.httpsAddress",
            Self::EdgeApiAddress => "edge.apiAddress",
        }
    }
    fn words(self, separator: char) -> String {
        let mut out = String::new();
        for c in self.key().chars() {
            if c.is_ascii_uppercase() || c == '.' {
                out.push(separator);
            }
            out.extend(Some(c.to_ascii_lowercase()).filter(|c| *c != '.'));
        }
        out
    }
    /// Flag of the command.
    pub(super) fn flag(self) -> String {
        format!("--{}", self.words('-'))
    }
    /// Variable of the environment.
    pub(super) fn variable(self) -> String {
        format!("CONSTELLATION_{}", self.words('_').to_ascii_uppercase())
    }
    /// The one with this key in a mapping of the file, or in the file itself.
    pub(super) fn of_key(section: Option<&str>, key: &str) -> Option<Self> {
        SETTINGS.into_iter().find(|s| s.nested() == (section, key))
    }
    pub(super) fn of_variable(name: &str) -> Option<Self> {
        SETTINGS.into_iter().find(|s| s.variable() == name)
    }
    /// Its default as one would write it; empty where there is none, or where the machine says it.
    pub(super) const fn default(self) -> &'static str {
        match self {
            Self::DataDir => "/var/lib/constellation",
            Self::DockerHost => "unix:///var/run/docker.sock",
            Self::ApiAddress => "127.0.0.1:7443",
            Self::RunDir => "/run/constellation",
            Self::PeerPort => "7444",
            Self::JoinPort => "7445",
            Self::GossipPort => "7446",
            Self::Profile => "lan",
            Self::LogFormat => "text",
            Self::LogFilter => "warn,constellation=info",
            Self::GrantsAdmin => ALL,
            Self::GrantsWrite | Self::GrantsBindRoots => NONE,
            Self::EdgeHttpAddress => "127.0.0.1:18080",
            Self::EdgeHttpsAddress => "127.0.0.1:18443",
            Self::EdgeApiAddress => "127.0.0.1:18081",
            Self::NodeName | Self::ApiSocket | Self::AdvertiseAddress | Self::Join => "",
        }
    }
    /// A good value, for examples: the default where there is one.
    pub(super) const fn sample(self) -> &'static str {
        match self {
            Self::NodeName => "n1",
            Self::ApiSocket => "/run/constellation/api.sock",
            Self::AdvertiseAddress => "192.0.2.1",
            Self::Join => "TOKEN@192.0.2.1",
            Self::DataDir
            | Self::DockerHost
            | Self::ApiAddress
            | Self::RunDir
            | Self::PeerPort
            | Self::JoinPort
            | Self::GossipPort
            | Self::Profile
            | Self::LogFormat
            | Self::LogFilter
            | Self::GrantsAdmin
            | Self::GrantsWrite
            | Self::GrantsBindRoots
            | Self::EdgeHttpAddress
            | Self::EdgeHttpsAddress
            | Self::EdgeApiAddress => self.default(),
        }
    }
    /// What it is, in one sentence.
    pub(super) const fn about(self) -> &'static str {
        match self {
            Self::DataDir => "Where the store, the keys and admin.token are kept.",
            Self::NodeName => {
                "Name of this machine in the cluster; without one its host name. A node keeps its first name."
            }
            Self::DockerHost => "The Docker engine: the socket of one that runs on this machine.",
            Self::ApiAddress => "Loopback address of the API over plain HTTP; port 0: a free one.",
            Self::ApiSocket => "Unix socket of the API; without one api.sock in the run directory.",
            Self::RunDir => {
                "Sockets, locks and clear secrets that last until the machine restarts: in memory, like /run."
            }
            Self::AdvertiseAddress => "Address under which others reach this machine; published ports listen on it.",
            Self::Join => "Join a cluster; not built yet.",
            Self::PeerPort => "Port between members, once there are several.",
            Self::JoinPort => "Port for joining members.",
            Self::GossipPort => "UDP port of the gossip between members.",
            Self::Profile => "lan: members on one site; wan: on several.",
            Self::LogFormat => "text, or json: one object a line.",
            Self::LogFilter => "What is logged, as RUST_LOG says it; RUST_LOG wins over every other place.",
            Self::GrantsAdmin => {
                "Power over the host that the role admin may give to services: all, none, or a list of privileged, \
                 capabilities, devices, hostNetwork, hostPid, hostIpc, dockerSocket, sysctls, unconfined, binds."
            }
            Self::GrantsWrite => "The same of the role write. What neither has, this node's agent does not carry out.",
            Self::GrantsBindRoots => {
                "Directories whose bind mounts need no grant, like [/srv, /data]; a link that leads out of them is \
                 refused."
            }
            Self::EdgeHttpAddress => {
                "Loopback address of Traefik's entry point web, where the agent splices port 80 to."
            }
            Self::EdgeHttpsAddress => {
                "Loopback address of Traefik's entry point websecure, where the agent splices port 443 to."
            }
            Self::EdgeApiAddress => "Loopback address of Traefik's own API, which the agent asks what Traefik does.",
        }
    }
    /// Whether it has any number of values.
    pub(super) const fn is_list(self) -> bool {
        matches!(self, Self::GrantsAdmin | Self::GrantsWrite | Self::GrantsBindRoots)
    }
    /// The mapping that it stands in, and its key there.
    pub(super) fn nested(self) -> (Option<&'static str>, &'static str) {
        match self.key().split_once('.') {
            Some((section, key)) => (Some(section), key),
            None => (None, self.key()),
        }
    }
    /// Whether its value is shown to nobody.
    pub(super) const fn is_secret(self) -> bool {
        match self {
            Self::Join => true,
            Self::DataDir
            | Self::NodeName
            | Self::DockerHost
            | Self::ApiAddress
            | Self::ApiSocket
            | Self::RunDir
            | Self::AdvertiseAddress
            | Self::PeerPort
            | Self::JoinPort
            | Self::GossipPort
            | Self::Profile
            | Self::LogFormat
            | Self::LogFilter
            | Self::GrantsAdmin
            | Self::GrantsWrite
            | Self::GrantsBindRoots
            | Self::EdgeHttpAddress
            | Self::EdgeHttpsAddress
            | Self::EdgeApiAddress => false,
        }
    }
    /// Whether a reload takes it over; all others need a restart. What is bound, locked, stored or already told to
    /// containers cannot change under them.
    pub(super) const fn is_live(self) -> bool {
        match self {
            // They are read when something is written, and before a container is made.
            Self::LogFilter | Self::GrantsAdmin | Self::GrantsWrite | Self::GrantsBindRoots => true,
            Self::DataDir
            | Self::NodeName
            | Self::DockerHost
            | Self::ApiAddress
            | Self::ApiSocket
            | Self::RunDir
            | Self::AdvertiseAddress
            | Self::Join
            | Self::PeerPort
            | Self::JoinPort
            | Self::GossipPort
            | Self::Profile
            | Self::LogFormat
            | Self::EdgeHttpAddress
            | Self::EdgeHttpsAddress
            | Self::EdgeApiAddress => false,
        }
    }
}
