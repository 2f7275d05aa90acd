//! The effect of a group on the state: pure and total.
//!
//! Here: `apply`, one function a command. Not here: the state's shape and readers ([`super::state`]).
//! Invariant: checks stand above the first write, so a refusal leaves no trace; indexes of a group are
//! contiguous; nothing here reads a clock, draws a random number or fails.
//! How a group is all or nothing: it is carried out on a clone (O(1), persistent maps), which becomes
//! the state only when every command succeeded.

mod needs;

use std::sync::Arc;

use super::{
    command::{Answer, Applied, Command, Group, Idempotency, ObjectResult, Outcome, PutObject, Refusal},
    state::{Change, Changed, ClusterInfo, LeaderInfo, State},
};
use crate::model::{
    Desired, Epoch, Event, EventType, Index, Kind, Meta, NewEvent, Object, ObjectKey, Reason, Replica, Resolution,
    ResolvedImage, Revision, Status, Uid, Volume, event::Subject,
};

/// Revisions kept besides those that replicas run.
pub const REVISIONS_KEPT: usize = 20;
impl State {
    /// What a mutation with this key was answered; none when it is not remembered.
    #[must_use]
    pub fn answered(&self, asked: &Idempotency) -> Option<Answer> {
        self.keys.known(asked)
    }

    /// Carries out one group.
    ///
    /// # Errors
    /// The refusal that every node gives alike; the state is as before.
    pub fn apply(&mut self, group: &Group) -> Answer {
        self.time = self.time.max(group.at);
        self.keys.forget(self.time);
        if let Some(asked) = &group.idempotency
            && let Some(answer) = self.keys.answer(asked, group.commands.len())
        {
            return answer;
        }
        let before = self.index;
        // One command checks everything before it writes: only several need a copy to fall back to.
        let answer = if group.commands.len() > 1 {
            let mut next = self.clone();
            let answer = next.carry_out(group);
            if answer.is_ok() {
                *self = next;
            }
            answer
        } else {
            self.carry_out(group)
        };
        // Whoever applies the same again and again would fill the memory for all: what moved nothing is done anew.
        let idle = answer.is_ok() && self.index == before;
        if let Some(asked) = &group.idempotency
            && !idle
        {
            // A refusal too: asked again, it is the same answer.
            self.keys.remember(self.time, asked, &answer);
        }
        answer
    }

    fn carry_out(&mut self, group: &Group) -> Answer {
        for (key, expected) in &group.preconditions {
            let found = self.version(key);
            if found != *expected {
                return Err(Refusal::Conflict { key: key.clone(), expected: *expected, found });
            }
        }
        if let Some(expected) = group.placements.filter(|expected| *expected != self.epochs) {
            return Err(Refusal::Placed { expected, found: self.epochs });
        }
        let mut objects = Vec::new();
        for command in &group.commands {
            if let Some(result) = self.command(group, command)? {
                objects.push(result);
            }
        }
        Ok(Applied { index: self.index, objects })
    }

    /// `resourceVersion` of a declared object or a Replica.
    #[must_use]
    pub fn version(&self, key: &ObjectKey) -> Option<Index> {
        match key.kind {
            Kind::Replica => self.replicas.get(&key.name).map(|r| r.resource_version),
            Kind::Service | Kind::Config | Kind::Secret | Kind::Node => {
                self.objects.get(key).map(|o| o.meta.resource_version)
            }
        }
    }

    fn command(&mut self, group: &Group, command: &Command) -> Result<Option<ObjectResult>, Refusal> {
        let at = group.at;
        match command {
            Command::FormCluster { name, node, cluster, lineage } => {
                self.form(at, name, node, cluster, lineage).map(|()| None)
            }
            Command::LeaderStarted { member, incarnation, nonce, node } => {
                let token = self.step();
                self.leader = Some(LeaderInfo {
                    member: *member,
                    incarnation: *incarnation,
                    nonce: *nonce,
                    node: node.clone(),
                    token,
                });
                let subject = self.cluster_subject(node);
                self.event(at, Reason::LeaderElected, subject, Some(node.clone()), format!("{node} leads the cluster"));
                Ok(None)
            }
            Command::Put(put) => self.put(group, put).map(Some),
            Command::Delete { key } => self.delete(group, key).map(Some),
            Command::Place { replica } => self.place(at, replica).map(|()| None),
            Command::SetDesired { replica, desired, reason } => {
                self.set_desired(at, replica, *desired, *reason).map(|()| None)
            }
            Command::Forget { replica } => self.forget(replica).map(|()| None),
            Command::ResolveImage { service, revision, image } => {
                self.resolve(at, service, *revision, image).map(|()| None)
            }
            Command::InitialiseVolume { volume } => {
                self.initialise(at, volume);
                Ok(None)
            }
            Command::RecordObservations { statuses, events } => {
                for (key, uid, status) in statuses {
                    self.observe(key, uid, status);
                }
                for event in events {
                    self.add_event(event.clone());
                }
                Ok(None)
            }
        }
    }

