//! Sets: what belongs together, and what `prune` takes away.

use serde_json::{Value, json};

use super::rig::{Rig, config, service};

async fn names(rig: &Rig) -> Vec<String> {
    let mut names = Vec::new();
    for kind in ["services", "configs", "secrets"] {
        let list = rig.read(&format!("/api/v1/{kind}")).await;
        names.extend(
            list["items"].as_array().unwrap().iter().map(|o| o["metadata"]["name"].as_str().unwrap().to_owned()),
        );
    }
    names
}

#[tokio::test]
async fn prune_deletes_what_the_set_no_longer_names_and_nothing_else() {
    let rig = Rig::new().await;
    rig.node().await;
    rig.apply(&config("loose", "1").to_string()).await;
    let home = json!([config("a", "1"), config("b", "1"), service("web", "nginx:1", 1)]).to_string();
    let answer = rig.post("/api/v1/apply?set=home", &home).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(rig.read("/api/v1/configs/a").await["metadata"]["managedBy"], "home");
    let answer = rig.post("/api/v1/apply?set=work", &config("w", "1").to_string()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    // The machine's own object may carry the set too.
    let mut node = json!({"apiVersion": "constellation.dev/v1", "kind": "Node", "metadata": {"name": "n1"}});
    node["spec"] = rig.read("/api/v1/nodes/n1").await["spec"].take();
    let answer = rig.post("/api/v1/apply?set=home", &node.to_string()).await;
    assert_eq!(answer.status, 200, "{answer:?}");

    let only = config("a", "2").to_string();
    let before = rig.index();
    let dry = rig.post("/api/v1/apply?prune=home&dryRun=true", &only).await.json();
    assert_eq!(dry["objects"].as_array().unwrap().len(), 3, "{dry}");
    assert_eq!(rig.index(), before);
    let pruned = rig.post("/api/v1/apply?prune=home", &only).await.json();
    let results: Vec<(&str, &str)> = pruned["objects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|o| (o["name"].as_str().unwrap(), o["result"].as_str().unwrap()))
        .collect();
    assert_eq!(results, [("a", "configured"), ("web", "deleted"), ("b", "deleted")]);
    assert_eq!(names(&rig).await, ["a", "loose", "w"]);
    assert_eq!(rig.get("/api/v1/nodes/n1").await.status, 200);
}

#[tokio::test]
async fn an_empty_request_prunes_a_whole_set_once_for_one_key() {
    let rig = Rig::new().await;
    rig.post("/api/v1/apply?set=home", &json!([config("a", "1"), config("b", "1")]).to_string()).await;
    let prune = || rig.ask("POST", "/api/v1/apply?prune=home").header("idempotency-key", "p1").body("[]").send();
    let first = prune().await;
    assert_eq!(first.json()["objects"].as_array().unwrap().len(), 2, "{first:?}");
    assert_eq!(prune().await.json(), first.json(), "the same key gets the same answer");
    assert_eq!(names(&rig).await, [""; 0]);
}

#[tokio::test]
async fn prune_without_a_set_or_with_another_is_wrong_usage() {
    let rig = Rig::new().await;
    let before = rig.index();
    let body = config("a", "1").to_string();
    for query in ["prune", "prune=", "prune=true", "prune=false", "prune=home&set=work"] {
        for path in ["apply", "plan"] {
            let answer = rig.post(&format!("/api/v1/{path}?{query}"), &body).await;
            assert_eq!(answer.problem(), (400, "bad-request".into()), "{path} {query}");
            assert!(answer.json()["hint"].is_string(), "{answer:?}");
        }
    }
    let envelope = json!({"objects": [config("a", "1")], "set": "work"}).to_string();
    assert_eq!(rig.post("/api/v1/apply?prune=home", &envelope).await.status, 400);
    assert_eq!(rig.post("/api/v1/apply", "[]").await.problem(), (422, "invalid".into()), "nothing to do");
    assert_eq!(rig.index(), before);
}

#[tokio::test]
async fn an_object_of_another_set_is_a_conflict() {
    let rig = Rig::new().await;
    let body = |value: &str, set: Value| json!({"objects": [config("a", value)], "set": set}).to_string();
    rig.apply(&body("1", json!("home"))).await;
    let answer = rig.post("/api/v1/apply", &body("2", json!("work"))).await;
    assert_eq!(answer.problem(), (409, "other-set".into()));
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("home") && detail.contains("work"), "{detail}");
    let mut own = config("a", "2");
    own["metadata"]["managedBy"] = json!("work");
    let put = rig.ask("PUT", "/api/v1/configs/a").body(own.to_string()).send().await;
    assert_eq!(put.problem(), (409, "other-set".into()));
    // Who names no set leaves it in its own.
    rig.apply(&config("a", "3").to_string()).await;
    let after = rig.read("/api/v1/configs/a").await;
    assert_eq!((&after["metadata"]["managedBy"], &after["spec"]["data"]["a"]), (&json!("home"), &json!("3")));
}
