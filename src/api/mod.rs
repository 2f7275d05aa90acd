//! The API of one node: REST, watches, events over ndjson and WebSocket.
//!
//! Here: [`serve`] and what it needs ([`Shared`], [`Listeners`], [`Limits`]), and the submodules:
//! [`wire`] (every request and answer), [`metrics`] (requests counted by route and code).
//! Not here: deciding (`plan`), storing (`store`), the command line (`cli`).
//! Invariant: every route names its role; nothing waits without a deadline; a slow client holds up nobody.

use std::{sync::Arc, time::Duration};

use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;

use crate::{runtime::Runtime, store::Client};

pub mod metrics;
pub mod wire;

pub use metrics::HttpMetrics;

/// What the routes read and write. One for a node.
pub struct Shared {
    /// This node's store.
    pub store: Client,
    /// This node's engine: builds and logs.
    pub runtime: Arc<dyn Runtime>,
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
    /// Connections at one time; more wait in the kernel's queue.
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

/// Serves until `stop`, then lets what is in flight end within [`Limits::stop`].
pub async fn serve(shared: Arc<Shared>, listeners: Listeners, stop: CancellationToken) {
    stop.cancelled().await;
    drop((shared, listeners));
}
