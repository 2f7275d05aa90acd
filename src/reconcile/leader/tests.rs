//! The leader's loops on a store in memory, with a node that does all it is asked.

use std::{collections::BTreeMap, time::Duration};

use futures::FutureExt as _;
use serde_json::json;

use super::*;
use crate::{
    controller::Reconciler as _,
    model::{
        Bytes, Condition, ConditionStatus, ConditionType, Declared, Desired, Kind, Millicores, NodeStatus, ObjectKey,
        Reason, ReplicaPhase, ReplicaStatus, Resolution, ResolvedImage, ServiceSpec, Spec, Status, node::NodeSpec,
    },
    plan::why::usage,
    reconcile::view,
    store::{
        State,
        command::{Command, Group},
        put, rekey, testing,
    },
};

const DEADLINE: Duration = Duration::from_secs(20);

struct Lab {
    store: Client,
    sealer: Arc<Sealer>,
    stop: CancellationToken,
    loops: JoinSet<()>,
}

impl Lab {
    /// A cluster of one with its node, and the loops `rollout`, `status` and `rotation`.
    async fn new() -> Self {
        let mut lab = Self {
            store: testing::memory("n1").await,
            sealer: Arc::new(Sealer::ephemeral()),
            stop: CancellationToken::new(),
            loops: JoinSet::new(),
        };
        lab.put("n1", Spec::Node(NodeSpec::first())).await;
        let status = NodeStatus { cpus: Millicores(8000), memory: Bytes(64 << 30), ..NodeStatus::default() };
        lab.observe(ObjectKey::node("n1"), Status::Node(status)).await;
        let metrics = Metrics::default();
        let rollout = Arc::new(Rollout::new(lab.store.clone()));
        let keys = Box::pin(rollout.keys());
        lab.loops.spawn(controller::run(Options::named("rollout"), rollout, keys, metrics.clone(), lab.stop.clone()));
        let status = Arc::new(Conditions::new(lab.store.clone()));
        let keys = Box::pin(status.keys());
        lab.loops.spawn(controller::run(Options::named("status"), status, keys, metrics.clone(), lab.stop.clone()));
        let rotations = Arc::new(Rotations::new(lab.store.clone(), lab.sealer.clone()));
        let keys = Box::pin(rotations.keys());
        lab.loops.spawn(controller::run(Options::named("rotation"), rotations, keys, metrics, lab.stop.clone()));
        lab
    }
    async fn propose(&self, command: Command) {
        let group = Group { actor: "test".into(), commands: vec![command], ..Group::default() };
        self.store.propose(group, DEADLINE).await.unwrap();
    }
    async fn put(&self, name: &str, spec: Spec) {
        let declared = Declared { name: name.into(), labels: BTreeMap::new(), annotations: BTreeMap::new(), spec };
        let uid = Uid::from_bytes(rand::random());
        let put = put::put(&declared, None, &self.sealer, &self.store.state(), uid).unwrap();
        self.propose(Command::Put(put)).await;
    }
    async fn service(&self, image: &str, replicas: u32) {
        let spec: ServiceSpec = serde_json::from_value(json!({"image": image, "replicas": replicas})).unwrap();
        self.put("web", Spec::Service(Box::new(spec))).await;
    }
    async fn observe(&self, key: ObjectKey, status: Status) {
        let state = self.store.state();
        let uid = match key.kind {
            Kind::Replica => state.replica(&key.name).map(|r| r.uid.clone()),
            _ => state.object(&key).map(|o| o.meta.uid.clone()),
        };
        let Some(uid) = uid else { return };
        self.propose(Command::RecordObservations { statuses: vec![(key, uid, status)], events: vec![] }).await;
    }
    async fn resolve(&self) {
        let state = self.store.state();
        for object in state.objects(Kind::Service) {
            let service = object.meta.uid.clone();
            let revision = state.newest_revision(&service).unwrap().number;
            let image = Resolution::Resolved { image: ResolvedImage::Digest { reference: "a@sha256:1".into() } };
            self.propose(Command::ResolveImage { service, revision, image }).await;
        }
    }
    /// Plays the agent until the state is as asked.
    async fn until(&self, what: &str, mut seen: impl FnMut(&State) -> bool) -> Arc<State> {
        let mut watch = self.store.watch();
        let all = async {
            loop {
                let state = watch.borrow_and_update().clone();
                if seen(&state) {
                    return state;
                }
                for replica in state.replicas() {
                    let phase = match replica.desired {
                        Desired::Run => ReplicaPhase::Running,
                        Desired::Stop => ReplicaPhase::Stopped,
                    };
                    if state.replica_status(&replica.name).is_none_or(|s| s.phase != phase) {
                        let ready = phase == ReplicaPhase::Running;
                        let contents = match ready {
                            true => view::service(&state, &replica.service).map(|s| s.contents).unwrap_or_default(),
                            false => BTreeMap::new(),
                        };
                        let status = ReplicaStatus { phase, ready, contents, ..ReplicaStatus::default() };
                        self.observe(ObjectKey::replica(replica.name.clone()), Status::Replica(status)).await;
                    }
                }
                watch.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(DEADLINE, all).await {
            Ok(state) => state,
            Err(_) => panic!("{what}: {:#?}", self.store.state().service_status("web")),
        }
    }
    async fn end(mut self) {
        self.stop.cancel();
        tokio::time::timeout(DEADLINE, async { while self.loops.join_next().await.is_some() {} }).await.unwrap();
    }
}

#[tokio::test]
async fn data_goes_from_a_deleted_service_to_a_new_one_when_the_last_writer_has_stopped() {
    let lab = Lab::new().await;
    let spec: ServiceSpec = serde_json::from_value(json!({"image": "pg", "stopGracePeriod": "1h",
        "volumes": [{"type": "volume", "source": "data", "target": "/data"}]}))
    .unwrap();
    lab.put("old", Spec::Service(Box::new(spec.clone()))).await;
    lab.resolve().await;
    let runs = |s: &State, service: &str| s.replicas().any(|r| *r.service == *service && r.desired == Desired::Run);
    lab.until("the old one runs", |s| s.replicas().any(|r| s.replica_status(&r.name).is_some_and(|s| s.ready))).await;

    // In one group, as `apply --prune` writes a renamed service.
    let declared = Declared {
        name: "web".into(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        spec: Spec::Service(Box::new(spec)),
    };
    let put = put::put(&declared, None, &lab.sealer, &lab.store.state(), Uid::from_bytes([7; 16])).unwrap();
    let commands = vec![Command::Delete { key: ObjectKey::service("old") }, Command::Put(put)];
    lab.store.propose(Group { actor: "test".into(), commands, ..Group::default() }, DEADLINE).await.unwrap();
    lab.resolve().await;
    let mut watch = lab.store.watch();
    let told = |s: &State| {
        let said =
            s.service_status("web").and_then(|s| s.conditions.iter().find(|c| c.kind == ConditionType::Scheduled));
        said.is_some_and(|c| {
            c.reason == Reason::ReplicaSetUpdated && c.message.contains("waits until old.1 has stopped")
        })
    };
    let waits = watch.wait_for(|s| !runs(s, "old") && told(s));
    let state = tokio::time::timeout(DEADLINE, waits).await.expect("it says what it waits for").unwrap().clone();
    assert!(!runs(&state, "web"), "the old one is not known to have stopped");
    let mut writers = 0;
    lab.until("the new one runs", |s| {
        let live = s.replicas().filter(|r| s.replica_status(&r.name).is_none_or(|s| s.phase != ReplicaPhase::Stopped));
        writers = writers.max(live.count());
        settled(s, 1)
    })
    .await;
    assert_eq!(writers, 1, "never two at once");
    lab.end().await;
}

#[tokio::test]
async fn a_job_runs_to_its_end_and_says_so() {
    let lab = Lab::new().await;
    let spec: ServiceSpec = serde_json::from_value(json!({"image": "a", "mode": "job"})).unwrap();
    lab.put("web", Spec::Service(Box::new(spec))).await;
    lab.resolve().await;
    let runs = |s: &State| s.replicas().any(|r| s.replica_status(&r.name).is_some_and(|s| s.ready));
    let state = lab.until("it runs", runs).await;
    let attempt = state.replicas().next().unwrap().clone();
    assert_eq!((attempt.run, state.replicas().count()), (Some(1), 1));
    let completed = ReplicaStatus { phase: ReplicaPhase::Completed, ..ReplicaStatus::default() };
    lab.observe(ObjectKey::replica(attempt.name.clone()), Status::Replica(completed)).await;
    let mut watch = lab.store.watch();
    let done = |s: &State| ready(s).is_some_and(|c| c.status == ConditionStatus::True && c.reason == Reason::Completed);
    let waits = watch.wait_for(|s| done(s));
    let state = tokio::time::timeout(DEADLINE, waits).await.expect("it says that it succeeded").unwrap().clone();
    assert_eq!(ready(&state).unwrap().message, "run 1 succeeded");
    let told: Vec<Reason> = state.events().map(|e| e.reason).collect();
    assert!(told.contains(&Reason::RunStarted) && told.contains(&Reason::RunSucceeded), "{told:?}");
    assert_eq!(state.replicas().count(), 1, "its container is kept for its log");
    lab.end().await;
}

fn ready(state: &State) -> Option<Condition> {
    state.service_status("web")?.conditions.iter().find(|c| c.kind == ConditionType::Ready).cloned()
}
fn settled(state: &State, generation: u64) -> bool {
    ready(state).is_some_and(|c| c.status == ConditionStatus::True && c.observed_generation == generation)
}

#[tokio::test]
async fn a_service_comes_up_in_one_group_is_updated_scaled_and_deleted() {
    let lab = Lab::new().await;
    lab.service("a", 30).await;
    let before = lab
        .until("nothing is placed before its image is resolved", |s| {
            ready(s).is_some_and(|c| c.reason == Reason::ImageUnresolved)
        })
        .await;
    assert_eq!(before.replicas().count(), 0);
    lab.resolve().await;
    let up = lab.until("thirty are ready", |s| settled(s, 1)).await;
    let indexes: Vec<u64> = up.replicas().map(|r| r.index.0).collect();
    let span = indexes.iter().max().unwrap() - indexes.iter().min().unwrap();
    assert_eq!((indexes.len(), span), (30, 58), "one group: a change and an event each");

    lab.service("b", 2).await;
    lab.resolve().await;
    let updated = lab.until("two of the new revision", |s| settled(s, 2)).await;
    let running: Vec<u64> = updated.replicas().filter(|r| r.desired == Desired::Run).map(|r| r.revision).collect();
    assert_eq!(running, [2, 2]);
    assert!(updated.events().any(|e| e.reason == Reason::ReplicaSetUpdated));
    assert!(updated.events().any(|e| e.reason == Reason::NewReplicaReady));

    lab.propose(Command::Delete { key: ObjectKey::service("web") }).await;
    lab.until("nothing is left", |s| s.replicas().next().is_none()).await;
    lab.end().await;
}

/// Number of the newest version of the Secret, and how far it has come.
fn newest(state: &State) -> (u64, usage::Rollout) {
    let object = state.object(&ObjectKey::new(Kind::Secret, "db")).unwrap();
    let shared = view::shared(state, object).unwrap();
    (shared.versions[0].number, view::users(state).of(&shared).rollout)
}

#[tokio::test]
async fn values_are_drawn_by_schedule_and_none_before_the_last_one_has_arrived() {
    let lab = Lab::new().await;
    let every = Duration::from_millis(200);
    let spec = json!({"valueFrom": {"generate": {}}, "rotation": {"every": "200ms"}, "keepVersions": 50});
    lab.put("db", Spec::Secret(serde_json::from_value(spec).unwrap())).await;
    let spec = json!({"image": "a", "replicas": 2, "secrets": [{"source": "db"}]});
    lab.put("web", Spec::Service(Box::new(serde_json::from_value(spec).unwrap()))).await;
    // It has no image yet: the service is not as declared.
    let mut watch = lab.store.watch();
    let drawn = tokio::time::timeout(3 * every, watch.wait_for(|s| newest(s).0 > 1)).await;
    assert!(drawn.is_err(), "a user of it is on its way: {:?}", newest(&lab.store.state()));
    lab.resolve().await;
    let mut before = 1;
    let state = lab
        .until("four values were drawn", |s| {
            let (number, rollout) = newest(s);
            if number != before {
                assert_eq!(number, before + 1, "each is seen");
                assert_ne!(rollout, usage::Rollout::Complete, "the replicas have the one before");
                before = number;
            }
            number == 5
        })
        .await;
    let uid = &state.object(&ObjectKey::new(Kind::Secret, "db")).unwrap().meta.uid;
    let versions: Vec<_> = state.versions(uid).collect();
    for pair in versions.windows(2) {
        assert!(pair[1].made_at - pair[0].made_at >= 200, "{versions:?}");
        assert_eq!((&*pair[1].by, pair[1].reason.as_deref()), ("schedule", Some("rotation.every: 200ms")));
    }
    let records: Vec<_> = state.audit().records().filter(|r| &*r.who == "schedule").collect();
    assert_eq!(records.len(), 4);
    assert_eq!(&*records[0].path, "/api/v1/secrets/db/rotate");
    assert!(state.events().any(|e| e.object.name == "db".into() && e.message.contains("schedule")));
    // No node answers any more: at most the one that was on its way comes.
    let mut watch = lab.store.watch();
    let stuck = tokio::time::timeout(5 * every, watch.wait_for(|s| newest(s).0 > 6)).await;
    assert!(stuck.is_err(), "{:?}", newest(&lab.store.state()));
    lab.end().await;
}

#[tokio::test]
async fn a_change_of_the_key_that_was_cut_off_is_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let mut lab = Lab::new().await;
    lab.sealer = Arc::new(Sealer::create(dir.path(), &State::default()).unwrap());
    for version in 0..40 {
        let spec = json!({"stringData": {"value": version.to_string()}, "keepVersions": 50});
        lab.put("db", Spec::Secret(serde_json::from_value(spec).unwrap())).await;
    }
    let before = newest(&lab.store.state());
    let old = lab.sealer.newest_key();
    lab.sealer.begin_new_key().unwrap();
    let deadline = DEADLINE;
    let by = rekey::By { actor: "ann".into(), reason: None, request: None, deadline };
    let turn = rekey::go_on(&lab.store, &lab.sealer, &by, 3).await.unwrap();
    assert_eq!(turn, rekey::Turn::More(3), "and here the process is killed");
    lab.sealer = Arc::new(Sealer::load(dir.path()).unwrap().unwrap());
    assert_eq!(lab.sealer.older_keys(), [old]);
    let alone = lab.sealer.rekeying().await;
    let again = Rekey::new(lab.store.clone(), lab.sealer.clone());
    assert!(matches!(again.reconcile(()).await, Ok(controller::Action::RequeueAfter(_))));
    assert_eq!(lab.sealer.older_keys().len(), 1, "somebody else is at work");
    drop(alone);
    let mut turns = 0;
    while !lab.sealer.older_keys().is_empty() {
        again.reconcile(()).await.unwrap();
        turns += 1;
        assert!(turns <= 3, "32 in a turn, then the end");
    }
    assert_eq!(turns, 3);
    let index = lab.store.state().index();
    again.reconcile(()).await.unwrap();
    assert_eq!(lab.store.state().index(), index, "there is nothing left to do");
    let sealer = Sealer::load(dir.path()).unwrap().unwrap();
    assert!(sealer.older_keys().is_empty());
    let state = lab.store.state();
    assert_eq!(newest(&state).0, before.0, "no new version");
    let uid = &state.object(&ObjectKey::new(Kind::Secret, "db")).unwrap().meta.uid;
    for version in state.versions(uid) {
        let object =
            version.kept.as_ref().unwrap_or_else(|| state.object(&ObjectKey::new(Kind::Secret, "db")).unwrap());
        let values = sealer.open(&object.parse().unwrap(), uid).unwrap();
        assert_eq!(*values["value"], (version.number - 1).to_string().into_bytes());
    }
    lab.end().await;
}

#[tokio::test]
async fn a_status_is_written_only_when_something_changed() {
    let lab = Lab::new().await;
    lab.service("a", 1).await;
    lab.resolve().await;
    let settled_at = lab.until("ready", |s| settled(s, 1)).await;
    // A write that changes nothing of it names it all the same.
    lab.put("other", Spec::Config(serde_json::from_value(json!({"data": {"a": "b"}})).unwrap())).await;
    lab.put("n1", Spec::Node(NodeSpec { schedulable: false, ..NodeSpec::first() })).await;
    lab.service("a", 1).await;
    let now = lab.until("the cordon was seen", |s| s.objects(Kind::Config).next().is_some()).await;
    assert_eq!(now.service_status("web"), settled_at.service_status("web"));
    lab.end().await;
}

#[tokio::test]
async fn the_stream_of_keys_begins_with_everything_and_goes_on_with_changes() {
    let lab = Lab::new().await;
    lab.service("a", 1).await;
    let mut keys = Box::pin(triggers::keys(&lab.store, |state, scope| match scope {
        triggers::Scope::All => triggers::services(state, scope),
        triggers::Scope::One(change) if change.key.kind == Kind::Config => vec![change.key.name.clone()],
        triggers::Scope::One(_) => vec![],
    }));
    use futures::StreamExt as _;
    assert_eq!(keys.next().await.as_deref(), Some("web"));
    lab.put("c1", Spec::Config(Default::default())).await;
    lab.put("c2", Spec::Config(Default::default())).await;
    assert_eq!((keys.next().await.as_deref(), keys.next().await.as_deref()), (Some("c1"), Some("c2")));
    assert!(keys.next().now_or_never().is_none(), "a quiet store names nothing");
    lab.end().await;
}

#[tokio::test(start_paused = true)]
async fn loops_live_exactly_as_long_as_the_leadership_and_begin_anew_when_one_dies() {
    let (lead, leadership) = watch::channel(None);
    let (begun, mut begins) = tokio::sync::mpsc::channel(8);
    let (alive, stop) = (Arc::new(()), CancellationToken::new());
    let dies = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let start = {
        let (alive, dies) = (alive.clone(), dies.clone());
        move |loops: &mut JoinSet<()>| {
            let (alive, dies, begun) = (alive.clone(), dies.clone(), begun.clone());
            loops.spawn(async move {
                begun.try_send(()).unwrap();
                let _held = alive;
                if dies.swap(false, std::sync::atomic::Ordering::SeqCst) {
                    panic!("as asked");
                }
                std::future::pending::<()>().await;
            });
        }
    };
    let watched = alive.clone();
    drop(alive);
    let held = tokio::spawn(hold(leadership, stop.clone(), start));
    lead.send(Some(Index(7))).unwrap();
    begins.recv().await.unwrap();
    // Lost: the loop is dropped where it stands. Won again, also in the same term: it begins anew.
    lead.send(None).unwrap();
    while Arc::strong_count(&watched) > 2 {
        tokio::task::yield_now().await;
    }
    dies.store(true, std::sync::atomic::Ordering::SeqCst);
    lead.send(Some(Index(9))).unwrap();
    begins.recv().await.unwrap();
    tokio::time::timeout(DEADLINE, begins.recv()).await.unwrap().unwrap();
    // The store is closed: the end.
    drop(lead);
    tokio::time::timeout(DEADLINE, held).await.unwrap().unwrap();
}
