//! Carrying out one step: thin, bounded in time, safe to repeat.
//!
//! Here: `execute` and the calls it makes. An `if` about what shall be belongs in `plan::agent`.
//! A call that was dropped half-way is repeated after a look: the name of a container is its key.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Agent, PassError, Subject,
    containers::replica_of,
    listen,
    look::Look,
    prepare::{PrepareError, Prepared},
};
use crate::{
    controller::Action,
    model::{Reason, ReplicaPhase, service::ContainerSpec},
    plan::{
        agent::{Reload, Step, Want, report::Doing},
        told,
    },
    reconcile::{container::label, registry, view},
    runtime::{Container, ContainerPlan, ContainerState, NetworkPlan, RuntimeError, Summary, answers, holder::holder},
    store::State,
};

/// When to look again at what only the world can change.
const RECHECK: Duration = Duration::from_secs(30);

impl Agent {
    /// Carries out a step. None: go on with the next one at once.
    pub(super) async fn execute(
        &self,
        state: &State,
        key: &Arc<str>,
        subject: Option<&Subject>,
        want: &Want,
        step: Step,
        look: &Look,
    ) -> Result<Option<Action>, PassError> {
        match step {
            Step::Nothing { look_again } => {
                if matches!(want, Want::Nothing(_)) {
                    self.forget(key);
                    return Ok(Some(Action::Done));
                }
                Ok(Some(self.at([look_again, look.look_again].into_iter().flatten().min())))
            }
            Step::Wait { until: Some(until), .. } => Ok(Some(self.at(Some(until)))),
            Step::Wait { until: None, .. } => {
                Ok(Some(look.look_again.map_or(Action::RequeueAfter(RECHECK), |at| self.at(Some(at)))))
            }
            Step::End { phase, reason, message } => {
                let ended = matches!(want, Want::Run(_));
                let news = self.with(key, |m| {
                    let news = m.attempts.ended.is_none();
                    m.attempts.ended.get_or_insert((phase, reason, message.clone()));
                    news
                });
                self.unwatch(key);
                if !ended {
                    self.drop_files(key);
                } else if news {
                    self.say_ended(subject, reason, &message);
                }
                Ok(Some(Action::Done))
            }
            Step::Create => match subject {
                Some(subject) => self.create(state, key, subject, want, look).await,
                None => Ok(Some(Action::Done)),
            },
            Step::Start { id } => match subject {
                Some(subject) => self.start_again(state, key, subject, &id, (want, look)).await,
                None => Ok(Some(Action::Done)),
            },
            Step::Restart { id, reason, message } => {
                self.with(key, |m| m.unwell = message.clone());
                self.say(subject, reason, format!("{message}; it is restarted"));
                self.stop(key, &id, subject).await?;
                let now = (self.now)();
                self.with(key, |m| m.attempts.restarting_unhealthy(now));
                // The next step starts it: its data may be what is missing.
                Ok(None)
            }
            Step::Retire { id, reason, message } => {
                let ended = self.with(key, |m| m.attempts.ended.is_some());
                self.say_retired(subject, want, reason, &message, ended);
                self.stop(key, &id, subject).await.map(|()| None)
            }
            Step::Remove { id, message, .. } => {
                self.with(key, |m| m.removed = true);
                self.engine("removing a container", self.runtime.remove(id.to_string()).await).await?;
                self.containers.gone(&id);
                self.say_removed(subject, want, key, &message);
                self.data_is_free();
                if subject.is_none() {
                    // Whoever takes its place waits for this.
                    self.wake_gated();
                }
                Ok(None)
            }
            Step::Connect { id, networks } => match subject {
                Some(subject) => self.connect(state, key, subject, &id, &networks).await,
                None => Ok(Some(Action::Done)),
            },
            Step::Reload { id, reload } => match subject {
                Some(subject) => self.reload_files(state, key, subject, &id, &reload).await,
                None => Ok(Some(Action::Done)),
            },
            Step::Protect { id, restart } => {
                let set = self.runtime.set_restart(id.to_string(), restart).await;
                self.engine("setting a restart policy", set).await?;
                self.containers.changed(&id);
                Ok(None)
            }
        }
    }

