//! Hooks of a service, with what they did as its events tell it.

use crate::{
    agent::{Agent, HELLO, service},
    lab::Lab,
    wait::{eventually, secs},
};

/// Events about a service and its replicas, oldest first, as `Reason message`.
fn told(agent: &Agent<'_>) -> Vec<String> {
    let events = agent.cli(&["events", "-o", "json"]).exits(0).out;
    let all = events.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let text = |event: &serde_json::Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
    all.map(|e| format!("{} {}", text(&e, "reason"), text(&e, "message"))).collect()
}

/// Where a text begins an event, after a place.
fn after(events: &[String], from: usize, text: &str) -> usize {
    let found = events.iter().enumerate().skip(from).find(|(_, e)| e.starts_with(text)).map(|(at, _)| at);
    found.unwrap_or_else(|| panic!("{text:?} is not told after {from}: {events:#?}"))
}

#[test]
fn hooks_inside_run_after_the_start_and_before_the_stop() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let hooks = "hooks: {postStart: [{command: [sh, -c, 'echo up >/tmp/hook']}], preStop: [{command: [sh, -c, 'cat /tmp/hook; exit 4']}]}\n";
    agent.apply(&service("hello", &format!("{HELLO}{hooks}")));
    let id = lab.docker.runs("hello", 1).unwrap()[0].id.clone();
    assert_eq!(lab.docker.run(&["exec", &id, "cat", "/tmp/hook"]), "up");
    let events = told(&agent);
    let mut at = 0;
    for text in ["Started ", "HookStarted postStart: sh -c", "HookSucceeded postStart: sh -c", "Healthy ready"] {
        at = after(&events, at, text);
    }
    agent.cli(&["delete", "svc/hello", "-y"]).exits(0);
    eventually(secs(20), "nothing is left", || {
        let left = lab.docker.managed(Some("hello"));
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    let events = eventually(secs(5), "its end is told", || {
        let events = told(&agent);
        if events.last().is_some_and(|e| e.starts_with("Removed")) { Ok(events) } else { Err(format!("{events:?}")) }
    });
    for text in ["HookStarted preStop: sh -c", "HookFailed preStop: sh -c", "Removed "] {
        at = after(&events, at, text);
    }
    let failed = events.iter().find(|e| e.starts_with("HookFailed")).unwrap();
    assert!(failed.contains(": exit 4 after ") && failed.ends_with(" s: up; it is stopped all the same"), "{failed}");
}

#[test]
fn an_update_whose_hook_fails_after_the_start_comes_back_by_itself() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    agent.apply(&service("hello", HELLO));
    let before = lab.docker.runs("hello", 1).unwrap();
    let hook = "hooks: {postStart: [{command: [sh, -c, 'echo no cache; exit 3']}]}\nenvironment: {GREETING: two}\n";
    let said = agent.apply_with(&service("hello", &format!("{HELLO}{hook}")), &["--timeout", "60s"]).exits(1);
    assert!(said.err.contains("rolled back to revision 1"), "{}", said.err);
    assert!(format!("{}{}", said.out, said.err).contains("no cache"), "{} {}", said.out, said.err);
    assert_eq!(lab.docker.runs("hello", 1).unwrap(), before, "the one that worked was not touched");
    let events = told(&agent);
    after(&events, 0, "HookFailed postStart: sh -c echo no cache; exit 3: exit 3 after ");
}
