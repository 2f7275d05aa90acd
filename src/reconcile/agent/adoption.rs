//! What this node would do if a restored backup were confirmed: gathered from the passes, while it holds still.
//!
//! Here: [`Adoption`], written by the passes and read by the report of the node. Not here: holding (`plan::agent::held`).
//! Invariant: it says that it is whole only when every replica and every container was looked at.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::model::status::{HeldStep, Restoring};

/// Steps told at most; the rest is counted.
const TOLD: usize = 500;

/// What a pass found of a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Its container runs as the backup declares it.
    Adopted,
    /// There is nothing to do.
    Settled,
    /// Something is to be done.
    Held(HeldStep),
}

/// What the passes found.
#[derive(Debug, Default)]
pub struct Adoption(Mutex<BTreeMap<Arc<str>, Found>>);

impl Adoption {
    /// What a look at a replica found; none: the engine did not say.
    pub fn note(&self, replica: &Arc<str>, found: Option<Found>) {
        match found {
            Some(found) => self.lock().insert(replica.clone(), found),
            None => self.lock().remove(replica),
        };
    }

    /// Forgets everything: it was confirmed.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// What is known of these replicas, which are all there are if the engine has answered.
    #[must_use]
    pub fn report(&self, answered: bool, all: impl IntoIterator<Item = Arc<str>>) -> Restoring {
        let found = self.lock();
        let mut report = Restoring { whole: answered, ..Restoring::default() };
        let all: std::collections::BTreeSet<Arc<str>> = all.into_iter().collect();
        for replica in all {
            match found.get(&replica) {
                None => report.whole = false,
                Some(Found::Settled) => {}
                Some(Found::Adopted) => report.adopted += 1,
                Some(Found::Held(_)) if report.steps.len() >= TOLD => report.untold += 1,
                Some(Found::Held(step)) => report.steps.push(step.clone()),
            }
        }
        report
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Found>> {
        // Plain data: a panic elsewhere leaves it good.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::status::HeldAction;

    fn step(replica: &str) -> HeldStep {
        HeldStep { replica: replica.into(), action: HeldAction::Create, message: "nothing runs for it".into() }
    }

    #[test]
    fn it_is_whole_when_every_replica_was_looked_at() {
        let (adoption, names) = (Adoption::default(), ["a", "b", "c"].map(Arc::<str>::from));
        adoption.note(&names[0], Some(Found::Adopted));
        adoption.note(&names[1], Some(Found::Held(step("b"))));
        assert_eq!(
            adoption.report(true, names.clone()),
            Restoring { whole: false, adopted: 1, steps: vec![step("b")], untold: 0 }
        );
        adoption.note(&names[2], Some(Found::Settled));
        assert!(adoption.report(true, names.clone()).whole);
        adoption.note(&names[1], None);
        assert_eq!(
            adoption.report(true, names.clone()),
            Restoring { adopted: 1, ..Restoring::default() },
            "the engine is silent"
        );
        assert!(!Adoption::default().report(false, []).whole, "an engine that was never heard has anything");
        // What is gone counts no more.
        assert!(adoption.report(true, [names[0].clone(), names[0].clone()]).whole);
    }

    #[test]
    fn many_steps_are_counted_and_not_told() {
        let (adoption, names) = (Adoption::default(), (0..TOLD + 7).map(|n| Arc::<str>::from(format!("r{n:04}"))));
        let names: Vec<_> = names.collect();
        for name in &names {
            adoption.note(name, Some(Found::Held(step(name))));
        }
        let report = adoption.report(true, names);
        assert_eq!((report.steps.len(), report.untold), (TOLD, 7));
    }
}
