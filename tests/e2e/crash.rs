//! `kill -9` of the agent at any moment: nothing acknowledged is lost, no container is restarted.

use std::{
    path::{Path, PathBuf},
    sync::mpsc::{Sender, channel},
    time::Duration,
};

use crate::{
    agent::{Agent, HELLO, service},
    http,
    lab::{Lab, count},
    wait::secs,
};

/// Applies pairs of objects until the connection breaks; tells each acknowledged pair.
fn apply_until_it_breaks(socket: &Path, round: usize, acknowledged: &Sender<String>) {
    for n in 0..1_000 {
        let name = format!("pair-{round}-{n}");
        let objects = format!(
            "apiVersion: constellation.dev/v1\nkind: Config\nmetadata: {{name: {name}}}\nspec: {{data: {{n: '{n}'}}}}\n\
             ---\n\
             apiVersion: constellation.dev/v1\nkind: Service\nmetadata: {{name: {name}}}\n\
             spec: {{image: constellation/hello:1, suspend: true}}\n"
        );
        match http::ask(socket, "POST", "/api/v1/apply", "application/yaml", objects.as_bytes()) {
            Ok(answer) if answer.status == 200 => {
                if acknowledged.send(name).is_err() {
                    return;
                }
            }
            Ok(answer) => panic!("{}: {}", answer.status, answer.text()),
            Err(_) => return,
        }
    }
}

fn names(agent: &Agent<'_>, kind: &str) -> Vec<String> {
    let list = agent.get(&format!("/api/v1/{kind}"));
    let items = list["items"].as_array().unwrap();
    items.iter().map(|o| o["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn twenty_kills_lose_no_acknowledged_apply_and_restart_no_container() {
    let lab = Lab::take();
    let mut agent = Agent::start(&lab);
    agent.apply(&service("hello", &format!("{HELLO}replicas: 2\n")));
    let before = lab.docker.identities();
    assert_eq!(before.len(), 2);

    let mut acknowledged: Vec<String> = Vec::new();
    for round in 0..count(200) {
        let (tell, told) = channel();
        let socket: PathBuf = agent.socket();
        let writer = std::thread::spawn(move || apply_until_it_breaks(&socket, round, &tell));
        // Killed after another number of applies in each round, while the next one is on its way.
        for _ in 0..=(round * 7) % 10 {
            acknowledged.push(told.recv_timeout(secs(20)).expect("an apply is acknowledged"));
        }
        agent.kill();
        writer.join().unwrap();
        acknowledged.extend(told.try_iter());
        agent.spawn();
        agent.wait_until_ready();

        let (configs, services) = (names(&agent, "configs"), names(&agent, "services"));
        for name in &acknowledged {
            assert!(configs.contains(name) && services.contains(name), "round {round}: {name} was acknowledged");
        }
        for name in configs.iter().filter(|n| n.starts_with("pair-")) {
            assert!(services.contains(name), "round {round}: half of {name} was kept");
        }
        assert_eq!(lab.docker.identities(), before, "round {round}: containers were restarted");
    }
    eprintln!("{} acknowledged applies, all present", acknowledged.len());
    agent.wait_until_settled("hello", secs(10));
}

#[test]
fn a_kill_while_containers_are_made_leaves_exactly_those_wanted() {
    let lab = Lab::take();
    let mut agent = Agent::start(&lab);
    for (round, replicas) in [(0, 4), (1, 1), (2, 6)] {
        let spec = format!("{HELLO}replicas: {replicas}\nenvironment: {{ROUND: '{round}'}}\n");
        agent.apply_with(&service("hello", &spec), &["-d"]).exits(0);
        let before = lab.docker.managed(Some("hello"));
        // Dies as soon as Docker shows that the work has begun, whatever step it is at.
        crate::wait::eventually(secs(20), "work has begun", || {
            let now = lab.docker.managed(Some("hello"));
            if now == before { Err(format!("{now:?}")) } else { Ok(()) }
        });
        agent.kill();
        agent.spawn();
        agent.wait_until_ready();
        agent.wait_until_settled("hello", Duration::from_secs(60));
        let all = lab.docker.runs("hello", replicas).unwrap();
        assert_eq!(all.len(), lab.docker.running("hello").len());
        let slots: std::collections::BTreeSet<_> = all.iter().map(|c| c.slot.clone()).collect();
        assert_eq!(slots.len(), replicas, "one container for each slot: {all:?}");
    }
}
