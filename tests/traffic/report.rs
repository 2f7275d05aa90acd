//! What clients saw: latencies, and failures by kind.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

/// Failures that are told with their details.
const TOLD: usize = 20;

/// Why there is no good answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// No connection came about.
    Connect,
    /// A connection ended or broke before a whole head was there.
    Reset,
    /// An answer came, and says no.
    Status,
    /// Nothing in time.
    Timeout,
    /// A body ended before its length.
    ShortBody,
    /// More was under way than may be: it was never sent.
    Unsent,
}

impl Failure {
    const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Status => "status",
            Self::Timeout => "timeout",
            Self::ShortBody => "shortBody",
            Self::Unsent => "unsent",
        }
    }
}

/// One good answer.
#[derive(Debug, Clone)]
pub struct Answered {
    /// From the moment at which it was due.
    pub took: Duration,
    /// Which version of the server gave it.
    pub version: String,
}

/// The sum of a run.
#[derive(Debug, Default)]
pub struct Report {
    took: Vec<Duration>,
    versions: BTreeMap<String, u64>,
    failures: BTreeMap<Failure, u64>,
    told: Vec<String>,
    /// WebSockets that the server ended in good order, so that they were opened again.
    pub reopened: u64,
}

impl Report {
    /// Adds one. `due`: since the run began.
    pub fn add(&mut self, due: Duration, outcome: Result<Answered, (Failure, String)>) {
        match outcome {
            Ok(answered) => {
                self.took.push(answered.took);
                *self.versions.entry(answered.version).or_default() += 1;
            }
            Err((failure, details)) => {
                *self.failures.entry(failure).or_default() += 1;
                if self.told.len() < TOLD {
                    self.told.push(format!("{:.3} s: {}: {details}", due.as_secs_f64(), failure.name()));
                }
            }
        }
    }
    /// How many failed in this way.
    #[cfg(test)]
    pub fn failed(&self, failure: Failure) -> u64 {
        self.failures.get(&failure).copied().unwrap_or_default()
    }
    /// Latencies, sorted.
    pub fn sorted(&self) -> Vec<Duration> {
        let mut took = self.took.clone();
        took.sort_unstable();
        took
    }
    /// As one line of JSON; times in milliseconds.
    pub fn json(&self) -> Value {
        let took = self.sorted();
        let at = |part: f64| {
            // The smallest that so many are not above.
            let index = (part * took.len() as f64).ceil() as usize;
            took.get(index.saturating_sub(1)).map_or(0.0, |d| (d.as_secs_f64() * 1e6).round() / 1e3)
        };
        let failures: BTreeMap<&str, u64> = self.failures.iter().map(|(f, n)| (f.name(), *n)).collect();
        json!({
            "answered": took.len(),
            "failed": self.failures.values().sum::<u64>(),
            "failures": failures,
            "told": self.told,
            "versions": self.versions,
            "reopened": self.reopened,
            "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": at(1.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_and_ranks() {
        let mut report = Report::default();
        for ms in (1..=100).rev() {
            let answered = Answered { took: Duration::from_millis(ms), version: (ms % 2).to_string() };
            report.add(Duration::ZERO, Ok(answered));
        }
        report.add(Duration::from_millis(1_250), Err((Failure::Status, "503".into())));
        let json = report.json();
        assert_eq!((&json["p50"], &json["p99"], &json["max"]), (&50.0.into(), &99.0.into(), &100.0.into()));
        assert_eq!((&json["answered"], &json["failed"]), (&100.into(), &1.into()));
        assert_eq!((&json["versions"]["0"], &json["failures"]["status"]), (&50.into(), &1.into()));
        assert_eq!(json["told"][0], "1.250 s: status: 503");
    }
}
