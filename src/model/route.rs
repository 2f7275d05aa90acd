//! The Route: which requests from outside go to which Service, in the words of Traefik.
//!
//! Here: the canonical long form of a Route, and of the short one below a Service ([`Shorthand`]).
//! `problems`: what is wrong with one by itself. Not here: the middlewares (`model::middleware`), what Traefik is told (`plan::routes`).
//! Invariant: every field here works; what is not built is refused by `manifest` and has no field.

pub mod problems;

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{middleware::MiddlewareSpec, quantity::Period};

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
fn yes() -> bool {
    true
}
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_yes(b: &bool) -> bool {
    *b
}
fn one() -> u32 {
    1
}
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_one(n: &u32) -> bool {
    *n == 1
}

/// Which requests go where.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteSpec {
    /// Host names; `*.example.com` for all of one more part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// A rule in Traefik's language, instead of `hosts` and `paths`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Paths; every path when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathMatch>,
    /// Where requests come in; `websecure` with a certificate, else `web`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entry_points: Vec<EntryPoint>,
    /// Which of several fitting Routes is asked first: the highest. 0: the longest host and path.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub priority: i32,
    /// Who answers.
    pub backends: Vec<Backend>,
    /// What a request passes on its way, in this order: names of Middlewares, or one written out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub middlewares: Vec<MiddlewareRef>,
    /// Certificate of the hosts.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tls: RouteTls,
    /// How requests are spread over the replicas.
    #[serde(default, skip_serializing_if = "is_default")]
    pub load_balancer: LoadBalancer,
    /// What follows when a replica does not answer.
    #[serde(default, skip_serializing_if = "is_default")]
    pub resilience: Resilience,
}

/// The short form below a Service: its own replicas answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Shorthand {
    /// Host name.
    pub host: String,
    /// Paths that begin so; every path when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Port of the container; the first of `expose`, then of `ports`, when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// As a Route's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub middlewares: Vec<MiddlewareRef>,
    /// As a Route's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entry_points: Vec<EntryPoint>,
    /// As a Route's.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tls: RouteTls,
}

impl RouteSpec {
    /// Where requests come in, written out: with a certificate HTTPS, else plain HTTP.
    #[must_use]
    pub fn entered(&self) -> Vec<EntryPoint> {
        let default = if self.tls.mode == TlsMode::Secret { EntryPoint::Websecure } else { EntryPoint::Web };
        let mut all = if self.entry_points.is_empty() { vec![default] } else { self.entry_points.clone() };
        all.sort_unstable();
        all.dedup();
        all
    }
}

impl Shorthand {
    /// The Route that it stands for. `service` answers, at `port` when it names none.
    #[must_use]
    pub fn expanded(&self, service: &str, port: Option<u16>) -> RouteSpec {
        let prefix = |value: &String| PathMatch { kind: PathKind::Prefix, value: value.clone() };
        RouteSpec {
            hosts: vec![self.host.clone()],
            paths: self.path.iter().map(prefix).collect(),
            entry_points: self.entry_points.clone(),
            backends: vec![Backend {
                service: Some(service.to_owned()),
                port: self.port.or(port),
                ..Backend::default()
            }],
            middlewares: self.middlewares.clone(),
            tls: self.tls.clone(),
            ..RouteSpec::default()
        }
    }
}

/// One path.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PathMatch {
    /// How `value` is compared.
    #[serde(default, rename = "type", skip_serializing_if = "is_default")]
    pub kind: PathKind,
    /// Begins with `/`; of a `Regex`, a regular expression of Go.
    pub value: String,
}

/// How a path is compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum PathKind {
    /// The path begins so.
    #[default]
    Prefix,
    /// It is this one.
    Exact,
    /// It fits the expression.
    Regex,
}

