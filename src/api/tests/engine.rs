//! An engine whose logs come in the pieces that a test gives, and that reads contexts to their end;
//! whatever else is asked fails.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes as Chunk;
use futures::{
    FutureExt as _, StreamExt as _,
    future::{BoxFuture, ready},
    stream::{self, BoxStream},
};
use tokio::sync::mpsc;

use crate::{
    model::{Bytes, Millicores},
    runtime::{
        Attachment, BuildProgress, BuildRequest, Container, ContainerPlan, ContainerState, Credentials, EngineInfo,
        EngineRestart, ExecResult, Image, LogChunk, LogQuery, PullProgress, Runtime, RuntimeError, RuntimeEvent,
        Summary,
    },
};

type Log = mpsc::UnboundedReceiver<Result<LogChunk, RuntimeError>>;

/// The engine.
#[derive(Default)]
pub struct Engine {
    /// What the next readers of a container's log get, one a reading.
    logs: Mutex<BTreeMap<String, Vec<Log>>>,
    /// Containers that are there, and how they are.
    pub containers: Mutex<BTreeMap<String, ContainerState>>,
    /// What was asked of the logs and builds.
    pub asked: Mutex<Vec<String>>,
}

fn none<T: Send + 'static>(what: &str) -> BoxFuture<'static, Result<T, RuntimeError>> {
    ready(Err(RuntimeError::Failed { message: format!("{what} is not what the API asks") })).boxed()
}

impl Engine {
    /// A log of a container, for one reading: ends when the sender is dropped.
    pub fn log(&self, container: &str) -> mpsc::UnboundedSender<Result<LogChunk, RuntimeError>> {
        let (send, log) = mpsc::unbounded_channel();
        self.logs.lock().unwrap().entry(container.into()).or_default().push(log);
        send
    }
}

impl Runtime for Engine {
    fn info(&self) -> BoxFuture<'_, Result<EngineInfo, RuntimeError>> {
        none("info")
    }
    fn began(&self) -> BoxFuture<'_, Result<Option<i64>, RuntimeError>> {
        none("began")
    }
    fn capacity(&self) -> BoxFuture<'_, Result<(Millicores, Bytes), RuntimeError>> {
        none("capacity")
    }
    fn list(&self, _: String, _: String) -> BoxFuture<'_, Result<Vec<Summary>, RuntimeError>> {
        none("list")
    }
    fn inspect(&self, id: String) -> BoxFuture<'_, Result<Option<Container>, RuntimeError>> {
        let state = self.containers.lock().unwrap().get(&id).copied();
        ready(Ok(state.map(|state| Container {
            id: id.as_str().into(),
            name: id,
            labels: BTreeMap::new(),
            state,
            image_id: String::new(),
            exit_code: 0,
            oom_killed: false,
            error: String::new(),
            started_at: String::new(),
            finished_at: String::new(),
            health: None,
            health_log: None,
            addresses: BTreeMap::new(),
            published: BTreeMap::new(),
            networks: Default::default(),
            restart: EngineRestart::No,
            stop_signal: None,
            stop_timeout: None,
            pid: 0,
        })))
        .boxed()
    }
    fn create(&self, _: ContainerPlan) -> BoxFuture<'_, Result<Arc<str>, RuntimeError>> {
        none("create")
    }
    fn start(&self, _: String) -> BoxFuture<'_, Result<(), RuntimeError>> {
        none("start")
    }
    fn stop(&self, _: String, _: Option<Duration>) -> BoxFuture<'_, Result<(), RuntimeError>> {
        none("stop")
    }
    fn remove(&self, _: String) -> BoxFuture<'_, Result<(), RuntimeError>> {
        none("remove")
    }
    fn set_restart(&self, _: String, _: EngineRestart) -> BoxFuture<'_, Result<(), RuntimeError>> {
        none("set_restart")
    }
    fn connect(&self, _: String, _: Vec<Attachment>) -> BoxFuture<'_, Result<(), RuntimeError>> {
        none("connect")
    }
    fn ensure_network(&self, _: String, _: BTreeMap<String, String>) -> BoxFuture<'_, Result<(), RuntimeError>> {
        none("ensure_network")
    }
    fn volume(&self, _: String) -> BoxFuture<'_, Result<Option<String>, RuntimeError>> {
        none("volume")
    }
    fn ensure_volume(&self, _: String, _: BTreeMap<String, String>) -> BoxFuture<'_, Result<String, RuntimeError>> {
        none("ensure_volume")
    }
    fn image(&self, _: String) -> BoxFuture<'_, Result<Option<Image>, RuntimeError>> {
        none("image")
    }
    fn resolve(&self, _: String, _: Option<Credentials>) -> BoxFuture<'_, Result<String, RuntimeError>> {
        none("resolve")
    }
    fn pull(
        &self,
        _: String,
        _: Option<String>,
        _: Option<Credentials>,
    ) -> BoxStream<'_, Result<PullProgress, RuntimeError>> {
        stream::empty().boxed()
    }
    fn events(&self, _: String, _: String, _: Option<i64>) -> BoxStream<'static, Result<RuntimeEvent, RuntimeError>> {
        stream::empty().boxed()
    }
    fn logs(&self, id: String, query: LogQuery) -> BoxStream<'static, Result<LogChunk, RuntimeError>> {
        self.asked.lock().unwrap().push(format!("{id} {query:?}"));
        let mut logs = self.logs.lock().unwrap();
        match logs.get_mut(&id).filter(|l| !l.is_empty()) {
            Some(log) => {
                let log = log.remove(0);
                stream::unfold(log, |mut log| async { Some((log.recv().await?, log)) }).boxed()
            }
            None => stream::iter([Err(RuntimeError::NotFound { what: format!("container {id}") })]).boxed(),
        }
    }
    fn exec(&self, _: String, _: Vec<String>, _: Duration) -> BoxFuture<'_, Result<ExecResult, RuntimeError>> {
        none("exec")
    }
    /// Says how big the context was, then gives an image, or the error of the context.
    fn build(
        &self,
        request: BuildRequest,
        context: BoxStream<'static, io::Result<Chunk>>,
    ) -> BoxStream<'static, Result<BuildProgress, RuntimeError>> {
        self.asked.lock().unwrap().push(format!("build {} {:?}", request.tag, request.args));
        let size = context.fold(Ok(0), |all: io::Result<usize>, piece| ready(all.and_then(|a| Ok(a + piece?.len()))));
        let steps = size.map(|size| match size {
            Ok(size) => {
                vec![Ok(BuildProgress::Output(format!("{size} bytes"))), Ok(BuildProgress::Done("sha256:1".into()))]
            }
            Err(error) => vec![Err(RuntimeError::Failed { message: error.to_string() })],
        });
        steps.into_stream().flat_map(stream::iter).boxed()
    }
}
