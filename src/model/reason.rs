//! The closed set of causes: of conditions, of differences and of events.
//!
//! Names are part of the API: never rename one, only add.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// A CamelCase cause from the closed set.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum Reason { $($(#[doc = $doc])+ $name,)+ }
        impl Reason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$name,)+];
            /// As it is written.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }
            /// What it means, in a sentence.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+),)+ }
            }
        }
    };
}
reasons! {
    /// The registry or the node has no such image.
    ImageNotFound,
    /// The registry refused: credentials are missing or wrong.
    ImagePullRefused,
    /// The registry gave no answer.
    RegistryUnreachable,
    /// The image reference is not resolved yet.
    ImageUnresolved,
    /// A published port is held by something else.
    PortConflict,
    /// The agent has not the right to open a public port.
    PortForbidden,
    /// A public port cannot be opened.
    PortUnavailable,
    /// Every public port that routes ask for is open.
    PortsOpen,
    /// A Secret that a service names does not exist or lacks a key.
    SecretMissing,
    /// A Config that a service names does not exist or lacks a key.
    ConfigMissing,
    /// A bind source does not exist on the node.
    BindSourceMissing,
    /// A volume or directory that had data is gone or is another file system.
    DataMissing,
    /// A service it depends on is not there yet.
    WaitingForDependency,
    /// The health check or readiness probe fails.
    Unhealthy,
    /// The container ends again and again; `nextAttempt` says when it is started again.
    CrashLoopBackOff,
    /// The kernel killed it for want of memory.
    OOMKilled,
    /// Somebody stopped the container.
    StoppedByHand,
    /// The container is not as declared: somebody changed or removed it, or content that it mounts changed since.
    DriftDetected,
    /// Somebody changed a container that runs: its limits are not the declared ones.
    ChangedByHand,
    /// The image reference names another image by now than the one that runs.
    ImageChanged,
    /// The engine's socket does not answer.
    DockerDown,
    /// The engine accepts calls and does not answer in time.
    DockerUnresponsive,
    /// The engine refused the container's settings.
    EngineRefused,
    /// The engine lacks a feature that the spec asks for.
    EngineTooOld,
    /// The disk has no room.
    DiskFull,
    /// No node passes all filters.
    NoNodeFits,
    /// The service is suspended.
    Suspended,
    /// A host device does not exist on the node.
    DeviceMissing,
    /// The image or `platform` is for another architecture.
    ArchitectureMismatch,
    /// The agent's configuration does not grant this host power.
    NotGranted,
    /// This node has not read the log far enough.
    StoreBehind,
    /// The cluster was restored from a backup or has lost something, and nobody has confirmed yet what would change.
    RestoreUnconfirmed,
    /// The replica does not belong on this node, or not any more.
    NotPlacedHere,
    /// A newer replica took its place.
    Superseded,
    /// More replicas than wanted.
    ScaledDown,
    /// The service was deleted.
    ServiceDeleted,
    /// The replica ended by itself, as its restart policy allows.
    Completed,
    /// The container ended with an error and its restart policy is used up.
    Failed,
    /// Enough replicas are ready.
    MinimumReplicasAvailable,
    /// Fewer replicas are ready than wanted.
    MinimumReplicasUnavailable,
    /// A new replica became ready.
    NewReplicaReady,
    /// A change is being carried out.
    ReplicaSetUpdated,
    /// Something keeps a new version of a Config or Secret from the replicas that use it; no newer one is drawn by schedule.
    RotationHalted,
    /// Replicas run with a version of a Config or Secret that is not kept any more.
    VersionMissing,
    /// A revision is being rolled out.
    RolloutStarted,
    /// All replicas are of the wanted revision, and were ready for long enough.
    RolloutComplete,
    /// An update went wrong, and the last ready revision comes back.
    RollingBack,
    /// An update went wrong, and the last ready revision is back.
    RolledBack,
    /// A rollout stands still until somebody lets it go on.
    Paused,
    /// A rollout goes on.
    Resumed,
    /// The first replicas of a revision were found good.
    Promoted,
    /// Every replica of a service is replaced because somebody asked.
    Restarted,
    /// The first replicas of a revision are ready and wait for a word.
    WaitingForPromotion,
    /// Nothing of a rollout became ready for too long.
    ProgressDeadlineExceeded,
    /// Nothing new is sent to a replica that is about to be stopped.
    Draining,
    /// A run of a job was begun.
    RunStarted,
    /// A run of a job came to its end: every slot of it ended with 0.
    RunSucceeded,
    /// A run of a job was given up.
    RunFailed,
    /// A run of a job that was due was let pass.
    RunSkipped,
    /// More attempts of a run failed than `backoffLimit` allows.
    BackoffLimitExceeded,
    /// A run took longer than `activeDeadline` allows.
    DeadlineExceeded,
    /// A run was stopped for a newer one.
    Replaced,
    /// Everything is as declared.
    UpToDate,
    /// Nothing has reported yet.
    HealthUnknown,
    /// A replica has a node.
    Scheduled,
    /// No node could be found for a replica.
    FailedScheduling,
    /// An image is being fetched.
    Pulling,
    /// An image is there.
    Pulled,
    /// A container or object was made.
    Created,
    /// A container runs.
    Started,
    /// A container is being stopped.
    Killing,
    /// A container ended.
    Exited,
    /// A container was removed.
    Removed,
    /// A probe succeeds.
    Healthy,
    /// A replica's container is being prepared.
    Starting,
    /// A hook of a rollout has to succeed first.
    WaitingForHook,
    /// A hook of a service began.
    HookStarted,
    /// A hook of a service succeeded.
    HookSucceeded,
    /// A hook of a service failed.
    HookFailed,
    /// An object's spec was changed.
    Configured,
    /// An object was deleted.
    Deleted,
    /// A node's agent and engine work.
    NodeReady,
    /// A node's agent or engine does not work.
    NodeNotReady,
    /// A node takes nothing new.
    Cordoned,
    /// A node takes new replicas.
    Schedulable,
    /// A process leads the cluster.
    LeaderElected,
    /// A cluster was formed.
    ClusterFormed,
    /// The cluster was rescued or restored and goes on from what was left.
    ClusterRecovered,
    /// What a restored cluster would change was confirmed: it goes on.
    RestoreConfirmed,
    /// An image reference was resolved.
    ImageResolved,
    /// A volume was used for the first time.
    VolumeInitialised,
    /// The image keeps data at a path where the service mounts nothing.
    VolumeUnmounted,
    /// A Route is taken as it is written.
    Accepted,
    /// Everything that a Route names is there.
    ResolvedRefs,
    /// An edge serves a Route as it is written.
    Programmed,
    /// An edge does not serve yet what follows from the log.
    EdgeBehind,
    /// No Traefik of the cluster serves routes.
    NoEdge,
    /// What a Route or Middleware says cannot be carried out.
    InvalidRoute,
    /// Another Route or Service was first with this host and path.
    HostConflict,
    /// A Middleware that a Route names does not exist, or cannot be carried out.
    MiddlewareNotFound,
    /// A Service that a Route names does not exist, or has no such port.
    BackendNotFound,
    /// No replica that could answer is ready.
    NoReadyEndpoint,
    /// A container that runs for no replica is being removed.
    Orphaned,
}
impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
