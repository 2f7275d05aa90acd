//! Tables of routes for this node's Traefik.
//!
//! Here: [`Routes`], which knows the keys. Not here: what a table says (`plan::routes`), when requests wait (`plan::holds`),
//! who asks for one (`edge::watch`).

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use crate::{
    edge::watch::{Listeners, Made, Place, Tables},
    model::{Index, Kind, ObjectKey},
    plan::{
        holds::{held, ports},
        routes::{Input, table},
        view::ReplicaView,
    },
    reconcile::{routes::input, view},
    store::{State, seal::Sealer},
};

/// Makes tables.
pub struct Routes {
    /// Opens certificates and users.
    pub sealer: Arc<Sealer>,
}

impl Tables for Routes {
    fn make(&self, state: &State, now: u64, holds: &Listeners) -> Made {
        let mut input = input(state, Some(&self.sealer));
        let (asked, waits) = (declared(state, &input), waits(state, &input, now));
        let answers = holds.keys().filter_map(|place| {
            let address = input.services.get(&place.0)?.addresses.first()?;
            Some((place.clone(), SocketAddr::new(*address, place.1)))
        });
        let answers = answers.collect();
        // Where nobody waits any more nobody is sent.
        input.holds = holds.clone().into_iter().filter(|(place, _)| waits.contains_key(place)).collect();
        let table = table(&input);
        Made { document: table.document, entry_points: table.entry_points, asked, waits, answers }
    }

    fn endpoints(&self, state: &State, replicas: &[Arc<str>]) -> BTreeMap<Arc<str>, Vec<SocketAddr>> {
        let input = input(state, None);
        let ports = ports(&input);
        let endpoints = |name: &Arc<str>| {
            let replica = state.replica(name)?;
            let host_network = input.services.get(&replica.service).is_some_and(|backing| backing.host_network);
            let address = match state.replica_status(name).and_then(|status| status.address.as_ref()) {
                Some(address) => Some(address.parse().ok()?),
                None => host_network.then_some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            };
            let at = ports.get(&replica.service).into_iter().flatten();
            let all = address.map(|address| at.map(|port| SocketAddr::new(address, *port)).collect());
            Some((name.clone(), all.unwrap_or_default()))
        };
        replicas.iter().filter_map(endpoints).collect()
    }
}

/// Where requests wait, how long each, and until when: at Services without an endpoint that are being swapped.
fn waits(state: &State, input: &Input, now: u64) -> BTreeMap<Place, (Duration, u64)> {
    let mut waits = BTreeMap::new();
    let empty = |name: &str| input.services.get(name).is_some_and(|backing| backing.addresses.is_empty());
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
    let routed = input.services.iter().filter(|(_, backing)| !backing.routes.is_empty());
    let services = routed.map(|(name, _)| ObjectKey::service(name.clone()));
    let secrets = input.secrets.keys().map(|name| ObjectKey::new(Kind::Secret, name.clone()));
    let all = routes.chain(middlewares).chain(services).chain(secrets);
    all.filter_map(|key| state.version(&key)).max().unwrap_or_default()
}
