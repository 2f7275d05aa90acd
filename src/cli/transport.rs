//! One request to an API, over TCP or a Unix socket, with deadlines.
//!
//! Here: [`Transport`], which opens a connection for each request, [`Answer`], and [`Lines`] of an ndjson
//! stream. Not here: paths and types (`client`).
//! Invariant: after bytes left, a request is sent again only with an idempotency key; without one, a broken
//! connection is an error that says so. Every wait has a deadline here, that for the next frame of a stream too.
//! A connection per request: a command makes a handful of them, and a broken one then concerns one request.

use std::{io, time::Duration};

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{
    net,
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};
use zeroize::Zeroizing;

use super::{endpoint::Endpoint, failure::CliError};
use crate::api::wire::Problem;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest silence of a stream: an API that lives sends an empty line more often than that.
const SILENCE: Duration = Duration::from_secs(60);
/// Largest answer that is read at once.
const ANSWER_LIMIT: usize = 64 << 20;
/// Longest line of a stream.
const LINE_LIMIT: usize = 16 << 20;
/// Waits before a change is sent again with its idempotency key.
const RETRIES: [Duration; 4] =
    [Duration::from_millis(200), Duration::from_millis(800), Duration::from_secs(2), Duration::from_secs(4)];

/// A body on its way out.
pub type Outgoing = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// What is asked.
#[derive(Debug, Clone)]
pub struct Request {
    /// Method.
    pub method: Method,
    /// Path and query, already escaped.
    pub target: String,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// Body and its type.
    pub body: Option<(&'static str, Bytes)>,
    /// Longest wait for the head of the answer, and for the rest of one that is read whole.
    pub limit: Duration,
}

impl Request {
    /// A read.
    #[must_use]
    pub fn get(target: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            target: target.into(),
            headers: Vec::new(),
            body: None,
            limit: Duration::from_secs(40),
        }
    }
    /// For messages: `GET /api/v1/services`.
    fn what(&self) -> String {
        let path = self.target.split_once('?').map_or(self.target.as_str(), |(path, _)| path);
        format!("{} {path}", self.method)
    }
}

/// Speaks to one API.
#[derive(Debug, Clone)]
pub struct Transport {
    endpoint: Endpoint,
    token: Option<Zeroizing<String>>,
}

/// The connection's task; it ends with the answer that it carries.
#[derive(Debug)]
struct Connection(JoinHandle<()>);
impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The head of an answer with its body still to come.
#[derive(Debug)]
pub struct Answer {
    what: String,
    endpoint: String,
    status: StatusCode,
    body: Incoming,
    _connection: Connection,
}

impl Transport {
    /// Makes one; nothing is opened yet.
    #[must_use]
    pub fn new(endpoint: Endpoint, token: Option<Zeroizing<String>>) -> Self {
        Self { endpoint, token }
    }

    /// Where it speaks to.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends a request once.
    ///
    /// # Errors
    /// No connection, no answer in time, or a refusal by the API.
    pub async fn send(&self, request: &Request) -> Result<Answer, CliError> {
        let body = request.body.as_ref().map_or_else(Bytes::new, |(_, body)| body.clone());
        let whole = Full::new(body).map_err(|never| match never {}).boxed_unsync();
        self.send_body(request, whole).await
    }

    /// Sends a change: every try carries the same idempotency key, so that a change whose answer got lost is
    /// not made twice.
    ///
    /// # Errors
    /// As [`Transport::send`]; [`CliError::Unknown`] when bytes left and no try brought an answer.
    pub async fn change(&self, mut request: Request, key: &str) -> Result<Answer, CliError> {
        let unkeyed = request.clone();
        request.headers.push(("idempotency-key", key.to_owned()));
        let (mut tries, mut waits, mut sent) = (0u32, RETRIES.iter(), false);
        loop {
            tries += 1;
            let error = match self.send(&request).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let lost = matches!(error, CliError::Broken { .. } | CliError::Deadline { .. });
            // Nothing was written, and no try before this one may still be: one without a key is safe, once.
            if !sent && matches!(&error, CliError::Refused(p) if p.kind.ends_with("/too-many-keys")) {
                return self.send(&unkeyed).await.map_err(|error| match error {
                    CliError::Broken { .. } | CliError::Deadline { .. } => {
                        CliError::Unknown { what: unkeyed.what(), tries: tries + 1, source: Box::new(error) }
                    }
                    other => other,
                });
            }
            sent |= lost;
            // An agent that restarts is away for a moment: that matters only once a request is on its way.
            let again = lost || (sent && matches!(error, CliError::NoConnection { .. }));
            match waits.next() {
                Some(wait) if again => tokio::time::sleep(*wait).await,
                _ if again => {
                    return Err(CliError::Unknown { what: request.what(), tries, source: Box::new(error) });
                }
                _ => return Err(error),
            }
        }
    }

