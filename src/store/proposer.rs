//! The proposer: the one task that writes Raft entries.
//!
//! Here: waiting proposals become one entry of many groups; one entry is in flight at a time. Not
//! here: what callers see ([`super::client`]), what a group does ([`super::apply`]).
//! Invariants: the queue is bounded; a group is proposed at most once; what was never taken from the
//! queue is answered as "nothing was proposed", what was taken and not answered as "unknown".
//! Why one entry in flight: more of them leave each one half full, and the log syncs them one by one
//! (measured: 12 times slower with four). Why it yields before it drains: the writers just answered
//! come back into the same entry; a single writer has nobody to wait for, so it is not made to wait.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use openraft::{RaftMetrics, ServerState, error::ClientWriteError};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::yield_now,
};
use tokio_util::sync::CancellationToken;

use super::{
    client::ProposeError,
    clock::Clock,
    command::{Applied, Command, Group},
    raft::{Batch, MemberId, PeerNode, Raft},
};

/// Proposals that may wait.
pub const QUEUE: usize = 4_096;
/// Groups in one entry.
pub const GROUPS: usize = 256;
/// Bytes of groups after which an entry takes no more.
pub const ENTRY_BYTES: usize = 1 << 20;
/// Bytes of one group at most: replication cuts its messages there.
pub const GROUP_BYTES: usize = 4 << 20;
/// Yields before an entry is closed, at most.
const YIELDS: usize = 32;

/// A metrics reading of this store.
pub(super) type Metrics = RaftMetrics<MemberId, PeerNode>;

/// One waiting group.
#[derive(Debug)]
pub(super) struct Proposal {
    pub group: Group,
    pub size: usize,
    /// Whoever sets it first decides: the proposer takes the group, or its author gives up.
    pub taken: Arc<AtomicBool>,
    pub answer: oneshot::Sender<Result<Applied, ProposeError>>,
}

/// About what a group takes in an entry, bytes.
#[must_use]
pub fn size(group: &Group) -> usize {
    let commands = group.commands.iter().map(|command| match command {
        Command::Put(put) => {
            let texts = put.labels.iter().chain(&put.annotations).map(|(k, v)| k.len() + v.len() + 4);
            put.spec.len() + texts.sum::<usize>() + 256
        }
        Command::Place { replica } => {
            let considered = replica.decision.considered.iter();
            let nodes = considered.map(|c| 64 + c.rejections.iter().map(|r| 96 + r.message.len()).sum::<usize>());
            nodes.sum::<usize>() + 768
        }
        Command::RecordObservations { statuses, events } => {
            statuses.len() * 2_048 + events.iter().map(|e| e.message.len() + 256).sum::<usize>()
        }
        Command::FormCluster { .. }
        | Command::LeaderStarted { .. }
        | Command::Delete { .. }
        | Command::SetDesired { .. }
        | Command::Forget { .. }
        | Command::ResolveImage { .. }
        | Command::InitialiseVolume { .. } => 512,
    });
    commands.sum::<usize>() + group.preconditions.len() * 64 + 128
}

/// Why nothing can be proposed now.
///
/// `quiet`: milliseconds after which a leader that hears no majority takes nothing new.
pub(super) fn gate(metrics: &Metrics, quiet: u64) -> Option<String> {
    if metrics.running_state.is_err() {
        return Some("this node's store has stopped".into());
    }
    if metrics.state != ServerState::Leader {
        let leader = metrics.current_leader.and_then(|l| metrics.membership_config.membership().get_node(&l));
        return Some(match leader {
            Some(leader) => format!("node {} leads, not this one", leader.node),
            None => "no node leads".into(),
        });
    }
    let others = metrics.membership_config.voter_ids().any(|id| id != metrics.id);
    match metrics.millis_since_quorum_ack {
        Some(age) if others && age > quiet => Some(format!("no majority of the servers has answered for {age} ms")),
        None if others => Some("no majority of the servers has answered yet".into()),
        Some(_) | None => None,
    }
}

