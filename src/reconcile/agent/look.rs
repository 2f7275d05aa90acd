//! Looking at one replica: its containers as they are now, and what that means for its memory.
//!
//! Here: `look`, which asks the engine only about what is stale, has starts and exits counted (`exits`), and keeps the
//! prober on the running container. Not here: deciding (`plan::agent`).
//! Invariant: an error of the engine gives `Seen::Unknown`, never an empty answer; an error about one
//! container says nothing of the others.

use std::{net::IpAddr, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Agent, Subject,
    containers::Entry,
    hooks::PostStart,
    listen,
    processes::{self, Process},
};
use crate::{
    model::{
        Index, Reason, ReplicaPhase,
        quantity::seconds,
        service::{ContainerSpec, NetworkMode, Readiness, ReadinessSource},
    },
    plan::{
        agent::{
            Found, Gate, Seen, millis,
            report::{Facts, Health, Verdict, interval, verdict},
        },
        told,
    },
    reconcile::{
        container::{self, label},
        prober::Target,
    },
    runtime::{Container, ContainerState, RuntimeError},
};

/// The engine's health verdict comes by events, and is asked for when none came for so long.
const HEALTH: Duration = Duration::from_secs(20);
/// Interval of a health check when nobody sets it.
const ENGINE_INTERVAL: Duration = Duration::from_secs(30);

/// Between two looks at processes while the engine is silent.
const SILENT: Duration = Duration::from_secs(2);

/// What a look found.
pub(super) struct Look {
    pub(super) seen: Seen,
    pub(super) facts: Facts,
    pub(super) verdict: Option<Verdict>,
    /// Between two verdicts.
    pub(super) interval: Duration,
    /// When the verdict changes by time alone, cluster time.
    pub(super) look_again: Option<u64>,
    /// The engine answers, and not about this replica.
    pub(super) failed: Option<RuntimeError>,
}

/// Why nothing is known of a replica.
enum Silence {
    /// The engine answers nobody.
    Engine(Gate),
    /// It does not answer about a container of this one.
    Container(RuntimeError),
}

impl Look {
    pub(super) fn running(&self) -> bool {
        self.facts.running
    }
}

impl Agent {
    pub(super) async fn look(&self, key: &Arc<str>, subject: Option<&Subject>) -> Look {
        let spec = subject.and_then(|s| s.spec.as_ref());
        let silence = self.refresh(key, spec).await.err();
        let entries = self.containers.of(key);
        let own = entries.iter().find(|e| *e.summary.name == **key);
        let (seen, failed) = match silence {
            Some(Silence::Engine(gate)) => (Seen::Unknown(gate), None),
            Some(Silence::Container(error)) => (Seen::Unknown(listen::gate(&error)), Some(error)),
            None => {
                let life = self.with(key, |m| m.attempts.life.as_ref().map(|(id, _)| id.clone()));
                let wanted = self.networks(spec);
                (Seen::Known(entries.iter().map(|e| found(e, key, life.as_deref(), &wanted, spec)).collect()), None)
            }
        };
        let mut look =
            Look { seen, facts: Facts::default(), verdict: None, interval: ENGINE_INTERVAL, look_again: None, failed };
        self.tell_of_copies(key, subject, &look.seen);
        let Some(subject) = subject else { return look };
        self.tell_of_changes(key, subject, &look.seen);
        if let Seen::Known(found) = &look.seen {
            let renamed = own.is_none() && found.iter().any(|f| f.ours);
            if let Err(gate) = self.count(key, subject, own, renamed).await {
                look.seen = Seen::Unknown(gate);
            }
        }
        let (Some(own), Some(spec)) = (own.and_then(|e| e.inspected.as_ref()), spec) else {
            if matches!(look.seen, Seen::Known(_)) {
                self.unwatch(key);
            }
            return look;
        };
        let silent = matches!(look.seen, Seen::Unknown(_));
        let ahead = self.look_ahead(key, subject, silent).await;
        look.facts = self.facts(key, own, spec);
        let process = self.process(key, own, silent);
        // While the engine answers, it is the truth.
        look.facts.running &= !(silent && process == Process::Gone);
        if !look.facts.running || self.has_ended(key) {
            self.unwatch(key);
            return look;
        }
        let (source, engine_interval) = source(own, spec, subject.healthy);
        look.interval = interval(&source, engine_interval);
        self.probe(key, own, &source, &look.facts);
        let now = (self.now)();
        let since = self.with(key, |m| m.attempts.running_since).unwrap_or(now);
        let engine = own.health.as_deref().map(|h| (h, own.health_log.as_deref()));
        let mut verdict = verdict(&source, engine, self.prober.verdict(key).as_ref(), since, now);
        let unknown = match source {
            ReadinessSource::Healthcheck => silent,
            ReadinessSource::RunningFor(_) => silent && process != Process::Runs,
            // A command runs by way of the engine.
            ReadinessSource::Probe(ref probe) => silent && probe.exec.is_some(),
            ReadinessSource::Tcp(_) => false,
        };
        if subject.replica.hook.is_some() {
            verdict = Verdict::starting("it runs to its end".into());
        }
        if self.after_start(key, subject, own, &mut look.facts, &mut verdict) {
            look.interval = Duration::ZERO;
        }
        if unknown {
            // Time alone makes nothing ready of which nobody can say that it runs.
            (verdict.ready, verdict.health) = (self.was_ready(key, own), Health::Unknown);
        } else {
            self.judge(key, subject, &own.id, &verdict, now);
        }
        look.look_again = match source {
            _ if silent => Some(now + millis(SILENT)),
            ReadinessSource::Healthcheck => Some(now + millis(HEALTH)),
            ReadinessSource::Probe(_) | ReadinessSource::Tcp(_) | ReadinessSource::RunningFor(_) => verdict.changes_at,
        };
        look.look_again = [look.look_again, ahead].into_iter().flatten().min();
        look.verdict = Some(verdict);
        look
    }

