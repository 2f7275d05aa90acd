//! The disk of the data directory, full and damaged: nothing acknowledged is lost, and no container notices.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    agent::{Agent, HELLO, service},
    lab::Lab,
    wait::{always, eventually, secs},
};

/// A file system of 160 MiB, for as long as this lives.
struct Small(PathBuf);

impl Small {
    fn at(path: PathBuf) -> Self {
        fs::create_dir_all(&path).unwrap();
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", "size=160m", "tmpfs"]).arg(&path).status();
        assert!(status.unwrap().success(), "a file system in memory is mounted");
        Self(path)
    }
    /// Fills it up to so many bytes, as another program would.
    fn fill(&self, leave: u64) {
        let mut file = File::options().create(true).append(true).open(self.0.join("film")).unwrap();
        let piece = vec![1; 64 << 10];
        loop {
            let found = rustix::fs::statvfs(&self.0).unwrap();
            let free = found.f_bavail * found.f_frsize;
            if free <= leave {
                return;
            }
            let size = usize::try_from(free - leave).unwrap().min(piece.len());
            match file.write(&piece[..size]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return,
                Err(error) => panic!("{error}"),
            }
        }
    }
    fn free(&self) {
        fs::remove_file(self.0.join("film")).unwrap();
    }
}
impl Drop for Small {
    fn drop(&mut self) {
        // Lazily: a process that is about to end may still hold a file.
        let _unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn config(name: &str) -> String {
    format!("apiVersion: constellation.dev/v1\nkind: Config\nmetadata: {{name: {name}}}\nspec: {{data: {{n: '1'}}}}\n")
}
fn put(agent: &Agent<'_>, name: &str) -> u16 {
    agent.ask("POST", "/api/v1/apply", "application/yaml", config(name).as_bytes()).status
}

#[test]
fn a_full_disk_refuses_changes_and_takes_them_again_when_there_is_room() {
    let lab = Lab::take();
    let mut agent = Agent::prepared(&lab);
    let disk = Small::at(agent.path("data"));
    agent.spawn();
    agent.wait_until_ready();
    agent.apply(&service("hello", HELLO));
    let before = lab.docker.identities();
    let mut acknowledged: Vec<String> = (0..50).map(|n| format!("c{n}")).collect();
    for name in &acknowledged {
        assert_eq!(put(&agent, name), 200, "{name}");
    }

    disk.fill(20 << 20);
    let said = agent.apply_with(&config("more"), &["--detach"]).exits(1);
    assert!(said.err.contains("almost full") && said.err.contains("left, and changes need 32Mi"), "{}", said.err);
    assert_eq!(put(&agent, "more"), 507);
    let said = agent.cli(&["delete", "config/c0", "-y"]).exits(0);
    assert!(said.out.contains("config/c0 deleted"), "what makes room is taken: {}", said.out);
    acknowledged.remove(0);
    let status = agent.get("/api/v1/status");
    assert_eq!(status["writable"], false, "{status}");
    assert!(status["full"].as_str().unwrap().contains("left"), "{status}");
    let ready = agent.ask("GET", "/ready", "application/json", b"");
    assert!(ready.status == 503 && ready.text().contains("Mi left"), "{}", ready.text());

    disk.fill(0);
    let gone = lab.docker.identities()[0].0.clone();
    lab.docker.run(&["rm", "-f", &gone]);
    eventually(secs(20), "what runs is kept running", || {
        let now = lab.docker.identities();
        if now.len() == before.len() { Ok(()) } else { Err(format!("{now:?}")) }
    });
    always(secs(3), "the agent answers and refuses", || match (agent.ended(), put(&agent, "more")) {
        (None, 507) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    // A process that is killed now cannot begin again, and says so.
    agent.kill();
    let (code, said) = agent.fails();
    assert_eq!(code, Some(74), "{said}");

    disk.free();
    agent.spawn();
    agent.wait_until_ready();
    assert_eq!(put(&agent, "more"), 200);
    acknowledged.push("more".into());
    disk.fill(20 << 20);
    eventually(
        secs(10),
        "it is refused again",
        || if put(&agent, "late") == 507 { Ok(()) } else { Err("taken".into()) },
    );
    disk.free();
    // Nobody starts anything: the same process takes changes again.
    eventually(secs(10), "there is room again", || {
        if put(&agent, "late") == 200 { Ok(()) } else { Err("refused".into()) }
    });
    acknowledged.push("late".into());
    let list = agent.get("/api/v1/configs");
    let mut found: Vec<_> =
        list["items"].as_array().unwrap().iter().map(|o| o["metadata"]["name"].as_str().unwrap().to_owned()).collect();
    found.sort();
    acknowledged.sort();
    assert_eq!(found, acknowledged);
    agent.kill();
}

fn flip(path: &Path, text: &[u8]) -> usize {
    let mut bytes = fs::read(path).unwrap();
    let places: Vec<_> = (0..bytes.len() - text.len()).filter(|at| &bytes[*at..*at + text.len()] == text).collect();
    for at in &places {
        bytes[*at] ^= 1;
    }
    fs::write(path, bytes).unwrap();
    places.len()
}

#[test]
fn a_damaged_store_is_rescued_and_its_containers_go_on() {
    let lab = Lab::take();
    let mut agent = Agent::start(&lab);
    agent.apply(&service("hello", HELLO));
    for name in ["a", "sunflower", "z"] {
        assert_eq!(put(&agent, name), 200);
    }
    // Of this one nothing will be known.
    agent.apply(&service("late", HELLO));
    let before = lab.docker.identities();
    agent.stop();
    let log = agent.path("data/raft/log/gen-000000000001/db");
    assert!(flip(&log, b"sunflower") > 0);
    let data = agent.path("data");
    let data = data.to_str().unwrap();
    for _ in 0..2 {
        let (code, said) = agent.fails();
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains(&format!("constellation rescue --single --data-dir {data}")), "{said}");
    }
    let looked = agent.cli(&["rescue", "--single", "--data-dir", data]).exits(1);
    assert!(looked.out.contains("1 service") && looked.out.contains("lost: the last "), "{}", looked.out);
    let offered = looked.out.lines().last().unwrap().trim().to_owned();
    let refused = agent.cli(&["rescue", "--single", "--data-dir", data, "--accept-loss", "0"]).exits(1);
    assert!(refused.err.contains("not 0"), "{}", refused.err);
    let words: Vec<_> = offered.split(' ').skip(1).collect();
    let done = agent.cli(&words).exits(0);
    assert!(done.out.contains("raft-replaced-1") && done.out.contains("backup confirm"), "{}", done.out);
    agent.spawn();
    agent.wait_until_ready();
    agent.wait_until_settled("hello", secs(30));
    assert_eq!(put(&agent, "z"), 200);
    let shown = agent.cli(&["backup", "confirm", "--dry-run"]).exits(1);
    assert!(shown.out.contains("stop") && shown.out.contains("late-1-"), "{}", shown.out);
    assert_eq!(lab.docker.identities(), before, "no container was touched");
    agent.cli(&["backup", "confirm", "-y"]).exits(0);
    eventually(secs(20), "what nobody knows is ended, once that was shown", || {
        if lab.docker.managed(Some("late")).is_empty() { Ok(()) } else { Err("it is there".to_owned()) }
    });
    let before: Vec<_> = before.into_iter().filter(|(_, what)| !what.contains("late")).collect();
    assert_eq!(lab.docker.identities(), before);
    assert!(agent.get("/api/v1/status")["recovery"].as_u64().unwrap() > 0);
    assert!(agent.cli(&["events"]).exits(0).out.contains("ClusterRecovered"));
    // A store that is gone is no empty one.
    agent.stop();
    fs::rename(agent.path("data/raft"), agent.path("raft")).unwrap();
    let (code, said) = agent.fails();
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("it is missing, and node.json"), "{said}");
    assert_eq!(lab.docker.identities(), before);
}
