//! A node: everything that runs in one agent process, put together.
//!
//! Here: [`run`], from a configuration to a process that serves and reconciles until it is told to end.
//! Not here: what any part does; directories and locks ([`home`]); which node this is ([`identity`]).
//! Order: directories and locks, keys, store, API, the node's own object, loops. The engine may come
//! later: until it answers, everything else works and says so.
//! Invariants: ending stops no container; every part ends within a bound; an engine is driven only
//! while its lock is held.

pub mod home;
pub mod identity;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prometheus_client::registry::Registry;
use tokio::{
    net::{TcpListener, UnixListener, UnixStream},
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use self::{
    home::{EngineLock, Home},
    identity::Identity,
};
use crate::{
    api,
    config::AgentConfig,
    controller::{self, Metrics},
    model::service::STOP_GRACE_MAX,
    reconcile::{
        agent::{
            self as replicas, Agent,
            listen::listen,
            prepare::{ThisNode, new_uid},
        },
        leader, node,
        reporter::Reporter,
    },
    runtime::{Runtime, RuntimeError, docker::Docker},
    store::{self, Client, OpenError, State, durable, seal::Sealer},
};

/// Longest pass: stopping a container may take its whole grace period, and all else some minutes.
const PASS: Duration = STOP_GRACE_MAX.saturating_add(Duration::from_secs(600));
/// Longest wait for the engine's first answer before everything else goes on without it.
const FIRST_ANSWER: Duration = Duration::from_secs(5);
/// Between two attempts to reach an engine that never answered.
const RETRY: Duration = Duration::from_secs(1);
/// How long the loops and the API may take to end.
const END: Duration = Duration::from_secs(7);
/// How long the last reports may take.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Why an agent ended.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A directory cannot be used.
    #[error("{}: cannot be used", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another agent has the data directory.
    #[error("the data directory {} is in use by {owner}", path.display())]
    DataInUse {
        /// Which.
        path: PathBuf,
        /// By whom.
        owner: String,
    },
    /// Another agent drives the engine.
    #[error("the engine {engine} is driven by another agent: {owner}")]
    EngineInUse {
        /// The engine's id.
        engine: String,
        /// By whom.
        owner: String,
    },
    /// The data directory is that of a node with another name.
    #[error("the data directory is that of the node {is}, and the name {asked} is asked for")]
    Renamed {
        /// Whose it is.
        is: Arc<str>,
        /// What it shall be called.
        asked: Arc<str>,
    },
    /// The store knows another node by this name.
    #[error("the node {0} of the store has another identity than node.json of the data directory says")]
    Impostor(Arc<str>),
    /// The engine runs without root.
    #[error("the engine at {0} is rootless: its containers' addresses cannot be reached from this host")]
    Rootless(String),
    /// The engine's address is none.
    #[error("{0} is no address of an engine")]
    Engine(String, #[source] RuntimeError),
    /// The API cannot listen.
    #[error("the API cannot listen at {at}")]
    Listen {
        /// Where.
        at: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store failed while it ran.
    #[error("the store failed: {0}")]
    Store(String),
    /// A part ended that must not end.
    #[error("{0} ended unexpectedly")]
    Ended(&'static str),
}

impl AgentError {
    /// What the process ends with: 74 a disk failed (start again), 78 damage, a wrong directory or a wrong
    /// setting (a person decides), 1 what may pass by itself.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Open(error) => error.exit_code(),
            Self::Directory { source, .. } if durable::waits_for_a_person(source) => 78,
            Self::Store(_) | Self::Directory { .. } => 74,
            Self::Renamed { .. } | Self::Impostor(_) | Self::Rootless(_) | Self::Engine(..) => 78,
            Self::DataInUse { .. } | Self::EngineInUse { .. } | Self::Listen { .. } | Self::Ended(_) => 1,
        }
    }
    /// What the user can do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Open(error) => Some(error.hint()),
            Self::Directory { path, source } => Some(match source.kind() {
                io::ErrorKind::InvalidData => "bring it back from a copy of the data directory".into(),
                _ if durable::waits_for_a_person(source) => {
                    "run as root, or choose --data-dir and --run-dir of your own".into()
                }
                _ => format!("look at the disk of {} (room, mount), then start the agent again", path.display()),
            }),
            Self::DataInUse { .. } => Some("stop that agent, or choose another --data-dir".into()),
            Self::EngineInUse { .. } => Some("stop that agent, or choose another --docker-host".into()),
            Self::Renamed { is, .. } => {
                Some(format!("start it with --node-name {is}: a node keeps its name, or all it runs would be removed"))
            }
            Self::Impostor(_) => Some("bring back the node.json that belongs to the store beside it".into()),
            Self::Rootless(_) => Some("choose an engine that runs as root with --docker-host".into()),
            Self::Engine(..) => Some("write --docker-host like unix:///var/run/docker.sock".into()),
            Self::Listen { .. } => Some("choose --api-address and --api-socket that are free".into()),
            Self::Store(_) => Some("look at the disk of the data directory, then start the agent again".into()),
            Self::Ended(_) => None,
        }
    }
}

