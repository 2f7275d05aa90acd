//! What a client says before the server has said anything, and who hears it.
//!
//! Here: [`greet`], until the server speaks; [`repeatable`], whether another server may be told the same. A server that
//! stops listens no more, and the kernel breaks off connections that it had not accepted yet: they look as if it had
//! heard them.
//! Not here: which server ([`super`]), what follows ([`super::pump`]).
//! Invariant: nothing is said twice that may have been done once. A greeting of TLS asks for nothing yet; of HTTP a
//! method that is safe (RFC 9110, 9.2.1) may be repeated (9.2.2). An orderly end is the server's own decision.

use std::io;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::pump::Passed;

/// Most bytes that are kept for another server: what is longer is passed on, and not said again.
const MOST: usize = 16 << 10;
/// A record of TLS that belongs to a handshake (RFC 8446, 5.1).
const HANDSHAKE: u8 = 0x16;
/// Safe methods, as a request begins with them.
const SAFE: [&[u8]; 3] = [b"GET ", b"HEAD ", b"OPTIONS "];

/// How a greeting went.
#[derive(Debug)]
pub enum Heard {
    /// The server speaks or has ended, or the client has said so much: whatever follows passes both ways.
    Yes,
    /// The server broke it off, and had said nothing.
    No(io::Error),
}

/// Passes on what the client says until the server speaks. `said`: what it has said so far, which this server has not
/// heard yet; grows.
///
/// # Errors
/// When the client broke off.
pub async fn greet(
    client: &mut TcpStream,
    server: &mut TcpStream,
    header: &[u8],
    said: &mut Vec<u8>,
    passed: &Passed,
) -> io::Result<Heard> {
    if let Err(error) = server.write_all(&[header, said].concat()).await {
        return Ok(Heard::No(error));
    }
    let mut answer = [0];
    while said.len() < MOST {
        let known = said.len();
        tokio::select! {
            heard = server.peek(&mut answer) => return Ok(heard.map_or_else(Heard::No, |_| Heard::Yes)),
            more = client.read_buf(said) => {
                if more? == 0 {
                    // It reads its end again where both ways are passed on.
                    return Ok(Heard::Yes);
                }
                passed.note(true);
                if let Err(error) = server.write_all(&said[known..]).await {
                    return Ok(Heard::No(error));
                }
            }
        }
    }
    Ok(Heard::Yes)
}

/// Whether another server may be told what one has not answered.
#[must_use]
pub fn repeatable(said: &[u8], error: &io::Error) -> bool {
    let broken = [io::ErrorKind::ConnectionReset, io::ErrorKind::ConnectionAborted, io::ErrorKind::BrokenPipe];
    broken.contains(&error.kind()) && said.len() < MOST && (asks_nothing(said) || is_safe(said))
}

/// The beginning of a conversation that is encrypted, or of none.
fn asks_nothing(said: &[u8]) -> bool {
    said.first().is_none_or(|first| *first == HANDSHAKE)
}

/// One request at most, of a safe method, and nothing after it.
fn is_safe(said: &[u8]) -> bool {
    let one = match said.windows(4).position(|four| four == b"\r\n\r\n") {
        Some(end) => end + 4 == said.len(),
        None => true,
    };
    one && SAFE.iter().any(|method| said.starts_with(method))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_done_nothing_is_said_again() {
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        let long = [b"GET /".to_vec(), vec![b'x'; MOST]].concat();
        for (said, again) in [
            (&b""[..], true),
            (b"\x16\x03\x01\x02\x00", true),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
            (b"GET / HTTP/1.1\r\nHo", true),
            (b"HEAD / HTTP/1.1\r\n\r\n", true),
            (b"GET / HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\n\r\n", false),
            (b"GET / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", false),
            (b"GE", false),
            (b"GETAWAY / HTTP/1.1\r\n\r\n", false),
            (b"POST / HTTP/1.1\r\n\r\n", false),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", false),
            (&long, false),
        ] {
            assert_eq!(repeatable(said, &reset), again, "{}", String::from_utf8_lossy(said));
        }
        assert!(!repeatable(b"", &io::ErrorKind::TimedOut.into()));
    }
}
