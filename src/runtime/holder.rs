//! Who holds a port of this machine that a container or the agent was to have.
//!
//! Here: [`holder`], which asks the engine for containers and then the kernel for processes. What cannot be seen
//! (another user's process without the right to look) is not said.

use std::{collections::BTreeSet, fs};

use super::Runtime;

/// Sockets that hold a port: file, and the state of one that does (TCP: listening; UDP has no such state).
/// Source: `proc_net_tcp(5)`, `include/net/tcp_states.h`.
const TABLES: [(&str, Option<&str>); 4] = [
    ("/proc/self/net/tcp", Some("0A")),
    ("/proc/self/net/tcp6", Some("0A")),
    ("/proc/self/net/udp", None),
    ("/proc/self/net/udp6", None),
];

/// `container NAME`, or `NAME (pid N)`; none: nobody knows, or it was let go meanwhile.
pub async fn holder(runtime: &dyn Runtime, port: u16) -> Option<String> {
    if let Ok(found) = runtime.publishing(port).await
        && !found.is_empty()
    {
        return Some(format!("container {}", found.join(", ")));
    }
    tokio::task::spawn_blocking(move || process(port)).await.ok().flatten()
}

/// The process that holds a port.
fn process(port: u16) -> Option<String> {
    let read =
        |(file, state): &(&str, Option<&str>)| inodes(&fs::read_to_string(file).unwrap_or_default(), *state, port);
    let wanted: BTreeSet<String> = TABLES.iter().flat_map(read).map(|inode| format!("socket:[{inode}]")).collect();
    if wanted.is_empty() {
        return None;
    }
    let numbers = fs::read_dir("/proc").ok()?.flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    let holds = |pid: &u32| {
        let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        open.flatten()
            .any(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.to_str().is_some_and(|to| wanted.contains(to))))
    };
    let pid = numbers.into_iter().find(holds)?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(format!("{} (pid {pid})", name.trim()))
}

/// Inodes of the sockets in a table that are bound to a port.
fn inodes(table: &str, state: Option<&str>, port: u16) -> Vec<String> {
    let of_line = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (local, is) = (fields.nth(1)?, fields.nth(1)?);
        let (_, number) = local.rsplit_once(':')?;
        let bound = u16::from_str_radix(number, 16).ok()? == port && state.is_none_or(|state| state == is);
        // Queues, timer, retransmits, user, timeout.
        bound.then(|| fields.nth(5).map(str::to_owned)).flatten()
    };
    table.lines().skip(1).filter_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_socket_is_found_by_its_port_and_its_process_by_the_socket() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0000 100 0 0 10 0
   1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 4243 1 0000 100 0 0 10 0
   2: 00000000:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4244 1 0000 100 0 0 10 0
";
        assert_eq!(inodes(table, Some("0A"), 8080), ["4242"]);
        assert_eq!(inodes(table, None, 8080), ["4242", "4243"]);
        assert_eq!(inodes("", None, 8080), [""; 0]);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let found = process(port).unwrap();
        assert!(found.ends_with(&format!("(pid {})", std::process::id())), "{found}");
        drop(listener);
        assert_eq!(process(port), None);
    }
}