/// Where requests come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EntryPoint {
    /// Plain HTTP, port 80.
    Web,
    /// HTTPS, port 443.
    Websecure,
}
impl EntryPoint {
    /// As Traefik knows it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Websecure => "websecure",
        }
    }
}
impl fmt::Display for EntryPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who answers: the replicas of a Service, or an address outside the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Backend {
    /// Name of a Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Port of its containers; the first of its `expose`, then of its `ports`, when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// `http`, `https` or `h2c` (HTTP/2 without TLS).
    #[serde(default, skip_serializing_if = "is_default")]
    pub scheme: Scheme,
    /// Share of the requests, beside the other backends.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    #[schemars(range(max = 1000))]
    pub weight: u32,
    /// Passes on the host name that was asked for.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub preserve_host: bool,
    /// `http://ADDRESS[:PORT]`, instead of `service`; needs the grant `hostNetwork`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}
impl Default for Backend {
    fn default() -> Self {
        Self { service: None, port: None, scheme: Scheme::Http, weight: 1, preserve_host: true, url: None }
    }
}

/// How a backend is spoken to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// HTTP/1.1.
    #[default]
    Http,
    /// Over TLS.
    Https,
    /// HTTP/2 without TLS.
    H2c,
}
impl Scheme {
    /// As in a URL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::H2c => "h2c",
        }
    }
}

/// A Middleware by name, or one that stands here alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum MiddlewareRef {
    /// The Middleware of this name.
    Name(String),
    /// This one.
    Inline(Box<MiddlewareSpec>),
}

/// The certificate of a Route.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteTls {
    /// Where the certificate comes from.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mode: TlsMode,
    /// A Secret of `type: tls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<String>,
    /// Oldest version of TLS that is spoken.
    #[serde(default, skip_serializing_if = "is_default")]
    pub min_version: TlsVersion,
}

/// Where a certificate comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TlsMode {
    /// From nowhere: plain HTTP.
    #[default]
    None,
    /// From a Secret.
    Secret,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// 1.2.
    #[default]
    #[serde(rename = "1.2")]
    V12,
    /// 1.3.
    #[serde(rename = "1.3")]
    V13,
}

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
    /// Goes where a redirect leads.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
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

/// What follows when a replica does not answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resilience {
    /// Asking another replica.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retries: Retries,
    /// Longest wait for the first byte of an answer; then 504.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
    /// Asks nobody for a while when too much fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<Breaker>,
}

/// Asking another replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Retries {
    /// How many are asked in all; 1 asks no other.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 10))]
    pub attempts: u32,
    /// After what: `network` (no byte was sent), or a status like 503 or 500-599.
    #[serde(default = "network", skip_serializing_if = "is_network")]
    pub on: Vec<String>,
    /// Which methods are asked again after a status.
    #[serde(default, skip_serializing_if = "is_default")]
    pub methods: RetryMethods,
    /// Longest body that is kept to be sent again, after a status; 2 MiB when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_body_bytes: Option<u64>,
}
impl Default for Retries {
    fn default() -> Self {
        Self { attempts: two(), on: network(), methods: RetryMethods::Idempotent, max_body_bytes: None }
    }
}
/// What stands in `retries.on` for an endpoint that took no byte.
pub const NETWORK: &str = "network";
fn two() -> u32 {
    2
}
fn network() -> Vec<String> {
    vec![NETWORK.into()]
}
fn is_network(on: &[String]) -> bool {
    matches!(on, [one] if one == NETWORK)
}

/// Which methods are asked again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RetryMethods {
    /// Those that may be repeated: all but POST, PATCH and LOCK.
    #[default]
    Idempotent,
    /// Every one.
    All,
}

/// Asks nobody for a while when too much fails.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Breaker {
    /// When it opens, like `NetworkErrorRatio() > 0.30`.
    pub expression: String,
}

/// The host of a URL that leads out of the cluster; none when it names a Service (`http://auth:9000/check`).
#[must_use]
pub fn outside(url: &str) -> Option<&str> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    let (host, port) = authority.split_once(':').unwrap_or((authority, "0"));
    let service = super::meta::is_label(host, 50)
        && host != "localhost"
        && host.bytes().any(|b| b.is_ascii_alphabetic())
        // Some resolvers take a number in any base for an address.
        && !host.starts_with("0x")
        && port.parse::<u16>().is_ok();
    (!service).then_some(authority)
}
