//! How an agent ends by itself: 74 when starting it again is the cure, 78 when a person has to decide.
//!
//! Here: settings, directories, damage, and disks without room, each through the exit code and the last
//! words of the real process. A disk is a small tmpfs, which is enlarged when there shall be room.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    agent::{Agent, BINARY, HELLO, service},
    http,
    lab::{Lab, count},
    wait::secs,
};

/// What the agent keeps beside its log; without one of them it must not go on.
const FILES: [&str; 3] = ["raft/member.json", "node.json", "seal.key"];

/// How an entry of the log begins on the disk.
const ENTRY: [u8; 8] = *b"CSTL\x01\x01\0\0";

/// A small disk of its own, gone with this value.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: PathBuf, options: &str) -> Self {
        fs::create_dir_all(&at).unwrap();
        run("mount", &["-t", "tmpfs", "-o", options, "tmpfs", at.to_str().unwrap()]);
        Self(at)
    }
    fn change(&self, options: &str) {
        run("mount", &["-o", &format!("remount,{options}"), self.0.to_str().unwrap()]);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: an agent that a failed test left behind may still be on it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[track_caller]
fn run(program: &str, args: &[&str]) {
    let out = Command::new("timeout").args(["20", program]).args(args).output().unwrap();
    assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
}

/// A Config of about `bytes`.
fn config(name: &str, bytes: usize) -> String {
    let value = "x".repeat(bytes);
    format!(
        "apiVersion: constellation.dev/v1\nkind: Config\nmetadata: {{name: {name}}}\nspec: {{data: {{k: {value}}}}}\n"
    )
}

/// Writes Configs until the agent takes no more; names of those that were acknowledged.
fn write_until_it_ends(socket: &Path, bytes: usize, at_most: usize) -> Vec<String> {
    let names = (0..at_most).map(|n| format!("fill-{n}"));
    let taken = |name: &String| {
        let answer = http::ask(socket, "POST", "/api/v1/apply", "application/yaml", config(name, bytes).as_bytes());
        answer.is_ok_and(|a| a.status == 200)
    };
    names.take_while(taken).collect()
}

#[track_caller]
fn has_all(agent: &Agent<'_>, names: &[String]) {
    let list = agent.get("/api/v1/configs");
    let found: Vec<_> = list["items"].as_array().unwrap().iter().map(|o| o["metadata"]["name"].clone()).collect();
    for name in names {
        assert!(found.iter().any(|f| f == name.as_str()), "{name} was acknowledged; {} are there", found.len());
    }
}

/// The last words of a failed agent: an `error:` with its cause, then what to do. A thread that still runs may write
/// a line of its log behind them.
#[track_caller]
fn tells(said: &str, words: &[&str]) {
    let words_of_its_own = |line: &&str| !line.starts_with(|c: char| c.is_ascii_digit());
    let last: Vec<&str> = said.lines().rev().filter(words_of_its_own).take(2).collect();
    let error =
        last.iter().find(|l| l.starts_with("error: ")).unwrap_or_else(|| panic!("no error at the end of {said}"));
    assert!(words.iter().all(|w| error.contains(w)), "{words:?} in {error}\n{said}");
    assert!(last[0].starts_with("hint: "), "{said}");
}

#[test]
fn a_wrong_setting_ends_with_78_and_says_which() {
    let lab = Lab::take();
    let agent = Agent::prepared(&lab);
    let (file, taken) = (agent.path("agent.yaml"), agent.path("file"));
    fs::write(&file, "dataDirr: /x\n").unwrap();
    fs::write(&taken, "").unwrap();
    let (file, taken) = (file.to_str().unwrap(), taken.to_str().unwrap());
    for (flags, variable, said) in [
        (vec!["--config", file], None, "dataDir"),
        (vec!["--config", "/no/such/file"], None, "/no/such/file"),
        (vec!["--profile", "moon"], None, "moon"),
        (vec!["--data-dir", taken], None, taken),
        (vec![], Some(("CONSTELLATION_DATADIR", "/x")), "CONSTELLATION_DATA_DIR"),
        (vec![], Some(("RUST_LOG", "a=b=c")), "RUST_LOG"),
    ] {
        let mut command = Command::new("timeout");
        crate::lab::without_ours(&mut command);
        command.args(["20", BINARY, "agent"]).args(&flags).envs(variable);
        if !flags.contains(&"--data-dir") {
            command.arg("--data-dir").arg(agent.path("data"));
        }
        let out = command.arg("--run-dir").arg(agent.path("run")).output().unwrap();
        let text = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(78), "{flags:?} {variable:?}: {text}");
        assert!(text.contains(said), "{said} in {text}");
        assert!(!agent.path("data").exists(), "{flags:?} {variable:?}: nothing is made");
    }
    // The command line itself is judged as that of every other command.
    let out = Command::new(BINARY).args(["agent", "--no-such-flag"]).output().unwrap();
    assert_eq!(out.status.code(), Some(2));
}

#[test]
fn a_damaged_file_ends_with_78_and_is_left_as_it_is() {
    let lab = Lab::take();
    let mut agent = Agent::start(&lab);
    let names: Vec<String> = (0..20).map(|n| format!("c{n}")).collect();
    for name in &names {
        agent.apply(&config(name, 100));
    }
    assert_eq!(agent.stop().0.code(), Some(0));
    for name in FILES {
        let path = agent.path("data").join(name);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        let (code, said) = agent.fails();
        assert_eq!(code, Some(78), "{name}: {said}");
        tells(&said, &[name]);
        assert_eq!(fs::read(&path).unwrap(), whole[..whole.len() / 2], "{name}");
        fs::write(&path, whole).unwrap();
    }
    agent.spawn();
    agent.wait_until_ready();
    has_all(&agent, &names);
}

