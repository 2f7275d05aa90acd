use std::time::Duration;

use super::*;
use crate::{
    agent::home::TOKEN,
    model::{Declared, Spec, config::ConfigSpec, node::NodeSpec},
    store::{
        Client, Store,
        backup::{Keys, Lock, draw_key},
        command::{Command, Group},
        put::put,
        seal::Sealer,
    },
};

async fn declare(client: &Client, name: &str, spec: Spec) {
    let declared = Declared { name: name.into(), labels: [].into(), annotations: [].into(), spec };
    let put = put(&declared, None, &Sealer::ephemeral(), &client.state(), Uid::from_bytes(rand::random())).unwrap();
    let group = Group { commands: vec![Command::Put(put)], ..Group::default() };
    client.propose(group, Duration::from_secs(10)).await.unwrap();
}
async fn opened(data: &Path) -> Store {
    store::open(Options::new(data, "n1")).await.unwrap()
}
/// A backup of a running store with these nodes, sealed and opened again.
async fn backup(nodes: &[&str]) -> Backup {
    let dir = tempfile::tempdir().unwrap();
    let store = opened(dir.path()).await;
    for node in nodes {
        declare(&store.client, node, Spec::Node(NodeSpec::first())).await;
    }
    let data = [("a".to_owned(), "b".to_owned())].into();
    declare(&store.client, "app", Spec::Config(ConfigSpec { data, ..ConfigSpec::default() })).await;
    let state = (*store.client.state()).clone();
    let made = Backup::of(state, Sealer::ephemeral().key_file(), &"n1".into(), (1, 1, 9)).unwrap();
    store.close().await;
    let (secret, public) = draw_key();
    use age::secrecy::ExposeSecret as _;
    let sealed = made.seal(Lock::to(&[public]).unwrap()).unwrap();
    Backup::open(&sealed, &Keys::of_file(secret.expose_secret()).unwrap()).unwrap()
}

#[tokio::test]
async fn an_empty_directory_becomes_the_node_it_was_and_waits() {
    let (dir, backup) = (tempfile::tempdir().unwrap(), backup(&["n1"]).await);
    let data = dir.path().join("data");
    let made = restore(&data, &backup, None).unwrap();
    let identity = Identity::read(&data).unwrap().unwrap();
    assert_eq!((&*made.node, &*identity.name), ("n1", "n1"));
    assert_eq!(&Sealer::load(&data).unwrap().unwrap().key_file()[..], backup.key_file());
    assert!(!data.join(TOKEN).exists(), "the next start makes a new one");
    for _ in 0..2 {
        let store = opened(&data).await;
        let state = store.client.state();
        assert_eq!(state.lasting_hash(), backup.about.hash);
        assert_eq!(state.cluster().unwrap().cluster, made.cluster);
        assert_eq!(state.unconfirmed().unwrap().index, backup.about.index);
        store.close().await;
    }
}

#[tokio::test]
async fn one_damaged_snapshot_loses_nothing_of_what_was_restored() {
    let (dir, backup) = (tempfile::tempdir().unwrap(), backup(&["n1"]).await);
    restore(dir.path(), &backup, None).unwrap();
    let mut snapshots: Vec<_> =
        fs::read_dir(dir.path().join("raft/snapshots")).unwrap().map(|e| e.unwrap().path()).collect();
    snapshots.sort();
    assert_eq!(snapshots.len(), 2);
    let newest = snapshots.last().unwrap();
    let mut bytes = fs::read(newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(newest, bytes).unwrap();
    let store = opened(dir.path()).await;
    assert_eq!(store.client.state().lasting_hash(), backup.about.hash);
    store.close().await;
}

#[tokio::test]
async fn only_an_empty_directory_is_filled_and_a_try_that_was_cut_off_goes_on() {
    let backup = backup(&["n1"]).await;
    for (name, refused) in [(TOKEN, true), (seal::KEY_FILE, true), ("raft", true), ("lost+found", false), ("x", false)]
    {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join(name), "other").unwrap();
        match restore(data.path(), &backup, None) {
            Err(RestoreError::NotEmpty(path)) => assert!(refused && path.ends_with(name), "{name}"),
            made => assert!(!refused && made.is_ok(), "{name}"),
        }
    }
    let data = tempfile::tempdir().unwrap();
    let identity = chosen(&backup.state, None).unwrap();
    identity.write(data.path()).unwrap();
    fs::write(data.path().join(seal::KEY_FILE), backup.key_file()).unwrap();
    fs::write(data.path().join(TOKEN), "of a start in between").unwrap();
    restore(data.path(), &backup, None).unwrap();
    assert!(matches!(restore(data.path(), &backup, None), Err(RestoreError::NotEmpty(_))), "it is made");
    let data = tempfile::tempdir().unwrap();
    let _held = home::hold(data.path()).unwrap();
    assert!(matches!(restore(data.path(), &backup, None), Err(RestoreError::Home(_))), "an agent has it");
}

#[tokio::test]
async fn of_several_nodes_one_is_chosen() {
    let (dir, backup) = (tempfile::tempdir().unwrap(), backup(&["n1", "n2"]).await);
    let said = |node| restore(dir.path(), &backup, node).unwrap_err().to_string();
    assert!(said(None).contains("n1, n2"), "{}", said(None));
    assert!(said(Some("n3")).contains("n3") && said(Some("n3")).contains("n1, n2"));
    assert_eq!(&*restore(dir.path(), &backup, Some("n2")).unwrap().node, "n2");
}

#[tokio::test]
async fn a_rehearsal_leaves_nothing_and_sees_what_is_lost() {
    let (scratch, backup) = (tempfile::tempdir().unwrap(), backup(&["n1"]).await);
    assert_eq!(rehearse(&backup, scratch.path()).await.unwrap(), backup.about.hash);
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    let file = scratch.path().join("full");
    fs::write(&file, "").unwrap();
    assert!(matches!(rehearse(&backup, &file).await, Err(RestoreError::Io { .. })));
}
