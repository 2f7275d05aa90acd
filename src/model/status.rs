//! Status: what was observed. A record of its own that never moves an object's `resourceVersion`.

use std::{collections::BTreeMap, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Bytes, Condition, Decision, Index, Millicores, Reason, RolloutPhase, RunState};

/// The status of one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Status {
    /// Of a Replica, written by its node.
    Replica(ReplicaStatus),
    /// Of a Service, written by the leader.
    Service(ServiceStatus),
    /// Of a Node, written by its agent.
    Node(NodeStatus),
}

/// Where a replica's container is in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum ReplicaPhase {
    /// Its node has not begun.
    #[default]
    Pending,
    /// Something has to be there first; the reason says what.
    Waiting,
    /// The image is being fetched.
    Pulling,
    /// The container is being made and started.
    Starting,
    /// The container runs.
    Running,
    /// The container ended or could not start; the next attempt is at `next_attempt`.
    BackOff,
    /// The container is being stopped.
    Stopping,
    /// Ended for good: stopped as desired.
    Stopped,
    /// Ended for good by itself with 0.
    Completed,
    /// Ended for good by itself with an error.
    Failed,
}
impl ReplicaPhase {
    /// Whether nothing follows.
    #[must_use]
    pub const fn ended(self) -> bool {
        matches!(self, Self::Stopped | Self::Completed | Self::Failed)
    }
}

/// The health of a replica whose engine is silent.
pub const UNKNOWN: &str = "unknown";

/// What a node reports of a replica. Times are cluster time in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaStatus {
    /// Where its container is in its life.
    pub phase: ReplicaPhase,
    /// Whether it may get traffic and counts as available.
    pub ready: bool,
    /// What holds it up; none when nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// For people.
    #[serde(default)]
    pub message: String,
    /// Since when it is in this phase with this reason.
    pub since: u64,
    /// When the next attempt is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt: Option<u64>,
    /// When the first of its attempts to start in a row was refused for what the container is or needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_since: Option<u64>,
    /// Since when it is ready without a break.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_since: Option<u64>,
    /// Docker's id of the container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Since when that runs, as its node saw it; also while its engine is silent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_since: Option<u64>,
    /// Image id it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Its address on its first network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Docker's `StartedAt`, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// Docker's health status or the probe's verdict: `starting`, `healthy`, `unhealthy`, or `-`; `unknown` while the
    /// engine is silent and nobody else can tell: `ready` is then what was known last.
    #[serde(default)]
    pub health: String,
    /// Containers of this replica that were started after the first.
    pub restarts: u32,
    /// Exits of its own in a row, forgotten after ten healthy minutes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures: u32,
    /// Restarts for bad health in a row, forgotten likewise.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unhealthy_restarts: u32,
    /// How the last container ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<LastExit>,
    /// Where its ports are published, `8080/tcp` → `0.0.0.0:49153`, `127.0.0.1:8081`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "super::published::one_or_more")]
    pub published: BTreeMap<String, Vec<String>>,
    /// Image id that the service's reference names on its node by now, when it is another one than what runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newer_image: Option<String>,
    /// Image of the revision that its service goes on to, where that is another one: whether its node has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_image: Option<NextImage>,
    /// The `postStart` hooks have run since its container was started.
    #[serde(default, skip_serializing_if = "is_false")]
    pub hooked: bool,
    /// Digests of the Configs and Secrets that its container was started with, by reference: `configs/nginx`,
    /// `secrets/db/url=PASSWORD` for a variable.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub contents: BTreeMap<String, String>,
}

/// How far a node is with the image of what shall take the place of a replica, while that still runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NextImage {
    /// What the engine is given to make a container from.
    pub reference: String,
    /// The node has it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub there: bool,
    /// It is being fetched.
    #[serde(default, skip_serializing_if = "is_false")]
    pub fetching: bool,
    /// Why the last attempt to fetch it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// How far it is or what went wrong, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Since when no attempt works, cluster time in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<u64>,
}

