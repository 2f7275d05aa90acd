//! Every field of a Route, of a Middleware, and of the short form below a Service.

use super::{
    PORT,
    service::{NAMES, PAIRS},
};
use crate::manifest::shape::{Field, Shape, later, only, required, word, works};

const COUNTED: Shape = Shape::Int(1, 1_000_000_000);
const BYTES: Shape = Shape::Int(0, i64::MAX);
const STATUSES: Shape = Shape::List(&Shape::Loose);
const ERROR: Shape = Shape::Int(400, 599);
const SERVICE: Field = required("service", Shape::Text, "service: web");

/// A Route's spec.
pub(in crate::manifest) static ROUTE: &[Field] = &[
    only("protocol", "http", Shape::Word { now: &["http"], later: &["tcp", "udp", "tls-passthrough"] }),
    works("hosts", NAMES),
    works("rule", Shape::Text),
    works(
        "paths",
        Shape::List(&Shape::Object(&[
            works("type", word(&["Prefix", "Exact", "Regex"])),
            required("value", Shape::Text, "value: /api"),
        ])),
    ),
    works("entryPoints", ENTRY_POINTS),
    works("priority", Shape::Int(0, 1_000_000)),
    required(
        "backends",
        Shape::List(&Shape::Object(&[
            works("service", Shape::Text),
            works("port", PORT),
            works("scheme", word(&["http", "https", "h2c"])),
            works("weight", Shape::Int(0, 1000)),
            works("preserveHost", Shape::Bool),
            works("url", Shape::Text),
        ])),
        "backends: [{service: web, port: 8080}]",
    ),
    works("middlewares", MIDDLEWARES),
    works("tls", TLS),
    works("loadBalancer", Shape::Object(LOAD_BALANCER)),
    works("resilience", Shape::Object(RESILIENCE)),
    later(
        "dns",
        Shape::Object(&[
            works("publish", Shape::Bool),
            works("provider", Shape::Text),
            works("proxied", Shape::Bool),
            works("ttl", Shape::Duration),
        ]),
    ),
    later("nearest", Shape::Bool),
];

/// The short form below a Service.
pub(super) const SHORTHAND: &[Field] = &[
    required("host", Shape::Text, "host: web.example.com"),
    works("path", Shape::Text),
    works("port", PORT),
    works("middlewares", MIDDLEWARES),
    works("entryPoints", ENTRY_POINTS),
    works("tls", TLS),
];

const ENTRY_POINTS: Shape = Shape::List(&word(&["web", "websecure"]));
const MIDDLEWARES: Shape = Shape::List(&Shape::NameOr(&Shape::Object(MIDDLEWARE)));
const TLS: Shape = Shape::Object(&[
    works("mode", Shape::Word { now: &["none", "secret"], later: &["acme", "passthrough"] }),
    works("secretRef", Shape::Text),
    works("minVersion", word(&["1.2", "1.3"])),
    later("issuer", Shape::Text),
    later("domains", NAMES),
]);

const LOAD_BALANCER: &[Field] = &[
    works("strategy", word(&["wrr", "p2c", "hrw", "leasttime"])),
    works(
        "sticky",
        Shape::Object(&[required(
            "cookie",
            Shape::Object(&[
                works("name", Shape::Text),
                works("secure", Shape::Bool),
                works("httpOnly", Shape::Bool),
                works("sameSite", word(&["none", "lax", "strict"])),
                works("maxAge", Shape::Int(1, 2_147_483_647)),
                works("path", Shape::Text),
                works("domain", Shape::Text),
            ]),
            "cookie: {name: NAME}",
        )]),
    ),
    works(
        "healthCheck",
        Shape::Object(&[
            required("path", Shape::Text, "path: /health"),
            works("port", PORT),
            works("scheme", word(&["http", "https"])),
            works("method", Shape::Text),
            works("status", Shape::Int(100, 599)),
            works("interval", Shape::Duration),
            works("unhealthyInterval", Shape::Duration),
            works("timeout", Shape::Duration),
            works("hostname", Shape::Text),
            works("followRedirects", Shape::Bool),
            works("headers", PAIRS),
        ]),
    ),
    works(
        "passiveHealthCheck",
        Shape::Object(&[works("failureWindow", Shape::Duration), works("maxFailedAttempts", Shape::Int(1, 1000))]),
    ),
    works(
        "serversTransport",
        Shape::Object(&[
            works("insecureSkipVerify", Shape::Bool),
            works(
                "timeouts",
                Shape::Object(&[works("dial", Shape::Duration), works("responseHeader", Shape::Duration)]),
            ),
        ]),
    ),
];

