//! A log that is cut, purged and voted over loses nothing in silence when the power fails or a file is damaged.
//!
//! `tests/store_power.rs` and `tests/store_damage.rs` test the whole store; a member alone never cuts its log and
//! never votes anew. Here a child does so, through the log's own door, and the same layer, disk and damage are
//! put below it. The child says what it begins and when that is done: of what was begun any part may be there, of what
//! is done all. `CONSTELLATION_TEST_LONG` does ten times as many; `STORE_POWER_SEED` and `STORE_DAMAGE_SEED` repeat
//! the choices.

#[path = "../../tests/children/mod.rs"]
pub(super) mod children;
#[path = "../../tests/damage/mod.rs"]
mod damage;
#[path = "../../tests/power/mod.rs"]
mod power;

use std::{
    collections::BTreeMap,
    env, io,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use openraft::{
    CommittedLeaderId, Entry, EntryPayload, LogId, RaftLogReader as _, Vote,
    storage::{RaftLogStorage as _, RaftLogStorageExt as _},
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::{runtime, sync::watch};

use super::{
    command::Group,
    log::{Log, LogError},
    raft::{Batch, MemberId, Types},
    sled_disk::Sled,
    witness::Start,
};
use children::{child, run, say, scratch};
use damage::{Damage, End, Table, files, write};
use power::{Disk, Event, Ignores, Unsynced};

const CHILD: &str = "STORE_CUTTING_DIR";
/// How many milliseconds a child works.
const FOR: &str = "STORE_CUTTING_FOR";
const DEADLINE: Duration = Duration::from_secs(40);
/// Nobody counts the starts here.
const START: Start = Start { member: 1, incarnation: 0 };
/// Bytes of a generation: some tens of entries.
const FULL: usize = 100_000;
/// Entries that may be cut: those before them count as committed, once there was an append.
const OPEN: u64 = 40;

/// One call of the log.
#[derive(Debug, Clone, Copy)]
enum Step {
    Append { from: u64, to: u64, term: u64 },
    Cut { from: u64 },
    Purge { upto: u64 },
    Vote { term: u64 },
}

/// What a log has to hold.
#[derive(Debug, Clone, Default)]
struct Model {
    /// Term of each entry.
    entries: BTreeMap<u64, u64>,
    /// The index after the last one that was purged.
    first: u64,
    vote: u64,
    /// It was begun, and may be done by any part.
    begun: Option<Step>,
}

impl Model {
    fn next(&self) -> u64 {
        self.entries.last_key_value().map_or(self.first, |(last, _)| last + 1)
    }

    fn done(&mut self, step: Step) {
        match step {
            Step::Append { from, to, term } => self.entries.extend((from..to).map(|index| (index, term))),
            Step::Cut { from } => drop(self.entries.split_off(&from)),
            Step::Purge { upto } => {
                self.entries = self.entries.split_off(&(upto + 1));
                self.first = upto + 1;
            }
            Step::Vote { term } => self.vote = term,
        }
    }

    /// Takes a line that the child said.
    fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words[at].parse().unwrap();
        self.begun = match words.first() {
            Some(&"append") => Some(Step::Append { from: number(1), to: number(2), term: number(3) }),
            Some(&"cut") => Some(Step::Cut { from: number(1) }),
            Some(&"purge") => Some(Step::Purge { upto: number(1) }),
            Some(&"vote") => Some(Step::Vote { term: number(1) }),
            Some(&"done") => {
                self.begun.into_iter().for_each(|step| self.done(step));
                None
            }
            _ => self.begun,
        };
    }

    /// What was found, unless it is not what has to be there.
    fn compare(&self, found: Self) -> Result<Self, String> {
        let begun = self.begun;
        let purging = matches!(begun, Some(Step::Purge { upto }) if found.first == upto + 1);
        if found.first != self.first && !purging {
            return Err(format!("it begins at {} and not at {}", found.first, self.first));
        }
        let voting = matches!(begun, Some(Step::Vote { term }) if found.vote == term);
        if found.vote != self.vote && !voting {
            return Err(format!("its vote is of term {} and not of {}", found.vote, self.vote));
        }
        for (index, term) in &self.entries {
            let cut = matches!(begun, Some(Step::Cut { from }) if from <= *index);
            if *index >= found.first && found.entries.get(index) != Some(term) && !cut {
                return Err(format!("entry {index} of term {term} is {:?}", found.entries.get(index)));
            }
        }
        for (index, term) in &found.entries {
            let appending =
                matches!(begun, Some(Step::Append { from, to, term: t }) if (from..to).contains(index) && t == *term);
            if self.entries.get(index) != Some(term) && !appending {
                return Err(format!("nobody wrote entry {index} of term {term}, or it was cut"));
            }
        }
        Ok(found)
    }

    /// What a folder holds; an error: how it ended instead.
    async fn read(dir: &Path) -> Result<(Self, Log, JoinHandle<()>), End> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::InvalidData => End::Detected(error.to_string()),
            _ => End::Neither(error.to_string()),
        };
        let disk = Sled::open(&dir.join("log"), FULL).map_err(failed)?;
        let opened = Log::open(disk, None, START, watch::channel(None).0);
        let (mut log, thread) = opened.map_err(|error| match error {
            LogError::Disk(error) => failed(error),
            LogError::Damaged { .. } | LogError::Newer { .. } => End::Detected(error.to_string()),
        })?;
        let purged = log.get_log_state().await.unwrap().last_purged_log_id;
        let vote = log.read_vote().await.unwrap();
        let mut found = Self {
            first: purged.map_or(0, |p| p.index + 1),
            vote: vote.map_or(0, |v| v.leader_id.term),
            ..Self::default()
        };
        for entry in log.try_get_log_entries(..).await.unwrap() {
            let LogId { index, leader_id } = entry.log_id;
            if index != found.next() || format!("{entry:?}") != format!("{:?}", written(index, leader_id.term)) {
                return Err(End::Lost(format!("entry {index} is not as it was written, or follows a gap")));
            }
            found.entries.insert(index, leader_id.term);
        }
        Ok((found, log, thread))
    }
}

