//! From changes of the state to keys of a loop.
//!
//! Here: one stream shape that every loop watches. Level-triggered: a reader that fell behind gets
//! every key again, so nothing is lost by being slow. Not here: queues (`controller`).

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{Stream, StreamExt as _, stream};

use crate::{
    model::{Desired, Index, Kind},
    store::{
        Client, State,
        state::{Change, Changed},
    },
};

/// What a loop is asked to map to its keys.
#[derive(Debug, Clone, Copy)]
pub enum Scope<'a> {
    /// Everything: at the start, and after falling behind.
    All,
    /// One change.
    One(&'a Change),
}

/// Keys of a loop: those of everything first, then those of each change.
pub fn keys<K, F>(store: &Client, map: F) -> impl Stream<Item = K> + Send + 'static + use<K, F>
where
    K: Send + 'static,
    F: Fn(&State, Scope<'_>) -> Vec<K> + Send + 'static,
{
    let start = (store.watch(), None::<Index>, map);
    stream::unfold(start, |(mut watch, seen, map)| async move {
        loop {
            let state: Arc<State> = watch.borrow_and_update().clone();
            let keys = match seen {
                Some(seen) if seen == state.index() => Vec::new(),
                Some(seen) => match state.changes_after(seen) {
                    Ok(changes) => changes.flat_map(|c| map(&state, Scope::One(c))).collect(),
                    Err(_) => map(&state, Scope::All),
                },
                None => map(&state, Scope::All),
            };
            let now = Some(state.index());
            if keys.is_empty() && now == seen {
                // The sender is gone with the store: the loop ends with it.
                if watch.changed().await.is_err() {
                    return None;
                }
                continue;
            }
            return Some((keys, (watch, now, map)));
        }
    })
    .map(stream::iter)
    .flatten()
}

/// Services that wait for what replicas of others hold: a port, memory, the data that they write. They are
/// named whenever a replica lets go.
#[derive(Debug, Clone, Default)]
pub struct Waiting(Arc<Mutex<BTreeSet<Arc<str>>>>);

impl Waiting {
    /// A pass begins. From now on the service is named: what is let go while the pass looks is not missed.
    pub fn begin(&self, service: &Arc<str>) {
        self.lock().insert(service.clone());
    }
    /// The pass ended, and everything of the service has its place.
    pub fn settled(&self, service: &str) {
        self.lock().remove(service);
    }
    /// As [`services`], and who waits for what the change lets go.
    #[must_use]
    pub fn services(&self, state: &State, scope: Scope<'_>) -> Vec<Arc<str>> {
        let mut names = services(state, scope);
        if lets_go(state, scope) {
            names.extend(self.lock().iter().cloned());
        }
        names
    }
    fn lock(&self) -> MutexGuard<'_, BTreeSet<Arc<str>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a replica holds less than before, or is about to.
fn lets_go(state: &State, scope: Scope<'_>) -> bool {
    let Scope::One(change) = scope else { return false };
    match &change.what {
        Changed::Replica(replica) => replica.desired == Desired::Stop,
        Changed::ReplicaForgotten(_) => true,
        Changed::Status if change.key.kind == Kind::Replica => {
            state.replica_status(&change.key.name).is_some_and(|s| s.phase.ended())
        }
        Changed::Status | Changed::Edge | Changed::Put { .. } | Changed::Deleted(_) => false,
    }
}

/// Names of the Services that a change touches: its own, its Replica's, and for nodes and shared
/// files every one.
#[must_use]
pub fn services(state: &State, scope: Scope<'_>) -> Vec<Arc<str>> {
    let all = || {
        let mut names: Vec<Arc<str>> = state.objects(Kind::Service).map(|o| o.meta.name.clone()).collect();
        // A deleted service still has replicas to stop.
        names.extend(state.replicas().map(|r| r.service.clone()));
        names.sort();
        names.dedup();
        names
    };
    match scope {
        Scope::All => all(),
        Scope::One(change) => match (&change.what, change.key.kind) {
            (Changed::Replica(r) | Changed::ReplicaForgotten(r), _) => vec![r.service.clone()],
            // Whoever waits for edges has replicas on their way out.
            (Changed::Edge, _) => {
                let leaving = state.replicas().filter(|r| r.draining.is_some() && r.desired == Desired::Run);
                leaving.map(|r| r.service.clone()).collect::<BTreeSet<_>>().into_iter().collect()
            }
            (_, Kind::Service) => vec![change.key.name.clone()],
            (_, Kind::Replica) => state.replica(&change.key.name).map(|r| r.service.clone()).into_iter().collect(),
            (_, Kind::Node | Kind::Config | Kind::Secret) => all(),
            // No replica runs otherwise for it.
            (_, Kind::Route | Kind::Middleware) => Vec::new(),
        },
    }
}
