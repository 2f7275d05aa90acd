use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::time::timeout;

use super::*;
use crate::{
    edge::{Told, hold::Limits},
    model::{Declared, Spec},
    plan::{
        entry::Own,
        routes::{Input, table},
    },
    store::{put::put, seal::Sealer, testing},
};

const SECOND: Duration = Duration::from_secs(1);

/// Makes one that asks for the port of HTTP; or fails.
#[derive(Default)]
struct Plain {
    fails: AtomicBool,
    asked: AtomicUsize,
}

impl Tables for Plain {
    fn make(&self, _: &State, _: u64, _: &Listeners) -> Made {
        self.asked.fetch_add(1, Ordering::SeqCst);
        assert!(!self.fails.load(Ordering::SeqCst), "as it was told");
        let document = table(&Input::default()).document;
        Made { document, entry_points: [EntryPoint::Web].into(), ..Made::default() }
    }
    fn endpoints(&self, _: &State, _: &[Arc<str>]) -> Offered {
        Offered::default()
    }
}

/// An edge on a node that has the role, which the log knows.
async fn edge() -> Edge<Plain> {
    let edge = unknown().await;
    let record = Record { node: "n1".into(), served: Index::default(), at: 1, drained: BTreeSet::new() };
    propose(&edge, Command::RecordEdge { node: edge.node.1.clone(), edge: Some(record), judged: None }).await;
    edge
}

async fn propose(edge: &Edge<Plain>, command: Command) {
    let group = Group { actor: "test".into(), commands: vec![command], ..Group::default() };
    edge.store.propose(group, DEADLINE).await.unwrap();
}

/// One that was never told of.
async fn unknown() -> Edge<Plain> {
    let store = testing::memory("n1").await;
    let (labels, annotations) = ([].into(), [].into());
    let declared = Declared { name: "n1".into(), labels, annotations, spec: Spec::Node(NodeSpec::first()) };
    let uid = Uid::from_bytes([7; 16]);
    let node = put(&declared, None, &Sealer::ephemeral(), &store.state(), uid.clone()).unwrap();
    let group = Group { actor: "test".into(), commands: vec![Command::Put(node)], ..Group::default() };
    store.propose(group, DEADLINE).await.unwrap();
    let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
    Edge {
        store,
        node: ("n1".into(), uid),
        tables: Arc::default(),
        offer: Arc::default(),
        addresses: Addresses { api: at(1), http: at(2), https: at(3), traefik: at(4) },
        ports: watch::Sender::new(Asked::default()),
        holds: Holds::new(Limits::within(1 << 16), CancellationToken::new()),
    }
}

impl Edge<Plain> {
    /// One turn, so long after now. Where the public port leads to; none: it is shut.
    fn turn(&self, turns: &mut Turns, later: Duration) -> Option<Option<SocketAddr>> {
        let (now, seen) = (Instant::now() + later, *self.offer.asked().borrow());
        turns.came(seen, now);
        // Longer than one is waited for that was there before.
        self.live(turns, &self.store.state(), seen, now, 60 * SECOND);
        turns.prune();
        self.ports.borrow().ports.values().next().copied()
    }
}

/// Traefik reads the document, and is seen to serve it.
fn serves(edge: &Edge<Plain>, turns: &mut Turns, told: &Told) -> super::super::offer::Polling {
    told.answered(edge.offer.number());
    let polling = edge.offer.offered().polls(told);
    turns.came(*edge.offer.asked().borrow(), Instant::now());
    turns.heard(Served { marker: turns.marker, turn: turns.turn, lost: turns.lost }, Instant::now());
    polling
}

#[tokio::test]
async fn nothing_is_offered_before_there_is_a_whole_table_and_it_is_tried_again() {
    let edge = edge().await;
    let (state, mut turns) = (edge.store.state(), Turns::new(Instant::now()));
    edge.tables.fails.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        edge.table(&mut turns, &state).await;
    }
    assert_eq!(
        (edge.offer.number(), turns.progress.outstanding(), edge.tables.asked.load(Ordering::SeqCst)),
        (0, None, 1)
    );
    edge.tables.fails.store(false, Ordering::SeqCst);
    let again = turns.broken.expect("it is tried again");
    sleep_until(again.into()).await;
    edge.table(&mut turns, &state).await;
    assert_eq!((edge.offer.number(), turns.progress.outstanding(), turns.broken), (1, Some(1), None));
    let text = String::from_utf8(edge.offer.offered().now().unwrap().bytes.to_vec()).unwrap();
    // One that cannot be made later does not count as served either.
    assert!(turns.progress.read(1) && text.contains("gen-"), "{text}");
    let index = turns.progress.served();
    edge.tables.fails.store(true, Ordering::SeqCst);
    turns.again = Some(Instant::now());
    edge.table(&mut turns, &state).await;
    assert_eq!((edge.offer.number(), turns.progress.served(), turns.again), (1, index, None));
    assert!(turns.broken.is_some());
}

