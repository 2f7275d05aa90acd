//! Which replicas get requests, and at which ports: each where its own revision says that it is.

use std::net::SocketAddr;

use super::*;
use crate::{
    model::{
        Desired, Draining, Replica, ReplicaPhase, ReplicaStatus, Resolution, Revision, ServiceSpec, Uid,
        testing::{meta, replica as placed},
    },
    plan::{
        holds::ports,
        view::{ReplicaView, ServiceView},
    },
};

/// Servers of one of Traefik's services.
fn servers(table: &Table, name: &str) -> Vec<String> {
    let document = json(table);
    let all = document["http"]["services"][name]["loadBalancer"]["servers"].as_array().cloned().unwrap_or_default();
    all.iter().map(|s| s["url"].as_str().unwrap().to_owned()).collect()
}

fn short(host: &str, port: Option<u16>) -> Shorthand {
    Shorthand { host: host.into(), port, ..Shorthand::default() }
}

/// A replica of an earlier revision.
fn earlier(last: u8, own: Reached) -> Endpoint {
    let replica = format!("earlier-{last}").into();
    Endpoint { replica, address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)), own: Some(Arc::new(own)) }
}

#[test]
fn each_replica_is_asked_where_its_own_revision_says_that_it_is() {
    let reached = |port, routes| Reached { ports: vec![port], routes, ..Reached::default() };
    let mut input = input(vec![
        route("default", 5, json!({"hosts": ["d"], "backends": [{"service": "web"}]})),
        route("written", 6, json!({"hosts": ["w"], "backends": [{"service": "web", "port": 81}]})),
    ]);
    let web = input.services.get_mut("web").unwrap();
    web.declared = reached(81, vec![short("a", Some(81)), short("new", Some(81)), short("plain", None)]);
    web.endpoints.truncate(1);
    web.endpoints.push(earlier(9, reached(80, vec![short("a", Some(82)), short("plain", None)])));
    let found = table(&input);
    let at = |name: &str| servers(&found, name);
    assert_eq!(at("s0b0-web"), ["http://10.0.0.1:81", "http://10.0.0.9:82"], "the same host of its own revision");
    assert_eq!(at("s1b0-web"), ["http://10.0.0.1:81", "http://10.0.0.9:80"], "a host that it does not know");
    assert_eq!(at("s2b0-web"), ["http://10.0.0.1:81", "http://10.0.0.9:80"], "its own default");
    assert_eq!(at("rb0-default"), ["http://10.0.0.1:81", "http://10.0.0.9:80"]);
    assert_eq!(at("rb0-written"), ["http://10.0.0.1:81", "http://10.0.0.9:81"], "as somebody wrote it");
    let sent: Vec<u16> = found.sent.replicas["earlier-9"].iter().map(SocketAddr::port).collect();
    assert_eq!(sent, [80, 81, 82], "what is in flight to it is looked for there");
    // While requests wait at the declared port, and the earlier one comes back, they go where it is.
    let place = ("web".into(), 81);
    let first = found.sent.places[&place].iter().find(|(_, at)| at.ip() == IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9)));
    assert!(first.is_some_and(|(written, at)| !written && at.port() != 81), "{first:?}");
}

#[test]
fn a_service_that_leaves_the_host_s_network_takes_no_port_of_the_host_along() {
    let mut input = input(vec![route("r", 1, json!({"hosts": ["a"], "backends": [{"service": "web", "port": 2375}]}))]);
    let web = input.services.get_mut("web").unwrap();
    let own = Reached { ports: vec![80], host_network: true, ..Reached::default() };
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    web.declared.ports = vec![2375];
    web.endpoints = vec![Endpoint { replica: "web-1".into(), address, own: Some(Arc::new(own)) }];
    assert!(servers(&table(&input), "rb0-r").is_empty(), "nothing of its own is there");
}

/// Service web as it is declared now, with these revisions before; a replica of each.
fn view(specs: &[Value], hashes: &[&str]) -> ServiceView {
    let spec = |n: usize| -> ServiceSpec { serde_json::from_value(specs[n].clone()).unwrap() };
    let revision = |n: usize| Revision {
        service: Uid("web".into()),
        number: n as u64 + 1,
        index: Index(1),
        generation: 1,
        spec_hash: hashes[n].into(),
        spec: serde_json::to_vec(&specs[n]).unwrap(),
        image: Resolution::Pending,
        tried: None,
    };
    let one = |n: usize| {
        let replica = Replica {
            name: format!("web-{n}").into(),
            service_uid: Uid("web".into()),
            revision: n as u64 + 1,
            spec_hash: hashes[n].into(),
            desired: Desired::Run,
            ..placed("web", 1)
        };
        let address =
            (spec(n).container.network_mode != crate::model::service::NetworkMode::Host).then(|| format!("10.0.0.{n}"));
        let status = ReplicaStatus { phase: ReplicaPhase::Running, ready: true, address, ..ReplicaStatus::default() };
        ReplicaView { replica: Arc::new(replica), status: Some(status) }
    };
    let last = specs.len() - 1;
    ServiceView {
        name: "web".into(),
        uid: Uid("web".into()),
        declared: Some((meta("web"), Arc::new(spec(last)))),
        revisions: (0..specs.len()).map(|n| (n as u64 + 1, Arc::new(revision(n)))).collect(),
        rollout: None,
        job: None,
        hooks: Vec::new(),
        edges: Vec::new(),
        replicas: (0..specs.len()).map(one).collect(),
        status: None,
        missing: Vec::new(),
        homes: Vec::new(),
        contents: BTreeMap::new(),
        strategies: BTreeMap::new(),
    }
}

