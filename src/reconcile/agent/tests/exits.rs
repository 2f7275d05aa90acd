//! What follows an exit, by whose doing it was and by what the service says of restarts.

use super::*;

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
