//! Runs a queue on futures: keys in, passes out, at most so many at once.
//!
//! Here: [`run`], the one task of a loop, and [`Options`]. Every branch ends up in the [`Queue`], which
//! alone decides. Not here: the order of keys ([`super::queue`]), what a pass does.
//! A panic of a pass is caught, counted and retried like an error: one bad object must not stop the
//! loop for all others.

use std::{panic::AssertUnwindSafe, pin::pin, sync::Arc, time::Duration};

use futures::{FutureExt as _, Stream, StreamExt as _, stream::FuturesUnordered};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, field::Empty};

use super::{
    Action, Backoff, Reconciler,
    metrics::{LoopMetrics, Metrics, Outcome},
    queue::{Finish, Queue},
};

/// Keys taken from the stream at once: enough to fold a burst, few enough to start passes in between.
const CHUNK: usize = 256;

/// How a loop runs.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Its name in spans and metrics.
    pub name: &'static str,
    /// Passes that may run at once, of different keys.
    pub concurrency: usize,
    /// Waits after failures.
    pub backoff: Backoff,
    /// Longest time of one pass; it is dropped then and repeated with backoff.
    pub deadline: Duration,
    /// Time that running passes get after `stop` before they are dropped.
    pub grace: Duration,
}

impl Options {
    /// One pass at a time, a minute each, five seconds to end.
    #[must_use]
    pub fn named(name: &'static str) -> Self {
        Self {
            name,
            concurrency: 1,
            backoff: Backoff::default(),
            deadline: Duration::from_secs(60),
            grace: Duration::from_secs(5),
        }
    }
    /// With so many passes at once.
    #[must_use]
    pub fn concurrency(self, concurrency: usize) -> Self {
        Self { concurrency, ..self }
    }
    /// With these waits after failures.
    #[must_use]
    pub fn backoff(self, first: Duration, max: Duration) -> Self {
        Self { backoff: Backoff { first, max }, ..self }
    }
    /// With this longest time of a pass.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }
    /// With this time for running passes after `stop`.
    #[must_use]
    pub fn grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }
}

/// Reconciles every key that `keys` names, until `stop`, or until `keys` has ended and nothing is left
/// to do. Dropping the future drops the running passes.
pub async fn run<R, S>(options: Options, reconciler: Arc<R>, keys: S, metrics: Metrics, stop: CancellationToken)
where
    R: Reconciler,
    S: Stream<Item = R::Key> + Send,
{
    let metrics = metrics.of(options.name);
    let began = Instant::now();
    let mut queue = Queue::new(options.concurrency);
    let mut passes = FuturesUnordered::new();
    let mut keys = pin!(keys.ready_chunks(CHUNK).fuse());
    while !stop.is_cancelled() {
        while let Some(key) = queue.take(began.elapsed()) {
            passes.push(pass(options, reconciler.clone(), key, metrics.clone()));
        }
        metrics.depth.set(gauge(queue.depth()));
        metrics.running.set(gauge(queue.running()));
        if keys.is_done() && queue.is_empty() {
            break;
        }
        // A timer is of use only when there is room for what it wakes; the end of a pass comes by here too.
        let due = queue.next_due().filter(|_| queue.running() < options.concurrency.max(1)).map(|at| began + at);
        tokio::select! {
            () = stop.cancelled() => {}
            Some(ended) = passes.next(), if !passes.is_empty() => {
                settle(&mut queue, ended, &options, &metrics, began.elapsed());
            }
            chunk = keys.next(), if !keys.is_done() => {
                // None: the stream ended just now; the loop looks again.
                let chunk = chunk.unwrap_or_default();
                metrics.adds.inc_by(chunk.len() as u64);
                chunk.into_iter().for_each(|key| queue.add(key));
            }
            () = sleep_until(due.unwrap_or(began)), if due.is_some() => {}
        }
    }
    metrics.depth.set(0);
    let ended = timeout(options.grace, async { while passes.next().await.is_some() {} }).await;
    metrics.running.set(0);
    if ended.is_err() {
        tracing::warn!(controller = options.name, dropped = passes.len(), grace = ?options.grace, "passes did not end in time");
    }
}

/// Tells the queue how a pass ended.
fn settle<K: Clone + Eq + std::hash::Hash + std::fmt::Debug>(
    queue: &mut Queue<K>,
    (key, ended): (K, Ended),
    options: &Options,
    metrics: &LoopMetrics,
    now: Duration,
) {
    let how = match ended {
        Ended::Worked(Action::Done) => Finish::Done,
        Ended::Worked(Action::RequeueAfter(wait)) => Finish::After(wait),
        Ended::Failed(error) => {
            let failures = queue.failures(&key).saturating_add(1);
            let wait = options.backoff.delay(failures, rand::random());
            metrics.retries.inc();
            tracing::warn!(controller = options.name, ?key, failures, ?wait, %error, "pass failed");
            Finish::Failed(wait)
        }
    };
    queue.finish(&key, now, how);
}

/// How a pass ended, with the error as text: its chain in one line.
enum Ended {
    Worked(Action),
    Failed(String),
}

/// One pass, with its span, deadline and measure.
async fn pass<R: Reconciler>(
    options: Options,
    reconciler: Arc<R>,
    key: R::Key,
    metrics: LoopMetrics,
) -> (R::Key, Ended) {
    let span = tracing::info_span!("reconcile", controller = options.name, ?key, outcome = Empty);
    let began = Instant::now();
    let work = AssertUnwindSafe(async { reconciler.reconcile(key.clone()).await }).catch_unwind();
    let (outcome, ended) = match timeout(options.deadline, work.instrument(span.clone())).await {
        Ok(Ok(Ok(action @ Action::Done))) => (Outcome::Done, Ended::Worked(action)),
        Ok(Ok(Ok(action @ Action::RequeueAfter(_)))) => (Outcome::Requeue, Ended::Worked(action)),
        Ok(Ok(Err(error))) => (Outcome::Error, Ended::Failed(chain(&error))),
        Ok(Err(panic)) => (Outcome::Panic, Ended::Failed(format!("the pass panicked: {}", text(&*panic)))),
        Err(_) => (Outcome::Deadline, Ended::Failed(format!("the pass took longer than {:?}", options.deadline))),
    };
    span.record("outcome", tracing::field::debug(outcome));
    metrics.passed(outcome, began.elapsed().as_secs_f64());
    (key, ended)
}

/// An error with its sources, once each.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}

fn text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("?")
}

fn gauge(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
