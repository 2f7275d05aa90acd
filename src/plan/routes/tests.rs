//! The table as a person expects it, and as nobody should be able to break it.

mod claims;
mod endpoints;
mod golden;
mod properties;

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::*;
use crate::model::{ConditionStatus, ConditionType, Index};

/// A Route from JSON, made at this time.
fn route(name: &str, created_at: u64, spec: Value) -> Stored<RouteSpec> {
    Stored { name: name.into(), created_at, spec: Arc::new(serde_json::from_value(spec).unwrap()) }
}

/// A Service with replicas at 10.0.0.1 and on, and its port 80.
fn service(replicas: u8) -> Backing {
    let endpoint = |n| Endpoint {
        replica: format!("replica-{n}").into(),
        address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, n)),
        own: None,
    };
    let declared = Reached { ports: vec![80], ..Reached::default() };
    Backing { created_at: 1, declared, endpoints: (1..=replicas).map(endpoint).collect() }
}

/// What most tests begin with: web with two replicas, empty with none.
fn input(routes: Vec<Stored<RouteSpec>>) -> Input {
    let services = [("web".into(), service(2)), ("empty".into(), service(0)), ("auth".into(), service(1))].into();
    Input { routes, services, ..Input::default() }
}

fn middlewares(input: &mut Input, all: Value) {
    for (name, spec) in all.as_object().unwrap() {
        input.middlewares.insert(name.as_str().into(), Arc::new(serde_json::from_value(spec.clone()).unwrap()));
    }
}

fn secret(input: &mut Input, name: &str, values: &[(&str, &str)]) {
    let values = values.iter().map(|(k, v)| ((*k).to_owned(), Zeroizing::new(v.as_bytes().to_vec()))).collect();
    input.secrets.insert(name.into(), Material::Open(values));
}

fn certificate(input: &mut Input, name: &str) {
    let block = |label: &str| format!("-----BEGIN {label}-----\nMAAA\n-----END {label}-----\n");
    secret(input, name, &[("tls.crt", &block("CERTIFICATE")), ("tls.key", &block("PRIVATE KEY"))]);
}

fn said<'t>(table: &'t Table, name: &str) -> &'t Verdict {
    table.said.get(&ObjectKey::new(Kind::Route, name)).unwrap()
}

fn json(table: &Table) -> Value {
    let bytes = table.document.bytes(Marker { index: Index(7), sub: 2 }).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// What is false of a Route, as `type: reason: message`.
fn wrong(verdict: &Verdict) -> Vec<(Reason, &str)> {
    let all = [&verdict.accepted, &verdict.resolved, &verdict.answered];
    all.into_iter().filter(|f| !f.holds).map(|f| (f.reason, f.message.as_str())).collect()
}

#[test]
fn nothing_at_all_still_has_its_marker() {
    let document = json(&table(&Input::default()));
    for part in ["middlewares", "routers"] {
        let keys: Vec<&String> = document["http"][part].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["gen-7-2"]);
    }
    assert_eq!(document.as_object().unwrap().len(), 1, "{document}");
}

#[test]
fn the_older_keeps_a_host_and_both_are_told() {
    let asks = |host: &str| json!({"hosts": [host, format!("own-{host}")], "backends": [{"service": "web"}]});
    let found = table(&input(vec![
        route("younger", 20, asks("a.example")),
        route("older", 10, json!({"hosts": ["a.example"], "backends": [{"service": "web"}]})),
    ]));
    let younger = said(&found, "younger");
    assert_eq!(
        wrong(younger),
        [(Reason::HostConflict, "a.example/ on web is route/older's, which was first; rename one of the two")]
    );
    assert_eq!(younger.left_out.len(), 1);
    let older = said(&found, "older");
    assert!(older.accepted.holds && older.accepted.message.contains("route/younger"), "{older:?}");
    let served: Vec<_> = found.entries.iter().map(|e| (e.host.as_str(), e.by.to_string())).collect();
    assert_eq!(
        served,
        [("a.example", "route/older".into()), ("own-a.example", "route/younger".into())],
        "what nobody else asks for is served all the same"
    );
}

#[test]
fn a_service_and_a_route_of_one_moment_are_ordered_by_kind_and_name() {
    let mut input = input(vec![route("b", 1, json!({"hosts": ["a"], "backends": [{"service": "web"}]}))]);
    let short = Shorthand { host: "a".into(), ..Shorthand::default() };
    input.services.get_mut("web").unwrap().declared.routes = vec![short.clone(), short];
    let found = table(&input);
    let service = found.said.get(&ObjectKey::service("web")).unwrap();
    assert!(!service.accepted.holds && service.accepted.message.contains("twice"), "{service:?}");
    assert_eq!(wrong(said(&found, "b"))[0].0, Reason::HostConflict);
    assert_eq!(found.document.http.routers.keys().map(|n| &**n).collect::<Vec<_>>(), ["s00w-web"]);
}

