//! Keeps [`Containers`] fresh: the engine's events, resumed where they ended, and a full list.
//!
//! Here: [`listen`], which runs as long as the agent, with [`heed`] beside it, which tells of the engine's silence.
//! Events may end in silence, hence the list every
//! [`LIST`]; what neither brings was not there.
//! Invariant: while the engine does not answer the cache is unknown, and every replica is looked at
//! again when it does.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::StreamExt as _;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::containers::{Containers, Engine};
use crate::{
    model::Reason,
    plan::agent::Gate,
    reconcile::{container::label, registry, wakes::Wakes},
    runtime::{Runtime, RuntimeError, RuntimeEvent, Summary, limits},
};

/// Between two full lists.
pub const LIST: Duration = Duration::from_secs(20);
/// Between two attempts while the engine does not answer.
const RETRY: Duration = Duration::from_secs(1);
/// From the first question that took too long until the engine counts as silent: the next list and its deadline.
const DOUBT: Duration = limits::LIST.limit.saturating_add(Duration::from_secs(2));
/// Events of so long before the start are asked for: they say who stopped what meanwhile.
const REPLAY: Duration = Duration::from_secs(600);
/// A replay is over when nothing came for so long.
const QUIET: Duration = Duration::from_millis(100);
/// Replayed events that are waited for at most; an engine keeps 256.
const REPLAYED: usize = 512;

/// The state of an engine that answered with an error.
#[must_use]
pub fn unknown(error: &RuntimeError) -> Engine {
    Engine::Unknown(gate(error))
}

/// What an error of the engine holds up, and how it is said.
#[must_use]
pub fn gate(error: &RuntimeError) -> Gate {
    Gate { reason: registry::reason(error), message: error.to_string() }
}

/// Listens until `stop`. `wall`: nanoseconds since 1970 now. `everything`: all replicas of this node
/// that the log knows, to be looked at when the engine answers again.
pub async fn listen(
    runtime: Arc<dyn Runtime>,
    lineage: String,
    containers: Arc<Containers>,
    wakes: Wakes,
    wall: impl Fn() -> i64 + Send + Sync,
    everything: impl Fn() -> Vec<Arc<str>> + Send + Sync,
    stop: CancellationToken,
) {
    let replay = i64::try_from(REPLAY.as_nanos()).unwrap_or(i64::MAX);
    let mut since = wall() - replay;
    let mut replayed = false;
    let listening = async {
        loop {
            let (begun, opened) = (wall(), Instant::now());
            let mut events = runtime.events(label::LINEAGE.into(), lineage.clone(), Some(since));
            let mut early: Vec<RuntimeEvent> = Vec::new();
            if !replayed {
                while early.len() < REPLAYED
                    && let Ok(Some(Ok(event))) = timeout(QUIET, events.next()).await
                {
                    early.push(event);
                }
            }
            if list(&*runtime, &lineage, &containers, &wakes, &everything, &early).await {
                replayed = true;
                since = early.iter().map(|e| e.at + 1).fold(since, i64::max);
                let mut due = Instant::now() + LIST;
                let mut engine = containers.watch_engine();
                loop {
                    tokio::select! {
                        // A call of a pass found it silent: find out now.
                        Ok(()) = engine.changed() => {
                            if *engine.borrow_and_update() != Engine::Known {
                                due = due.min(Instant::now() + RETRY);
                            }
                        }
                        event = events.next() => match event {
                            Some(Ok(event)) => {
                                since = since.max(event.at + 1);
                                if let Some(key) = containers.happened(&event) {
                                    wakes.wake(&key);
                                }
                            }
                            Some(Err(error)) => {
                                tracing::debug!(%error, "events of the engine ended");
                                break;
                            }
                            None => break,
                        },
                        () = tokio::time::sleep_until(due) => {
                            if !list(&*runtime, &lineage, &containers, &wakes, &everything, &[]).await {
                                break;
                            }
                            due = Instant::now() + LIST;
                        }
                    }
                }
                // Nothing was missed that a list and events from here on do not show.
                since = since.max(begun);
            }
            // A stream that held for a while is opened again at once.
            tokio::time::sleep_until(opened + RETRY).await;
        }
    };
    let heeding = heed(&containers, &wakes, &everything);
    let _: Option<((), ())> = stop.run_until_cancelled(futures::future::join(listening, heeding)).await;
}

