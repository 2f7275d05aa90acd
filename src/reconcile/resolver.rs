//! Leader loop: what an image reference means, fixed once for each revision, after the commit.
//!
//! Here: [`Resolver`], keyed by Service. Local first: an image that the node has needs no registry;
//! one that was built here and never pushed limits placement to this node.
//! Not here: pulling (the agent), credentials' clear text beyond the call that needs it.
//! Invariant: a resolved revision is never resolved again, so a rollback runs the same bytes.

use std::{sync::Arc, time::Duration};

use crate::{
    controller::{Action, Reconciler},
    model::{
        Kind, ObjectKey, Resolution, ResolvedImage, Revision, ServiceSpec, Uid, reference::ImageReference,
        service::PullPolicy,
    },
    reconcile::registry,
    runtime::{Runtime, RuntimeError},
    store::{
        Client, ProposeError,
        command::{Command, Group, Refusal},
        seal::Sealer,
    },
};

/// Longest wait for the answer to a proposal.
const DEADLINE: Duration = Duration::from_secs(5);
/// First wait after a failure, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));

/// Resolves image references of Services.
pub struct Resolver {
    /// The log.
    pub store: Client,
    /// This node's engine: it asks registries.
    pub runtime: Arc<dyn Runtime>,
    /// Opens credentials.
    pub sealer: Arc<Sealer>,
    /// This node.
    pub node: Uid,
}

/// What can go wrong in a pass.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The engine did not answer.
    #[error("asking the engine about an image")]
    Engine(#[source] RuntimeError),
    /// The log did not take it.
    #[error("recording a resolved image")]
    Store(#[source] ProposeError),
}

impl Reconciler for Resolver {
    type Key = Arc<str>;
    type Error = ResolveError;

    async fn reconcile(&self, name: Arc<str>) -> Result<Action, ResolveError> {
        let state = self.store.state();
        let Some(service) = state.object(&ObjectKey::service(name)) else { return Ok(Action::Done) };
        let Some(revision) = state.newest_revision(&service.meta.uid).cloned() else { return Ok(Action::Done) };
        let attempts = match &revision.image {
            Resolution::Resolved { .. } => return Ok(Action::Done),
            Resolution::Pending => 0,
            Resolution::Failed { next_attempt, attempts, .. } => {
                let wait = next_attempt.saturating_sub(self.store.now());
                if wait > 0 {
                    return Ok(Action::RequeueAfter(Duration::from_millis(wait)));
                }
                *attempts
            }
        };
        let Ok(spec) = serde_json::from_slice::<ServiceSpec>(&revision.spec) else { return Ok(Action::Done) };
        let outcome = self.ask(&spec).await;
        self.record(&revision, outcome, attempts).await
    }
}

impl Resolver {
    async fn ask(&self, spec: &ServiceSpec) -> Result<ResolvedImage, RuntimeError> {
        let text = spec.container.image.as_str();
        let refused = |message: String| RuntimeError::Refused { message };
        let reference = ImageReference::parse(text).map_err(|e| refused(e.to_string()))?;
        if reference.digest.is_some() {
            return Ok(ResolvedImage::Digest { reference: text.to_owned() });
        }
        if spec.container.pull_policy != PullPolicy::Always
            && let Some(image) = self.runtime.image(text.to_owned()).await?
        {
            let pulled = image.digests.iter().find(|d| {
                ImageReference::parse(d).is_ok_and(|d| d.registry == reference.registry && d.repository == reference.repository)
            });
            return Ok(match pulled {
                Some(digest) => ResolvedImage::Digest { reference: digest.clone() },
                None => ResolvedImage::Local { id: image.id, node: self.node.clone() },
            });
        }
        if spec.container.pull_policy == PullPolicy::Never {
            return Err(RuntimeError::ImageNotFound {
                image: text.to_owned(),
                message: "the node does not have it and pullPolicy is never".into(),
            });
        }
        let state = self.store.state();
        let credentials = registry::credentials(&state, &self.sealer, &spec.container, &reference);
        let reference = self.runtime.resolve(text.to_owned(), credentials).await?;
        Ok(ResolvedImage::Digest { reference })
    }

    async fn record(
        &self,
        revision: &Revision,
        outcome: Result<ResolvedImage, RuntimeError>,
        attempts: u32,
    ) -> Result<Action, ResolveError> {
        let now = self.store.now();
        let (image, action) = match outcome {
            Ok(image) => (Resolution::Resolved { image }, Action::Done),
            Err(error) => {
                let wait = BACKOFF.0.saturating_mul(1 << attempts.min(10)).min(BACKOFF.1);
                let since = match &revision.image {
                    Resolution::Failed { since, .. } => *since,
                    Resolution::Pending | Resolution::Resolved { .. } => now,
                };
                let failed = Resolution::Failed {
                    reason: registry::reason(&error),
                    message: error.to_string(),
                    since,
                    next_attempt: now + u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
                    attempts: attempts + 1,
                };
                (failed, Action::RequeueAfter(wait))
            }
        };
        let command = Command::ResolveImage { service: revision.service.clone(), revision: revision.number, image };
        let group = Group { actor: "resolver".into(), commands: vec![command], ..Group::default() };
        match self.store.propose(group, DEADLINE).await {
            Ok(_) => Ok(action),
            // Deleted meanwhile.
            Err(ProposeError::Refused(Refusal::NotFound { .. } | Refusal::Invalid(_))) => Ok(Action::Done),
            Err(error) => Err(ResolveError::Store(error)),
        }
    }
}

/// Services whose newest revision may need an answer; a changed Secret may be the missing credential.
#[must_use]
pub fn keys(state: &crate::store::State, scope: super::triggers::Scope<'_>) -> Vec<Arc<str>> {
    use super::triggers::Scope;
    match scope {
        Scope::One(change) if !matches!(change.key.kind, Kind::Service | Kind::Secret) => Vec::new(),
        Scope::One(change) if change.key.kind == Kind::Service => vec![change.key.name.clone()],
        Scope::All | Scope::One(_) => state.objects(Kind::Service).map(|o| o.meta.name.clone()).collect(),
    }
}
