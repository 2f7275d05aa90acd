//! Where a replica goes: filters refuse nodes, scores rank the rest.
//!
//! Here: [`place`], from one slot and all nodes to a [`Decision`] that keeps what every filter said;
//! [`eligible`], the part of it that makes a global service's slots.
//! Not here: when to place (`plan::rollout`), counting what is placed (`plan::view`).
//! Invariants: a node that any filter refuses is never chosen; data with `dataPolicy: state` has one writer
//! on a node, whatever the services; every filter looks at every node, so
//! the decision names all that stands in the way at once; equal input gives an equal decision: ties
//! are broken by hash(kind, name, generation, slot), which is known when a change is planned.
//! Chosen: filters before scores, as swarmkit's pipeline. Rejected: one weighted sum with penalties,
//! which explains nothing. Next: `plan::rollout`.

use std::{collections::BTreeMap, sync::Arc};

use crate::model::{
    Bytes, ConditionStatus, ConditionType, Decision, Millicores, Reason, ResolvedImage, ServiceSpec, Slot, Uid,
    constraint::{Constraint, Subject},
    node::Role,
    replica::{Considered, Rejection},
    service::{DataPolicy, Mode, Mount, MountKind},
};

use super::view::{Claim, Holder, Home, NodeView, claims, published};

/// Up to so many nodes a decision keeps every answer.
const KEPT: usize = 64;
/// Above, it keeps so many of the best.
const BEST: usize = 16;

/// One slot that wants a node.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The Service's name.
    pub service: &'a Arc<str>,
    /// Its identity.
    pub uid: &'a Uid,
    /// Its generation.
    pub generation: u64,
    /// The slot.
    pub slot: &'a Slot,
    /// What shall run.
    pub spec: &'a ServiceSpec,
    /// What its image is; none: not resolved yet, as in a plan.
    pub image: Option<&'a ResolvedImage>,
    /// Where its data lies already.
    pub homes: &'a [Home],
}

/// Chooses a node for a slot.
#[must_use]
pub fn place(request: &Request<'_>, nodes: &[NodeView]) -> Decision {
    // The slot of a global service is a node: no other needs to be explained.
    let concerned = |n: &&NodeView| !matches!(request.slot, Slot::Node(name) if *name != n.name);
    let considered: Vec<(&NodeView, Vec<Rejection>)> =
        nodes.iter().filter(concerned).map(|n| (n, rejections(request, n))).collect();
    let accepted = || considered.iter().filter(|(_, r)| r.is_empty()).map(|(n, _)| *n);
    let same = |n: &NodeView| n.replicas.get(request.service).copied().unwrap_or(0);
    let least = accepted().map(same).min().unwrap_or(0);
    let most = accepted().map(same).max().unwrap_or(0);
    let seed = seed(request);
    let mut all: Vec<(Considered, [u8; 32])> = considered
        .into_iter()
        .map(|(node, rejections)| {
            let score = if rejections.is_empty() { score(request, node, (least, most)) } else { 0 };
            (Considered { node: node.name.clone(), score, rejections }, tie(&seed, &node.name))
        })
        .collect();
    // The chosen one first, then by score, the refused last, of them first those that come free by
    // themselves; names make the rest stable.
    all.sort_by(|(a, ta), (b, tb)| {
        let lacks = |c: &Considered| c.rejections.iter().any(|r| r.reason != Reason::ReplicaSetUpdated);
        let rank = |c: &Considered| (!c.rejections.is_empty(), lacks(c), std::cmp::Reverse(c.score));
        rank(a).cmp(&rank(b)).then(ta.cmp(tb)).then(a.node.cmp(&b.node))
    });
    let mut considered: Vec<Considered> = all.into_iter().map(|(c, _)| c).collect();
    let chosen = considered.first().filter(|c| c.rejections.is_empty()).cloned();
    let mut rejected_by = BTreeMap::new();
    if considered.len() > KEPT {
        for rejection in considered.iter().flat_map(|c| &c.rejections) {
            *rejected_by.entry(rejection.filter.clone()).or_default() += 1;
        }
        considered.truncate(BEST);
    }
    Decision {
        node: chosen.as_ref().map(|c| c.node.clone()),
        score: chosen.map_or(0, |c| c.score),
        considered,
        rejected_by,
    }
}

