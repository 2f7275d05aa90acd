//! What of the routes a change would leave unserved.
//!
//! Here: [`after`], what the table would be made from; [`warnings`], from the tables before and after. Not here: opening
//! the Secrets that are newly named (`reconcile::routes`), the words for what is left out ([`why::route`]).
//! Invariant: an object that is new counts as younger than every stored one, as it will be.

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use crate::{
    model::{Declared, Kind, ObjectKey, Spec, secret::SecretSpec},
    plan::{
        routes::{Backing, Entry, Input, Material, Reached, Stored, Table},
        why,
    },
};

use super::Wish;

/// What is made by this change is made at one moment, after all others.
const NEW: u64 = u64::MAX;

/// What the table would be made from. Secrets that nothing named before are not in it yet.
#[must_use]
pub fn after(wishes: &[Wish<'_>], before: &Input) -> Input {
    let mut after = before.clone();
    for wish in wishes {
        match wish {
            Wish::Put { declared, .. } => put(&mut after, declared),
            Wish::Delete(key) => match key.kind {
                Kind::Route => after.routes.retain(|route| route.name != key.name),
                Kind::Service => drop(after.services.remove(&key.name)),
                Kind::Middleware => drop(after.middlewares.remove(&key.name)),
                Kind::Secret => drop(after.secrets.remove(&key.name)),
                Kind::Config | Kind::Node | Kind::Replica => {}
            },
        }
    }
    after
}

fn put(input: &mut Input, declared: &Declared) {
    let name = declared.name.clone();
    match &declared.spec {
        Spec::Route(spec) => match input.routes.iter_mut().find(|route| route.name == name) {
            Some(old) => old.spec = Arc::new((**spec).clone()),
            None => input.routes.push(Stored { name, created_at: NEW, spec: Arc::new((**spec).clone()) }),
        },
        Spec::Service(spec) => {
            let new = || Backing { created_at: NEW, ..Backing::default() };
            let backing = input.services.entry(name).or_insert_with(new);
            backing.declared = Reached::from(&**spec);
        }
        Spec::Middleware(spec) => drop(input.middlewares.insert(name, Arc::new((**spec).clone()))),
        Spec::Secret(spec) => drop(input.secrets.insert(name, material(spec))),
        Spec::Config(_) | Spec::Node(_) => {}
    }
}

/// What a manifest says of a Secret. Of one whose values come from elsewhere only what stands there is known.
fn material(spec: &SecretSpec) -> Material {
    let decoded = |(key, value): (&String, &String)| Some((key.clone(), STANDARD.decode(value).ok()?));
    let plain = spec.string_data.iter().map(|(key, value)| (key.clone(), value.clone().into_bytes()));
    let all = spec.data.iter().filter_map(decoded).chain(plain);
    Material::Open(all.map(|(key, value)| (key, Zeroizing::new(value))).collect::<BTreeMap<_, _>>())
}

/// What would not be served: of the objects of the change all, of others what was served before.
#[must_use]
pub fn warnings(wishes: &[Wish<'_>], before: &Table, after: &Table) -> Vec<String> {
    let mut found = Vec::new();
    for (key, verdict) in &after.said {
        let asked = wishes.iter().any(|wish| matches!(wish, Wish::Put { .. }) && wish.key() == *key);
        let was = before.said.get(key).map(why::route::unserved).unwrap_or_default();
        let lost = why::route::unserved(verdict).into_iter().filter(|said| asked || !was.contains(said));
        found.extend(lost.map(|said| format!("{key}: {said}")));
    }
    let deleted = wishes.iter().filter(|wish| matches!(wish, Wish::Delete(_))).map(Wish::key);
    found.extend(deleted.flat_map(|key| follows(&key, before, after)));
    found
}

/// Most places that are told of one deletion.
const TOLD: usize = 5;

/// Who answers then where a deleted object is served now.
fn follows(key: &ObjectKey, before: &Table, after: &Table) -> Vec<String> {
    let same = |entry: &Entry, other: &Entry| {
        (&entry.host, &entry.path, entry.entry_point) == (&other.host, &other.path, other.entry_point)
    };
    let all: Vec<&Entry> = before.entries.iter().filter(|entry| entry.by == *key).collect();
    // Of a Route nobody expects anything else.
    let ends = key.kind == Kind::Service;
    let told = all.iter().take(TOLD).filter_map(|entry| {
        let place = format!("{}{} on {}", entry.host, entry.path, entry.entry_point.as_str());
        match after.entries.iter().find(|other| same(entry, other)) {
            Some(other) => Some(format!("{key}: {place} goes to {}", other.by)),
            None => ends.then(|| format!("{key}: {place} is served no more")),
        }
    });
    let more = all.len().saturating_sub(TOLD);
    told.chain((more > 0 && ends).then(|| format!("{key}: {more} more of its routes end"))).collect()
}

#[cfg(test)]
mod tests;
