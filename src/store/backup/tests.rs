use serde_json::json;

use super::*;
use crate::{
    model::{Declared, NodeStatus, ObjectKey, Spec, Status, Token, TokenRole, node::NodeSpec},
    store::{command::Refusal, put::put},
};

/// A value that must not be found anywhere.
const CANARY: &str = "canary-6b1f0c";

fn run(state: &mut State, commands: Vec<Command>) {
    state.apply(&Group { commands, ..Group::default() }).unwrap();
}
fn declare(state: &mut State, sealer: &Sealer, name: &str, uid: u8, spec: Spec) {
    let declared = Declared { name: name.into(), labels: [].into(), annotations: [].into(), spec };
    let put = put(&declared, None, sealer, state, Uid::from_bytes([uid; 16])).unwrap();
    run(state, vec![Command::Put(put)]);
}
fn secret(value: &str) -> Spec {
    Spec::Secret(serde_json::from_value(json!({"stringData": {"password": value}, "keepVersions": 3})).unwrap())
}
/// A cluster with a node, a Service, a Secret in two versions and a token.
fn cluster(sealer: &Sealer) -> State {
    let mut state = State::default();
    let form = |uid| Uid::from_bytes([uid; 16]);
    run(
        &mut state,
        vec![Command::FormCluster { name: "home".into(), node: "n1".into(), cluster: form(1), lineage: form(2) }],
    );
    declare(&mut state, sealer, "n1", 3, Spec::Node(NodeSpec::first()));
    declare(
        &mut state,
        sealer,
        "web",
        4,
        Spec::Service(Box::new(serde_json::from_value(json!({"image": "nginx:1"})).unwrap())),
    );
    declare(&mut state, sealer, "db", 5, secret("first"));
    declare(&mut state, sealer, "db", 5, secret(CANARY));
    let token = Token {
        id: "t1".into(),
        name: "ci".into(),
        role: TokenRole::Admin,
        hash: String::new(),
        created_at: 0,
        created_by: "root".into(),
        expires_at: None,
    };
    let node = (ObjectKey::node("n1"), form(3), Status::Node(NodeStatus::default()));
    let seen = Command::RecordObservations { statuses: vec![node], events: vec![] };
    run(&mut state, vec![Command::CreateToken { token }, seen]);
    state
}
fn backup(sealer: &Sealer, state: State) -> Result<Backup, BackupError> {
    Backup::of(state, sealer.key_file(), &"n1".into(), (2, 7, 40))
}
fn key() -> (Lock, Keys) {
    let (secret, public) = draw_key();
    use age::secrecy::ExposeSecret as _;
    (Lock::to(&[public]).unwrap(), Keys::of_file(&format!("# made today\n{}\n", secret.expose_secret())).unwrap())
}
fn phrase(text: &str) -> SecretString {
    SecretString::from(text.to_owned())
}

#[test]
fn what_is_sealed_opens_again_whole_and_shows_nothing_before() {
    let sealer = Sealer::ephemeral();
    let made = backup(&sealer, cluster(&sealer)).unwrap();
    assert_eq!(made.opens().unwrap(), 2, "both versions");
    let (lock, keys) = key();
    for (lock, keys) in
        [(lock, keys), (Lock::Passphrase(phrase("correct horse")), Keys::Passphrase(phrase("correct horse")))]
    {
        let file = made.seal(lock).unwrap();
        for hidden in [CANARY.as_bytes(), b"nginx:1", b"home", &made.keys[..]] {
            assert!(!file.windows(hidden.len()).any(|w| w == hidden));
        }
        let open = Backup::open(&file, &keys).unwrap();
        assert_eq!((&open.about, open.state.hash(), &open.keys), (&made.about, made.state.hash(), &made.keys));
        assert_eq!((open.last, open.opens().unwrap()), (made.last, 2));
    }
}

#[test]
fn a_wrong_key_is_named_and_so_is_the_wrong_kind_of_key() {
    let sealer = Sealer::ephemeral();
    let made = backup(&sealer, cluster(&sealer)).unwrap();
    let (lock, keys) = key();
    let keyed = made.seal(lock).unwrap();
    let phrased = made.seal(Lock::Passphrase(phrase("correct horse"))).unwrap();
    let (_, others) = key();
    let table = [
        ("another key", &keyed, &others, "none of the keys opens it"),
        ("another phrase", &phrased, &Keys::Passphrase(phrase("battery")), "the passphrase does not open it"),
        ("a phrase for a key", &keyed, &Keys::Passphrase(phrase("x")), "--identity"),
        ("a key for a phrase", &phrased, &keys, "--passphrase-file"),
    ];
    for (case, file, keys, want) in table {
        let said = Backup::open(file, keys).unwrap_err().to_string();
        assert!(said.contains(want), "{case}: {said}");
    }
    for wrong in ["", "# nothing\n", "AGE-SECRET-KEY-1XYZ", "age1qqqq"] {
        assert!(matches!(Keys::of_file(wrong), Err(BackupError::NoKey(_))), "{wrong}");
    }
    let said = Keys::of_file("AGE-SECRET-KEY-1HALFOFASECRET").err().unwrap().to_string();
    assert!(!said.contains("HALF"), "{said}");
    assert!(matches!(Lock::to(&["age1nonsense".into()]), Err(BackupError::NoKey(_))));
    assert!(matches!(made.seal(Lock::Recipients(vec![])), Err(BackupError::Sealing(_))));
}

