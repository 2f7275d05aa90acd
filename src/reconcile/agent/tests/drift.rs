//! What somebody changes behind the agent's back, and what only looks like it.

use super::*;

#[tokio::test]
async fn what_somebody_took_off_its_network_is_put_back_without_a_restart() {
    let world = World::new().await;
    let key = world.service("web", json!({})).await;
    world.pass(&key).await;
    let network = world.engine.networks()[0].clone();
    let started = world.engine.container(&key).unwrap().started_at;
    world.engine.calls();
    world.engine.hand_disconnect(&key, &network);
    world.list().await;
    assert_eq!(world.woken().await.as_ref(), Some(&key), "a list is enough to see it");
    world.pass(&key).await;
    assert_eq!(world.engine.calls(), ["connect web-1-abcde"]);
    let now = world.engine.container(&key).unwrap();
    assert_eq!((now.networks.contains(&network), now.started_at), (true, started));
    let told = world.told().await;
    assert!(told.iter().any(|(r, m)| *r == Reason::DriftDetected && m.contains(&network)), "{told:?}");
}

#[tokio::test]
async fn what_is_unhealthy_without_its_network_gets_it_back_before_it_is_restarted() {
    let world = World::new().await;
    let check = json!({ "test": ["CMD", "true"], "interval": "1s" });
    let key = world.service("web", json!({ "healthcheck": check })).await;
    world.pass(&key).await;
    for health in ["healthy", "unhealthy"] {
        world.engine.set_health(&key, health);
        world.hear(&key, &["health_status"]);
        world.pass(&key).await;
    }
    let network = world.engine.networks()[0].clone();
    world.engine.hand_disconnect(&key, &network);
    world.engine.calls();
    world.later(60);
    world.pass(&key).await;
    assert_eq!(world.engine.calls(), ["connect web-1-abcde"]);
    world.later(60);
    world.pass(&key).await;
    assert_eq!(world.engine.calls(), ["stop web-1-abcde", "start web-1-abcde"], "it was not the network");
}

#[tokio::test]
async fn a_limit_that_somebody_changed_is_told_once_and_the_container_goes_on() {
    let world = World::new().await;
    let limits = json!({ "limits": { "memory": "64Mi" } });
    let key = world.service("web", json!({ "resources": limits })).await;
    world.pass(&key).await;
    world.later(60);
    world.pass(&key).await;
    assert_eq!(world.says(&key), (ReplicaPhase::Running, None, true));
    world.engine.calls();
    for (value, told) in [("128Mi", 1), ("128Mi", 1), ("64Mi", 1), ("32Mi", 2)] {
        world.engine.hand_update(&key, "memory", value);
        world.hear(&key, &["update"]);
        world.pass(&key).await;
        let reason = (value != "64Mi").then_some(Reason::ChangedByHand);
        assert_eq!(world.says(&key), (ReplicaPhase::Running, reason, true), "{value}");
        let all = world.told().await;
        assert!(all.iter().any(|(r, m)| *r == Reason::ChangedByHand && m.contains("instead of 64Mi")), "{all:?}");
        // Events of one reason about one replica are folded.
        let state = world.store.state();
        let changes = state.events_after(Index(0)).unwrap().filter(|e| e.reason == Reason::ChangedByHand);
        assert_eq!(changes.map(|e| e.count).sum::<u64>(), told, "{value}: {all:?}");
    }
    assert_eq!(world.engine.calls(), [""; 0], "nothing is done about it");
}

#[tokio::test]
async fn a_copy_of_a_container_is_left_alone_and_told_once() {
    let world = World::new().await;
    let key = world.service("web", json!({})).await;
    world.pass(&key).await;
    // `docker commit`, then `docker run` of that image: the labels come along.
    let labels = world.engine.container(&key).unwrap().labels;
    world.engine.foreign("debugging", labels);
    world.engine.calls();
    for _ in 0..2 {
        world.list().await;
        world.hear(&key, &["health_status"]);
        world.pass(&key).await;
    }
    world.told_to_stop(std::slice::from_ref(&key)).await;
    world.pass(&key).await;
    assert_eq!(world.engine.calls(), ["stop web-1-abcde", "remove web-1-abcde"]);
    assert_eq!(world.says(&key).0, ReplicaPhase::Stopped);
    assert_eq!(world.engine.container("debugging").unwrap().state, ContainerState::Running);
    let told = world.told().await;
    assert_eq!(told.iter().filter(|(_, message)| message.contains("debugging")).count(), 1, "{told:?}");
}

