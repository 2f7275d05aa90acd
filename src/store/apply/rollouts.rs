//! Commands about rollouts and edges.
//!
//! Here: which revision is wanted, and how far edges are. Not here: Replicas (`super::replicas`), deciding anything.

use std::sync::Arc;

use crate::{
    model::{
        Edge, Index, Kind, Left, Object, ObjectKey, Reason, Revision, Rollout, RolloutPhase, Tried, Uid,
        event::Subject, quantity::seconds,
    },
    store::{
        command::{Group, Refusal},
        state::{Changed, State},
    },
};

/// The revision whose rollout ends with this turn because another one is wanted, and why. What was taken back by itself, or
/// was complete before a newer one came, has an end of its own.
fn left(old: &Rollout, new: &Rollout, group: &Group) -> Option<(u64, Left)> {
    let (by, why) = (group.actor.clone(), group.reason.clone());
    let left = match (old.phase, new.phase) {
        _ if new.target == old.target => return None,
        (RolloutPhase::Progressing, _) if new.newest > old.newest => Left::Superseded { by_revision: new.newest },
        (RolloutPhase::Progressing | RolloutPhase::Complete | RolloutPhase::Halted, RolloutPhase::Progressing)
            if new.newest == old.newest =>
        {
            Left::Undone { by, why }
        }
        _ => return None,
    };
    Some((old.target, left))
}

impl State {
    pub(super) fn set_rollout(
        &mut self,
        group: &Group,
        service: &Uid,
        rollout: &Rollout,
        based_on: Option<Index>,
    ) -> Result<(), Refusal> {
        let Some(object) = self.object_by_uid(service).filter(|o| o.kind == Kind::Service).cloned() else {
            return Err(Refusal::Invalid(format!("there is no service {service}")));
        };
        let old = self.rollouts.get(service).cloned();
        let found = old.as_ref().map(|r| r.resource_version);
        if found != based_on {
            return Err(Refusal::Conflict { key: object.key(), expected: based_on, found });
        }
        if self.revision(service, rollout.target).is_none() {
            return Err(Refusal::Invalid(format!("svc/{} has no revision {}", object.meta.name, rollout.target)));
        }
        let kept = |version| Rollout { resource_version: version, ..rollout.clone() };
        if old.as_ref().is_some_and(|old| **old == kept(old.resource_version)) {
            return Ok(());
        }
        let index = self.step();
        self.rollouts.insert(service.clone(), Arc::new(kept(index)));
        // The Service's own version stays: a step of a rollout must not fail a user's write.
        self.changed(index, object.key(), Changed::Status);
        self.tell_rollout(group.at, &object, old.as_deref(), rollout);
        self.remember(service, old.as_deref(), rollout);
        if let Some((number, left)) = old.and_then(|old| left(&old, rollout, group)) {
            self.tried(service, number, |tried| Tried {
                ended_at: Some(group.at),
                left: Some(left),
                ..tried.cloned().unwrap_or_default()
            });
        }
        Ok(())
    }

    /// Keeps with a revision how its rollout went, for the time when the record is of another.
    fn remember(&mut self, service: &Uid, old: Option<&Rollout>, rollout: &Rollout) {
        let left = |rollout: &Rollout| rollout.from.unwrap_or(rollout.newest);
        let (number, back) = match rollout.phase {
            RolloutPhase::Progressing | RolloutPhase::Complete | RolloutPhase::Halted => (rollout.target, false),
            RolloutPhase::RollingBack | RolloutPhase::RolledBack => (left(rollout), true),
        };
        self.tried(service, number, |tried| Tried {
            began_at: tried.filter(|_| back).map_or(rollout.started_at, |tried| tried.began_at),
            phase: rollout.phase,
            message: rollout.message.clone(),
            ended_at: rollout.ended_at,
            left: None,
        });
        // The way back from a revision has ended, and the record is of another from now on.
        let Some(left) = old.filter(|old| old.phase == RolloutPhase::RollingBack).map(left) else { return };
        if left != number {
            self.tried(service, left, |tried| {
                let before = tried.cloned().unwrap_or_default();
                match rollout.phase {
                    RolloutPhase::Halted => Tried {
                        phase: rollout.phase,
                        message: rollout.message.clone(),
                        ended_at: rollout.ended_at,
                        ..before
                    },
                    // Another one is wanted meanwhile: this one was taken back all the same.
                    RolloutPhase::Progressing
                    | RolloutPhase::Complete
                    | RolloutPhase::RollingBack
                    | RolloutPhase::RolledBack => Tried { phase: RolloutPhase::RolledBack, ..before },
                }
            });
        }
    }

    /// Notes how the rollout of a revision went, from what is noted.
    fn tried(&mut self, service: &Uid, number: u64, note: impl FnOnce(Option<&Tried>) -> Tried) {
        let Some(revision) = self.revision(service, number).cloned() else { return };
        let tried = note(revision.tried.as_ref());
        if revision.tried.as_ref() != Some(&tried) {
            let revision = Revision { tried: Some(tried), ..(*revision).clone() };
            self.revisions.insert((service.clone(), number), Arc::new(revision));
        }
    }

