//! What every disk and every log must do: the disk's contract, openraft's own storage suite, and what
//! happens to a log whose bytes are not what was written.
//!
//! openraft's suite tests the contract, not durability: `tests/store_kill.rs` does that for a kill,
//! `tests/store_power.rs` and `super::cutting` for a loss of power, `tests/store_damage.rs` for damage.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use openraft::{
    Entry, EntryPayload, LogId, RaftLogReader as _,
    storage::{RaftLogStorage as _, RaftLogStorageExt as _},
    testing::{StoreBuilder, Suite},
};
use tempfile::TempDir;
use tokio::sync::watch;

use super::{
    disk::{Disk, Memory},
    durable,
    log::{Log, LogError},
    machine::Machine,
    raft::{StorageError, Types},
    record::{self, Kind},
    sled_disk::Sled,
    snapshot::Folder,
    witness::{Start, Witness},
};

const FULL: usize = 32 << 20;
/// Before the first start.
const START: Start = Start { member: 1, incarnation: 0 };

struct InMemory;
impl StoreBuilder<Types, Log, Machine, ()> for InMemory {
    async fn build(&self) -> Result<((), Log, Machine), StorageError> {
        let (log, _) = Log::open(Memory::default(), None, START, watch::channel(None).0).unwrap();
        Ok(((), log, Machine::new(None, None)))
    }
}

struct OnSled;
impl StoreBuilder<Types, Log, Machine, TempDir> for OnSled {
    async fn build(&self) -> Result<(TempDir, Log, Machine), StorageError> {
        let dir = tempfile::tempdir().unwrap();
        let disk = Sled::open(&dir.path().join("log"), FULL).unwrap();
        let (log, _) = Log::open(disk, None, START, watch::channel(None).0).unwrap();
        let folder = Folder::open(&dir.path().join("snapshots")).unwrap();
        Ok((dir, log, Machine::new(Some(folder), None)))
    }
}

#[test]
fn the_store_in_memory_keeps_openrafts_contract() {
    Suite::test_all(InMemory).unwrap();
}

#[test]
fn the_store_on_sled_keeps_openrafts_contract() {
    Suite::test_all(OnSled).unwrap();
}

/// The contract of a disk. `again` closes and opens it.
fn conforms<D: Disk>(mut disk: D, again: impl Fn(D) -> D) {
    let record = |index: u64, size: usize| (index, vec![index as u8; size]);
    let indexes = |found: Vec<(u64, Vec<u8>)>| found.into_iter().map(|(i, _)| i).collect::<Vec<_>>();
    assert_eq!(disk.read(0, 9, usize::MAX).unwrap(), []);
    assert_eq!(disk.marked(Kind::Vote).unwrap(), None);
    // Sizes around where records are cut, and one of many pieces.
    let sizes = [1, 16_383, 16_384, 16_385, 40_000, 1_000_000, 3];
    let records: Vec<_> = sizes.iter().zip(0..).map(|(size, index)| record(index, *size)).collect();
    disk.append(records.clone()).unwrap();
    disk.mark(Kind::Vote, vec![1]).unwrap();
    disk.mark(Kind::Vote, vec![2]).unwrap();
    disk.sync().unwrap();
    assert_eq!(disk.noted(), None);
    for note in [b"one", b"two"] {
        disk.note(note).unwrap();
    }
    let mut disk = again(disk);
    assert_eq!(disk.read(0, u64::MAX, usize::MAX).unwrap(), records);
    assert_eq!(disk.read(2, 4, usize::MAX).unwrap(), records[2..4]);
    assert_eq!(disk.marked(Kind::Vote).unwrap(), Some(vec![2]));
    assert_eq!(disk.noted(), Some(&b"two"[..]));
    assert_eq!(indexes(disk.read(0, 9, 1).unwrap()), [0], "at least one");
    assert_eq!(indexes(disk.read(0, 9, 2).unwrap()), [0, 1], "up to the one that reaches the limit");

    disk.truncate(5).unwrap();
    disk.sync().unwrap();
    let mut disk = again(disk);
    assert_eq!(indexes(disk.read(0, 9, usize::MAX).unwrap()), [0, 1, 2, 3, 4]);
    disk.append(vec![record(5, 7), record(6, 7)]).unwrap();
    disk.sync().unwrap();
    assert_eq!(disk.read(5, 6, usize::MAX).unwrap(), [record(5, 7)], "a shorter record leaves nothing of the old one");

    disk.purge(3).unwrap();
    assert_eq!(indexes(disk.read(4, 9, usize::MAX).unwrap()), [4, 5, 6]);
    disk.mark(Kind::Purged, vec![3]).unwrap();
    disk.purge(6).unwrap();
    disk.append(vec![record(7, 20_000)]).unwrap();
    disk.sync().unwrap();
    let mut disk = again(disk);
    assert_eq!(disk.read(7, 9, usize::MAX).unwrap(), [record(7, 20_000)]);
    assert_eq!(disk.marked(Kind::Vote).unwrap(), Some(vec![2]), "marks outlive the records around them");
    assert_eq!(disk.marked(Kind::Purged).unwrap(), Some(vec![3]));
}

