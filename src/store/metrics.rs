//! What the store tells of itself.
//!
//! Here: [`Metrics`], counted where things happen, and [`Gauges`], read when somebody asks.
//! Not here: names of objects or members; a label's values are fixed.
//! Why two: an index or a length is known anyway, so writers pay nothing for it. A histogram takes a
//! lock, so it is touched once an entry or a sync, never once a group; a group costs one atomic add.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric as _},
    metrics::{
        MetricType,
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};
use tokio::sync::{mpsc, watch};

use super::{
    client::ProposeError,
    proposer::{self, Proposal},
    state::State,
};
use crate::model::Index;

/// Upper bounds of the buckets of sync durations, seconds: from a disk with a cache that needs no power
/// to one that is failing.
const SYNC_SECONDS: [f64; 15] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// How a proposal ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
enum Outcome {
    Applied,
    Refused,
    NoQuorum,
    Unknown,
    NoRoom,
    Busy,
    TooLarge,
    Closed,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    outcome: Outcome,
}

/// Answers to proposals by outcome, each looked up once.
#[derive(Debug, Clone)]
pub(super) struct Proposals {
    family: Family<Ended, Counter>,
    applied: Counter,
    refused: Counter,
    no_quorum: Counter,
    unknown: Counter,
    no_room: Counter,
    busy: Counter,
    too_large: Counter,
    closed: Counter,
}

impl Default for Proposals {
    fn default() -> Self {
        let family = Family::<Ended, Counter>::default();
        let of = |outcome| family.get_or_create_owned(&Ended { outcome });
        Self {
            applied: of(Outcome::Applied),
            refused: of(Outcome::Refused),
            no_quorum: of(Outcome::NoQuorum),
            unknown: of(Outcome::Unknown),
            no_room: of(Outcome::NoRoom),
            busy: of(Outcome::Busy),
            too_large: of(Outcome::TooLarge),
            closed: of(Outcome::Closed),
            family,
        }
    }
}

impl Proposals {
    pub(super) fn answered<T>(&self, answer: &Result<T, ProposeError>) {
        let counter = match answer {
            Ok(_) => &self.applied,
            Err(ProposeError::Refused(_)) => &self.refused,
            Err(ProposeError::NoQuorum(_)) => &self.no_quorum,
            Err(ProposeError::Unknown(_)) => &self.unknown,
            Err(ProposeError::NoRoom(_)) => &self.no_room,
            Err(ProposeError::Busy(_)) => &self.busy,
            Err(ProposeError::TooLarge { .. }) => &self.too_large,
            Err(ProposeError::Closed) => &self.closed,
        };
        counter.inc();
    }
}

/// What is counted. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    pub proposals: Proposals,
    /// Groups in each entry that was written to this log.
    pub entry_groups: Histogram,
    pub sync_seconds: Histogram,
    /// Bytes of records that were written and synced.
    pub log_written: Counter,
    /// Bytes of log behind the newest snapshot, as the keeper reckons.
    pub log_bytes: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            proposals: Proposals::default(),
            // Up to `proposer::GROUPS`.
            entry_groups: Histogram::new(exponential_buckets(1.0, 2.0, 9)),
            sync_seconds: Histogram::new(SYNC_SECONDS),
            log_written: Counter::default(),
            log_bytes: Gauge::default(),
        }
    }
}

impl Metrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("proposals", "Answers to proposals by outcome", self.proposals.family.clone());
        registry.register("entry_groups", "Groups of changes in one entry of the log", self.entry_groups.clone());
        registry.register(
            "log_sync_seconds",
            "Seconds that one sync of the log took, fdatasync with it",
            self.sync_seconds.clone(),
        );
        registry.register("log_written_bytes", "Bytes of records written to the log", self.log_written.clone());
        registry.register(
            "log_bytes",
            "Bytes of log behind the newest snapshot, to be read again at a start",
            self.log_bytes.clone(),
        );
    }
}

/// What is read when somebody asks. It keeps no store open.
pub(super) struct Gauges {
    pub state: watch::Receiver<Arc<State>>,
    pub raft: watch::Receiver<proposer::Metrics>,
    pub leadership: watch::Receiver<Option<Index>>,
    pub queue: mpsc::WeakSender<Proposal>,
}

