//! Reports: desired beside actual, reasons, the cluster, metrics, the description of it all.

use serde_json::{Value, json};

use super::rig::{Rig, config, service};
use crate::{
    api::routes::TABLE,
    model::{ObjectKey, Reason, ReplicaPhase, ReplicaStatus, Resolution, ResolvedImage, Status, status::LastExit},
    store::command::Command,
};

async fn crashing(rig: &Rig) {
    rig.node().await;
    rig.apply(&service("web", "nginx:1", 2).to_string()).await;
    let uid = rig.shared.store.state().object(&ObjectKey::service("web")).unwrap().meta.uid.clone();
    let image = ResolvedImage::Digest { reference: "nginx@sha256:1".into() };
    rig.propose(vec![Command::ResolveImage { service: uid, revision: 1, image: Resolution::Resolved { image } }]).await;
    rig.place("web", 1).await;
    rig.place("web", 2).await;
    let running = ReplicaStatus {
        phase: ReplicaPhase::Running,
        ready: true,
        container: Some("c1".into()),
        ..ReplicaStatus::default()
    };
    rig.observe(ObjectKey::replica("web-1-abcde"), Status::Replica(running)).await;
    let crashed = ReplicaStatus {
        phase: ReplicaPhase::BackOff,
        reason: Some(Reason::CrashLoopBackOff),
        message: "exit 1".into(),
        next_attempt: Some(u64::MAX / 2),
        restarts: 3,
        last_exit: Some(LastExit { code: 1, log_tail: vec!["no database".into()], ..LastExit::default() }),
        ..ReplicaStatus::default()
    };
    rig.observe(ObjectKey::replica("web-2-abcde"), Status::Replica(crashed)).await;
}

#[tokio::test]
async fn a_service_is_reported_desired_beside_actual() {
    let rig = Rig::new().await;
    rig.apply(&service("new", "nginx:1", 4).to_string()).await;
    let new = rig.read("/api/v1/services/new/status").await;
    assert_eq!(new["counts"], json!({"desired": 4, "running": 0, "ready": 0, "updated": 0}), "before anybody looked");
    assert_eq!((&new["replicas"], &new["observedGeneration"], &new["revision"]), (&json!([]), &json!(0), &json!(1)));
    crashing(&rig).await;
    let report = rig.read("/api/v1/services/web/status").await;
    assert_eq!(
        (&report["name"], &report["generation"], &report["index"]),
        (&json!("web"), &json!(1), &json!(rig.index()))
    );
    let rows = report["replicas"].as_array().unwrap();
    assert_eq!(rows.iter().map(|r| r["display"].as_str().unwrap()).collect::<Vec<_>>(), ["web.1", "web.2"]);
    assert_eq!(rows[0]["desired"]["state"], "Run");
    assert_eq!(rows[0]["desired"]["image"], "nginx@sha256:1");
    assert_eq!((&rows[0]["actual"]["state"], &rows[0]["actual"]["container"]), (&json!("Running"), &json!("c1")));
    assert_eq!((&rows[1]["reason"], &rows[1]["message"]), (&json!("CrashLoopBackOff"), &json!("exit 1")));
    assert_eq!((&rows[1]["actual"]["restarts"], &rows[1]["actual"]["lastExit"]["code"]), (&json!(3), &json!(1)));
    assert_eq!(rig.get("/api/v1/services/none/status").await.status, 404);
    assert_eq!(rig.get("/api/v1/configs/none/status").await.problem(), (404, "no-route".into()));
}

