//! What somebody did to containers by hand is mended, and told.

use std::time::Instant;

use crate::{
    agent::{Agent, HELLO, service},
    lab::Lab,
    wait::{always, eventually, secs},
    watcher::Watcher,
};

#[test]
fn a_removed_replica_runs_again_within_two_seconds_and_a_websocket_tells_why() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    agent.apply(&service("hello", &format!("{HELLO}replicas: 3\n")));
    let before = lab.docker.runs("hello", 3).unwrap();
    let watcher = Watcher::open(&agent, "");

    let victim = &before[1];
    let begun = Instant::now();
    lab.docker.run(&["rm", "-f", &victim.id]);
    let mended = eventually(secs(10), "three run again", || {
        lab.docker.runs("hello", 3).and_then(|now| {
            if now.iter().all(|c| c.id != victim.id) { Ok(begun.elapsed()) } else { Err("not yet removed".into()) }
        })
    });
    eprintln!("removed and running again: {mended:?}");
    assert!(mended < secs(2), "running again after {mended:?}");

    let ours = |event: &serde_json::Value| event["object"]["name"].as_str().is_some_and(|n| n.starts_with("hello-2-"));
    let (_, told) = watcher.find(secs(5), "the loss is told", |e| ours(e) && e["reason"] == "DriftDetected");
    assert!(told["index"].as_u64().is_some() && told["message"].as_str().is_some_and(|m| !m.is_empty()), "{told}");
    assert_eq!(told["node"], "n1");
    watcher.find(secs(5), "the start is told", |e| ours(e) && e["reason"] == "Started");
    let others: Vec<_> = before.iter().filter(|c| c.id != victim.id).collect();
    let now = lab.docker.running("hello");
    assert!(others.iter().all(|c| now.contains(c)), "the others were left alone: {now:?}");
}

#[test]
fn a_container_stopped_by_hand_starts_again_and_the_reason_is_told() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    agent.apply(&service("hello", HELLO));
    let id = lab.docker.runs("hello", 1).unwrap()[0].id.clone();
    lab.docker.run(&["stop", "-t", "1", &id]);
    agent.wait_for_reason("hello", "StoppedByHand", secs(8));
    eventually(secs(25), "it runs again", || lab.docker.runs("hello", 1));
    agent.wait_until_settled("hello", secs(10));
}

#[test]
fn a_container_that_ends_again_and_again_waits_longer_and_shows_its_last_words() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let crash = "image: constellation-test/busybox:1\ncommand: [sh, -c, 'echo no-such-table >&2; exit 3']\n";
    agent.apply_with(&service("crash", crash), &["-d"]).exits(0);
    agent.wait_for_reason("crash", "CrashLoopBackOff", secs(30));
    let status = agent.get("/api/v1/services/crash/status").to_string();
    assert!(status.contains("no-such-table"), "the log's tail is in the status: {status}");
    let why = agent.get("/api/v1/services/crash/why");
    assert!(why["differences"][0]["nextAttempt"].as_u64().is_some(), "the next attempt is told: {why}");
    let said = agent.cli(&["ps", "crash"]).exits(0);
    assert!(said.out.contains("exit 3"), "{}", said.out);
}

#[test]
fn what_fails_its_probe_is_restarted() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let spec = "image: constellation-test/busybox:1
command: [sh, -c, 'trap exit TERM; touch /tmp/ok; while :; do sleep 1; done']
stopGracePeriod: 1s
readiness: {exec: [test, -f, /tmp/ok], interval: 300ms, timeout: 2s}
autoRestart: {after: 3, backoff: 1s}
";
    agent.apply(&service("sick", spec));
    let before = lab.docker.runs("sick", 1).unwrap();
    lab.docker.run(&["exec", &before[0].id, "rm", "/tmp/ok"]);
    eventually(secs(20), "it was restarted", || {
        lab.docker.runs("sick", 1).and_then(|now| {
            let started = |id: &str| lab.docker.inspect(id, "{{.Id}} {{.State.StartedAt}} {{.RestartCount}}");
            let ready = lab.docker.attempt(&["exec", &now[0].id, "test", "-f", "/tmp/ok"]);
            ready.map_err(|e| format!("{} {e}", started(&now[0].id)))
        })
    });
    agent.wait_until_settled("sick", secs(10));
    let events = agent.cli(&["events", "--for", "svc/sick"]).exits(0);
    assert!(events.out.contains("Unhealthy"), "{}", events.out);
}