#[test]
fn the_disk_in_memory_keeps_the_contract() {
    conforms(Memory::default(), |disk| disk);
}

#[test]
fn the_disk_on_sled_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    conforms(Sled::open(dir.path(), FULL).unwrap(), |disk| {
        drop(disk);
        Sled::open(dir.path(), FULL).unwrap()
    });
}

/// What is in a folder besides the witness.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| name != "witness");
    names.sort();
    names
}

#[test]
fn what_a_crash_left_half_made_or_half_removed_is_gone_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = Sled::open(dir.path(), FULL).unwrap();
    disk.append(vec![(0, vec![7])]).unwrap();
    disk.sync().unwrap();
    drop(disk);
    for (name, file) in [("gen-000000000009", "conf"), ("dead-000000000000", "db")] {
        fs::create_dir_all(dir.path().join(name)).unwrap();
        fs::write(dir.path().join(name).join(file), b"half").unwrap();
    }
    let mut disk = Sled::open(dir.path(), FULL).unwrap();
    assert_eq!(disk.read(0, 9, usize::MAX).unwrap(), [(0, vec![7])]);
    drop(disk);
    assert_eq!(names(dir.path()), ["gen-000000000001", "gen-000000000002"]);
}

#[test]
fn a_generation_with_entries_that_does_not_say_that_it_counts_is_kept_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = Sled::open(dir.path(), FULL).unwrap();
    disk.append(vec![(0, record::encode(Kind::Entry, 0, 1, 0, b"x").0)]).unwrap();
    disk.sync().unwrap();
    drop(disk);
    let generation = dir.path().join("gen-000000000001");
    fs::remove_file(generation.join("ready")).unwrap();
    let error = Sled::open(dir.path(), FULL).err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{error}");
    assert!(error.to_string().contains("gen-000000000001 holds entries"), "{error}");
    fs::write(generation.join("ready"), b"").unwrap();
    assert_eq!(Sled::open(dir.path(), FULL).unwrap().read(0, 9, usize::MAX).unwrap().len(), 1, "nothing was removed");
}

#[test]
fn a_log_that_is_opened_again_and_again_makes_room_too() {
    let dir = tempfile::tempdir().unwrap();
    let full = 6 << 20;
    let mut at = 0..;
    // Each start writes far less than a generation holds.
    for _ in 0..6 {
        let mut disk = Sled::open(dir.path(), full).unwrap();
        for index in at.by_ref().take(2) {
            disk.append(vec![(index, vec![7; 700_000])]).unwrap();
            disk.sync().unwrap();
        }
    }
    let counted = || names(dir.path()).iter().filter(|name| dir.path().join(name).join("ready").exists()).count();
    let (mut disk, begun) = (Sled::open(dir.path(), full).unwrap(), Instant::now());
    // The next one is opened ahead, on another thread.
    while counted() == 1 {
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", names(dir.path()));
        disk.append(at.by_ref().take(1).map(|index| (index, vec![7])).collect()).unwrap();
        disk.sync().unwrap();
    }
}

#[test]
fn a_generation_that_holds_mostly_purged_entries_makes_room() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = Sled::open(dir.path(), FULL).unwrap();
    for index in 0..20 {
        disk.append(vec![(index, vec![7; 700_000])]).unwrap();
    }
    disk.sync().unwrap();
    disk.purge(5).unwrap();
    assert!(!dir.path().join("gen-000000000002/ready").exists(), "most of it is needed");
    disk.purge(14).unwrap();
    assert!(dir.path().join("gen-000000000002/ready").exists(), "what is written now goes elsewhere");
    disk.append(vec![(20, vec![7; 9])]).unwrap();
    disk.sync().unwrap();
    assert_eq!(disk.read(15, 21, usize::MAX).unwrap().len(), 6, "the rest is still there");
    disk.purge(19).unwrap();
    drop(disk);
    assert_eq!(names(dir.path())[0], "gen-000000000002", "the old one went as a whole");
}

