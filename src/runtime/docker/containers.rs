//! The calls about containers.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError},
    time::Duration,
};

use bollard::{
    models::{ContainerUpdateBody, NetworkConnectRequest},
    query_parameters::{
        CreateContainerOptions, InspectContainerOptions, ListContainersOptionsBuilder, RemoveContainerOptions,
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
        let options = RemoveContainerOptionsBuilder::default().force(true).v(never_ran).build();
        tokio::time::timeout(limits::REMOVE.limit, self.until_removed(id, options))
            .await
            .unwrap_or_else(|_| Err(limits::REMOVE.missed()))
    }

    /// Where somebody else is removing it: a success only once it is gone. The engine's own wait for a removal
    /// is of no use here: where the removal ends between the engine's look at the container and its wait, that
    /// wait never ends (<https://github.com/moby/moby/pull/34999> makes the awaited channel anew).
    async fn until_removed(&self, id: &str, options: RemoveContainerOptions) -> Result<(), RuntimeError> {
        loop {
            let options = options.clone();
            let removed =
                self.raw(limits::REMOVE, |d| async move { d.remove_container(id, Some(options)).await }).await?;
            match removed {
                Ok(()) => return Ok(()),
                Err(error) if status(&error) == Some(404) => return Ok(()),
                Err(error) if said(&error, "is already in progress") => tokio::time::sleep(REMOVAL_PAUSE).await,
                Err(error) => return Err(self.translated(&error, Subject::Container(id))),
            }
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
