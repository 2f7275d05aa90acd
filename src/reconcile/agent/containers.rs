//! What this node's engine has: our containers by replica, kept fresh by events, lists and own calls.
//!
//! Here: [`Containers`], a cache that knows what it does not know: an entry is *stale* until it was
//! inspected after the last hint, and all of it is unknown while the engine is silent.
//! Not here: listening (`super::listen`), deciding (`plan::agent`).
//! Invariant: the engine is the truth, an event only a hint to look. A list that was begun before a
//! container was made does not remove it.
//! Why a cache: thirty starts must not cost thirty lists.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use crate::{
    model::Reason,
    plan::agent::{Gate, is_alive},
    reconcile::container::label,
    runtime::{Container, ContainerState, RuntimeEvent, Summary},
};

/// A start event so close to a start that is known is the same one (nanoseconds).
const SAME_START: i64 = 2_000_000_000;
/// Signals that ask a process to end: INT, QUIT, KILL and TERM. HUP tells most to read their files again.
const ENDING: [u8; 4] = [2, 3, 9, 15];

/// One container.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// As it was listed or made.
    pub summary: Summary,
    /// As it was inspected last.
    pub inspected: Option<Container>,
    /// Something happened since.
    pub stale: bool,
    /// When somebody last sent it a signal that ends it, nanoseconds since 1970.
    pub killed_at: Option<i64>,
    /// It was told that this container is none of ours.
    told: bool,
    /// Clock of the cache at its last touch.
    touched: u64,
}

