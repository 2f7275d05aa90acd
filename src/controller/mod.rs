//! The loop that drives every reconciler.
//!
//! Here: [`Reconciler`], what a loop is, and [`Action`], what it answers; the [`queue`] that decides
//! what runs when (pure, takes the time), the [`runner`] that runs it on futures, [`backoff`] and
//! [`metrics`]. Generic: knows no kind, no store, no engine.
//! Not here: what to reconcile (`reconcile`), deciding (`plan`).
//!
//! Promises, each held by a property or a test:
//! - passes of one key never overlap, and at most `concurrency` passes run at once;
//! - a key that waits is not queued twice; a key named while its pass runs is run once more after it;
//! - no naming is lost: after it, a whole pass of that key begins;
//! - keys run in the order in which they became due: with k keys ahead, k passes later it is its turn;
//! - a pass that fails, panics or exceeds its deadline is repeated with growing, jittered waits;
//!   naming the key earlier runs it earlier;
//! - after `stop` no pass begins, and running ones get a bounded time.
//!
//! Chosen: one task a loop, its passes as futures inside it, because a pass waits far more than it
//! computes, dropping the task drops its passes, and no channel stands between queue and passes.
//! What would change our mind: a pass that computes for milliseconds. Next: [`queue`].

use std::{fmt::Debug, future::Future, hash::Hash, time::Duration};

pub mod backoff;
pub mod metrics;
pub mod queue;
pub mod runner;

pub use backoff::Backoff;
pub use metrics::Metrics;
pub use runner::{Options, run};

/// What follows a pass that worked. An error is retried with backoff.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing until a watched stream names the key again.
    Done,
    /// The same key again after this time, unless it is named earlier.
    RequeueAfter(Duration),
}

/// One loop: makes what is so become what shall be, for one key.
///
/// A pass may be dropped at any `.await` and run again. Passes of one key never overlap.
pub trait Reconciler: Send + Sync + 'static {
    /// What a pass is about.
    type Key: Clone + Eq + Hash + Debug + Send + Sync + 'static;
    /// Why a pass did not work.
    type Error: std::error::Error + Send + Sync + 'static;
    /// One pass.
    ///
    /// # Errors
    /// Any error: the pass is repeated with backoff.
    fn reconcile(&self, key: Self::Key) -> impl Future<Output = Result<Action, Self::Error>> + Send;
}
