//! The calls about containers.

use std::{
    collections::HashMap,
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use bollard::{
    exec::StartExecResults,
    models::{ContainerUpdateBody, ExecConfig, NetworkConnectRequest},
    query_parameters::{
        CreateContainerOptions, InspectContainerOptions, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
        StartContainerOptions, StopContainerOptions, WaitContainerOptions,
    },
};
use futures::StreamExt as _;

use super::{Engine, create, error::Subject, look, said, status};
use crate::runtime::{
    Attachment, Container, ContainerPlan, ContainerState, EngineRestart, ExecResult, RuntimeError, Summary,
    limits::{self, Op},
    names::identifier,
};

/// Output of a command that is kept.
const EXEC_OUTPUT_MAX: usize = 4 * 1024;
/// Between its stop signal and SIGKILL, for a container that says nothing.
const ENGINE_GRACE_SECONDS: u64 = 10;
/// Containers made by this process and not started yet; beyond this many, a start looks first.
const FRESH_MAX: usize = 4_096;

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

    pub(super) async fn set_restart(&self, id: &str, restart: EngineRestart) -> Result<(), RuntimeError> {
        identifier(id, "container")?;
        let body =
            ContainerUpdateBody { restart_policy: Some(create::restart(restart)), ..ContainerUpdateBody::default() };
        self.call(limits::SET_RESTART, Subject::Container(id), |d| async move { d.update_container(id, body).await })
            .await
    }

    pub(super) async fn exec(
        &self,
        id: &str,
        command: Vec<String>,
        limit: Duration,
    ) -> Result<ExecResult, RuntimeError> {
        identifier(id, "container")?;
        let this = (id.to_owned(), command.clone());
        let op = limits::EXEC.within(limit);
        if self.still_runs(op, &this).await? {
            return Err(limits::still_runs(&command));
        }
        let config = ExecConfig {
            cmd: Some(command),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..ExecConfig::default()
        };
        let begun = |exec: &String| self.commands().insert(this.clone(), exec.clone());
        let result = self.call(op, Subject::Container(id), |d| async move {
            let exec = d.create_exec(id, config).await?.id;
            // Before it begins: this call may be given up at any time from here on.
            begun(&exec);
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
        });
        let result = result.await?;
        self.commands().remove(&this);
        Ok(result)
    }

    /// Whether the last run of a command, whose end nobody saw, still goes on.
    async fn still_runs(&self, op: Op, this: &(String, Vec<String>)) -> Result<bool, RuntimeError> {
        let Some(exec) = self.commands().get(this).cloned() else { return Ok(false) };
        let found = self.find(op, Subject::Container(&this.0), |d| async move { d.inspect_exec(&exec).await }).await?;
        let runs = found.is_some_and(|e| e.running == Some(true));
        if !runs {
            self.commands().remove(this);
        }
        Ok(runs)
    }

    fn commands(&self) -> MutexGuard<'_, HashMap<(String, Vec<String>), String>> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
