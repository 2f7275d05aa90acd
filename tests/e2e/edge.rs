//! The real Traefik as a service of the cluster: told by long poll, read back, acknowledged.

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    agent::{Agent, HELLO, service},
    lab::Lab,
    traffic::{self, HOST, Load, SERVER},
    wait::{always, eventually, secs},
};

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/traefik.yaml");

/// An agent whose Traefik serves what it is told.
fn with_traefik(lab: &Lab) -> Agent<'_> {
    let agent = Agent::start(lab);
    agent.apply(&fs::read_to_string(MANIFEST).unwrap());
    eventually(secs(20), "Traefik has what there is", || if polls(&agent) >= 1 { Ok(()) } else { Err(agent.log()) });
    agent
}

/// Answers that were given to Traefik.
fn polls(agent: &Agent<'_>) -> u64 {
    let answer = agent.ask("GET", "/metrics", "text/plain", b"");
    let text = answer.text();
    let count = |line: &str| line.rsplit(' ').next()?.parse::<u64>().ok();
    text.lines()
        .filter(|l| l.starts_with("constellation_api_requests_total{") && l.contains("route=\"/traefik/config\""))
        .filter_map(count)
        .sum()
}

/// The page of a host through Traefik's own entry point.
fn page(lab: &Lab, host: &str) -> Result<String, String> {
    page_of(lab, host, 18080, 5)
}

/// The same through any port, within so many seconds.
fn page_of(lab: &Lab, host: &str, port: u16, limit: u32) -> Result<String, String> {
    let (host, url) = (format!("Host: {host}"), format!("http://127.0.0.1:{port}/"));
    let out = lab.inside("curl").args(["-sS", "-f", "-m", &limit.to_string(), "-H", &host, &url]).output().unwrap();
    if out.status.success() {
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&out.stderr).into_owned())
    }
}

fn routed(name: &str, host: &str, rest: &str) -> String {
    service(name, &format!("{HELLO}expose: [8080]\nroutes: [{{host: {host}, port: 8080}}]\n{rest}"))
}

#[test]
fn a_service_with_a_route_is_served_by_the_clusters_own_traefik() {
    let lab = Lab::take();
    let agent = with_traefik(&lab);
    agent.apply(&routed("hello", "hello.example.com", "replicas: 2\n"));
    let served = eventually(secs(5), "the page comes", || page(&lab, "hello.example.com"));
    assert!(served.contains("from hello-"), "{served}");
    assert!(page(&lab, "other.example.com").is_err(), "nobody asked for that host");
    eventually(secs(5), "the public port is open", || page_of(&lab, "hello.example.com", 80, 5));
    assert!(page_of(&lab, "hello.example.com", 443, 5).is_err(), "no route asks for that port");
    // Applied again, nothing is made anew.
    let before = lab.docker.identities();
    let again = agent.cli(&["apply", "-y", "-f", MANIFEST]).exits(0);
    assert_eq!(again.out.lines().filter(|l| l.contains("unchanged")).count(), 2, "{}", again.out);
    assert_eq!(lab.docker.identities(), before);
    let tokens = agent.cli(&["token", "ls"]).exits(0);
    assert!(tokens.out.contains("edge.traefik") && tokens.out.contains(" edge "), "{}", tokens.out);
}