    /// Replaces files where they are, then tells the container. It is told again when this ended half-way.
    async fn reload_files(
        &self,
        state: &State,
        key: &Arc<str>,
        subject: &Subject,
        id: &Arc<str>,
        reload: &Reload,
    ) -> Result<Option<Action>, PassError> {
        let Some(spec) = &subject.spec else { return Ok(Some(Action::Done)) };
        let what = reload.references.join(", ");
        if let Err(error) = self.preparer.reload(state, &subject.replica, spec, &reload.references) {
            self.failed(
                key,
                subject,
                Reason::DriftDetected,
                format!("{what} cannot be replaced while it runs: {error}"),
            );
            return Ok(None);
        }
        for signal in &reload.signals {
            self.engine("sending a signal", self.runtime.signal(id.to_string(), signal.clone()).await).await?;
        }
        let now = view::contents(state, spec);
        self.with(key, |m| {
            let new = now.into_iter().filter(|(reference, _)| reload.references.contains(reference));
            m.attempts.contents.extend(new);
            m.attempts.reloaded();
        });
        let sent: Vec<&str> = reload.signals.iter().map(String::as_str).collect();
        let told = if sent.is_empty() { String::new() } else { format!("; {} was sent", sent.join(", ")) };
        self.say(Some(subject), Reason::Configured, format!("{what} was replaced where it is{told}"));
        Ok(None)
    }

    async fn connect(
        &self,
        state: &State,
        key: &Arc<str>,
        subject: &Subject,
        id: &Arc<str>,
        networks: &[String],
    ) -> Result<Option<Action>, PassError> {
        let Some(spec) = &subject.spec else { return Ok(Some(Action::Done)) };
        let connected = self.preparer.connect(state, &subject.replica, spec, id, networks).await;
        self.containers.changed(id);
        let names = networks.join(", ");
        match connected {
            Ok(()) => {
                self.with(key, |m| m.attempts.connected());
                let message = format!("somebody took the container off {names}; it is connected again");
                self.say(Some(subject), Reason::DriftDetected, message);
            }
            Err(PrepareError::Engine(error @ RuntimeError::Down { .. })) => self.refused(key, subject, &error).await,
            Err(error) => {
                let message = format!("somebody took the container off {names}: {error}");
                self.failed(key, subject, Reason::DriftDetected, message);
            }
        }
        Ok(None)
    }

    async fn create(
        &self,
        state: &State,
        key: &Arc<str>,
        subject: &Subject,
        want: &Want,
        look: &Look,
    ) -> Result<Option<Action>, PassError> {
        let (Some(spec), Some(image)) = (&subject.spec, subject.image()) else { return Ok(Some(Action::Done)) };
        let since = self.with(key, |m| *m.since.get_or_insert_with(Instant::now));
        let (plan, unmounted) = match self.preparer.prepare(state, &subject.replica, spec, &image, since).await {
            Ok(Prepared::Ready { plan, unmounted }) => (plan, unmounted),
            Ok(Prepared::Pulling(progress)) => {
                if !self.is_pulling(key) {
                    self.say(Some(subject), Reason::Pulling, format!("fetching {}", image.reference()));
                }
                self.record(Some(subject), want, &Step::Create, &Doing::Pulling(progress), look);
                return Ok(Some(Action::RequeueAfter(RECHECK)));
            }
            Ok(Prepared::Missing(reason, message)) => {
                self.failed(key, subject, reason, message);
                return Ok(None);
            }
            Err(error) => {
                self.refused(key, subject, &error).await;
                return Ok(None);
            }
        };
        self.with(key, |m| m.attempts.contents = view::contents(state, spec));
        if self.is_pulling(key) {
            self.say(Some(subject), Reason::Pulled, format!("{} is there", image.reference()));
        }
        self.record(Some(subject), want, &Step::Create, &Doing::Step, look);
        // A closed semaphore cannot be: nobody closes it.
        let _permit = self.starts.acquire().await.ok();
        let (name, labels) = (plan.name.clone(), plan.labels.clone());
        let networks = networks_of(&plan);
        // The turn may have been long in coming.
        if !self.data_is_there(key, subject, spec).await || !self.is_alone(key, subject, None).await {
            return Ok(None);
        }
        match self.runtime.create(*plan).await {
            Ok(id) => {
                self.containers.made(Summary {
                    id: id.clone(),
                    name,
                    labels,
                    state: ContainerState::Created,
                    networks,
                });
                if !self.data_is_there(key, subject, spec).await {
                    self.with(key, |m| m.removed = true);
                    let removed = self.runtime.remove(id.to_string()).await;
                    self.engine("removing a container without its data", removed).await?;
                    self.containers.gone(&id);
                    return Ok(None);
                }
                self.say_unmounted(subject, &unmounted);
                self.start(key, subject, &id, true).await.map(|()| None)
            }
            Err(error @ RuntimeError::Conflict { .. }) => self.adopt_or_refuse(key, subject, &error).await,
            Err(error) => {
                self.preparer.forget(image.reference());
                self.refused(key, subject, &error).await;
                Ok(None)
            }
        }
    }

