//! Who is connected, and who makes room for whom.
//!
//! Here: [`Crowd`], the connections of one listener with their number overall and per source, and [`Seat`],
//! one of them. Not here: accepting (`accept`), what is under way on a connection ([`Turn`]).
//! A newcomer with a real request gets in: when room is needed, those who ask for nothing (half a head, an
//! idle keep-alive) are cut first, then those who are still sending a body, the oldest first. What is being
//! answered and what is a stream is never cut for that. Whoever came a moment ago is spared: its head may be
//! on its way, and in a burst of good clients nobody would be served if each cut the one before it.
//! Several go at a time: looking through all of them for each newcomer would be the attack's work done for it.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    guard::Turn,
    metrics::{Cut, HttpMetrics},
};

/// Whoever asks for nothing is spared for so long.
pub const GRACE: Duration = Duration::from_millis(250);
/// Between two looks for somebody to cut after one that found nobody.
const BARREN: Duration = Duration::from_millis(20);
/// One in so many goes at a time.
const SHARE: usize = 64;

/// The connections of one listener.
#[derive(Debug)]
pub struct Crowd {
    limit: usize,
    per_source: usize,
    metrics: HttpMetrics,
    inner: Mutex<Inner>,
    left: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    members: HashMap<u64, Member>,
    by_source: HashMap<IpAddr, Source>,
    /// Of the whole crowd.
    barren: Option<Instant>,
}

#[derive(Debug)]
struct Member {
    source: Option<IpAddr>,
    turn: Turn,
    cut: CancellationToken,
}

#[derive(Debug, Default)]
struct Source {
    open: usize,
    barren: Option<Instant>,
}

/// Why a newcomer has no seat now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSeat {
    /// Its source has as many as one may have.
    Source,
    /// All are in use; see [`Crowd::left`].
    Full,
}

