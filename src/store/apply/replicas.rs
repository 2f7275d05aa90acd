//! Commands about what is carried out: Replicas and the volumes they mount.
//!
//! Here: placing, ending and forgetting a Replica, and the first use of a volume. Not here: deciding any
//! of it (`plan`).

use std::sync::Arc;

use crate::{
    model::{
        Desired, Draining, Epoch, Kind, ObjectKey, Reason, Replica, Run, Volume, event::Subject, quantity::seconds,
    },
    store::{
        command::Refusal,
        fault::{Mistake, is_made},
        state::{Changed, State},
    },
};

impl State {
    pub(super) fn place(&mut self, at: u64, replica: &Replica, beside: Option<&Arc<str>>) -> Result<(), Refusal> {
        let service = self
            .objects
            .get(&ObjectKey::service(replica.service.clone()))
            .filter(|o| o.meta.uid == replica.service_uid)
            .ok_or_else(|| Refusal::NotFound { key: ObjectKey::service(replica.service.clone()) })?;
        let revision = self
            .revision(&service.meta.uid, replica.revision)
            .ok_or_else(|| Refusal::Invalid(format!("svc/{} has no revision {}", replica.service, replica.revision)))?;
        if revision.spec_hash != replica.spec_hash {
            return Err(Refusal::Invalid(format!(
                "revision {} of svc/{} has another hash",
                replica.revision, replica.service
            )));
        }
        if self.replicas.contains_key(&replica.name) {
            return Err(Refusal::Invalid(format!("replica {} exists", replica.name)));
        }
        if let Some(run) = replica.run
            && !self.job(&replica.service_uid).and_then(|job| job.run(run)).is_some_and(Run::runs)
        {
            return Err(Refusal::Invalid(format!("run {run} of svc/{} is not under way", replica.service)));
        }
        // An attempt of a job that ended by itself is kept for its log, and another follows it.
        let ended = |r: &Replica| r.runs_once() && self.replica_status(&r.name).is_some_and(|s| s.phase.ended());
        let holds = |r: &Replica| r.slot == replica.slot && r.run == replica.run && r.desired == Desired::Run;
        if let Some(other) =
            self.replicas_of(&replica.service_uid).find(|r| holds(r) && !ended(r) && Some(&r.name) != beside)
        {
            return Err(Refusal::Invalid(format!("slot {} is held by {}", replica.display(), other.name)));
        }
        let index = self.step();
        if !is_made(Mistake::ReuseEpoch) {
            self.epochs += 1;
        }
        let placed = Arc::new(Replica {
            index,
            resource_version: index,
            created_at: at,
            desired: Desired::Run,
            stop_reason: None,
            draining: None,
            epoch: Epoch::new(self.cluster.as_ref().map_or(0, |c| c.recovery), self.epochs),
            ..replica.clone()
        });
        self.keep_replica(placed.clone());
        let key = ObjectKey::replica(placed.name.clone());
        self.changed(index, key, Changed::Replica(placed.clone()));
        let decision = &placed.decision;
        let rejected = decision.considered.iter().filter(|c| !c.rejections.is_empty()).count();
        let message =
            format!("score {}; {} considered, {rejected} rejected", decision.score, plural(decision.considered.len()));
        self.event(at, Reason::Scheduled, subject(&placed), Some(placed.node.clone()), message);
        if let Some(run) = &placed.hook {
            let service =
                Subject { kind: Kind::Service, name: placed.service.clone(), uid: placed.service_uid.clone() };
            let message = format!("{} on {}, revision {}", run.hook.told(run.stage), placed.node, placed.revision);
            self.event(at, Reason::HookStarted, service, Some(placed.node.clone()), message);
        }
        Ok(())
    }

