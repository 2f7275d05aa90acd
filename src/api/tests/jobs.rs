//! Jobs: their runs, one that is asked for, and what they are not.

use serde_json::json;

use super::rig::{Rig, service};

#[tokio::test]
async fn a_run_is_asked_for_and_seen_and_a_second_is_refused_meanwhile() {
    let rig = Rig::new().await;
    let mut job = service("backup", "a:1", 1);
    job["spec"] = json!({"image": "a:1", "mode": "cron", "schedule": "@daily", "timeZone": "Europe/Berlin"});
    rig.apply(&job.to_string()).await;
    let path = "/api/v1/services/backup/runs";
    let before = rig.read(path).await;
    assert_eq!((&before["mode"], &before["timeZone"]), (&json!("cron"), &json!("Europe/Berlin")));
    assert_eq!(before["runs"], json!([]));
    let answer = rig.post(path, "").await;
    assert_eq!(answer.status, 200);
    let run = rig.read(path).await["runs"][0].clone();
    assert_eq!(
        (&run["number"], &run["state"], &run["trigger"]["kind"]),
        (&json!(1), &json!("Running"), &json!("hand"))
    );
    let index = answer.json()["index"].as_u64().unwrap();
    assert!(run["index"].as_u64().unwrap() <= index, "{run} {index}");
    assert_eq!(rig.post(path, "").await.problem(), (409, "run-under-way".into()));
    assert_eq!(rig.read("/api/v1/jobs").await["items"][0]["runs"][0], run);
    for path in ["/api/v1/services/none/runs", "/api/v1/services/backup/logs?run=9"] {
        assert_eq!(rig.get(path).await.status, 404, "{path}");
    }
    job["spec"]["suspend"] = json!(true);
    rig.apply(&job.to_string()).await;
    assert_eq!(rig.post(path, "").await.problem(), (422, "invalid".into()));
    assert_eq!(rig.read(path).await["nextDue"], json!(null));
}

#[tokio::test]
async fn a_job_has_no_rollout_and_a_service_no_runs() {
    let rig = Rig::new().await;
    rig.apply(&service("web", "a:1", 1).to_string()).await;
    let mut job = service("sums", "a:1", 1);
    job["spec"] = json!({"image": "a:1", "mode": "job"});
    rig.apply(&job.to_string()).await;
    let restart = json!({"action": "restart"}).to_string();
    // Whoever looks at a terminal is told a command, and the path behind it.
    for (path, hint) in [
        ("/api/v1/services/web/runs", "`constellation job ls` lists jobs (GET /api/v1/jobs)"),
        ("/api/v1/services/sums/rollout", "`constellation job ls sums` shows them (GET /api/v1/services/sums/runs)"),
    ] {
        assert_eq!(rig.get(path).await.json()["hint"], hint, "{path}");
    }
    assert_eq!(rig.get("/api/v1/services/web/runs").await.problem(), (422, "invalid".into()));
    assert_eq!(rig.post("/api/v1/services/web/runs", "").await.problem(), (422, "invalid".into()));
    assert_eq!(rig.get("/api/v1/services/sums/rollout").await.problem(), (422, "invalid".into()));
    assert_eq!(rig.post("/api/v1/services/sums/rollout", &restart).await.problem(), (422, "invalid".into()));
    assert_eq!(rig.read("/api/v1/jobs").await["items"].as_array().unwrap().len(), 1);
}
