//! An acknowledged write is never lost, whenever the process is killed.
//!
//! The parent starts this very test again as a child that writes and says on its standard output what was
//! answered; it kills the child at a random moment, while it opens, writes, makes snapshots or purges,
//! and starts it again on the same folder. The child first looks whether everything that was answered is
//! there. This tests recovery, not a loss of power: the page cache survives a kill (`store_power` does that).
//! `CONSTELLATION_TEST_LONG` does ten times as many rounds; `STORE_KILL_SEED` repeats one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod children;
mod writers;

use std::{
    env,
    io::{BufRead as _, BufReader},
    os::unix::process::ExitStatusExt as _,
    process::Stdio,
    time::Duration,
};

use constellation::store::open;
use rand::{Rng as _, SeedableRng as _};

use children::{child, say};
use writers::{Answered, busy, write_on};

const SIGKILL: i32 = 9;
const CHILD: &str = "STORE_KILL_DIR";
const ANSWERED: &str = "STORE_KILL_ANSWERED";

#[test]
fn an_acknowledged_write_survives_a_kill_at_any_moment() {
    let rounds = if env::var_os("CONSTELLATION_TEST_LONG").is_some() { 300 } else { 30 };
    let seed = env::var("STORE_KILL_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("STORE_KILL_SEED={seed}");
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut answered = Answered::default();
    let (mut opened, mut snapshots) = (0, 0);
    for round in 0..=rounds {
        let mut child = child("the_child_of_the_other_test")
            .env(CHILD, dir.path())
            .env(ANSWERED, answered.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
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
                _ => answered.hear(&line),
            }
            line.clear();
        }
        assert!(ready || opening, "round {round}: the store did not open");
        let status = killed.expect("it ran until it was killed").join().unwrap();
        // One that ended by itself, a panic in its open above all, is no killed one.
        assert_eq!(status.signal(), Some(SIGKILL), "round {round}: the child ended by itself: {status}");
    }
    let total = answered.total();
    println!("{rounds} kills, {opened} starts, {snapshots} of them on a snapshot, {total} writes answered, 0 lost");
    assert!(total > 0 && snapshots > 0);
}

#[test]
fn the_child_of_the_other_test() {
    let Some(dir) = env::var_os(CHILD) else { return };
    let answered: Answered = env::var(ANSWERED).unwrap().parse().unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async move {
        let store = open(busy(dir)).await.unwrap();
        say(&format!("READY {} {}", answered.missing(&store.client), store.client.raft_status().snapshot));
        write_on(&store.client, answered).await;
    });
}
