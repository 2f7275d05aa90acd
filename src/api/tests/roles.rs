//! Who gets in: by the route table, so that no route is forgotten.

use serde_json::{Value, json};

use super::rig::{Rig, config};
use crate::{
    api::{auth::Role, routes::TABLE},
    model::{Kind, Uid},
    store::command::{Command, PutObject},
};

#[tokio::test]
async fn every_route_lets_in_whom_its_role_says_and_nobody_else() {
    let rig = Rig::with(|l| l.wrong_tokens.burst = 1_000).await;
    let mut callers = vec![("none", None, Role::None), ("wrong", Some("guess".to_owned()), Role::None)];
    for (name, role) in [("edge", Role::Edge), ("read", Role::Read), ("write", Role::Write), ("admin", Role::Admin)] {
        callers.push((name, Some(rig.token(name, name).await), role));
    }
    let mut table = format!("{:<52}{:<7}", "ROUTE", "NEEDS");
    table.extend(callers.iter().map(|(name, ..)| format!("{name:<7}")));
    for route in TABLE.iter() {
        let path = route.path.replace("{name}", "x");
        table.push_str(&format!("\n{:<52}{:<7}", format!("{} {}", route.method, route.path), route.role.name()));
        for (name, token, has) in &callers {
            // Only the head: some of them go on for ever.
            let (head, _wire) = rig.ask(route.method, &path).token(token.as_deref()).body("{}").open().await;
            let want = match (route.role, has) {
                (needed, has) if has.includes(needed) => None,
                (_, Role::None) => Some(401),
                _ => Some(403),
            };
            let got = Some(head.status).filter(|s| [401, 403].contains(s));
            assert_eq!(got, want, "{} {path} as {name}: {head:?}\n{table}", route.method);
            table.push_str(&format!("{:<7}", head.status));
        }
    }
    println!("{table}");
    let of_edges: Vec<_> = TABLE.iter().filter(|r| r.role == Role::Edge).map(|r| r.path).collect();
    assert_eq!(of_edges, ["/traefik/config"]);
    for path in ["/metrics", "/openapi.json"] {
        let found = TABLE.iter().find(|r| r.path == path).unwrap();
        assert_eq!(found.role, Role::Read, "{path}");
    }
}

/// Every request ends in `dispatch`, which asks the table: were a path given to warp beside it, no test that walks
/// the table would see it.
#[test]
fn no_path_is_given_to_warp_beside_the_table() {
    fn walk(dir: &std::path::Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("api/tests/roles.rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let name = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().display().to_string();
                let filters = ["warp::any", "warp::path", "warp::filters", "warp::fs", "warp::serve", "warp::service"];
                let makers =
                    ["warp::ws()", "warp::get()", "warp::post()", "warp::put()", "warp::delete()", "warp::head()"];
                let uses = filters.iter().chain(&makers).map(|what| (what, text.matches(*what).count()));
                found.extend(uses.filter(|(_, n)| *n > 0).map(|(what, n)| format!("{name} {what} {n}")));
            }
        }
    }
    let mut found = Vec::new();
    walk(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    found.sort();
    // One place that takes any request apart, one that serves what came of it.
    let known = ["src/api/accept.rs warp::service 1", "src/api/dispatch.rs warp::any 1"];
    assert_eq!(found, known, "a route belongs into api::routes, with its role");
}

