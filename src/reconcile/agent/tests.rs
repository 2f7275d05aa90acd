//! The node's loop against an engine in memory and a store without files. Passes are asked for one by
//! one and the clock is moved by hand, so that nothing here waits for time; one test runs it all.

mod adoption;
mod contents;
mod data;
mod drift;
mod exits;
mod granted;
mod health;
mod hooks;
mod images;
mod jobs;
mod refusals;
mod silence;
mod stops;
mod writers;

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use tokio::sync::watch;

use super::*;
use crate::{
    controller,
    model::{
        Declared, Desired, Grants, Index, Kind, ReplicaPhase, ResolvedImage, Spec, Status, Uid, config::ConfigSpec,
        testing::replica,
    },
    reconcile::{container::label, node},
    runtime::{
        ContainerState, RuntimeEvent, Summary,
        fake::{self, Ends, Fake},
    },
    store::{
        command::{Command, Group},
        put::put,
        testing::memory,
    },
};

const WAIT: Duration = Duration::from_secs(5);
const IMAGE: &str = "hello@sha256:0000000000000000000000000000000000000000000000000000000000000000";

struct World {
    store: Client,
    engine: Arc<Fake>,
    sealer: Arc<Sealer>,
    agent: Arc<Agent>,
    now: Arc<AtomicU64>,
    run: tempfile::TempDir,
    node: Uid,
    /// What the configuration grants.
    grants: watch::Sender<Arc<Grants>>,
    stop: CancellationToken,
    /// Processes that this machine shows.
    processes: Processes,
}

type Processes = Arc<Mutex<BTreeMap<i64, u64>>>;

