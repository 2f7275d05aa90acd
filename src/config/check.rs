//! What each setting must be.
//!
//! Here: from the texts that somebody wrote to an [`AgentConfig`]. Not here: which settings there are (`settings`).

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use tracing_subscriber::EnvFilter;

use super::{
    AgentConfig, Edge, Fault, LogFormat, Origin, Profile, grants,
    origin::Written,
    settings::{SETTINGS, Setting},
};
use crate::model::{Grants, power::Places};

struct Check<'c> {
    written: &'c BTreeMap<Setting, Written>,
    faults: &'c mut Vec<Fault>,
}

impl Check<'_> {
    /// The checked value of a setting, `default` when nobody wrote it; none when it is wrong.
    fn value<T>(&mut self, setting: Setting, default: T, read: impl FnOnce(&str) -> Result<T, Wrong>) -> Option<T> {
        let Some(written) = self.written.get(&setting) else { return Some(default) };
        self.read(written, read)
    }

    /// The same of a setting whose default is a text as one writes it.
    fn text<T>(&mut self, setting: Setting, read: impl FnOnce(&str) -> Result<T, Wrong>) -> Option<T> {
        let usual = || Written::new(setting.default().into(), Origin::Default, setting.key());
        match self.written.get(&setting) {
            Some(written) => self.read(written, read),
            None => self.read(&usual(), read),
        }
    }

    /// The socket that nobody chose: what is wrong with it was written as the directory it stands in.
    fn derived_socket(&mut self, socket: &Path) {
        if let (None, Some(run_dir)) = (self.written.get(&Setting::ApiSocket), self.written.get(&Setting::RunDir))
            && is_long(socket)
        {
            let message = format!("{:?}, the socket in it, is longer than {SOCKET_MOST} bytes", socket.display());
            self.faults.push(run_dir.fault(message, SHORTER));
        }
    }

    /// The same of a list.
    fn list<T>(&mut self, setting: Setting, read: impl FnOnce(&Written, &mut Vec<Fault>) -> Option<T>) -> Option<T> {
        match self.written.get(&setting) {
            Some(written) => read(written, self.faults),
            None => read(&Written::new(setting.default().into(), Origin::Default, setting.key()), self.faults),
        }
    }

    fn read<T>(&mut self, written: &Written, read: impl FnOnce(&str) -> Result<T, Wrong>) -> Option<T> {
        match read(written.text.trim()) {
            Ok(value) => Some(value),
            Err((message, fix)) => {
                self.faults.push(written.fault(message, fix));
                None
            }
        }
    }
}

