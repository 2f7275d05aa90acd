//! Jobs: runs that end by themselves, by a change, by a schedule and by hand.

use serde_json::Value;

use crate::{
    agent::{Agent, service},
    lab::Lab,
    wait::{always, eventually, secs},
};

const IMAGE: &str = "image: constellation-test/busybox:1\nstopGracePeriod: 1s\n";

/// A job that runs a line of shell.
fn job(name: &str, mode: &str, script: &str) -> String {
    with(name, mode, script, "")
}
/// The same, with further lines of its spec.
fn with(name: &str, mode: &str, script: &str, more: &str) -> String {
    service(name, &format!("mode: {mode}\n{IMAGE}command: [sh, -c, {script:?}]\n{more}"))
}

fn runs(agent: &Agent<'_>, name: &str) -> Vec<Value> {
    agent.get(&format!("/api/v1/services/{name}/runs"))["runs"].as_array().unwrap().clone()
}

/// `1 Running`, `2 Failed Replaced`: newest first.
fn told(agent: &Agent<'_>, name: &str) -> Vec<String> {
    let word = |run: &Value, key: &str| run[key].as_str().unwrap_or_default().to_owned();
    let told = |run: &Value| format!("{} {} {}", run["number"], word(run, "state"), word(run, "reason"));
    runs(agent, name).iter().map(|run| told(run).trim().to_owned()).collect()
}

fn becomes(agent: &Agent<'_>, name: &str, wanted: &[&str], limit: std::time::Duration) {
    eventually(limit, name, || {
        let found = told(agent, name);
        if found == wanted { Ok(()) } else { Err(format!("{found:?} instead of {wanted:?}")) }
    });
}

#[test]
fn a_job_runs_once_and_whenever_asked_and_its_end_is_the_commands() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    // `apply` waits for its run.
    let said = agent.apply_with(&job("sums", "job", "echo did it; sleep 1"), &[]).exits(0);
    assert!(said.out.contains("run 1 succeeded"), "{}", said.out);
    assert!(agent.cli(&["job", "logs", "sums"]).exits(0).out.contains("did it"));
    let listed = agent.cli(&["job", "ls"]).exits(0).out;
    assert!(listed.contains("sums") && listed.contains("Succeeded"), "{listed}");
    assert!(agent.cli(&["get", "svc"]).exits(0).out.contains("Completed"));
    // Unchanged: no second run.
    agent.apply_with(&job("sums", "job", "echo did it; sleep 1"), &[]).exits(0);
    assert_eq!(agent.get("/api/v1/services/sums/runs")["runs"].as_array().unwrap().len(), 1);
    // By hand, followed and detached.
    let said = agent.cli(&["job", "run", "sums"]).exits(0);
    assert!(said.out.contains("run 2 succeeded"), "{}", said.out);
    // What is followed ends with the run.
    agent.cli(&["job", "run", "sums", "-d"]).exits(0);
    assert!(agent.cli(&["job", "logs", "sums", "-f"]).exits(0).out.contains("did it"));
    becomes(&agent, "sums", &["3 Succeeded", "2 Succeeded", "1 Succeeded"], secs(5));
    let answer = agent.cli(&["job", "run", "sums", "-o", "json"]).exits(0);
    let answer: Value = serde_json::from_str(&answer.out).unwrap_or_else(|e| panic!("{e}: {answer:?}"));
    assert_eq!((&answer["runs"][0]["number"], &answer["runs"][0]["state"]), (&4.into(), &"Succeeded".into()));
    agent.apply_with(&job("long", "job", "sleep 1000"), &["-d"]).exits(0);
    eventually(secs(30), "it runs", || lab.docker.runs("long", 1));
    assert!(agent.cli(&["job", "run", "long"]).exits(6).err.contains("run 1 of svc/long is under way"));
    agent.cli(&["job", "run", "none"]).exits(5);
    agent.cli(&["delete", "svc/long", "-y"]).exits(0);
    // What waits for it begins only afterwards.
    let after = format!("{}dependsOn: [{{name: sums, condition: service_completed_successfully}}]\n", IMAGE);
    agent.apply(&service("after", &format!("{after}command: [sleep, \"1000\"]\n")));
    eventually(secs(30), "it runs", || lab.docker.runs("after", 1));
    // It is no rollout and has no routes.
    agent.cli(&["rollout", "restart", "sums"]).exits(2);
    let routed = format!("mode: job\n{IMAGE}expose: [80]\nroutes: [{{host: a.example.com}}]\n");
    assert!(agent.apply_with(&service("routed", &routed), &[]).exits(2).err.contains("a job answers no requests"));
}

