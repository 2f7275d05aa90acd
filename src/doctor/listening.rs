//! Ports that an agent needs now or later: free, its own, or somebody else's.

use std::{collections::BTreeMap, fs};

use super::Check;
use crate::config::AgentConfig;

/// What our own process is called.
const OURS: &str = "constellation";

/// One port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its number.
    pub number: u16,
    /// Whether it is one of UDP.
    pub udp: bool,
    /// What it is for.
    pub purpose: &'static str,
    /// Whether an agent of today cannot start without it.
    pub needed: bool,
}

/// Who listens, by process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its name; none: it cannot be seen.
    pub process: Option<String>,
}

/// The ports of a configuration, and those that names of services will need. Port 0 is a free one.
#[must_use]
pub fn wanted(config: &AgentConfig) -> Vec<Port> {
    let port = |number, udp, purpose, needed| Port { number, udp, purpose, needed };
    let all = vec![
        port(config.api_address.port(), false, "the API", true),
        port(config.peer_port, false, "members", false),
        port(config.join_port, false, "joining", false),
        port(config.gossip_port, true, "gossip", false),
        port(80, false, "HTTP", false),
        port(443, false, "HTTPS", false),
    ];
    all.into_iter().filter(|port| port.number != 0).collect()
}

/// Who listens at which of these ports, on any address of this network namespace.
#[must_use]
pub fn held(wanted: &[Port]) -> BTreeMap<u16, Holder> {
    let read = |name: &str| fs::read_to_string(format!("/proc/net/{name}")).unwrap_or_default();
    let (tcp, udp) = (read("tcp") + &read("tcp6"), read("udp") + &read("udp6"));
    let mut found: BTreeMap<u16, u64> = BTreeMap::new();
    for port in wanted {
        let table = if port.udp { &udp } else { &tcp };
        if let Some((_, inode)) = sockets(table, port.udp).into_iter().find(|(number, _)| *number == port.number) {
            found.insert(port.number, inode);
        }
    }
    let processes = if found.is_empty() { BTreeMap::new() } else { processes() };
    found.into_iter().map(|(port, inode)| (port, Holder { process: processes.get(&inode).cloned() })).collect()
}

/// Ports and inodes of the listening sockets in a table of `/proc/net`.
///
/// Source: `proc_pid_net(5)`: local address in hexadecimal, state (0A: listening; of UDP 07: unconnected), inode.
#[must_use]
pub fn sockets(table: &str, udp: bool) -> Vec<(u16, u64)> {
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let port = u16::from_str_radix(fields.get(1)?.rsplit_once(':')?.1, 16).ok()?;
        let listens = *fields.get(3)? == if udp { "07" } else { "0A" };
        Some((port, fields.get(9)?.parse().ok()?)).filter(|_| listens)
    };
    table.lines().filter_map(line).collect()
}

/// Names of processes by the inodes of their sockets: of all of them as root, else of one's own.
fn processes() -> BTreeMap<u64, String> {
    let mut found = BTreeMap::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(open) = fs::read_dir(process.path().join("fd")) else { continue };
        let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        for file in open.flatten() {
            let target = fs::read_link(file.path()).unwrap_or_default();
            let inode = target.to_str().and_then(|t| t.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            if let Some(inode) = inode {
                found.insert(inode, format!("{} (process {pid})", name.trim()));
            }
        }
    }
    found
}

/// Judges each port.
#[must_use]
pub fn judge(wanted: &[Port], held: &Result<BTreeMap<u16, Holder>, String>) -> Vec<Check> {
    let name = "ports";
    let held = match held {
        Ok(held) => held,
        Err(why) => return vec![Check::skipped(name, why)],
    };
    let mut free = Vec::new();
    let mut checks = Vec::new();
    for port in wanted {
        let told = format!("{}{} for {}", port.number, if port.udp { "/udp" } else { "" }, port.purpose);
        let Some(holder) = held.get(&port.number) else {
            free.push(told);
            continue;
        };
        let by = holder.process.as_deref().unwrap_or("a process that this user cannot see");
        let ours = by.split(' ').next() == Some(OURS);
        checks.push(if ours {
            Check::ok(name, format!("{told}: held by an agent, {by}"))
        } else if port.needed && holder.process.is_some() {
            let advice = format!("stop it, or choose another address for {} (--api-address)", port.purpose);
            Check::problem(name, format!("{told}: held by {by}"), advice)
        } else if port.needed {
            Check::warning(name, format!("{told}: held by {by}"), "ask again as root: it may be an agent")
        } else {
            Check::ok(name, format!("{told}: held by {by}; not needed yet"))
        });
    }
    if !free.is_empty() {
        checks.insert(0, Check::ok(name, format!("free: {}", free.join(", "))));
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn only_sockets_that_listen_are_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:1D13 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0\n\
            1: 0100007F:1D14 0100007F:C000 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0\n\
            2: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 4713 1 0\n";
        assert_eq!(sockets(table, false), [(7443, 4711), (80, 4713)]);
        let udp = "   1: 00000000:1D16 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 9 2 0\n";
        assert_eq!((sockets(udp, true), sockets(udp, false)), (vec![(7446, 9)], vec![]));
    }

    #[test]
    fn a_port_is_free_ours_or_somebody_elses() {
        let port = |number, needed| Port { number, udp: false, purpose: "x", needed };
        let by = |name: &str| Holder { process: Some(name.into()) };
        let wanted = [port(1, true), port(2, true), port(3, false), port(4, true), port(5, true)];
        let held = Ok(BTreeMap::from([
            (2, by("nginx (process 9)")),
            (3, by("nginx (process 9)")),
            (4, by("constellation (process 8)")),
            (5, Holder { process: None }),
        ]));
        let levels: Vec<(Level, String)> = judge(&wanted, &held).into_iter().map(|c| (c.level, c.found)).collect();
        assert_eq!(
            levels,
            [
                (Level::Ok, "free: 1 for x".into()),
                (Level::Problem, "2 for x: held by nginx (process 9)".into()),
                (Level::Ok, "3 for x: held by nginx (process 9); not needed yet".into()),
                (Level::Ok, "4 for x: held by an agent, constellation (process 8)".into()),
                (Level::Warning, "5 for x: held by a process that this user cannot see".into()),
            ]
        );
    }

    #[test]
    fn a_socket_of_this_process_is_found_with_its_name() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let number = listener.local_addr().unwrap().port();
        let found = held(&[Port { number, udp: false, purpose: "x", needed: true }]);
        let process = found[&number].process.clone().unwrap();
        assert!(process.ends_with(&format!("(process {})", std::process::id())), "{process}");
    }
}
