//! What Traefik is given: the newest document, and who waits for the next.
//!
//! Here: [`Offer`], in the hand of the loop that makes documents, and [`Offered`], in the hand of those who give them to
//! Traefik. Not here: what a document says.
//! Invariants: a document differs from the one before it, and has a greater number; it is whole, or there is none.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::watch;

/// One document, as Traefik reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Counts from 1 in the life of the process.
    pub number: u64,
    /// Its text.
    pub bytes: Bytes,
}

/// Who asks for documents.
#[derive(Debug, Default)]
struct Polls {
    waiting: AtomicUsize,
    /// When the last of them went.
    last: Mutex<Option<Instant>>,
    /// Number of the newest document that somebody has read whole, and how often anybody came or went.
    seen: watch::Sender<(u64, u64)>,
}

/// Where documents are made.
#[derive(Debug)]
pub struct Offer {
    document: watch::Sender<Option<Arc<Document>>>,
    polls: Arc<Polls>,
}

impl Default for Offer {
    fn default() -> Self {
        Self { document: watch::Sender::new(None), polls: Arc::default() }
    }
}

impl Offer {
    /// Offers these bytes from now on; whether they are others than before.
    pub fn put(&self, bytes: Bytes) -> bool {
        self.document.send_if_modified(|now| {
            if now.as_ref().is_some_and(|now| now.bytes == bytes) {
                return false;
            }
            let number = now.as_ref().map_or(0, |now| now.number) + 1;
            *now = Some(Arc::new(Document { number, bytes }));
            true
        })
    }
    /// For those who hand it out.
    #[must_use]
    pub fn offered(&self) -> Offered {
        Offered { document: self.document.subscribe(), polls: self.polls.clone() }
    }
    /// Number of the newest document; 0: none was made.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.document.borrow().as_ref().map_or(0, |now| now.number)
    }
    /// Changes when somebody comes to ask, or goes.
    #[must_use]
    pub fn asked(&self) -> watch::Receiver<(u64, u64)> {
        self.polls.seen.subscribe()
    }
    /// For how long no Traefik has asked; none: never did one.
    #[must_use]
    pub fn silent(&self, now: Instant) -> Option<Duration> {
        if self.polls.waiting.load(Ordering::Acquire) > 0 {
            return Some(Duration::ZERO);
        }
        let last = *self.polls.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.map(|last| now.saturating_duration_since(last))
    }
}

/// Where documents are handed out. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Offered {
    document: watch::Receiver<Option<Arc<Document>>>,
    polls: Arc<Polls>,
}

impl Offered {
    /// The newest, once there is one.
    #[must_use]
    pub fn now(&self) -> Option<Arc<Document>> {
        self.document.borrow().clone()
    }
    /// Waits until there is a document with another number.
    pub async fn other_than(&self, number: u64) -> Arc<Document> {
        let mut document = self.document.clone();
        loop {
            if let Some(found) = document.borrow_and_update().as_ref().filter(|found| found.number != number) {
                return found.clone();
            }
            if document.changed().await.is_err() {
                // Nobody makes any more: whoever asks has a limit of its own.
                std::future::pending::<()>().await;
            }
        }
    }
    /// A Traefik that has the document of this number asks for the next, for as long as this lives.
    #[must_use]
    pub fn polls(&self, told: u64) -> Polling {
        self.polls.waiting.fetch_add(1, Ordering::AcqRel);
        self.polls.seen.send_modify(|(newest, times)| {
            *newest = told.max(*newest);
            *times = times.wrapping_add(1);
        });
        Polling(self.polls.clone())
    }
    /// Waits until somebody has read the document of this number whole.
    pub async fn taken(&self, number: u64) {
        let mut seen = self.polls.seen.subscribe();
        // The sender lives as long as this.
        let _ = seen.wait_for(|(newest, _)| *newest >= number).await;
    }
}

/// See [`Offered::polls`].
#[derive(Debug)]
pub struct Polling(Arc<Polls>);

impl Drop for Polling {
    fn drop(&mut self) {
        *self.0.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
        self.0.seen.send_modify(|(_, times)| *times = times.wrapping_add(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_other_bytes_are_another_document() {
        let offer = Offer::default();
        let offered = offer.offered();
        assert_eq!(offered.now(), None);
        assert!(offer.put(Bytes::from_static(b"a")));
        let first = offered.other_than(0).await;
        assert_eq!((first.number, &first.bytes[..]), (1, &b"a"[..]));
        assert!(!offer.put(Bytes::from_static(b"a")));
        assert_eq!(offered.now(), Some(first));
        let waiting = offered.clone();
        let waiting = tokio::spawn(async move { waiting.other_than(1).await });
        assert!(offer.put(Bytes::from_static(b"b")));
        assert_eq!(waiting.await.unwrap().number, 2);
    }

    #[test]
    fn silence_counts_from_the_end_of_the_last_question() {
        let (offer, now) = (Offer::default(), Instant::now());
        let offered = offer.offered();
        assert_eq!(offer.silent(now), None);
        let (first, second) = (offered.polls(0), offered.polls(0));
        drop(first);
        let late = now + Duration::from_secs(60);
        assert_eq!(offer.silent(late), Some(Duration::ZERO), "one waits");
        drop(second);
        assert!(offer.silent(late).is_some_and(|for_| for_ > Duration::from_secs(50)));
    }
}
