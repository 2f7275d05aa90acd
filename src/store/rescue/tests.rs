//! A damaged store stays as it was found, says what can be saved, and goes on from there when told what is lost.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc, time::Duration};

use super::*;
use crate::{
    model::{Declared, Index, Kind, ObjectKey, Spec, Uid, config::ConfigSpec},
    store::{Client, OpenError, Options, Store, open, put::put, seal::Sealer},
};

const WRITES: usize = 20;

async fn write(client: &Client, n: usize) {
    let spec = Spec::Config(ConfigSpec { data: [("n".into(), n.to_string())].into(), ..ConfigSpec::default() });
    let name: Arc<str> = format!("c{n}").into();
    let declared = Declared { name, labels: [].into(), annotations: [].into(), spec };
    let command = put(&declared, None, &Sealer::ephemeral(), &client.state(), Uid::from_bytes([n as u8; 16])).unwrap();
    let group = Group { commands: vec![Command::Put(command)], ..Group::default() };
    client.propose(group, Duration::from_secs(10)).await.unwrap();
}
async fn opened(data: &Path) -> Result<Store, OpenError> {
    open(Options::new(data, "n1")).await
}
/// A closed store with so many Configs.
async fn written(data: &Path) {
    let store = opened(data).await.unwrap();
    for n in 0..WRITES {
        write(&store.client, n).await;
    }
    store.close().await;
}
fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}
/// Every file below a folder.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            all.extend(contents(&path).into_iter().map(|(below, bytes)| (format!("{name}/{below}"), bytes)));
        } else {
            all.insert(name, fs::read(&path).unwrap());
        }
    }
    all
}
/// Flips a bit of the Config of this number in the file of sled, as often as it stands there, or once.
fn damage(data: &Path, n: usize, everywhere: bool) {
    let text = format!("{{\"data\":{{\"n\":\"{n}\"}}}}");
    change(&data.join(DB), |bytes| {
        let places = bytes.windows(text.len()).enumerate().filter(|(_, window)| *window == text.as_bytes());
        let places: Vec<_> = places.map(|(at, _)| at).take(if everywhere { usize::MAX } else { 1 }).collect();
        assert!(!places.is_empty());
        for at in places {
            bytes[at + 10] ^= 1;
        }
    });
}
const DB: &str = "raft/log/gen-000000000001/db";

#[tokio::test]
async fn a_damaged_store_is_kept_as_it_was_found_and_goes_on_when_told_what_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    written(data).await;
    damage(data, 12, true);
    let before = contents(&data.join("raft"));
    for _ in 0..2 {
        let error = opened(data).await.unwrap_err();
        assert_eq!(error.exit_code(), 78, "{error}");
        assert!(error.hint().contains("constellation rescue --single"), "{}", error.hint());
        let mut after = contents(&data.join("raft"));
        assert!(after.remove("quarantine.json").is_some());
        assert!(after == before, "a file of it is not as it was found");
    }

    let found = survey(data).unwrap();
    let Loss::Entries(lost) = found.loss else { panic!("{:?}", found.loss) };
    assert_eq!(lost as usize, WRITES - 12, "{:?}", found.seen);
    let cluster = found.state.cluster().unwrap().clone();
    let refused = rescue(data, found, "0", 1).unwrap_err();
    assert!(matches!(refused, RescueError::OtherLoss { is: Loss::Entries(_), .. }), "{refused}");
    assert!(opened(data).await.is_err(), "it is still closed");

    let kept = rescue(data, survey(data).unwrap(), &lost.to_string(), 1).unwrap().unwrap();
    let mut evidence = contents(&kept);
    evidence.remove("quarantine.json");
    assert!(evidence == before, "the damaged one is kept as it was found");
    for round in 0..2 {
        let store = opened(data).await.unwrap();
        let state = store.client.state();
        assert_eq!(state.objects(Kind::Config).count(), 12 + round);
        let now = state.cluster().unwrap();
        assert_eq!((&now.lineage, now.recovery), (&cluster.lineage, cluster.recovery + 1));
        let from = state.unconfirmed().unwrap().index;
        assert!(state.events_after(from).is_ok(), "who knew this much goes on");
        assert!(state.events_after(from.next()).is_err(), "who knew more than this is told so");
        assert_eq!(
            state
                .events_after(Index(0))
                .unwrap()
                .filter(|e| e.reason == crate::model::Reason::ClusterRecovered)
                .count(),
            1
        );
        write(&store.client, 90 + round).await;
        store.close().await;
    }
}

#[tokio::test]
async fn a_store_that_was_put_back_whole_opens_again() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    written(data).await;
    let whole = fs::read(data.join(DB)).unwrap();
    damage(data, 12, true);
    assert_eq!(opened(data).await.unwrap_err().exit_code(), 78);
    fs::write(data.join(DB), whole).unwrap();
    let store = opened(data).await.unwrap();
    assert_eq!(store.client.state().objects(Kind::Config).count(), WRITES);
    store.close().await;
    assert!(survey(data).unwrap().verdict.is_none());
}

#[tokio::test]
async fn what_only_the_database_lost_is_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    written(data).await;
    // sled writes a page anew as it grows, and has the entry in two places.
    damage(data, 1, false);
    assert_eq!(opened(data).await.unwrap_err().exit_code(), 78);
    let found = survey(data).unwrap();
    assert_eq!(found.loss, Loss::Nothing, "{:?}", found.seen);
    assert!(found.verdict.is_some());
    rescue(data, found, "0", 1).unwrap();
    let store = opened(data).await.unwrap();
    assert_eq!(store.client.state().objects(Kind::Config).count(), WRITES);
    store.close().await;
}

#[tokio::test]
async fn without_a_witness_the_loss_is_unknown_and_without_anything_there_is_no_rescue() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    written(data).await;
    fs::remove_file(data.join("raft/log/witness")).unwrap();
    assert_eq!(opened(data).await.unwrap_err().exit_code(), 78);
    let found = survey(data).unwrap();
    assert_eq!(found.loss, Loss::Unknown, "{:?}", found.seen);
    assert!(found.state.object(&ObjectKey::new(Kind::Config, "c19")).is_some());
    fs::remove_dir_all(data.join("raft/log")).unwrap();
    assert!(matches!(survey(data), Err(RescueError::Nothing(_))));
}
