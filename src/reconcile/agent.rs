//! The loop of every node: its own Replicas against its engine.
//!
//! Here: [`Agent`], keyed by Replica name. A pass looks (`look`), asks `plan::agent`, records and
//! carries out, a few steps in a row. What wakes it ([`keys`]): changes of the state, the engine's events
//! and lists ([`listen`]), verdicts of the prober, ends of pulls, and time.
//! Not here: deciding (`plan::agent`), other nodes' replicas, the node itself (`reconcile::node`).
//! Invariants: no step follows from silence; containers of another lineage or without one are never
//! touched; stopping the agent stops no container; adopting makes no call that changes anything.
//! Why a start waits for no log commit: thirty starts would wait for thirty; the one exception is the
//! first mount of data, which must be known before it holds any.

mod act;
pub mod adoption;
mod ahead;
pub mod containers;
mod exits;
pub mod gate;
mod granted;
mod hooks;
pub mod listen;
mod look;
pub mod prepare;
mod processes;
pub mod pulls;
pub mod remembered;
mod say;
mod tags;
mod tail;
#[cfg(test)]
mod tests;
mod want;
mod writers;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{Stream, StreamExt as _};
use tokio::{sync::Semaphore, time::Instant};
use tokio_util::sync::CancellationToken;

use self::{
    adoption::Adoption,
    containers::{Containers, Engine},
    prepare::{Preparer, ThisNode},
    pulls::Pulls,
    writers::Writers,
};
use super::{
    files,
    prober::Prober,
    reporter::Reporter,
    triggers::{self, Scope},
    wakes::Wakes,
};
use crate::{
    controller::{Action, Reconciler},
    model::{
        Kind, ObjectKey, Reason, Replica, ReplicaPhase, ReplicaStatus, Resolution, ResolvedImage, Revision,
        ServiceSpec,
        service::{ContainerSpec, Hooks},
    },
    plan::agent::{Attempts, Step, plan, report::Doing},
    runtime::{Runtime, RuntimeError},
    store::{Client, State, seal::Sealer, state::Changed},
};

/// Steps of one pass at most: more is a circle, and others wait.
const STEPS: usize = 8;
/// Between two looks at whether the engine was asked at last; its first answer wakes everything anyway.
const NOT_ASKED: Duration = Duration::from_secs(1);
/// Passes at once that do not stop anything: they wait far more than they work.
const TURNS: usize = 64;
/// Stops at once: each lasts as long as its container's grace, and costs next to nothing.
const STOPS: usize = 448;
/// Passes at once: neither kind takes the other's place.
pub const PASSES: usize = TURNS + STOPS;
/// Until a stop is tried again for which there was no room.
const CROWDED: Duration = Duration::from_secs(1);
/// Creates and starts that the engine is given at once.
const STARTS: usize = 32;

/// Why a pass did not work; it is repeated with backoff.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The engine failed to carry out a step.
    #[error("{step}")]
    Engine {
        /// Which.
        step: &'static str,
        /// What it said.
        #[source]
        source: RuntimeError,
    },
    /// It did not settle within a pass.
    #[error("{STEPS} steps in one pass and still not settled")]
    Restless,
}

/// What is remembered of a replica.
#[derive(Debug, Default)]
struct Memory {
    attempts: Attempts,
    /// What was reported last.
    reported: Option<ReplicaStatus>,
    /// This agent is ending this container.
    ending: Option<Arc<str>>,
    /// What precedes the stop of this container has run.
    pre_stopped: Option<Arc<str>>,
    /// What the health check said of a container that is being restarted for it.
    unwell: String,
    /// This agent removed the last container.
    removed: bool,
    /// When the attempt to make a container began.
    since: Option<Instant>,
    /// When its health was asked last.
    inspected: Option<Instant>,
    /// Process of its container and when it began, as seen while the engine answered.
    process: Option<(i64, u64)>,
    /// What somebody changed, as it was told last.
    changed: Vec<String>,
    /// Image that the service's reference names by now, when it is another one.
    newer_image: Option<String>,
    /// Image that its service goes on to.
    ahead: Option<ahead::Ahead>,
}

