//! Of a Secret no value ever leaves.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use super::rig::{Rig, service};
use crate::api::routes::TABLE;

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
    let gone = rig.ask("DELETE", "/api/v1/secrets/db").send().await;
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