impl Crowd {
    /// At most `limit`, and `per_source` of one source.
    #[must_use]
    pub fn new(limit: usize, per_source: usize, metrics: HttpMetrics) -> Arc<Self> {
        Arc::new(Self { limit, per_source, metrics, inner: Mutex::default(), left: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics while it is held.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a seat, for which others may have to go.
    ///
    /// # Errors
    /// [`NoSeat`].
    pub fn enter(self: &Arc<Self>, source: Option<IpAddr>, now: Instant) -> Result<Seat, NoSeat> {
        let mut inner = self.lock();
        if let Some(source) = source
            && inner.by_source.get(&source).is_some_and(|s| s.open >= self.per_source)
            && self.make_room(&mut inner, Some(source), now) == 0
        {
            return Err(NoSeat::Source);
        }
        if inner.members.len() >= self.limit && self.make_room(&mut inner, None, now) == 0 {
            return Err(NoSeat::Full);
        }
        let (id, turn, cut) = (inner.next, Turn::new(now), CancellationToken::new());
        inner.next += 1;
        inner.members.insert(id, Member { source, turn: turn.clone(), cut: cut.clone() });
        if let Some(source) = source {
            inner.by_source.entry(source).or_default().open += 1;
        }
        drop(inner);
        Ok(Seat { crowd: self.clone(), id, turn, cut })
    }

    /// When somebody left.
    pub async fn left(&self) {
        self.left.notified().await;
    }

    /// Cuts some of those who ask for nothing, because the process has no room; how many.
    pub fn relieve(&self, now: Instant) -> usize {
        self.make_room(&mut self.lock(), None, now)
    }

    /// Cuts some of one source, or of all: how many.
    fn make_room(&self, inner: &mut Inner, source: Option<IpAddr>, now: Instant) -> usize {
        let barren = match source {
            Some(source) => inner.by_source.get(&source).and_then(|s| s.barren),
            None => inner.barren,
        };
        if barren.is_some_and(|at| now.saturating_duration_since(at) < BARREN) {
            return 0;
        }
        let candidates = inner.members.iter().filter(|(_, m)| source.is_none() || m.source == source);
        let mut found: Vec<_> = candidates
            .filter_map(|(id, member)| Some((member.turn.worth(now)?, *id)))
            .filter(|((_, age), _)| *age >= GRACE)
            .collect();
        let of = source.map_or(self.limit, |_| self.per_source);
        let many = found.len().min((of / SHARE).max(1));
        if many == 0 {
            match source {
                Some(source) => inner.by_source.entry(source).or_default().barren = Some(now),
                None => inner.barren = Some(now),
            }
            return 0;
        }
        // Least worth first, then the oldest.
        found.select_nth_unstable_by(many - 1, |((a, older), _), ((b, other), _)| a.cmp(b).then(other.cmp(older)));
        for (_, id) in &found[..many] {
            if let Some(member) = inner.remove(*id) {
                member.cut.cancel();
                self.metrics.cut(Cut::Room);
            }
        }
        many
    }
}

impl Inner {
    fn remove(&mut self, id: u64) -> Option<Member> {
        let member = self.members.remove(&id)?;
        if let Some(source) = member.source
            && let Some(known) = self.by_source.get_mut(&source)
        {
            known.open -= 1;
            if known.open == 0 {
                self.by_source.remove(&source);
            }
        }
        Some(member)
    }
}

/// One connection's place among all; free when this is dropped.
#[derive(Debug)]
pub struct Seat {
    crowd: Arc<Crowd>,
    id: u64,
    /// What is under way on it.
    pub turn: Turn,
    /// Set when it has to go.
    pub cut: CancellationToken,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let was = self.crowd.lock().remove(self.id);
        // One that was cut made its room already.
        if was.is_some() {
            self.crowd.left.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    fn crowd(limit: usize, per_source: usize) -> Arc<Crowd> {
        Crowd::new(limit, per_source, HttpMetrics::register(&mut Registry::default()))
    }
    fn from(n: u8) -> Option<IpAddr> {
        Some(IpAddr::from([127, 0, 0, n]))
    }

    #[test]
    fn the_oldest_that_asks_for_nothing_makes_room() {
        let (crowd, start) = (crowd(4, 4), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let seats: Vec<Seat> = (0..4).map(|n| crowd.enter(from(n), at(u64::from(n))).unwrap()).collect();
        let _answering = seats[0].turn.begin();
        let _uploading = seats[1].turn.begin();
        seats[1].turn.uploads();
        assert_eq!(crowd.enter(from(9), at(200)).unwrap_err(), NoSeat::Full, "all came a moment ago");
        let mut late = Vec::new();
        for (step, gone) in [vec![2], vec![2, 3], vec![1, 2, 3]].into_iter().enumerate() {
            let newcomer = crowd.enter(from(10), at(1_000 + step as u64)).unwrap();
            std::mem::forget(newcomer.turn.begin());
            late.push(newcomer);
            let cut: Vec<usize> = (0..4).filter(|n| seats[*n].cut.is_cancelled()).collect();
            assert_eq!(cut, gone, "step {step}");
        }
        assert_eq!(crowd.enter(from(9), at(5_000)).unwrap_err(), NoSeat::Full, "all are answered");
        drop(late.pop());
        assert!(crowd.enter(from(9), at(5_001)).is_ok(), "one left");
    }

    #[test]
    fn a_source_has_its_share_and_makes_room_for_itself() {
        let (crowd, start) = (crowd(100, 2), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let (first, second) = (crowd.enter(from(1), at(0)).unwrap(), crowd.enter(from(1), at(1)).unwrap());
        let other = crowd.enter(from(2), at(0)).unwrap();
        assert_eq!(crowd.enter(from(1), at(100)).unwrap_err(), NoSeat::Source);
        let third = crowd.enter(from(1), at(1_000)).unwrap();
        assert!(first.cut.is_cancelled() && !second.cut.is_cancelled() && !other.cut.is_cancelled());
        second.turn.hold();
        third.turn.hold();
        assert_eq!(crowd.enter(from(1), at(9_000)).unwrap_err(), NoSeat::Source, "streams stay");
        drop((first, second, third, other));
        assert!(crowd.lock().by_source.is_empty() && crowd.lock().members.is_empty(), "nothing is kept");
    }

    #[test]
    fn several_go_at_a_time() {
        let (crowd, start) = (crowd(640, 640), Instant::now());
        let seats: Vec<Seat> = (0..640).map(|_| crowd.enter(from(1), start).unwrap()).collect();
        let newcomer = crowd.enter(from(2), start + GRACE).unwrap();
        assert_eq!(seats.iter().filter(|s| s.cut.is_cancelled()).count(), 640 / SHARE);
        drop(newcomer);
    }
}