/// A node that lacks nothing but data that a replica on its way out still holds, with the facts.
#[must_use]
pub fn comes_free(decision: &Decision) -> Option<(&Arc<str>, &str)> {
    decision.considered.iter().find_map(|c| {
        let first = c.rejections.first()?;
        let all = c.rejections.iter().all(|r| r.reason == Reason::ReplicaSetUpdated);
        all.then_some((&c.node, first.message.as_str()))
    })
}

/// Whether a node is one of those that a global service has a slot on: its role, the constraints and
/// the architecture say so. What may pass (a full disk, a cordon) is left to [`place`].
#[must_use]
pub fn eligible(spec: &ServiceSpec, node: &NodeView) -> bool {
    unfit(spec, node).is_empty()
}

/// Why a replica does not belong on a node, whatever else there is: what does not pass by itself.
#[must_use]
pub fn unfit(spec: &ServiceSpec, node: &NodeView) -> Vec<Rejection> {
    role(node).into_iter().chain(constraints(spec, node)).chain(architecture(spec, node)).collect()
}

/// What each node lacks when a global service has a slot on none of them; none when it has one.
#[must_use]
pub fn fits_nowhere(spec: &ServiceSpec, nodes: &[NodeView]) -> Option<Decision> {
    if spec.mode != Mode::Global || spec.suspend || nodes.iter().any(|n| eligible(spec, n)) {
        return None;
    }
    let lacks = |n: &NodeView| Considered { node: n.name.clone(), score: 0, rejections: unfit(spec, n) };
    Some(Decision { considered: nodes.iter().take(KEPT).map(lacks).collect(), ..Decision::default() })
}

/// Engine features that a spec asks for: the field, and the oldest API version that has it.
#[must_use]
pub fn engine_features(spec: &ServiceSpec) -> Vec<(&'static str, (u32, u32))> {
    let start_interval = spec.container.healthcheck.as_ref().and_then(|h| h.start_interval);
    start_interval.map(|_| ("healthcheck.startInterval", (1, 44))).into_iter().collect()
}

