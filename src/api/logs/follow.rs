//! A followed log that outlives the engine's hiccups.
//!
//! Here: [`follow`], which reads on while the container runs, and [`Place`], how far it came. An engine
//! that restarts, or a connection that breaks, ends a log as the container's own end does; which of
//! them it was, a look at the container tells.
//! Invariant: no line is told twice and none is left out: the engine's own timestamps are asked for
//! with every piece, and are taken off again unless the reader wants them.
//! Why not `since` alone: the engine takes whole seconds.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};

use crate::{
    controller::Backoff,
    runtime::{ContainerState, LogChunk, LogQuery, Runtime, RuntimeError},
};

/// Between two readings.
const AGAIN: Backoff = Backoff { first: Duration::from_millis(500), max: Duration::from_secs(15) };
/// Longest timestamp.
const STAMP: usize = 40;
const SECOND: i64 = 1_000_000_000;

/// The newest moment of an output, nanoseconds since 1970, and how many pieces have it.
type Newest = Option<(i64, u32)>;

/// How far the log of one container was read, over all readings.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// The oldest moment that was told: a reading further back, for want of finer `since`, begins there.
    oldest: Option<i64>,
    /// By output.
    newest: [Newest; 2],
    /// The same when this reading began, and what it met of that moment.
    before: Option<([Newest; 2], [u32; 2])>,
}

impl Place {
    /// A reading begins at `now`; where it shall begin, or none if nothing was read yet.
    fn begin(&mut self) -> Option<i64> {
        self.before = self.oldest.map(|_| (self.newest, [0; 2]));
        let newest = self.newest.iter().flatten().map(|(at, _)| *at).max().or(self.oldest)?;
        // The two outputs may be written down a moment out of order.
        Some(newest.div_euclid(SECOND) - 1)
    }
    /// A reading came to its end: what was written before `begun`, and not told, was not wanted.
    fn ended(&mut self, begun: i64) {
        self.oldest.get_or_insert(begun);
    }
    /// Takes in a piece; false when it was told before.
    fn is_news(&mut self, stderr: bool, at: i64) -> bool {
        let n = usize::from(stderr);
        if let Some((newest, met)) = &mut self.before {
            match newest[n] {
                Some((last, _)) if at < last => return false,
                Some((last, count)) if at == last => {
                    met[n] += 1;
                    if met[n] <= count {
                        return false;
                    }
                }
                None if self.oldest.is_some_and(|oldest| at < oldest) => return false,
                Some(_) | None => {}
            }
        }
        self.oldest = Some(self.oldest.map_or(at, |oldest| oldest.min(at)));
        self.newest[n] = match self.newest[n] {
            Some((last, count)) if last == at => Some((at, count + 1)),
            Some(_) | None => Some((at, 1)),
        };
        true
    }
}

/// Reads a container's log as long as it runs, from `place` on.
pub(super) fn follow(
    runtime: Arc<dyn Runtime>,
    container: String,
    ask: LogQuery,
    place: Arc<Mutex<Place>>,
) -> BoxStream<'static, Result<LogChunk, RuntimeError>> {
    let follower = Follower { runtime, container, ask, place, log: None, begun: 0, inside: [false; 2], failures: 0 };
    stream::unfold((follower, true), |(mut follower, first)| async move {
        if first {
            follower.open();
        }
        follower.next().await.map(|piece| (piece, (follower, false)))
    })
    .boxed()
}

struct Follower {
    runtime: Arc<dyn Runtime>,
    container: String,
    ask: LogQuery,
    place: Arc<Mutex<Place>>,
    log: Option<BoxStream<'static, Result<LogChunk, RuntimeError>>>,
    /// When this reading began, nanoseconds since 1970.
    begun: i64,
    /// In the midst of a line, by output: the engine cuts long ones.
    inside: [bool; 2],
    /// Readings in a row that told nothing new.
    failures: u32,
}

impl Follower {
    fn open(&mut self) {
        let mut ask = LogQuery { timestamps: true, ..self.ask.clone() };
        if let Some(since) = self.place.lock().unwrap_or_else(PoisonError::into_inner).begin() {
            (ask.since, ask.tail) = (Some(since), None);
        }
        self.begun = i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
        self.log = Some(self.runtime.logs(self.container.clone(), ask));
    }

