//! Connections: accepting them, serving them with deadlines, ending them.
//!
//! Here: the accept loop, [`Peer`], and the service of one request around warp's filter. Not here:
//! what a request means (`dispatch`).
//! warp is the router only, because its own server has no deadline for heads and bodies, no cap on
//! connections, and a graceful stop without an end. hyper-util's automatic builder is not used: it waits
//! for the first bytes without a timer. After an upgrade the connection's future ends: what holds a
//! WebSocket keeps its [`Call`], and with it the permit of the connection.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, Uri};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::OwnedSemaphorePermit,
    task::JoinSet,
    time::timeout,
};
use tower_service::Service;
use warp::{Filter, Rejection, Reply, reply::Response};

use super::{
    Server,
    guard::{Answering, Metered, Over, Patient, Turn},
    problem::Failure,
    routes,
};

/// Who is at the other end.
#[derive(Debug)]
pub struct Peer {
    /// Its address; none at the socket.
    pub address: Option<SocketAddr>,
    /// Its user id, as the kernel says; only at the socket.
    pub uid: Option<u32>,
    _permit: OwnedSemaphorePermit,
    _open: Open,
}

/// Counts one for as long as it lives.
#[derive(Debug)]
pub struct Open(Gauge);

impl Open {
    /// One more.
    #[must_use]
    pub fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}
impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// One request, as far as the connection knows it; filters read it from the extensions.
#[derive(Debug, Clone)]
pub struct Call(pub Arc<CallFacts>);

/// See [`Call`].
#[derive(Debug)]
pub struct CallFacts {
    /// Who asks.
    pub peer: Arc<Peer>,
    /// Path and query.
    pub uri: Uri,
    /// Whether the body went over its limit.
    pub over: Over,
    /// That limit.
    pub limit: u64,
}

/// One place to listen.
#[derive(Debug)]
pub enum Listener {
    /// Plain HTTP.
    Tcp(TcpListener),
    /// Plain HTTP on a socket.
    Unix(UnixListener),
}

enum Accepted {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

impl Listener {
    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(l) => l.accept().await.map(|(s, a)| Accepted::Tcp(s, a)),
            Self::Unix(l) => l.accept().await.map(|(s, _)| Accepted::Unix(s)),
        }
    }
}

/// After a failed accept (no file descriptor left, for example).
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts until the server stops, then waits for what is in flight, and cuts the rest.
pub async fn accept<F>(listener: Listener, server: Arc<Server>, filter: F)
where
    F: Filter<Error = Rejection> + Clone + Send + Sync + 'static,
    F::Extract: Reply,
    F::Future: Send,
{
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        // A permit first: past the cap, peers wait in the kernel's queue.
        let permit = tokio::select! {
            () = server.stop.cancelled() => break,
            permit = server.connections.clone().acquire_owned() => match permit { Ok(p) => p, Err(_) => break },
        };
        let accepted = tokio::select! {
            () = server.stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let open = Open::new(&server.shared.http.connections);
        let (server, filter) = (server.clone(), filter.clone());
        match accepted {
            Ok(Accepted::Tcp(stream, address)) => {
                // Answers are small and whole: waiting for more helps nobody. A failure only costs time.
                let _ = stream.set_nodelay(true);
                let peer = Peer { address: Some(address), uid: None, _permit: permit, _open: open };
                connections.spawn(connection(stream, peer, server, filter));
            }
            Ok(Accepted::Unix(stream)) => {
                let uid = stream.peer_cred().ok().map(|c| c.uid());
                let peer = Peer { address: None, uid, _permit: permit, _open: open };
                connections.spawn(connection(stream, peer, server, filter));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if server.cut.run_until_cancelled(ended).await.is_none() {
        connections.shutdown().await;
    }
}

async fn connection<IO, F>(io: IO, peer: Peer, server: Arc<Server>, filter: F)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Filter<Error = Rejection> + Clone + Send + Sync + 'static,
    F::Extract: Reply,
    F::Future: Send,
{
    let limits = server.shared.limits.clone();
    let peer = Arc::new(peer);
    let warp = warp::service(filter);
    let stop = server.stop.clone();
    let turn = Turn::default();
    let io = TokioIo::new(Patient::new(io, limits.write, turn.clone()));
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (warp, peer, server) = (warp.clone(), peer.clone(), server.clone());
        // Here, not below: hyper looks for the client's end before it polls the answer.
        let turn = turn.begin();
        async move {
            let answer = answer(warp, request, peer, &server).await;
            Ok::<_, Infallible>(answer.map(|inner| Answering { inner, turn }))
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_headers(64)
        .max_buf_size(64 << 10)
        .serve_connection(io, service)
        .with_upgrades();
    tokio::pin!(connection);
    let mut closing = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
                break;
            }
            () = stop.cancelled(), if !closing => {
                closing = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

async fn answer<S>(mut warp: S, request: Request<Incoming>, peer: Arc<Peer>, server: &Server) -> Response
where
    S: Service<Request<Metered<Incoming>>, Response = Response, Error = Infallible>,
{
    let limits = &server.shared.limits;
    let (mut parts, body) = request.into_parts();
    let limit = routes::body_limit(&parts.method, parts.uri.path(), limits);
    if http_body::Body::size_hint(&body).lower() > limit {
        return Failure::body_too_large(limit).into_response();
    }
    let over = Over::default();
    let facts = CallFacts { peer, uri: parts.uri.clone(), over: over.clone(), limit };
    parts.extensions.insert(Call(Arc::new(facts)));
    let call = warp.call(Request::from_parts(parts, Metered::new(body, limit, over)));
    match timeout(limits.request, call).await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => Failure::late(limits.request).into_response(),
    }
}
