//! Connections that this host has to an endpoint, as the kernel lists them.
//!
//! Here: [`established`], from the text of `/proc/net/tcp` and `tcp6` to how many there are to each address. Not here:
//! which of them is a request in flight: Traefik ends its idle ones after a second, so those that stay are.
//! Source: `proc_pid_net(5)`; the kernel prints addresses as words in the byte order of the machine.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufRead as _, BufReader},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// State of a connection that is open both ways.
const ESTABLISHED: &str = "01";
/// Longest line of the kernel's is 150 bytes for IPv4 and 200 for IPv6.
const LINE: usize = 1_024;

/// How many connections this host has opened, or been opened, to each of these addresses.
///
/// # Errors
/// When the kernel's tables cannot be read: then nobody knows.
pub fn count(endpoints: &[SocketAddr]) -> io::Result<BTreeMap<SocketAddr, usize>> {
    let mut found = BTreeMap::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let file = match fs::File::open(table) {
            Ok(file) => file,
            // A kernel without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound && table.ends_with('6') => continue,
            Err(error) => return Err(error),
        };
        for line in BufReader::new(file).lines() {
            if let Some(to) = established(&line?).filter(|to| endpoints.contains(to)) {
                *found.entry(to).or_insert(0) += 1;
            }
        }
    }
    Ok(found)
}

/// Where a line's connection leads to, when it is established; an IPv4 address in the form of IPv6 is one of IPv4.
#[must_use]
pub fn established(line: &str) -> Option<SocketAddr> {
    let mut fields = line.get(..line.len().min(LINE))?.split_ascii_whitespace();
    let (_slot, _local, remote, state) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    if state != ESTABLISHED {
        return None;
    }
    let (address, port) = remote.split_once(':')?;
    let hex = |text: &str, digits| {
        (text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit()))
            .then(|| u32::from_str_radix(text, 16).ok())?
    };
    let port = u16::try_from(hex(port, 4)?).ok()?;
    let word = |n: usize| Some(hex(address.get(n * 8..(n + 1) * 8)?, 8)?.to_ne_bytes());
    let ip = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (n, four) in bytes.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(n)?);
            }
            Ipv6Addr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::mutate::{Mutations, survives_text};

    #[cfg(target_endian = "little")]
    #[test]
    fn only_established_connections_are_read_and_where_they_lead() {
        let of = |text: &str| established(text).map(|at| at.to_string());
        let line =
            |remote: &str, state: &str| format!("   0: 0100007F:A3F2 {remote} {state} 00000000:00000000 00:0 0 0");
        let table = [
            (line("0B0011AC:1F90", "01"), Some("172.17.0.11:8080")),
            (line("0B0011AC:1F90", "06"), None),
            (line("00000000:0000", "0A"), None),
            (line("0000000000000000FFFF00000100007F:0050", "01"), Some("127.0.0.1:80")),
            (line("B80D0120000000000000000001000000:01BB", "01"), Some("[2001:db8::1]:443")),
            (line("0B0011AC", "01"), None),
            (line("0B0011A:1F90", "01"), None),
            (line("+B0011AC:1F90", "01"), None),
            (line("0B0011AC:11F90", "01"), None),
            ("  sl  local_address rem_address   st tx_queue".into(), None),
            (String::new(), None),
        ];
        for (line, want) in table {
            assert_eq!(of(&line).as_deref(), want, "{line}");
        }
    }

    #[test]
    fn a_connection_of_this_process_is_counted_as_long_as_it_is_open() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let at = listener.local_addr().unwrap();
            assert_eq!(count(&[at]).unwrap(), BTreeMap::new());
            let open: Vec<_> = (0..3).map(|_| TcpStream::connect(at).unwrap()).collect();
            let taken: Vec<_> = (0..3).map(|_| listener.accept().unwrap()).collect();
            assert_eq!(count(&[at]).unwrap(), BTreeMap::from([(at, 3)]));
            drop((open, taken));
            assert_eq!(count(&[at]).unwrap(), BTreeMap::new());
        }
    }

    #[test]
    fn whatever_stands_in_the_table_it_is_read_or_left_out() {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let corpus = [
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
             0: 0100007F:A3F2 0B0011AC:1F90 01 00000000:00000000 00:00000000 00000000     0        0 4711 1\n   \
             1: 0B0011AC:1F90 0000000000000000FFFF00000100007F:0050 01 00000000:00000000\n"
                .to_owned(),
            read("/proc/net/tcp"),
            read("/proc/net/tcp6"),
        ];
        survives_text(Mutations::of("connections", corpus, 1_500), |text| {
            for line in text.lines() {
                let _ = established(line);
            }
        });
    }
}
