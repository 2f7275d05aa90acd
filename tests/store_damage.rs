//! Damage of the store's files is mended or said; no write is lost or changed in silence.
//!
//! A child fills a store; then copies of its `raft` folder are damaged, one place each, chosen at random, and
//! each is opened. Two ends are right: *intact*, where the store opens with the same content, vote and member
//! (damage of what is not needed, or what an older snapshot and the log make up for); and *detected*, where it does not
//! open, ends with 78, and every file stays as it was found. A second start ends the same way: nothing heals itself
//! into a loss.
//! A known limit, a row of its own: a folder that is older as a whole is whole in itself. Only another
//! member of the cluster can know better.
//! Not here: a log that was cut and voted over (`store::cutting` in the library).
//! `CONSTELLATION_TEST_LONG` damages ten times as many copies; `STORE_DAMAGE_SEED` repeats the choices.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod children;
mod damage;
mod writers;

use std::{env, path::Path, process::exit, sync::Arc, time::Duration};

use constellation::{
    model::{Kind, Spec, config::ConfigSpec, node::NodeSpec, secret::SecretSpec},
    store::{Store, open, seal::Sealer},
};
use rand::{SeedableRng as _, rngs::StdRng};
use serde_json::json;
use tokio::task::JoinSet;

use children::{child, run, say, scratch};
use damage::{Damage, End, Files, Table, files, write};
use writers::{busy, declare};

const CHILD: &str = "STORE_DAMAGE_DIR";
const TASK: &str = "STORE_DAMAGE_TASK";
const DEADLINE: Duration = Duration::from_secs(60);

const OLDER_LOG: &str = "an older database";
const OLDER_SNAPSHOTS: &str = "older snapshots";
const OLDER_FOLDER: &str = "all of it older (limit)";

/// What an open store said.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    content: String,
    index: u64,
    member: u64,
    term: u64,
    incarnation: u64,
}

/// A store with a known content, and how it was earlier.
struct Base {
    name: &'static str,
    files: Files,
    older: Files,
    /// What a start of it finds.
    found: Found,
}

/// What a child answers to a task; an error: how it ended instead.
fn ask(dir: &Path, task: &str) -> Result<Found, End> {
    let (status, said, errors) = run(child("the_child_of_the_other_test").env(CHILD, dir).env(TASK, task), DEADLINE);
    let code = status.and_then(|s| s.code());
    for line in said.lines() {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["FOUND", content, index, member, term, incarnation] if code == Some(0) => {
                let number = |text: &str| text.parse().unwrap();
                let (member, term, incarnation) = (number(member), number(term), number(incarnation));
                return Ok(Found { content: content.into(), index: number(index), member, term, incarnation });
            }
            ["REFUSED", ..] if code == Some(78) => return Err(End::Detected(line.to_owned())),
            _ => {}
        }
    }
    Err(End::Neither(format!("{status:?}: {said}\n{errors}")))
}

/// What lies in a folder, without what a child was about to write when it ended: the next start removes it.
fn lasting(dir: &Path) -> Files {
    let mut all = files(dir);
    all.retain(|name, _| name.extension().is_none_or(|end| end != "tmp"));
    all
}

impl Base {
    fn make(name: &'static str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        ask(dir.path(), "closed").unwrap();
        let older = lasting(dir.path());
        let enough = |files: &Files| {
            let count = |part: &str| files.keys().filter(|f| f.to_string_lossy().contains(part)).count();
            count(".snap") == 2 && count("/ready") > 1
        };
        // How far the log has come on to the next database when the child ends is a matter of moments.
        let mut filled = (0..10).map(|_| {
            ask(dir.path(), name).unwrap();
            lasting(dir.path())
        });
        let files = filled.find(enough).expect("enough to damage");
        let again = scratch();
        write(&files, again.path());
        let found = ask(again.path(), "look").unwrap();
        Self { name, files, older, found }
    }

    /// A copy with older files in the place of some.
    fn with_older(&self, is_older: impl Fn(&Path) -> bool) -> Files {
        let mut copy = self.files.clone();
        copy.retain(|name, _| !is_older(name));
        copy.extend(self.older.iter().filter(|(name, _)| is_older(name)).map(|(n, b)| (n.clone(), b.clone())));
        copy
    }

    /// Opens a damaged copy twice.
    fn end_of(&self, copy: &Files) -> End {
        let dir = scratch();
        write(copy, dir.path());
        let first = self.judge(ask(dir.path(), "look"), 0);
        if matches!(first, End::Detected(_)) {
            let left = files(dir.path());
            // A damaged snapshot gets another name.
            let kept = |name: &Path| left.get(name).or_else(|| left.get(&name.with_extension("damaged")));
            if let Some((name, _)) = copy.iter().find(|(name, bytes)| kept(name) != Some(bytes)) {
                return End::Lost(format!("{} is not as it was found after {first:?}", name.display()));
            }
        }
        first.then(|| self.judge(ask(dir.path(), "look"), 1))
    }

