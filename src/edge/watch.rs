//! The loop of an edge: from the state to what Traefik is told, and back from Traefik to the log.
//!
//! Here: [`Edge`], alive on every node, at work where the node has the role edge. One turn reads the newest state, makes
//! the table, offers it if it is another one, and tells the log what somebody waits for. Not here: what the table says
//! (`plan::routes`), when the log is told (`plan::edge`), asking Traefik ([`super::readback`]).
//! Invariants: nothing is asked of Traefik and nothing is proposed while nothing changes; a node without the role offers
//! a document without routes, and its public ports are shut; connections go to a Traefik only while the process that is
//! there now was seen to serve a document of ours: one that has just been started listens before it has routes, and one
//! that stops asks for documents for as long as it takes to end.
//! A Traefik that does not take a document goes on serving the one before, and the public ports stay open; the log says
//! how far it is.
//! Why a marker has a part that is random for each process: an index may be the same after a restart, and another
//! program's document with it. Why at most one table in 10 ms: a deployment is many changes, and each would be rebuilt by
//! Traefik for itself.

mod own;
mod turns;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::OptionFuture;
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use self::turns::{Held, Turns};
use super::{
    Addresses, Offer,
    hold::{Holds, Target},
    inflight,
    offer::Seen,
    readback::{Outstanding, Served, read_back},
};
use crate::{
    model::{Desired, Edge as Record, Index, Kind, ObjectKey, Uid, node::NodeSpec, node::Role, route::EntryPoint},
    plan::{
        edge::{AWAY, Drains, Leaving, News, PARTING, SILENT, record},
        entry::{Asked, Shut, Wanted},
        routes::{Document, Marker},
    },
    store::{
        Client, State,
        command::{Command, Group},
        state::Changed,
    },
};

/// Shortest time between two tables.
const COALESCE: Duration = Duration::from_millis(10);
/// Between two looks at what is in flight.
const LOOK: Duration = Duration::from_millis(100);
/// Longest wait for the answer to a proposal, and the pause after one that failed.
const DEADLINE: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(500);
/// What a state was made into.
#[derive(Debug, Clone, Default)]
pub struct Made {
    /// What Traefik is told.
    pub document: Document,
    /// Entry points that something is served at.
    pub entry_points: BTreeSet<EntryPoint>,
    /// Newest index at which something was declared that it is made of.
    pub asked: Index,
    /// Services and ports whose requests wait, how long each waits, and until when they do, cluster time.
    pub waits: BTreeMap<Place, (Duration, u64)>,
    /// Who answers now at a place where requests wait.
    pub answers: BTreeMap<Place, SocketAddr>,
    /// Where it sends each endpoint requests.
    pub offered: Offered,
}

/// A Service and one of its ports.
pub type Place = (Arc<str>, u16);

/// Where requests for a place wait.
pub type Listeners = BTreeMap<Place, SocketAddr>;

/// Where replicas get requests; one that is there with none gets none.
pub type Offered = BTreeMap<Arc<str>, BTreeSet<SocketAddr>>;

/// Makes tables of states.
pub trait Tables: Send + Sync + 'static {
    /// The table of a state at a time.
    fn make(&self, state: &State, now: u64, holds: &Listeners) -> Made;
    /// Where replicas would get requests if they were not on their way out; not of those of which nobody knows any more.
    fn endpoints(&self, state: &State, replicas: &[Arc<str>]) -> Offered;
}

/// What the loop works with.
pub struct Edge<T> {
    /// The state, and the log.
    pub store: Client,
    /// This node.
    pub node: (Arc<str>, Uid),
    /// Who makes tables.
    pub tables: Arc<T>,
    /// What Traefik is given.
    pub offer: Arc<Offer>,
    /// Where Traefik is.
    pub addresses: Addresses,
    /// What is asked of the public ports.
    pub ports: watch::Sender<Asked>,
    /// Where requests wait.
    pub holds: Holds,
}