    /// Asks the engine about everything stale of this replica.
    async fn refresh(&self, key: &Arc<str>, spec: Option<&ContainerSpec>) -> Result<(), Silence> {
        if let Some(gate) = self.containers.engine().gate() {
            return Err(Silence::Engine(gate));
        }
        let old = self.with(key, |m| m.inspected.is_none_or(|at| at.elapsed() + Duration::from_secs(1) >= HEALTH));
        for entry in self.containers.of(key) {
            let by_health =
                |c: &Container| spec.is_some_and(|s| source(c, s, Duration::ZERO).0 == ReadinessSource::Healthcheck);
            let fresh = !entry.stale && entry.inspected.as_ref().is_some_and(|c| !old || !by_health(c));
            if fresh {
                continue;
            }
            match self.runtime.inspect(entry.summary.id.to_string()).await {
                Ok(Some(found)) => {
                    self.with(key, |m| m.inspected = Some(Instant::now()));
                    self.containers.learned(found);
                }
                Ok(None) => self.containers.gone(&entry.summary.id),
                Err(error) => return Err(self.whose_silence(error).await),
            }
        }
        Ok(())
    }

    /// Whether an error about one container is one about the engine: only if the engine does not answer
    /// another question either.
    async fn whose_silence(&self, error: RuntimeError) -> Silence {
        let silent = |e: &RuntimeError| matches!(e, RuntimeError::Down { .. } | RuntimeError::Unresponsive { .. });
        if !silent(&error) {
            return Silence::Container(error);
        }
        match self.runtime.info().await {
            Err(error) if silent(&error) => {
                self.containers.set_engine(listen::unknown(&error));
                // Its words, if it was known to be silent.
                Silence::Engine(self.containers.engine().gate().unwrap_or_else(|| listen::gate(&error)))
            }
            Ok(_) | Err(_) => Silence::Container(error),
        }
    }

    /// Says once that a container only looks like one of ours.
    fn tell_of_copies(&self, key: &Arc<str>, subject: Option<&Subject>, seen: &Seen) {
        let Seen::Known(found) = seen else { return };
        for copy in found.iter().filter(|f| !f.ours) {
            if self.containers.tell(&copy.id) {
                self.say_copy(subject, key, &copy.name);
            }
        }
    }

