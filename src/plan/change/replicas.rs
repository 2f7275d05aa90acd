//! What happens to replicas: made, stopped, replaced, and where.
//!
//! Here: [`Books`], every node's bookkeeping while a plan is made, and the operations of each Service.
//! Not here: the pace ([`crate::plan::rollout`] keeps it when the change is real); the choice of a node
//! ([`crate::plan::scheduler`], asked here with the real seed).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use crate::{
    model::{
        Decision, Declared, Desired, Kind, ObjectKey, Reason, ServiceSpec, Slot, Spec, Uid,
        replica::Considered,
        route::{RouteSpec, Scheme},
        service::{DataPolicy, Mode, Order},
    },
    plan::{
        rollout::{self, Standing, standing},
        scheduler::{self, Request},
        view::{Holder, Home, NodeView, ReplicaView, ServiceView, World},
        why,
    },
};

use super::{Op, Operation, Outcome, Wish, runs};

/// What nodes hold while the wishes are worked out one after the other.
pub struct Books<'a> {
    world: &'a World,
    nodes: Vec<NodeView>,
    /// Services that requests from outside wait for.
    routed: BTreeSet<String>,
}

impl<'a> Books<'a> {
    /// The nodes as they are, with what the wishes say of them.
    #[must_use]
    pub fn new(wishes: &[Wish<'_>], world: &'a World) -> Self {
        let mut nodes = nodes(wishes, world);
        // What is on its way out is only a wait, which the warnings tell.
        nodes.iter_mut().for_each(|n| n.data.retain(|claim| !claim.holder.leaving));
        Self { world, nodes, routed: routed(wishes, world) }
    }

    /// The operations of every Service that changes.
    pub fn operations(&mut self, changes: &[(&Wish<'_>, Outcome)]) -> BTreeMap<ObjectKey, Vec<Operation>> {
        let mut found: BTreeMap<ObjectKey, Vec<Operation>> = BTreeMap::new();
        let touched = || changes.iter().filter(|(_, outcome)| *outcome != Outcome::Unchanged).map(|(wish, _)| *wish);
        // What goes makes room for what comes.
        for wish in touched() {
            found.entry(wish.key()).or_default().extend(self.stops(wish));
        }
        for wish in touched() {
            if let Wish::Put { declared, .. } = wish
                && let Spec::Service(spec) = &declared.spec
            {
                let operations = self.service(&declared.name, spec);
                let stops = found.entry(wish.key()).or_default();
                stops.splice(0..0, operations);
            }
        }
        found
    }

    /// Replicas that are not wanted any more.
    fn stops(&mut self, wish: &Wish<'_>) -> Vec<Operation> {
        let key = wish.key();
        let Some(view) = self.world.services.get(&key.name).filter(|_| key.kind == Kind::Service) else {
            return Vec::new();
        };
        let (wanted, spec) = match wish {
            Wish::Delete(_) => (BTreeSet::new(), None),
            Wish::Put { declared: Declared { spec: Spec::Service(spec), .. }, .. } => {
                (rollout::slots(spec, &self.nodes), Some(spec))
            }
            Wish::Put { .. } => return Vec::new(),
        };
        let reason = |r: &ReplicaView| match spec {
            None => Some(Reason::ServiceDeleted),
            Some(spec) if r.replica.run.is_some() => runs::stopped(view, spec, standing(r, &self.world.nodes)),
            Some(spec) => (!wanted.contains(&r.replica.slot)).then(|| rollout::surplus(spec, &r.replica.slot)),
        };
        let mut leaving: Vec<(&ReplicaView, Reason)> =
            self.alive(view).filter_map(|r| reason(r).map(|reason| (r, reason))).collect();
        leaving.sort_by_key(|(r, _)| std::cmp::Reverse(r.replica.slot.clone()));
        leaving
            .into_iter()
            .map(|(r, reason)| {
                self.release(view, r);
                operation(Op::Remove, r.replica.display(), Some(r.replica.node.clone()), reason)
            })
            .collect()
    }

    fn alive(&self, view: &'a ServiceView) -> impl Iterator<Item = &'a ReplicaView> + use<'a> {
        let nodes = &self.world.nodes;
        view.replicas.iter().filter(move |r| {
            r.replica.desired == Desired::Run
                && r.replica.service_uid == view.uid
                && standing(r, nodes) != Standing::Gone
        })
    }

    fn release(&mut self, view: &ServiceView, r: &ReplicaView) {
        // What ended does not stand in the books.
        if standing(r, &self.world.nodes) == Standing::Ended {
            return;
        }
        let spec = rollout::spec_of(view, r.replica.revision);
        let node = self.nodes.iter_mut().find(|n| n.uid == r.replica.node_uid);
        if let (Some(spec), Some(node)) = (spec, node) {
            node.release(&Holder::of(&r.replica), &spec);
        }
    }

    /// Replicas that are made or replaced.
    fn service(&mut self, name: &Arc<str>, spec: &ServiceSpec) -> Vec<Operation> {
        let view = self.world.services.get(name).filter(|v| v.declared.is_some());
        let generation = view.and_then(|v| v.declared.as_ref()).map_or(1, |(meta, _)| meta.generation + 1);
        let mut hash = spec.container_hash().unwrap_or_default();
        let mut spec = spec;
        let gone_back;
        // What was gone back from is not tried again by being declared again.
        if let Some(view) = view.filter(|v| v.gone_back() && v.newest().is_some_and(|newest| newest.spec_hash == hash))
            && let Some(target) = view.target()
        {
            gone_back = rollout::with_container(spec, view, target);
            (hash, spec) = (target.spec_hash.clone(), &gone_back);
        }
        let homes = view.map_or(&[][..], |v| &v.homes);
        // Until it exists its name tells it from the others.
        let uid = view.map_or_else(|| Uid(name.clone()), |v| v.uid.clone());
        let lasting = |r: &&ReplicaView| r.replica.run.is_none();
        let current: BTreeMap<Slot, &ReplicaView> = view.map_or_else(BTreeMap::new, |v| {
            self.alive(v).filter(lasting).map(|r| (r.replica.slot.clone(), r)).collect()
        });
        let mut operations = Vec::new();
        if let Some(detail) = runs::begun(view, spec, &hash) {
            for slot in (1..=spec.at_once()).map(Slot::Number) {
                let place = Place { name, uid: &uid, generation, slot: &slot, spec, homes };
                let made = self.add(&place);
                // Why none fits says more.
                let detail = if made.node.is_some() { detail.clone() } else { made.detail.clone() };
                operations.push(Operation { detail, ..made });
            }
        }
        for slot in rollout::slots(spec, &self.nodes) {
            let place = Place { name, uid: &uid, generation, slot: &slot, spec, homes };
            match (current.get(&slot).copied(), view) {
                (Some(old), Some(view)) if old.replica.spec_hash != hash => {
                    operations.push(self.replace(view, old, &place));
                }
                (Some(_), _) => {}
                (None, _) => operations.push(self.add(&place)),
            }
        }
        operations
    }

    fn decide(&mut self, place: &Place<'_>) -> Decision {
        let Place { name, uid, generation, slot, spec, homes } = *place;
        let request = Request { service: name, uid, generation, slot, spec, image: None, homes };
        let decision = scheduler::place(&request, &self.nodes);
        if let Some(node) = self.nodes.iter_mut().find(|n| Some(&n.name) == decision.node.as_ref()) {
            node.take(&Holder { service: name.clone(), uid: uid.clone(), slot: slot.clone(), leaving: false }, spec);
        }
        decision
    }

    fn add(&mut self, place: &Place<'_>) -> Operation {
        let decision = self.decide(place);
        let replica = format!("{}.{}", place.name, place.slot);
        decided(operation(Op::Add, replica, None, Reason::Scheduled), decision)
    }

    fn replace(&mut self, view: &ServiceView, old: &ReplicaView, place: &Place<'_>) -> Operation {
        let policy = place.spec.update.order;
        let before = rollout::spec_of(view, old.replica.revision);
        let mut first = rollout::order(policy, place.spec, before.as_ref());
        // Both at once need room for both.
        let beside = (first == Order::StartFirst).then(|| self.decide(place));
        let decision = match beside {
            Some(decision) if decision.node.is_some() || policy == Order::StartFirst => {
                self.release(view, old);
                decision
            }
            Some(_) | None => {
                first = Order::StopFirst;
                self.release(view, old);
                self.decide(place)
            }
        };
        let op = if first == Order::StartFirst { Op::StartFirst } else { Op::StopFirst };
        let mut operation = operation(op, old.replica.display(), None, Reason::Superseded);
        operation.order = Some(first.as_str().into());
        operation.detail = gap(first, place.spec, self.routed.contains(&**place.name));
        match &decision.node {
            Some(node) if *node != old.replica.node => {
                let moves = format!("from {}", old.replica.node);
                operation.detail = [moves, operation.detail].join(" ").trim_end().into();
            }
            Some(_) => {}
            None => {
                let mut kept = decided(operation, decision);
                kept.detail = format!("the old one stays: {}", kept.detail);
                return kept;
            }
        }
        decided(operation, decision)
    }
}

/// Services that requests from outside go to and wait for, by their own `routes` or by a Route: what holds requests
/// speaks plain HTTP only.
fn routed(wishes: &[Wish<'_>], world: &World) -> BTreeSet<String> {
    let stored = world.objects.values().filter(|object| object.kind == Kind::Route);
    let mut routes: Vec<RouteSpec> = stored.filter_map(|object| object.parse().ok()).collect();
    let mut found = BTreeSet::new();
    for wish in wishes {
        let Wish::Put { declared, .. } = wish else { continue };
        match &declared.spec {
            Spec::Route(spec) => routes.push((**spec).clone()),
            // The short form speaks plain HTTP.
            Spec::Service(spec) if !spec.routes.is_empty() => drop(found.insert(declared.name.to_string())),
            Spec::Service(_) | Spec::Config(_) | Spec::Secret(_) | Spec::Node(_) | Spec::Middleware(_) => {}
        }
    }
    let held = routes.into_iter().flat_map(|route| route.backends).filter(|backend| backend.scheme == Scheme::Http);
    found.extend(held.filter_map(|backend| backend.service));
    found
}

/// What the replacement of one replica means for those who use the service.
fn gap(order: Order, spec: &ServiceSpec, routed: bool) -> String {
    if order == Order::StartFirst {
        return "no gap".into();
    }
    let exclusive = spec.container.volumes.iter().find(|m| m.policy() == DataPolicy::State);
    let because = exclusive.map(|mount| {
        let source = mount.source.as_deref().unwrap_or_default();
        format!("because {source} is read-write and exclusive")
    });
    let gap = match spec.mode {
        Mode::Replicated if (1..spec.wanted()).contains(&spec.update.parallelism) => "the others serve meanwhile",
        Mode::Replicated | Mode::Global | Mode::Job | Mode::Cron => "a gap until the new one is ready",
    };
    // The replica is away, and whoever comes by a route waits for the next one.
    let hold = spec.update.hold_requests;
    let held = (routed && hold.0 > Duration::ZERO && gap.starts_with("a gap"))
        .then(|| format!("requests of its routes are held up to {hold}"));
    because.into_iter().chain([gap.to_owned()]).chain(held).collect::<Vec<_>>().join("; ")
}

/// The nodes as the wishes would have them, and as they are in everything else.
pub(super) fn nodes(wishes: &[Wish<'_>], world: &World) -> Vec<NodeView> {
    let mut nodes = world.nodes.clone();
    for wish in wishes {
        match wish {
            Wish::Put { declared: Declared { name, labels, spec: Spec::Node(spec), .. }, .. } => {
                for node in nodes.iter_mut().filter(|n| n.name == *name) {
                    (node.labels, node.spec) = (labels.clone(), spec.clone());
                }
            }
            Wish::Put { .. } | Wish::Delete(_) => {}
        }
    }
    nodes
}

/// A slot that wants a node.
#[derive(Clone, Copy)]
struct Place<'a> {
    name: &'a Arc<str>,
    uid: &'a Uid,
    generation: u64,
    slot: &'a Slot,
    spec: &'a ServiceSpec,
    homes: &'a [Home],
}

fn operation(op: Op, replica: String, node: Option<Arc<str>>, reason: Reason) -> Operation {
    Operation { op, replica, node, order: None, reason, score: None, rejected: Vec::new(), detail: String::new() }
}

/// Puts what the scheduler said into an operation.
fn decided(mut operation: Operation, decision: Decision) -> Operation {
    if decision.node.is_none() {
        let (reason, facts) = why::unplaced(&decision);
        operation.reason = reason;
        operation.detail = facts;
    } else {
        operation.score = Some(decision.score);
    }
    operation.rejected =
        decision.considered.into_iter().filter(|c: &Considered| Some(&c.node) != decision.node.as_ref()).collect();
    operation.node = decision.node;
    operation
}
