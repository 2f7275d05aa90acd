//! An acknowledged write is never lost, whenever the power fails.
//!
//! A child writes, makes snapshots and purges all the time, under a layer that writes down each change of its
//! files, each sync and each answer (`power/layer.c`). For moments chosen at random this test builds what a
//! disk may hold after a loss of power there (`power::Disk`: all that was synced, and any part of what was
//! not), and opens it: everything that was answered by then must be there, the vote must not go back, and it
//! opens once more. Damage is no answer here: a loss of power alone must never need a person. Then the
//! child goes on from one of these.
//! That the test can fail is shown by disks that ignore one kind of sync: each must lose something.
//! Not here: a log that is cut (one member alone never cuts its own).
//! `CONSTELLATION_TEST_LONG` does ten times as many; `STORE_POWER_SEED` repeats the choices. What the child does
//! meanwhile is not the same again: an image that fails is kept, and named.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod children;
mod power;
mod writers;

use std::{env, path::Path, process::exit, time::Duration};

use constellation::store::open;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::time::timeout;

use children::{child, run, say, scratch};
use power::{Disk, Event, Ignores, Unsynced};
use writers::{Answered, busy, write_on};

const CHILD: &str = "STORE_POWER_DIR";
const ANSWERED: &str = "STORE_POWER_ANSWERED";
/// How many milliseconds a child writes; 0: it only looks.
const FOR: &str = "STORE_POWER_FOR";
const DEADLINE: Duration = Duration::from_secs(40);

/// What has to be on the disk.
#[derive(Debug, Clone, Copy, Default)]
struct Expected {
    answered: Answered,
    /// Once a store was open.
    found: Option<Found>,
}

/// What an open store said of itself.
#[derive(Debug, Clone, Copy)]
struct Found {
    member: u64,
    incarnation: u64,
    term: u64,
}

impl Expected {
    /// Takes a line that a child said. An error: something that was there before is not.
    fn hear(&mut self, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["READY", missing, numbers @ ..] = &words[..] else {
            self.answered.hear(line);
            return Ok(());
        };
        let numbers: Vec<u64> = numbers.iter().map(|n| n.parse().unwrap()).collect();
        let &[member, incarnation, term] = &numbers[..] else { panic!("a child said {line}") };
        let found = Found { member, incarnation, term };
        if *missing != "0" {
            return Err(format!("{missing} acknowledged writes are missing"));
        }
        if self.found.is_some_and(|f| f.member != member || f.incarnation >= incarnation || f.term > term) {
            return Err(format!("{found:?} came after {:?}", self.found));
        }
        self.found = Some(found);
        Ok(())
    }

    /// Opens a folder in a child and looks.
    fn look(&mut self, dir: &Path) -> Result<(), String> {
        let (status, said, errors) = run(
            child("the_child_of_the_other_tests")
                .env(CHILD, dir)
                .env(ANSWERED, self.answered.to_string())
                .env(FOR, "0"),
            DEADLINE,
        );
        let ready = said.lines().find(|line| line.starts_with("READY"));
        match (status, ready) {
            (Some(status), Some(ready)) if status.success() => self.hear(ready),
            (status, _) => Err(format!("it does not open ({status:?}): {said}\n{errors}")),
        }
    }
}

/// What a child did, and from where.
struct Run {
    dir: tempfile::TempDir,
    before: Expected,
    disk: Disk,
    events: Vec<Event>,
}

/// Lets a child write on, from an image.
fn write_for(time: Duration, dir: tempfile::TempDir, before: Expected, ignores: Ignores) -> Run {
    let disk = Disk::of(dir.path(), ignores);
    let trace = tempfile::NamedTempFile::new().unwrap();
    let (status, said, errors) = run(
        child("the_child_of_the_other_tests")
            .env(CHILD, dir.path())
            .env(ANSWERED, before.answered.to_string())
            .env(FOR, time.as_millis().to_string())
            .env("LD_PRELOAD", power::layer())
            .env("STORE_POWER_FOLDER", dir.path())
            .env("STORE_POWER_TRACE", trace.path()),
        time + DEADLINE,
    );
    assert!(status.is_some_and(|s| s.success()), "the writing child ended with {status:?}: {said}\n{errors}");
    Run { dir, before, disk, events: power::read(trace.path()) }
}

impl Run {
    /// What has to be there at moments of the run, ascending, with the disk as it is there.
    fn at(&mut self, moments: &[usize], mut then: impl FnMut(usize, &Disk, Expected) -> Result<(), String>) {
        let (mut expected, mut line, mut moments) = (self.before, Vec::new(), moments.iter().peekable());
        for (at, event) in self.events.iter().enumerate() {
            while moments.next_if(|moment| **moment == at).is_some() {
                if let Err(what) = then(at, &self.disk, expected) {
                    panic!("a loss of power before record {at} of {} ({event:?}): {what}", self.events.len());
                }
            }
            self.disk.follow(event);
            let Event::Said(bytes) = event else { continue };
            for byte in bytes {
                line.push(*byte);
                if *byte == b'\n' {
                    expected.hear(&String::from_utf8_lossy(&line)).unwrap();
                    line.clear();
                }
            }
        }
    }
}