    /// Says once what somebody changed.
    fn tell_of_changes(&self, key: &Arc<str>, subject: &Subject, seen: &Seen) {
        let Seen::Known(found) = seen else { return };
        let changed = found.iter().find(|f| f.name == **key).map(|f| f.changed.clone()).unwrap_or_default();
        let told = self.with(key, |m| std::mem::replace(&mut m.changed, changed.clone()));
        if !changed.is_empty() && changed != told {
            self.say(Some(subject), Reason::ChangedByHand, told::changed(&changed));
        }
    }

    /// Networks that a container shall be on.
    fn networks(&self, spec: Option<&ContainerSpec>) -> Vec<String> {
        let state = self.store.state();
        let wanted = |s| state.cluster().map(|c| container::networks(s, &c.lineage));
        spec.and_then(wanted).unwrap_or_default()
    }

    fn probe(&self, key: &Arc<str>, own: &Container, source: &ReadinessSource, facts: &Facts) {
        let readiness = match source {
            ReadinessSource::Probe(readiness) => readiness.clone(),
            ReadinessSource::Tcp(port) => Readiness::tcp(*port),
            ReadinessSource::Healthcheck | ReadinessSource::RunningFor(_) => return self.prober.forget(key),
        };
        let was_ready = self.was_ready(key, own);
        let target = Target {
            container: own.id.clone(),
            started_at: own.started_at.clone(),
            readiness,
            address: facts.address.as_deref().and_then(|a| a.parse().ok()),
        };
        self.prober.watch(key, target, was_ready);
    }

    /// What the hooks after its start mean for a verdict. Answers whether one failed, which needs no second look.
    fn after_start(
        &self,
        key: &Arc<str>,
        subject: &Subject,
        own: &Container,
        facts: &mut Facts,
        verdict: &mut Verdict,
    ) -> bool {
        let hooks = &subject.hooks.post_start;
        let over = self.was_ready(key, own) || self.was_hooked(key, own);
        let life = (own.id.clone(), own.started_at.clone());
        let (state, news) = self.hooks.after_start(key, life, hooks, over);
        for (reason, message) in news {
            self.say(Some(subject), reason, message);
        }
        match state {
            PostStart::Done => facts.hooked = !hooks.is_empty(),
            // Bad health is worse.
            PostStart::Runs(_) if verdict.health == Health::Unhealthy => {}
            PostStart::Runs(name) => *verdict = Verdict::starting(name),
            PostStart::Failed(message) => {
                let health = Health::Unhealthy;
                *verdict = Verdict { ready: false, health, counts: true, message, changes_at: None };
                return true;
            }
        }
        false
    }

    /// Whether the hooks after this start of the container had run, as it was reported last.
    fn was_hooked(&self, key: &Arc<str>, own: &Container) -> bool {
        self.with(key, |m| {
            m.reported.as_ref().is_some_and(|r| {
                r.hooked
                    && r.container.as_deref() == Some(&*own.id)
                    && r.started_at.as_deref() == Some(own.started_at.as_str())
            })
        })
    }

    /// Whether this run of the container was reported ready last.
    fn was_ready(&self, key: &Arc<str>, own: &Container) -> bool {
        self.with(key, |m| {
            m.reported.as_ref().is_some_and(|r| {
                r.ready
                    && r.phase == ReplicaPhase::Running
                    && r.container.as_deref() == Some(&*own.id)
                    && r.started_at.as_deref() == Some(own.started_at.as_str())
            })
        })
    }

    /// Takes a verdict into the memory and tells of its turns.
    fn judge(&self, key: &Arc<str>, subject: &Subject, id: &Arc<str>, verdict: &Verdict, now: u64) {
        let (was_healthy, was_told, since) = self.with(key, |m| {
            let was = (m.attempts.healthy_since.is_some(), m.attempts.told_unhealthy, m.attempts.running_since);
            m.attempts.health(verdict, now);
            was
        });
        if verdict.ready && !was_healthy {
            let message = match since.filter(|_| !was_told) {
                Some(since) => format!("ready after {}", seconds(now.saturating_sub(since))),
                None => "ready again".into(),
            };
            self.say(Some(subject), Reason::Healthy, message);
        }
        if verdict.health == Health::Unhealthy && !verdict.counts && !was_told {
            // Nothing follows from it: whoever waits for it has to be told.
            let message = format!("not ready since its start: {}", verdict.message);
            self.say(Some(subject), Reason::Unhealthy, message);
        }
        if verdict.health == Health::Unhealthy && verdict.counts && !was_told {
            self.say(Some(subject), Reason::Unhealthy, verdict.message.clone());
            // Before it is restarted: somebody may have taken it off its network.
            self.containers.changed(id);
        }
    }

