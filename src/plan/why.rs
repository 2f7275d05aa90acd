//! Why something is not as declared: differences with reasons from the closed set.
//!
//! Here: [`Difference`] and what makes it for each kind ([`differences`] of a Service, [`replica`],
//! [`node`], [`shared`] of a Config or Secret). `placed`: of a replica; `job`: of a run; `aside`: of what nothing waits for;
//! the conditions that sum up ([`conditions`], and who uses what: [`usage`]); the way from an object to what a person can
//! change ([`chain`]); what a person can do ([`hint`]). `why`, `describe`, the API and the leader's status all read these.
//! Not here: what the loops will do about it ([`super::rollout`], which is asked, not repeated).
//! Invariants: everything as declared gives no difference; a difference always has a reason; the
//! same facts give the same text, so that a status is written only when something changed.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{
    Condition, ConditionStatus, ConditionType, Decision, Desired, Kind, Reason, ReplicaPhase, Resolution, RolloutPhase,
    ServiceSpec, Slot,
};

use super::{
    rollout::{self, Plan},
    scheduler,
    view::{NodeView, ReplicaView, ServiceView},
};

mod aside;
mod chain;
pub mod conditions;
pub mod hint;
mod job;
pub mod news;
mod placed;
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
        let said = match (record.reason, record.message.as_str()) {
            (None, "") => {
                format!("revision {target} was asked for: `constellation rollout history svc/{}`", self.view.name)
            }
            (_, message) => format!("{cause}{message}"),
        };
        let difference = difference.because(said, record.started_at);
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
            (None, Some(hold)) => (hold.reason, hold.message.clone()),
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

#[cfg(test)]
mod tests;