impl ReplicaStatus {
    /// Whether nobody can tell how it is: its engine is silent.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.health == UNKNOWN
    }
}

/// Serde hands it over by reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_false(is: &bool) -> bool {
    !*is
}

/// Likewise.
#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Whose doing an exit was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ExitCause {
    /// Its own.
    #[default]
    Itself,
    /// Somebody stopped or killed it.
    Hand,
    /// The agent stopped it, to start it again.
    Agent,
    /// The engine ended, or its machine.
    Engine,
}

/// How a container ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastExit {
    /// Exit code.
    pub code: i64,
    /// The kernel killed it for want of memory.
    pub oom_killed: bool,
    /// Whose doing it was.
    #[serde(default)]
    pub cause: ExitCause,
    /// Why the agent stopped it, in words: what its health check said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Docker's `FinishedAt`, RFC 3339.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub finished_at: String,
    /// When, cluster time in milliseconds.
    pub at: u64,
    /// Its last log lines, at most ten of at most 200 characters, control characters removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_tail: Vec<String>,
}

/// What the leader says of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatus {
    /// `Ready` first.
    pub conditions: Vec<Condition>,
    /// Generation that the loops dealt with last.
    pub observed_generation: u64,
    /// Counts.
    pub replicas: ReplicaCounts,
    /// Number of the newest revision.
    pub revision: u64,
    /// How far its rollout is; none: it has no revision yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStatus>,
    /// Its runs; none: it is no job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobStatus>,
    /// Slots without a node, with the reasons for each node; of many, the first.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unplaced: BTreeMap<String, Decision>,
}

/// What is said of a Route.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteStatus {
    /// `Ready` first.
    pub conditions: Vec<Condition>,
    /// Generation that it was said of.
    pub observed_generation: u64,
}

/// How far a rollout is, in short.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// Where it is.
    pub phase: RolloutPhase,
    /// Revision that all replicas shall be of.
    pub target: u64,
    /// Revision that is declared.
    pub newest: u64,
    /// Generation of the Service that made the revision that is declared.
    #[serde(default)]
    pub generation: u64,
    /// A revision was ready before: what goes wrong is taken back.
    #[serde(default)]
    pub protected: bool,
    /// A person holds it up.
    #[serde(default)]
    pub paused: bool,
    /// Its `postDeploy` hooks are still to end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hooks: bool,
    /// The first replicas are good and wait for a word.
    #[serde(default)]
    pub waits: bool,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Index of the last change of its record.
    #[serde(default)]
    pub record: Index,
}

/// The runs of a job, in short.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobStatus {
    /// A run is to begin as soon as it may: that of a new revision.
    #[serde(default)]
    pub waits: bool,
    /// When its schedule is due next, cluster time in milliseconds; none: it has none, or is suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_due: Option<u64>,
    /// Those under way and the newest that ended, oldest first.
    #[serde(default)]
    pub runs: Vec<RunStatus>,
}

/// One run, in short.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunStatus {
    /// Its number.
    pub number: u64,
    /// How it stands.
    pub state: RunState,
    /// Slots that ended with 0.
    pub succeeded: u32,
    /// Slots that have to.
    pub completions: u32,
    /// Attempts that failed.
    #[serde(default)]
    pub failed: u32,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}
impl RunStatus {
    /// `run 3 is under way: 1 of 2 completed`, for people.
    #[must_use]
    pub fn told(&self) -> String {
        let Self { number, state, succeeded, completions, failed, message } = self;
        let tries = match failed {
            0 => String::new(),
            1 => ", 1 attempt failed".to_owned(),
            n => format!(", {n} attempts failed"),
        };
        match state {
            RunState::Running => format!("run {number} is under way: {succeeded} of {completions} completed{tries}"),
            RunState::Succeeded => format!("run {number} succeeded{tries}"),
            RunState::Failed => format!("run {number} failed: {message}"),
        }
    }
}

