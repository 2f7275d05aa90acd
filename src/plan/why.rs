//! Why something is not as declared: differences with reasons from the closed set.
//!
//! Here: [`Difference`] and what makes it for each kind ([`differences`] of a Service, [`replica`],
//! [`node`], [`shared`] of a Config or Secret); the conditions that sum up ([`conditions`], and who uses what: [`usage`]); the way from an object to what a person can change ([`chain`]); what a
//! person can do ([`hint`]). `why`, `describe`, the API and the leader's status all read these.
//! Not here: what the loops will do about it ([`super::rollout`], which is asked, not repeated).
//! Invariants: everything as declared gives no difference; a difference always has a reason; the
//! same facts give the same text, so that a status is written only when something changed.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{
    Condition, ConditionStatus, ConditionType, Decision, Desired, Kind, Reason, ReplicaPhase, ReplicaStatus,
    Resolution, RolloutPhase, ServiceSpec, Slot, service::Restart,
};

use super::{
    rollout::{self, Hold, Plan, Standing, standing},
    scheduler,
    view::{NodeView, ReplicaView, ServiceView},
};

mod aside;
mod chain;
pub mod conditions;
pub mod hint;
mod job;
pub mod news;
pub mod route;
pub mod usage;

pub use chain::chain;
pub use conditions::{conditions, status};

/// One thing that is not as declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// Where: `replicas/web.1`, `image`, `secrets/db-url`.
    pub path: String,
    /// What shall be.
    pub desired: String,
    /// What is.
    pub actual: String,
    /// Its cause, from the closed set.
    pub reason: Reason,
    /// The facts, for people.
    pub message: String,
    /// Since when, cluster time in milliseconds; none: nobody noted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// When it is tried again, cluster time in milliseconds; none: when something changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt: Option<u64>,
    /// Last log lines of the container that ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
    /// What a person can do; none: the loops are at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Difference {
    fn new(path: impl Into<String>, desired: impl Into<String>, actual: impl Into<String>, reason: Reason) -> Self {
        Self {
            path: path.into(),
            desired: desired.into(),
            actual: actual.into(),
            reason,
            message: String::new(),
            since: None,
            next_attempt: None,
            log: Vec::new(),
            hint: None,
        }
    }
    fn because(self, message: impl Into<String>, since: impl Into<Option<u64>>) -> Self {
        Self { message: message.into(), since: since.into(), ..self }
    }
    fn hinted(self, hint: Option<String>) -> Self {
        Self { hint, ..self }
    }
}

/// What differs of a Service, the causes first: image, references, then slots, then what is on its way out.
#[must_use]
pub fn differences(view: &ServiceView, nodes: &[NodeView], now: u64) -> Vec<Difference> {
    let look = Look::new(view, nodes, now);
    look.all().into_iter().chain(look.asides()).collect()
}

/// What differs of one Replica.
#[must_use]
pub fn replica(view: &ServiceView, name: &str, nodes: &[NodeView], now: u64) -> Vec<Difference> {
    let look = Look::new(view, nodes, now);
    let Some(found) = view.replicas.iter().find(|r| *r.replica.name == *name) else { return Vec::new() };
    let stays = aside::misplaced(&look, found);
    let unready = nodes.iter().filter_map(|n| aside::unready(&look, n, std::slice::from_ref(found)));
    look.one(found).into_iter().chain(stays).chain(unready).collect()
}

/// What keeps a wanted slot without a replica, by its display name `web.1`; none: no such slot is wanted.
#[must_use]
pub fn slot(view: &ServiceView, display: &str, nodes: &[NodeView], now: u64) -> Option<Vec<Difference>> {
    let look = Look::new(view, nodes, now);
    look.wanted.iter().find(|slot| format!("{}.{slot}", view.name) == display)?;
    let path = format!("replicas/{display}");
    // What holds up every slot holds up this one.
    Some(look.all().into_iter().filter(|d| d.path == path || !d.path.starts_with("replicas/")).collect())
}

