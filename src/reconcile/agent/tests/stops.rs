//! Stops that last.

use super::*;

#[tokio::test(start_paused = true)]
async fn long_stops_keep_nobody_from_being_repaired() {
    let world = World::new().await;
    world.engine.teach_the_rest(fake::Program { says: Vec::new(), ends: Ends::At(Vec::new()) });
    let mut keys = Vec::new();
    for n in 0..=TURNS {
        let key = world.service(&format!("s{n}"), json!({ "stopGracePeriod": "1h" })).await;
        world.pass(&key).await;
        keys.push(key);
    }
    let other = keys.pop().unwrap();
    world.told_to_stop(&keys).await;
    let mut stops = tokio::task::JoinSet::new();
    for key in keys {
        let agent = world.agent.clone();
        stops.spawn(async move { agent.reconcile(key).await });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.agent.stops.available_permits(), STOPS - TURNS, "all are being stopped");
    world.engine.crash(&other, 1);
    world.hear(&other, &["die"]);
    tokio::time::timeout(Duration::from_secs(60), world.pass(&other)).await.expect("it is its turn at once");
    assert_eq!(world.says(&other).0, ReplicaPhase::Running);
    while let Some(done) = stops.join_next().await {
        done.unwrap().unwrap();
    }
    assert_eq!(world.agent.stops.available_permits(), STOPS);
}

#[tokio::test]
async fn a_stop_without_room_comes_later_and_holds_no_place() {
    let world = World::new().await;
    let key = world.service("web", json!({})).await;
    world.pass(&key).await;
    world.told_to_stop(std::slice::from_ref(&key)).await;
    world.engine.calls();
    let all = world.agent.stops.try_acquire_many(u32::try_from(STOPS).unwrap()).unwrap();
    assert_eq!(world.pass(&key).await, Action::RequeueAfter(CROWDED));
    assert_eq!(world.engine.calls(), [""; 0]);
    assert_eq!(world.agent.turns.available_permits(), TURNS);
    drop(all);
    world.pass(&key).await;
    assert_eq!(world.engine.calls(), ["stop web-1-abcde", "remove web-1-abcde"]);
}