/// Drives this node's replicas.
pub struct Agent {
    node: ThisNode,
    store: Client,
    runtime: Arc<dyn Runtime>,
    sealer: Arc<Sealer>,
    containers: Arc<Containers>,
    wakes: Wakes,
    prober: Prober,
    hooks: hooks::Hooks,
    preparer: Preparer,
    reporter: Reporter,
    turns: Semaphore,
    stops: Semaphore,
    starts: Semaphore,
    writers: Writers,
    memory: Mutex<BTreeMap<Arc<str>, Memory>>,
    /// Replicas that wait for objects.
    gates: Mutex<BTreeMap<Arc<str>, Vec<ObjectKey>>>,
    adoption: Arc<Adoption>,
    /// Cluster time, milliseconds.
    now: Box<dyn Fn() -> u64 + Send + Sync>,
    /// When a process of this machine began, if it runs.
    processes: Box<dyn Fn(i64) -> Option<u64> + Send + Sync>,
}

/// A replica that shall run, with all that a pass needs to know of it.
struct Subject {
    replica: Arc<Replica>,
    revision: Option<Arc<Revision>>,
    spec: Option<ContainerSpec>,
    hooks: Hooks,
    /// How long it has to run before it counts as ready, when nobody asks it.
    healthy: Duration,
}

impl Agent {
    /// Makes one. `stop` ends what runs beside the passes: probes and pulls.
    #[must_use]
    pub fn new(
        node: ThisNode,
        store: Client,
        runtime: Arc<dyn Runtime>,
        sealer: Arc<Sealer>,
        reporter: Reporter,
        stop: &CancellationToken,
    ) -> Self {
        let wakes = Wakes::default();
        let pulls = Pulls::new(runtime.clone(), wakes.clone(), stop.child_token());
        let clock = store.clone();
        Self {
            preparer: Preparer::new(runtime.clone(), store.clone(), sealer.clone(), node.clone(), pulls),
            prober: Prober::new(runtime.clone(), wakes.clone(), stop.child_token()),
            hooks: hooks::Hooks::new(runtime.clone(), wakes.clone(), stop.child_token()),
            containers: Arc::default(),
            turns: Semaphore::new(TURNS),
            stops: Semaphore::new(STOPS),
            starts: Semaphore::new(STARTS),
            writers: Writers::default(),
            memory: Mutex::default(),
            gates: Mutex::default(),
            adoption: Arc::default(),
            now: Box::new(move || clock.now()),
            processes: Box::new(processes::began),
            node,
            store,
            runtime,
            sealer,
            wakes,
            reporter,
        }
    }

    /// With another clock, for tests and simulation.
    #[must_use]
    pub fn with_clock(self, now: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { now: Box::new(now), ..self }
    }

    /// With other processes, likewise.
    #[must_use]
    pub fn with_processes(self, began: impl Fn(i64) -> Option<u64> + Send + Sync + 'static) -> Self {
        Self { processes: Box::new(began), ..self }
    }

    /// What this node's engine has.
    #[must_use]
    pub fn containers(&self) -> Arc<Containers> {
        self.containers.clone()
    }
    /// What a restored backup would change here. Gathered only while it is not confirmed.
    #[must_use]
    pub fn adoption(&self) -> Arc<Adoption> {
        self.adoption.clone()
    }
    /// Where replicas are named that want a look.
    #[must_use]
    pub fn wakes(&self) -> Wakes {
        self.wakes.clone()
    }
    /// Waits for the confirmation of a restored backup, if there is one, and looks at everything again then.
    pub async fn confirmed(&self, stop: &CancellationToken) {
        let mut states = self.store.watch();
        if states.borrow_and_update().unconfirmed().is_none() {
            return;
        }
        tracing::warn!(
            "this cluster was restored or has lost something: nothing is started or stopped until `constellation backup confirm`"
        );
        let confirmed = states.wait_for(|state| state.unconfirmed().is_none());
        // The store is closed, or the agent ends.
        let Some(Ok(state)) = stop.run_until_cancelled(confirmed).await.map(|s| s.map(|s| s.clone())) else { return };
        self.adoption.clear();
        for replica in self.touched(&state, Scope::All) {
            self.wakes.wake(&replica);
        }
    }
    /// Waits until probes, hooks and pulls have ended; the caller has cancelled them.
    pub async fn closed(&self) {
        self.prober.closed().await;
        self.hooks.closed().await;
        self.preparer.closed().await;
    }
    /// Names of this node's replicas in the log.
    #[must_use]
    pub fn replicas(&self) -> Vec<Arc<str>> {
        let state = self.store.state();
        state.replicas().filter(|r| r.node == self.node.name).map(|r| r.name.clone()).collect()
    }
    /// Removes clear files of replicas that the log does not know any more, if they are this cluster's: what
    /// containers of another one have mounted is not ours. Once, at the start.
    pub fn sweep_files(&self) {
        let state = self.store.state();
        // What was made since the backup runs on, with its files.
        if state.unconfirmed().is_some() {
            return;
        }
        let Some(lineage) = state.cluster().map(|c| c.lineage.to_string()) else { return };
        let Ok(found) = std::fs::read_dir(self.node.run_dir.join("files")) else { return };
        for name in found.flatten().filter_map(|e| e.file_name().into_string().ok()) {
            let ours = || files::owner(&self.node.run_dir, &name).as_ref() == Some(&lineage);
            if state.replica(&name).is_none() && ours() {
                self.drop_files(&name);
            }
        }
    }

