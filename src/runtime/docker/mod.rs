//! A real engine, through bollard.
//!
//! Here: [`Docker`], the calls and their deadlines. Below: `connection` (found again after a loss),
//! `create` (a plan in the engine's words), `look` (its answers in ours), `error` (what its words mean),
//! `streams` (answers in pieces). Not here: what to ask and when to ask again.
//! Invariant: each call ends within its deadline in `super::limits`; a lost engine is found again by the
//! next call. No call looks first where the engine's own answer tells the same (304, 404, 409): thirty
//! containers at once run at the engine's pace.

mod connection;
mod create;
mod error;
mod look;
mod streams;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bollard::{
    errors::Error,
    exec::StartExecResults,
    models::{ContainerUpdateBody, ExecConfig, NetworkConnectRequest, NetworkCreateRequest, VolumeCreateRequest},
    query_parameters::{
        CreateContainerOptions, InspectContainerOptions, ListContainersOptionsBuilder, ListNetworksOptionsBuilder,
        RemoveContainerOptionsBuilder, StartContainerOptions, StopContainerOptions, WaitContainerOptions,
    },
};
use bytes::Bytes as Chunk;
use futures::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};

use self::{
    connection::{Client, Connection},
    error::{Subject, translate},
};
use super::{
    Attachment, BuildProgress, BuildRequest, Container, ContainerPlan, ContainerState, Credentials, EngineInfo,
    EngineRestart, ExecResult, Image, LogChunk, LogQuery, PullProgress, Runtime, RuntimeError, RuntimeEvent, Summary,
    limits::{self, Op},
};
use crate::model::{Bytes, Millicores, reference::ImageReference};