impl<T: Tables> Edge<T> {
    /// Until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let (outstanding, asked) = watch::channel(None);
        let (served, heard) = watch::channel(Served::default());
        let reading = read_back([self.addresses.http, self.addresses.https], self.offer.offered(), asked, served);
        tokio::select! {
            () = reading => {}
            () = self.turns(&outstanding, heard) => {}
            () = stop.cancelled() => {}
        }
        self.holds.ended().await;
    }

    async fn turns(&self, outstanding: &watch::Sender<Option<Outstanding>>, mut served: watch::Receiver<Served>) {
        let began = Instant::now();
        let mut turns = Turns::new(began);
        let (mut states, mut polls) = (self.store.watch(), self.offer.asked());
        loop {
            let state = states.borrow_and_update().clone();
            self.table(&mut turns, &state).await;
            self.drain(&mut turns, &state).await;
            let (now, seen) = (Instant::now(), *polls.borrow_and_update());
            turns.came(seen, now);
            let again = self.live(&mut turns, &state, seen, now, now.saturating_duration_since(began));
            turns.prune();
            let wanted = turns.progress.outstanding();
            let wanted = wanted.map(|oldest| Outstanding { oldest, newest: turns.marker, turn: turns.turn });
            outstanding.send_if_modified(|old| std::mem::replace(old, wanted.clone()) != wanted);
            self.tell(&mut turns, &state);
            let due = [again, turns.look, turns.again, turns.broken].into_iter().flatten().min();
            let pause: OptionFuture<_> = due.map(|at| sleep_until(at.into())).into();
            let told: OptionFuture<_> = turns.telling.as_mut().into();
            tokio::select! {
                changed = states.changed() => {
                    if changed.is_err() {
                        // The store is closed.
                        return;
                    }
                    if let Some(at) = turns.at {
                        sleep_until((at + COALESCE).into()).await;
                    }
                }
                // Both senders live as long as this.
                _ = polls.changed() => {}
                _ = served.changed() => turns.heard(*served.borrow_and_update(), Instant::now()),
                Some(()) = pause => {}
                Some(_) = told => turns.telling = None,
            }
        }
    }

    /// Makes the table when something changed that it could be made of, and offers it when it is another one.
    async fn table(&self, turns: &mut Turns, state: &Arc<State>) {
        let (now, due) = (Instant::now(), |at: Option<Instant>, now| at.is_some_and(|at| at <= now));
        let broken = turns.broken.is_some();
        let due = due(turns.again, now) || due(turns.broken, now);
        if (turns.seen == Some(state.index()) || broken) && !due {
            return;
        }
        if due || turns.seen.is_none_or(|seen| concerns(state, seen)) {
            // Nothing is given out, and nothing counts as done, before there is a whole table.
            (turns.broken, turns.again) = (Some(now + RETRY), None);
            let Some(mut made) = self.make(turns, state).await else { return };
            if self.hold(turns, &made).await {
                let Some(again) = self.make(turns, state).await else { return };
                made = again;
            }
            turns.at = Some(Instant::now());
            if (turns.seen.is_none() || made.document != turns.made.document)
                && !self.offer(turns, &made.document, state.index())
            {
                return;
            }
            let end = made.waits.values().map(|(_, until)| until.saturating_sub(self.store.now())).min();
            turns.again = end.map(|left| Instant::now() + Duration::from_millis(left.max(1)));
            // Routes may go, or lead elsewhere, before a replica does that still answers what came by them.
            turns.offered.retain(|name, _| state.replica(name).is_some());
            for (replica, at) in &made.offered {
                turns.offered.entry(replica.clone()).or_default().extend(at);
            }
            (turns.made, turns.broken) = (made, None);
        }
        turns.seen = Some(state.index());
        turns.progress.made(state.index(), self.offer.number());
    }

    async fn make(&self, turns: &Turns, state: &Arc<State>) -> Option<Made> {
        if !self.is_edge(state) {
            return Some(Made::default());
        }
        let (tables, state, now) = (self.tables.clone(), state.clone(), self.store.now());
        let holds = turns.held.iter().map(|(place, held)| (place.clone(), held.hold.address)).collect();
        let made = spawn_blocking(move || tables.make(&state, now, &holds)).await;
        made.inspect_err(|error| tracing::error!(%error, "the table of routes could not be made; it is tried again"))
            .ok()
    }

    /// Says at each place where requests wait who answers now; whether there are places more.
    async fn hold(&self, turns: &mut Turns, made: &Made) -> bool {
        let mut more = false;
        for (place, (hold, _)) in &made.waits {
            if turns.held.contains_key(place) {
                continue;
            }
            let (target, waiting) = watch::channel(Target { endpoint: None, hold: *hold });
            match self.holds.open(waiting).await {
                Ok(hold) => {
                    turns.held.insert(place.clone(), Held { hold, target });
                    more = true;
                }
                Err(error) => tracing::warn!(%error, "requests cannot wait: there is no port for them on loopback"),
            }
        }
        for (place, held) in &turns.held {
            let endpoint = made.answers.get(place).copied();
            held.target.send_if_modified(|target| std::mem::replace(&mut target.endpoint, endpoint) != endpoint);
        }
        more
    }

    /// Offers a document; whether it could be written.
    fn offer(&self, turns: &mut Turns, document: &Document, index: Index) -> bool {
        let marker = Marker { index, sub: turns.sub + self.offer.number() + 1 };
        let bytes = match document.bytes(marker) {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::error!(%error, "the document for Traefik has no JSON form; the one before stays");
                return false;
            }
        };
        if turns.progress.outstanding().is_none() {
            turns.since = Instant::now();
        }
        turns.marker = marker;
        self.offer.put(bytes.into());
        true
    }

    /// Looks at what is in flight to the replicas that Traefik sends nothing to any more.
    async fn drain(&self, turns: &mut Turns, state: &Arc<State>) {
        let (served, now) = (turns.progress.served(), Instant::now());
        let out: Vec<Leaving> =
            leaving(state).into_iter().filter(|l| served.is_some_and(|served| served >= l.index)).collect();
        turns.endpoints.retain(|name, _| out.iter().any(|l| l.replica == *name));
        if out.is_empty() {
            (turns.drains, turns.look) = (Drains::default(), None);
            return;
        }
        let known = out.iter().all(|l| turns.endpoints.contains_key(&l.replica));
        if turns.look.is_some_and(|at| at > now) && known {
            return;
        }
        let new = out.iter().map(|l| &l.replica).filter(|name| !turns.endpoints.contains_key(*name));
        let new: Vec<Arc<str>> = new.cloned().collect();
        let (known, new): (Vec<_>, Vec<_>) = new.into_iter().partition(|name| turns.offered.contains_key(name));
        turns.endpoints.extend(known.into_iter().map(|name| (name.clone(), turns.offered.get(&name).cloned())));
        if !new.is_empty() {
            let (tables, state) = (self.tables.clone(), state.clone());
            let asked = new.clone();
            let mut found = spawn_blocking(move || tables.endpoints(&state, &asked)).await.unwrap_or_default();
            // One of which nothing is known is not drained: its time is waited for.
            turns.endpoints.extend(new.into_iter().map(|name| (name.clone(), found.remove(&name))));
        }
        let all: Vec<SocketAddr> = turns.endpoints.values().flatten().flatten().copied().collect();
        let counted = spawn_blocking(move || inflight::count(&all)).await;
        match counted.map_err(std::io::Error::other).flatten() {
            Ok(counted) => {
                let open = |at: &BTreeSet<SocketAddr>| at.iter().filter_map(|at| counted.get(at)).sum::<usize>();
                let known = turns.endpoints.iter().filter_map(|(name, at)| Some((name.clone(), open(at.as_ref()?))));
                turns.drains.look(&known.collect());
            }
            Err(error) => {
                tracing::warn!(%error, "nobody can tell what is in flight: the time for draining is waited for")
            }
        }
        let done = turns.drains.done();
        turns.look = out.iter().any(|l| !done.contains(&l.replica)).then(|| now + LOOK);
    }

    /// Whether Traefik is counted on; when to look again. Opens and shuts the public ports by it, and says where to.
    fn live(&self, turns: &mut Turns, state: &State, seen: Seen, now: Instant, age: Duration) -> Option<Instant> {
        let is_edge = self.is_edge(state);
        let silent = self.offer.silent(now);
        let gone = !is_edge || silent.is_none_or(|silent| silent >= SILENT);
        turns.parts(gone, now);
        let parting = turns.parted.map(|at| now.saturating_duration_since(at)).filter(|passed| *passed < PARTING);
        if gone && parting.is_none() {
            turns.progress.forget();
        }
        // Nobody is sent there before everybody knows that it is to be waited for.
        turns.listed = !gone && (turns.listed || state.edge(&self.node.1).is_some());
        let ready = turns.ready.is_some_and(|turn| turn == turns.turn && turns.listed && seen.open > 0);
        turns.counted = is_edge && (ready || turns.counted && silent.is_some_and(|silent| silent < AWAY));
        // One that was there before this process is given the time to come back.
        turns.known = age < SILENT && state.edge(&self.node.1).is_some();
        let open = is_edge && (turns.counted || turns.known);
        let ports = self.public(&turns.made.entry_points, ready);
        // One that is about to come for the first time has its time; one that went had it.
        let told = || if self.ports.borrow().ports.is_empty() { now + SILENT } else { now };
        turns.shut = (is_edge && !open && !ports.is_empty()).then(|| turns.shut.unwrap_or_else(told));
        let shut = turns.shut.filter(|at| *at <= now).map(|_| Shut {
            ports: ports.keys().map(SocketAddr::port).collect(),
            asks: !turns.gone,
            api: self.addresses.api,
            own: turns.own(state, &self.node.0),
        });
        let asked = Asked { ports: if open { ports } else { Wanted::new() }, shut, cut: turns.cuts };
        self.ports.send_if_modified(|ports| std::mem::replace(ports, asked.clone()) != asked);
        // One that stops ends as soon as it is answered.
        let ended = turns.ended.map(|at| now.saturating_duration_since(at)).filter(|passed| *passed < AWAY);
        self.offer.hurry(ended.is_some());
        let late = turns.progress.outstanding().filter(|_| !turns.gone && seen.open > 0 && ended.is_none());
        let late = late.map(|_| now.saturating_duration_since(turns.since));
        if late.is_some_and(|late| late >= SILENT) && !std::mem::replace(&mut turns.late, true) {
            let (marker, served) = (turns.marker, turns.progress.served().unwrap_or_default());
            tracing::warn!(%marker, %served, "Traefik asks for its document and does not serve it; it goes on as it was: its log says why");
        }
        let limits = [
            (SILENT, turns.known.then_some(age)),
            (SILENT, silent.filter(|silent| !silent.is_zero())),
            (AWAY, silent.filter(|silent| turns.counted && !silent.is_zero())),
            (SILENT, late),
            (AWAY, ended),
            (PARTING, parting),
        ];
        let left = limits.into_iter().filter_map(|(limit, passed)| limit.checked_sub(passed?));
        let left = left.chain(turns.shut.map(|at| at.saturating_duration_since(now)));
        left.filter(|left| !left.is_zero()).min().map(|left| now + left)
    }

    fn public(&self, entry_points: &BTreeSet<EntryPoint>, ready: bool) -> Wanted {
        // Every address of both families.
        let at = |port: u16| SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port));
        let to = |entry_point: &EntryPoint| match entry_point {
            EntryPoint::Web => self.addresses.http,
            EntryPoint::Websecure => self.addresses.https,
        };
        entry_points.iter().map(|entry_point| (at(entry_point.port()), ready.then(|| to(entry_point)))).collect()
    }

    /// Writes into the log what somebody waits for.
    fn tell(&self, turns: &mut Turns, state: &State) {
        let served = turns.progress.served();
        if turns.telling.is_some() || (served.is_none() && turns.known) {
            return;
        }
        let (name, uid) = &self.node;
        let (done, leaving) = (turns.drains.done(), leaving(state));
        let recorded = state.edge(uid).map(|edge| &**edge);
        turns.told = recorded.map(|edge| edge.served).or(turns.told.filter(|_| served.is_some()));
        let Some(news) = record(recorded, turns.told, served, turns.made.asked, &leaving, &done) else { return };
        let at = self.store.now();
        let edge = match news {
            News::Gone => None,
            News::Serves { served, drained } => Some(Record { node: name.clone(), served, at, drained }),
        };
        let command = Command::RecordEdge { node: uid.clone(), edge, judged: None };
        let group = Group { at, actor: format!("edge@{name}").into(), commands: vec![command], ..Group::default() };
        let store = self.store.clone();
        turns.telling = Some(tokio::spawn(async move {
            if let Err(error) = store.propose(group, DEADLINE).await {
                tracing::debug!(%error, "how far this edge is could not be written; it is tried again");
                sleep(RETRY).await;
            }
        }));
    }

    fn is_edge(&self, state: &State) -> bool {
        let node = state.object(&ObjectKey::node(self.node.0.clone()));
        node.and_then(|node| node.parse::<NodeSpec>().ok()).is_some_and(|spec| spec.roles.contains(&Role::Edge))
    }
}

/// The replicas on their way out that still run.
fn leaving(state: &State) -> Vec<Leaving> {
    let all = state.replicas().filter(|r| r.desired == Desired::Run);
    all.filter_map(|r| Some(Leaving { replica: r.name.clone(), index: r.draining?.index })).collect()
}

/// Whether anything changed after an index that a table is made of, or who is an edge.
fn concerns(state: &State, seen: Index) -> bool {
    let Ok(mut changes) = state.changes_after(seen) else { return true };
    changes.any(|change| match (&change.what, change.key.kind) {
        (_, Kind::Service | Kind::Secret | Kind::Route | Kind::Middleware) => !matches!(change.what, Changed::Status),
        (Changed::Edge, _) => false,
        (Changed::Status, kind) => kind == Kind::Replica,
        (Changed::Replica(_) | Changed::ReplicaForgotten(_), _) => true,
        (Changed::Put { .. } | Changed::Deleted(_), kind) => kind == Kind::Node,
    })
}

#[cfg(test)]
mod tests;
