//! How an agent is set up: flags, environment, file, defaults.
//!
//! Here: [`AgentFlags`] (what the command line takes), [`load`], [`AgentConfig`] (what an agent is given), and
//! where each value came from. Not here: what is done with it (`agent`).
//! Flags win over `CONSTELLATION_*` variables, those over the file, that over the defaults.
//! Invariant: a key or variable that is not known is an error, never ignored; every value is checked, with
//! the name under which the person wrote it; an error lists all that is wrong.

mod file;
mod settings;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

pub use crate::model::Profile;
use settings::{SETTINGS, Setting};

/// Flags of `constellation agent`.
///
/// Texts, so that a wrong value is reported in the same words wherever it was written.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct AgentFlags {
    /// Configuration file, YAML or JSON [env: CONSTELLATION_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the store, the keys and admin.token are kept [env: CONSTELLATION_DATA_DIR] [default: /var/lib/constellation]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Name of this machine in the cluster [env: CONSTELLATION_NODE_NAME] [default: its host name]
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// The Docker engine [env: CONSTELLATION_DOCKER_HOST] [default: unix:///var/run/docker.sock]
    #[arg(long, value_name = "URL")]
    pub docker_host: Option<String>,
    /// Loopback address of the API over plain HTTP; port 0: a free one [env: CONSTELLATION_API_ADDRESS] [default: 127.0.0.1:7443]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub api_address: Option<String>,
    /// Unix socket of the API [env: CONSTELLATION_API_SOCKET] [default: api.sock in the run directory]
    #[arg(long, value_name = "PATH")]
    pub api_socket: Option<String>,
    /// Sockets and locks that last until the machine restarts [env: CONSTELLATION_RUN_DIR] [default: /run/constellation]
    #[arg(long, value_name = "DIR")]
    pub run_dir: Option<String>,
    /// Address under which others reach this machine [env: CONSTELLATION_ADVERTISE_ADDRESS]
    #[arg(long, value_name = "IP")]
    pub advertise_address: Option<String>,
    /// Join a cluster; not built yet [env: CONSTELLATION_JOIN]
    #[arg(long, value_name = "TOKEN@ADDRESS")]
    pub join: Option<String>,
    /// Port between members, once there are several [env: CONSTELLATION_PEER_PORT] [default: 7444]
    #[arg(long, value_name = "PORT")]
    pub peer_port: Option<String>,
    /// Port for joining members [env: CONSTELLATION_JOIN_PORT] [default: 7445]
    #[arg(long, value_name = "PORT")]
    pub join_port: Option<String>,
    /// UDP port of the gossip between members [env: CONSTELLATION_GOSSIP_PORT] [default: 7446]
    #[arg(long, value_name = "PORT")]
    pub gossip_port: Option<String>,
    /// lan: members on one site; wan: on several [env: CONSTELLATION_PROFILE] [default: lan]
    #[arg(long, value_name = "PROFILE")]
    pub profile: Option<String>,
    /// text or json [env: CONSTELLATION_LOG_FORMAT] [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
}

impl AgentFlags {
    fn value(&self, setting: Setting) -> Option<&String> {
        match setting {
            Setting::DataDir => self.data_dir.as_ref(),
            Setting::NodeName => self.node_name.as_ref(),
            Setting::DockerHost => self.docker_host.as_ref(),
            Setting::ApiAddress => self.api_address.as_ref(),
            Setting::ApiSocket => self.api_socket.as_ref(),
            Setting::RunDir => self.run_dir.as_ref(),
            Setting::AdvertiseAddress => self.advertise_address.as_ref(),
            Setting::Join => self.join.as_ref(),
            Setting::PeerPort => self.peer_port.as_ref(),
            Setting::JoinPort => self.join_port.as_ref(),
            Setting::GossipPort => self.gossip_port.as_ref(),
            Setting::Profile => self.profile.as_ref(),
            Setting::LogFormat => self.log_format.as_ref(),
        }
    }
}

/// What an agent is given: every value checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentConfig {
    /// Where the store, the keys and `admin.token` are kept.
    pub data_dir: PathBuf,
    /// Name of this machine in the cluster.
    pub node_name: String,
    /// The Docker engine, as a URL.
    pub docker_host: String,
    /// Loopback address of the API over plain HTTP; port 0: a free one.
    pub api_address: SocketAddr,
    /// Unix socket of the API.
    pub api_socket: PathBuf,
    /// Sockets and locks that last until the machine restarts.
    pub run_dir: PathBuf,
    /// Address under which others reach this machine.
    pub advertise_address: Option<IpAddr>,
    /// Invitation to a cluster; always none as long as joining is not built.
    pub join: Option<String>,
    /// Port between members.
    pub peer_port: u16,
    /// Port for joining members.
    pub join_port: u16,
    /// UDP port of the gossip.
    pub gossip_port: u16,
    /// Links between members.
    pub profile: Profile,
    /// Form of the log.
    pub log_format: LogFormat,
    /// `DOCKER_HOST` where it names another engine: a client's variable, that an agent leaves alone.
    /// Other words for the same socket ([`same_engine`]) are still here after [`load`].
    pub passed_over: Option<String>,
    /// Where each value came from, by its key in the file (`dataDir`).
    pub origins: BTreeMap<&'static str, Origin>,
}

impl AgentConfig {
    /// Whether a person chose the value of this key (`runDir`); otherwise it is the default.
    #[must_use]
    pub fn is_chosen(&self, key: &str) -> bool {
        self.origins.get(key).is_some_and(|o| *o != Origin::Default)
    }
}

