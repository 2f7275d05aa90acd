//! The loops of the leader, alive exactly while this process leads.
//!
//! Here: [`run`]. All loops hang on one leadership: when it is lost they are dropped where they stand,
//! because what they would finish is no longer theirs to say; proposals carry preconditions, so a pass
//! cut in two does no harm. Every fact they keep in memory starts empty with each leadership.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    controller::{self, Metrics, Options},
    model::{Index, Uid},
    reconcile::{
        resolver::{self, Resolver},
        rollout::Rollout,
        status::Conditions,
        triggers,
    },
    runtime::Runtime,
    store::{Client, seal::Sealer},
};

/// Time for passes in flight when the process ends in good order.
const GRACE: Duration = Duration::from_secs(1);

/// Runs the leader's loops whenever this process leads, until `stop`.
pub async fn run(
    store: Client,
    runtime: Arc<dyn Runtime>,
    sealer: Arc<Sealer>,
    node: (Arc<str>, Uid),
    metrics: Metrics,
    stop: CancellationToken,
) {
    let mut leadership = store.leadership();
    while !stop.is_cancelled() {
        let token = *leadership.borrow_and_update();
        let mut loops = JoinSet::new();
        if let Some(token) = token {
            tracing::info!(%token, node = %node.0, "leading");
            spawn(&mut loops, &store, &runtime, &sealer, &node.1, &metrics, &stop);
        }
        tokio::select! {
            lost = changed(&mut leadership, token) => {
                if !lost {
                    // The store is closed: nobody leads any more.
                    return;
                }
            }
            () = stop.cancelled() => {
                while loops.join_next().await.is_some() {}
                return;
            }
        }
        if token.is_some() {
            tracing::info!(node = %node.0, "not leading any more");
        }
        // Dropping the set aborts the loops.
        loops.shutdown().await;
    }
}

/// Waits until the leadership is another one; false when the store is closed.
async fn changed(leadership: &mut tokio::sync::watch::Receiver<Option<Index>>, token: Option<Index>) -> bool {
    leadership.wait_for(|now| *now != token).await.is_ok()
}

fn spawn(
    loops: &mut JoinSet<()>,
    store: &Client,
    runtime: &Arc<dyn Runtime>,
    sealer: &Arc<Sealer>,
    node: &Uid,
    metrics: &Metrics,
    stop: &CancellationToken,
) {
    let resolver = Arc::new(Resolver::new(store.clone(), runtime.clone(), sealer.clone(), node.clone()));
    loops.spawn(controller::run(
        Options::named("resolver").concurrency(4).deadline(Duration::from_secs(120)).grace(GRACE),
        resolver,
        Box::pin(triggers::keys(store, resolver::keys)),
        metrics.clone(),
        stop.clone(),
    ));
    loops.spawn(controller::run(
        // One at a time: placements must not count the same free memory twice.
        Options::named("rollout").grace(GRACE),
        Arc::new(Rollout { store: store.clone() }),
        Box::pin(triggers::keys(store, triggers::services)),
        metrics.clone(),
        stop.clone(),
    ));
    loops.spawn(controller::run(
        Options::named("status").concurrency(8).grace(GRACE),
        Arc::new(Conditions::new(store.clone())),
        Box::pin(triggers::keys(store, triggers::services)),
        metrics.clone(),
        stop.clone(),
    ));
}

#[cfg(test)]
mod tests;
