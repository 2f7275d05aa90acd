//! `POST /api/v1/plan`: what people read before they say yes.

use serde_json::{Value, json};

use super::rig::{Rig, config, service};

async fn plan(rig: &Rig, query: &str, body: &Value) -> Value {
    let answer = rig.post(&format!("/api/v1/plan{query}"), &body.to_string()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

#[tokio::test]
async fn what_is_new_is_planned_with_its_place() {
    let rig = Rig::new().await;
    rig.node().await;
    let before = rig.index();
    let answer = plan(&rig, "", &json!([config("settings", "1"), service("web", "nginx:1", 2)])).await;
    insta::assert_json_snapshot!(answer);
    assert_eq!(rig.index(), before, "a plan writes nothing");
}

#[tokio::test]
async fn a_change_names_its_fields_and_what_happens_to_each_replica() {
    let rig = Rig::new().await;
    rig.node().await;
    rig.apply(&json!([config("same", "1"), service("web", "nginx:1", 1)]).to_string()).await;
    rig.place("web", 1).await;
    let mut changed = service("web", "nginx:2", 2);
    changed["spec"]["environment"] = json!({"LOG_LEVEL": "debug"});
    changed["metadata"]["labels"] = json!({"app": "web", "tier": "front"});
    insta::assert_json_snapshot!(plan(&rig, "", &json!([config("same", "1"), changed])).await);
}

#[tokio::test]
async fn what_a_set_no_longer_names_is_planned_to_go() {
    let rig = Rig::new().await;
    rig.node().await;
    let all = json!({"objects": [config("a", "1"), config("b", "1"), service("web", "nginx:1", 1)], "set": "home"});
    rig.apply(&all.to_string()).await;
    rig.place("web", 1).await;
    insta::assert_json_snapshot!(plan(&rig, "?prune=home", &json!([config("a", "2")])).await);
}

#[tokio::test]
async fn a_reference_to_what_does_not_exist_is_a_warning() {
    let rig = Rig::new().await;
    rig.node().await;
    let mut naming = service("web", "nginx:1", 1);
    naming["spec"]["secrets"] = json!([{"source": "absent/k", "env": "X"}]);
    naming["spec"]["configs"] = json!([{"source": "missing/a", "target": "/etc/a"}]);
    let answer = plan(&rig, "", &naming).await;
    insta::assert_json_snapshot!(answer["warnings"]);
    // What comes with it is not missing.
    let secret = json!({"apiVersion": "constellation.dev/v1", "kind": "Secret", "metadata": {"name": "absent"},
                        "spec": {"stringData": {"k": "v"}}});
    let answer = plan(&rig, "", &json!([naming, secret, config("missing", "1")])).await;
    let warnings = answer["warnings"].to_string();
    assert!(!warnings.contains("does not exist"), "{warnings}");
}

#[tokio::test]
async fn a_plan_is_carried_out_only_if_nothing_moved() {
    let rig = Rig::new().await;
    rig.node().await;
    rig.apply(&config("c", "1").to_string()).await;
    let wanted = json!([config("c", "2"), service("web", "nginx:1", 1)]);
    let planned = plan(&rig, "", &wanted).await;
    let c = rig.read("/api/v1/configs/c").await["metadata"]["resourceVersion"].take();
    assert_eq!(planned["preconditions"], json!({"config/c": c, "svc/web": null}));
    let carry_out = json!({"objects": wanted, "preconditions": planned["preconditions"]}).to_string();
    // What the plan does not speak of may move.
    rig.apply(&config("other", "1").to_string()).await;
    assert_eq!(rig.post("/api/v1/apply", &carry_out).await.status, 200);
    assert_eq!(rig.post("/api/v1/apply", &carry_out).await.problem(), (409, "conflict".into()));
}

#[tokio::test]
async fn what_others_lose_by_a_deletion_is_planned_before_it() {
    let rig = Rig::new().await;
    rig.node().await;
    let object = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "constellation.dev/v1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    let mut web = service("web", "nginx:1", 1);
    web["spec"]["expose"] = json!([80]);
    let route = json!({"hosts": ["a.example"], "middlewares": ["fine"], "backends": [{"service": "web", "port": 80}]});
    let fine = object("Middleware", "fine", json!({"compress": {}}));
    rig.apply(&json!([fine, web, object("Route", "blog", route)]).to_string()).await;
    let before = rig.index();
    for (gone, says) in [("mw/fine", "MiddlewareNotFound"), ("svc/web", "svc/web does not exist; requests get 503")] {
        let answer = plan(&rig, "", &json!({"objects": [], "deletes": [gone]})).await;
        assert_eq!(answer["objects"][0]["result"], "deleted", "{answer}");
        let warnings = answer["warnings"].to_string();
        assert!(warnings.contains("route/blog: ") && warnings.contains(says), "{gone}: {warnings}");
    }
    let all = json!({"objects": [], "deletes": ["route/blog", "mw/fine", "svc/web"]});
    assert_eq!(plan(&rig, "", &all).await["warnings"], json!([]), "nobody is left to lose anything");
    assert_eq!(rig.post("/api/v1/apply", &all.to_string()).await.status, 400, "an apply deletes nothing by name");
    assert_eq!(rig.index(), before);
}

#[tokio::test]
async fn that_two_ask_for_one_host_is_told_on_both() {
    let rig = Rig::new().await;
    rig.node().await;
    let asking = |name: &str| {
        let mut service = service(name, "nginx:1", 1);
        service["spec"]["expose"] = json!([80]);
        service["spec"]["routes"] = json!([{"host": "a.example"}]);
        service.to_string()
    };
    rig.apply(&asking("first")).await;
    rig.apply(&asking("late")).await;
    let table = rig.read("/api/v1/route-table").await;
    let says = |name: &str| {
        let all = table["objects"].as_array().unwrap();
        all.iter().find(|o| o["object"] == name).unwrap()["conditions"][0]["message"].as_str().unwrap().to_owned()
    };
    let (first, late) = (says("svc/first"), says("svc/late"));
    assert!(first.contains("a.example/ on web is asked for by svc/late too, which came later"), "{first}");
    assert!(late.contains("a.example/ on web is svc/first's, which was first"), "{late}");
}