/// Runs an agent until `stop`, SIGTERM or SIGINT.
///
/// # Errors
/// Why it could not start or go on.
pub async fn run(config: AgentConfig, stop: CancellationToken) -> Result<(), AgentError> {
    let home = Home::take(&config.data_dir, &config.run_dir, &config.api_socket)?;
    let unusable = |source| AgentError::Directory { path: home.data.clone(), source };
    let stored = Identity::read(&home.data).map_err(unusable)?;
    let name = identity::name(stored.as_ref(), &config.node_name, config.is_chosen("nodeName"))?;
    if *name != *config.node_name {
        tracing::warn!(node = %name, host = %config.node_name, "the host has another name now; the node keeps its own");
    }
    let key = Sealer::load(&home.data).map_err(unusable)?;
    if let Some(other) = &config.passed_over {
        tracing::warn!(
            engine = %config.docker_host, DOCKER_HOST = %other,
            "DOCKER_HOST is not read by an agent; --docker-host or CONSTELLATION_DOCKER_HOST chooses its engine"
        );
    }
    let docker = Docker::connect(&config.docker_host).map_err(|e| AgentError::Engine(config.docker_host.clone(), e))?;
    let runtime: Arc<dyn Runtime> = Arc::new(docker);
    // An engine that is there is judged before anything is opened.
    let engine = match timeout(FIRST_ANSWER, runtime.info()).await {
        Ok(Ok(info)) => Some(take_engine(&home, &config.docker_host, &info)?),
        Ok(Err(_)) | Err(_) => {
            tracing::warn!(engine = %config.docker_host, "the engine does not answer; it is waited for");
            None
        }
    };
    let listeners = bind(&config, &home).await?;
    let store =
        store::open(store::Options { profile: config.profile, ..store::Options::new(&home.data, name.clone()) })
            .await?;
    // Only a store without Secrets may get a new key.
    let keyed = key.map_or_else(|| Sealer::create(&home.data, &store.client.state()).map_err(AgentError::from), Ok);
    let identified = keyed.and_then(|sealer| Ok((sealer, identify(stored, &name, &store.client.state(), &home.data)?)));
    let (sealer, identity) = match identified {
        Ok((sealer, identity)) => (Arc::new(sealer), identity),
        Err(error) => {
            store.close().await;
            return Err(error);
        }
    };
    tracing::info!(node = %name, data = %home.data.display(), run = %home.run.display(), "the agent runs");
    let mut fatal = store.fatal.clone();
    let parts = Parts { config, home: Arc::new(home), sealer, runtime, identity, store: store.client.clone() };
    let outcome = tokio::select! {
        outcome = parts.run(listeners, engine, stop) => outcome,
        why = failure(&mut fatal) => Err(AgentError::Store(why)),
    };
    // A store that failed has nothing to close.
    if !matches!(outcome, Err(AgentError::Store(_))) {
        store.close().await;
    }
    tracing::info!("the agent ended; containers go on");
    outcome
}