#[test]
fn containers_of_others_are_never_touched() {
    let lab = Lab::take();
    let mut agent = Agent::start(&lab);
    let other = |name: &str, labels: &[&str]| {
        let mut args = vec!["run", "-d", "--name", name];
        for label in labels {
            args.extend(["--label", label]);
        }
        args.extend(["constellation-test/busybox:1", "sleep", "1000"]);
        lab.docker.run(&args)
    };
    // Somebody wrote our labels by hand, and somebody else's cluster made one.
    let ours = ["constellation.managed=1", "constellation.service=hello", "constellation.slot=1"];
    let by_hand = other("hello-1-abcde", &ours);
    let foreign = other("hello-2-abcde", &[&ours[..], &["constellation.lineage=someone-elses"]].concat());
    agent.apply(&service("hello", HELLO));
    let own = || {
        let found: Vec<_> =
            lab.docker.running("hello").into_iter().filter(|c| c.id != by_hand && c.id != foreign).collect();
        if found.len() == 1 { Ok(found[0].clone()) } else { Err(format!("{found:?}")) }
    };
    let first = eventually(secs(20), "one of ours runs", own);
    agent.kill();
    // Somebody takes the very name while nobody looks.
    lab.docker.run(&["rm", "-f", &first.id]);
    let squatter = other(&first.name, &[]);
    agent.spawn();
    agent.wait_until_ready();
    eventually(secs(20), "the reason is told", || {
        let why = agent.cli(&["why", "svc/hello"]).out;
        if why.contains("is not ours; remove or rename it") { Ok(()) } else { Err(why) }
    });
    let untouched = || {
        for id in [&by_hand, &foreign, &squatter] {
            let state = lab.docker.inspect(id, "{{.State.Running}} {{.RestartCount}}");
            if state != "true 0" {
                return Err(state);
            }
        }
        Ok(())
    };
    always(secs(3), "the others run", untouched);
    lab.docker.run(&["rename", &squatter, "out-of-the-way"]);
    eventually(secs(60), "ours runs again", own);
    agent.cli(&["delete", "svc/hello", "-y"]).exits(0);
    always(secs(3), "the others run", untouched);
    let left: Vec<String> = lab.docker.managed(Some("hello")).into_iter().map(|c| c.id).collect();
    assert!(left.len() == 2 && left.contains(&by_hand) && left.contains(&foreign), "{left:?}");
}

#[test]
fn a_renamed_container_makes_way_for_one_that_has_its_name() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    agent.apply(&service("hello", &format!("{HELLO}replicas: 2\n")));
    let before = lab.docker.runs("hello", 2).unwrap();
    lab.docker.run(&["rename", &before[0].id, "somebody-elses"]);
    eventually(secs(20), "one of its name runs, and the other is gone", || {
        let now = lab.docker.runs("hello", 2)?;
        let named = now.iter().any(|c| c.name == before[0].name && c.id != before[0].id);
        if named { Ok(()) } else { Err(format!("{now:?}")) }
    });
    agent.wait_until_settled("hello", secs(20));
    assert!(lab.docker.running("hello").contains(&before[1]), "the other one was left alone");
    let events = agent.cli(&["events", "--for", "svc/hello"]).exits(0).out;
    assert!(events.contains("somebody-elses"), "{events}");
}