/// Tells that the engine fell silent or answers again, and has every replica looked at when it is silent: whoever
/// found out, a list, a pass or the look at the node. One question that took too long proves nothing of an engine
/// with much to do: the next list decides.
async fn heed(containers: &Containers, wakes: &Wakes, everything: &(impl Fn() -> Vec<Arc<str>> + Send + Sync)) {
    let slow = |engine: &Engine| engine.gate().is_some_and(|g| g.reason == Reason::DockerUnresponsive);
    let mut engine = containers.watch_engine();
    let mut told = None;
    loop {
        let now = engine.borrow_and_update().clone();
        let reason = now.gate().map(|g| g.reason);
        if now != Engine::NotAsked && told != Some(reason) {
            if slow(&now) && timeout(DOUBT, engine.wait_for(|e| !slow(e))).await.is_ok() {
                continue;
            }
            told = Some(reason);
            match &now {
                Engine::Unknown(gate) => {
                    tracing::warn!(reason = %gate.reason, "{}", gate.message);
                    wakes.wake_all(containers.replicas());
                    wakes.wake_all(everything());
                }
                Engine::Known | Engine::NotAsked => tracing::info!("the engine answers"),
            }
        }
        if engine.changed().await.is_err() {
            return;
        }
    }
}

/// What runs here for clusters with other data than `lineage`, in words; none: nothing does.
fn strangers(all: &[Summary], lineage: &str) -> Option<String> {
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    let others = all.iter().filter_map(|c| c.labels.get(label::LINEAGE)).filter(|l| *l != lineage);
    others.for_each(|other| *found.entry(other.get(..8).unwrap_or(other)).or_default() += 1);
    let words = found.iter().map(|(other, count)| format!("{count} of the cluster with lineage {other}"));
    (!found.is_empty())
        .then(|| format!("containers of another cluster are here ({})", words.collect::<Vec<_>>().join(", ")))
}

/// One full list; answers whether the engine did. `early`: events that say how things came about.
async fn list(
    runtime: &dyn Runtime,
    lineage: &str,
    containers: &Containers,
    wakes: &Wakes,
    everything: &(impl Fn() -> Vec<Arc<str>> + Send + Sync),
    early: &[RuntimeEvent],
) -> bool {
    let begun = containers.clock();
    match runtime.list(label::LINEAGE.into(), lineage.into()).await {
        Ok(list) => {
            let mut news = containers.listed(begun, list);
            for event in early.iter().filter(|e| e.action == "kill" || e.action == "stop") {
                containers.happened(event);
            }
            let answers_again = containers.set_engine(Engine::Known);
            if answers_again {
                news.extend(containers.replicas());
                news.extend(everything());
            }
            wakes.wake_all(news);
            if answers_again
                && let Ok(all) = runtime.list(label::MANAGED.into(), "1".into()).await
                && let Some(who) = strangers(&all, lineage)
            {
                tracing::warn!(
                    "{who}: they are left alone, and what is declared here may run a second time beside them; if the \
                     data directory of that cluster was lost, restore a backup of it"
                );
            }
            true
        }
        Err(error) => {
            containers.set_engine(unknown(&error));
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::ContainerState;
    use futures::FutureExt as _;

    #[test]
    fn what_runs_for_another_cluster_is_counted_and_named() {
        let of = |lineage: Option<&str>| Summary {
            id: "c".into(),
            name: "c".into(),
            labels: lineage.map(|l| (label::LINEAGE.to_owned(), l.to_owned())).into_iter().collect(),
            state: ContainerState::Running,
            networks: [].into(),
        };
        let ours = [of(Some("3041d52a99")), of(None)];
        assert_eq!(strangers(&ours, "3041d52a99"), None);
        let mixed = [of(Some("3a60116777")), of(Some("3041d52a99")), of(Some("3a60116777"))];
        let said = strangers(&mixed, "3041d52a99").unwrap();
        assert!(said.contains("2 of the cluster with lineage 3a601167"), "{said}");
    }

    #[tokio::test(start_paused = true)]
    async fn silence_has_every_replica_looked_at_once_and_one_slow_answer_has_none() {
        let (containers, wakes) = (Containers::default(), Wakes::default());
        let everything = || vec![Arc::from("web-1")];
        let heeding = heed(&containers, &wakes, &everything);
        tokio::pin!(heeding);
        let mut woken = wakes.stream().boxed();
        let mut after = async |seconds| {
            let pause = tokio::time::sleep(Duration::from_secs(seconds));
            futures::future::select(&mut heeding, Box::pin(pause)).await;
            let mut keys = Vec::new();
            while let Some(Some(key)) = woken.next().now_or_never() {
                keys.push(key);
            }
            keys.len()
        };
        let slow = || unknown(&RuntimeError::Unresponsive { op: "info", limit: RETRY });
        containers.set_engine(Engine::Known);
        assert_eq!(after(1).await, 0);
        // A loaded engine: one question is too slow for it, the list is answered.
        for _ in 0..3 {
            containers.set_engine(slow());
            assert_eq!(after(5).await, 0);
            containers.set_engine(Engine::Known);
            assert_eq!(after(1).await, 0);
        }
        containers.set_engine(slow());
        assert_eq!((after(5).await, after(10).await, after(60).await), (0, 1, 0));
        containers.set_engine(Engine::Known);
        assert_eq!(after(1).await, 0, "the list wakes them");
        // A socket that refuses is certain.
        containers.set_engine(unknown(&RuntimeError::Down { address: "x".into(), message: "refused".into() }));
        assert_eq!(after(1).await, 1);
    }
}