    /// Sends a request with a body that is made while it is sent; never sent again.
    ///
    /// # Errors
    /// As [`Transport::send`].
    pub async fn send_body(&self, request: &Request, body: Outgoing) -> Result<Answer, CliError> {
        let what = request.what();
        let broken = |source: hyper::Error| CliError::Broken {
            endpoint: self.endpoint.to_string(),
            what: request.what(),
            source: source.into(),
        };
        let late =
            |_| CliError::Deadline { endpoint: self.endpoint.to_string(), what: request.what(), limit: request.limit };
        let head = self.head(request)?;
        let (mut sender, connection) = self.connect().await?;
        let answer =
            timeout(request.limit, sender.send_request(head.map(|()| body))).await.map_err(late)?.map_err(broken)?;
        let (parts, incoming) = answer.into_parts();
        let answer = Answer {
            what,
            endpoint: self.endpoint.to_string(),
            status: parts.status,
            body: incoming,
            _connection: connection,
        };
        if parts.status.is_success() {
            return Ok(answer);
        }
        Err(answer.refused(request.limit).await)
    }

    fn head(&self, request: &Request) -> Result<http::Request<()>, CliError> {
        let host = match &self.endpoint {
            Endpoint::Unix(_) => "constellation".to_owned(),
            Endpoint::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Endpoint::Tcp { host, port } => format!("{host}:{port}"),
        };
        let mut head = http::Request::builder()
            .method(request.method.clone())
            .uri(&request.target)
            .header(header::HOST, host)
            .header(header::USER_AGENT, concat!("constellation/", env!("CARGO_PKG_VERSION")));
        if let Some((kind, _)) = &request.body {
            head = head.header(header::CONTENT_TYPE, *kind);
        }
        for (name, value) in &request.headers {
            // By bytes: a reason may be written in any language.
            head = head.header(*name, value.as_bytes());
        }
        if let Some(token) = &self.token {
            let text = Zeroizing::new(format!("Bearer {}", token.as_str()));
            if let Ok(mut value) = HeaderValue::from_str(&text) {
                value.set_sensitive(true);
                head = head.header(header::AUTHORIZATION, value);
            }
        }
        head.body(()).map_err(|source| {
            CliError::usage(
                format!("{} cannot be asked: {source}", request.what()),
                "check names and reasons for odd characters",
            )
        })
    }

    async fn connect(&self) -> Result<(http1::SendRequest<Outgoing>, Connection), CliError> {
        let refused = |source: io::Error| CliError::NoConnection {
            endpoint: self.endpoint.to_string(),
            denied: source.kind() == io::ErrorKind::PermissionDenied,
            source,
        };
        let opening: BoxFuture<'_, io::Result<_>> = match &self.endpoint {
            Endpoint::Unix(path) => Box::pin(async move {
                let stream = net::UnixStream::connect(path).await?;
                shake(stream).await
            }),
            Endpoint::Tcp { host, port } => Box::pin(async move {
                let stream = net::TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                shake(stream).await
            }),
        };
        match timeout(CONNECT, opening).await {
            Ok(opened) => opened.map_err(refused),
            Err(_) => {
                Err(refused(io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {CONNECT:?}"))))
            }
        }
    }
}

async fn shake<S>(stream: S) -> io::Result<(http1::SendRequest<Outgoing>, Connection)>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // What goes wrong on the connection shows as an error of the request it carries.
    let task = tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok((sender, Connection(task)))
}

