//! Counting the starts and exits of one replica's container, and that it is gone.
//!
//! Here: `count`, from what a look saw to the memory of attempts, with who ended it. Not here: looking (`look`), what
//! follows from a count (`plan::agent::attempts`).
//! Invariant: an exit is counted once, and one whose cause the engine cannot tell yet is not counted.

use std::sync::Arc;

use super::{
    Agent, Subject,
    containers::{Entry, nanos},
    listen,
    look::starts,
};
use crate::{
    model::{
        service::{ContainerSpec, STOP_GRACE_PERIOD},
        status::LastExit,
    },
    plan::agent::{Gate, attempts::Cause},
    runtime::{Container, ContainerState, RuntimeError},
};

impl Agent {
    /// Counts what happened since the last look; an error: the engine fell silent meanwhile. `renamed`: its
    /// container is there by another name, which the next step tells.
    pub(super) async fn count(
        &self,
        key: &Arc<str>,
        subject: &Subject,
        own: Option<&Entry>,
        renamed: bool,
    ) -> Result<(), Gate> {
        let now = (self.now)();
        let Some((entry, container)) = own.and_then(|e| e.inspected.as_ref().map(|c| (e, c))) else {
            if own.is_none() {
                self.count_vanished(key, subject, renamed);
            }
            return Ok(());
        };
        // What somebody does to it after its end is no life of it.
        if self.has_ended(key) {
            return Ok(());
        }
        let started = starts(container);
        if started && self.is_new_life(key, container) {
            let news = self.with(key, |m| {
                (m.ending, m.pre_stopped, m.removed, m.since) = (None, None, false, None);
                m.unwell.clear();
                m.attempts.runs(&container.id, &container.started_at, now)
            });
            if news {
                self.say_started(subject, container);
            }
        }
        if container.state == ContainerState::Running {
            self.with(key, |m| m.attempts.runs(&container.id, &container.started_at, now));
        }
        let ended = matches!(container.state, ContainerState::Exited | ContainerState::Dead) && started;
        if !ended || self.with(key, |m| m.attempts.knows_exit(&container.id, &container.finished_at)) {
            return Ok(());
        }
        let grace = subject.spec.as_ref().map_or(STOP_GRACE_PERIOD, ContainerSpec::grace);
        let cause = match self.with(key, |m| m.ending.clone()) {
            Some(id) if id == container.id => Cause::Agent,
            Some(_) | None if container.oom_killed => Cause::Itself,
            Some(_) | None if self.ended_with_engine(container).await? => Cause::Engine,
            Some(_) | None if entry.ended_by_hand(grace) => Cause::Hand,
            Some(_) | None => Cause::Itself,
        };
        // Of a run that is given up in its middle it says how far that was, and of what is restarted why.
        let attempt = subject.replica.runs_once();
        let why = self.with(key, |m| if cause == Cause::Agent { m.unwell.clone() } else { String::new() });
        let log_tail = match cause {
            Cause::Itself => self.tail(key, container).await,
            Cause::Hand | Cause::Agent | Cause::Engine if attempt || !why.is_empty() => self.tail(key, container).await,
            Cause::Hand | Cause::Agent | Cause::Engine => Vec::new(),
        };
        let exit = LastExit {
            code: container.exit_code,
            oom_killed: container.oom_killed,
            cause,
            why,
            finished_at: container.finished_at.clone(),
            at: now,
            log_tail,
        };
        let (failures, before) = self.with(key, |m| {
            let before = m.attempts.failures;
            m.attempts.exited(&container.id, exit, now);
            (m.attempts.failures, before)
        });
        self.data_is_free();
        // That an attempt of a job is done is told as its end.
        let done = attempt && container.exit_code == 0 && cause == Cause::Itself;
        if matches!(cause, Cause::Hand | Cause::Engine) || (failures != before && !done) {
            self.say_exited(subject, container, cause);
        }
        Ok(())
    }

    /// Whether the engine that runs now came after this exit. One that is about to end does not answer: what
    /// it stops is not to be taken for somebody's doing.
    async fn ended_with_engine(&self, container: &Container) -> Result<bool, Gate> {
        match self.runtime.began().await {
            Ok(began) => Ok(began.zip(nanos(&container.finished_at)).is_some_and(|(began, ended)| ended <= began)),
            Err(error @ (RuntimeError::Down { .. } | RuntimeError::Unresponsive { .. })) => {
                self.containers.set_engine(listen::unknown(&error));
                Err(self.containers.engine().gate().unwrap_or_else(|| listen::gate(&error)))
            }
            Err(error) => {
                tracing::debug!(%error, "the engine does not say since when it runs");
                Ok(false)
            }
        }
    }

    pub(super) fn has_ended(&self, key: &Arc<str>) -> bool {
        self.with(key, |m| m.attempts.ended.is_some())
    }

    pub(super) fn is_new_life(&self, key: &Arc<str>, container: &Container) -> bool {
        self.with(key, |m| {
            m.attempts.life.as_ref().is_none_or(|(id, at)| *id != container.id || *at != container.started_at)
        })
    }

    /// The container is gone: by this agent, or by somebody.
    fn count_vanished(&self, key: &Arc<str>, subject: &Subject, renamed: bool) {
        let lost = self.with(key, |m| {
            let known = m.attempts.running_since.is_some() || m.attempts.counted.is_some();
            let lost = known && !m.removed && m.attempts.ended.is_none();
            if !m.removed {
                m.attempts.vanished();
            }
            (m.attempts.running_since, m.attempts.counted) = (None, None);
            lost
        });
        if lost && !renamed {
            self.data_is_free();
            self.say_vanished(subject);
        }
    }
}