impl World {
    async fn new() -> Self {
        let (store, stop) = (memory("n1").await, CancellationToken::new());
        let node = prepare::new_uid();
        node::register(&store, &("n1".into(), node.clone()), &stop).await.unwrap();
        let (engine, sealer) = (Arc::new(Fake::new()), Arc::new(Sealer::ephemeral()));
        engine.with_image(IMAGE);
        let says = vec![fake::out("starting\n"), fake::out("\x1b[31mpanic: no database\x07\n")];
        engine.teach_the_rest(fake::Program { says, ends: Ends::At(vec![("SIGTERM", 0)]) });
        let (now, run) = (Arc::new(AtomicU64::new(1_000_000)), tempfile::tempdir().unwrap());
        let (processes, grants) = (Processes::default(), watch::Sender::new(Arc::default()));
        let agent = seeing(&processes, make(&store, &engine, &sealer, &now, &run, (&node, &grants), &stop));
        let world = Self { store, engine, sealer, agent, now, run, node, grants, stop, processes };
        world.list().await;
        world
    }
    /// The agent process ends and another one begins.
    async fn restart_agent(&mut self) {
        self.begin_agent();
        self.list().await;
    }
    /// Another one begins, and has asked the engine nothing yet.
    fn begin_agent(&mut self) {
        let (engine, sealer) = (&self.engine, &self.sealer);
        let node = (&self.node, &self.grants);
        let agent = make(&self.store, engine, sealer, &self.now, &self.run, node, &self.stop);
        self.agent = seeing(&self.processes, agent);
    }
    /// What a full list does.
    async fn list(&self) {
        let lineage = self.lineage();
        let begun = self.agent.containers.clock();
        let list = self.engine.list(label::LINEAGE.into(), lineage).await.unwrap();
        self.agent.wakes.wake_all(self.agent.containers.listed(begun, list));
        self.agent.containers.set_engine(containers::Engine::Known);
    }
    fn lineage(&self) -> String {
        self.store.state().cluster().unwrap().lineage.to_string()
    }
    async fn propose(&self, commands: Vec<Command>) {
        let group = Group { actor: "test".into(), commands, ..Group::default() };
        self.store.propose(group, WAIT).await.unwrap();
    }
    async fn told_to_stop(&self, replicas: &[Arc<str>]) {
        let stop = |replica: &Arc<str>| Command::SetDesired {
            replica: replica.clone(),
            desired: Desired::Stop,
            reason: Reason::ScaledDown,
        };
        self.propose(replicas.iter().map(stop).collect()).await;
    }
    async fn declare(&self, name: &str, spec: Spec) {
        let declared =
            Declared { name: name.into(), labels: Default::default(), annotations: Default::default(), spec };
        let state = self.store.state();
        let command = put(&declared, None, &self.sealer, &state, prepare::new_uid()).unwrap();
        self.propose(vec![Command::Put(command)]).await;
    }
    /// A service of one replica on this node; answers the replica's name.
    async fn service(&self, name: &str, mut spec: serde_json::Value) -> Arc<str> {
        spec["image"] = json!("hello");
        self.service_of(name, spec, ResolvedImage::Digest { reference: IMAGE.into() }).await
    }
    /// The same, of an image that was resolved to another one.
    async fn service_of(&self, name: &str, spec: serde_json::Value, image: ResolvedImage) -> Arc<str> {
        let spec: ServiceSpec = serde_json::from_value(spec).unwrap();
        self.declare(name, Spec::Service(Box::new(spec))).await;
        let state = self.store.state();
        let service = state.object(&ObjectKey::service(name)).unwrap().meta.uid.clone();
        let revision = state.newest_revision(&service).unwrap().clone();
        let replica = Replica {
            service_uid: service.clone(),
            revision: revision.number,
            spec_hash: revision.spec_hash.clone(),
            node_uid: self.node.clone(),
            ..replica(name, 1)
        };
        let image = Resolution::Resolved { image };
        let key = replica.name.clone();
        let resolve = Command::ResolveImage { service, revision: revision.number, image };
        self.propose(vec![resolve, Command::Place { replica, beside: None }]).await;
        key
    }
    async fn pass(&self, key: &Arc<str>) -> Action {
        self.agent.reconcile(key.clone()).await.unwrap()
    }
    /// The next replica that something woke.
    async fn woken(&self) -> Option<Arc<str>> {
        std::pin::pin!(self.agent.wakes.stream()).next().await
    }
    /// The same, when it is there.
    async fn woken_at_once(&self) -> Option<Arc<str>> {
        tokio::time::timeout(Duration::from_millis(50), self.woken()).await.ok().flatten()
    }
    fn later(&self, seconds: u64) {
        self.now.fetch_add(seconds * 1_000, Ordering::Relaxed);
    }
    /// The engine tells of what happened to a container.
    fn hear(&self, key: &Arc<str>, actions: &[&str]) {
        for entry in self.agent.containers.of(key) {
            let Summary { id, name, labels, .. } = entry.summary;
            let at =
                entry.inspected.and_then(|c| c.started_at.parse().ok()).map(|t: jiff::Timestamp| t.as_nanosecond());
            let at = i64::try_from(at.unwrap_or(0)).unwrap() + 1_000_000_000;
            for action in actions {
                let (container, labels) = (id.clone(), labels.clone());
                let event =
                    RuntimeEvent { container, name: name.clone(), labels, action: (*action).into(), signal: None, at };
                self.agent.containers.happened(&event);
            }
        }
    }
    fn reported(&self, key: &Arc<str>) -> ReplicaStatus {
        self.agent.with(key, |m| m.reported.clone()).unwrap_or_default()
    }
    fn says(&self, key: &Arc<str>) -> (ReplicaPhase, Option<Reason>, bool) {
        let status = self.reported(key);
        (status.phase, status.reason, status.ready)
    }
    /// Every event so far, oldest first.
    async fn told(&self) -> Vec<(Reason, String)> {
        let over = CancellationToken::new();
        over.cancel();
        self.agent.reporter.clone().run(self.store.clone(), "test".into(), over).await;
        let state = self.store.state();
        state.events_after(Index(0)).unwrap().map(|e| (e.reason, e.message.clone())).collect()
    }
    /// Writes the last report into the log, as the reporter does.
    async fn write_report(&self, key: &Arc<str>) {
        let uid = self.store.state().replica(key).unwrap().uid.clone();
        let status = Status::Replica(self.reported(key));
        let statuses = vec![(ObjectKey::replica(key.clone()), uid, status)];
        self.propose(vec![Command::RecordObservations { statuses, events: vec![] }]).await;
    }
}

