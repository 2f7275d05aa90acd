//! Cluster time: milliseconds since 1970 that never jump.
//!
//! It starts at the wall clock, or at the newest time in the log if that is later, and goes on with
//! boot time. Why: a wall clock that is set back would undo ages and deadlines; one that is set
//! forward would end them all. Boot time also counts while the machine is suspended.
//! Not here: who stamps ([`super::proposer`]).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Cluster time of this process.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: u64,
    boot: Duration,
}

impl Clock {
    /// Starts at the wall clock, but not before `newest`, the newest time that the log holds.
    #[must_use]
    pub fn start(newest: u64) -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: newest.max(millis(wall)), boot: boot_time() }
    }
    /// Milliseconds since 1970.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.start + millis(boot_time().saturating_sub(self.boot))
    }
}

fn boot_time() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_set_back_does_not_turn_cluster_time_back() {
        let newest = millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap()) + 1_000_000;
        let clock = Clock::start(newest);
        assert!((newest..newest + 1_000).contains(&clock.now()));
        assert!(clock.now() <= clock.now());
    }
}
