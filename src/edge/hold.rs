//! Requests that are held while a service has no endpoint: one replica is swapped for the next.
//!
//! Here: [`Holds`], which opens a listener for each service and port, and what becomes of a request there: it waits
//! for an endpoint and is then forwarded, streaming both ways, upgrades included. Not here: when a service is held
//! (`plan::routes`), who its endpoints are.
//! Only heads are read; a body waits with its sender, in TCP's own buffers. As long as nothing of a request was
//! sent, an endpoint that refuses is tried again; after that nobody can know what it did.
//! HTTP/1.1 only: Traefik speaks it to every server that is not `h2c`, and those are not held.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
    header::{CONNECTION, EXPECT, RETRY_AFTER, TE, TRANSFER_ENCODING, UPGRADE},
};
use http_body_util::{Either, Full};
use hyper::{
    body::Incoming,
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{Instant, sleep, timeout_at},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

/// Where requests of a service go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// An endpoint of it; none: there is none yet.
    pub endpoint: Option<SocketAddr>,
    /// How long a request waits for one.
    pub hold: Duration,
}

/// Bounds.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Requests that wait at one time, of each service.
    pub held: usize,
    /// Connections at one time, of all of them together.
    pub connections: usize,
    /// How long what is in flight may take when the agent ends.
    pub end: Duration,
}

impl Limits {
    /// For a process that may have so many files open: a sixteenth of them.
    #[must_use]
    pub fn within(files: usize) -> Self {
        Self { held: 1_024, connections: (files / 32).clamp(32, 2_048), end: Duration::from_secs(5) }
    }
    /// Files that may be open because of them: of a request, the connection that it came by and the one it leaves by.
    #[must_use]
    pub const fn files(&self) -> usize {
        2 * self.connections
    }
}

/// One attempt to reach an endpoint.
const CONNECT: Duration = Duration::from_secs(1);
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a connection may be idle. Traefik ends its own after a second.
const IDLE: Duration = Duration::from_secs(60);
/// What Traefik routed here just before it learned better may come so much later.
const LINGER: Duration = Duration::from_secs(2);
/// Headers of a request.
const HEADERS: usize = 256;
/// Bytes of a head.
const BUFFER: usize = 128 << 10;

/// The listeners of all services.
pub struct Holds {
    limits: Limits,
    connections: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// One listener. Dropped, it goes on for a moment: close it when Traefik does not name it any more.
#[derive(Debug)]
pub struct Hold {
    /// Where it listens.
    pub address: SocketAddr,
    _close: DropGuard,
}

type Body = Either<Incoming, Full<Bytes>>;

/// What the requests of one service share.
struct Service {
    target: watch::Receiver<Target>,
    seats: Semaphore,
    limits: Limits,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Holds {
    /// Until `stop` nothing that was accepted is cut.
    #[must_use]
    pub fn new(limits: Limits, stop: CancellationToken) -> Self {
        let connections = Arc::new(Semaphore::new(limits.connections));
        Self { limits, connections, tasks: TaskTracker::new(), stop }
    }

    /// Listens for one service and port.
    ///
    /// # Errors
    /// No port of 127.0.0.1 is free.
    pub async fn open(&self, target: watch::Receiver<Target>) -> io::Result<Hold> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let close = CancellationToken::new();
        let service = Arc::new(Service {
            target,
            seats: Semaphore::new(self.limits.held),
            limits: self.limits.clone(),
            tasks: self.tasks.clone(),
            stop: self.stop.clone(),
        });
        self.tasks.spawn(accept(listener, service, self.connections.clone(), close.clone()));
        Ok(Hold { address, _close: close.drop_guard() })
    }

