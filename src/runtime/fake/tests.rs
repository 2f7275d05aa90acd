//! What only the fake does: it can be taught and it has hands. The rest is `runtime::conformance`.

use super::*;

const IMAGE: &str = "web:1";

/// A container `web` that runs.
async fn running(restart: EngineRestart) -> Fake {
    let fake = Fake::new();
    fake.with_image(IMAGE);
    let plan = ContainerPlan { name: "web".into(), image: IMAGE.into(), restart, ..ContainerPlan::default() };
    let id = fake.create(plan).await.unwrap();
    fake.start(id.to_string()).await.unwrap();
    fake
}

fn actions(fake: &Fake) -> Vec<String> {
    fake.look().events.iter().map(|e| e.action.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn each_hand_leaves_what_it_leaves_on_docker() {
    use ContainerState::{Exited, Paused, Running};
    type Hand = fn(&Fake);
    let table: [(&str, Hand, ContainerState, i64, &[&str]); 6] = [
        ("crash", |f| f.crash("web", 3), Exited, 3, &["die"]),
        ("oom", |f| f.out_of_memory("web"), Exited, 137, &["oom", "die"]),
        ("stop", |f| f.hand_stop("web"), Exited, 143, &["kill", "die", "stop"]),
        ("kill", |f| f.hand_kill("web"), Exited, 137, &["kill", "die"]),
        ("pause", |f| f.hand_pause("web"), Paused, 0, &["pause"]),
        ("health", |f| f.set_health("web", "unhealthy"), Running, 0, &["health_status"]),
    ];
    for (case, hand, state, code, events) in table {
        let fake = running(EngineRestart::No).await;
        hand(&fake);
        let seen = fake.container("web").unwrap();
        assert_eq!((seen.state, seen.exit_code, seen.oom_killed), (state, code, case == "oom"), "{case}");
        assert_eq!(actions(&fake)[2..], *events, "{case}");
    }
    let fake = running(EngineRestart::No).await;
    fake.hand_rename("web", "mine");
    fake.hand_remove("mine");
    assert_eq!((fake.container("web"), fake.container("mine")), (None, None));
    assert_eq!(actions(&fake)[2..], ["rename", "kill", "die", "destroy"]);
    assert_eq!(fake.calls(), ["create web", "start web"], "a hand is no call");
}

#[tokio::test(start_paused = true)]
async fn the_engine_follows_its_policy_after_a_crash_but_not_after_a_hand() {
    type Hand = fn(&Fake);
    let table: [(&str, Hand, bool); 4] = [
        ("crash", |f| f.crash("web", 1), true),
        ("oom", |f| f.out_of_memory("web"), true),
        ("stop", |f| f.hand_stop("web"), false),
        ("kill", |f| f.hand_kill("web"), false),
    ];
    for (case, hand, again) in table {
        let fake = running(EngineRestart::UnlessStopped).await;
        let first = fake.container("web").unwrap();
        hand(&fake);
        tokio::time::sleep(RESTART_PAUSE * 2).await;
        let seen = fake.container("web").unwrap();
        assert_eq!(seen.state == ContainerState::Running, again, "{case}: {seen:?}");
        assert_eq!(seen.started_at > first.started_at, again, "{case}: {seen:?}");
    }
}

#[tokio::test]
async fn an_engine_that_is_down_answers_nothing_and_ends_its_streams() {
    let fake = running(EngineRestart::No).await;
    let mut events = fake.events("a".into(), "b".into(), None);
    fake.calls();
    fake.down(true);
    assert!(matches!(fake.info().await, Err(RuntimeError::Down { .. })));
    assert!(matches!(fake.stop("web".into(), Some(Duration::ZERO)).await, Err(RuntimeError::Down { .. })));
    assert!(matches!(events.next().await, Some(Err(RuntimeError::Down { .. }))));
    assert_eq!(events.next().await, None);
    fake.down(false);
    assert_eq!(fake.container("web").unwrap().state, ContainerState::Running);
    assert_eq!(fake.calls(), [""; 0], "and nothing was done meanwhile");
}

#[tokio::test]
async fn a_refused_start_starts_nothing() {
    let fake = running(EngineRestart::No).await;
    fake.crash("web", 1);
    let full = RuntimeError::DiskFull { message: "no space left on device".into() };
    fake.refuse_start(Some(full.clone()));
    assert_eq!(fake.start("web".into()).await, Err(full));
    assert_eq!(fake.container("web").unwrap().state, ContainerState::Exited);
    fake.refuse_start(None);
    fake.start("web".into()).await.unwrap();
    assert_eq!(fake.container("web").unwrap().state, ContainerState::Running);
}

#[tokio::test]
async fn a_network_that_somebody_removed_is_missed_at_the_next_start() {
    let fake = running(EngineRestart::No).await;
    fake.ensure_network("net".into(), BTreeMap::new()).await.unwrap();
    let join = super::super::Attachment { network: "net".into(), ..Default::default() };
    let network = super::super::NetworkPlan::Join(vec![join]);
    let plan = ContainerPlan { name: "a".into(), image: IMAGE.into(), network, ..ContainerPlan::default() };
    fake.create(plan).await.unwrap();
    fake.lose_network("net");
    assert_eq!(fake.start("a".into()).await, Err(RuntimeError::NotFound { what: "network net".into() }));
    assert_eq!(fake.container("a").unwrap().state, ContainerState::Created);
}

#[tokio::test]
async fn what_a_registry_says_can_change() {
    let fake = Fake::new();
    let pull = async || fake.pull(IMAGE.into(), None, None).try_collect::<Vec<_>>().await.map(drop);
    let refused = RuntimeError::ImageRefused { image: IMAGE.into(), message: "denied".into() };
    fake.in_registry(IMAGE, Err(refused.clone()));
    assert_eq!(pull().await, Err(refused));
    fake.in_registry(IMAGE, Ok(()));
    assert_eq!(pull().await, Ok(()));
    assert!(fake.image(IMAGE.into()).await.unwrap().is_some());
    fake.forget_image(IMAGE);
    assert_eq!(fake.image(IMAGE.into()).await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn a_frozen_engine_is_known_within_seconds_and_a_busy_one_answers() {
    let fake = running(EngineRestart::No).await;
    fake.overload(true);
    assert!(matches!(fake.info().await, Err(RuntimeError::Unresponsive { op: "info", .. })));
    assert_eq!(crate::runtime::answers(&fake).await, Ok(()));
    fake.freeze(true);
    let began = tokio::time::Instant::now();
    assert_eq!(crate::runtime::answers(&fake).await, Err(limits::ANSWERS.missed()));
    assert_eq!(began.elapsed(), limits::ANSWERS.limit);
}
