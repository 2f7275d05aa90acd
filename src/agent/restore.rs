//! A data directory made of a backup, and trying out whether one can be.
//!
//! Here: [`restore`], which only ever fills an empty directory, and [`rehearse`], which does the same with the store alone, in a
//! place of its own, opens it and compares. Not here: what is in a backup (`store::backup`), holding still
//! until it is confirmed (`reconcile`).
//! Invariants: the identity is written before the store, so that a restore that was cut off begins no new cluster; the
//! store takes its place in one step, last. The cluster is another one than the backup's, with a member of its own and
//! without its tokens: who belongs to the old one cannot mix in.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{AgentError, home, identity::Identity};
use crate::{
    model::{Kind, Uid},
    store::{
        self, OpenError, Options, State,
        backup::{Backup, BackupError},
        durable, seal,
    },
};

/// Why a backup cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It cannot be read.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// An agent uses the data directory.
    #[error(transparent)]
    Home(#[from] AgentError),
    /// The data directory is not empty.
    #[error("{} is there already: a backup is only restored into an empty data directory", .0.display())]
    NotEmpty(PathBuf),
    /// It is not said which node this machine becomes.
    #[error("the backup has the nodes {}, and it is not said which of them this machine becomes", .0.join(", "))]
    WhichNode(Vec<String>),
    /// It has no such node.
    #[error("the backup has no node {asked}, but {}", has.join(", "))]
    NoNode {
        /// What was asked for.
        asked: String,
        /// Which there are.
        has: Vec<String>,
    },
    /// The disk failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// How.
        source: io::Error,
    },
    /// The restored store does not open.
    #[error("the store that was made of it does not open: {0}")]
    Open(#[from] OpenError),
    /// The restored store holds something else.
    #[error("the store that was made of it holds something else: {found}, not {expected}")]
    Differs {
        /// Hash of the backup.
        expected: String,
        /// Hash of the store.
        found: String,
    },
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The node that this machine is now.
    pub node: Arc<str>,
    /// The new cluster's identity.
    pub cluster: Uid,
}

/// Fills an empty data directory. `node`: which of the backup's nodes this machine becomes; none: its only one.
///
/// # Errors
/// See [`RestoreError`].
pub fn restore(data: &Path, backup: &Backup, node: Option<&str>) -> Result<Restored, RestoreError> {
    let failed = |source| RestoreError::Io { path: data.to_owned(), source };
    let identity = chosen(&backup.state, node)?;
    durable::directory(data).map_err(failed)?;
    let _held = home::hold(data)?;
    // What an earlier try of the same left may stay.
    let known = Identity::read(data).map_err(failed)?.is_some_and(|found| found == identity);
    let keys = fs::read(data.join(seal::KEY_FILE)).is_ok_and(|found| found == backup.key_file());
    for (name, may_stay) in home::OURS.map(|name| (name, is_no_content(name))) {
        let same = match name {
            super::identity::FILE => known,
            seal::KEY_FILE => known && keys,
            // Of a start in between, which found no store; nobody was given it.
            home::TOKEN => known && keys && !store::is_there(data),
            _ => may_stay,
        };
        if data.join(name).exists() && !same {
            return Err(RestoreError::NotEmpty(data.join(name)));
        }
    }
    identity.write(data).map_err(failed)?;
    durable::write_durably(data, seal::KEY_FILE, backup.key_file()).map_err(failed)?;
    let cluster = Uid::from_bytes(rand::random());
    backup.rebuild(data, &identity.name, cluster.clone(), now()).map_err(failed)?;
    Ok(Restored { node: identity.name, cluster })
}

const fn is_no_content(name: &str) -> bool {
    matches!(name.as_bytes(), b"lock" | b"lost+found")
}

/// Makes a store of a backup in a new folder below `scratch`, opens it, and compares what it holds. The keys stay in memory. Answers the
/// hash of both.
///
/// # Errors
/// See [`RestoreError`].
pub async fn rehearse(backup: &Backup, scratch: &Path) -> Result<String, RestoreError> {
    let failed = |source| RestoreError::Io { path: scratch.to_owned(), source };
    let random: u64 = rand::random();
    let place = Scratch(scratch.join(format!("constellation-verify-{random:016x}")));
    durable::private_directory(&place.0).map_err(failed)?;
    let node = backup.about.node.clone();
    backup.rebuild(&place.0, &node, Uid::from_bytes(rand::random()), now()).map_err(failed)?;
    let store = store::open(Options::new(&place.0, node)).await?;
    let found = store.client.state().lasting_hash();
    store.close().await;
    let expected = backup.state.lasting_hash();
    if found == expected { Ok(found) } else { Err(RestoreError::Differs { expected, found }) }
}

/// A folder that goes away.
struct Scratch(PathBuf);
impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "a trial's folder stays; it holds no keys");
        }
    }
}

fn chosen(state: &State, asked: Option<&str>) -> Result<Identity, RestoreError> {
    let nodes: Vec<Identity> =
        state.objects(Kind::Node).map(|o| Identity { name: o.meta.name.clone(), uid: o.meta.uid.clone() }).collect();
    let names = || nodes.iter().map(|n| n.name.to_string()).collect();
    match (asked, nodes.as_slice()) {
        (None, [only]) => Ok(only.clone()),
        (None, _) => Err(RestoreError::WhichNode(names())),
        (Some(asked), all) => {
            let found = all.iter().find(|n| *n.name == *asked);
            found.cloned().ok_or_else(|| RestoreError::NoNode { asked: asked.to_owned(), has: names() })
        }
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
