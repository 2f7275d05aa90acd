//! Rollouts: words about one, and what its history says.

use serde_json::{Value, json};

use super::rig::{Rig, service};
use crate::model::{
    HookRun, ObjectKey, Replica, Rollout, RolloutPhase, Slot, Stage, Uid, rollout::Paused, testing::replica,
};
use crate::store::command::Command;

const PATH: &str = "/api/v1/services/web/rollout";

/// Records a rollout of `web` on top of the one that is known.
async fn record(rig: &Rig, rollout: Rollout) {
    let state = rig.shared.store.state();
    let uid = state.object(&ObjectKey::service("web")).unwrap().meta.uid.clone();
    let based_on = state.rollout(&uid).map(|r| r.resource_version);
    rig.propose(vec![Command::SetRollout { service: "web".into(), uid, rollout: Box::new(rollout), based_on }]).await;
}

#[tokio::test]
async fn who_pauses_a_second_time_is_told_by_whom_it_is_paused_and_why() {
    let rig = Rig::new().await;
    rig.apply(&service("web", "a:1", 1).to_string()).await;
    let pause = json!({"action": "pause"}).to_string();
    let say = |why: &'static str| rig.ask("POST", PATH).body(&pause).header("x-change-reason", why).send();
    let first = say("look first").await.json();
    assert_eq!(first["warnings"], Value::Null, "{first}");
    let paused = rig.read(PATH).await["rollout"]["paused"].take();
    let by = paused["by"].as_str().unwrap();
    assert_eq!(paused["why"], "look first");
    let second = say("and again").await.json();
    let told = format!("svc/web is paused by {by}: look first already, and stays so");
    assert_eq!(second["warnings"], json!([told]), "{second}");
    assert_eq!(rig.read(PATH).await["rollout"]["paused"], paused, "the first word stays");
    let resumed = rig.post(PATH, &json!({"action": "resume"}).to_string()).await.json();
    assert_eq!(resumed["warnings"], Value::Null, "{resumed}");
}

#[tokio::test]
async fn whatever_carries_nothing_out_for_a_pause_says_so() {
    let rig = Rig::new().await;
    for image in ["a:1", "a:2"] {
        rig.apply(&service("web", image, 1).to_string()).await;
        let image = crate::model::Resolution::Resolved {
            image: crate::model::ResolvedImage::Digest { reference: "a@sha256:1".into() },
        };
        let state = rig.shared.store.state();
        let service = state.object(&ObjectKey::service("web")).unwrap().meta.uid.clone();
        let revision = state.newest_revision(&service).unwrap().number;
        rig.propose(vec![Command::ResolveImage { service, revision, image }]).await;
    }
    let paused = Some(Paused { by: "ann".into(), at: 1, why: Some("lunch".into()) });
    record(&rig, Rollout { target: 2, newest: 2, paused, phase: RolloutPhase::Complete, ..Rollout::default() }).await;
    let plan = rig.post("/api/v1/plan", &json!([service("web", "a:3", 1)]).to_string()).await.json();
    let told = "svc/web: its rollout is paused by ann: lunch: no replica is replaced until \
                `constellation rollout resume svc/web`";
    assert!(plan["warnings"].as_array().unwrap().contains(&json!(told)), "{plan}");
    let undone = rig.post(PATH, &json!({"action": "undo", "toRevision": 1}).to_string()).await.json();
    let told = "svc/web is paused by ann: lunch and stays so: nothing is replaced until \
                `constellation rollout resume svc/web`";
    assert_eq!(undone["warnings"], json!([told]), "{undone}");
}

#[tokio::test]
async fn the_history_keeps_how_each_revision_went_when_the_record_is_of_another() {
    let rig = Rig::new().await;
    for image in ["a:1", "a:2", "a:3"] {
        rig.apply(&service("web", image, 1).to_string()).await;
    }
    let paused = Some(Paused { by: "ann".into(), at: 1, why: None });
    let of = |target, newest, phase, started_at| Rollout { target, newest, phase, started_at, ..Rollout::default() };
    record(&rig, of(1, 1, RolloutPhase::Complete, 10)).await;
    record(&rig, of(2, 2, RolloutPhase::Progressing, 20)).await;
    let back = |phase| Rollout { from: Some(2), message: "web.1: exit 1".into(), ..of(1, 2, phase, 30) };
    record(&rig, back(RolloutPhase::RollingBack)).await;
    record(&rig, back(RolloutPhase::RolledBack)).await;
    record(&rig, Rollout { paused, ..of(3, 3, RolloutPhase::Progressing, 40) }).await;
    let report = rig.read(PATH).await;
    let tried: Vec<(u64, &Value)> = report["revisions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|revision| (revision["revision"].as_u64().unwrap(), &revision["tried"]))
        .collect();
    assert_eq!(
        tried,
        [
            (3, &json!({"beganAt": 40, "phase": "Progressing"})),
            (2, &json!({"beganAt": 20, "phase": "RolledBack", "message": "web.1: exit 1"})),
            (1, &json!({"beganAt": 10, "phase": "Complete"})),
        ],
        "a way back is no rollout of where it leads"
    );
}

#[tokio::test]
async fn the_history_counts_replicas_and_no_hooks_which_are_to_end() {
    let rig = Rig::new().await;
    rig.node().await;
    rig.apply(&service("web", "a:1", 1).to_string()).await;
    rig.place("web", 1).await;
    let state = rig.shared.store.state();
    let object = state.object(&ObjectKey::service("web")).unwrap();
    let hook = serde_json::from_value(json!({"command": ["migrate"]})).unwrap();
    let hook = Replica {
        slot: Slot::Number(0),
        service_uid: object.meta.uid.clone(),
        spec_hash: state.newest_revision(&object.meta.uid).unwrap().spec_hash.clone(),
        node_uid: Uid::from_bytes([7; 16]),
        hook: Some(Box::new(HookRun { stage: Stage::PreDeploy, position: 0, hook })),
        ..replica("web", 0)
    };
    rig.propose(vec![Command::Place { replica: hook, beside: None }]).await;
    assert_eq!(rig.read(PATH).await["revisions"][0]["replicas"], 1);
    let replicas = rig.read("/api/v1/replicas?service=web").await;
    let shown: Vec<_> = replicas["items"].as_array().unwrap().iter().map(|r| &r["spec"]).collect();
    let once: Vec<_> = shown.iter().map(|spec| (spec["slot"].as_u64(), spec["runsOnce"] == true)).collect();
    assert_eq!(once, [(Some(0), true), (Some(1), false)], "{replicas}");
}
