//! Connections: accepting them, serving them with deadlines, ending them.
//!
//! Here: the accept loop, [`Peer`], and the service of one request around warp's filter. Not here:
//! what a request means (`dispatch`).
//! warp is the router only, because its own server has no deadline for heads and bodies, no cap on
//! connections, and a graceful stop without an end. hyper-util's automatic builder is not used: it waits
//! for the first bytes without a timer. After an upgrade the connection's future ends: what holds a
//! WebSocket keeps its [`Call`], and with it the seat of the connection.

use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body::Body;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};
use tokio_util::task::TaskTracker;
use tower_service::Service;
use warp::{Filter, Rejection, Reply, reply::Response};

use super::{
    Limits, Server,
    class::Class,
    crowd::{Crowd, NoSeat, Seat},
    guard::{self, Answering, Metered, Over, Patient, Turn},
    metrics::Cut,
    problem::Failure,
    rates, routes,
    socket::Handshake,
};
use crate::edge::Told;

/// Who is at the other end.
#[derive(Debug)]
pub struct Peer {
    /// Its address; none at the socket.
    pub address: Option<SocketAddr>,
    /// Its user id, as the kernel says; only at the socket.
    pub uid: Option<u32>,
    /// What its connection was told of the documents for Traefik.
    pub told: Told,
    seat: Seat,
    _open: Open,
}

impl Peer {
    /// What is under way on its connection.
    #[must_use]
    pub fn turn(&self) -> &Turn {
        &self.seat.turn
    }
    /// What counts as one place that it comes from; none at the socket.
    #[must_use]
    pub fn source(&self) -> Option<IpAddr> {
        self.address.map(|a| rates::source(a.ip()))
    }
    /// For people: its address, or who it is at the socket.
    #[must_use]
    pub fn origin(&self) -> String {
        match (self.address, self.uid) {
            (Some(address), _) => address.to_string(),
            (None, Some(uid)) => format!("uid {uid}@socket"),
            (None, None) => "socket".into(),
        }
    }
}

#[cfg(test)]
impl Peer {
    /// Whoever a test says.
    pub(super) fn of_a_test() -> Self {
        let metrics = super::HttpMetrics::register(&mut prometheus_client::registry::Registry::default());
        let seat = Crowd::new(1, 1, metrics).enter(None, std::time::Instant::now()).unwrap();
        Self { address: None, uid: None, told: Told::default(), seat, _open: Open::new(&Gauge::default()) }
    }
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
    /// What the request is to the server.
    pub class: Class,
    /// How far it is.
    pub stage: Stage,
    /// Set when it wants to become a WebSocket, until it is taken.
    pub handshake: Mutex<Option<Handshake>>,
}