#[test]
fn a_sync_of_sled_syncs_the_file_that_holds_the_entries() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = Sled::open(dir.path(), FULL).unwrap();
    disk.append(vec![(0, vec![7; 100])]).unwrap();
    durable::seen::take();
    disk.sync().unwrap();
    let db = dir.path().join("gen-000000000001/db");
    assert_eq!(durable::seen::take(), [&*db]);
    // A note that is older than a cut would call what was cut a loss.
    disk.note(b"shorter").unwrap();
    disk.truncate(0).unwrap();
    assert_eq!(durable::seen::take(), [dir.path().join("witness"), db]);
}

/// Counts what was written since the last sync.
struct Counting(Memory, Arc<AtomicUsize>);
impl Disk for Counting {
    fn append(&mut self, records: Vec<(u64, Vec<u8>)>) -> std::io::Result<()> {
        self.1.fetch_add(records.len(), Ordering::SeqCst);
        self.0.append(records)
    }
    fn mark(&mut self, kind: Kind, record: Vec<u8>) -> std::io::Result<()> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.mark(kind, record)
    }
    fn sync(&mut self) -> std::io::Result<()> {
        self.1.store(0, Ordering::SeqCst);
        self.0.sync()
    }
    fn truncate(&mut self, from: u64) -> std::io::Result<()> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.truncate(from)
    }
    fn purge(&mut self, upto: u64) -> std::io::Result<()> {
        assert_eq!(self.1.load(Ordering::SeqCst), 0, "the purge mark is durable before entries go");
        self.0.purge(upto)
    }
    fn read(&mut self, from: u64, to: u64, limit: usize) -> std::io::Result<Vec<(u64, Vec<u8>)>> {
        self.0.read(from, to, limit)
    }
    fn marked(&mut self, kind: Kind) -> std::io::Result<Option<Vec<u8>>> {
        self.0.marked(kind)
    }
    fn note(&mut self, note: &[u8]) -> std::io::Result<()> {
        self.0.note(note)
    }
    fn sync_note(&mut self) -> std::io::Result<()> {
        self.0.sync_note()
    }
    fn noted(&self) -> Option<&[u8]> {
        self.0.noted()
    }
}

#[tokio::test]
async fn whatever_the_log_answers_was_synced_before() {
    let unsynced = Arc::new(AtomicUsize::new(0));
    let (mut log, _thread) =
        Log::open(Counting(Memory::default(), unsynced.clone()), None, START, watch::channel(None).0).unwrap();
    let left = || unsynced.load(Ordering::SeqCst);
    log.save_vote(&openraft::Vote::new(1, 1)).await.unwrap();
    assert_eq!(left(), 0, "a vote");
    for first in [0, 10] {
        log.blocking_append((first..first + 10).map(entry)).await.unwrap();
        assert_eq!(left(), 0, "an append");
    }
    log.truncate(entry(15).log_id).await.unwrap();
    assert_eq!(left(), 0, "a cut");
    log.purge(entry(5).log_id).await.unwrap();
    assert_eq!(left(), 0, "a purge");
}

#[test]
fn generations_follow_each_other_and_no_value_leaves_the_synced_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = Sled::open(dir.path(), FULL).unwrap();
    for index in 0..200 {
        disk.append(vec![(index, vec![index as u8; 700_000])]).unwrap();
        disk.sync().unwrap();
    }
    drop(disk);
    let mut disk = Sled::open(dir.path(), FULL).unwrap();
    let before = names(dir.path());
    assert!(before.len() > 2, "{before:?}");
    // The one after them is being made, on another thread.
    for name in before.iter().filter(|name| dir.path().join(name).join("ready").exists()) {
        assert_eq!(names(&dir.path().join(name).join("blobs")), [""; 0], "{name}");
    }
    let mut read = 0;
    for (index, record) in (0..200).step_by(20).flat_map(|i| disk.read(i, i + 20, usize::MAX).unwrap()) {
        assert!(record == vec![index as u8; 700_000], "record {index}");
        read += 1;
    }
    assert_eq!(read, 200);
    disk.purge(199).unwrap();
    drop(disk);
    let after = names(dir.path());
    assert!(after.iter().all(|name| !before[..before.len() - 1].contains(name)), "{after:?}");
}

