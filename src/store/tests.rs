//! The store as a whole: opening, closing, opening again.

use std::{sync::Arc, time::Duration};

use super::{Client, OpenError, Options, ProposeError, open, put::put, seal::Sealer, testing};
use crate::{
    model::{Declared, Index, Kind, ObjectKey, Spec, Uid, config::ConfigSpec, secret::SecretSpec},
    store::command::{Applied, Command, Group, Outcome, Refusal},
};

const SOON: Duration = Duration::from_secs(10);

fn config(name: &str, value: &str) -> Declared {
    let spec = Spec::Config(ConfigSpec { data: [("k".into(), value.into())].into(), ..ConfigSpec::default() });
    Declared { name: name.into(), labels: [].into(), annotations: [].into(), spec }
}
fn secret(name: &str, value: &str) -> Declared {
    let spec = Spec::Secret(SecretSpec { string_data: [("k".into(), value.into())].into(), ..SecretSpec::default() });
    Declared { name: name.into(), labels: [].into(), annotations: [].into(), spec }
}
async fn write(client: &Client, sealer: &Sealer, declared: &Declared) -> Result<Applied, ProposeError> {
    let command = put(declared, None, sealer, &client.state(), Uid::from_bytes(rand::random())).unwrap();
    client.propose(Group { commands: vec![Command::Put(command)], ..Group::default() }, SOON).await
}

#[tokio::test]
async fn a_store_in_memory_is_formed_leads_and_answers() {
    let client = testing::memory("n1").await;
    let token = client.leadership().borrow().unwrap();
    let state = client.state();
    assert_eq!(state.leader().unwrap().token, token);
    assert_eq!(state.cluster().unwrap().recovery, 0);
    let sealer = Sealer::ephemeral();
    let first = write(&client, &sealer, &config("a", "x")).await.unwrap();
    let again = write(&client, &sealer, &config("a", "x")).await.unwrap();
    assert_eq!((first.objects[0].result, again.objects[0].result), (Outcome::Created, Outcome::Unchanged));
    assert_eq!(client.raft_status().role, "Leader");
}

#[tokio::test]
async fn nobody_else_reads_the_log_or_a_snapshot_below_an_open_directory() {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt as _};
    let dir = tempfile::tempdir().unwrap();
    let open_up = |path: &std::path::Path| {
        std::fs::create_dir_all(path).unwrap();
        std::fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
    };
    for open in ["", "raft", "raft/snapshots", "raft/log"] {
        open_up(&dir.path().join(open));
    }
    let store = open(Options::new(dir.path(), "n1")).await.unwrap();
    write(&store.client, &Sealer::ephemeral(), &config("a", "x")).await.unwrap();
    store.close().await;
    let snapshots = super::snapshot::Folder::open(&dir.path().join("raft/snapshots")).unwrap();
    snapshots.write(None, b"x").unwrap();
    let (mut folders, mut files) = (vec![dir.path().join("raft")], Vec::new());
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    while let Some(folder) = folders.pop() {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
        for entry in std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()) {
            // What sled makes inside a generation is sled's, below a folder that is ours.
            match entry.is_dir() {
                true if folder.file_name().unwrap().to_string_lossy().starts_with("gen-") => {}
                true => folders.push(entry),
                false => files.push(entry),
            }
        }
    }
    let named = |end: &str| files.iter().filter(|f| f.to_string_lossy().ends_with(end)).collect::<Vec<_>>();
    for (end, count) in [("member.json", 1), (".snap", 1), ("/ready", 1)] {
        assert!(named(end).len() >= count, "{end}: {files:?}");
        assert!(named(end).iter().all(|f| mode(f) == 0o600), "{end}: {files:?}");
    }
}

#[tokio::test]
async fn everything_is_there_after_a_restart_and_a_new_token_begins() {
    let dir = tempfile::tempdir().unwrap();
    let sealer = Sealer::ephemeral();
    let mut before: Option<(String, Index, u64)> = None;
    for round in 0..3 {
        let store = open(Options::new(dir.path(), "n1")).await.unwrap();
        let client = store.client.clone();
        let token = client.leadership().borrow().unwrap();
        if let Some((cluster, last, time)) = before {
            assert_eq!(client.state().cluster().unwrap().cluster.0.to_string(), cluster);
            assert!(token > last, "the token grows");
            assert!(client.now() >= time, "cluster time never goes back");
            assert_eq!(client.state().objects(Kind::Config).count(), round * 5);
        }
        for n in 0..5 {
            write(&client, &sealer, &config(&format!("c{round}-{n}"), "x")).await.unwrap();
        }
        let state = client.state();
        before = Some((state.cluster().unwrap().cluster.0.to_string(), state.index(), client.now()));
        store.close().await;
        assert!(matches!(write(&client, &sealer, &config("late", "x")).await, Err(ProposeError::Closed)));
    }
}

