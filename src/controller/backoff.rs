//! How long to wait after a failure: doubling, capped, jittered. Pure: the caller brings the chance.
//!
//! Why half of each wait is jitter: loops that failed together because one engine or registry went
//! away must not come back together, and yet the wait must not collapse to nothing.

use std::time::Duration;

/// Waits between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Longest wait after the first failure.
    pub first: Duration,
    /// Longest wait of all.
    pub max: Duration,
}

impl Default for Backoff {
    /// From a fifth of a second to half a minute: for loops that talk to this process and its engine.
    fn default() -> Self {
        Self { first: Duration::from_millis(200), max: Duration::from_secs(30) }
    }
}

impl Backoff {
    /// The wait after `failures` failures in a row (counted from 1): between half and all of
    /// `first · 2^(failures − 1)`, at most `max`. `chance` in 0..=1 chooses the point between.
    #[must_use]
    pub fn delay(&self, failures: u32, chance: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let full = self.first.saturating_mul(1 << doublings).min(self.max);
        let half = full / 2;
        half + half.mul_f64(chance.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(10) };
        for (failures, chance, wait) in [
            (0, 1.0, 1),
            (1, 1.0, 1),
            (2, 1.0, 2),
            (3, 1.0, 4),
            (4, 1.0, 8),
            (5, 1.0, 10),
            (u32::MAX, 1.0, 10),
            (2, 0.0, 1),
        ] {
            assert_eq!(backoff.delay(failures, chance), Duration::from_secs(wait), "{failures} {chance}");
        }
    }

    proptest! {
        #[test]
        fn a_wait_is_at_least_half_and_never_above_the_longest(failures in 0u32.., chance in 0.0..=1.0) {
            let backoff = Backoff::default();
            let (full, wait) = (backoff.delay(failures, 1.0), backoff.delay(failures, chance));
            prop_assert!(wait <= full && wait >= full / 2 && full <= backoff.max);
        }
    }
}
