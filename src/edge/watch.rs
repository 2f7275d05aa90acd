//! The loop of an edge: from the state to what Traefik is told, and back from Traefik to the log.
//!
//! Here: [`Edge`], alive on every node, at work where the node has the role edge. One turn reads the newest state, makes
//! the table, offers it if it is another one, and tells the log what somebody waits for. Not here: what the table says
//! (`plan::routes`), when the log is told (`plan::edge`), asking Traefik ([`super::readback`]).
//! Invariants: nothing is asked of Traefik and nothing is proposed while nothing changes; a node without the role offers
//! a document without routes, and its public ports are shut.
//! Why a marker has a part that is random for each process: an index may be the same after a restart, and another
//! program's document with it. Why at most one table in 10 ms: a deployment is many changes, and each would be rebuilt by
//! Traefik for itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::OptionFuture;
use tokio::{
    sync::watch,
    task::{JoinHandle, spawn_blocking},
    time::{sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    Addresses, Offer,
    hold::{Hold, Holds, Target},
    inflight,
    readback::{Outstanding, read_back},
};
use crate::{
    model::{Desired, Edge as Record, Index, Kind, ObjectKey, Uid, node::NodeSpec, node::Role, route::EntryPoint},
    plan::{
        edge::{Drains, Leaving, News, Progress, SILENT, record},
        entry::Wanted,
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
/// Public ports of the entry points, on every address of both families.
const HTTP: u16 = 80;
const HTTPS: u16 = 443;

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
    /// The public ports that are wanted.
    pub ports: watch::Sender<Wanted>,
    /// Where requests wait.
    pub holds: Holds,
}

/// A place where requests wait.
struct Held {
    hold: Hold,
    target: watch::Sender<Target>,
}

/// What one turn leaves to the next.
struct Turns {
    progress: Progress,
    /// The newest table, and the index of its state.
    made: Made,
    seen: Option<Index>,
    /// Of the document that is offered: its name, and since when it is offered.
    marker: Marker,
    since: Instant,
    /// Last part of the markers of this process.
    sub: u64,
    /// When the last table was made, and when it is to be made again though nothing changes.
    at: Option<Instant>,
    again: Option<Instant>,
    held: BTreeMap<Place, Held>,
    drains: Drains,
    /// Where each replica that is there got requests by the tables of this process.
    offered: Offered,
    /// Where the replicas that are on their way out got requests; none: nobody knows.
    endpoints: BTreeMap<Arc<str>, Option<BTreeSet<SocketAddr>>>,
    /// Their next look.
    look: Option<Instant>,
    telling: Option<JoinHandle<()>>,
    /// Traefik was there before this process, and has time to come back.
    known: bool,
}

impl<T: Tables> Edge<T> {
    /// Until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let (outstanding, asked) = watch::channel(None);
        let (served, heard) = watch::channel(0);
        let reading = read_back(self.addresses.traefik, self.offer.offered(), asked, served);
        tokio::select! {
            () = reading => {}
            () = self.turns(&outstanding, heard) => {}
            () = stop.cancelled() => {}
        }
        self.holds.ended().await;
    }

    async fn turns(&self, outstanding: &watch::Sender<Option<Outstanding>>, mut served: watch::Receiver<u64>) {
        let began = Instant::now();
        let mut turns = Turns {
            progress: Progress::default(),
            made: Made::default(),
            seen: None,
            marker: Marker::default(),
            since: began,
            sub: rand::random::<u32>().into(),
            at: None,
            again: None,
            held: BTreeMap::new(),
            drains: Drains::default(),
            offered: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            look: None,
            telling: None,
            known: false,
        };
        let (mut states, mut polls) = (self.store.watch(), self.offer.asked());
        loop {
            let state = states.borrow_and_update().clone();
            polls.mark_unchanged();
            self.table(&mut turns, &state).await;
            self.drain(&mut turns, &state).await;
            if turns.progress.outstanding().is_none() {
                // Traefik serves a document that does not name the others any more.
                let waits = &turns.made.waits;
                turns.held.retain(|place, _| waits.contains_key(place));
            }
            let now = Instant::now();
            let again = self.live(&mut turns, &state, now, now.saturating_duration_since(began));
            let wanted = turns.progress.outstanding();
            let wanted = wanted.map(|number| Outstanding { number, marker: turns.marker.to_string() });
            outstanding.send_if_modified(|old| std::mem::replace(old, wanted.clone()) != wanted);
            self.tell(&mut turns, &state);
            let due = [again, turns.look, turns.again].into_iter().flatten().min();
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
                _ = served.changed() => turns.progress.read(*served.borrow()),
                Some(()) = pause => {}
                Some(_) = told => turns.telling = None,
            }
        }
    }

    /// Makes the table when something changed that it could be made of, and offers it when it is another one.
    async fn table(&self, turns: &mut Turns, state: &Arc<State>) {
        let due = turns.again.is_some_and(|at| at <= Instant::now());
        if turns.seen == Some(state.index()) && !due {
            return;
        }
        let moved = due || turns.seen.is_none_or(|seen| concerns(state, seen));
        let first = turns.seen.replace(state.index()).is_none();
        if moved {
            let mut made = self.make(turns, state).await;
            if self.hold(turns, &made).await {
                made = self.make(turns, state).await;
            }
            turns.at = Some(Instant::now());
            if first || made.document != turns.made.document {
                self.offer(turns, &made.document, state.index());
            }
            let end = made.waits.values().map(|(_, until)| until.saturating_sub(self.store.now())).min();
            turns.again = end.map(|left| Instant::now() + Duration::from_millis(left.max(1)));
            // Routes may go, or lead elsewhere, before a replica does that still answers what came by them.
            turns.offered.retain(|name, _| state.replica(name).is_some());
            for (replica, at) in &made.offered {
                turns.offered.entry(replica.clone()).or_default().extend(at);
            }
            turns.made = made;
        }
        turns.progress.made(state.index(), self.offer.number());
    }

    async fn make(&self, turns: &Turns, state: &Arc<State>) -> Made {
        if !self.is_edge(state) {
            return Made::default();
        }
        let (tables, state, now) = (self.tables.clone(), state.clone(), self.store.now());
        let holds = turns.held.iter().map(|(place, held)| (place.clone(), held.hold.address)).collect();
        match spawn_blocking(move || tables.make(&state, now, &holds)).await {
            Ok(made) => made,
            Err(error) => {
                tracing::error!(%error, "the table of routes could not be made; the one before stays");
                turns.made.clone()
            }
        }
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

    fn offer(&self, turns: &mut Turns, document: &Document, index: Index) {
        turns.sub += 1;
        let marker = Marker { index, sub: turns.sub };
        match document.bytes(marker) {
            Ok(bytes) => {
                (turns.marker, turns.since) = (marker, Instant::now());
                self.offer.put(bytes.into());
            }
            Err(error) => tracing::error!(%error, "the document for Traefik has no JSON form; the one before stays"),
        }
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

    /// Whether Traefik is counted on; when to look again. Opens and shuts the public ports by it.
    fn live(&self, turns: &mut Turns, state: &State, now: Instant, age: Duration) -> Option<Instant> {
        let is_edge = self.is_edge(state);
        let silent = self.offer.silent(now);
        let late = turns.progress.outstanding().map(|_| now.saturating_duration_since(turns.since));
        let worst = silent.into_iter().chain(late).max();
        let fails = !is_edge || silent.is_none() || worst.is_some_and(|worst| worst >= SILENT);
        if fails {
            turns.progress.forget();
        }
        // One that was there before this process is given the time to come back.
        turns.known = age < SILENT && state.edge(&self.node.1).is_some();
        let open = is_edge && (turns.progress.served().is_some() || turns.known);
        let wanted = if open { self.public(&turns.made.entry_points) } else { Wanted::new() };
        self.ports.send_if_modified(|ports| std::mem::replace(ports, wanted.clone()) != wanted);
        let left = SILENT.checked_sub(age).filter(|_| turns.known);
        let patience = worst.filter(|worst| !fails && !worst.is_zero()).and_then(|worst| SILENT.checked_sub(worst));
        left.into_iter().chain(patience).min().map(|left| now + left)
    }

    fn public(&self, entry_points: &BTreeSet<EntryPoint>) -> Wanted {
        let at = |port: u16| SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port));
        let door = |entry_point: &EntryPoint| match entry_point {
            EntryPoint::Web => (at(HTTP), self.addresses.http),
            EntryPoint::Websecure => (at(HTTPS), self.addresses.https),
        };
        entry_points.iter().map(door).collect()
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
        let Some(news) = record(recorded, served, turns.made.asked, &leaving, &done) else { return };
        let at = self.store.now();
        let edge = match news {
            News::Gone => None,
            News::Serves { served, drained } => Some(Record { node: name.clone(), served, at, drained }),
        };
        let command = Command::RecordEdge { node: uid.clone(), edge };
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
