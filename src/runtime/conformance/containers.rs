//! The life of one container, from the engine that has it to the health that it shows.

use super::*;
use crate::{
    model::{Period, service::Healthcheck},
    runtime::{EngineRestart, RuntimeError},
};

pub async fn the_engine_says_who_it_is(world: &World) {
    let info = world.runtime.info().await.unwrap();
    assert!(!info.id.is_empty() && !info.version.is_empty() && !info.arch.is_empty(), "{info:?}");
    assert_eq!(info.os, "linux");
    assert!(info.api_version.split_once('.').is_some_and(|(major, _)| major == "1"), "{info:?}");
    assert_eq!(world.runtime.info().await.unwrap(), info, "and the same again");
    let (cpus, memory) = world.runtime.capacity().await.unwrap();
    assert!(cpus.0 >= 1_000 && memory.0 > 64 << 20, "{cpus:?} {memory:?}");
}

pub async fn the_engine_says_since_when_it_runs(world: &World) {
    let began = world.runtime.began().await.unwrap().expect("it says so");
    let nanos = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_nanosecond();
    let id = world.run(world.plan("serves", Program::Serves)).await;
    let started = nanos(&world.look(&id).await.started_at);
    assert!(i128::from(began) < started, "{began} < {started}");
    assert_eq!(world.runtime.began().await, Ok(Some(began)));
}

pub async fn a_container_is_made_started_stopped_and_removed(world: &World) {
    let plan = world.plan("life", Program::Serves);
    let (name, labels) = (plan.name.clone(), plan.labels.clone());
    let id = world.create(plan).await;
    let made = world.look(&id).await;
    assert_eq!(world.look(&name).await, made, "by name as by id");
    assert_eq!((&*made.id, &made.name, &made.labels), (id.as_str(), &name, &labels));
    assert_eq!((made.state, made.pid, made.exit_code), (ContainerState::Created, 0, 0));
    assert_eq!((made.started_at.as_str(), made.finished_at.as_str()), ("", ""));
    assert_eq!((made.health, made.error.as_str(), made.restart), (None, "", EngineRestart::No));
    let image = world.runtime.image(IMAGE.into()).await.unwrap().unwrap();
    assert_eq!(made.image_id, image.id);

    world.runtime.start(id.clone()).await.unwrap();
    let running = world.look(&id).await;
    assert_eq!((running.state, running.exit_code), (ContainerState::Running, 0));
    assert!(running.pid > 0);
    let started: jiff::Timestamp = running.started_at.parse().unwrap();
    assert_eq!(running.finished_at, "");
    world.ready(&id, 1).await;

    world.runtime.stop(id.clone(), Some(Duration::from_secs(20))).await.unwrap();
    let ended = world.look(&id).await;
    assert_eq!((ended.state, ended.exit_code, ended.pid), (ContainerState::Exited, 5, 0));
    assert!(ended.finished_at.parse::<jiff::Timestamp>().unwrap() > started, "{ended:?}");
    assert!(!ended.oom_killed);

    world.runtime.remove(id.clone()).await.unwrap();
    assert_eq!(world.runtime.inspect(id).await.unwrap(), None);
    assert_eq!(world.runtime.inspect(name).await.unwrap(), None);
}

pub async fn what_is_done_already_is_a_success(world: &World) {
    let runtime = &world.runtime;
    let id = world.create(world.plan("twice", Program::Serves)).await;
    runtime.stop(id.clone(), Some(Duration::ZERO)).await.expect("never started");
    assert_eq!(world.look(&id).await.state, ContainerState::Created);
    runtime.start(id.clone()).await.unwrap();
    world.ready(&id, 1).await;
    let before = world.look(&id).await;
    runtime.start(id.clone()).await.expect("running already");
    assert_eq!(world.look(&id).await, before, "and nothing is started anew");
    for _ in 0..2 {
        runtime.stop(id.clone(), Some(Duration::from_secs(20))).await.expect("once or twice");
    }
    assert_eq!(world.look(&id).await.exit_code, 5);
    for _ in 0..2 {
        runtime.remove(id.clone()).await.expect("once or twice");
    }
    runtime.stop(id, Some(Duration::from_secs(1))).await.expect("gone");
}

