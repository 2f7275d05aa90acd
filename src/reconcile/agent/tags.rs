//! What the references of images that were built here name by now.
//!
//! Here: `look_at_tags`, asked every [`LOOK`]. A revision keeps the image that its reference named when it was
//! resolved, so that a rollback runs the same bytes; who builds anew under the same tag is told that what runs is
//! older, and nothing follows from it. Not here: images from registries, whose tags move without a word.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{Agent, containers::Engine};
use crate::{
    model::{Desired, ResolvedImage},
    runtime::RuntimeError,
};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(20);

impl Agent {
    /// Looks at them until `stop`.
    pub async fn watch_tags(&self, stop: &CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
            self.look_at_tags().await;
        }
    }

    /// One look at all; replicas of which there is news are woken.
    pub(super) async fn look_at_tags(&self) {
        if self.containers.engine() != Engine::Known {
            return;
        }
        let state = self.store.state();
        let mut references: BTreeMap<String, Vec<(Arc<str>, String)>> = BTreeMap::new();
        for replica in state.replicas().filter(|r| r.desired == Desired::Run && r.hook.is_none()) {
            let Some(subject) = self.subject(&state, &replica.name) else { continue };
            if let (Some(ResolvedImage::Local { id, .. }), Some(spec)) = (subject.image(), &subject.spec) {
                let known = references.entry(spec.image.clone()).or_default();
                known.push((replica.name.clone(), id.clone()));
            }
        }
        for (reference, replicas) in references {
            let found = match self.runtime.image(reference).await {
                Ok(found) => found,
                Err(RuntimeError::Down { .. } | RuntimeError::Unresponsive { .. }) => return,
                // What it cannot say of one says nothing of the others.
                Err(error) => {
                    tracing::debug!(%error, "the engine does not say what a reference names");
                    continue;
                }
            };
            for (key, runs) in replicas {
                // A tag that is gone names no newer one.
                let newer = found.as_ref().map(|i| &i.id).filter(|id| **id != runs).cloned();
                if self.with(&key, |m| std::mem::replace(&mut m.newer_image, newer.clone())) != newer {
                    self.wakes.wake(&key);
                }
            }
        }
    }
}
