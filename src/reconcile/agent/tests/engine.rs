//! An engine for these tests: it obeys at once, counts calls, and has a hand of its own that stops,
//! kills and removes as people do.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes as Chunk;
use futures::{
    FutureExt as _, StreamExt as _,
    future::{BoxFuture, ready},
    stream::{self, BoxStream},
};
use tokio::sync::broadcast;

use crate::{
    model::{Bytes, Millicores},
    runtime::{
        BuildProgress, BuildRequest, Container, ContainerPlan, ContainerState, Credentials, EngineInfo, EngineRestart,
        ExecResult, Image, LogChunk, LogQuery, PullProgress, Runtime, RuntimeError, RuntimeEvent, Summary,
    },
};

#[derive(Default)]
struct Inner {
    containers: BTreeMap<String, (Container, ContainerPlan)>,
    volumes: BTreeSet<String>,
    images: BTreeSet<String>,
    calls: Vec<String>,
    made: u64,
    clock: i64,
    down: bool,
    refuse_start: Option<RuntimeError>,
    registry: BTreeMap<String, Result<(), RuntimeError>>,
}

/// The engine.
pub struct Engine {
    inner: Mutex<Inner>,
    events: broadcast::Sender<RuntimeEvent>,
}

type Answer<T> = BoxFuture<'static, Result<T, RuntimeError>>;

fn stamp(clock: i64) -> String {
    jiff::Timestamp::from_second(1_700_000_000 + clock).unwrap().to_string()
}

