//! `GET /api/v1/route-table`: what requests from outside meet, and what is left out of it.
//!
//! Here: the table of `plan::routes` for people and programs. Not here: the document for Traefik, which holds keys.

use std::collections::BTreeMap;

use warp::reply::Response;

use super::{
    heavy,
    objects::{doors, of_routes, said},
    problem::Failure,
    reply,
    request::Request,
    wire::{RouteTable, Routed},
};
use crate::{
    edge::Addresses,
    model::{Kind, ObjectKey},
    plan::routes::{self, Input},
    reconcile,
    store::{State, seal::Sealer},
};

/// Shows the table.
///
/// # Errors
/// 503 when too many such requests run.
pub async fn show(request: Request) -> Result<Response, Failure> {
    let shared = &request.server.shared;
    let (state, addresses) = (shared.store.state(), shared.addresses);
    let sealer = shared.sealer.clone();
    let size = heavy::stored(&state, Kind::Service) + heavy::stored(&state, Kind::Route);
    heavy::run(&request.server, size, move || reply::json(&table(&state, (&sealer, &addresses)))).await?
}

/// The table of a state.
fn table(state: &State, (sealer, edge): (&Sealer, &Addresses)) -> RouteTable {
    let input = reconcile::routes::input(state, Some(sealer), edge);
    let (hosts, made, doors) = (hosts(&input), routes::table(&input), doors(state));
    let objects = made.said.iter().filter_map(|(key, verdict)| {
        let object = state.object(key)?;
        let (_, programmed) = said(state, (&made, &doors), object)?;
        Some(Routed {
            conditions: of_routes(verdict, &programmed, object),
            hosts: hosts.get(key).cloned().unwrap_or_default(),
            left_out: verdict.left_out.clone(),
            object: key.clone(),
        })
    });
    let objects = objects.collect();
    RouteTable { index: state.index().0, objects, entries: made.entries }
}

/// Hosts that each object asks for; of a raw rule, the rule.
fn hosts(input: &Input) -> BTreeMap<ObjectKey, Vec<String>> {
    let mut found: BTreeMap<ObjectKey, Vec<String>> = BTreeMap::new();
    for route in &input.routes {
        let asked = found.entry(ObjectKey::new(Kind::Route, route.name.clone())).or_default();
        asked.extend(route.spec.hosts.iter().cloned());
        asked.extend(route.spec.rule.iter().cloned());
    }
    for (name, service) in &input.services {
        for short in &service.declared.routes {
            found.entry(ObjectKey::service(name.clone())).or_default().push(short.host.clone());
        }
    }
    found
}
