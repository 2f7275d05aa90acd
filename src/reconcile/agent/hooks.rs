//! Commands in a running container: after its start and before its stop.
//!
//! Here: [`Hooks`], one task for each container whose `postStart` is under way; `pre_stop`, part of a stop.
//! Not here: what follows from a failure (`plan::agent`), what runs in a container of its own (`plan::rollout`).
//! Invariants: a container that is looked at twice in one life has its `postStart` run once; no stop waits longer
//! than the timeouts of its hooks, and none is given up for them.
//! Why at least once and not exactly once: an agent that ends half-way does not know whether the command did.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Agent, PassError, Subject};
use crate::{
    model::{
        Reason,
        service::{InnerHook, OnFailure},
    },
    reconcile::{prober::streak::clip, wakes::Wakes},
    runtime::{Runtime, RuntimeError},
};

/// Lines of its output that are told of a command that failed.
const TOLD: usize = 5;
/// Until a command is tried again that the engine did not begin.
const AGAIN: Duration = Duration::from_secs(2);

/// A container and when it was started.
pub(super) type Life = (Arc<str>, String);

/// How far the hooks after a start are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PostStart {
    /// This one runs.
    Runs(String),
    /// Nothing is left to run.
    Done,
    /// One failed.
    Failed(String),
}

/// What became of them, and what is to be told.
struct SoFar {
    state: PostStart,
    news: Vec<(Reason, String)>,
}

struct Watched {
    life: Life,
    so_far: Arc<Mutex<SoFar>>,
    stop: CancellationToken,
}

