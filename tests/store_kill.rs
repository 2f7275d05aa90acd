//! An acknowledged write is never lost, whenever the process is killed.
//!
//! The parent starts this very test again as a child that writes and says on its standard output what was
//! answered; it kills the child at a random moment, while it opens, writes, makes snapshots or purges,
//! and starts it again on the same folder. The child first looks whether everything that was answered is
//! there. This tests recovery, not a loss of power: the page cache survives a kill.
//! `CONSTELLATION_TEST_LONG` does ten times as many rounds; `STORE_KILL_SEED` repeats one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::ExitStatusExt as _,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use constellation::{
    model::{Declared, Kind, ObjectKey, Spec, Uid, config::ConfigSpec},
    store::{Client, Options, Pace, command, open, put::put, seal::Sealer},
};
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinSet;

const SIGKILL: i32 = 9;
const CHILD: &str = "STORE_KILL_DIR";
const WRITERS: usize = 16;
/// Objects of each writer: the newest so many answers can be checked.
const KEYS: u64 = 50;
const DEADLINE: Duration = Duration::from_secs(20);

#[test]
fn an_acknowledged_write_survives_a_kill_at_any_moment() {
    let rounds = if env::var_os("CONSTELLATION_TEST_LONG").is_some() { 300 } else { 30 };
    let seed = env::var("STORE_KILL_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("STORE_KILL_SEED={seed}");
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    // How many writes of each writer were answered.
    let mut answered = [0u64; WRITERS];
    let (mut opened, mut snapshots) = (0, 0);
    for round in 0..=rounds {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "the_child_of_the_other_test", "--nocapture"])
            .env(CHILD, dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let known = answered.map(|n| n.to_string()).join(" ");
        writeln!(child.stdin.as_mut().unwrap(), "{known}").unwrap();
        let (mut said, mut ready) = (BufReader::new(child.stdout.take().unwrap()), false);
        // One round in four is killed while it opens.
        let opening = random.random_ratio(1, 4) && round < rounds;
        let patience = Duration::from_millis(random.random_range(if opening { 0..150 } else { 30..600 }));
        let mut killer = Some((child, patience));
        let kill = |killer: &mut Option<(std::process::Child, Duration)>| {
            let (mut child, patience) = killer.take()?;
            Some(std::thread::spawn(move || {
                std::thread::sleep(patience);
                child.kill().unwrap();
                child.wait().unwrap()
            }))
        };
        let mut killed = if opening { kill(&mut killer) } else { None };
        let mut line = String::new();
        while said.read_line(&mut line).unwrap() > 0 {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                // A line that the kill cut off was not said.
                _ if !line.ends_with('\n') => {}
                ["READY", missing, snapshot] => {
                    assert_eq!(missing, "0", "round {round}: acknowledged writes are missing");
                    snapshots += u64::from(snapshot != "0");
                    (ready, opened) = (true, opened + 1);
                    if killed.is_none() {
                        killed = kill(&mut killer);
                    }
                }
                ["A", writer, n] => answered[writer.parse::<usize>().unwrap()] = n.parse::<u64>().unwrap() + 1,
                _ => {}
            }
            line.clear();
        }
        assert!(ready || opening, "round {round}: the store did not open");
        let status = killed.expect("it ran until it was killed").join().unwrap();
        // One that ended by itself, a panic in its open above all, is no killed one.
        assert_eq!(status.signal(), Some(SIGKILL), "round {round}: the child ended by itself: {status}");
    }
    let total: u64 = answered.iter().sum();
    println!("{rounds} kills, {opened} starts, {snapshots} of them on a snapshot, {total} writes answered, 0 lost");
    assert!(total > 0 && snapshots > 0);
}

#[test]
fn the_child_of_the_other_test() {
    let Some(dir) = env::var_os(CHILD) else { return };
    tokio::runtime::Runtime::new().unwrap().block_on(async move {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).unwrap();
        let answered: Vec<u64> = line.split_whitespace().map(|n| n.parse().unwrap()).collect();
        // Snapshots, purges and fresh databases all the time.
        let pace = Pace {
            between: Duration::from_millis(50),
            bytes: 200_000,
            entries: 200,
            at_once: 1 << 20,
            generation: 300_000,
        };
        let store = open(Options { pace, ..Options::new(dir, "n1") }).await.unwrap();
        let client = store.client.clone();
        let missing = answered.iter().enumerate().map(|(w, n)| missing(&client, w, *n)).sum::<u64>();
        say(&format!("READY {missing} {}", client.raft_status().snapshot));
        let sealer = Arc::new(Sealer::ephemeral());
        let mut writers = JoinSet::new();
        for (writer, from) in answered.into_iter().enumerate() {
            let (client, sealer) = (client.clone(), sealer.clone());
            writers.spawn(async move {
                for n in from.. {
                    write(&client, &sealer, writer, n).await;
                    say(&format!("A {writer} {n}"));
                }
            });
        }
        writers.join_next().await.unwrap().unwrap();
    });
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // One write, so that a kill cuts lines and does not mix them.
    out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush()).unwrap();
}
fn name(writer: usize, n: u64) -> Arc<str> {
    format!("w{writer}-{}", n % KEYS).into()
}

/// How many of a writer's newest answered writes are not there, or are older than answered.
fn missing(client: &Client, writer: usize, answered: u64) -> u64 {
    let state = client.state();
    let newest = answered.saturating_sub(KEYS)..answered;
    let lost = newest.filter(|n| {
        let found = state.object(&ObjectKey::new(Kind::Config, name(writer, *n)));
        let value = found.and_then(|o| o.parse::<ConfigSpec>().ok()?.data.get("n")?.trim().parse::<u64>().ok());
        value.is_none_or(|value| value < *n)
    });
    lost.count() as u64
}

async fn write(client: &Client, sealer: &Sealer, writer: usize, n: u64) {
    let spec = Spec::Config(ConfigSpec { data: [("n".into(), format!("{n:>300}"))].into() });
    let declared = Declared { name: name(writer, n), labels: [].into(), annotations: [].into(), spec };
    let command = put(&declared, None, sealer, &client.state(), Uid::from_bytes(rand::random())).unwrap();
    let group = command::Group { commands: vec![command::Command::Put(command)], ..command::Group::default() };
    client.propose(group, DEADLINE).await.unwrap();
}