#[tokio::test]
async fn an_orphan_is_given_its_own_time_to_end() {
    let world = World::new().await;
    // It does not listen, and its own time is none.
    world.engine.teach_the_rest(fake::Program { says: vec![], ends: Ends::At(vec![]) });
    let labels = BTreeMap::from([(label::LINEAGE.to_owned(), world.lineage())]);
    world.engine.foreign("old-1-zzzzz", labels);
    world.list().await;
    let orphan = "old-1-zzzzz".into();
    tokio::time::timeout(Duration::from_secs(5), world.pass(&orphan)).await.expect("nobody's ten seconds");
    assert_eq!(world.engine.container("old-1-zzzzz"), None);
}

#[tokio::test]
async fn what_somebody_removed_is_made_again_at_once_every_time() {
    let world = World::new().await;
    let key = world.service("web", json!({})).await;
    world.pass(&key).await;
    for round in 0..3 {
        let before = world.engine.container(&key).unwrap().id;
        world.hear(&key, &["kill", "die"]);
        world.engine.hand_remove(&key);
        world.hear(&key, &["destroy"]);
        world.pass(&key).await;
        let now = world.engine.container(&key).unwrap();
        assert_ne!(now.id, before, "round {round}");
        assert_eq!(now.state, ContainerState::Running, "round {round}");
    }
}

#[tokio::test]
async fn a_renamed_container_is_replaced_and_a_paused_one_is_left() {
    let world = World::new().await;
    let key = world.service("web", json!({})).await;
    world.pass(&key).await;
    world.engine.calls();
    world.engine.hand_rename(&key, "mine");
    world.hear(&key, &["rename"]);
    world.pass(&key).await;
    assert_eq!(world.engine.calls(), ["stop mine", "remove mine", "create web-1-abcde", "start web-1-abcde"]);
    let told = world.told().await;
    assert!(told.iter().any(|(_, message)| message.contains("container mine carries the labels")), "{told:?}");
    assert!(!told.iter().any(|(_, message)| message.contains("removed")), "{told:?}");
    world.engine.hand_pause(&key);
    world.hear(&key, &["pause"]);
    world.pass(&key).await;
    assert_eq!(world.engine.calls(), [""; 0]);
    assert_eq!(world.says(&key), (ReplicaPhase::Waiting, Some(Reason::DriftDetected), false));
}

#[tokio::test]
async fn what_somebody_removes_while_it_is_to_stop_is_not_said_to_be_made_again() {
    let world = World::new().await;
    let key = world.service("web", json!({})).await;
    world.pass(&key).await;
    world.told_to_stop(std::slice::from_ref(&key)).await;
    world.engine.hand_remove(&key);
    world.hear(&key, &["destroy"]);
    world.pass(&key).await;
    let told = world.told().await;
    assert!(told.iter().any(|(_, message)| message.ends_with("it was to be stopped anyway")), "{told:?}");
}

#[tokio::test]
async fn orphans_go_and_foreign_containers_are_never_touched() {
    let world = World::new().await;
    let ours = BTreeMap::from([
        (label::LINEAGE.to_owned(), world.lineage()),
        (label::REPLICA.to_owned(), "old-1-zzzzz".to_owned()),
    ]);
    let newer = BTreeMap::from([
        (label::LINEAGE.to_owned(), world.lineage()),
        (label::REPLICA.to_owned(), "new-1-yyyyy".to_owned()),
        (label::INDEX.to_owned(), "999999".to_owned()),
    ]);
    let other = BTreeMap::from([(label::LINEAGE.to_owned(), "another".to_owned())]);
    world.engine.foreign("old-1-zzzzz", ours);
    world.engine.foreign("new-1-yyyyy", newer);
    world.engine.foreign("theirs", other);
    world.engine.foreign("web-1-abcde", BTreeMap::new());
    world.list().await;
    for key in ["old-1-zzzzz", "new-1-yyyyy", "theirs"] {
        world.pass(&key.into()).await;
    }
    assert_eq!(world.engine.calls(), ["stop old-1-zzzzz", "remove old-1-zzzzz"]);
    // A name that something foreign has is said, and left alone.
    let key = world.service("web", json!({})).await;
    world.pass(&key).await;
    assert_eq!(world.says(&key).1, Some(Reason::EngineRefused));
    assert!(world.reported(&key).message.contains("not ours"), "{}", world.reported(&key).message);
    assert_eq!(world.engine.calls(), ["create web-1-abcde"]);
}
