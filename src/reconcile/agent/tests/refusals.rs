//! Since when an engine refuses a replica.

use super::*;

#[tokio::test]
async fn the_first_refusal_in_a_row_is_kept_and_outlives_the_agent() {
    let mut world = World::new().await;
    let key = world.service("web", json!({})).await;
    let since = |world: &World| {
        assert_eq!(world.says(&key), (ReplicaPhase::BackOff, Some(Reason::EngineRefused), false));
        world.reported(&key).refused_since
    };
    world.engine.refuse_start(Some(RuntimeError::Refused { message: "invalid cpuset".into() }));
    world.later(100);
    world.pass(&key).await;
    let first = Some(world.now.load(Ordering::Relaxed));
    assert_eq!(since(&world), first);
    world.later(5);
    world.pass(&key).await;
    assert_eq!(since(&world), first);
    world.write_report(&key).await;
    world.restart_agent().await;
    world.later(5);
    world.pass(&key).await;
    assert_eq!(since(&world), first, "another agent");
    world.engine.down(true);
    world.agent.containers.set_engine(listen::unknown(&RuntimeError::Unresponsive { op: "list", limit: WAIT }));
    world.pass(&key).await;
    assert_eq!(world.reported(&key).refused_since, None, "nobody refuses it now");
    world.engine.down(false);
    world.list().await;
    world.later(60);
    world.pass(&key).await;
    assert_eq!(since(&world), Some(world.now.load(Ordering::Relaxed)), "an engine that came back");
    world.engine.refuse_start(None);
    world.later(60);
    world.pass(&key).await;
    assert_eq!((world.says(&key).0, world.reported(&key).refused_since), (ReplicaPhase::Running, None));
}
