//! The parts of the test of abuse: an agent, a prober, and clients of all manners in processes of their own.

pub mod agent;
pub mod child;
pub mod clients;
pub mod probe;

use std::time::{Duration, Instant};

/// Looks until a condition holds; panics with what it saw last.
pub fn eventually<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + limit;
    loop {
        match look() {
            Ok(found) => return found,
            Err(last) if Instant::now() > end => panic!("{what}: not within {limit:?}: {last}"),
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}