fn make(
    store: &Client,
    engine: &Arc<Fake>,
    sealer: &Arc<Sealer>,
    now: &Arc<AtomicU64>,
    run: &tempfile::TempDir,
    (node, grants): (&Uid, &watch::Sender<Arc<Grants>>),
    stop: &CancellationToken,
) -> Agent {
    let this = ThisNode {
        name: "n1".into(),
        uid: node.clone(),
        advertise: None,
        run_dir: run.path().to_owned(),
        grants: grants.subscribe(),
        in_memory: false,
    };
    let clock = now.clone();
    let agent = Agent::new(this, store.clone(), engine.clone(), sealer.clone(), Reporter::default(), stop);
    agent.with_clock(move || clock.load(Ordering::Relaxed))
}

fn seeing(processes: &Processes, agent: Agent) -> Arc<Agent> {
    let seen = processes.clone();
    Arc::new(agent.with_processes(move |pid| seen.lock().unwrap().get(&pid).copied()))
}

#[tokio::test]
async fn a_placed_replica_is_made_started_and_becomes_ready() {
    let world = World::new().await;
    let key = world.service("web", json!({})).await;
    assert_eq!(world.pass(&key).await, Action::RequeueAfter(Duration::from_millis(10_001)));
    assert_eq!(world.engine.calls(), ["create web-1-abcde", "start web-1-abcde"]);
    let plan = world.engine.plan(&key);
    assert_eq!((plan.image.as_str(), plan.labels[label::REPLICA].as_str()), (IMAGE, "web-1-abcde"));
    assert_eq!(world.says(&key), (ReplicaPhase::Running, Some(Reason::Starting), false));
    world.later(10);
    world.pass(&key).await;
    assert_eq!(world.says(&key), (ReplicaPhase::Running, None, true));
    assert_eq!(world.engine.calls(), [""; 0], "and nothing more is done");
}

#[tokio::test]
async fn a_crash_loop_backs_off_and_says_what_was_logged_last() {
    let world = World::new().await;
    let key = world.service("web", json!({})).await;
    world.pass(&key).await;
    let mut waits = Vec::new();
    for _ in 0..4 {
        world.engine.crash(&key, 1);
        world.hear(&key, &["die"]);
        world.pass(&key).await;
        let status = world.reported(&key);
        let wait = status.next_attempt.map_or(0, |at| at - world.now.load(Ordering::Relaxed)) / 1_000;
        waits.push(wait);
        if wait > 0 {
            assert_eq!((status.phase, status.reason), (ReplicaPhase::BackOff, Some(Reason::CrashLoopBackOff)));
            world.later(wait);
            world.pass(&key).await;
        }
    }
    assert_eq!(waits, [0, 10, 20, 40]);
    let status = world.reported(&key);
    assert_eq!((status.restarts, status.phase), (4, ReplicaPhase::Running));
    assert_eq!(status.last_exit.unwrap().log_tail, ["starting", "[31mpanic: no database"]);
}

#[tokio::test]
async fn what_somebody_stopped_comes_back_after_ten_seconds_or_stays() {
    let world = World::new().await;
    for (restart, state) in [("always", ContainerState::Running), ("unless-stopped", ContainerState::Exited)] {
        let key = world.service(restart, json!({ "restart": restart })).await;
        world.pass(&key).await;
        world.engine.hand_stop(&key);
        world.hear(&key, &["kill", "die", "stop"]);
        world.pass(&key).await;
        assert_eq!(world.says(&key).1, Some(Reason::StoppedByHand), "{restart}");
        assert_eq!(world.engine.container(&key).unwrap().state, ContainerState::Exited, "{restart}");
        world.later(10);
        world.pass(&key).await;
        assert_eq!(world.engine.container(&key).unwrap().state, state, "{restart}");
    }
}

#[tokio::test]
async fn a_missing_secret_holds_up_the_start_until_it_comes() {
    let world = World::new().await;
    let spec = json!({ "secrets": [{ "source": "db" }], "configs": [{ "source": "conf", "target": "/etc/c" }] });
    let key = world.service("web", spec).await;
    world
        .declare("conf", Spec::Config(ConfigSpec { data: [("a".into(), "1".into())].into(), ..ConfigSpec::default() }))
        .await;
    world.pass(&key).await;
    assert_eq!(world.says(&key), (ReplicaPhase::Waiting, Some(Reason::SecretMissing), false));
    assert_eq!(world.engine.calls(), [""; 0]);
    let waits = ObjectKey::new(Kind::Secret, "db");
    assert_eq!(world.agent.waiting_for(&waits), std::slice::from_ref(&key));
    let secret = serde_json::from_value(json!({ "stringData": { "url": "postgres://" } })).unwrap();
    world.declare("db", Spec::Secret(secret)).await;
    world.pass(&key).await;
    assert_eq!(world.says(&key).0, ReplicaPhase::Running);
    assert!(world.agent.waiting_for(&waits).is_empty());
    let mounts = world.engine.plan(&key).mounts;
    assert_eq!(mounts.len(), 2);
    assert_eq!(std::fs::read_to_string(world.run.path().join("files/web-1-abcde/1")).unwrap(), "postgres://");
}

