//! An agent as a service manager runs it: what it is told, and a reload of its configuration.

use std::{fs, os::unix::net::UnixDatagram, path::Path};

use crate::{
    agent::{Agent, HELLO, cli, service},
    lab::Lab,
    wait::{always, eventually, secs},
};

/// A manager that listens.
struct Manager {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Manager {
    /// Waits until `said` was heard after everything that was waited for before.
    #[track_caller]
    fn hears(&mut self, said: &str) {
        eventually(secs(20), &format!("the manager hears {said}"), || {
            let mut buffer = [0; 1024];
            while let Ok(length) = self.socket.recv(&mut buffer) {
                self.heard.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
            }
            let at = self.heard.iter().position(|line| line.starts_with(said));
            at.map(|at| drop(self.heard.drain(..=at))).ok_or_else(|| format!("{:?}", self.heard))
        });
    }
}

fn signal(agent: &Agent, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(agent.pid()).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

fn says(agent: &Agent, from: usize, words: &[&str]) {
    eventually(secs(20), &format!("the log says {words:?}"), || {
        let log = agent.log();
        let new = log.get(from..).unwrap_or_default();
        let found = new.lines().any(|line| words.iter().all(|word| line.contains(word)));
        if found { Ok(()) } else { Err(new.to_owned()) }
    });
}

#[test]
fn a_service_manager_hears_that_it_is_ready_alive_reloading_and_stopping() {
    let lab = Lab::take();
    let mut agent = Agent::prepared(&lab);
    let path = agent.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut manager = Manager { socket, heard: Vec::new() };
    agent.variables = vec![("NOTIFY_SOCKET", path.display().to_string()), ("WATCHDOG_USEC", "1000000".into())];
    agent.spawn();
    manager.hears("READY=1");
    // Ready is said when the API answers.
    assert_eq!(agent.cli(&["status"]).exits(0).code, 0);
    for _ in 0..3 {
        manager.hears("WATCHDOG=1");
    }
    signal(&agent, rustix::process::Signal::HUP);
    manager.hears("RELOADING=1\nMONOTONIC_USEC=");
    manager.hears("READY=1");
    // A process that does not run says nothing.
    signal(&agent, rustix::process::Signal::STOP);
    let mut buffer = [0; 1024];
    while manager.socket.recv(&mut buffer).is_ok() {}
    manager.heard.clear();
    always(secs(2), "a process that is stopped is silent", || match manager.socket.recv(&mut buffer) {
        Ok(length) => Err(String::from_utf8_lossy(&buffer[..length]).into_owned()),
        Err(_) => Ok(()),
    });
    signal(&agent, rustix::process::Signal::CONT);
    manager.hears("WATCHDOG=1");
    let (status, _) = agent.stop();
    assert!(status.success(), "{status}");
    manager.hears("STOPPING=1");
}

#[test]
fn a_reload_takes_over_what_is_safe_and_a_broken_file_changes_nothing() {
    let lab = Lab::take();
    let mut agent = Agent::prepared(&lab);
    let file = agent.path("agent.yaml");
    fs::write(&file, "logFilter: warn,constellation=info\n").unwrap();
    agent.flags = vec!["--config".into(), file.display().to_string()];
    agent.spawn();
    agent.wait_until_ready();
    let pid = agent.pid();
    let reload = |agent: &Agent, text: &str| {
        let from = agent.log().len();
        fs::write(&file, text).unwrap();
        signal(agent, rustix::process::Signal::HUP);
        from
    };
    // Everything that the agent reads next is told in detail, which it was not before.
    assert!(!agent.log().contains("TRACE"), "{}", agent.log());
    let from = reload(&agent, "logFilter: trace\n");
    says(&agent, from, &["the configuration was read again", "logFilter"]);
    says(&agent, from, &["TRACE"]);
    let from = reload(&agent, "logFilter: warn,constellation=info\nprofile: wan\n");
    says(&agent, from, &["WARN", "needs a restart", "profile", "agent.yaml:2:10"]);
    says(&agent, from, &["the configuration was read again", "logFilter"]);
    let from = reload(&agent, "logFilter: trace\nprot: 1\n");
    says(&agent, from, &["ERROR", "agent.yaml:2:1", "prot", "unknown key"]);
    says(&agent, from, &["everything stays as it was"]);
    assert_eq!(agent.cli(&["status"]).exits(0).code, 0);
    assert_eq!(agent.pid(), pid);
    assert!(!agent.log()[from..].contains("TRACE"), "{}", agent.log());
}

#[test]
fn a_grant_that_is_taken_away_stops_nothing_and_makes_nothing() {
    let lab = Lab::take();
    let mut agent = Agent::prepared(&lab);
    let (file, root, outside) = (agent.path("agent.yaml"), agent.path("srv"), agent.path("outside"));
    fs::create_dir_all(root.join("app")).unwrap();
    fs::create_dir_all(&outside).unwrap();
    let grants = |admin: &str| format!("grants:\n  admin: {admin}\n  bindRoots: [{}]\n", root.display());
    fs::write(&file, grants("[capabilities, binds]")).unwrap();
    agent.flags = vec!["--config".into(), file.display().to_string()];
    agent.spawn();
    agent.wait_until_ready();
    let reload = |text: &str| {
        let from = agent.log().len();
        fs::write(&file, text).unwrap();
        signal(&agent, rustix::process::Signal::HUP);
        says(&agent, from, &["the configuration was read again", "grants.admin"]);
    };
    let powerful = format!("{HELLO}capAdd: [NET_ADMIN]\n");
    agent.apply(&service("net", &powerful));
    let id = |name: &str| lab.docker.runs(name, 1).unwrap()[0].id.clone();
    let first = id("net");
    reload(&grants("none"));
    let said = agent.apply_with(&service("other", &powerful), &["-d"]).exits(4);
    assert!(said.err.contains("spec.capAdd") && said.err.contains("add capabilities to grants.admin"), "{}", said.err);
    always(secs(2), "what runs goes on", || if id("net") == first { Ok(()) } else { Err(id("net")) });
    lab.docker.run(&["rm", "-f", &first]);
    agent.wait_for_reason("net", "NotGranted", secs(20));
    reload(&grants("[capabilities]"));
    agent.wait_until_settled("net", secs(20));

    // Free to mount, until somebody makes a link of it that leads out.
    let app = root.join("app");
    agent.apply(&service("app", &format!("{HELLO}volumes: [{{type: bind, source: {}, target: /d}}]\n", app.display())));
    fs::remove_dir(&app).unwrap();
    std::os::unix::fs::symlink(&outside, &app).unwrap();
    lab.docker.run(&["kill", &id("app")]);
    agent.wait_for_reason("app", "NotGranted", secs(40));
    let why = agent.cli(&["why", "svc/app"]).exits(0).out;
    assert!(why.contains(&format!("leads to {}", outside.display())) && why.contains("spec.volumes[0]"), "{why}");

    // A volume that the engine binds to a folder is that folder.
    reload(&grants("[binds]"));
    for (name, folder) in [("kept", root.as_path()), ("sly", Path::new("/run"))] {
        let device = format!("device={}", folder.display());
        lab.docker.run(&["volume", "create", "-d", "local", "-o", "type=none", "-o", "o=bind", "-o", &device, name]);
        let mount =
            format!("volumes: [{{type: volume, source: {name}, target: /d, external: true, dataPolicy: host}}]\n");
        agent.apply_with(&service(name, &format!("{HELLO}{mount}")), &["-d"]).exits(0);
    }
    agent.wait_until_settled("kept", secs(20));
    agent.wait_for_reason("sly", "NotGranted", secs(20));
    let why = agent.cli(&["why", "svc/sly"]).exits(0).out;
    assert!(why.contains("spec.volumes[0] needs the grant dockerSocket"), "{why}");
}

#[test]
fn a_configuration_is_checked_and_shown_without_an_agent() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("agent.yaml");
    fs::write(&file, "peerPort: 70000\nprot: 1\n").unwrap();
    let name = file.to_str().unwrap();
    let said = cli(None, dir.path(), &["agent", "config", "check", name, "-o", "json"]).exits(2);
    let answer: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let faults = answer["faults"].as_array().unwrap();
    let places: Vec<_> = faults.iter().map(|f| (f["line"].as_u64(), f["column"].as_u64())).collect();
    assert_eq!((answer["valid"].as_bool(), places.len()), (Some(false), 2), "{answer}");
    assert!(places.contains(&(Some(1), Some(11))) && places.contains(&(Some(2), Some(1))), "{answer}");
    assert!(faults.iter().all(|f| f["fix"].as_str().is_some_and(|fix| !fix.is_empty())), "{answer}");
    let said = cli(None, dir.path(), &["agent", "config", "check", name]).exits(2);
    assert!(said.err.contains("agent.yaml:1:11: peerPort"), "{}", said.err);
    // The agent itself refuses it with the code that a service manager does not start again.
    cli(None, dir.path(), &["agent", "--config", name]).exits(78);

    fs::write(&file, "peerPort: 8444\n").unwrap();
    cli(None, dir.path(), &["agent", "config", "check", name]).exits(0);
    let shown = cli(None, dir.path(), &["agent", "config", "show", "--config", name, "--join-port", "1", "-o", "json"]);
    let answer: serde_json::Value = serde_json::from_str(&shown.exits(0).out).unwrap();
    let of = |key: &str| answer["settings"].as_array().unwrap().iter().find(|s| s["key"] == key).unwrap().clone();
    assert_eq!((&of("peerPort")["from"], &of("peerPort")["value"]), (&"file".into(), &"8444".into()));
    assert_eq!(of("peerPort")["place"], format!("{name}:1:11"));
    assert_eq!(of("joinPort")["place"], "--join-port");
    assert_eq!(of("gossipPort")["from"], "default");
}

#[test]
fn the_doctor_knows_the_engine_and_does_without_one() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let data = agent.path("data").display().to_string();
    let look = |host: &str| {
        let args = ["doctor", "--docker-host", host, "--data-dir", &data, "--api-address", "127.0.0.1:1", "-o", "json"];
        let mut command = lab.inside("timeout");
        let out =
            command.args(["60", crate::agent::BINARY]).args(args).env("CONSTELLATION_CONFIG", "").output().unwrap();
        let report: serde_json::Value = serde_json::from_slice(&out.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&out.stderr)));
        (out.status.code(), report)
    };
    let of = |report: &serde_json::Value, name: &str| {
        let checks = report["checks"].as_array().unwrap();
        checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("{name}: {report}")).clone()
    };
    let (_, report) = look(lab.docker.host());
    assert_eq!(of(&report, "engine")["level"], "ok", "{report}");
    assert!(of(&report, "engine")["found"].as_str().unwrap().starts_with("Docker "), "{report}");
    assert!(of(&report, "sync of the data directory")["found"].as_str().unwrap().contains("p99"), "{report}");
    assert!(of(&report, "data directory")["found"].as_str().unwrap().contains("mode 700"), "{report}");
    assert!(of(&report, "open files")["found"].as_str().unwrap().contains(&agent.pid().to_string()), "{report}");
    assert!(fs::read_dir(&data).unwrap().flatten().all(|e| !e.file_name().to_string_lossy().contains("doctor")));

    let (code, report) = look("unix:///nowhere/docker.sock");
    assert_eq!((code, &report["healthy"]), (Some(1), &false.into()), "{report}");
    assert_eq!(of(&report, "engine")["level"], "problem", "{report}");
    assert_eq!(of(&report, "data directory")["level"], "ok", "the rest is looked at all the same: {report}");
}
