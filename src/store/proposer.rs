//! The proposer: the one task that writes Raft entries.
//!
//! Here: waiting proposals become entries of many groups, one of them in flight, or two when many write.
//! Not here: what callers see ([`super::client`]), what a group does ([`super::apply`]).
//! Invariants: the queue is bounded; a group is proposed at most once; what was never taken from the
//! queue is answered as "nothing was proposed", what was taken and not answered as "unknown".
//! Why few entries in flight: more of them leave each one half full, and the log syncs them one by one
//! (measured: 12 times slower with four). Why two when many write: while the log syncs the one half of the
//! writers, the other half is answered and asks again; neither the disk nor the processor waits (measured: a
//! gain with 256 writers, a loss with 64). Why it yields before it drains: the writers just answered come back
//! into the same entry; a single writer has nobody to wait for, so it is not made to wait.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::{
    FutureExt as _,
    future::BoxFuture,
    stream::{FuturesUnordered, StreamExt as _},
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
    room::Room,
};

/// Proposals that may wait.
pub const QUEUE: usize = 4_096;
/// Groups in one entry.
pub const GROUPS: usize = 256;
/// Bytes of groups after which an entry takes no more.
pub const ENTRY_BYTES: usize = 1 << 20;
/// Bytes of one group at most: replication cuts its messages there.
pub const GROUP_BYTES: usize = 4 << 20;
/// Yields before an entry is closed, at most: some 100 µs, as long as writers on other threads need to wake
/// and ask again (measured: a tenth more than with 32).
const YIELDS: usize = 256;
/// Groups that are worth a sync of their own while another entry is in flight.
const HALF: usize = 64;

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
        Command::Reseal { sealed, .. } => sealed.spec.len() + 512,
        Command::Place { replica, .. } => {
            let considered = replica.decision.considered.iter();
            let nodes = considered.map(|c| 64 + c.rejections.iter().map(|r| 96 + r.message.len()).sum::<usize>());
            nodes.sum::<usize>() + 768
        }
        Command::RecordObservations { statuses, events } => {
            statuses.len() * 2_048 + events.iter().map(|e| e.message.len() + 256).sum::<usize>()
        }
        Command::RecordEdge { edge, judged, .. } => {
            let drained = edge.iter().chain(judged.as_deref()).flat_map(|edge| &edge.drained);
            drained.map(|name| name.len() + 8).sum::<usize>() + 512
        }
        Command::SetRollout { rollout, .. } => {
            let lines = |tail: &[String]| tail.iter().map(|line| line.len() + 8).sum::<usize>();
            let (hooked, paused) = (&rollout.hooked, rollout.paused.as_ref());
            let followed = hooked.followed.as_ref().map_or(0, |f| f.message.len() + lines(&f.log_tail) + 128);
            let last = hooked.last.as_ref().map_or(0, |last| last.message.len() + last.replica.len() + 64);
            let counted = hooked.counted.iter().map(|name| name.len() + 8).sum::<usize>();
            // As declared, with what may stand in each: its own form says how long it is.
            let list = if hooked.list.is_empty() { 0 } else { serde_json::to_vec(&hooked.list).map_or(0, |b| b.len()) };
            let paused = paused.map_or(0, |p| p.by.len() + p.why.as_ref().map_or(0, |why| why.len()));
            let texts = rollout.message.len() + lines(&rollout.log_tail);
            texts + followed + last + counted + list + paused + 768
        }
        Command::SetJob { job, .. } => {
            let run = |run: &crate::model::Run| {
                let texts = run.message.len() + run.log_tail.iter().map(|line| line.len() + 8).sum::<usize>();
                texts + run.completed.len() * 5 + run.counted.iter().map(|name| name.len() + 8).sum::<usize>() + 384
            };
            job.runs.iter().map(run).sum::<usize>() + 768
        }
        Command::FormCluster { .. }
        | Command::Recover { .. }
        | Command::ConfirmRestore { .. }
        | Command::LeaderStarted { .. }
        | Command::Delete { .. }
        | Command::Drain { .. }
        | Command::SetDesired { .. }
        | Command::Forget { .. }
        | Command::ResolveImage { .. }
        | Command::CreateToken { .. }
        | Command::RevokeToken { .. }
        | Command::RecordAudit { .. }
        | Command::InitialiseVolume { .. } => 512,
    });
    let request = group.request.as_ref().map_or(0, |r| r.path.len() + 128);
    commands.sum::<usize>() + group.preconditions.len() * 64 + request + 128
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
    pub room: Room,
    /// Whether there was little of it before.
    pub low: bool,
    pub stop: CancellationToken,
}