/// The entry of an index and a term: another term has another content.
fn written(index: u64, term: u64) -> Entry<Types> {
    let mut random = StdRng::seed_from_u64(index << 16 | term);
    let size = if random.random_ratio(1, 20) { 20_000..60_000 } else { 10..4_000 };
    let text = format!("{:>size$}", random.random::<u64>(), size = random.random_range(size));
    let group = Group { actor: text.into(), ..Group::default() };
    Entry { log_id: id(index, term), payload: EntryPayload::Normal(Batch(Arc::new(vec![group]))) }
}

fn id(index: u64, term: u64) -> LogId<MemberId> {
    LogId::new(CommittedLeaderId::new(term, 1), index)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Opens an image twice; answers what it holds.
fn look(dir: &Path, expected: &Model) -> Result<Model, String> {
    let mut expected = expected.clone();
    for _ in 0..2 {
        expected = block_on(async {
            let (found, log, thread) = Model::read(dir).await.map_err(|end| format!("{end:?}"))?;
            drop(log);
            thread.join().unwrap();
            expected.compare(found)
        })?;
    }
    Ok(expected)
}

/// Lets a child work on a folder; calls `then` at moments of that, ascending.
fn work(
    dir: &Path,
    before: &Model,
    ignores: Ignores,
    time: Duration,
    moments: impl FnOnce(&[Event]) -> Vec<usize>,
    mut then: impl FnMut(&Disk, &Model) -> Result<(), String>,
) {
    let (mut disk, mut expected) = (Disk::of(dir, ignores), before.clone());
    let trace = tempfile::NamedTempFile::new().unwrap();
    let (status, said, errors) = run(
        child("store::cutting::the_child_of_the_other_tests")
            .env(CHILD, dir)
            .env(FOR, time.as_millis().to_string())
            .env("LD_PRELOAD", power::layer())
            .env("STORE_POWER_FOLDER", dir)
            .env("STORE_POWER_TRACE", trace.path()),
        time + DEADLINE,
    );
    assert!(status.is_some_and(|s| s.success()), "the child ended with {status:?}: {said}\n{errors}");
    let events = power::read(trace.path());
    let moments = moments(&events);
    for (at, event) in events.iter().enumerate() {
        for _ in moments.iter().filter(|moment| **moment == at) {
            let result = then(&disk, &expected);
            assert!(result.is_ok(), "a loss of power before record {at} of {} ({event:?}): {result:?}", events.len());
        }
        disk.follow(event);
        if let Event::Said(bytes) = event {
            String::from_utf8_lossy(bytes).lines().for_each(|line| expected.hear(line));
        }
    }
}

#[test]
fn a_log_that_is_cut_survives_a_loss_of_power_at_any_moment() {
    let (rounds, losses) = if env::var_os("CONSTELLATION_TEST_LONG").is_some() { (40, 15) } else { (4, 15) };
    let seed = env::var("STORE_POWER_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("STORE_POWER_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (mut dir, mut expected) = (tempfile::tempdir().unwrap(), Model::default());
    let (mut checked, mut cutting, mut n) = (0, 0, 0);
    for _ in 0..rounds {
        let time = Duration::from_millis(random.random_range(50..400));
        let mut choices = random.clone();
        let moments = |events: &[Event]| {
            let turns: Vec<_> = (0..events.len()).filter(|at| events[*at].is_a_turn()).collect();
            let turn = |random: &mut StdRng| turns[random.random_range(0..turns.len())] + random.random_range(0..2);
            (0..losses)
                .map(|n| if n % 2 == 0 { choices.random_range(0..events.len()) } else { turn(&mut choices) })
                .map(|at| at.min(events.len() - 1))
                .collect()
        };
        let (next, from) = (tempfile::tempdir().unwrap(), random.random_range(0..losses));
        let mut after = Model::default();
        work(dir.path(), &expected, Ignores::Nothing, time, moments, |disk, there| {
            let (unsynced, image, mut again) = (Unsynced::ALL[n % 4], scratch(), random.clone());
            disk.image(unsynced, &mut random, image.path());
            match look(image.path(), there) {
                Ok(found) if n % losses == from => {
                    disk.image(unsynced, &mut again, next.path());
                    after = found;
                }
                Ok(_) => {}
                Err(what) => {
                    let kept = tempfile::tempdir().unwrap().keep();
                    disk.image(unsynced, &mut again, &kept);
                    return Err(format!(
                        "with {unsynced:?} of what was not synced, kept in {}: {what}",
                        kept.display()
                    ));
                }
            }
            n += 1;
            checked += there.entries.len();
            cutting += usize::from(matches!(there.begun, Some(Step::Cut { .. })));
            Ok(())
        });
        (dir, expected) = (next, after);
    }
    println!("{n} power losses, {cutting} of them within a cut, {checked} entries checked, 0 lost");
    assert!(checked > 0);
}

#[test]
fn a_disk_that_ignores_a_kind_of_sync_loses_entries_and_this_is_seen() {
    for ignores in [Ignores::Fdatasync("db"), Ignores::FsyncOfFolders] {
        let (dir, mut seen) = (tempfile::tempdir().unwrap(), Ok(Model::default()));
        let last = |events: &[Event]| vec![events.len() - 1];
        work(dir.path(), &Model::default(), ignores, Duration::from_millis(150), last, |disk, expected| {
            let image = scratch();
            disk.image(Unsynced::None, &mut StdRng::seed_from_u64(1), image.path());
            seen = look(image.path(), expected);
            Ok(())
        });
        assert!(seen.is_err(), "{ignores:?} was not noticed");
    }
}

/// Opens a damaged copy within a bound.
fn open(dir: PathBuf, whole: &Model) -> End {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let read = block_on(async {
            let (found, log, thread) = Model::read(&dir).await?;
            drop(log);
            thread.join().unwrap();
            Ok(found)
        });
        let _ = send.send(read);
    });
    let found = match receive.recv_timeout(DEADLINE) {
        Ok(Ok(found)) => found,
        Ok(Err(end)) => return end,
        Err(error) => return End::Neither(format!("it panicked or hangs: {error}")),
    };
    // More at the beginning is no loss: a purge was. Nor is more at the end: what was cut and nothing stands in
    // its place was never committed, and for Raft the cut is still to come.
    let entries = found.entries.range(whole.first..whole.next()).map(|(index, term)| (*index, *term)).collect();
    let (first, kept) = (found.first, Model { entries, first: whole.first, ..found });
    match whole.compare(kept) {
        Ok(_) if first <= whole.first => End::Intact,
        Ok(_) => End::Lost(format!("it begins at {first}, not at {}", whole.first)),
        Err(what) => End::Lost(what),
    }
}

