//! The public ports, asked from outside the host.

use std::fs;

use serde_json::Value;

use crate::{
    agent::{Agent, HELLO, service},
    lab::{Lab, OUTSIDE},
    wait::{eventually, secs},
};

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/traefik.yaml");

/// The condition `EdgeServing` of the only node; none: nothing is asked for.
fn serving(agent: &Agent<'_>) -> Option<Value> {
    let conditions = agent.get("/api/v1/nodes/n1")["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|c| c["type"] == "EdgeServing")
}

/// What a client outside gets at port 80.
fn page(lab: &Lab) -> Result<String, String> {
    let url = format!("http://{OUTSIDE}/");
    let out =
        lab.beside("curl").args(["-sS", "-f", "-m", "5", "-H", "Host: hello.example.com", &url]).output().unwrap();
    let said = if out.status.success() { &out.stdout } else { &out.stderr };
    let said = String::from_utf8_lossy(said).into_owned();
    if out.status.success() { Ok(said) } else { Err(said) }
}

#[test]
fn a_public_port_that_is_taken_is_told_with_its_process_and_taken_back_when_it_is_free() {
    let lab = Lab::take();
    let mut other = lab.inside("/bin/busybox").args(["nc", "-l", "-p", "80"]).spawn().unwrap();
    let agent = Agent::start(&lab);
    agent.apply(&fs::read_to_string(MANIFEST).unwrap());
    assert_eq!(serving(&agent), None, "no route asks for a port");
    agent.apply(&service(
        "hello",
        &format!("{HELLO}expose: [8080]\nroutes: [{{host: hello.example.com, port: 8080}}]\n"),
    ));
    let told = eventually(secs(30), "the conflict is told", || {
        let found = serving(&agent);
        found.clone().filter(|c| c["status"] == "False").ok_or_else(|| format!("{found:?}"))
    });
    assert_eq!(told["reason"], "PortConflict", "{told}");
    let held = format!("port 80 is held by busybox (pid {})", other.id());
    assert!(told["message"].as_str().unwrap().contains(&held), "{told}");
    let events = agent.cli(&["events", "--for", "node/n1"]).exits(0);
    assert!(events.out.contains("PortConflict") && events.out.contains(&held), "{}", events.out);

    other.kill().unwrap();
    other.wait().unwrap();
    let served = eventually(secs(2), "the port is taken back", || page(&lab));
    assert!(served.contains("from hello-"), "{served}");
    eventually(secs(10), "it is told", || {
        let found = serving(&agent);
        if found.as_ref().is_some_and(|c| c["status"] == "True") { Ok(()) } else { Err(format!("{found:?}")) }
    });
    agent.cli(&["delete", "svc/hello", "-y"]).exits(0);
    eventually(secs(10), "nothing listens there any more", || match page(&lab) {
        Err(said) if said.contains("onnect") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    eventually(secs(10), "it is told", || serving(&agent).map_or(Ok(()), |found| Err(found.to_string())));
}
