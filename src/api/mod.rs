//! The API of one node: REST, watches, events over ndjson and WebSocket.
//!
//! Here: [`serve`] and what it needs ([`Shared`], [`Listeners`], [`Limits`]). A request goes through
//! [`accept`] (connections, deadlines), [`dispatch`] (its route in the table of [`routes`], its caller by
//! [`auth`], counted by [`metrics`], or noted by [`denied`]) to one of [`read`], [`watch`], [`events`], [`write`], [`scale`],
//! [`nodes`], [`tokens`], [`audit`], [`logs`], [`builds`], [`traefik`], [`cluster`], [`openapi`]. [`wire`] has every request and answer,
//! [`problem`] every error.
//! Not here: deciding (`plan`), storing (`store`), what a manifest may say (`manifest`), the command line (`cli`).
//! Invariants: every route names its role and its class; nothing waits without a deadline; a slow client holds
//! up nobody; of a Secret no value ever leaves.
//!
//! # Limits
//!
//! | What | Bound | Beyond it |
//! |---|---|---|
//! | connections ([`crowd`]) | by the limit of open files, a quarter of them from one source; the socket has its own | whoever asks for nothing is cut, the oldest first; else 503 |
//! | a head | 64 headers, 16 KiB, 10 s; as long for an idle connection | 431; cut |
//! | a body | 8 MiB (a build's context 4 GiB); 1 KiB in each 10 s, and the deadline of its class ([`class`]) | 413; 408 |
//! | requests in flight ([`class`]) | control 256, change 1,024, read 1,024, watch 12,000, logs 256, edge 64 | 429 with `Retry-After` |
//! | an answer's head | control 5 s, watch 10 s, others 30 s | 408, or 504 when it is not known whether it happened |
//! | what a client takes ([`guard`]) | 1 KiB in each 10 s of what waits for it | cut |
//! | a WebSocket's client | answers one of 4 pings, 15 s apart; messages of 4 KiB | cut; closed with 1009 |
//! | wrong tokens of a source ([`rates`]) | 50 at once, 10 a second | 429 |
//! | changes of a caller who is no administrator | 400 at once, 200 a second | 429 |
//!
//! `/metrics` counts what is in flight, refused and cut, by class and cause.

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use prometheus_client::registry::Registry;
use tokio::{
    net::{TcpListener, UnixListener},
    sync::{Semaphore, watch::Receiver},
    task::JoinSet,
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::rates::{Buckets, Rate};
use crate::{
    allocator, edge,
    model::Grants,
    runtime::Runtime,
    store::{Client, seal::Sealer},
};

pub mod accept;
pub mod audit;
pub mod auth;
pub mod backups;
pub mod builds;
pub mod class;
pub mod cluster;
pub mod commit;
pub mod crowd;
pub mod denied;
pub mod dispatch;
pub mod documents;
pub mod events;
pub mod feed;
pub mod grants;
pub mod guard;
pub mod heavy;
pub mod jobs;
pub mod logs;
pub mod made;
pub mod metrics;
pub mod nodes;
pub mod objects;
pub mod openapi;
pub mod preview;
pub mod problem;
pub mod rates;
pub mod read;
pub mod reply;
pub mod request;
pub mod rollouts;
mod routes;
pub mod scale;
pub mod secrets;
pub mod select;
pub mod socket;
pub mod table;
pub mod tokens;
pub mod traefik;
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
    /// Who may give a service power over its host; a reload of the configuration changes it.
    pub grants: Receiver<Arc<Grants>>,
    /// What Traefik is given on this node.
    pub traefik: edge::Offered,
    /// Where Traefik and this API are, for what Traefik is started with.
    pub addresses: edge::Addresses,
    /// How much and how long.
    pub limits: Limits,
}

