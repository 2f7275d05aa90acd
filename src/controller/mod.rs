//! The loop that drives every reconciler.
//!
//! Here: [`Reconciler`], what a loop is, and [`Action`], what it answers. Generic: knows no kind, no
//! store, no engine. Not here: what to reconcile (`reconcile`), deciding (`plan`).

use std::{fmt::Debug, future::Future, hash::Hash, time::Duration};

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