#[tokio::test]
async fn a_traefik_that_does_not_take_the_newest_goes_on_serving_and_one_that_is_gone_does_not() {
    let edge = edge().await;
    let mut turns = Turns::new(Instant::now());
    edge.table(&mut turns, &edge.store.state()).await;
    assert_eq!(edge.turn(&mut turns, Duration::ZERO), None, "nobody was ever there");
    let told = Told::default();
    let polling = serves(&edge, &mut turns, &told);
    let open = Some(Some(edge.addresses.http));
    assert_eq!(edge.turn(&mut turns, Duration::ZERO), open);
    let served = turns.progress.served().unwrap();
    assert!(served > Index::default());
    // The next one it does not take, and asks for it all the time.
    turns.seen = None;
    edge.table(&mut turns, &edge.store.state()).await;
    assert_eq!((edge.offer.number(), turns.progress.outstanding()), (2, Some(2)));
    assert_eq!(edge.turn(&mut turns, SILENT + SECOND), open);
    assert_eq!(edge.turn(&mut turns, 600 * SECOND), open);
    assert!(turns.late && turns.progress.served() == Some(served), "it is said how far it is");
    turns.heard(Served { marker: turns.marker, turn: turns.turn, lost: 0 }, Instant::now());
    assert!(!turns.late && turns.progress.outstanding().is_none());
    // And then it asks no more, though its connection is there.
    drop(polling);
    assert_eq!(edge.turn(&mut turns, SILENT - SECOND), open);
    assert_eq!(edge.ports.borrow().cut, 0);
    assert_eq!(edge.turn(&mut turns, SILENT + SECOND), Some(None), "who comes waits");
    // It may go on as it was told: what goes through it ends before nobody waits for it any more.
    assert_eq!((edge.ports.borrow().cut, turns.progress.served().is_some()), (1, true));
    edge.turn(&mut turns, SILENT + SECOND + PARTING);
    assert_eq!((edge.ports.borrow().cut, turns.progress.served()), (1, None), "it is not counted on");
    assert_eq!(edge.turn(&mut turns, AWAY + SECOND), None);
}

#[tokio::test]
async fn a_port_that_is_shut_for_want_of_a_traefik_says_so() {
    let edge = edge().await;
    let mut turns = Turns::new(Instant::now());
    edge.table(&mut turns, &edge.store.state()).await;
    let says = |turns: &mut Turns, later| {
        edge.turn(turns, later);
        edge.ports.borrow().shut.clone()
    };
    let shut = |asks| Some(Shut { ports: [80].into(), asks, api: edge.addresses.api, own: Own::Undeclared });
    assert_eq!(says(&mut turns, Duration::ZERO), None, "the first one may be on its way");
    assert_eq!(says(&mut turns, SILENT + SECOND), shut(false));
    let told = Told::default();
    let asks = edge.offer.offered().polls(&told);
    assert_eq!(says(&mut turns, SILENT + SECOND), shut(true), "it serves nothing of what it was given");
    drop(asks);
    let polling = serves(&edge, &mut turns, &told);
    assert_eq!(
        (edge.turn(&mut turns, Duration::ZERO), says(&mut turns, Duration::ZERO)),
        (Some(Some(edge.addresses.http)), None)
    );
    // One that went, or was told of another address of ours.
    drop(polling);
    assert_eq!(says(&mut turns, SILENT + SECOND), None, "who comes waits");
    assert_eq!(says(&mut turns, AWAY + SECOND), shut(false), "and it is said at once that nobody does any more");
    // Nothing asks for a port.
    turns.made.entry_points.clear();
    assert_eq!(says(&mut turns, AWAY + SECOND), None);
}

#[tokio::test]
async fn who_comes_while_traefik_is_replaced_waits_until_the_new_one_serves() {
    let edge = edge().await;
    let mut turns = Turns::new(Instant::now());
    edge.table(&mut turns, &edge.store.state()).await;
    let (old, new) = (Told::default(), Told::default());
    let polling = serves(&edge, &mut turns, &old);
    assert_eq!(edge.turn(&mut turns, Duration::ZERO), Some(Some(edge.addresses.http)));
    drop((polling, old));
    assert_eq!(edge.turn(&mut turns, Duration::ZERO), Some(None), "it is gone");
    assert_eq!(turns.progress.served(), Some(Index::default()), "nothing is programmed");
    let before = Served { marker: turns.marker, turn: turns.turn, lost: 0 };
    let _first = edge.offer.offered().polls(&new);
    assert_eq!(edge.turn(&mut turns, Duration::ZERO), Some(None), "it listens, and has nothing yet");
    turns.heard(before, Instant::now());
    assert_eq!(edge.turn(&mut turns, Duration::ZERO), Some(None), "that was the old one");
    let _second = serves(&edge, &mut turns, &new);
    assert_eq!(edge.turn(&mut turns, Duration::ZERO), Some(Some(edge.addresses.http)));
    assert!(turns.progress.served() > Some(Index::default()));
}

