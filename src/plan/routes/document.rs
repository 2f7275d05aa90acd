//! What Traefik is told: its dynamic configuration, as types.
//!
//! Here: [`Document`] and its parts, with Traefik's names of fields, and its bytes. Not here: what stands in it (`table`).
//! Invariants: equal documents have equal bytes; no mapping in them is empty and nothing is null, because Traefik refuses
//! the whole document for one of those; the marker is always there, because Traefik takes an empty document for "no
//! routes at all" without a word.
//! `marker`: its name; `shown`: its bytes, and what stands in them beside it; `text`: which characters stand there as they
//! are.
//! Names and servers are shared: a table of 10,000 Routes is made anew at each change.

mod marker;
mod shown;
mod text;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, LazyLock},
};

use serde::Serialize;

pub use self::marker::{Marker, PROBE};
use super::Name;
use crate::model::{
    Period,
    middleware::{
        AddPrefix, Chain, CircuitBreaker, GrpcWeb, Headers, InFlightReq, IpAllowList, PassTlsClientCert, RateLimit,
        RedirectRegex, ReplacePath, ReplacePathRegex, Retry, StripPrefix, StripPrefixRegex,
    },
    route::{CheckScheme, EntryPoint, SameSite, Strategy},
};

/// Name of a service without servers: 503.
pub(super) static SHUT: LazyLock<Name> = LazyLock::new(|| "default-shut".into());
/// Traefik's own: an answer without a body.
pub(super) static NOBODY: LazyLock<Name> = LazyLock::new(|| "noop@internal".into());

/// The whole dynamic configuration, without its marker.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Document {
    /// Routers and what they use.
    pub http: Http,
    /// Certificates and options.
    pub tls: Tls,
}

/// The part for HTTP.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Http {
    /// Which requests go where.
    pub routers: BTreeMap<Name, Router>,
    /// Who answers.
    pub services: BTreeMap<Name, Service>,
    /// What requests pass.
    pub middlewares: BTreeMap<Name, Middleware>,
    /// How servers are connected to.
    pub servers_transports: BTreeMap<Name, ServersTransport>,
}

/// Which requests go where.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Router {
    /// Where they come in.
    pub entry_points: Vec<EntryPoint>,
    /// Which they are.
    pub rule: String,
    /// The highest is asked first; none: by the length of the rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i64>,
    /// What they pass.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub middlewares: Vec<Name>,
    /// Who answers.
    pub service: Name,
    /// Over TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<RouterTls>,
}

/// TLS of a router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RouterTls {
    /// Name of the options.
    pub options: &'static str,
}

/// Who answers.
// Nearly all are the larger one: a box for each would cost more. What few of them have is in boxes.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Service {
    /// Servers.
    LoadBalancer(Balancer),
    /// Several of those, by weight.
    Weighted(Weighted),
}

/// Servers and how requests are spread over them.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Balancer {
    /// Empty: 503.
    pub servers: Arc<[Server]>,
    /// Which is next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// The host name that was asked for is passed on.
    pub pass_host_header: bool,
    /// How they are connected to.
    pub servers_transport: Name,
    /// The same client comes to the same server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Box<Sticky>>,
    /// Traefik asks each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_check: Option<Box<HealthCheck>>,
    /// What fails is left out for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passive_health_check: Option<Passive>,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Server {
    /// `http://172.17.0.2:8080`.
    pub url: Name,
}

/// Several services by weight.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Weighted {
    /// Them.
    pub services: Vec<Share>,
    /// The same client comes to the same one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Box<Sticky>>,
}

/// A service's share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Share {
    /// Its name.
    pub name: Name,
    /// Its weight.
    pub weight: u32,
}

/// The same client comes to the same server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sticky {
    /// By this cookie.
    pub cookie: Cookie,
}

/// A cookie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cookie {
    /// Its name.
    pub name: String,
    /// Only over HTTPS.
    pub secure: bool,
    /// Not for scripts.
    pub http_only: bool,
    /// For other sites.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub same_site: Option<SameSite>,
    /// Seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<u32>,
    /// Path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
}

/// Traefik asks each server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)] // as in `model::route`
pub struct HealthCheck {
    pub path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<CheckScheme>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Period>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unhealthy_interval: Option<Period>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    pub follow_redirects: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// What fails is left out for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Passive {
    /// For how long.
    pub failure_window: Period,
    /// After so many.
    pub max_failed_attempts: u32,
}

/// How servers are connected to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServersTransport {
    /// Any certificate is right.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub insecure_skip_verify: bool,
    /// Longest waits.
    pub forwarding_timeouts: Forwarding,
}

