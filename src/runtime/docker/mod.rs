//! A real engine, through bollard.
//!
//! Here: [`Docker`] and how each call keeps its deadline. Below: the calls by what they are about
//! (`containers`, `exec`, `named` for networks and volumes, `images`) and those that answer in pieces
//! (`streams`); `connection` (found again after a loss), `create` (a plan in the engine's words), `look`
//! (its answers in ours), `survey` (what it says of itself), `error` (what its words mean). Not here: what to ask and when to ask again.
//! Invariant: each call ends within its deadline in `super::limits`; a lost engine is found again by the
//! next call, and by a question that the connection broke under itself ([`twice`]). No call looks first where the engine's own answer tells the same (304, 404, 409): thirty
//! containers at once run at the engine's pace.

mod connection;
mod containers;
mod create;
mod error;
mod exec;
mod images;
mod look;
#[cfg(test)]
mod mutated;
mod named;
mod streams;
mod survey;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    future::Future,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bollard::errors::Error;
use bytes::Bytes as Chunk;
use futures::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};

pub use self::survey::Survey;
use self::{
    connection::{Client, Connection},
    error::{Subject, translate},
};
use super::{
    Attachment, BuildProgress, BuildRequest, Container, ContainerPlan, Credentials, EngineInfo, EngineRestart,
    ExecResult, Image, LogChunk, LogQuery, NamedVolume, PullProgress, Runtime, RuntimeError, RuntimeEvent, Summary,
    limits::{self, Op},
    names,
};
use crate::model::{Bytes, Millicores};

/// A real engine. Cheap to clone.
#[derive(Clone)]
pub struct Docker(Arc<Engine>);

impl Docker {
    /// Takes the engine's address: `unix:///var/run/docker.sock` or `tcp://127.0.0.1:2375`.
    ///
    /// Nothing is asked yet: an engine that is down may come, go and come back as another version.
    ///
    /// # Errors
    /// [`RuntimeError::Refused`] when the address has another form.
    pub fn connect(host: &str) -> Result<Self, RuntimeError> {
        Ok(Self(Arc::new(Engine {
            connection: Connection::new(host)?,
            networks: tokio::sync::Mutex::default(),
            fresh: Mutex::default(),
            commands: Mutex::default(),
        })))
    }
}

/// What clones and streams of one [`Docker`] share.
struct Engine {
    connection: Connection,
    /// Networks seen lately. Held while one is made: old engines make two of one name.
    networks: tokio::sync::Mutex<HashMap<String, Instant>>,
    /// Made here with all their networks, not started yet.
    fresh: Mutex<HashSet<Arc<str>>>,
    /// Commands whose end was not seen yet.
    commands: Mutex<HashMap<exec::Key, exec::Begun>>,
}

impl Engine {
    /// The client, under the deadline of `op`.
    async fn client(&self, op: Op) -> Result<Arc<Client>, RuntimeError> {
        match tokio::time::timeout(op.limit.min(limits::INFO.limit), self.connection.client()).await {
            Ok(Ok(client)) => Ok(client),
            Ok(Err(error)) => Err(translate(&error, self.connection.address(), Subject::Engine)),
            Err(_) => Err(op.within(op.limit.min(limits::INFO.limit)).missed()),
        }
    }

    /// One call under its deadline; the raw error stays readable for callers that expect it.
    async fn raw<T, F>(&self, op: Op, call: impl FnOnce(bollard::Docker) -> F) -> Result<Result<T, Error>, RuntimeError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let client = self.client(op).await?;
        tokio::time::timeout(op.limit, call(client.docker.clone())).await.map_err(|_| op.missed())
    }

    async fn call<T, F>(
        &self,
        op: Op,
        subject: Subject<'_>,
        call: impl FnOnce(bollard::Docker) -> F,
    ) -> Result<T, RuntimeError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        self.raw(op, call).await?.map_err(|error| self.translated(&error, subject))
    }

    /// The same where "there is no such thing" is an answer.
    async fn find<T, F>(
        &self,
        op: Op,
        subject: Subject<'_>,
        call: impl FnOnce(bollard::Docker) -> F,
    ) -> Result<Option<T>, RuntimeError>
    where
        F: Future<Output = Result<T, Error>>,
    {
        match self.raw(op, call).await? {
            Ok(found) => Ok(Some(found)),
            Err(error) if status(&error) == Some(404) => Ok(None),
            Err(error) => Err(self.translated(&error, subject)),
        }
    }

    async fn info(&self) -> Result<EngineInfo, RuntimeError> {
        let (version, info) = self
            .call(limits::INFO, Subject::Engine, |d| async move { futures::try_join!(d.version(), d.info()) })
            .await?;
        let rootless = info.security_options.unwrap_or_default().iter().any(|o| o.contains("name=rootless"));
        Ok(EngineInfo {
            id: info.id.unwrap_or_default().into(),
            version: version.version.unwrap_or_default(),
            api_version: version.api_version.unwrap_or_default(),
            os: version.os.unwrap_or_default(),
            arch: version.arch.unwrap_or_default(),
            rootless,
        })
    }

    async fn capacity(&self) -> Result<(Millicores, Bytes), RuntimeError> {
        let info = self.call(limits::CAPACITY, Subject::Engine, |d| async move { d.info().await }).await?;
        let number = |n: Option<i64>| u64::try_from(n.unwrap_or(0)).unwrap_or(0);
        Ok((Millicores(number(info.ncpu).saturating_mul(1_000)), Bytes(number(info.mem_total))))
    }
}

