//! What the log wants of a replica on this node, and what holds up its start.
//!
//! Here: `want`, with the gate of a replica; `hold_back`, while a restored backup is not confirmed.
//! Not here: what follows (`plan::agent`), what is missing of image and contents (`gate`).

use std::sync::Arc;

use super::{
    Agent, Subject,
    adoption::Found,
    gate::{self, Shut},
    look::Look,
};
use crate::{
    model::{
        Desired, ObjectKey, Reason, Replica,
        rotation::Strategy,
        service::{ContainerSpec, Restart},
        status::{HeldAction, HeldStep},
    },
    plan::agent::{Gate, Reload, Seen, Step, Want, Wanted, held::hold},
    reconcile::view,
    store::State,
};

impl Agent {
    /// What to do instead of a step while a restored backup is not confirmed.
    pub(super) fn hold_back(&self, key: &Arc<str>, want: &Want, look: &Look, step: Step) -> Step {
        let (instead, mut held) = hold(step);
        if let (None, Want::Run(_), Step::Wait { message, .. }, false) = (&held, want, &instead, look.running()) {
            held = Some((HeldAction::Start, format!("as soon as it can: {message}")));
        }
        let found = match held {
            _ if matches!(look.seen, Seen::Unknown(_)) => None,
            Some((action, message)) => Some(Found::Held(HeldStep { replica: key.clone(), action, message })),
            None if matches!(want, Want::Run(_)) && look.running() => Some(Found::Adopted),
            None => Some(Found::Settled),
        };
        self.adoption.note(key, found);
        instead
    }

    /// What the log wants; writes down what a gate waits for.
    pub(super) fn want(&self, state: &State, key: &Arc<str>, subject: Option<&Subject>, look: &Look) -> Want {
        let Some(Subject { replica, revision, spec, .. }) = subject else {
            self.lock_gates().remove(key);
            let elsewhere = state.replica(key).is_some();
            return Want::Nothing(if elsewhere { Reason::NotPlacedHere } else { Reason::Orphaned });
        };
        if replica.desired == Desired::Stop {
            self.lock_gates().remove(key);
            let reason = replica.stop_reason.unwrap_or(Reason::Superseded);
            return if replica.is_kept() { Want::Halt(reason) } else { Want::Stop(reason) };
        }
        let unreadable = |what: &str| Shut {
            gate: Gate { reason: Reason::EngineRefused, message: format!("revision {} {what}", replica.revision) },
            waits_for: vec![ObjectKey::service(replica.service.clone())],
        };
        let shut = match (revision, spec) {
            // What runs needs nothing more.
            _ if look.running() => None,
            (None, _) => Some(unreadable("is not known to this node")),
            (Some(_), None) => Some(unreadable("was written by a newer version that this one cannot read")),
            (Some(revision), Some(spec)) => {
                let first = self.with(key, |m| m.attempts.life.is_none());
                let gated = gate::gate(state, &self.sealer, &replica.service, revision, spec, first);
                gated.or_else(|| self.rival(state, replica, spec))
            }
        };
        self.write_down(key, shut.as_ref());
        let spec = spec.clone().unwrap_or_default();
        Want::Run(Wanted {
            name: replica.name.clone(),
            spec_hash: replica.spec_hash.clone(),
            epoch: replica.epoch.to_string(),
            // A job makes another attempt instead, and a hook has failed.
            restart: if replica.runs_once() { Restart::No } else { spec.restart },
            once: replica.runs_once(),
            probe_interval: look.interval,
            looks_at_host: spec.looks_at_host(),
            auto_restart: spec.auto_restart,
            gate: shut.map(|s| s.gate),
            reload: subject.and_then(|subject| self.reload(state, key, subject, look)),
        })
    }

    /// Files of a running container that changed and shall be replaced where they are.
    fn reload(&self, state: &State, key: &Arc<str>, subject: &Subject, look: &Look) -> Option<Box<Reload>> {
        let spec = subject.spec.as_ref().filter(|_| look.running())?;
        let (now, had) = (view::contents(state, spec), self.with(key, |m| m.attempts.contents.clone()));
        let mut reload = Reload::default();
        for (reference, rotation) in view::rotations(state, spec) {
            let changed = had.get(&reference).is_some_and(|had| now.get(&reference).is_some_and(|now| now != had));
            if changed && rotation.strategy == Strategy::Reload && !reference.contains('=') {
                reload.signals.extend(rotation.signal);
                reload.references.push(reference);
            }
        }
        (!reload.references.is_empty()).then(|| Box::new(reload))
    }

    /// A container that still writes what this replica would write, and that the log knows nothing of: what was
    /// restored or rescued is older than it. It is an orphan, and has to end first.
    fn rival(&self, state: &State, replica: &Replica, spec: &ContainerSpec) -> Option<Shut> {
        let there = spec.exclusive().then(|| self.containers.in_slot(&replica.service, &replica.slot.to_string()))?;
        let rival = there.into_iter().find(|owner| state.replica(owner).is_none())?;
        let message = format!("container {rival} is still in its place, with its data");
        Some(Shut { gate: Gate { reason: Reason::Orphaned, message }, waits_for: Vec::new() })
    }

    fn write_down(&self, key: &Arc<str>, shut: Option<&Shut>) {
        let mut gates = self.lock_gates();
        match shut {
            Some(shut) if gates.get(key) == Some(&shut.waits_for) => {}
            Some(shut) => {
                gates.insert(key.clone(), shut.waits_for.clone());
                // The object may have come between the look at the state and this line.
                self.wakes.wake(key);
            }
            None => {
                gates.remove(key);
            }
        }
    }
}
