//! The effect of a group on the state: pure and total.
//!
//! Here: `apply`, which command goes where, the forming of the cluster, reports and events. Not here: commands
//! about declared objects (`objects`, `versions`), about Replicas and volumes (`replicas`) and about API tokens
//! (`tokens`), the state's shape and readers ([`super::state`]).
//! Invariant: checks stand above the first write, so a refusal leaves no trace but its audit record; indexes of a group are
//! contiguous; nothing here reads a clock, draws a random number or fails.
//! How a group is all or nothing: it is carried out on a clone (O(1), persistent maps), which becomes
//! the state only when every command succeeded.

mod jobs;
mod needs;
mod objects;
mod replicas;
mod rollouts;
mod tokens;
mod versions;

use std::sync::Arc;

use imbl::OrdMap;

use super::{
    command::{Answer, Applied, Command, Group, Idempotency, ObjectResult, Refusal},
    fault::{Mistake, is_made},
    ring::Changes,
    state::{Change, Changed, ClusterInfo, LeaderInfo, Restored, State},
};
use crate::model::{Event, EventType, Index, Kind, NewEvent, ObjectKey, Reason, Status, Uid, event::Subject};

/// How far a recovery jumps: more than was ever written between a copy and its use.
const BEYOND: u64 = 1_000_000_000;

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
            && !is_made(Mistake::ForgetKeys)
        {
            return answer;
        }
        let before = self.index;
        // One command checks everything before it writes: only several need a copy to fall back to.
        let answer = if group.commands.len() > 1 {
            let mut next = self.clone();
            let answer = next.carry_out(group);
            if answer.is_ok() || is_made(Mistake::KeepRefused) {
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
        self.audit.note(group, self.index, &answer);
        answer
    }

    fn carry_out(&mut self, group: &Group) -> Answer {
        for (key, expected) in &group.preconditions {
            let found = self.version(key);
            if found != *expected && !is_made(Mistake::IgnorePreconditions) {
                return Err(Refusal::Conflict { key: key.clone(), expected: *expected, found });
            }
        }
        if let Some(expected) = group.placements.filter(|expected| *expected != self.epochs) {
            return Err(Refusal::Placed { expected, found: self.epochs });
        }
        if let Some((_, edge)) = self.edges.iter().next().filter(|_| group.edgeless) {
            return Err(Refusal::EdgeSpoke { node: edge.node.clone() });
        }
        if let Some((service, expected)) = &group.rollout {
            let found = self.rollouts.get(service).map(|record| record.resource_version);
            if found != Some(*expected) {
                let key = self.object_by_uid(service).map_or_else(|| ObjectKey::service(""), |object| object.key());
                return Err(Refusal::Conflict { key, expected: Some(*expected), found });
            }
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
            Kind::Service | Kind::Config | Kind::Secret | Kind::Node | Kind::Route | Kind::Middleware => {
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
            Command::Recover { node, told, cluster, lost } => {
                self.recover(at, node, told, cluster.as_ref(), *lost).map(|()| None)
            }
            Command::ConfirmRestore { node } => self.confirm(at, node).map(|()| None),
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
            Command::Reseal { key, version, sealed } => self.reseal(key, *version, sealed).map(|()| None),
            Command::Delete { key } => self.delete(group, key).map(Some),
            Command::Place { replica, beside } => self.place(at, replica, beside.as_ref()).map(|()| None),
            Command::Drain { replica, reason } => self.drain(at, replica, *reason).map(|()| None),
            Command::SetRollout { uid, rollout, based_on, .. } => {
                self.set_rollout(group, uid, rollout, *based_on).map(|()| None)
            }
            Command::SetJob { uid, job, based_on, .. } => self.set_job(at, uid, job, *based_on).map(|()| None),
            Command::RecordEdge { node, edge, judged } => {
                self.record_edge(node, edge.as_ref(), judged.as_deref()).map(|()| None)
            }
            Command::SetDesired { replica, desired, reason } => {
                self.set_desired(at, replica, *desired, *reason).map(|()| None)
            }
            Command::Forget { replica } => self.forget(replica).map(|()| None),
            Command::ResolveImage { service, revision, image } => {
                self.resolve(at, service, *revision, image).map(|()| None)
            }
            Command::CreateToken { token } => self.create_token(token).map(|()| None),
            Command::RevokeToken { name } => self.revoke_token(name).map(|()| None),
            // The record is what its group leaves.
            Command::RecordAudit { .. } => Ok(None),
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
        self.cluster = Some(ClusterInfo {
            name: name.clone(),
            cluster: cluster.clone(),
            lineage: lineage.clone(),
            recovery: 0,
            restored: None,
        });
        let subject = self.cluster_subject(node);
        self.event(at, Reason::ClusterFormed, subject, Some(node.clone()), format!("cluster {name} was formed"));
        Ok(())
    }
    /// Watchers and holders of an epoch may know more than this state does: what comes stands above all of it. By the wall
    /// clock, since one backup may be restored twice: a second is worth more positions than can be written in it.
    fn recover(
        &mut self,
        at: u64,
        node: &Arc<str>,
        told: &str,
        cluster: Option<&Uid>,
        lost: bool,
    ) -> Result<(), Refusal> {
        let Some(info) = &mut self.cluster else {
            return Err(Refusal::Invalid("there is no cluster to recover".into()));
        };
        info.recovery = info.recovery.saturating_add(1).max(u32::try_from(at / 1_000).unwrap_or(u32::MAX));
        let name = info.name.clone();
        let before = info.cluster.clone();
        if let Some(cluster) = cluster {
            info.cluster = cluster.clone();
        }
        if lost {
            info.restored = Some(Restored { cluster: before, index: self.index, time: self.time });
            // Nobody knows which of them were revoked since, nor what the machines are now.
            self.tokens = OrdMap::new();
            self.edges = OrdMap::new();
            let lasting = self.statuses.iter().filter(|(key, _)| key.kind != Kind::Node);
            self.statuses = lasting.map(|(key, status)| (key.clone(), status.clone())).collect();
        }
        let last = self.index;
        self.index = Index(last.0.saturating_add(BEYOND).max(at.saturating_mul(1_000)));
        self.events.lose(last, self.index);
        self.changes = Changes::since(self.index);
        let subject = self.cluster_subject(node);
        self.warn(at, Reason::ClusterRecovered, subject, Some(node.clone()), format!("cluster {name} goes on: {told}"));
        Ok(())
    }
    fn confirm(&mut self, at: u64, node: &Arc<str>) -> Result<(), Refusal> {
        let restored = self.cluster.as_mut().and_then(|info| info.restored.take());
        if restored.is_none() {
            return Err(Refusal::Invalid("nothing waits to be confirmed".into()));
        }
        self.step();
        let subject = self.cluster_subject(node);
        let message = "what the backup declares is carried out from now on".into();
        self.event(at, Reason::RestoreConfirmed, subject, Some(node.clone()), message);
        Ok(())
    }
    /// The cluster itself has no kind: its events stand at the node that tells them.
    fn cluster_subject(&self, node: &Arc<str>) -> Subject {
        let uid = self.objects.get(&ObjectKey::node(node.clone())).map(|o| o.meta.uid.clone());
        Subject { kind: Kind::Node, name: node.clone(), uid: uid.unwrap_or_else(|| Uid("".into())) }
    }

    fn observe(&mut self, key: &ObjectKey, uid: &Uid, status: &Status) {
        let owner = match key.kind {
            Kind::Replica => self.replicas.get(&key.name).map(|r| r.uid.clone()),
            Kind::Service | Kind::Config | Kind::Secret | Kind::Node | Kind::Route | Kind::Middleware => {
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

#[cfg(test)]
mod tests;
