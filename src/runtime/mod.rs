//! The container runtime: what the agent asks of an engine, and who answers.
//!
//! Here: the trait [`Runtime`], and [`answers`], which asks as little as can be. Its values: `plan` is what a container is made from, `container` and
//! `image` what an engine answers about them, `error` what it answers instead. [`docker`] talks to a real
//! engine through bollard; `fake` is an engine in memory for fast tests; `conformance` is the one suite
//! that both keep. [`holder`] says who has a port. [`limits`] says how long each call may take, `names` what counts as a name.
//! Not here: deciding what to ask (`plan::agent`), retries (`reconcile::agent`).
//! Invariant: every call ends within a deadline of its own; a call that was answered late may have
//! had its effect, so callers look before they repeat.

#[cfg(test)]
mod conformance;
mod container;
pub mod docker;
mod error;
#[cfg(test)]
pub mod fake;
pub mod holder;
mod image;
pub mod limits;
mod names;
pub mod plan;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes as Chunk;
use futures::{future::BoxFuture, stream::BoxStream};

pub use self::{
    container::{Container, ExecResult, LogChunk, LogQuery, RuntimeEvent, Summary},
    error::RuntimeError,
    image::{BuildProgress, BuildRequest, Credentials, Image, PullProgress},
    plan::{Attachment, ContainerPlan, MountPlan, NamedVolume, NetworkPlan, PublishedPort},
};
use crate::model::{Bytes, Millicores};
pub use crate::model::{
    engine::{ContainerState, EngineRestart},
    status::EngineInfo,
};

/// What the agent asks of an engine. Object-safe: loops, API and tests hold an `Arc<dyn Runtime>`.
///
/// Every call has a deadline inside the implementation, every item of a stream too.
pub trait Runtime: Send + Sync + 'static {
    /// Identity, version, platform.
    fn info(&self) -> BoxFuture<'_, Result<EngineInfo, RuntimeError>>;
    /// When this engine began, nanoseconds since 1970; none: it does not say. What ended before that ended with
    /// the engine before it. Asked over a connection of its own: an engine that is about to end takes no new ones
    /// while it stops its containers.
    fn began(&self) -> BoxFuture<'_, Result<Option<i64>, RuntimeError>>;
    /// CPU and memory of the machine as the engine sees it.
    fn capacity(&self) -> BoxFuture<'_, Result<(Millicores, Bytes), RuntimeError>>;
    /// Containers that carry the label `key=value`, running or not.
    fn list(&self, key: String, value: String) -> BoxFuture<'_, Result<Vec<Summary>, RuntimeError>>;
    /// Names of the running containers that publish this port of the host.
    fn publishing(&self, port: u16) -> BoxFuture<'_, Result<Vec<String>, RuntimeError>>;
    /// One container by id or name; `None` when there is none.
    fn inspect(&self, id: String) -> BoxFuture<'_, Result<Option<Container>, RuntimeError>>;
    /// Makes it; a name that is taken is a `Conflict`.
    fn create(&self, plan: ContainerPlan) -> BoxFuture<'_, Result<Arc<str>, RuntimeError>>;
    /// Starts it; running already is a success.
    fn start(&self, id: String) -> BoxFuture<'_, Result<(), RuntimeError>>;
    /// Asks it to end, kills it after `grace`, or after the container's own time; not running or gone is a success.
    fn stop(&self, id: String, grace: Option<Duration>) -> BoxFuture<'_, Result<(), RuntimeError>>;
    /// Sends a signal, like `SIGHUP`, to its first process; not running or gone is a success: there is nobody to tell.
    fn signal(&self, id: String, signal: String) -> BoxFuture<'_, Result<(), RuntimeError>>;
    /// Removes it, killing it if it runs. Gone is a success. Every volume stays; only the anonymous ones of
    /// a container that never ran, which hold nothing, go with it.
    fn remove(&self, id: String) -> BoxFuture<'_, Result<(), RuntimeError>>;
    /// Changes the engine's restart policy of a container.
    fn set_restart(&self, id: String, restart: EngineRestart) -> BoxFuture<'_, Result<(), RuntimeError>>;
    /// Puts it on networks that exist; being on them already is a success.
    fn connect(&self, id: String, networks: Vec<Attachment>) -> BoxFuture<'_, Result<(), RuntimeError>>;
    /// Makes a bridge with our labels unless one of that name exists.
    fn ensure_network(&self, name: String, labels: BTreeMap<String, String>)
    -> BoxFuture<'_, Result<(), RuntimeError>>;
    /// The volume of exactly this name, if it exists.
    fn volume(&self, name: String) -> BoxFuture<'_, Result<Option<NamedVolume>, RuntimeError>>;
    /// Makes a local volume with our labels; existing is a success. Answers where it lies.
    fn ensure_volume(
        &self,
        name: String,
        labels: BTreeMap<String, String>,
    ) -> BoxFuture<'_, Result<String, RuntimeError>>;
    /// An image by reference or id; `None` when the engine does not have it.
    fn image(&self, reference: String) -> BoxFuture<'_, Result<Option<Image>, RuntimeError>>;
    /// Asks the registry for `repository@digest` of a reference, without pulling.
    fn resolve(
        &self,
        reference: String,
        credentials: Option<Credentials>,
    ) -> BoxFuture<'_, Result<String, RuntimeError>>;
    /// Pulls an image. Ends with an error item or after the last progress.
    fn pull(
        &self,
        reference: String,
        platform: Option<String>,
        credentials: Option<Credentials>,
    ) -> BoxStream<'_, Result<PullProgress, RuntimeError>>;
    /// Events of containers that carry the label `key=value`, from `since` (nanoseconds since 1970) on. May end in silence: list as well.
    fn events(
        &self,
        key: String,
        value: String,
        since: Option<i64>,
    ) -> BoxStream<'static, Result<RuntimeEvent, RuntimeError>>;
    /// A container's log.
    fn logs(&self, id: String, query: LogQuery) -> BoxStream<'static, Result<LogChunk, RuntimeError>>;
    /// Runs a command in a container. `limit` counts from when it runs there; an engine that does not get
    /// that far is `Unresponsive`, a command that outlives its limit `CommandHung`. No engine ends such a
    /// one: while it runs, the same command in that container is `CommandHung` too, so that they do not
    /// pile up.
    fn exec(
        &self,
        id: String,
        command: Vec<String>,
        limit: Duration,
    ) -> BoxFuture<'_, Result<ExecResult, RuntimeError>>;
    /// Builds an image from a tar stream.
    fn build(
        &self,
        request: BuildRequest,
        context: BoxStream<'static, std::io::Result<Chunk>>,
    ) -> BoxStream<'static, Result<BuildProgress, RuntimeError>>;
}

/// A container that there never is: asking for it shows that the engine answers, and costs it nothing.
const NOBODY: &str = "constellation-is-the-engine-there";

/// Whether the engine answers, within seconds. Other than [`Runtime::info`] it has nothing to gather, and no
/// container's lock to wait for: a busy engine answers too.
///
/// # Errors
/// What it does instead.
pub async fn answers(runtime: &dyn Runtime) -> Result<(), RuntimeError> {
    let answer = tokio::time::timeout(limits::ANSWERS.limit, runtime.inspect(NOBODY.into())).await;
    answer.unwrap_or_else(|_| Err(limits::ANSWERS.missed())).map(|_| ())
}
