//! What the loops tell of themselves. One family for all loops, told apart by the label `controller`.
//!
//! Not here: keys. They stand in spans, never in a label: their number has no bound.

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// Upper bounds of the buckets of pass durations, seconds: from a look at memory to a pull.
const BUCKETS: [f64; 10] = [0.0001, 0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0, 300.0];

/// Which loop.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Loop {
    controller: &'static str,
}

/// Which loop, and how its pass ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Pass {
    controller: &'static str,
    outcome: Outcome,
}

/// How a pass ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Outcome {
    /// [`super::Action::Done`].
    Done,
    /// [`super::Action::RequeueAfter`].
    Requeue,
    /// It answered an error.
    Error,
    /// It took longer than its deadline and was dropped.
    Deadline,
    /// It panicked.
    Panic,
}

/// The families of all loops. Cheap to clone; [`Metrics::default`] is registered nowhere, for tests.
#[derive(Debug, Clone)]
pub struct Metrics {
    depth: Family<Loop, Gauge>,
    running: Family<Loop, Gauge>,
    adds: Family<Loop, Counter>,
    retries: Family<Loop, Counter>,
    seconds: Family<Pass, Histogram, fn() -> Histogram>,
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            depth: Family::default(),
            running: Family::default(),
            adds: Family::default(),
            retries: Family::default(),
            seconds: Family::new_with_constructor(histogram as fn() -> Histogram),
        }
    }
}

impl Metrics {
    /// Makes the families and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let own = Self::default();
        let registry = registry.sub_registry_with_prefix("constellation_controller");
        registry.register("queue_depth", "Keys that wait for a pass and are due", own.depth.clone());
        registry.register("passes_running", "Passes that run now", own.running.clone());
        registry.register("queue_adds", "Keys that were named by a watched stream", own.adds.clone());
        registry.register("retries", "Passes that are to be repeated after a failure", own.retries.clone());
        registry.register("pass_seconds", "Duration of passes by outcome", own.seconds.clone());
        own
    }
    /// The metrics of one loop, looked up once.
    pub(super) fn of(&self, controller: &'static str) -> LoopMetrics {
        let own = Loop { controller };
        LoopMetrics {
            controller,
            depth: self.depth.get_or_create(&own).clone(),
            running: self.running.get_or_create(&own).clone(),
            adds: self.adds.get_or_create(&own).clone(),
            retries: self.retries.get_or_create(&own).clone(),
            seconds: self.seconds.clone(),
        }
    }
}

/// The metrics of one loop.
#[derive(Debug, Clone)]
pub(super) struct LoopMetrics {
    controller: &'static str,
    pub(super) depth: Gauge,
    pub(super) running: Gauge,
    pub(super) adds: Counter,
    pub(super) retries: Counter,
    seconds: Family<Pass, Histogram, fn() -> Histogram>,
}

impl LoopMetrics {
    pub(super) fn passed(&self, outcome: Outcome, seconds: f64) {
        self.seconds.get_or_create(&Pass { controller: self.controller, outcome }).observe(seconds);
    }
}
