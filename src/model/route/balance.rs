//! How requests are spread over replicas, and how those are connected to.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::is_default;
use crate::model::quantity::Period;

/// How requests are spread.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoadBalancer {
    /// Which replica is next.
    #[serde(default, skip_serializing_if = "is_default")]
    pub strategy: Strategy,
    /// The same client comes to the same replica again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
    /// Traefik asks replicas itself, and leaves out those that do not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// A replica that fails requests is left out for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passive_health_check: Option<PassiveHealthCheck>,
    /// How replicas are connected to.
    #[serde(default, skip_serializing_if = "is_default")]
    pub servers_transport: ServersTransport,
}

/// Which replica is next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// One after the other.
    #[default]
    Wrr,
    /// Of two drawn, the one with fewer requests.
    P2c,
    /// By the client's address.
    Hrw,
    /// The one that answers soonest.
    LeastTime,
}

/// The same client comes to the same replica again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sticky {
    /// The cookie that says to which.
    pub cookie: StickyCookie,
}

/// A cookie.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StickyCookie {
    /// Its name; derived when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Only over HTTPS.
    #[serde(default, skip_serializing_if = "is_default")]
    pub secure: bool,
    /// Not for scripts of the page.
    #[serde(default, skip_serializing_if = "is_default")]
    pub http_only: bool,
    /// `none`, `lax` or `strict`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_site: Option<SameSite>,
    /// Seconds that it is kept; until the browser ends when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_age: Option<u32>,
    /// Path that it holds for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Domain that it holds for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
}

/// Whether other sites may send a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SameSite {
    /// Always.
    None,
    /// When somebody follows a link.
    Lax,
    /// Never.
    Strict,
}

/// Traefik asks each replica itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HealthCheck {
    /// Path that is asked for.
    pub path: String,
    /// Another port than the one that requests go to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// `http` or `https`; as the backend when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<CheckScheme>,
    /// Method; GET.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The status that is right; any of 200 to 399 when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 100, max = 599))]
    pub status: Option<u16>,
    /// Time between two questions; 30 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Period>,
    /// The same while a replica does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unhealthy_interval: Option<Period>,
    /// Longest wait for an answer; 5 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
    /// The Host header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Goes where a redirect leads: needs the grant `hostNetwork`, since a replica leads Traefik anywhere so.
    #[serde(default, skip_serializing_if = "is_default")]
    pub follow_redirects: bool,
    /// Further headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// How a check speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CheckScheme {
    /// Plain.
    Http,
    /// Over TLS.
    Https,
}

/// A replica that fails requests is left out for a while.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PassiveHealthCheck {
    /// Failures within this time are counted, and so long it is left out; 10 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_window: Option<Period>,
    /// So many are too many; 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_failed_attempts: Option<u32>,
}

/// How replicas are connected to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServersTransport {
    /// Takes any certificate of a backend with `scheme: https`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub insecure_skip_verify: bool,
    /// Longest waits.
    #[serde(default, skip_serializing_if = "is_default")]
    pub timeouts: Timeouts,
}

/// Longest waits of a connection to a replica.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Timeouts {
    /// For the connection; 30 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dial: Option<Period>,
    /// For the first byte of an answer; no limit when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_header: Option<Period>,
}
