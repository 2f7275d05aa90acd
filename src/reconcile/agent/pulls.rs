//! Images on their way: one pull for each reference, platform and set of credentials, beside the passes, so that a slow registry holds
//! up no other replica.
//!
//! Here: [`Pulls`]. Progress stays in memory; who waits is named when it moved (at most every
//! [`PACE`]) and when it ended. Not here: whether to pull (`super::prepare`).

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
                let mut said = Instant::now();
                while let Some(step) = steps.next().await {
                    let step = step?;
                    if said.elapsed() >= PACE {
                        said = Instant::now();
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

fn words(reference: &str, step: &PullProgress) -> String {
    if step.total == 0 {
        return format!("fetching {reference}: {}", step.status);
    }
    let mib = |bytes: u64| Bytes(bytes >> 20 << 20).to_string();
    let percent = step.current.saturating_mul(100) / step.total;
    format!("fetching {reference}: {percent}% of {}", mib(step.total.max(1 << 20)))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
