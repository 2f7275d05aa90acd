//! Requests without a right to what they asked for: counted, and told in this node's log at a bounded rate.
//!
//! Why not in the audit record: who has no token could then push out what those with one have done.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    metrics::{DeniedLabels, HttpMetrics},
    problem::Failure,
    routes::Route,
};

/// Between two lines of the log.
const PAUSE: Duration = Duration::from_secs(1);

/// When a line was written, and what was left out since.
#[derive(Debug, Default)]
pub struct Denied(Mutex<Since>);

#[derive(Debug, Default)]
struct Since {
    told: Option<Instant>,
    silent: u64,
}

impl Since {
    /// One more: none, or how many were left out before it.
    fn next(&mut self, now: Instant) -> Option<u64> {
        if self.told.is_some_and(|told| now.duration_since(told) < PAUSE) {
            self.silent += 1;
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.silent))
    }
}

impl Denied {
    /// Notes a failure, if it is one of these.
    pub fn note(&self, metrics: &HttpMetrics, route: &Route, from: String, failure: &Failure) {
        let Some(why) = why(failure) else { return };
        metrics.denied.get_or_create(&DeniedLabels { why }).inc();
        let next = self.0.lock().unwrap_or_else(PoisonError::into_inner).next(Instant::now());
        if let Some(left_out) = next {
            let who = failure.whose().unwrap_or("unknown");
            tracing::warn!(why, who, from, method = route.method, route = route.path, left_out, "a request was denied");
        }
    }
}

/// The label: one of these, whatever a request says.
fn why(failure: &Failure) -> Option<&'static str> {
    let slug = failure.problem().slug();
    let known = ["no-token", "wrong-token", "expired-token", "forbidden", "not-granted"]
        .into_iter()
        .find(|known| *known == slug);
    known.or_else(|| [401, 403].contains(&failure.status()).then_some("other"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_one_line_a_second_that_says_what_it_left_out() {
        let mut since = Since::default();
        let mut next = || since.next(Instant::now());
        assert_eq!((next(), next(), next()), (Some(0), None, None));
        tokio::time::advance(PAUSE).await;
        assert_eq!((next(), next()), (Some(2), None));
        tokio::time::advance(PAUSE * 9).await;
        assert_eq!((next(), next()), (Some(1), None));
    }
}
