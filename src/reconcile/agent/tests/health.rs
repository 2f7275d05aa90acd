//! What follows from verdicts on health.

use super::*;

#[tokio::test]
async fn bad_health_restarts_a_container_that_was_good() {
    let world = World::new().await;
    let spec = json!({ "healthcheck": { "test": ["CMD", "true"], "interval": "10s" } });
    let key = world.service("web", spec).await;
    world.pass(&key).await;
    assert!(!world.reported(&key).ready);
    for health in ["healthy", "unhealthy"] {
        world.engine.set_health(&key, health);
        world.hear(&key, &["health_status"]);
        world.pass(&key).await;
    }
    assert_eq!(world.says(&key), (ReplicaPhase::Running, Some(Reason::Unhealthy), false));
    world.engine.calls();
    world.later(20);
    world.pass(&key).await;
    assert_eq!(world.engine.calls(), ["stop web-1-abcde", "start web-1-abcde"]);
    assert_eq!(world.reported(&key).restarts, 1);
    assert_eq!(world.says(&key).1, Some(Reason::Starting), "our own stop is no crash");
}

#[tokio::test]
async fn what_never_becomes_ready_is_told_once_also_across_a_new_agent() {
    let mut world = World::new().await;
    let check = vec!["check".to_owned()];
    world.engine.teach(check.clone(), fake::Program { says: vec![fake::out("no table\n")], ends: Ends::ByItself(3) });
    let key = world.service("web", json!({ "readiness": { "exec": check } })).await;
    tokio::time::pause();
    let warned = async |world: &World| -> Vec<String> {
        let told = world.told().await;
        told.into_iter().filter(|(reason, _)| *reason == Reason::Unhealthy).map(|(_, message)| message).collect()
    };
    let minutes = async |world: &World| {
        for _ in 0..60 {
            tokio::time::sleep(Duration::from_secs(5)).await;
            world.later(5);
            world.pass(&key).await;
        }
    };
    world.pass(&key).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    world.pass(&key).await;
    assert_eq!(warned(&world).await, [""; 0], "it may be slow to start");
    minutes(&world).await;
    assert_eq!(warned(&world).await, ["not ready since its start: check: exit 3: no table"]);
    world.write_report(&key).await;
    world.restart_agent().await;
    minutes(&world).await;
    assert_eq!(warned(&world).await.len(), 1);
    world.engine.teach(vec!["check".into()], fake::Program { says: vec![], ends: Ends::ByItself(0) });
    minutes(&world).await;
    assert!(world.reported(&key).ready);
    assert_eq!(warned(&world).await.len(), 1);
}