impl Engine {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { inner: Mutex::default(), events: broadcast::channel(64).0 })
    }
    /// Changing calls so far, like `create web-1-x`, and none after this.
    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.inner.lock().unwrap().calls)
    }
    pub fn with_image(&self, reference: &str) {
        self.inner.lock().unwrap().images.insert(reference.into());
    }
    pub fn forget_image(&self, reference: &str) {
        self.inner.lock().unwrap().images.remove(reference);
    }
    pub fn in_registry(&self, reference: &str, answer: Result<(), RuntimeError>) {
        self.inner.lock().unwrap().registry.insert(reference.into(), answer);
    }
    pub fn down(&self, down: bool) {
        self.inner.lock().unwrap().down = down;
    }
    pub fn refuse_start(&self, error: Option<RuntimeError>) {
        self.inner.lock().unwrap().refuse_start = error;
    }
    pub fn lose_volume(&self, name: &str) {
        self.inner.lock().unwrap().volumes.remove(name);
    }
    pub fn volumes(&self) -> Vec<String> {
        self.inner.lock().unwrap().volumes.iter().cloned().collect()
    }
    pub fn container(&self, name: &str) -> Option<Container> {
        let inner = self.inner.lock().unwrap();
        inner.containers.values().map(|(c, _)| c).find(|c| c.name == name).cloned()
    }
    pub fn plan(&self, name: &str) -> ContainerPlan {
        let inner = self.inner.lock().unwrap();
        inner.containers.values().find(|(c, _)| c.name == name).unwrap().1.clone()
    }
    /// Puts a container there that nobody asked this engine for.
    pub fn foreign(&self, name: &str, labels: BTreeMap<String, String>) {
        let plan = ContainerPlan { name: name.into(), labels, ..ContainerPlan::default() };
        let id = self.make(plan).unwrap();
        self.begin(&id).unwrap();
        self.calls();
    }
    /// It ends by itself.
    pub fn crash(&self, name: &str, code: i64) {
        self.end(name, code, &["die"]);
    }
    /// `docker stop`.
    pub fn hand_stop(&self, name: &str) {
        self.end(name, 143, &["kill", "die", "stop"]);
    }
    /// `docker rm -f`.
    pub fn hand_remove(&self, name: &str) {
        self.end(name, 137, &["kill", "die"]);
        let id = self.container(name).unwrap().id;
        let gone = self.inner.lock().unwrap().containers.remove(&*id).unwrap().0;
        self.say(&gone, "destroy");
    }
    pub fn set_health(&self, name: &str, health: &str) {
        self.change(name, |c| c.health = Some(health.into()));
        self.say(&self.container(name).unwrap(), "health_status");
    }
    pub fn hand_rename(&self, name: &str, new: &str) {
        self.change(name, |c| c.name = new.into());
        self.say(&self.container(new).unwrap(), "rename");
    }
    pub fn hand_pause(&self, name: &str) {
        self.change(name, |c| c.state = ContainerState::Paused);
        self.say(&self.container(name).unwrap(), "pause");
    }

    fn end(&self, name: &str, code: i64, events: &[&str]) {
        let finished = self.tick();
        self.change(name, |c| {
            (c.state, c.exit_code, c.finished_at) = (ContainerState::Exited, code, stamp(finished));
        });
        for event in events {
            self.say(&self.container(name).unwrap(), event);
        }
    }
    fn tick(&self) -> i64 {
        let mut inner = self.inner.lock().unwrap();
        inner.clock += 1;
        inner.clock
    }
    fn change(&self, name: &str, change: impl FnOnce(&mut Container)) {
        let mut inner = self.inner.lock().unwrap();
        change(&mut inner.containers.values_mut().find(|(c, _)| c.name == name).unwrap().0);
    }
    fn say(&self, container: &Container, action: &str) {
        let at = (1_700_000_000 + self.inner.lock().unwrap().clock) * 1_000_000_000;
        let Container { id, name, labels, .. } = container.clone();
        // Nobody may be listening.
        let _ = self.events.send(RuntimeEvent { container: id, name, labels, action: action.into(), at });
    }
    fn make(&self, plan: ContainerPlan) -> Result<Arc<str>, RuntimeError> {
        if self.container(&plan.name).is_some() {
            return Err(RuntimeError::Conflict { message: format!("{} is taken", plan.name) });
        }
        let mut inner = self.inner.lock().unwrap();
        inner.made += 1;
        let id: Arc<str> = format!("{:012}", inner.made).into();
        let container = Container {
            id: id.clone(),
            name: plan.name.clone(),
            labels: plan.labels.clone(),
            state: ContainerState::Created,
            image_id: plan.image.clone(),
            exit_code: 0,
            oom_killed: false,
            error: String::new(),
            started_at: "0001-01-01T00:00:00Z".into(),
            finished_at: "0001-01-01T00:00:00Z".into(),
            health: plan.healthcheck.as_ref().map(|_| "starting".into()),
            health_log: None,
            addresses: BTreeMap::from([("bridge".into(), [127, 0, 0, 1].into())]),
            published: BTreeMap::new(),
            restart: plan.restart,
            pid: 0,
        };
        inner.containers.insert(id.to_string(), (container, plan));
        Ok(id)
    }
    fn begin(&self, id: &str) -> Result<(), RuntimeError> {
        let started = self.tick();
        let mut inner = self.inner.lock().unwrap();
        let (c, _) = inner.containers.get_mut(id).ok_or(RuntimeError::NotFound { what: id.into() })?;
        if c.state != ContainerState::Running {
            (c.state, c.started_at) = (ContainerState::Running, stamp(started));
            c.health = c.health.as_ref().map(|_| "starting".into());
        }
        let c = c.clone();
        drop(inner);
        self.say(&c, "start");
        Ok(())
    }
    /// Every call goes through here; `what` is written down when it changes something.
    fn answer<T: Send + 'static>(
        &self,
        what: Option<String>,
        give: impl FnOnce() -> Result<T, RuntimeError>,
    ) -> Answer<T> {
        let mut inner = self.inner.lock().unwrap();
        if inner.down {
            let down = RuntimeError::Down { address: "test".into(), message: "refused".into() };
            return ready(Err(down)).boxed();
        }
        inner.calls.extend(what);
        drop(inner);
        ready(give()).boxed()
    }
    fn name(&self, id: &str) -> String {
        let inner = self.inner.lock().unwrap();
        inner.containers.get(id).map_or_else(|| id.to_owned(), |(c, _)| c.name.clone())
    }
}