#[test]
fn what_is_missing_is_named_and_nothing_is_served_without_its_lock() {
    let backends = json!([{"service": "web"}]);
    let with = |middlewares: Value| json!({"hosts": ["a"], "backends": backends, "middlewares": middlewares});
    let tls = json!({"hosts": ["a"], "backends": backends, "tls": {"mode": "secret", "secretRef": "cert"}});
    let cases = [
        (with(json!(["gone"])), Reason::MiddlewareNotFound, "mw/gone does not exist"),
        (with(json!(["round"])), Reason::MiddlewareNotFound, "leads back to itself"),
        (with(json!(["outer"])), Reason::MiddlewareNotFound, "mw/gone does not exist"),
        (with(json!(["users"])), Reason::SecretMissing, "secret/nobody does not exist"),
        (with(json!(["chained"])), Reason::SecretMissing, "mw/users: secret/nobody does not exist"),
        (with(json!(["lines"])), Reason::SecretMissing, "line 1"),
        (with(json!(["asks"])), Reason::BackendNotFound, "svc/gone does not exist"),
        (with(json!([{"basicAuth": {"secretRef": "nobody"}}])), Reason::SecretMissing, "secret/nobody"),
        (tls, Reason::SecretMissing, "secret/cert does not exist"),
    ];
    for (spec, reason, message) in cases {
        let mut input = input(vec![route("a", 1, spec.clone())]);
        middlewares(
            &mut input,
            json!({
                "round": {"chain": {"middlewares": ["back"]}},
                "back": {"chain": {"middlewares": ["round"]}},
                "outer": {"chain": {"middlewares": ["gone"]}},
                "users": {"basicAuth": {"secretRef": "nobody"}},
                "chained": {"chain": {"middlewares": ["users"]}},
                "lines": {"basicAuth": {"secretRef": "bad"}},
                "asks": {"forwardAuth": {"address": "http://gone:80/"}},
            }),
        );
        secret(&mut input, "bad", &[("users", "no colon")]);
        let found = table(&input);
        let verdict = said(&found, "a");
        let [(why, text)] = wrong(verdict)[..] else { panic!("{spec}: {verdict:?}") };
        assert!(why == reason && text.contains(message), "{spec}: {why} {text}");
        assert!(!verdict.resolved.holds && verdict.left_out.len() == 1);
        assert!(found.entries.is_empty(), "{spec}");
        let routers: Vec<&str> = found.document.http.routers.values().map(|router| &*router.service).collect();
        assert!(!routers.is_empty() && routers.iter().all(|service| *service == "default-shut"), "{spec}: {routers:?}");
        let Some(Service::LoadBalancer(shut)) = found.document.http.services.get("default-shut") else {
            panic!("{spec}")
        };
        assert!(shut.servers.is_empty() && found.document.http.services.len() == 1, "{spec}");
    }
}

#[test]
fn without_an_endpoint_requests_wait_where_they_may_and_get_503_else() {
    let routes = || {
        vec![
            route("one", 1, json!({"hosts": ["a"], "backends": [{"service": "empty", "port": 8080}]})),
            route(
                "tls",
                2,
                json!({"hosts": ["b"], "backends": [{"service": "empty", "port": 8080, "scheme": "https"}]}),
            ),
            route("two", 3, json!({"hosts": ["c"], "backends": [{"service": "empty"}, {"service": "web"}]})),
            route("no", 4, json!({"hosts": ["d"], "backends": [{"service": "gone"}]})),
        ]
    };
    let found = table(&input(routes()));
    assert_eq!(
        wrong(said(&found, "one")),
        [(Reason::NoReadyEndpoint, "none of svc/empty:8080 has a ready replica: requests get 503")]
    );
    assert!(wrong(said(&found, "two")).is_empty());
    let both = wrong(said(&found, "no"));
    assert_eq!((both[0].0, both[1].0), (Reason::BackendNotFound, Reason::NoReadyEndpoint));
    let document = json(&found);
    let servers = |name: &str| document["http"]["services"][name]["loadBalancer"]["servers"].clone();
    assert_eq!((servers("rb0-one"), servers("rb0-no")), (json!([]), json!([])));
    assert_eq!(servers("rb1-two").as_array().unwrap().len(), 2, "the backend that answers gets everything");
    let mut held = input(routes());
    held.holds.insert(("empty".into(), 8080), "127.0.0.1:4000".parse().unwrap());
    let found = table(&held);
    let document = json(&found);
    let servers = |name: &str| document["http"]["services"][name]["loadBalancer"]["servers"].clone();
    assert_eq!(servers("rb0-one"), json!([{"url": "http://127.0.0.1:4000"}]));
    assert_eq!(servers("rb0-tls"), json!([]), "what waits speaks no TLS");
    assert!(wrong(said(&found, "one")).is_empty());
}

