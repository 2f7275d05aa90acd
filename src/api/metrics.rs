//! Requests counted: how many and how long, by route and code.
//!
//! Invariant: a label's values come from the route table, never from a request.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

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

/// Where requests are counted.
#[derive(Debug, Clone)]
pub struct HttpMetrics {
    /// Answers by route and code.
    pub requests: Family<RouteLabels, Counter>,
    /// Seconds to the answer's head.
    pub seconds: Family<TimeLabels, Histogram>,
    /// Open connections.
    pub connections: Gauge,
    /// Open streams.
    pub streams: Gauge,
}

impl HttpMetrics {
    /// Makes them and registers them.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let made = Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.0005, 4.0, 8))),
            connections: Gauge::default(),
            streams: Gauge::default(),
        };
        registry.register("constellation_api_requests", "Answers by route and code", made.requests.clone());
        registry.register(
            "constellation_api_request_seconds",
            "Seconds from a request's head to its answer's",
            made.seconds.clone(),
        );
        registry.register("constellation_api_connections", "Open connections", made.connections.clone());
        registry.register(
            "constellation_api_streams",
            "Open watches, event streams, logs and builds",
            made.streams.clone(),
        );
        made
    }
}
