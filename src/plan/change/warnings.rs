//! What a person should know before saying yes.
//!
//! Here: [`all`]: what will not work or may surprise. Not here: what only informs ([`super::notes`]).
//! A warning never stops anything: what must not happen is refused at the door (`manifest`) or is a reason
//! afterwards (`plan::why`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    model::{
        Declared, Kind, Object, ObjectKey, ServiceSpec, Slot, Spec, Uid,
        config::ConfigSpec,
        secret::SealedSecret,
        service::{FileRef, NetworkMode, Port, ReadinessSource},
    },
    plan::{
        rollout, scheduler,
        view::{Claim, Holder, NodeView, ServiceView, World, claims},
        why,
    },
};

use super::{ObjectChange, Outcome, Wish, circles, keys, mounts, networks, replicas, servers, stays};

/// Words in the name of a variable that is better a Secret.
const SECRETIVE: [&str; 4] = ["PASSWORD", "SECRET", "TOKEN", "API_KEY"];

/// What is declared was gone back from, and the same once more is no other try.
fn gone_back(view: &ServiceView) -> Option<String> {
    let record = view.rollout.as_ref().filter(|_| view.gone_back())?;
    let (newest, target) = (view.newest()?.number, record.target);
    let cause = if record.message.is_empty() { String::new() } else { format!(" ({})", record.message) };
    Some(format!(
        "revision {newest} was rolled back to {target}{cause} and stays so; \
         `constellation rollout undo svc/{} --to-revision {newest}` tries it again",
        view.name
    ))
}

/// Its rollout is held up by a person: what is changed now reaches no replica before they let it go on.
fn paused(view: &ServiceView) -> Option<String> {
    let paused = view.rollout.as_ref()?.paused.as_ref()?;
    Some(format!(
        "its rollout is {paused}: no replica is replaced until `constellation rollout resume svc/{}`",
        view.name
    ))
}

