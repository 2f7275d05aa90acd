//! What Traefik is given: the newest document, and who waits for the next.
//!
//! Here: [`Offer`], in the hand of the loop that makes documents, and [`Offered`], in the hand of those who give them to
//! Traefik. Not here: what a document says.
//! A connection that asks is a Traefik, for as long as it is open: Traefik keeps one, and a process that is new has
//! nothing yet, whatever the one before it served. So each that comes or goes is counted ([`Seen::turn`]), and what was
//! known of the one before counts no more.
//! Invariants: a document differs from the one before it, and has a greater number; it is whole, or there is none.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{sync::watch, time::sleep};

/// How long one waits who shall not wait for long.
const MOMENT: Duration = Duration::from_millis(250);

/// One document, as Traefik reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Counts from 1 in the life of the process.
    pub number: u64,
    /// Its text.
    pub bytes: Bytes,
}

/// What is seen of those who ask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Connections that ask.
    pub open: usize,
    /// How often one came or went.
    pub turn: u64,
    /// Number of the newest document that one of them has read whole.
    newest: u64,
    /// How often anybody asked or stopped to.
    times: u64,
}

/// Who asks for documents.
#[derive(Debug, Default)]
struct Polls {
    waiting: AtomicUsize,
    /// When the last of them went.
    last: Mutex<Option<Instant>>,
    seen: watch::Sender<Seen>,
}

/// Where documents are made.
#[derive(Debug)]
pub struct Offer {
    document: watch::Sender<Option<Arc<Document>>>,
    hurry: watch::Sender<bool>,
    polls: Arc<Polls>,
}

impl Default for Offer {
    fn default() -> Self {
        Self { document: watch::Sender::new(None), hurry: watch::Sender::new(false), polls: Arc::default() }
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
        Offered { document: self.document.subscribe(), hurry: self.hurry.subscribe(), polls: self.polls.clone() }
    }
    /// Whether nobody who asks is let wait for long from now on, though there is nothing new: a Traefik that stops does not
    /// end before it was answered.
    pub fn hurry(&self, hurry: bool) {
        self.hurry.send_if_modified(|now| std::mem::replace(now, hurry) != hurry);
    }
    /// Number of the newest document; 0: none was made.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.document.borrow().as_ref().map_or(0, |now| now.number)
    }
    /// Changes when somebody comes to ask, or goes.
    #[must_use]
    pub fn asked(&self) -> watch::Receiver<Seen> {
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
    hurry: watch::Receiver<bool>,
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
    /// Returns a moment after nobody shall wait for long any more.
    pub async fn hurried(&self) {
        // Ends with whoever makes documents: whoever asks has a limit of its own.
        if self.hurry.clone().wait_for(|hurry| *hurry).await.is_err() {
            std::future::pending::<()>().await;
        }
        sleep(MOMENT).await;
    }
    /// A Traefik asks on a connection that was told so much, for as long as this lives.
    #[must_use]
    pub fn polls(&self, told: &Told) -> Polling {
        told.session.get_or_init(|| Session::open(&self.polls));
        self.polls.waiting.fetch_add(1, Ordering::AcqRel);
        self.polls.seen.send_modify(|seen| {
            seen.newest = seen.newest.max(told.number());
            seen.times = seen.times.wrapping_add(1);
        });
        Polling(self.polls.clone())
    }
    /// Waits until somebody who is there has read the document of this number, or a newer one, whole.
    pub async fn taken(&self, number: u64) {
        let mut seen = self.polls.seen.subscribe();
        // The sender lives as long as this.
        let _ = seen.wait_for(|seen| seen.newest >= number).await;
    }
}

/// What was told on one connection.
#[derive(Debug, Default)]
pub struct Told {
    number: AtomicU64,
    session: OnceLock<Session>,
}

impl Told {
    /// Number of the document that was answered last; 0: none. Whoever asks again has read it whole.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }
    /// The document of this number is the answer.
    pub fn answered(&self, number: u64) {
        self.number.store(number, Ordering::Relaxed);
    }
}

/// A connection on which a Traefik asks, for as long as it is open.
#[derive(Debug)]
struct Session(Arc<Polls>);

impl Session {
    fn open(polls: &Arc<Polls>) -> Self {
        polls.seen.send_modify(|seen| {
            seen.open += 1;
            seen.turn += 1;
        });
        Self(polls.clone())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.0.seen.send_modify(|seen| {
            seen.open -= 1;
            seen.turn += 1;
            if seen.open == 0 {
                seen.newest = 0;
            }
        });
    }
}

/// See [`Offered::polls`].
#[derive(Debug)]
pub struct Polling(Arc<Polls>);

impl Drop for Polling {
    fn drop(&mut self) {
        *self.0.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
        self.0.seen.send_modify(|seen| seen.times = seen.times.wrapping_add(1));
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
        let told = Told::default();
        let (first, second) = (offered.polls(&told), offered.polls(&told));
        drop(first);
        let late = now + Duration::from_secs(60);
        assert_eq!(offer.silent(late), Some(Duration::ZERO), "one waits");
        drop(second);
        assert!(offer.silent(late).is_some_and(|for_| for_ > Duration::from_secs(50)));
    }
    #[tokio::test]
    async fn a_connection_that_comes_or_goes_is_a_turn_and_questions_on_it_are_none() {
        let offer = Offer::default();
        let (offered, asked) = (offer.offered(), offer.asked());
        let now = || {
            let seen = *asked.borrow();
            (seen.open, seen.turn)
        };
        let (one, two) = (Told::default(), Told::default());
        for number in 0..3 {
            one.answered(number);
            drop(offered.polls(&one));
            assert_eq!(now(), (1, 1));
        }
        offered.taken(2).await;
        drop(offered.polls(&two));
        assert_eq!(now(), (2, 2));
        drop(one);
        assert_eq!(now(), (1, 3));
        drop(two);
        assert_eq!(now(), (0, 4));
        let taken = tokio::time::timeout(Duration::from_millis(50), offered.taken(1)).await;
        assert!(taken.is_err(), "nobody who is there has it");
    }
}