    fn step(&mut self) -> Index {
        self.index = self.index.next();
        self.index
    }
    fn changed(&mut self, index: Index, key: ObjectKey, what: Changed) {
        self.changes.push(Change { index, key, what });
    }

    fn form(&mut self, at: u64, name: &Arc<str>, node: &Arc<str>, cluster: &Uid, lineage: &Uid) -> Result<(), Refusal> {
        if self.cluster.is_some() {
            return Err(Refusal::AlreadyFormed);
        }
        self.step();
        self.cluster =
            Some(ClusterInfo { name: name.clone(), cluster: cluster.clone(), lineage: lineage.clone(), recovery: 0 });
        let subject = self.cluster_subject(node);
        self.event(at, Reason::ClusterFormed, subject, Some(node.clone()), format!("cluster {name} was formed"));
        Ok(())
    }
    /// The cluster itself has no kind: its events stand at the node that tells them.
    fn cluster_subject(&self, node: &Arc<str>) -> Subject {
        let uid = self.objects.get(&ObjectKey::node(node.clone())).map(|o| o.meta.uid.clone());
        Subject { kind: Kind::Node, name: node.clone(), uid: uid.unwrap_or_else(|| Uid("".into())) }
    }

    fn put(&mut self, group: &Group, put: &PutObject) -> Result<ObjectResult, Refusal> {
        let at = group.at;
        let key = ObjectKey::new(put.kind, put.name.clone());
        if put.kind == Kind::Replica {
            return Err(Refusal::Invalid("replicas are made by the cluster and cannot be written".into()));
        }
        let old = self.objects.get(&key).cloned();
        if let Some(found) = old.as_ref().and_then(|o| o.meta.managed_by.clone())
            && put.managed_by.as_ref().is_some_and(|asked| *asked != found)
        {
            return Err(Refusal::OtherSet { key, found: Some(found), asked: put.managed_by.clone() });
        }
        let managed_by = put.managed_by.clone().or_else(|| old.as_ref().and_then(|o| o.meta.managed_by.clone()));
        // A seal draws a new nonce each time: for a Secret the digest decides.
        let same_spec = old.as_ref().is_some_and(|o| match put.kind {
            Kind::Secret => o.digest.is_some() && o.digest == put.spec_hash,
            Kind::Service | Kind::Config | Kind::Node | Kind::Replica => o.spec == put.spec,
        });
        let same_meta = old.as_ref().is_some_and(|o| {
            o.meta.labels == put.labels && o.meta.annotations == put.annotations && o.meta.managed_by == managed_by
        });
        let result = |outcome, object: &Object| ObjectResult {
            kind: put.kind,
            name: put.name.clone(),
            result: outcome,
            generation: object.meta.generation,
            resource_version: object.meta.resource_version,
        };
        if let Some(old) = old.as_ref().filter(|_| same_spec && same_meta) {
            return Ok(result(Outcome::Unchanged, old));
        }
        if put.kind == Kind::Secret && !same_spec {
            // Uid and version are part of the seal: it opens only over the object it was made for.
            let found = old.as_ref().map(|o| o.meta.resource_version);
            if put.based_on != found {
                return Err(Refusal::Conflict { key, expected: put.based_on, found });
            }
        }
        let index = self.step();
        let object = Arc::new(Object {
            kind: put.kind,
            meta: Meta {
                name: put.name.clone(),
                labels: put.labels.clone(),
                annotations: put.annotations.clone(),
                managed_by,
                uid: old.as_ref().map_or_else(|| put.uid.clone(), |o| o.meta.uid.clone()),
                generation: old.as_ref().map_or(0, |o| o.meta.generation) + u64::from(!same_spec),
                resource_version: index,
                created_at: old.as_ref().map_or(at, |o| o.meta.created_at),
            },
            spec: match (&old, same_spec) {
                (Some(old), true) => old.spec.clone(),
                _ => put.spec.clone(),
            },
            digest: put.spec_hash.clone(),
        });
        self.keep_object(object.clone());
        let relabelled = old.as_ref().map(|o| &o.meta.labels).filter(|labels| **labels != object.meta.labels).cloned();
        self.changed(index, key, Changed::Put { object: object.clone(), relabelled });
        if put.kind == Kind::Service {
            self.revise(&object);
        }
        let (reason, outcome, verb) = match old {
            None => (Reason::Created, Outcome::Created, "created"),
            Some(_) => (Reason::Configured, Outcome::Configured, "configured"),
        };
        let subject = Subject { kind: put.kind, name: put.name.clone(), uid: object.meta.uid.clone() };
        self.event(at, reason, subject, None, told(group, &format!("{verb}, generation {}", object.meta.generation)));
        Ok(result(outcome, &object))
    }