/// Whether every edge serves a service's routes as they are declared, and why not.
fn programmed(agent: &Agent<'_>, service: &str) -> Result<(), String> {
    let status = agent.get(&format!("/api/v1/services/{service}"))["status"].clone();
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.into_iter().find(|c| c["type"] == "RoutesProgrammed");
    match found {
        Some(condition) if condition["status"] == "True" => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

#[test]
fn what_traefik_serves_is_said_and_what_it_does_not_too() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    agent.apply(&routed("hello", "hello.example.com", ""));
    let alone = programmed(&agent, "hello").unwrap_err();
    assert!(alone.contains("no node has a Traefik"), "{alone}");
    agent.apply(&fs::read_to_string(MANIFEST).unwrap());
    eventually(secs(5), "it is programmed", || programmed(&agent, "hello"));
    page(&lab, "hello.example.com").unwrap();
    let manifest = |path: &str| {
        format!("{HELLO}expose: [8080]\nroutes: [{{host: hello.example.com, port: 8080, path: {path}}}]\n")
    };
    // Told as served only when it is: looked at from the moment on that it is said.
    for n in 0..5 {
        let path = format!("/{n}");
        agent.apply_with(&service("hello", &manifest(&path)), &["-d"]).exits(0);
        eventually(secs(5), "the new path is programmed", || programmed(&agent, "hello"));
        let url = format!("http://127.0.0.1:18080{path}");
        let out = lab.inside("curl").args(["-sS", "-m", "5", "-H", "Host: hello.example.com", &url]).output().unwrap();
        // Its pages are elsewhere: what counts is that it says so, and not Traefik.
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(!said.is_empty() && !said.contains("404 page not found"), "{said}");
        assert!(page(&lab, "hello.example.com").is_err(), "the old path is gone with it");
    }
    // Without Traefik nobody says so any more, and who looks is told what is missing.
    let gone = agent.cli(&["delete", "svc/traefik", "-y"]).exits(0);
    assert!(gone.err.contains("Traefik ends with it"), "{}", gone.err);
    eventually(secs(20), "it is programmed nowhere", || {
        programmed(&agent, "hello").map_or(Ok(()), |()| Err(String::new()))
    });
    // Who comes by the public port waits for one that does not come, and is told; later the port is shut.
    let told = page_of(&lab, "hello.example.com", 80, 40).unwrap_err();
    assert!(told.contains("503"), "{told}");
    eventually(secs(40), "the node says so", || {
        let status = agent.cli(&["status"]).exits(0).out;
        let said = status.contains("no service uses secret/traefik") && status.contains("constellation why node/");
        if said { Ok(()) } else { Err(status) }
    });
    let shut = page_of(&lab, "hello.example.com", 80, 5).unwrap_err();
    assert!(shut.contains("connect to"), "{shut}");
    let services = agent.cli(&["get", "svc"]).exits(0).out;
    assert!(services.contains("Ready, routes: NoEdge"), "{services}");
    let why = agent.cli(&["why", "svc/hello"]).exits(0).out;
    assert!(why.contains("no node has a Traefik that serves routes") && why.contains("secret/traefik"), "{why}");
    let applied = agent.apply(&routed("hello", "hello.example.com", ""));
    assert!(applied.err.contains("no route of it is served"), "{}", applied.err);
}

#[test]
fn routes_are_served_while_the_agent_is_away_and_told_again_when_it_is_back() {
    let lab = Lab::take();
    let mut agent = Agent::prepared(&lab);
    agent.api_address = "127.0.0.1:17443";
    agent.spawn();
    agent.wait_until_ready();
    agent.apply(&fs::read_to_string(MANIFEST).unwrap());
    agent.apply(&routed("hello", "hello.example.com", ""));
    let endpoint = lab.docker.address(&lab.docker.runs("hello", 1).unwrap()[0].id);
    eventually(secs(5), "Traefik has the replica itself, and not where requests wait for it", || {
        let services = lab.get("http://127.0.0.1:18081/api/http/services")?;
        if services.contains(&endpoint) { Ok(()) } else { Err(services) }
    });
    agent.kill();
    always(secs(2), "the page comes without the agent", || page(&lab, "hello.example.com").map(|_| ()));
    agent.spawn();
    agent.wait_until_ready();
    always(secs(3), "the page comes all the time", || page(&lab, "hello.example.com").map(|_| ()));
    agent.apply(&routed("late", "late.example.com", ""));
    eventually(secs(10), "what is new is programmed", || programmed(&agent, "late"));
    page(&lab, "late.example.com").unwrap();
    page(&lab, "hello.example.com").unwrap();
}

#[test]
fn nothing_is_asked_while_nothing_changes() {
    let lab = Lab::take();
    let agent = with_traefik(&lab);
    agent.apply(&routed("hello", "hello.example.com", ""));
    eventually(secs(5), "the page comes", || page(&lab, "hello.example.com"));
    let seen = || (polls(&agent), agent.get("/api/v1/status")["index"].clone());
    let mut before = seen();
    // A rollout is done when its last replica was ready for ten seconds.
    eventually(secs(50), "all is at rest for longer than a rollout", || {
        std::thread::park_timeout(secs(11));
        let (now, then) = (seen(), before.clone());
        before = now.clone();
        if now.1 == then.1 { Ok(()) } else { Err(format!("{then:?} {now:?}")) }
    });
    let begun = Instant::now();
    always(secs(5), "nobody asks", || {
        let now = seen();
        // An answer that is held comes after 20 s.
        if now.1 == before.1 && now.0 <= before.0 + 1 { Ok(()) } else { Err(format!("{before:?} {now:?}")) }
    });
    assert!(begun.elapsed() >= secs(5));
}

#[test]
fn a_replica_that_is_ready_is_served_soon_and_one_that_is_gone_is_not() {
    let lab = Lab::take();
    let agent = with_traefik(&lab);
    agent.apply(&routed("hello", "hello.example.com", ""));
    eventually(secs(5), "the page comes", || page(&lab, "hello.example.com"));
    let mut took = Vec::new();
    for _ in 0..5 {
        agent.cli(&["scale", "svc/hello=0"]).exits(0);
        eventually(secs(10), "nobody answers", || page(&lab, "hello.example.com").map_or(Ok(()), Err));
        agent.cli(&["scale", "svc/hello=1", "-d"]).exits(0);
        let ready = || -> Result<Instant, String> {
            let counts = agent.get("/api/v1/services/hello")["status"]["replicas"].clone();
            let replicas = agent.get("/api/v1/replicas?service=hello");
            let ready = |r: &Value| r["status"]["ready"] == true;
            let any = replicas["items"].as_array().is_some_and(|all| all.iter().any(ready));
            if any { Ok(Instant::now()) } else { Err(counts.to_string()) }
        };
        let ready = eventually(secs(20), "a replica is ready", ready);
        eventually(secs(5), "the page comes", || page(&lab, "hello.example.com"));
        took.push(ready.elapsed());
    }
    took.sort_unstable();
    println!("from ready to served: {took:?}");
    assert!(took[2] < Duration::from_millis(1_000), "{took:?}");
}

#[test]
fn a_hostile_label_or_name_freezes_nobody() {
    let lab = Lab::take();
    let agent = with_traefik(&lab);
    agent.apply(&routed("hello", "hello.example.com", ""));
    eventually(secs(5), "the page comes", || page(&lab, "hello.example.com"));
    let label = "labels: {\"traefik.http.routers.x.rule\": \"Host(`hello.example.com`) || (\", \"x`y\": \"`)\"}\n";
    agent.apply(&routed("evil", "evil.example.com", label));
    eventually(secs(5), "the other page comes", || page(&lab, "evil.example.com"));
    for host in ["a`) || Host(`b", "a b", "\u{1b}[2J", "${jndi:x}", "*"] {
        let manifest = routed("worse", &serde_json::to_string(host).unwrap(), "");
        let said = agent.apply_with(&manifest, &["-d"]);
        assert!(matches!(said.code, 0 | 2), "{host:?}: {said:?}");
    }
    agent.apply(&routed("late", "late.example.com", ""));
    eventually(secs(5), "what comes after it is served", || page(&lab, "late.example.com"));
    page(&lab, "hello.example.com").unwrap();
}

/// Asks for a page again and again until `done`; how often, and each failure.
fn ask_until(lab: &Lab, host: &str, done: &AtomicBool) -> (usize, Vec<String>) {
    let (mut asked, mut failed) = (0, Vec::new());
    while !done.load(Ordering::Relaxed) {
        asked += 1;
        failed.extend(page_of(lab, host, 18080, 30).err());
    }
    (asked, failed)
}

#[test]
fn an_update_fails_no_request_with_several_replicas_and_with_one_that_stops_first() {
    let lab = Lab::take();
    let agent = with_traefik(&lab);
    for (replicas, order) in [(2, "start-first"), (1, "stop-first")] {
        let spec = |greeting: &str| {
            let rest = format!(
                "replicas: {replicas}\nenvironment: {{GREETING: {greeting}}}\nupdate: {{order: {order}, minHealthyTime: 0s}}\n"
            );
            let fields: String =
                HELLO.lines().filter(|l| !l.starts_with("update:")).map(|l| format!("{l}\n")).collect();
            service(
                "hello",
                &format!("{fields}expose: [8080]\nroutes: [{{host: hello.example.com, port: 8080}}]\n{rest}"),
            )
        };
        agent.apply(&spec("one"));
        eventually(secs(5), "it is programmed", || programmed(&agent, "hello"));
        eventually(secs(5), "the page comes", || page(&lab, "hello.example.com"));
        let done = AtomicBool::new(false);
        let begun = Instant::now();
        let told = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..3).map(|_| scope.spawn(|| ask_until(&lab, "hello.example.com", &done))).collect();
            agent.apply(&spec("two"));
            done.store(true, Ordering::Relaxed);
            asking.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        let asked: usize = told.iter().map(|(asked, _)| asked).sum();
        let failed: Vec<&String> = told.iter().flat_map(|(_, failed)| failed).collect();
        println!("{order}: {asked} requests, {} failed, the update took {:?}", failed.len(), begun.elapsed());
        assert!(failed.is_empty(), "{order}: {} of {asked}: {failed:?}", failed.len());
        assert!(page(&lab, "hello.example.com").unwrap().starts_with("two"));
    }
}

