//! Attempts of jobs: one life each; and who waits for a job.

use super::*;
use crate::model::{JobRecord, RunState, job::Trigger};

async fn set_job(world: &World, name: &str, edit: impl FnOnce(&mut JobRecord)) -> JobRecord {
    let state = world.store.state();
    let uid = state.object(&ObjectKey::service(name)).unwrap().meta.uid.clone();
    let old = state.job(&uid).cloned();
    let mut job = old.as_deref().cloned().unwrap_or_default();
    edit(&mut job);
    let based_on = old.map(|old| old.resource_version);
    let set = Command::SetJob { service: name.into(), uid, job: Box::new(job.clone()), based_on };
    world.propose(vec![set]).await;
    job
}

/// The next run of a job begins, with one attempt on this node.
async fn attempt(world: &World, name: &str) -> Arc<str> {
    let state = world.store.state();
    let service = state.object(&ObjectKey::service(name)).unwrap().meta.uid.clone();
    let revision = state.newest_revision(&service).unwrap().clone();
    let run = set_job(world, name, |job| {
        job.begin(Trigger::Spec, revision.number, 1, 0);
    })
    .await
    .last;
    let key: Arc<str> = format!("{name}-1-run{run:02}").into();
    let replica = Replica {
        name: key.clone(),
        uid: Uid(format!("uid of {key}").into()),
        run: Some(run),
        service_uid: service.clone(),
        revision: revision.number,
        spec_hash: revision.spec_hash.clone(),
        node_uid: world.node.clone(),
        ..replica(name, 1)
    };
    let image = Resolution::Resolved { image: ResolvedImage::Digest { reference: IMAGE.into() } };
    let resolve = Command::ResolveImage { service, revision: revision.number, image };
    world.propose(vec![resolve, Command::Place { replica, beside: None }]).await;
    key
}

async fn declare(world: &World, name: &str, spec: serde_json::Value) {
    let spec: ServiceSpec = serde_json::from_value(spec).unwrap();
    world.declare(name, Spec::Service(Box::new(spec))).await;
}

#[tokio::test]
async fn an_attempt_has_one_life_whatever_restart_says() {
    let world = World::new().await;
    declare(&world, "job", json!({ "image": "hello", "mode": "job" })).await;
    for (code, phase) in [(1, ReplicaPhase::Failed), (0, ReplicaPhase::Completed)] {
        let key = attempt(&world, "job").await;
        world.pass(&key).await;
        assert_eq!(world.says(&key).0, ReplicaPhase::Running);
        world.engine.crash(&key, code);
        world.hear(&key, &["die"]);
        world.pass(&key).await;
        assert_eq!(world.says(&key).0, phase);
        world.engine.calls();
        world.later(10_000);
        world.pass(&key).await;
        assert_eq!((world.says(&key).0, world.engine.calls()), (phase, vec![]), "nothing follows");
        world.write_report(&key).await;
        // What the next attempt rests on.
        set_job(&world, "job", |job| job.runs.iter_mut().for_each(|run| run.end(RunState::Failed, 1))).await;
    }
}

#[tokio::test]
async fn a_job_is_waited_for_until_its_newest_run_succeeded() {
    let world = World::new().await;
    declare(&world, "job", json!({ "image": "hello", "mode": "job" })).await;
    let waits = json!({ "dependsOn": [{ "name": "job", "condition": "service_completed_successfully" }] });
    let key = world.service("web", waits).await;
    let waiting = Some(Reason::WaitingForDependency);
    world.pass(&key).await;
    assert_eq!(world.says(&key).1, waiting, "it never ran");
    set_job(&world, "job", |job| {
        job.begin(Trigger::Spec, 1, 1, 0);
    })
    .await;
    world.pass(&key).await;
    assert_eq!(world.says(&key).1, waiting, "it is under way");
    set_job(&world, "job", |job| job.runs.iter_mut().for_each(|run| run.end(RunState::Succeeded, 1))).await;
    declare(&world, "job", json!({ "image": "hello:2", "mode": "job" })).await;
    world.pass(&key).await;
    assert_eq!(world.says(&key).1, waiting, "a newer revision of it has not run");
    set_job(&world, "job", |job| {
        job.begin(Trigger::Spec, 2, 1, 0);
        job.runs.iter_mut().for_each(|run| run.end(RunState::Succeeded, 1));
    })
    .await;
    world.pass(&key).await;
    assert_eq!(world.says(&key).0, ReplicaPhase::Running);
}
