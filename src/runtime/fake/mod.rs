//! An engine in memory, for tests: it obeys at once, counts calls, and has a hand of its own that stops,
//! kills and removes as people do.
//!
//! Here: [`Fake`], its answers to the trait. Below: `containers` (their lives), `images` (what is here,
//! what registries have, what a build makes), `program` (what a command does), `hand` (what a test does
//! behind the agent's back), `tape` (logs, also those that a test writes piece by piece).
//! Not here: processes. What a command does is taught by [`Fake::teach`]; an untaught one runs until it
//! is asked to end.
//! Invariant: it keeps `runtime::conformance`, with Docker. Its wall clock moves a second with each
//! event; health checks, graces and restarts follow tokio's clock, which tests may pause.

mod containers;
mod hand;
mod images;
mod program;
mod tape;
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes as Chunk;
use futures::{
    FutureExt as _, StreamExt as _, TryStreamExt as _,
    future::{BoxFuture, ready},
    stream::{self, BoxStream},
};
use tokio::sync::watch;

pub use self::program::{Ends, Program, err, out};
use self::{
    containers::{Entry, Stopping},
    images::Images,
    tape::Tapes,
};
use super::{
    Attachment, BuildProgress, BuildRequest, Container, ContainerPlan, ContainerState, Credentials, EngineInfo,
    EngineRestart, ExecResult, Image, LogChunk, LogQuery, NamedVolume, PullProgress, Runtime, RuntimeError,
    RuntimeEvent, Summary, limits, names::identifier, plan::UNASKED,
};
use crate::model::{Bytes, Millicores};

/// Output of a command that is kept.
const EXEC_OUTPUT_MAX: usize = 4 * 1024;
/// Between an end and the engine's own restart.
const RESTART_PAUSE: Duration = Duration::from_millis(100);

/// The engine. Cheap to clone.
#[derive(Clone)]
pub struct Fake(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Moves with every change: streams wait for it.
    changed: watch::Sender<()>,
}

struct State {
    containers: BTreeMap<Arc<str>, Entry>,
    networks: BTreeMap<String, BTreeMap<String, String>>,
    volumes: BTreeMap<String, BTreeMap<String, String>>,
    /// Of volumes that are folders of the host.
    folders: BTreeMap<String, String>,
    images: Images,
    programs: BTreeMap<Vec<String>, Program>,
    /// Of the commands that nobody taught.
    otherwise: Program,
    events: Vec<RuntimeEvent>,
    calls: Vec<String>,
    made: u64,
    clock: i64,
    /// Second of its clock in which it began.
    began: i64,
    down: bool,
    /// It takes calls and says nothing.
    frozen: bool,
    /// Too much to do for what it has to gather.
    busy: bool,
    execs: hand::Execs,
    /// It takes no new connections.
    closed: bool,
    lose_volumes: bool,
    refuse_start: Option<RuntimeError>,
    /// What is answered about a container, by its name.
    refuse_inspect: BTreeMap<String, RuntimeError>,
    /// Commands that outlived their deadline: container, its start, command.
    hung: BTreeSet<(Arc<str>, String, Vec<String>)>,
    tapes: Tapes,
}

impl Default for Fake {
    fn default() -> Self {
        let state = State {
            containers: BTreeMap::new(),
            networks: BTreeMap::new(),
            volumes: BTreeMap::new(),
            folders: BTreeMap::new(),
            images: Images::default(),
            programs: BTreeMap::new(),
            otherwise: Program { says: Vec::new(), ends: Ends::At(vec![("SIGTERM", 0)]) },
            events: Vec::new(),
            calls: Vec::new(),
            made: 0,
            clock: 0,
            began: 0,
            down: false,
            frozen: false,
            busy: false,
            execs: hand::Execs::default(),
            closed: false,
            lose_volumes: false,
            refuse_start: None,
            refuse_inspect: BTreeMap::new(),
            hung: BTreeSet::new(),
            tapes: Tapes::default(),
        };
        Self(Arc::new(Shared { state: Mutex::new(state), changed: watch::Sender::new(()) }))
    }
}

