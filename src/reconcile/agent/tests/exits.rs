//! What follows an exit, by whose doing it was and by what the service says of restarts.

use super::*;
use crate::model::status::ExitCause;

impl World {
    /// Runs a service whose own health check said these words, one after the other.
    async fn checked(&self, name: &str, restart: &str, volumes: serde_json::Value) -> Arc<str> {
        let check = json!({ "test": ["CMD", "true"], "interval": "10s" });
        let spec = json!({ "healthcheck": check, "restart": restart, "volumes": volumes });
        let key = self.service(name, spec).await;
        self.pass(&key).await;
        for health in ["healthy", "unhealthy"] {
            self.engine.set_health(&key, health);
            self.hear(&key, &["health_status"]);
            self.pass(&key).await;
        }
        self.engine.calls();
        self.later(20);
        key
    }
    fn state(&self, key: &Arc<str>) -> ContainerState {
        self.engine.container(key).unwrap().state
    }
}

#[tokio::test]
async fn a_job_that_somebody_starts_after_its_end_is_stopped_and_told_as_running_until_then() {
    let mut world = World::new().await;
    let key = world.service("job", json!({ "restart": "no" })).await;
    world.pass(&key).await;
    world.engine.crash(&key, 0);
    world.hear(&key, &["die"]);
    world.pass(&key).await;
    assert_eq!(world.says(&key).0, ReplicaPhase::Completed);
    world.write_report(&key).await;
    for agent in ["the same", "another"] {
        world.engine.hand_start(&key);
        world.engine.calls();
        if agent == "another" {
            world.restart_agent().await;
        } else {
            world.hear(&key, &["start"]);
        }
        world.pass(&key).await;
        assert_eq!(world.engine.calls(), ["stop job-1-abcde"], "{agent}");
        assert_eq!(world.state(&key), ContainerState::Exited, "{agent}");
        let status = world.reported(&key);
        assert_eq!((status.phase, status.restarts), (ReplicaPhase::Completed, 0), "{agent}");
        assert_eq!(status.message, "exit 0", "{agent}");
    }
}

#[tokio::test]
async fn what_is_restarted_for_bad_health_does_not_start_on_an_empty_mountpoint() {
    let world = World::new().await;
    let mounts = json!([{ "type": "volume", "source": "data", "target": "/data" }]);
    let key = world.checked("db", "always", mounts).await;
    let volume = world.engine.volumes()[0].clone();
    world.engine.lose_volume(&volume);
    world.pass(&key).await;
    assert_eq!(world.engine.calls(), ["stop db-1-abcde"]);
    assert_eq!(world.says(&key), (ReplicaPhase::BackOff, Some(Reason::DataMissing), false));
}

#[tokio::test]
async fn bad_health_restarts_no_job() {
    let world = World::new().await;
    let key = world.checked("job", "no", json!([])).await;
    world.pass(&key).await;
    assert_eq!(world.engine.calls(), [""; 0]);
    assert_eq!(world.says(&key), (ReplicaPhase::Running, Some(Reason::Unhealthy), false));
    // The other side of it: a restart of `on-failure` by this agent is followed by a start, whatever the code.
    let key = world.checked("worker", "on-failure", json!([])).await;
    world.pass(&key).await;
    assert_eq!(world.engine.calls(), ["stop worker-1-abcde", "start worker-1-abcde"]);
    assert_eq!(world.reported(&key).unhealthy_restarts, 1);
}

#[tokio::test]
async fn a_stop_by_hand_is_no_success_and_a_new_agent_still_knows_whose_it_was() {
    let mut world = World::new().await;
    for (restart, phase, later) in [
        ("on-failure", ReplicaPhase::BackOff, ContainerState::Running),
        ("unless-stopped", ReplicaPhase::Waiting, ContainerState::Exited),
        ("no", ReplicaPhase::Failed, ContainerState::Exited),
    ] {
        let key = world.service(restart, json!({ "restart": restart })).await;
        world.pass(&key).await;
        world.engine.hand_stop(&key);
        world.hear(&key, &["kill", "die", "stop"]);
        world.pass(&key).await;
        assert_eq!(world.says(&key).0, phase, "{restart}");
        world.write_report(&key).await;
        world.restart_agent().await;
        world.pass(&key).await;
        assert_eq!(world.says(&key).0, phase, "{restart}, by the next agent");
        world.later(10);
        world.pass(&key).await;
        assert_eq!(world.state(&key), later, "{restart}");
    }
}