#[tokio::test]
async fn why_names_each_difference_with_its_reason() {
    let rig = Rig::new().await;
    crashing(&rig).await;
    for path in ["services/web", "replicas/web-2-abcde"] {
        let why = rig.read(&format!("/api/v1/{path}/why")).await;
        let found = why["differences"].as_array().unwrap();
        let one = found.iter().find(|d| d["path"] == "replicas/web.2").unwrap_or_else(|| panic!("{path}: {why}"));
        for field in ["desired", "actual", "reason", "message"] {
            assert!(one[field].as_str().is_some_and(|t| !t.is_empty()), "{path} {field}: {one}");
        }
        assert!(one["since"].is_u64() && one["nextAttempt"].is_u64(), "{one}");
        assert_eq!(one["reason"], "CrashLoopBackOff");
        assert!(!why.to_string().contains("web.1"), "what is as declared is no difference: {why}");
    }
    assert_eq!(rig.read("/api/v1/nodes/n1/why").await, json!({"differences": []}));
    let mut naming = service("reader", "nginx:1", 1);
    naming["spec"]["secrets"] = json!([{"source": "absent/k", "env": "X"}]);
    let answer = rig.post("/api/v1/apply", &naming.to_string()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let why = rig.read("/api/v1/services/reader/why").await;
    assert!(why.to_string().contains("SecretMissing"), "{why}");
    let why = rig.read("/api/v1/secrets/absent/why").await;
    assert!(why.to_string().contains("SecretMissing"), "named and not there: {why}");
    for path in ["services/none", "replicas/none", "nodes/none", "configs/none", "secrets/none"] {
        assert_eq!(rig.get(&format!("/api/v1/{path}/why")).await.problem(), (404, "not-found".into()), "{path}");
    }
}

#[tokio::test]
async fn the_cluster_says_who_leads_and_how_much_is_ready() {
    let rig = Rig::new().await;
    crashing(&rig).await;
    let status = rig.read("/api/v1/status").await;
    assert_eq!((&status["node"], &status["leader"], &status["writable"]), (&json!("n1"), &json!("n1"), &json!(true)));
    assert_eq!(
        (&status["nodes"], &status["replicas"]),
        (&json!({"ready": 1, "total": 1}), &json!({"ready": 1, "total": 2}))
    );
    assert_eq!((&status["index"], &status["voters"]), (&json!(rig.index()), &json!(1)));
    let raft = rig.read("/api/v1/raft/status").await;
    assert_eq!((&raft["role"], &raft["voters"]), (&json!("Leader"), &json!([raft["member"]])));
    let leader = rig.read("/api/v1/raft/leader").await;
    assert_eq!((&leader["node"], &leader["here"], &leader["member"]), (&json!("n1"), &json!(true), &raft["member"]));
    let ready = rig.read("/ready").await;
    let checks: Vec<_> =
        ready["checks"].as_array().unwrap().iter().map(|c| (c["name"].clone(), c["ok"].clone())).collect();
    assert_eq!(checks, ["cluster", "leader", "disk", "engine"].map(|n| (json!(n), json!(true))), "{ready}");
}

#[tokio::test]
async fn metrics_count_by_route_and_never_by_what_a_caller_sends() {
    let rig = Rig::new().await;
    rig.apply(&config("c", "1").to_string()).await;
    for path in ["/api/v1/configs/c", "/api/v1/configs/very-own-name", "/api/v1/nowhere/very-own-name"] {
        rig.get(path).await;
    }
    let answer = rig.get("/metrics").await;
    assert!(answer.header("content-type").unwrap().starts_with("application/openmetrics-text"), "{answer:?}");
    let text = answer.text();
    for line in [
        r#"constellation_api_requests_total{route="/api/v1/configs/{name}",method="GET",code="200"} 1"#,
        r#"constellation_api_requests_total{route="/api/v1/configs/{name}",method="GET",code="404"} 1"#,
        r#"constellation_api_requests_total{route="(none)",method="(none)",code="404"} 1"#,
        "constellation_api_connections 1",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(!text.contains("very-own-name") && text.ends_with("# EOF\n"), "{text}");
    let json = rig.read("/api/v1/metrics").await;
    let family = |name: &str| json["metrics"].as_array().unwrap().iter().find(|f| f["name"] == name).unwrap().clone();
    assert_eq!(family("constellation_api_requests")["type"], "counter");
    let samples = family("constellation_api_requests")["samples"].take();
    let found =
        samples.as_array().unwrap().iter().find(|s| s["labels"]["code"] == "404" && s["labels"]["method"] == "GET");
    assert_eq!(found.unwrap()["value"], 1.0);
}

#[tokio::test]
async fn metrics_tell_of_the_store_in_both_forms() {
    let rig = Rig::new().await;
    rig.apply(&config("c", "1").to_string()).await;
    let answer = rig.get("/metrics").await;
    let text = answer.text();
    let json = rig.read("/api/v1/metrics").await;
    for (name, kind) in [
        ("index", "gauge"),
        ("raft_term", "gauge"),
        ("is_leader", "gauge"),
        ("last_log_index", "gauge"),
        ("applied_index", "gauge"),
        ("snapshot_index", "gauge"),
        ("purged_index", "gauge"),
        ("queue_depth", "gauge"),
        ("queue_limit", "gauge"),
        ("log_bytes", "gauge"),
        ("log_written_bytes", "counter"),
        ("log_sync_seconds", "histogram"),
        ("entry_groups", "histogram"),
        ("proposals", "counter"),
    ] {
        let name = format!("constellation_store_{name}");
        for line in [format!("# HELP {name} "), format!("# TYPE {name} {kind}\n")] {
            assert_eq!(text.matches(&line).count(), 1, "{line} in {text}");
        }
        let family = json["metrics"].as_array().unwrap().iter().find(|f| f["name"] == name.as_str()).unwrap();
        assert_eq!(family["type"], kind, "{name}");
        let help = family["help"].as_str().unwrap();
        assert!(help.ends_with('.') && !help.ends_with(".."), "{help}");
        assert!(!family["samples"].as_array().unwrap().is_empty(), "{name}");
    }
    let index = rig.shared.store.state().index();
    assert!(text.contains(&format!("\nconstellation_store_index {index}\n")), "{index} in {text}");
}

#[tokio::test]
async fn the_description_has_every_route_with_its_role_and_resolves() {
    let rig = Rig::new().await;
    let document = rig.read("/openapi.json").await;
    assert_eq!(document["openapi"], "3.1.0");
    for route in TABLE.iter() {
        let operation = &document["paths"][route.path][route.method.to_ascii_lowercase()];
        assert_eq!(operation["x-role"], route.role.name(), "{} {}", route.method, route.path);
        let media: Vec<&String> = operation["responses"]["200"]["content"].as_object().unwrap().keys().collect();
        assert_eq!(media.len(), route.gives.len(), "{} {}", route.method, route.path);
        let named = |name: &str| operation["parameters"].as_array().unwrap().iter().any(|p| p["name"] == name);
        assert!(route.query.iter().all(|p| named(p.name)), "{} {}", route.method, route.path);
        assert_eq!(named("name"), route.path.contains("{name}"));
    }
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > TABLE.len());
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leads outside"));
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            references.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|v| collect(v, references));
        }
        Value::Array(items) => items.iter().for_each(|v| collect(v, references)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
