//! Raft's state machine: applies entries to the [`State`], publishes it, makes and takes snapshots.
//!
//! Readers hold an `Arc<State>`: publishing is a swap, a snapshot is built from a clone while
//! entries go on. An entry that cannot be decoded never gets here: it stops the log.

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

#[derive(Debug)]
struct Inner {
    content: Content,
    newest: Option<(SnapshotMeta<MemberId, PeerNode>, PathBuf)>,
}

/// The state machine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Machine {
    inner: Arc<Mutex<Inner>>,
    folder: Folder,
    publish: Arc<watch::Sender<Arc<State>>>,
}

impl Machine {
    /// Starts from the newest whole snapshot.
    #[must_use]
    pub fn new(folder: Folder, from: Option<(Content, PathBuf)>) -> Self {
        let (content, newest) = match from {
            Some((content, path)) => {
                let meta = content.meta();
                (content, Some((meta, path)))
            }
            None => (Content::default(), None),
        };
        let publish = Arc::new(watch::Sender::new(Arc::new(content.state.clone())));
        Self { inner: Arc::new(Mutex::new(Inner { content, newest })), folder, publish }
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

fn write_failed(error: impl std::error::Error + 'static) -> StorageError {
    StorageIOError::write_snapshot(None, &error).into()
}

impl RaftSnapshotBuilder<Types> for Machine {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, StorageError> {
        let content = self.lock().content.clone();
        let machine = self.clone();
        let build = move || {
            let bytes = content.pack().map_err(write_failed)?;
            let path = machine.folder.write(content.last, &bytes).map_err(write_failed)?;
            let meta = content.meta();
            machine.lock().newest = Some((meta.clone(), path));
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
        let before = inner.content.state.index();
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
        let state = (inner.content.state.index() != before).then(|| Arc::new(inner.content.state.clone()));
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
        let bytes = snapshot.into_inner();
        let mut content = Content::unpack("received", &bytes).map_err(write_failed)?;
        let path = self.folder.write(meta.last_log_id, &bytes).map_err(write_failed)?;
        content.last = meta.last_log_id;
        content.membership = meta.last_membership.clone();
        let state = Arc::new(content.state.clone());
        *self.lock() = Inner { content, newest: Some((meta.clone(), path)) };
        self.publish.send_replace(state);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageError> {
        let Some((meta, path)) = self.lock().newest.clone() else { return Ok(None) };
        let bytes = tokio::task::spawn_blocking(move || std::fs::read(path))
            .await
            .map_err(|e| read_failed(&io::Error::other(e)))?
            .map_err(|e| read_failed(&e))?;
        Ok(Some(Snapshot { meta, snapshot: Box::new(Cursor::new(bytes)) }))
    }
}

fn read_failed(error: &io::Error) -> StorageError {
    StorageIOError::read_snapshot(None, error).into()
}
