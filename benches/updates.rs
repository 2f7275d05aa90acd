//! What an update costs those who are served, and how long it takes; beside what people do without us.
//!
//! - Twenty rolling updates of three replicas under load, through the real Traefik and the public port; then the
//!   same load while a script recreates the containers of a Traefik that reads labels from the engine.
//! - Updates of a single replica that stops first, under load: how long it is away, and how long who comes meanwhile waits.
//! - From the probe that decides to the change in Traefik's own table.
//! - An update of three replicas that do not wait for health, beside stop, create and start by raw calls one after
//!   the other, and beside an update of a Swarm service.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, unused_imports)]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant, SystemTime},
};

use serde_json::Value;

use crate::{
    agent::{Agent, service},
    docker::Docker,
    lab::Lab,
    traffic::{Clients, HOST, NEXT, SERVER, Seen},
    wait::{eventually, secs},
};

#[path = "../tests/e2e/agent.rs"]
mod agent;
#[path = "../tests/e2e/docker.rs"]
mod docker;
#[path = "../tests/e2e/http.rs"]
mod http;
#[path = "../tests/e2e/lab.rs"]
mod lab;
#[path = "../tests/e2e/traffic.rs"]
mod traffic;
#[path = "../tests/e2e/wait.rs"]
mod wait;

const TRAEFIK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/traefik.yaml");
const TRAEFIK_IMAGE: &str = "traefik:v3.7.15";
const UPDATES: usize = 20;
const REPLICAS: usize = 3;
/// Changes of health that are measured, each way.
const CHANGES: usize = 40;
const PAIRS: usize = 5;
/// Updates of a single replica.
const SWAPS: usize = 5;

fn main() {
    let lab = Lab::take();
    traffic::images(&lab);
    let only = std::env::args().find(|a| ["load", "swap", "health", "time"].contains(&a.as_str()));
    let wanted = |part: &str| only.as_deref().is_none_or(|only| only == part);
    if wanted("time") {
        time(&lab);
    }
    if wanted("health") {
        health(&lab);
    }
    if wanted("swap") {
        swap(&lab);
    }
    if wanted("load") {
        load(&lab);
    }
}

// -- under load

fn web(image: &str) -> String {
    service(
        "web",
        &format!(
            "image: {image}\nreplicas: {REPLICAS}\nroutes: [{{host: {HOST}, port: 80}}]\n\
             readiness: {{http: {{path: /ready, port: 80}}, interval: 200ms, failureThreshold: 1}}\n\
             update: {{minHealthyTime: 300ms, drainTimeout: 10s}}\n"
        ),
    )
}

fn served(lab: &Lab) -> Agent<'_> {
    let agent = Agent::start(lab);
    agent.apply(&fs::read_to_string(TRAEFIK).unwrap());
    agent.apply(&web(SERVER));
    answers(lab, 80);
    agent
}

fn answers(lab: &Lab, port: u16) {
    eventually(secs(20), "it is served", || {
        let seen = traffic::Load::start(lab, "load", port, &["--host", HOST, "--rate", "5", "--seconds", "1"]).seen();
        if seen.failed() == 0 { Ok(()) } else { Err(format!("{seen:?}")) }
    });
}

fn load(lab: &Lab) {
    let mut table = Vec::new();
    {
        let agent = served(lab);
        let (clients, began) = (Clients::start(lab, 80), Instant::now());
        for update in 0..UPDATES {
            agent.apply(&web(image_of(update)));
        }
        table.push(("constellation", began.elapsed(), clients.end()));
    }
    lab.docker.clear();
    let socket = format!("{}:/engine.sock", lab.docker.socket().display());
    let flags = "--entryPoints.web.address=:8081 --providers.docker.endpoint=unix:///engine.sock";
    let host = ["run", "-d", "--network", "host", "-v", &socket, TRAEFIK_IMAGE];
    lab.docker.run(&host.into_iter().chain(flags.split(' ')).collect::<Vec<_>>());
    (0..REPLICAS).for_each(|slot| recreate(&lab.docker, slot, SERVER));
    answers(lab, 8081);
    let (clients, began) = (Clients::start(lab, 8081), Instant::now());
    for update in 0..UPDATES {
        (0..REPLICAS).for_each(|slot| recreate(&lab.docker, slot, image_of(update)));
    }
    table.push(("docker rm, run one by one", began.elapsed(), clients.end()));
    lab.docker.clear();

    println!("\n{UPDATES} updates of {REPLICAS} replicas    | kind of clients  | answered | failed | p99 ms | max ms");
    for (how, took, seen) in &table {
        for (kind, seen) in seen {
            let (p99, max) = (seen.latency("p99").as_millis(), seen.latency("max").as_millis());
            println!("{how:<27} | {kind:<16} | {:>8} | {:>6} | {p99:>6} | {max:>6}", seen.answered(), seen.failed());
        }
        println!("{how:<27} | {:.1} s an update", took.as_secs_f64() / UPDATES as f64);
    }
    let failed = |seen: &[(&str, Seen)]| seen.iter().map(|(_, seen)| seen.failed()).sum::<u64>();
    println!("failed: {} beside {}", failed(&table[0].2), failed(&table[1].2));
}