/// Every warning, by object in the order of the wishes.
#[must_use]
pub fn all(wishes: &[Wish<'_>], objects: &[ObjectChange], world: &World) -> Vec<String> {
    let after = After::new(wishes, world);
    let (mut warnings, mut open) = (Vec::new(), Vec::new());
    let last = last_servers(wishes, world);
    for (wish, change) in wishes.iter().zip(objects) {
        let key = wish.key();
        let mut say = |text: String| warnings.push(format!("{key}: {text}"));
        if key.kind == Kind::Node && last.contains(&key.name) {
            say(format!("{}; apply will refuse it", servers::NONE_LEFT));
        }
        match wish {
            Wish::Delete(_) => {
                users(&key, &after).into_iter().for_each(&mut say);
                traefik(&key, &after).into_iter().for_each(&mut say);
            }
            Wish::Put { declared, managed_by, .. } => {
                let set = world.objects.get(&key).and_then(|o| o.meta.managed_by.as_deref());
                if let (Some(found), Some(asked)) = (set, managed_by)
                    && found != *asked
                {
                    say(format!("it belongs to the set {found:?}; apply will refuse it for the set {asked:?}"));
                }
                if let (Spec::Config(_) | Spec::Secret(_), Outcome::Configured) = (&declared.spec, change.result) {
                    keys::turns(declared, &after.services, world).into_iter().for_each(&mut say);
                    stays::contents(wish, objects, &after.services, world).into_iter().for_each(&mut say);
                }
                if let Spec::Service(spec) = &declared.spec {
                    after.missing(spec).into_iter().for_each(&mut say);
                    let view = world.services.get(&declared.name).and_then(|view| view.newest());
                    let same = view.is_some_and(|newest| spec.container_hash().is_ok_and(|h| h == newest.spec_hash));
                    if same {
                        world.services.get(&declared.name).and_then(gone_back).into_iter().for_each(&mut say);
                    }
                    world.services.get(&declared.name).and_then(paused).into_iter().for_each(&mut say);
                    if change.result != Outcome::Unchanged {
                        after.writers(&declared.name, spec).into_iter().for_each(&mut say);
                        stays::placement(spec, change, world).into_iter().for_each(&mut say);
                        let old = world.services.get(&declared.name).and_then(|v| v.declared.as_ref());
                        let old = old.map(|(_, spec)| &**spec);
                        old.map(|old| mounts::other_policies(spec, old)).into_iter().flatten().for_each(&mut say);
                        let ports = open_ports(spec, old);
                        open.extend((!ports.is_empty()).then(|| format!("{key} {}", ports.join(", "))));
                        service(declared, spec, world, &mut say);
                        networks::made(spec, &after.networks(&declared.name)).into_iter().for_each(&mut say);
                        if let Some(decision) = scheduler::fits_nowhere(spec, &after.nodes) {
                            say(format!("it fits on no node and runs nowhere: {}", why::unplaced(&decision).1));
                        }
                    }
                }
            }
        }
        for operation in change.operations.iter().filter(|o| o.node.is_none()) {
            say(format!("{} fits on no node: {}", operation.replica, operation.detail));
        }
    }
    warnings.extend(after.circles());
    if !open.is_empty() {
        // One line for all of them: it is said of nearly every service.
        let place = "every address of the host (0.0.0.0), unless its agent has an advertise address";
        warnings.push(format!("published on {place}: {}; set `hostIp` to narrow it", open.join("; ")));
    }
    warnings
}

/// Nodes that would take the role server out of the cluster.
fn last_servers(wishes: &[Wish<'_>], world: &World) -> BTreeSet<Arc<str>> {
    let wanted = wishes.iter().filter_map(|wish| match wish {
        Wish::Put { declared: Declared { name, spec: Spec::Node(spec), .. }, .. } => Some((name.clone(), Some(spec))),
        Wish::Delete(key) if key.kind == Kind::Node => Some((key.name.clone(), None)),
        Wish::Put { .. } | Wish::Delete(_) => None,
    });
    servers::without(world.nodes.iter().map(|n| (n.name.clone(), &n.spec)), wanted)
}

fn service(declared: &Declared, spec: &ServiceSpec, world: &World, say: &mut impl FnMut(String)) {
    let container = &spec.container;
    let own = container.healthcheck.as_ref();
    // Nobody waits for a job to be ready: it is waited for until it ends.
    if !spec.mode.is_job() && container.readiness.is_none() && own.is_none_or(|h| h.disable) {
        let unless = if own.is_none() { " (unless the image has one)" } else { "" };
        match container.readiness(false, spec.update.min_healthy_time.0) {
            ReadinessSource::Tcp(port) => say(format!("no healthcheck{unless}; readiness falls back to TCP {port}")),
            ReadinessSource::RunningFor(time) => {
                say(format!("no healthcheck{unless} and no port; ready means running for {}s", time.as_secs()));
            }
            ReadinessSource::Probe(_) | ReadinessSource::Healthcheck => {}
        }
    }
    for name in container.environment.keys() {
        let upper = name.to_uppercase();
        if SECRETIVE.iter().any(|word| upper.contains(word)) && !upper.ends_with("_FILE") {
            say(format!(
                "environment[{name}] looks like a secret and is stored in clear; use `secrets` with `env: {name}`"
            ));
        }
    }
    let too_old: BTreeSet<String> = world
        .nodes
        .iter()
        .filter_map(|n| scheduler::engine_too_old(spec, n).map(|facts| format!("EngineTooOld on {}: {facts}", n.name)))
        .collect();
    too_old.into_iter().for_each(&mut *say);
    if container.depends_on.iter().any(|d| d.name == *declared.name) {
        say("it depends on itself".into());
    }
}

/// New ports of a Service without an address of their own.
fn open_ports(spec: &ServiceSpec, old: Option<&ServiceSpec>) -> Vec<String> {
    let known = |port: &Port| {
        old.is_some_and(|o| {
            o.container.network_mode == NetworkMode::Bridge
                && o.container.ports.iter().any(|p| p.published == port.published && p.host_ip == port.host_ip)
        })
    };
    let ports = spec.container.ports.iter().filter(|_| spec.container.network_mode == NetworkMode::Bridge);
    let open = ports.filter(|port| port.host_ip.is_none() && !known(port));
    open.map(|port| port.published.map_or("a port that the engine chooses".into(), |p| p.to_string())).collect()
}

/// Services that would still name an object that goes.
fn users(gone: &ObjectKey, after: &After<'_>) -> Vec<String> {
    let names = |spec: &ServiceSpec| {
        let c = &spec.container;
        match gone.kind {
            Kind::Config => c.configs.iter().any(|r| *r.object() == *gone.name),
            Kind::Secret => {
                c.secrets.iter().any(|r| *r.object() == *gone.name)
                    || c.image_pull_secrets.iter().any(|s| **s == *gone.name)
            }
            Kind::Service => c.depends_on.iter().any(|d| *d.name == *gone.name),
            Kind::Node | Kind::Route | Kind::Middleware | Kind::Replica => false,
        }
    };
    after.services.iter().filter(|(_, spec)| names(spec)).map(|(name, _)| format!("svc/{name} names it")).collect()
}

/// What is lost with the Service that is the last Traefik of the cluster, or with the Secret that has its file.
fn traefik(gone: &ObjectKey, after: &After<'_>) -> Option<String> {
    let file = |name: &str| {
        let stored = after.world.objects.get(&ObjectKey::new(Kind::Secret, name));
        stored.is_some_and(|object| object.parse::<SealedSecret>().is_ok_and(|secret| secret.edge.is_some()))
    };
    let has_file = |spec: &ServiceSpec| spec.container.secrets.iter().any(|r| file(r.object()));
    let lost = match gone.kind {
        Kind::Secret => {
            let named = |spec: &ServiceSpec| spec.container.secrets.iter().any(|r| *r.object() == *gone.name);
            file(&gone.name) && after.services.values().any(|spec| named(spec))
        }
        Kind::Service => {
            let was = after.world.services.get(&gone.name).and_then(|view| view.declared.as_ref());
            was.is_some_and(|(_, spec)| has_file(spec)) && !after.services.values().any(|spec| has_file(spec))
        }
        Kind::Config | Kind::Node | Kind::Route | Kind::Middleware | Kind::Replica => false,
    };
    lost.then(|| "Traefik ends with it: no route is served, and the public ports are shut".into())
}

/// The objects as they would be afterwards.
struct After<'a> {
    world: &'a World,
    nodes: Vec<NodeView>,
    services: BTreeMap<Arc<str>, &'a ServiceSpec>,
    declared: BTreeMap<ObjectKey, &'a Declared>,
    stored: BTreeMap<ObjectKey, &'a Object>,
}

impl<'a> After<'a> {
    fn new(wishes: &'a [Wish<'_>], world: &'a World) -> Self {
        let mut after = Self {
            world,
            nodes: replicas::nodes(wishes, world),
            services: world
                .services
                .iter()
                .filter_map(|(name, v)| Some((name.clone(), &*v.declared.as_ref()?.1)))
                .collect(),
            declared: BTreeMap::new(),
            stored: world.objects.iter().map(|(key, object)| (key.clone(), &**object)).collect(),
        };
        for wish in wishes {
            let key = wish.key();
            after.stored.remove(&key);
            match wish {
                Wish::Delete(_) if key.kind == Kind::Service => drop(after.services.remove(&key.name)),
                Wish::Delete(_) => {}
                Wish::Put { declared, .. } => {
                    if let Spec::Service(spec) = &declared.spec {
                        after.services.insert(key.name.clone(), spec);
                    }
                    after.declared.insert(key, declared);
                }
            }
        }
        after
    }

    /// Networks that others name, or that this Service named before.
    fn networks(&self, name: &Arc<str>) -> BTreeSet<&str> {
        let others = self.services.iter().filter(|(other, _)| *other != name).map(|(_, spec)| *spec);
        let before = self.world.services.values().filter_map(|v| Some(&*v.declared.as_ref()?.1));
        let all = others.chain(before).flat_map(|spec| &spec.container.networks);
        all.map(|n| n.name.as_str()).collect()
    }

    fn exists(&self, key: &ObjectKey) -> bool {
        self.declared.contains_key(key) || self.stored.contains_key(key)
    }

    /// Who else writes what a Service wants for itself, or is not done with it yet.
    fn writers(&self, name: &Arc<str>, spec: &ServiceSpec) -> BTreeSet<String> {
        let nodes = &self.world.nodes;
        let wanted = |name: &Arc<str>, spec: &ServiceSpec, on: &NodeView| -> Vec<Claim> {
            if !scheduler::eligible(spec, on) {
                return Vec::new();
            }
            let holder = |slot| Holder { service: name.clone(), uid: Uid(name.clone()), slot, leaving: false };
            let here = |slot: &Slot| !matches!(slot, Slot::Node(node) if *node != on.name);
            let slots = rollout::slots(spec, nodes).into_iter().filter(here);
            slots.flat_map(|slot| claims(&holder(slot), spec, &on.lineage)).collect()
        };
        let mut found = BTreeSet::new();
        for node in nodes {
            let own = wanted(name, spec, node);
            if own.is_empty() {
                continue;
            }
            for (other, spec) in self.services.iter().filter(|(other, _)| *other != name) {
                let theirs = wanted(other, spec, node);
                found.extend(own.iter().filter(|o| theirs.iter().any(|t| t.clashes(o))).map(|claim| {
                    let shares = "write `dataPolicy: shared` on both mounts if they may write at once";
                    format!("{} is written by svc/{other} too: one at a time, the other waits; {shares}", claim.source)
                }));
            }
            let stays = |held: &&Claim| self.services.contains_key(&held.holder.service);
            let goes = node.data.iter().filter(|held| held.holder.leaving || !stays(held));
            found.extend(goes.filter(|held| held.holder.service != *name).filter_map(|held| {
                let source = &own.iter().find(|o| o.clashes(held))?.source;
                Some(format!("{source} is held by {}: it starts when that has stopped", held.holder.display()))
            }));
        }
        found
    }

    /// References of a Service to what would not be there.
    fn missing(&self, spec: &ServiceSpec) -> Vec<String> {
        let container = &spec.container;
        let files = container.configs.iter().map(|r| (Kind::Config, r));
        let files = files.chain(container.secrets.iter().map(|r| (Kind::Secret, r)));
        let mut found: Vec<String> = files.filter_map(|(kind, reference)| self.lacks(kind, reference)).collect();
        for name in &container.image_pull_secrets {
            if !self.exists(&ObjectKey::new(Kind::Secret, name.as_str())) {
                found.push(format!("Secret {name} for the registry does not exist; the image is asked for without it"));
            }
        }
        for dependency in &container.depends_on {
            if !self.exists(&ObjectKey::service(dependency.name.as_str())) {
                let waits = if dependency.required { "; it waits for it" } else { " and is not required" };
                found.push(format!("Service {} does not exist{waits}", dependency.name));
            }
        }
        found
    }

    fn lacks(&self, kind: Kind, reference: &FileRef) -> Option<String> {
        let key = ObjectKey::new(kind, reference.object());
        if !self.exists(&key) {
            return Some(format!("{kind} {} does not exist; replicas wait for it", reference.object()));
        }
        let wanted = reference.key()?;
        let has = match (self.declared.get(&key).map(|d| &d.spec), self.stored.get(&key)) {
            (Some(Spec::Config(c)), _) => c.data.contains_key(wanted),
            (Some(Spec::Secret(s)), _) => s.data.contains_key(wanted) || s.string_data.contains_key(wanted),
            (_, Some(object)) if kind == Kind::Secret => {
                object.parse::<SealedSecret>().is_ok_and(|s| s.sealed.contains_key(wanted))
            }
            (_, Some(object)) => object.parse::<ConfigSpec>().is_ok_and(|c| c.data.contains_key(wanted)),
            (_, None) => false,
        };
        (!has).then(|| format!("{kind} {} has no key {wanted}; replicas wait for it", reference.object()))
    }

    /// Services that wait for each other for ever.
    fn circles(&self) -> Vec<String> {
        let on = |spec: &'a ServiceSpec| spec.container.depends_on.iter().map(|d| d.name.as_str()).collect();
        let waits = self.services.iter().map(|(name, spec)| (&**name, on(spec))).collect();
        circles::all(&waits).into_iter().map(|circle| format!("{circle} wait for each other")).collect()
    }
}
