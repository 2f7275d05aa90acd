//! A new agent finds what the old one left.

use super::*;

#[tokio::test]
async fn a_new_agent_adopts_what_runs_and_touches_nothing() {
    let mut world = World::new().await;
    let key = world.service("web", json!({})).await;
    world.pass(&key).await;
    world.later(10);
    world.pass(&key).await;
    world.write_report(&key).await;
    let before = world.engine.container(&key);
    world.engine.calls();
    world.restart_agent().await;
    world.later(1);
    world.pass(&key).await;
    assert_eq!(world.engine.calls(), [""; 0]);
    assert_eq!(world.engine.container(&key), before);
    let old = world.store.state().replica_status(&key).cloned();
    assert_eq!(Some(world.reported(&key)), old, "and says nothing new");
}

#[tokio::test]
async fn before_the_engine_was_asked_a_new_agent_takes_nothing_back() {
    let mut world = World::new().await;
    world.engine.teach(vec!["check".into()], fake::Program { says: vec![], ends: Ends::ByItself(0) });
    let key = world.service("web", json!({ "readiness": { "exec": ["check"] } })).await;
    tokio::time::pause();
    while !world.reported(&key).ready {
        world.pass(&key).await;
        assert_eq!(world.woken().await.as_ref(), Some(&key));
        world.pass(&key).await;
    }
    world.write_report(&key).await;
    let old = world.store.state().replica_status(&key).cloned();
    let told = world.told().await;
    world.begin_agent();
    assert!(matches!(world.pass(&key).await, Action::RequeueAfter(_)), "it looks again by itself");
    assert_eq!(Some(world.reported(&key)), old, "what the log says of it stands");
    world.list().await;
    world.pass(&key).await;
    assert_eq!(Some(world.reported(&key)), old, "and stands on until a probe says otherwise");
    assert_eq!(world.told().await, told, "with no event");
    // One that was asked and is not there is another matter.
    world.engine.down(true);
    world.begin_agent();
    let gone = RuntimeError::Down { address: "x".into(), message: "refused".into() };
    world.agent.containers.set_engine(listen::unknown(&gone));
    world.pass(&key).await;
    assert_eq!(world.says(&key), (ReplicaPhase::Waiting, Some(Reason::DockerDown), false));
}