impl Answer {
    /// The whole body.
    ///
    /// # Errors
    /// When it does not come whole, in time and below the limit.
    pub async fn bytes(self, limit: Duration) -> Result<Bytes, CliError> {
        let Self { what, endpoint, body, _connection, .. } = self;
        let whole = http_body_util::Limited::new(body, ANSWER_LIMIT).collect();
        match timeout(limit, whole).await {
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(source)) => Err(CliError::Broken { endpoint, what, source }),
            Err(_) => Err(CliError::Deadline { endpoint, what, limit }),
        }
    }

    /// The body, piece by piece, to `take`; how many bytes came. `silence`: the longest wait for the next piece.
    ///
    /// # Errors
    /// When it does not come whole, or `take` fails.
    pub async fn each(
        self,
        silence: Duration,
        mut take: impl FnMut(&[u8]) -> Result<(), CliError>,
    ) -> Result<u64, CliError> {
        let Self { what, endpoint, mut body, _connection, .. } = self;
        let mut count = 0;
        loop {
            match timeout(silence, body.frame()).await {
                Ok(None) => return Ok(count),
                Ok(Some(Ok(frame))) => {
                    let Ok(piece) = frame.into_data() else { continue };
                    count += piece.len() as u64;
                    take(&piece)?;
                }
                Ok(Some(Err(source))) => return Err(CliError::Broken { endpoint, what, source: source.into() }),
                Err(_) => return Err(CliError::Deadline { endpoint, what, limit: silence }),
            }
        }
    }

    /// The whole body as a type.
    ///
    /// # Errors
    /// As [`Answer::bytes`], and when it is not such a value.
    pub async fn json<T: DeserializeOwned>(self, limit: Duration) -> Result<T, CliError> {
        let (what, endpoint) = (self.what.clone(), self.endpoint.clone());
        let bytes = self.bytes(limit).await?;
        read(&bytes, &endpoint, &what)
    }

    /// The body line by line.
    #[must_use]
    pub fn lines(self) -> Lines {
        Lines { answer: self, buffer: BytesMut::new(), scanned: 0, ended: false, heard: Instant::now() }
    }

    async fn refused(self, limit: Duration) -> CliError {
        let status = self.status.as_u16();
        // A refusal without a readable body is still a refusal.
        let bytes = self.bytes(limit).await.unwrap_or_default();
        let mut refusal: Problem = serde_json::from_slice(&bytes).unwrap_or_else(|_| Problem {
            title: String::from_utf8_lossy(&bytes).chars().take(500).collect::<String>().trim().to_owned(),
            ..Problem::default()
        });
        refusal.status = status;
        CliError::Refused(Box::new(refusal))
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8], endpoint: &str, what: &str) -> Result<T, CliError> {
    let mut text = serde_json::Deserializer::from_slice(bytes);
    serde_path_to_error::deserialize(&mut text).map_err(|source| CliError::Answer {
        endpoint: endpoint.to_owned(),
        what: what.to_owned(),
        source: source.into(),
    })
}

/// The lines of an ndjson answer.
#[derive(Debug)]
pub struct Lines {
    answer: Answer,
    buffer: BytesMut,
    scanned: usize,
    ended: bool,
    heard: Instant,
}

impl Lines {
    /// The next line that is not empty; none at the end. May be dropped while it waits: nothing is lost.
    ///
    /// # Errors
    /// When the connection breaks or a line is longer than the limit.
    pub async fn next(&mut self) -> Result<Option<Bytes>, CliError> {
        loop {
            while let Some(found) = self.buffer[self.scanned..].iter().position(|b| *b == b'\n') {
                let line = self.buffer.split_to(self.scanned + found + 1).freeze();
                self.scanned = 0;
                let line = line.slice(..line.len() - 1);
                if !line.trim_ascii().is_empty() {
                    return Ok(Some(line));
                }
            }
            self.scanned = self.buffer.len();
            if self.ended {
                let rest = self.buffer.split().freeze();
                self.scanned = 0;
                return Ok(Some(rest).filter(|rest| !rest.trim_ascii().is_empty()));
            }
            if self.buffer.len() > LINE_LIMIT {
                return Err(self.broken(format!("a line of more than {LINE_LIMIT} bytes").into()));
            }
            // Counted from the last frame, not from this call: a caller may drop the wait again and again.
            let Ok(frame) = timeout_at(self.heard + SILENCE, self.answer.body.frame()).await else {
                return Err(self.broken(format!("nothing came for {SILENCE:?}").into()));
            };
            self.heard = Instant::now();
            match frame {
                None => self.ended = true,
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(source)) => return Err(self.broken(source.into())),
            }
        }
    }

    /// The next line as a type.
    ///
    /// # Errors
    /// As [`Lines::next`], and when it is not such a value.
    pub async fn next_as<T: DeserializeOwned>(&mut self) -> Result<Option<T>, CliError> {
        match self.next().await? {
            Some(line) => read(&line, &self.answer.endpoint, &self.answer.what).map(Some),
            None => Ok(None),
        }
    }

    fn broken(&self, source: Box<dyn std::error::Error + Send + Sync>) -> CliError {
        CliError::Broken { endpoint: self.answer.endpoint.clone(), what: self.answer.what.clone(), source }
    }
}

#[cfg(test)]
#[path = "transport_tests.rs"]
mod tests;
