//! Who changed what, as the API keeps and shows it.

use serde_json::{Value, json};

use super::{
    client::Answer,
    rig::{Rig, config, service},
};

async fn records(rig: &Rig, query: &str) -> Vec<Value> {
    rig.read(&format!("/api/v1/audit{query}")).await["items"].as_array().unwrap().clone()
}
/// `who METHOD path: objects with results, or the refusal`.
fn told(record: &Value) -> String {
    let text = |field: &str| record[field].as_str().unwrap_or_default().to_owned();
    let objects: Vec<String> = record["objects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|o| format!("{} {}", o["object"].as_str().unwrap(), o["result"].as_str().unwrap_or("-")))
        .collect();
    format!("{} {} {}: {}{}", text("who"), text("method"), text("path"), objects.join(", "), text("refusal"))
}

#[tokio::test]
async fn every_change_leaves_a_record_and_nothing_else_does() {
    let rig = Rig::new().await;
    rig.node().await;
    let ci = rig.token("ci", "write").await;
    let as_ci = |method, path| rig.ask(method, path).token(Some(&ci)).header("x-change-reason", "new logo");
    let both = json!([service("web", "nginx:1", 1), config("c", "1")]).to_string();
    let good = |answer: Answer| assert_eq!(answer.status, 200, "{answer:?}");
    good(as_ci("POST", "/api/v1/apply").body(&both).send().await);
    good(as_ci("POST", "/api/v1/apply").body(&both).send().await);
    good(as_ci("PUT", "/api/v1/configs/c").body(config("c", "2").to_string()).send().await);
    good(as_ci("PUT", "/api/v1/services/web/scale").body(r#"{"replicas":2}"#).send().await);
    let stale = as_ci("DELETE", "/api/v1/configs/c?resourceVersion=1").send().await;
    assert_eq!(stale.status, 409, "{stale:?}");
    good(as_ci("DELETE", "/api/v1/configs/c").send().await);
    let built =
        as_ci("POST", "/api/v1/builds?tag=web:1&arg=TOKEN=hunter2").media("application/x-tar").body("tar").send().await;
    assert_eq!(built.status, 200, "{built:?}");
    good(rig.ask("POST", "/api/v1/nodes/n1/cordon").socket().send().await);
    good(rig.ask("DELETE", "/api/v1/tokens/ci").send().await);

    // None of these changes anything or could have.
    good(rig.post("/api/v1/apply?dryRun=true", &config("d", "1").to_string()).await);
    good(rig.post("/api/v1/plan", &config("d", "1").to_string()).await);
    assert_eq!(rig.post("/api/v1/apply", "{}").await.status, 422);
    for token in [None, Some("guess"), Some(ci.as_str())] {
        assert_eq!(rig.ask("DELETE", "/api/v1/services/web").token(token).send().await.status, 401);
    }
    rig.get("/api/v1/services").await;

    let all = records(&rig, "").await;
    let uid = rig.shared.uid;
    let socket = if uid == 0 { "root@socket".to_owned() } else { format!("uid {uid}@socket") };
    assert_eq!(
        all.iter().map(told).collect::<Vec<_>>(),
        [
            "admin-token POST /api/v1/tokens: token/ci created".to_owned(),
            "token ci POST /api/v1/apply: config/c created, svc/web created".into(),
            "token ci POST /api/v1/apply: config/c unchanged, svc/web unchanged".into(),
            "token ci PUT /api/v1/configs/c: config/c configured".into(),
            "token ci PUT /api/v1/services/web/scale: svc/web configured".into(),
            told(&all[5]),
            "token ci DELETE /api/v1/configs/c: config/c deleted".into(),
            "token ci POST /api/v1/builds: image/web:1 begun".into(),
            format!("{socket} POST /api/v1/nodes/n1/cordon: node/n1 configured"),
            "admin-token DELETE /api/v1/tokens/ci: token/ci revoked".into(),
        ]
    );
    assert!(told(&all[5]).contains("config/c -config/c is at resourceVersion"), "{:?}", all[5]);
    assert_eq!(all[1]["reason"], "new logo");
    assert!(all[1]["from"].as_str().unwrap().starts_with("127.0.0.1:"), "{:?}", all[1]);
    assert_eq!(all[8]["from"], format!("uid {uid}@socket"));
    assert!(!Value::from(all.clone()).to_string().contains("hunter2"), "nothing of a query");

    let count = async |query: &str| records(&rig, query).await.len();
    assert_eq!(count("?who=ci").await, 7);
    assert_eq!(count("?object=service/web").await, 3);
    assert_eq!(count("?object=token/ci").await, 2);
    assert_eq!(count("?object=image/web:1&who=ci&since=1h").await, 1);
    assert_eq!(count(&format!("?fromIndex={}", all[4]["index"])).await, 4, "deletion, build, cordon, revocation");
    let newest = rig.read("/api/v1/audit?limit=2").await;
    assert_eq!((&newest["items"][1], newest["more"].as_bool()), (&all[9], Some(true)));
    let next = rig.read("/api/v1/audit?after=3&limit=2").await;
    assert_eq!((&next["items"][0], &next["items"][1], next["newest"].as_u64()), (&all[3], &all[4], Some(10)));
    assert_eq!(count("?after=10").await, 0);
    for bad in ["?limit=0", "?limit=1001", "?since=yesterday", "?after=x", "?object=x&what=y"] {
        assert_eq!(rig.get(&format!("/api/v1/audit{bad}")).await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn no_value_of_a_secret_is_in_a_record() {
    let rig = Rig::new().await;
    let secret = r#"{"apiVersion":"constellation.dev/v1","kind":"Secret","metadata":{"name":"s"},"spec":{"stringData":{"a":"hunter2"}}}"#;
    rig.apply(secret).await;
    let made = rig.token("ci", "read").await;
    let text = rig.get("/api/v1/audit").await.text().to_owned();
    assert!(text.contains("secret/s") && text.contains("token/ci"), "{text}");
    assert!(!text.contains("hunter2") && !text.contains(&made), "{text}");
}

#[tokio::test]
async fn what_is_denied_is_counted_and_no_record() {
    let rig = Rig::new().await;
    let read = rig.token("eye", "read").await;
    for token in [None, Some("guess"), Some(read.as_str())] {
        rig.ask("DELETE", "/api/v1/services/web").token(token).send().await;
    }
    assert_eq!(records(&rig, "").await.len(), 1, "the token");
    let metrics = rig.get("/metrics").await;
    for why in ["no-token", "wrong-token", "forbidden"] {
        let line = format!("constellation_api_denied_total{{why=\"{why}\"}} 1");
        assert!(metrics.text().contains(&line), "{line}");
    }
}
