//! Requests and connections counted: how many and how long, what was refused and what was cut, and why.
//!
//! Invariant: a label's values come from the route table, never from a request.

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use super::class::Class;

/// Labels of one count.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RouteLabels {
    /// Path with its parameters as names.
    pub route: &'static str,
    /// Method.
    pub method: &'static str,
    /// HTTP status.
    pub code: u16,
}

/// Labels of one duration.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct TimeLabels {
    /// Path with its parameters as names.
    pub route: &'static str,
    /// Method.
    pub method: &'static str,
}

/// Label of what is counted by class.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ClassLabels {
    /// Class of requests.
    pub class: Class,
}

/// Labels of refused requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusedLabels {
    /// Class of the request.
    pub class: Class,
    /// Why.
    pub cause: Refusal,
}

/// Why a request is refused with 429.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Refusal {
    /// Every place of its class is taken.
    Places,
    /// Its caller changes too often.
    Rate,
    /// Its source sent too many wrong tokens.
    WrongTokens,
}

/// Label of what the server ended or did not begin.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CutLabels {
    /// Why.
    pub cause: Cut,
}

/// Why a connection was cut, or not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Cut {
    /// It sent no whole head in time, or was idle.
    Head,
    /// Its request, most often a slow body, was not done in time.
    Deadline,
    /// It took nothing of its answer.
    Stalled,
    /// It answered no ping.
    Silent,
    /// It sent a message that is too large.
    Loud,
    /// It asked for nothing while others wanted its place.
    Room,
    /// It was not taken: its source has too many.
    Source,
    /// It was not taken: all places are in use.
    Full,
}

/// Labels of what was denied.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DeniedLabels {
    /// Last segment of the problem's type: `no-token`, `wrong-token`, `forbidden`, …
    pub why: &'static str,
}

/// Where requests are counted.
#[derive(Debug, Clone)]
pub struct HttpMetrics {
    /// Answers by route and code.
    pub requests: Family<RouteLabels, Counter>,
    /// Seconds to the answer's head.
    pub seconds: Family<TimeLabels, Histogram>,
    /// Requests without a right to what they asked for.
    pub denied: Family<DeniedLabels, Counter>,
    /// Open connections.
    pub connections: Gauge,
    /// Open streams.
    pub streams: Gauge,
    /// Places taken, by class.
    pub in_flight: Family<ClassLabels, Gauge>,
    /// Requests refused.
    pub refused: Family<RefusedLabels, Counter>,
    /// Connections cut or not taken.
    pub cut: Family<CutLabels, Counter>,
}

impl HttpMetrics {
    /// Makes them and registers them.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let made = Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.0005, 4.0, 8))),
            denied: Family::default(),
            connections: Gauge::default(),
            streams: Gauge::default(),
            in_flight: Family::default(),
            refused: Family::default(),
            cut: Family::default(),
        };
        registry.register("constellation_api_requests", "Answers by route and code", made.requests.clone());
        registry.register(
            "constellation_api_request_seconds",
            "Seconds from a request's head to its answer's",
            made.seconds.clone(),
        );
        registry.register("constellation_api_denied", "Requests answered with 401 or 403, by why", made.denied.clone());
        registry.register("constellation_api_connections", "Open connections", made.connections.clone());
        registry.register(
            "constellation_api_streams",
            "Open watches, event streams, logs and builds",
            made.streams.clone(),
        );
        registry.register("constellation_api_in_flight", "Requests in flight by class", made.in_flight.clone());
        registry.register(
            "constellation_api_refused",
            "Requests refused with 429 by class and cause",
            made.refused.clone(),
        );
        registry.register("constellation_api_cut", "Connections cut or not taken, by cause", made.cut.clone());
        made
    }

    /// Counts a refused request.
    pub fn refuse(&self, class: Class, cause: Refusal) {
        self.refused.get_or_create(&RefusedLabels { class, cause }).inc();
    }
    /// Counts a connection that was cut or not taken.
    pub fn cut(&self, cause: Cut) {
        self.cut.get_or_create(&CutLabels { cause }).inc();
    }
}