    /// Whether the data is as it was when it was prepared; if not, that is the replica's trouble.
    async fn data_is_there(&self, key: &Arc<str>, subject: &Subject, spec: &ContainerSpec) -> bool {
        match self.preparer.still_there(&self.store.state(), &subject.replica, spec).await {
            Ok(()) => return true,
            Err(PrepareError::Missing(reason, message)) => self.failed(key, subject, reason, message),
            Err(PrepareError::Engine(error)) => self.refused(key, subject, &error).await,
            Err(error @ PrepareError::Pulling(_)) => self.failed(key, subject, Reason::Pulling, error.to_string()),
        }
        false
    }

    fn is_pulling(&self, key: &Arc<str>) -> bool {
        self.with(key, |m| m.reported.as_ref().is_some_and(|r| r.phase == ReplicaPhase::Pulling))
    }

    /// The name is taken: by an earlier create whose answer was lost, or by something that is not ours.
    async fn adopt_or_refuse(
        &self,
        key: &Arc<str>,
        subject: &Subject,
        error: &RuntimeError,
    ) -> Result<Option<Action>, PassError> {
        let lineage = self.store.state().cluster().map(|c| c.lineage.to_string());
        let found = self.engine("looking at a container", self.runtime.inspect(key.to_string()).await).await?;
        let own = |c: &Container| {
            c.labels.get(label::LINEAGE) == lineage.as_ref() && *replica_of(&c.labels, &c.name) == **key
        };
        match found {
            Some(found) if own(&found) => {
                let Container { id, name, labels, state, networks, .. } = found;
                self.containers.made(Summary { id, name, labels, state, networks });
                Ok(None)
            }
            Some(_) => {
                let message = format!("a container named {key} is not ours; remove or rename it");
                self.failed(key, subject, Reason::EngineRefused, message);
                Ok(None)
            }
            None => {
                self.refused(key, subject, error).await;
                Ok(None)
            }
        }
    }

    async fn start_again(
        &self,
        state: &State,
        key: &Arc<str>,
        subject: &Subject,
        id: &Arc<str>,
        (want, look): (&Want, &Look),
    ) -> Result<Option<Action>, PassError> {
        let Some(spec) = &subject.spec else { return Ok(Some(Action::Done)) };
        // Before the look at the data: the turn may be long in coming.
        let _permit = self.starts.acquire().await.ok();
        match self.preparer.again(state, &subject.replica, spec).await {
            // Its files were written anew; its variables are the container's for good.
            Ok(()) => self.with(key, |m| {
                let files = view::contents(state, spec).into_iter().filter(|(reference, _)| !reference.contains('='));
                m.attempts.contents.extend(files);
            }),
            Err(PrepareError::Missing(reason, message)) => {
                self.failed(key, subject, reason, message);
                return Ok(None);
            }
            Err(PrepareError::Engine(error)) => {
                self.refused(key, subject, &error).await;
                return Ok(None);
            }
            Err(PrepareError::Pulling(_)) => return Ok(Some(Action::RequeueAfter(RECHECK))),
        }
        self.record(Some(subject), want, &Step::Start { id: id.clone() }, &Doing::Step, look);
        self.start(key, subject, id, false).await.map(|()| None)
    }