#[tokio::test]
async fn a_new_agent_goes_on_with_a_restart_that_was_begun() {
    let mut world = World::new().await;
    let key = world.checked("worker", "on-failure", json!([])).await;
    // The old one said what it was about to do, stopped it and died.
    let mut status = world.reported(&key);
    (status.phase, status.reason) = (ReplicaPhase::Starting, Some(Reason::Unhealthy));
    let uid = world.store.state().replica(&key).unwrap().uid.clone();
    let statuses = vec![(ObjectKey::replica(key.clone()), uid, Status::Replica(status))];
    world.propose(vec![Command::RecordObservations { statuses, events: vec![] }]).await;
    world.engine.hand_stop(&key);
    world.restart_agent().await;
    world.hear(&key, &["kill"]);
    world.pass(&key).await;
    assert_eq!(world.state(&key), ContainerState::Running);
}

#[tokio::test]
async fn what_ended_with_its_engine_starts_at_once_and_nobody_is_blamed() {
    let mut world = World::new().await;
    let mut keys = Vec::new();
    for restart in ["always", "unless-stopped", "on-failure", "no"] {
        let key = world.service(restart, json!({ "restart": restart })).await;
        world.pass(&key).await;
        keys.push((restart, key));
    }
    for round in ["the agent was there", "it was not"] {
        world.engine.restart_engine();
        if round == "it was not" {
            world.restart_agent().await;
        }
        world.list().await;
        for (restart, key) in &keys {
            world.hear(key, &["kill", "die", "stop"]);
            world.pass(key).await;
            let status = world.reported(key);
            let after = if *restart == "no" { ContainerState::Exited } else { ContainerState::Running };
            assert_eq!(world.state(key), after, "{restart}, {round}");
            assert_eq!(
                (status.failures, status.last_exit.unwrap().cause),
                (0, ExitCause::Engine),
                "{restart}, {round}"
            );
            world.write_report(key).await;
        }
    }
    assert_eq!(world.says(&keys[3].1).0, ReplicaPhase::Failed, "a job is not run twice");
    let told = world.told().await;
    assert!(told.iter().all(|(reason, _)| *reason != Reason::StoppedByHand), "{told:?}");
}

#[tokio::test]
async fn an_exit_is_judged_only_when_the_engine_says_since_when_it_runs() {
    let world = World::new().await;
    let key = world.service("web", json!({ "restart": "unless-stopped" })).await;
    world.pass(&key).await;
    // Its list and inspections still come over kept connections; new ones are refused.
    world.engine.close(true);
    world.engine.hand_stop(&key);
    world.hear(&key, &["kill", "die", "stop"]);
    world.pass(&key).await;
    assert_eq!(world.says(&key).1, Some(Reason::DockerDown));
    assert_eq!(world.reported(&key).last_exit, None);
    world.engine.close(false);
    world.engine.restart_engine();
    world.list().await;
    world.pass(&key).await;
    assert_eq!(world.state(&key), ContainerState::Running);
}

#[tokio::test]
async fn a_signal_that_ends_nothing_makes_no_exit_somebodys_doing() {
    for (signal, cause) in [("SIGHUP", ExitCause::Itself), ("SIGINT", ExitCause::Hand)] {
        let world = World::new().await;
        let key = world.service("web", json!({})).await;
        world.pass(&key).await;
        let from = world.engine.container(&key).unwrap().started_at;
        world.engine.hand_signal(&key, signal);
        world.engine.crash(&key, 1);
        let lineage = world.lineage();
        let since = containers::nanos(&from).unwrap();
        let events = world.engine.events(label::LINEAGE.into(), lineage, Some(since));
        for event in events.take(3).collect::<Vec<_>>().await {
            world.agent.containers.happened(&event.unwrap());
        }
        world.pass(&key).await;
        assert_eq!(world.reported(&key).last_exit.unwrap().cause, cause, "{signal}");
    }
}

#[tokio::test]
async fn a_new_agent_counts_on_from_the_failures_in_a_row() {
    let mut world = World::new().await;
    let key = world.service("web", json!({})).await;
    world.pass(&key).await;
    for n in 0..3 {
        world.engine.crash(&key, 1);
        world.hear(&key, &["die"]);
        world.pass(&key).await;
        world.later(10 << n);
        world.pass(&key).await;
        world.write_report(&key).await;
    }
    assert_eq!((world.reported(&key).failures, world.state(&key)), (3, ContainerState::Running));
    world.restart_agent().await;
    world.pass(&key).await;
    world.engine.crash(&key, 1);
    world.hear(&key, &["die"]);
    world.pass(&key).await;
    let status = world.reported(&key);
    assert_eq!((status.failures, status.next_attempt), (4, Some(world.now.load(Ordering::Relaxed) + 40_000)));
}