#[test]
fn completions_are_worked_off_a_few_at_a_time() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let many = with("parts", "job", "echo part; sleep 2", "completions: 3\nreplicas: 2\n");
    let said = agent.cli_reading(&["plan", "-f", "-"], &many).out;
    assert!(said.contains("a run begins") && !said.contains("no healthcheck"), "{said}");
    let said = agent.apply_with(&many, &[]).exits(0);
    assert!(said.out.contains("run 1 succeeded"), "{}", said.out);
    let run = runs(&agent, "parts")[0].clone();
    assert_eq!((&run["succeeded"], &run["failed"], &run["completions"]), (&3.into(), &0.into(), &3.into()), "{run}");
    let parts = lab.docker.managed(Some("parts"));
    assert_eq!(
        parts.iter().map(|c| (c.slot.as_str(), c.state.as_str())).collect::<Vec<_>>(),
        [("1", "exited"), ("2", "exited"), ("3", "exited")]
    );
    // The third began when one of the first two had ended: the engine's own times are of one length up to the second.
    let time = |c: &crate::docker::Seen, which: &str| lab.docker.inspect(&c.id, &format!("{{{{.State.{which}}}}}"));
    let first_end = parts[..2].iter().map(|c| time(c, "FinishedAt")).min().unwrap();
    assert!(time(&parts[2], "StartedAt")[..19] >= first_end[..19], "{first_end}");
    let logs = agent.cli(&["job", "logs", "parts"]).exits(0).out;
    assert_eq!(logs.matches("part\n").count(), 3, "{logs}");
}

#[test]
fn a_job_that_fails_says_so_with_its_last_words() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let failing = with("broken", "job", "echo no database; exit 3", "backoffLimit: 1\n");
    let said = agent.apply_with(&failing, &[]).exits(1);
    let all = format!("{}{}", said.out, said.err);
    assert!(all.contains("BackoffLimitExceeded") && all.contains("no database"), "{all}");
    let ls = agent.cli(&["job", "ls", "broken"]).exits(0).out;
    assert!(ls.contains("Failed: BackoffLimitExceeded") && ls.contains("the last broken.1: exit 3\n"), "{ls}");
    let events = agent.cli(&["events", "--for", "svc/broken"]).exits(0).out;
    assert!(events.contains("RunFailed") && !events.contains("FailedScheduling"), "{events}");
    let run = runs(&agent, "broken")[0].clone();
    assert_eq!((&run["failed"], &run["logTail"][0]), (&2.into(), &"no database".into()), "{run}");
    let took = run["endedAt"].as_u64().unwrap() - run["startedAt"].as_u64().unwrap();
    assert!(took >= 10_000, "the second attempt waited: {took} ms");
    assert_eq!(lab.docker.managed(Some("broken")).len(), 2, "each attempt has a container of its own");
    let why = agent.cli(&["why", "svc/broken"]).out;
    assert!(why.contains("BackoffLimitExceeded") && why.contains("no database"), "{why}");
    assert!(agent.cli(&["job", "logs", "broken", "--run", "1"]).exits(0).out.contains("no database"));
    agent.cli(&["job", "logs", "broken", "--run", "9"]).exits(5);
}

