//! Who uses a Config or Secret: which replicas run with which version, and whether the newest one has arrived.
//!
//! Here: [`Users`], asked for one object after another; the conditions of a Config or Secret. Not here: which versions
//! there are (`reconcile::view`), when a new value is due ([`crate::plan::rotation`]).
//! Invariants: a version has arrived when every service that uses it is as declared and none of its replicas runs with
//! another one; replicas that keep theirs by `strategy: manual` are counted and waited for by nobody.

use std::{cell::OnceCell, collections::BTreeMap, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{conditions, users};
use crate::{
    model::{
        Condition, ConditionType, Kind, Reason, Uid, config::ConfigSpec, rotation::Strategy, secret::SealedSecret,
    },
    plan::view::{NodeView, ReplicaView, ServiceView},
};

/// A Config or Secret with the versions that are kept.
#[derive(Debug, Clone)]
pub struct Shared {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: Arc<str>,
    /// Its identity.
    pub uid: Uid,
    /// Counter of its changes.
    pub generation: u64,
    /// When it was made, cluster time in milliseconds.
    pub created_at: u64,
    /// Its versions, newest first.
    pub versions: Vec<Kept>,
}

/// One version.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Its number.
    pub number: u64,
    /// When it was made, cluster time in milliseconds.
    pub made_at: u64,
    /// What tells it from others.
    pub content: Content,
}

/// What tells a version from others in what a replica was started with.
#[derive(Debug, Clone)]
pub enum Content {
    /// The digests of its keys.
    Config(Box<ConfigSpec>),
    /// The name of its values.
    Secret(String),
}

impl Content {
    fn under(&self, key: Option<&str>) -> Option<String> {
        match self {
            Self::Config(spec) => spec.digest(key),
            Self::Secret(name) => Some(name.clone()),
        }
    }
}

/// So many replicas run with one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VersionUse {
    /// Its number; absent: it is not kept, and nothing says which one it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Whether it is the one that new replicas get.
    pub current: bool,
    /// Whether its values are still there.
    pub kept: bool,
    /// Replicas that run with it.
    pub replicas: u32,
    /// And of each service.
    pub services: BTreeMap<String, u32>,
}

/// How far the newest version has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rollout {
    /// Every replica that shall have it has it.
    Complete,
    /// Not yet; where it is.
    Moving(String),
    /// Not, and time alone does not help; what is in the way.
    Halted(String),
}

/// What is known of the use of one object.
#[derive(Debug, Clone, PartialEq)]
pub struct Usage {
    /// `Ready`, `InUse`, `RotationComplete`.
    pub conditions: Vec<Condition>,
    /// Versions that run, newest first.
    pub versions: Vec<VersionUse>,
    /// How far the newest has come.
    pub rollout: Rollout,
}

/// What keeps a Service from being as declared; none: it is.
type Unfinished = Option<(Reason, String)>;

/// Every Service and Node. What a Service lacks is worked out once, when it is first asked.
#[derive(Debug, Default)]
pub struct Users {
    services: Vec<ServiceView>,
    unfinished: Vec<OnceCell<Unfinished>>,
    nodes: Vec<NodeView>,
}

impl Users {
    /// Of one state.
    #[must_use]
    pub fn new(services: Vec<ServiceView>, nodes: Vec<NodeView>) -> Self {
        Self { unfinished: services.iter().map(|_| OnceCell::new()).collect(), services, nodes }
    }

    /// How one Config or Secret is used.
    #[must_use]
    pub fn of(&self, shared: &Shared) -> Usage {
        let (versions, rollout) = (versions(shared, &self.services), self.rollout(shared));
        Usage { conditions: self.conditions(shared, &versions, &rollout), versions, rollout }
    }

    fn rollout(&self, shared: &Shared) -> Rollout {
        let mut moving = None;
        for (view, unfinished) in self.services.iter().zip(&self.unfinished) {
            let references: Vec<(&str, &str)> = view
                .contents
                .iter()
                .filter(|(reference, _)| key_of(shared, reference).is_some())
                .map(|(reference, now)| (reference.as_str(), now.as_str()))
                .collect();
            if references.is_empty() || view.declared.is_none() {
                continue;
            }
            let awaited = |r: &&ReplicaView| {
                let had = |reference: &str| r.status.as_ref()?.contents.get(reference).map(String::as_str);
                references.iter().any(|(reference, now)| {
                    view.strategy(reference) != Strategy::Manual && had(reference).is_some_and(|had| had != *now)
                })
            };
            let old = running(view).filter(awaited).count();
            let unfinished = unfinished.get_or_init(|| conditions::unfinished(view, &self.nodes));
            match (unfinished, old) {
                (None, 0) => {}
                (Some((reason, facts)), _) if conditions::stuck(*reason) => {
                    return Rollout::Halted(format!("svc/{}: {facts} ({reason})", view.name));
                }
                (Some((_, facts)), 0) => {
                    moving.get_or_insert_with(|| format!("svc/{}: {facts}", view.name));
                }
                (Some(_) | None, old) => {
                    let all = running(view).count();
                    moving.get_or_insert_with(|| format!("svc/{}: older in {old} of {all} replicas", view.name));
                }
            }
        }
        moving.map_or(Rollout::Complete, Rollout::Moving)
    }

