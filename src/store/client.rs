//! The store as the rest of the house sees it: read the newest state, watch it, propose a change.
//!
//! Invariants: reading never waits; a proposal is answered within its deadline, and the answer says
//! which of three things is true: it happened, it did not, or nobody knows.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use prometheus_client::registry::Registry;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot, watch},
};

use super::{
    clock::Clock,
    command::{Applied, Group, Refusal},
    metrics::{self, Gauges},
    open::Owner,
    proposer::{self, Metrics, Proposal},
    room::{Free, Room},
    state::State,
};
use crate::model::Index;

/// Handle to this node's store. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    pub(super) state: watch::Receiver<Arc<State>>,
    pub(super) queue: mpsc::Sender<Proposal>,
    pub(super) leadership: watch::Receiver<Option<Index>>,
    pub(super) metrics: watch::Receiver<Metrics>,
    pub(super) counted: metrics::Metrics,
    pub(super) clock: Clock,
    /// Raft's runtime: deadlines run on its timers, whatever the caller's do.
    pub(super) runtime: Handle,
    pub(super) room: Room,
    /// Of a store without files: it lives as long as its clients.
    pub(super) _alive: Option<Arc<Owner>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client(at {})", self.state.borrow().index())
    }
}

/// Why a proposal has no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// The state machine refused: nothing changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No leader, or it cannot reach a majority or its disk: nothing was proposed.
    #[error("no quorum: {0}")]
    NoQuorum(String),
    /// It was proposed and its fate is not known: it may still happen.
    #[error("{0}: the change may still happen")]
    Unknown(String),
    /// The disk is about to be full: nothing was proposed.
    #[error("no room: {0}")]
    NoRoom(Free),
    /// Too many proposals wait: nothing was proposed.
    #[error("the store is busy: {0} proposals wait")]
    Busy(usize),
    /// The group does not fit into one entry: nothing was proposed.
    #[error("the change is {size} bytes, more than {limit}")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The store is shutting down: nothing was proposed.
    #[error("the store is closed")]
    Closed,
}

/// What `/raft/status` shows.
#[derive(Debug, Clone, Default, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RaftStatus {
    /// This member's id.
    pub member: u64,
    /// `Leader`, `Follower`, `Learner`, `Candidate`.
    pub role: String,
    /// Raft's term.
    pub term: u64,
    /// Member id of the leader.
    pub leader: Option<u64>,
    /// Last entry of the log.
    pub last_log: u64,
    /// Last entry applied.
    pub applied: u64,
    /// Last entry in the newest snapshot.
    pub snapshot: u64,
    /// Last entry removed from the log.
    pub purged: u64,
    /// Members that count for quorum.
    pub voters: Vec<u64>,
}

impl Client {
    /// The newest applied state. Never waits.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        self.state.borrow().clone()
    }
    /// The state as it changes; slow readers see the newest, not each.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<State>> {
        self.state.clone()
    }
    /// Proposes a group and waits for its answer, at most `deadline`. `at` is stamped by the proposer.
    ///
    /// A caller that drops the future before the answer does not undo the change.
    ///
    /// # Errors
    /// See [`ProposeError`]: refused, not proposed, or unknown.
    pub async fn propose(&self, group: Group, deadline: Duration) -> Result<Applied, ProposeError> {
        let answer = self.ask(group, deadline).await;
        self.counted.proposals.answered(&answer);
        answer
    }
    async fn ask(&self, group: Group, deadline: Duration) -> Result<Applied, ProposeError> {
        let size = proposer::size(&group);
        if size > proposer::GROUP_BYTES {
            return Err(ProposeError::TooLarge { size, limit: proposer::GROUP_BYTES });
        }
        let (answer, answered) = oneshot::channel();
        let taken = Arc::new(AtomicBool::new(false));
        self.queue.try_send(Proposal { group, size, taken: taken.clone(), answer }).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => ProposeError::Busy(proposer::QUEUE),
            mpsc::error::TrySendError::Closed(_) => ProposeError::Closed,
        })?;
        let expired = {
            let _timers = self.runtime.enter();
            tokio::time::sleep(deadline)
        };
        tokio::select! {
            biased;
            answer = answered => answer.unwrap_or_else(|_| Err(ProposeError::Unknown("the store was closed".into()))),
            () = expired => Err(if taken.swap(true, Ordering::AcqRel) {
                ProposeError::Unknown(format!("no answer within {deadline:?}"))
            } else {
                ProposeError::NoQuorum(format!("the change before it had no answer within {deadline:?}"))
            }),
        }
    }
    /// How much room its disk has; none when nobody knows. Asks the file system.
    #[must_use]
    pub fn room(&self) -> Option<Free> {
        self.room.look()
    }
    /// Cluster time, milliseconds since 1970: never jumps.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.clock.now()
    }
    /// The token of this process's leadership; `None` while it does not lead. Loops of the leader hang on it.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Option<Index>> {
        self.leadership.clone()
    }
    /// Registers what this store tells of itself.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("constellation_store");
        self.counted.register(registry);
        registry.register_collector(Box::new(Gauges {
            state: self.state.clone(),
            raft: self.metrics.clone(),
            leadership: self.leadership.clone(),
            queue: self.queue.downgrade(),
        }));
    }
    /// Whether Raft and its thread still run. Waits for that thread, without a limit: a stuck one never answers.
    pub async fn answers(&self) -> bool {
        let metrics = self.metrics.clone();
        self.runtime.spawn(async move { metrics.has_changed().is_ok() }).await.unwrap_or(false)
    }
    /// Raft's view.
    #[must_use]
    pub fn raft_status(&self) -> RaftStatus {
        let metrics = self.metrics.borrow();
        RaftStatus {
            member: metrics.id,
            role: format!("{:?}", metrics.state),
            term: metrics.current_term,
            leader: metrics.current_leader,
            last_log: metrics.last_log_index.unwrap_or(0),
            applied: metrics.last_applied.map_or(0, |l| l.index),
            snapshot: metrics.snapshot.map_or(0, |l| l.index),
            purged: metrics.purged.map_or(0, |l| l.index),
            voters: metrics.membership_config.voter_ids().collect(),
        }
    }
}