/// An entry.
#[derive(Default)]
struct Entry {
    groups: Vec<Group>,
    answers: Vec<oneshot::Sender<Result<Applied, ProposeError>>>,
}

/// Takes an entry's worth from the front of what waits, without those whose authors gave up.
fn entry(waiting: &mut VecDeque<Proposal>, groups: usize) -> Entry {
    let mut entry = Entry::default();
    let mut bytes = 0;
    while entry.groups.len() < groups
        && bytes < ENTRY_BYTES
        && let Some(proposal) = waiting.pop_front()
    {
        if !proposal.taken.swap(true, Ordering::AcqRel) {
            bytes += proposal.size;
            entry.groups.push(proposal.group);
            entry.answers.push(proposal.answer);
        }
    }
    entry
}

/// How many groups the next entry shall have: all that write, or half of them when they are many.
fn share(writers: usize) -> usize {
    if writers < 2 * HALF { GROUPS } else { writers.div_ceil(2).min(GROUPS) }
}

fn refuse(
    answers: impl IntoIterator<Item = oneshot::Sender<Result<Applied, ProposeError>>>,
    why: impl Fn() -> ProposeError,
) {
    for answer in answers {
        // An author who is gone needs no answer.
        let _ = answer.send(Err(why()));
    }
}

/// What waits and what is under way.
#[derive(Default)]
struct Desk {
    waiting: VecDeque<Proposal>,
    /// Each ends with the number of its groups, when they were answered.
    flying: FuturesUnordered<BoxFuture<'static, usize>>,
    /// Groups in flight.
    aloft: usize,
    /// Groups of the entry before.
    last: usize,
}

impl Desk {
    /// Takes what came, as far as the next entry may need it: the rest waits in the bounded queue.
    fn drain(&mut self, inbox: &mut mpsc::Receiver<Proposal>) {
        while self.waiting.len() < GROUPS
            && let Ok(proposal) = inbox.try_recv()
        {
            self.waiting.push_back(proposal);
        }
    }
    /// Whether an entry may go now: the first one always, a second one when it is no smaller.
    fn may_propose(&self) -> bool {
        match self.flying.len() {
            0 => !self.waiting.is_empty(),
            1 => self.waiting.len() >= HALF.max(self.aloft),
            _ => false,
        }
    }
}

