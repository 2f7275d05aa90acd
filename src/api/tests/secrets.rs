//! Of a Secret no value ever leaves.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use super::rig::{Rig, service};
use crate::{
    api::routes::TABLE,
    model::{Kind, ObjectKey, ReplicaPhase, ReplicaStatus, Status, secret::SealedSecret},
};

const PLAIN: &str = "hunter2-in-plain-words";
const CODED: &str = "xyzzy-in-base64";

fn manifest(value: &str) -> String {
    json!({
        "apiVersion": "constellation.dev/v1", "kind": "Secret", "metadata": {"name": "db"},
        "spec": {"stringData": {"password": value}, "data": {"coded": STANDARD.encode(CODED)}},
    })
    .to_string()
}

fn clean(what: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for value in [PLAIN, CODED, &STANDARD.encode(PLAIN), &STANDARD.encode(CODED)] {
        assert!(!text.contains(value), "{value} in {what}: {text}");
    }
}

#[tokio::test]
async fn no_answer_of_any_route_holds_a_value() {
    let rig = Rig::new().await;
    rig.node().await;
    let mut watch = rig.ask("GET", "/api/v1/secrets?watch=true&fromIndex=0").stream().await;
    let mut user = service("web", "nginx:1", 1);
    user["spec"]["secrets"] = json!([{"source": "db/password", "env": "PASSWORD"}]);
    let writes = [
        ("POST", "/api/v1/plan", manifest(PLAIN)),
        ("POST", "/api/v1/apply?dryRun=true", manifest(PLAIN)),
        ("PUT", "/api/v1/secrets/db", manifest("the first")),
        ("POST", "/api/v1/plan", manifest(PLAIN)),
        ("POST", "/api/v1/apply", manifest(PLAIN)),
        ("POST", "/api/v1/apply", user.to_string()),
    ];
    for (method, path, body) in writes {
        let answer =
            rig.ask(method, path).body(body).header("idempotency-key", &format!("{path} {}", rig.index())).send().await;
        assert_eq!(answer.status, 200, "{method} {path}: {answer:?}");
        clean(path, &answer.body);
    }
    rig.place("web", 1).await;
    let object = rig.read("/api/v1/secrets/db").await;
    assert_eq!(object["spec"]["keys"], json!(["coded", "password"]));
    assert_eq!(object["spec"]["version"], 2);
    assert!(object["spec"].get("sealed").is_none() && object["spec"].get("data").is_none(), "{object}");
    let mut read = 0;
    for route in TABLE.iter().filter(|r| r.method == "GET" && r.path != "/ws") {
        for name in ["db", "web", "n1", "web-1-abcde"] {
            let query = if route.path == "/api/v1/events" { "?fromIndex=0&follow=false" } else { "" };
            let answer = rig.get(&format!("{}{query}", route.path.replace("{name}", name))).await;
            read += usize::from(answer.status == 200);
            clean(route.path, &answer.body);
        }
    }
    assert!(read > 40, "{read}");
    for line in watch.lines(2).await {
        assert!(line["object"]["spec"].get("sealed").is_none(), "{line}");
        clean("a watch", line.to_string().as_bytes());
    }
    let gone = rig.ask("DELETE", "/api/v1/secrets/db?force=true").send().await;
    clean("a delete", &gone.body);
    clean("the last line of a watch", watch.line().await.unwrap().to_string().as_bytes());
}

#[tokio::test]
async fn a_broken_secret_is_refused_without_its_values() {
    let rig = Rig::new().await;
    let spec = |spec: serde_json::Value| {
        json!({"apiVersion": "constellation.dev/v1", "kind": "Secret", "metadata": {"name": "db"}, "spec": spec})
            .to_string()
    };
    let yaml = format!(
        "apiVersion: constellation.dev/v1\nkind: Secret\nmetadata: {{name: db}}\nspec:\n  stringData:\n    a: {PLAIN}\n  b: {PLAIN}\n"
    );
    let bodies = [
        spec(json!({"data": {"a": PLAIN}})),
        spec(json!({"data": PLAIN})),
        spec(json!({"stringData": [PLAIN]})),
        spec(json!({"stringData": {"a": {"b": PLAIN}}})),
        spec(json!({"stringData": {"a": PLAIN}, "type": "tls"})),
        spec(json!({"stringData": {"a b": PLAIN}})),
        spec(json!(PLAIN)),
        manifest(PLAIN).replace("stringData", "stringdata"),
        manifest(PLAIN).replace("\"password\"", "\"password\": 1, \"password\""),
        manifest(PLAIN).trim_end_matches('}').to_owned(),
        yaml.replace("  b: ", "b: "),
        yaml.replace("    a: ", "    a: \t\""),
        yaml,
    ];
    for body in bodies {
        for ask in
            [rig.ask("POST", "/api/v1/apply"), rig.ask("POST", "/api/v1/plan"), rig.ask("PUT", "/api/v1/secrets/db")]
        {
            let answer = ask.body(&body).send().await;
            assert_eq!(answer.status, 422, "{body}: {answer:?}");
            clean(&body, &answer.body);
        }
    }
}