fn image_of(update: usize) -> &'static str {
    if update.is_multiple_of(2) { NEXT } else { SERVER }
}

/// As a careful person's script does it: the others serve meanwhile.
fn recreate(docker: &Docker, slot: usize, image: &str) {
    let name = format!("web-{slot}");
    let _none_at_first = docker.attempt(&["stop", &name]).and_then(|_| docker.attempt(&["rm", &name]));
    let rule = format!("traefik.http.routers.web.rule=Host(`{HOST}`)");
    let port = "traefik.http.services.web.loadbalancer.server.port=80";
    docker.run(&["run", "-d", "--name", &name, "-l", &rule, "-l", port, image]);
}

// -- one replica

fn swap(lab: &Lab) {
    let agent = Agent::start(lab);
    let web = |image: &str| {
        let update = "{order: stop-first, minHealthyTime: 300ms, drainTimeout: 10s}";
        let ready = "{http: {path: /ready, port: 80}, interval: 200ms}";
        let routes = format!("[{{host: {HOST}, port: 80}}]");
        service("web", &format!("image: {image}\nroutes: {routes}\nreadiness: {ready}\nupdate: {update}\n"))
    };
    agent.apply(&fs::read_to_string(TRAEFIK).unwrap());
    agent.apply(&web(SERVER));
    answers(lab, 80);
    for update in 0..SWAPS {
        let load = |more: &[&str]| traffic::Load::start(lab, "load", 80, &[&["--host", HOST], more].concat());
        let many = load(&["--seconds", "600", "--rate", "50"]);
        let slow = load(&["--seconds", "1", "--rate", "2", "--path", "/slow?ms=5000", "--timeout-ms", "60000"]);
        let own = |what: &str, is: &dyn Fn(&Value) -> bool| {
            eventually(secs(60), what, || {
                let replicas = agent.get("/api/v1/replicas?service=web");
                let seen = replicas["items"].as_array().is_some_and(|all| all.iter().any(is));
                if seen { Ok(Instant::now()) } else { Err(replicas.to_string()) }
            })
        };
        let revision = update + 2;
        agent.apply_with(&web(image_of(update)), &["-d"]).exits(0);
        let leaves = own("the old one leaves the routes", &|r| {
            r["spec"]["revision"] == revision - 1 && r["spec"]["draining"].is_object()
        });
        let comes = own("the new one is ready", &|r| r["spec"]["revision"] == revision && r["status"]["ready"] == true);
        agent.wait_until_settled("web", secs(60));
        let (many, slow, swap) = (many.end(), slow.end(), comes - leaves);
        println!(
            "one replica: away {:.2} s, of them 5 s for an answer under way; of {} requests {} failed, p99 {:.2} s; slow answers: {} of {} failed",
            swap.as_secs_f64(),
            many.answered() + many.failed(),
            many.failed(),
            many.latency("p99").as_secs_f64(),
            slow.failed(),
            slow.answered() + slow.failed(),
        );
    }
    drop(agent);
    lab.docker.clear();
}

// -- health

/// The body of a page of a port on the lab's loopback; the bench runs in the lab's namespace.
fn page(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(secs(5))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: local\r\nConnection: close\r\n\r\n").unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).unwrap();
    String::from_utf8_lossy(&said).into_owned()
}

fn health(lab: &Lab) {
    let agent = served(lab);
    let id = lab.docker.runs("web", REPLICAS).unwrap()[0].id.clone();
    let address = lab.docker.address(&id);
    let server = format!("http://{address}:80");
    let (mut leaves, mut comes) = (Vec::new(), Vec::new());
    for _ in 0..CHANGES {
        for (path, listed, took) in [("/sick", false, &mut leaves), ("/well", true, &mut comes)] {
            page(&format!("{address}:80"), path);
            let limit = Instant::now() + secs(10);
            while page("127.0.0.1:18081", "/api/http/services").contains(&server) != listed {
                assert!(Instant::now() < limit, "{path} was not heard");
                std::thread::park_timeout(Duration::from_millis(2));
            }
            let now = SystemTime::now();
            // When the server gave the answer that decided: the newest line of its log.
            let line = lab.docker.run(&["logs", "-t", "--tail", "1", &id]);
            let (time, line) = line.split_once(' ').unwrap();
            assert_eq!(line, format!("says ready: {listed}"));
            let decided: SystemTime = time.parse::<jiff::Timestamp>().unwrap().into();
            took.push(now.duration_since(decided).unwrap());
        }
    }
    for (what, mut took) in [("unhealthy", leaves), ("ready again", comes)] {
        took.sort_unstable();
        let at = |share: usize| took[(took.len() * share).div_ceil(100) - 1].as_millis();
        println!(
            "from the deciding probe to Traefik's table, {what}: p50 {} ms, p95 {} ms, max {} ms of {}",
            at(50),
            at(95),
            at(100),
            took.len()
        );
    }
    drop(agent);
    lab.docker.clear();
}

// -- time

fn median(all: &mut [Duration]) -> f64 {
    all.sort_unstable();
    all[all.len() / 2].as_secs_f64()
}