/// Why a node lacks an engine feature; none when it has all, or has not told its version.
#[must_use]
pub fn engine_too_old(spec: &ServiceSpec, node: &NodeView) -> Option<String> {
    let engine = &node.status.as_ref()?.engine;
    let (major, minor) = engine.api_version.split_once('.')?;
    let has: (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
    let (field, (major, minor)) = engine_features(spec).into_iter().find(|(_, needs)| *needs > has)?;
    Some(format!("{field} needs API {major}.{minor}; engine {} has {}", engine.version, engine.api_version))
}

fn rejections(request: &Request<'_>, node: &NodeView) -> Vec<Rejection> {
    let spec = request.spec;
    let mut found = Vec::new();
    found.extend(schedulable(node));
    found.extend(docker(node));
    found.extend(role(node));
    found.extend(constraints(spec, node));
    found.extend(architecture(spec, node));
    found.extend(engine_too_old(spec, node).map(|m| refuse("engine", Reason::EngineTooOld, m)));
    found.extend(image(request, node));
    found.extend(data(request, node));
    found.extend(writer(request, node));
    found.extend(ports(spec, node));
    found.extend(capacity(spec, node));
    found
}

fn refuse(filter: &str, reason: Reason, message: String) -> Rejection {
    Rejection { filter: filter.into(), reason, message }
}

fn schedulable(node: &NodeView) -> Option<Rejection> {
    (!node.spec.schedulable).then(|| refuse("schedulable", Reason::Cordoned, "the node is cordoned".into()))
}

fn docker(node: &NodeView) -> Option<Rejection> {
    let Some(status) = &node.status else {
        return Some(refuse("docker", Reason::HealthUnknown, "the node has not reported yet".into()));
    };
    let condition = status.conditions.iter().find(|c| c.kind == ConditionType::DockerReachable)?;
    match condition.status {
        ConditionStatus::True => None,
        ConditionStatus::False | ConditionStatus::Unknown => {
            Some(refuse("docker", condition.reason, format!("its engine is not reachable: {}", condition.message)))
        }
    }
}

fn role(node: &NodeView) -> Option<Rejection> {
    (!node.spec.roles.contains(&Role::Agent))
        .then(|| refuse("role", Reason::NoNodeFits, "it has no role agent: it runs no replicas".into()))
}

fn constraints(spec: &ServiceSpec, node: &NodeView) -> Vec<Rejection> {
    spec.placement.constraints.iter().filter_map(|text| constraint(text, node)).collect()
}

fn constraint(text: &str, node: &NodeView) -> Option<Rejection> {
    let refused = |message| Some(refuse("constraint", Reason::NoNodeFits, message));
    let Ok(constraint) = text.parse::<Constraint>() else {
        // Refused at the door; one that a newer version wrote holds nowhere rather than everywhere.
        return refused(format!("constraint {text}: this version cannot read it"));
    };
    let roles: Vec<String> = node.spec.roles.iter().map(ToString::to_string).collect();
    let values: Vec<&str> = match &constraint.subject {
        Subject::Label(key) => node.labels.get(key).map(String::as_str).into_iter().collect(),
        Subject::Role => roles.iter().map(String::as_str).collect(),
        Subject::Hostname => vec![&node.name],
        Subject::Arch => node.status.as_ref().map(|s| s.engine.arch.as_str()).into_iter().collect(),
    };
    if constraint.holds(&values) {
        return None;
    }
    let found = if values.is_empty() { "it is not set".into() } else { format!("it is {:?}", values.join(", ")) };
    refused(format!("constraint {constraint}: {found}"))
}

fn architecture(spec: &ServiceSpec, node: &NodeView) -> Option<Rejection> {
    let platform = spec.container.platform.as_deref()?;
    let engine = &node.status.as_ref()?.engine;
    let mut parts = platform.split('/');
    let (os, arch) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if os == engine.os && arch == engine.arch {
        return None;
    }
    let message = format!("platform {platform}: the engine is {}/{}", engine.os, engine.arch);
    Some(refuse("architecture", Reason::ArchitectureMismatch, message))
}

fn image(request: &Request<'_>, node: &NodeView) -> Option<Rejection> {
    match request.image? {
        ResolvedImage::Digest { .. } => None,
        ResolvedImage::Local { node: home, .. } if *home == node.uid => None,
        ResolvedImage::Local { id, .. } => {
            let message = format!("image {} exists only on the node where it was found", short(id));
            Some(refuse("image", Reason::ImageNotFound, message))
        }
    }
}

fn data(request: &Request<'_>, node: &NodeView) -> Option<Rejection> {
    // A global service has data of its own on every node.
    if matches!(request.slot, Slot::Node(_)) {
        return None;
    }
    let slot = request.slot.to_string();
    let state = request.spec.container.volumes.iter().filter(|m| m.policy() == DataPolicy::State);
    for mount in state {
        let homes: Vec<&Home> = request.homes.iter().filter(|h| is_home(mount, &slot, &h.source)).collect();
        // Where it had its data itself counts; else where others had a volume of that name.
        let own = homes.iter().any(|h| h.own);
        let mut homes = homes.into_iter().filter(|h| h.own || !own).peekable();
        if homes.peek().is_some() && !homes.any(|h| h.node == node.uid) {
            let source = mount.source.as_deref().unwrap_or_default();
            return Some(refuse("data", Reason::DataMissing, format!("the data of {source} lies on another node")));
        }
    }
    None
}

/// Who on the node writes what the slot wants for itself, or the other way round. What is on its way out is
/// no fault, only a wait.
fn writer(request: &Request<'_>, node: &NodeView) -> Option<Rejection> {
    let (service, uid) = (request.service.clone(), request.uid.clone());
    let holder = Holder { service, uid, slot: request.slot.clone(), leaving: false };
    let wanted = claims(&holder, request.spec, &node.lineage);
    let clashes = |held: &&Claim| wanted.iter().any(|w| w.clashes(held));
    let held = || node.data.iter().filter(clashes);
    let first = held().find(|c| !c.holder.leaving).or_else(|| held().next())?;
    let (source, owner) = (&first.source, first.holder.display());
    let what = if source.starts_with('/') { "" } else { "volume " };
    Some(if first.holder.leaving {
        let message = format!("waits until {owner} has stopped: it holds {what}{source}");
        refuse("data", Reason::ReplicaSetUpdated, message)
    } else {
        refuse("data", Reason::NoNodeFits, format!("{what}{source} is written by {owner}, and only one may"))
    })
}

/// Whether a source that was mounted once is the one that this mount of this slot means.
fn is_home(mount: &Mount, slot: &str, home: &str) -> bool {
    let source = mount.source.as_deref().unwrap_or_default();
    match mount.kind {
        MountKind::Bind => home == source,
        MountKind::Volume if mount.external => home == source,
        MountKind::Volume => {
            let name = if mount.per_replica { format!("{source}-{slot}_") } else { format!("{source}_") };
            // What follows is the lineage: eight characters, no further underscore.
            home.strip_prefix(&name).is_some_and(|rest| !rest.contains('_'))
        }
        MountKind::Tmpfs => false,
    }
}

fn ports(spec: &ServiceSpec, node: &NodeView) -> Vec<Rejection> {
    published(spec)
        .filter_map(|port| {
            let number = port.published.unwrap_or(port.target);
            let (_, _, _, owner) = node.ports.iter().find(|(ip, held, protocol, _)| {
                (*held, *protocol) == (number, port.protocol) && overlap(ip.as_deref(), port.host_ip.as_deref())
            })?;
            let message = format!("port {number}/{} is held by {owner}", port.protocol);
            Some(refuse("port", Reason::PortConflict, message))
        })
        .collect()
}

/// Whether two host addresses can clash: the same, or one stands for all.
fn overlap(a: Option<&str>, b: Option<&str>) -> bool {
    let all = |ip: Option<&str>| matches!(ip, None | Some("" | "0.0.0.0" | "::" | "*"));
    all(a) || all(b) || a == b
}

/// Capacity of a node: what is measured or what the user says instead.
fn capacity_of(node: &NodeView) -> (Millicores, Bytes) {
    let measured = node.status.as_ref().map_or((Millicores(0), Bytes(0)), |s| (s.cpus, s.memory));
    let own = node.spec.capacity_override.as_ref();
    (own.and_then(|o| o.cpus).unwrap_or(measured.0), own.and_then(|o| o.memory).unwrap_or(measured.1))
}

fn capacity(spec: &ServiceSpec, node: &NodeView) -> Vec<Rejection> {
    let wanted = &spec.container.resources.reservations;
    let (total, host, placed) = (capacity_of(node), node.spec.reserved(), node.reserved);
    let mut found = Vec::new();
    let cpus = wanted.cpus.unwrap_or_default();
    let free = total.0.0.saturating_sub(host.0.0).saturating_sub(placed.0.0);
    if cpus.0 > free {
        let message = format!(
            "cpu: wants {cpus}, free {} of {} ({} kept for the host, {} placed)",
            Millicores(free),
            total.0,
            host.0,
            placed.0
        );
        found.push(refuse("capacity", Reason::NoNodeFits, message));
    }
    let memory = wanted.memory.unwrap_or_default();
    let free = total.1.0.saturating_sub(host.1.0).saturating_sub(placed.1.0);
    if memory.0 > free {
        let message = format!(
            "memory: wants {memory}, free {} of {} ({} kept for the host, {} placed)",
            round(Bytes(free)),
            round(total.1),
            round(host.1),
            round(placed.1)
        );
        found.push(refuse("capacity", Reason::NoNodeFits, message));
    }
    found
}

/// Whole mebibytes: a person compares, a kernel does not.
fn round(bytes: Bytes) -> Bytes {
    if bytes.0 >= 1 << 20 { Bytes(bytes.0 >> 20 << 20) } else { bytes }
}

fn short(id: &str) -> &str {
    let hex = id.strip_prefix("sha256:").unwrap_or(id);
    hex.get(..12).unwrap_or(hex)
}

/// 0–100: half for having few replicas of the same service, a quarter each for free CPU and memory.
fn score(request: &Request<'_>, node: &NodeView, (least, most): (u32, u32)) -> u32 {
    let own = node.replicas.get(request.service).copied().unwrap_or(0);
    let spread = if most == least { 100 } else { u64::from(most - own) * 100 / u64::from(most - least) };
    let wanted = &request.spec.container.resources.reservations;
    let (total, host) = (capacity_of(node), node.spec.reserved());
    let free = |total: u64, taken: [u64; 3]| {
        let left = taken.into_iter().fold(total, u64::saturating_sub);
        u128::from(left).saturating_mul(100).checked_div(u128::from(total)).unwrap_or(0)
    };
    let cpu = free(total.0.0, [host.0.0, node.reserved.0.0, wanted.cpus.unwrap_or_default().0]);
    let memory = free(total.1.0, [host.1.0, node.reserved.1.0, wanted.memory.unwrap_or_default().0]);
    u32::try_from((u128::from(spread) * 2 + cpu + memory) / 4).unwrap_or(100)
}

fn seed(request: &Request<'_>) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for part in ["Service", request.service, &request.generation.to_string(), &request.slot.to_string()] {
        hasher.update(part.as_bytes());
        hasher.update(&[0]);
    }
    hasher.finalize()
}

fn tie(seed: &blake3::Hash, node: &str) -> [u8; 32] {
    *blake3::keyed_hash(seed.as_bytes(), node.as_bytes()).as_bytes()
}

#[cfg(test)]
mod tests;