#[test]
fn a_limit_changed_by_hand_is_told_and_a_new_container_has_the_declared_one() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    agent.apply(&service("hello", &format!("{HELLO}resources: {{limits: {{memory: 64Mi}}}}\n")));
    let before = lab.docker.identities();
    let id = lab.docker.runs("hello", 1).unwrap()[0].id.clone();
    lab.docker.run(&["update", "--memory", "128m", "--memory-swap", "256m", &id]);
    agent.wait_for_reason("hello", "ChangedByHand", secs(10));
    let said = agent.cli(&["why", "svc/hello"]).exits(0).out;
    assert!(said.contains("memory is 128Mi instead of 64Mi") && said.contains("docker rm -f"), "{said}");
    let object = agent.get("/api/v1/services/hello");
    assert_eq!(object["status"]["conditions"][0]["status"], "True", "it works: {object}");
    always(secs(3), "it goes on as it is", || match lab.docker.identities() {
        now if now == before => Ok(()),
        now => Err(format!("{now:?}")),
    });
    // What the hint says helps.
    lab.docker.run(&["rm", "-f", &id]);
    eventually(secs(20), "nothing differs", || match agent.why("hello").as_slice() {
        [] => lab.docker.runs("hello", 1).map(drop),
        found => Err(format!("{found:?}")),
    });
    let id = lab.docker.runs("hello", 1).unwrap()[0].id.clone();
    assert_eq!(lab.docker.inspect(&id, "{{.HostConfig.Memory}}"), (64 << 20).to_string());
}

#[test]
fn an_image_that_is_gone_or_built_anew_under_its_tag_is_told_and_nothing_is_restarted() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let context = agent.path("context");
    std::fs::create_dir(&context).unwrap();
    let build = |n: u8| {
        let text = format!("FROM constellation/hello:1\nLABEL build={n}\n");
        std::fs::write(context.join("Dockerfile"), text).unwrap();
        agent.cli(&["build", context.to_str().unwrap(), "-t", "constellation-test/mine:1"]).exits(0);
    };
    build(1);
    agent.apply(&service("mine", &HELLO.replace("constellation/hello:1", "constellation-test/mine:1")));
    agent.wait_until_settled("mine", secs(20));
    let before = lab.docker.identities();
    build(2);
    agent.wait_for_reason("mine", "ImageChanged", secs(45));
    for command in ["why", "describe"] {
        let said = agent.cli(&[command, "svc/mine"]).exits(0).out;
        assert!(said.contains("was built anew since") && said.contains("apply"), "{said}");
    }
    // The tag goes: what runs does so by the image's id.
    lab.docker.run(&["rmi", "-f", "constellation-test/mine:1"]);
    always(secs(3), "it runs on", || match lab.docker.identities() {
        now if now == before => Ok(()),
        now => Err(format!("{now:?}")),
    });
}

#[test]
fn a_network_that_somebody_removes_is_made_again_and_a_removal_under_way_is_waited_for() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    agent.apply(&service("hello", &format!("{HELLO}networks: [front]\n")));
    let id = lab.docker.runs("hello", 1).unwrap()[0].id.clone();
    let networks = "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}";
    let network = lab.docker.inspect(&id, networks);
    lab.docker.run(&["network", "disconnect", &network, &id]);
    lab.docker.run(&["network", "rm", &network]);
    eventually(secs(45), "it is on its network", || {
        match lab.docker.attempt(&["inspect", "--format", networks, &id]) {
            Ok(now) if now == network => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    agent.wait_until_settled("hello", secs(20));
    // Somebody removes it while the agent makes a new one of the same name.
    let begun = std::thread::scope(|scope| {
        let removing = scope.spawn(|| lab.docker.attempt(&["rm", "-f", &id]));
        let again = lab.docker.attempt(&["rm", "-f", &id]);
        (removing.join().unwrap(), again)
    });
    let new = eventually(secs(30), "a new one runs", || lab.docker.runs("hello", 1));
    assert_ne!(new[0].id, id, "{begun:?}");
    agent.wait_until_settled("hello", secs(20));
    assert_eq!(lab.docker.managed(Some("hello")).len(), 1);
}