/// Counts of a service's replicas.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaCounts {
    /// Wanted.
    pub desired: u32,
    /// Whose container runs.
    pub running: u32,
    /// That are ready.
    pub ready: u32,
    /// Of the newest revision.
    pub updated: u32,
    /// That did their work and ended, as their `restart` lets them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub completed: u32,
}
impl ReplicaCounts {
    /// Those that nothing is missing of: ready, or completed.
    #[must_use]
    pub const fn good(&self) -> u32 {
        self.ready.saturating_add(self.completed)
    }
    /// What those are, for people.
    #[must_use]
    pub const fn how(&self) -> &'static str {
        match (self.ready, self.completed) {
            (_, 0) => "ready",
            (0, _) => "completed",
            (_, _) => "ready or completed",
        }
    }
    /// `2 of 3 ready`, for people.
    #[must_use]
    pub fn told(&self) -> String {
        format!("{} of {} {}", self.good(), self.desired, self.how())
    }
}

/// What an agent says of its node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// `Ready` first.
    pub conditions: Vec<Condition>,
    /// Version of the agent.
    pub version: String,
    /// The engine.
    pub engine: EngineInfo,
    /// CPU of the machine.
    pub cpus: Millicores,
    /// Memory of the machine.
    pub memory: Bytes,
    /// Addresses it can be reached at.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// Kernel release.
    pub kernel: String,
    /// Docker images that only exist here are not listed; ids of networks and volumes neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operating_system: Option<String>,
    /// What it would do if the backup that was restored were confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restoring: Option<Restoring>,
}

/// What a node would do if the backup that was restored were confirmed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Restoring {
    /// Everything on this node was looked at.
    pub whole: bool,
    /// Containers that run as the backup declares them: they stay.
    pub adopted: u32,
    /// What is held back.
    #[serde(default)]
    pub steps: Vec<HeldStep>,
    /// How many more.
    #[serde(default)]
    pub untold: u32,
}

/// What a confirmation lets happen to one container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum HeldAction {
    /// It is made and started.
    Create,
    /// The one that is there is started.
    Start,
    /// It is stopped and started again.
    Restart,
    /// It is stopped and removed.
    Stop,
    /// What does not run is removed.
    Remove,
    /// It is put on networks that it was taken off.
    Connect,
    /// Its files are replaced while it runs.
    Reload,
    /// A Secret gets a new value.
    Rotate,
}
impl HeldAction {
    /// As people read it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Start => "start",
            Self::Restart => "restart",
            Self::Stop => "stop",
            Self::Remove => "remove",
            Self::Connect => "connect",
            Self::Reload => "reload",
            Self::Rotate => "rotate",
        }
    }
}

/// What is held back of one replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeldStep {
    /// Its name, which is the container's.
    pub replica: Arc<str>,
    /// What would be done.
    pub action: HeldAction,
    /// Why.
    pub message: String,
}

/// What is known of an engine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EngineInfo {
    /// The engine's own id.
    pub id: Arc<str>,
    /// Version, `20.10.24`.
    pub version: String,
    /// Newest API it speaks, `1.41`.
    pub api_version: String,
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`, …
    pub arch: String,
    /// Running as root or not.
    pub rootless: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_with_a_single_place_is_read_as_it_was_stored_once() {
        let mut stored = serde_json::to_value(ReplicaStatus::default()).unwrap();
        stored["published"] = serde_json::json!({"80/tcp": "0.0.0.0:80", "90/tcp": ["0.0.0.0:90", "127.0.0.1:91"]});
        let packed = rmp_serde::to_vec_named(&stored).unwrap();
        let read: ReplicaStatus = rmp_serde::from_slice(&packed).unwrap();
        assert_eq!(read.published["80/tcp"], ["0.0.0.0:80"]);
        assert_eq!(read.published["90/tcp"], ["0.0.0.0:90", "127.0.0.1:91"]);
    }
}
