//! Images on their way: one pull for each reference, platform and set of credentials, beside the passes, so
//! that a slow registry holds up no other replica.
//!
//! Here: [`Pulls`]. Bytes stay in memory; who waits is named when another quarter is there (each word is an entry
//! of the log, so there are at most three, and none sooner than [`PACE`] after the last) and when it ended.
//! Not here: whether to pull (`super::prepare`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::StreamExt as _;
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    model::Bytes,
    reconcile::wakes::Wakes,
    runtime::{Credentials, PullProgress, Runtime, RuntimeError},
};

/// Shortest time between two words on progress.
pub const PACE: Duration = Duration::from_secs(2);
/// An end is told to those who ask within this time.
const KEPT: Duration = Duration::from_secs(60);

/// How far a pull is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pull {
    /// It goes on; the text is for people.
    Running(String),
    /// The image is there; how long it took.
    Done(Duration),
    /// It did not work.
    Failed(RuntimeError),
}

/// What is fetched, and as whom: another platform is another image, and who is refused says nothing of others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Wanted {
    reference: String,
    platform: Option<String>,
    credentials: Option<Credentials>,
}

#[derive(Debug)]
struct Running {
    progress: String,
    end: Option<(Instant, Result<Duration, RuntimeError>)>,
    begun: Instant,
    waiting: BTreeSet<Arc<str>>,
}

/// All pulls of this node.
pub struct Pulls {
    runtime: Arc<dyn Runtime>,
    wakes: Wakes,
    running: Arc<Mutex<BTreeMap<Wanted, Running>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Pulls {
    /// Makes one; all pulls end with `stop`.
    #[must_use]
    pub fn new(runtime: Arc<dyn Runtime>, wakes: Wakes, stop: CancellationToken) -> Self {
        Self { runtime, wakes, running: Arc::default(), tasks: TaskTracker::new(), stop }
    }

    /// How far the pull of a reference is that began no earlier than `since`; begins one if there is
    /// none. `replica` is named when there is news.
    pub fn ask(
        &self,
        replica: &Arc<str>,
        reference: &str,
        platform: Option<String>,
        credentials: Option<Credentials>,
        since: Instant,
    ) -> Pull {
        let wanted = Wanted { reference: reference.to_owned(), platform, credentials };
        let mut running = lock(&self.running);
        running.retain(|_, r| r.end.as_ref().is_none_or(|(at, _)| at.elapsed() < KEPT));
        match running.get_mut(&wanted) {
            Some(known) if known.end.is_none() => {
                known.waiting.insert(replica.clone());
                return Pull::Running(known.progress.clone());
            }
            Some(Running { end: Some((at, end)), .. }) if *at >= since => {
                return match end {
                    Ok(took) => Pull::Done(*took),
                    Err(error) => Pull::Failed(error.clone()),
                };
            }
            Some(_) | None => {}
        }
        let progress = format!("fetching {reference}");
        let entry = Running {
            progress: progress.clone(),
            end: None,
            begun: Instant::now(),
            waiting: BTreeSet::from([replica.clone()]),
        };
        running.insert(wanted.clone(), entry);
        drop(running);
        self.begin(wanted);
        Pull::Running(progress)
    }

    fn begin(&self, wanted: Wanted) {
        let (runtime, wakes, all) = (self.runtime.clone(), self.wakes.clone(), self.running.clone());
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let pulling = async {
                let Wanted { reference, platform, credentials } = wanted.clone();
                let mut steps = runtime.pull(reference.clone(), platform, credentials);
                let (mut said, mut told) = (Instant::now(), 0);
                while let Some(step) = steps.next().await {
                    let step = step?;
                    if said.elapsed() >= PACE && quarters(&step) > told {
                        (said, told) = (Instant::now(), quarters(&step));
                        if let Some(known) = lock(&all).get_mut(&wanted) {
                            known.progress = words(&reference, &step);
                            wakes.wake_all(known.waiting.iter().cloned());
                        }
                    }
                }
                Ok(())
            };
            let Some(end) = stop.run_until_cancelled(pulling).await else { return };
            if let Some(known) = lock(&all).get_mut(&wanted) {
                let took = known.begun.elapsed();
                known.end = Some((Instant::now(), end.map(|()| took)));
                wakes.wake_all(std::mem::take(&mut known.waiting));
            }
        });
    }

    /// Waits until every pull has ended; the caller has cancelled them.
    pub async fn closed(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Whole quarters that are there, short of the end.
fn quarters(step: &PullProgress) -> u64 {
    step.current.saturating_mul(4).checked_div(step.total).unwrap_or(0).min(3)
}

fn words(reference: &str, step: &PullProgress) -> String {
    let mib = Bytes((step.total >> 20).max(1) << 20);
    format!("fetching {reference}: {}% of {mib}", quarters(step) * 25)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pull_has_at_most_three_words_between_its_beginning_and_its_end() {
        let step = |current, total| PullProgress { status: "Downloading".into(), current, total };
        let mut told = 0;
        // The sum grows while layers become known: a quarter that is told is not told again.
        let steps =
            (0..=1_000).map(|n| step(n << 20, 200 << 20)).chain((0..=1_000).map(|n| step(n << 20, 1_000 << 20)));
        let words: Vec<String> = steps
            .filter(|step| {
                let more = quarters(step) > told;
                told = told.max(quarters(step));
                more
            })
            .map(|step| words("a:1", &step))
            .collect();
        assert_eq!(words, ["fetching a:1: 25% of 200Mi", "fetching a:1: 50% of 200Mi", "fetching a:1: 75% of 200Mi"]);
        assert_eq!(quarters(&step(5, 0)), 0, "of an unknown sum nothing is told");
    }
}
