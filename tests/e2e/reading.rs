//! What people read: tables, documents, logs, events.

use std::io::{BufRead, BufReader};

use crate::{
    agent::{Agent, HELLO, service},
    lab::{Lab, without_ours},
    wait::{eventually, secs},
};

#[test]
fn a_running_service_can_be_read_in_every_form() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    agent.apply(&service("hello", &format!("{HELLO}replicas: 2\nenvironment: {{A: b}}\n")));
    let table = agent.cli(&["get", "svc"]).exits(0).out;
    assert!(table.contains("NAME") && table.contains("hello") && table.contains("2/2"), "{table}");
    let wide = agent.cli(&["get", "nodes", "-o", "wide"]).exits(0).out;
    assert!(wide.contains("n1") && wide.contains("Ready"), "{wide}");
    assert_eq!(agent.cli(&["get", "svc", "-o", "name"]).exits(0).out.trim(), "svc/hello");
    let json: serde_json::Value =
        serde_json::from_str(&agent.cli(&["get", "svc", "hello", "-o", "json"]).exits(0).out).unwrap();
    assert_eq!(json["spec"]["environment"]["A"], "b");
    assert_eq!(json["status"]["conditions"][0]["type"], "Ready");
    // What is printed as YAML can be applied again and changes nothing.
    let yaml = agent.cli(&["get", "svc", "hello", "-o", "yaml"]).exits(0).out;
    let again = agent.apply(&yaml);
    assert!(again.out.contains("unchanged"), "{}\n{yaml}", again.out);

    let ps = agent.cli(&["ps"]).exits(0).out;
    assert!(ps.contains("hello.1") && ps.contains("hello.2") && ps.contains("Running"), "{ps}");
    let described = agent.cli(&["describe", "svc/hello"]).exits(0).out;
    assert!(described.contains("hello") && described.contains("Scheduled"), "{described}");
    agent.cli(&["why", "svc/hello"]).exits(0);
    let selected = |labels: &str| agent.cli(&["get", "svc", "-l", labels, "-o", "name"]).exits(0).out;
    assert_eq!(selected("app=none"), "", "no label, no service");
    assert_eq!(selected("!app"), "svc/hello\n");
    agent.cli(&["describe", "svc/none"]).exits(5);
    agent.cli(&["get", "nonsense"]).exits(2);
    assert!(agent.cli(&["version"]).exits(0).out.contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn logs_are_read_and_followed_by_replica() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let spec = "image: constellation-test/busybox:1
replicas: 2
command: [sh, -c, 'trap exit TERM; echo begin; echo oops >&2; n=0; while :; do n=$((n+1)); echo tick $n; sleep 1; done']
readiness: {exec: ['true'], interval: 300ms}
stopGracePeriod: 1s
";
    agent.apply(&service("talk", spec));
    let said = agent.cli(&["logs", "talk", "--replica", "1"]).exits(0);
    assert!(said.out.contains("begin") && (said.out.contains("oops") || said.err.contains("oops")), "{said:?}");
    let said = agent.cli(&["logs", "talk", "--all-replicas", "--tail", "1"]).exits(0);
    assert!(said.out.contains("talk.1") && said.out.contains("talk.2"), "{}", said.out);

    let mut command = std::process::Command::new("timeout");
    without_ours(&mut command);
    let mut child = command
        .args(["30", crate::agent::BINARY, "logs", "-f", "talk", "--replica", "2", "--tail", "0"])
        .env("CONSTELLATION_API", format!("unix://{}", agent.socket().display()))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let ticks =
        BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok).filter(|l| l.contains("tick"));
    assert_eq!(ticks.take(2).count(), 2, "new lines arrive while it follows");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn events_are_kept_in_order_and_resume_after_an_index() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    agent.apply(&service("hello", HELLO));
    let read = |query: &str| -> Vec<serde_json::Value> {
        let watcher = crate::watcher::Watcher::open(&agent, query);
        let mut seen = Vec::new();
        watcher.find(secs(10), "the start is among them", |e| {
            seen.push(e.clone());
            e["reason"] == "Started"
        });
        seen
    };
    let all = read("fromIndex=0");
    let indexes: Vec<u64> = all.iter().map(|e| e["index"].as_u64().unwrap()).collect();
    assert!(indexes.is_sorted() && indexes.len() > 3, "{indexes:?}");
    let middle = indexes[indexes.len() / 2 - 1];
    let rest = read(&format!("fromIndex={middle}"));
    assert_eq!(rest.first(), all.iter().find(|e| e["index"].as_u64() > Some(middle)), "after {middle}, nothing twice");
    let text = agent.cli(&["events", "--types", "Warning"]).exits(0).out;
    assert!(!text.contains("Normal"), "{text}");
}

#[test]
fn a_list_is_watched_by_index() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let index = agent.get("/api/v1/configs")["index"].as_u64().unwrap();
    let url = format!("{}/api/v1/configs?watch=true&fromIndex={index}", agent.tcp());
    let mut child = lab
        .inside("curl")
        .args(["-sSN", "-m", "20", "-H", &format!("Authorization: Bearer {}", agent.token()), &url])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    agent.apply("apiVersion: constellation.dev/v1\nkind: Config\nmetadata: {name: c}\nspec: {data: {a: b}}\n");
    agent.cli(&["delete", "config/c", "-y"]).exits(0);
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let seen: Vec<serde_json::Value> = lines.take(2).map(|l| serde_json::from_str(&l).unwrap()).collect();
    let ops: Vec<_> = seen.iter().map(|c| c["op"].clone()).collect();
    assert_eq!(ops, ["put", "delete"], "{seen:?}");
    child.kill().unwrap();
    child.wait().unwrap();
    eventually(secs(5), "it is gone", || {
        if agent.get("/api/v1/configs")["items"].as_array().unwrap().is_empty() { Ok(()) } else { Err("there".into()) }
    });
}
