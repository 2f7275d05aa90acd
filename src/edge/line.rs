//! One question to Traefik's entry points: which document is served there.
//!
//! Here: [`Lines`], a connection to each. Not here: when it is asked, and what follows ([`super::readback`]).
//! What answers is a router of the document itself (`plan::routes::Document::bytes`), for whoever asks from this machine.
//! Written here, not taken from a crate: a client of HTTP opens another connection when one ends, and that it ends is
//! what is to be seen.

use std::{io, net::SocketAddr, time::Duration};

use futures::future::select_all;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::header;
use crate::plan::routes::{Marker, PROBE};

/// For one answer: Traefik is on this machine.
const ANSWER: Duration = Duration::from_secs(1);
/// Most bytes of an answer that are looked at.
const LONGEST: usize = 16 << 10;
/// Ends a head.
const END: &[u8] = b"\r\n\r\n";

/// A connection to each entry point, as long as it is served there.
#[derive(Debug)]
pub struct Lines([Line; 2]);

#[derive(Debug)]
struct Line {
    at: SocketAddr,
    stream: Option<TcpStream>,
}

impl Lines {
    /// To these entry points.
    #[must_use]
    pub fn new(entry_points: [SocketAddr; 2]) -> Self {
        Self(entry_points.map(|at| Line { at, stream: None }))
    }

    /// The marker of the document that is served at both, of two the older; none: at one of them none of ours is.
    ///
    /// # Errors
    /// When one does not answer in time or in HTTP; `ConnectionRefused` when nobody listens.
    pub async fn ask(&mut self) -> io::Result<Option<Marker>> {
        let [web, websecure] = &mut self.0;
        let answers = tokio::join!(web.ask(), websecure.ask());
        match answers {
            // Of two it says the most.
            (Err(_), Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Err(error),
            (web, websecure) => Ok(web?.zip(websecure?).map(|(one, two)| one.min(two))),
        }
    }

    /// Whether there is one whose end would be seen.
    #[must_use]
    pub fn open(&self) -> bool {
        self.0.iter().any(|line| line.stream.is_some())
    }

    /// Waits until one of them ends; for ever when there is none.
    pub async fn ended(&mut self) {
        let ends: Vec<_> = self.0.iter_mut().filter(|l| l.stream.is_some()).map(|l| Box::pin(l.ended())).collect();
        if ends.is_empty() {
            return std::future::pending().await;
        }
        select_all(ends).await;
    }
}

impl Line {
    async fn ask(&mut self) -> io::Result<Option<Marker>> {
        let asked = async {
            if let Some(stream) = self.stream.take()
                && let Ok(answer) = ask(stream).await
            {
                return Ok(answer);
            }
            // There was none, or it had ended.
            let mut stream = TcpStream::connect(self.at).await?;
            let here = SocketAddr::from(([127, 0, 0, 1], 0));
            stream.write_all(&header::encode(here, here)).await?;
            ask(stream).await
        };
        let answer = timeout(ANSWER, asked).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        let (marker, stream) = answer.unzip();
        self.stream = stream;
        Ok(marker)
    }

    /// Nothing comes unasked: whatever comes is the end.
    async fn ended(&mut self) {
        if let Some(stream) = &mut self.stream {
            let _ = stream.read(&mut [0]).await;
            self.stream = None;
        }
    }
}

/// The marker that is answered, and the connection for the next question; none: the answer has none.
async fn ask(mut stream: TcpStream) -> io::Result<Option<(Marker, TcpStream)>> {
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {PROBE}\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.windows(END.len()).any(|seen| seen == END) {
        if answer.len() > LONGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the head of the answer has no end"));
        }
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    if !answer.starts_with(b"HTTP/1.") {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is no HTTP"));
    }
    Ok(marker(&String::from_utf8_lossy(&answer)).map(|marker| (marker, stream)))
}

/// The marker in the head of an answer that has no body: the next answer begins where this one ends.
fn marker(answer: &str) -> Option<Marker> {
    let lines: Vec<(&str, &str)> = answer.lines().filter_map(|line| line.split_once(": ")).collect();
    let field = |name: &str| lines.iter().find(|(is, _)| is.eq_ignore_ascii_case(name)).map(|(_, value)| *value);
    field("content-length").filter(|length| *length == "0" && answer.ends_with("\r\n\r\n"))?;
    Marker::parse(field(Marker::HEADER)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Index;

    fn head(fields: &str) -> String {
        format!("HTTP/1.1 418 I'm a teapot\r\n{fields}Date: Thu, 26 Nov 2026 23:21:56 GMT\r\n\r\n")
    }

    #[test]
    fn only_a_marker_without_a_body_is_a_yes() {
        let with = |marker: &str| head(&format!("X-Constellation-Generation: {marker}\r\nContent-Length: 0\r\n"));
        assert_eq!(marker(&with("gen-7-2")), Some(Marker { index: Index(7), sub: 2 }));
        for other in ["mw-gen-7-2", "gen-x-2", "gen-7", "gen-7-2-1", "", "gen--1-2"] {
            assert_eq!(marker(&with(other)), None, "{other}");
        }
        assert_eq!(marker(&head("Content-Length: 0\r\n")), None);
        assert_eq!(marker(&head("X-Constellation-Generation: gen-7-2\r\n")), None);
        assert_eq!(marker(&head("X-Constellation-Generation: gen-7-2\r\nContent-Length: 3\r\n")), None);
        assert_eq!(marker(&format!("{}x", with("gen-7-2"))), None);
    }
}
