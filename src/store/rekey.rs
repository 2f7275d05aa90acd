//! Everything under another key: every Secret and its kept versions, then the old key is forgotten.
//!
//! Here: [`go_on`], one bounded turn of it. Not here: who begins it (`api::secrets`), who goes on when that one is gone
//! (`reconcile::rekey`), the keys ([`super::seal`]).
//! Invariants: the old key is forgotten only when nothing that it sealed is left, in the state or on its way there; a
//! turn may be cut off anywhere and made again: both keys stay until the end, and what is sealed anew stays so.

use std::{sync::Arc, time::Duration};

use super::{
    Client, ProposeError, State,
    audit::Asked,
    command::{Command, Group, Sealed},
    seal::{SealError, Sealer},
};
use crate::model::{Index, Kind, Object, ObjectKey, declared::canonical, secret::SealedSecret};

/// Why it does not go on.
#[derive(Debug, thiserror::Error)]
pub enum RekeyError {
    /// The old key stays.
    #[error("the file of the key cannot be written")]
    Disk(#[source] std::io::Error),
    /// A Secret that cannot be opened would be lost with the old key.
    #[error("{key} cannot be opened")]
    Closed {
        /// The Secret.
        key: ObjectKey,
        /// Why.
        #[source]
        error: SealError,
    },
    /// A newer version wrote it.
    #[error("{key} cannot be read")]
    Unreadable {
        /// The Secret.
        key: ObjectKey,
        /// What is the matter with it.
        #[source]
        error: serde_json::Error,
    },
    /// The log did not take it.
    #[error("sealing secrets anew")]
    Propose(#[source] ProposeError),
}

/// On whose behalf.
#[derive(Debug, Clone)]
pub struct By {
    /// For the record.
    pub actor: Arc<str>,
    /// Why, in their words.
    pub reason: Option<Arc<str>>,
    /// The request that asked for it.
    pub request: Option<Asked>,
    /// Longest wait for the answer to one proposal.
    pub deadline: Duration,
}

/// What one turn did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// So many were sealed anew, and there may be more.
    More(usize),
    /// Nothing was left, and the old key is forgotten.
    Done,
}

/// Seals up to `most` values and kept versions with the newest key; when nothing is left, forgets the older ones.
///
/// # Errors
/// See [`RekeyError`]; made again, it goes on.
pub async fn go_on(store: &Client, sealer: &Sealer, by: &By, most: usize) -> Result<Turn, RekeyError> {
    // What was sealed with the old key before this line is in the log after it, or never will be.
    sealer.settled().await;
    let mut commands = left(&store.state(), sealer)?;
    commands.truncate(most);
    let sealed = commands.len();
    for (at, command) in commands {
        propose(store, by, Some(at), command).await?;
    }
    if sealed > 0 {
        return Ok(Turn::More(sealed));
    }
    // This one shows that all before it was carried out, and who asked for it.
    propose(store, by, None, Command::RecordAudit { object: "secret/(all): another key".into() }).await?;
    if !left(&store.state(), sealer)?.is_empty() {
        return Ok(Turn::More(0));
    }
    sealer.forget_older_keys().map_err(RekeyError::Disk)?;
    Ok(Turn::Done)
}

/// Whether every value opens, of kept versions too: otherwise a new key would never be the only one.
///
/// # Errors
/// The first that does not.
pub fn opens(state: &State, sealer: &Sealer) -> Result<(), RekeyError> {
    for object in state.objects(Kind::Secret) {
        let (key, uid) = (object.key(), &object.meta.uid);
        for object in state.versions(uid).filter_map(|v| v.kept.as_ref()).chain([object]) {
            let secret: SealedSecret =
                object.parse().map_err(|error| RekeyError::Unreadable { key: key.clone(), error })?;
            sealer.open(&secret, uid).map_err(|error| RekeyError::Closed { key: key.clone(), error })?;
        }
    }
    Ok(())
}

async fn propose(store: &Client, by: &By, at: Option<(ObjectKey, Index)>, command: Command) -> Result<(), RekeyError> {
    let group = Group {
        at: store.now(),
        preconditions: at.into_iter().map(|(key, at)| (key, Some(at))).collect(),
        actor: by.actor.clone(),
        reason: by.reason.clone(),
        request: by.request.clone().filter(|_| matches!(command, Command::RecordAudit { .. })),
        commands: vec![command],
        ..Group::default()
    };
    match store.propose(group, by.deadline).await {
        // Written meanwhile: the next turn looks again.
        Ok(_) | Err(ProposeError::Refused(_)) => Ok(()),
        Err(error) => Err(RekeyError::Propose(error)),
    }
}

type Reseal = ((ObjectKey, Index), Command);

/// What the newest key has not sealed, each under it.
fn left(state: &State, sealer: &Sealer) -> Result<Vec<Reseal>, RekeyError> {
    let mut commands = Vec::new();
    for object in state.objects(Kind::Secret) {
        let (key, uid) = (object.key(), &object.meta.uid);
        let unreadable = |error| RekeyError::Unreadable { key: key.clone(), error };
        let under = |object: &Object| -> Result<Option<Sealed>, RekeyError> {
            let secret: SealedSecret = object.parse().map_err(unreadable)?;
            let sealed = sealer.reseal(&secret, uid);
            let sealed = sealed.map_err(|error| RekeyError::Closed { key: key.clone(), error })?;
            let Some(secret) = sealed else { return Ok(None) };
            Ok(Some(Sealed { spec: canonical(&secret).map_err(unreadable)?, digest: secret.identity() }))
        };
        let at = (key.clone(), object.meta.resource_version);
        for version in state.versions(uid) {
            if let Some(sealed) = version.kept.as_ref().map(|kept| under(kept)).transpose()?.flatten() {
                let command = Command::Reseal { key: key.clone(), version: Some(version.number), sealed };
                commands.push((at.clone(), command));
            }
        }
        // Last: it moves the version that the others rest on.
        if let Some(sealed) = under(object)? {
            commands.push((at, Command::Reseal { key: key.clone(), version: None, sealed }));
        }
    }
    Ok(commands)
}
