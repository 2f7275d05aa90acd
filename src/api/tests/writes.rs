//! Apply, PUT, DELETE, scale, cordon: what they change and under which conditions.

use serde_json::{Value, json};

use super::rig::{Rig, config, service};

const MANY: &str = "\
apiVersion: constellation.dev/v1
kind: Service
metadata: {name: web}
spec:
  image: nginx:1
  replicas: 2
---
apiVersion: constellation.dev/v1
kind: Config
metadata: {name: settings}
spec: {data: {a.conf: x}}
---
apiVersion: constellation.dev/v1
kind: Secret
metadata: {name: key}
spec: {stringData: {value: hidden}}
";

fn results(answer: &Value) -> Vec<(String, String)> {
    let text = |o: &Value, field: &str| o[field].as_str().unwrap().to_owned();
    let objects = answer["objects"].as_array().unwrap().iter();
    objects.map(|o| (format!("{}/{}", text(o, "kind"), text(o, "name")), text(o, "result"))).collect()
}
fn outcome(names: &[&str], result: &str) -> Vec<(String, String)> {
    names.iter().map(|n| ((*n).to_owned(), result.to_owned())).collect()
}
fn version(answer: &Value) -> u64 {
    answer["objects"][0]["resourceVersion"].as_u64().unwrap()
}

#[tokio::test]
async fn yaml_of_many_documents_is_written_once() {
    let rig = Rig::new().await;
    let names = ["Secret/key", "Config/settings", "Service/web"];
    let yaml = |rig: &Rig| rig.ask("POST", "/api/v1/apply").media("application/yaml").body(MANY).bytes();
    let mut wire = rig.tcp().await;
    wire.write(yaml(&rig)).await;
    let first = wire.answer().await.json();
    let mut sorted = results(&first);
    sorted.sort();
    let mut want = outcome(&names, "created");
    want.sort();
    assert_eq!(sorted, want);
    assert_eq!(results(&first).last().unwrap().0, "Service/web", "after what it may name");
    assert_eq!(first["index"], rig.index());
    // The same again, with a new nonce for the Secret: nothing moves.
    wire.write(yaml(&rig)).await;
    let second = wire.answer().await.json();
    assert!(results(&second).iter().all(|(_, r)| r == "unchanged"), "{second}");
    assert_eq!(second["index"], first["index"]);
    let changed = rig.apply(&MANY.replace("nginx:1", "nginx:2").replace("hidden", "other")).await;
    let changed: Vec<_> = results(&changed).into_iter().filter(|(_, r)| r == "configured").map(|(n, _)| n).collect();
    assert_eq!(changed.len(), 2, "{changed:?}");
    assert!(!changed.contains(&"Config/settings".into()));
}

#[tokio::test]
async fn all_documents_are_written_or_none() {
    let rig = Rig::new().await;
    let kept = rig.apply(&config("kept", "1").to_string()).await;
    let before = rig.index();
    let mut stale = config("kept", "2");
    stale["metadata"]["resourceVersion"] = json!(version(&kept) + 100);
    let answer = rig.post("/api/v1/apply", &json!([config("new", "1"), stale]).to_string()).await;
    assert_eq!(answer.problem(), (409, "conflict".into()));
    assert_eq!(rig.index(), before);
    assert_eq!(rig.get("/api/v1/configs/new").await.status, 404);
}

#[tokio::test]
async fn an_envelope_is_refused_when_one_of_its_preconditions_moved() {
    let rig = Rig::new().await;
    let first = rig.apply(&service("web", "nginx:1", 1).to_string()).await;
    let ask = |at: Value, other: Value| {
        json!({"objects": [service("web", "nginx:2", 1)], "preconditions": {"svc/web": at, "configs/c": other}})
            .to_string()
    };
    // What is written besides them does not matter.
    rig.apply(&config("unrelated", "1").to_string()).await;
    let stale = rig.post("/api/v1/apply", &ask(json!(version(&first) - 1), Value::Null)).await;
    assert_eq!(stale.problem(), (409, "conflict".into()));
    let problem = stale.json();
    assert_eq!((&problem["index"], &problem["leader"]), (&json!(rig.index()), &json!("n1")), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("svc/web"), "{problem}");
    assert_eq!(
        rig.post("/api/v1/apply", &ask(json!(version(&first)), json!(1))).await.status,
        409,
        "it does not exist"
    );
    let good = rig.post("/api/v1/apply", &ask(json!(version(&first)), Value::Null)).await;
    assert_eq!(good.status, 200, "{good:?}");
    assert_eq!(rig.post("/api/v1/apply", &ask(json!(version(&first)), Value::Null)).await.status, 409, "it moved");
    let broken = json!({"objects": [], "preconditions": {"nonsense": 1}}).to_string();
    assert_eq!(rig.post("/api/v1/apply", &broken).await.problem(), (400, "bad-request".into()));
    let unknown = json!({"objects": [], "precondition": {}}).to_string();
    assert_eq!(rig.post("/api/v1/apply", &unknown).await.status, 422);
}