    async fn pass(&self, key: &Arc<str>) -> Result<Action, PassError> {
        // A node that has just begun knows no better than what it said before it ended: to say now that
        // nothing answers would take every service off its routes.
        if self.containers.engine() == Engine::NotAsked {
            return Ok(Action::RequeueAfter(NOT_ASKED));
        }
        for _ in 0..STEPS {
            // A closed semaphore cannot be: nobody closes it.
            let mut turn = self.turns.acquire().await.ok();
            let state = self.store.state();
            let subject = self.subject(&state, key);
            let look = self.look(key, subject.as_ref()).await;
            let want = self.want(&state, key, subject.as_ref(), &look);
            let (attempts, now) = (self.with(key, |m| m.attempts.clone()), (self.now)());
            let step = plan(&want, &look.seen, &attempts, state.index(), now);
            let step = if state.unconfirmed().is_some() { self.hold_back(key, &want, &look, step) } else { step };
            tracing::debug!(replica = %key, ?step, "next step");
            if matches!(step, Step::Wait { until: None, .. }) {
                self.with(key, |m| m.attempts.waits());
            }
            // A start is said when everything for it is there.
            if !matches!(step, Step::Create | Step::Start { .. }) {
                self.record(subject.as_ref(), &want, &step, &Doing::Step, &look);
            }
            if let Some(source) = look.failed {
                return Err(PassError::Engine { step: "looking at a container", source });
            }
            let mut stopping = None;
            if matches!(step, Step::Restart { .. } | Step::Retire { .. }) {
                // Long stops must not keep others from being repaired, nor fill every place by waiting for one.
                let Ok(place) = self.stops.try_acquire() else { return Ok(Action::RequeueAfter(CROWDED)) };
                stopping = Some(place);
                turn = None;
            }
            let done = self.execute(&state, key, subject.as_ref(), &want, step, &look).await?;
            drop((turn, stopping));
            if let Some(action) = done {
                return Ok(action);
            }
        }
        Err(PassError::Restless)
    }

    fn subject(&self, state: &State, key: &str) -> Option<Subject> {
        let replica = state.replica(key).filter(|r| r.node == self.node.name)?.clone();
        let revision = state.revision(&replica.service_uid, replica.revision).cloned();
        let spec = revision.as_ref().and_then(|r| serde_json::from_slice::<ServiceSpec>(&r.spec).ok());
        // Its container is as its revision says. What is declared of updates holds at once, and of hooks for the newest.
        let declared = state.object_by_uid(&replica.service_uid).and_then(|o| o.parse::<ServiceSpec>().ok());
        let newest = state.newest_revision(&replica.service_uid).is_some_and(|r| r.number == replica.revision);
        let rules = declared.as_ref().or(spec.as_ref());
        let healthy = rules.map(|s| s.update.min_healthy_time.0).unwrap_or_default();
        let hooks = if newest { rules } else { spec.as_ref() }.filter(|_| !replica.runs_once());
        let hooks = hooks.map(|s| s.hooks.clone()).unwrap_or_default();
        let spec = spec.map(|s| replica.altered(&s).unwrap_or(s).container);
        Some(Subject { replica, revision, spec, hooks, healthy })
    }

    fn wake_gated(&self) {
        for waiting in self.lock_gates().keys() {
            self.wakes.wake(waiting);
        }
    }

