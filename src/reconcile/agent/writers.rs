//! That data has one writer, whatever names lead to it.
//!
//! Here: where what a replica writes lies on this node's disks, and the look at all that runs before one starts whose
//! data nobody else may write (`dataPolicy: state`). The scheduler compares names (`plan::view`): links, and volumes
//! that are a folder of the host, are seen only here.
//! Invariants: of two that start at once one finds the other; nothing that runs is stopped for it. What writes beside
//! others by its declaration (`shared`) waits for nobody.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use super::{Agent, Subject, prepare::PrepareError};
use crate::{
    model::{
        Reason,
        service::{DataPolicy, MountKind},
    },
    plan::view::same_data,
    reconcile::disk::resolve,
    store::State,
};

/// Something that a replica writes, or has for itself.
#[derive(Debug, Clone)]
struct Place {
    /// Where it lies; of a volume without a path, the engine's name of it.
    path: String,
    /// Nobody else may write it at the same time.
    state: bool,
}

/// Where the data of replicas with a single writer lies, as of their last start: a link that leads elsewhere since
/// moves no mount.
#[derive(Debug, Default)]
pub(super) struct Writers(Mutex<BTreeMap<Arc<str>, Vec<Place>>>);

impl Writers {
    /// A replica is gone.
    pub(super) fn forget(&self, key: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

impl Agent {
    /// Whether nobody writes what a replica would have for itself; if somebody does, that is its trouble. `id`: its
    /// container, which counts as running from now on.
    pub(super) async fn is_alone(&self, key: &Arc<str>, subject: &Subject, id: Option<&Arc<str>>) -> bool {
        match self.other_writer(key, subject, id).await {
            Ok(None) => return true,
            Ok(Some(told)) => self.failed(key, subject, Reason::NoNodeFits, told),
            Err(PrepareError::Engine(error)) => self.refused(key, subject, &error).await,
            Err(PrepareError::Missing(reason, told)) => self.failed(key, subject, reason, told),
            Err(error @ PrepareError::Pulling(_)) => self.failed(key, subject, Reason::Pulling, error.to_string()),
        }
        false
    }

    /// Tries at once what waits for data of another, since a container has ended.
    pub(super) fn data_is_free(&self) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, of) in &mut *memory {
            if of.attempts.is_freed(Reason::NoNodeFits) {
                self.wakes.wake(key);
            }
        }
    }

    /// Who else writes its data, in words.
    async fn other_writer(
        &self,
        key: &Arc<str>,
        subject: &Subject,
        id: Option<&Arc<str>>,
    ) -> Result<Option<String>, PrepareError> {
        if !is_exclusive(subject) {
            return Ok(None);
        }
        let state = self.store.state();
        let own = self.places(&state, subject, true).await?;
        let mut others = BTreeMap::new();
        for other in self.containers.alive().into_iter().filter(|other| other != key) {
            if self.writers.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&other) {
                continue;
            }
            // What the log does not know is about to end.
            let Some(subject) = self.subject(&state, &other) else { continue };
            let places = self.places(&state, &subject, false).await?;
            others.insert(other, (places, is_exclusive(&subject)));
        }
        let mut known = self.writers.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (other, (places, exclusive)) in &others {
            if *exclusive {
                known.entry(other.clone()).or_insert_with(|| places.clone());
            }
        }
        // Once more: who started meanwhile is among them, and with a single writer's data also known.
        for other in self.containers.alive().into_iter().filter(|other| other != key) {
            let Some(theirs) = known.get(&other).or_else(|| others.get(&other).map(|(places, _)| places)) else {
                continue;
            };
            if let Some(path) = shared_by(&own, theirs) {
                return Ok(Some(format!("{path} is written by container {other}, and only one may")));
            }
        }
        if let Some(id) = id {
            known.insert(key.clone(), own);
            self.containers.starting(id);
        }
        Ok(None)
    }

    /// What a replica writes or has for itself, by where it lies. `must`: a path that does not answer is an error; of
    /// others it counts as it is written, so that one dead disk holds up no start on another.
    async fn places(&self, state: &State, subject: &Subject, must: bool) -> Result<Vec<Place>, PrepareError> {
        let (Some(spec), Some(cluster)) = (&subject.spec, state.cluster()) else { return Ok(Vec::new()) };
        let slot = subject.replica.slot.to_string();
        let mut places = Vec::new();
        for mount in &spec.volumes {
            let state = mount.policy() == DataPolicy::State;
            let Some(place) = mount.place(&slot, &cluster.lineage).filter(|_| state || !mount.read_only) else {
                continue;
            };
            let path = match mount.kind {
                MountKind::Volume => self.runtime.volume(place.clone()).await?.map_or(place, |volume| volume.path),
                // As it is written: `..` behind a link is another directory than before it.
                MountKind::Bind | MountKind::Tmpfs => mount.source.clone().unwrap_or(place),
            };
            let path = match self.preparer.disk.look(Path::new(&path), resolve).await {
                Ok(Ok(real)) if path.starts_with('/') => real.to_string_lossy().into_owned(),
                Err(silent) if must => return Err(PrepareError::Missing(Reason::DataMissing, silent.to_string())),
                Ok(_) | Err(_) => path,
            };
            places.push(Place { path, state });
        }
        Ok(places)
    }
}

fn is_exclusive(subject: &Subject) -> bool {
    subject.spec.as_ref().is_some_and(crate::model::service::ContainerSpec::exclusive)
}

/// What both would write though it is to have one writer.
fn shared_by<'a>(own: &'a [Place], theirs: &[Place]) -> Option<&'a str> {
    let clashes = |own: &&Place| theirs.iter().any(|t| (own.state || t.state) && same_data(&own.path, &t.path));
    own.iter().find(clashes).map(|own| own.path.as_str())
}