const RESILIENCE: &[Field] = &[
    works(
        "retries",
        Shape::Object(&[
            works("attempts", Shape::Int(1, 10)),
            works("on", STATUSES),
            works("methods", word(&["idempotent", "all"])),
            works("maxBodyBytes", BYTES),
        ]),
    ),
    works("timeout", Shape::Duration),
    works(
        "circuitBreaker",
        Shape::Object(&[
            required("expression", Shape::Text, "expression: NetworkErrorRatio() > 0.30"),
            later("fallback", Shape::Any),
        ]),
    ),
    later("failover", Shape::Object(&[works("service", Shape::Text)])),
    later("maintenancePage", Shape::Any),
];

const IP_STRATEGY: Shape = Shape::Object(&[
    works("depth", Shape::Int(0, 100)),
    works("excludedIPs", NAMES),
    works("ipv6Subnet", Shape::Int(0, 128)),
]);
const SOURCE: Shape = Shape::Object(&[
    works("ipStrategy", IP_STRATEGY),
    works("requestHeaderName", Shape::Text),
    works("requestHost", Shape::Bool),
]);

/// A Middleware's spec.
pub(in crate::manifest) static MIDDLEWARE: &[Field] = &[
    works("addPrefix", Shape::Object(&[required("prefix", Shape::Text, "prefix: /v1")])),
    works("stripPrefix", Shape::Object(&[required("prefixes", NAMES, "prefixes: [/v1]")])),
    works("stripPrefixRegex", Shape::Object(&[required("regex", NAMES, "regex: [\"^/v[0-9]+\"]")])),
    works("replacePath", Shape::Object(&[required("path", Shape::Text, "path: /v1")])),
    works(
        "replacePathRegex",
        Shape::Object(&[
            required("regex", Shape::Text, "regex: ^/a/(.*)"),
            required("replacement", Shape::Text, "replacement: /b/$1"),
        ]),
    ),
    works("chain", Shape::Object(&[required("middlewares", NAMES, "middlewares: [NAME]")])),
    works(
        "ipAllowList",
        Shape::Object(&[
            required("sourceRange", NAMES, "sourceRange: [192.0.2.0/24]"),
            works("ipStrategy", IP_STRATEGY),
            works("rejectStatusCode", ERROR),
        ]),
    ),
    works("headers", Shape::Object(HEADERS)),
    works(
        "errors",
        Shape::Object(&[
            required("status", STATUSES, "status: [\"500-599\"]"),
            SERVICE,
            works("port", PORT),
            works("query", Shape::Text),
            works("statusRewrites", Shape::Map(&Shape::Int(100, 599))),
        ]),
    ),
    works(
        "rateLimit",
        Shape::Object(&[
            required("average", COUNTED, "average: 100"),
            works("period", Shape::Duration),
            works("burst", COUNTED),
            works("sourceCriterion", SOURCE),
            later("redis", Shape::Any),
        ]),
    ),
    works(
        "redirectRegex",
        Shape::Object(&[
            required("regex", Shape::Text, "regex: ^https?://a/(.*)"),
            required("replacement", Shape::Text, "replacement: https://b/$1"),
            works("permanent", Shape::Bool),
        ]),
    ),
    works(
        "redirectScheme",
        Shape::Object(&[
            required("scheme", word(&["https", "http"]), "scheme: https"),
            works("port", PORT),
            works("permanent", Shape::Bool),
        ]),
    ),
    works("basicAuth", Shape::Object(AUTH)),
    works("digestAuth", Shape::Object(AUTH)),
    works(
        "forwardAuth",
        Shape::Object(&[
            required("address", Shape::Text, "address: http://auth:9000/check"),
            works("tls", Shape::Object(&[works("secretRef", Shape::Text), works("insecureSkipVerify", Shape::Bool)])),
            works("trustForwardHeader", Shape::Bool),
            works("authResponseHeaders", NAMES),
            works("authResponseHeadersRegex", Shape::Text),
            works("authRequestHeaders", NAMES),
            works("addAuthCookiesToResponse", NAMES),
            works("headerField", Shape::Text),
            works("forwardBody", Shape::Bool),
            works("maxBodySize", BYTES),
            works("maxResponseBodySize", BYTES),
            works("preserveLocationHeader", Shape::Bool),
            works("preserveRequestMethod", Shape::Bool),
        ]),
    ),
    works(
        "inFlightReq",
        Shape::Object(&[required("amount", COUNTED, "amount: 100"), works("sourceCriterion", SOURCE)]),
    ),
    works(
        "buffering",
        Shape::Object(&[
            works("maxRequestBodyBytes", BYTES),
            works("memRequestBodyBytes", BYTES),
            works("maxResponseBodyBytes", BYTES),
            works("memResponseBodyBytes", BYTES),
            works("retryExpression", Shape::Text),
        ]),
    ),
    works(
        "circuitBreaker",
        Shape::Object(&[
            required("expression", Shape::Text, "expression: NetworkErrorRatio() > 0.30"),
            works("checkPeriod", Shape::Duration),
            works("fallbackDuration", Shape::Duration),
            works("recoveryDuration", Shape::Duration),
            works("responseCode", ERROR),
        ]),
    ),
    works(
        "compress",
        Shape::Object(&[
            works("excludedContentTypes", NAMES),
            works("includedContentTypes", NAMES),
            works("minResponseBodyBytes", Shape::Int(0, 1_000_000_000)),
            works("encodings", Shape::List(&word(&["gzip", "br", "zstd"]))),
            works("defaultEncoding", word(&["gzip", "br", "zstd"])),
        ]),
    ),
    works("passTLSClientCert", Shape::Object(&[works("pem", Shape::Bool), works("info", Shape::Object(INFO))])),
    works(
        "retry",
        Shape::Object(&[
            required("attempts", Shape::Int(1, 100), "attempts: 2"),
            works("initialInterval", Shape::Duration),
            works("timeout", Shape::Duration),
            works("status", STATUSES),
            works("maxRequestBodyBytes", BYTES),
            works("disableRetryOnNetworkError", Shape::Bool),
            works("retryNonIdempotentMethod", Shape::Bool),
        ]),
    ),
    works("contentType", Shape::Object(&[])),
    works("grpcWeb", Shape::Object(&[required("allowOrigins", NAMES, "allowOrigins: [\"*\"]")])),
    later("plugin", Shape::Any),
];