impl CallFacts {
    /// The WebSocket that it wants to become.
    #[must_use]
    pub fn upgrade(&self) -> Option<Handshake> {
        // Nothing panics while it is held.
        self.handshake.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// How far a request is, for its deadline.
#[derive(Debug, Default)]
pub struct Stage {
    whole: OnceLock<Instant>,
    proposed: AtomicBool,
}

impl Stage {
    /// The whole body is here: the upload is not the time of what follows.
    pub fn body_is_here(&self) {
        self.whole.get_or_init(Instant::now);
    }
    /// Its change was given to the store: whatever is answered now, it may happen.
    pub fn proposes(&self) {
        self.proposed.store(true, Ordering::Relaxed);
    }
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

impl Accepted {
    fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(_, address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
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
/// How long a newcomer waits for somebody to leave while all places are in use.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks for somebody who may go meanwhile.
const LOOK: Duration = Duration::from_millis(25);
/// Bytes that the kernel takes for a client that does not read, of each connection; it would take megabytes, and
/// only then is it seen that a client takes nothing.
const SENDING: usize = 128 << 10;
/// How long one that is not taken may read why.
const FAREWELL: Duration = Duration::from_millis(500);
/// How many at one time are told.
const FAREWELLS: usize = 64;

/// Accepts until the server stops, then waits for what is in flight, and cuts the rest.
pub async fn accept<F>(listener: Listener, server: Arc<Server>, filter: F)
where
    F: Filter<Error = Rejection> + Clone + Send + Sync + 'static,
    F::Extract: Reply,
    F::Future: Send,
{
    // It keeps nothing of one that has ended, which is soon for one that became a WebSocket.
    let connections = TaskTracker::new();
    let (limits, http) = (&server.shared.limits, &server.shared.http);
    // Of this listener alone: whoever fills the port leaves the socket, where root has its way in.
    let crowd = match &listener {
        Listener::Tcp(_) => Crowd::new(limits.connections, limits.per_source, http.clone()),
        Listener::Unix(_) => Crowd::new(limits.socket, limits.socket, http.clone()),
    };
    if let Listener::Tcp(listener) = &listener
        && let Err(error) = rustix::net::sockopt::set_socket_send_buffer_size(listener, SENDING)
    {
        tracing::warn!(%error, "the buffers of connections cannot be bounded");
    }
    let farewells = Arc::new(Semaphore::new(FAREWELLS));
    let mut full = None;
    loop {
        let accepted = tokio::select! {
            () = server.stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let accepted = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                crowd.relieve(Instant::now().into_std());
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let address = accepted.address();
        let source = address.map(|a| rates::source(a.ip()));
        let seat = tokio::select! {
            () = server.stop.cancelled() => break,
            seat = seat(&crowd, source, &mut full) => seat,
        };
        let seat = match seat {
            Ok(seat) => seat,
            Err(why) => {
                http.cut(if why == NoSeat::Source { Cut::Source } else { Cut::Full });
                if let Ok(permit) = farewells.clone().try_acquire_owned() {
                    connections.spawn(until_cut(server.clone(), farewell(accepted, why, permit)));
                }
                continue;
            }
        };
        let open = Open::new(&http.connections);
        let (server, filter) = (server.clone(), filter.clone());
        match accepted {
            Accepted::Tcp(stream, _) => {
                // Answers are small and whole: waiting for more helps nobody. A failure only costs time.
                let _ = stream.set_nodelay(true);
                let peer = Peer { address, uid: None, told: Told::default(), seat, _open: open };
                connections.spawn(until_cut(server.clone(), connection(stream, peer, server, filter)));
            }
            Accepted::Unix(stream) => {
                let uid = stream.peer_cred().ok().map(|c| c.uid());
                let peer = Peer { address, uid, told: Told::default(), seat, _open: open };
                connections.spawn(until_cut(server.clone(), connection(stream, peer, server, filter)));
            }
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// Until the time for ending is over.
async fn until_cut(server: Arc<Server>, connection: impl Future<Output = ()>) {
    server.cut.run_until_cancelled(connection).await;
}

/// A seat for a newcomer. While all are in use, `full` says since when: the first ones wait a moment for somebody
/// to leave, the next are refused at once, or they would wait for each other.
async fn seat(crowd: &Arc<Crowd>, source: Option<IpAddr>, full: &mut Option<Instant>) -> Result<Seat, NoSeat> {
    loop {
        match crowd.enter(source, Instant::now().into_std()) {
            Err(NoSeat::Full) => {}
            Ok(seat) => {
                *full = None;
                return Ok(seat);
            }
            Err(NoSeat::Source) => return Err(NoSeat::Source),
        }
        if full.get_or_insert_with(Instant::now).elapsed() >= PATIENCE {
            return Err(NoSeat::Full);
        }
        // Over the time is as good as woken: both look again.
        let _ = tokio::time::timeout(LOOK, crowd.left()).await;
    }
}

/// Says why a connection is not taken. What it sent is read, or the answer would be lost with it.
async fn farewell(accepted: Accepted, why: NoSeat, _permit: OwnedSemaphorePermit) {
    async fn say(mut io: impl AsyncRead + AsyncWrite + Unpin, answer: Vec<u8>) -> io::Result<()> {
        io.write_all(&answer).await?;
        io.shutdown().await?;
        let mut rest = [0; 1_024];
        while io.read(&mut rest).await? > 0 {}
        Ok(())
    }
    let answer = Failure::no_seat(why).raw();
    let said = async {
        match accepted {
            Accepted::Tcp(stream, _) => say(stream, answer).await,
            Accepted::Unix(stream) => say(stream, answer).await,
        }
    };
    // It may be gone, or listen to nothing.
    let _ = tokio::time::timeout(FAREWELL, said).await;
}

/// Headers of a request.
const HEADERS: usize = 64;
/// Bytes of a head: half a head of every connection that may be open fits into memory.
const BUFFER: usize = 16 << 10;

async fn connection<IO, F>(io: IO, peer: Peer, server: Arc<Server>, filter: F)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Filter<Error = Rejection> + Clone + Send + Sync + 'static,
    F::Extract: Reply,
    F::Future: Send,
{
    let limits = server.shared.limits.clone();
    let peer = Arc::new(peer);
    let address = peer.address;
    let warp = warp::service(filter);
    let stop = server.stop.clone();
    let (turn, cut) = (peer.seat.turn.clone(), peer.seat.cut.clone());
    let io = TokioIo::new(Patient::new(io, limits.write, turn.clone()));
    let served = server.clone();
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let (warp, peer, server) = (warp.clone(), peer.clone(), served.clone());
        // Here, not below: hyper looks for the client's end before it polls the answer.
        let turn = turn.begin();
        async move {
            let answer = answer(warp, request, peer, &server.shared.limits).await;
            if answer.status() == StatusCode::REQUEST_TIMEOUT {
                server.shared.http.cut(Cut::Deadline);
            }
            Ok::<_, Infallible>(answer.map(|inner| Answering { inner, turn }))
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_headers(HEADERS)
        .max_buf_size(BUFFER)
        .serve_connection(io, service)
        .with_upgrades();
    tokio::pin!(connection);
    let mut closing = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    ended_early(&error, address, &server);
                }
                break;
            }
            () = cut.cancelled() => break,
            () = stop.cancelled(), if !closing => {
                closing = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

fn ended_early(error: &hyper::Error, address: Option<SocketAddr>, server: &Server) {
    let (limits, http) = (&server.shared.limits, &server.shared.http);
    if error.is_timeout() {
        http.cut(Cut::Head);
    } else if guard::is_stall(error) {
        http.cut(Cut::Stalled);
        tracing::warn!(client = %named(address), "a client took nothing for {:?} and was cut", limits.write);
    }
    tracing::debug!(%error, "a connection ended early");
}

/// For the log.
pub(super) fn named(address: Option<SocketAddr>) -> String {
    address.map_or_else(|| "at the socket".into(), |a| a.to_string())
}

async fn answer<S, B>(mut warp: S, request: Request<B>, peer: Arc<Peer>, limits: &Limits) -> Response
where
    S: Service<Request<Metered<B>>, Response = Response, Error = Infallible>,
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (mut parts, body) = request.into_parts();
    let (class, limit) = routes::bounds(&parts.method, &parts.uri, limits);
    let deadline = limits.classes.of(class).deadline;
    if body.size_hint().lower() > limit {
        return Failure::body_too_large(limit).into_response();
    }
    let over = Over::default();
    let (uri, stage) = (parts.uri.clone(), Stage::default());
    let handshake = Mutex::new(Handshake::take(&parts.method, &parts.headers, &mut parts.extensions));
    let facts = Arc::new(CallFacts { peer, uri, over: over.clone(), limit, class, stage, handshake });
    parts.extensions.insert(Call(facts.clone()));
    let call = warp.call(Request::from_parts(parts, Metered::new(body, limit, over, limits.upload)));
    tokio::pin!(call);
    let mut end = Instant::now() + deadline;
    loop {
        match timeout_at(end, call.as_mut()).await {
            Ok(Ok(response)) => return response,
            Ok(Err(never)) => match never {},
            Err(_) => {}
        }
        // A slow upload took its own time only: what follows has as much again.
        match facts.stage.whole.get().map(|at| *at + deadline) {
            Some(later) if later > end => end = later,
            _ if facts.stage.proposed.load(Ordering::Relaxed) => {
                return Failure::unanswered(deadline).into_response();
            }
            _ => return Failure::late(deadline).into_response(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{Future, pending},
        pin::Pin,
        task::{Context, Poll},
    };

    use http_body_util::Empty;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    /// Marks its stages after so long each, and never answers.
    #[derive(Clone)]
    struct Stuck {
        body: Option<Duration>,
        proposal: bool,
    }

    impl<B> Service<Request<B>> for Stuck {
        type Response = Response;
        type Error = Infallible;
        type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>>>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }
        fn call(&mut self, request: Request<B>) -> Self::Future {
            let call = request.extensions().get::<Call>().unwrap().clone();
            let Self { body, proposal } = self.clone();
            Box::pin(async move {
                if let Some(after) = body {
                    tokio::time::sleep(after).await;
                    call.0.stage.body_is_here();
                }
                if proposal {
                    call.0.stage.proposes();
                }
                pending().await
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_counts_from_the_body_and_says_whether_the_change_may_happen() {
        let mut limits = Limits::default();
        limits.classes.read.deadline = LIMIT;
        let upload = Duration::from_secs(20);
        let table = [
            ("a read", Stuck { body: None, proposal: false }, 408, LIMIT),
            ("an upload that does not end", Stuck { body: Some(LIMIT * 9), proposal: false }, 408, LIMIT),
            ("a slow upload", Stuck { body: Some(upload), proposal: false }, 408, upload + LIMIT),
            ("a slow upload and a silent store", Stuck { body: Some(upload), proposal: true }, 504, upload + LIMIT),
        ];
        for (case, service, status, took) in table {
            let (request, peer) = (Request::new(Empty::<Bytes>::new()), Arc::new(Peer::of_a_test()));
            let began = Instant::now();
            let got = answer(service, request, peer, &limits).await;
            assert_eq!((got.status().as_u16(), began.elapsed().as_secs()), (status, took.as_secs()), "{case}");
        }
    }
}
