//! The engine as a whole: frozen, slow, stopped, and started again with its containers alive or not.
//!
//! Not here: single calls that go wrong (`faults`), an engine that ends and starts at once (`restarts`).

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    agent::{Agent, HELLO, service},
    http,
    lab::{Lab, long},
    proxy::{Fault, Proxy, What},
    wait::{always, eventually, secs},
};

const SERVICES: usize = 10;
/// What whoever asks an agent may count on, whatever its engine does.
const ANSWERS: Duration = Duration::from_millis(250);
/// Of a thousand answers one may wait for its turn: this is a build for tests, on few processors that ten services, their
/// engine and other tests' builds share. An answer that waited for the engine would take its deadline, many seconds.
const LONGEST: Duration = Duration::from_secs(1);

fn names() -> impl Iterator<Item = String> {
    (1..=SERVICES).map(|n| format!("s{n}"))
}

/// Status and reason of a condition of the node.
fn condition(agent: &Agent<'_>, kind: &str) -> (String, String) {
    let node = agent.get("/api/v1/nodes/n1");
    let found = node["status"]["conditions"].as_array().into_iter().flatten().find(|c| c["type"] == kind).cloned();
    let text = |field: &str| found.as_ref().and_then(|c| c[field].as_str()).unwrap_or_default().to_owned();
    (text("status"), text("reason"))
}