#[test]
fn what_loses_its_lock_is_shut_and_not_served_by_a_wider_route() {
    let lab = Lab::take();
    let agent = with_traefik(&lab);
    let office = "apiVersion: constellation.dev/v1\nkind: Middleware\nmetadata: {name: office}\n\
                  spec: {ipAllowList: {sourceRange: [192.0.2.0/24]}}\n";
    agent.apply(office);
    let routes = "routes: [{host: a.example.com, port: 8080}, \
                  {host: a.example.com, path: /admin, port: 8080, middlewares: [office]}]\n";
    agent.apply(&service("hello", &format!("{HELLO}expose: [8080]\n{routes}")));
    let status = |path: &str| {
        let url = format!("http://127.0.0.1:18080{path}");
        let args = ["-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Host: a.example.com", &url];
        String::from_utf8(lab.inside("curl").args(args).output().unwrap().stdout).unwrap()
    };
    let is = |path: &str, code: &str| {
        let found = status(path);
        if found == code { Ok(()) } else { Err(found) }
    };
    eventually(secs(20), "it is served", || is("/", "200"));
    assert_eq!(status("/admin"), "403");
    agent.cli(&["delete", "mw/office", "-y"]).exits(0);
    eventually(secs(5), "nobody gets in", || match status("/admin").as_str() {
        "200" => panic!("it is open"),
        code => {
            if code == "503" {
                Ok(())
            } else {
                Err(code.to_owned())
            }
        }
    });
    assert_eq!(status("/"), "200", "the rest is served");
    agent.apply(office);
    eventually(secs(5), "its lock is back", || is("/admin", "403"));
}

