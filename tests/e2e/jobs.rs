//! Jobs: runs that end by themselves, by a change, by a schedule and by hand.

use crate::{
    agent::{Agent, service},
    lab::Lab,
    wait::{eventually, secs},
};

const IMAGE: &str = "image: constellation-test/busybox:1\nstopGracePeriod: 1s\n";

/// A job that runs a line of shell.
fn job(name: &str, mode: &str, script: &str) -> String {
    service(name, &format!("mode: {mode}\n{IMAGE}command: [sh, -c, {script:?}]\n"))
}

#[test]
fn a_job_runs_once_and_whenever_asked_and_its_end_is_the_commands() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    // `apply` waits for its run.
    let said = agent.apply_with(&job("work", "job", "echo did it; sleep 1"), &[]).exits(0);
    assert!(said.out.contains("run 1 succeeded"), "{}", said.out);
    assert!(agent.cli(&["job", "logs", "work"]).exits(0).out.contains("did it"));
    let listed = agent.cli(&["job", "ls"]).exits(0).out;
    assert!(listed.contains("work") && listed.contains("Succeeded"), "{listed}");
    assert!(agent.cli(&["get", "svc"]).exits(0).out.contains("Completed"));
    // Unchanged: no second run.
    agent.apply_with(&job("work", "job", "echo did it; sleep 1"), &[]).exits(0);
    assert_eq!(agent.get("/api/v1/services/work/runs")["runs"].as_array().unwrap().len(), 1);
    // By hand, followed and detached.
    let said = agent.cli(&["job", "run", "work"]).exits(0);
    assert!(said.out.contains("run 2 succeeded"), "{}", said.out);
    agent.cli(&["job", "run", "work", "-d"]).exits(0);
    let busy = agent.cli(&["job", "run", "work"]);
    assert!(busy.code == 6 || busy.code == 0, "{busy:?}");
    // What waits for it begins only afterwards.
    let after = format!("{}dependsOn: [{{name: work, condition: service_completed_successfully}}]\n", IMAGE);
    agent.apply(&service("after", &format!("{after}command: [sleep, \"1000\"]\n")));
    eventually(secs(30), "it runs", || lab.docker.runs("after", 1));
    // It is no rollout and has no routes.
    agent.cli(&["rollout", "restart", "work"]).exits(2);
    let routed = format!("mode: job\n{IMAGE}expose: [80]\nroutes: [{{host: a.example.com}}]\n");
    assert!(agent.apply_with(&service("routed", &routed), &[]).exits(2).err.contains("a job answers no requests"));
}

#[test]
fn a_job_that_fails_says_so_with_its_last_words() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let failing = format!("{}backoffLimit: 0\n", job("broken", "job", "echo no database; exit 3"));
    let said = agent.apply_with(&failing, &[]).exits(1);
    let all = format!("{}{}", said.out, said.err);
    assert!(all.contains("BackoffLimitExceeded") && all.contains("no database"), "{all}");
    let ls = agent.cli(&["job", "ls", "broken"]).exits(0).out;
    assert!(ls.contains("Failed: BackoffLimitExceeded") && ls.contains("exit 3"), "{ls}");
    assert!(agent.cli(&["job", "logs", "broken", "--run", "1"]).exits(0).out.contains("no database"));
    agent.cli(&["job", "run", "broken"]).exits(1);
    // A deadline stops what takes too long.
    let slow = format!("{}activeDeadline: 3s\n", job("slow", "job", "trap 'exit 0' TERM; while :; do sleep 1; done"));
    assert!(agent.apply_with(&slow, &[]).exits(1).err.contains("DeadlineExceeded"));
    eventually(secs(20), "it is stopped", || lab.docker.runs("slow", 0));
}

#[test]
fn a_schedule_begins_runs_until_it_is_suspended() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let cron = |more: &str| format!("{}schedule: \"* * * * *\"\n{more}", job("tick", "cron", "echo tick"));
    let said = agent.apply_with(&cron(""), &[]).exits(0);
    assert!(said.out.contains("next at"), "{}", said.out);
    let runs = || {
        let report = agent.get("/api/v1/services/tick/runs");
        let runs = report["runs"].as_array().unwrap().clone();
        runs.iter().find(|run| run["state"] == "Succeeded").cloned().ok_or_else(|| report.to_string())
    };
    let first = eventually(secs(90), "the next minute has a run", runs);
    assert_eq!(first["trigger"]["kind"], "schedule");
    assert!(agent.cli(&["job", "logs", "tick"]).exits(0).out.contains("tick"));
    agent.apply_with(&cron("suspend: true\n"), &[]).exits(0);
    assert_eq!(agent.get("/api/v1/services/tick/runs")["nextDue"], serde_json::Value::Null);
    agent.cli(&["job", "run", "tick"]).exits(2);
}