/// Who this is; written down before the log hears of it.
fn identify(stored: Option<Identity>, name: &Arc<str>, state: &State, data: &Path) -> Result<Identity, AgentError> {
    let identity = identity::settle(stored.clone(), name.clone(), state, new_uid())?;
    if stored.as_ref() != Some(&identity) {
        identity.write(data).map_err(|source| AgentError::Directory { path: data.to_owned(), source })?;
    }
    Ok(identity)
}

/// Waits until the store says that it cannot go on.
async fn failure(fatal: &mut tokio::sync::watch::Receiver<Option<String>>) -> String {
    loop {
        if let Some(why) = fatal.borrow_and_update().clone() {
            return why;
        }
        if fatal.changed().await.is_err() {
            return "it ended".into();
        }
    }
}

/// Judges an engine and takes its lock.
fn take_engine(home: &Home, host: &str, info: &crate::runtime::EngineInfo) -> Result<EngineLock, AgentError> {
    if info.rootless {
        return Err(AgentError::Rootless(host.into()));
    }
    EngineLock::take(home, &info.id)
}

/// Binds the API's listeners and says where they are.
async fn bind(config: &AgentConfig, home: &Home) -> Result<api::Listeners, AgentError> {
    let cannot = |at: String| move |source| AgentError::Listen { at, source };
    let tcp = TcpListener::bind(config.api_address).await.map_err(cannot(config.api_address.to_string()))?;
    let address: SocketAddr = tcp.local_addr().map_err(cannot(config.api_address.to_string()))?;
    let unix = bind_socket(&home.socket).await.map_err(cannot(home.socket.display().to_string()))?;
    home.write_address(address)?;
    tracing::info!(api = %format!("http://{address}"), socket = %home.socket.display(), "the API listens");
    Ok(api::Listeners { tcp: vec![tcp], unix: Some(unix) })
}

/// A socket that nobody answers at is a leftover of a process that was killed.
async fn bind_socket(path: &Path) -> io::Result<UnixListener> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    if UnixStream::connect(path).await.is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process answers there"));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    UnixListener::bind(path)
}

/// What the parts of a node share.
struct Parts {
    config: AgentConfig,
    home: Arc<Home>,
    sealer: Arc<Sealer>,
    runtime: Arc<dyn Runtime>,
    identity: Identity,
    store: Client,
}

impl Parts {
    async fn run(
        self,
        listeners: api::Listeners,
        engine: Option<EngineLock>,
        asked: CancellationToken,
    ) -> Result<(), AgentError> {
        let stop = asked.child_token();
        let (mut tasks, reports) = (JoinSet::new(), CancellationToken::new());
        let (tell, mut told) = mpsc::channel::<AgentError>(1);
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        self.store.register(&mut registry);
        let http = api::HttpMetrics::register(&mut registry);
        let reporter = Reporter::default();
        let reporting = tokio::spawn(reporter.clone().run(self.store.clone(), self.actor(), reports.clone()));
        tasks.spawn(signals(stop.clone()));
        tasks.spawn(api::serve(self.shared(registry, http), listeners, stop.clone()));
        let parts = Arc::new(self);
        let loops = parts.clone().loops(engine, reporter, metrics, stop.clone());
        tasks.spawn(async move {
            if let Err(error) = loops.await {
                // Nobody listens any more when the agent is ending anyway.
                let _ = tell.send(error).await;
            }
        });
        let outcome = tokio::select! {
            () = stop.cancelled() => Ok(()),
            Some(error) = told.recv() => Err(error),
            ended = tasks.join_next() => match ended {
                _ if stop.is_cancelled() => Ok(()),
                Some(Err(error)) if error.is_panic() => Err(AgentError::Ended("a part that panicked")),
                Some(_) | None => told.try_recv().map_or(Err(AgentError::Ended("a part")), Err),
            },
        };
        stop.cancel();
        if timeout(END, async { while tasks.join_next().await.is_some() {} }).await.is_err() {
            tracing::warn!(left = tasks.len(), "parts did not end in time");
            tasks.shutdown().await;
        }
        // An error that ended the agent may have come while it was ending.
        let outcome = told.try_recv().map_or(outcome, Err);
        reports.cancel();
        let abort = reporting.abort_handle();
        if timeout(LAST_WORDS, reporting).await.is_err() {
            abort.abort();
        }
        outcome
    }

