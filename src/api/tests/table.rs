//! Routes over the API: what is said of them, the table, and who may lead requests out of the cluster.

use serde_json::{Value, json};

use super::rig::{Rig, service};
use crate::{
    model::{Edge, Index, ObjectKey, ServiceStatus, Status, Uid},
    store::command::Command,
};

fn document(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "constellation.dev/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn route(name: &str, host: &str) -> Value {
    document(
        "Route",
        name,
        json!({"hosts": [host], "backends": [{"service": "web", "port": 80}], "middlewares": ["fine"]}),
    )
}

#[tokio::test]
async fn a_route_is_kept_and_says_what_is_missing() {
    let rig = Rig::new().await;
    let all = json!([
        route("a", "a.example"),
        route("b", "a.example"),
        document("Middleware", "fine", json!({"compress": {}})),
        service("web", "nginx:1", 1),
    ]);
    let answer = rig.apply(&all.to_string()).await;
    assert_eq!(answer["objects"].as_array().unwrap().len(), 4, "{answer}");
    let conditions = |object: &Value| -> Vec<String> {
        let each = object["status"]["conditions"].as_array().unwrap().iter();
        each.map(|c| format!("{} {} {}", c["type"], c["status"], c["reason"]).replace('"', "")).collect()
    };
    let a = rig.read("/api/v1/routes/a").await;
    assert_eq!(
        conditions(&a),
        [
            "Ready False NoReadyEndpoint",
            "Accepted True Accepted",
            "ResolvedRefs True ResolvedRefs",
            "Programmed False NoEdge"
        ]
    );
    let b = rig.read("/api/v1/routes/b").await;
    assert_eq!(conditions(&b)[..2], ["Ready False HostConflict", "Accepted False HostConflict"]);
    let why = rig.read("/api/v1/routes/b/why").await;
    assert_eq!(why["differences"][0]["reason"], "HostConflict", "{why}");
    let table = rig.read("/api/v1/route-table").await;
    assert_eq!(table["entries"].as_array().unwrap().len(), 1, "{table}");
    assert_eq!(table["entries"][0]["by"], "route/a");
    assert_eq!(table["objects"][1]["leftOut"][0]["reason"], "HostConflict");
    assert_eq!(table["objects"][0]["conditions"], a["status"]["conditions"], "one word for one thing");
    assert_eq!(table["entries"][0]["passes"], json!(["fine"]));
    assert_eq!(rig.read("/api/v1/middlewares").await["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_every_live_edge_serves_is_programmed() {
    let rig = Rig::new().await;
    let mut web = service("web", "nginx:1", 1);
    (web["spec"]["routes"], web["spec"]["expose"]) = (json!([{"host": "b.example"}]), json!([80]));
    let none_of_it = route("a", "a.example");
    rig.apply(&json!([none_of_it, web, service("plain", "nginx:1", 1)]).to_string()).await;
    for name in ["web", "plain"] {
        rig.observe(ObjectKey::service(name), Status::Service(ServiceStatus::default())).await;
    }
    let said = async |path: &str, kind: &str| {
        let object = rig.read(path).await;
        let each = object["status"]["conditions"].as_array().unwrap().iter();
        each.filter(|c| c["type"] == kind).map(|c| format!("{} {}", c["status"], c["reason"])).collect::<Vec<_>>()
    };
    let both = async || {
        let (route, service) = ("/api/v1/routes/a", "/api/v1/services/web");
        [said(route, "Programmed").await, said(service, "RoutesProgrammed").await].concat()
    };
    let none = [r#""False" "NoEdge""#; 2];
    let table = rig.read("/api/v1/route-table").await;
    let of_service = table["objects"].as_array().unwrap().iter().find(|o| o["object"] == "svc/web").unwrap();
    assert_eq!(of_service["conditions"][0]["type"], "RoutesProgrammed", "its Ready is about its replicas: {table}");
    assert_eq!(both().await[1], none[1], "no edge");
    let serves = async |node: u8, served: Option<u64>| {
        let edge = |served| Edge { node: "n1".into(), served: Index(served), at: 1, drained: [].into() };
        let node = Uid::from_bytes([node; 16]);
        rig.propose(vec![Command::RecordEdge { node, edge: served.map(edge), judged: None }]).await;
    };
    rig.node().await;
    serves(7, Some(rig.index())).await;
    assert_eq!(both().await, [r#""False" "MiddlewareNotFound""#, r#""True" "Programmed""#], "one is left out");
    rig.apply(&document("Middleware", "fine", json!({"compress": {}})).to_string()).await;
    assert_eq!(both().await, [r#""True" "Programmed""#; 2]);
    serves(7, Some(2)).await;
    assert_eq!(both().await, [r#""False" "EdgeBehind""#; 2], "it is behind");
    serves(7, None).await;
    assert_eq!(both().await, none, "it is gone");
    assert!(said("/api/v1/services/plain", "RoutesProgrammed").await.is_empty(), "it has no routes");
}

#[tokio::test]
async fn why_says_of_a_service_which_of_its_routes_are_not_served() {
    let rig = Rig::new().await;
    let mut web = service("web", "nginx:1", 0);
    (web["spec"]["routes"], web["spec"]["expose"]) = (json!([{"host": "b.example"}]), json!([80]));
    rig.apply(&web.to_string()).await;
    let why = async || {
        let said = rig.read("/api/v1/services/web/why").await["differences"].clone();
        let each = said.as_array().unwrap().iter().filter(|d| d["path"].as_str().unwrap().starts_with("routes"));
        each.map(|d| format!("{} {} {}", d["path"], d["reason"], d["message"])).collect::<Vec<_>>().join("\n")
    };
    let said = why().await;
    assert!(said.starts_with(r#""routes" "NoEdge" "no node has the role edge"#), "{said}");
    web["spec"]["routes"] =
        json!([{"host": "b.example"}, {"host": "c.example", "path": "/a", "middlewares": ["nope"]}]);
    rig.apply(&web.to_string()).await;
    let said = why().await;
    assert!(
        said.starts_with(
            r#""routes/c.example/a on web" "MiddlewareNotFound" "mw/nope does not exist; requests get 503"#
        ),
        "{said}"
    );
}

#[tokio::test]
async fn what_the_edge_leaves_out_is_not_said_to_be_served() {
    let rig = Rig::new().await;
    let secret = |kind: &str, values: Value| {
        let mut all = document("Secret", "s", json!({"stringData": values}));
        all["spec"]["type"] = kind.into();
        all
    };
    let refused = async |body: Value| {
        let answer = rig.ask("POST", "/api/v1/apply").body(body.to_string()).send().await;
        assert_eq!(answer.status, 422, "{answer:?}");
        answer.text().to_owned()
    };
    let tls = json!({"tls.crt": "geheim", "tls.key": "geheim"});
    let said = refused(secret("tls", tls.clone())).await;
    assert!(said.contains("`tls.crt` is not PEM") && !said.contains("geheim"), "{said}");
    let said = refused(secret("basicAuth", json!({"username": "a:b", "password": "geheim"}))).await;
    assert!(said.contains("`username` is empty or has a colon") && !said.contains("geheim"), "{said}");

    // What says nothing of itself is found out when a Route names it: here as at the edge.
    let mut locked = route("locked", "a.example");
    locked["spec"]["middlewares"] = json!([{"basicAuth": {"secretRef": "users"}}]);
    let mut secure = route("secure", "b.example");
    (secure["spec"]["middlewares"], secure["spec"]["tls"]) = (json!([]), json!({"mode": "secret", "secretRef": "s"}));
    let users = document("Secret", "users", json!({"stringData": {"users": "geheim"}}));
    let all = json!([locked, secure, users, secret("opaque", tls), service("web", "nginx:1", 1)]);
    rig.apply(&all.to_string()).await;
    let table = rig.read("/api/v1/route-table").await;
    assert_eq!(table["entries"], json!([]), "{table}");
    for (name, why) in [("locked", "line 1 of its key `users`"), ("secure", "`tls.crt` is not PEM")] {
        let object = rig.read(&format!("/api/v1/routes/{name}")).await;
        let ready = &object["status"]["conditions"][0];
        assert_eq!((&ready["type"], &ready["status"]), (&json!("Ready"), &json!("False")), "{object}");
        assert!(ready["message"].as_str().unwrap().contains(why), "{ready}");
        let why = rig.read(&format!("/api/v1/routes/{name}/why")).await;
        assert_eq!(why["differences"][0]["reason"], "SecretMissing", "{why}");
    }
    let all = format!("{table}{}", rig.read("/api/v1/routes").await);
    assert!(!all.contains("geheim"), "{all}");
}

#[tokio::test]
async fn only_a_grant_leads_requests_out_of_the_cluster() {
    let rig = Rig::new().await;
    let ci = rig.token("ci", "write").await;
    let asks = |address: &str| document("Middleware", "sso", json!({"forwardAuth": {"address": address}}));
    let out = |url: &str| document("Route", "out", json!({"hosts": ["a.example"], "backends": [{"url": url}]}));
    let mut inline = service("web", "nginx:1", 1);
    inline["spec"]["routes"] =
        json!([{"host": "b.example", "middlewares": [{"forwardAuth": {"address": "http://192.0.2.1/"}}]}]);
    let follows = document(
        "Route",
        "follows",
        json!({"hosts": ["c.example"], "backends": [{"service": "web", "port": 80}],
            "loadBalancer": {"healthCheck": {"path": "/", "followRedirects": true}}}),
    );
    let apply = async |token: Option<&str>, body: &Value| {
        rig.ask("POST", "/api/v1/apply").token(token).body(body.to_string()).send().await
    };
    for (body, path) in [
        (out("http://127.0.0.1:18081"), "spec.backends[0].url"),
        (asks("http://127.0.0.1:7443/"), "spec.forwardAuth.address"),
        (asks("http://localhost/"), "spec.forwardAuth.address"),
        (asks("http://2130706433/"), "spec.forwardAuth.address"),
        (asks("http://auth.example.com/"), "spec.forwardAuth.address"),
        (inline, "spec.routes[0].middlewares[0].forwardAuth.address"),
        (follows, "spec.loadBalancer.healthCheck.followRedirects"),
    ] {
        let answer = apply(Some(&ci), &body).await;
        assert_eq!(answer.problem(), (403, "not-granted".into()), "{body}");
        assert_eq!(answer.json()["errors"][0]["path"], path, "{body}");
    }
    assert_eq!(apply(Some(&ci), &asks("http://auth:9000/check")).await.status, 200, "a Service is everybody's");
    assert_eq!(rig.apply(&out("http://192.0.2.1:80").to_string()).await["objects"][0]["result"], "created");
}

#[tokio::test]
async fn a_plan_says_which_routes_would_be_left_out() {
    let rig = Rig::new().await;
    rig.apply(&json!([route("z", "a.example"), document("Middleware", "fine", json!({"compress": {}}))]).to_string())
        .await;
    let answer = rig.post("/api/v1/plan", &json!([route("a", "a.example"), route("b", "b.example")]).to_string()).await;
    let plan = answer.json();
    let said: Vec<&str> = plan["warnings"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let first = "route/a: left out (HostConflict): a.example/ on web is route/z's, which was first";
    assert!(said.iter().any(|said| said.starts_with(first)), "{said:?}");
    assert!(!said.iter().any(|said| said.contains("b.example")), "{said:?}");
}
