//! What a plan says for information: it needs no action, and what needs one must not drown in it.
//!
//! Here: [`all`]. Not here: what will not work or may surprise ([`super::warnings`]).

use crate::{model::Spec, plan::view::World};

use super::{ObjectChange, Outcome, Wish, mounts};

/// Every note, by object in the order of the wishes: what each mount means, the first time.
#[must_use]
pub fn all(wishes: &[Wish<'_>], objects: &[ObjectChange], world: &World) -> Vec<String> {
    let mut notes = Vec::new();
    let changes = wishes.iter().zip(objects).filter(|(_, change)| change.result != Outcome::Unchanged);
    for (wish, _) in changes {
        let Wish::Put { declared, .. } = wish else { continue };
        let Spec::Service(spec) = &declared.spec else { continue };
        let old = world.services.get(&declared.name).and_then(|v| v.declared.as_ref());
        let new = mounts::first_seen(spec, old.map(|(_, spec)| &**spec));
        notes.extend(new.map(|said| format!("{}: {said}", wish.key())));
    }
    notes
}
