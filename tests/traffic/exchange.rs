//! One request and its answer over a connection, read so that each way to fail can be told apart.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::report::Failure;

/// Longest head that is read.
const HEAD: usize = 64 << 10;

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// `x-version` of the answer.
    pub version: String,
    /// Whether the connection may be used again.
    pub keeps: bool,
}

/// A connection.
pub async fn connect(to: SocketAddr) -> Result<TcpStream, (Failure, String)> {
    let stream = TcpStream::connect(to).await.map_err(|e| (Failure::Connect, e.to_string()))?;
    stream.set_nodelay(true).map_err(|e| (Failure::Connect, e.to_string()))?;
    Ok(stream)
}

/// Asks, and reads the whole answer. Only 200 is a good one.
pub async fn ask(stream: &mut TcpStream, host: &str, path: &str, last: bool) -> Result<Answer, (Failure, String)> {
    let broken = |error: io::Error| (Failure::Reset, error.to_string());
    let connection = if last { "close" } else { "keep-alive" };
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: {connection}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    let mut bytes = Vec::with_capacity(2_048);
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break end + 4;
        }
        if bytes.len() > HEAD {
            return Err((Failure::Status, "an endless head".into()));
        }
        if stream.read_buf(&mut bytes).await.map_err(broken)? == 0 {
            return Err((Failure::Reset, format!("ended after {} bytes of the head", bytes.len())));
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let field = |name: &str| {
        let fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim().to_owned()).next()
    };
    let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let length: Option<usize> = field("content-length").and_then(|v| v.parse().ok());
    let Some(length) = length else { return Err((Failure::Status, format!("{status} without a length"))) };
    while bytes.len() < end + length {
        match stream.read_buf(&mut bytes).await {
            Ok(0) | Err(_) => {
                return Err((Failure::ShortBody, format!("{} of {length} bytes", bytes.len() - end)));
            }
            Ok(_) => {}
        }
    }
    if status != "200" {
        return Err((Failure::Status, status));
    }
    let closes = field("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
    Ok(Answer { version: field("x-version").unwrap_or_default(), keeps: !last && !closes })
}
