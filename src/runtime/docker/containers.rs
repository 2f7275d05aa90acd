//! The calls about containers.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError},
    time::Duration,
};

use bollard::{
    models::{ContainerSummary, ContainerUpdateBody, NetworkConnectRequest},
    query_parameters::{
        CreateContainerOptions, InspectContainerOptions, KillContainerOptions, ListContainersOptionsBuilder,
        RemoveContainerOptionsBuilder, StartContainerOptions, StopContainerOptions,
    },
};

use super::{Engine, create, error::Subject, look, said, status};
use crate::runtime::{
    Attachment, Container, ContainerPlan, ContainerState, EngineRestart, RuntimeError, Summary, limits,
    names::identifier,
};

/// Between its stop signal and SIGKILL, for a container that says nothing.
const ENGINE_GRACE_SECONDS: u64 = 10;
/// Containers made by this process and not started yet; beyond this many, a start looks first.
const FRESH_MAX: usize = 4_096;
/// Between two questions whether a removal by another has ended.
const REMOVAL_PAUSE: Duration = Duration::from_millis(100);

impl Engine {
    pub(super) async fn list(&self, key: &str, value: &str) -> Result<Vec<Summary>, RuntimeError> {
        let filters = HashMap::from([("label", vec![format!("{key}={value}")])]);
        let filters: HashMap<String, Vec<String>> = filters.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let found =
            self.call(limits::LIST, Subject::Engine, |d| async move { d.list_containers(Some(options)).await }).await?;
        Ok(found.into_iter().filter_map(look::summary).collect())
    }

    pub(super) async fn publishing(&self, port: u16) -> Result<Vec<String>, RuntimeError> {
        let options = ListContainersOptionsBuilder::default().build();
        let found =
            self.call(limits::LIST, Subject::Engine, |d| async move { d.list_containers(Some(options)).await }).await?;
        let holds = |c: &ContainerSummary| c.ports.iter().flatten().any(|p| p.public_port == Some(port));
        Ok(found.into_iter().filter(holds).filter_map(look::summary).map(|s| s.name).collect())
    }

    pub(super) async fn inspect(&self, id: &str) -> Result<Option<Container>, RuntimeError> {
        identifier(id, "container")?;
        let found = self
            .find(limits::INSPECT, Subject::Container(id), |d| async move {
                d.inspect_container(id, None::<InspectContainerOptions>).await
            })
            .await?;
        Ok(found.map(look::container))
    }