/// The answer to a question, which is asked a second time when the connection breaks under the first: an engine
/// that ended, or that closed a connection at the moment it was used again, says so with the same error, and only
/// the former says it twice. Not for what changes something: nobody knows whether the first call did.
async fn twice<T, F>(op: Op, ask: impl Fn() -> F) -> Result<T, RuntimeError>
where
    F: Future<Output = Result<T, RuntimeError>>,
{
    let asking = async {
        match ask().await {
            Err(RuntimeError::Down { .. }) => ask().await,
            answer => answer,
        }
    };
    tokio::time::timeout(op.limit, asking).await.unwrap_or_else(|_| Err(op.missed()))
}

fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

fn said(error: &Error, words: &str) -> bool {
    matches!(error, Error::DockerResponseServerError { message, .. } if message.contains(words))
}

impl Runtime for Docker {
    fn info(&self) -> BoxFuture<'_, Result<EngineInfo, RuntimeError>> {
        twice(limits::INFO, || self.0.info()).boxed()
    }
    fn began(&self) -> BoxFuture<'_, Result<Option<i64>, RuntimeError>> {
        twice(limits::BEGAN, || self.0.began()).boxed()
    }
    fn capacity(&self) -> BoxFuture<'_, Result<(Millicores, Bytes), RuntimeError>> {
        twice(limits::CAPACITY, || self.0.capacity()).boxed()
    }
    fn list(&self, key: String, value: String) -> BoxFuture<'_, Result<Vec<Summary>, RuntimeError>> {
        async move { twice(limits::LIST, || self.0.list(&key, &value)).await }.boxed()
    }
    fn publishing(&self, port: u16) -> BoxFuture<'_, Result<Vec<String>, RuntimeError>> {
        twice(limits::LIST, move || self.0.publishing(port)).boxed()
    }
    fn inspect(&self, id: String) -> BoxFuture<'_, Result<Option<Container>, RuntimeError>> {
        async move { twice(limits::INSPECT, || self.0.inspect(&id)).await }.boxed()
    }
    fn create(&self, plan: ContainerPlan) -> BoxFuture<'_, Result<Arc<str>, RuntimeError>> {
        self.0.create(plan).boxed()
    }
    fn start(&self, id: String) -> BoxFuture<'_, Result<(), RuntimeError>> {
        async move { self.0.start(&id).await }.boxed()
    }
    fn stop(&self, id: String, grace: Option<Duration>) -> BoxFuture<'_, Result<(), RuntimeError>> {
        async move { self.0.stop(&id, grace).await }.boxed()
    }
    fn remove(&self, id: String) -> BoxFuture<'_, Result<(), RuntimeError>> {
        async move { self.0.remove(&id).await }.boxed()
    }
    fn signal(&self, id: String, signal: String) -> BoxFuture<'_, Result<(), RuntimeError>> {
        async move { self.0.signal(&id, signal).await }.boxed()
    }
    fn set_restart(&self, id: String, restart: EngineRestart) -> BoxFuture<'_, Result<(), RuntimeError>> {
        async move { self.0.set_restart(&id, restart).await }.boxed()
    }
    fn connect(&self, id: String, networks: Vec<Attachment>) -> BoxFuture<'_, Result<(), RuntimeError>> {
        async move {
            names::identifier(&id, "container")?;
            self.0.join(&id, &networks).await
        }
        .boxed()
    }
    fn ensure_network(
        &self,
        name: String,
        labels: BTreeMap<String, String>,
    ) -> BoxFuture<'_, Result<(), RuntimeError>> {
        async move { self.0.ensure_network(&name, labels).await }.boxed()
    }
    fn volume(&self, name: String) -> BoxFuture<'_, Result<Option<NamedVolume>, RuntimeError>> {
        async move { twice(limits::VOLUME, || self.0.volume(&name)).await }.boxed()
    }
    fn ensure_volume(
        &self,
        name: String,
        labels: BTreeMap<String, String>,
    ) -> BoxFuture<'_, Result<String, RuntimeError>> {
        async move { self.0.ensure_volume(&name, labels).await }.boxed()
    }
    fn image(&self, reference: String) -> BoxFuture<'_, Result<Option<Image>, RuntimeError>> {
        async move { twice(limits::IMAGE, || self.0.image(&reference)).await }.boxed()
    }
    fn resolve(
        &self,
        reference: String,
        credentials: Option<Credentials>,
    ) -> BoxFuture<'_, Result<String, RuntimeError>> {
        async move { self.0.resolve(&reference, credentials).await }.boxed()
    }
    fn pull(
        &self,
        reference: String,
        platform: Option<String>,
        credentials: Option<Credentials>,
    ) -> BoxStream<'_, Result<PullProgress, RuntimeError>> {
        self.0.clone().pull(reference, platform, credentials)
    }
    fn events(
        &self,
        key: String,
        value: String,
        since: Option<i64>,
    ) -> BoxStream<'static, Result<RuntimeEvent, RuntimeError>> {
        self.0.clone().events(key, value, since)
    }
    fn logs(&self, id: String, query: LogQuery) -> BoxStream<'static, Result<LogChunk, RuntimeError>> {
        self.0.clone().logs(id, query)
    }
    fn exec(
        &self,
        id: String,
        command: Vec<String>,
        limit: Duration,
    ) -> BoxFuture<'_, Result<ExecResult, RuntimeError>> {
        async move { self.0.exec(&id, command, limit).await }.boxed()
    }
    fn build(
        &self,
        request: BuildRequest,
        context: BoxStream<'static, std::io::Result<Chunk>>,
    ) -> BoxStream<'static, Result<BuildProgress, RuntimeError>> {
        match names::reference(&request.tag) {
            Ok(_) => self.0.clone().build(request, context),
            Err(error) => stream::once(std::future::ready(Err(error))).boxed(),
        }
    }
}