/// The task.
pub(super) struct Proposer {
    pub raft: Raft,
    pub clock: Clock,
    pub inbox: mpsc::Receiver<Proposal>,
    pub metrics: watch::Receiver<Metrics>,
    /// See [`gate`].
    pub quiet: u64,
    pub stop: CancellationToken,
}

/// An entry in the making.
#[derive(Default)]
struct Entry {
    groups: Vec<Group>,
    answers: Vec<oneshot::Sender<Result<Applied, ProposeError>>>,
    bytes: usize,
}

impl Entry {
    fn has_room(&self) -> bool {
        self.groups.len() < GROUPS && self.bytes < ENTRY_BYTES
    }
    fn add(&mut self, proposal: Proposal) {
        if !proposal.taken.swap(true, Ordering::AcqRel) {
            self.bytes += proposal.size;
            self.groups.push(proposal.group);
            self.answers.push(proposal.answer);
        }
    }
    /// Takes what waits.
    fn drain(&mut self, inbox: &mut mpsc::Receiver<Proposal>) {
        while self.has_room()
            && let Ok(proposal) = inbox.try_recv()
        {
            self.add(proposal);
        }
    }
}

fn refuse(answers: Vec<oneshot::Sender<Result<Applied, ProposeError>>>, why: impl Fn() -> ProposeError) {
    for answer in answers {
        // An author who is gone needs no answer.
        let _ = answer.send(Err(why()));
    }
}

impl Proposer {
    /// Runs until it is stopped or its queue has no more authors.
    pub async fn run(mut self) {
        let (mut writers, mut at) = (0, 0);
        loop {
            let mut entry = Entry::default();
            let first = tokio::select! {
                biased;
                () = self.stop.cancelled() => None,
                first = self.inbox.recv() => first,
            };
            let Some(first) = first else { break };
            entry.add(first);
            entry.drain(&mut self.inbox);
            let mut yields = 0;
            while writers > 1 && entry.has_room() && entry.groups.len() < writers && yields < YIELDS {
                yield_now().await;
                entry.drain(&mut self.inbox);
                yields += 1;
            }
            writers = entry.groups.len();
            if entry.groups.is_empty() {
                continue;
            }
            at = self.clock.now().max(at);
            self.propose(entry, at).await;
        }
        self.inbox.close();
        while let Ok(proposal) = self.inbox.try_recv() {
            refuse(vec![proposal.answer], || ProposeError::Closed);
        }
    }

    async fn propose(&mut self, entry: Entry, at: u64) {
        let Entry { mut groups, answers, .. } = entry;
        let (closed, term) = {
            let metrics = self.metrics.borrow();
            (gate(&metrics, self.quiet), metrics.current_term)
        };
        if let Some(why) = closed {
            return refuse(answers, || ProposeError::NoQuorum(why.clone()));
        }
        for group in &mut groups {
            group.at = at;
        }
        let Ok(written) = self.raft.client_write_ff(Batch(Arc::new(groups))).await else {
            return refuse(answers, || ProposeError::Closed);
        };
        let mut metrics = self.metrics.clone();
        let lost =
            metrics.wait_for(|m| m.running_state.is_err() || m.state != ServerState::Leader || m.current_term != term);
        let result = tokio::select! {
            biased;
            result = written => result.ok(),
            // openraft may drop a write in silence when it loses the lead.
            _ = lost => None,
        };
        match result {
            Some(Ok(response)) => {
                for (answer, result) in answers.into_iter().zip(response.data.0) {
                    let _ = answer.send(result.map_err(ProposeError::Refused));
                }
            }
            // Refused at the door, or overwritten by another leader: it never happens.
            Some(Err(ClientWriteError::ForwardToLeader(_))) => {
                refuse(answers, || ProposeError::NoQuorum("another node leads now".into()));
            }
            Some(Err(ClientWriteError::ChangeMembershipError(_))) | None => {
                refuse(answers, || ProposeError::Unknown("the lead was lost".into()));
            }
        }
    }
}