#[tokio::test]
async fn a_resource_version_in_a_document_must_hold_in_yaml_as_in_json() {
    let rig = Rig::new().await;
    let at = version(&rig.apply(&config("c", "1").to_string()).await);
    let yaml = |at: u64, value: &str| {
        format!(
            "apiVersion: constellation.dev/v1\nkind: Config\nmetadata: {{name: c, resourceVersion: {at}}}\n\
             spec: {{data: {{a: {value}}}}}\n"
        )
    };
    assert_eq!(rig.post("/api/v1/apply", &yaml(at + 1, "two")).await.problem(), (409, "conflict".into()));
    let put = rig.ask("PUT", "/api/v1/configs/c").media("application/yaml").body(yaml(at + 1, "two")).send().await;
    assert_eq!(put.problem(), (409, "conflict".into()));
    let at = version(&rig.apply(&yaml(at, "two")).await);
    let mut labelled = config("c", "3");
    labelled["metadata"] = json!({"name": "c", "labels": {"x": "y"}, "resourceVersion": at + 1});
    assert_eq!(rig.post("/api/v1/apply", &labelled.to_string()).await.status, 409);
    labelled["metadata"]["resourceVersion"] = json!(at);
    rig.apply(&json!([labelled]).to_string()).await;
}

#[tokio::test]
async fn one_object_is_put_and_deleted_at_the_version_that_was_read() {
    let rig = Rig::new().await;
    let put = |value: &str, header: (&str, &str)| {
        rig.ask("PUT", "/api/v1/configs/c").header(header.0, header.1).body(config("c", value).to_string()).send()
    };
    assert_eq!(put("1", ("if-match", "\"1\"")).await.problem(), (409, "conflict".into()), "nothing is there");
    assert_eq!(put("1", ("if-none-match", "*")).await.json()["objects"][0]["result"], "created");
    assert_eq!(put("1", ("if-none-match", "*")).await.problem(), (409, "conflict".into()));
    let tag = rig.get("/api/v1/configs/c").await.header("etag").unwrap().to_owned();
    assert_eq!(put("2", ("if-match", &tag)).await.json()["objects"][0]["result"], "configured");
    assert_eq!(put("3", ("if-match", &tag)).await.problem(), (409, "conflict".into()));
    assert_eq!(put("3", ("if-match", "new")).await.problem(), (400, "bad-request".into()));
    assert_eq!(put("3", ("if-none-match", "\"1\"")).await.problem(), (400, "bad-request".into()));
    assert_eq!(rig.read("/api/v1/configs/c").await["spec"]["data"]["a"], "2");

    let delete = |path: &str| rig.ask("DELETE", path).header("if-match", &tag).send();
    assert_eq!(delete("/api/v1/configs/c").await.problem(), (409, "conflict".into()));
    let stale = rig.ask("DELETE", "/api/v1/configs/c?resourceVersion=1").send().await;
    assert_eq!(stale.problem(), (409, "conflict".into()));
    let at = rig.read("/api/v1/configs/c").await["metadata"]["resourceVersion"].as_u64().unwrap();
    let gone = rig.ask("DELETE", &format!("/api/v1/configs/c?resourceVersion={at}")).send().await;
    assert_eq!(gone.json()["objects"][0]["result"], "deleted");
    assert_eq!(rig.ask("DELETE", "/api/v1/configs/c").send().await.problem(), (404, "not-found".into()));
}

