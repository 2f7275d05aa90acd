//! Changes of a running service: scale, update, suspend, delete.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
};

use crate::{
    agent::{Agent, HELLO, service},
    lab::Lab,
    wait::{eventually, secs},
};

#[test]
fn scaling_keeps_the_replicas_that_stay() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    agent.apply(&service("hello", &format!("{HELLO}replicas: 2\n")));
    let two = lab.docker.runs("hello", 2).unwrap();
    agent.cli(&["scale", "svc/hello=5"]).exits(0);
    let five = lab.docker.runs("hello", 5).unwrap();
    assert!(two.iter().all(|c| five.contains(c)), "{two:?} {five:?}");
    agent.cli(&["scale", "hello=1"]).exits(0);
    let one = eventually(secs(20), "one is left", || lab.docker.runs("hello", 1));
    assert_eq!(one[0].slot, "1", "the lowest slot stays");
    assert!(two.contains(&one[0]));
    assert_eq!(agent.get("/api/v1/services/hello/scale")["replicas"], 1);
    agent.cli(&["scale", "svc/hello=0"]).exits(0);
    eventually(secs(20), "none is left", || lab.docker.runs("hello", 0));
}

#[test]
fn a_changed_environment_replaces_one_replica_after_another() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let spec =
        |greeting: &str| service("hello", &format!("{HELLO}replicas: 3\nenvironment: {{GREETING: {greeting}}}\n"));
    agent.apply(&spec("one"));
    let before = lab.docker.runs("hello", 3).unwrap();

    let done = AtomicBool::new(false);
    let (said, fewest) = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut fewest = usize::MAX;
            while !done.load(Ordering::Relaxed) {
                fewest = fewest.min(lab.docker.running("hello").len());
            }
            fewest
        });
        let said = agent.apply_with(&spec("two"), &[]);
        done.store(true, Ordering::Relaxed);
        (said, watch.join().unwrap())
    });
    said.exits(0);
    assert_eq!(fewest, 3, "each new one runs before an old one stops");
    let after = lab.docker.runs("hello", 3).unwrap();
    assert!(after.iter().all(|c| !before.contains(c)), "{after:?}");
    for container in &after {
        let page = lab.get(&format!("http://{}:8080/", lab.docker.address(&container.id))).unwrap();
        assert!(page.starts_with("two from hello-"), "{page}");
    }
    let object = agent.get("/api/v1/services/hello");
    assert_eq!(object["metadata"]["generation"], 2);
    let history = agent.cli(&["ps", "hello"]).exits(0);
    assert!(history.out.contains("\\_"), "ended replicas are shown below theirs: {}", history.out);
}

#[test]
fn a_change_that_never_gets_ready_stops_at_the_first_replica() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    agent.apply(&service("hello", &format!("{HELLO}replicas: 3\n")));
    let before: BTreeSet<String> = lab.docker.runs("hello", 3).unwrap().into_iter().map(|c| c.id).collect();
    let broken = HELLO.replace("port: 8080", "port: 9");
    let manifest = service("hello", &format!("{broken}replicas: 3\nautoRestart: {{onUnhealthy: false}}\n"));
    let said = agent.apply_with(&manifest, &["--timeout", "8s"]).exits(1);
    assert!(said.err.contains("error: not done after 8") && said.err.contains("svc/hello: "), "{}", said.err);
    assert!(said.err.contains("constellation why svc/hello"), "{}", said.err);
    assert!(said.out.contains("Unhealthy"), "what stands in the way: {}", said.out);
    let now: BTreeSet<String> = lab.docker.running("hello").into_iter().map(|c| c.id).collect();
    assert_eq!(now.intersection(&before).count(), 3, "the old ones serve on, all of them");
    agent.apply(&service("hello", &format!("{HELLO}replicas: 3\n")));
    agent.wait_until_settled("hello", secs(30));
}

#[test]
fn suspend_stops_and_forgets_nothing_delete_removes_and_keeps_volumes() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let spec = format!("{HELLO}volumes: [{{type: volume, source: data, target: /data}}]\n");
    agent.apply(&service("hello", &spec));
    let id = lab.docker.runs("hello", 1).unwrap()[0].id.clone();
    lab.docker.run(&["exec", &id, "sh", "-c", "echo kept >/data/file"]);
    let volumes = lab.docker.run(&["volume", "ls", "-q"]);
    assert!(volumes.starts_with("data_"), "named after the lineage: {volumes}");

    agent.apply(&service("hello", &format!("{spec}suspend: true\n")));
    eventually(secs(20), "none runs", || lab.docker.runs("hello", 0));
    agent.apply(&service("hello", &spec));
    eventually(secs(20), "one runs", || lab.docker.runs("hello", 1));
    let read = |what: &str| {
        let id = lab.docker.running("hello")[0].id.clone();
        assert_eq!(lab.docker.run(&["exec", &id, "cat", "/data/file"]), "kept", "{what}");
    };
    read("after suspend");

    agent.cli(&["delete", "svc/hello", "-y"]).exits(0);
    eventually(secs(20), "nothing is left", || {
        let left = lab.docker.managed(Some("hello"));
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    assert_eq!(lab.docker.run(&["volume", "ls", "-q"]), volumes, "the volume stays");
    agent.cli(&["get", "svc", "hello"]).exits(5);
    agent.apply(&service("hello", &spec));
    read("after delete and apply");
}

#[test]
fn prune_deletes_only_what_is_missing_from_its_own_set() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let config = |name: &str| {
        format!(
            "---\napiVersion: constellation.dev/v1\nkind: Config\nmetadata: {{name: {name}}}\nspec: {{data: {{a: b}}}}\n"
        )
    };
    agent.apply_with(&config("loose"), &[]).exits(0);
    agent.apply_with(&[config("one"), config("two")].concat(), &["--set", "home"]).exits(0);
    agent.apply_with(&config("one"), &["--prune"]).exits(2);
    let said = agent.apply_with(&config("one"), &["--prune", "--set", "home"]).exits(0);
    assert!(said.out.lines().any(|l| l.contains("config/two") && l.contains("deleted")), "{}", said.out);
    let list = agent.get("/api/v1/configs");
    let names: Vec<_> = list["items"].as_array().unwrap().iter().map(|o| o["metadata"]["name"].clone()).collect();
    assert_eq!(names, ["loose", "one"]);
    agent.apply_with(&config("one"), &["--set", "other"]).exits(6);
}