impl Runtime for Engine {
    fn info(&self) -> BoxFuture<'_, Result<EngineInfo, RuntimeError>> {
        self.answer(None, || Ok(EngineInfo { id: "E".into(), ..EngineInfo::default() }))
    }
    fn capacity(&self) -> BoxFuture<'_, Result<(Millicores, Bytes), RuntimeError>> {
        self.answer(None, || Ok((Millicores(2_000), Bytes(1 << 30))))
    }
    fn list(&self, key: String, value: String) -> BoxFuture<'_, Result<Vec<Summary>, RuntimeError>> {
        self.answer(None, || {
            let inner = self.inner.lock().unwrap();
            let ours = inner.containers.values().map(|(c, _)| c).filter(|c| c.labels.get(&key) == Some(&value));
            let summary = |c: &Container| Summary {
                id: c.id.clone(),
                name: c.name.clone(),
                labels: c.labels.clone(),
                state: c.state,
            };
            Ok(ours.map(summary).collect())
        })
    }
    fn inspect(&self, id: String) -> BoxFuture<'_, Result<Option<Container>, RuntimeError>> {
        self.answer(None, || {
            let inner = self.inner.lock().unwrap();
            let found = inner.containers.values().map(|(c, _)| c).find(|c| *c.id == *id || c.name == id);
            Ok(found.cloned())
        })
    }
    fn create(&self, plan: ContainerPlan) -> BoxFuture<'_, Result<Arc<str>, RuntimeError>> {
        self.answer(Some(format!("create {}", plan.name)), || self.make(plan))
    }
    fn start(&self, id: String) -> BoxFuture<'_, Result<(), RuntimeError>> {
        self.answer(Some(format!("start {}", self.name(&id))), || {
            if let Some(refused) = self.inner.lock().unwrap().refuse_start.clone() {
                return Err(refused);
            }
            self.begin(&id)
        })
    }
    fn stop(&self, id: String, _: Duration) -> BoxFuture<'_, Result<(), RuntimeError>> {
        let name = self.name(&id);
        self.answer(Some(format!("stop {name}")), || {
            self.end(&name, 0, &["kill", "die", "stop"]);
            Ok(())
        })
    }
    fn remove(&self, id: String) -> BoxFuture<'_, Result<(), RuntimeError>> {
        self.answer(Some(format!("remove {}", self.name(&id))), || {
            let gone = self.inner.lock().unwrap().containers.remove(&id);
            if let Some((gone, _)) = gone {
                self.say(&gone, "destroy");
            }
            Ok(())
        })
    }
    fn set_restart(&self, id: String, restart: EngineRestart) -> BoxFuture<'_, Result<(), RuntimeError>> {
        let name = self.name(&id);
        self.answer(Some(format!("set_restart {name} {restart:?}")), || {
            self.change(&name, |c| c.restart = restart);
            Ok(())
        })
    }
    fn ensure_network(&self, _: String, _: BTreeMap<String, String>) -> BoxFuture<'_, Result<(), RuntimeError>> {
        self.answer(None, || Ok(()))
    }
    fn volume(&self, name: String) -> BoxFuture<'_, Result<Option<String>, RuntimeError>> {
        self.answer(None, || Ok(self.inner.lock().unwrap().volumes.contains(&name).then(|| "/nowhere".into())))
    }
    fn ensure_volume(&self, name: String, _: BTreeMap<String, String>) -> BoxFuture<'_, Result<String, RuntimeError>> {
        self.answer(Some(format!("volume {name}")), || {
            self.inner.lock().unwrap().volumes.insert(name);
            Ok("/nowhere".into())
        })
    }
    fn image(&self, reference: String) -> BoxFuture<'_, Result<Option<Image>, RuntimeError>> {
        self.answer(None, || {
            let image = Image {
                id: reference.clone(),
                digests: vec![],
                arch: String::new(),
                os: "linux".into(),
                has_healthcheck: false,
                exposed: vec![],
            };
            Ok(self.inner.lock().unwrap().images.contains(&reference).then_some(image))
        })
    }
    fn resolve(&self, reference: String, _: Option<Credentials>) -> BoxFuture<'_, Result<String, RuntimeError>> {
        self.answer(None, || Ok(reference))
    }
    fn pull(
        &self,
        reference: String,
        _: Option<String>,
        _: Option<Credentials>,
    ) -> BoxStream<'_, Result<PullProgress, RuntimeError>> {
        let mut inner = self.inner.lock().unwrap();
        inner.calls.push(format!("pull {reference}"));
        let missing = RuntimeError::ImageNotFound { image: reference.clone(), message: "unknown".into() };
        match inner.registry.get(&reference).cloned().unwrap_or(Err(missing)) {
            Ok(()) => {
                inner.images.insert(reference);
                stream::empty().boxed()
            }
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }
    fn events(
        &self,
        key: String,
        value: String,
        _: Option<i64>,
    ) -> BoxStream<'static, Result<RuntimeEvent, RuntimeError>> {
        let heard = self.events.subscribe();
        stream::unfold(heard, |mut heard| async move { Some((heard.recv().await.ok()?, heard)) })
            .filter(move |e| ready(e.labels.get(&key) == Some(&value)))
            .map(Ok)
            .boxed()
    }
    fn logs(&self, _: String, _: LogQuery) -> BoxStream<'static, Result<LogChunk, RuntimeError>> {
        let bytes = Chunk::from_static(b"starting\n\x1b[31mpanic: no database\x07\n");
        stream::iter([Ok(LogChunk { stderr: false, bytes })]).boxed()
    }
    fn exec(&self, _: String, _: Vec<String>, _: Duration) -> BoxFuture<'_, Result<ExecResult, RuntimeError>> {
        self.answer(None, || Ok(ExecResult { code: 0, output: String::new() }))
    }
    fn build(
        &self,
        _: BuildRequest,
        _: BoxStream<'static, std::io::Result<Chunk>>,
    ) -> BoxStream<'static, Result<BuildProgress, RuntimeError>> {
        stream::empty().boxed()
    }
}
