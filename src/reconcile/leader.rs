//! The loops of the leader, alive exactly while this process leads.
//!
//! Here: [`run`]. All loops hang on one leadership: when it is lost they are dropped where they stand,
//! because what they would finish is no longer theirs to say; proposals carry preconditions, so a pass
//! cut in two does no harm. Every fact they keep in memory starts empty with each leadership.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    controller::{self, Metrics, Options},
    model::{Index, Uid},
    reconcile::{
        rekey::Rekey,
        resolver::{self, Resolver},
        rollout::Rollout,
        rotation::Rotations,
        status::Conditions,
        triggers,
    },
    runtime::Runtime,
    store::{Client, seal::Sealer},
};

/// Time for passes in flight when the process ends in good order.
const GRACE: Duration = Duration::from_secs(1);
/// Wait before loops that ended unasked begin anew.
const AGAIN: Duration = Duration::from_secs(1);

/// What the loops work with.
#[derive(Clone)]
struct Tools {
    store: Client,
    runtime: Arc<dyn Runtime>,
    sealer: Arc<Sealer>,
    node: Uid,
    metrics: Metrics,
    stop: CancellationToken,
}

/// Runs the leader's loops whenever this process leads, until `stop`.
pub async fn run(
    store: Client,
    runtime: Arc<dyn Runtime>,
    sealer: Arc<Sealer>,
    node: (Arc<str>, Uid),
    metrics: Metrics,
    stop: CancellationToken,
) {
    let leadership = store.leadership();
    let tools = Tools { store, runtime, sealer, node: node.1, metrics, stop: stop.clone() };
    hold(leadership, stop, |loops| spawn(loops, &tools)).await;
}

/// Keeps loops alive exactly while there is a leadership.
async fn hold(
    mut leadership: watch::Receiver<Option<Index>>,
    stop: CancellationToken,
    start: impl Fn(&mut JoinSet<()>),
) {
    while !stop.is_cancelled() {
        let token = *leadership.borrow_and_update();
        let mut loops = JoinSet::new();
        if let Some(token) = token {
            tracing::info!(%token, "leading");
            start(&mut loops);
        }
        tokio::select! {
            there = changed(&mut leadership, token) => {
                if !there {
                    // The store is closed: nobody leads any more.
                    return;
                }
                if token.is_some() {
                    tracing::info!("not leading under this token any more");
                }
            }
            Some(ended) = loops.join_next(), if !loops.is_empty() => {
                if stop.is_cancelled() {
                    // They end because everything does.
                    while loops.join_next().await.is_some() {}
                    return;
                }
                tracing::error!(error = ?ended.err(), "a loop of the leader ended unasked; all begin anew");
                tokio::select! {
                    () = tokio::time::sleep(AGAIN) => {}
                    () = stop.cancelled() => {}
                }
            }
            () = stop.cancelled() => {
                // Each ends within its grace.
                while loops.join_next().await.is_some() {}
                return;
            }
        }
        // Dropped where they stand: what they would finish is no longer theirs to say.
        loops.shutdown().await;
    }
}

/// Waits until the leadership is another one; false when the store is closed.
async fn changed(leadership: &mut watch::Receiver<Option<Index>>, token: Option<Index>) -> bool {
    leadership.wait_for(|now| *now != token).await.is_ok()
}

fn spawn(loops: &mut JoinSet<()>, tools: &Tools) {
    let Tools { store, runtime, sealer, node, metrics, stop } = tools;
    let resolver = Arc::new(Resolver::new(store.clone(), runtime.clone(), sealer.clone(), node.clone()));
    loops.spawn(controller::run(
        Options::named("resolver").concurrency(4).deadline(Duration::from_secs(120)).grace(GRACE),
        resolver,
        Box::pin(triggers::keys(store, resolver::keys)),
        metrics.clone(),
        stop.clone(),
    ));
    let (rollout, status) = (Arc::new(Rollout::new(store.clone())), Arc::new(Conditions::new(store.clone())));
    let keys = Box::pin(rollout.keys());
    loops.spawn(controller::run(
        // One at a time: placements must not count the same free memory twice.
        Options::named("rollout").grace(GRACE),
        rollout,
        keys,
        metrics.clone(),
        stop.clone(),
    ));
    let (rotations, rekey) = (Rotations::new(store.clone(), sealer.clone()), Rekey::new(store.clone(), sealer.clone()));
    let keys = Box::pin(rotations.keys());
    loops.spawn(controller::run(
        // One at a time: each may replace many replicas.
        Options::named("rotation").grace(GRACE),
        Arc::new(rotations),
        keys,
        metrics.clone(),
        stop.clone(),
    ));
    loops.spawn(controller::run(
        Options::named("rekey").grace(GRACE),
        Arc::new(rekey),
        Box::pin(Rekey::keys()),
        metrics.clone(),
        stop.clone(),
    ));
    let keys = Box::pin(status.keys());
    loops.spawn(controller::run(
        Options::named("status").concurrency(8).grace(GRACE),
        status,
        keys,
        metrics.clone(),
        stop.clone(),
    ));
}

#[cfg(test)]
mod tests;