#[tokio::test]
async fn keys_are_set_versions_come_back_and_another_key_changes_nothing_that_is_seen() {
    let rig = Rig::new().await;
    let coded = |text: &str| STANDARD.encode(text);
    let post = async |path: &str, body: serde_json::Value| {
        let answer = rig.ask("POST", path).body(body.to_string()).send().await;
        clean(path, &answer.body);
        answer
    };
    let set = async |data: serde_json::Value, remove: serde_json::Value| {
        post("/api/v1/secrets/db/set", json!({"data": data, "remove": remove})).await
    };
    assert_eq!(set(json!({"user": coded("ann"), "password": coded(PLAIN)}), json!([])).await.status, 200);
    assert_eq!(set(json!({"password": coded(CODED)}), json!([])).await.status, 200);
    let object = rig.read("/api/v1/secrets/db").await;
    assert_eq!((&object["spec"]["keys"], &object["spec"]["version"]), (&json!(["password", "user"]), &json!(2)));
    assert_eq!(set(json!({}), json!(["none"])).await.status, 422);
    assert_eq!(set(json!({"../x": "YQ=="}), json!([])).await.status, 422, "checked like a document");
    assert_eq!(post("/api/v1/secrets/db/rotate", json!({})).await.status, 422, "nobody draws it");
    assert_eq!(post("/api/v1/secrets/db/rotate", json!({"toVersion": 7})).await.status, 422);
    assert_eq!(post("/api/v1/secrets/db/rotate", json!({"toVersion": 1})).await.status, 200);
    let history = rig.read("/api/v1/secrets/db/history").await;
    let field = |history: &serde_json::Value, name: &str| -> Vec<serde_json::Value> {
        history["versions"].as_array().unwrap().iter().map(|v| v[name].clone()).collect()
    };
    assert_eq!(field(&history, "version"), [3, 2, 1]);
    assert_eq!(field(&history, "current"), [true, false, false]);
    let digests = field(&history, "digest");
    assert!(digests[0] == digests[2] && digests[0] != digests[1], "{history}");
    let before = rig.read("/api/v1/secrets/db").await;
    let key = rig.shared.sealer.newest_key();
    let rekeyed = rig.ask("POST", "/api/v1/cluster/rekey").send().await;
    assert_eq!(rekeyed.status, 200, "{rekeyed:?}");
    assert!(rig.shared.sealer.older_keys().is_empty() && rig.shared.sealer.newest_key() != key);
    let after = rig.read("/api/v1/secrets/db").await;
    assert_eq!(after["spec"]["version"], before["spec"]["version"]);
    assert_eq!(after["metadata"]["generation"], before["metadata"]["generation"]);
    assert_ne!(after["spec"]["digest"], before["spec"]["digest"]);
    let history = rig.read("/api/v1/secrets/db/history").await;
    let digests = field(&history, "digest");
    assert!(digests[0] == digests[2] && digests[0] != digests[1], "every version is under the new key: {history}");
    assert_eq!(set(json!({"password": coded(PLAIN)}), json!([])).await.status, 200);
    assert_eq!(rig.read("/api/v1/secrets/db").await["spec"]["version"], 3, "the same values are no version");
    assert_eq!(post("/api/v1/secrets/db/rotate", json!({"toVersion": 2})).await.status, 200, "it opens");
}

#[tokio::test]
async fn a_drawn_value_is_drawn_anew_when_asked_and_stays_drawn() {
    let rig = Rig::new().await;
    let drawn = json!({
        "apiVersion": "constellation.dev/v1", "kind": "Secret", "metadata": {"name": "db"},
        "spec": {"type": "password", "valueFrom": {"generate": {}}},
    });
    let version = async || rig.read("/api/v1/secrets/db").await["spec"]["version"].clone();
    for _ in 0..2 {
        assert_eq!(rig.ask("POST", "/api/v1/apply").body(drawn.to_string()).send().await.status, 200);
        assert_eq!(version().await, 1);
    }
    assert_eq!(rig.ask("POST", "/api/v1/secrets/db/rotate").send().await.status, 200);
    assert_eq!(version().await, 2);
    assert_eq!(rig.ask("POST", "/api/v1/apply").body(drawn.to_string()).send().await.status, 200);
    assert_eq!(version().await, 2, "and the manifest is still what is there");
    assert_eq!(rig.read("/api/v1/secrets/db").await["spec"]["generate"]["length"], 32);
}

