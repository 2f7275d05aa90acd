//! The conditions of a Service, and the whole status that the leader writes.
//!
//! Here: [`status`] and [`conditions`]. They are made from the same reading as the differences, so
//! that `get`, `wait` and `why` can never disagree. Invariant: `lastTransitionTime` moves only when the
//! condition's status does; equal facts give an equal value.

use crate::model::{
    Condition, ConditionStatus, ConditionType, Reason, ReplicaPhase, Rollout, RolloutPhase, ServiceStatus, Slot,
    service::Restart,
    status::{ReplicaCounts, RolloutStatus},
};

use super::{Difference, Look, NOWHERE};
use crate::plan::{
    rollout::{Standing, standing},
    view::{NodeView, ReplicaView, ServiceView},
};

/// Slots without a node whose decisions a status keeps: a thousand of them would not fit into one
/// entry of the log, and the first ones say it all.
pub(super) const UNPLACED: usize = 16;

/// What the leader says of a Service now; of a deleted one, nothing.
#[must_use]
pub fn status(view: &ServiceView, nodes: &[NodeView], now: u64) -> Option<ServiceStatus> {
    let (meta, _) = view.declared.as_ref()?;
    let look = Look::new(view, nodes, now);
    if look.is_job() {
        return Some(look.job_status(meta.generation));
    }
    let tally = Tally::of(&look);
    Some(ServiceStatus {
        job: None,
        conditions: made(&look, &tally, meta.generation),
        observed_generation: meta.generation,
        replicas: tally.counts,
        revision: view.newest().map_or(0, |r| r.number),
        rollout: look.plan.record.as_ref().map(|record| RolloutStatus {
            phase: record.phase,
            target: record.target,
            newest: record.newest,
            generation: view.newest().map_or(0, |newest| newest.generation),
            protected: record.stable.is_some(),
            paused: record.paused.is_some(),
            hooks: hooks_to_end(&look, record),
            waits: look.plan.holds.values().any(|hold| hold.reason == Reason::WaitingForPromotion),
            message: record.message.clone(),
            record: record.resource_version,
        }),
        unplaced: look.plan.unplaced.iter().take(UNPLACED).map(|(slot, d)| (slot.to_string(), d.clone())).collect(),
    })
}

/// Conditions of a Service, `Ready` first.
#[must_use]
pub fn conditions(view: &ServiceView, nodes: &[NodeView], now: u64) -> Vec<Condition> {
    status(view, nodes, now).map_or_else(Vec::new, |s| s.conditions)
}

/// What keeps a Service from being as declared: the reason that says most, and the facts. None: it is.
pub(super) fn unfinished(view: &ServiceView, nodes: &[NodeView]) -> Option<(Reason, String)> {
    let look = Look::new(view, nodes, 0);
    if look.is_job() {
        return look.incomplete();
    }
    let (tally, differences) = (Tally::of(&look), look.all());
    let told = || (Reason::ReplicaSetUpdated, tally.counts.told());
    (!tally.done(&differences)).then(|| leading(&differences).map_or_else(told, |d| (d.reason, facts(d))))
}

/// How many slots are how.
struct Tally {
    counts: ReplicaCounts,
    /// Ready, or ended as their restart policy allows.
    good: u32,
    /// Good and of the newest revision.
    good_and_new: u32,
    unknown: u32,
    placed: u32,
    /// Replicas that are still on their way out.
    leaving: u32,
}

impl Tally {
    fn of(look: &Look<'_>) -> Self {
        let view = look.view;
        let mut tally = Self {
            counts: ReplicaCounts {
                desired: u32::try_from(look.wanted.len()).unwrap_or(u32::MAX),
                ..ReplicaCounts::default()
            },
            good: 0,
            good_and_new: 0,
            unknown: 0,
            placed: 0,
            leaving: 0,
        };
        for r in &view.replicas {
            let standing = standing(r, look.nodes);
            let running = r.status.as_ref().is_some_and(|s| s.phase == ReplicaPhase::Running);
            tally.counts.running += u32::from(running);
            // Beside the one that takes over it is on its way out too.
            let second = look.current(&r.replica.slot).is_some_and(|current| current.replica.name != r.replica.name);
            if look.leaves(r) || second {
                tally.leaving += u32::from(!matches!(standing, Standing::Stopped | Standing::Ended | Standing::Gone));
            }
        }
        for slot in &look.wanted {
            let Some(current) = look.current(slot) else { continue };
            let members = || view.replicas.iter().filter(|r| r.replica.slot == *slot && !look.leaves(r));
            let is = |wanted: Standing| members().any(|r| standing(r, look.nodes) == wanted);
            let at = standing(current, look.nodes);
            // Beside the one before it, it has not taken over until it is ready.
            let alone = members().count() == 1;
            let new = view.up_to_date(current) && (alone || at == Standing::Ready);
            let completed = completed(look, current, at);
            let good = is(Standing::Ready) || completed;
            tally.counts.completed += u32::from(completed);
            tally.placed += 1;
            tally.counts.ready += u32::from(is(Standing::Ready));
            tally.counts.updated += u32::from(new);
            tally.good += u32::from(good);
            tally.good_and_new += u32::from(new && (at == Standing::Ready || completed));
            tally.unknown += u32::from(is(Standing::Unknown) && !good);
        }
        tally
    }
}