#[tokio::test]
async fn a_member_that_lost_its_log_forms_no_second_cluster() {
    let dir = tempfile::tempdir().unwrap();
    open(Options::new(dir.path(), "n1")).await.unwrap().close().await;
    std::fs::remove_dir_all(dir.path().join("raft/log")).unwrap();
    let error = open(Options::new(dir.path(), "n1")).await.unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    assert_eq!(error.exit_code(), 78);
}

#[tokio::test]
async fn a_store_whose_member_is_missing_does_not_open_as_another_one() {
    let dir = tempfile::tempdir().unwrap();
    open(Options::new(dir.path(), "n1")).await.unwrap().close().await;
    std::fs::remove_file(dir.path().join("raft/member.json")).unwrap();
    let error = open(Options::new(dir.path(), "n1")).await.unwrap_err();
    assert_eq!(error.exit_code(), 78, "{error}");
    assert!(error.hint().contains("bring back a copy"), "{}", error.hint());
}

#[tokio::test]
async fn a_lost_key_is_replaced_only_where_no_secret_needs_it() {
    let (dir, client) = (tempfile::tempdir().unwrap(), testing::memory("n1").await);
    let sealer = Sealer::create(dir.path(), &client.state()).unwrap();
    write(&client, &sealer, &config("c", "x")).await.unwrap();
    write(&client, &sealer, &secret("s", "x")).await.unwrap();
    assert!(Sealer::load(dir.path()).unwrap().is_some());
    std::fs::remove_file(dir.path().join("seal.key")).unwrap();
    assert!(Sealer::load(dir.path()).unwrap().is_none());
    let error = Sealer::create(dir.path(), &client.state()).unwrap_err();
    assert_eq!(error.exit_code(), 78, "{error}");
    assert!(error.hint().contains("bring it back"), "{}", error.hint());
    let delete = Command::Delete { key: ObjectKey::new(Kind::Secret, "s") };
    client.propose(Group { commands: vec![delete], ..Group::default() }, SOON).await.unwrap();
    Sealer::create(dir.path(), &client.state()).unwrap();
}

#[tokio::test]
async fn a_secret_grows_its_version_with_its_value_only() {
    let client = testing::memory("n1").await;
    let sealer = Sealer::ephemeral();
    let version = |client: &Client| {
        let object = client.state().object(&ObjectKey::new(Kind::Secret, "s")).cloned().unwrap();
        let sealed: crate::model::secret::SealedSecret = object.parse().unwrap();
        let clear = sealer.open(&sealed, &object.meta.uid).unwrap();
        (sealed.version, String::from_utf8(clear["k"].to_vec()).unwrap())
    };
    let table = [
        ("x", Outcome::Created, 1),
        ("x", Outcome::Unchanged, 1),
        ("y", Outcome::Configured, 2),
        ("x", Outcome::Configured, 3),
    ];
    for (value, outcome, expected) in table {
        let answer = write(&client, &sealer, &secret("s", value)).await.unwrap();
        assert_eq!(answer.objects[0].result, outcome);
        assert_eq!(version(&client), (expected, value.to_owned()));
    }
    // Sealed over an object that moved on meanwhile: refused, not stored unreadable.
    let stale = put(&secret("s", "z"), None, &sealer, &client.state(), Uid("".into())).unwrap();
    write(&client, &sealer, &secret("s", "w")).await.unwrap();
    let group = Group { commands: vec![Command::Put(stale)], ..Group::default() };
    let refused = client.propose(group, SOON).await;
    assert!(matches!(refused, Err(ProposeError::Refused(Refusal::Conflict { .. }))));
}

#[tokio::test]
async fn many_writers_share_entries() {
    let client = testing::memory("n1").await;
    let sealer = Arc::new(Sealer::ephemeral());
    let before = client.raft_status().last_log;
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..200 {
        let (client, sealer) = (client.clone(), sealer.clone());
        writers.spawn(async move { write(&client, &sealer, &config(&format!("c{n}"), "x")).await.unwrap() });
    }
    let mut seen: Vec<u64> = writers.join_all().await.into_iter().map(|a| a.index.0).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 200, "each has an answer of its own");
    assert!(client.raft_status().last_log - before < 200);
}

#[tokio::test]
async fn a_group_beyond_the_limit_is_refused_before_it_is_proposed() {
    let client = testing::memory("n1").await;
    let error = write(&client, &Sealer::ephemeral(), &config("big", &"x".repeat(5 << 20))).await.unwrap_err();
    assert!(matches!(error, ProposeError::TooLarge { .. }));
}
