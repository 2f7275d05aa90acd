//! What the node learns of an image before it makes a container from it.

use super::*;
use crate::{
    model::{NextImage, Rollout},
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

/// The service goes on to a revision of this image.
async fn goes_on(world: &World, service: &str, reference: &str) {
    let spec = json!({ "image": reference, "stopGracePeriod": "3s" });
    world.declare(service, Spec::Service(Box::new(serde_json::from_value(spec).unwrap()))).await;
    let state = world.store.state();
    let uid = state.object(&ObjectKey::service(service)).unwrap().meta.uid.clone();
    let newest = state.newest_revision(&uid).unwrap().number;
    let image = Resolution::Resolved { image: ResolvedImage::Digest { reference: reference.into() } };
    let based_on = state.rollout(&uid).map(|r| r.resource_version);
    let started_at = world.now.load(Ordering::Relaxed);
    let rollout = Rollout { target: newest, newest, started_at, ..Rollout::default() };
    world
        .propose(vec![
            Command::ResolveImage { service: uid.clone(), revision: newest, image },
            Command::SetRollout { service: service.into(), uid, rollout: Box::new(rollout), based_on },
        ])
        .await;
}

#[tokio::test]
async fn what_comes_next_is_fetched_while_the_old_one_runs() {
    let next = |n: u8| format!("next@sha256:{}", n.to_string().repeat(64));
    let mut world = World::new().await;
    let key = world.service("web", json!({})).await;
    world.pass(&key).await;
    world.later(10);
    world.pass(&key).await;
    let said = |world: &World| world.reported(&key).next_image.unwrap_or_default();
    assert_eq!(world.reported(&key).next_image, None, "nothing else is wanted");
    world.engine.in_registry(&next(2), Ok(()));
    goes_on(&world, "web", &next(2)).await;
    world.pass(&key).await;
    assert_eq!((said(&world).there, said(&world).message), (false, format!("fetching {}", next(2))));
    assert_eq!(world.says(&key), (ReplicaPhase::Running, None, true), "it serves meanwhile");
    assert_eq!(world.woken().await.as_ref(), Some(&key));
    world.pass(&key).await;
    assert_eq!(said(&world), NextImage { reference: next(2), there: true, ..NextImage::default() });
    // An agent that knows nothing of that asks the engine and fetches nothing.
    world.write_report(&key).await;
    world.engine.calls();
    world.restart_agent().await;
    world.pass(&key).await;
    assert!(said(&world).there && !world.engine.calls().iter().any(|c| c.starts_with("pull")));
    // Somebody prunes images while the leader waits for a hook.
    world.engine.forget_image(&next(2));
    world.restart_agent().await;
    world.pass(&key).await;
    assert!(!said(&world).there, "it is fetched again");
    let fetched = [Reason::Pulling, Reason::Pulled];
    let told: Vec<_> = world.told().await.into_iter().map(|(r, _)| r).filter(|r| fetched.contains(r)).collect();
    assert_eq!(told, [Reason::Pulling]);
}

#[tokio::test]
async fn what_cannot_be_fetched_is_said_and_tried_again() {
    let next = format!("next@sha256:{}", "3".repeat(64));
    let world = World::new().await;
    let key = world.service("web", json!({})).await;
    world.pass(&key).await;
    world.later(10);
    let gone = RuntimeError::ImageNotFound { image: next.clone(), message: "manifest unknown".into() };
    world.engine.in_registry(&next, Err(gone.clone()));
    goes_on(&world, "web", &next).await;
    let began = world.now.load(Ordering::Relaxed);
    for failed in 1..=3u64 {
        world.pass(&key).await;
        assert_eq!(world.woken().await.as_ref(), Some(&key));
        let again = world.pass(&key).await;
        let status = world.reported(&key);
        let said = status.next_image.unwrap();
        assert_eq!((said.reason, said.failing_since), (Some(Reason::ImageNotFound), Some(began)), "{failed}");
        assert_eq!((said.message, status.ready), (gone.to_string(), true));
        assert_eq!(again, Action::RequeueAfter(Duration::from_millis((1_000 << (failed - 1)) + 1)));
        if failed < 3 {
            world.later(1 << (failed - 1));
        }
    }
    let told = world.told().await.into_iter().filter(|(r, _)| *r == Reason::ImageNotFound).count();
    assert_eq!(told, 1, "once");
    // A person says that it shall be tried again: that waits for no attempt of before.
    world.engine.in_registry(&next, Ok(()));
    goes_on(&world, "web", &next).await;
    world.pass(&key).await;
    world.woken().await;
    world.pass(&key).await;
    assert_eq!(
        world.reported(&key).next_image,
        Some(NextImage { reference: next, there: true, ..NextImage::default() })
    );
}

#[tokio::test]
async fn of_an_engine_that_is_silent_nothing_new_is_said() {
    let next = format!("next@sha256:{}", "4".repeat(64));
    let world = World::new().await;
    let key = world.service("web", json!({})).await;
    world.pass(&key).await;
    world.later(10);
    world.engine.with_image(&next);
    goes_on(&world, "web", &next).await;
    world.pass(&key).await;
    assert!(world.reported(&key).next_image.unwrap().there);
    world.engine.down(true);
    world.agent.containers.set_engine(listen::unknown(&RuntimeError::Unresponsive { op: "info", limit: WAIT }));
    world.later(60);
    world.pass(&key).await;
    assert!(world.reported(&key).next_image.unwrap().there);
}
