//! This process's leadership: forming a cluster of one, and the token that begins each lead.
//!
//! A restarted leader keeps its term, so "an entry of my term was applied" proves nothing. Leadership
//! begins when `LeaderStarted`, proposed by this process with a fresh nonce, has been applied; its
//! index is the token. It ends when Raft says so or another process's token is applied.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use openraft::ServerState;
use tokio::{sync::watch, task::spawn_blocking, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    client::{Client, ProposeError},
    command::{Command, Group, Refusal},
    member::Member,
    proposer::Metrics,
};
use crate::model::{Index, Uid};

/// How long one of our own proposals may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// Between two attempts.
const RETRY: Duration = Duration::from_millis(200);

/// The task.
pub(super) struct Leading {
    pub client: Client,
    pub metrics: watch::Receiver<Metrics>,
    pub leadership: watch::Sender<Option<Index>>,
    pub member: Member,
    /// Where the member's file is; none: no files.
    pub folder: Option<PathBuf>,
    pub node: Arc<str>,
    /// Name of the cluster, if this process forms it.
    pub cluster: Arc<str>,
    pub fatal: watch::Sender<Option<String>>,
    pub stop: CancellationToken,
}

impl Leading {
    /// Runs until it is stopped or Raft ends.
    pub async fn run(mut self) {
        let stop = self.stop.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.lead() => {}
        }
        self.leadership.send_replace(None);
    }

    async fn lead(&mut self) {
        loop {
            let Ok(term) = self.metrics.wait_for(leads).await.map(|m| m.current_term) else { return };
            let nonce = rand::random();
            match self.begin(nonce).await {
                Ok(token) => {
                    tracing::info!(%token, term, "this node leads the cluster");
                    self.leadership.send_replace(Some(token));
                    self.until_lost(term, nonce).await;
                    self.leadership.send_replace(None);
                    tracing::warn!(%token, "this node leads no more");
                }
                Err(error) => {
                    tracing::warn!(%error, "this node leads and cannot write");
                    sleep(RETRY).await;
                }
            }
            if self.metrics.has_changed().is_err() || self.metrics.borrow().running_state.is_err() {
                return;
            }
        }
    }

    /// Forms the cluster if there is none, and proposes the token.
    async fn begin(&mut self, nonce: u64) -> Result<Index, ProposeError> {
        if self.client.state().cluster().is_none() {
            // The log may hold an answer that is not applied yet; then this is refused.
            match self.propose(self.form()).await {
                Ok(()) | Err(ProposeError::Refused(Refusal::AlreadyFormed)) => {}
                Err(error) => return Err(error),
            }
        }
        if !self.member.formed {
            self.member.formed = true;
            if let Err(error) = self.save().await {
                self.fatal.send_replace(Some(format!("the member's file cannot be written: {error}")));
                return Err(ProposeError::Closed);
            }
        }
        let started = Command::LeaderStarted {
            member: self.member.id,
            incarnation: self.member.incarnation,
            nonce,
            node: self.node.clone(),
        };
        self.propose(started).await?;
        let state = self.client.state();
        match state.leader() {
            Some(leader) if leader.nonce == nonce => Ok(leader.token),
            Some(_) | None => Err(ProposeError::NoQuorum("another process began to lead".into())),
        }
    }

    /// Writes the member's file. It syncs: that is nothing for a thread of Raft's.
    async fn save(&self) -> io::Result<()> {
        let Some(folder) = self.folder.clone() else { return Ok(()) };
        let member = self.member.clone();
        spawn_blocking(move || member.save(&folder)).await.map_err(io::Error::other)?
    }

    fn form(&self) -> Command {
        let uid = || Uid::from_bytes(rand::random());
        Command::FormCluster { name: self.cluster.clone(), node: self.node.clone(), cluster: uid(), lineage: uid() }
    }

    async fn propose(&self, command: Command) -> Result<(), ProposeError> {
        let group = Group { actor: "store".into(), commands: vec![command], ..Group::default() };
        self.client.propose(group, DEADLINE).await.map(|_| ())
    }

    async fn until_lost(&mut self, term: u64, nonce: u64) {
        let mut states = self.client.watch();
        let another = states.wait_for(|s| s.leader().is_none_or(|l| l.nonce != nonce));
        let lost = self.metrics.wait_for(|m| !leads(m) || m.current_term != term);
        tokio::select! { _ = another => {} _ = lost => {} }
    }
}

fn leads(metrics: &Metrics) -> bool {
    metrics.running_state.is_ok() && metrics.state == ServerState::Leader
}