/// Output of a command that is kept.
const EXEC_OUTPUT_MAX: usize = 4 * 1024;
/// How long a network that was seen counts as existing: a burst of starts asks once.
const NETWORK_SEEN: Duration = Duration::from_secs(10);
/// Containers made by this process and not started yet; beyond this many, a start looks first.
const FRESH_MAX: usize = 4_096;

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

    async fn list(&self, key: &str, value: &str) -> Result<Vec<Summary>, RuntimeError> {
        let filters = HashMap::from([("label", vec![format!("{key}={value}")])]);
        let filters: HashMap<String, Vec<String>> = filters.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let found =
            self.call(limits::LIST, Subject::Engine, |d| async move { d.list_containers(Some(options)).await }).await?;
        Ok(found.into_iter().filter_map(look::summary).collect())
    }

    async fn inspect(&self, id: &str) -> Result<Option<Container>, RuntimeError> {
        identifier(id, "container")?;
        let found = self
            .find(limits::INSPECT, Subject::Container(id), |d| async move {
                d.inspect_container(id, None::<InspectContainerOptions>).await
            })
            .await?;
        Ok(found.map(look::container))
    }

    async fn create(&self, plan: ContainerPlan) -> Result<Arc<str>, RuntimeError> {
        identifier(&plan.name, "container")?;
        let is_1_44 = self.client(limits::CREATE).await?.is_1_44();
        let request = create::request(&plan, is_1_44, is_1_44)?;
        let options = CreateContainerOptions {
            name: Some(plan.name.clone()),
            platform: plan.platform.clone().unwrap_or_default(),
        };
        let body = request.body;
        let made = self
            .call(limits::CREATE, Subject::Making(&plan.image), |d| async move {
                d.create_container(Some(options), body).await
            })
            .await;
        let id: Arc<str> = made.inspect_err(|e| self.doubt_networks(e))?.id.into();
        if !request.later.is_empty()
            && let Err(error) = self.join(&id, &request.later).await
        {
            // A container without its networks helps nobody; the error matters more than this call's.
            let _ = self.remove(&id).await;
            return Err(error);
        }
        let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        if fresh.len() < FRESH_MAX {
            fresh.insert(id.clone());
        }
        drop(fresh);
        Ok(id)
    }

    /// Connects a container to further networks; being connected already is a success.
    async fn join(&self, id: &str, networks: &[Attachment]) -> Result<(), RuntimeError> {
        for attachment in networks {
            let request =
                NetworkConnectRequest { container: id.to_owned(), endpoint_config: Some(create::endpoint(attachment)) };
            let name = attachment.network.as_str();
            identifier(name, "network")?;
            let connected =
                self.raw(limits::ENSURE_NETWORK, |d| async move { d.connect_network(name, request).await }).await?;
            match connected {
                Ok(()) => {}
                Err(error) if said(&error, "already exists in network") => {}
                Err(error) => {
                    let error = self.translated(&error, Subject::Network(name));
                    self.doubt_networks(&error);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    async fn start(&self, id: &str) -> Result<(), RuntimeError> {
        identifier(id, "container")?;
        let fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        // Only an engine that takes one network at create leaves some to be joined, and only a process
        // that ended between the two calls leaves them to the next one.
        if !fresh && !self.client(limits::START).await?.is_1_44() {
            self.finish_networks(id).await?;
        }
        self.call(limits::START, Subject::Container(id), |d| async move {
            d.start_container(id, None::<StartContainerOptions>).await
        })
        .await
        .inspect_err(|e| self.doubt_networks(e))
    }

    async fn finish_networks(&self, id: &str) -> Result<(), RuntimeError> {
        let Some(container) = self.inspect(id).await? else { return Ok(()) };
        let pending = container.labels.get(create::PENDING_NETWORKS);
        match pending.map(|text| serde_json::from_str::<Vec<Attachment>>(text)) {
            Some(Ok(networks)) if container.state == ContainerState::Created => self.join(id, &networks).await,
            Some(_) | None => Ok(()),
        }
    }

    async fn stop(&self, id: &str, grace: Duration) -> Result<(), RuntimeError> {
        identifier(id, "container")?;
        // Whole seconds are all the engine takes; less than asked would cut a grace short.
        let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
        let options = StopContainerOptions { signal: None, t: Some(i32::try_from(seconds).unwrap_or(i32::MAX)) };
        let op = limits::STOP.within(limits::STOP.limit.saturating_add(Duration::from_secs(seconds)));
        let stop = self.find(op, Subject::Container(id), |d| async move { d.stop_container(id, Some(options)).await });
        stop.await.map(|_| ())
    }

    async fn remove(&self, id: &str) -> Result<(), RuntimeError> {
        identifier(id, "container")?;
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        // `v` takes the anonymous volumes along: the engine keeps every volume that has a name.
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        let removed = self.raw(limits::REMOVE, |d| async move { d.remove_container(id, Some(options)).await }).await?;
        match removed {
            Ok(()) => Ok(()),
            Err(error) if status(&error) == Some(404) => Ok(()),
            Err(error) if said(&error, "is already in progress") => self.until_removed(id).await,
            Err(error) => Err(self.translated(&error, Subject::Container(id))),
        }
    }

    /// Somebody else is removing it: a success only once its name is free.
    async fn until_removed(&self, id: &str) -> Result<(), RuntimeError> {
        let options = WaitContainerOptions { condition: "removed".into() };
        let end = self
            .raw(limits::REMOVE, |d| async move {
                let _ = d.wait_container(id, Some(options)).next().await;
                Ok(())
            })
            .await?;
        end.map_err(|error| self.translated(&error, Subject::Container(id)))
    }

    async fn set_restart(&self, id: &str, restart: EngineRestart) -> Result<(), RuntimeError> {
        identifier(id, "container")?;
        let body =
            ContainerUpdateBody { restart_policy: Some(create::restart(restart)), ..ContainerUpdateBody::default() };
        self.call(limits::SET_RESTART, Subject::Container(id), |d| async move { d.update_container(id, body).await })
            .await
    }

    async fn ensure_network(&self, name: &str, labels: BTreeMap<String, String>) -> Result<(), RuntimeError> {
        identifier(name, "network")?;
        let op = limits::ENSURE_NETWORK;
        let waited = tokio::time::timeout(op.limit, self.networks.lock()).await;
        let mut seen = waited.map_err(|_| op.missed())?;
        if seen.get(name).is_some_and(|at| at.elapsed() < NETWORK_SEEN) {
            return Ok(());
        }
        if self.networks_named(name).await?.is_empty() {
            let request = NetworkCreateRequest {
                name: name.to_owned(),
                driver: Some("bridge".into()),
                attachable: Some(true),
                labels: Some(labels.into_iter().collect()),
                ..NetworkCreateRequest::default()
            };
            let made = self.raw(op, |d| async move { d.create_network(request).await }).await?;
            match made {
                Ok(made) => self.keep_one_network(name, &made.id).await?,
                Err(error) if status(&error) == Some(409) => {}
                Err(error) => return Err(self.translated(&error, Subject::Network(name))),
            }
        }
        seen.retain(|_, at| at.elapsed() < NETWORK_SEEN);
        seen.insert(name.to_owned(), Instant::now());
        Ok(())
    }

    /// Networks of exactly this name, oldest first: (time of creation, id).
    async fn networks_named(&self, name: &str) -> Result<Vec<(String, String)>, RuntimeError> {
        let filters = HashMap::from([("name".to_owned(), vec![name.to_owned()])]);
        let options = ListNetworksOptionsBuilder::default().filters(&filters).build();
        let found =
            self.call(limits::ENSURE_NETWORK, Subject::Network(name), |d| async move {
                d.list_networks(Some(options)).await
            })
            .await?;
        let mut found: Vec<(String, String)> = found
            .into_iter()
            .filter(|n| n.name.as_deref() == Some(name))
            .map(|n| (n.created.unwrap_or_default(), n.id.unwrap_or_default()))
            .collect();
        found.sort();
        Ok(found)
    }

    /// Old engines make a second network of one name without a word (an earlier call answered late, a
    /// person was faster), and then every container that names it is refused. Ours is empty: it goes.
    async fn keep_one_network(&self, name: &str, ours: &str) -> Result<(), RuntimeError> {
        let found = self.networks_named(name).await?;
        if found.len() < 2 || found.first().is_some_and(|(_, id)| id == ours) {
            return Ok(());
        }
        let gone = self
            .find(limits::ENSURE_NETWORK, Subject::Network(name), |d| async move { d.remove_network(ours).await })
            .await;
        gone.map(|_| ())
    }

    /// Somebody removed a network that we believed to exist: the next call asks.
    fn doubt_networks(&self, error: &RuntimeError) {
        let network = matches!(error, RuntimeError::NotFound { what } if what.starts_with("network "));
        // Whoever holds the lock is asking the engine right now.
        if (network || matches!(error, RuntimeError::Down { .. }))
            && let Ok(mut seen) = self.networks.try_lock()
        {
            seen.clear();
        }
    }

    async fn volume(&self, name: &str) -> Result<Option<String>, RuntimeError> {
        identifier(name, "volume")?;
        let found =
            self.find(limits::VOLUME, Subject::Volume(name), |d| async move { d.inspect_volume(name).await }).await?;
        Ok(found.map(|v| v.mountpoint))
    }

    async fn ensure_volume(&self, name: &str, labels: BTreeMap<String, String>) -> Result<String, RuntimeError> {
        identifier(name, "volume")?;
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            driver: Some("local".into()),
            labels: Some(labels.into_iter().collect()),
            ..VolumeCreateRequest::default()
        };
        let made = self
            .call(limits::ENSURE_VOLUME, Subject::Volume(name), |d| async move { d.create_volume(request).await })
            .await?;
        Ok(made.mountpoint)
    }

    async fn image(&self, reference: &str) -> Result<Option<Image>, RuntimeError> {
        if !reference.strip_prefix("sha256:").is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit())) {
            parse(reference)?;
        }
        let found = self
            .find(limits::IMAGE, Subject::Making(reference), |d| async move { d.inspect_image(reference).await })
            .await?;
        Ok(found.map(look::image))
    }

    async fn resolve(&self, reference: &str, credentials: Option<Credentials>) -> Result<String, RuntimeError> {
        let parsed = parse(reference)?;
        let asked = match &parsed.digest {
            Some(digest) => parsed.pinned(digest),
            None => format!("{}:{}", parsed.name(), parsed.tag_or_latest()),
        };
        let answer = self
            .call(limits::RESOLVE, Subject::Image(reference), |d| async move {
                d.inspect_registry_image(&asked, credentials.map(streams::header)).await
            })
            .await
            // The engine asks the registry while we wait: its silence is the registry's.
            .map_err(|error| match error {
                RuntimeError::Unresponsive { limit, .. } => RuntimeError::RegistryUnreachable {
                    image: reference.to_owned(),
                    message: format!("no answer within {limit:?}"),
                },
                other => other,
            })?;
        let digest = answer
            .descriptor
            .digest
            .ok_or_else(|| RuntimeError::Failed { message: format!("the registry names no digest of {reference}") })?;
        Ok(parsed.pinned(&digest))
    }

    async fn exec(&self, id: &str, command: Vec<String>, limit: Duration) -> Result<ExecResult, RuntimeError> {
        identifier(id, "container")?;
        let config = ExecConfig {
            cmd: Some(command),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..ExecConfig::default()
        };
        self.call(limits::EXEC.within(limit), Subject::Container(id), |d| async move {
            let exec = d.create_exec(id, config).await?.id;
            let mut kept = Vec::new();
            if let StartExecResults::Attached { mut output, .. } = d.start_exec(&exec, None).await? {
                // Read to the end even when enough is kept: its end is the command's.
                while let Some(piece) = output.next().await {
                    let piece = piece?.into_bytes();
                    let room = EXEC_OUTPUT_MAX.saturating_sub(kept.len()).min(piece.len());
                    kept.extend(piece.iter().take(room));
                }
            }
            // The output may end a moment before the engine has noted the code.
            let mut pause = Duration::from_millis(5);
            let code = loop {
                let state = d.inspect_exec(&exec).await?;
                match state.exit_code {
                    Some(code) if state.running != Some(true) => break code,
                    Some(_) | None => tokio::time::sleep(pause).await,
                }
                pause = (pause * 2).min(Duration::from_millis(200));
            };
            Ok(ExecResult { code, output: String::from_utf8_lossy(&kept).into_owned() })
        })
        .await
    }
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

fn parse(reference: &str) -> Result<ImageReference, RuntimeError> {
    ImageReference::parse(reference).map_err(|e| RuntimeError::Refused { message: e.to_string() })
}

/// Names and ids become parts of a path: only what the engine itself takes for one gets there.
fn identifier(text: &str, what: &str) -> Result<(), RuntimeError> {
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if first && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')) {
        return Ok(());
    }
    Err(RuntimeError::Refused { message: format!("{text:?} is no name of a {what}") })
}