#[test]
fn a_port_of_the_host_that_a_service_does_not_name_is_not_its_own() {
    let mut input = input(vec![
        route("own", 1, json!({"hosts": ["a"], "backends": [{"service": "web", "port": 80}]})),
        route("other", 2, json!({"hosts": ["b"], "backends": [{"service": "web", "port": 18081}]})),
    ]);
    input.services.get_mut("web").unwrap().declared.host_network = true;
    let found = table(&input);
    assert!(wrong(said(&found, "own")).is_empty());
    let other = wrong(said(&found, "other"));
    assert!(other[0].0 == Reason::BackendNotFound && other[0].1.contains("does not name the port 18081"), "{other:?}");
}

#[test]
fn a_host_has_one_set_of_tls_options_and_the_oldest_says_which() {
    let with = |host: &str, path: &str, version: &str| {
        let path = json!([{"value": path}]);
        json!({"hosts": [host], "paths": path, "backends": [{"service": "web"}],
            "tls": {"mode": "secret", "secretRef": "cert", "minVersion": version}})
    };
    let mut input = input(vec![
        route("first", 1, with("a", "/", "1.2")),
        route("second", 2, with("a", "/x", "1.3")),
        route("third", 3, with("b", "/", "1.3")),
    ]);
    certificate(&mut input, "cert");
    let found = table(&input);
    assert!(wrong(said(&found, "second"))[0].1.contains("tls.minVersion"));
    assert!(wrong(said(&found, "third")).is_empty());
    assert_eq!(found.document.tls.options.keys().copied().collect::<Vec<_>>(), ["tls12", "tls13"]);
    assert_eq!(found.document.tls.certificates.len(), 1);
}

#[test]
fn what_means_less_is_asked_later() {
    let priority = |host: &str, kind: PathKind, value: &str| {
        let path = PathMatch { kind, value: value.into() };
        Claim::pair((EntryPoint::Web, false), 0, host, &path).priority()
    };
    let ordered = [
        priority("a.example.com", PathKind::Exact, "/api/v2"),
        priority("a.example.com", PathKind::Prefix, "/api/v2"),
        priority("a.example.com", PathKind::Exact, "/api"),
        priority("a.example.com", PathKind::Prefix, "/api"),
        priority("a.example.com", PathKind::Prefix, "/"),
        priority("a", PathKind::Prefix, "/"),
        priority("*.example.com", PathKind::Exact, "/api/v2"),
        priority("*.example.com", PathKind::Prefix, "/"),
    ];
    assert!(ordered.is_sorted_by(|a, b| a > b), "{ordered:?}");
}

#[test]
fn conditions_sum_up_and_keep_their_time() {
    let found = table(&input(vec![route("one", 1, json!({"hosts": ["a"], "backends": [{"service": "empty"}]}))]));
    let first = conditions(said(&found, "one"), None, &[], (3, 100));
    let kinds: Vec<_> = first.iter().map(|c| (c.kind, c.status, c.reason)).collect();
    assert_eq!(
        kinds,
        [
            (ConditionType::Ready, ConditionStatus::False, Reason::NoReadyEndpoint),
            (ConditionType::Accepted, ConditionStatus::True, Reason::Accepted),
            (ConditionType::ResolvedRefs, ConditionStatus::True, Reason::ResolvedRefs),
        ]
    );
    let behind = Finding { holds: false, reason: Reason::EdgeBehind, message: "n1".into() };
    let found = table(&input(vec![route("one", 1, json!({"hosts": ["a"], "backends": [{"service": "web"}]}))]));
    let second = conditions(said(&found, "one"), Some(&behind), &first, (4, 200));
    assert_eq!((second[0].reason, second[0].last_transition_time), (Reason::EdgeBehind, 100));
    assert_eq!((second[3].kind, second[3].status), (ConditionType::Programmed, ConditionStatus::False));
    let third = conditions(said(&found, "one"), None, &second, (4, 300));
    assert_eq!((third[0].status, third[0].last_transition_time), (ConditionStatus::True, 300));
    assert_eq!(third[1].last_transition_time, 100);
}

#[test]
fn nothing_that_is_printed_holds_a_key_or_a_password() {
    let mut input = input(vec![route(
        "a",
        1,
        json!({"hosts": ["a"], "backends": [{"service": "web"}], "middlewares": ["users"],
            "tls": {"mode": "secret", "secretRef": "cert"}}),
    )]);
    middlewares(&mut input, json!({"users": {"basicAuth": {"secretRef": "users"}}}));
    secret(&mut input, "users", &[("users", "ann:$apr1$geheim$x")]);
    certificate(&mut input, "cert");
    let found = table(&input);
    for text in [format!("{input:?}"), format!("{found:?}"), serde_json::to_string(&found.entries).unwrap()] {
        assert!(!text.contains("geheim") && !text.contains("MAAA"), "{text}");
    }
    assert!(serde_json::to_string(&json(&found)).unwrap().contains("geheim"), "but Traefik is told");
}