/// What differs of a Node.
#[must_use]
pub fn node(view: &NodeView) -> Vec<Difference> {
    let Some(status) = &view.status else {
        let message = "its agent has not reported yet";
        return vec![Difference::new("status", "reported", "silent", Reason::HealthUnknown).because(message, None)];
    };
    let bad = |c: &&Condition| match c.kind {
        // A cordon is as declared.
        ConditionType::Schedulable => view.spec.schedulable && c.status != ConditionStatus::True,
        _ => c.status != ConditionStatus::True,
    };
    status
        .conditions
        .iter()
        .filter(bad)
        .map(|c| {
            Difference::new(format!("conditions/{}", c.kind), "True", c.status.to_string(), c.reason)
                .because(c.message.clone(), c.last_transition_time)
                .hinted(hint::of_node(c.reason, &view.name))
        })
        .collect()
}

/// Services that name a Config or Secret.
pub fn users<'a>(kind: Kind, name: &'a str, services: &'a [ServiceView]) -> impl Iterator<Item = &'a ServiceView> {
    services.iter().filter(move |s| s.declared.as_ref().is_some_and(|(_, spec)| names(spec, kind, name)))
}

/// Whether a Service names a Config or Secret.
#[must_use]
pub fn names(spec: &ServiceSpec, kind: Kind, name: &str) -> bool {
    let container = &spec.container;
    match kind {
        Kind::Config => container.configs.iter().any(|r| r.object() == name),
        Kind::Secret => {
            container.secrets.iter().any(|r| r.object() == name)
                || container.image_pull_secrets.iter().any(|s| s == name)
        }
        Kind::Service | Kind::Node | Kind::Route | Kind::Middleware | Kind::Replica => false,
    }
}

/// What differs of a Config or Secret: keys that services name and that it lacks.
#[must_use]
pub fn shared(kind: Kind, name: &str, services: &[ServiceView]) -> Vec<Difference> {
    let mut found = Vec::new();
    for service in services {
        found.extend(aside::of_shared(kind, name, service));
        for missing in service.missing.iter().filter(|m| m.kind == kind && m.name == name) {
            let key = missing.key.as_deref().unwrap_or("(the object)");
            let message = format!("svc/{} names it", service.name);
            found.push(
                Difference::new(format!("data[{key}]"), "there", "missing", missing.reason())
                    .because(message, said(service, ConditionType::Ready, ConditionStatus::False))
                    .hinted(hint::of_missing(missing)),
            );
        }
    }
    found
}

/// Path of the difference of a global service without a slot.
const NOWHERE: &str = "replicas";

/// One look at a Service.
struct Look<'a> {
    view: &'a ServiceView,
    nodes: &'a [NodeView],
    plan: Plan,
    wanted: BTreeSet<Slot>,
    now: u64,
}

impl<'a> Look<'a> {
    fn new(view: &'a ServiceView, nodes: &'a [NodeView], now: u64) -> Self {
        let wanted = view.declared.as_ref().map(|(_, spec)| rollout::slots(spec, nodes)).unwrap_or_default();
        Self { view, nodes, plan: rollout::plan(view, nodes, now), wanted, now }
    }

    fn all(&self) -> Vec<Difference> {
        if self.is_job() {
            return self.of_job();
        }
        let mut found = Vec::new();
        if let Some((_, spec)) = &self.view.declared {
            found.extend(self.gone_back());
            found.extend(self.image());
            found.extend(self.missing());
            found.extend(self.suspended(spec));
            found.extend(self.nowhere(spec));
            found.extend(self.wanted.iter().filter_map(|slot| self.slot(slot)));
        }
        let leaving = self.view.replicas.iter().filter(|r| self.leaves(r));
        found.extend(leaving.filter_map(|r| self.one(r)));
        found
    }