fn entry(index: u64) -> Entry<Types> {
    Entry { log_id: LogId::new(openraft::CommittedLeaderId::new(1, 1), index), payload: EntryPayload::Blank }
}

/// A disk with a log of ten entries.
fn written() -> (Memory, Vec<(u64, Vec<u8>)>) {
    let (mut chain, mut records) = (0, Vec::new());
    for index in 0..10 {
        let payload = rmp_serde::to_vec_named(&entry(index)).unwrap();
        let (bytes, sum) = record::encode(Kind::Entry, index, 1, chain, &payload);
        chain = sum;
        records.push((index, bytes));
    }
    let mut disk = Memory::default();
    disk.note(&note(|_| {})).unwrap();
    (disk, records)
}
/// The note of a first start beside ten entries.
fn note(change: impl FnOnce(&mut Witness)) -> Vec<u8> {
    let start = Some(Start { incarnation: 1, ..START });
    let mut witness = Witness { next: 10, start, ..Witness::default() };
    change(&mut witness);
    rmp_serde::to_vec_named(&witness).unwrap()
}
fn opened(change: impl FnOnce(&mut Memory, &mut Vec<(u64, Vec<u8>)>)) -> Result<Log, LogError> {
    let (mut disk, mut records) = written();
    change(&mut disk, &mut records);
    disk.append(records).unwrap();
    Log::open(disk, None, START, watch::channel(None).0).map(|(log, _)| log)
}

#[test]
fn a_log_that_is_not_what_was_written_does_not_open() {
    assert_eq!(opened(|_, _| {}).unwrap().extent().last, Some(9));
    type Change = Box<dyn FnOnce(&mut Memory, &mut Vec<(u64, Vec<u8>)>)>;
    let mark = |kind, index| {
        let payload = rmp_serde::to_vec_named(&entry(index).log_id).unwrap();
        record::encode(kind, 0, 0, 0, &payload).0
    };
    let (committed, vote) = (mark(Kind::Committed, 12), mark(Kind::Vote, 1));
    assert_eq!(opened(|d, _| d.note(&note(|w| w.next = 3)).unwrap()).unwrap().extent().last, Some(9), "an older note");
    let noted = |change: fn(&mut Witness)| -> Change { Box::new(move |d, _| d.note(&note(change)).unwrap()) };
    let table: [(&str, Change); 13] = [
        ("the last entry is missing as a whole", noted(|w| w.next = 11)),
        ("the vote is missing as a whole", noted(|w| w.vote = Some(openraft::Vote::new(2, 1)))),
        ("a committed entry is missing", noted(|w| w.committed = Some(10))),
        ("the entries are of another history", noted(|w| w.chain = Some(7))),
        ("the log is another member's", noted(|w| w.start = Some(Start { member: 2, incarnation: 1 }))),
        ("member.json is an older copy", noted(|w| w.start = Some(Start { incarnation: 2, ..START }))),
        ("the witness is missing", Box::new(|d, _| *d = Memory::default())),
        ("a flipped bit", Box::new(|_, r| r[4].1[50] ^= 1)),
        ("an entry in the place of another", Box::new(|_, r| r[4].1 = r[5].1.clone())),
        ("a missing entry", Box::new(|_, r| drop(r.remove(4)))),
        ("a missing beginning", Box::new(|_, r| drop(r.remove(0)))),
        ("committed entries are missing at the end", Box::new(move |d, _| d.mark(Kind::Committed, committed).unwrap())),
        ("a cut vote", Box::new(move |d, _| d.mark(Kind::Vote, vote[..20].to_vec()).unwrap())),
    ];
    for (case, change) in table {
        let error = opened(change).err().unwrap_or_else(|| panic!("{case}: it opened"));
        assert!(matches!(error, LogError::Damaged { .. }), "{case}: {error}");
    }
}

