//! Whole documents, as Traefik gets them.

use super::*;

fn shown(input: &Input) -> String {
    serde_json::to_string_pretty(&json(&table(input))).unwrap()
}

#[test]
fn the_short_form_of_a_service() {
    let mut input = input(Vec::new());
    let short = |host: &str, path: Option<&str>| Shorthand {
        host: host.into(),
        path: path.map(Into::into),
        ..Shorthand::default()
    };
    input.services.get_mut("web").unwrap().declared.routes =
        vec![short("web.example.com", None), short("a.example.com", Some("/w"))];
    insta::assert_snapshot!(shown(&input));
}

#[test]
fn a_route_with_everything() {
    let spec = json!({
        "hosts": ["shop.example.com", "*.shop.example.com"],
        "paths": [{"value": "/"}, {"type": "Exact", "value": "/cart"}, {"type": "Regex", "value": "^/[a-z]{2}/"}],
        "backends": [
            {"service": "web", "port": 8080, "weight": 9, "preserveHost": false},
            {"url": "http://192.0.2.20:8080"},
            {"service": "auth", "scheme": "h2c", "weight": 2},
        ],
        "middlewares": ["headers", {"compress": {}}],
        "tls": {"mode": "secret", "secretRef": "cert", "minVersion": "1.2"},
        "loadBalancer": {
            "strategy": "p2c",
            "sticky": {"cookie": {"httpOnly": true, "sameSite": "lax"}},
            "healthCheck": {"path": "/health", "interval": "10s"},
            "passiveHealthCheck": {"maxFailedAttempts": 3},
            "serversTransport": {"insecureSkipVerify": true, "timeouts": {"dial": "2s"}},
        },
        "resilience": {
            "retries": {"attempts": 3, "on": ["network", "502-504"], "methods": "all", "maxBodyBytes": 1000},
            "timeout": "30s",
            "circuitBreaker": {"expression": "NetworkErrorRatio() > 0.30"},
        },
    });
    let mut input = input(vec![route("shop", 1, spec)]);
    middlewares(&mut input, json!({"headers": {"headers": {"frameDeny": true}}, "unused": {"compress": {}}}));
    certificate(&mut input, "cert");
    insta::assert_snapshot!(shown(&input));
}

#[test]
fn every_middleware() {
    let mut input = input(Vec::new());
    let all = every(&mut input);
    input.routes = vec![route("all", 1, all)];
    insta::assert_snapshot!(shown(&input));
}

/// A Route that passes every middleware there is, in one document.
pub(super) fn every(input: &mut Input) -> Value {
    middlewares(
        input,
        json!({
            "a": {"addPrefix": {"prefix": "/v1"}},
            "b": {"stripPrefix": {"prefixes": ["/v1"]}},
            "c": {"stripPrefixRegex": {"regex": ["^/v[0-9]"]}},
            "d": {"replacePath": {"path": "/v1"}},
            "e": {"replacePathRegex": {"regex": "^/a/(.*)", "replacement": "/b/$1"}},
            "f": {"chain": {"middlewares": ["a", "b"]}},
            "g": {"ipAllowList": {"sourceRange": ["192.0.2.0/24"], "ipStrategy": {"depth": 1}}},
            "h": {"headers": {"customRequestHeaders": {"X-A": "b"}, "forceSTSHeader": true, "customBrowserXSSValue": "0"}},
            "i": {"errors": {"status": ["500-599"], "service": "web", "query": "/{status}", "statusRewrites": {"500": 503}}},
            "j": {"rateLimit": {"average": 10, "period": "1m"}},
            "k": {"redirectRegex": {"regex": "^http://a/(.*)", "replacement": "http://b/$1"}},
            "l": {"redirectScheme": {"scheme": "https", "port": 8443}},
            "m": {"basicAuth": {"secretRef": "users", "removeHeader": true}},
            "n": {"digestAuth": {"secretRef": "digest"}},
            "o": {"forwardAuth": {"address": "http://auth:9000/check", "authResponseHeaders": ["X-User"]}},
            "p": {"inFlightReq": {"amount": 5}},
            "q": {"buffering": {"retryExpression": "IsNetworkError() && Attempts() <= 2"}},
            "r": {"circuitBreaker": {"expression": "NetworkErrorRatio() > 0.30", "checkPeriod": "1m30s"}},
            "s": {"compress": {}},
            "t": {"passTLSClientCert": {"info": {"subject": {"commonName": true}}}},
            "u": {"retry": {"attempts": 2, "status": ["503"], "initialInterval": "100ms"}},
            "v": {"contentType": {}},
            "w": {"grpcWeb": {"allowOrigins": ["*"]}},
        }),
    );
    secret(input, "users", &[("username", "ann"), ("password", "secret")]);
    secret(input, "digest", &[("users", "ann:traefik:0123456789abcdef0123456789abcdef")]);
    let names: Vec<&str> = input.middlewares.keys().map(|n| &**n).collect();
    let used: BTreeSet<&str> = input.middlewares.values().map(|m| m.name()).collect();
    assert_eq!(used.len(), crate::model::middleware::MiddlewareSpec::NAMES.len(), "every one is here");
    json!({"hosts": ["a.example"], "backends": [{"service": "web"}], "middlewares": names})
}
