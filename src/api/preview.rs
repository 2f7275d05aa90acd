//! `POST /api/v1/plan`: what an apply would do, from the state and `plan::change`.
//!
//! Here: documents and a pruned set as wishes. Not here: what they would do (`plan::change`).

use std::collections::BTreeSet;

use super::{
    auth::Role,
    commit::UNCONFIRMED,
    grants,
    made::Maker,
    problem::Failure,
    write::{self, Asked},
};
use crate::{
    model::{Grants, Kind, ObjectKey, Spec, secret::SealedSecret},
    plan::{
        change::{self, ChangePlan, Wish, served},
        routes,
    },
    reconcile::{self, view},
    store::State,
};

/// The plan of a request against one state, for a caller of this role.
pub(super) fn plan(
    asked: &Asked,
    state: &State,
    maker: &Maker,
    (role, granted): (Role, &Grants),
) -> Result<ChangePlan, Failure> {
    let items = &asked.documents.items;
    let declared = items.iter().map(|item| write::as_written(item, state, maker)).collect::<Result<Vec<_>, _>>()?;
    let put = items.iter().zip(&declared).map(|(item, declared)| Wish::Put {
        declared,
        managed_by: item.managed_by.as_deref().or(asked.set.as_deref()),
        digest: match &declared.spec {
            Spec::Secret(spec) => {
                let old = state.object(&declared.key()).and_then(|o| o.parse::<SealedSecret>().ok());
                Some(maker.sealer.digest(spec, old.as_ref().map(|old| old.digest.as_str())))
            }
            Spec::Service(_) | Spec::Config(_) | Spec::Node(_) | Spec::Route(_) | Spec::Middleware(_) => None,
        },
    });
    let pruned = asked.pruned(state).into_iter().map(|(key, _)| key);
    // Named twice it goes once; what is declared in the same breath stays.
    let mut gone: BTreeSet<ObjectKey> = pruned.chain(asked.documents.deletes.iter().cloned()).collect();
    gone.retain(|key| declared.iter().all(|declared| declared.key() != *key));
    let wishes: Vec<Wish<'_>> = put.chain(gone.into_iter().map(Wish::Delete)).collect();
    let mut plan = change::plan(&wishes, &view::world(state));
    plan.warnings.extend(unserved(&wishes, state, maker));
    let (refused, granted) = grants::told(items, state, role, granted)?;
    plan.warnings.splice(0..0, refused.into_iter().chain(asked.warnings()));
    plan.notes.extend(granted);
    if state.unconfirmed().is_some() {
        plan.warnings.insert(0, UNCONFIRMED.to_owned());
    }
    Ok(plan)
}

/// What of the routes would not be served. The Secrets are opened, as the edges open them: one that is there and of no use
/// is told before too.
fn unserved(wishes: &[Wish<'_>], state: &State, maker: &Maker) -> Vec<String> {
    let before = reconcile::routes::input(state, Some(&maker.sealer), &maker.addresses);
    let mut after = served::after(wishes, &before);
    let deleted =
        |name: &str| wishes.iter().any(|w| matches!(w, Wish::Delete(k) if k.kind == Kind::Secret && *k.name == *name));
    if !after.asks() {
        return Vec::new();
    }
    reconcile::routes::open(&mut after, state, Some(&maker.sealer));
    after.secrets.retain(|name, _| !deleted(name));
    served::warnings(wishes, &routes::table(&before), &routes::table(&after))
}