#[test]
fn damage_of_a_log_that_is_cut_is_mended_or_said() {
    let copies = if env::var_os("CONSTELLATION_TEST_LONG").is_some() { 1_000 } else { 100 };
    let seed = env::var("STORE_DAMAGE_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("STORE_DAMAGE_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let live = || {
        let mut child = child("store::cutting::the_child_of_the_other_tests");
        let (status, said, errors) = run(child.env(CHILD, dir.path()).env(FOR, "150"), DEADLINE);
        assert!(status.is_some_and(|s| s.success()), "the child ended with {status:?}: {said}\n{errors}");
        files(dir.path())
    };
    let mut table = Table::default();
    let mut now = live();
    for _ in 0..10 {
        let older = std::mem::replace(&mut now, live());
        let copy = scratch();
        write(&now, copy.path());
        let whole = block_on(Model::read(copy.path())).unwrap().0;
        for n in 0..copies / 10 {
            let damage = Damage::ALL[n % Damage::ALL.len()];
            let (copy, what) = damage.of(&now, &older, &mut random);
            let at = scratch();
            write(&copy, at.path());
            let mut end = open(at.path().to_owned(), &whole);
            if end == End::Intact {
                // One that is refused stays closed (`super::quarantine`).
                end = end.then(|| open(at.path().to_owned(), &whole));
            }
            table.add(damage.name(), &what, &end, false);
        }
    }
    table.show();
}

#[test]
fn the_child_of_the_other_tests() {
    let Some(dir) = env::var_os(CHILD) else { return };
    let time = Duration::from_millis(env::var(FOR).unwrap().parse().unwrap());
    block_on(async {
        let (mut model, mut log, _) = Model::read(Path::new(&dir)).await.unwrap();
        // What was committed is never cut.
        let mut committed = log.read_committed().await.unwrap().map_or(0, |c| c.index);
        let (mut random, begun) = (StdRng::from_os_rng(), Instant::now());
        while begun.elapsed() < time {
            let (next, held) = (model.next(), model.entries.len() as u64);
            let step = match random.random_range(0..20) {
                0 | 1 if next > committed + 1 && held > 0 => {
                    Step::Cut { from: next - random.random_range(1..=OPEN.min(held).min(next - committed - 1)) }
                }
                2 if held > 2 * OPEN && committed > model.first => {
                    Step::Purge { upto: committed.min(next - random.random_range(OPEN + 1..2 * OPEN)) }
                }
                3 | 4 => Step::Vote { term: model.vote + random.random_range(1..3) },
                _ => Step::Append { from: next, to: next + random.random_range(1..6), term: model.vote },
            };
            let name = |index: u64| id(index, model.entries[&index]);
            match step {
                Step::Append { from, to, term } => {
                    say(&format!("append {from} {to} {term}"));
                    if held > OPEN && next > committed + OPEN + 1 {
                        committed = next - OPEN - 1;
                        log.save_committed(Some(name(committed))).await.unwrap();
                    }
                    log.blocking_append((from..to).map(|index| written(index, term))).await.unwrap();
                }
                Step::Cut { from } => {
                    say(&format!("cut {from}"));
                    log.truncate(name(from)).await.unwrap();
                }
                Step::Purge { upto } => {
                    say(&format!("purge {upto}"));
                    log.purge(name(upto)).await.unwrap();
                }
                Step::Vote { term } => {
                    say(&format!("vote {term}"));
                    log.save_vote(&Vote::new(term, 1)).await.unwrap();
                }
            }
            say("done");
            model.done(step);
        }
    });
    // As it stands: what is not synced stays so.
    std::process::exit(0);
}