fn time(lab: &Lab) {
    let agent = Agent::start(lab);
    // Another image each time, so that the look whether the node has it counts as it does in an update of a release.
    let plain = |order: &str, round: usize| {
        let update = format!("update: {{order: {order}, minHealthyTime: 0s}}");
        service("web", &format!("image: {}\nreplicas: {REPLICAS}\n{update}\n", image_of(round)))
    };
    agent.apply(&plain("stop-first", 1));
    let [mut raw, mut stop_first, mut start_first, mut swarm] = [const { Vec::new() }; 4];
    let swarms = begin_swarm(&lab.docker);
    for pair in 1..=PAIRS {
        raw.push(by_raw_calls(&lab.docker));
        stop_first.push(by_update(&agent, &plain("stop-first", 2 * pair)));
        start_first.push(by_update(&agent, &plain("start-first", 2 * pair + 1)));
        if swarms.is_ok() {
            swarm.push(by_swarm(&lab.docker, pair + 1));
        }
    }
    end_swarm(&lab.docker);
    let raw = median(&mut raw);
    println!(
        "update of {REPLICAS} replicas, medians of {PAIRS}; stop, create, start one by one by raw calls: {raw:.2} s"
    );
    for (name, took) in [("stop-first", &mut stop_first), ("start-first", &mut start_first), ("Swarm", &mut swarm)] {
        if took.is_empty() {
            println!("{name}: not measured: {}", swarms.as_ref().unwrap_err());
        } else {
            let took = median(took);
            println!("{name}: {took:.2} s, ratio {:.2}", took / raw);
        }
    }
}

/// Until the record says that it is done.
fn by_update(agent: &Agent<'_>, manifest: &str) -> Duration {
    let record = || agent.get("/api/v1/services/web/rollout")["rollout"].clone();
    let begun = Instant::now();
    let before = record()["newest"].clone();
    let answer = agent.ask("POST", "/api/v1/apply", "application/yaml", manifest.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let limit = begun + secs(60);
    loop {
        let now = record();
        if now["newest"] != before && now["phase"] == "Complete" {
            return begun.elapsed();
        }
        assert!(Instant::now() < limit, "{now}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn by_raw_calls(docker: &Docker) -> Duration {
    let call = |method: &str, path: &str, body: &str, wanted: u16| {
        let answer = http::ask(docker.socket(), method, path, "application/json", body.as_bytes()).unwrap();
        assert_eq!(answer.status, wanted, "{method} {path}: {}", answer.text());
    };
    docker.run(&["network", "create", "raw"]);
    let body = serde_json::json!({ "Image": SERVER, "HostConfig": { "NetworkMode": "raw" } }).to_string();
    let start = |n: usize| {
        call("POST", &format!("/containers/create?name=raw-{n}"), &body, 201);
        call("POST", &format!("/containers/raw-{n}/start"), "", 204);
    };
    (0..REPLICAS).for_each(start);
    let begun = Instant::now();
    for n in 0..REPLICAS {
        call("POST", &format!("/containers/raw-{n}/stop"), "", 204);
        call("DELETE", &format!("/containers/raw-{n}"), "", 204);
        start(n);
    }
    let took = begun.elapsed();
    (0..REPLICAS).for_each(|n| call("DELETE", &format!("/containers/raw-{n}?force=1"), "", 204));
    docker.run(&["network", "rm", "raw"]);
    took
}

fn begin_swarm(docker: &Docker) -> Result<(), String> {
    docker.attempt(&["swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", "127.0.0.1"])?;
    let replicas = REPLICAS.to_string();
    let create =
        "service create -d --no-resolve-image --name swarmed --update-monitor 1ms --update-delay 0s --replicas";
    let create: Vec<&str> = create.split(' ').chain([replicas.as_str(), SERVER]).collect();
    docker.attempt(&create)?;
    eventually(secs(30), "the Swarm service runs", || {
        let said = docker.attempt(&["service", "ls", "--format", "{{.Replicas}}"])?;
        if said == format!("{REPLICAS}/{REPLICAS}") { Ok(()) } else { Err(said) }
    });
    Ok(())
}

fn by_swarm(docker: &Docker, round: usize) -> Duration {
    let variable = format!("ROUND={round}");
    let begun = Instant::now();
    let update = ["service", "update", "-d", "--no-resolve-image", "--image", image_of(round)];
    docker.run(&[&update[..], &["--env-add", &variable, "swarmed"]].concat());
    let limit = begun + secs(60);
    loop {
        let state = docker.run(&[
            "service",
            "inspect",
            "--format",
            "{{.UpdateStatus.State}} {{.Spec.TaskTemplate.ContainerSpec.Env}}",
            "swarmed",
        ]);
        if state.starts_with("completed") && state.contains(&variable) {
            return begun.elapsed();
        }
        assert!(Instant::now() < limit, "{state}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn end_swarm(docker: &Docker) {
    let _there_may_be_none = docker.attempt(&["service", "rm", "swarmed"]);
    let _there_may_be_none = docker.attempt(&["swarm", "leave", "--force"]);
}