#[test]
fn what_a_replica_is_reached_by_is_read_from_its_revision() {
    let host = json!({"image": "a", "networkMode": "host", "expose": [7000]});
    let at = |port: u16| json!({"image": "a", "expose": [port], "routes": [{"host": "a", "port": port}]});
    let mut view = view(&[host, at(80), at(81), at(82)], &["a", "b", "d", "d"]);
    let found = endpoints(&view, &[]);
    let own: Vec<_> = found
        .iter()
        .map(|e| (&*e.replica, e.address.to_string(), e.own.as_ref().map(|own| (own.host_network, own.ports[0]))))
        .collect();
    assert_eq!(
        own,
        [
            ("web-1", "10.0.0.1".into(), Some((false, 80))),
            ("web-2", "10.0.0.2".into(), None),
            ("web-3", "10.0.0.3".into(), None),
            ("web-0", "127.0.0.1".into(), Some((true, 7000))),
        ],
        "what has the container part of now is as it is declared now"
    );
    let leaving = Draining { reason: Reason::Superseded, index: Index(1), at: 1 };
    Arc::make_mut(&mut view.replicas[1].replica).draining = Some(leaving);
    assert!(endpoints(&view, &[]).iter().all(|e| *e.replica != *"web-1"));
    assert!(endpoints(&view, &["web-1".into()]).iter().any(|e| *e.replica == *"web-1"));
}

#[test]
fn traefik_is_no_service_that_requests_are_led_to() {
    let text = include_str!("../../../../manifests/traefik.yaml");
    let spec = text.split("kind: Service").nth(1).and_then(|rest| rest.split_once("spec:")).unwrap().1;
    let spec: ServiceSpec = serde_yaml::from_str(spec).unwrap();
    let asks = |port: Value| json!({"hosts": ["a"], "backends": [{"service": "traefik", "port": port}]});
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    for port in [Value::Null, json!(18081)] {
        let mut input = input(vec![route("r", 1, asks(port.clone()))]);
        let endpoints = vec![Endpoint { replica: "traefik-1".into(), address: loopback, own: None }];
        let backing = Backing { created_at: 1, declared: Reached::from(&spec), endpoints };
        input.services.insert("traefik".into(), backing);
        let found = table(&input);
        assert_eq!(wrong(said(&found, "r"))[0].0, Reason::BackendNotFound, "{port}");
        assert!(servers(&found, "rb0-r").is_empty(), "{port}");
        // Not even when somebody says that it is its own.
        input.services.get_mut("traefik").unwrap().declared.ports = vec![18081, 80];
        input.reserved.insert(18081);
        let found = table(&input);
        assert!(wrong(said(&found, "r"))[0].1.contains("the agent's or its Traefik's"), "{:?}", said(&found, "r"));
        assert!(servers(&found, "rb0-r").is_empty(), "{port}");
    }
}

#[test]
fn what_only_a_middleware_asks_is_held_and_looked_after_too() {
    let mut input = input(vec![route(
        "r",
        1,
        json!({"hosts": ["a"], "backends": [{"service": "web"}], "middlewares": ["sso", "pages", "tls"]}),
    )]);
    middlewares(
        &mut input,
        json!({
            "sso": {"forwardAuth": {"address": "http://empty:9000/check"}},
            "tls": {"forwardAuth": {"address": "https://empty:9000/check"}},
            "pages": {"errors": {"status": ["500-599"], "service": "auth", "query": "/"}},
        }),
    );
    let asked = ports(&input);
    assert_eq!(asked["empty"], [9000].into());
    assert_eq!(asked["auth"], [80].into());
    let found = table(&input);
    assert_eq!(found.sent.replicas["replica-1"].iter().map(|at| at.port()).collect::<Vec<_>>(), [80]);
    let address =
        |found: &Table, name: &str| json(found)["http"]["middlewares"][name]["forwardAuth"]["address"].clone();
    assert_eq!(address(&found, "mw-sso"), "http://127.0.0.1:0/check", "nobody decides");
    input.holds.insert(("empty".into(), 9000), "127.0.0.1:4000".parse().unwrap());
    let found = table(&input);
    assert_eq!(address(&found, "mw-sso"), "http://127.0.0.1:4000/check", "it waits for who decides");
    assert_eq!(address(&found, "mw-tls"), "https://127.0.0.1:0/check", "what waits speaks no TLS");
}

#[test]
fn traefik_asks_for_health_only_where_a_replica_is() {
    let check = |service: &str| {
        json!({"hosts": ["a"], "backends": [{"service": service, "port": 80}],
            "loadBalancer": {"healthCheck": {"path": "/h", "method": "POST", "port": 2375}}})
    };
    let mut input = input(vec![route("r", 1, check("empty"))]);
    input.holds.insert(("empty".into(), 80), "127.0.0.1:4000".parse().unwrap());
    let found = table(&input);
    assert_eq!(servers(&found, "rb0-r"), ["http://127.0.0.1:4000"]);
    assert_eq!(json(&found)["http"]["services"]["rb0-r"]["loadBalancer"].get("healthCheck"), None, "not of the agent");
    input.routes = vec![route("r", 1, check("web"))];
    let found = table(&input);
    let asked = json(&found)["http"]["services"]["rb0-r"]["loadBalancer"]["healthCheck"].clone();
    assert_eq!((&asked["port"], &asked["followRedirects"]), (&json!(2375), &json!(false)), "{asked}");
    input.services.get_mut("web").unwrap().declared.host_network = true;
    let found = table(&input);
    assert!(wrong(said(&found, "r"))[0].1.contains("2375 of `loadBalancer.healthCheck`"), "{:?}", said(&found, "r"));
    assert!(servers(&found, "rb0-r").is_empty());
    input.services.get_mut("web").unwrap().declared.ports = vec![80, 2375];
    assert_eq!(servers(&table(&input), "rb0-r").len(), 2);
}