const AUTH: &[Field] = &[
    required("secretRef", Shape::Text, "secretRef: NAME"),
    works("realm", Shape::Text),
    works("removeHeader", Shape::Bool),
    works("headerField", Shape::Text),
];

const INFO: &[Field] = &[
    works("notAfter", Shape::Bool),
    works("notBefore", Shape::Bool),
    works("sans", Shape::Bool),
    works("serialNumber", Shape::Bool),
    works(
        "subject",
        Shape::Object(&[
            works("country", Shape::Bool),
            works("province", Shape::Bool),
            works("locality", Shape::Bool),
            works("organization", Shape::Bool),
            works("organizationalUnit", Shape::Bool),
            works("commonName", Shape::Bool),
            works("serialNumber", Shape::Bool),
            works("domainComponent", Shape::Bool),
        ]),
    ),
    works(
        "issuer",
        Shape::Object(&[
            works("country", Shape::Bool),
            works("province", Shape::Bool),
            works("locality", Shape::Bool),
            works("organization", Shape::Bool),
            works("commonName", Shape::Bool),
            works("serialNumber", Shape::Bool),
            works("domainComponent", Shape::Bool),
        ]),
    ),
];

const HEADERS: &[Field] = &[
    works("customRequestHeaders", PAIRS),
    works("customResponseHeaders", PAIRS),
    works("accessControlAllowCredentials", Shape::Bool),
    works("accessControlAllowHeaders", NAMES),
    works("accessControlAllowMethods", NAMES),
    works("accessControlAllowOriginList", NAMES),
    works("accessControlAllowOriginListRegex", NAMES),
    works("accessControlExposeHeaders", NAMES),
    works("accessControlMaxAge", Shape::Int(0, 31_536_000)),
    works("addVaryHeader", Shape::Bool),
    works("allowedHosts", NAMES),
    works("hostsProxyHeaders", NAMES),
    works("sslProxyHeaders", PAIRS),
    works("stsSeconds", Shape::Int(0, 315_360_000)),
    works("stsIncludeSubdomains", Shape::Bool),
    works("stsPreload", Shape::Bool),
    works("forceSTSHeader", Shape::Bool),
    works("frameDeny", Shape::Bool),
    works("customFrameOptionsValue", Shape::Text),
    works("contentTypeNosniff", Shape::Bool),
    works("browserXssFilter", Shape::Bool),
    works("customBrowserXSSValue", Shape::Text),
    works("contentSecurityPolicy", Shape::Text),
    works("contentSecurityPolicyReportOnly", Shape::Text),
    works("publicKey", Shape::Text),
    works("referrerPolicy", Shape::Text),
    works("permissionsPolicy", Shape::Text),
    works("isDevelopment", Shape::Bool),
];