    /// Not one of the slots that are wanted, or to be stopped.
    fn leaves(&self, r: &ReplicaView) -> bool {
        let wanted = r.replica.service_uid == self.view.uid && self.wanted.contains(&r.replica.slot);
        r.replica.desired == Desired::Stop || r.replica.draining.is_some() || !wanted
    }

    /// The one of a slot that counts: the newest that shall run.
    fn current(&self, slot: &Slot) -> Option<&'a ReplicaView> {
        let members = self.view.replicas.iter().filter(|r| r.replica.slot == *slot && !self.leaves(r));
        members.max_by_key(|r| r.replica.index)
    }

    /// What is declared was gone back from.
    fn gone_back(&self) -> Option<Difference> {
        let record = self.plan.record.as_ref().filter(|_| self.view.gone_back())?;
        let (newest, target) = (self.view.newest()?.number, record.target);
        let reason = match record.phase {
            RolloutPhase::RollingBack => Reason::RollingBack,
            _ => Reason::RolledBack,
        };
        let cause = record.reason.map_or_else(String::new, |reason| format!("{reason}: "));
        let difference =
            Difference::new("revision", format!("revision {newest}"), format!("revision {target}"), reason);
        let difference = difference.because(format!("{cause}{}", record.message), record.started_at);
        let hint = hint::of_rollback(&self.view.name, newest);
        Some(Difference { log: record.log_tail.clone(), ..difference }.hinted(Some(hint)))
    }

    fn image(&self) -> Option<Difference> {
        let (_, spec) = self.view.declared.as_ref()?;
        let newest = self.view.newest().filter(|_| !self.view.gone_back())?;
        let image = spec.container.image.as_str();
        match &newest.image {
            Resolution::Resolved { .. } => None,
            Resolution::Pending => {
                let message = format!("revision {} is new; the leader is about to ask for its image", newest.number);
                Some(Difference::new("image", image, "not resolved", Reason::ImageUnresolved).because(message, None))
            }
            Resolution::Failed { reason, message, since, next_attempt, .. } => {
                let difference =
                    Difference::new("image", image, "not resolved", *reason).because(message.clone(), *since);
                let hint = hint::of_image(*reason, image);
                Some(Difference { next_attempt: Some(*next_attempt), ..difference }.hinted(hint))
            }
        }
    }

    fn missing(&self) -> impl Iterator<Item = Difference> {
        self.view.missing.iter().filter(|m| m.required).map(|m| {
            let path = match m.kind {
                Kind::Service => format!("dependsOn/{}", m.name),
                Kind::Config | Kind::Secret | Kind::Node | Kind::Route | Kind::Middleware | Kind::Replica => {
                    format!("{}/{}", m.kind.plural(), m.name)
                }
            };
            let message = match &m.key {
                Some(key) => format!("{} {} has no key {key}", m.kind, m.name),
                None => format!("{} {} does not exist", m.kind, m.name),
            };
            let since = self.since(ConditionType::Ready, ConditionStatus::False);
            Difference::new(path, "there", "missing", m.reason()).because(message, since).hinted(hint::of_missing(m))
        })
    }

    fn suspended(&self, spec: &ServiceSpec) -> Option<Difference> {
        let wanted = ServiceSpec { suspend: false, ..spec.clone() }.wanted();
        let (wanted, stops) = match spec.mode.is_job() {
            true => ("runs".to_owned(), "suspend: true stops every run and begins none"),
            false => (format!("{wanted} replicas"), "suspend: true stops every replica"),
        };
        spec.suspend.then(|| {
            Difference::new("suspend", wanted, "none: suspended", Reason::Suspended)
                .because(stops, self.since(ConditionType::Ready, ConditionStatus::True))
                .hinted(Some("set `suspend: false` and apply again".into()))
        })
    }

    /// A global service without a node that it could run on: it would be as declared with nothing at all.
    fn nowhere(&self, spec: &ServiceSpec) -> Option<Difference> {
        let decision = scheduler::fits_nowhere(spec, self.nodes)?;
        let (reason, message) = unplaced(&decision);
        let since = self.since(ConditionType::Scheduled, ConditionStatus::False);
        let difference = Difference::new(NOWHERE, "one on each node that fits", "no node fits", reason);
        Some(difference.because(message, since).hinted(hint::of_placement(reason, &decision)))
    }

    /// What differs in a wanted slot.
    fn slot(&self, slot: &Slot) -> Option<Difference> {
        if let Some(current) = self.current(slot) {
            return self.one(current);
        }
        let hold = self.plan.holds.get(slot);
        let (reason, message) = match (self.plan.unplaced.get(slot), hold) {
            (Some(decision), _) => unplaced(decision),
            (None, Some(hold)) => (hold.reason, self.held(hold)),
            (None, None) => (Reason::Starting, "is about to be placed".into()),
        };
        let next_attempt = match self.view.newest().map(|r| &r.image) {
            Some(Resolution::Failed { next_attempt, .. }) => Some(*next_attempt),
            _ => None,
        };
        let since = self.since(ConditionType::Scheduled, ConditionStatus::False);
        let difference = Difference::new(self.path(slot), "running", "not placed", reason).because(message, since);
        let hint = self.plan.unplaced.get(slot).and_then(|decision| hint::of_placement(reason, decision));
        let hint = hint.or_else(|| hint::of_hold(reason, &self.view.name));
        Some(Difference { next_attempt, ..difference }.hinted(hint))
    }

    /// Why nothing is replaced; of a pause in the words of who said it.
    fn held(&self, hold: &Hold) -> String {
        let paused = self.plan.record.as_ref().and_then(|record| record.paused.as_ref());
        let paused = paused.filter(|_| hold.reason == Reason::Paused);
        paused.map_or_else(|| hold.message.clone(), ToString::to_string)
    }

    /// What differs of one replica.
    fn one(&self, r: &ReplicaView) -> Option<Difference> {
        if self.is_job() && r.replica.run.is_some() {
            return self.attempt(r);
        }
        let replica = &r.replica;
        let standing = standing(r, self.nodes);
        let phase = r.status.as_ref().map_or(ReplicaPhase::Pending, |s| s.phase);
        if replica.desired == Desired::Stop {
            let reason = replica.stop_reason.unwrap_or(Reason::Superseded);
            let actual = lower(phase);
            let since = r.status.as_ref().map_or(replica.created_at, |s| s.since);
            let message = format!("{}: {} lets it end", reason.meaning().trim().trim_end_matches('.'), replica.node);
            let path = format!("replicas/{}", replica.name);
            return (standing == Standing::Stopping)
                .then(|| Difference::new(path, "stopped", actual, reason).because(message, since));
        }
        let path = self.path(&replica.slot);
        let status = r.status.as_ref();
        let since = status.map_or(replica.created_at, |s| s.since);
        let newest = self.view.target();
        if let Some(draining) = &replica.draining {
            let message = match self.plan.holds.get(&replica.slot) {
                Some(hold) if hold.reason == Reason::Draining => hold.message.clone(),
                Some(_) | None => draining.reason.meaning().trim().trim_end_matches('.').to_owned(),
            };
            let path = format!("replicas/{}", replica.name);
            let difference = Difference::new(path, "stopped", "off its routes", Reason::Draining);
            return Some(difference.because(message, draining.at));
        }
        if self.leaves(r) {
            let gone = self.view.declared.is_none() || replica.service_uid != self.view.uid;
            let spec = self.view.declared.as_ref().filter(|_| !gone).map(|(_, spec)| spec);
            let reason = spec.map_or(Reason::ServiceDeleted, |spec| rollout::surplus(spec, &replica.slot));
            return Some(
                Difference::new(path, "stopped", lower(phase), reason).because("is about to be stopped", since),
            );
        }
        let restarted = self.view.rollout.as_ref().is_some_and(|record| replica.index <= record.restarted);
        let old = restarted || newest.is_some_and(|n| n.spec_hash != replica.spec_hash);
        match standing {
            // One that failed for good is in the way of nothing: what is about to take its place counts.
            Standing::Ready | Standing::Ended if old => {
                let (wanted, has) = (newest.map_or(0, |n| n.number), replica.revision);
                let hold = self.plan.holds.get(&replica.slot);
                let (reason, message) = hold.map_or_else(
                    || (Reason::ReplicaSetUpdated, "is about to be replaced".to_owned()),
                    |hold| (hold.reason, self.held(hold)),
                );
                let message = self.plan.unplaced.get(&replica.slot).map_or(message, |d| unplaced(d).1);
                let failed = match newest.map(|n| &n.image) {
                    Some(Resolution::Failed { since, .. }) => Some(*since),
                    _ => None,
                };
                let since = failed.or_else(|| self.since(ConditionType::Progressing, ConditionStatus::True));
                let is = if standing == Standing::Ready { "running".to_owned() } else { lower(phase) };
                let (desired, actual) = (format!("running revision {wanted}"), format!("{is} revision {has}"));
                let hint = hint::of_hold(reason, &self.view.name);
                Some(Difference::new(path, desired, actual, reason).because(message, since).hinted(hint))
            }
            Standing::Ready => {
                let drifted = drifted(status?, path, since)?;
                let hint = self.hint(drifted.reason, r);
                Some(drifted.hinted(hint))
            }
            Standing::Ended => self.ended(r, path, since),
            Standing::Unknown | Standing::NotReady => Some(self.not_ready(r, path, since)),
            Standing::Gone => {
                let message = format!("node {} is not part of the cluster any more", replica.node);
                Some(Difference::new(path, "running", "unknown", Reason::NotPlacedHere).because(message, since))
            }
            Standing::Stopping | Standing::Stopped => None,
        }
    }

    fn ended(&self, r: &ReplicaView, path: String, since: u64) -> Option<Difference> {
        let status = r.status.as_ref()?;
        let (_, spec) = self.view.declared.as_ref()?;
        // `restart: no` and `on-failure` let it end: with 0 that is what was wanted.
        let allowed = matches!(spec.container.restart, Restart::No | Restart::OnFailure(_));
        if status.phase == ReplicaPhase::Completed && allowed {
            return None;
        }
        let reason = status.reason.unwrap_or(match status.phase {
            ReplicaPhase::Completed => Reason::Completed,
            _ => Reason::Failed,
        });
        let difference = Difference::new(path, "running", lower(status.phase), reason);
        let difference = Difference { log: log(status), ..difference.because(message(status), since) };
        Some(difference.hinted(self.hint(reason, r)))
    }

    fn not_ready(&self, r: &ReplicaView, path: String, since: u64) -> Difference {
        let Some(status) = &r.status else {
            let message = format!("placed on {}, which has not begun", r.replica.node);
            return Difference::new(path, "running", "placed", Reason::HealthUnknown).because(message, since);
        };
        let reason = status.reason.unwrap_or(match status.phase {
            ReplicaPhase::Pulling => Reason::Pulling,
            ReplicaPhase::BackOff => Reason::CrashLoopBackOff,
            ReplicaPhase::Running if status.health == "unhealthy" => Reason::Unhealthy,
            ReplicaPhase::Completed | ReplicaPhase::Failed | ReplicaPhase::Stopped => Reason::Exited,
            ReplicaPhase::Pending
            | ReplicaPhase::Waiting
            | ReplicaPhase::Starting
            | ReplicaPhase::Running
            | ReplicaPhase::Stopping => Reason::Starting,
        });
        let actual = match status.phase {
            ReplicaPhase::Running if status.ready && status.is_unknown() => "unknown, was ready".into(),
            ReplicaPhase::Running => format!(
                "running, {}",
                if status.health.is_empty() || status.health == "-" { "not ready" } else { &status.health }
            ),
            phase => lower(phase),
        };
        Difference {
            next_attempt: status.next_attempt,
            log: if status.phase == ReplicaPhase::BackOff { log(status) } else { Vec::new() },
            ..Difference::new(path, "running and ready", actual, reason)
                .because(message(status), since)
                .hinted(self.hint(reason, r))
        }
    }

    /// What a person can do about a replica.
    fn hint(&self, reason: Reason, r: &ReplicaView) -> Option<String> {
        if reason != Reason::DataMissing {
            return hint::of_replica(reason, r, self.view);
        }
        let spec = rollout::spec_of(self.view, r.replica.revision)?;
        let lineage = &self.nodes.iter().find(|n| n.uid == r.replica.node_uid)?.lineage;
        let told = r.status.as_ref().map_or("", |s| &s.message);
        let had = |place: &str| self.view.homes.iter().any(|h| h.source == place && h.node == r.replica.node_uid);
        let places = || {
            let all = spec.container.volumes.iter();
            let all = all.filter_map(|m| Some((m, m.place(&r.replica.slot.to_string(), lineage)?)));
            all.filter(|(_, place)| told.contains(place.as_str()))
        };
        Some(match places().find(|(mount, place)| mount.external && !had(place)) {
            Some((_, volume)) => hint::of_external(&r.replica, &volume),
            None => hint::of_data(&r.replica, places().map(|(_, place)| place)),
        })
    }

    fn path(&self, slot: &Slot) -> String {
        format!("replicas/{}.{slot}", self.view.name)
    }

    fn since(&self, kind: ConditionType, status: ConditionStatus) -> Option<u64> {
        said(self.view, kind, status)
    }
}