pub async fn a_name_is_taken_until_its_container_is_gone(world: &World) {
    let plan = world.plan("taken", Program::Serves);
    let first = world.create(plan.clone()).await;
    match world.runtime.create(plan.clone()).await {
        Err(RuntimeError::Conflict { message }) => assert!(message.contains(&plan.name), "{message}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(&*world.look(&plan.name).await.id, first, "and the first one is untouched");
    world.runtime.remove(first.clone()).await.unwrap();
    assert_ne!(world.create(plan).await, first);
}

pub async fn a_list_shows_one_label_running_or_not(world: &World) {
    let list = async |value: &str| {
        let mut found = world.runtime.list(LABEL.into(), value.into()).await.unwrap();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found
    };
    assert_eq!(list(&world.prefix).await, []);
    let mut extra = world.plan("a", Program::Serves);
    extra.labels.insert("more".into(), "with = and , and \"".into());
    let labels = extra.labels.clone();
    let a = world.create(extra).await;
    let b = world.run(world.plan("b", Program::Serves)).await;
    let c = world.create(world.plan("c", Program::Succeeds)).await;
    world.runtime.start(c.clone()).await.unwrap();
    world.until_exited(&c).await;
    let found = list(&world.prefix).await;
    let short: Vec<_> = found.iter().map(|s| (&*s.id, s.name.as_str(), s.state)).collect();
    let (na, nb, nc) = (world.name("a"), world.name("b"), world.name("c"));
    let want = [
        (a.as_str(), na.as_str(), ContainerState::Created),
        (b.as_str(), nb.as_str(), ContainerState::Running),
        (c.as_str(), nc.as_str(), ContainerState::Exited),
    ];
    assert_eq!(short, want);
    assert_eq!(found[0].labels, labels);
    assert_eq!(list(&world.prefix[..4]).await, [], "a value is not a beginning of one");
    assert_eq!(world.runtime.list("more".into(), world.prefix.clone()).await.unwrap(), []);
}

pub async fn an_exit_code_is_kept_until_the_next_start(world: &World) {
    let id = world.create(world.plan("fails", Program::Fails)).await;
    world.runtime.start(id.clone()).await.unwrap();
    let first = world.until_exited(&id).await;
    assert_eq!((first.exit_code, first.error.as_str()), (7, ""));
    world.runtime.start(id.clone()).await.unwrap();
    let again = world
        .until(&id, "runs again and ends", |c| c.state == ContainerState::Exited && c.finished_at != first.finished_at);
    let again = again.await;
    assert_eq!(again.exit_code, 7);
    assert!(again.started_at > first.started_at, "{} then {}", first.started_at, again.started_at);

    let id = world.run(world.plan("serves", Program::Serves)).await;
    world.runtime.stop(id.clone(), Some(Duration::from_secs(20))).await.unwrap();
    assert_eq!(world.look(&id).await.exit_code, 5);
    world.runtime.start(id.clone()).await.unwrap();
    assert_eq!(world.look(&id).await.exit_code, 0, "while it runs");
}

pub async fn who_does_not_listen_is_killed_after_the_grace(world: &World) {
    let id = world.run(world.plan("deaf", Program::Deaf)).await;
    let (begun, grace) = (tokio::time::Instant::now(), Duration::from_secs(1));
    world.runtime.stop(id.clone(), Some(grace)).await.unwrap();
    assert!(begun.elapsed() >= grace, "after {:?}", begun.elapsed());
    let ended = world.look(&id).await;
    assert_eq!((ended.state, ended.exit_code, ended.oom_killed), (ContainerState::Exited, 137, false));
    // Nobody gives a grace: the container's own.
    let id = world.run(ContainerPlan { stop_timeout: 2, ..world.plan("patient", Program::Deaf) }).await;
    let begun = tokio::time::Instant::now();
    world.runtime.stop(id.clone(), None).await.unwrap();
    assert!((2..9).contains(&begun.elapsed().as_secs()), "after {:?}", begun.elapsed());
    let ended = world.look(&id).await;
    assert_eq!((ended.state, ended.stop_timeout), (ContainerState::Exited, Some(2)));
}

pub async fn the_stop_signal_is_the_plans(world: &World) {
    let plan = ContainerPlan { stop_signal: Some("SIGUSR1".into()), ..world.plan("usr1", Program::WantsUsr1) };
    let id = world.run(plan).await;
    assert_eq!(world.look(&id).await.stop_signal, Some(10));
    world.runtime.stop(id.clone(), Some(Duration::from_secs(20))).await.unwrap();
    assert_eq!(world.look(&id).await.exit_code, 3);
    let heard = world.events_until(0, (&world.name("usr1"), "stop")).await;
    let signals: Vec<_> = heard.iter().filter(|e| e.action == "kill").map(|e| e.signal).collect();
    assert_eq!(signals, [Some(10)]);
}

pub async fn a_program_that_is_not_there_is_refused(world: &World) {
    let id = world.create(world.plan("missing", Program::Missing)).await;
    match world.runtime.start(id.clone()).await {
        Err(RuntimeError::Refused { message }) => assert!(message.contains("/no/such/program"), "{message}"),
        other => panic!("{other:?}"),
    }
    let left = world.look(&id).await;
    assert_eq!((left.state, left.pid, left.started_at.as_str()), (ContainerState::Created, 0, ""));
    assert!(left.exit_code != 0 && left.error.contains("/no/such/program"), "{left:?}");
    world.runtime.remove(id).await.unwrap();
}

pub async fn a_running_container_is_removed_at_once(world: &World) {
    let id = world.run(world.plan("deaf", Program::Deaf)).await;
    let begun = tokio::time::Instant::now();
    world.runtime.remove(id.clone()).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(9), "without a grace, not after {:?}", begun.elapsed());
    assert_eq!(world.runtime.inspect(id).await.unwrap(), None);
}

pub async fn an_engine_restarts_what_ends_by_itself_only_when_told(world: &World) {
    let id = world.create(world.plan("loop", Program::Fails)).await;
    world.runtime.start(id.clone()).await.unwrap();
    let first = world.until_exited(&id).await;
    world.runtime.set_restart(id.clone(), EngineRestart::UnlessStopped).await.unwrap();
    let told = world.look(&id).await;
    assert_eq!((told.restart, told.state), (EngineRestart::UnlessStopped, ContainerState::Exited), "{told:?}");
    world.runtime.start(id.clone()).await.unwrap();
    let second = world.until(&id, "is started", |c| c.started_at > first.started_at).await;
    world.until(&id, "is started again", |c| c.started_at > second.started_at).await;
    world.runtime.stop(id.clone(), Some(Duration::from_secs(1))).await.unwrap();
    assert_eq!(world.look(&id).await.state, ContainerState::Exited);

    let plan = ContainerPlan { restart: EngineRestart::UnlessStopped, ..world.plan("serves", Program::Serves) };
    let id = world.run(plan).await;
    world.runtime.stop(id.clone(), Some(Duration::from_secs(20))).await.unwrap();
    let stopped = world.look(&id).await;
    assert_eq!((stopped.state, stopped.restart), (ContainerState::Exited, EngineRestart::UnlessStopped));
    world.runtime.set_restart(id.clone(), EngineRestart::No).await.unwrap();
    assert_eq!(world.look(&id).await.restart, EngineRestart::No);
}

pub async fn what_is_not_there_is_named(world: &World) {
    let nobody = world.name("nobody");
    let missing = RuntimeError::NotFound { what: format!("container {nobody}") };
    assert_eq!(world.runtime.inspect(nobody.clone()).await, Ok(None));
    assert_eq!(world.runtime.start(nobody.clone()).await, Err(missing.clone()));
    assert_eq!(world.runtime.set_restart(nobody.clone(), EngineRestart::No).await, Err(missing.clone()));
    let exec = world.runtime.exec(nobody.clone(), Program::Succeeds.command(), Duration::from_secs(20));
    assert_eq!(exec.await, Err(missing.clone()));
    let log: Vec<_> = within(world.runtime.logs(nobody, LogQuery::default()).collect()).await;
    assert_eq!(log, [Err(missing)]);
    let plan = ContainerPlan { image: "constellation-test/nothing:1".into(), ..world.plan("a", Program::Serves) };
    match world.runtime.create(plan).await {
        Err(RuntimeError::ImageNotFound { image, .. }) => assert_eq!(image, "constellation-test/nothing:1"),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.runtime.inspect(world.name("a")).await, Ok(None), "and nothing is left behind");
}

pub async fn a_name_that_leads_elsewhere_is_refused(world: &World) {
    let refused = |answer: Result<(), RuntimeError>, what: &str| {
        assert!(matches!(answer, Err(RuntimeError::Refused { .. })), "{what}: {answer:?}");
    };
    for bad in ["", "../x", "a/b", "a?b", "-a"] {
        let plan = ContainerPlan { name: bad.into(), ..world.plan("a", Program::Serves) };
        refused(world.runtime.create(plan).await.map(drop), "create");
        refused(world.runtime.inspect(bad.into()).await.map(drop), "inspect");
        refused(world.runtime.start(bad.into()).await, "start");
        refused(world.runtime.stop(bad.into(), Some(Duration::ZERO)).await, "stop");
        refused(world.runtime.remove(bad.into()).await, "remove");
        refused(world.runtime.set_restart(bad.into(), EngineRestart::No).await, "set_restart");
        refused(world.runtime.exec(bad.into(), vec!["true".into()], PATIENCE).await.map(drop), "exec");
        refused(world.runtime.ensure_network(bad.into(), world.labels()).await, "ensure_network");
        refused(world.runtime.volume(bad.into()).await.map(drop), "volume");
        refused(world.runtime.ensure_volume(bad.into(), world.labels()).await.map(drop), "ensure_volume");
        let log: Vec<_> = within(world.runtime.logs(bad.into(), LogQuery::default()).collect()).await;
        assert!(matches!(log.as_slice(), [Err(RuntimeError::Refused { .. })]), "logs: {log:?}");
    }
}

pub async fn health_follows_its_check(world: &World) {
    let check = |program: Program| {
        let mut test = vec!["CMD".to_owned()];
        test.extend(program.command());
        let interval = Some(Period(Duration::from_secs(1)));
        Healthcheck { test, interval, retries: Some(2), ..Healthcheck::default() }
    };
    let with = |suffix: &str, check: Healthcheck| ContainerPlan {
        healthcheck: Some(check),
        ..world.plan(suffix, Program::Serves)
    };
    let good = world.run(with("good", check(Program::Succeeds))).await;
    let bad = world.run(with("bad", check(Program::Unwell))).await;
    let off = world.run(with("off", Healthcheck { disable: true, ..Healthcheck::default() })).await;
    let none = world.run(world.plan("none", Program::Serves)).await;
    assert_eq!(world.look(&bad).await.health.as_deref(), Some("starting"));
    let healthy = world.until(&good, "is healthy", |c| c.health.as_deref() == Some("healthy")).await;
    assert_eq!((healthy.state, healthy.health_log), (ContainerState::Running, None));
    let unhealthy = world.until(&bad, "is unhealthy", |c| c.health.as_deref() == Some("unhealthy")).await;
    assert_eq!((unhealthy.state, unhealthy.health_log.as_deref()), (ContainerState::Running, Some("no database")));
    for id in [&off, &none] {
        assert_eq!(world.look(id).await.health, None);
    }
    // The verdict is told as well.
    let mut events = world.runtime.events(LABEL.into(), world.prefix.clone(), Some(0));
    let mut told = Vec::new();
    while told.len() < 2 {
        let event = within(events.next()).await.expect("more events").unwrap();
        if event.action == "health_status" {
            told.push(event.container.to_string());
        }
    }
    told.sort();
    let mut want = vec![good.clone(), bad];
    want.sort();
    assert_eq!(told, want);
    // A new run has to prove itself anew.
    world.runtime.stop(good.clone(), Some(Duration::from_secs(20))).await.unwrap();
    world.runtime.start(good.clone()).await.unwrap();
    assert_eq!(world.look(&good).await.health.as_deref(), Some("starting"));
}