/// Whether the engine answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Engine {
    /// It does, and our containers are known.
    Known,
    /// Nobody has asked it yet: this agent has just begun.
    NotAsked,
    /// It was asked, and gave no answer.
    Unknown(Gate),
}
impl Engine {
    /// What holds everything up; none: it answers.
    #[must_use]
    pub fn gate(&self) -> Option<Gate> {
        match self {
            Self::Known => None,
            Self::NotAsked => Some(Gate { reason: Reason::DockerDown, message: "the engine was not asked yet".into() }),
            Self::Unknown(gate) => Some(gate.clone()),
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    entries: BTreeMap<Arc<str>, Entry>,
    clock: u64,
}

/// The cache.
#[derive(Debug)]
pub struct Containers {
    inner: Mutex<Inner>,
    engine: watch::Sender<Engine>,
}

impl Default for Containers {
    fn default() -> Self {
        Self { inner: Mutex::default(), engine: watch::Sender::new(Engine::NotAsked) }
    }
}

/// The replica a container belongs to: its label, else its own name.
#[must_use]
pub fn replica_of(labels: &BTreeMap<String, String>, name: &str) -> Arc<str> {
    labels.get(label::REPLICA).map_or(name, String::as_str).into()
}

impl Containers {
    /// Whether the engine answers.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.engine.borrow().clone()
    }
    /// The same, as it changes.
    #[must_use]
    pub fn watch_engine(&self) -> watch::Receiver<Engine> {
        self.engine.subscribe()
    }
    /// Says whether the engine answers; true when that is news. Another call that it does not answer is none:
    /// every replica would be reported again with other words.
    pub fn set_engine(&self, engine: Engine) -> bool {
        self.engine.send_if_modified(|known| {
            let news = match (&*known, &engine) {
                (Engine::Unknown(old), Engine::Unknown(new)) => old.reason != new.reason,
                _ => *known != engine,
            };
            if news {
                *known = engine;
            }
            news
        })
    }

    /// Containers of a replica, by id.
    #[must_use]
    pub fn of(&self, replica: &str) -> Vec<Entry> {
        let inner = self.lock();
        let own = |e: &&Entry| *replica_of(&e.summary.labels, &e.summary.name) == *replica;
        inner.entries.values().filter(own).cloned().collect()
    }
    /// Replicas that have a container of their name for this slot of a service.
    #[must_use]
    pub fn in_slot(&self, service: &str, slot: &str) -> Vec<Arc<str>> {
        let inner = self.lock();
        let is = |e: &&Entry, name, value| e.summary.labels.get(name).is_some_and(|v: &String| v == value);
        let there = inner.entries.values().filter(|e| is(e, label::SERVICE, service) && is(e, label::SLOT, slot));
        let owners = there.map(|e| (replica_of(&e.summary.labels, &e.summary.name), &e.summary.name));
        // A copy that somebody made from an image of ours carries our labels too.
        owners.filter(|(owner, name)| **owner == ***name).map(|(owner, _)| owner).collect()
    }
    /// Replicas with a container that has processes, or is about to, by all that is known. What was told to be none of
    /// ours is not among them.
    #[must_use]
    pub fn alive(&self) -> Vec<Arc<str>> {
        let inner = self.lock();
        let lives = inner.entries.values().filter(|e| is_alive(e.summary.state) && !e.told);
        lives.map(|e| replica_of(&e.summary.labels, &e.summary.name)).collect()
    }
    /// Every replica that has a container.
    #[must_use]
    pub fn replicas(&self) -> Vec<Arc<str>> {
        self.lock().entries.values().map(|e| replica_of(&e.summary.labels, &e.summary.name)).collect()
    }

    /// The clock now: to be handed to [`Containers::listed`] by who begins a list.
    #[must_use]
    pub fn clock(&self) -> u64 {
        self.lock().clock
    }

    /// Takes in a full list that was begun at `begun`; answers the replicas for which it is news.
    pub fn listed(&self, begun: u64, list: Vec<Summary>) -> Vec<Arc<str>> {
        let mut inner = self.lock();
        let mut news = Vec::new();
        let mut there: BTreeMap<Arc<str>, Summary> = list.into_iter().map(|s| (s.id.clone(), s)).collect();
        inner.entries.retain(|id, entry| {
            let Some(found) = there.remove(id) else {
                let keep = entry.touched > begun;
                if !keep {
                    news.push(replica_of(&entry.summary.labels, &entry.summary.name));
                }
                return keep;
            };
            let shown = |s: &Summary| (s.state, s.name.clone(), s.networks.clone());
            if shown(&found) != shown(&entry.summary) && entry.touched <= begun {
                news.push(replica_of(&found.labels, &found.name));
                (entry.summary, entry.stale) = (found, true);
            }
            true
        });
        for (id, summary) in there {
            news.push(replica_of(&summary.labels, &summary.name));
            inner.put(id, summary);
        }
        news
    }

    /// Takes in an event; answers the replica to look at, if it means anything.
    pub fn happened(&self, event: &RuntimeEvent) -> Option<Arc<str>> {
        let mut inner = self.lock();
        let replica = replica_of(&event.labels, &event.name);
        let action = event.action.split(':').next().unwrap_or_default();
        let Some(entry) = inner.entries.get_mut(&event.container) else {
            // Of the unknown only what begins is news; the rest was removed since.
            if !matches!(action, "create" | "start" | "rename") {
                return None;
            }
            let summary = Summary {
                id: event.container.clone(),
                name: event.name.clone(),
                labels: event.labels.clone(),
                state: ContainerState::Created,
                networks: BTreeSet::new(),
            };
            inner.put(event.container.clone(), summary);
            return Some(replica);
        };
        match action {
            "destroy" => {
                inner.entries.remove(&event.container);
                return Some(replica);
            }
            "kill" | "stop" => {
                if event.signal.is_none_or(|s| entry.ends_at(s)) {
                    entry.killed_at = Some(event.at);
                }
                // What follows, `die`, is the time to look.
                return None;
            }
            "start" if entry.started().is_some_and(|at| (event.at - at).abs() < SAME_START) => return None,
            "create" => return None,
            "start" | "die" | "oom" | "pause" | "unpause" | "rename" | "restart" | "update" | "health_status" => {}
            _ => return None,
        }
        entry.stale = true;
        inner.touch(&event.container);
        Some(replica)
    }

    /// A container was made by this agent.
    pub fn made(&self, summary: Summary) {
        self.lock().put(summary.id.clone(), summary);
    }
    /// This agent did something to a container: what is known of it is old.
    pub fn changed(&self, id: &Arc<str>) {
        let mut inner = self.lock();
        inner.touch(id);
        if let Some(entry) = inner.entries.get_mut(id) {
            entry.stale = true;
        }
    }
    /// This agent is about to start a container: until it is inspected it counts as running.
    pub fn starting(&self, id: &Arc<str>) {
        let mut inner = self.lock();
        inner.touch(id);
        if let Some(entry) = inner.entries.get_mut(id) {
            (entry.summary.state, entry.stale) = (ContainerState::Running, true);
        }
    }
    /// A container is gone.
    pub fn gone(&self, id: &Arc<str>) {
        self.lock().entries.remove(id);
    }
    /// A container was inspected.
    pub fn learned(&self, found: Container) {
        let mut inner = self.lock();
        inner.touch(&found.id);
        if let Some(entry) = inner.entries.get_mut(&found.id) {
            (entry.summary.state, entry.stale) = (found.state, false);
            entry.summary.name.clone_from(&found.name);
            entry.summary.networks.clone_from(&found.networks);
            entry.inspected = Some(found);
        }
    }

    /// Whether it is still to be told that a container is none of ours; once true.
    pub fn tell(&self, id: &Arc<str>) -> bool {
        self.lock().entries.get_mut(id).is_some_and(|entry| !std::mem::replace(&mut entry.told, true))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn put(&mut self, id: Arc<str>, summary: Summary) {
        self.clock += 1;
        let touched = self.clock;
        self.entries.insert(id, Entry { summary, inspected: None, stale: true, killed_at: None, told: false, touched });
    }
    fn touch(&mut self, id: &Arc<str>) {
        self.clock += 1;
        if let Some(entry) = self.entries.get_mut(id) {
            entry.touched = self.clock;
        }
    }
}

impl Entry {
    /// When it was started, if it is known to run; nanoseconds since 1970.
    fn started(&self) -> Option<i64> {
        self.inspected
            .as_ref()
            .filter(|c| c.state == ContainerState::Running && !self.stale)
            .and_then(|c| nanos(&c.started_at))
    }
    /// Whether a signal asks it to end, as far as is known.
    fn ends_at(&self, signal: u8) -> bool {
        ENDING.contains(&signal) || self.inspected.as_ref().is_some_and(|c| c.stop_signal == Some(signal))
    }
    /// Whether its last exit followed a signal that somebody sent, by no more than the time that `docker
    /// stop` gives. Later it is another story: the signal may have been a reload.
    #[must_use]
    pub fn ended_by_hand(&self, grace: Duration) -> bool {
        let patience = i64::try_from(grace.as_nanos()).unwrap_or(i64::MAX).saturating_add(SAME_START);
        let Some(container) = &self.inspected else { return false };
        match (self.killed_at, nanos(&container.started_at), nanos(&container.finished_at)) {
            // An event and the end it announces may be stamped in either order.
            (Some(kill), Some(from), Some(to)) => {
                from <= kill && kill <= to.saturating_add(SAME_START) && to.saturating_sub(kill) <= patience
            }
            _ => false,
        }
    }
}

/// Nanoseconds since 1970 of an engine's time; none for its "never".
#[must_use]
pub fn nanos(text: &str) -> Option<i64> {
    let at: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(at.as_nanosecond()).ok().filter(|n| *n > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::EngineRestart;

    fn summary(id: &str, state: ContainerState) -> Summary {
        let labels = BTreeMap::from([(label::REPLICA.to_owned(), format!("web-{id}"))]);
        Summary { id: id.into(), name: format!("web-{id}"), labels, state, networks: BTreeSet::new() }
    }
    fn event(id: &str, action: &str, at: i64) -> RuntimeEvent {
        let Summary { id, name, labels, .. } = summary(id, ContainerState::Running);
        RuntimeEvent { container: id, name, labels, action: action.into(), signal: None, at }
    }
    fn inspected(id: &str, state: ContainerState, from: &str, to: &str) -> Container {
        Container {
            id: id.into(),
            name: format!("web-{id}"),
            labels: BTreeMap::new(),
            state,
            image_id: String::new(),
            exit_code: 0,
            oom_killed: false,
            error: String::new(),
            started_at: from.into(),
            finished_at: to.into(),
            health: None,
            health_log: None,
            networks: BTreeSet::new(),
            addresses: BTreeMap::new(),
            published: BTreeMap::new(),
            restart: EngineRestart::No,
            stop_signal: Some(10),
            stop_timeout: None,
            limits: BTreeMap::new(),
            pid: 0,
        }
    }

    #[test]
    fn one_silence_keeps_its_words() {
        let silent = |reason, message: &str| Engine::Unknown(Gate { reason, message: message.into() });
        let containers = Containers::default();
        assert!(containers.set_engine(silent(Reason::DockerUnresponsive, "no list")));
        assert!(!containers.set_engine(silent(Reason::DockerUnresponsive, "no info")));
        assert_eq!(containers.engine(), silent(Reason::DockerUnresponsive, "no list"));
        assert!(containers.set_engine(silent(Reason::DockerDown, "refused")));
        assert!(containers.set_engine(Engine::Known));
        assert!(!containers.set_engine(Engine::Known));
    }

    #[test]
    fn a_list_begun_before_a_container_was_made_does_not_remove_it() {
        let known = Containers::default();
        known.listed(0, vec![summary("a", ContainerState::Running)]);
        let begun = known.clock();
        known.made(summary("b", ContainerState::Created));
        assert_eq!(known.listed(begun, vec![]), ["web-a".into()] as [Arc<str>; 1]);
        assert_eq!(known.of("web-b").len(), 1);
        assert_eq!(known.listed(known.clock(), vec![]), ["web-b".into()] as [Arc<str>; 1]);
    }

    #[test]
    fn events_are_hints_and_their_echoes_are_ignored() {
        let known = Containers::default();
        let at = nanos("2026-01-01T00:00:01Z").unwrap();
        assert_eq!(known.happened(&event("a", "destroy", at)), None, "never known");
        assert!(known.happened(&event("a", "create", at)).is_some());
        known.learned(inspected("a", ContainerState::Running, "2026-01-01T00:00:01.2Z", ""));
        assert_eq!(known.happened(&event("a", "start", at)), None, "the start that was inspected");
        assert!(known.happened(&event("a", "start", at + 9_000_000_000)).is_some(), "another start");
        assert_eq!(known.happened(&event("a", "exec_start: ls", at)), None);
        assert!(known.happened(&event("a", "health_status: healthy", at)).is_some());
        assert!(known.of("web-a")[0].stale);
        assert!(known.happened(&event("a", "destroy", at)).is_some());
        assert!(known.of("web-a").is_empty());
    }

    #[test]
    fn a_list_that_shows_other_networks_is_a_reason_to_look() {
        let known = Containers::default();
        known.listed(0, vec![summary("a", ContainerState::Running)]);
        let on = |networks: &[&str]| {
            let networks = networks.iter().map(|&n| n.to_owned()).collect();
            vec![Summary { networks, ..summary("a", ContainerState::Running) }]
        };
        known.listed(known.clock(), on(&["front"]));
        assert_eq!(known.listed(known.clock(), on(&["front"])), [] as [Arc<str>; 0]);
        assert_eq!(known.listed(known.clock(), on(&[])), ["web-a".into()] as [Arc<str>; 1]);
        assert!(known.of("web-a")[0].stale);
    }

    #[test]
    fn an_exit_is_somebodys_doing_when_a_signal_came_while_it_ran() {
        let at = |second: i64| nanos("2026-01-01T00:00:00Z").unwrap() + second * 1_000_000_000;
        for (case, kill, by_hand) in [
            ("stopped", Some((at(30), Some(15))), true),
            ("an engine that names no signal", Some((at(30), None)), true),
            ("stopped by its own signal", Some((at(30), Some(10))), true),
            ("crashed", None, false),
            ("an older life was stopped", Some((at(5), Some(15))), false),
            ("reloaded, and crashed", Some((at(30), Some(1))), false),
            ("asked to end long before it crashed", Some((at(12), Some(15))), false),
        ] {
            let known = Containers::default();
            known.made(summary("a", ContainerState::Running));
            let (from, to) = ("2026-01-01T00:00:10Z", "2026-01-01T00:00:31Z");
            known.learned(inspected("a", ContainerState::Running, from, ""));
            if let Some((at, signal)) = kill {
                assert_eq!(known.happened(&RuntimeEvent { signal, ..event("a", "kill", at) }), None);
            }
            known.learned(inspected("a", ContainerState::Exited, from, to));
            assert_eq!(known.of("web-a")[0].ended_by_hand(Duration::from_secs(10)), by_hand, "{case}");
        }
    }
}
