//! The runner on a paused clock: time moves only when everything waits, so nothing here sleeps for real.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::stream;
use prometheus_client::registry::Registry;
use tokio::sync::{Semaphore, mpsc};

use super::*;

#[derive(Debug, thiserror::Error)]
#[error("no")]
struct No;

/// What one pass shall do.
#[derive(Debug, Clone, Copy)]
enum Do {
    Done,
    After(u64),
    Fail,
    Panic,
    Hang,
}

/// Plays a script per key and writes down when each pass began.
struct Script {
    began: Instant,
    script: Mutex<BTreeMap<u32, Vec<Do>>>,
    passes: Mutex<Vec<(u32, u128)>>,
    running: Mutex<BTreeMap<u32, usize>>,
    peak: AtomicUsize,
    gate: Option<Semaphore>,
}
impl Script {
    fn new(script: impl IntoIterator<Item = (u32, Vec<Do>)>) -> Self {
        Self {
            began: Instant::now(),
            script: Mutex::new(script.into_iter().collect()),
            passes: Mutex::default(),
            running: Mutex::default(),
            peak: AtomicUsize::new(0),
            gate: None,
        }
    }
    fn times(&self, key: u32) -> Vec<u128> {
        self.passes.lock().unwrap().iter().filter(|(k, _)| *k == key).map(|(_, at)| *at).collect()
    }
}
impl Reconciler for Script {
    type Key = u32;
    type Error = No;
    async fn reconcile(&self, key: u32) -> Result<Action, No> {
        self.passes.lock().unwrap().push((key, self.began.elapsed().as_millis()));
        {
            let mut running = self.running.lock().unwrap();
            *running.entry(key).or_default() += 1;
            assert_eq!(running[&key], 1, "two passes of {key}");
            self.peak.fetch_max(running.values().sum(), Ordering::SeqCst);
        }
        let next = {
            let mut script = self.script.lock().unwrap();
            script.get_mut(&key).filter(|s| !s.is_empty()).map_or(Do::Done, |s| s.remove(0))
        };
        let leave = || *self.running.lock().unwrap().entry(key).or_default() = 0;
        match &self.gate {
            Some(gate) => gate.acquire().await.unwrap().forget(),
            None => tokio::task::yield_now().await,
        }
        leave();
        match next {
            Do::Done => Ok(Action::Done),
            Do::After(ms) => Ok(Action::RequeueAfter(Duration::from_millis(ms))),
            Do::Fail => Err(No),
            Do::Panic => panic!("as asked"),
            Do::Hang => std::future::pending().await,
        }
    }
}

fn options() -> Options {
    Options::named("test").concurrency(3).backoff(Duration::from_millis(100), Duration::from_millis(400))
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_its_stream_has_ended_and_nothing_is_left() {
    let script = Arc::new(Script::new([(1, vec![Do::After(50), Do::Done])]));
    run(options(), script.clone(), stream::iter([1, 2, 1]), Metrics::default(), CancellationToken::new()).await;
    assert_eq!((script.times(1), script.times(2)), (vec![0, 50], vec![0]));
    // With nothing named at all too.
    run(options(), script, stream::iter([]), Metrics::default(), CancellationToken::new()).await;
}

#[tokio::test(start_paused = true)]
async fn failures_panics_and_passes_that_hang_are_repeated_with_growing_waits() {
    let script = Arc::new(Script::new([(1, vec![Do::Fail, Do::Panic, Do::Hang, Do::Fail, Do::Done])]));
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let options = options().deadline(Duration::from_secs(1));
    run(options, script.clone(), stream::iter([1]), metrics, CancellationToken::new()).await;
    let times = script.times(1);
    let waits: Vec<u128> = times.windows(2).map(|w| w[1] - w[0]).collect();
    for ((wait, least), most) in waits.iter().zip([50, 100, 1200, 200]).zip([101, 201, 1401, 401]) {
        assert!((least..=most).contains(wait), "{waits:?}");
    }
    assert_eq!(waits.len(), 4);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for (outcome, count) in [("Error", 2), ("Panic", 1), ("Deadline", 1), ("Done", 1)] {
        let line = format!("pass_seconds_count{{controller=\"test\",outcome=\"{outcome}\"}} {count}");
        assert!(text.contains(&line), "{line} not in {text}");
    }
    assert!(text.contains("retries_total{controller=\"test\"} 4"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_key_named_during_its_backoff_runs_at_once() {
    let script = Arc::new(Script::new([(1, vec![Do::After(60_000)])]));
    let (send, receive) = mpsc::channel(8);
    let keys = stream::unfold(receive, |mut r| async move { r.recv().await.map(|k| (k, r)) });
    let stop = CancellationToken::new();
    let running = tokio::spawn(run(options(), script.clone(), keys, Metrics::default(), stop.clone()));
    send.send(1).await.unwrap();
    while script.times(1).is_empty() {
        tokio::task::yield_now().await;
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    send.send(1).await.unwrap();
    drop(send);
    running.await.unwrap();
    assert_eq!(script.times(1), [0, 1000]);
}

#[tokio::test(start_paused = true)]
async fn no_more_passes_run_at_once_than_allowed() {
    let script = Arc::new(Script::new([]));
    run(options(), script.clone(), stream::iter(0..50), Metrics::default(), CancellationToken::new()).await;
    assert_eq!((script.peak.load(Ordering::SeqCst), script.passes.lock().unwrap().len()), (3, 50));
}

#[tokio::test(start_paused = true)]
async fn stop_lets_running_passes_end_and_begins_no_new_one() {
    let script = Arc::new(Script { gate: Some(Semaphore::new(0)), ..Script::new([]) });
    let stop = CancellationToken::new();
    let running = tokio::spawn(run(options(), script.clone(), stream::iter(0..50), Metrics::default(), stop.clone()));
    while script.passes.lock().unwrap().len() < 3 {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    if let Some(gate) = &script.gate {
        gate.add_permits(50);
    }
    running.await.unwrap();
    assert_eq!(script.passes.lock().unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn stop_drops_what_does_not_end() {
    let script = Arc::new(Script::new([(1, vec![Do::Hang])]));
    let stop = CancellationToken::new();
    let keys = stream::iter([1]).chain(stream::pending());
    let running = tokio::spawn(run(options(), script.clone(), keys, Metrics::default(), stop.clone()));
    while script.passes.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    let before = Instant::now();
    running.await.unwrap();
    assert_eq!(before.elapsed(), Duration::from_secs(5));
}
