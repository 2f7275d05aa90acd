//! What is not as it would be made now, and stays so until a replica is replaced: content that changed since the
//! start, and a node that would not be chosen any more. And what is wrong where a replica works all the same: its node.
//!
//! Nothing waits for these and nothing is done about them, so that they stand beside the differences that
//! conditions are made from. Not here: what holds a slot up ([`super::Look::all`]).

use crate::model::{Condition, Kind, Reason, ReplicaPhase, rollout::Followed, rotation::Strategy};

use super::{ConditionStatus, ConditionType, Difference, Look, hint, lower, said};
use crate::plan::{
    rollout::{Standing, standing},
    scheduler,
    view::{NodeView, ReplicaView, ServiceView},
};

impl Look<'_> {
    /// Differences that hold nothing up.
    pub(super) fn asides(&self) -> Vec<Difference> {
        let mut found = self.contents();
        found.extend(self.failed_hook().or_else(|| self.waiting_hook()));
        found.extend(self.image_now());
        found.extend(self.view.replicas.iter().filter_map(|r| misplaced(self, r)));
        found.extend(self.nodes.iter().filter_map(|n| unready(self, n, &self.view.replicas)));
        found
    }

    /// Configs and Secrets that changed after replicas were started with them.
    pub(super) fn contents(&self) -> Vec<Difference> {
        let since = self.since(ConditionType::ConfigSynced, ConditionStatus::False);
        let stale = |reference: &str, now: &str| -> Vec<String> {
            let old = started_with_older(self.view, reference, now).filter(|r| !self.leaves(r));
            old.map(|r| r.replica.display()).collect()
        };
        let told = self.view.contents.iter().map(|(reference, now)| (reference, stale(reference, now)));
        told.filter(|(_, old)| !old.is_empty())
            .map(|(reference, old)| {
                let (path, kept) = match reference.split_once('=') {
                    Some((path, name)) => (path, format!("the variable {name}")),
                    None => (reference.as_str(), "its files".into()),
                };
                let difference = |reason, message: String| {
                    Difference::new(path, "as it is now", format!("older in {}", old.join(", ")), reason)
                        .because(message, since)
                };
                match self.view.strategy(reference) {
                    Strategy::Rolling => difference(
                        Reason::ReplicaSetUpdated,
                        "it changed since they were started; they are replaced one after another".into(),
                    ),
                    Strategy::Reload => difference(
                        Reason::ReplicaSetUpdated,
                        "it changed since they were started; their files are about to be replaced".into(),
                    ),
                    Strategy::Manual => difference(
                        Reason::DriftDetected,
                        format!("it changed since they were started, and a running container keeps {kept}"),
                    )
                    .hinted(Some(hint::of_old(&format!("svc/{}", self.view.name)))),
                }
            })
            .collect()
    }
}

impl Look<'_> {
    /// How the `postDeploy` of what is declared went; none: none of it ran, or none is declared any more.
    pub(super) fn followed(&self) -> Option<&Followed> {
        let record = self.plan.record.as_ref().filter(|record| record.target == record.newest)?;
        self.view.declared.as_ref().filter(|(_, spec)| !spec.hooks.post_deploy.is_empty())?;
        record.hooked.followed_by(record.target)
    }

    /// A `postDeploy` that failed: all replicas are good, and what was to follow was not done.
    fn failed_hook(&self) -> Option<Difference> {
        let followed = self.followed()?;
        let difference = Difference::new("hooks/postDeploy", "succeeded", "failed", followed.failed?);
        let difference = Difference { log: followed.log_tail.clone(), ..difference };
        Some(difference.because(followed.message.clone(), followed.at).hinted(Some(hint::of_hook(&self.view.name))))
    }

    /// A `postDeploy` that is due and has not ended.
    fn waiting_hook(&self) -> Option<Difference> {
        let hold = self.plan.follows.as_ref()?;
        let since = self.since(ConditionType::HooksSucceeded, ConditionStatus::Unknown);
        let difference = Difference::new("hooks/postDeploy", "succeeded", "not ended", hold.reason);
        Some(difference.because(hold.message.clone(), since).hinted(hint::of_hold(hold.reason, &self.view.name)))
    }

    /// An image that was built anew under the tag that the service names.
    fn image_now(&self) -> Option<Difference> {
        let (_, spec) = self.view.declared.as_ref()?;
        let newest = self.view.target()?;
        let runs = |r: &&ReplicaView| !self.leaves(r) && r.replica.spec_hash == newest.spec_hash;
        let running = self.view.replicas.iter().filter(runs).filter(|r| standing(r, self.nodes) == Standing::Ready);
        let old: Vec<_> = running.filter_map(|r| Some((r, r.status.as_ref()?.newer_image.as_deref()?))).collect();
        let (_, now) = old.first()?;
        let names: Vec<String> = old.iter().map(|(r, _)| r.replica.display()).collect();
        let image = &spec.container.image;
        let message = format!("{image} was built anew since: a revision keeps the image that it began with");
        Some(
            Difference::new("image", short(now), format!("older in {}", names.join(", ")), Reason::ImageChanged)
                .because(message, None)
                .hinted(Some(hint::of_old(&format!("svc/{}", self.view.name)))),
        )
    }
}