    fn judge(&self, answer: Result<Found, End>, starts: u64) -> End {
        let expected = &self.found;
        match answer {
            Err(end) => end,
            Ok(found)
                if found.content == expected.content
                    && found.index >= expected.index
                    && found.member == expected.member
                    && found.term >= expected.term
                    // A start may end before it is counted, so a member.json that is older by one is not told from that.
                    && found.incarnation + 1 >= expected.incarnation + starts =>
            {
                End::Intact
            }
            Ok(found) => End::Lost(format!("{found:?} for {expected:?}")),
        }
    }
}

#[test]
fn damage_is_mended_or_said_and_nothing_is_lost_in_silence() {
    let copies = if env::var_os("CONSTELLATION_TEST_LONG").is_some() { 600 } else { 60 };
    let seed = env::var("STORE_DAMAGE_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("STORE_DAMAGE_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let bases = [Base::make("closed"), Base::make("killed")];
    let mut table = Table::default();
    for base in &bases {
        let log = base.with_older(|name| name.starts_with("raft/log") && !name.ends_with("witness"));
        table.add(OLDER_LOG, base.name, &base.end_of(&log), false);
        let snapshots = base.with_older(|name| name.starts_with("raft/snapshots"));
        table.add(OLDER_SNAPSHOTS, base.name, &base.end_of(&snapshots), false);
        table.add(OLDER_FOLDER, base.name, &base.end_of(&base.older), true);
    }
    for n in 6..copies {
        let (base, damage) = (&bases[n % 2], Damage::ALL[n / 2 % Damage::ALL.len()]);
        let (copy, what) = damage.of(&base.files, &base.older, &mut random);
        table.add(damage.name(), &format!("{what} of a {} store", base.name), &base.end_of(&copy), false);
    }
    table.show();
    assert_eq!(table.row(OLDER_FOLDER), [0, 0, 0, 2], "the limit that is documented is another one now");
}

#[test]
fn the_child_of_the_other_test() {
    let (Some(dir), Ok(task)) = (env::var_os(CHILD), env::var(TASK)) else { return };
    tokio::runtime::Runtime::new().unwrap().block_on(async move {
        let store = match open(busy(dir)).await {
            Ok(store) => store,
            Err(error) => {
                let code = error.exit_code();
                say(&format!("REFUSED with {code}: {:#}", anyhow::Error::from(error)));
                exit(code.into());
            }
        };
        if task != "look" {
            fill(&store).await;
        }
        found(&store);
        if task == "closed" {
            store.close().await;
        }
    });
    exit(0);
}

/// Some thousand writes of all kinds, large ones among them, with snapshots and purges between them.
async fn fill(store: &Store) {
    let sealer = Arc::new(Sealer::ephemeral());
    let mut all = JoinSet::new();
    for writer in 0..16 {
        let (client, sealer) = (store.client.clone(), sealer.clone());
        all.spawn(async move {
            for n in 0..60 {
                let text = || [("n".to_owned(), format!("{:>size$}", rand::random::<u64>(), size = 300))].into();
                let spec = match n % 4 {
                    0 => Spec::Service(serde_json::from_value(json!({"image": format!("web:{n}")})).unwrap()),
                    1 => Spec::Secret(SecretSpec { string_data: text(), ..SecretSpec::default() }),
                    2 => Spec::Node(serde_json::from_value::<NodeSpec>(json!({})).unwrap()),
                    _ if n == 31 => Spec::Config(ConfigSpec {
                        data: [("n".into(), "x".repeat(70_000))].into(),
                        ..ConfigSpec::default()
                    }),
                    _ => Spec::Config(ConfigSpec { data: text(), ..ConfigSpec::default() }),
                };
                declare(&client, &sealer, format!("w{writer}-{}", n % 20).into(), spec).await;
            }
        });
    }
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
}

fn found(store: &Store) {
    let (state, raft) = (store.client.state(), store.client.raft_status());
    let mut content = blake3::Hasher::new();
    for kind in [Kind::Service, Kind::Config, Kind::Secret, Kind::Node] {
        for object in state.objects(kind) {
            content.update(serde_json::to_string(object).unwrap().as_bytes());
            for revision in state.revisions(&object.meta.uid) {
                content.update(serde_json::to_string(revision).unwrap().as_bytes());
            }
        }
    }
    let incarnation = state.leader().unwrap().incarnation;
    let (content, index) = (content.finalize().to_hex(), state.index());
    say(&format!("FOUND {content} {index} {} {} {incarnation}", raft.member, raft.term));
}
