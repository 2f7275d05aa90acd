//! Keys that something wants looked at: named any number of times, taken once.
//!
//! Here: [`Wakes`], which never waits, never loses a key and holds each key once, so that it is bounded
//! by the number of keys there are. Not here: order and retries (`controller`).

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{Stream, StreamExt as _, stream};
use tokio::sync::Notify;

/// A set of keys with a bell. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Wakes {
    keys: Arc<Mutex<BTreeSet<Arc<str>>>>,
    bell: Arc<Notify>,
}

impl Wakes {
    /// Asks for a look at one key.
    pub fn wake(&self, key: &Arc<str>) {
        self.wake_all([key.clone()]);
    }

    /// Asks for a look at several.
    pub fn wake_all(&self, keys: impl IntoIterator<Item = Arc<str>>) {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).extend(keys);
        self.bell.notify_one();
    }

    /// The keys as they are named. One reader: each key goes to one stream only.
    pub fn stream(&self) -> impl Stream<Item = Arc<str>> + Send + 'static {
        stream::unfold(self.clone(), |wakes| async move {
            loop {
                let taken = std::mem::take(&mut *wakes.keys.lock().unwrap_or_else(PoisonError::into_inner));
                if !taken.is_empty() {
                    return Some((stream::iter(taken), wakes));
                }
                // A key named meanwhile has left a permit: nothing is missed.
                wakes.bell.notified().await;
            }
        })
        .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_named_often_is_taken_once() {
        let wakes = Wakes::default();
        for key in ["b", "a", "b"] {
            wakes.wake(&key.into());
        }
        let taken: Vec<_> = wakes.stream().take(2).collect().await;
        assert_eq!(taken, ["a".into(), "b".into()] as [Arc<str>; 2]);
    }
}
