//! How an agent is set up: flags, environment, file, defaults.
//!
//! Here: [`AgentFlags`] (what the command line takes), [`load`], [`AgentConfig`] (what an agent is given), where
//! each value came from ([`Origin`], [`Shown`]), what a reload takes over ([`change`]), and the documented example
//! ([`example`]). Not here: what is done with it (`agent`).
//! Flags win over `CONSTELLATION_*` variables, those over the file, that over the defaults; only of what is
//! logged `RUST_LOG` has the last word.
//! Invariant: a key or variable that is not known is an error, never ignored; every value is checked, with
//! the name under which the person wrote it; an error lists all that is wrong.

pub mod change;
mod check;
pub mod example;
mod file;
mod grants;
mod load;
#[cfg(test)]
mod mutated;
mod origin;
mod settings;
#[cfg(test)]
mod tests;
mod tree;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use serde::Serialize;

use self::settings::{ALL, NONE, SETTINGS, Setting};
pub use self::{
    load::{load, same_engine},
    origin::{ConfigError, Fault, Origin},
};
pub use crate::model::Profile;
use crate::model::{Grants, Power};

/// The configuration file that is read when it is there and no other is named.
pub const USUAL_FILE: &str = "/etc/constellation/agent.yaml";

/// Flags of `constellation agent`.
///
/// Texts, so that a wrong value is reported in the same words wherever it was written.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct AgentFlags {
    /// Configuration file, YAML or JSON [env: CONSTELLATION_CONFIG] [default: /etc/constellation/agent.yaml, if it is there]
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
    /// What is logged, in the words of RUST_LOG, which wins [env: CONSTELLATION_LOG_FILTER] [default: warn,constellation=info]
    #[arg(long, value_name = "FILTER")]
    pub log_filter: Option<String>,
    /// Power over the host that the role admin may give: all, none, or names with commas [env: CONSTELLATION_GRANTS_ADMIN] [default: all]
    #[arg(long, value_name = "POWERS")]
    pub grants_admin: Option<String>,
    /// The same of the role write [env: CONSTELLATION_GRANTS_WRITE] [default: none]
    #[arg(long, value_name = "POWERS")]
    pub grants_write: Option<String>,
    /// Directories whose bind mounts need no grant, with commas [env: CONSTELLATION_GRANTS_BIND_ROOTS] [default: none]
    #[arg(long, value_name = "DIRS")]
    pub grants_bind_roots: Option<String>,
    /// Loopback address of Traefik's entry point web [env: CONSTELLATION_EDGE_HTTP_ADDRESS] [default: 127.0.0.1:18080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub edge_http_address: Option<String>,
    /// Loopback address of Traefik's entry point websecure [env: CONSTELLATION_EDGE_HTTPS_ADDRESS] [default: 127.0.0.1:18443]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub edge_https_address: Option<String>,
    /// Loopback address of Traefik's own API [env: CONSTELLATION_EDGE_API_ADDRESS] [default: 127.0.0.1:18081]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub edge_api_address: Option<String>,
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
            Setting::LogFilter => self.log_filter.as_ref(),
            Setting::GrantsAdmin => self.grants_admin.as_ref(),
            Setting::GrantsWrite => self.grants_write.as_ref(),
            Setting::GrantsBindRoots => self.grants_bind_roots.as_ref(),
            Setting::EdgeHttpAddress => self.edge_http_address.as_ref(),
            Setting::EdgeHttpsAddress => self.edge_https_address.as_ref(),
            Setting::EdgeApiAddress => self.edge_api_address.as_ref(),
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
    /// What is logged, in the words of `RUST_LOG`.
    pub log_filter: String,
    /// Which role may give a service which power over its host.
    pub grants: Grants,
    /// Where this node's Traefik is, on loopback.
    pub edge: Edge,
    /// The file that was read.
    pub file: Option<PathBuf>,
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

    /// Every value with where it came from, in the order of the file. Secrets are masked.
    #[must_use]
    pub fn shown(&self) -> Vec<Shown> {
        let shown = |setting: Setting| {
            let origin = self.origins.get(setting.key()).cloned().unwrap_or(Origin::Default);
            let value = self.value(setting).map(|text| if setting.is_secret() { MASK.to_owned() } else { text });
            let place = origin.place();
            Shown { key: setting.key(), value, from: origin.word(), place, live: setting.is_live() }
        };
        SETTINGS.into_iter().map(shown).collect()
    }

    /// A value as one would write it; none where there is none.
    fn value(&self, setting: Setting) -> Option<String> {
        Some(match setting {
            Setting::DataDir => self.data_dir.display().to_string(),
            Setting::NodeName => self.node_name.clone(),
            Setting::DockerHost => self.docker_host.clone(),
            Setting::ApiAddress => self.api_address.to_string(),
            Setting::ApiSocket => self.api_socket.display().to_string(),
            Setting::RunDir => self.run_dir.display().to_string(),
            Setting::AdvertiseAddress => return self.advertise_address.map(|ip| ip.to_string()),
            Setting::Join => return self.join.clone(),
            Setting::PeerPort => self.peer_port.to_string(),
            Setting::JoinPort => self.join_port.to_string(),
            Setting::GossipPort => self.gossip_port.to_string(),
            Setting::Profile => match self.profile {
                Profile::Lan => "lan".into(),
                Profile::Wan => "wan".into(),
            },
            Setting::LogFormat => match self.log_format {
                LogFormat::Text => "text".into(),
                LogFormat::Json => "json".into(),
            },
            Setting::LogFilter => self.log_filter.clone(),
            Setting::GrantsAdmin => powers(&self.grants.admin),
            Setting::GrantsWrite => powers(&self.grants.write),
            Setting::GrantsBindRoots => list(self.grants.places.roots.iter().map(String::as_str)),
            Setting::EdgeHttpAddress => self.edge.http.to_string(),
            Setting::EdgeHttpsAddress => self.edge.https.to_string(),
            Setting::EdgeApiAddress => self.edge.api.to_string(),
        })
    }
}

/// Powers as one would write them.
fn powers(powers: &BTreeSet<Power>) -> String {
    if powers.len() == Power::ALL.len() { ALL.into() } else { list(powers.iter().map(|power| power.name())) }
}

/// A list as one would write it.
fn list<'i>(items: impl Iterator<Item = &'i str>) -> String {
    let text = items.collect::<Vec<_>>().join(",");
    if text.is_empty() { NONE.into() } else { text }
}

/// What stands in the place of a secret.
const MASK: &str = "(hidden)";

/// One setting as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// Its key in the file.
    pub key: &'static str,
    /// Its value; none: nobody gave one, and there is no default.
    pub value: Option<String>,
    /// `default`, `file`, `environment` or `flag`.
    pub from: &'static str,
    /// The line, the variable or the flag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Whether a reload takes a change of it over.
    pub live: bool,
}

/// Where a node's Traefik is. Its entry points are static: what it is started with says the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// Its entry point `web`.
    pub http: SocketAddr,
    /// Its entry point `websecure`.
    pub https: SocketAddr,
    /// Its own API.
    pub api: SocketAddr,
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
