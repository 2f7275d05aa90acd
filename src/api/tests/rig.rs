//! A server with everything around it.

use std::{future::Future, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::watch,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::client::{Answer, Ask, Wire};
use crate::{
    api::{HttpMetrics, Limits, Listeners, Shared, serve},
    edge::{Addresses, Offer},
    model::{
        Condition, ConditionStatus, ConditionType, Declared, Grants, NodeStatus, ObjectKey, Reason, Replica, Spec,
        Status, Uid, node::NodeSpec, testing::replica,
    },
    runtime::fake::Fake,
    store::{
        command::{Command, Group},
        put::put,
        seal::Sealer,
        testing,
    },
};

/// Nothing takes so long.
pub const DEADLINE: Duration = Duration::from_secs(20);
pub const TOKEN: &str = "the-admin-token";
/// Where Traefik would be.
pub const ADDRESSES: Addresses = Addresses { api: at(7443), http: at(18080), https: at(18443), traefik: at(18081) };
const fn at(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)
}
/// What Traefik is given at first.
pub const DOCUMENT: &[u8] = b"{\"http\":{}}";

/// Waits for something that must come.
pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what} did not happen within {DEADLINE:?}"),
    }
}

/// Looks again and again until a condition holds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let all = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    soon(what, all).await;
}

pub struct Rig {
    pub shared: Arc<Shared>,
    pub engine: Fake,
    /// What the configuration grants.
    pub grants: watch::Sender<Arc<Grants>>,
    /// What Traefik is given; at first [`DOCUMENT`].
    pub offer: Offer,
    pub address: SocketAddr,
    pub socket: PathBuf,
    pub stop: CancellationToken,
    serving: Option<JoinHandle<()>>,
    _dir: TempDir,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Rig {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }
    /// With other limits.
    pub async fn with(change: impl FnOnce(&mut Limits)) -> Self {
        let mut limits = Limits::default();
        change(&mut limits);
        let mut registry = Registry::default();
        let http = HttpMetrics::register(&mut registry);
        let engine = Fake::new();
        let store = testing::memory("n1").await;
        store.register(&mut registry);
        let grants = watch::Sender::new(Arc::new(Grants::default()));
        let offer = Offer::default();
        offer.put(Bytes::from_static(DOCUMENT));
        let shared = Arc::new(Shared {
            store,
            runtime: Arc::new(engine.clone()),
            sealer: Arc::new(Sealer::ephemeral()),
            node: "n1".into(),
            registry: Arc::new(registry),
            http,
            admin_token: TOKEN.into(),
            uid: rustix::process::geteuid().as_raw(),
            grants: grants.subscribe(),
            traefik: offer.offered(),
            addresses: ADDRESSES,
            limits,
        });
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("api.sock");
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let listeners = Listeners { tcp: vec![tcp], unix: Some(UnixListener::bind(&socket).unwrap()) };
        let stop = CancellationToken::new();
        let serving = Some(tokio::spawn(serve(shared.clone(), listeners, stop.clone())));
        Self { shared, engine, grants, offer, address, socket, stop, serving, _dir: dir }
    }

    pub async fn tcp(&self) -> Wire {
        Wire::new(soon("connecting", TcpStream::connect(self.address)).await.unwrap())
    }
    pub async fn unix(&self) -> Wire {
        Wire::new(soon("connecting", UnixStream::connect(&self.socket)).await.unwrap())
    }
    pub fn ask(&self, method: &str, path: &str) -> Ask<'_> {
        Ask::new(self, method, path)
    }
    pub async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path).send().await
    }
    /// What a good read gives.
    pub async fn read(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }
    pub async fn post(&self, path: &str, body: &str) -> Answer {
        self.ask("POST", path).body(body).send().await
    }
    /// Applies what is good.
    pub async fn apply(&self, body: &str) -> Value {
        let answer = self.post("/api/v1/apply", body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }
    /// The same at the socket.
    pub async fn apply_at_the_socket(&self, body: &str) {
        let answer = self.ask("POST", "/api/v1/apply").socket().body(body).send().await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    pub fn index(&self) -> u64 {
        self.shared.store.state().index().0
    }
    /// Begins to end and waits for it.
    pub async fn ended(&mut self) {
        self.stop.cancel();
        if let Some(serving) = self.serving.take() {
            soon("the end of the server", serving).await.unwrap();
        }
    }

    pub async fn propose(&self, commands: Vec<Command>) {
        let group = Group { actor: "test".into(), commands, ..Group::default() };
        self.shared.store.propose(group, DEADLINE).await.unwrap();
    }
    /// The node that an agent would have made, ready.
    pub async fn node(&self) {
        let declared = Declared {
            name: "n1".into(),
            labels: [("zone".into(), "a".into())].into(),
            annotations: [].into(),
            spec: Spec::Node(NodeSpec::first()),
        };
        let shared = &self.shared;
        let node = put(&declared, None, &shared.sealer, &shared.store.state(), Uid::from_bytes([7; 16])).unwrap();
        self.propose(vec![Command::Put(node)]).await;
        self.observe(ObjectKey::node("n1"), Status::Node(ready_node())).await;
    }
    pub async fn observe(&self, key: ObjectKey, status: Status) {
        let state = self.shared.store.state();
        let uid = match state.replica(&key.name) {
            Some(replica) => replica.uid.clone(),
            None => state.object(&key).unwrap().meta.uid.clone(),
        };
        self.propose(vec![Command::RecordObservations { statuses: vec![(key, uid, status)], events: vec![] }]).await;
    }
    /// Places a replica of a service on this node; its name.
    pub async fn place(&self, service: &str, slot: u32) -> String {
        let state = self.shared.store.state();
        let object = state.object(&ObjectKey::service(service)).unwrap();
        let revision = state.newest_revision(&object.meta.uid).unwrap();
        let replica = Replica {
            service_uid: object.meta.uid.clone(),
            revision: revision.number,
            spec_hash: revision.spec_hash.clone(),
            node_uid: Uid::from_bytes([7; 16]),
            ..replica(service, slot)
        };
        let name = replica.name.to_string();
        self.propose(vec![Command::Place { replica, beside: None }]).await;
        name
    }
}

fn ready_node() -> NodeStatus {
    let ready = |kind| Condition {
        kind,
        status: ConditionStatus::True,
        reason: Reason::NodeReady,
        message: "good".into(),
        last_transition_time: 1,
        observed_generation: 1,
    };
    let mut status = NodeStatus {
        cpus: crate::model::Millicores(8_000),
        memory: crate::model::Bytes(16 << 30),
        conditions: vec![ready(ConditionType::Ready), ready(ConditionType::DockerReachable)],
        ..NodeStatus::default()
    };
    status.engine.version = "20.10.24".into();
    status
}

/// A Config as JSON.
pub fn config(name: &str, value: &str) -> Value {
    json!({"apiVersion": "constellation.dev/v1", "kind": "Config", "metadata": {"name": name}, "spec": {"data": {"a": value}}})
}
/// A Service as JSON.
pub fn service(name: &str, image: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "constellation.dev/v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"image": image, "replicas": replicas},
    })
}