fn until_node(agent: &Agent<'_>, kind: &str, status: &str, reason: &str, limit: Duration) {
    eventually(limit, &format!("the node has {kind}={status}, {reason}"), || match condition(agent, kind) {
        (s, r) if s == status && r == reason => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

/// Asks the API again and again until told to stop; how long each answer took.
fn ask_until(stop: Arc<AtomicBool>, socket: PathBuf) -> std::thread::JoinHandle<Vec<Duration>> {
    std::thread::spawn(move || {
        let mut took = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            for path in ["/api/v1/status", "/health"] {
                let begun = Instant::now();
                let answer = http::ask(&socket, "GET", path, "application/json", b"").unwrap();
                assert_eq!(answer.status, 200, "{path}: {}", answer.text());
                took.push(begun.elapsed());
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        took
    })
}

#[test]
fn a_frozen_engine_is_told_and_the_api_answers_and_nothing_is_touched() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let manifest: String = names().map(|name| service(&name, HELLO)).collect();
    agent.apply(&manifest);
    names().for_each(|name| agent.wait_until_settled(&name, secs(30)));
    let stood = lab.docker.identities();
    assert_eq!(stood.len(), SERVICES);

    let (frozen, span) = (Instant::now(), secs(if long() { 60 } else { 20 }));
    let thaw = lab.freeze_engine();
    let stop = Arc::new(AtomicBool::new(false));
    let asking = ask_until(stop.clone(), agent.socket());
    until_node(&agent, "DockerReachable", "False", "DockerUnresponsive", secs(40));
    let told = frozen.elapsed();
    until_node(&agent, "Ready", "False", "DockerUnresponsive", secs(5));
    // Its probe goes to the container itself and still answers; who asks is told of the node all the same.
    let why = agent.cli(&["why", "svc/s1"]).exits(0).out;
    assert!(why.contains("nodes/n1") && why.contains("DockerUnresponsive"), "{why}");
    std::thread::park_timeout(span.saturating_sub(frozen.elapsed()));
    let (lasted, thawed) = (frozen.elapsed(), Instant::now());
    drop(thaw);
    until_node(&agent, "Ready", "True", "NodeReady", secs(30));
    names().for_each(|name| agent.wait_until_settled(&name, secs(30).saturating_sub(thawed.elapsed())));
    let ready = thawed.elapsed();
    stop.store(true, Ordering::Relaxed);
    let mut took = asking.join().unwrap();
    took.sort();
    let p99 = took[took.len() * 99 / 100];
    eprintln!(
        "frozen for {lasted:.1?}, told after {told:.1?}, all ready {ready:.1?} after it went on; {} answers of the API, \
         median {:.1?}, p99 {p99:.1?}, longest {:.1?}",
        took.len(),
        took[took.len() / 2],
        took[took.len() - 1]
    );
    assert!(p99 <= ANSWERS && took[took.len() - 1] <= LONGEST, "p99 {p99:?}, longest {:?}", took[took.len() - 1]);
    assert_eq!(lab.docker.identities(), stood, "nothing was restarted");
    always(secs(3), "and nothing is", || match lab.docker.identities() {
        now if now == stood => Ok(()),
        now => Err(format!("{now:?}")),
    });
    let events = agent.cli(&["events"]).exits(0).out;
    for reason in ["StoppedByHand", "DriftDetected", "Killing", "MinimumReplicasUnavailable"] {
        assert!(!events.contains(reason), "{reason}: {events}");
    }
}

#[test]
fn containers_that_outlive_their_engine_are_taken_over_and_those_that_end_with_it_are_started_again() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    agent.apply(&service("hello", &format!("{HELLO}replicas: 2\n")));
    agent.wait_until_settled("hello", secs(20));
    let stood = lab.docker.identities();
    for live in [true, false] {
        let _as_it_was = lab.live_engine(live);
        lab.engine("stop");
        until_node(&agent, "DockerReachable", "False", "DockerDown", secs(20));
        let why = agent.cli(&["why", "svc/hello"]).exits(0).out;
        assert!(why.contains("DockerDown"), "{why}");
        lab.engine("start");
        until_node(&agent, "Ready", "True", "NodeReady", secs(30));
        eventually(secs(30), "two run", || lab.docker.runs("hello", 2));
        agent.wait_until_settled("hello", secs(30));
        let now = lab.docker.identities();
        assert_eq!(now == stood, live, "live-restore {live}: {now:?} before {stood:?}");
        assert_eq!(now.len(), 2, "{now:?}");
    }
    let events = agent.cli(&["events"]).exits(0).out;
    assert!(!events.contains("StoppedByHand"), "{events}");
}

#[test]
fn a_slow_engine_is_waited_for_and_not_taken_for_a_silent_one() {
    let lab = Lab::take();
    let mut agent = Agent::prepared(&lab);
    let proxy = Proxy::before(lab.docker.socket(), agent.path("engine.sock"));
    agent.docker_host = Some(proxy.host());
    for method in ["GET", "POST", "DELETE"] {
        proxy.plan(Fault::always(method, "/*", What::Delay(Duration::from_millis(1_500))));
    }
    agent.spawn();
    agent.wait_until_ready();
    agent.apply_with(&service("hello", &format!("{HELLO}replicas: 2\n")), &["-d"]).exits(0);
    agent.wait_until_settled("hello", secs(60));
    let stood = lab.docker.identities();
    assert_eq!(stood.len(), 2);
    always(secs(5), "it stays so", || match condition(&agent, "Ready") {
        (status, _) if status == "True" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(lab.docker.identities(), stood);
    let events = agent.cli(&["events"]).exits(0).out;
    assert!(!events.contains("DockerUnresponsive") && !events.contains("DockerDown"), "{events}");
}

#[test]
fn events_that_fall_silent_are_made_up_for_and_a_log_that_does_so_ends() {
    let lab = Lab::take();
    let mut agent = Agent::prepared(&lab);
    let proxy = Proxy::before(lab.docker.socket(), agent.path("engine.sock"));
    agent.docker_host = Some(proxy.host());
    proxy.plan(Fault::always("GET", "/events", What::Silence(4_096)));
    agent.spawn();
    agent.wait_until_ready();
    agent.apply(&service("hello", HELLO));
    let id = lab.docker.runs("hello", 1).unwrap()[0].id.clone();
    assert!(proxy.hits() > 0, "no event comes");
    lab.docker.run(&["rm", "-f", &id]);
    eventually(secs(45), "the next list shows that it is gone", || lab.docker.runs("hello", 1));
    agent.wait_until_settled("hello", secs(20));
    // A log that is read to its end has a deadline for its silence.
    proxy.plan(Fault::always("GET", "/containers/*/logs", What::Silence(4_096)));
    let begun = Instant::now();
    let said = agent.cli(&["logs", "hello"]);
    assert!(begun.elapsed() < secs(60), "it ended after {:?}", begun.elapsed());
    assert!(proxy.hits() > 0, "{} {}", said.out, said.err);
}
