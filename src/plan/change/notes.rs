//! What a plan says for information: it needs no action, and what needs one must not drown in it.
//!
//! Here: [`all`]. Not here: what will not work or may surprise ([`super::warnings`]).

use crate::{
    model::{
        Spec,
        service::{DataPolicy, Mount, MountKind},
    },
    plan::view::World,
};

use super::{ObjectChange, Outcome, Wish};

/// Every note, by object in the order of the wishes: what each mount means, the first time.
#[must_use]
pub fn all(wishes: &[Wish<'_>], objects: &[ObjectChange], world: &World) -> Vec<String> {
    let mut notes = Vec::new();
    let changes = wishes.iter().zip(objects).filter(|(_, change)| change.result != Outcome::Unchanged);
    for (wish, _) in changes {
        let Wish::Put { declared, .. } = wish else { continue };
        let Spec::Service(spec) = &declared.spec else { continue };
        let old = world.services.get(&declared.name).and_then(|v| v.declared.as_ref());
        let known = |mount: &Mount| {
            old.is_some_and(|(_, o)| {
                o.container.volumes.iter().any(|m| m.target == mount.target && m.policy() == mount.policy())
            })
        };
        let new = spec.container.volumes.iter().filter(|m| m.kind != MountKind::Tmpfs && !known(m));
        notes.extend(new.map(|mount| format!("{}: {}", wish.key(), data_policy(mount))));
    }
    notes
}

fn data_policy(mount: &Mount) -> String {
    use DataPolicy as P;
    let source = mount.source.as_deref().unwrap_or_default();
    let policy = mount.policy();
    let means = match policy {
        P::State => "moves with the replica, never two containers at once",
        P::Shared => "must be present wherever it runs",
        P::Config => "read in place, not copied: must be present wherever it runs",
        P::Cache => "may be empty after a move",
        P::Host => "belongs to the host, never moves",
    };
    let how = if mount.data_policy.is_some() { "as written" } else { "chosen for you" };
    format!("{source} at {}: dataPolicy {policy} ({how}): {means}", mount.target)
}
