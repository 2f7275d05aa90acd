//! The keeper: when a snapshot is made, and what of the log may go after it.
//!
//! Rule: at most one a minute, and only after 64 MiB or 50,000 entries; at a rate of writes that
//! would let the log grow beyond [`Pace::at_once`] within that minute, at once. Why that exception: what
//! lies behind the snapshot is replayed at a start and stands on the disk twice until then.
//! The log is purged up to the snapshot before the newest: when the newest one turns out damaged,
//! the older one and the log still give the whole state; and members that lag find that much log.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{log::Log, machine::Machine, proposer::Metrics, raft::Raft, room::Room};

/// How long one snapshot may take before it is said aloud.
const DEADLINE: Duration = Duration::from_secs(120);

/// How often the log is cut. The default is what the design settles; tests of crashes go faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Between two snapshots, at least.
    pub between: Duration,
    /// Bytes of log that are worth a snapshot.
    pub bytes: u64,
    /// Entries that are worth a snapshot.
    pub entries: u64,
    /// Bytes of log that do not wait for `between`.
    pub at_once: u64,
    /// Bytes after which the log goes on in a fresh database.
    pub generation: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            between: Duration::from_secs(60),
            bytes: 64 << 20,
            entries: 50_000,
            at_once: 128 << 20,
            generation: 64 << 20,
        }
    }
}

impl Pace {
    /// Whether a snapshot is due, `since` after the last one, with this much log behind it.
    fn is_due(&self, since: Duration, bytes: u64, entries: u64) -> bool {
        bytes >= self.at_once || since >= self.between && (bytes >= self.bytes || entries >= self.entries)
    }
}

/// The task.
pub(super) struct Keeper {
    pub room: Room,
    pub raft: Raft,
    pub log: Log,
    pub machine: Machine,
    pub pace: Pace,
    pub metrics: watch::Receiver<Metrics>,
    pub stop: CancellationToken,
}

impl Keeper {
    /// Runs until it is stopped.
    pub async fn run(mut self) {
        let stop = self.stop.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.keep() => {}
        }
    }

    async fn keep(&mut self) {
        let mut look = interval(self.pace.between.min(Duration::from_secs(1)));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut last, mut covered) = (Instant::now(), 0);
        loop {
            look.tick().await;
            let written = self.log.extent().written;
            let (applied, snapshot) = {
                let metrics = self.metrics.borrow();
                (metrics.last_applied.map_or(0, |l| l.index), metrics.snapshot.map_or(0, |l| l.index))
            };
            let bytes = written.saturating_sub(covered);
            self.log.metrics().log_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
            // It takes room before it makes any.
            let no_room = self.room.look().is_some_and(|free| free.is_low());
            if no_room || !self.pace.is_due(last.elapsed(), bytes, applied.saturating_sub(snapshot)) {
                continue;
            }
            let started = Instant::now();
            if self.raft.trigger().snapshot().await.is_err() {
                return;
            }
            let done =
                self.metrics.wait_for(|m| m.running_state.is_err() || m.snapshot.is_some_and(|s| s.index >= applied));
            match timeout(DEADLINE, done).await {
                Ok(Ok(_)) => {}
                Ok(Err(_)) => return,
                Err(_) => {
                    tracing::warn!("a snapshot takes longer than {DEADLINE:?}");
                    continue;
                }
            }
            tracing::info!(upto = applied, bytes, took = ?started.elapsed(), "made a snapshot");
            (last, covered) = (Instant::now(), written);
            if let Some(upto) = self.machine.fallback()
                && self.raft.trigger().purge_log(upto).await.is_err()
            {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_comes_once_a_minute_when_it_is_worth_it_and_earlier_only_before_a_flood() {
        let pace = Pace::default();
        let table = [
            ("nothing was written", 3_600, 0, 0, false),
            ("a minute and many entries", 60, 0, pace.entries, true),
            ("a minute and many bytes", 60, pace.bytes, 1, true),
            ("many bytes and no minute", 59, pace.bytes, pace.entries, false),
            ("a flood", 1, pace.at_once, 1, true),
        ];
        for (case, seconds, bytes, entries, due) in table {
            assert_eq!(pace.is_due(Duration::from_secs(seconds), bytes, entries), due, "{case}");
        }
    }
}
