//! Commands after a start and before a stop.

use super::*;
use crate::runtime::fake::Program;

fn ends(code: i64, says: &str) -> Program {
    Program { says: vec![fake::out(says)], ends: Ends::ByItself(code) }
}

/// Passes until the hooks have said all they have to say.
async fn settle(world: &World, key: &Arc<str>) {
    loop {
        world.pass(key).await;
        if world.woken_at_once().await.is_none() {
            return;
        }
    }
}

async fn hooks_told(world: &World) -> Vec<(Reason, String)> {
    let about = |(reason, _): &(Reason, String)| {
        matches!(reason, Reason::HookStarted | Reason::HookSucceeded | Reason::HookFailed | Reason::Healthy)
    };
    let timeless = |(reason, message): (Reason, String)| {
        let words = message.split(" after ").next().unwrap_or_default();
        (reason, words.split("done in").next().unwrap_or_default().trim_end_matches(": ").to_owned())
    };
    world.told().await.into_iter().filter(about).map(timeless).collect()
}

#[tokio::test]
async fn a_replica_is_ready_when_the_hooks_after_its_start_have_run_once() {
    let mut world = World::new().await;
    world.engine.teach(vec!["b".into()], ends(3, "no cache\n"));
    let spec = json!({ "hooks": { "postStart": [
        { "command": ["a"] }, { "command": ["b"], "onFailure": "continue" }] } });
    let key = world.service("web", spec).await;
    world.pass(&key).await;
    world.later(10);
    // In this moment the container has run long enough, and its hooks have not.
    assert_eq!(world.agent.with(&key, |m| m.reported.clone()).unwrap().message, "postStart: a");
    settle(&world, &key).await;
    assert_eq!((world.says(&key), world.engine.execs()), ((ReplicaPhase::Running, None, true), 2));
    let told = hooks_told(&world).await;
    let want = [
        (Reason::HookStarted, "postStart: a"),
        (Reason::HookSucceeded, "postStart: a"),
        (Reason::HookStarted, "postStart: b"),
        (Reason::HookFailed, "postStart: b: exit 3"),
        (Reason::Healthy, "ready"),
    ];
    assert_eq!(told, want.map(|(reason, message)| (reason, message.to_owned())));
    world.write_report(&key).await;
    world.restart_agent().await;
    settle(&world, &key).await;
    assert_eq!((world.says(&key).2, world.engine.execs()), (true, 2), "another agent does not run them again");
    world.engine.crash(&key, 1);
    world.hear(&key, &["die"]);
    settle(&world, &key).await;
    assert_eq!(world.engine.execs(), 4, "another start does");
}

#[tokio::test]
async fn a_good_probe_makes_nothing_ready_whose_hook_still_runs() {
    let world = World::new().await;
    world.engine.teach(vec!["warm".into()], Program { says: vec![], ends: Ends::At(vec![]) });
    let spec = json!({ "readiness": { "exec": ["check"] }, "hooks": { "postStart": [{ "command": ["warm"] }] } });
    let key = world.service("web", spec).await;
    tokio::time::pause();
    for _ in 0..10 {
        world.pass(&key).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!((world.says(&key).2, world.reported(&key).message.as_str()), (false, "postStart: warm"));
    assert!(world.engine.execs() > 1, "it is probed meanwhile");
}

#[tokio::test]
async fn a_failed_hook_after_a_start_restarts_the_replica_with_backoff() {
    let world = World::new().await;
    world.engine.teach(vec!["warm".into()], ends(7, "cache\nunreachable\n"));
    let spec = json!({ "hooks": { "postStart": [{ "command": ["warm"] }, { "command": ["never"] }] } });
    let key = world.service("web", spec).await;
    world.engine.calls();
    settle(&world, &key).await;
    assert_eq!(
        world.engine.calls(),
        ["create web-1-abcde", "start web-1-abcde", "stop web-1-abcde", "start web-1-abcde"]
    );
    assert_eq!(world.engine.execs(), 2, "the second of them is not begun");
    assert_eq!((world.reported(&key).unhealthy_restarts, world.says(&key).2), (1, false));
    let told = world.told().await;
    assert!(told.iter().any(|(_, m)| m.ends_with(" s: cache | unreachable; it is restarted")), "{told:?}");
    // Each further one waits longer.
    world.later(1);
    settle(&world, &key).await;
    assert_eq!(world.engine.execs(), 2);
    world.engine.teach(vec!["warm".into()], ends(0, ""));
    world.later(60);
    settle(&world, &key).await;
    world.later(10);
    settle(&world, &key).await;
    assert_eq!((world.says(&key).2, world.engine.execs()), (true, 4));
}

#[tokio::test]
async fn what_precedes_a_stop_holds_it_up_and_never_prevents_it() {
    let world = World::new().await;
    world.engine.teach(vec!["leave".into()], ends(0, ""));
    world.engine.teach(vec!["sulk".into()], ends(1, "no\n"));
    let spec = json!({ "hooks": { "preStop": [{ "command": ["leave"] }, { "command": ["sulk"] }] } });
    let key = world.service("web", spec).await;
    world.pass(&key).await;
    world.engine.calls();
    world.told_to_stop(std::slice::from_ref(&key)).await;
    world.pass(&key).await;
    assert_eq!(world.engine.execs(), 2);
    assert_eq!(world.engine.calls(), ["stop web-1-abcde", "remove web-1-abcde"]);
    let told: Vec<Reason> = hooks_told(&world).await.into_iter().map(|(reason, _)| reason).collect();
    assert_eq!(told, [Reason::HookStarted, Reason::HookSucceeded, Reason::HookStarted, Reason::HookFailed]);
}

#[tokio::test]
async fn a_replica_has_the_hooks_that_were_declared_last_with_its_revision() {
    let world = World::new().await;
    let key = world.service("web", json!({})).await;
    world.pass(&key).await;
    let hooked = |image: &str, command: &str| {
        let spec = json!({ "image": image, "hooks": { "preStop": [{ "command": [command] }] } });
        Spec::Service(Box::new(serde_json::from_value(spec).unwrap()))
    };
    world.declare("web", hooked("hello", "early")).await;
    let uid = world.store.state().object(&ObjectKey::service("web")).unwrap().meta.uid.clone();
    assert_eq!(world.store.state().revisions(&uid).count(), 1, "hooks replace no replica");
    world.declare("web", hooked("hello:2", "late")).await;
    world.engine.teach(vec!["late".into()], ends(1, ""));
    world.told_to_stop(std::slice::from_ref(&key)).await;
    world.pass(&key).await;
    let told: Vec<String> = hooks_told(&world).await.into_iter().map(|(_, message)| message).collect();
    assert_eq!(told, ["preStop: early"; 2]);
}
