//! What `examples/` promises.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
};

use crate::{
    agent::Agent,
    lab::Lab,
    wait::{eventually, secs},
};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");

#[test]
fn examples_applied_twice_change_nothing_the_second_time() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let first = agent.cli(&["apply", "-f", EXAMPLES, "-y"]).exits(0);
    let services = ["svc/hello", "svc/web", "svc/redis", "svc/load", "svc/pieces", "svc/monthly"];
    for object in services.into_iter().chain(["secret/redis-password", "config/counter"]) {
        assert!(first.out.lines().any(|l| l.contains(object) && l.contains("created")), "{object}: {}", first.out);
    }
    for service in ["hello", "web", "redis", "load"] {
        agent.wait_until_settled(service, secs(60));
    }
    let before = lab.docker.identities();
    // The pieces are done: their containers are kept for their logs.
    assert_eq!(before.len(), 3 + 2 + 1 + 1 + 3, "{before:?}");

    let second = agent.cli(&["apply", "-f", EXAMPLES, "-y"]).exits(0);
    assert_eq!(second.out.lines().filter(|l| l.contains("unchanged")).count(), 8, "{}", second.out);
    for result in ["created", "configured", "deleted"] {
        assert!(!second.out.contains(result), "{}", second.out);
    }
    assert_eq!(lab.docker.identities(), before, "no container was restarted");
    agent.cli(&["diff", "-f", EXAMPLES]).exits(0);
}

#[test]
fn the_counter_counts_and_keeps_its_count_when_redis_is_replaced() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let file = format!("{EXAMPLES}/counter.yaml");
    agent.cli(&["apply", "-f", &file, "-y"]).exits(0);
    agent.wait_until_settled("web", secs(60));
    let visit = || {
        let web = lab.docker.running("web").into_iter().next().ok_or("no web")?;
        lab.get(&format!("http://{}:8080/cgi-bin/count", lab.docker.address(&web.id)))
    };
    let page = eventually(secs(10), "the page counts", visit);
    assert!(page.starts_with("visits: 1 "), "{page}");
    lab.docker.run(&["rm", "-f", &lab.docker.running("redis")[0].id]);
    agent.wait_until_settled("redis", secs(20));
    let page = eventually(secs(20), "the page counts again", || {
        visit().and_then(|page| if page.starts_with("visits: 2 ") { Ok(page) } else { Err(page) })
    });
    assert!(page.starts_with("visits: 2 "), "{page}");
}

#[test]
fn a_global_service_has_one_replica_on_the_node() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    agent.cli(&["apply", "-f", &format!("{EXAMPLES}/load.yaml"), "-y"]).exits(0);
    agent.wait_until_settled("load", secs(30));
    let running = lab.docker.runs("load", 1).unwrap();
    assert_eq!(running[0].slot, "n1", "a global service's slot is its node");
    let page = lab.get(&format!("http://{}:8080/", lab.docker.address(&running[0].id))).unwrap();
    assert_eq!(page.split_whitespace().count(), 5, "a load average: {page}");
}

#[test]
fn what_a_killed_demo_left_is_taken_down_by_the_next_one_and_nothing_else() {
    let lab = Lab::take();
    let number: u32 = rand::random();
    let (left, image) =
        (format!("/tmp/constellation-demo-{number:08x}"), format!("constellation-demo-{number}/hello:1"));
    let label = format!("constellation.lineage={number}");
    let run = |label: &str, image: &str| lab.docker.run(&["run", "-d", "--label", label, image, "sleep", "1000"]);
    lab.docker.run(&["tag", "constellation-test/busybox:1", &image]);
    lab.docker.run(&["network", "create", "--label", &label, &format!("demo-{number}")]);
    let (demos, others) = (run(&label, &image), run("constellation.lineage=another", "constellation-test/busybox:1"));
    lab.docker.run(&["tag", "constellation-test/busybox:1", "constellation-demo-other/hello:1"]);
    // The agent of that demo lives on without it.
    let mut agent = Command::new("sleep").arg("60").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let stat = fs::read_to_string(format!("/proc/{}/stat", agent.id())).unwrap();
    let start = stat.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    fs::create_dir(&left).unwrap();
    fs::set_permissions(&left, fs::Permissions::from_mode(0o700)).unwrap();
    for (file, text) in [
        ("demo.pid", "4194305 1".to_owned()),
        ("agent.pid", format!("{} {start}", agent.id())),
        ("engine.at", format!("{} found {}", boot.trim(), lab.docker.socket().display())),
        ("lineage", number.to_string()),
        ("images", image.clone()),
    ] {
        fs::write(format!("{left}/{file}"), text + "\n").unwrap();
    }
    let ended = std::thread::spawn(move || agent.wait().unwrap());
    // This one goes no further: it finds no engine that it could use.
    let next = Command::new("timeout")
        .args(["60", "bash", &format!("{EXAMPLES}/demo.sh")])
        .env("DOCKER_HOST", "tcp://127.0.0.1:1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(next.status.code(), Some(1), "{next:?}");
    eventually(secs(5), "the agent's end", || if ended.is_finished() { Ok(()) } else { Err(format!("{next:?}")) });
    assert!(!fs::exists(&left).unwrap(), "{next:?}");
    let containers = lab.docker.run(&["ps", "-aq", "--no-trunc"]);
    assert!(containers.contains(&others) && !containers.contains(&demos), "{containers}");
    assert_eq!(lab.docker.run(&["network", "ls", "-q", "--filter", &format!("label={label}")]), "");
    let images = lab.docker.run(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    assert!(images.contains("constellation-demo-other/hello:1"), "{images}");
    lab.docker.run(&["rm", "-f", &others]);
    lab.docker.run(&["rmi", "constellation-demo-other/hello:1"]);
    assert!(!images.contains(&image), "{images}");
}