impl Tally {
    /// Everything is as declared.
    fn done(&self, differences: &[Difference]) -> bool {
        let nowhere = differences.iter().any(|d| d.path == NOWHERE);
        self.good_and_new == self.counts.desired && self.leaving == 0 && !nowhere
    }
}

fn completed(look: &Look<'_>, r: &ReplicaView, standing: Standing) -> bool {
    let restart = look.view.declared.as_ref().map(|(_, spec)| spec.container.restart);
    standing == Standing::Ended
        && matches!(restart, Some(Restart::No | Restart::OnFailure(_)))
        && r.status.as_ref().is_some_and(|s| s.phase == ReplicaPhase::Completed)
}

fn made(look: &Look<'_>, tally: &Tally, generation: u64) -> Vec<Condition> {
    let differences = look.all();
    let suspended = look.view.declared.as_ref().is_some_and(|(_, spec)| spec.suspend);
    let desired = tally.counts.desired;
    let nowhere = differences.iter().find(|d| d.path == NOWHERE);
    let done = tally.done(&differences);
    let old = |kind| look.view.status.as_ref().and_then(|s| s.conditions.iter().find(|c| c.kind == kind));
    let condition = |kind, status: ConditionStatus, reason, message: String| Condition {
        kind,
        status,
        reason,
        message,
        last_transition_time: old(kind).filter(|c| c.status == status).map_or(look.now, |c| c.last_transition_time),
        observed_generation: generation,
    };
    let told = format!("{}, {} up to date", tally.counts.told(), tally.counts.updated);
    let cause = leading(&differences);
    let record = look.plan.record.as_ref();
    let back = differences.iter().find(|d| d.path == "revision");
    // All are ready, and nobody knows yet whether they stay so.
    let settling = done && record.is_some_and(|r| r.stable.is_some() && r.phase == RolloutPhase::Progressing);
    let halted = record.filter(|_| !done).and_then(|r| match (&r.paused, r.phase) {
        (Some(paused), _) => Some((ConditionStatus::False, Reason::Paused, paused.to_string())),
        (None, RolloutPhase::Halted) => {
            let reason = r.reason.unwrap_or(Reason::Paused);
            Some((ConditionStatus::False, reason, format!("revision {} stands still: {}", r.target, r.message)))
        }
        (None, _) => None,
    });
    let unknown = differences.iter().find(|d| nobody_knows(d.reason));
    let unknown = unknown.filter(|_| tally.unknown > 0 && tally.good + tally.unknown == desired);
    let ready = match cause {
        _ if done && suspended => (ConditionStatus::True, Reason::Suspended, "suspended: nothing runs".into()),
        _ if done && back.is_none() => (ConditionStatus::True, Reason::UpToDate, told.clone()),
        Some(d) => match unknown {
            Some(d) => (ConditionStatus::Unknown, d.reason, facts(d)),
            None => (ConditionStatus::False, d.reason, facts(d)),
        },
        None => (ConditionStatus::False, Reason::ReplicaSetUpdated, told.clone()),
    };
    let progressing = match cause {
        _ if settling => (ConditionStatus::True, Reason::ReplicaSetUpdated, settles(look)),
        _ if done && back.is_none() => (ConditionStatus::False, Reason::UpToDate, String::new()),
        Some(d) if back.is_some() && d.reason == Reason::RolledBack => (ConditionStatus::False, d.reason, facts(d)),
        _ if halted.is_some() => halted.unwrap_or((ConditionStatus::False, Reason::Paused, String::new())),
        Some(d) if stuck(d.reason) => (ConditionStatus::False, d.reason, facts(d)),
        _ => (ConditionStatus::True, Reason::ReplicaSetUpdated, told),
    };
    // One may be away for an update; a single one may not.
    let enough = nowhere.is_none() && tally.good >= desired.saturating_sub(1).max(desired.min(1));
    let available = if enough { Reason::MinimumReplicasAvailable } else { Reason::MinimumReplicasUnavailable };
    let could = nowhere.is_none() && tally.good + tally.unknown >= desired.saturating_sub(1).max(desired.min(1));
    let available = match (enough, could) {
        (true, _) => (ConditionStatus::True, available),
        (false, true) => (ConditionStatus::Unknown, Reason::HealthUnknown),
        (false, false) => (ConditionStatus::False, available),
    };
    let held = look.plan.holds.iter().find(|(slot, _)| !is_placed(look, slot));
    let scheduled = match (held, nowhere) {
        (Some((slot, hold)), _) => {
            (ConditionStatus::False, hold.reason, format!("{}.{slot}: {}", look.view.name, hold.message))
        }
        (None, Some(d)) => (ConditionStatus::False, d.reason, d.message.clone()),
        (None, None) if tally.placed < desired => {
            (ConditionStatus::False, Reason::Starting, "about to be placed".into())
        }
        (None, None) => (ConditionStatus::True, Reason::Scheduled, String::new()),
    };
    let drift = differences.iter().find(|d| matches!(d.reason, Reason::DriftDetected | Reason::ChangedByHand));
    let drifted = match drift {
        Some(d) => (ConditionStatus::True, d.reason, facts(d)),
        None => (ConditionStatus::False, Reason::UpToDate, String::new()),
    };
    let mut made = vec![
        condition(ConditionType::Ready, ready.0, ready.1, ready.2),
        condition(ConditionType::Progressing, progressing.0, progressing.1, progressing.2),
        condition(ConditionType::Available, available.0, available.1, tally.counts.told()),
        condition(ConditionType::Scheduled, scheduled.0, scheduled.1, scheduled.2),
    ];
    let lacks = |d: &&Difference| matches!(d.reason, Reason::SecretMissing | Reason::ConfigMissing);
    let missing: Vec<Difference> = look.missing().filter(|d| lacks(&d)).collect();
    if !look.view.contents.is_empty() || !missing.is_empty() {
        // What is missing starts nothing any more, though what runs may be well.
        let synced = match missing.first().or(look.contents().first()) {
            Some(d) => (ConditionStatus::False, d.reason, format!("{}: {}", d.path, d.actual)),
            None => (ConditionStatus::True, Reason::UpToDate, String::new()),
        };
        made.push(condition(ConditionType::ConfigSynced, synced.0, synced.1, synced.2));
    }
    made.push(condition(ConditionType::Drifted, drifted.0, drifted.1, drifted.2));
    if let Some((status, reason, message)) = record.filter(|_| back.is_none()).and_then(|r| followed(look, r)) {
        made.push(condition(ConditionType::HooksSucceeded, status, reason, message));
    }
    made
}

