//! Leader loop: goes on with a change of the key that seals Secrets, when whoever asked for it is gone.
//!
//! Here: [`Rekey`], with one key. Not here: a turn of it (`store::rekey`), its beginning (`api::secrets`).
//! Why it looks again and again: the keys lie in a file of this node and not in the state, so that no change names
//! them; a look costs nothing while there is one key. Whoever was asked and is at work is left alone.

use std::{sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _, stream};

use crate::{
    controller::{Action, Reconciler},
    store::{
        Client,
        rekey::{By, RekeyError, Turn, go_on},
        seal::Sealer,
    },
};

/// Longest wait for the answer to a proposal.
const DEADLINE: Duration = Duration::from_secs(5);
/// Time between two looks.
const LOOK: Duration = Duration::from_secs(30);
/// Time between two turns: others write too.
const PACE: Duration = Duration::from_millis(50);
/// Values and kept versions in one turn.
const MOST: usize = 32;

/// Goes on with what was begun.
pub struct Rekey {
    store: Client,
    sealer: Arc<Sealer>,
}

impl Rekey {
    /// For this store and this node's keys.
    #[must_use]
    pub fn new(store: Client, sealer: Arc<Sealer>) -> Self {
        Self { store, sealer }
    }

    /// The one key, once.
    pub fn keys() -> impl Stream<Item = ()> + Send + 'static {
        stream::iter([()]).chain(stream::pending())
    }
}

impl Reconciler for Rekey {
    type Key = ();
    type Error = RekeyError;

    async fn reconcile(&self, _: ()) -> Result<Action, RekeyError> {
        if self.sealer.older_keys().is_empty() {
            return Ok(Action::RequeueAfter(LOOK));
        }
        let Some(_alone) = self.sealer.try_rekeying() else { return Ok(Action::RequeueAfter(LOOK)) };
        let reason = Some("goes on with a change of the key that was cut off".into());
        let by = By {
            actor: "rekey".into(),
            reason,
            request: Some(super::rotation::asked("/api/v1/cluster/rekey")),
            deadline: DEADLINE,
        };
        match go_on(&self.store, &self.sealer, &by, MOST).await? {
            Turn::More(sealed) => {
                tracing::info!(sealed, "going on with a change of the key that was cut off");
                Ok(Action::RequeueAfter(PACE))
            }
            Turn::Done => {
                tracing::info!(key = self.sealer.newest_key(), "everything is sealed with the new key");
                Ok(Action::RequeueAfter(LOOK))
            }
        }
    }
}
