//! What the agent tells of its replicas: statuses and events, in words for people.
//!
//! Nothing here waits: the reporter takes it and proposes it later, folded.

use std::sync::Arc;

use super::{Agent, Subject, look::Look};
use crate::{
    model::{Desired, EventType, Kind, NewEvent, ObjectKey, Reason, Status, event},
    plan::agent::{
        Step, Want,
        attempts::Cause,
        report::{Doing, Known, status},
    },
    runtime::Container,
};

impl Agent {
    /// Hands on the status after a step was decided, when it differs from what was said last.
    pub(super) fn record(&self, subject: Option<&Subject>, want: &Want, step: &Step, doing: &Doing, look: &Look) {
        let Some(Subject { replica, .. }) = subject else { return };
        let now = (self.now)();
        let new = self.with(&replica.name, |m| {
            let known = Known {
                facts: &look.facts,
                attempts: &m.attempts,
                verdict: look.verdict.as_ref(),
                previous: m.reported.as_ref(),
            };
            let new = status(want, step, doing, known, now);
            if m.reported.as_ref() == Some(&new) {
                return None;
            }
            m.reported = Some(new.clone());
            Some(new)
        });
        if let Some(new) = new {
            self.reporter.status(ObjectKey::replica(replica.name.clone()), replica.uid.clone(), Status::Replica(new));
        }
    }

    /// An event about a replica.
    pub(super) fn say(&self, subject: Option<&Subject>, reason: Reason, message: String) {
        let Some(Subject { replica, .. }) = subject else { return };
        let object = event::Subject { kind: Kind::Replica, name: replica.name.clone(), uid: replica.uid.clone() };
        self.tell(object, reason, message);
    }

    fn tell(&self, object: event::Subject, reason: Reason, message: String) {
        let kind = match reason {
            Reason::Started
            | Reason::Healthy
            | Reason::HookStarted
            | Reason::HookSucceeded
            | Reason::Removed
            | Reason::Completed
            | Reason::Pulled
            | Reason::Pulling
            | Reason::Killing => EventType::Normal,
            _ => EventType::Warning,
        };
        let (node, time) = (Some(self.node.name.clone()), (self.now)());
        self.reporter.event(NewEvent { kind, reason, object, node, message, time, count: 1 });
    }

    pub(super) fn say_started(&self, subject: &Subject, container: &Container) {
        let message = format!("container {} of revision {}", short(&container.id), subject.replica.revision);
        self.say(Some(subject), Reason::Started, message);
    }

    /// What the image keeps where nothing is mounted goes into a volume that nobody finds again.
    pub(super) fn say_unmounted(&self, subject: &Subject, paths: &[String]) {
        for path in paths {
            let message = format!(
                "the image keeps data in {path}, which lies in an anonymous volume and is not carried over to the \
                 next container: mount a volume there"
            );
            self.say(Some(subject), Reason::VolumeUnmounted, message);
        }
    }

    pub(super) fn say_exited(&self, subject: &Subject, container: &Container, cause: Cause) {
        let code = container.exit_code;
        let (reason, message) = match cause {
            Cause::Hand => (Reason::StoppedByHand, format!("somebody stopped the container: exit {code}")),
            Cause::Itself if container.oom_killed => {
                (Reason::OOMKilled, format!("the kernel killed it for want of memory: exit {code}"))
            }
            Cause::Engine => (Reason::Exited, format!("it ended with its engine: exit {code}")),
            Cause::Itself | Cause::Agent if container.error.is_empty() => (Reason::Exited, format!("exit {code}")),
            Cause::Itself | Cause::Agent => (Reason::Exited, format!("exit {code}: {}", container.error)),
        };
        self.say(Some(subject), reason, message);
    }

    pub(super) fn say_ended(&self, subject: Option<&Subject>, reason: Reason, message: &str) {
        self.say(subject, reason, format!("ended: {message}"));
    }

    pub(super) fn say_vanished(&self, subject: &Subject) {
        let then = match subject.replica.desired {
            Desired::Run if subject.replica.run.is_some() => "this attempt has failed",
            Desired::Run => "it is made again",
            Desired::Stop => "it was to be stopped anyway",
        };
        self.say(Some(subject), Reason::DriftDetected, format!("somebody removed the container; {then}"));
    }

    /// A container is being stopped so that it can go.
    pub(super) fn say_retired(
        &self,
        subject: Option<&Subject>,
        want: &Want,
        reason: Reason,
        message: &str,
        ended: bool,
    ) {
        match want {
            Want::Run(_) if ended => self.say(subject, reason, format!("{message}; it is stopped")),
            Want::Run(_) => self.say(subject, reason, format!("{message}; it is replaced")),
            // The decision to stop it is an event of its own already.
            Want::Stop(_) | Want::Halt(_) => {}
            Want::Nothing(_) => self.tell(self.this_node(), reason, format!("stopping a container: {message}")),
        }
    }

    pub(super) fn say_removed(&self, subject: Option<&Subject>, want: &Want, key: &Arc<str>, message: &str) {
        match want {
            Want::Run(_) => {}
            Want::Stop(_) | Want::Halt(_) => self.say(subject, Reason::Removed, "container removed".into()),
            Want::Nothing(_) => {
                self.tell(self.this_node(), Reason::Orphaned, format!("removed container {key}: {message}"));
            }
        }
    }

    /// A container looks like one of ours and is none: made from an image of one of ours, it has its labels.
    pub(super) fn say_copy(&self, subject: Option<&Subject>, key: &Arc<str>, name: &str) {
        let message = format!("container {name} carries the labels of {key} but was not made for it; it is left alone");
        match subject {
            Some(_) => self.say(subject, Reason::DriftDetected, message),
            None => self.tell(self.this_node(), Reason::DriftDetected, message),
        }
    }

    fn this_node(&self) -> event::Subject {
        event::Subject { kind: Kind::Node, name: self.node.name.clone(), uid: self.node.uid.clone() }
    }
}

/// The first twelve characters, as Docker prints ids.
fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}