    /// Waits until everything has ended, which it does in its time after `stop`.
    pub async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

async fn accept(listener: TcpListener, service: Arc<Service>, connections: Arc<Semaphore>, close: CancellationToken) {
    let closing = async {
        close.cancelled().await;
        sleep(LINGER).await;
    };
    tokio::pin!(closing);
    let closed = CancellationToken::new();
    loop {
        let accepted = async {
            let (stream, _) = listener.accept().await?;
            // Never closed. Taken by who is there: one that listens only takes nothing from the others.
            let seat = connections.clone().acquire_owned().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((stream, seat))
        };
        tokio::select! {
            accepted = accepted => match accepted {
                Ok((stream, seat)) => {
                    let (service, closed) = (service.clone(), closed.clone());
                    let tasks = service.tasks.clone();
                    tasks.spawn(async move {
                        connection(stream, service, &closed).await;
                        drop(seat);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection to be held could not be accepted");
                    sleep(PAUSE).await;
                }
            },
            () = &mut closing => break,
            () = service.stop.cancelled() => break,
        }
    }
    // Those that are open end after the request that they are at.
    closed.cancel();
}

async fn connection(stream: TcpStream, service: Arc<Service>, closed: &CancellationToken) {
    // A failure only costs time.
    let _ = stream.set_nodelay(true);
    let (limits, stop) = (service.limits.clone(), service.stop.clone());
    let answering = hyper::service::service_fn(move |request| {
        let service = service.clone();
        async move { Ok::<_, Infallible>(service.answer(request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_headers(HEADERS)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), answering)
        .with_upgrades();
    tokio::pin!(connection);
    let cut = async {
        stop.cancelled().await;
        sleep(limits.end).await;
    };
    tokio::pin!(cut);
    let mut closing = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection with held requests ended early");
                }
                return;
            }
            () = closed.cancelled(), if !closing => {
                closing = true;
                connection.as_mut().graceful_shutdown();
            }
            () = &mut cut => return,
        }
    }
}

impl Service {
    async fn answer(&self, mut request: Request<Incoming>) -> Response<Body> {
        if request.method() == Method::CONNECT {
            return say(StatusCode::NOT_IMPLEMENTED, "no tunnel leads through here\n");
        }
        let upgrade = upgraded(request.headers()).map(|to| (hyper::upgrade::on(&mut request), to));
        prepare(&mut request, upgrade.as_ref().map(|(_, to)| to));
        // Only while it waits: what is forwarded is bounded by the connections.
        let Ok(seat) = self.seats.try_acquire() else {
            return unavailable("too many requests wait for this service\n");
        };
        let mut target = self.target.clone();
        let end = Instant::now() + target.borrow().hold;
        loop {
            let Some(stream) = reach(&mut target, end).await else {
                return unavailable("no replica of this service became ready in time\n");
            };
            let Ok((mut sender, connection)) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await else {
                continue;
            };
            self.tasks.spawn(async move {
                if let Err(error) = connection.with_upgrades().await {
                    tracing::debug!(%error, "a connection to an endpoint ended early");
                }
            });
            let mut error = match sender.try_send_request(request).await {
                Ok(response) => {
                    drop(seat);
                    return self.forward(response, upgrade.map(|(client, _)| client));
                }
                Err(error) => error,
            };
            match error.take_message() {
                // Nothing of it was sent.
                Some(again) if Instant::now() < end => request = again,
                Some(_) | None => {
                    tracing::debug!(error = %error.error(), "an endpoint took a request and gave no answer");
                    return say(StatusCode::BAD_GATEWAY, "the replica took the request and gave no answer\n");
                }
            }
            sleep(PAUSE).await;
        }
    }

    fn forward(&self, mut response: Response<Incoming>, upgrade: Option<OnUpgrade>) -> Response<Body> {
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            hop_by_hop(response.headers_mut());
            close(response.headers_mut());
            *response.version_mut() = Version::HTTP_11;
            return response.map(Either::Left);
        }
        let Some(client) = upgrade else {
            return say(StatusCode::BAD_GATEWAY, "the replica switched protocols unasked\n");
        };
        let protocol = upgraded(response.headers());
        let server = hyper::upgrade::on(&mut response);
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            stop.run_until_cancelled(tunnel(client, server)).await;
        });
        hop_by_hop(response.headers_mut());
        if let Some(protocol) = protocol {
            upgrade_to(response.headers_mut(), protocol);
        }
        response.map(|_| Either::Right(Full::default()))
    }
}

/// A connection with an endpoint, waited for until `end`.
async fn reach(target: &mut watch::Receiver<Target>, end: Instant) -> Option<TcpStream> {
    while Instant::now() < end {
        // In a block of its own: what `wait_for` lends may not wait with us.
        let endpoint = async { target.wait_for(|t| t.endpoint.is_some()).await.ok()?.endpoint };
        let address = timeout_at(end, endpoint).await.ok().flatten()?;
        match timeout_at(end.min(Instant::now() + CONNECT), TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // A failure only costs time.
                let _ = stream.set_nodelay(true);
                return Some(stream);
            }
            // It has just been started, or is just gone.
            Ok(Err(_)) | Err(_) => sleep(PAUSE).await,
        }
    }
    None
}

/// Bytes both ways, for as long as both want.
async fn tunnel(client: OnUpgrade, server: OnUpgrade) {
    let io = |upgraded: Upgraded| TokioIo::new(upgraded);
    let moved = async {
        let (client, server) = tokio::try_join!(client, server).map_err(io::Error::other)?;
        tokio::io::copy_bidirectional(&mut io(client), &mut io(server)).await
    };
    if let Err(error) = moved.await {
        tracing::debug!(%error, "an upgraded connection was broken off");
    }
}

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Takes out what is meant for the next hop only.
///
/// Source: RFC 9110, 7.6.1.
fn hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = words(headers, &CONNECTION).filter_map(|w| w.parse().ok()).collect();
    for name in named.iter().chain([&CONNECTION, &KEEP_ALIVE, &PROXY_CONNECTION, &TE, &TRANSFER_ENCODING, &UPGRADE]) {
        headers.remove(name);
    }
}

fn words<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let values = headers.get_all(name).into_iter();
    values.filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).map(str::trim)
}

/// The protocol that a message switches to.
fn upgraded(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = words(headers, &CONNECTION).any(|word| word.eq_ignore_ascii_case("upgrade"));
    headers.get(UPGRADE).filter(|_| asked).cloned()
}

fn upgrade_to(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

/// Makes of a request that came one that goes.
fn prepare(request: &mut Request<Incoming>, upgrade: Option<&HeaderValue>) {
    let trailers = words(request.headers(), &TE).any(|word| word.eq_ignore_ascii_case("trailers"));
    hop_by_hop(request.headers_mut());
    // It is met here, as soon as the body is asked for.
    request.headers_mut().remove(EXPECT);
    if let Some(protocol) = upgrade {
        upgrade_to(request.headers_mut(), protocol.clone());
    } else if trailers {
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("te"));
        request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
    }
    *request.version_mut() = Version::HTTP_11;
    // Of the whole address a server wants the path; who is meant says `Host`.
    if let (Some(_), Some(path)) = (request.uri().authority(), request.uri().path_and_query()) {
        *request.uri_mut() = Uri::from(path.clone());
    }
}

fn say(status: StatusCode, words: &'static str) -> Response<Body> {
    let mut response = Response::new(Either::Right(Full::new(Bytes::from_static(words.as_bytes()))));
    *response.status_mut() = status;
    close(response.headers_mut());
    response
}

/// The place of a connection is for the next request that waits.
fn close(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
}

fn unavailable(words: &'static str) -> Response<Body> {
    let mut response = say(StatusCode::SERVICE_UNAVAILABLE, words);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

#[cfg(test)]
mod tests;
