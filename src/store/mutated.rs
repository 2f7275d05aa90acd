//! Files of the store, changed as no disk should change them. Not here: snapshots (`super::snapshot`).

use std::collections::BTreeMap;

use openraft::{CommittedLeaderId, Entry, EntryPayload, LogId, Vote};

use super::{
    member::Member,
    packed,
    quarantine::Verdict,
    raft::{MemberId, Types},
    record::{self, Kind},
    seal::{KEY_FILE, Sealer},
    state::State,
    witness::Witness,
};
use crate::{
    model::{
        Uid,
        secret::{SealedSecret, SecretSpec},
    },
    mutate::{Mutations, plain, survives},
};

fn log_id(index: u64) -> LogId<MemberId> {
    LogId::new(CommittedLeaderId::new(3, 7), index)
}

fn pack<T: serde::Serialize>(value: &T) -> Vec<u8> {
    rmp_serde::to_vec_named(value).unwrap()
}

#[test]
fn records_survive_what_a_disk_holds() {
    let entry = |payload| pack(&Entry::<Types> { log_id: log_id(9), payload });
    let payloads = [
        (Kind::Entry, entry(EntryPayload::Blank)),
        (Kind::Vote, pack(&Vote::<MemberId>::new(3, 7))),
        (Kind::Purged, pack(&log_id(5))),
        (Kind::Witness, pack(&Witness { next: 9, committed: Some(8), ..Witness::default() })),
    ];
    let whole = payloads.iter().map(|(kind, payload)| record::encode(*kind, 9, 3, 1, payload).0);
    let originals: Vec<Vec<u8>> = whole.collect();
    let known = originals.clone();
    survives(Mutations::of("records", originals, 6_000), move |bytes| match record::decode(bytes) {
        Ok((_, payload)) => {
            // A checksum of 32 bits: nothing of four thousand changes gets past it.
            assert!(known.iter().any(|own| own == bytes), "a changed record is taken for whole");
            assert!(known.iter().any(|own| own.ends_with(payload)));
        }
        Err(damage) => plain(&damage.to_string()),
    });
}

/// What stands behind a checksum that holds: a newer version wrote it, or the memory was damaged before the write.
#[test]
fn what_a_record_holds_survives_another_version() {
    let entry = |payload| pack(&Entry::<Types> { log_id: log_id(9), payload });
    let corpus = [
        entry(EntryPayload::Blank),
        pack(&Vote::<MemberId>::new(3, 7)),
        pack(&log_id(5)),
        pack(&Witness { next: 9, vote: Some(Vote::new(3, 7)), chain: Some(5), committed: Some(8), start: None }),
        pack(&super::command::Group { actor: "test".into(), ..super::command::Group::default() }),
    ];
    survives(Mutations::of("payloads", corpus, 6_000), |bytes| {
        let _ = packed::read::<Entry<Types>>(bytes);
        let _ = packed::read::<Vote<MemberId>>(bytes);
        let _ = packed::read::<LogId<MemberId>>(bytes);
        let _ = packed::read::<super::command::Group>(bytes);
        if let Ok(witness) = packed::read::<Witness>(bytes) {
            assert_eq!(packed::read::<Witness>(&pack(&witness)).ok(), Some(witness));
        }
    });
}

#[test]
fn small_files_survive_what_a_disk_holds() {
    let dir = tempfile::tempdir().unwrap();
    let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
    let mut member = Member::new();
    member.count(dir.path()).unwrap();
    Verdict::give(dir.path(), "entry 9 is damaged").unwrap();
    let corpus = [read("member.json"), read("quarantine.json")];
    survives(Mutations::of("files", corpus, 800), move |bytes| {
        for name in ["member.json", "quarantine.json"] {
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        match Member::read(dir.path()) {
            Ok(member) => {
                member.save(dir.path()).unwrap();
                assert_eq!(Member::read(dir.path()).unwrap(), member);
            }
            Err(error) => assert!(error.to_string().contains("member.json"), "{error}"),
        }
        // Whatever it says: that it is there keeps the store closed.
        assert!(Verdict::read(dir.path()).unwrap().is_some());
    });
}

#[test]
fn sealed_secrets_survive_what_a_store_holds() {
    let sealer = Sealer::ephemeral();
    let uid = Uid::from_bytes([7; 16]);
    let spec = SecretSpec {
        string_data: BTreeMap::from([("password".to_owned(), "hunter2".to_owned())]),
        ..SecretSpec::default()
    };
    let sealed = sealer.seal(&spec, &uid, 3).unwrap();
    let own = serde_json::to_vec(&sealed).unwrap();
    let clear = sealer.open(&sealed, &uid).unwrap();
    survives(Mutations::of("sealed secrets", [own], 4_000), move |bytes| {
        let Ok(secret) = serde_json::from_slice::<SealedSecret>(bytes) else { return };
        let again = serde_json::to_vec(&secret).unwrap();
        assert_eq!(serde_json::from_slice::<SealedSecret>(&again).ok().as_ref(), Some(&secret));
        let _ = secret.identity();
        match sealer.open(&secret, &uid) {
            // What opens is what was sealed, under its own key: or nothing, where nothing is left.
            Ok(values) => assert!(values.iter().all(|(key, value)| clear.get(key) == Some(value)), "another value"),
            Err(error) => {
                assert!(!error.to_string().contains("hunter2"));
            }
        }
    });
}

#[test]
fn the_file_of_keys_survives_what_a_disk_holds() {
    let dir = tempfile::tempdir().unwrap();
    let sealer = Sealer::create(dir.path(), &State::default()).unwrap();
    let file = dir.path().join(KEY_FILE);
    let one = std::fs::read(&file).unwrap();
    sealer.begin_new_key().unwrap();
    let two = std::fs::read(&file).unwrap();
    survives(Mutations::of("keys", [one, two], 800), move |bytes| {
        std::fs::write(&file, bytes).unwrap();
        match Sealer::load(dir.path()) {
            Ok(found) => {
                let ids: Vec<String> =
                    found.iter().flat_map(|s| [vec![s.newest_key()], s.older_keys()].concat()).collect();
                assert!(bytes.len() == 32 || bytes.len() >= 64 * ids.len(), "{ids:?} of {} bytes", bytes.len());
            }
            Err(error) => assert!(error.to_string().contains(file.to_str().unwrap()), "{error}"),
        }
    });
}