/// The first twelve characters of an image's id, as Docker prints it.
fn short(id: &str) -> &str {
    let hex = id.strip_prefix("sha256:").unwrap_or(id);
    hex.get(..12).unwrap_or(hex)
}

/// Replicas that run the newest revision with another content of a reference than `now`.
fn started_with_older<'a>(
    view: &'a ServiceView,
    reference: &'a str,
    now: &'a str,
) -> impl Iterator<Item = &'a ReplicaView> {
    let newest = view.target().map(|r| r.spec_hash.as_str());
    view.replicas.iter().filter(move |r| {
        let status = r.status.as_ref().filter(|s| s.phase == ReplicaPhase::Running);
        newest == Some(r.replica.spec_hash.as_str())
            && status.and_then(|s| s.contents.get(reference)).is_some_and(|had| had != now)
    })
}

/// A Config or Secret that a Service's replicas were started with before it changed.
pub(super) fn of_shared(kind: Kind, name: &str, view: &ServiceView) -> Option<Difference> {
    let object = format!("{}/{name}", kind.plural());
    let names = |reference: &str| {
        reference.strip_prefix(&object).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '=']))
    };
    let mut old = Vec::new();
    let mut stays = false;
    for (reference, digest) in view.contents.iter().filter(|(reference, _)| names(reference)) {
        let before = old.len();
        old.extend(started_with_older(view, reference, digest).map(|r| r.replica.display()));
        stays |= old.len() > before && view.strategy(reference) == Strategy::Manual;
    }
    old.sort();
    old.dedup();
    let (reason, message) = if stays {
        (Reason::DriftDetected, format!("svc/{} keeps it until its replicas are replaced", view.name))
    } else {
        (Reason::ReplicaSetUpdated, format!("the replicas of svc/{} are about to have it", view.name))
    };
    (!old.is_empty()).then(|| {
        Difference::new("data", "as it is now", format!("older in {}", old.join(", ")), reason)
            .because(message, said(view, ConditionType::ConfigSynced, ConditionStatus::False))
            .hinted(stays.then(|| hint::of_old(&format!("svc/{}", view.name))))
    })
}

/// A node that is not ready and on which replicas work nevertheless: nothing of them would be mended now. Of one
/// that does not work its own difference tells.
pub(super) fn unready(look: &Look<'_>, node: &NodeView, replicas: &[ReplicaView]) -> Option<Difference> {
    let ready = |c: &&Condition| c.kind == ConditionType::Ready && c.status != ConditionStatus::True;
    let condition = node.status.as_ref()?.conditions.iter().find(ready)?;
    let there = replicas.iter().filter(|r| r.replica.node_uid == node.uid && !look.leaves(r));
    let work: Vec<String> =
        there.filter(|r| standing(r, look.nodes) == Standing::Ready).map(|r| r.replica.display()).collect();
    (!work.is_empty()).then(|| {
        let (names, run) = (work.join(", "), if work.len() == 1 { "works" } else { "work" });
        let message = format!("{}; {names} {run} there, and would not be mended now", condition.message);
        Difference::new(format!("nodes/{}", node.name), "ready", "not ready", condition.reason)
            .because(message, condition.last_transition_time)
            .hinted(hint::of_node(condition.reason, &node.name))
    })
}

/// A replica that the scheduler would not put where it runs.
pub(super) fn misplaced(look: &Look<'_>, r: &ReplicaView) -> Option<Difference> {
    let (_, spec) = look.view.declared.as_ref()?;
    let runs = matches!(standing(r, look.nodes), Standing::Ready | Standing::NotReady | Standing::Unknown);
    let newest = look.view.target().is_some_and(|n| n.spec_hash == r.replica.spec_hash);
    if look.leaves(r) || !runs || !newest {
        return None;
    }
    let node = look.nodes.iter().find(|n| n.uid == r.replica.node_uid)?;
    let lacks: Vec<String> = scheduler::unfit(spec, node).into_iter().map(|r| r.message).collect();
    let since = r.status.as_ref().map_or(r.replica.created_at, |s| s.since);
    let actual = format!("{} on {}", lower(r.status.as_ref().map_or(ReplicaPhase::Pending, |s| s.phase)), node.name);
    (!lacks.is_empty()).then(|| {
        Difference::new(look.path(&r.replica.slot), "on a node that fits", actual, Reason::NoNodeFits)
            .because(format!("it would not be placed there now: {}; it stays", lacks.join(", ")), since)
            .hinted(Some(hint::of_old(&format!("svc/{}", look.view.name))))
    })
}