#[test]
fn a_broken_update_comes_back_by_itself_and_says_why_with_the_last_lines_of_its_log() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let fast = "replicas: 3\n";
    agent.apply(&service("hello", &format!("{HELLO}{fast}")));
    let before: BTreeSet<String> = lab.docker.runs("hello", 3).unwrap().into_iter().map(|c| c.id).collect();
    let broken = format!("{HELLO}{fast}command: [sh, -c, 'echo no database; exit 3']\n");
    let said = agent.apply_with(&service("hello", &broken), &["--timeout", "60s"]).exits(1);
    assert!(said.err.contains("rolled back to revision 1: hello.1: exit 3"), "{}", said.err);
    assert!(said.out.contains("no database"), "its last words: {}", said.out);
    let now: BTreeSet<String> = lab.docker.runs("hello", 3).unwrap().into_iter().map(|c| c.id).collect();
    assert_eq!(now, before, "none of those that worked was touched");
    let status = agent.cli(&["rollout", "status", "svc/hello"]).exits(1);
    assert!(status.out.starts_with("svc/hello rolled back to revision 1 (3/3 ready"), "{}", status.out);
    assert!(status.out.contains("declared is revision 2") && status.out.contains("| no database"), "{}", status.out);
    let why = agent.cli(&["why", "svc/hello"]);
    assert!(
        why.out.contains("RolledBack") && why.out.contains("rollout undo svc/hello --to-revision 2"),
        "{}",
        why.out
    );
    // The same once more changes nothing, and says so; a mended one is rolled out.
    let again = agent.apply_with(&service("hello", &broken), &["--timeout", "60s"]).exits(0);
    assert!(again.err.contains("NotReady: RolledBack"), "{} {}", again.out, again.err);
    agent.apply(&service("hello", &format!("{HELLO}{fast}environment: {{GREETING: mended}}\n")));
    let events = agent.cli(&["events", "--for", "svc/hello"]).exits(0);
    for reason in ["RolloutStarted", "RollingBack", "RolledBack", "RolloutComplete"] {
        assert!(events.out.contains(reason), "{reason}: {}", events.out);
    }
}

#[test]
fn a_person_pauses_promotes_undoes_and_restarts() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let spec = |greeting: &str, more: &str| {
        let hello = HELLO.replace("minHealthyTime: 500ms", &format!("minHealthyTime: 500ms{more}"));
        service("hello", &format!("{hello}replicas: 2\nenvironment: {{GREETING: {greeting}}}\n"))
    };
    agent.apply(&spec("one", ""));
    let ids = || -> BTreeSet<String> { lab.docker.runs("hello", 2).unwrap().into_iter().map(|c| c.id).collect() };
    let first = ids();
    // The canary goes, the other one waits for a word.
    let said = agent.apply_with(&spec("two", ", canary: 1, autoPromote: false"), &["--timeout", "60s"]).exits(0);
    assert!(said.out.contains("waits for promote") && said.out.contains("rollout promote svc/hello"), "{}", said.out);
    assert_eq!(ids().intersection(&first).count(), 1);
    agent.cli(&["rollout", "promote", "svc/hello"]).exits(0);
    let second = ids();
    assert!(second.is_disjoint(&first));
    // Paused, nothing is replaced.
    agent.cli(&["rollout", "pause", "hello", "-m", "lunch"]).exits(0);
    let held = agent.apply_with(&spec("three", ""), &["--timeout", "60s"]).exits(1);
    assert!(held.err.contains("held up") && held.err.contains("rollout resume svc/hello"), "{}", held.err);
    let paused = agent.cli(&["rollout", "status", "hello"]).exits(0);
    assert!(paused.out.contains("paused by "), "{}", paused.out);
    std::thread::sleep(secs(1));
    assert_eq!(ids(), second);
    agent.cli(&["rollout", "resume", "hello"]).exits(0);
    let third = ids();
    assert!(third.is_disjoint(&second));
    agent.cli(&["rollout", "resume", "hello"]).exits(2);
    agent.cli(&["rollout", "restart", "hello"]).exits(0);
    let restarted = ids();
    assert!(restarted.is_disjoint(&third));
    // Back to the first one, whose spec is not what is declared.
    agent.cli(&["rollout", "undo", "svc/hello", "--to-revision", "1", "-m", "500s"]).exits(0);
    let back = lab.docker.runs("hello", 2).unwrap();
    let page = lab.get(&format!("http://{}:8080/", lab.docker.address(&back[0].id))).unwrap();
    assert!(page.starts_with("one from hello-"), "{page}");
    let history = agent.cli(&["rollout", "history", "hello"]).exits(0);
    assert!(history.out.lines().any(|l| l.starts_with("1 ") && l.contains(" wanted, worked last ")), "{}", history.out);
    agent.cli(&["rollout", "undo", "hello", "--to-revision", "77"]).exits(2);
}
