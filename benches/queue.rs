//! Throughput of the work queue: bare state machine, and the whole runner with passes that do nothing.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a bench")]

use std::{convert::Infallible, hint::black_box, sync::Arc, time::Duration};

use constellation::controller::{
    Action, Metrics, Options, Reconciler,
    queue::{Finish, Queue},
    run,
};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use futures::stream;
use tokio_util::sync::CancellationToken;

/// Live keys: the design's size.
const KEYS: u64 = 5_000;

struct Nothing;
impl Reconciler for Nothing {
    type Key = u64;
    type Error = Infallible;
    async fn reconcile(&self, key: u64) -> Result<Action, Infallible> {
        black_box(key);
        Ok(Action::Done)
    }
}

fn queue(c: &mut Criterion) {
    let mut group = c.benchmark_group("queue");
    group.throughput(Throughput::Elements(KEYS));
    group.bench_function("add, take, finish", |b| {
        b.iter_batched_ref(
            || Queue::new(16),
            |queue| {
                (0..KEYS).for_each(|key| queue.add(key));
                while let Some(key) = queue.take(Duration::ZERO) {
                    queue.finish(&key, Duration::ZERO, Finish::Done);
                }
            },
            BatchSize::SmallInput,
        );
    });
    group.bench_function("add a key that waits", |b| {
        let mut queue = Queue::new(16);
        (0..KEYS).for_each(|key| queue.add(key));
        b.iter(|| (0..KEYS).for_each(|key| queue.add(black_box(key))));
    });
    group.bench_function("take, finish, requeue later", |b| {
        let mut queue = Queue::new(16);
        (0..KEYS).for_each(|key| queue.add(key));
        let mut now = Duration::ZERO;
        b.iter(|| {
            now += Duration::from_secs(1);
            while let Some(key) = queue.take(now) {
                queue.finish(&key, now, Finish::After(Duration::from_millis(1 + key % 900)));
            }
        });
    });
    group.bench_function("runner, passes that do nothing", |b| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        b.to_async(&runtime).iter(|| {
            let options = Options::named("bench").concurrency(16);
            run(options, Arc::new(Nothing), stream::iter(0..KEYS), Metrics::default(), CancellationToken::new())
        });
    });
    group.finish();
}

criterion_group!(benches, queue);
criterion_main!(benches);