/// The containers of the cluster's Traefik that run.
fn traefiks(lab: &Lab) -> Vec<String> {
    lab.docker.running("traefik").into_iter().map(|seen| seen.id).collect()
}

#[test]
fn a_restart_of_traefik_itself_fails_no_new_connection_and_answers_no_404() {
    let lab = Lab::take();
    traffic::images(&lab);
    let agent = with_traefik(&lab);
    let web = format!(
        "image: {SERVER}\nreplicas: 2\nroutes: [{{host: {HOST}, port: 80}}]\n\
         readiness: {{http: {{path: /ready, port: 80}}, interval: 200ms}}\nupdate: {{minHealthyTime: 300ms}}\n"
    );
    agent.apply(&service("web", &web));
    eventually(secs(20), "it is served at port 80", || page_of(&lab, HOST, 80, 5));
    let start =
        |kind, args: &[&str]| Load::start(&lab, kind, 80, &[&["--host", HOST, "--seconds", "600"], args].concat());
    let patient = ["--rate", "40", "--timeout-ms", "60000"];
    let fresh = start("load", &[&patient[..], &["--fresh"]].concat());
    let kept = start("load", &patient);
    // One that stays open as long as Traefik lets it, which then takes so long to end.
    let socket = start("echo", &["--sockets", "1", "--every-ms", "200"]);
    let before = traefiks(&lab);
    always(secs(1), "all is well before", || page_of(&lab, HOST, 80, 5).map(|_| ()));
    let began = Instant::now();
    agent.cli(&["rollout", "restart", "traefik"]).exits(0);
    println!("the restart of Traefik took {:.1} s", began.elapsed().as_secs_f64());
    eventually(secs(30), "the new one serves", || programmed(&agent, "web"));
    let after = traefiks(&lab);
    assert!(after.len() == 1 && after != before, "{before:?} {after:?}");
    let (fresh, kept, socket) = (fresh.end(), kept.end(), socket.end());
    println!("new connections: {}\nkept connections: {}\nWebSocket: {}", fresh.0, kept.0, socket.0);
    assert_eq!(fresh.failed(), 0, "{fresh:?}");
    assert!(fresh.answered() > 100 && socket.answered() > 0, "{fresh:?} {socket:?}");
    // What was under way on them when Traefik went may be cut; none is answered by a Traefik without routes.
    assert_eq!(kept.failures("status") + socket.failures("status"), 0, "{kept:?} {socket:?}");
    assert_eq!(kept.failed(), kept.failures("reset"), "{kept:?}");
}
