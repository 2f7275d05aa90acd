//! What is declared changes under requests: the port of a Service, its routes, the Service itself.

use std::{fs, time::Duration};

use crate::{
    agent::{Agent, service},
    lab::Lab,
    traffic::{self, HOST, Load, NEXT, SERVER},
    wait::{always, eventually, secs},
};

const TRAEFIK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/traefik.yaml");

/// Two replicas of the server at a port, with routes or without.
fn web(image: &str, port: u16, routed: bool) -> String {
    let routes = if routed { format!("routes: [{{host: {HOST}, port: {port}}}]\n") } else { String::new() };
    let spec = format!(
        "image: {image}\nreplicas: 2\ncommand: [/traffic, serve, --port, \"{port}\"]\nexpose: [{port}]\n{routes}\
         readiness: {{http: {{path: /ready, port: {port}}}, interval: 200ms}}\n\
         update: {{minHealthyTime: 300ms, drainTimeout: 20s}}\n"
    );
    service("web", &spec)
}

/// The same of a server that ends at once when it is asked to.
fn abrupt(image: &str, routed: bool) -> String {
    web(image, 8080, routed).replace("serve, ", "serve, --abrupt, ")
}

fn served<'l>(lab: &'l Lab, first: &str) -> Agent<'l> {
    traffic::images(lab);
    let agent = Agent::start(lab);
    agent.apply(&fs::read_to_string(TRAEFIK).unwrap());
    agent.apply(first);
    eventually(secs(20), "it is served at port 80", || {
        let seen = Load::start(lab, "load", 80, &["--host", HOST, "--rate", "5", "--seconds", "1"]).seen();
        if seen.failed() == 0 { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    agent
}

#[test]
fn the_port_changes_under_requests_with_a_good_image_and_with_one_that_is_rolled_back() {
    let lab = Lab::take();
    let agent = served(&lab, &web(SERVER, 8080, true));
    let start = || Load::start(&lab, "load", 80, &["--host", HOST, "--rate", "50", "--seconds", "600"]);
    let load = start();
    agent.apply(&web(NEXT, 8081, true));
    let seen = load.end();
    println!("another port: {}", seen.0);
    assert!(seen.failed() == 0 && seen.of_version("1") > 0 && seen.of_version("2") > 0, "{seen:?}");
    let load = start();
    let said = agent.apply_with(&web(traffic::BROKEN, 8082, true), &["--timeout", "60s"]).exits(1);
    assert!(said.err.contains("rolled back to revision 2"), "{}", said.err);
    always(secs(2), "what came back is asked where it is", || {
        let seen = Load::start(&lab, "load", 80, &["--host", HOST, "--rate", "20", "--seconds", "1"]).seen();
        if seen.failed() == 0 && seen.of_version("2") > 0 { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    let seen = load.end();
    println!("a broken image at another port: {}", seen.0);
    assert!(seen.failed() == 0 && seen.of_version("2") == seen.answered(), "{seen:?}");
}

#[test]
fn what_a_replica_began_is_answered_though_its_route_or_its_service_goes() {
    let lab = Lab::take();
    let agent = served(&lab, &abrupt(SERVER, true));
    let slow = || {
        let args =
            ["--host", HOST, "--rate", "10", "--seconds", "1", "--path", "/slow?ms=5000", "--timeout-ms", "30000"];
        let load = Load::start(&lab, "load", 80, &args);
        // Then all are under way.
        always(Duration::from_millis(1_500), "the server runs", || {
            if lab.docker.running("web").len() == 2 { Ok(()) } else { Err("it is gone".to_owned()) }
        });
        load
    };
    let load = slow();
    agent.apply(&abrupt(NEXT, false));
    let seen = load.seen();
    assert_eq!((seen.answered(), seen.failed()), (10, 0), "the route goes, with the revision: {seen:?}");
    agent.apply(&abrupt(NEXT, true));
    eventually(secs(20), "it is served again", || {
        let seen = Load::start(&lab, "load", 80, &["--host", HOST, "--rate", "5", "--seconds", "1"]).seen();
        if seen.failed() == 0 { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    let load = slow();
    agent.cli(&["delete", "svc/web", "-y"]).exits(0);
    let seen = load.seen();
    assert_eq!((seen.answered(), seen.failed()), (10, 0), "the service goes: {seen:?}");
    eventually(secs(20), "its replicas go", || {
        let left = lab.docker.running("web");
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}
