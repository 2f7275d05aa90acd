//! What the node learns of an image before it makes a container from it.

use super::*;
use crate::{
    reconcile::{
        agent::pulls::{Pull, Pulls},
        wakes::Wakes,
    },
    runtime::Credentials,
};

#[tokio::test]
async fn data_that_is_not_carried_over_is_told_when_its_container_is_made() {
    let world = World::new().await;
    world.engine.alter_image(IMAGE, |i| i.volumes = vec!["/cache".into(), "/data".into(), "/named/".into()]);
    let key = world.service("db", json!({ "tmpfs": ["/cache"] })).await;
    world.pass(&key).await;
    let told: Vec<String> =
        world.told().await.into_iter().filter(|(r, _)| *r == Reason::VolumeUnmounted).map(|(_, m)| m).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("/data,") && told[0].contains("mount a volume there"), "{told:?}");
    assert!(told[1].contains("/named/"), "{told:?}");
    // What the container wrote there outlives it.
    let anonymous = world.engine.anonymous(&key);
    assert_eq!(anonymous.len(), 2);
    world.engine.hand_stop(&key);
    world.agent.runtime.remove(key.to_string()).await.unwrap();
    assert!(anonymous.iter().all(|v| world.engine.volumes().contains(v)), "{anonymous:?}");
}

#[tokio::test]
async fn an_image_for_another_machine_is_said_after_the_pull_too() {
    let world = World::new().await;
    let key = world.service("web", json!({})).await;
    world.engine.in_registry(IMAGE, Ok(()));
    world.engine.in_registry_for(IMAGE, "s390x");
    world.engine.forget_image(IMAGE);
    world.pass(&key).await;
    assert_eq!(world.woken().await.as_ref(), Some(&key));
    world.pass(&key).await;
    assert_eq!(world.says(&key), (ReplicaPhase::BackOff, Some(Reason::ArchitectureMismatch), false));
    assert!(!world.engine.calls().iter().any(|c| c.starts_with("create")), "and nothing was made of it");
}

#[tokio::test]
async fn a_pull_is_shared_by_those_who_want_the_same_as_the_same() {
    let (engine, stop) = (Arc::new(Fake::new()), CancellationToken::new());
    let captain = |password: &str| {
        Some(Credentials { server: "r:5000".into(), username: "captain".into(), password: password.into() })
    };
    engine.in_private_registry("r:5000/secret:1", captain("right").unwrap());
    let pulls = Pulls::new(engine.clone(), Wakes::default(), stop);
    let since = Instant::now();
    let (arm, image) = (Some("linux/arm64".to_owned()), "r:5000/secret:1");
    let asked = [
        ("a", None, captain("wrong")),
        ("b", None, captain("right")),
        ("c", None, captain("right")),
        ("d", arm, captain("right")),
    ];
    let ask = |(who, platform, credentials): &(&str, Option<String>, Option<Credentials>)| {
        pulls.ask(&(*who).into(), image, platform.clone(), credentials.clone(), since)
    };
    assert!(asked.iter().all(|a| matches!(ask(a), Pull::Running(_))));
    pulls.closed().await;
    assert!(matches!(ask(&asked[0]), Pull::Failed(RuntimeError::ImageRefused { .. })));
    for others in &asked[1..] {
        assert!(matches!(ask(others), Pull::Done(_)), "{others:?}");
    }
    assert_eq!(engine.calls(), ["pull r:5000/secret:1"; 3], "the two alike share one");
}

#[tokio::test]
async fn a_tag_of_which_nothing_is_said_keeps_no_other_from_being_looked_at() {
    let world = World::new().await;
    let mut keys = Vec::new();
    for (name, image) in [("bad", "Not An Image"), ("web", "web:1")] {
        let older = ResolvedImage::Local { node: world.node.clone(), id: "sha256:older".to_owned() };
        keys.push(world.service_of(name, json!({ "image": image }), older).await);
    }
    world.engine.with_image("web:1");
    assert!(world.engine.image("Not An Image".into()).await.is_err(), "it sorts first, and the engine refuses it");
    world.agent.look_at_tags().await;
    let newer = |key| world.agent.with(key, |m| m.newer_image.is_some());
    assert_eq!(keys.iter().map(newer).collect::<Vec<_>>(), [false, true]);
}