/// What became of `postDeploy` hooks; none: they neither ran nor are going to.
fn followed(look: &Look<'_>, record: &Rollout) -> Option<(ConditionStatus, Reason, String)> {
    let ended = look.followed();
    match ended.map(|ended| (ended.failed, ended.message.clone())) {
        Some((Some(reason), message)) => Some((ConditionStatus::False, reason, message)),
        Some((None, message)) => Some((ConditionStatus::True, Reason::HookSucceeded, message)),
        None if !hooks_to_end(look, record) => None,
        None => {
            let waits = look.plan.follows.clone().map(|hold| (hold.reason, hold.message));
            let follow = || (Reason::WaitingForHook, "they follow a rollout that is complete".to_owned());
            let (reason, message) = waits.unwrap_or_else(follow);
            Some((ConditionStatus::Unknown, reason, message))
        }
    }
}

/// Whether `postDeploy` hooks run, or are going to.
fn hooks_to_end(look: &Look<'_>, record: &Rollout) -> bool {
    let declared = look.view.declared.as_ref().is_some_and(|(_, spec)| !spec.hooks.post_deploy.is_empty());
    let follow = record.phase == RolloutPhase::Progressing
        && record.target == record.newest
        && record.target > record.hooked.complete
        && !look.wanted.is_empty();
    declared && (record.hooked.due.is_some() || follow)
}

/// Whether a reason is one not to know, where a replica was ready before.
const fn nobody_knows(reason: Reason) -> bool {
    matches!(reason, Reason::HealthUnknown) || engine_is_silent(reason)
}

/// Whether a reason is an engine that gives no answer.
pub(super) const fn engine_is_silent(reason: Reason) -> bool {
    matches!(reason, Reason::DockerDown | Reason::DockerUnresponsive)
}