/// Form of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag of the command.
    Flag,
    /// A variable of the environment.
    Environment,
    /// The configuration file.
    File {
        /// Which.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// Nobody said otherwise.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Environment => f.write_str("environment"),
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Under which name it was written: `--peer-port`, `CONSTELLATION_PEER_PORT`, `agent.yaml:3:1: peerPort`.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub fix: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.place, self.message, self.fix)
    }
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// At least one.
    pub faults: Vec<Fault>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.faults.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}
impl std::error::Error for ConfigError {}

/// Variables that clients read, and an agent leaves alone.
const OF_CLIENTS: [&str; 4] =
    ["CONSTELLATION_API", "CONSTELLATION_TOKEN", "CONSTELLATION_TOKEN_FILE", "CONSTELLATION_CONTEXT"];
/// Names the engine of Docker's own clients. An agent is bound to one engine for good: what a shell happens to
/// say must not choose another.
const OF_DOCKER: &str = "DOCKER_HOST";
/// Names the configuration file itself.
const CONFIG_FILE: &str = "CONSTELLATION_CONFIG";

/// One value as it was written.
struct Written {
    text: String,
    origin: Origin,
    place: String,
}

/// Puts the configuration of an agent together. `environment`: the whole environment, as the process has it;
/// `hostname`: the machine's, for the default name of the node.
///
/// # Errors
/// [`ConfigError`] with everything that is wrong: unknown keys and variables, values that are not what they
/// should be, a file that cannot be read, an address that is not loopback.
pub fn load(
    flags: &AgentFlags,
    environment: impl IntoIterator<Item = (impl Into<OsString>, impl Into<OsString>)>,
    hostname: &str,
) -> Result<AgentConfig, ConfigError> {
    let mut faults = Vec::new();
    let mut ours: BTreeMap<String, String> = BTreeMap::new();
    let mut of_docker = None;
    for (name, value) in environment {
        let name = name.into().to_string_lossy().into_owned();
        if name == OF_DOCKER {
            of_docker = Some(value.into().to_string_lossy().into_owned());
            continue;
        }
        if !name.starts_with("CONSTELLATION_") {
            continue;
        }
        match value.into().into_string() {
            Ok(value) => drop(ours.insert(name, value)),
            // A name that is not UTF-8 is none of ours either: it is refused as unknown.
            Err(_) if !OF_CLIENTS.contains(&name.as_str()) => faults.push(not_utf8(name)),
            Err(_) => {}
        }
    }
    let known = |n: &str| Setting::of_variable(n).is_some() || n == CONFIG_FILE || OF_CLIENTS.contains(&n);
    faults.extend(ours.keys().filter(|n| !known(n)).map(|n| unknown_variable(n)));
    let path = flags.config.clone().or_else(|| ours.get(CONFIG_FILE).map(PathBuf::from));
    let mut from_file = match path {
        Some(path) => file::read(&path, &mut faults),
        None => BTreeMap::new(),
    };
    let mut written: BTreeMap<Setting, Written> = BTreeMap::new();
    for setting in SETTINGS {
        let value = if let Some(text) = flags.value(setting) {
            Written { text: text.clone(), origin: Origin::Flag, place: setting.flag() }
        } else if let Some(text) = ours.get(&setting.variable()) {
            Written { text: text.clone(), origin: Origin::Environment, place: setting.variable() }
        } else if let Some(value) = from_file.remove(&setting) {
            value
        } else {
            continue;
        };
        written.insert(setting, value);
    }
    let config = settings::check(&written, hostname, &mut faults);
    match config {
        Some(config) if faults.is_empty() => {
            let passed_over = of_docker.filter(|other| !other.is_empty() && *other != config.docker_host);
            Ok(AgentConfig { passed_over, ..config })
        }
        _ => Err(ConfigError { faults }),
    }
}

/// Whether two addresses lead to the same socket, as `/run/docker.sock` and `/var/run/docker.sock` do where one is a
/// link: looks at the disk. Addresses of another form are the same when they are written alike.
#[must_use]
pub fn same_engine(one: &str, other: &str) -> bool {
    let place = |address: &str| {
        let path = Path::new(address.strip_prefix("unix://")?);
        // Before the engine runs there is only the directory.
        let beside = || Some(std::fs::canonicalize(path.parent()?).ok()?.join(path.file_name()?));
        std::fs::canonicalize(path).ok().or_else(beside)
    };
    one == other || place(one).is_some_and(|found| place(other) == Some(found))
}

fn not_utf8(name: String) -> Fault {
    Fault { place: name, message: "the value is not UTF-8".into(), fix: "write it in UTF-8, or unset it".into() }
}

fn unknown_variable(name: &str) -> Fault {
    let known: Vec<String> = SETTINGS.iter().map(|s| s.variable()).chain([CONFIG_FILE.into()]).collect();
    Fault {
        place: name.to_owned(),
        message: "no such variable".into(),
        fix: suggest(name, known.iter().map(String::as_str))
            .unwrap_or_else(|| "unset it; `constellation agent --help` lists all".into()),
    }
}

/// "did you mean …?", when something is near.
fn suggest<'k>(wrong: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&wrong.to_lowercase(), &name.to_lowercase()), name))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, name)| *distance <= 2.max(name.len() / 5))
        .map(|(_, name)| format!("did you mean {name}?"))
}