/// Runs what follows starts.
pub(super) struct Hooks {
    runtime: Arc<dyn Runtime>,
    wakes: Wakes,
    watched: Mutex<BTreeMap<Arc<str>, Watched>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Hooks {
    pub(super) fn new(runtime: Arc<dyn Runtime>, wakes: Wakes, stop: CancellationToken) -> Self {
        Self { runtime, wakes, watched: Mutex::default(), tasks: TaskTracker::new(), stop }
    }

    /// How far the hooks of this life are, and what is new; begins them at the first look. `over`: they ran before this
    /// agent did.
    pub(super) fn after_start(
        &self,
        replica: &Arc<str>,
        life: Life,
        hooks: &[InnerHook],
        over: bool,
    ) -> (PostStart, Vec<(Reason, String)>) {
        let mut watched = self.lock();
        if let Some(known) = watched.get(replica).filter(|w| w.life == life) {
            let mut so_far = known.so_far.lock().unwrap_or_else(PoisonError::into_inner);
            return (so_far.state.clone(), std::mem::take(&mut so_far.news));
        }
        let first = hooks.first().filter(|_| !over);
        let state = first.map_or(PostStart::Done, |hook| PostStart::Runs(named("postStart", hook)));
        let so_far = Arc::new(Mutex::new(SoFar { state: state.clone(), news: Vec::new() }));
        let stop = self.stop.child_token();
        if first.is_some() {
            let (until, container, hooks) = (stop.clone(), life.0.clone(), hooks.to_vec());
            let teller = Teller { so_far: so_far.clone(), wakes: self.wakes.clone(), replica: replica.clone() };
            let runtime = self.runtime.clone();
            self.tasks.spawn(async move {
                let _ = until.run_until_cancelled(go_on(&*runtime, &container, &hooks, &teller)).await;
            });
        }
        if let Some(old) = watched.insert(replica.clone(), Watched { life, so_far, stop }) {
            old.stop.cancel();
        }
        (state, Vec::new())
    }

    /// Runs nothing more of a replica.
    pub(super) fn forget(&self, replica: &str) {
        if let Some(old) = self.lock().remove(replica) {
            old.stop.cancel();
        }
    }

    /// Waits until every task has ended; the caller has cancelled them.
    pub(super) async fn closed(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a task says how far it is.
struct Teller {
    so_far: Arc<Mutex<SoFar>>,
    wakes: Wakes,
    replica: Arc<str>,
}
impl Teller {
    fn say(&self, state: Option<PostStart>, news: Option<(Reason, String)>) {
        {
            let mut so_far = self.so_far.lock().unwrap_or_else(PoisonError::into_inner);
            so_far.news.extend(news);
            if let Some(state) = state {
                so_far.state = state;
            }
        }
        self.wakes.wake(&self.replica);
    }
}

async fn go_on(runtime: &dyn Runtime, container: &str, hooks: &[InnerHook], teller: &Teller) {
    for hook in hooks {
        let name = named("postStart", hook);
        teller.say(Some(PostStart::Runs(name.clone())), Some((Reason::HookStarted, name)));
        match when_it_begins(runtime, container, hook).await {
            Ok(message) => teller.say(None, Some((Reason::HookSucceeded, message))),
            Err(message) if hook.on_failure == OnFailure::Continue => {
                teller.say(None, Some((Reason::HookFailed, format!("{message}; it goes on all the same"))));
            }
            Err(message) => {
                return teller.say(Some(PostStart::Failed(message.clone())), Some((Reason::HookFailed, message)));
            }
        }
    }
    teller.say(Some(PostStart::Done), None);
}

/// Runs one. What the engine does not begin says nothing of the container: it is asked again while there is time.
async fn when_it_begins(runtime: &dyn Runtime, container: &str, hook: &InnerHook) -> Result<String, String> {
    let until = Instant::now() + hook.timeout.0;
    loop {
        match run(runtime, container, "postStart", hook).await {
            Ok(answer) => return answer,
            Err(error) if silent(&error) && Instant::now() + AGAIN < until => tokio::time::sleep(AGAIN).await,
            Err(error) => return Err(format!("{}: {error}", named("postStart", hook))),
        }
    }
}

/// What came of a command, in words; an error is the engine's.
async fn run(
    runtime: &dyn Runtime,
    container: &str,
    stage: &str,
    hook: &InnerHook,
) -> Result<Result<String, String>, RuntimeError> {
    let (name, began) = (named(stage, hook), Instant::now());
    match runtime.exec(container.to_owned(), hook.command.clone(), hook.timeout.0).await {
        Ok(result) if result.code == 0 => Ok(Ok(format!("{name}: done in {:.1} s", began.elapsed().as_secs_f64()))),
        Ok(result) => {
            let took = began.elapsed().as_secs_f64();
            Ok(Err(format!("{name}: exit {} after {took:.1} s{}", result.code, last_lines(&result.output))))
        }
        Err(RuntimeError::CommandHung { .. }) => Ok(Err(format!("{name}: not done within {}", hook.timeout))),
        Err(error) => Err(error),
    }
}

/// `postStart: ./warm-up --all`.
fn named(stage: &str, hook: &InnerHook) -> String {
    format!("{stage}: {}", clip(&hook.command.join(" ")))
}

/// The last lines of an output, after a colon.
fn last_lines(output: &str) -> String {
    let lines: Vec<String> = output.lines().map(clip).filter(|line| !line.trim().is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(TOLD)..];
    if last.is_empty() { String::new() } else { format!(": {}", last.join(" | ")) }
}

const fn silent(error: &RuntimeError) -> bool {
    matches!(error, RuntimeError::Down { .. } | RuntimeError::Unresponsive { .. })
}

impl Agent {
    /// Runs what precedes the stop of a container, once. A failure is told and holds nothing up; only a silent engine does,
    /// which cannot stop it either.
    pub(super) async fn pre_stop(&self, key: &Arc<str>, id: &Arc<str>, subject: &Subject) -> Result<(), PassError> {
        if subject.hooks.pre_stop.is_empty() || self.with(key, |m| m.pre_stopped.as_ref() == Some(id)) {
            return Ok(());
        }
        for hook in &subject.hooks.pre_stop {
            self.say(Some(subject), Reason::HookStarted, named("preStop", hook));
            match run(&*self.runtime, id, "preStop", hook).await {
                Ok(Ok(message)) => self.say(Some(subject), Reason::HookSucceeded, message),
                Ok(Err(message)) => {
                    self.say(Some(subject), Reason::HookFailed, format!("{message}; it is stopped all the same"));
                }
                Err(source) if self.is_silent(&source).await => {
                    return Err(PassError::Engine { step: "running a hook before a stop", source });
                }
                Err(error) => {
                    let message = format!("{}: {error}; it is stopped all the same", named("preStop", hook));
                    self.say(Some(subject), Reason::HookFailed, message);
                }
            }
        }
        self.with(key, |m| m.pre_stopped = Some(id.clone()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_output_the_end_is_told() {
        for (output, told) in
            [("", ""), ("\n \n", ""), ("no table\n", ": no table"), ("1\n2\n3\n4\n5\n6\n\n7\n", ": 3 | 4 | 5 | 6 | 7")]
        {
            assert_eq!(last_lines(output), told, "{output:?}");
        }
    }
}
