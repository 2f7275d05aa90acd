//! An acknowledged write is never lost, whenever the process is killed.
//!
//! The parent starts this very test again as a child that writes and says on its standard output what was
//! answered; it kills the child at a random moment, while it opens, writes, makes snapshots or purges,
//! and starts it again on the same folder. The child first looks whether everything that was answered is
//! there, and there once. Half of the children kill themselves instead, at a place around a write, a sync, a rename, an
//! append or a purge (`store::fault`). This tests recovery, not a loss of power: the page cache survives a kill (`store_power` does that).
//! `CONSTELLATION_TEST_LONG` does ten times as many rounds; `STORE_KILL_SEED` repeats one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod children;
mod writers;

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead as _, BufReader},
    os::unix::process::ExitStatusExt as _,
    process::Stdio,
    time::{Duration, Instant},
};

use constellation::store::{fault::PLACES, open};
use rand::{Rng as _, SeedableRng as _};

use children::{child, say};
use writers::{Answered, busy, write_on};

const SIGKILL: i32 = 9;
const CHILD: &str = "STORE_KILL_DIR";
const ANSWERED: &str = "STORE_KILL_ANSWERED";

#[test]
fn an_acknowledged_write_survives_a_kill_at_any_moment() {
    let long = env::var_os("CONSTELLATION_TEST_LONG").is_some();
    let rounds = if long { 300 } else { 30 };
    let seed = env::var("STORE_KILL_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("STORE_KILL_SEED={seed}");
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut answered = Answered::default();
    let (mut opened, mut snapshots, mut places) = (0, 0, BTreeMap::<&str, u32>::new());
    let first = random.random_range(0..PLACES.len());
    for round in 0..=rounds {
        // In turn, beginning anywhere.
        let place = (round % 2 == 1).then(|| PLACES[(first + round / 2) % PLACES.len()]);
        let times = match place {
            Some("append" | "appended" | "synced" | "noted") => random.random_range(1..300),
            // Once in a start.
            Some("file-written" | "file-synced" | "file-renamed" | "copied" | "forgetting") => 1,
            _ => random.random_range(1..4),
        };
        let mut child = child("the_child_of_the_other_test")
            .env("STORE_FAULT", place.map_or_else(String::new, |place| format!("crash:{place}:{times}")))
            .env(CHILD, dir.path())
            .env(ANSWERED, answered.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut said, mut ready) = (BufReader::new(child.stdout.take().unwrap()), false);
        // One round in four is killed while it opens.
        let opening = place.is_none() && random.random_ratio(1, 4) && round < rounds;
        let patience = match place {
            // Long enough to come by.
            Some(_) => Duration::from_millis(1_500),
            None => Duration::from_millis(random.random_range(if opening { 0..150 } else { 30..600 })),
        };
        let mut killer = Some((child, patience));
        let kill = |killer: &mut Option<(std::process::Child, Duration)>| {
            let (mut child, patience) = killer.take()?;
            Some(std::thread::spawn(move || {
                let begun = Instant::now();
                while begun.elapsed() < patience {
                    if let Some(status) = child.try_wait().unwrap() {
                        return (status, true);
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
                child.kill().unwrap();
                (child.wait().unwrap(), false)
            }))
        };
        let mut killed = if opening { kill(&mut killer) } else { None };
        let mut line = String::new();
        while said.read_line(&mut line).unwrap() > 0 {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                // A line that the kill cut off was not said.
                _ if !line.ends_with('\n') => {}
                ["READY", missing, doubled, snapshot] => {
                    assert_eq!(missing, "0", "round {round}: acknowledged writes are missing");
                    assert_eq!(doubled, "0", "round {round}: writes were carried out twice");
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
        // One that dies as it opens never gets ready: it is waited for all the same.
        let killed = killed.or_else(|| kill(&mut killer)).expect("it ran until it was killed");
        let (status, by_itself) = killed.join().unwrap();
        assert!(ready || opening || by_itself, "round {round}: the store did not open");
        assert!(!by_itself || place.is_some(), "round {round}: the child ended by itself: {status}");
        if let (Some(place), true) = (place, by_itself) {
            *places.entry(place).or_default() += 1;
        }
        // One that ended by itself, a panic in its open above all, is no killed one.
        assert_eq!(status.signal(), Some(SIGKILL), "round {round}: the child ended by itself: {status}");
    }
    let total = answered.total();
    println!(
        "{rounds} kills, {opened} starts, {snapshots} of them on a snapshot, {total} writes answered, 0 lost, 0 doubled"
    );
    println!("killed by themselves at {places:?}");
    assert!(total > 0 && snapshots > 0 && !places.is_empty());
    if long {
        let missed: Vec<_> = PLACES.iter().filter(|place| !places.contains_key(**place)).collect();
        assert!(missed.is_empty(), "no child died at {missed:?}");
        assert!(total >= 100_000, "{total} writes were answered");
    }
}

#[test]
fn the_child_of_the_other_test() {
    let Some(dir) = env::var_os(CHILD) else { return };
    let answered: Answered = env::var(ANSWERED).unwrap().parse().unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async move {
        let store = open(busy(dir)).await.unwrap();
        let client = &store.client;
        let (missing, doubled) = (answered.missing(client), answered.doubled(client));
        say(&format!("READY {missing} {doubled} {}", client.raft_status().snapshot));
        write_on(&store.client, answered).await;
    });
}
