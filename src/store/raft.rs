//! Raft's types for this store, its timing, and the network of a cluster of one.

use std::{io::Cursor, sync::Arc};

use openraft::{
    Config, RaftNetwork, RaftNetworkFactory, SnapshotPolicy, TokioRuntime,
    error::{InstallSnapshotError, RPCError, RaftError, Unreachable},
    network::RPCOption,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest,
        VoteResponse,
    },
};
use serde::{Deserialize, Serialize};

use super::command::{Answer, Group};

/// Raft's name of a member; never reused. A Node is another thing.
pub type MemberId = u64;

/// What Raft knows of a member.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerNode {
    /// Name of its Node.
    pub node: String,
    /// Where its peer port is; empty while the cluster has one node.
    pub address: String,
}

/// One entry: many independent groups.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Batch(pub Arc<Vec<Group>>);

/// One answer for each group.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Answers(pub Vec<Answer>);

openraft::declare_raft_types!(
    /// The types of this store.
    pub Types:
        D = Batch,
        R = Answers,
        NodeId = MemberId,
        Node = PeerNode,
        Entry = openraft::Entry<Types>,
        SnapshotData = Cursor<Vec<u8>>,
        AsyncRuntime = TokioRuntime
);

/// Raft itself.
pub type Raft = openraft::Raft<Types>;
/// What its storage answers.
pub type StorageError = openraft::StorageError<MemberId>;

pub use crate::model::Profile;

/// Milliseconds after which a leader that hears no majority takes nothing new.
#[must_use]
pub const fn quiet(profile: Profile) -> u64 {
    match profile {
        Profile::Lan => 1_200,
        Profile::Wan => 6_000,
    }
}

/// Raft's settings for a profile.
///
/// # Errors
/// When openraft refuses them.
pub fn config(profile: Profile) -> Result<Config, Box<openraft::ConfigError>> {
    let (heartbeat, from, to) = match profile {
        Profile::Lan => (200, 600, 1_200),
        Profile::Wan => (1_000, 3_000, 6_000),
    };
    Config {
        cluster_name: "constellation".into(),
        heartbeat_interval: heartbeat,
        election_timeout_min: from,
        election_timeout_max: to,
        install_snapshot_timeout: 10_000,
        max_payload_entries: 64,
        // Both by size and age, see `super::keeper`.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        ..Config::default()
    }
    .validate()
    .map_err(Box::new)
}

/// Reaches no peer: a cluster of one has none. Members are added together with their transport.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPeers;

type Failed<E> = RPCError<MemberId, PeerNode, E>;

fn unreachable<E: std::error::Error>() -> Failed<E> {
    RPCError::Unreachable(Unreachable::new(&std::io::Error::other("this node has no peer transport")))
}

impl RaftNetworkFactory<Types> for NoPeers {
    type Network = Self;
    async fn new_client(&mut self, _: MemberId, _: &PeerNode) -> Self {
        *self
    }
}

impl RaftNetwork<Types> for NoPeers {
    async fn append_entries(
        &mut self,
        _: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<MemberId>, Failed<RaftError<MemberId>>> {
        Err(unreachable())
    }
    async fn vote(
        &mut self,
        _: VoteRequest<MemberId>,
        _: RPCOption,
    ) -> Result<VoteResponse<MemberId>, Failed<RaftError<MemberId>>> {
        Err(unreachable())
    }
    async fn install_snapshot(
        &mut self,
        _: InstallSnapshotRequest<Types>,
        _: RPCOption,
    ) -> Result<InstallSnapshotResponse<MemberId>, Failed<RaftError<MemberId, InstallSnapshotError>>> {
        Err(unreachable())
    }
}