/// Builds an image and opens it twice. One that fails is kept.
fn lose_power(disk: &Disk, mut expected: Expected, unsynced: Unsynced, random: &mut StdRng) -> Result<(), String> {
    let (image, mut again) = (scratch(), random.clone());
    disk.image(unsynced, random, image.path());
    let looked =
        expected.look(image.path()).and_then(|()| expected.look(image.path()).map_err(|e| format!("again: {e}")));
    looked.map_err(|what| {
        let kept = tempfile::tempdir().unwrap().keep();
        disk.image(unsynced, &mut again, &kept);
        format!("with {unsynced:?} of what was not synced, as kept in {}: {what}", kept.display())
    })
}

#[test]
fn an_acknowledged_write_survives_a_loss_of_power_at_any_moment() {
    let (rounds, losses) = if env::var_os("CONSTELLATION_TEST_LONG").is_some() { (40, 10) } else { (5, 8) };
    let seed = env::var("STORE_POWER_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("STORE_POWER_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (mut dir, mut expected) = (tempfile::tempdir().unwrap(), Expected::default());
    let (mut lost_power, mut checked) = (0, 0);
    for _ in 0..rounds {
        let time = Duration::from_millis(random.random_range(100..700));
        let mut run = write_for(time, dir, expected, Ignores::Nothing);
        // Half of them right at a sync, a new name or a removal.
        let turns: Vec<_> = (0..run.events.len()).filter(|at| run.events[*at].is_a_turn()).collect();
        let mut moments: Vec<_> = (0..losses)
            .map(|n| match n % 2 {
                0 => random.random_range(0..run.events.len()),
                _ => turns[random.random_range(0..turns.len())] + random.random_range(0..2usize),
            })
            .map(|at| at.min(run.events.len() - 1))
            .collect();
        moments.sort_unstable();
        let (next, mut after) = (tempfile::tempdir().unwrap(), Expected::default());
        let (mut done, from) = (0, random.random_range(0..losses));
        run.at(&moments, |_, disk, there| {
            let unsynced = Unsynced::ALL[(lost_power + done) % 4];
            if done == from {
                disk.image(Unsynced::Some, &mut random, next.path());
                after = there;
            }
            done += 1;
            checked += there.answered.checked();
            lose_power(disk, there, unsynced, &mut random)
        });
        lost_power += losses;
        drop(run.dir);
        (dir, expected) = (next, after);
    }
    println!("{lost_power} power losses, {checked} acknowledged writes checked, 0 lost");
    assert!(checked > 0);
}

#[test]
fn a_disk_that_ignores_one_kind_of_sync_loses_writes_and_this_is_seen() {
    let mut random = StdRng::seed_from_u64(7);
    for ignores in [Ignores::Fdatasync("db"), Ignores::FsyncOfFiles, Ignores::FsyncOfFolders] {
        let dir = tempfile::tempdir().unwrap();
        let mut run = write_for(Duration::from_millis(300), dir, Expected::default(), ignores);
        let (last, mut seen) = (run.events.len() - 1, Ok(()));
        run.at(&[last], |_, disk, expected| {
            let image = scratch();
            disk.image(Unsynced::None, &mut random, image.path());
            seen = { expected }.look(image.path());
            Ok(())
        });
        println!("{ignores:?}: {seen:?}");
        assert!(seen.is_err(), "{ignores:?} was not noticed");
    }
}

#[test]
fn the_child_of_the_other_tests() {
    let Some(dir) = env::var_os(CHILD) else { return };
    let answered: Answered = env::var(ANSWERED).unwrap().parse().unwrap();
    let time = Duration::from_millis(env::var(FOR).unwrap().parse().unwrap());
    tokio::runtime::Runtime::new().unwrap().block_on(async move {
        let store = match open(busy(dir)).await {
            Ok(store) => store,
            Err(error) => {
                say(&format!("REFUSED with {}: {:#}", error.exit_code(), anyhow::Error::from(error)));
                exit(1);
            }
        };
        let (state, raft) = (store.client.state(), store.client.raft_status());
        let incarnation = state.leader().unwrap().incarnation;
        say(&format!("READY {} {} {incarnation} {}", answered.missing(&store.client), raft.member, raft.term));
        if !time.is_zero() {
            let _ = timeout(time, write_on(&store.client, answered)).await;
        }
    });
    // As it stands: what is not synced stays so.
    exit(0);
}
