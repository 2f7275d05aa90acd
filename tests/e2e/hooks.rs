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

/// Containers of hooks with how they ended, like `hello-predeploy-x8k2p Exited (0)`.
fn containers(lab: &Lab, stage: &str) -> Vec<String> {
    let filter = format!("name=hello-{stage}");
    let found = lab.docker.run(&["ps", "-a", "--filter", &filter, "--format", "{{.Names}} {{.Status}}"]);
    found.lines().map(|line| line.split(" ago").next().unwrap_or_default().to_owned()).collect()
}

fn hooked(image_part: &str, hooks: &str) -> String {
    service("hello", &format!("{HELLO}{image_part}hooks: {{{hooks}}}\n"))
}

#[test]
fn a_migration_runs_once_before_the_first_new_replica_and_a_last_word_follows_it() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let hooks = "preDeploy: [{command: [sh, -c, 'echo $GREETING']}], postDeploy: [{command: [sh, -c, 'exit 5']}]";
    agent.apply(&hooked("environment: {GREETING: one}\n", hooks));
    assert_eq!(containers(&lab, "predeploy").len(), 1);
    eventually(secs(20), "what follows has ended", || match &containers(&lab, "postdeploy")[..] {
        [one] if one.contains("Exited (5)") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let events = eventually(secs(5), "all is told", || {
        let events = told(&agent);
        if events.iter().any(|e| e.starts_with("HookFailed")) { Ok(events) } else { Err(format!("{events:?}")) }
    });
    let mut at = 0;
    for text in [
        "HookStarted preDeploy: sh -c echo $GREETING on n1, revision 1",
        "HookSucceeded preDeploy: sh -c echo $GREETING",
        "Healthy ready",
        "RolloutComplete revision 1",
        "HookStarted postDeploy: sh -c exit 5 on n1, revision 1",
        "HookFailed postDeploy: sh -c exit 5: exit 5",
    ] {
        at = after(&events, at, text);
    }
    let status = agent.cli(&["rollout", "status", "svc/hello"]).exits(0);
    assert!(status.out.contains("postDeploy: sh -c exit 5: exit 5"), "{}", status.out);
    agent.apply(&hooked("environment: {GREETING: two}\n", hooks));
    let ran = containers(&lab, "predeploy");
    // Only the newest are kept: the first one may be on its way out.
    assert!(ran.len() <= 2 && ran[0].contains("Exited (0)"), "{ran:?}");
    after(&told(&agent), 0, "HookStarted preDeploy: sh -c echo $GREETING on n1, revision 2");
    // Of the newest: with the environment of its own revision.
    let name = ran[0].split(' ').next().unwrap();
    assert_eq!(lab.docker.run(&["logs", name]), "two");
    agent.cli(&["rollout", "restart", "hello"]).exits(0);
    agent.cli(&["rollout", "undo", "hello"]).exits(0);
    agent.apply(&hooked("environment: {GREETING: one}\n", "preDeploy: []"));
    assert!(containers(&lab, "predeploy").len() <= 2, "neither a restart nor what ran before migrates again");
}

#[test]
fn a_failed_migration_leaves_the_old_serving_and_shows_its_last_words() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    agent.apply(&hooked("environment: {GREETING: one}\n", "preDeploy: [{command: [sh, -c, 'true']}]"));
    let before = lab.docker.runs("hello", 1).unwrap();
    let broken = "preDeploy: [{command: [sh, -c, 'echo no such column; exit 3']}]";
    let said = agent.apply_with(&hooked("environment: {GREETING: two}\n", broken), &["--timeout", "60s"]).exits(1);
    assert!(said.err.contains("rolled back to revision 1: preDeploy: sh -c"), "{}", said.err);
    assert!(said.out.contains("no such column"), "its last words: {}", said.out);
    assert_eq!(lab.docker.runs("hello", 1).unwrap(), before, "the one that worked was not touched");
    let status = agent.cli(&["rollout", "status", "svc/hello"]).exits(1);
    assert!(status.out.contains("exit 3") && status.out.contains("| no such column"), "{}", status.out);
    let events = told(&agent);
    after(&events, 0, "HookFailed preDeploy: sh -c echo no such column; exit 3: exit 3");
}

#[test]
fn an_agent_that_is_killed_during_a_migration_does_not_run_it_twice() {
    let lab = Lab::take();
    let mut agent = Agent::start(&lab);
    let manifest = hooked("", "preDeploy: [{command: [sh, -c, 'sleep 4; echo migrated']}]");
    agent.apply_with(&manifest, &["-d"]).exits(0);
    eventually(secs(20), "it runs", || match &containers(&lab, "predeploy")[..] {
        [one] if one.contains(" Up ") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    agent.kill();
    agent.spawn();
    agent.wait_until_ready();
    agent.apply_with(&manifest, &["--timeout", "60s"]).exits(0);
    agent.wait_until_settled("hello", secs(30));
    let ran = containers(&lab, "predeploy");
    assert!(ran.len() == 1 && ran[0].contains("Exited (0)"), "{ran:?}");
    assert_eq!(lab.docker.running("hello").len(), 1);
}

#[test]
fn the_log_of_a_hook_is_read_while_it_runs_and_when_it_was_cut_off_with_its_revision() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    agent.apply(&hooked("environment: {GREETING: one}\n", "preDeploy: [{command: [sh, -c, 'echo early bird']}]"));
    let slow = "preDeploy: [{command: [sh, -c, 'echo half way; sleep 60'], timeout: 6s}]";
    agent.apply_with(&hooked("environment: {GREETING: two}\n", slow), &["-d"]).exits(0);
    let logs = |more: &[&str]| agent.cli(&[&["logs", "hello", "--replica", "hello.preDeploy"], more].concat());
    eventually(secs(20), "it is read while it runs", || {
        let read = logs(&[]);
        if read.out.contains("hello.preDeploy (revision 2) | half way") { Ok(()) } else { Err(read.out) }
    });
    assert!(agent.cli(&["ps", "hello"]).exits(0).out.contains("hello.preDeploy"));
    eventually(secs(40), "it was cut off", || {
        let status = agent.cli(&["rollout", "status", "hello"]).out;
        if status.contains("not done within 6s") { Ok(()) } else { Err(status) }
    });
    let read = logs(&[]).exits(0);
    assert!(read.out.contains("hello.preDeploy (revision 2) | half way"), "{}", read.out);
    assert!(!read.out.contains("early bird") && read.err.contains("--all-replicas"), "{} {}", read.out, read.err);
    let all = logs(&["--all-replicas"]).exits(0);
    assert!(
        all.out.contains("hello.preDeploy (revision 1) | early bird") && all.out.contains("half way"),
        "{}",
        all.out
    );
    assert!(agent.cli(&["ps", "hello"]).exits(0).out.contains("hello.preDeploy"));
    agent.cli(&["delete", "svc/hello", "-y"]).exits(0);
    eventually(secs(20), "nothing is left", || {
        let left = lab.docker.managed(Some("hello"));
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}