impl Fake {
    fn look(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let answer = change(&mut self.look());
        self.0.changed.send_replace(());
        answer
    }
    /// Every call goes through here; `what` is written down when it changes something.
    fn answer<T>(
        &self,
        what: Option<String>,
        give: impl FnOnce(&mut State) -> Result<T, RuntimeError>,
    ) -> Result<T, RuntimeError> {
        self.change(|state| {
            state.up()?;
            state.calls.extend(what);
            give(state)
        })
    }
    /// Starts a container, and what an engine does for one that runs.
    fn begin(&self, id: &str) -> Result<(), RuntimeError> {
        let run = self.change(|state| state.begin(id))?;
        self.attend(id, run);
        Ok(())
    }
    /// Looks after a run: checks its health, starts it again when its policy says so.
    fn attend(&self, id: &str, run: u64) {
        let (state, id) = (self.look(), id.to_owned());
        let check = state.health_check(&id);
        drop(state);
        if let Some(check) = check {
            let (weak, id) = (Arc::downgrade(&self.0), id.clone());
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(check.interval).await;
                    let Some(fake) = Self::still(&weak) else { return };
                    if !fake.change(|state| state.checked(&id, run, &check)) {
                        return;
                    }
                }
            });
        }
        self.restart_if_due(&id);
    }
    fn restart_if_due(&self, id: &str) {
        let Some(run) = self.look().restarting(id) else { return };
        let (weak, id) = (Arc::downgrade(&self.0), id.to_owned());
        tokio::spawn(async move {
            tokio::time::sleep(RESTART_PAUSE).await;
            if let Some(fake) = Self::still(&weak)
                && fake.look().restarting(&id) == Some(run)
            {
                // Refused: the engine gives it up, as its state says.
                let _ = fake.begin(&id);
            }
        });
    }
    /// The engine, unless its test has ended.
    fn still(weak: &Weak<Shared>) -> Option<Self> {
        weak.upgrade().map(Self)
    }
}

fn refused() -> RuntimeError {
    RuntimeError::Down { address: "fake".into(), message: "connection refused".into() }
}

impl State {
    fn up(&self) -> Result<(), RuntimeError> {
        match self.down {
            true => Err(refused()),
            false => Ok(()),
        }
    }
    /// What a command does.
    fn program(&self, command: &[String]) -> Program {
        self.programs.get(command).unwrap_or(&self.otherwise).clone()
    }
}

