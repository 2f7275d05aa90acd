//! Replicas that a change does not reach: they keep what they were started with, and where.
//!
//! Only warnings come of it. What is replaced in the same plan takes the change in, and is left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    model::{Desired, Kind, ServiceSpec, Spec, rotation::Strategy, secret::SealedSecret},
    plan::{
        rollout::{Standing, standing},
        scheduler,
        view::{ReplicaView, ServiceView, World},
    },
};

use super::{ObjectChange, Wish};

/// Replicas that run with older content of a Config or Secret afterwards.
pub(super) fn contents(
    wish: &Wish<'_>,
    objects: &[ObjectChange],
    services: &BTreeMap<Arc<str>, &ServiceSpec>,
    world: &World,
) -> Vec<String> {
    let Wish::Put { declared, digest, .. } = wish else { return Vec::new() };
    let sealed = world.objects.get(&declared.key()).and_then(|o| o.parse::<SealedSecret>().ok());
    // A new version has a name that no container was started with.
    let kept = sealed.as_ref().filter(|s| Some(&s.digest) == digest.as_ref()).map(|s| s.content().to_owned());
    let now = |key: Option<&str>| match &declared.spec {
        Spec::Config(config) => config.digest(key),
        Spec::Secret(_) => Some(kept.clone().unwrap_or_default()),
        Spec::Service(_) | Spec::Node(_) | Spec::Route(_) | Spec::Middleware(_) => None,
    };
    let strategy = match &declared.spec {
        Spec::Config(spec) => spec.rotation.strategy,
        Spec::Secret(spec) => spec.rotation.strategy,
        Spec::Service(_) | Spec::Node(_) | Spec::Route(_) | Spec::Middleware(_) => return Vec::new(),
    };
    let mut told = Vec::new();
    for (name, spec) in services {
        let Some(view) = world.services.get(name) else { continue };
        let references = match declared.kind() {
            Kind::Config => &spec.container.configs,
            Kind::Secret => &spec.container.secrets,
            Kind::Service | Kind::Node | Kind::Route | Kind::Middleware | Kind::Replica => return Vec::new(),
        };
        let named: Vec<(String, Option<String>)> = references
            .iter()
            .filter(|r| *r.object() == *declared.name)
            .map(|r| (r.label(declared.kind()), now(r.key())))
            .collect();
        let older = |r: &&ReplicaView| {
            let had = |reference| r.status.as_ref().and_then(|s| s.contents.get(reference));
            named.iter().any(|(reference, now)| had(reference).is_some_and(|had| Some(had) != now.as_ref()))
        };
        let change = objects.iter().find(|o| o.kind == Kind::Service && o.name == *name);
        let count = untouched(view, change, world).filter(older).count();
        let replicas = match count {
            0 => continue,
            1 => format!("1 running replica of svc/{name}"),
            n => format!("{n} running replicas of svc/{name}"),
        };
        let variable = references.iter().any(|r| *r.object() == *declared.name && r.env.is_some());
        told.push(match strategy {
            Strategy::Rolling if count == 1 => format!("{replicas} is replaced for it"),
            Strategy::Rolling => format!("{replicas} are replaced for it, one after another"),
            Strategy::Reload if variable => {
                format!("{replicas}: files are replaced where they are; a variable keeps the old content until its replica is replaced")
            }
            Strategy::Reload => format!("{replicas}: files are replaced where they are"),
            Strategy::Manual if count == 1 => format!("{replicas} keeps the old content until it is replaced"),
            Strategy::Manual => format!("{replicas} keep the old content until they are replaced"),
        });
    }
    told
}

/// Replicas that run where a new one would not be placed.
pub(super) fn placement(spec: &ServiceSpec, change: &ObjectChange, world: &World) -> Vec<String> {
    let Some(view) = world.services.get(&change.name) else { return Vec::new() };
    let mut on: BTreeMap<&str, (Vec<String>, String)> = BTreeMap::new();
    for r in untouched(view, Some(change), world) {
        let Some(node) = world.nodes.iter().find(|n| n.uid == r.replica.node_uid) else { continue };
        if let Some(lack) = scheduler::unfit(spec, node).into_iter().next() {
            on.entry(&node.name).or_insert_with(|| (Vec::new(), lack.message)).0.push(r.replica.display());
        }
    }
    let told = on.into_iter().map(|(node, (replicas, facts))| {
        format!("{} would not be placed on {node} now and runs there until replaced: {facts}", replicas.join(", "))
    });
    told.collect()
}

/// Replicas that run before and after a plan.
fn untouched<'a>(
    view: &'a ServiceView,
    change: Option<&'a ObjectChange>,
    world: &'a World,
) -> impl Iterator<Item = &'a ReplicaView> {
    let operations = change.into_iter().flat_map(|c| &c.operations);
    let touched: BTreeSet<&str> = operations.filter(|o| o.node.is_some()).map(|o| o.replica.as_str()).collect();
    view.replicas.iter().filter(move |r| {
        let runs = matches!(standing(r, &world.nodes), Standing::Ready | Standing::NotReady | Standing::Unknown);
        let own = r.replica.desired == Desired::Run && r.replica.service_uid == view.uid;
        own && runs && !touched.contains(r.replica.display().as_str())
    })
}
