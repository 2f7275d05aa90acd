//! The Middleware: what a request passes between client and Service, in the words of Traefik.
//!
//! Here: one type for each middleware of Traefik's open-source edition, with its names of fields. Users, keys and
//! certificates come from a Secret alone; another Service is named, with its port, where Traefik wants an address.
//! Not here: what Traefik is told of it (`plan::routes`). `auth`, `headers`: the long ones.
//! Invariant: exactly one field of [`MiddlewareSpec`] is set; `manifest` refuses any other.

mod auth;
mod headers;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    auth::{Auth, DigestAuth, ForwardAuth, ForwardTls, PassTlsClientCert, TlsInfo, TlsIssuer, TlsSubject},
    headers::Headers,
};
use super::quantity::Period;

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

macro_rules! middlewares {
    ($($(#[doc = $doc:literal])+ $field:ident: $type:ty = $name:literal,)+) => {
        /// One middleware: exactly one of these.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct MiddlewareSpec {
            $($(#[doc = $doc])+
            #[serde(default, rename = $name, skip_serializing_if = "Option::is_none")]
            pub $field: Option<$type>,)+
        }
        impl MiddlewareSpec {
            /// The names of all there are.
            pub const NAMES: &[&str] = &[$($name,)+];
            /// Which one it is; empty when none is set.
            #[must_use]
            pub fn name(&self) -> &'static str {
                $(if self.$field.is_some() { return $name; })+
                ""
            }
        }
    };
}
middlewares! {
    /// Puts something before the path.
    add_prefix: AddPrefix = "addPrefix",
    /// Takes a beginning off the path.
    strip_prefix: StripPrefix = "stripPrefix",
    /// Takes a beginning off the path that fits an expression.
    strip_prefix_regex: StripPrefixRegex = "stripPrefixRegex",
    /// Asks for another path.
    replace_path: ReplacePath = "replacePath",
    /// Asks for another path, made from the one that was asked for.
    replace_path_regex: ReplacePathRegex = "replacePathRegex",
    /// Several, in this order.
    chain: Chain = "chain",
    /// Lets only some addresses pass.
    ip_allow_list: IpAllowList = "ipAllowList",
    /// Adds, changes and removes headers.
    headers: Headers = "headers",
    /// Another Service writes the page of an error.
    errors: Errors = "errors",
    /// Refuses what comes too often.
    rate_limit: RateLimit = "rateLimit",
    /// Redirects to another URL.
    redirect_regex: RedirectRegex = "redirectRegex",
    /// Redirects to another scheme.
    redirect_scheme: RedirectScheme = "redirectScheme",
    /// Asks for name and password.
    basic_auth: Auth = "basicAuth",
    /// Asks for name and password, as a digest.
    digest_auth: DigestAuth = "digestAuth",
    /// Asks another Service whether the request may pass.
    forward_auth: ForwardAuth = "forwardAuth",
    /// Refuses what are too many at once.
    in_flight_req: InFlightReq = "inFlightReq",
    /// Reads a whole request, and a whole answer, before passing it on.
    buffering: Buffering = "buffering",
    /// Asks nobody for a while when too much fails.
    circuit_breaker: CircuitBreaker = "circuitBreaker",
    /// Compresses answers.
    compress: Compress = "compress",
    /// Passes on what a client's certificate says.
    pass_tls_client_cert: PassTlsClientCert = "passTLSClientCert",
    /// Asks another replica.
    retry: Retry = "retry",
    /// Says the type of an answer that says none.
    content_type: ContentType = "contentType",
    /// Speaks gRPC with browsers.
    grpc_web: GrpcWeb = "grpcWeb",
}

/// What Traefik sells: its open-source edition refuses the whole configuration for one of these.
pub const HUB_ONLY: [&str; 12] = [
    "apiKey",
    "distributedRateLimit",
    "hmac",
    "httpCache",
    "jwt",
    "ldap",
    "oAuthClientCredentials",
    "oAuthIntrospection",
    "oidc",
    "opa",
    "waf",
    "aiGateway",
];

/// Puts something before the path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AddPrefix {
    /// `/v1`.
    pub prefix: String,
}

/// Takes a beginning off the path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StripPrefix {
    /// `/v1`; the first that fits.
    pub prefixes: Vec<String>,
}

/// Takes a beginning off the path that fits an expression.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StripPrefixRegex {
    /// Regular expressions of Go.
    pub regex: Vec<String>,
}

/// Asks for another path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReplacePath {
    /// The path.
    pub path: String,
}

/// Asks for another path, made from the one that was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReplacePathRegex {
    /// A regular expression of Go.
    pub regex: String,
    /// `$1` is what its first group found.
    pub replacement: String,
}

/// Several, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Chain {
    /// Names of Middlewares.
    pub middlewares: Vec<String>,
}

/// Whose address counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IpStrategy {
    /// So many-th from the right of `X-Forwarded-For`.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(range(max = 100))]
    pub depth: u32,
    /// The first from the right of `X-Forwarded-For` that is none of these.
    #[serde(default, rename = "excludedIPs", skip_serializing_if = "Vec::is_empty")]
    pub excluded_ips: Vec<String>,
    /// Addresses of IPv6 count as one that share so many bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 128))]
    pub ipv6_subnet: Option<u8>,
}

