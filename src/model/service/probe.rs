//! When a replica counts as healthy and as ready.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ContainerSpec, NetworkMode, Protocol, is_false, three};
use crate::model::quantity::Period;

/// Where a readiness verdict comes from; worked out by [`ContainerSpec::readiness`].
#[derive(Debug, Clone, PartialEq)]
pub enum ReadinessSource {
    /// An explicit probe.
    Probe(Readiness),
    /// Docker's health status (the spec's or the image's health check).
    Healthcheck,
    /// A TCP connection to the first exposed or published port, with the default timings.
    Tcp(u16),
    /// Running for this long.
    RunningFor(Duration),
}

/// What nobody asks is ready when it has run for `minHealthyTime`, and for this long at most.
pub const MIN_HEALTHY_TIME: Duration = Duration::from_secs(10);

impl ContainerSpec {
    /// The readiness rule: explicit, else the health check, else TCP on the first exposed port, else
    /// "running for a while". `image_has_healthcheck`: what the image brings; `healthy`: its `minHealthyTime`.
    #[must_use]
    pub fn readiness(&self, image_has_healthcheck: bool, healthy: Duration) -> ReadinessSource {
        if let Some(probe) = &self.readiness {
            return ReadinessSource::Probe(probe.clone());
        }
        let own = self.healthcheck.as_ref();
        if own.is_some_and(|h| !h.disable) || (own.is_none() && image_has_healthcheck) {
            return ReadinessSource::Healthcheck;
        }
        match self
            .expose
            .first()
            .copied()
            .or_else(|| self.ports.iter().find(|p| p.protocol == Protocol::Tcp).map(|p| p.target))
        {
            Some(port) if self.network_mode != NetworkMode::None => ReadinessSource::Tcp(port),
            _ => ReadinessSource::RunningFor(healthy.min(MIN_HEALTHY_TIME)),
        }
    }
}

/// Docker's health check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Healthcheck {
    /// `["CMD", …]`, `["CMD-SHELL", "…"]` or `["NONE"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Between two checks; 30 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Period>,
    /// Of one check; 30 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
    /// Failures in a row before unhealthy; 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// Failures before this do not count; 0 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_period: Option<Period>,
    /// Between two checks in the start period; engines from API 1.44 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_interval: Option<Period>,
    /// Switches the image's health check off.
    #[serde(default, skip_serializing_if = "is_false")]
    pub disable: bool,
}

/// A readiness probe, run by the agent: needs no shell in the image (except `exec`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Readiness {
    /// GET that must answer with a status in a range. Exactly one of http, tcp, exec.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpProbe>,
    /// A connection that must open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpProbe>,
    /// A command that must end with 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<Vec<String>>,
    /// Between two probes; 5 s.
    #[serde(default = "five_seconds")]
    pub interval: Period,
    /// Of one probe; 3 s.
    #[serde(default = "three_seconds")]
    pub timeout: Period,
    /// Successes in a row before ready; 1.
    #[serde(default = "one")]
    pub success_threshold: u32,
    /// Failures in a row before not ready; 3.
    #[serde(default = "three")]
    pub failure_threshold: u32,
}
impl Readiness {
    /// A TCP probe with the default timings.
    #[must_use]
    pub fn tcp(port: u16) -> Self {
        Self {
            http: None,
            tcp: Some(TcpProbe { port }),
            exec: None,
            interval: five_seconds(),
            timeout: three_seconds(),
            success_threshold: 1,
            failure_threshold: 3,
        }
    }
}
fn five_seconds() -> Period {
    Period::secs(5)
}
fn three_seconds() -> Period {
    Period::secs(3)
}
fn one() -> u32 {
    1
}

/// An HTTP probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpProbe {
    /// Path with query.
    #[serde(default = "root")]
    pub path: String,
    /// Port inside the container.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// Host header; the container's address when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Further headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Accepted statuses, `200-399` or `200,204`.
    #[serde(default = "ok_statuses")]
    pub status: String,
}
fn root() -> String {
    "/".into()
}
fn ok_statuses() -> String {
    "200-399".into()
}

/// A TCP probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TcpProbe {
    /// Port inside the container.
    #[schemars(range(min = 1))]
    pub port: u16,
}