impl Runtime for Fake {
    fn info(&self) -> BoxFuture<'_, Result<EngineInfo, RuntimeError>> {
        let info = EngineInfo {
            id: "FAKE".into(),
            version: "1.0".into(),
            api_version: "1.44".into(),
            os: "linux".into(),
            arch: images::arch().into(),
            rootless: false,
        };
        let answer = self.answer(None, |state| if state.busy { Err(limits::INFO.missed()) } else { Ok(info) });
        ready(answer).boxed()
    }
    fn began(&self) -> BoxFuture<'_, Result<Option<i64>, RuntimeError>> {
        let began = self
            .answer(None, |state| if state.closed { Err(refused()) } else { Ok(Some(containers::nanos(state.began))) });
        ready(began).boxed()
    }
    fn capacity(&self) -> BoxFuture<'_, Result<(Millicores, Bytes), RuntimeError>> {
        ready(self.answer(None, |_| Ok((Millicores(2_000), Bytes(1 << 30))))).boxed()
    }
    fn list(&self, key: String, value: String) -> BoxFuture<'_, Result<Vec<Summary>, RuntimeError>> {
        let summary = |c: &Container| Summary {
            id: c.id.clone(),
            name: c.name.clone(),
            labels: c.labels.clone(),
            state: c.state,
            networks: c.networks.clone(),
        };
        let found = self.answer(None, |state| {
            let all = state.containers.values().map(|e| &e.container);
            Ok(all.filter(|c| c.labels.get(&key) == Some(&value)).map(summary).collect())
        });
        ready(found).boxed()
    }
    fn publishing(&self, port: u16) -> BoxFuture<'_, Result<Vec<String>, RuntimeError>> {
        ready(self.answer(None, |state| Ok(state.publishing(port)))).boxed()
    }
    fn inspect(&self, id: String) -> BoxFuture<'_, Result<Option<Container>, RuntimeError>> {
        if self.look().frozen {
            return std::future::pending().boxed();
        }
        let found = self.answer(None, |state| {
            identifier(&id, "container")?;
            let found = state.find(&id).map(|e| e.container.clone());
            match found.as_ref().and_then(|c| state.refuse_inspect.get(&c.name)) {
                Some(error) => Err(error.clone()),
                None => Ok(found),
            }
        });
        ready(found).boxed()
    }
    fn create(&self, plan: ContainerPlan) -> BoxFuture<'_, Result<Arc<str>, RuntimeError>> {
        ready(self.answer(Some(format!("create {}", plan.name)), |state| state.create(plan))).boxed()
    }
    fn start(&self, id: String) -> BoxFuture<'_, Result<(), RuntimeError>> {
        let begun = self.answer(Some(format!("start {}", self.name(&id))), |state| {
            identifier(&id, "container")?;
            match state.refuse_start.clone() {
                Some(refused) => Err(refused),
                None if state.is_running(&id) => Ok(None),
                None => state.begin(&id).map(Some),
            }
        });
        if let Ok(Some(run)) = begun {
            self.attend(&id, run);
        }
        ready(begun.map(drop)).boxed()
    }
    fn stop(&self, id: String, grace: Option<Duration>) -> BoxFuture<'_, Result<(), RuntimeError>> {
        let asked = self.answer(Some(format!("stop {}", self.name(&id))), |state| {
            identifier(&id, "container")?;
            Ok(state.ask_to_stop(&id))
        });
        let own = self.look().find(&id).map_or(0, |e| e.plan.stop_timeout);
        let grace = grace.unwrap_or(Duration::from_secs(own));
        let fake = self.clone();
        async move {
            if let Stopping::Listening(run) = asked? {
                tokio::time::sleep(grace).await;
                fake.change(|state| state.kill_after_grace(&id, run));
            }
            Ok(())
        }
        .boxed()
    }
    fn remove(&self, id: String) -> BoxFuture<'_, Result<(), RuntimeError>> {
        let removed = self.answer(Some(format!("remove {}", self.name(&id))), |state| {
            identifier(&id, "container")?;
            state.remove(&id);
            Ok(())
        });
        ready(removed).boxed()
    }
    fn signal(&self, id: String, signal: String) -> BoxFuture<'_, Result<(), RuntimeError>> {
        let sent = self.answer(Some(format!("signal {} {signal}", self.name(&id))), |state| {
            identifier(&id, "container")?;
            if state.is_running(&id) {
                state.say_signal(&id, &signal);
            }
            Ok(())
        });
        ready(sent).boxed()
    }
    fn set_restart(&self, id: String, restart: EngineRestart) -> BoxFuture<'_, Result<(), RuntimeError>> {
        let set = self.answer(Some(format!("set_restart {} {restart:?}", self.name(&id))), |state| {
            identifier(&id, "container")?;
            state.set_restart(&id, restart)
        });
        ready(set).boxed()
    }
    fn connect(&self, id: String, networks: Vec<Attachment>) -> BoxFuture<'_, Result<(), RuntimeError>> {
        let connected = self.answer(Some(format!("connect {}", self.name(&id))), |state| {
            identifier(&id, "container")?;
            networks.iter().try_for_each(|a| state.connect(&id, &a.network))
        });
        ready(connected).boxed()
    }
    fn ensure_network(
        &self,
        name: String,
        labels: BTreeMap<String, String>,
    ) -> BoxFuture<'_, Result<(), RuntimeError>> {
        let made = self.answer(None, |state| {
            identifier(&name, "network")?;
            state.networks.entry(name).or_insert(labels);
            Ok(())
        });
        ready(made).boxed()
    }
    fn volume(&self, name: String) -> BoxFuture<'_, Result<Option<NamedVolume>, RuntimeError>> {
        let found = self.answer(None, |state| {
            identifier(&name, "volume")?;
            Ok(state.volumes.get(&name).map(|labels| NamedVolume {
                path: state.folders.get(&name).cloned().unwrap_or_else(|| containers::mountpoint(&name)),
                unasked: labels.contains_key(UNASKED),
                mounted_late: false,
                folder: state.folders.get(&name).cloned(),
            }))
        });
        ready(found).boxed()
    }
    fn ensure_volume(
        &self,
        name: String,
        labels: BTreeMap<String, String>,
    ) -> BoxFuture<'_, Result<String, RuntimeError>> {
        let made = self.answer(Some(format!("volume {name}")), |state| {
            identifier(&name, "volume")?;
            let mountpoint = containers::mountpoint(&name);
            state.volumes.entry(name).or_insert(labels);
            Ok(mountpoint)
        });
        ready(made).boxed()
    }
    fn image(&self, reference: String) -> BoxFuture<'_, Result<Option<Image>, RuntimeError>> {
        ready(self.answer(None, |state| state.images.find(&reference).map(|i| i.cloned()))).boxed()
    }
    fn resolve(
        &self,
        reference: String,
        credentials: Option<Credentials>,
    ) -> BoxFuture<'_, Result<String, RuntimeError>> {
        ready(self.answer(None, |state| state.images.resolve(&reference, credentials.as_ref()))).boxed()
    }
    fn pull(
        &self,
        reference: String,
        _: Option<String>,
        credentials: Option<Credentials>,
    ) -> BoxStream<'_, Result<PullProgress, RuntimeError>> {
        let pulled = async move {
            self.answer(Some(format!("pull {reference}")), |state| state.images.pull(&reference, credentials.as_ref()))
        };
        pulled.into_stream().boxed()
    }
    fn events(
        &self,
        key: String,
        value: String,
        since: Option<i64>,
    ) -> BoxStream<'static, Result<RuntimeEvent, RuntimeError>> {
        let from = self.look().events.iter().position(|e| since.is_some_and(|since| e.at >= since));
        let from = from.unwrap_or(self.look().events.len());
        let (fake, changed) = (self.clone(), self.0.changed.subscribe());
        stream::try_unfold((fake, changed, from), |(fake, mut changed, next)| async move {
            loop {
                changed.borrow_and_update();
                let (up, event) = {
                    let state = fake.look();
                    (state.up(), state.events.get(next).cloned())
                };
                up?;
                match event {
                    Some(event) => return Ok(Some((event, (fake, changed, next + 1)))),
                    // The sender lives in the fake that is held here.
                    None if changed.changed().await.is_err() => return Ok(None),
                    None => {}
                }
            }
        })
        .try_filter(move |e| ready(e.labels.get(&key) == Some(&value)))
        .boxed()
    }
    fn logs(&self, id: String, query: LogQuery) -> BoxStream<'static, Result<LogChunk, RuntimeError>> {
        self.read_log(id, query)
    }
    fn exec(
        &self,
        id: String,
        command: Vec<String>,
        limit: Duration,
    ) -> BoxFuture<'_, Result<ExecResult, RuntimeError>> {
        if self.change(|state| state.execs.ask()) {
            return async { Err(tokio::time::sleep(limits::EXEC.limit).map(|()| limits::EXEC.missed()).await) }.boxed();
        }
        let program = self.answer(None, |state| {
            identifier(&id, "container")?;
            let entry = state.find(&id).ok_or_else(|| containers::missing(&id))?;
            if entry.container.state != ContainerState::Running {
                return Err(RuntimeError::Conflict { message: format!("Container {id} is not running") });
            }
            let this = (entry.container.id.clone(), entry.container.started_at.clone(), command.clone());
            if state.hung.contains(&this) {
                return Err(limits::still_runs(&command));
            }
            let program = state.programs.get(&command).cloned();
            if matches!(program, Some(Program { ends: Ends::At(_), .. })) {
                state.hung.insert(this);
            }
            Ok(program)
        });
        async move {
            let Some(program) = program? else { return Ok(ExecResult { code: 0, output: String::new() }) };
            let code = match program.ends {
                Ends::ByItself(code) => code,
                Ends::Missing => {
                    let output = format!("exec: {:?}: no such file or directory", command.first());
                    return Ok(ExecResult { code: 127, output });
                }
                Ends::At(_) => {
                    tokio::time::sleep(limit).await;
                    return Err(limits::hung(&command, limit));
                }
            };
            let mut output: String = program.says.into_iter().map(|(_, text)| text).collect();
            while output.len() > EXEC_OUTPUT_MAX {
                output.remove(0);
            }
            Ok(ExecResult { code, output })
        }
        .boxed()
    }
    fn build(
        &self,
        request: BuildRequest,
        context: BoxStream<'static, std::io::Result<Chunk>>,
    ) -> BoxStream<'static, Result<BuildProgress, RuntimeError>> {
        let fake = self.clone();
        let build = async move {
            let context = context.try_fold(Vec::new(), |mut all, piece| {
                all.extend_from_slice(&piece);
                ready(Ok(all))
            });
            let context = match context.await {
                Ok(context) => context,
                Err(error) => {
                    let message = format!("reading the build context: {error}");
                    return vec![Err(RuntimeError::Refused { message })];
                }
            };
            let mut said = Vec::new();
            let end = fake.answer(Some(format!("build {} {:?}", request.tag, request.args)), |state| {
                state.images.build(&request, &context, &mut said)
            });
            let said = said.into_iter().map(|line| Ok(BuildProgress::Output(line)));
            said.chain([end.map(BuildProgress::Done)]).collect()
        };
        build.into_stream().flat_map(stream::iter).boxed()
    }
}