    fn facts(&self, key: &Arc<str>, own: &Container, spec: &ContainerSpec) -> Facts {
        let state = self.store.state();
        let first = state.cluster().and_then(|c| container::networks(spec, &c.lineage).into_iter().next());
        let address = match spec.network_mode {
            NetworkMode::Host => Some(IpAddr::from([127, 0, 0, 1])),
            NetworkMode::Bridge | NetworkMode::None => {
                first.and_then(|n| own.addresses.get(&n)).or_else(|| own.addresses.values().next()).copied()
            }
        };
        Facts {
            running: own.state == ContainerState::Running,
            container: Some(own.id.to_string()),
            image: Some(own.image_id.clone()),
            address: address.map(|a| a.to_string()),
            started_at: Some(own.started_at.clone()).filter(|_| starts(own)),
            published: own.published.clone(),
            newer_image: self.with(key, |m| m.newer_image.clone()),
            next_image: self.next_image(key),
            hooked: false,
        }
    }

    /// What the kernel says of a container's process while the engine is silent. An engine that is stopped takes
    /// its containers along, one that is frozen or keeps them alive does not.
    fn process(&self, key: &Arc<str>, own: &Container, silent: bool) -> Process {
        if own.state != ContainerState::Running || own.pid <= 0 {
            return Process::Unseen;
        }
        let began = (self.processes)(own.pid);
        self.with(key, |m| processes::look(&mut m.process, own.pid, began, silent))
    }
}

/// Whether it was ever started.
pub(super) fn starts(container: &Container) -> bool {
    !container.started_at.is_empty() && !container.started_at.starts_with("0001-")
}

/// Where its readiness comes from, and how often its own health check runs.
fn source(own: &Container, spec: &ContainerSpec, healthy: Duration) -> (ReadinessSource, Duration) {
    let checked = own.health.as_deref().is_some_and(|h| h != "none");
    let check = spec.healthcheck.as_ref().and_then(|h| h.interval);
    (spec.readiness(checked, healthy), check.map_or(ENGINE_INTERVAL, |i| i.0))
}

/// `life`: the container of this replica that ran last; `networks`: those it shall be on; `spec`: what it shall be.
fn found(entry: &Entry, key: &str, life: Option<&str>, networks: &[String], spec: Option<&ContainerSpec>) -> Found {
    let running = entry.inspected.as_ref().filter(|c| c.state == ContainerState::Running);
    let labels = &entry.summary.labels;
    let text = |name: &str| labels.get(name).cloned().unwrap_or_default();
    Found {
        id: entry.summary.id.clone(),
        name: entry.summary.name.clone(),
        state: entry.summary.state,
        spec_hash: text(label::SPEC_HASH),
        epoch: text(label::EPOCH),
        made_at: Index(text(label::INDEX).parse().unwrap_or(0)),
        restart: entry.inspected.as_ref().map(|c| c.restart).unwrap_or_default(),
        ours: entry.summary.name == key || life == Some(&*entry.summary.id),
        missing: running
            .map_or_else(Vec::new, |c| networks.iter().filter(|n| !c.networks.contains(*n)).cloned().collect()),
        changed: running.zip(spec).map_or_else(Vec::new, |(own, spec)| changes(own, spec)),
    }
}

/// Limits that are not the declared ones. What is declared and not there is no change: an engine leaves out what its
/// kernel cannot keep, and nobody can take a limit away.
fn changes(own: &Container, spec: &ContainerSpec) -> Vec<String> {
    let declared = container::limits(spec);
    let other = own.limits.iter().filter(|(name, is)| declared.get(*name) != Some(is));
    other
        .map(|(name, is)| format!("{name} is {is} instead of {}", declared.get(name).map_or("none", String::as_str)))
        .collect()
}