/// What is wrong and what to do.
type Wrong = (String, &'static str);

/// Checks every value. None when one is wrong; what is wrong stands in `faults`.
pub(super) fn check(
    written: &BTreeMap<Setting, Written>,
    hostname: &str,
    faults: &mut Vec<Fault>,
) -> Option<AgentConfig> {
    let mut check = Check { written, faults };
    let data_dir = check.text(Setting::DataDir, path);
    let run_dir = check.text(Setting::RunDir, path);
    let socket = run_dir.clone().unwrap_or_default().join("api.sock");
    check.derived_socket(&socket);
    let api_socket = check.value(Setting::ApiSocket, socket, socket_path);
    let node_name = check.value(Setting::NodeName, from_hostname(hostname), node_name);
    let docker_host = check.text(Setting::DockerHost, docker_host);
    let api_address = check.text(Setting::ApiAddress, api_address);
    let advertise_address = check.value(Setting::AdvertiseAddress, None, advertise_address);
    let join = check.value(Setting::Join, None, join);
    let peer_port = check.text(Setting::PeerPort, port);
    let join_port = check.text(Setting::JoinPort, port);
    let gossip_port = check.text(Setting::GossipPort, port);
    let profile = check.text(Setting::Profile, profile);
    let log_format = check.text(Setting::LogFormat, log_format);
    let log_filter = check.text(Setting::LogFilter, log_filter);
    let admin = check.list(Setting::GrantsAdmin, grants::powers);
    let write = check.list(Setting::GrantsWrite, grants::powers);
    let mut places = Places::default();
    places.sockets.extend(docker_host.as_deref().and_then(|host| host.strip_prefix("unix://")).map(str::to_owned));
    let own = [&data_dir, &run_dir, &api_socket].into_iter().flatten();
    places.own.extend(own.map(|path| path.display().to_string()));
    let roots = check.list(Setting::GrantsBindRoots, |written, faults| grants::roots(written, &places, faults));
    let http = check.text(Setting::EdgeHttpAddress, edge_address);
    let https = check.text(Setting::EdgeHttpsAddress, edge_address);
    let edge_api = check.text(Setting::EdgeApiAddress, edge_address);
    let origin = |s: &Setting| written.get(s).map_or(Origin::Default, |w| w.origin.clone());
    let config = AgentConfig {
        data_dir: data_dir?,
        node_name: node_name?,
        docker_host: docker_host?,
        api_address: api_address?,
        api_socket: api_socket?,
        run_dir: run_dir?,
        advertise_address: advertise_address?,
        join: join?,
        peer_port: peer_port?,
        join_port: join_port?,
        gossip_port: gossip_port?,
        profile: profile?,
        log_format: log_format?,
        log_filter: log_filter?,
        grants: Grants { admin: admin?, write: write?, places: Places { roots: roots?, ..places } },
        edge: Edge { http: http?, https: https?, api: edge_api? },
        passed_over: None,
        file: None,
        origins: SETTINGS.iter().map(|s| (s.key(), origin(s))).collect(),
    };
    distinct_ports(&config, written, faults);
    distinct_addresses(&config, written, faults);
    Some(config)
}

/// Peers and joining are both TCP on the advertised address, and so will HTTPS be on the port of the API.
fn distinct_ports(config: &AgentConfig, written: &BTreeMap<Setting, Written>, faults: &mut Vec<Fault>) {
    let api = config.api_address.port();
    let ports = [
        (Setting::PeerPort, config.peer_port, "the API", api),
        (Setting::JoinPort, config.join_port, "the API", api),
        (Setting::JoinPort, config.join_port, "peers", config.peer_port),
    ];
    for (setting, port, other, taken) in ports {
        if port == taken && port != 0 {
            let message = format!("port {port} is that of {other} already");
            let fix = "choose another port";
            faults.push(match written.get(&setting) {
                Some(written) => written.fault(message, fix),
                None => Fault::of(setting.flag(), message, fix),
            });
        }
    }
}

/// Traefik listens at three addresses, and the API at a fourth.
fn distinct_addresses(config: &AgentConfig, written: &BTreeMap<Setting, Written>, faults: &mut Vec<Fault>) {
    let Edge { http, https, api } = config.edge;
    let all = [
        (Setting::ApiAddress, config.api_address),
        (Setting::EdgeHttpAddress, http),
        (Setting::EdgeHttpsAddress, https),
        (Setting::EdgeApiAddress, api),
    ];
    for (n, (setting, address)) in all.iter().enumerate() {
        if let Some((other, _)) = all[..n].iter().find(|(_, other)| other == address) {
            let message = format!("{address} is that of {} already", other.key());
            let fix = "choose another port";
            faults.push(match written.get(setting) {
                Some(written) => written.fault(message, fix),
                None => Fault::of(setting.flag(), message, fix),
            });
        }
    }
}

fn path(text: &str) -> Result<PathBuf, Wrong> {
    if text.is_empty() {
        return Err(("the path is empty".into(), "write a path, like /var/lib/constellation"));
    }
    // Absolute at once: messages should name the place, wherever the agent was started.
    std::path::absolute(text).map_err(|e| (format!("{text:?} is not a path: {e}"), "write an absolute path"))
}

/// The kernel keeps the path of a socket in 108 bytes, the last one zero.
const SOCKET_MOST: usize = 107;
const SHORTER: &str = "choose a shorter path: the kernel takes no longer one for a socket";

fn is_long(socket: &Path) -> bool {
    socket.as_os_str().len() > SOCKET_MOST
}

fn socket_path(text: &str) -> Result<PathBuf, Wrong> {
    let path = path(text)?;
    if is_long(&path) {
        return Err((format!("{text:?} is longer than {SOCKET_MOST} bytes"), SHORTER));
    }
    Ok(path)
}

fn node_name(text: &str) -> Result<String, Wrong> {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let edges = !text.starts_with('-') && !text.ends_with('-');
    if (1..=63).contains(&text.len()) && text.bytes().all(word) && edges {
        return Ok(text.to_owned());
    }
    Err((format!("{text:?} is not a name"), "write 1 to 63 of a-z, 0-9 and -, like n1"))
}

/// The machine's name as a node's: its first part in lowercase, `node` when nothing is left.
fn from_hostname(hostname: &str) -> String {
    let first = hostname.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let words: String = first.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(63).collect();
    Some(words.trim_matches('-')).filter(|w| !w.is_empty()).unwrap_or("node").to_owned()
}

fn docker_host(text: &str) -> Result<String, Wrong> {
    let fix = "write unix:///var/run/docker.sock";
    match text.split_once("://") {
        Some(("unix", path)) if path.starts_with('/') => Ok(text.to_owned()),
        Some(("unix", _)) => Err((format!("{text:?} has no absolute path"), fix)),
        // An agent manages the engine of its own machine: its mounts, ports and addresses are local.
        Some(("tcp" | "http" | "https" | "ssh", _)) => {
            Err((format!("{text:?} is not a local socket, and an agent manages its own machine"), fix))
        }
        _ => Err((format!("{text:?} is not the address of an engine"), fix)),
    }
}

fn api_address(text: &str) -> Result<SocketAddr, Wrong> {
    let fix = "write 127.0.0.1:7443, [::1]:7443, or port 0 for a free one";
    let local = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    let written = local.as_deref().unwrap_or(text);
    let address: SocketAddr = written.parse().map_err(|_| (format!("{text:?} is not ADDRESS:PORT"), fix))?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err((format!("{address} is not loopback, and plain HTTP carries tokens in clear"), fix))
}

fn edge_address(text: &str) -> Result<SocketAddr, Wrong> {
    let fix = "write 127.0.0.1:18080, or another port";
    let address: SocketAddr = text.parse().map_err(|_| (format!("{text:?} is not ADDRESS:PORT"), fix))?;
    if !address.ip().is_loopback() {
        let why = "the agent opens the public ports, and Traefik believes whoever reaches it";
        return Err((format!("{address} is not loopback: {why}"), fix));
    }
    if address.port() == 0 {
        return Err(("port 0 is found by nobody".into(), fix));
    }
    Ok(address)
}

fn advertise_address(text: &str) -> Result<Option<IpAddr>, Wrong> {
    let fix = "write the IP address under which other machines reach this one";
    let ip: IpAddr = text.parse().map_err(|_| (format!("{text:?} is not an IP address"), fix))?;
    if ip.is_unspecified() || ip.is_multicast() {
        return Err((format!("{ip} is not the address of one machine"), fix));
    }
    Ok(Some(ip))
}

fn join(text: &str) -> Result<Option<String>, Wrong> {
    match text.split_once('@') {
        // The token is a secret: it stands in no message.
        Some((token, address)) if !token.is_empty() && !address.is_empty() => {
            Err(("joining a cluster is not built yet".into(), "start the agent without it: it forms a cluster of one"))
        }
        _ => Err(("not TOKEN@ADDRESS".into(), "joining is not built yet: start the agent without it")),
    }
}

fn port(text: &str) -> Result<u16, Wrong> {
    text.parse().map_err(|_| (format!("{text:?} is not a port"), "write a number from 1 to 65535, or 0 for a free one"))
}

fn profile(text: &str) -> Result<Profile, Wrong> {
    match text {
        "lan" => Ok(Profile::Lan),
        "wan" => Ok(Profile::Wan),
        _ => Err((format!("{text:?} is not a profile"), "write lan or wan")),
    }
}

fn log_format(text: &str) -> Result<LogFormat, Wrong> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err((format!("{text:?} is not a form of the log"), "write text or json")),
    }
}

/// What `RUST_LOG` may say too.
fn log_filter(text: &str) -> Result<String, Wrong> {
    match EnvFilter::try_new(text) {
        Ok(_) if !text.is_empty() => Ok(text.to_owned()),
        Ok(_) => Err(("the filter is empty".into(), "write it like warn,constellation=info; off logs nothing")),
        Err(error) => Err((format!("{text:?} is no filter: {error}"), "write it like warn,constellation=debug")),
    }
}