#[tokio::test]
async fn a_token_that_is_none_is_named_and_so_is_the_scheme() {
    let rig = Rig::new().await;
    for (token, slug) in [(None, "no-token"), (Some("guess"), "wrong-token"), (Some(""), "wrong-token")] {
        let answer = rig.ask("GET", "/api/v1/status").token(token).send().await;
        assert_eq!(answer.problem(), (401, slug.to_owned()), "{token:?}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    let basic = rig.ask("GET", "/api/v1/status").token(None).header("authorization", "Basic eDp5").send().await;
    assert_eq!(basic.problem(), (401, "wrong-token".into()), "another scheme");
}

#[tokio::test]
async fn probes_are_free_and_a_wrong_token_does_not_harm_them() {
    let rig = Rig::new().await;
    for token in [None, Some("guess")] {
        let health = rig.ask("GET", "/health").token(token).send().await;
        assert_eq!((health.status, health.text()), (200, r#"{"status":"alive"}"#));
        assert_eq!(rig.ask("GET", "/ready").token(token).send().await.status, 503, "no agent has reported");
    }
    rig.node().await;
    assert_eq!(rig.ask("GET", "/ready").token(None).send().await.status, 200);
}

#[tokio::test]
async fn the_socket_lets_this_user_in_without_a_token_and_not_with_a_wrong_one() {
    let rig = Rig::with(|l| l.wrong_tokens.burst = 1_000).await;
    for route in TABLE.iter() {
        let path = route.path.replace("{name}", "x");
        // Only the head: some of them go on for ever.
        let (head, _wire) = rig.ask(route.method, &path).socket().open().await;
        assert!(![401, 403].contains(&head.status), "{} {path}: {head:?}", route.method);
        if route.role != Role::None {
            let wrong = rig.ask(route.method, &path).socket().token(Some("guess")).send().await;
            assert_eq!(wrong.problem(), (401, "wrong-token".into()), "{} {path}", route.method);
        }
    }
}

#[tokio::test]
async fn nothing_is_read_or_written_without_a_token() {
    let rig = Rig::new().await;
    let before = rig.index();
    let manifest = super::rig::config("c", "x").to_string();
    let answer = rig.ask("POST", "/api/v1/apply").token(None).body(&manifest).send().await;
    assert_eq!(answer.status, 401);
    assert_eq!(rig.index(), before);
    let answer = rig.ask("GET", "/api/v1/events?fromIndex=0&follow=false").token(None).send().await;
    assert!(!answer.text().contains("ClusterFormed"), "{answer:?}");
}

#[tokio::test]
async fn a_machine_is_its_administrators_by_whatever_path_it_is_written() {
    let rig = Rig::new().await;
    rig.node().await;
    let node = json!({"apiVersion": "constellation.dev/v1", "kind": "Node", "metadata": {"name": "n1"}, "spec": {"schedulable": false}});
    let with_node = json!([config("c", "1"), node]).to_string();
    let tokens =
        [rig.token("read", "read").await, rig.token("write", "write").await, rig.token("admin", "admin").await];
    let table = [
        ("/api/v1/apply", 1, config("c", "1").to_string(), 200),
        ("/api/v1/apply", 1, with_node.clone(), 403),
        ("/api/v1/plan", 0, with_node.clone(), 200),
        ("/api/v1/apply", 2, with_node.clone(), 200),
    ];
    for (path, who, body, want) in table {
        let answer = rig.ask("POST", path).token(Some(&tokens[who])).body(&body).send().await;
        assert_eq!(answer.status, want, "{path} {who}: {answer:?}");
        let cordoned = rig.read("/api/v1/nodes/n1").await["spec"]["schedulable"] == false;
        assert_eq!(cordoned, who == 2, "{path} {who}: {body}");
    }
}

#[tokio::test]
async fn a_node_keeps_the_roles_that_a_manifest_leaves_out_and_the_last_server_stays_one() {
    let rig = Rig::new().await;
    rig.node().await;
    let node = |spec: Value| {
        json!([{"apiVersion": "constellation.dev/v1", "kind": "Node",
                "metadata": {"name": "n1", "labels": {"zone": "garage"}}, "spec": spec}])
        .to_string()
    };
    let roles = async || rig.read("/api/v1/nodes/n1").await["spec"]["roles"].take();
    let all = json!(["server", "agent", "edge", "builder"]);
    let plan = rig.post("/api/v1/plan", &node(json!({}))).await.json();
    assert_eq!(plan["objects"][0]["fields"].as_array().map(Vec::len), Some(1), "the label alone: {plan}");
    assert_eq!(rig.apply(&node(json!({}))).await["objects"][0]["result"], "configured");
    assert_eq!(roles().await, all);
    let plan = rig.post("/api/v1/plan", &node(json!({}))).await.json();
    assert_eq!(plan["objects"][0]["result"], "unchanged");
    assert_eq!(rig.apply(&node(json!({}))).await["objects"][0]["result"], "unchanged");
    let document = serde_json::from_str::<Value>(&node(json!({}))).unwrap()[0].to_string();
    assert_eq!(
        rig.ask("PUT", "/api/v1/nodes/n1").body(&document).send().await.json()["objects"][0]["result"],
        "unchanged"
    );

    let without = node(json!({"roles": ["agent"]}));
    let plan = rig.post("/api/v1/plan", &without).await.json();
    let warning = plan["warnings"][0].as_str().unwrap_or_default();
    assert!(
        warning.contains("no node with the role server would be left") && warning.ends_with("apply will refuse it"),
        "{plan}"
    );
    for query in ["", "?dryRun=true"] {
        let refused = rig.post(&format!("/api/v1/apply{query}"), &without).await;
        assert_eq!(refused.status, 422, "{refused:?}");
        assert!(
            refused.json()["detail"].as_str().unwrap().contains("no node with the role server would be left"),
            "{refused:?}"
        );
    }
    assert_eq!(roles().await, all);
    rig.apply(&node(json!({"roles": ["server", "agent"]}))).await;
    assert_eq!(roles().await, json!(["server", "agent"]), "the others are the owner's");
    rig.apply(&node(json!({"schedulable": false}))).await;
    assert_eq!(roles().await, json!(["server", "agent"]), "what the node has, not what it had first");
}

/// A node whose agent is silent, with what is stored of it.
async fn silent(rig: &Rig, name: &str, spec: &Value) {
    let put = PutObject {
        kind: Kind::Node,
        name: name.into(),
        labels: [].into(),
        annotations: [].into(),
        managed_by: None,
        spec: spec.to_string().into_bytes(),
        uid: Uid(format!("uid of {name}").into()),
        spec_hash: None,
        based_on: None,
    };
    rig.propose(vec![Command::Put(put)]).await;
}

fn node(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "constellation.dev/v1", "kind": "Node", "metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn a_node_that_a_newer_version_wrote_is_not_written_over() {
    let rig = Rig::new().await;
    rig.node().await;
    let newer = json!({"roles": ["server", "agent"], "schedulable": true, "sinceTomorrow": 1});
    silent(&rig, "n2", &newer).await;
    let (body, before) = (json!([node("n2", &json!({}))]).to_string(), rig.index());
    let one = node("n2", &json!({})).to_string();
    for answer in [
        rig.post("/api/v1/plan", &body).await,
        rig.post("/api/v1/apply", &body).await,
        rig.post("/api/v1/apply", &json!([node("n2", &json!({"roles": ["agent"]}))]).to_string()).await,
        // Whether another is a server cannot be told either.
        rig.post("/api/v1/apply", &json!([node("n1", &json!({"roles": ["agent"]}))]).to_string()).await,
        rig.ask("PUT", "/api/v1/nodes/n2").body(&one).send().await,
        rig.ask("DELETE", "/api/v1/nodes/n2").send().await,
    ] {
        assert_eq!(answer.status, 500, "{answer:?}");
        assert!(answer.text().contains("the stored spec of node/n2 cannot be read"), "{answer:?}");
    }
    assert_eq!(rig.index(), before);
    assert_eq!(rig.read("/api/v1/nodes/n2").await["spec"], newer);
    rig.apply(&config("c", "1").to_string()).await;
}

#[tokio::test]
async fn the_last_servers_stay_whether_they_are_demoted_together_or_deleted() {
    let rig = Rig::new().await;
    rig.node().await;
    let agent = json!({"roles": ["agent"], "schedulable": true});
    for (name, roles) in [("n2", json!(["server"])), ("n3", json!(["agent"]))] {
        silent(&rig, name, &json!({"roles": roles, "schedulable": true})).await;
    }
    let both = json!([node("n1", &agent), node("n2", &agent)]).to_string();
    let refused = rig.post("/api/v1/apply", &both).await;
    assert_eq!(refused.problem(), (422, "invalid".into()));
    assert!(refused.text().contains("no node with the role server would be left"), "{refused:?}");
    rig.apply(&json!([node("n1", &agent)]).to_string()).await;

    let delete = async |name: &str| rig.ask("DELETE", &format!("/api/v1/nodes/{name}")).send().await;
    let kept = delete("n2").await;
    assert_eq!(kept.problem(), (409, "in-use".into()));
    assert!(kept.text().contains("no node with the role server would be left"), "{kept:?}");
    assert_eq!(kept.json()["hint"], "make another node a server first");
    assert_eq!(delete("n3").await.status, 200, "it was none");
    assert_eq!(delete("n4").await.status, 404);
    silent(&rig, "n3", &json!({"roles": ["server"], "schedulable": true})).await;
    assert_eq!(delete("n2").await.status, 200, "another is there");
}