    /// A new container part makes a new revision.
    fn revise(&mut self, service: &Object) {
        let hash = service.digest.clone().unwrap_or_default();
        let newest = self.newest_revision(&service.meta.uid).cloned();
        if newest.as_ref().is_some_and(|r| r.spec_hash == hash) {
            return;
        }
        let number = newest.map_or(0, |r| r.number) + 1;
        let revision = Revision {
            service: service.meta.uid.clone(),
            number,
            index: self.index,
            generation: service.meta.generation,
            spec_hash: hash,
            spec: service.spec.clone(),
            image: Resolution::Pending,
        };
        self.revisions.insert((service.meta.uid.clone(), number), Arc::new(revision));
        let used: Vec<u64> = self.replicas_of(&service.meta.uid).map(|r| r.revision).collect();
        let all: Vec<u64> = self.revisions(&service.meta.uid).map(|r| r.number).collect();
        let old = all.len().saturating_sub(REVISIONS_KEPT);
        for number in all.into_iter().take(old).filter(|n| !used.contains(n)) {
            self.revisions.remove(&(service.meta.uid.clone(), number));
        }
    }

    fn delete(&mut self, group: &Group, key: &ObjectKey) -> Result<ObjectResult, Refusal> {
        let at = group.at;
        let Some(object) = self.objects.get(key).cloned() else {
            return Err(Refusal::NotFound { key: key.clone() });
        };
        if key.kind == Kind::Node
            && let Some(by) = self.needs_node(&object)
        {
            return Err(Refusal::InUse { key: key.clone(), by });
        }
        let index = self.step();
        self.drop_object(&object);
        self.statuses.remove(key);
        self.changed(index, key.clone(), Changed::Deleted(object.clone()));
        if key.kind == Kind::Service {
            self.drop_revisions(&object.meta.uid);
        }
        let subject = Subject { kind: key.kind, name: key.name.clone(), uid: object.meta.uid.clone() };
        self.event(at, Reason::Deleted, subject, None, told(group, "deleted"));
        Ok(ObjectResult {
            kind: key.kind,
            name: key.name.clone(),
            result: Outcome::Deleted,
            generation: object.meta.generation,
            resource_version: index,
        })
    }

    /// Revisions of a deleted Service go with the last of its Replicas.
    fn drop_revisions(&mut self, service: &Uid) {
        if self.uids.contains_key(service) || self.replicas_of(service).next().is_some() {
            return;
        }
        let numbers: Vec<u64> = self.revisions(service).map(|r| r.number).collect();
        for number in numbers {
            self.revisions.remove(&(service.clone(), number));
        }
    }

