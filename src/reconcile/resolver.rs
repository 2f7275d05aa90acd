//! Leader loop: what an image reference means, fixed once for each revision, after the commit.
//!
//! Here: [`Resolver`], keyed by Service. Local first: an image that the node has needs no registry;
//! one that was built here and never pushed limits placement to this node.
//! Not here: pulling (the agent), credentials' clear text beyond the call that needs it.
//! Invariant: a resolved revision is never resolved again, so a rollback runs the same bytes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    controller::{Action, Reconciler},
    model::{
        Index, Kind, ObjectKey, Resolution, ResolvedImage, Revision, ServiceSpec, Uid, reference::ImageReference,
        service::PullPolicy,
    },
    reconcile::{UNCONFIRMED, registry},
    runtime::{Runtime, RuntimeError},
    store::{
        Client, ProposeError, State,
        command::{Command, Group, Refusal},
        seal::Sealer,
    },
};

/// Longest wait for the answer to a proposal.
const DEADLINE: Duration = Duration::from_secs(5);
/// First wait after a failure, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));
/// How often the node itself is looked at meanwhile: an image may be built or loaded at any time.
const LOOK: Duration = Duration::from_secs(2);

/// Resolves image references of Services.
pub struct Resolver {
    store: Client,
    /// This node's engine: it asks registries.
    runtime: Arc<dyn Runtime>,
    /// Opens credentials.
    sealer: Arc<Sealer>,
    /// This node.
    node: Uid,
    /// With which credentials each failed revision was asked last: new ones are tried at once.
    asked: Mutex<HashMap<(Uid, u64), Index>>,
}

/// What can go wrong in a pass.
#[derive(Debug, thiserror::Error)]
#[error("recording a resolved image")]
pub struct ResolveError(#[source] ProposeError);

impl Reconciler for Resolver {
    type Key = Arc<str>;
    type Error = ResolveError;

    async fn reconcile(&self, name: Arc<str>) -> Result<Action, ResolveError> {
        let state = self.store.state();
        if state.unconfirmed().is_some() {
            return Ok(Action::RequeueAfter(UNCONFIRMED));
        }
        let Some(service) = state.object(&ObjectKey::service(name)) else {
            self.asked().retain(|(uid, _), _| state.object_by_uid(uid).is_some());
            return Ok(Action::Done);
        };
        let Some(revision) = state.newest_revision(&service.meta.uid).cloned() else { return Ok(Action::Done) };
        if let Resolution::Resolved { .. } = &revision.image {
            self.asked().retain(|(uid, _), _| *uid != service.meta.uid);
            return Ok(Action::Done);
        }
        // A newer version wrote it: not ours to resolve.
        let Ok(spec) = serde_json::from_slice::<ServiceSpec>(&revision.spec) else { return Ok(Action::Done) };
        let key = (revision.service.clone(), revision.number);
        let credentials = newest_credentials(&state, &spec);
        let attempts = match &revision.image {
            Resolution::Resolved { .. } | Resolution::Pending => 0,
            Resolution::Failed { next_attempt, attempts, .. } => {
                let wait = Duration::from_millis(next_attempt.saturating_sub(self.store.now()));
                let known = self.asked().get(&key).is_none_or(|asked| *asked >= credentials);
                if !wait.is_zero() && known {
                    // Not the registry's turn yet. The node itself costs nothing to ask.
                    return match self.local(&spec).await {
                        Ok(Some(image)) => self.record(&revision, Ok(image), *attempts).await,
                        Ok(None) | Err(_) => Ok(Action::RequeueAfter(wait.min(LOOK))),
                    };
                }
                *attempts
            }
        };
        let outcome = self.ask(&spec).await;
        {
            let mut asked = self.asked();
            // Only the newest revision is ever asked for.
            asked.retain(|(uid, _), _| *uid != key.0);
            asked.insert(key, credentials);
        }
        self.record(&revision, outcome, attempts).await
    }
}

/// Version of the newest credentials that a spec names.
fn newest_credentials(state: &State, spec: &ServiceSpec) -> Index {
    let names = spec.container.image_pull_secrets.iter();
    let versions = names.filter_map(|n| state.version(&ObjectKey::new(Kind::Secret, n.as_str())));
    versions.max().unwrap_or_default()
}

impl Resolver {
    /// For this store, asking this node's engine.
    #[must_use]
    pub fn new(store: Client, runtime: Arc<dyn Runtime>, sealer: Arc<Sealer>, node: Uid) -> Self {
        Self { store, runtime, sealer, node, asked: Mutex::default() }
    }

    fn asked(&self) -> MutexGuard<'_, HashMap<(Uid, u64), Index>> {
        // Plain data: a panic elsewhere leaves it good.
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, spec: &ServiceSpec) -> Result<ResolvedImage, RuntimeError> {
        let text = spec.container.image.as_str();
        let reference = parse(text)?;
        if reference.digest.is_some() {
            return Ok(ResolvedImage::Digest { reference: text.to_owned() });
        }
        if let Some(image) = self.local(spec).await? {
            return Ok(image);
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

    /// What this node has under the reference; nothing when the registry has to be asked anyway.
    async fn local(&self, spec: &ServiceSpec) -> Result<Option<ResolvedImage>, RuntimeError> {
        let text = spec.container.image.as_str();
        let reference = parse(text)?;
        if spec.container.pull_policy == PullPolicy::Always {
            return Ok(None);
        }
        let Some(image) = self.runtime.image(text.to_owned()).await? else { return Ok(None) };
        let pulled =
            image.digests.iter().find(|d| ImageReference::parse(d).is_ok_and(|d| d.same_repository(&reference)));
        Ok(Some(match pulled {
            Some(digest) => ResolvedImage::Digest { reference: digest.clone() },
            None => ResolvedImage::Local { id: image.id, node: self.node.clone() },
        }))
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
            Err(error) => Err(ResolveError(error)),
        }
    }
}

fn parse(text: &str) -> Result<ImageReference, RuntimeError> {
    ImageReference::parse(text).map_err(|e| RuntimeError::Refused { message: e.to_string() })
}

/// Services whose newest revision may need an answer; a changed Secret may be the missing credential.
#[must_use]
pub fn keys(state: &State, scope: super::triggers::Scope<'_>) -> Vec<Arc<str>> {
    use super::triggers::Scope;
    match scope {
        Scope::One(change) if !matches!(change.key.kind, Kind::Service | Kind::Secret) => Vec::new(),
        Scope::One(change) if change.key.kind == Kind::Service => vec![change.key.name.clone()],
        Scope::All | Scope::One(_) => state.objects(Kind::Service).map(|o| o.meta.name.clone()).collect(),
    }
}
