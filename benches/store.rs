//! Durable writes per second at the store, beside etcd, in one run; then what a million writes leave.
//!
//! One node each, data on the same disk, every write on the disk before its answer, each writer waits
//! for the answer to its last write. Our writers are tasks of this process and call the store; etcd's
//! are tasks of this process and speak gRPC over loopback to etcd's own process. That is no small
//! difference: `wire` measures both through a socket. Only ratios within one run count.
//! `-- rates` or `-- million` runs one half; `STORE_WRITES` changes the million.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use constellation::{
    model::{Declared, Spec, Uid, config::ConfigSpec},
    store::{
        Client, Options, Store,
        command::{Command, Group, Outcome},
        open,
        put::put,
        seal::Sealer,
    },
};
use tokio::task::JoinSet;

mod etcd;
use etcd::{Etcd, Failure};

const SPAN: Duration = Duration::from_secs(5);
const DEADLINE: Duration = Duration::from_secs(30);
const VALUE: usize = 1_000;
/// Objects that the writers share out.
const KEYS: u64 = 10_000;
const ROUNDS: usize = 3;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let only = |half: &str| std::env::args().any(|a| a == half);
    if !only("million") {
        rates().await?;
    }
    if !only("rates") {
        million().await?;
    }
    Ok(())
}

async fn rates() -> Result<(), Failure> {
    let peer = Etcd::start().await?;
    let dir = tempfile::Builder::new().prefix("store-").tempdir_in("/var/tmp")?;
    let store = open(Options::new(dir.path(), "bench")).await?;
    println!(
        "durable writes/s of {VALUE} bytes, one member, median of {ROUNDS} interleaved runs of {} s;\n\
         our writers are in this process, etcd's speak gRPC over loopback",
        SPAN.as_secs()
    );
    println!("{:>8} {:>10} {:>10} {:>7}  {:>6}", "writers", "ours", "etcd", "ratio", "asked");
    for (writers, asked) in [(1, "0.8"), (64, "3"), (256, "-")] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            // Who goes first changes: neither always meets the disk as the other left it.
            for turn in [round, round + 1] {
                if turn % 2 == 0 {
                    ours.push(writes(&store.client, writers, Until::Over(SPAN)).await?);
                } else {
                    theirs.push(peer.puts(writers, KEYS / writers as u64, VALUE, SPAN).await?);
                }
            }
        }
        let (ours, theirs) = (median(ours), median(theirs));
        println!("{writers:>8} {ours:>10.0} {theirs:>10.0} {:>7.2}  {asked:>6}", ours / theirs);
    }
    store.close().await;
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What many writes leave behind, and how long the next start takes.
async fn million() -> Result<(), Failure> {
    let total: u64 = std::env::var("STORE_WRITES").ok().map_or(Ok(1_000_000), |n| n.parse())?;
    let dir = tempfile::Builder::new().prefix("store-").tempdir_in("/var/tmp")?;
    let store = open(Options::new(dir.path(), "bench")).await?;
    println!("\n{total} writes of {VALUE} bytes over {KEYS} objects, 64 writers");
    let begun = resident();
    const PARTS: u64 = 10;
    for part in 1..=PARTS {
        let rate = writes(&store.client, 64, Until::Written(total / PARTS)).await?;
        println!(
            "{:>24} {rate:.0}/s, RSS {:.0} MB, disk {:.0} MB",
            format!("{} written", total / PARTS * part),
            resident(),
            disk(dir.path())
        );
    }
    println!("{:>24} {begun:.0} -> {:.0} MB, peak {:.0} MB", "RSS (bench included)", resident(), peak());
    let status = store.client.raft_status();
    println!("{:>24} last {} snapshot {} purged {}", "log", status.last_log, status.snapshot, status.purged);
    let index = store.client.state().index();
    store.close().await;
    let begun = Instant::now();
    let store: Store = open(Options::new(dir.path(), "bench")).await?;
    println!("{:>24} {:.0} ms", "opened again in", begun.elapsed().as_secs_f64() * 1e3);
    assert!(store.client.state().index() >= index, "nothing that was answered is missing");
    store.close().await;
    Ok(())
}

#[derive(Clone, Copy)]
enum Until {
    Over(Duration),
    Written(u64),
}

/// What write `n` of a run stores.
fn value(run: u64, n: u64) -> String {
    let mut value = format!("{run:016x}{n:020}");
    value.extend(std::iter::repeat_n('0', VALUE - value.len()));
    value
}

/// Writes per second of this many writers, each with objects of its own.
async fn writes(client: &Client, writers: usize, until: Until) -> Result<f64, Failure> {
    let (done, sealer) = (Arc::new(AtomicU64::new(0)), Arc::new(Sealer::ephemeral()));
    // No two runs write the same values: what is equal is no change, and costs less.
    let run: u64 = rand::random();
    let mut all = JoinSet::new();
    let begun = Instant::now();
    for writer in 0..writers {
        let (client, done, sealer) = (client.clone(), done.clone(), sealer.clone());
        all.spawn(async move {
            for n in 0_u64.. {
                let over = match until {
                    Until::Over(span) => begun.elapsed() >= span,
                    Until::Written(total) => done.load(Ordering::Relaxed) >= total,
                };
                if over {
                    break;
                }
                let declared = Declared {
                    name: format!("w{writer}-{}", n % (KEYS / writers as u64)).into(),
                    labels: [].into(),
                    annotations: [].into(),
                    spec: Spec::Config(ConfigSpec {
                        data: [("value".into(), value(run, n))].into(),
                        ..ConfigSpec::default()
                    }),
                };
                let uid = Uid::from_bytes(rand::random());
                let command = Command::Put(put(&declared, None, &sealer, &client.state(), uid)?);
                let applied = client.propose(Group { commands: vec![command], ..Group::default() }, DEADLINE).await?;
                let outcome = applied.objects.first().map(|o| o.result);
                assert!(matches!(outcome, Some(Outcome::Created | Outcome::Configured)), "{outcome:?}");
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, Failure>(())
        });
    }
    while let Some(ended) = all.join_next().await {
        ended??;
    }
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    Ok(done.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64())
}

fn status_field(name: &str) -> f64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|l| l.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}
fn resident() -> f64 {
    status_field("VmRSS")
}
fn peak() -> f64 {
    status_field("VmHWM")
}

/// Megabytes that a folder takes.
fn disk(folder: &Path) -> f64 {
    use std::os::unix::fs::MetadataExt as _;
    let sizes = fs::read_dir(folder).unwrap().map(|entry| {
        let entry = entry.unwrap();
        // A generation may be removed while we look.
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => disk(&entry.path()),
            #[allow(clippy::cast_precision_loss)]
            Ok(meta) => meta.blocks() as f64 * 512.0 / 1e6,
            Err(_) => 0.0,
        }
    });
    sizes.sum()
}