impl Shared {
    /// Who may give a service power over its host now.
    fn granted(&self) -> Arc<Grants> {
        self.grants.borrow().clone()
    }
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
    /// Of each class of requests: how many at one time, and how long each.
    pub classes: class::Bounds,
    /// For the store's answer to one write.
    pub propose: Duration,
    /// A client that takes less than [`guard::LEAST`] bytes of what waits for it in such a time is cut.
    pub write: Duration,
    /// A client that sends less than [`guard::LEAST`] bytes of its body in such a time is cut.
    pub upload: Duration,
    /// An idle stream shows that it lives this often.
    pub heartbeat: Duration,
    /// A Traefik that has what there is hears of it again after so long.
    pub hold: Duration,
    /// For what is in flight at the end.
    pub stop: Duration,
    /// Bytes of a request's body.
    pub body: u64,
    /// Bytes of a build's context.
    pub context: u64,
    /// Connections of each TCP listener at one time; see [`crowd`].
    pub connections: usize,
    /// Those of one source.
    pub per_source: usize,
    /// Connections at the socket: of their own, so that root always has its way in.
    pub socket: usize,
    /// Requests of one source with a token that is not known; more are refused.
    pub wrong_tokens: Rate,
    /// Changes of one caller from one source; more are refused. Administrators change as often as they like.
    pub changes: Rate,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Good clients send a head at once; the longer half a one may stay, the more of them fit in. It is
            // the patience with an idle connection too: other servers have 5 to 75 s, clients ask anew.
            head: Duration::from_secs(10),
            classes: class::Bounds::default(),
            propose: Duration::from_secs(10),
            write: Duration::from_secs(10),
            upload: Duration::from_secs(10),
            heartbeat: Duration::from_secs(15),
            hold: Duration::from_secs(20),
            stop: Duration::from_secs(5),
            body: 8 << 20,
            context: 4 << 30,
            connections: 1_024,
            per_source: 256,
            socket: 256,
            wrong_tokens: Rate { per_second: 10, burst: 50 },
            changes: Rate { per_second: 200, burst: 400 },
        }
    }
}

impl Limits {
    /// Fewer connections than this are too few for a cluster: the agent says so.
    pub const FEW: usize = 1_024;

    /// For a process that may have so many files open: a sixteenth and no less than 128 stay for the store and
    /// the engine, as many for the socket.
    #[must_use]
    pub fn within(files: usize) -> Self {
        let share = (files / 16).clamp(128, 1_024);
        let connections = files.saturating_sub(2 * share).clamp(64, 32_768);
        let mut classes = class::Bounds::default();
        // The rest is for whoever asks and goes.
        classes.watch.at_once = classes.watch.at_once.min(connections / 4 * 3);
        // Each has a connection to the engine too.
        classes.logs.at_once = classes.logs.at_once.min(share / 2);
        Self { classes, connections, per_source: connections / 4, socket: share, ..Self::default() }
    }
}

/// The server while it runs.
pub struct Server {
    /// What the routes read and write.
    pub shared: Arc<Shared>,
    gate: auth::Gate,
    denied: denied::Denied,
    stop: CancellationToken,
    /// The time for ending is over.
    cut: CancellationToken,
    /// See [`heavy`].
    heavy: Arc<Semaphore>,
    places: class::Places,
    hub: Arc<feed::Hub>,
    wrong_tokens: Buckets<Option<IpAddr>>,
    changes: Buckets<(Arc<str>, Option<IpAddr>)>,
    /// Streams and WebSockets: they outlive the request that began them.
    tasks: TaskTracker,
    openapi: OnceLock<Bytes>,
}

impl Server {
    fn new(shared: Arc<Shared>, stop: CancellationToken) -> Self {
        Self {
            gate: auth::Gate::new(&shared.admin_token, shared.uid),
            denied: denied::Denied::default(),
            stop,
            cut: CancellationToken::new(),
            heavy: Arc::new(Semaphore::new(heavy::at_once())),
            hub: feed::Hub::new(shared.store.clone()),
            places: class::Places::new(shared.limits.classes.clone(), shared.http.clone()),
            wrong_tokens: Buckets::new(shared.limits.wrong_tokens, rates::REMEMBERED),
            changes: Buckets::new(shared.limits.changes, rates::REMEMBERED),
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

/// Returns the memory of many connections when most of them are gone.
async fn give_back(server: Arc<Server>) {
    /// Fewer leave nothing worth the work.
    const MANY: i64 = 256;
    const LOOK: Duration = Duration::from_secs(5);
    let mut most = 0;
    while server.stop.run_until_cancelled(sleep(LOOK)).await.is_some() {
        let open = server.shared.http.connections.get();
        most = most.max(open);
        if most >= MANY && open < most / 2 {
            most = open;
            allocator::give_back();
        }
    }
}

/// Serves until `stop`, then lets what is in flight end within [`Limits::stop`] and cuts the rest.
pub async fn serve(shared: Arc<Shared>, listeners: Listeners, stop: CancellationToken) {
    let limits = shared.limits.clone();
    let server = Arc::new(Server::new(shared, stop.clone()));
    let filter = dispatch::filter(server.clone());
    let mut loops = JoinSet::new();
    loops.spawn(server.hub.clone().run(stop.clone()));
    loops.spawn(give_back(server.clone()));
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