    /// Starts a container; a refusal becomes the replica's trouble. `fresh`: it was made in this pass,
    /// and goes again when it cannot start.
    async fn start(&self, key: &Arc<str>, subject: &Subject, id: &Arc<str>, fresh: bool) -> Result<(), PassError> {
        if self.is_alone(key, subject, Some(id)).await {
            let started = self.runtime.start(id.to_string()).await;
            self.containers.changed(id);
            let Err(error) = started else { return Ok(()) };
            if matches!(error, RuntimeError::Down { .. }) {
                return self.engine("starting a container", Err(error)).await;
            }
            self.refused(key, subject, &error).await;
        }
        if fresh {
            self.with(key, |m| m.removed = true);
            let removed = self.runtime.remove(id.to_string()).await;
            self.engine("removing a container that cannot start", removed).await?;
            self.containers.gone(id);
        }
        Ok(())
    }

    async fn stop(&self, key: &Arc<str>, id: &Arc<str>, subject: Option<&Subject>) -> Result<(), PassError> {
        self.unwatch(key);
        if let Some(subject) = subject {
            self.pre_stop(key, id, subject).await?;
        }
        self.with(key, |m| m.ending = Some(id.clone()));
        // Of what nobody declares any more the container itself still knows its time.
        let grace = subject.and_then(|s| s.spec.as_ref()).map(ContainerSpec::grace);
        let stopped = self.runtime.stop(id.to_string(), grace).await;
        self.containers.changed(id);
        self.engine("stopping a container", stopped).await
    }

    /// An attempt failed for a reason of the engine's; silence of it is no trouble of the replica, and
    /// the next look says it.
    pub(super) async fn refused(&self, key: &Arc<str>, subject: &Subject, error: &RuntimeError) {
        match error {
            // What was under way has ended with it: the next attempt begins anew.
            _ if self.is_silent(error).await => self.with(key, |m| m.since = None),
            RuntimeError::Down { message, .. } => {
                let message = format!("the connection to the engine broke: {message}");
                self.failed(key, subject, Reason::EngineRefused, message);
            }
            RuntimeError::PortTaken { port, .. } => {
                let holder = holder(&*self.runtime, *port).await;
                let message = holder.map_or_else(|| error.to_string(), |holder| told::held(*port, &holder));
                self.failed(key, subject, Reason::PortConflict, message);
            }
            _ => self.failed(key, subject, registry::reason(error), error.to_string()),
        }
    }

    /// Whether an error is the silence of the engine, which is noted. A connection may also break under one call
    /// while the engine is there: to believe that it is gone would be told of every replica.
    pub(super) async fn is_silent(&self, error: &RuntimeError) -> bool {
        if !matches!(error, RuntimeError::Down { .. }) {
            return false;
        }
        match answers(&*self.runtime).await {
            Err(error @ (RuntimeError::Down { .. } | RuntimeError::Unresponsive { .. })) => {
                self.containers.set_engine(listen::unknown(&error));
                true
            }
            Ok(()) | Err(_) => false,
        }
    }

    pub(super) fn failed(&self, key: &Arc<str>, subject: &Subject, reason: Reason, message: String) {
        let now = (self.now)();
        let news = self.with(key, |m| {
            let news = m.attempts.trouble.as_ref().is_none_or(|t| t.reason != reason || t.message != message);
            m.attempts.failed(reason, message.clone(), now);
            m.since = None;
            news
        });
        if news {
            self.say(Some(subject), reason, message);
        }
    }

    /// The answer of the engine; its silence is noted.
    async fn engine<T>(&self, step: &'static str, answer: Result<T, RuntimeError>) -> Result<T, PassError> {
        match answer {
            Ok(answer) => Ok(answer),
            Err(source) => {
                self.is_silent(&source).await;
                Err(PassError::Engine { step, source })
            }
        }
    }
}

/// Names of the networks that a new container is on.
fn networks_of(plan: &ContainerPlan) -> BTreeSet<String> {
    match &plan.network {
        NetworkPlan::Join(networks) => networks.iter().map(|a| a.network.clone()).collect(),
        NetworkPlan::None | NetworkPlan::Host => BTreeSet::new(),
    }
}