#[tokio::test]
async fn a_path_and_its_document_are_about_one_object() {
    let rig = Rig::new().await;
    let before = rig.index();
    let table = [
        ("/api/v1/configs/other", config("c", "1")),
        ("/api/v1/secrets/c", config("c", "1")),
        ("/api/v1/configs/c", json!([config("c", "1"), config("d", "1")])),
        ("/api/v1/configs/c", json!([])),
    ];
    for (path, body) in table {
        let answer = rig.ask("PUT", path).body(body.to_string()).send().await;
        assert_eq!(answer.status, 422, "{path} {body}: {answer:?}");
    }
    let twice = json!([config("c", "1"), config("c", "2")]).to_string();
    assert_eq!(rig.post("/api/v1/apply", &twice).await.problem(), (422, "invalid".into()));
    assert_eq!(rig.index(), before);
}

#[tokio::test]
async fn a_dry_run_answers_as_if_and_writes_nothing() {
    let rig = Rig::new().await;
    rig.apply(&service("web", "nginx:1", 1).to_string()).await;
    let before = rig.index();
    let answers = [
        rig.post("/api/v1/apply?dryRun=true", MANY).await,
        rig.ask("PUT", "/api/v1/configs/c?dryRun=true").body(config("c", "1").to_string()).send().await,
        rig.ask("PUT", "/api/v1/services/web/scale?dryRun=true").body(r#"{"replicas":4}"#).send().await,
        rig.ask("DELETE", "/api/v1/services/web?dryRun=true").send().await,
    ];
    for (answer, result) in answers.iter().zip(["configured", "created", "configured", "deleted"]) {
        let answer = answer.json();
        assert_eq!(answer["dryRun"], true, "{answer}");
        assert_eq!(answer["objects"].as_array().unwrap().last().unwrap()["result"], result, "{answer}");
    }
    assert_eq!(rig.ask("DELETE", "/api/v1/services/no?dryRun=true").send().await.status, 404);
    assert_eq!(rig.index(), before);
    assert_eq!(rig.get("/api/v1/services/web?dryRun=true").await.status, 400, "a read is no dry run");
}

#[tokio::test]
async fn scale_changes_the_count_and_nothing_else() {
    let rig = Rig::new().await;
    rig.apply(&service("web", "nginx:1", 2).to_string()).await;
    let before = rig.read("/api/v1/services/web").await;
    assert_eq!(rig.read("/api/v1/services/web/scale").await, json!({"replicas": 2}));
    let put = |body: &str| rig.ask("PUT", "/api/v1/services/web/scale").body(body).send();
    let scaled = put(r#"{"replicas":5}"#).await.json();
    assert_eq!(
        (&scaled["objects"][0]["result"], &scaled["objects"][0]["generation"]),
        (&json!("configured"), &json!(2))
    );
    let mut after = rig.read("/api/v1/services/web").await;
    assert_eq!(after["spec"]["replicas"], 5);
    after["spec"]["replicas"] = json!(2);
    assert_eq!(after["spec"], before["spec"]);
    assert_eq!(after["metadata"]["labels"], before["metadata"]["labels"]);
    for body in ["{\"replicas\":-1}", "{\"replicas\":\"3\"}", "{\"replica\":3}", "{}", "", "{\"replicas\":3,\"x\":1}"] {
        assert_eq!(put(body).await.status, 422, "{body}");
    }
    let tag = before["metadata"]["resourceVersion"].to_string();
    let stale = rig.ask("PUT", "/api/v1/services/web/scale").header("if-match", &tag).body(r#"{"replicas":1}"#).send();
    assert_eq!(stale.await.problem(), (409, "conflict".into()));
    let mut global = service("everywhere", "nginx:1", 1);
    global["spec"] = json!({"image": "nginx:1", "mode": "global"});
    rig.apply(&global.to_string()).await;
    assert_eq!(rig.get("/api/v1/services/everywhere/scale").await.problem(), (422, "invalid".into()));
    let answer = rig.ask("PUT", "/api/v1/services/everywhere/scale").body(r#"{"replicas":2}"#).send().await;
    assert_eq!(answer.problem(), (422, "invalid".into()));
    assert_eq!(rig.get("/api/v1/services/none/scale").await.status, 404);
}

#[tokio::test]
async fn a_scale_to_the_number_that_stands_there_unsaid_is_no_change() {
    let rig = Rig::new().await;
    let mut unsaid = service("web", "nginx:1", 1);
    unsaid["spec"] = json!({"image": "nginx:1"});
    rig.apply(&unsaid.to_string()).await;
    for (replicas, result, generation) in [(1, "unchanged", 1), (2, "configured", 2), (2, "unchanged", 2)] {
        let body = json!({ "replicas": replicas }).to_string();
        let scaled = rig.ask("PUT", "/api/v1/services/web/scale").body(body).send().await.json();
        let outcome = (&scaled["objects"][0]["result"], &scaled["objects"][0]["generation"]);
        assert_eq!(outcome, (&json!(result), &json!(generation)), "{replicas}");
    }
}

#[tokio::test]
async fn a_refused_scale_names_object_and_field_and_no_place_in_a_text_nobody_wrote() {
    let rig = Rig::new().await;
    let mut db = service("db", "postgres:17", 1);
    db["spec"]["volumes"] = json!([{"type": "volume", "source": "data", "target": "/d", "dataPolicy": "state"}]);
    rig.apply(&db.to_string()).await;
    let answer = rig.ask("PUT", "/api/v1/services/db/scale").body(r#"{"replicas":2}"#).send().await;
    assert_eq!(answer.problem(), (422, "invalid-manifest".into()));
    let fault = answer.json()["errors"][0].clone();
    assert_eq!(fault["source"], "svc/db", "{fault}");
    assert!(fault["path"].as_str().unwrap().starts_with("spec."), "{fault}");
    assert!(fault["message"].as_str().is_some_and(|m| !m.is_empty()) && fault["fix"].is_string(), "{fault}");
    for place in ["document", "line", "column"] {
        assert_eq!(fault.get(place), None, "{fault}");
    }
}

#[tokio::test]
async fn a_node_is_cordoned_and_not_made_or_taken_away_by_hand() {
    let rig = Rig::new().await;
    rig.node().await;
    let post = |path: &str| rig.ask("POST", path).send();
    assert_eq!(post("/api/v1/nodes/n1/cordon").await.json()["objects"][0]["result"], "configured");
    assert_eq!(post("/api/v1/nodes/n1/cordon").await.json()["objects"][0]["result"], "unchanged");
    let node = rig.read("/api/v1/nodes/n1").await;
    assert_eq!(node["spec"]["schedulable"], false);
    assert_eq!(node["metadata"]["labels"], json!({"zone": "a"}));
    assert_eq!(rig.ask("POST", "/api/v1/nodes/n1/uncordon").header("if-match", "\"1\"").send().await.status, 409);
    assert_eq!(post("/api/v1/nodes/n1/uncordon").await.json()["objects"][0]["result"], "configured");
    assert_eq!(rig.read("/api/v1/nodes/n1").await["spec"]["schedulable"], true);
    assert_eq!(post("/api/v1/nodes/n9/cordon").await.problem(), (404, "not-found".into()));

    let made = json!({"apiVersion": "constellation.dev/v1", "kind": "Node", "metadata": {"name": "n9"}, "spec": {}});
    let answer = rig.ask("PUT", "/api/v1/nodes/n9").body(made.to_string()).send().await;
    assert_eq!(answer.problem(), (422, "invalid".into()), "{answer:?}");
    // It has nothing and did not report: the agent that answers is the one it stands for.
    let kept = rig.ask("DELETE", "/api/v1/nodes/n1").send().await;
    assert_eq!(kept.problem(), (409, "in-use".into()), "{kept:?}");
}

#[tokio::test]
async fn the_reason_of_a_change_stands_in_its_event() {
    let rig = Rig::new().await;
    let put = |reason: &str| {
        let body = config("c", reason).to_string();
        rig.ask("PUT", "/api/v1/configs/c").header("x-change-reason", reason).body(body).send()
    };
    assert_eq!(put("ticket 7: größer").await.status, 200);
    let events = rig.get("/api/v1/events?fromIndex=0&follow=false&names=config/c").await;
    assert!(events.text().contains("created, generation 1 (admin-token: ticket 7: größer)"), "{events:?}");
    let before = rig.index();
    assert_eq!(put(&"x".repeat(501)).await.problem(), (400, "bad-request".into()));
    assert_eq!(put("a\tb").await.problem(), (400, "bad-request".into()));
    assert_eq!(rig.index(), before);
}