/// Lets only some addresses pass.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IpAllowList {
    /// Addresses and ranges: 192.0.2.0/24.
    pub source_range: Vec<String>,
    /// Whose address counts; the client's of the connection when not set.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ip_strategy: IpStrategy,
    /// Status for all others; 403.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 400, max = 599))]
    pub reject_status_code: Option<u16>,
}

/// Another Service writes the page of an error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Errors {
    /// After which: 404, 500-599.
    pub status: Vec<String>,
    /// The Service.
    pub service: String,
    /// Port of its containers; the first of its `expose`, then of its `ports`, when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// Path of the page; `{status}` and `{url}` are filled in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Status (404, 500-599) → the status that the client sees.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub status_rewrites: BTreeMap<String, u16>,
}

/// What is counted together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceCriterion {
    /// The client's address.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ip_strategy: IpStrategy,
    /// Value of a header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_header_name: Option<String>,
    /// The host that is asked for.
    #[serde(default, skip_serializing_if = "is_default")]
    pub request_host: bool,
}

/// Refuses what comes too often.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RateLimit {
    /// So many in a `period`.
    #[schemars(range(min = 1))]
    pub average: u64,
    /// 1 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<Period>,
    /// So many at once; 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub burst: Option<u64>,
    /// What is counted together; the client's address.
    #[serde(default, skip_serializing_if = "is_default")]
    pub source_criterion: SourceCriterion,
}

/// Redirects to another URL.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RedirectRegex {
    /// A regular expression of Go, for the whole URL.
    pub regex: String,
    /// `$1` is what its first group found.
    pub replacement: String,
    /// 301 (308 for other methods than GET) instead of 302 (307).
    #[serde(default, skip_serializing_if = "is_default")]
    pub permanent: bool,
}

/// Redirects to another scheme.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RedirectScheme {
    /// `https` or `http`.
    pub scheme: String,
    /// Another port than the scheme's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// 301 (308 for other methods than GET) instead of 302 (307).
    #[serde(default, skip_serializing_if = "is_default")]
    pub permanent: bool,
}

/// Refuses what are too many at once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InFlightReq {
    /// So many at once.
    #[schemars(range(min = 1))]
    pub amount: u64,
    /// What is counted together; the host that is asked for.
    #[serde(default, skip_serializing_if = "is_default")]
    pub source_criterion: SourceCriterion,
}

/// Reads a whole request, and a whole answer, before passing it on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Buffering {
    /// Longest request; more is refused with 413. 0: no limit.
    #[serde(default)]
    pub max_request_body_bytes: u64,
    /// So much of it stays in memory, more goes to the disk; 1 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mem_request_body_bytes: Option<u64>,
    /// Longest answer; instead of more the client gets 500. 0: no limit.
    #[serde(default, skip_serializing_if = "is_default")]
    pub max_response_body_bytes: u64,
    /// So much of it stays in memory, more goes to the disk; 1 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mem_response_body_bytes: Option<u64>,
    /// When the request is sent again, like `IsNetworkError() && Attempts() <= 2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_expression: Option<String>,
}

/// Asks nobody for a while when too much fails.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CircuitBreaker {
    /// When it opens, like `NetworkErrorRatio() > 0.30`.
    pub expression: String,
    /// Time between two looks; 100 ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_period: Option<Period>,
    /// So long nobody is asked; 10 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback_duration: Option<Period>,
    /// So long ever more are asked again; 10 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_duration: Option<Period>,
    /// What the client gets meanwhile; 503.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 400, max = 599))]
    pub response_code: Option<u16>,
}

/// Compresses answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Compress {
    /// Not these types of content.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded_content_types: Vec<String>,
    /// Only these types of content.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub included_content_types: Vec<String>,
    /// Not what is shorter; 1024.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_response_body_bytes: Option<u32>,
    /// `gzip`, `br`, `zstd`: the first is liked best.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub encodings: Vec<String>,
    /// For a client that names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_encoding: Option<String>,
}

/// Asks another replica.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Retry {
    /// How many are asked in all.
    #[schemars(range(min = 1, max = 100))]
    pub attempts: u32,
    /// Wait before the second, longer before each further one; none when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_interval: Option<Period>,
    /// No further one after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
    /// After these too: 503, 500-599.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<String>,
    /// Longest body that is kept to be sent again after a status; 2 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_request_body_bytes: Option<u64>,
    /// Not when a replica takes no connection.
    #[serde(default, skip_serializing_if = "is_default")]
    pub disable_retry_on_network_error: bool,
    /// POST, PATCH and LOCK too, after a status.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retry_non_idempotent_method: bool,
}

/// Says the type of an answer that says none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ContentType {}

/// Speaks gRPC with browsers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrpcWeb {
    /// Origins that may; `*` is every one.
    pub allow_origins: Vec<String>,
}
