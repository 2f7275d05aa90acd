//! The Route: which requests from outside go to which Service, in the words of Traefik.
//!
//! Here: the canonical long form of a Route, and of the short one below a Service ([`Shorthand`]).
//! `balance`, `resilience`: its longer parts; `problems`: what is
//! wrong with one by itself. Not here: the middlewares (`model::middleware`), what Traefik is told (`plan::routes`).
//! Invariant: every field here works; what is not built is refused by `manifest` and has no field.

mod balance;
pub mod problems;
mod resilience;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    balance::{
        CheckScheme, HealthCheck, LoadBalancer, PassiveHealthCheck, SameSite, ServersTransport, Sticky, StickyCookie,
        Strategy, Timeouts,
    },
    resilience::{Breaker, NETWORK, Resilience, Retries, RetryMethods},
};
use super::middleware::MiddlewareSpec;

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
    /// Which of several fitting Routes is asked first: the highest. 0: the longest host and path. Before an older Route of
    /// the same host only where that one has a priority too.
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EntryPoint {
    /// Plain HTTP, port 80.
    Web,
    /// HTTPS, port 443.
    Websecure,
}
impl EntryPoint {
    /// The public port of it.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Web => 80,
            Self::Websecure => 443,
        }
    }
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
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