    /// All traces of a replica that is gone.
    fn forget(&self, key: &str) {
        self.unwatch(key);
        self.writers.forget(key);
        self.drop_files(key);
        self.lock_gates().remove(key);
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// Asks and runs nothing more in its container.
    fn unwatch(&self, key: &str) {
        self.prober.forget(key);
        self.hooks.forget(key);
    }

    fn drop_files(&self, key: &str) {
        if let Err(error) = files::remove(&self.node.run_dir, key) {
            tracing::warn!(replica = %key, %error, "its files stay in the run directory");
        }
    }

    fn at(&self, time: Option<u64>) -> Action {
        time.map_or(Action::Done, |at| {
            Action::RequeueAfter(Duration::from_millis(at.saturating_sub((self.now)()).saturating_add(1)))
        })
    }

    fn with<T>(&self, key: &Arc<str>, change: impl FnOnce(&mut Memory) -> T) -> T {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if !memory.contains_key(key) {
            // The first look since this agent began: what the log remembers of it.
            let reported = self.store.state().replica_status(key).cloned();
            let attempts = reported.as_ref().map(Attempts::resume).unwrap_or_default();
            // It ended while this container was being restarted for bad health.
            let restarting =
                |r: &&ReplicaStatus| (r.phase, r.reason) == (ReplicaPhase::Starting, Some(Reason::Unhealthy));
            let ending = reported.as_ref().filter(restarting).and_then(|r| r.container.as_deref()).map(Arc::from);
            memory.insert(key.clone(), Memory { attempts, reported, ending, ..Memory::default() });
        }
        // Just inserted when it was not there.
        change(memory.entry(key.clone()).or_default())
    }
    fn lock_gates(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Vec<ObjectKey>>> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reconciler for Agent {
    type Key = Arc<str>;
    type Error = PassError;
    async fn reconcile(&self, key: Arc<str>) -> Result<Action, PassError> {
        self.pass(&key).await
    }
}

impl Subject {
    fn image(&self) -> Option<ResolvedImage> {
        // What a hook names itself is looked up here.
        if let Some(reference) = self.replica.hook.as_ref().and_then(|run| run.hook.image.clone()) {
            return Some(ResolvedImage::Digest { reference });
        }
        match &self.revision.as_ref()?.image {
            Resolution::Resolved { image } => Some(image.clone()),
            Resolution::Pending | Resolution::Failed { .. } => None,
        }
    }
}

/// Everything that names a replica: the state, and whoever woke it.
pub fn keys(agent: &Arc<Agent>) -> impl Stream<Item = Arc<str>> + Send + 'static {
    let mapped = agent.clone();
    let woken = agent.wakes.stream();
    let changed = triggers::keys(&agent.store, move |state, scope| mapped.touched(state, scope));
    futures::stream::select(changed.boxed(), woken.boxed())
}

impl Agent {
    fn touched(&self, state: &State, scope: Scope<'_>) -> Vec<Arc<str>> {
        let change = match scope {
            Scope::All => {
                let mut all = self.containers.replicas();
                all.extend(state.replicas().filter(|r| r.node == self.node.name).map(|r| r.name.clone()));
                return all;
            }
            Scope::One(change) => change,
        };
        match &change.what {
            Changed::Replica(r) | Changed::ReplicaForgotten(r) if r.node == self.node.name => vec![r.name.clone()],
            Changed::Replica(_) | Changed::ReplicaForgotten(_) => Vec::new(),
            Changed::Put { .. } | Changed::Deleted(_) => {
                let mut names = self.waiting_for(&change.key);
                names.extend(self.started_with(&change.key));
                names
            }
            Changed::Edge => Vec::new(),
            Changed::Status => match state.replica(&change.key.name) {
                Some(r) if change.key.kind == Kind::Replica => self.waiting_for(&ObjectKey::service(r.service.clone())),
                _ => {
                    let mut names = self.waiting_for(&change.key);
                    names.extend(self.going_on(state, change));
                    names
                }
            },
        }
    }
    /// Replicas that have content of a Config or Secret: it may be replaced while they run.
    fn started_with(&self, key: &ObjectKey) -> Vec<Arc<str>> {
        let object = match key.kind {
            Kind::Config | Kind::Secret => format!("{}/{}", key.kind.plural(), key.name),
            Kind::Service | Kind::Node | Kind::Route | Kind::Middleware | Kind::Replica => return Vec::new(),
        };
        let names = |reference: &String| {
            reference.strip_prefix(&object).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '=']))
        };
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.iter().filter(|(_, m)| m.attempts.contents.keys().any(names)).map(|(name, _)| name.clone()).collect()
    }
    fn waiting_for(&self, key: &ObjectKey) -> Vec<Arc<str>> {
        self.lock_gates().iter().filter(|(_, keys)| keys.contains(key)).map(|(name, _)| name.clone()).collect()
    }
}