impl Runtime for Docker {
    fn info(&self) -> BoxFuture<'_, Result<EngineInfo, RuntimeError>> {
        self.0.info().boxed()
    }
    fn capacity(&self) -> BoxFuture<'_, Result<(Millicores, Bytes), RuntimeError>> {
        self.0.capacity().boxed()
    }
    fn list(&self, key: String, value: String) -> BoxFuture<'_, Result<Vec<Summary>, RuntimeError>> {
        async move { self.0.list(&key, &value).await }.boxed()
    }
    fn inspect(&self, id: String) -> BoxFuture<'_, Result<Option<Container>, RuntimeError>> {
        async move { self.0.inspect(&id).await }.boxed()
    }
    fn create(&self, plan: ContainerPlan) -> BoxFuture<'_, Result<Arc<str>, RuntimeError>> {
        self.0.create(plan).boxed()
    }
    fn start(&self, id: String) -> BoxFuture<'_, Result<(), RuntimeError>> {
        async move { self.0.start(&id).await }.boxed()
    }
    fn stop(&self, id: String, grace: Duration) -> BoxFuture<'_, Result<(), RuntimeError>> {
        async move { self.0.stop(&id, grace).await }.boxed()
    }
    fn remove(&self, id: String) -> BoxFuture<'_, Result<(), RuntimeError>> {
        async move { self.0.remove(&id).await }.boxed()
    }
    fn set_restart(&self, id: String, restart: EngineRestart) -> BoxFuture<'_, Result<(), RuntimeError>> {
        async move { self.0.set_restart(&id, restart).await }.boxed()
    }
    fn ensure_network(
        &self,
        name: String,
        labels: BTreeMap<String, String>,
    ) -> BoxFuture<'_, Result<(), RuntimeError>> {
        async move { self.0.ensure_network(&name, labels).await }.boxed()
    }
    fn volume(&self, name: String) -> BoxFuture<'_, Result<Option<String>, RuntimeError>> {
        async move { self.0.volume(&name).await }.boxed()
    }
    fn ensure_volume(
        &self,
        name: String,
        labels: BTreeMap<String, String>,
    ) -> BoxFuture<'_, Result<String, RuntimeError>> {
        async move { self.0.ensure_volume(&name, labels).await }.boxed()
    }
    fn image(&self, reference: String) -> BoxFuture<'_, Result<Option<Image>, RuntimeError>> {
        async move { self.0.image(&reference).await }.boxed()
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
        match parse(&request.tag) {
            Ok(_) => self.0.clone().build(request, context),
            Err(error) => stream::once(std::future::ready(Err(error))).boxed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_engine_that_is_not_there_is_down_and_named() {
        let docker = Docker::connect("unix:///nowhere/docker.sock").unwrap();
        for _ in 0..2 {
            match docker.info().await {
                Err(RuntimeError::Down { address, message }) => {
                    assert_eq!(address, "unix:///nowhere/docker.sock");
                    assert!(message.contains("/nowhere/docker.sock"), "{message}");
                }
                other => panic!("{other:?}"),
            }
        }
        let events: Vec<_> = docker.events("a".into(), "b".into(), None).collect().await;
        assert!(matches!(events.as_slice(), [Err(RuntimeError::Down { .. })]), "{events:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_engine_that_says_nothing_is_unresponsive_after_the_deadline() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let docker = Docker::connect(&format!("tcp://{}", listener.local_addr().unwrap())).unwrap();
        assert!(matches!(
            docker.list("a".into(), "b".into()).await,
            Err(RuntimeError::Unresponsive { op: "list", .. })
        ));
    }

    #[test]
    fn a_name_cannot_leave_its_place_in_a_path() {
        for good in ["web-1-abcde", "a_b.c", "0123"] {
            assert!(identifier(good, "container").is_ok(), "{good}");
        }
        for bad in ["", "../info", "a/b", "a?b", "a%2f", "-a", ".a", "a b"] {
            assert!(identifier(bad, "container").is_err(), "{bad}");
        }
    }
}