#[test]
fn a_fix_of_what_cannot_begin_takes_its_place() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let typo = |command: &str| service("typo", &format!("mode: job\n{IMAGE}command: [{command}]\n"));
    agent.apply_with(&typo("eccho, hello"), &["-d"]).exits(0);
    agent.wait_for_reason("typo", "EngineRefused", secs(30));
    let said = agent.apply_with(&typo("echo, hello"), &[]).exits(0);
    assert!(said.out.contains("run 2 succeeded"), "{}", said.out);
    becomes(&agent, "typo", &["2 Succeeded", "1 Failed Replaced"], secs(1));
    // An image that is nowhere, likewise.
    let image =
        |image: &str| service("image", &format!("mode: job\nimage: {image}\npullPolicy: never\ncommand: [echo]\n"));
    agent.apply_with(&image("constellation-test/nowhere:1"), &["-d"]).exits(0);
    agent.wait_for_reason("image", "ImageNotFound", secs(30));
    agent.apply_with(&image("constellation-test/busybox:1"), &[]).exits(0);
    becomes(&agent, "image", &["2 Succeeded", "1 Failed Replaced"], secs(1));
}

#[test]
fn a_deadline_ends_a_run_and_what_it_wrote_is_shown() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let script = "trap 'exit 0' TERM; echo still copying; while :; do sleep 1; done";
    let slow = with("slow", "job", script, "activeDeadline: 3s\n");
    let said = agent.apply_with(&slow, &[]).exits(1);
    assert!(said.err.contains("DeadlineExceeded"), "{}", said.err);
    eventually(secs(20), "it is stopped", || lab.docker.runs("slow", 0));
    becomes(&agent, "slow", &["1 Failed DeadlineExceeded"], secs(1));
    eventually(secs(10), "why shows its last lines", || {
        let why = agent.cli(&["why", "svc/slow"]).out;
        if why.contains("DeadlineExceeded") && why.contains("still copying") { Ok(()) } else { Err(why) }
    });
    eventually(secs(20), "its container goes", || match lab.docker.managed(Some("slow")) {
        found if found.is_empty() => Ok(()),
        found => Err(format!("{found:?}")),
    });
    let logs = agent.cli(&["job", "logs", "slow"]).exits(0);
    assert!(logs.out.contains("still copying"), "{logs:?}");
    // It ended with 0 when it was told to: that completes nothing.
    always(secs(2), "it stays failed", || match told(&agent, "slow") {
        found if found == ["1 Failed DeadlineExceeded"] => Ok(()),
        found => Err(format!("{found:?}")),
    });
}