    pub(super) fn set_desired(
        &mut self,
        at: u64,
        name: &Arc<str>,
        desired: Desired,
        reason: Reason,
    ) -> Result<(), Refusal> {
        let Some(old) = self.replicas.get(name).cloned() else {
            return Err(Refusal::NotFound { key: ObjectKey::replica(name.clone()) });
        };
        match (old.desired, desired) {
            // Its container was kept, and goes now.
            (Desired::Stop, Desired::Stop) if old.is_kept() && reason != Reason::DeadlineExceeded => {}
            (Desired::Stop, Desired::Stop) | (Desired::Run, Desired::Run) => return Ok(()),
            (Desired::Stop, Desired::Run) => {
                return Err(Refusal::Invalid(format!("replica {name} was ended; it does not run again")));
            }
            (Desired::Run, Desired::Stop) => {}
        }
        let index = self.step();
        let replica =
            Arc::new(Replica { desired, stop_reason: Some(reason), resource_version: index, ..(*old).clone() });
        self.keep_replica(replica.clone());
        self.changed(index, ObjectKey::replica(name.clone()), Changed::Replica(replica.clone()));
        if old.desired == Desired::Stop {
            return Ok(());
        }
        let drained = old.draining.map(|d| seconds(at.saturating_sub(d.at)));
        let drained = drained.map(|took| format!(", {took} after the last new request")).unwrap_or_default();
        let message = format!("to be stopped: {reason}{drained}");
        self.event(at, Reason::Killing, subject(&replica), Some(replica.node.clone()), message);
        Ok(())
    }

    /// Nothing new is sent to it: the first step of its end.
    pub(super) fn drain(&mut self, at: u64, name: &Arc<str>, reason: Reason) -> Result<(), Refusal> {
        let Some(old) = self.replicas.get(name).cloned() else {
            return Err(Refusal::NotFound { key: ObjectKey::replica(name.clone()) });
        };
        if old.draining.is_some() || old.desired == Desired::Stop {
            return Ok(());
        }
        let index = self.step();
        let draining = Some(Draining { reason, index, at });
        let replica = Arc::new(Replica { draining, resource_version: index, ..(*old).clone() });
        self.keep_replica(replica.clone());
        self.changed(index, ObjectKey::replica(name.clone()), Changed::Replica(replica.clone()));
        let message = format!("nothing is sent to it any more: {reason}");
        self.event(at, Reason::Draining, subject(&replica), Some(replica.node.clone()), message);
        Ok(())
    }

    pub(super) fn forget(&mut self, name: &Arc<str>) -> Result<(), Refusal> {
        let Some(replica) = self.replicas.get(name).cloned() else { return Ok(()) };
        let ended = self.replica_status(name).is_some_and(|s| s.phase.ended());
        if replica.desired == Desired::Run && !ended {
            return Err(Refusal::Invalid(format!("replica {name} may still run")));
        }
        let index = self.step();
        self.drop_replica(&replica);
        self.statuses.remove(&ObjectKey::replica(name.clone()));
        self.changed(index, ObjectKey::replica(name.clone()), Changed::ReplicaForgotten(replica.clone()));
        self.drop_revisions(&replica.service_uid);
        Ok(())
    }

    pub(super) fn initialise(&mut self, at: u64, volume: &Volume) {
        let known = self.volumes.get(&volume.key).cloned();
        let mut services = known.as_ref().map_or_else(Vec::new, |v| v.services.clone());
        services.extend(volume.services.iter().cloned());
        services.sort();
        services.dedup();
        let shared = volume.shared && known.as_ref().is_none_or(|v| v.shared);
        if known.as_ref().is_some_and(|v| v.services == services && v.shared == shared) {
            return;
        }
        let index = self.step();
        let stored = match &known {
            // The first mount stays what it was.
            Some(known) => Volume { services, shared, resource_version: index, ..(**known).clone() },
            None => Volume { services, initialised_at: at, resource_version: index, ..volume.clone() },
        };
        self.volumes.insert(stored.key.clone(), Arc::new(stored.clone()));
        let node = self.object_by_uid(&volume.node).cloned();
        if known.is_none()
            && let Some(node) = node
        {
            let subject = Subject { kind: Kind::Node, name: node.meta.name.clone(), uid: node.meta.uid.clone() };
            let message = format!("{} is used for the first time", volume.source);
            self.event(at, Reason::VolumeInitialised, subject, Some(node.meta.name.clone()), message);
        }
    }
}

fn subject(replica: &Replica) -> Subject {
    Subject { kind: Kind::Replica, name: replica.name.clone(), uid: replica.uid.clone() }
}

fn plural(nodes: usize) -> String {
    if nodes == 1 { "1 node".into() } else { format!("{nodes} nodes") }
}
