//! Work that would hold up a worker of the runtime: big bodies, long lists.
//!
//! Here: [`run`], which does what is big on a thread for it, a few at a time. Not here: the work.
//! Why a bound: one client with many big requests would else take every blocking thread and the memory with it.

use super::{Server, problem::Failure};
use crate::{model::Kind, store::State};

/// What is done at once on the worker that has it: less than a millisecond or so.
const SMALL: usize = 64 << 10;

/// How much is done at one time.
#[must_use]
pub fn at_once() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get().div_ceil(2))
}

/// Does it here when `size` bytes are few, else on a thread of its own.
///
/// # Errors
/// When the work broke an invariant of ours.
pub async fn run<T: Send + 'static>(
    server: &Server,
    size: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    if size <= SMALL {
        return Ok(work());
    }
    // Nobody closes it. The permit goes along: a client that goes away does not end the work.
    let permit = server.heavy.clone().acquire_owned().await.ok();
    let done = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        work()
    });
    done.await.map_err(|error| Failure::internal(format!("work on a request ended early: {error}")))
}

/// Bytes of a kind's objects, about.
#[must_use]
pub fn stored(state: &State, kind: Kind) -> usize {
    /// Of a replica with its status.
    const REPLICA: usize = 1_024;
    match kind {
        Kind::Replica => state.replicas().count() * REPLICA,
        Kind::Service | Kind::Config | Kind::Secret | Kind::Node | Kind::Route | Kind::Middleware => {
            state.objects(kind).map(|o| o.spec.len()).sum()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    };

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::api::tests::rig::{Rig, soon, until};

    #[tokio::test]
    async fn what_is_big_holds_up_no_worker_and_is_bounded() {
        let rig = Rig::new().await;
        let server = Arc::new(Server::new(rig.shared.clone(), CancellationToken::new()));
        let begun = Arc::new(AtomicUsize::new(0));
        let mut gates = Vec::new();
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..=at_once() {
            let (open, gate) = mpsc::channel::<()>();
            gates.push(open);
            let (server, begun) = (server.clone(), begun.clone());
            all.spawn(async move {
                let work = move || {
                    begun.fetch_add(1, Ordering::SeqCst);
                    // Ends when its gate is dropped.
                    let _ = gate.recv();
                };
                run(&server, SMALL + 1, work).await.unwrap();
            });
        }
        // This test's only worker is free, or this line would not be reached.
        until("the start of as many as may", || begun.load(Ordering::SeqCst) == at_once()).await;
        assert_eq!(rig.get("/health").await.status, 200);
        assert_eq!((begun.load(Ordering::SeqCst), server.heavy.available_permits()), (at_once(), 0));
        gates.clear();
        soon("the end of all", async { while all.join_next().await.is_some() {} }).await;
        assert_eq!(begun.load(Ordering::SeqCst), at_once() + 1);
        assert_eq!(run(&server, SMALL, std::thread::current).await.unwrap().id(), std::thread::current().id());
    }
}