#[test]
fn a_schedule_begins_runs_and_the_policy_says_what_becomes_of_two() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    // All is declared and asked for within one minute.
    eventually(secs(60), "the minute is young", || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        if now % 60 < 35 { Ok(()) } else { Err(format!("second {}", now % 60)) }
    });
    let cron =
        |name: &str, script: &str, more: &str| with(name, "cron", script, &format!("schedule: \"* * * * *\"\n{more}"));
    let said = agent.apply_with(&cron("tick", "echo tick", "timeZone: Europe/Berlin\n"), &[]).exits(0);
    assert!(said.out.contains("next at"), "{}", said.out);
    let policies = ["forbid", "allow", "replace"];
    let declare =
        |policy: &str, more: &str| cron(policy, "sleep 1000", &format!("concurrencyPolicy: {policy}\n{more}"));
    for policy in policies {
        agent.apply_with(&declare(policy, ""), &[]).exits(0);
        agent.cli(&["job", "run", policy, "-d"]).exits(0);
    }
    let first = eventually(secs(90), "the next minute has a run", || {
        let found = runs(&agent, "tick");
        found.iter().find(|run| run["state"] == "Succeeded").cloned().ok_or_else(|| format!("{found:?}"))
    });
    assert_eq!(first["trigger"]["kind"], "schedule");
    assert_eq!(first["trigger"]["due"].as_u64().unwrap() % 60_000, 0);
    assert!(agent.cli(&["job", "logs", "tick"]).exits(0).out.contains("tick"));

    becomes(&agent, "forbid", &["1 Running"], secs(5));
    let skipped = agent.get("/api/v1/services/forbid/runs")["skipped"].clone();
    assert!(skipped["message"].as_str().unwrap_or_default().contains("run 1 is under way"), "{skipped}");
    assert!(agent.cli(&["events", "--for", "svc/forbid"]).exits(0).out.contains("RunSkipped"));
    becomes(&agent, "allow", &["2 Running", "1 Running"], secs(5));
    eventually(secs(20), "both run", || lab.docker.runs("allow", 2));
    becomes(&agent, "replace", &["2 Running", "1 Failed Replaced"], secs(5));
    eventually(secs(20), "one runs", || lab.docker.runs("replace", 1));
    let listed = agent.cli(&["job", "ls"]).exits(0).out;
    assert!(listed.contains("* * * * * Europe/Berlin"), "{listed}");

    // Suspended: what runs is stopped, nothing is due, and nothing can be asked for.
    agent.apply_with(&declare("allow", "suspend: true\n"), &[]).exits(0);
    eventually(secs(20), "none runs", || lab.docker.runs("allow", 0));
    assert_eq!(agent.get("/api/v1/services/allow/runs")["nextDue"], Value::Null);
    agent.cli(&["job", "run", "allow"]).exits(2);
}

#[test]
fn an_attempt_has_one_life_whatever_becomes_of_the_agent() {
    let lab = Lab::take();
    let mut agent = Agent::start(&lab);
    // Killed in the middle, and back before its end.
    agent.apply_with(&job("long", "job", "echo once; sleep 8"), &["-d"]).exits(0);
    eventually(secs(30), "it runs", || lab.docker.runs("long", 1));
    let before = lab.docker.identities();
    agent.kill();
    agent.spawn();
    agent.wait_until_ready();
    becomes(&agent, "long", &["1 Succeeded"], secs(30));
    assert_eq!(lab.docker.identities(), before, "it was started once");
    assert_eq!(runs(&agent, "long")[0]["failed"], 0);
    // Its end came while nobody was there.
    agent.apply_with(&job("short", "job", "sleep 3"), &["-d"]).exits(0);
    eventually(secs(30), "it runs", || lab.docker.runs("short", 1));
    let before = lab.docker.identities();
    agent.kill();
    eventually(secs(20), "it ends", || lab.docker.runs("short", 0));
    agent.spawn();
    agent.wait_until_ready();
    becomes(&agent, "short", &["1 Succeeded"], secs(30));
    assert_eq!(lab.docker.identities(), before, "it was started once");
    // Somebody tidies up: what is done stays done.
    lab.docker.run(&["container", "prune", "-f"]);
    always(secs(3), "nothing is made anew", || match lab.docker.managed(None) {
        found if found.is_empty() => Ok(()),
        found => Err(format!("{found:?}")),
    });
    // And what was taken away is an attempt that failed, not one that is made again.
    agent.apply_with(&with("lost", "job", "sleep 1000", "backoffLimit: 0\n"), &["-d"]).exits(0);
    let runs = eventually(secs(30), "it runs", || lab.docker.runs("lost", 1));
    eventually(secs(10), "it is reported", || match agent.cli(&["ps", "lost"]).out {
        out if out.contains("Running") => Ok(()),
        out => Err(out),
    });
    lab.docker.run(&["rm", "-f", &runs[0].id]);
    becomes(&agent, "lost", &["1 Failed BackoffLimitExceeded"], secs(20));
    assert!(lab.docker.managed(Some("lost")).is_empty());
    assert!(agent.cli(&["job", "ls", "lost"]).exits(0).out.contains("its container was removed"));
}
