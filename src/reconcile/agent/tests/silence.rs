//! What is said of a replica while the engine says nothing.

use super::*;

/// A service that ran long enough, or whose health check is the engine's, before the engine fell silent.
async fn silent(spec: serde_json::Value, visible: bool, reason: fn(String) -> RuntimeError) -> (World, Arc<str>) {
    let world = World::new().await;
    let is_checked = spec.get("healthcheck").is_some();
    let key = world.service("web", spec).await;
    world.pass(&key).await;
    if visible {
        world.processes.lock().unwrap().insert(world.engine.container(&key).unwrap().pid, 7);
    }
    world.later(10);
    if is_checked {
        world.engine.set_health(&key, "healthy");
        world.hear(&key, &["health_status"]);
    }
    world.pass(&key).await;
    assert_eq!(world.says(&key), (ReplicaPhase::Running, None, true));
    world.engine.down(true);
    world.agent.containers.set_engine(listen::unknown(&reason("gone".into())));
    world.pass(&key).await;
    (world, key)
}

fn down(message: String) -> RuntimeError {
    RuntimeError::Down { address: "x".into(), message }
}

fn frozen(_: String) -> RuntimeError {
    RuntimeError::Unresponsive { op: "list", limit: WAIT }
}

fn checked() -> serde_json::Value {
    json!({ "healthcheck": { "test": ["CMD", "check"] } })
}

#[tokio::test]
async fn what_ended_with_its_engine_is_not_ready() {
    for spec in [json!({}), checked()] {
        let (world, key) = silent(spec, true, down).await;
        assert_eq!(world.says(&key), (ReplicaPhase::Running, Some(Reason::DockerDown), true), "it outlived the engine");
        // Another process has its number by now.
        world.processes.lock().unwrap().values_mut().for_each(|began| *began = 8);
        world.pass(&key).await;
        assert_eq!(world.says(&key), (ReplicaPhase::Waiting, Some(Reason::DockerDown), false));
        assert_eq!(world.engine.container(&key).unwrap().state, ContainerState::Running, "nothing was done to it");
    }
}

#[tokio::test]
async fn what_nobody_can_ask_is_unknown_and_keeps_its_routes() {
    for (spec, visible, health) in [
        (checked(), true, "unknown"),
        (checked(), false, "unknown"),
        (json!({}), false, "unknown"),
        (json!({}), true, "-"),
    ] {
        let (world, key) = silent(spec, visible, frozen).await;
        let said = world.reported(&key);
        assert_eq!((said.ready, said.health.as_str(), said.reason), (true, health, Some(Reason::DockerUnresponsive)));
        let action = world.pass(&key).await;
        assert!(matches!(action, Action::RequeueAfter(t) if t < Duration::from_secs(3)), "looked after: {action:?}");
    }
}

#[tokio::test]
async fn time_makes_nothing_ready_of_which_nobody_can_say_that_it_runs() {
    let world = World::new().await;
    let key = world.service("web", json!({})).await;
    world.pass(&key).await;
    world.later(5);
    world.engine.down(true);
    world.agent.containers.set_engine(listen::unknown(&frozen(String::new())));
    world.later(30);
    world.pass(&key).await;
    assert_eq!(world.says(&key), (ReplicaPhase::Running, Some(Reason::DockerUnresponsive), false));
    assert!(!world.told().await.iter().any(|(reason, _)| *reason == Reason::Healthy));
}
