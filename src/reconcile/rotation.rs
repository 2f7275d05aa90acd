//! Leader loop: new values of Secrets by schedule. Keyed by Secret.
//!
//! Here: [`Rotations`], which writes what `secret rotate` would write. Not here: when (`plan::rotation`), which services
//! use it (`plan::why::usage`), bringing it to the replicas (`super::rollout`, `super::agent`).
//! Invariants: the write rests on the Secret at the version whose age was read: a pass that is cut off and made again, or
//! an answer that was lost, is one new value; nothing is sealed beside a change of the key.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::Stream;

use crate::{
    controller::{Action, Reconciler},
    model::{Kind, ObjectKey, Period},
    plan::{
        rotation::{RECHECK, Step, plan},
        why::usage::Rollout,
    },
    reconcile::{
        UNCONFIRMED,
        triggers::{self, Scope},
        view,
    },
    store::{
        Client, ProposeError,
        audit::Asked,
        command::{Command, Group},
        put::{PutError, redrawn},
        seal::Sealer,
    },
};

/// Who drew a value, in the history and in the audit records.
pub const ACTOR: &str = "schedule";
/// Longest wait for the answer to a proposal.
const DEADLINE: Duration = Duration::from_secs(5);

/// Draws values when they are due.
pub struct Rotations {
    store: Client,
    sealer: Arc<Sealer>,
    /// Secrets whose next value waits for the last one.
    held: Arc<Mutex<BTreeSet<Arc<str>>>>,
}

/// A value that was due was not written.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// It cannot be sealed.
    #[error("drawing a new value of secret/{name}")]
    Put {
        /// The Secret.
        name: Arc<str>,
        /// Why.
        #[source]
        source: PutError,
    },
    /// The log did not take it.
    #[error("writing a new value of secret/{name}")]
    Propose {
        /// The Secret.
        name: Arc<str>,
        /// Why.
        #[source]
        source: ProposeError,
    },
}

impl Rotations {
    /// For this store and this node's keys.
    #[must_use]
    pub fn new(store: Client, sealer: Arc<Sealer>) -> Self {
        Self { store, sealer, held: Arc::default() }
    }

    /// What names Secrets: their own changes, and of those that wait, what is said of any Service.
    pub fn keys(&self) -> impl Stream<Item = Arc<str>> + Send + 'static + use<> {
        let held = self.held.clone();
        triggers::keys(&self.store, move |state, scope| match scope {
            Scope::All => state.objects(Kind::Secret).map(|o| o.meta.name.clone()).collect(),
            Scope::One(change) if change.key.kind == Kind::Secret => vec![change.key.name.clone()],
            Scope::One(change) if change.key.kind == Kind::Service => {
                held.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
            }
            Scope::One(_) => Vec::new(),
        })
    }

    fn holds(&self, name: &Arc<str>, held: bool) {
        let mut all = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held {
            all.insert(name.clone())
        } else {
            all.remove(name)
        };
    }
}

/// What the audit record says of a write that a loop of the leader makes in place of a request.
pub(super) fn asked(path: &str) -> Asked {
    Asked { method: "POST".into(), path: path.into(), from: "leader".into(), own: None }
}

impl Reconciler for Rotations {
    type Key = Arc<str>;
    type Error = RotationError;

    async fn reconcile(&self, name: Arc<str>) -> Result<Action, RotationError> {
        let _writing = self.sealer.writing().await;
        // Before the look: what is said of a Service while the pass looks is not missed.
        self.holds(&name, true);
        let (state, now) = (self.store.state(), self.store.now());
        if state.unconfirmed().is_some() {
            return Ok(Action::RequeueAfter(UNCONFIRMED));
        }
        let key = ObjectKey::new(Kind::Secret, name.clone());
        let Some(object) = state.object(&key) else {
            self.holds(&name, false);
            return Ok(Action::Done);
        };
        let schedule = view::schedule(&state, object);
        // Who uses it is worked out only where it counts.
        let due = schedule.is_some_and(|s| s.due() <= now);
        let shared = due.then(|| view::shared(&state, object)).flatten();
        let rollout = shared.map_or(Rollout::Complete, |shared| view::users(&state).of(&shared).rollout);
        let after = |millis| Ok(Action::RequeueAfter(Duration::from_millis(millis)));
        let step = plan(schedule, &rollout, now);
        self.holds(&name, matches!(step, Step::Hold(_)));
        match step {
            Step::Nothing => return Ok(Action::Done),
            Step::Wait(millis) => return after(millis),
            Step::Hold(millis) => {
                tracing::debug!(secret = %name, ?rollout, "a new value is due and the last one has not arrived");
                return after(millis);
            }
            Step::Rotate => {}
        }
        let failed = |source| RotationError::Put { name: name.clone(), source };
        let put = redrawn(object, &self.sealer, &state).map_err(failed)?;
        let every = schedule.map_or(Period::default(), |s| s.every);
        let group = Group {
            at: now,
            preconditions: vec![(key, Some(object.meta.resource_version))],
            actor: ACTOR.into(),
            reason: Some(format!("rotation.every: {every}").into()),
            request: Some(asked(&format!("/api/v1/secrets/{name}/rotate"))),
            commands: vec![Command::Put(put)],
            ..Group::default()
        };
        match self.store.propose(group, DEADLINE).await {
            Ok(_) => tracing::info!(secret = %name, %every, "a new value was drawn by schedule"),
            Err(ProposeError::Refused(refusal)) => tracing::debug!(secret = %name, %refusal, "the state moved"),
            Err(source) => return Err(RotationError::Propose { name, source }),
        }
        after(RECHECK)
    }
}