    fn conditions(&self, shared: &Shared, versions: &[VersionUse], rollout: &Rollout) -> Vec<Condition> {
        let (kind, name) = (shared.kind, &*shared.name);
        let names: Vec<String> = users(kind, name, &self.services).map(|s| format!("svc/{}", s.name)).collect();
        let lacking = self.services.iter().flat_map(|s| &s.missing).find(|m| m.kind == kind && *m.name == *name);
        let condition = |kind, holds: bool, reason, message| Condition {
            kind,
            status: holds.into(),
            reason,
            message,
            last_transition_time: shared.created_at,
            observed_generation: shared.generation,
        };
        let ready = match lacking.and_then(|m| m.key.as_ref().map(|k| (m.reason(), k))) {
            Some((reason, key)) => condition(ConditionType::Ready, false, reason, format!("it has no key {key}")),
            None => condition(ConditionType::Ready, true, Reason::UpToDate, String::new()),
        };
        let lost: Vec<String> = versions.iter().filter(|v| !v.kept).map(lost).collect();
        let named =
            if names.is_empty() { "no service names it".into() } else { format!("named by {}", names.join(", ")) };
        let in_use = match lost.is_empty() {
            true => condition(ConditionType::InUse, !names.is_empty(), Reason::UpToDate, named),
            false => {
                let message = format!("{named}; {}", lost.join(", "));
                condition(ConditionType::InUse, true, Reason::VersionMissing, message)
            }
        };
        let (arrived, reason, message) = match rollout {
            Rollout::Complete => (true, Reason::UpToDate, String::new()),
            Rollout::Moving(where_) => (false, Reason::ReplicaSetUpdated, where_.clone()),
            Rollout::Halted(why) => (false, Reason::RotationHalted, why.clone()),
        };
        let since = shared.versions.first().map_or(shared.created_at, |newest| newest.made_at);
        let complete = condition(ConditionType::RotationComplete, arrived, reason, message);
        vec![ready, in_use, Condition { last_transition_time: since, ..complete }]
    }
}

fn lost(version: &VersionUse) -> String {
    let (run, it) = match version.replicas {
        1 => ("1 replica runs".to_owned(), "is"),
        n => (format!("{n} replicas run"), "is"),
    };
    let number = version.version.map_or_else(|| "an unknown version".into(), |n| format!("version {n}"));
    format!("{run} with {number}, which {it} not kept any more")
}

/// The key that a reference names, when it is one of this object: `configs/app/a.conf=NAME`.
fn key_of<'r>(shared: &Shared, reference: &'r str) -> Option<Option<&'r str>> {
    let rest = reference.strip_prefix(shared.kind.plural())?.strip_prefix('/')?.strip_prefix(&*shared.name)?;
    let path = rest.split_once('=').map_or(rest, |(path, _)| path);
    if path.is_empty() { Some(None) } else { path.strip_prefix('/').map(Some) }
}

/// Replicas that have a container, on their way out or not.
fn running(view: &ServiceView) -> impl Iterator<Item = &ReplicaView> {
    view.replicas.iter().filter(|r| r.status.as_ref().is_some_and(|s| !s.phase.ended()))
}

/// Which version something was started with: its number and whether it is kept. Equal content counts as the newest
/// version that has it.
fn started_with(shared: &Shared, key: Option<&str>, had: &str) -> (Option<u64>, bool) {
    let same = |kept: &&Kept| kept.content.under(key).as_deref() == Some(had);
    if let Some(kept) = shared.versions.iter().find(same) {
        return (Some(kept.number), true);
    }
    // The name of a Secret's values says which version it was, if it was one of this Secret.
    let number = had.strip_prefix('v').and_then(|rest| rest.split_once('.')?.0.parse().ok());
    let named = number.filter(|n| shared.kind == Kind::Secret && SealedSecret::content_of(*n, &shared.uid) == had);
    (named, false)
}

/// How many replicas run with which version. One that was given parts of several counts to the oldest.
fn versions(shared: &Shared, services: &[ServiceView]) -> Vec<VersionUse> {
    let newest = shared.versions.first().map(|v| v.number);
    let mut counts: BTreeMap<(Option<u64>, bool), BTreeMap<String, u32>> = BTreeMap::new();
    for view in services {
        for replica in running(view) {
            let contents = replica.status.iter().flat_map(|s| &s.contents);
            let had = contents.filter_map(|(reference, had)| Some((key_of(shared, reference)?, had)));
            if let Some(oldest) = had.map(|(key, had)| started_with(shared, key, had)).min() {
                *counts.entry(oldest).or_default().entry(view.name.to_string()).or_default() += 1;
            }
        }
    }
    let versions = counts.into_iter().rev().map(|((version, kept), services)| VersionUse {
        version,
        current: version.is_some() && version == newest,
        kept,
        replicas: services.values().sum(),
        services,
    });
    versions.collect()
}

#[cfg(test)]
pub(in crate::plan) mod tests;
