//! Waiting for a condition under a deadline.

use std::time::{Duration, Instant};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(25);

/// Looks until `look` answers `Ok`, at most for `limit`; panics with what was seen last.
pub fn eventually<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) if begun.elapsed() >= limit => panic!("{what}: not within {limit:?}; seen last: {seen}"),
            Err(_) => std::thread::park_timeout(PAUSE),
        }
    }
}

/// Looks for the whole of `span` and panics at the first `Err`.
pub fn always(span: Duration, what: &str, mut look: impl FnMut() -> Result<(), String>) {
    let begun = Instant::now();
    while begun.elapsed() < span {
        if let Err(seen) = look() {
            panic!("{what}: no longer after {:?}: {seen}", begun.elapsed());
        }
        std::thread::park_timeout(PAUSE);
    }
}

/// Seconds, for short tests.
pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}
