//! The API of one node: REST, watches, events over ndjson and WebSocket.
//!
//! Here: [`serve`] and what it needs ([`Shared`], [`Listeners`], [`Limits`]). A request goes through
//! [`accept`] (connections, deadlines), [`dispatch`] (its route in the table of [`routes`], its caller by
//! [`auth`], counted by [`metrics`]) to one of [`read`], [`watch`], [`events`], [`write`], [`scale`],
//! [`nodes`], [`tokens`], [`logs`], [`builds`], [`cluster`], [`openapi`]. [`wire`] has every request and answer,
//! [`problem`] every error.
//! Not here: deciding (`plan`), storing (`store`), what a manifest may say (`manifest`), the command line (`cli`).
//! Invariants: every route names its role; nothing waits without a deadline; a slow client holds up
//! nobody; of a Secret no value ever leaves.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use prometheus_client::registry::Registry;
use tokio::{
    net::{TcpListener, UnixListener},
    sync::Semaphore,
    task::JoinSet,
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    runtime::Runtime,
    store::{Client, seal::Sealer},
};

pub mod accept;
pub mod auth;
pub mod builds;
pub mod cluster;
pub mod commit;
pub mod dispatch;
pub mod documents;
pub mod events;
pub mod guard;
pub mod heavy;
pub mod logs;
pub mod metrics;
pub mod nodes;
pub mod objects;
pub mod openapi;
pub mod preview;
pub mod problem;
pub mod read;
pub mod reply;
pub mod request;
pub mod routes;
pub mod scale;
pub mod select;
pub mod tokens;
pub mod watch;
pub mod wire;
pub mod write;

#[cfg(test)]
mod tests;

pub use metrics::HttpMetrics;

/// What the routes read and write. One for a node.
pub struct Shared {
    /// This node's store.
    pub store: Client,
    /// This node's engine: builds and logs.
    pub runtime: Arc<dyn Runtime>,
    /// Seals Secrets before they are proposed.
    pub sealer: Arc<Sealer>,
    /// This node's name.
    pub node: Arc<str>,
    /// What `/metrics` shows.
    pub registry: Arc<Registry>,
    /// Where requests are counted.
    pub http: HttpMetrics,
    /// The token that may do everything.
    pub admin_token: String,
    /// User id of this process: its peers on the socket need no token, as root's do not.
    pub uid: u32,
    /// How much and how long.
    pub limits: Limits,
}

/// Where it listens: loopback and a socket.
#[derive(Debug, Default)]
pub struct Listeners {
    /// Plain HTTP.
    pub tcp: Vec<TcpListener>,
    /// Plain HTTP; root and the agent's user need no token.
    pub unix: Option<UnixListener>,
}

/// How much and how long. Tests set small ones.
#[derive(Debug, Clone)]
pub struct Limits {
    /// From one request's end, or the accept, to the next request's whole head.
    pub head: Duration,
    /// From a request's head to its answer's head; streams go on after it.
    pub request: Duration,
    /// For the store's answer to one write.
    pub propose: Duration,
    /// A client that takes nothing for so long is cut.
    pub write: Duration,
    /// An idle stream shows that it lives this often.
    pub heartbeat: Duration,
    /// For what is in flight at the end.
    pub stop: Duration,
    /// Bytes of a request's body.
    pub body: u64,
    /// Bytes of a build's context.
    pub context: u64,
    /// Connections at one time, of each listener; more wait in the kernel's queue.
    pub connections: usize,
    /// Long-lived streams at one time; more are refused.
    pub streams: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(30),
            request: Duration::from_secs(30),
            propose: Duration::from_secs(10),
            write: Duration::from_secs(10),
            heartbeat: Duration::from_secs(15),
            stop: Duration::from_secs(5),
            body: 8 << 20,
            context: 4 << 30,
            connections: 1_024,
            streams: 512,
        }
    }
}

/// The server while it runs.
pub struct Server {
    /// What the routes read and write.
    pub shared: Arc<Shared>,
    gate: auth::Gate,
    stop: CancellationToken,
    /// The time for ending is over.
    cut: CancellationToken,
    /// See [`heavy`].
    heavy: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    /// Streams and WebSockets: they outlive the request that began them.
    tasks: TaskTracker,
    openapi: OnceLock<Bytes>,
}

impl Server {
    fn new(shared: Arc<Shared>, stop: CancellationToken) -> Self {
        Self {
            gate: auth::Gate::new(&shared.admin_token, shared.uid),
            stop,
            cut: CancellationToken::new(),
            heavy: Arc::new(Semaphore::new(heavy::at_once())),
            streams: Arc::new(Semaphore::new(shared.limits.streams)),
            tasks: TaskTracker::new(),
            openapi: OnceLock::new(),
            shared,
        }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Server({})", self.shared.node)
    }
}

/// Serves until `stop`, then lets what is in flight end within [`Limits::stop`] and cuts the rest.
pub async fn serve(shared: Arc<Shared>, listeners: Listeners, stop: CancellationToken) {
    let limits = shared.limits.clone();
    let server = Arc::new(Server::new(shared, stop.clone()));
    let filter = dispatch::filter(server.clone());
    let mut loops = JoinSet::new();
    let tcp = listeners.tcp.into_iter().map(accept::Listener::Tcp);
    for listener in tcp.chain(listeners.unix.map(accept::Listener::Unix)) {
        loops.spawn(accept::accept(listener, server.clone(), filter.clone()));
    }
    let ended = async {
        while loops.join_next().await.is_some() {}
        server.tasks.close();
        server.tasks.wait().await;
    };
    let late = async {
        stop.cancelled().await;
        sleep(limits.stop).await;
    };
    tokio::pin!(ended);
    tokio::select! {
        () = &mut ended => {}
        () = late => {
            tracing::warn!(streams = server.tasks.len(), "requests or streams were cut: they did not end in time");
            server.cut.cancel();
            ended.await;
        }
    }
}