/// Since when the leader has said so.
fn said(view: &ServiceView, kind: ConditionType, status: ConditionStatus) -> Option<u64> {
    let said = view.status.as_ref()?.conditions.iter().find(|c| c.kind == kind)?;
    (said.status == status).then_some(said.last_transition_time)
}

fn drifted(status: &ReplicaStatus, path: String, since: u64) -> Option<Difference> {
    let reason = status.reason.filter(|r| matches!(r, Reason::DriftDetected | Reason::ChangedByHand))?;
    Some(Difference::new(path, "as declared", "changed by hand", reason).because(status.message.clone(), since))
}

/// Why no node takes a slot. When every node lacks the same, that is the reason.
pub(super) fn unplaced(decision: &Decision) -> (Reason, String) {
    let mut reasons = decision.considered.iter().flat_map(|c| c.rejections.iter().map(|r| r.reason));
    let first = reasons.next();
    let reason = first.filter(|f| reasons.all(|r| r == *f)).unwrap_or(Reason::NoNodeFits);
    if decision.considered.is_empty() {
        return (reason, "the cluster has no node".into());
    }
    let each = decision.considered.iter().map(|c| {
        let facts: Vec<&str> = c.rejections.iter().map(|r| r.message.as_str()).collect();
        format!("{}: {}", c.node, facts.join(", "))
    });
    (reason, each.collect::<Vec<_>>().join("; "))
}

fn lower(phase: ReplicaPhase) -> String {
    match phase {
        ReplicaPhase::BackOff => "waiting to start again".into(),
        other => format!("{other:?}").to_lowercase(),
    }
}

fn log(status: &ReplicaStatus) -> Vec<String> {
    status.last_exit.as_ref().map_or_else(Vec::new, |e| e.log_tail.clone())
}

/// The agent's words, and how the last container ended if they do not say.
fn message(status: &ReplicaStatus) -> String {
    match &status.last_exit {
        Some(exit) if status.message.is_empty() => {
            format!("exit {}{}", exit.code, if exit.oom_killed { ", out of memory" } else { "" })
        }
        _ => status.message.clone(),
    }
}

#[cfg(test)]
mod tests;