    async fn next(&mut self) -> Option<Result<LogChunk, RuntimeError>> {
        loop {
            let Some(log) = &mut self.log else {
                if !self.goes_on().await {
                    return None;
                }
                self.open();
                continue;
            };
            match log.next().await {
                Some(Ok(chunk)) => {
                    if let Some(news) = self.take(chunk) {
                        self.failures = 0;
                        return Some(Ok(news));
                    }
                }
                Some(Err(error)) => {
                    self.log = None;
                    // Told once; what follows is the same trouble.
                    if self.failures == 0 {
                        return Some(Err(error));
                    }
                }
                None => {
                    self.log = None;
                    self.place.lock().unwrap_or_else(PoisonError::into_inner).ended(self.begun);
                }
            }
        }
    }

    /// Whether there is more to come; waits a while before it says so.
    async fn goes_on(&mut self) -> bool {
        loop {
            let found = self.runtime.inspect(self.container.clone()).await;
            match found.map(|c| c.map(|c| c.state)) {
                Ok(Some(ContainerState::Running | ContainerState::Paused | ContainerState::Restarting)) => {
                    self.wait().await;
                    return true;
                }
                Ok(
                    None
                    | Some(
                        ContainerState::Created
                        | ContainerState::Exited
                        | ContainerState::Dead
                        | ContainerState::Removing,
                    ),
                ) => return false,
                // Silence is no end.
                Err(_) => self.wait().await,
            }
        }
    }

    async fn wait(&mut self) {
        self.failures = self.failures.saturating_add(1);
        tokio::time::sleep(AGAIN.delay(self.failures, rand::random())).await;
    }

    /// A piece as the reader shall have it; none when it was told before.
    fn take(&mut self, chunk: LogChunk) -> Option<LogChunk> {
        let Some((at, text)) = stamped(&chunk.bytes) else { return Some(chunk) };
        if !self.place.lock().unwrap_or_else(PoisonError::into_inner).is_news(chunk.stderr, at) {
            return None;
        }
        let inside = &mut self.inside[usize::from(chunk.stderr)];
        let bytes = if self.ask.timestamps && !*inside { chunk.bytes.clone() } else { text };
        *inside = !bytes.ends_with(b"\n");
        Some(LogChunk { bytes, ..chunk })
    }
}

/// The moment before a piece, nanoseconds since 1970, and the piece itself.
fn stamped(bytes: &Bytes) -> Option<(i64, Bytes)> {
    let end = bytes.iter().take(STAMP).position(|b| *b == b' ')?;
    let at: jiff::Timestamp = std::str::from_utf8(bytes.get(..end)?).ok()?.parse().ok()?;
    Some((i64::try_from(at.as_nanosecond()).ok()?, bytes.slice(end + 1..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_known_by_its_moment_and_how_often_it_came() {
        let mut place = Place::default();
        assert_eq!(place.begin(), None, "nothing was read: as the reader asked");
        let at = |second: i64, nanos: i64| second * SECOND + nanos;
        for (stderr, moment) in [(false, at(10, 5)), (true, at(10, 4)), (false, at(12, 7)), (false, at(12, 7))] {
            assert!(place.is_news(stderr, moment), "a first reading tells all, whatever its order");
        }
        assert_eq!(place.begin(), Some(11), "a second is all the engine takes, and outputs cross");
        let again = [
            (false, at(11, 0), false),
            (true, at(10, 4), false),
            (false, at(12, 7), false),
            (false, at(12, 7), false),
            // A third one of the same moment was not there yet.
            (false, at(12, 7), true),
            (true, at(12, 6), true),
            (false, at(13, 0), true),
        ];
        for (stderr, moment, news) in again {
            assert_eq!(place.is_news(stderr, moment), news, "{stderr} {moment}");
        }
        assert_eq!(place.begin(), Some(12));
        assert!(!place.is_news(false, at(12, 7)) && !place.is_news(true, at(12, 6)) && place.is_news(true, at(12, 8)));
    }

    #[test]
    fn lines_that_the_reader_did_not_want_are_not_told_by_the_next_reading() {
        // `tail=0`, and the log ended before a line came.
        let mut place = Place::default();
        place.begin();
        place.ended(20 * SECOND);
        assert_eq!(place.begin(), Some(19));
        assert!(!place.is_news(false, 20 * SECOND - 1));
        assert!(place.is_news(false, 20 * SECOND + 1));
    }

    #[test]
    fn a_stamp_is_taken_off_and_a_piece_without_one_is_left() {
        let (at, text) = stamped(&Bytes::from_static(b"1970-01-01T00:00:01.000000002Z a b\n")).unwrap();
        assert_eq!((at, &text[..]), (SECOND + 2, &b"a b\n"[..]));
        for other in ["a b\n", "", "1970-01-01T00:00:01Z"] {
            assert_eq!(stamped(&Bytes::from_static(other.as_bytes())), None, "{other}");
        }
    }
}
