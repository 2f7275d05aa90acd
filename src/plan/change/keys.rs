//! A Config or Secret that is one file while it has one key, and a directory when it has several.
//!
//! Here: [`turns`]. Not here: making the files (`reconcile`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    model::{Declared, Kind, ObjectKey, ServiceSpec, Spec, config::ConfigSpec, secret::SealedSecret, service::FileRef},
    plan::view::World,
};

/// What services that name the whole object see instead of what they saw.
pub(super) fn turns(declared: &Declared, services: &BTreeMap<Arc<str>, &ServiceSpec>, world: &World) -> Vec<String> {
    let key = declared.key();
    let (Some(before), Some(after)) = (stored(&key, world), wanted(declared)) else { return Vec::new() };
    if (before == 1) == (after == 1) || after == 0 {
        return Vec::new();
    }
    let mut told = Vec::new();
    // Where nothing runs yet, nothing becomes anything else.
    let known = |name: &Arc<str>| world.services.get(name).is_some_and(|view| view.declared.is_some());
    for (name, spec) in services.iter().filter(|(name, _)| known(name)) {
        let references = match key.kind {
            Kind::Config => &spec.container.configs,
            Kind::Secret => &spec.container.secrets,
            Kind::Service | Kind::Node | Kind::Route | Kind::Middleware | Kind::Replica => continue,
        };
        let whole = references.iter().filter(|r| *r.object() == *declared.name && r.key().is_none());
        told.extend(whole.map(|reference| turn(reference, key.kind, name, (before, after))));
    }
    told
}

fn turn(reference: &FileRef, kind: Kind, service: &str, (before, after): (usize, usize)) -> String {
    let name = &reference.source;
    let keys = |n: usize| if n == 1 { "one key".to_owned() } else { format!("{n} keys") };
    let had = format!("it has {} instead of {}", keys(after), keys(before));
    if let Some(variable) = reference.env.as_ref() {
        return if after == 1 {
            format!("{had}: the variable {variable} of svc/{service} can be filled in now")
        } else {
            format!("{had}: svc/{service} cannot fill in the variable {variable}; name the key there: {name}/KEY")
        };
    }
    let place = reference.target.clone().unwrap_or_else(|| match kind {
        Kind::Secret => format!("/run/secrets/{name}"),
        Kind::Config | Kind::Service | Kind::Node | Kind::Route | Kind::Middleware | Kind::Replica => {
            format!("/{name}")
        }
    });
    let (was, is) = if after == 1 { ("a directory", "a file") } else { ("a file", "a directory") };
    format!(
        "{had}: in new containers of svc/{service} {place} is {is}, no longer {was}; to choose, name {name}/KEY there"
    )
}

fn stored(key: &ObjectKey, world: &World) -> Option<usize> {
    let object = world.objects.get(key)?;
    match key.kind {
        Kind::Config => object.parse::<ConfigSpec>().ok().map(|c| c.data.len()),
        Kind::Secret => object.parse::<SealedSecret>().ok().map(|s| s.sealed.len()),
        Kind::Service | Kind::Node | Kind::Route | Kind::Middleware | Kind::Replica => None,
    }
}

fn wanted(declared: &Declared) -> Option<usize> {
    match &declared.spec {
        Spec::Config(config) => Some(config.data.len()),
        Spec::Secret(secret) => {
            Some(secret.data.keys().chain(secret.string_data.keys()).collect::<BTreeSet<_>>().len())
        }
        Spec::Service(_) | Spec::Node(_) | Spec::Route(_) | Spec::Middleware(_) => None,
    }
}
