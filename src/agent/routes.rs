//! Tables of routes for this node's Traefik.
//!
//! Here: [`Routes`], which knows the keys. Not here: what a table says (`plan::routes`), when requests wait (`plan::holds`),
//! who asks for one (`edge::watch`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{
    edge::{
        Addresses,
        watch::{Listeners, Made, Offered, Place, Tables},
    },
    model::{Index, Kind, ObjectKey},
    plan::{
        holds::{held, ports},
        routes::{Input, Sent, Table, Verdict, table},
        view::ReplicaView,
    },
    reconcile::{
        routes::{input, with_leaving},
        view,
    },
    store::{State, seal::Sealer},
};

/// Makes tables.
pub struct Routes {
    /// Opens certificates and users.
    pub sealer: Arc<Sealer>,
    /// Where the agent and its Traefik are.
    pub addresses: Addresses,
    /// What was left out of the last table, and is in the log.
    pub left_out: Mutex<BTreeSet<String>>,
}

impl Routes {
    /// Says what is left out and was not before.
    fn tell(&self, said: &BTreeMap<ObjectKey, Verdict>) {
        let each = |(key, verdict): (&ObjectKey, &Verdict)| -> Vec<String> {
            verdict.left_out.iter().map(|l| format!("{key}: {}: {}: {}", l.what, l.reason, l.message)).collect()
        };
        let now: BTreeSet<String> = said.iter().flat_map(each).collect();
        let mut before = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        for new in now.difference(&before) {
            tracing::warn!("left out of what Traefik is told: {new}");
        }
        *before = now;
    }
}

impl Tables for Routes {
    fn make(&self, state: &State, now: u64, holds: &Listeners) -> Made {
        let mut input = input(state, Some(&self.sealer), &self.addresses);
        let (asked, waits) = (declared(state, &input), waits(state, &input, now));
        // Where nobody waits any more nobody is sent.
        input.holds = holds.clone().into_iter().filter(|(place, _)| waits.contains_key(place)).collect();
        let Table { document, entry_points, sent, said, .. } = table(&input);
        self.tell(&said);
        let answers = |place: &Place| Some((place.clone(), sent.places.get(place)?.first()?.1));
        let answers = holds.keys().filter_map(answers).collect();
        Made { document, entry_points, asked, waits, answers, offered: offered(&input, sent) }
    }

    fn endpoints(&self, state: &State, replicas: &[Arc<str>]) -> Offered {
        let input = with_leaving(state, None, &self.addresses, replicas);
        let mut all = offered(&input, table(&input).sent);
        all.retain(|name, _| replicas.contains(name));
        all
    }
}

/// Where each endpoint is asked: nowhere, when no route leads to it.
fn offered(input: &Input, sent: Sent) -> Offered {
    let mut offered = sent.replicas;
    for endpoint in input.services.values().flat_map(|backing| &backing.endpoints) {
        offered.entry(endpoint.replica.clone()).or_default();
    }
    offered
}

/// Where requests wait, how long each, and until when: at Services without an endpoint that are being swapped.
fn waits(state: &State, input: &Input, now: u64) -> BTreeMap<Place, (Duration, u64)> {
    let mut waits = BTreeMap::new();
    let empty = |name: &str| input.services.get(name).is_some_and(|backing| backing.endpoints.is_empty());
    if !input.services.keys().any(|name| empty(name)) {
        return waits;
    }
    let held = view::services(state).into_iter().filter(|view| empty(&view.name)).filter_map(|view| {
        let (_, spec) = view.declared.as_ref()?;
        let own = view.replicas.iter().filter(|r| r.replica.service_uid == view.uid).cloned();
        Some((view.name.clone(), held(spec, &own.collect::<Vec<ReplicaView>>(), now)?))
    });
    let held: Vec<_> = held.collect();
    if !held.is_empty() {
        let ports = ports(input);
        for (name, how) in held {
            waits.extend(ports.get(&name).into_iter().flatten().map(|port| ((name.clone(), *port), how)));
        }
    }
    waits
}

/// The newest index at which something was declared that the table is made of.
fn declared(state: &State, input: &Input) -> Index {
    let routes = input.routes.iter().map(|r| ObjectKey::new(Kind::Route, r.name.clone()));
    let middlewares = input.middlewares.keys().map(|name| ObjectKey::new(Kind::Middleware, name.clone()));
    let routed = input.services.iter().filter(|(_, backing)| !backing.declared.routes.is_empty());
    let services = routed.map(|(name, _)| ObjectKey::service(name.clone()));
    let secrets = input.secrets.keys().map(|name| ObjectKey::new(Kind::Secret, name.clone()));
    let all = routes.chain(middlewares).chain(services).chain(secrets);
    all.filter_map(|key| state.version(&key)).max().unwrap_or_default()
}