#[test]
fn an_entry_of_a_newer_version_stops_the_log_and_is_no_damage() {
    let newer = |kind: u8, payload: &[u8]| {
        let (mut bytes, _) = record::encode(Kind::Entry, 3, 1, 0, payload);
        bytes[5] = kind;
        let sum = crc32c::crc32c_append(crc32c::crc32c(&bytes[..32]), payload);
        bytes[32..36].copy_from_slice(&sum.to_le_bytes());
        bytes
    };
    let table =
        [("an unknown kind of record", newer(9, b"")), ("an unknown command", newer(1, &[0x81, 0xa1, b'x', 1]))];
    for (case, record) in table {
        let error = opened(|_, r| r[3].1 = record).err().unwrap();
        assert!(matches!(error, LogError::Newer { .. }), "{case}: {error}");
    }
}

#[tokio::test]
async fn a_log_opens_again_after_a_cut_and_a_purge() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Log::open(Sled::open(dir.path(), FULL).unwrap(), None, START, watch::channel(None).0).unwrap();
    let (mut log, thread) = open();
    log.blocking_append((0..10).map(entry)).await.unwrap();
    log.truncate(entry(7).log_id).await.unwrap();
    drop(log);
    thread.join().unwrap();
    let (mut log, thread) = open();
    assert_eq!(log.extent().last, Some(6), "what was cut is no loss");
    log.blocking_append((7..9).map(entry)).await.unwrap();
    log.purge(entry(3).log_id).await.unwrap();
    log.save_committed(Some(entry(8).log_id)).await.unwrap();
    drop(log);
    thread.join().unwrap();
    let (mut log, thread) = open();
    let extent = log.extent();
    assert_eq!((extent.purged, extent.last), (Some(3), Some(8)));
    let read: Vec<u64> = log.try_get_log_entries(0..100).await.unwrap().iter().map(|e| e.log_id.index).collect();
    assert_eq!(read, [4, 5, 6, 7, 8]);
    log.purge(entry(8).log_id).await.unwrap();
    log.blocking_append((9..11).map(entry)).await.unwrap();
    drop(log);
    thread.join().unwrap();
    let (log, _) = open();
    assert_eq!((log.extent().purged, log.extent().last), (Some(8), Some(10)));
}

/// Fails from its `n`th sync on.
pub(super) struct Failing(pub Memory, pub u32);
impl Disk for Failing {
    fn append(&mut self, records: Vec<(u64, Vec<u8>)>) -> std::io::Result<()> {
        self.0.append(records)
    }
    fn mark(&mut self, kind: Kind, record: Vec<u8>) -> std::io::Result<()> {
        self.0.mark(kind, record)
    }
    fn sync(&mut self) -> std::io::Result<()> {
        self.1 = self.1.saturating_sub(1);
        if self.1 == 0 { Err(std::io::Error::from(std::io::ErrorKind::StorageFull)) } else { Ok(()) }
    }
    fn truncate(&mut self, from: u64) -> std::io::Result<()> {
        self.0.truncate(from)
    }
    fn purge(&mut self, upto: u64) -> std::io::Result<()> {
        self.0.purge(upto)
    }
    fn read(&mut self, from: u64, to: u64, limit: usize) -> std::io::Result<Vec<(u64, Vec<u8>)>> {
        self.0.read(from, to, limit)
    }
    fn marked(&mut self, kind: Kind) -> std::io::Result<Option<Vec<u8>>> {
        self.0.marked(kind)
    }
    fn note(&mut self, note: &[u8]) -> std::io::Result<()> {
        self.0.note(note)
    }
    fn sync_note(&mut self) -> std::io::Result<()> {
        self.0.sync_note()
    }
    fn noted(&self) -> Option<&[u8]> {
        self.0.noted()
    }
}

#[tokio::test]
async fn a_disk_that_fails_once_ends_the_log_for_good_and_says_so() {
    let (fatal, mut told) = watch::channel(None);
    let (mut log, thread) = Log::open(Failing(Memory::default(), 2), None, START, fatal).unwrap();
    log.blocking_append([entry(0)]).await.unwrap();
    assert!(log.blocking_append([entry(1)]).await.is_err(), "an append that was not synced is not answered");
    let why = told.wait_for(Option::is_some).await.unwrap().clone().unwrap();
    assert!(why.contains("the log failed"), "{why}");
    thread.join().unwrap();
    assert!(log.blocking_append([entry(2)]).await.is_err());
}
