//! From the state to what the table of routes is made from.
//!
//! Here: [`input`] and [`with_leaving`], which read Routes, Middlewares, Services with their endpoints, and what they name
//! of Secrets; opened when a [`Sealer`] is given, else by the names of their keys. Not here: what becomes of it (`plan::routes`), where
//! requests wait (`edge`).
//! Invariant: what this version cannot read is left out, and no other object suffers for it.

use std::{collections::BTreeMap, sync::Arc};

use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::{
    edge::Addresses,
    model::{Kind, Object, ObjectKey, route::RouteSpec, secret::SealedSecret},
    plan::routes::{Backing, Input, Material, Reached, Stored, endpoints},
    reconcile::view,
    store::{State, seal::Sealer},
};

/// Reads everything that the table is made from. Holds are added by whoever has them.
#[must_use]
pub fn input(state: &State, sealer: Option<&Sealer>, edge: &Addresses) -> Input {
    with_leaving(state, sealer, edge, &[])
}

/// The same, with replicas that get requests though they are on their way out.
#[must_use]
pub fn with_leaving(state: &State, sealer: Option<&Sealer>, edge: &Addresses, leaving: &[Arc<str>]) -> Input {
    let Addresses { api, http, https, traefik } = edge;
    let reserved = [api, http, https, traefik].into_iter().map(|at| at.port()).collect();
    let mut input = Input { reserved, ..Input::default() };
    for object in state.objects(Kind::Route) {
        if let Some(spec) = read::<RouteSpec>(object) {
            let (name, created_at) = (object.meta.name.clone(), object.meta.created_at);
            input.routes.push(Stored { name, created_at, spec: Arc::new(spec) });
        }
    }
    for object in state.objects(Kind::Middleware) {
        if let Some(spec) = read(object) {
            input.middlewares.insert(object.meta.name.clone(), Arc::new(spec));
        }
    }
    for view in view::services(state) {
        if let Some((meta, spec)) = &view.declared {
            let (declared, endpoints) = (Reached::from(&**spec), endpoints(&view, leaving));
            input.services.insert(view.name.clone(), Backing { created_at: meta.created_at, declared, endpoints });
        }
    }
    open(&mut input, state, sealer);
    input
}

/// Adds the Secrets that are named and not there yet.
pub fn open(input: &mut Input, state: &State, sealer: Option<&Sealer>) {
    let named: Vec<Arc<str>> = input.secrets_named().into_iter().map(Arc::from).collect();
    for name in named {
        let stored = || state.object(&ObjectKey::new(Kind::Secret, name.clone())).and_then(|o| opened(o, sealer));
        if !input.secrets.contains_key(&name)
            && let Some(material) = stored()
        {
            input.secrets.insert(name, material);
        }
    }
}

fn read<T: DeserializeOwned>(object: &Object) -> Option<T> {
    object.parse().ok()
}

fn opened(object: &Object, sealer: Option<&Sealer>) -> Option<Material> {
    let sealed: SealedSecret = object.parse().ok()?;
    let Some(sealer) = sealer else { return Some(Material::Closed(sealed.sealed.keys().cloned().collect())) };
    match sealer.open(&sealed, &object.meta.uid) {
        Ok(values) => {
            let values: BTreeMap<_, _> = values.iter().map(|(k, v)| (k.clone(), Zeroizing::new(v.to_vec()))).collect();
            Some(Material::Open(values))
        }
        Err(error) => {
            tracing::warn!(secret = %object.meta.name, %error, "a Secret that a route names cannot be opened");
            None
        }
    }
}
