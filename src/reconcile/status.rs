//! Leader loop: what the leader says of a Service, and the events of its turns. Keyed by Service.
//!
//! Here: [`Conditions`]. It writes only what changed, a Service at most ten times a second, and the
//! events of a step in the same group as the step, so that neither is there without the other.
//! Not here: what to say (`plan::why`).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::Stream;
use tokio::time::Instant;

use crate::{
    controller::{Action, Reconciler},
    model::{Condition, ConditionStatus, ConditionType, Kind, ObjectKey, Status, event::Subject},
    plan::why,
    reconcile::{
        triggers::{self, Waiting},
        view,
    },
    store::{
        Client, ProposeError,
        command::{Command, Group},
    },
};

/// Longest wait for the answer to a proposal.
const DEADLINE: Duration = Duration::from_secs(5);
/// Shortest time between two statuses of one Service; a burst of reports becomes one.
const PACE: Duration = Duration::from_millis(100);

/// Writes the status of Services.
pub struct Conditions {
    store: Client,
    reader: view::Reader,
    waiting: Waiting,
    /// When each Service's status was written last; of living Services only.
    written: Mutex<HashMap<Arc<str>, Instant>>,
}

/// The log did not take it.
#[derive(Debug, thiserror::Error)]
#[error("recording the status of svc/{service}")]
pub struct StatusError {
    service: Arc<str>,
    source: ProposeError,
}

impl Conditions {
    /// For this store.
    #[must_use]
    pub fn new(store: Client) -> Self {
        Self { store, reader: view::Reader::default(), waiting: Waiting::default(), written: Mutex::default() }
    }

    /// What names Services: their own changes, and of those that wait, what others let go.
    pub fn keys(&self) -> impl Stream<Item = Arc<str>> + Send + 'static + use<> {
        let waiting = self.waiting.clone();
        triggers::keys(&self.store, move |state, scope| waiting.services(state, scope))
    }
}

impl Reconciler for Conditions {
    type Key = Arc<str>;
    type Error = StatusError;

    async fn reconcile(&self, name: Arc<str>) -> Result<Action, StatusError> {
        self.waiting.begin(&name);
        let (state, now) = (self.store.state(), self.store.now());
        let service = view::service(&state, &name);
        let new = service.as_ref().and_then(|s| why::status(s, &self.reader.nodes(&state), now).map(|new| (s, new)));
        let Some((service, new)) = new else {
            self.written.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
            self.waiting.settled(&name);
            return Ok(Action::Done);
        };
        let placed = |c: &Condition| c.kind != ConditionType::Scheduled || c.status == ConditionStatus::True;
        let whole = new.replicas.updated == new.replicas.desired && new.conditions.iter().all(placed);
        if whole {
            self.waiting.settled(&name);
        }
        if service.status.as_ref() == Some(&new) {
            return Ok(Action::Done);
        }
        let since = self.written.lock().unwrap_or_else(PoisonError::into_inner).get(&name).map(Instant::elapsed);
        if let Some(wait) = since.and_then(|s| PACE.checked_sub(s)).filter(|w| !w.is_zero()) {
            return Ok(Action::RequeueAfter(wait));
        }
        let subject = Subject { kind: Kind::Service, name: name.clone(), uid: service.uid.clone() };
        let events = why::news::news(service.status.as_ref(), &new, &subject, now);
        let statuses = vec![(ObjectKey::service(name.clone()), service.uid.clone(), Status::Service(new))];
        let commands = vec![Command::RecordObservations { statuses, events }];
        let group = Group { actor: "status".into(), commands, ..Group::default() };
        match self.store.propose(group, DEADLINE).await {
            // Refused: deleted meanwhile; its change names it again.
            Ok(_) | Err(ProposeError::Refused(_)) => {
                self.written.lock().unwrap_or_else(PoisonError::into_inner).insert(name, Instant::now());
                Ok(Action::Done)
            }
            Err(source) => Err(StatusError { service: name, source }),
        }
    }
}