    fn place(&mut self, at: u64, replica: &Replica) -> Result<(), Refusal> {
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
        if let Some(other) =
            self.replicas_of(&replica.service_uid).find(|r| r.slot == replica.slot && r.desired == Desired::Run)
        {
            return Err(Refusal::Invalid(format!("slot {} is held by {}", replica.display(), other.name)));
        }
        let index = self.step();
        self.epochs += 1;
        let placed = Arc::new(Replica {
            index,
            resource_version: index,
            created_at: at,
            desired: Desired::Run,
            stop_reason: None,
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
        Ok(())
    }

    fn set_desired(&mut self, at: u64, name: &Arc<str>, desired: Desired, reason: Reason) -> Result<(), Refusal> {
        let Some(old) = self.replicas.get(name).cloned() else {
            return Err(Refusal::NotFound { key: ObjectKey::replica(name.clone()) });
        };
        match (old.desired, desired) {
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
        self.event(
            at,
            Reason::Killing,
            subject(&replica),
            Some(replica.node.clone()),
            format!("to be stopped: {reason}"),
        );
        Ok(())
    }

    fn forget(&mut self, name: &Arc<str>) -> Result<(), Refusal> {
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

    fn resolve(&mut self, at: u64, service: &Uid, number: u64, image: &Resolution) -> Result<(), Refusal> {
        let Some(old) = self.revision(service, number).cloned() else {
            return Err(Refusal::Invalid(format!("there is no revision {number} of {service}")));
        };
        if matches!(old.image, Resolution::Resolved { .. }) || old.image == *image {
            return Ok(());
        }
        let Some(object) = self.object_by_uid(service).cloned() else { return Ok(()) };
        let index = self.step();
        self.revisions.insert((service.clone(), number), Arc::new(Revision { image: image.clone(), ..(*old).clone() }));
        // The Service's own version stays: an answer of a registry must not fail a user's write.
        self.changed(index, object.key(), Changed::Status);
        let subject = Subject { kind: Kind::Service, name: object.meta.name.clone(), uid: service.clone() };
        match image {
            Resolution::Pending => {}
            Resolution::Resolved { image } => {
                let kind = match image {
                    ResolvedImage::Digest { .. } => "digest",
                    ResolvedImage::Local { .. } => "local image",
                };
                self.event(
                    at,
                    Reason::ImageResolved,
                    subject,
                    None,
                    format!("revision {number}: {kind} {}", image.reference()),
                );
            }
            Resolution::Failed { reason, message, .. } => {
                self.warn(at, *reason, subject, None, format!("revision {number}: {message}"));
            }
        }
        Ok(())
    }

    fn initialise(&mut self, at: u64, volume: &Volume) {
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

    fn observe(&mut self, key: &ObjectKey, uid: &Uid, status: &Status) {
        let owner = match key.kind {
            Kind::Replica => self.replicas.get(&key.name).map(|r| r.uid.clone()),
            Kind::Service | Kind::Config | Kind::Secret | Kind::Node => {
                self.objects.get(key).map(|o| o.meta.uid.clone())
            }
        };
        // A report about something that is gone, or about its namesake.
        if owner.as_ref() != Some(uid) || self.statuses.get(key).is_some_and(|s| s.0 == *uid && s.1 == *status) {
            return;
        }
        let index = self.step();
        self.statuses.insert(key.clone(), Arc::new((uid.clone(), status.clone())));
        self.changed(index, key.clone(), Changed::Status);
    }

    fn event(&mut self, time: u64, reason: Reason, object: Subject, node: Option<Arc<str>>, message: String) {
        self.add_event(NewEvent { kind: EventType::Normal, reason, object, node, message, time, count: 1 });
    }
    fn warn(&mut self, time: u64, reason: Reason, object: Subject, node: Option<Arc<str>>, message: String) {
        self.add_event(NewEvent { kind: EventType::Warning, reason, object, node, message, time, count: 1 });
    }
    fn add_event(&mut self, new: NewEvent) {
        let index = self.step();
        let event = Event {
            index,
            time: new.time,
            kind: new.kind,
            reason: new.reason,
            object: new.object,
            node: new.node,
            message: new.message,
            count: new.count.max(1),
            first_seen: new.time,
        };
        self.events.push(event);
    }
}

fn subject(replica: &Replica) -> Subject {
    Subject { kind: Kind::Replica, name: replica.name.clone(), uid: replica.uid.clone() }
}

/// What was done, with the words of whoever asked for it.
fn told(group: &Group, what: &str) -> String {
    match &group.reason {
        Some(reason) => format!("{what} ({}: {reason})", group.actor),
        None => what.to_owned(),
    }
}

fn plural(nodes: usize) -> String {
    if nodes == 1 { "1 node".into() } else { format!("{nodes} nodes") }
}

#[cfg(test)]
mod tests;