#[tokio::test]
async fn one_that_stops_gets_nobody_though_it_asks_on_and_is_let_go() {
    let edge = edge().await;
    let mut turns = Turns::new(Instant::now());
    edge.table(&mut turns, &edge.store.state()).await;
    let (old, new) = (Told::default(), Told::default());
    let _asks_on = serves(&edge, &mut turns, &old);
    let hurried = async || timeout(SECOND, edge.offer.offered().hurried()).await.is_ok();
    assert_eq!(edge.turn(&mut turns, Duration::ZERO), Some(Some(edge.addresses.http)));
    assert!(!hurried().await);
    turns.heard(Served { marker: turns.marker, turn: turns.turn, lost: 1 }, Instant::now());
    assert_eq!(edge.turn(&mut turns, Duration::ZERO), Some(None), "who comes waits");
    assert_eq!(turns.progress.served(), Some(Index::default()), "nothing is programmed");
    assert!(hurried().await, "it would end no sooner than it is answered");
    // The next is there before it has ended.
    let _new = serves(&edge, &mut turns, &new);
    assert_eq!(edge.turn(&mut turns, Duration::ZERO), Some(Some(edge.addresses.http)));
    assert!(!hurried().await && turns.progress.served() > Some(Index::default()));
}

#[tokio::test]
async fn a_place_where_requests_waited_is_closed_though_nobody_reads_the_next_document() {
    let edge = edge().await;
    let mut turns = Turns::new(Instant::now());
    edge.table(&mut turns, &edge.store.state()).await;
    let waits = Made { waits: [(("web".into(), 80), (SECOND, 1))].into(), ..Made::default() };
    assert!(edge.hold(&mut turns, &waits).await);
    let told = Told::default();
    let polling = edge.offer.offered().polls(&told);
    edge.turn(&mut turns, Duration::ZERO);
    assert_eq!(turns.held.len(), 1, "Traefik may still send there");
    drop(polling);
    edge.turn(&mut turns, SILENT + SECOND);
    assert!(turns.held.is_empty());
}

#[tokio::test]
async fn nobody_is_sent_to_a_traefik_of_which_the_log_does_not_know() {
    let edge = unknown().await;
    let mut turns = Turns::new(Instant::now());
    edge.table(&mut turns, &edge.store.state()).await;
    let told = Told::default();
    let _polling = serves(&edge, &mut turns, &told);
    assert_eq!(edge.turn(&mut turns, Duration::ZERO), None);
    edge.tell(&mut turns, &edge.store.state());
    timeout(10 * SECOND, turns.telling.take().unwrap()).await.unwrap().unwrap();
    assert_eq!(edge.turn(&mut turns, Duration::ZERO), Some(Some(edge.addresses.http)));
    // That it is left out of the log later shuts nobody out.
    propose(&edge, Command::RecordEdge { node: edge.node.1.clone(), edge: None, judged: None }).await;
    assert_eq!(edge.turn(&mut turns, Duration::ZERO), Some(Some(edge.addresses.http)));
}

#[tokio::test]
async fn an_edge_that_was_left_out_of_the_log_comes_back_only_when_it_follows() {
    let edge = unknown().await;
    let mut turns = Turns::new(Instant::now());
    edge.table(&mut turns, &edge.store.state()).await;
    let told = Told::default();
    let _polling = serves(&edge, &mut turns, &told);
    edge.turn(&mut turns, Duration::ZERO);
    let mut told = async || {
        edge.tell(&mut turns, &edge.store.state());
        let Some(telling) = turns.telling.take() else { return false };
        timeout(10 * SECOND, telling).await.unwrap().unwrap();
        true
    };
    assert!(told().await && edge.store.state().edge(&edge.node.1).is_some());
    assert!(!told().await, "nothing new");
    let drop = Command::RecordEdge { node: edge.node.1.clone(), edge: None, judged: None };
    propose(&edge, drop).await;
    assert!(!told().await, "it is as far as it was");
}

#[tokio::test]
async fn it_is_said_how_far_the_clusters_own_traefik_got() {
    let edge = unknown().await;
    assert_eq!(own::find(&edge.store.state(), "n1"), Own::Undeclared);
    let manifest = include_str!("../../../manifests/traefik.yaml");
    let parsed = crate::manifest::parse("traefik.yaml", manifest.as_bytes(), &crate::manifest::Options::default());
    for (at, declared) in parsed.documents.into_iter().map(|d| d.declared).enumerate() {
        let (state, uid) = (edge.store.state(), Uid::from_bytes([at as u8 + 1; 16]));
        let declared = match declared.spec {
            Spec::Secret(spec) => {
                Declared { spec: Spec::Secret(spec.with(crate::model::rotation::TRAEFIK_FILE, b"x")), ..declared }
            }
            _ => declared,
        };
        propose(&edge, Command::Put(put(&declared, None, &Sealer::ephemeral(), &state, uid).unwrap())).await;
        let found = own::find(&edge.store.state(), "n1");
        let name: Arc<str> = "traefik".into();
        assert_eq!(found, if at == 0 { Own::Unused { secret: name } } else { Own::Nowhere { service: name } });
    }
}