impl fmt::Debug for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gauges")
    }
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let index = self.state.borrow().index().0;
        let leads = self.leadership.borrow().is_some();
        let [term, last, applied, snapshot, purged] = {
            // Raft's core waits while this is held.
            let raft = self.raft.borrow();
            let at = |id: Option<openraft::LogId<_>>| id.map_or(0, |id| id.index);
            [
                raft.current_term,
                raft.last_log_index.unwrap_or(0),
                at(raft.last_applied),
                at(raft.snapshot),
                at(raft.purged),
            ]
        };
        let waiting = self.queue.upgrade().map_or(0, |queue| queue.max_capacity() - queue.capacity());
        for (name, help, value) in [
            ("index", "Index of the state: it grows with each change", index),
            ("raft_term", "Raft's term", term),
            ("is_leader", "1 while this node leads the cluster", u64::from(leads)),
            ("last_log_index", "Last entry of the log", last),
            ("applied_index", "Last entry that was applied", applied),
            ("snapshot_index", "Last entry of the newest snapshot", snapshot),
            ("purged_index", "Last entry that was removed from the log", purged),
            ("queue_depth", "Proposals that wait to be written", waiting as u64),
            ("queue_limit", "Proposals that may wait; further ones are refused as busy", proposer::QUEUE as u64),
        ] {
            // Registered metrics get this full stop by themselves.
            ConstGauge::new(value).encode(encoder.encode_descriptor(
                name,
                &format!("{help}."),
                None,
                MetricType::Gauge,
            )?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        model::{Kind, ObjectKey},
        store::{
            Options, Store,
            command::{Command, Group},
            open, record,
        },
    };

    const SOON: Duration = Duration::from_secs(10);

    fn told(registry: &Registry) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
        text
    }
    #[track_caller]
    fn value(text: &str, series: &str) -> f64 {
        let line = text.lines().find_map(|l| l.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
    }
    fn deletion() -> Group {
        let key = ObjectKey::new(Kind::Config, "nobody");
        Group { commands: vec![Command::Delete { key }], ..Group::default() }
    }
    async fn opened(dir: &std::path::Path) -> (Store, Registry) {
        let store = open(Options::new(dir, "n1")).await.unwrap();
        let mut registry = Registry::default();
        store.client.register(&mut registry);
        (store, registry)
    }

    #[tokio::test]
    async fn a_store_on_a_disk_tells_its_indexes_syncs_entries_and_outcomes() {
        let dir = tempfile::tempdir().unwrap();
        let (store, registry) = opened(dir.path()).await;
        let (client, before) = (store.client.clone(), told(&registry));
        for _ in 0..3 {
            client.propose(Group::default(), SOON).await.unwrap();
        }
        assert!(matches!(client.propose(deletion(), SOON).await, Err(ProposeError::Refused(_))));
        // Raft tells its indexes a moment after the answer: one reading is compared with itself.
        let (text, status) = loop {
            let (first, text, status) = (client.raft_status(), told(&registry), client.raft_status());
            if (first.last_log, first.applied) == (status.last_log, status.applied) {
                break (text, status);
            }
        };
        let grown = |series: &str| value(&text, series) - value(&before, series);
        for (series, expected) in [
            ("index", client.state().index().0),
            ("raft_term", status.term),
            ("is_leader", 1),
            ("last_log_index", status.last_log),
            ("applied_index", status.applied),
            ("snapshot_index", 0),
            ("purged_index", 0),
            ("queue_depth", 0),
            ("queue_limit", proposer::QUEUE as u64),
        ] {
            assert_eq!(value(&text, &format!("constellation_store_{series}")), expected as f64, "{series}");
        }
        for (series, more) in [
            ("proposals_total{outcome=\"Applied\"}", 3.0),
            ("proposals_total{outcome=\"Refused\"}", 1.0),
            ("proposals_total{outcome=\"Unknown\"}", 0.0),
            ("entry_groups_sum", 4.0),
            ("entry_groups_count", 4.0),
            ("entry_groups_bucket{le=\"1.0\"}", 4.0),
            ("log_sync_seconds_count", 4.0),
        ] {
            assert_eq!(grown(&format!("constellation_store_{series}")), more, "{series}");
        }
        assert!(grown("constellation_store_log_sync_seconds_sum") > 0.0);
        assert!(grown("constellation_store_log_written_bytes_total") > 4.0 * record::HEADER as f64);
        store.close().await;
        client.propose(Group::default(), SOON).await.unwrap_err();
        let text = told(&registry);
        assert_eq!(value(&text, "constellation_store_is_leader"), 0.0);
        assert_eq!(value(&text, "constellation_store_proposals_total{outcome=\"Closed\"}"), 1.0);

        // What a start has to read again is known at once.
        let (store, registry) = opened(dir.path()).await;
        let behind = || value(&told(&registry), "constellation_store_log_bytes") > 0.0;
        let looked = async {
            while !behind() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SOON, looked).await.unwrap();
        store.close().await;
    }

    #[test]
    fn every_answer_has_a_count_of_its_own_and_every_count_is_told_from_the_start() {
        let proposals = Proposals::default();
        let answers = [
            Ok(()),
            Err(ProposeError::Refused(crate::store::command::Refusal::AlreadyFormed)),
            Err(ProposeError::NoQuorum(String::new())),
            Err(ProposeError::Unknown(String::new())),
            Err(ProposeError::NoRoom(crate::store::room::Free { free: 1, reserve: 2 })),
            Err(ProposeError::Busy(1)),
            Err(ProposeError::TooLarge { size: 2, limit: 1 }),
            Err(ProposeError::Closed),
        ];
        let mut registry = Registry::default();
        registry.register("p", "P", proposals.family.clone());
        let ones = |text: &str| text.lines().filter(|l| l.starts_with("p_total{") && l.ends_with(" 1")).count();
        for (n, answer) in answers.iter().enumerate() {
            assert_eq!(ones(&told(&registry)), n);
            proposals.answered(answer);
        }
        let text = told(&registry);
        assert_eq!((ones(&text), text.matches("p_total{").count()), (answers.len(), answers.len()), "{text}");
    }
}
