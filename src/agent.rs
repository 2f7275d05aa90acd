//! A node: everything that runs in one agent process, put together.
//!
//! Here: [`run`], from a configuration to a process that serves and reconciles until it is told to end.
//! Not here: what any part does; directories and locks ([`home`]); which node this is ([`identity`]); what a
//! service manager hears ([`notify`]); a new configuration ([`reload`]); a directory made of a
//! backup ([`restore`]); how many files may be open ([`descriptors`]).
//! Order: directories and locks, keys, store, API, the node's own object, loops. The engine may come
//! later: until it answers, everything else works and says so.
//! Invariants: ending stops no container; every part ends within a bound; an engine is driven only
//! while its lock is held.

pub mod descriptors;
mod error;
pub mod home;
pub mod identity;
pub mod notify;
pub mod reload;
pub mod restore;
mod routes;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use prometheus_client::registry::Registry;
use tokio::{
    net::{TcpListener, UnixListener, UnixStream},
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

pub use self::error::AgentError;
use self::{
    home::{EngineLock, Home},
    identity::Identity,
    notify::Notify,
    reload::Reload,
};
use crate::{
    api,
    config::AgentConfig,
    controller::{self, Metrics},
    edge::{
        Addresses, Offer,
        hold::{self, Holds},
        splice::{self, Splices},
        watch::Edge,
    },
    model::{
        Grants,
        service::{HOOK_TIMEOUT_MAX, STOP_GRACE_MAX},
    },
    plan::entry::Asked,
    reconcile::{
        agent::{
            self as replicas, Agent,
            listen::listen,
            prepare::{ThisNode, new_uid},
        },
        leader, node,
        reporter::Reporter,
    },
    runtime::{Runtime, docker::Docker},
    store::{self, Client, State, seal::Sealer},
};

/// Longest pass: stopping a container may take its hooks and its whole grace period, and all else some minutes.
const PASS: Duration = STOP_GRACE_MAX.saturating_add(HOOK_TIMEOUT_MAX).saturating_add(Duration::from_secs(600));
/// Longest wait for the engine's first answer before everything else goes on without it.
const FIRST_ANSWER: Duration = Duration::from_secs(5);
/// Between two attempts to reach an engine that never answered.
const RETRY: Duration = Duration::from_secs(1);
/// How long the loops and the API may take to end.
const END: Duration = Duration::from_secs(7);
/// How long the last reports may take.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Runs an agent until `stop`, SIGTERM or SIGINT. On SIGHUP it reads its configuration again.
///
/// # Errors
/// Why it could not start or go on.
pub async fn run(config: AgentConfig, reload: Reload, stop: CancellationToken) -> Result<(), AgentError> {
    // Before anything that takes time: without a listener the signal ends the process.
    let hangup = signal(SignalKind::hangup()).map_err(AgentError::Signals)?;
    let notify = Arc::new(Notify::of_environment(|name| std::env::var_os(name)));
    let files = descriptors::raise();
    let home = Home::take(&config.data_dir, &config.run_dir, &config.api_socket)?;
    let unusable = |source| AgentError::Directory { path: home.data.clone(), source };
    let stored = Identity::read(&home.data).map_err(unusable)?;
    let name = identity::name(stored.as_ref(), &config.node_name, config.is_chosen("nodeName"))?;
    if *name != *config.node_name {
        tracing::warn!(node = %name, host = %config.node_name, "the host has another name now; the node keeps its own");
    }
    let key = Sealer::load(&home.data).map_err(unusable)?;
    if stored.is_some() && !store::is_there(&home.data) {
        return Err(store::OpenError::missing(&home.data, identity::FILE).into());
    }
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
    let (listeners, api) = bind(&config, &home).await?;
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
    if let Err(error) = store::rekey::opens(&store.client.state(), &sealer) {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "secrets do not open with the seal.key that is there: bring back the one they were sealed with, before anything is written"
        );
    }
    tracing::info!(node = %name, data = %home.data.display(), run = %home.run.display(), "the agent runs");
    let mut fatal = store.fatal.clone();
    let (home, store_client) = (Arc::new(home), store.client.clone());
    let grants = watch::Sender::new(Arc::new(config.grants.clone()));
    let (ports, offer) = (watch::Sender::new(Asked::default()), Arc::<Offer>::default());
    let addresses = Addresses { api, http: config.edge.http, https: config.edge.https, traefik: config.edge.api };
    let parts = Parts {
        config,
        grants,
        offer,
        addresses,
        files,
        home,
        sealer,
        runtime,
        identity,
        store: store_client,
        notify,
        ports,
    };
    let outcome = tokio::select! {
        outcome = parts.run(listeners, engine, (hangup, reload), stop) => outcome,
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
async fn bind(config: &AgentConfig, home: &Home) -> Result<(api::Listeners, SocketAddr), AgentError> {
    let cannot = |at: String| move |source| AgentError::Listen { at, source };
    let tcp = TcpListener::bind(config.api_address).await.map_err(cannot(config.api_address.to_string()))?;
    let address: SocketAddr = tcp.local_addr().map_err(cannot(config.api_address.to_string()))?;
    let unix = bind_socket(&home.socket).await.map_err(cannot(home.socket.display().to_string()))?;
    home.write_address(address)?;
    tracing::info!(api = %format!("http://{address}"), socket = %home.socket.display(), "the API listens");
    Ok((api::Listeners { tcp: vec![tcp], unix: Some(unix) }, address))
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
    /// Who may give a service power over its host; a reload changes it.
    grants: watch::Sender<Arc<Grants>>,
    /// What this node's Traefik is given, and where it is.
    offer: Arc<Offer>,
    addresses: Addresses,
    /// How many may be open.
    files: usize,
    home: Arc<Home>,
    sealer: Arc<Sealer>,
    runtime: Arc<dyn Runtime>,
    identity: Identity,
    store: Client,
    notify: Arc<Notify>,
    /// The public ports that routes ask for.
    ports: watch::Sender<Asked>,
}

impl Parts {
    async fn run(
        self,
        listeners: api::Listeners,
        engine: Option<EngineLock>,
        (hangup, reload): (Signal, Reload),
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
        let notify = self.notify.clone();
        let live = reload::Live { running: self.config.clone(), grants: self.grants.clone() };
        tasks.spawn(reload::listen(hangup, live, reload, notify.clone(), stop.clone()));
        let (ask, questions) = mpsc::channel(1);
        tasks.spawn(self.beat(ask, stop.clone()));
        // The store leads or follows since it is open, and the API answers.
        notify.say("READY=1");
        let parts = Arc::new(self);
        let loops = parts.clone().loops(engine, reporter, metrics, stop.clone());
        tasks.spawn(async move {
            // In the task of the loops: what blocks them blocks it.
            let answering = async {
                notify::answer(questions).await;
                std::future::pending().await
            };
            let ended = tokio::select! {
                ended = loops => ended,
                ended = answering => ended,
            };
            if let Err(error) = ended {
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
        notify.say("STOPPING=1");
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

    /// Tells the service manager that this agent lives, and what it does.
    fn beat(&self, loops: notify::Questions, stop: CancellationToken) -> impl Future<Output = ()> + use<> {
        let (asked, store, node) = (self.store.clone(), self.store.clone(), self.identity.name.clone());
        let alive = async move || notify::lives(&loops, &asked).await;
        notify::beat(self.notify.clone(), alive, move || notify::status(&node, &store), stop)
    }

    fn actor(&self) -> Arc<str> {
        format!("agent@{}", self.identity.name).into()
    }

    fn shared(&self, registry: Registry, http: api::HttpMetrics) -> Arc<api::Shared> {
        let edge = splice::Limits::within(self.files).files() + hold::Limits::within(self.files).files();
        let limits = api::Limits::within(self.files.saturating_sub(edge));
        if limits.connections < api::Limits::FEW {
            tracing::warn!(
                files = self.files,
                connections = limits.connections,
                "this process may have few files open, and the API few connections: raise LimitNOFILE of its service"
            );
        }
        Arc::new(api::Shared {
            store: self.store.clone(),
            runtime: self.runtime.clone(),
            sealer: self.sealer.clone(),
            node: self.identity.name.clone(),
            registry: Arc::new(registry),
            http,
            admin_token: self.home.token.clone(),
            uid: rustix::process::getuid().as_raw(),
            grants: self.grants.subscribe(),
            traefik: self.offer.offered(),
            addresses: self.addresses,
            limits,
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
        let (serving, says) = watch::channel(None);
        let splices = Splices {
            runtime: self.runtime.clone(),
            limits: splice::Limits::within(self.files),
            asked: self.ports.subscribe(),
            serving,
        };
        let watching = node::watch(
            node.clone(),
            self.config.advertise_address,
            self.store.clone(),
            self.runtime.clone(),
            (agent.containers(), agent.adoption(), says),
            reporter,
            stop.clone(),
        );
        let edge = Edge {
            store: self.store.clone(),
            node: node.clone(),
            tables: Arc::new(routes::Routes {
                sealer: self.sealer.clone(),
                addresses: self.addresses,
                left_out: Mutex::default(),
            }),
            offer: self.offer.clone(),
            addresses: self.addresses,
            ports: self.ports.clone(),
            holds: Holds::new(hold::Limits::within(self.files), stop.clone()),
        };
        let listening = self.listen(engine, agent.clone(), &stop);
        let registered = node::stay_registered(&self.store, &node, &stop);
        let (tags, granted) = (agent.watch_tags(&stop), agent.watch_grants(&stop));
        let confirmed = agent.confirmed(&stop);
        let ((), (), (), (), (), (), (), (), (), listened) = tokio::join!(
            passes,
            leading,
            watching,
            registered,
            tags,
            granted,
            confirmed,
            splices.run(stop.clone()),
            edge.run(stop.clone()),
            async {
                let listened = listening.await;
                if listened.is_err() {
                    stop.cancel();
                }
                listened
            }
        );
        agent.closed().await;
        listened
    }

    fn this_node(&self) -> ThisNode {
        ThisNode {
            name: self.identity.name.clone(),
            uid: self.identity.uid.clone(),
            advertise: self.config.advertise_address.map(|a: IpAddr| a.to_string()),
            run_dir: self.home.run.clone(),
            grants: self.grants.subscribe(),
            in_memory: true,
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