    fn actor(&self) -> Arc<str> {
        format!("agent@{}", self.identity.name).into()
    }

    fn shared(&self, registry: Registry, http: api::HttpMetrics) -> Arc<api::Shared> {
        Arc::new(api::Shared {
            store: self.store.clone(),
            runtime: self.runtime.clone(),
            sealer: self.sealer.clone(),
            node: self.identity.name.clone(),
            registry: Arc::new(registry),
            http,
            admin_token: self.home.token.clone(),
            uid: rustix::process::getuid().as_raw(),
            limits: api::Limits::default(),
        })
    }

    /// Registers the node, then runs every loop until `stop`.
    async fn loops(
        self: Arc<Self>,
        engine: Option<EngineLock>,
        reporter: Reporter,
        metrics: Metrics,
        stop: CancellationToken,
    ) -> Result<(), AgentError> {
        let node = (self.identity.name.clone(), self.identity.uid.clone());
        if node::register(&self.store, &node, &stop).await.is_err() {
            return Ok(());
        }
        let this = self.this_node();
        let agent = Arc::new(Agent::new(
            this,
            self.store.clone(),
            self.runtime.clone(),
            self.sealer.clone(),
            reporter.clone(),
            &stop,
        ));
        agent.sweep_files();
        let options = controller::Options::named("agent").concurrency(replicas::PASSES).deadline(PASS);
        let passes = controller::run(options, agent.clone(), replicas::keys(&agent), metrics.clone(), stop.clone());
        let leading = leader::run(
            self.store.clone(),
            self.runtime.clone(),
            self.sealer.clone(),
            node.clone(),
            metrics,
            stop.clone(),
        );
        let watching = node::watch(
            node.clone(),
            self.config.advertise_address,
            self.store.clone(),
            self.runtime.clone(),
            agent.containers(),
            reporter,
            stop.clone(),
        );
        let listening = self.listen(engine, agent.clone(), &stop);
        let registered = node::stay_registered(&self.store, &node, &stop);
        let ((), (), (), (), listened) = tokio::join!(passes, leading, watching, registered, async {
            let listened = listening.await;
            if listened.is_err() {
                stop.cancel();
            }
            listened
        });
        agent.closed().await;
        listened
    }

    fn this_node(&self) -> ThisNode {
        ThisNode {
            name: self.identity.name.clone(),
            uid: self.identity.uid.clone(),
            advertise: self.config.advertise_address.map(|a: IpAddr| a.to_string()),
            run_dir: self.home.run.clone(),
        }
    }

    /// Waits for the engine, takes it, and keeps what is known of it fresh.
    async fn listen(
        &self,
        engine: Option<EngineLock>,
        agent: Arc<Agent>,
        stop: &CancellationToken,
    ) -> Result<(), AgentError> {
        let _held = match engine {
            Some(held) => held,
            None => loop {
                if let Ok(info) = self.runtime.info().await {
                    break take_engine(&self.home, &self.config.docker_host, &info)?;
                }
                if stop.run_until_cancelled(tokio::time::sleep(RETRY)).await.is_none() {
                    return Ok(());
                }
            },
        };
        let Some(lineage) = self.store.state().cluster().map(|c| c.lineage.to_string()) else {
            // A node is registered in a formed cluster only.
            return Err(AgentError::Ended("the cluster"));
        };
        let (wakes, everything) = (agent.wakes(), agent.clone());
        let all = move || everything.replicas();
        listen(self.runtime.clone(), lineage, agent.containers(), wakes, wall, all, stop.clone()).await;
        Ok(())
    }
}

/// Ends the agent on the first SIGTERM or SIGINT.
async fn signals(stop: CancellationToken) {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        tracing::warn!("signals cannot be heard");
        return stop.cancelled().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
        () = stop.cancelled() => return,
    }
    tracing::info!("asked to end");
    stop.cancel();
}

/// Wall time as the engine stamps its events, nanoseconds since 1970.
fn wall() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
