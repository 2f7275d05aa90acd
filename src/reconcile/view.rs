//! From the state to what planners read.
//!
//! Here: [`service`], [`services`], [`nodes`], [`world`]. Only reading and parsing: no decision.
//! Invariant: what this version cannot read (a newer one wrote it) gives no view at all, so that no
//! planner takes it for deleted or empty.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use crate::{
    model::{
        Bytes, Kind, Millicores, ObjectKey, Replica, Revision, ServiceSpec, Uid, config::ConfigSpec,
        secret::SealedSecret, service::FileRef,
    },
    plan::view::{Home, Missing, NodeView, ReplicaView, ServiceView, World},
    store::State,
};

/// A Service and all that bears its name; none when there is nothing, or when this version cannot
/// read its spec: then leave it alone.
#[must_use]
pub fn service(state: &State, name: &str) -> Option<ServiceView> {
    let replicas = state.replicas().filter(|r| *r.service == *name).map(|r| replica(state, r)).collect();
    assemble(state, name, replicas)
}

/// Every Service that can be read, deleted ones with replicas left too, by name.
#[must_use]
pub fn services(state: &State) -> Vec<ServiceView> {
    let mut replicas: BTreeMap<Arc<str>, Vec<ReplicaView>> = BTreeMap::new();
    for r in state.replicas() {
        replicas.entry(r.service.clone()).or_default().push(replica(state, r));
    }
    let mut names: BTreeSet<Arc<str>> = state.objects(Kind::Service).map(|o| o.meta.name.clone()).collect();
    names.extend(replicas.keys().cloned());
    names.iter().filter_map(|name| assemble(state, name, replicas.remove(name).unwrap_or_default())).collect()
}

/// Every Node, with what is placed there.
#[must_use]
pub fn nodes(state: &State) -> Vec<NodeView> {
    let mut specs = Specs::default();
    let mut nodes: Vec<NodeView> = state
        .objects(Kind::Node)
        .filter_map(|object| {
            Some(NodeView {
                name: object.meta.name.clone(),
                uid: object.meta.uid.clone(),
                labels: object.meta.labels.clone(),
                spec: object.parse().ok()?,
                status: state.node_status(&object.meta.name).cloned(),
                reserved: (Millicores(0), Bytes(0)),
                ports: Vec::new(),
                replicas: BTreeMap::new(),
            })
        })
        .collect();
    let place: HashMap<Uid, usize> = nodes.iter().enumerate().map(|(i, n)| (n.uid.clone(), i)).collect();
    for replica in state.replicas() {
        // A container that is being stopped still holds what it has.
        if state.replica_status(&replica.name).is_some_and(|s| s.phase.ended()) {
            continue;
        }
        let Some(node) = place.get(&replica.node_uid).and_then(|i| nodes.get_mut(*i)) else { continue };
        let spec = state.revision(&replica.service_uid, replica.revision).and_then(|r| specs.of(r));
        match spec {
            Some(spec) => node.hold(replica, &spec),
            None => *node.replicas.entry(replica.service.clone()).or_default() += 1,
        }
    }
    nodes
}

/// Everything, for a plan of changes.
#[must_use]
pub fn world(state: &State) -> World {
    World {
        index: state.index(),
        services: services(state).into_iter().map(|s| (s.name.clone(), s)).collect(),
        nodes: nodes(state),
        objects: [Kind::Node, Kind::Config, Kind::Secret, Kind::Service]
            .into_iter()
            .flat_map(|kind| state.objects(kind))
            .map(|o| (o.key(), o.clone()))
            .collect(),
    }
}

fn replica(state: &State, replica: &Arc<Replica>) -> ReplicaView {
    ReplicaView { replica: replica.clone(), status: state.replica_status(&replica.name).cloned() }
}

fn assemble(state: &State, name: &str, replicas: Vec<ReplicaView>) -> Option<ServiceView> {
    let (declared, uid) = match state.object(&ObjectKey::service(name)) {
        Some(object) => {
            let spec: ServiceSpec = object.parse().ok()?;
            (Some((object.meta.clone(), Arc::new(spec))), object.meta.uid.clone())
        }
        None => (None, replicas.first()?.replica.service_uid.clone()),
    };
    let missing = declared.as_ref().map_or_else(Vec::new, |(_, spec)| missing(state, spec));
    Some(ServiceView {
        name: name.into(),
        revisions: state.revisions(&uid).map(|r| (r.number, r.clone())).collect(),
        status: state.service_status(name).cloned(),
        homes: state
            .volumes()
            .filter(|v| v.services.iter().any(|s| **s == *name))
            .map(|v| Home { source: v.source.clone(), node: v.node.clone() })
            .collect(),
        uid,
        declared,
        replicas,
        missing,
    })
}

/// References of a spec to what does not exist.
fn missing(state: &State, spec: &ServiceSpec) -> Vec<Missing> {
    let container = &spec.container;
    let mut missing = Vec::new();
    let configs = container.configs.iter().map(|r| (Kind::Config, r));
    let secrets = container.secrets.iter().map(|r| (Kind::Secret, r));
    for (kind, reference) in configs.chain(secrets) {
        missing.extend(missing_file(state, kind, reference));
    }
    for name in &container.image_pull_secrets {
        if state.object(&ObjectKey::new(Kind::Secret, name.as_str())).is_none() {
            missing.push(Missing { kind: Kind::Secret, name: name.clone(), key: None, required: false });
        }
    }
    for dependency in &container.depends_on {
        if state.object(&ObjectKey::service(dependency.name.as_str())).is_none() {
            let (name, required) = (dependency.name.clone(), dependency.required);
            missing.push(Missing { kind: Kind::Service, name, key: None, required });
        }
    }
    missing
}

fn missing_file(state: &State, kind: Kind, reference: &FileRef) -> Option<Missing> {
    let lacks = |key| Some(Missing { kind, name: reference.object().to_owned(), key, required: true });
    let Some(object) = state.object(&ObjectKey::new(kind, reference.object())) else { return lacks(None) };
    let key = reference.key()?;
    let has = match kind {
        Kind::Secret => object.parse::<SealedSecret>().is_ok_and(|s| s.sealed.contains_key(key)),
        Kind::Config | Kind::Service | Kind::Node | Kind::Replica => {
            object.parse::<ConfigSpec>().is_ok_and(|c| c.data.contains_key(key))
        }
    };
    if has { None } else { lacks(Some(key.to_owned())) }
}

/// Specs of revisions, each parsed once in one reading.
#[derive(Default)]
struct Specs(HashMap<(Uid, u64), Option<Arc<ServiceSpec>>>);

impl Specs {
    fn of(&mut self, revision: &Revision) -> Option<Arc<ServiceSpec>> {
        self.0
            .entry((revision.service.clone(), revision.number))
            .or_insert_with(|| serde_json::from_slice(&revision.spec).ok().map(Arc::new))
            .clone()
    }
}
