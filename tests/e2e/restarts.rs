//! What follows an exit: by whose doing it was, and by what the service says of restarts.

use crate::{
    agent::{Agent, HELLO, service},
    lab::Lab,
    wait::{always, eventually, secs},
};

/// Runs until it is asked to end, and ends well.
const POLITE: &str = "image: constellation-test/busybox:1
command: [sh, -c, 'trap \"exit 0\" TERM; while :; do sleep 0.1; done']
stopGracePeriod: 3s
";

/// Phase of a service's replica.
fn phase(agent: &Agent<'_>, service: &str) -> String {
    let replicas = agent.get(&format!("/api/v1/services/{service}/status"));
    replicas["replicas"][0]["actual"]["state"].as_str().unwrap_or_default().to_owned()
}

fn until_phase(agent: &Agent<'_>, service: &str, wanted: &str) {
    eventually(secs(20), &format!("{service} is {wanted}"), || {
        let now = phase(agent, service);
        if now == wanted { Ok(()) } else { Err(now) }
    });
}

#[test]
fn services_outlive_a_restart_of_the_engine_and_nobody_is_blamed() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    for restart in ["always", "unless-stopped", "on-failure"] {
        agent.apply(&service(restart, &format!("{POLITE}restart: {restart}\n")));
    }
    agent.apply(&service("hello", &format!("{HELLO}replicas: 2\n")));
    let all = [("always", 1), ("unless-stopped", 1), ("on-failure", 1), ("hello", 2)];
    lab.restart_engine();
    for (name, replicas) in all {
        eventually(secs(30), &format!("{name} runs again"), || lab.docker.runs(name, replicas));
    }
    agent.wait_until_settled("hello", secs(30));
    let events = agent.cli(&["events"]).exits(0).out;
    assert!(!events.contains("StoppedByHand"), "{events}");
    for (name, _) in all {
        agent.wait_until_settled(name, secs(30));
    }
}

#[test]
fn a_job_runs_once_and_is_stopped_when_somebody_starts_it_again() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let job = "image: constellation-test/busybox:1
command: [sh, -c, 'echo x >> /data/runs; [ $(wc -l < /data/runs) -gt 1 ] && sleep 1000; exit 0']
volumes: [{type: volume, source: runs, target: /data}]
stopGracePeriod: 1s
restart: 'no'
";
    agent.apply_with(&service("job", job), &["-d"]).exits(0);
    until_phase(&agent, "job", "Completed");
    let id = lab.docker.managed(Some("job"))[0].id.clone();
    let first = lab.docker.inspect(&id, "{{.State.StartedAt}}");
    always(secs(2), "it stays ended", || match lab.docker.running("job").as_slice() {
        [] => Ok(()),
        running => Err(format!("{running:?}")),
    });
    lab.docker.run(&["start", &id]);
    eventually(secs(15), "it is stopped again", || {
        let state = lab.docker.inspect(&id, "{{.State.Running}} {{.State.StartedAt}}");
        if state.starts_with("false") && !state.ends_with(&first) { Ok(()) } else { Err(state) }
    });
    until_phase(&agent, "job", "Completed");
    let events = agent.cli(&["events", "--for", "svc/job"]).exits(0).out;
    assert!(events.contains("DriftDetected"), "{events}");
}

#[test]
fn a_job_that_somebody_stops_has_failed_and_a_worker_comes_back() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    for (name, restart) in [("job", "'no'"), ("worker", "on-failure")] {
        agent.apply(&service(name, &format!("{POLITE}restart: {restart}\n")));
        lab.docker.run(&["stop", &lab.docker.runs(name, 1).unwrap()[0].id]);
    }
    until_phase(&agent, "job", "Failed");
    agent.wait_for_reason("worker", "StoppedByHand", secs(8));
    eventually(secs(25), "the worker runs again", || lab.docker.runs("worker", 1));
    assert_eq!(lab.docker.running("job"), []);
}

#[test]
fn the_fix_of_a_failed_job_is_waited_for() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let job =
        |code: u8| format!("image: constellation-test/busybox:1\ncommand: [sh, -c, exit {code}]\nrestart: 'no'\n");
    agent.apply_with(&service("job", &job(3)), &["--timeout", "30s"]).exits(1);
    until_phase(&agent, "job", "Failed");
    agent.apply_with(&service("job", &job(0)), &["--timeout", "30s"]).exits(0);
    until_phase(&agent, "job", "Completed");
}

#[test]
fn a_paused_container_is_told_and_left_and_serves_again_when_it_goes_on() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    agent.apply(&service("hello", HELLO));
    let before = lab.docker.identities();
    let id = lab.docker.runs("hello", 1).unwrap()[0].id.clone();
    lab.docker.run(&["pause", &id]);
    agent.wait_for_reason("hello", "DriftDetected", secs(10));
    lab.docker.run(&["unpause", &id]);
    agent.wait_until_settled("hello", secs(20));
    assert_eq!(lab.docker.identities(), before, "nothing was restarted");
}

#[test]
fn what_is_taken_off_its_network_is_put_back_and_a_copy_is_left_alone() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    agent.apply(&service("hello", HELLO));
    let before = lab.docker.identities();
    let id = lab.docker.runs("hello", 1).unwrap()[0].id.clone();
    lab.docker.run(&["commit", &id, "constellation-test/copy:1"]);
    let copy = lab.docker.run(&["run", "-d", "--name", "debugging", "constellation-test/copy:1"]);
    let network = lab.docker.inspect(&id, "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}");
    lab.docker.run(&["network", "disconnect", &network, &id]);
    eventually(secs(35), "it is on its network", || {
        let now = lab.docker.inspect(&id, "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}");
        if now == network { Ok(()) } else { Err(now) }
    });
    agent.wait_until_settled("hello", secs(20));
    assert_eq!(lab.docker.inspect(&copy, "{{.State.Running}} {{.RestartCount}}"), "true 0");
    lab.docker.run(&["rm", "-f", &copy]);
    lab.docker.run(&["rmi", "-f", "constellation-test/copy:1"]);
    assert_eq!(lab.docker.identities(), before, "nothing was restarted");
}