#[tokio::test]
async fn a_dependency_is_waited_for_before_the_first_start_only() {
    let world = World::new().await;
    let depends = json!({ "dependsOn": [{ "name": "db", "condition": "service_healthy" }] });
    let key = world.service("web", depends).await;
    world.pass(&key).await;
    assert_eq!(world.says(&key).1, Some(Reason::WaitingForDependency));
    let db = world.service("db", json!({})).await;
    world.pass(&db).await;
    world.write_report(&db).await;
    world.pass(&key).await;
    assert_eq!(world.says(&key).1, Some(Reason::WaitingForDependency), "it runs but is not ready");
    world.later(10);
    world.pass(&db).await;
    world.write_report(&db).await;
    world.pass(&key).await;
    assert_eq!(world.says(&key).0, ReplicaPhase::Running);
    world.engine.crash(&db, 1);
    world.engine.crash(&key, 1);
    world.hear(&key, &["die"]);
    world.pass(&key).await;
    assert_eq!(world.says(&key).0, ReplicaPhase::Running, "a restart waits for nobody");
}

#[tokio::test]
async fn a_stopped_replica_is_removed_with_its_files() {
    let world = World::new().await;
    let key = world.service("web", json!({ "configs": [{ "source": "conf" }] })).await;
    world
        .declare("conf", Spec::Config(ConfigSpec { data: [("a".into(), "1".into())].into(), ..ConfigSpec::default() }))
        .await;
    world.pass(&key).await;
    assert!(world.run.path().join("files/web-1-abcde").exists());
    let stop = Command::SetDesired { replica: key.clone(), desired: Desired::Stop, reason: Reason::ScaledDown };
    world.propose(vec![stop]).await;
    world.engine.calls();
    world.pass(&key).await;
    assert_eq!(world.engine.calls(), ["stop web-1-abcde", "remove web-1-abcde"]);
    assert_eq!(world.says(&key), (ReplicaPhase::Stopped, Some(Reason::ScaledDown), false));
    assert!(!world.run.path().join("files/web-1-abcde").exists());
    assert_eq!(world.pass(&key).await, Action::Done);
}

#[tokio::test]
async fn a_silent_engine_is_no_absence() {
    let world = World::new().await;
    let key = world.service("web", json!({})).await;
    world.engine.down(true);
    world.pass(&key).await;
    assert_eq!(world.says(&key).1, Some(Reason::DockerDown));
    world.engine.down(false);
    world.list().await;
    world.pass(&key).await;
    assert_eq!(world.says(&key).0, ReplicaPhase::Running);
}

#[tokio::test]
async fn an_error_about_one_container_says_nothing_of_the_others() {
    let world = World::new().await;
    let (one, other) = (world.service("one", json!({})).await, world.service("other", json!({})).await);
    for key in [&one, &other] {
        world.pass(key).await;
        world.later(10);
        world.pass(key).await;
        assert!(world.says(key).2, "{key}");
    }
    let down = RuntimeError::Down { address: "x".into(), message: "reset".into() };
    let late = RuntimeError::Unresponsive { op: "inspect", limit: WAIT };
    for error in [RuntimeError::Failed { message: "500".into() }, late, down] {
        world.engine.refuse_inspect(&one, Some(error.clone()));
        for key in [&one, &other] {
            world.agent.containers.changed(&world.engine.container(key).unwrap().id);
        }
        let failed = world.agent.reconcile(one.clone()).await;
        assert!(matches!(&failed, Err(PassError::Engine { source, .. }) if *source == error), "{failed:?}");
        assert_eq!(world.agent.containers.engine(), containers::Engine::Known, "{error}");
        world.pass(&other).await;
        assert_eq!(world.says(&other), (ReplicaPhase::Running, None, true), "{error}");
    }
    assert_eq!(world.engine.calls().len(), 4, "two creates, two starts, and nothing is done on a guess");
    world.engine.refuse_inspect(&one, None);
    world.pass(&one).await;
    assert_eq!(world.says(&one), (ReplicaPhase::Running, None, true));
    // The engine itself is silent: that is known by another question.
    world.engine.down(true);
    world.agent.containers.changed(&world.engine.container(&one).unwrap().id);
    world.pass(&one).await;
    assert!(matches!(world.agent.containers.engine(), containers::Engine::Unknown(_)));
}