#[test]
fn damage_anywhere_is_noticed() {
    let sealer = Sealer::ephemeral();
    let made = backup(&sealer, cluster(&sealer)).unwrap();
    let (lock, keys) = key();
    let file = made.seal(lock).unwrap();
    let step = (file.len() / 400).max(1);
    for at in (0..file.len()).step_by(step) {
        let mut flipped = file.clone();
        flipped[at] ^= 1 << (at % 8);
        Backup::open(&flipped, &keys).unwrap_err();
        Backup::open(&file[..at], &keys).unwrap_err();
    }
    let mut longer = file;
    longer.push(0);
    Backup::open(&longer, &keys).unwrap_err();
}

#[test]
fn keys_that_do_not_open_every_secret_make_no_backup() {
    let (sealer, other) = (Sealer::ephemeral(), Sealer::ephemeral());
    let error = backup(&other, cluster(&sealer)).unwrap_err();
    assert!(matches!(&error, BackupError::Closed { name, .. } if **name == *"db"), "{error}");
    assert!(matches!(backup(&other, State::default()), Err(BackupError::NoCluster)));
}

#[test]
fn what_comes_of_it_is_another_cluster_with_the_same_data_that_waits_for_a_word() {
    let sealer = Sealer::ephemeral();
    let before = cluster(&sealer);
    let mut state = before.clone();
    let (new, node): (_, Arc<str>) = (Uid::from_bytes([9; 16]), "n1".into());
    run(
        &mut state,
        vec![Command::Recover { node: node.clone(), told: "t".into(), cluster: Some(new.clone()), lost: true }],
    );
    let (old, info) = (before.cluster().unwrap(), state.cluster().unwrap());
    assert_eq!((&info.cluster, &info.lineage, info.recovery), (&new, &old.lineage, old.recovery + 1));
    assert_eq!(state.unconfirmed().unwrap().cluster, old.cluster);
    assert_eq!(state.unconfirmed().unwrap().index, before.index());
    assert_eq!(state.lasting_hash(), before.lasting_hash());
    assert!(state.index() > before.index());
    assert_eq!(state.tokens().count(), 0, "one of them may have been revoked since");
    assert!(state.node_status("n1").is_none(), "nobody has looked at the machine");
    run(&mut state, vec![Command::ConfirmRestore { node: node.clone() }]);
    assert_eq!(state.unconfirmed(), None);
    let again = Group { commands: vec![Command::ConfirmRestore { node: node.clone() }], ..Group::default() };
    assert!(matches!(state.apply(&again), Err(Refusal::Invalid(_))));
    // A rescue is of the same cluster; it waits when something was lost, a token's end perhaps.
    for (lost, waits, tokens) in [(false, false, 1), (true, true, 0)] {
        let mut rescued = before.clone();
        let recover = Command::Recover { node: node.clone(), told: "t".into(), cluster: None, lost };
        run(&mut rescued, vec![recover]);
        assert_eq!((rescued.unconfirmed().is_some(), rescued.tokens().count()), (waits, tokens));
        assert_eq!(rescued.cluster().unwrap().cluster, old.cluster);
    }
}

#[test]
fn the_same_backup_twice_gives_no_epoch_and_no_position_twice() {
    let sealer = Sealer::ephemeral();
    let before = cluster(&sealer);
    let restored = |at| {
        let mut state = before.clone();
        let recover = Command::Recover {
            node: "n1".into(),
            told: "t".into(),
            cluster: Some(Uid::from_bytes([9; 16])),
            lost: true,
        };
        state.apply(&Group { at, commands: vec![recover], ..Group::default() }).unwrap();
        (state.cluster().unwrap().recovery, state.index().0)
    };
    // A second later: whatever the first wrote meanwhile stands below.
    let (first, second) = (restored(1_764_165_600_000), restored(1_764_165_601_000));
    assert!(second.0 > first.0 && second.1 >= first.1 + 1_000_000, "{first:?} {second:?}");
    // A clock that was never set still goes beyond the backup.
    let (recovery, index) = restored(0);
    assert!(recovery > before.cluster().unwrap().recovery && index > before.index().0);
}