impl Proposer {
    /// Runs until it is stopped or its queue has no more authors.
    pub async fn run(mut self) {
        let mut desk = Desk::default();
        let mut at = 0;
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                Some(answered) = desk.flying.next() => desk.aloft -= answered,
                first = self.inbox.recv(), if desk.waiting.len() < GROUPS => match first {
                    Some(first) => desk.waiting.push_back(first),
                    None => break,
                },
            }
            desk.drain(&mut self.inbox);
            while desk.may_propose() {
                if desk.flying.is_empty() {
                    self.gather(&mut desk).await;
                }
                let writers = desk.aloft + desk.waiting.len() + self.inbox.len();
                let entry = entry(&mut desk.waiting, share(writers));
                desk.last = entry.groups.len();
                if entry.groups.is_empty() {
                    continue;
                }
                at = self.clock.now().max(at);
                desk.aloft += desk.last;
                let flight = self.propose(entry, at).await;
                desk.flying.push(flight);
                desk.drain(&mut self.inbox);
            }
        }
        self.inbox.close();
        while let Ok(proposal) = self.inbox.try_recv() {
            desk.waiting.push_back(proposal);
        }
        refuse(desk.waiting.into_iter().map(|p| p.answer), || ProposeError::Closed);
        // Raft answers what is under way, or says that it stopped.
        while desk.flying.next().await.is_some() {}
    }

    /// Gives the writers of the entry before time to come back.
    async fn gather(&mut self, desk: &mut Desk) {
        let expected = desk.last;
        for _ in 0..YIELDS {
            if expected < 2 || desk.waiting.len() >= expected {
                break;
            }
            yield_now().await;
            desk.drain(&mut self.inbox);
        }
    }

    /// What of an entry the disk has room for; the rest is refused.
    fn with_room(&mut self, entry: Entry) -> Entry {
        let Some(free) = self.room.look() else { return entry };
        if free.is_low() != self.low {
            self.low = free.is_low();
            if self.low {
                tracing::error!("{free}: changes are refused until there is room; what runs goes on");
            } else {
                tracing::info!("the disk of the data directory has room again: changes are taken");
            }
        }
        if !self.low {
            return entry;
        }
        let (taken, refused): (Vec<_>, Vec<_>) =
            entry.groups.into_iter().zip(entry.answers).partition(|(group, _)| free.takes(group));
        refuse(refused.into_iter().map(|(_, answer)| answer), || ProposeError::NoRoom(free));
        let (groups, answers) = taken.into_iter().unzip();
        Entry { groups, answers }
    }

    /// Hands an entry to Raft. The flight answers its authors and ends with their number.
    async fn propose(&mut self, entry: Entry, at: u64) -> BoxFuture<'static, usize> {
        let number = entry.answers.len();
        let Entry { mut groups, answers } = self.with_room(entry);
        if groups.is_empty() {
            return std::future::ready(number).boxed();
        }
        let (closed, term) = {
            let metrics = self.metrics.borrow();
            (gate(&metrics, self.quiet), metrics.current_term)
        };
        if let Some(why) = closed {
            refuse(answers, || ProposeError::NoQuorum(why.clone()));
            return std::future::ready(number).boxed();
        }
        for group in &mut groups {
            group.at = at;
        }
        let Ok(written) = self.raft.client_write_ff(Batch(Arc::new(groups))).await else {
            refuse(answers, || ProposeError::Closed);
            return std::future::ready(number).boxed();
        };
        let mut metrics = self.metrics.clone();
        async move {
            let lost = metrics
                .wait_for(|m| m.running_state.is_err() || m.state != ServerState::Leader || m.current_term != term);
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
            number
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposal(given_up: bool) -> Proposal {
        Proposal {
            group: Group::default(),
            size: 1_000,
            taken: Arc::new(AtomicBool::new(given_up)),
            answer: oneshot::channel().0,
        }
    }
    fn desk(waiting: usize, aloft: &[usize]) -> Desk {
        let flying = aloft.iter().map(|groups| std::future::ready(*groups).boxed()).collect();
        let waiting = (0..waiting).map(|_| proposal(false)).collect();
        Desk { waiting, flying, aloft: aloft.iter().sum(), last: 0 }
    }

    #[test]
    fn few_writers_share_one_entry_and_many_take_turns_in_two() {
        let table: [(usize, &[usize], bool); 8] = [
            (0, &[], false),
            (1, &[], true),
            (1, &[1], false),
            (63, &[1], false),
            (64, &[64], true),
            (99, &[100], false),
            (100, &[100], true),
            (256, &[64, 64], false),
        ];
        for (waiting, aloft, may) in table {
            assert_eq!(desk(waiting, aloft).may_propose(), may, "{waiting} wait, {aloft:?} in flight");
        }
        let shares = [(1, GROUPS), (127, GROUPS), (128, 64), (256, 128), (4_000, GROUPS)];
        for (writers, groups) in shares {
            assert_eq!(share(writers), groups, "{writers} writers");
        }
    }

    #[test]
    fn an_entry_is_bounded_and_leaves_out_who_gave_up() {
        let mut waiting: VecDeque<_> = [false, true, false, false].map(proposal).into();
        let first = entry(&mut waiting, 2);
        assert_eq!((first.groups.len(), first.answers.len(), waiting.len()), (2, 2, 1));
        let mut large: VecDeque<_> = (0..3).map(|_| Proposal { size: ENTRY_BYTES, ..proposal(false) }).collect();
        assert_eq!(entry(&mut large, GROUPS).groups.len(), 1);
    }
}
