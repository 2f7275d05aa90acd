//! The life of the agent's process: end, start again, locks.

use crate::{
    agent::{Agent, HELLO, service},
    lab::Lab,
    wait::{always, eventually, secs},
};

#[test]
fn an_agent_that_is_asked_to_end_does_so_quickly_and_leaves_its_containers_running() {
    let lab = Lab::take();
    let mut agent = Agent::start(&lab);
    agent.apply(&service("hello", &format!("{HELLO}replicas: 2\n")));
    let before = lab.docker.identities();
    let conditions = |agent: &Agent<'_>| agent.get("/api/v1/services/hello")["status"]["conditions"].clone();
    agent.wait_until_settled("hello", secs(10));
    let stood = conditions(&agent);
    let (status, took) = agent.stop();
    assert!(status.success(), "{status}");
    assert!(took < secs(10), "{took:?}");
    assert_eq!(lab.docker.identities(), before);
    assert_eq!(lab.docker.running("hello").len(), 2);
    agent.spawn();
    agent.wait_until_ready();
    agent.wait_until_settled("hello", secs(10));
    assert_eq!(lab.docker.identities(), before, "taken over by their labels");
    always(secs(3), "no condition has moved, since when they hold included", || match conditions(&agent) {
        now if now == stood => Ok(()),
        now => Err(format!("{now:#}, before {stood:#}")),
    });
    let events = agent.cli(&["events", "--types", "Warning"]).exits(0).out;
    assert!(!events.contains("Unavailable"), "{events}");
}

#[test]
fn what_changed_while_the_agent_was_away_is_mended_when_it_comes_back() {
    let lab = Lab::take();
    let mut agent = Agent::start(&lab);
    agent.apply(&service("hello", &format!("{HELLO}replicas: 2\n")));
    let before = lab.docker.runs("hello", 2).unwrap();
    agent.kill();
    lab.docker.run(&["rm", "-f", &before[0].id]);
    agent.spawn();
    agent.wait_until_ready();
    let now = eventually(secs(15), "two run", || lab.docker.runs("hello", 2));
    assert!(now.contains(&before[1]), "the other one was left alone");
}

#[test]
fn a_second_agent_for_the_same_data_or_the_same_engine_is_refused() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let run = |mut command: std::process::Command| {
        let mut limited = std::process::Command::new("timeout");
        limited.arg("20").arg(command.get_program()).args(command.get_args());
        crate::lab::without_ours(&mut limited);
        command = limited;
        let out = command.output().unwrap();
        (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout))
    };
    // Later flags would clash with earlier ones: another command is made from parts.
    let second = |data: &str| {
        let mut command = lab.inside(crate::agent::BINARY);
        command
            .args(["agent", "--node-name", "n2", "--api-address", "127.0.0.1:0"])
            .args(["--docker-host", lab.docker.host()])
            .arg("--data-dir")
            .arg(agent.path(data))
            .arg("--run-dir")
            .arg(agent.path("run"))
            .arg("--api-socket")
            .arg(agent.path("second.sock"));
        command
    };
    let (code, said) = run(second("data"));
    assert!(matches!(code, Some(1..=123)), "same data: {code:?} {said}");
    assert!(said.contains("data"), "names the directory: {said}");
    let (code, said) = run(second("data2"));
    assert!(matches!(code, Some(1..=123)), "same engine: {code:?} {said}");
    assert!(said.contains("engine"), "names the engine: {said}");
    assert_eq!(agent.get("/ready")["ready"], true, "the first one goes on");
}

#[test]
fn an_unknown_variable_or_a_wrong_flag_is_said_at_once() {
    let lab = Lab::take();
    let mut command = lab.inside(crate::agent::BINARY);
    let out = command.arg("agent").env("CONSTELLATION_DATADIR", "/tmp/x").output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(78), "{said}");
    assert!(said.contains("CONSTELLATION_DATA_DIR"), "suggests the name: {said}");
}

#[test]
fn a_node_keeps_its_name_and_under_another_one_nothing_is_touched() {
    let lab = Lab::take();
    let mut agent = Agent::start(&lab);
    agent.apply(&service("hello", &format!("{HELLO}volumes: [{{type: volume, source: data, target: /data}}]\n")));
    let before = lab.docker.identities();
    let stored = std::fs::read_to_string(agent.path("data/node.json")).unwrap();
    agent.stop();
    agent.name = Some("n2");
    let (code, said) = agent.fails();
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("--node-name n1"), "{said}");
    assert_eq!(lab.docker.identities(), before, "refused before anything was looked at");
    // The host is called otherwise, and nobody chose a name.
    agent.name = None;
    agent.spawn();
    agent.wait_until_ready();
    agent.wait_until_settled("hello", secs(20));
    assert_eq!(agent.get("/api/v1/nodes")["items"].as_array().unwrap().len(), 1);
    assert_eq!(lab.docker.identities(), before);
    let log = std::fs::read_to_string(agent.path("agent.log")).unwrap();
    assert!(log.contains("the host has another name now"), "{log}");
    // Without the file the store tells, and another name is still refused.
    agent.stop();
    std::fs::remove_file(agent.path("data/node.json")).unwrap();
    agent.name = Some("n2");
    let (code, said) = agent.fails();
    assert_eq!((code, said.contains("--node-name n1")), (Some(78), true), "{said}");
    agent.name = Some("n1");
    agent.spawn();
    agent.wait_until_ready();
    assert_eq!(std::fs::read_to_string(agent.path("data/node.json")).unwrap(), stored);
    assert_eq!(lab.docker.identities(), before);
}

#[test]
fn a_live_node_is_not_deleted_and_its_data_is_not_forgotten() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let uid = agent.get("/api/v1/nodes/n1")["metadata"]["uid"].clone();
    let said = agent.cli(&["delete", "node/n1", "-y"]);
    assert_ne!(said.code, 0, "{} {}", said.out, said.err);
    assert!(said.err.contains("in use"), "{}", said.err);
    agent.apply(&service("db", &format!("{HELLO}volumes: [{{type: volume, source: data, target: /data}}]\n")));
    agent.cli(&["scale", "svc/db=0"]).exits(0);
    eventually(secs(20), "none runs", || {
        let left = lab.docker.managed(Some("db"));
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    assert_ne!(agent.cli(&["delete", "node/n1", "-y"]).code, 0);
    assert_eq!(agent.get("/api/v1/nodes/n1")["metadata"]["uid"], uid);
    agent.cli(&["scale", "svc/db=1"]).exits(0);
    agent.wait_until_settled("db", secs(20));
}
