//! Updates under load, through the real Traefik and the public ports: nobody notices.

use std::{fs, time::Instant};

use serde_json::Value;

use crate::{
    agent::{Agent, service},
    lab::{self, Lab, OUTSIDE},
    traffic::{self, Clients, HOST, Load, NEXT, SERVER},
    wait::{eventually, secs},
};

const TRAEFIK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/traefik.yaml");

/// Longer than the slowest answers; WebSockets never end by themselves.
const DRAIN: &str = ", drainTimeout: 7s";

/// A routed service of so many replicas of the server.
fn web(image: &str, replicas: usize, update: &str) -> String {
    let spec = format!(
        "image: {image}\nreplicas: {replicas}\nroutes: [{{host: {HOST}, port: 80}}]\n\
         readiness: {{http: {{path: /ready, port: 80}}, interval: 200ms}}\n\
         update: {{minHealthyTime: 300ms{update}}}\n"
    );
    service("web", &spec)
}

/// An agent with Traefik, and the service behind it.
fn served<'l>(lab: &'l Lab, replicas: usize, update: &str) -> Agent<'l> {
    traffic::images(lab);
    let agent = Agent::start(lab);
    agent.apply(&fs::read_to_string(TRAEFIK).unwrap());
    agent.apply(&web(SERVER, replicas, update));
    eventually(secs(20), "it is served at port 80", || {
        let seen = Load::start(lab, "load", 80, &["--host", HOST, "--rate", "5", "--seconds", "1"]).seen();
        if seen.failed() == 0 { Ok(()) } else { Err(format!("{seen:?}")) }
    });
    agent
}

#[test]
fn rolling_updates_under_load_fail_no_request() {
    let lab = Lab::take();
    let agent = served(&lab, 3, DRAIN);
    let clients = Clients::start(&lab, 80);
    for round in 1..=lab::count(20) {
        let began = Instant::now();
        agent.apply(&web(if round % 2 == 1 { NEXT } else { SERVER }, 3, DRAIN));
        println!("update {round}: {:.1} s", began.elapsed().as_secs_f64());
    }
    let seen = clients.unharmed();
    assert!(seen.of_version("1") > 100 && seen.of_version("2") > 100, "{seen:?}");
}

#[test]
fn a_broken_image_under_load_comes_back_and_fails_no_request() {
    let lab = Lab::take();
    let agent = served(&lab, 3, DRAIN);
    let clients = Clients::start(&lab, 80);
    let said = agent.apply_with(&web(traffic::BROKEN, 3, DRAIN), &["--timeout", "60s"]).exits(1);
    println!("{}{}", said.out, said.err);
    assert!(said.err.contains("rolled back to revision 1: web.1: exit 1"), "{}", said.err);
    let told: Vec<String> = (3..=12).map(|line| format!("cannot start: reason {line}")).collect();
    let lines: Vec<&str> =
        said.out.lines().map(|l| l.trim_start_matches([' ', '|'])).filter(|l| l.contains("cannot start")).collect();
    assert!(lines.ends_with(&told.iter().map(String::as_str).collect::<Vec<_>>()), "the last ten lines: {lines:?}");
    let seen = clients.unharmed();
    assert_eq!(seen.of_version("1"), seen.answered(), "{seen:?}");
    assert_eq!(lab.docker.running("web").len(), 3, "the old ones were never touched");
}

#[test]
fn the_only_replica_stops_first_and_its_requests_wait() {
    let lab = Lab::take();
    let agent = served(&lab, 1, ", order: stop-first");
    let args = ["--host", HOST, "--seconds", "600", "--rate", "50", "--timeout-ms", "60000"];
    let load = Load::start(&lab, "load", 80, &args);
    // One is at an answer of five seconds, and one talks for ever.
    let slow = Load::start(
        &lab,
        "load",
        80,
        &["--host", HOST, "--seconds", "1", "--rate", "2", "--path", "/slow?ms=5000", "--timeout-ms", "60000"],
    );
    let talk =
        Load::start(&lab, "echo", 80, &["--host", HOST, "--seconds", "600", "--sockets", "1", "--every-ms", "200"]);
    agent.apply_with(&web(NEXT, 1, ", order: stop-first"), &["-d"]).exits(0);
    eventually(secs(60), "the old one leaves the routes", || {
        let replicas = agent.get("/api/v1/replicas?service=web");
        let leaves = |r: &Value| r["spec"]["draining"].is_object();
        if replicas["items"].as_array().is_some_and(|all| all.iter().any(leaves)) {
            Ok(())
        } else {
            Err(replicas.to_string())
        }
    });
    let began = Instant::now();
    eventually(secs(60), "the new one is ready", || {
        let replicas = agent.get("/api/v1/replicas?service=web");
        let new = |r: &Value| r["spec"]["revision"] == 2 && r["status"]["ready"] == true;
        if replicas["items"].as_array().is_some_and(|all| all.iter().any(new)) {
            Ok(())
        } else {
            Err(replicas.to_string())
        }
    });
    let swap = began.elapsed();
    assert_eq!(lab.docker.running("web").len(), 1, "never both");
    agent.wait_until_settled("web", secs(60));
    for (what, seen) in [("slow answers", slow.end()), ("WebSockets", talk.end())] {
        println!("{what}: {}", seen.0);
        assert_eq!(seen.failed(), 0, "{what}: {seen:?}");
    }
    let seen = load.end();
    println!("swap: {:.1} s, {}", swap.as_secs_f64(), seen.0);
    assert_eq!(seen.failed(), 0, "{seen:?}");
    assert!(seen.of_version("1") > 0 && seen.of_version("2") > 0, "{seen:?}");
    assert!(seen.latency("p99") <= swap + secs(5), "{seen:?}");
}

#[test]
fn a_server_learns_who_the_client_is_and_nobody_can_claim_to_be_another() {
    let lab = Lab::take();
    let _agent = served(&lab, 1, "");
    let (host, url) = (format!("Host: {HOST}"), format!("http://{OUTSIDE}/head"));
    let lies = ["X-Forwarded-For: 192.0.2.1", "X-Real-Ip: 192.0.2.1"];
    let args = ["-sS", "-f", "-m", "5", "-H", &host, "-H", lies[0], "-H", lies[1], &url];
    let out = lab.beside("curl").args(args).output().unwrap();
    let head = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(head.contains(r#""x-forwarded-for": "198.18.0.2""#) && !head.contains("192.0.2.1"), "{head}");
    assert!(head.contains(r#""x-real-ip": "198.18.0.2""#), "{head}");
}