#[tokio::test]
async fn an_image_that_is_not_there_is_fetched_and_a_wrong_one_is_said() {
    let world = World::new().await;
    let other = "other@sha256:1111111111111111111111111111111111111111111111111111111111111111";
    let key = world.service("web", json!({})).await;
    let gone = world.service("gone", json!({ "environment": { "A": "1" } })).await;
    let state = world.store.state();
    drop(state);
    // The node loses the image; the registry has it.
    world.engine.in_registry(IMAGE, Ok(()));
    world.engine.forget_image(IMAGE);
    world.pass(&key).await;
    assert_eq!(world.says(&key).0, ReplicaPhase::Pulling);
    assert_eq!(world.woken().await.as_ref(), Some(&key), "named when it is there");
    world.pass(&key).await;
    assert_eq!(world.says(&key).0, ReplicaPhase::Running);
    world.engine.forget_image(IMAGE);
    let refused = RuntimeError::ImageRefused { image: other.into(), message: "no credentials".into() };
    world.engine.in_registry(IMAGE, Err(refused));
    world.agent.preparer.forget(IMAGE);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(120)).await;
    world.pass(&gone).await;
    assert_eq!(world.woken().await.as_ref(), Some(&gone));
    world.pass(&gone).await;
    assert_eq!(world.says(&gone), (ReplicaPhase::BackOff, Some(Reason::ImagePullRefused), false));
}

#[tokio::test]
async fn a_port_that_is_taken_is_tried_again_and_nothing_is_left_behind() {
    let world = World::new().await;
    let key = world.service("web", json!({})).await;
    let taken = RuntimeError::PortTaken { port: 80, message: "bind: address already in use".into() };
    world.engine.refuse_start(Some(taken));
    world.pass(&key).await;
    assert_eq!(world.says(&key), (ReplicaPhase::BackOff, Some(Reason::PortConflict), false));
    assert!(world.engine.container(&key).is_none());
    world.engine.refuse_start(None);
    world.later(1);
    world.pass(&key).await;
    assert_eq!(world.says(&key).0, ReplicaPhase::Running);
}

#[tokio::test]
async fn the_whole_loop_repairs_what_a_hand_does() {
    let world = World::new().await;
    let agent = world.agent.clone();
    let stop = world.stop.clone();
    let everything = agent.clone();
    let listening = tokio::spawn(listen::listen(
        world.engine.clone(),
        world.lineage(),
        agent.containers(),
        agent.wakes(),
        || 0,
        move || everything.replicas(),
        stop.clone(),
    ));
    let options = controller::Options::named("agent").concurrency(16);
    let metrics = controller::Metrics::default();
    let passes = tokio::spawn(controller::run(options, agent.clone(), keys(&agent), metrics, stop.clone()));
    let key = world.service("web", json!({})).await;
    let other_than = async |old: Option<Arc<str>>| {
        let found = async {
            loop {
                if let Some(now) = world.engine.container(&key).filter(|c| c.state == ContainerState::Running)
                    && Some(&now.id) != old.as_ref()
                {
                    return now.id;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(WAIT, found).await.expect("a container runs")
    };
    let first = other_than(None).await;
    world.engine.hand_remove(&key);
    let second = other_than(Some(first)).await;
    world.engine.hand_remove(&key);
    other_than(Some(second)).await;
    stop.cancel();
    for task in [listening, passes] {
        tokio::time::timeout(WAIT, task).await.expect("ends when asked").unwrap();
    }
    assert_eq!(world.engine.container(&key).unwrap().state, ContainerState::Running, "and stops nothing");
}
