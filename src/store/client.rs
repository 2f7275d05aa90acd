//! The store as the rest of the house sees it: read the newest state, watch it, propose a change.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{
    command::{Applied, Group, Refusal},
    state::State,
};
use crate::model::Index;

/// Handle to this node's store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    state: watch::Receiver<Arc<State>>,
}

/// Why a proposal has no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// The state machine refused: nothing changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No leader, or it cannot reach a majority: nothing was proposed.
    #[error("no quorum: {0}")]
    NoQuorum(String),
    /// It was proposed and its fate is not known: it may still happen.
    #[error("no answer within {0:?}: the change may still happen")]
    Unknown(Duration),
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
    /// The store is shutting down.
    #[error("the store is closed")]
    Closed,
}

/// What `/raft/status` shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
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
    /// Raft log: last written, committed, applied, purged.
    pub last_log: u64,
    /// Applied.
    pub applied: u64,
    /// In the newest snapshot.
    pub snapshot: u64,
    /// Removed from the log.
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
    /// # Errors
    /// See [`ProposeError`]: refused, not proposed, or unknown.
    pub async fn propose(&self, group: Group, deadline: Duration) -> Result<Applied, ProposeError> {
        let _ = (group, deadline);
        Err(ProposeError::Closed)
    }
    /// Cluster time, milliseconds since 1970: never jumps.
    #[must_use]
    pub fn now(&self) -> u64 {
        0
    }
    /// The token of this process's leadership; `None` while it does not lead. Loops of the leader hang on it.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Option<Index>> {
        watch::channel(None).1
    }
    /// Raft's view.
    #[must_use]
    pub fn raft_status(&self) -> RaftStatus {
        RaftStatus::default()
    }
}