/// Longest waits of a connection to a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Forwarding {
    /// For the connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dial_timeout: Option<Period>,
    /// For the first byte of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_header_timeout: Option<Period>,
    /// An idle one is closed. Short: one that is open to a server on its way out is then a request.
    pub idle_conn_timeout: Period,
}

/// Certificates and options.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tls {
    /// Certificates; Traefik picks by host.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<Certificate>,
    /// Options by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<&'static str, TlsOptions>,
}
impl Tls {
    fn is_empty(&self) -> bool {
        self.certificates.is_empty() && self.options.is_empty()
    }
}

/// A certificate with its key, both as PEM.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    /// The chain.
    pub cert_file: String,
    /// The key.
    pub key_file: String,
}
impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificate(…)")
    }
}

/// Options of TLS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TlsOptions {
    /// `VersionTLS12`.
    pub min_version: &'static str,
    /// Whether clients are asked for a certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_auth: Option<ClientAuth>,
}

/// Whether clients are asked for a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientAuth {
    /// `RequestClientCert`.
    pub client_auth_type: &'static str,
}

/// What requests pass. Those without a type of their own here are told as they are declared.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)] // as in `model::middleware`
pub enum Middleware {
    AddPrefix(AddPrefix),
    StripPrefix(StripPrefix),
    StripPrefixRegex(StripPrefixRegex),
    ReplacePath(ReplacePath),
    ReplacePathRegex(ReplacePathRegex),
    Chain(Chain),
    IpAllowList(IpAllowList),
    Headers(Headers),
    Errors(Errors),
    RateLimit(RateLimit),
    RedirectRegex(RedirectRegex),
    RedirectScheme(RedirectScheme),
    BasicAuth(Auth),
    DigestAuth(Auth),
    ForwardAuth(ForwardAuth),
    InFlightReq(InFlightReq),
    Buffering(Buffering),
    CircuitBreaker(CircuitBreaker),
    Compress(Compress),
    #[serde(rename = "passTLSClientCert")]
    PassTlsClientCert(PassTlsClientCert),
    Retry(Retry),
    ContentType(ContentType),
    GrpcWeb(GrpcWeb),
}

/// Another service writes the page of an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)] // as in `model::middleware`
pub struct Errors {
    pub status: Vec<String>,
    pub service: Name,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub status_rewrites: BTreeMap<String, u16>,
}

/// Redirects to another scheme. Traefik takes the port as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)] // as in `model::middleware`
pub struct RedirectScheme {
    pub scheme: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    pub permanent: bool,
}

/// Asks for name and password.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)] // as in `model::middleware`
pub struct Auth {
    pub users: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub realm: Option<String>,
    pub remove_header: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header_field: Option<String>,
}
impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Auth({} users)", self.users.len())
    }
}

/// Asks another service whether a request may pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ForwardAuth {
    /// Its URL.
    pub address: String,
    /// How `https` is spoken with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<ForwardTls>,
    /// Believes the `X-Forwarded-` headers that the client sent.
    pub trust_forward_header: bool,
    /// Headers of its answer that the server gets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub auth_response_headers: Vec<String>,
    /// Those that fit an expression too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_response_headers_regex: Option<String>,
    /// Headers of the request that it gets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub auth_request_headers: Vec<String>,
    /// Cookies of its answer that the client gets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add_auth_cookies_to_response: Vec<String>,
    /// Header in which it says the name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header_field: Option<String>,
    /// It gets the body too.
    pub forward_body: bool,
    /// Longest body that it gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_body_size: Option<u64>,
    /// Longest answer that is read of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_response_body_size: Option<u64>,
    /// Its `Location` goes to the client as it is.
    pub preserve_location_header: bool,
    /// It is asked with the method of the request.
    pub preserve_request_method: bool,
}

/// How `https` is spoken with the service that is asked.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ForwardTls {
    /// Who is believed, as PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// What is shown, as PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert: Option<String>,
    /// Its key, as PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Any certificate is right.
    pub insecure_skip_verify: bool,
}
impl fmt::Debug for ForwardTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForwardTls(…)")
    }
}

/// Reads a whole request. Always with a field, so that it is never an empty mapping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)] // as in `model::middleware`
pub struct Buffering {
    pub max_request_body_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_request_body_bytes: Option<u64>,
    pub max_response_body_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_response_body_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_expression: Option<String>,
}

/// Says the type of an answer that says none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContentType {
    /// It is there.
    pub auto_detect: bool,
}

/// Compresses answers. Always with a field, so that it is never an empty mapping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)] // as in `model::middleware`
pub struct Compress {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub excluded_content_types: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub included_content_types: Vec<String>,
    pub min_response_body_bytes: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub encodings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_encoding: Option<String>,
}