    pub(super) async fn create(&self, plan: ContainerPlan) -> Result<Arc<str>, RuntimeError> {
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
        if let Err(error) = self.join(&id, &request.later).await {
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
    pub(super) async fn join(&self, id: &str, networks: &[Attachment]) -> Result<(), RuntimeError> {
        for attachment in networks {
            let request =
                NetworkConnectRequest { container: id.to_owned(), endpoint_config: Some(create::endpoint(attachment)) };
            let name = attachment.network.as_str();
            identifier(name, "network")?;
            let connected =
                self.raw(limits::CONNECT, |d| async move { d.connect_network(name, request).await }).await?;
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

    pub(super) async fn start(&self, id: &str) -> Result<(), RuntimeError> {
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

    pub(super) async fn stop(&self, id: &str, grace: Option<Duration>) -> Result<(), RuntimeError> {
        identifier(id, "container")?;
        // Whole seconds are all the engine takes; less than asked would cut a grace short.
        let asked = grace.map(|grace| grace.as_secs() + u64::from(grace.subsec_nanos() > 0));
        let seconds = match asked {
            Some(seconds) => seconds,
            // The engine knows the container's own time; it is asked for to know how long this may take.
            None => match self.inspect(id).await? {
                Some(container) => container.stop_timeout.unwrap_or(ENGINE_GRACE_SECONDS),
                None => return Ok(()),
            },
        };
        let t = asked.map(|seconds| i32::try_from(seconds).unwrap_or(i32::MAX));
        let options = StopContainerOptions { signal: None, t };
        let op = limits::STOP.within(limits::STOP.limit.saturating_add(Duration::from_secs(seconds)));
        let stop = self.find(op, Subject::Container(id), |d| async move { d.stop_container(id, Some(options)).await });
        stop.await.map(|_| ())
    }

    pub(super) async fn remove(&self, id: &str) -> Result<(), RuntimeError> {
        identifier(id, "container")?;
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        self.commands().retain(|(container, _), _| container != id);
        // `v` takes the anonymous volumes along. What a container that ran has written there may be the only
        // copy (an image that declares its data directory): unknown is taken for "it ran".
        let never_ran = matches!(self.inspect(id).await, Ok(Some(c)) if c.state == ContainerState::Created && c.started_at.is_empty());
        tokio::time::timeout(limits::REMOVE.limit, self.until_removed(id, never_ran))
            .await
            .unwrap_or_else(|_| Err(limits::REMOVE.missed()))
    }

    /// Where somebody else is removing it: a success only once it is gone. The engine's own wait for a removal
    /// is of no use here: where the removal ends between the engine's look at the container and its wait, that
    /// wait never ends (<https://github.com/moby/moby/pull/34999> makes the awaited channel anew).
    /// What was seen of the container before that removal began holds for the first round alone.
    async fn until_removed(&self, id: &str, mut never_ran: bool) -> Result<(), RuntimeError> {
        loop {
            let options = RemoveContainerOptionsBuilder::default().force(true).v(never_ran).build();
            let removed =
                self.raw(limits::REMOVE, |d| async move { d.remove_container(id, Some(options)).await }).await?;
            match removed {
                Ok(()) => return Ok(()),
                Err(error) if status(&error) == Some(404) => return Ok(()),
                Err(error) if said(&error, "is already in progress") => {
                    never_ran = false;
                    tokio::time::sleep(REMOVAL_PAUSE).await;
                }
                Err(error) => return Err(self.translated(&error, Subject::Container(id))),
            }
        }
    }

    pub(super) async fn signal(&self, id: &str, signal: String) -> Result<(), RuntimeError> {
        identifier(id, "container")?;
        let options = KillContainerOptions { signal };
        let sent = self
            .call(limits::SIGNAL, Subject::Container(id), |d| async move { d.kill_container(id, Some(options)).await })
            .await;
        match sent {
            // The engine says so of one that does not run, too.
            Err(RuntimeError::Conflict { .. } | RuntimeError::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    pub(super) async fn set_restart(&self, id: &str, restart: EngineRestart) -> Result<(), RuntimeError> {
        identifier(id, "container")?;
        let body =
            ContainerUpdateBody { restart_policy: Some(create::restart(restart)), ..ContainerUpdateBody::default() };
        self.call(limits::SET_RESTART, Subject::Container(id), |d| async move { d.update_container(id, body).await })
            .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::{
        io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::runtime::{Runtime as _, docker::Docker};

    /// One answer to one request, whose first line is given back.
    async fn answer(stream: TcpStream, give: impl FnOnce(&str) -> (&'static str, &'static str)) {
        let mut stream = BufReader::new(stream);
        let mut first = String::new();
        stream.read_line(&mut first).await.unwrap();
        let mut line = String::new();
        while stream.read_line(&mut line).await.unwrap() > 2 {
            line.clear();
        }
        let (status, body) = give(first.trim());
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n");
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        stream.write_all(format!("{head}{length}\r\n{body}").as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }

    #[tokio::test]
    async fn anonymous_volumes_go_only_while_it_is_known_that_the_container_never_ran() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let docker = Docker::connect(&format!("tcp://{}", listener.local_addr().unwrap())).unwrap();
        let removals: Arc<Mutex<Vec<bool>>> = Arc::default();
        let seen = removals.clone();
        let engine = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let seen = seen.clone();
                tokio::spawn(answer(stream, move |request| match request.split(' ').next() {
                    Some("DELETE") => {
                        let mut seen = seen.lock().unwrap();
                        seen.push(request.contains("v=true"));
                        match seen.len() {
                            1 | 2 => ("409 Conflict", r#"{"message":"removal of container c is already in progress"}"#),
                            _ => ("204 No Content", ""),
                        }
                    }
                    _ if request.contains("/version") => ("200 OK", r#"{"ApiVersion":"1.41"}"#),
                    _ => ("200 OK", r#"{"Id":"c","State":{"Status":"created","StartedAt":"0001-01-01T00:00:00Z"}}"#),
                }));
            }
        });
        tokio::time::timeout(Duration::from_secs(20), docker.remove("c".into())).await.unwrap().unwrap();
        engine.abort();
        assert_eq!(*removals.lock().unwrap(), [true, false, false], "somebody else had begun to remove it");
    }
}
