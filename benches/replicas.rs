//! Thirty replicas: from `apply` to all running, beside as many raw create and start calls on the same
//! engine; then what the agent costs while it watches and probes fifty that run.
//!
//! Five pairs, one after the other in turns; medians. Raw calls run in parallel, join a network like ours
//! and use the same image: what is left is the engine's own time, the floor.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

use std::{
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    agent::{Agent, service},
    docker::Docker,
    lab::Lab,
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
#[path = "../tests/e2e/wait.rs"]
mod wait;

const REPLICAS: usize = 30;
const PAIRS: usize = 5;
const IMAGE: &str = "constellation-test/busybox:1";
/// Idle is measured over this long, with so many containers, each probed every five seconds.
const IDLE: Duration = Duration::from_secs(120);
const WATCHED: usize = 50;

fn main() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let (mut ours, mut raw) = (Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        // Who goes first changes: neither gets the warm caches always.
        if pair % 2 == 0 {
            raw.push(by_raw_calls(&lab.docker));
            ours.push(by_apply(&agent));
        } else {
            ours.push(by_apply(&agent));
            raw.push(by_raw_calls(&lab.docker));
        }
        let last = |of: &[Duration]| of.last().map_or(0.0, Duration::as_secs_f64);
        println!("pair {}: apply {:.2} s, raw calls {:.2} s", pair + 1, last(&ours), last(&raw));
    }
    let (ours, raw) = (median(ours), median(raw));
    println!("{REPLICAS} replicas, apply to all running, median of {PAIRS}: {ours:.2} s");
    println!("{REPLICAS} parallel create + start by API:               {raw:.2} s");
    println!("ratio: {:.2}", ours / raw);

    idle(&agent);
}

fn median(mut all: Vec<Duration>) -> f64 {
    all.sort();
    all[all.len() / 2].as_secs_f64()
}

fn manifest(replicas: usize) -> String {
    service("many", &format!("image: {IMAGE}\ncommand: [sleep, '100000']\nreplicas: {replicas}\nstopGracePeriod: 0s\n"))
}

fn post(agent: &Agent<'_>, manifest: &str) {
    let answer = agent.ask("POST", "/api/v1/apply", "application/yaml", manifest.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn by_apply_and_stay(agent: &Agent<'_>) -> Duration {
    let begun = Instant::now();
    post(agent, &manifest(REPLICAS));
    eventually(secs(120), "all run", || agent.lab.docker.runs("many", REPLICAS));
    begun.elapsed()
}

fn by_apply(agent: &Agent<'_>) -> Duration {
    let took = by_apply_and_stay(agent);
    agent.cli(&["delete", "svc/many", "-y"]).exits(0);
    eventually(secs(120), "all are gone", || {
        let left = agent.lab.docker.managed(Some("many"));
        if left.is_empty() { Ok(()) } else { Err(format!("{} left", left.len())) }
    });
    took
}

fn by_raw_calls(docker: &Docker) -> Duration {
    docker.run(&["network", "create", "raw"]);
    let call = |method: &str, path: &str, body: &str, wanted: &[u16]| {
        let answer = http::ask(docker.socket(), method, path, "application/json", body.as_bytes()).unwrap();
        assert!(wanted.contains(&answer.status), "{method} {path}: {}", answer.text());
    };
    let body =
        serde_json::json!({ "Image": IMAGE, "Cmd": ["sleep", "100000"], "HostConfig": { "NetworkMode": "raw" } });
    let body = body.to_string();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for n in 0..REPLICAS {
            let (call, body) = (&call, &body);
            scope.spawn(move || {
                call("POST", &format!("/containers/create?name=raw-{n}"), body, &[201]);
                call("POST", &format!("/containers/raw-{n}/start"), "", &[204]);
            });
        }
    });
    let took = begun.elapsed();
    std::thread::scope(|scope| {
        for n in 0..REPLICAS {
            let call = &call;
            scope.spawn(move || call("DELETE", &format!("/containers/raw-{n}?force=1"), "", &[204]));
        }
    });
    docker.run(&["network", "rm", "raw"]);
    took
}

/// Memory and CPU of the agent while nothing happens but its probes.
fn idle(agent: &Agent<'_>) {
    let probe = "readiness: {tcp: {port: 8080}, interval: 5s}";
    let page = format!("image: constellation/hello:1\n{probe}\nreplicas: {WATCHED}\nstopGracePeriod: 0s\n");
    post(agent, &service("watched", &page));
    eventually(secs(180), "all run", || agent.lab.docker.runs("watched", WATCHED));
    agent.wait_until_settled("watched", secs(60));
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", agent.pid())).unwrap();
        let fields: Vec<u64> =
            stat.rsplit(") ").next().unwrap().split(' ').map(|f| f.parse().unwrap_or_default()).collect();
        fields[11] + fields[12] // utime and stime, 100 a second
    };
    let before = ticks();
    std::thread::park_timeout(IDLE);
    #[allow(clippy::cast_precision_loss)] // small numbers
    let cpu = (ticks() - before) as f64 / IDLE.as_secs_f64();
    let status = std::fs::read_to_string(Path::new("/proc").join(agent.pid().to_string()).join("status")).unwrap();
    let rss = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or("?").trim().to_owned();
    let time = IDLE.as_secs();
    println!(
        "idle with {WATCHED} containers and a TCP probe of each every 5 s, over {time} s: RSS {rss}, CPU {cpu:.2} % of a core"
    );
}