#[test]
fn one_flipped_bit_anywhere_in_the_log_ends_with_78_and_a_copy_brings_everything_back() {
    let lab = Lab::take();
    let mut agent = Agent::start(&lab);
    let names: Vec<String> = (0..20).map(|n| format!("c{n}")).collect();
    for name in &names {
        agent.apply(&config(name, 100));
    }
    // The end of a killed one is as firm as that of one that was stopped.
    agent.kill();
    let (log, copy) = (agent.path("data/raft/log"), agent.path("copy"));
    run("cp", &["-a", log.to_str().unwrap(), copy.to_str().unwrap()]);
    let restore = || {
        fs::remove_dir_all(&log).unwrap();
        run("cp", &["-a", copy.to_str().unwrap(), log.to_str().unwrap()]);
    };
    let (file, places) = entries(&log);
    assert!(places.len() > names.len(), "{places:?}");
    for n in [0, 1, places.len() / 2, places.len() - 2, places.len() - 1] {
        let mut bytes = fs::read(&file).unwrap();
        bytes[places[n] + 50] ^= 0x10;
        fs::write(&file, bytes).unwrap();
        // Asked again, it does not take what sled left for the whole.
        for _ in 0..2 {
            let (code, said) = agent.fails();
            assert_eq!(code, Some(78), "entry {n} of {}: {said}", places.len());
            tells(&said, &["raft is damaged"]);
        }
        restore();
    }
    agent.spawn();
    agent.wait_until_ready();
    has_all(&agent, &names);
}

/// The file that holds most entries, and where they begin in it.
fn entries(log: &Path) -> (PathBuf, Vec<usize>) {
    let files = fs::read_dir(log).unwrap().map(|e| e.unwrap().path().join("db")).filter(|db| db.exists());
    let places = |db: &Path| {
        let bytes = fs::read(db).unwrap();
        bytes.windows(ENTRY.len()).enumerate().filter(|(_, w)| *w == ENTRY).map(|(at, _)| at).collect::<Vec<_>>()
    };
    files.map(|db| (db.clone(), places(&db))).max_by_key(|(_, places)| places.len()).unwrap()
}

#[test]
fn a_first_start_without_room_ends_with_74_and_with_room_it_starts() {
    let lab = Lab::take();
    // Each page more lets the start come a step further; then the store itself wants room.
    for kilobytes in (1..=12).map(|pages| pages * 4).chain([1_000, 7_000]) {
        let mut agent = Agent::prepared(&lab);
        let disk = Disk::mount(agent.path("data"), &format!("size={kilobytes}k"));
        let (code, said) = agent.fails();
        assert_eq!(code, Some(74), "{kilobytes}: {said}");
        tells(&said, &[agent.path("data").to_str().unwrap()]);
        disk.change("size=64m");
        agent.spawn();
        agent.wait_until_ready();
        agent.apply(&config("c", 100));
    }
}

#[test]
fn a_start_on_a_read_only_disk_ends_with_74_and_changes_nothing() {
    let lab = Lab::take();
    let mut agent = Agent::prepared(&lab);
    let disk = Disk::mount(agent.path("data"), "size=64m");
    disk.change("ro");
    let (code, said) = agent.fails();
    assert_eq!(code, Some(74), "{said}");
    tells(&said, &["Read-only"]);
    disk.change("rw");
    agent.spawn();
    agent.wait_until_ready();
    agent.apply(&config("c", 100));
    agent.stop();
    disk.change("ro");
    let (code, said) = agent.fails();
    assert_eq!(code, Some(74), "{said}");
    disk.change("rw");
    agent.spawn();
    agent.wait_until_ready();
    has_all(&agent, &["c".into()]);
}

#[test]
fn a_disk_that_fills_up_loses_nothing_that_was_acknowledged() {
    let lab = Lab::take();
    for (round, bytes) in [200_000, 5_000, 30_000].into_iter().cycle().take(count(30)).enumerate() {
        let mut agent = Agent::prepared(&lab);
        let disk = Disk::mount(agent.path("data"), &format!("size={}k", 42_000 + round * 333));
        agent.spawn();
        agent.wait_until_ready();
        agent.apply(&service("hello", HELLO));
        let before = lab.docker.identities();
        let names = write_until_it_ends(&agent.socket(), bytes, 100_000_000 / bytes);
        assert!(!names.is_empty());
        assert_eq!(agent.ended(), None, "it refuses before the disk is full\n{}", agent.log());
        assert!(agent.log().contains("changes are refused until there is room"), "{}", agent.log());
        // Something else takes the rest, and the agent is killed: no room to start, and no damage.
        let film = fs::write(agent.path("data/film"), vec![1; 50_000_000]);
        assert!(film.is_err(), "the disk is full");
        agent.kill();
        for _ in 0..3 {
            let (code, said) = agent.fails();
            assert_eq!(code, Some(74), "{bytes}: {said}");
        }
        disk.change("size=256m");
        agent.spawn();
        agent.wait_until_ready();
        has_all(&agent, &names);
        assert_eq!(lab.docker.identities(), before, "containers go on");
        agent.wait_until_settled("hello", secs(20));
        agent.apply(&config("again", bytes));
    }
}