    /// The turns of a rollout as events.
    fn tell_rollout(&mut self, at: u64, object: &Object, old: Option<&Rollout>, new: &Rollout) {
        let subject = || Subject { kind: Kind::Service, name: object.meta.name.clone(), uid: object.meta.uid.clone() };
        let told = |what: String| if new.message.is_empty() { what } else { format!("{what}: {}", new.message) };
        match (old.map(|o| &o.paused), &new.paused) {
            (Some(None) | None, Some(paused)) => {
                self.event(at, Reason::Paused, subject(), None, paused.to_string());
            }
            (Some(Some(_)), None) => self.event(at, Reason::Resumed, subject(), None, "goes on".into()),
            (_, _) => {}
        }
        if new.promoted && old.is_some_and(|o| !o.promoted && o.target == new.target) {
            self.event(at, Reason::Promoted, subject(), None, format!("revision {} is good", new.target));
        }
        if new.restarted != old.map_or(Index(0), |o| o.restarted) {
            self.event(at, Reason::Restarted, subject(), None, "every replica is replaced".into());
        }
        let last = |rollout: &Rollout| rollout.hooked.last.clone();
        if let Some(end) = last(new).filter(|end| old.and_then(last).as_ref() != Some(end)) {
            if end.failed {
                self.warn(at, Reason::HookFailed, subject(), None, end.message);
            } else {
                self.event(at, Reason::HookSucceeded, subject(), None, end.message);
            }
        }
        let turned = old.is_none_or(|o| (o.phase, o.target) != (new.phase, new.target));
        match new.phase {
            _ if !turned => {}
            RolloutPhase::Progressing => {
                let message = match new.from {
                    Some(from) if from != new.target => format!("revision {from} -> {}", new.target),
                    Some(_) | None => format!("revision {}", new.target),
                };
                self.event(at, Reason::RolloutStarted, subject(), None, told(message));
            }
            RolloutPhase::Complete => {
                let took = seconds(new.ended_at.unwrap_or(at).saturating_sub(new.started_at));
                let message = format!("revision {} is rolled out after {took}", new.target);
                self.event(at, Reason::RolloutComplete, subject(), None, message);
            }
            RolloutPhase::RollingBack => {
                let message = format!("{} -> {}", new.from.unwrap_or(new.newest), new.target);
                self.warn(at, Reason::RollingBack, subject(), None, told(message));
            }
            RolloutPhase::RolledBack => {
                let message = format!("{} -> {}", new.from.unwrap_or(new.newest), new.target);
                self.warn(at, Reason::RolledBack, subject(), None, told(message));
            }
            RolloutPhase::Halted => {
                self.warn(at, Reason::Paused, subject(), None, told(format!("revision {} stands still", new.target)));
            }
        }
    }

    pub(super) fn record_edge(
        &mut self,
        node: &Uid,
        edge: Option<&Edge>,
        judged: Option<&Edge>,
    ) -> Result<(), Refusal> {
        let old = self.edges.get(node).map(|e| &**e);
        if old == edge {
            return Ok(());
        }
        if judged.is_some() && judged != old {
            let node = old.or(judged).map(|e| e.node.clone()).unwrap_or_default();
            return Err(Refusal::EdgeSpoke { node });
        }
        // A node that was taken out has no edge.
        let Some(key) = self.uids.get(node).filter(|key| key.kind == Kind::Node).cloned() else { return Ok(()) };
        let name: Arc<str> = key.name;
        let index = self.step();
        match edge {
            Some(edge) => self.edges.insert(node.clone(), Arc::new(edge.clone())),
            None => self.edges.remove(node),
        };
        self.changed(index, ObjectKey::node(name), Changed::Edge);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollout_that_is_left_for_another_one_says_why() {
        use RolloutPhase::{Complete, Halted, Progressing, RolledBack, RollingBack};
        let of = |target, newest, phase| Rollout { target, newest, phase, ..Rollout::default() };
        let group = Group { actor: "ann".into(), reason: Some("500s".into()), ..Group::default() };
        let undone = |number| Some((number, Left::Undone { by: "ann".into(), why: Some("500s".into()) }));
        let superseded = |number, by_revision| Some((number, Left::Superseded { by_revision }));
        for (case, old, new, expected) in [
            ("undone on its way", of(2, 2, Progressing), of(1, 2, Progressing), undone(2)),
            ("undone when it was complete", of(2, 2, Complete), of(1, 2, Progressing), undone(2)),
            ("undone where it stood still", of(2, 2, Halted), of(1, 2, Progressing), undone(2)),
            ("a newer one came", of(2, 2, Progressing), of(3, 3, Progressing), superseded(2, 3)),
            ("and while an undo was under way", of(1, 2, Progressing), of(3, 3, Progressing), superseded(1, 3)),
            ("a newer one after it was complete", of(2, 2, Complete), of(3, 3, Progressing), None),
            ("a newer one after it was back", of(1, 2, RolledBack), of(3, 3, Progressing), None),
            ("taken back by itself", of(2, 2, Progressing), of(1, 2, RollingBack), None),
            ("tried again after it was taken back", of(1, 2, RolledBack), of(2, 2, Progressing), None),
            ("done", of(2, 2, Progressing), of(2, 2, Complete), None),
            ("restarted", of(2, 2, Complete), of(2, 2, Progressing), None),
        ] {
            assert_eq!(left(&old, &new, &group), expected, "{case}");
        }
    }
}