/// What a rollout waits for whose replicas are all ready.
fn settles(look: &Look<'_>) -> String {
    let time = look.view.declared.as_ref().map(|(_, spec)| spec.update.min_healthy_time).unwrap_or_default();
    format!("all are ready, and have to be for {time}")
}

fn is_placed(look: &Look<'_>, slot: &Slot) -> bool {
    look.view.replicas.iter().any(|r| r.replica.slot == *slot && !look.leaves(r))
}

pub(super) fn facts(difference: &Difference) -> String {
    let what = difference.path.strip_prefix("replicas/").unwrap_or(&difference.path);
    if difference.message.is_empty() { what.to_owned() } else { format!("{what}: {}", difference.message) }
}

/// The difference that says most: one that needs a person before one that only takes time.
pub(super) fn leading(differences: &[Difference]) -> Option<&Difference> {
    differences.iter().find(|d| stuck(d.reason)).or_else(|| differences.first())
}

/// Whether time alone does not help. Every reason stands here once, so that a new one is thought of.
#[must_use]
pub const fn stuck(reason: Reason) -> bool {
    match reason {
        Reason::ImageNotFound
        | Reason::ImagePullRefused
        | Reason::RegistryUnreachable
        | Reason::PortConflict
        | Reason::PortForbidden
        | Reason::PortUnavailable
        | Reason::SecretMissing
        | Reason::ConfigMissing
        | Reason::BindSourceMissing
        | Reason::DataMissing
        | Reason::WaitingForDependency
        | Reason::Unhealthy
        | Reason::CrashLoopBackOff
        | Reason::OOMKilled
        | Reason::StoppedByHand
        | Reason::DockerDown
        | Reason::DockerUnresponsive
        | Reason::EngineRefused
        | Reason::EngineTooOld
        | Reason::DiskFull
        | Reason::NoNodeFits
        | Reason::DeviceMissing
        | Reason::ArchitectureMismatch
        | Reason::NotGranted
        | Reason::Cordoned
        | Reason::InvalidRoute
        | Reason::HostConflict
        | Reason::MiddlewareNotFound
        | Reason::BackendNotFound
        | Reason::NoReadyEndpoint
        | Reason::RotationHalted
        | Reason::VersionMissing
        | Reason::RolledBack
        | Reason::Paused
        | Reason::WaitingForPromotion
        | Reason::ProgressDeadlineExceeded
        | Reason::HookFailed
        | Reason::RunFailed
        | Reason::BackoffLimitExceeded
        | Reason::DeadlineExceeded
        | Reason::Failed => true,
        Reason::ImageUnresolved
        | Reason::DriftDetected
        | Reason::ChangedByHand
        | Reason::ImageChanged
        | Reason::Suspended
        | Reason::StoreBehind
        | Reason::RestoreUnconfirmed
        | Reason::NotPlacedHere
        | Reason::Superseded
        | Reason::ScaledDown
        | Reason::ServiceDeleted
        | Reason::Completed
        | Reason::MinimumReplicasAvailable
        | Reason::MinimumReplicasUnavailable
        | Reason::NewReplicaReady
        | Reason::ReplicaSetUpdated
        | Reason::RolloutStarted
        | Reason::RolloutComplete
        | Reason::RollingBack
        | Reason::Resumed
        | Reason::Promoted
        | Reason::Restarted
        | Reason::RunStarted
        | Reason::RunSucceeded
        | Reason::RunSkipped
        | Reason::Replaced
        | Reason::Draining
        | Reason::UpToDate
        | Reason::HealthUnknown
        | Reason::Scheduled
        | Reason::FailedScheduling
        | Reason::Pulling
        | Reason::Pulled
        | Reason::Created
        | Reason::Started
        | Reason::Killing
        | Reason::Exited
        | Reason::Removed
        | Reason::Healthy
        | Reason::WaitingForHook
        | Reason::HookStarted
        | Reason::HookSucceeded
        | Reason::Starting
        | Reason::Accepted
        | Reason::ResolvedRefs
        | Reason::Programmed
        | Reason::EdgeBehind
        | Reason::NoEdge
        | Reason::Configured
        | Reason::Deleted
        | Reason::NodeReady
        | Reason::NodeNotReady
        | Reason::Schedulable
        | Reason::PortsOpen
        | Reason::LeaderElected
        | Reason::ClusterFormed
        | Reason::ClusterRecovered
        | Reason::RestoreConfirmed
        | Reason::ImageResolved
        | Reason::VolumeInitialised
        | Reason::VolumeUnmounted
        | Reason::Orphaned => false,
    }
}
