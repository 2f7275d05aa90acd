//! The header that tells Traefik who the client was: the PROXY protocol, version 2.
//!
//! Written here, not taken from a crate: what is needed are 28 or 52 bytes.
//!
//! Source: HAProxy, "The PROXY protocol", section 2.2 (`proxy-protocol.txt`, 2020/03/05).

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, a connection on behalf of somebody.
const PROXY: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

/// The header of a connection from `client` to the public address `here`.
#[must_use]
pub fn encode(client: SocketAddr, here: SocketAddr) -> Vec<u8> {
    // At a socket of both families an IPv4 client appears as ::ffff:a.b.c.d.
    let (from, to) = (client.ip().to_canonical(), here.ip().to_canonical());
    let mut header = Vec::with_capacity(52);
    header.extend(SIGNATURE);
    header.push(PROXY);
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header.push(TCP_OVER_IPV4);
            header.extend(12_u16.to_be_bytes());
            header.extend(from.octets());
            header.extend(to.octets());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => ipv6(&mut header, from, to),
        // One connection has one family; told in the wider one, should it ever not.
        (IpAddr::V4(from), IpAddr::V6(to)) => ipv6(&mut header, from.to_ipv6_mapped(), to),
        (IpAddr::V6(from), IpAddr::V4(to)) => ipv6(&mut header, from, to.to_ipv6_mapped()),
    }
    header.extend(client.port().to_be_bytes());
    header.extend(here.port().to_be_bytes());
    header
}

fn ipv6(header: &mut Vec<u8>, from: Ipv6Addr, to: Ipv6Addr) {
    header.push(TCP_OVER_IPV6);
    header.extend(36_u16.to_be_bytes());
    header.extend(from.octets());
    header.extend(to.octets());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(client: &str, here: &str) -> Vec<u8> {
        encode(client.parse().unwrap(), here.parse().unwrap())
    }

    #[test]
    fn every_byte_stands_where_the_protocol_says() {
        let start = b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a";
        let v4 = of("192.0.2.7:4660", "198.51.100.1:443");
        assert_eq!(v4, [&start[..], b"\x21\x11\0\x0c", &[192, 0, 2, 7, 198, 51, 100, 1], b"\x12\x34\x01\xbb"].concat());
        assert_eq!(of("[::ffff:192.0.2.7]:4660", "[::ffff:198.51.100.1]:443"), v4, "one socket for both families");
        let v6 = of("[2001:db8::7]:4660", "[2001:db8::1]:80");
        let mut addresses = [0_u8; 32];
        for (from, last) in [(0, 7), (16, 1)] {
            addresses[from..from + 4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
            addresses[from + 15] = last;
        }
        assert_eq!(v6, [&start[..], b"\x21\x21\0\x24", &addresses, b"\x12\x34\0\x50"].concat());
    }
}