#[tokio::test]
async fn the_next_value_and_the_versions_in_use_are_told() {
    let rig = Rig::new().await;
    rig.node().await;
    let drawn = json!({
        "apiVersion": "constellation.dev/v1", "kind": "Secret", "metadata": {"name": "db"},
        "spec": {"valueFrom": {"generate": {}}, "rotation": {"every": "24h"}},
    });
    let mut user = service("web", "nginx:1", 1);
    user["spec"]["secrets"] = json!([{"source": "db/value", "env": "PASSWORD"}]);
    rig.apply(&json!([drawn, user]).to_string()).await;
    let read = async || rig.read("/api/v1/secrets/db").await["status"].clone();
    let history = async || rig.read("/api/v1/secrets/db/history").await;
    let (first, told) = (read().await, history().await);
    let due = told["versions"][0]["madeAt"].as_u64().unwrap() + 24 * 3_600_000;
    assert_eq!((&first["nextRotation"], &told["nextRotation"]), (&json!(due), &json!(due)));
    assert!(first.get("versions").is_none(), "nothing runs yet: {first}");

    let name = rig.place("web", 1).await;
    let uid = rig.shared.store.state().object(&ObjectKey::new(Kind::Secret, "db")).unwrap().meta.uid.clone();
    let contents = [("secrets/db/value=PASSWORD".to_owned(), SealedSecret::content_of(1, &uid))].into();
    let status = ReplicaStatus { phase: ReplicaPhase::Running, ready: true, contents, ..ReplicaStatus::default() };
    rig.observe(ObjectKey::replica(name.as_str()), Status::Replica(status)).await;
    let running = |version: u64, current| json!([{"version": version, "current": current, "kept": true, "replicas": 1, "services": {"web": 1}}]);
    assert_eq!(read().await["versions"], running(1, true));
    assert_eq!(rig.ask("POST", "/api/v1/secrets/db/rotate").send().await.status, 200);
    let after = read().await;
    assert_eq!(after["versions"], running(1, false));
    let complete = |status: &serde_json::Value| {
        let all = status["conditions"].as_array().unwrap().clone();
        all.into_iter().find(|c| c["type"] == "RotationComplete").unwrap()
    };
    assert_eq!(complete(&after)["status"], "False", "{after}");
    assert!(after["nextRotation"].as_u64().unwrap() >= due, "it counts from the newest");
    let set = json!({"data": {"value": STANDARD.encode("x")}});
    assert_eq!(rig.post("/api/v1/secrets/db/set", &set.to_string()).await.status, 200);
    assert!(read().await.get("nextRotation").is_none(), "what somebody gave is not drawn any more");
}

#[tokio::test]
async fn what_a_service_names_is_deleted_after_it_or_by_force() {
    let rig = Rig::new().await;
    let send = async |method: &str, path: &str, body: String| rig.ask(method, path).body(body).send().await.status;
    let mut user = service("web", "nginx:1", 1);
    user["spec"]["secrets"] = json!([{"source": "db/password", "env": "PASSWORD"}]);
    for body in [manifest("a"), user.to_string()] {
        assert_eq!(send("POST", "/api/v1/apply?set=home", body).await, 200);
    }
    let refused = rig.ask("DELETE", "/api/v1/secrets/db").send().await;
    assert_eq!(refused.status, 409);
    assert!(String::from_utf8_lossy(&refused.body).contains("svc/web"), "{refused:?}");
    assert_eq!(send("POST", "/api/v1/apply?prune=home", user.to_string()).await, 409, "a prune would take it away");
    assert_eq!(send("POST", "/api/v1/apply?prune=home&dryRun=true", String::from("[]")).await, 200, "with its user");
    assert_eq!(send("DELETE", "/api/v1/secrets/db?force=true", String::new()).await, 200);
    assert_eq!(send("POST", "/api/v1/apply", manifest("a")).await, 200);
    assert_eq!(send("DELETE", "/api/v1/services/web", String::new()).await, 200);
    assert_eq!(send("DELETE", "/api/v1/secrets/db", String::new()).await, 200);
    assert_eq!(send("DELETE", "/api/v1/secrets/db", String::new()).await, 404);
}
