//! Raft's state machine: applies entries to the [`State`], publishes it, makes and takes snapshots.
//!
//! Readers hold an `Arc<State>`: publishing is a swap, a snapshot is built from a clone while
//! entries go on. An entry that cannot be decoded never gets here: it stops the log.

// openraft's error type is large and not ours to box.
#![allow(clippy::result_large_err)]

use std::{
    io::{self, Cursor},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use openraft::{
    EntryPayload, LogId, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta, StorageIOError, StoredMembership,
    storage::RaftStateMachine,
};
use tokio::sync::watch;

use super::{
    raft::{Answers, MemberId, PeerNode, StorageError, Types},
    snapshot::{Content, Folder},
    state::State,
};

/// Where a snapshot's bytes are.
#[derive(Debug, Clone)]
enum Kept {
    File(PathBuf),
    Memory(Arc<Vec<u8>>),
}

#[derive(Debug)]
struct Inner {
    content: Content,
    newest: Option<(SnapshotMeta<MemberId, PeerNode>, Kept)>,
    /// Last entry of the snapshot before the newest.
    fallback: Option<u64>,
}

/// The state machine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Machine {
    inner: Arc<Mutex<Inner>>,
    /// None: snapshots stay in memory.
    folder: Option<Folder>,
    publish: Arc<watch::Sender<Arc<State>>>,
}

impl Machine {
    /// Starts from the newest whole snapshot.
    #[must_use]
    pub fn new(folder: Option<Folder>, from: Option<(Content, PathBuf)>) -> Self {
        let (content, newest) = match from {
            Some((content, path)) => {
                let meta = content.meta();
                (content, Some((meta, Kept::File(path))))
            }
            None => (Content::default(), None),
        };
        let publish = Arc::new(watch::Sender::new(Arc::new(content.state.clone())));
        Self { inner: Arc::new(Mutex::new(Inner { content, newest, fallback: None })), folder, publish }
    }
    /// Last entry of the snapshot before the newest: up to there the log is not needed any more.
    #[must_use]
    pub fn fallback(&self) -> Option<u64> {
        self.lock().fallback
    }
    /// Keeps a snapshot, durably if there is a folder.
    fn keep(&self, meta: &SnapshotMeta<MemberId, PeerNode>, bytes: &[u8]) -> Result<Kept, StorageError> {
        match &self.folder {
            Some(folder) => folder.write(meta.last_log_id, bytes).map(Kept::File).map_err(write_failed),
            None => Ok(Kept::Memory(Arc::new(bytes.to_vec()))),
        }
    }
    /// The state as it changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<State>> {
        self.publish.subscribe()
    }
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn replace(&mut self, meta: SnapshotMeta<MemberId, PeerNode>, kept: Kept) {
        let before = self.newest.replace((meta, kept));
        self.fallback = before.and_then(|(meta, _)| meta.last_log_id).map(|l| l.index);
    }
}

fn write_failed(error: impl std::error::Error + 'static) -> StorageError {
    StorageIOError::write_snapshot(None, &error).into()
}

impl RaftSnapshotBuilder<Types> for Machine {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, StorageError> {
        let content = self.lock().content.clone();
        let machine = self.clone();
        let build = move || {
            let bytes = content.pack().map_err(write_failed)?;
            let meta = content.meta();
            let kept = machine.keep(&meta, &bytes)?;
            machine.lock().replace(meta.clone(), kept);
            Ok(Snapshot { meta, snapshot: Box::new(Cursor::new(bytes)) })
        };
        tokio::task::spawn_blocking(build).await.map_err(write_failed)?
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogId<MemberId>>, StoredMembership<MemberId, PeerNode>), StorageError> {
        let inner = self.lock();
        Ok((inner.content.last, inner.content.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Answers>, StorageError>
    where
        I: IntoIterator<Item = openraft::Entry<Types>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut inner = self.lock();
        let seen = |state: &State| (state.index(), state.audit().number());
        let before = seen(&inner.content.state);
        let mut answers = Vec::new();
        for entry in entries {
            inner.content.last = Some(entry.log_id);
            answers.push(match entry.payload {
                EntryPayload::Blank => Answers::default(),
                EntryPayload::Membership(membership) => {
                    inner.content.membership = StoredMembership::new(Some(entry.log_id), membership);
                    Answers::default()
                }
                EntryPayload::Normal(batch) => {
                    Answers(batch.0.iter().map(|group| inner.content.state.apply(group)).collect())
                }
            });
        }
        let state = (seen(&inner.content.state) != before).then(|| Arc::new(inner.content.state.clone()));
        drop(inner);
        if let Some(state) = state {
            self.publish.send_replace(state);
        }
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<MemberId, PeerNode>,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let (machine, meta) = (self.clone(), meta.clone());
        let install = move || {
            let bytes = snapshot.into_inner();
            let mut content = Content::unpack("received", &bytes).map_err(write_failed)?;
            let kept = machine.keep(&meta, &bytes)?;
            content.last = meta.last_log_id;
            content.membership = meta.last_membership.clone();
            let state = Arc::new(content.state.clone());
            let mut inner = machine.lock();
            inner.content = content;
            inner.replace(meta, kept);
            drop(inner);
            machine.publish.send_replace(state);
            Ok(())
        };
        tokio::task::spawn_blocking(install).await.map_err(write_failed)?
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageError> {
        let Some((meta, kept)) = self.lock().newest.clone() else { return Ok(None) };
        let bytes = match kept {
            Kept::Memory(bytes) => bytes.to_vec(),
            Kept::File(path) => tokio::task::spawn_blocking(move || std::fs::read(path))
                .await
                .map_err(|e| read_failed(&io::Error::other(e)))?
                .map_err(|e| read_failed(&e))?,
        };
        Ok(Some(Snapshot { meta, snapshot: Box::new(Cursor::new(bytes)) }))
    }
}

fn read_failed(error: &io::Error) -> StorageError {
    StorageIOError::read_snapshot(None, error).into()
}
