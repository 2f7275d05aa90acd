//! What is wrong with one middleware by itself.

use serde_json::Value;

use super::{Found, expression, url};
use crate::model::{
    middleware::{Headers, IpStrategy, MiddlewareSpec, SourceCriterion, TlsInfo},
    rule,
};

fn addresses(found: &mut Found, path: &str, list: &[String]) {
    for (i, range) in list.iter().enumerate().filter(|(_, r)| !rule::is_range(r)) {
        found.wrong(
            format!("{path}[{i}]"),
            format!("{range:?} is not an address"),
            "write it like 192.0.2.7 or 192.0.2.0/24",
        );
    }
}

fn strategy(found: &mut Found, path: &str, strategy: &IpStrategy) {
    addresses(found, &format!("{path}.excludedIPs"), &strategy.excluded_ips);
    if strategy.depth > 0 && !strategy.excluded_ips.is_empty() {
        found.wrong(format!("{path}.depth"), "`excludedIPs` says whose address counts", "remove one of the two");
    }
}

fn criterion(found: &mut Found, path: &str, criterion: &SourceCriterion) {
    let path = format!("{path}.sourceCriterion");
    strategy(found, &format!("{path}.ipStrategy"), &criterion.ip_strategy);
    let ways = [
        criterion.ip_strategy != IpStrategy::default(),
        criterion.request_header_name.is_some(),
        criterion.request_host,
    ];
    if ways.into_iter().filter(|w| *w).count() > 1 {
        found.wrong(&path, "says more than one", "keep one of ipStrategy, requestHeaderName, requestHost");
    }
    if let Some(name) = &criterion.request_header_name {
        found.header(format!("{path}.requestHeaderName"), name);
    }
}

/// Traefik reads one item of a list with `║` in it as two.
fn whole(found: &mut Found, path: &str, value: &Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                whole(found, &format!("{path}.{name}"), value);
            }
        }
        Value::Array(items) => {
            let split = |item: &Value| item.as_str().is_some_and(|text| text.contains('║'));
            for (i, _) in items.iter().enumerate().filter(|(_, item)| split(item)) {
                let message = "holds ║, at which Traefik takes one for two";
                found.wrong(format!("{path}[{i}]"), message, "write another character");
            }
        }
        _ => {}
    }
}

#[allow(clippy::too_many_lines)] // one paragraph for each middleware
pub(super) fn check(found: &mut Found, before: &str, spec: &MiddlewareSpec) {
    let written = serde_json::to_value(spec).unwrap_or_default();
    let set = written.as_object().map_or(0, serde_json::Map::len);
    let name = spec.name();
    let at = |field: &str| format!("{before}{name}.{field}");
    if set != 1 {
        let place = before.trim_end_matches('.');
        let message = if set == 0 { "is no middleware" } else { "is more than one middleware" };
        found.wrong(place, message, "write exactly one, like `compress: {}`; several are several Middlewares");
        return;
    }
    whole(found, &format!("{before}{name}"), &written[name]);
    if let Some(m) = &spec.add_prefix {
        found.path(at("prefix"), &m.prefix);
    }
    if let Some(m) = &spec.strip_prefix {
        found.not_empty(&at("prefixes"), &m.prefixes);
        for (i, prefix) in m.prefixes.iter().enumerate() {
            found.path(at(&format!("prefixes[{i}]")), prefix);
        }
    }
    if let Some(m) = &spec.strip_prefix_regex {
        found.not_empty(&at("regex"), &m.regex);
        for (i, regex) in m.regex.iter().enumerate() {
            found.regex(at(&format!("regex[{i}]")), regex);
        }
    }
    if let Some(m) = &spec.replace_path {
        found.path(at("path"), &m.path);
    }
    if let Some(m) = &spec.replace_path_regex {
        found.regex(at("regex"), &m.regex);
        found.text(at("replacement"), &m.replacement);
    }
    if let Some(m) = &spec.chain {
        found.not_empty(&at("middlewares"), &m.middlewares);
        for (i, name) in m.middlewares.iter().enumerate() {
            found.name(at(&format!("middlewares[{i}]")), name);
        }
    }
    if let Some(m) = &spec.ip_allow_list {
        found.not_empty(&at("sourceRange"), &m.source_range);
        addresses(found, &at("sourceRange"), &m.source_range);
        strategy(found, &at("ipStrategy"), &m.ip_strategy);
    }
    if let Some(m) = &spec.headers {
        let maps = [
            ("customRequestHeaders", &m.custom_request_headers),
            ("customResponseHeaders", &m.custom_response_headers),
            ("sslProxyHeaders", &m.ssl_proxy_headers),
        ];
        for (field, map) in maps {
            for (name, value) in map {
                found.header(at(&format!("{field}.{name}")), name);
                if http::HeaderValue::try_from(value.as_str()).is_err() {
                    found.wrong(at(&format!("{field}.{name}")), "is not the value of a header", "write it on one line");
                }
            }
        }
        for (i, regex) in m.access_control_allow_origin_list_regex.iter().enumerate() {
            found.regex(at(&format!("accessControlAllowOriginListRegex[{i}]")), regex);
        }
        if *m == Headers::default() {
            found.wrong(at("").trim_end_matches('.'), "changes nothing", "name a header");
        }
    }
    if let Some(m) = &spec.errors {
        found.not_empty(&at("status"), &m.status);
        for (i, status) in m.status.iter().enumerate() {
            found.status(at(&format!("status[{i}]")), status);
        }
        found.name(at("service"), &m.service);
        if let Some(query) =
            m.query.as_ref().filter(|q| !q.starts_with('/') || !q.bytes().all(|b| b.is_ascii_graphic()))
        {
            found.wrong(at("query"), format!("{query:?} is not a path"), "write it like /{status}.html");
        }
        for status in m.status_rewrites.keys() {
            found.status(at(&format!("statusRewrites.{status}")), status);
        }
    }
    if let Some(m) = &spec.rate_limit {
        found.wait(at("period"), m.period);
        criterion(found, at("").trim_end_matches('.'), &m.source_criterion);
    }
    if let Some(m) = &spec.redirect_regex {
        found.regex(at("regex"), &m.regex);
        found.text(at("replacement"), &m.replacement);
    }
    if let Some(m) = &spec.redirect_scheme
        && !matches!(m.scheme.as_str(), "http" | "https")
    {
        found.wrong(at("scheme"), format!("{:?} is not a scheme", m.scheme), "write https or http");
    }
    let auth = |found: &mut Found, secret: &str, realm: Option<&String>, header: Option<&String>| {
        found.name(at("secretRef"), secret);
        if let Some(realm) = realm {
            found.text(at("realm"), realm);
        }
        if let Some(header) = header {
            found.header(at("headerField"), header);
        }
    };
    if let Some(m) = &spec.basic_auth {
        auth(found, &m.secret_ref, m.realm.as_ref(), m.header_field.as_ref());
    }
    if let Some(m) = &spec.digest_auth {
        auth(found, &m.secret_ref, m.realm.as_ref(), m.header_field.as_ref());
    }
    if let Some(m) = &spec.forward_auth {
        url(found, at("address"), &m.address, &["http", "https"], true);
        if let Some(secret) = m.tls.as_ref().and_then(|tls| tls.secret_ref.as_ref()) {
            found.name(at("tls.secretRef"), secret);
        }
        let lists =
            [("authResponseHeaders", &m.auth_response_headers), ("authRequestHeaders", &m.auth_request_headers)];
        for (field, list) in lists {
            for (i, name) in list.iter().enumerate() {
                found.header(at(&format!("{field}[{i}]")), name);
            }
        }
        if let Some(header) = &m.header_field {
            found.header(at("headerField"), header);
        }
        if let Some(regex) = &m.auth_response_headers_regex {
            found.regex(at("authResponseHeadersRegex"), regex);
        }
        if m.max_body_size.is_some() && !m.forward_body {
            found.wrong(at("maxBodySize"), "no body is passed on", "add `forwardBody: true`, or remove it");
        }
    }
    if let Some(m) = &spec.in_flight_req {
        criterion(found, at("").trim_end_matches('.'), &m.source_criterion);
    }
    if let Some(text) = spec.buffering.as_ref().and_then(|m| m.retry_expression.as_ref()) {
        expression(found, at("retryExpression"), text, rule::BUFFERING);
    }
    if let Some(m) = &spec.circuit_breaker {
        expression(found, at("expression"), &m.expression, rule::BREAKER);
        found.wait(at("checkPeriod"), m.check_period);
        found.wait(at("fallbackDuration"), m.fallback_duration);
        found.wait(at("recoveryDuration"), m.recovery_duration);
    }
    if let Some(m) = &spec.compress {
        if !m.excluded_content_types.is_empty() && !m.included_content_types.is_empty() {
            found.wrong(at("includedContentTypes"), "`excludedContentTypes` is there too", "remove one of the two");
        }
        for (field, list) in
            [("excludedContentTypes", &m.excluded_content_types), ("includedContentTypes", &m.included_content_types)]
        {
            let kind = |t: &&String| {
                t.split_once('/').is_some_and(|(a, b)| {
                    !a.is_empty() && !b.is_empty() && t.is_ascii() && !t.contains(char::is_control)
                })
            };
            for (i, text) in list.iter().enumerate().filter(|(_, t)| !kind(t)) {
                found.wrong(
                    at(&format!("{field}[{i}]")),
                    format!("{text:?} is not a type of content"),
                    "write it like text/html",
                );
            }
        }
        if let Some(encoding) =
            m.default_encoding.as_ref().filter(|e| !m.encodings.is_empty() && !m.encodings.contains(e))
        {
            found.wrong(at("defaultEncoding"), format!("{encoding} is none of `encodings`"), "add it there");
        }
    }
    if let Some(m) = &spec.pass_tls_client_cert
        && !m.pem
        && m.info == TlsInfo::default()
    {
        found.wrong(at("").trim_end_matches('.'), "passes nothing on", "add `pem: true` or `info`");
    }
    if let Some(m) = &spec.retry {
        if !(1..=100).contains(&m.attempts) {
            found.wrong(at("attempts"), format!("{} is out of range", m.attempts), "1 to 100");
        }
        for (i, status) in m.status.iter().enumerate() {
            found.status(at(&format!("status[{i}]")), status);
        }
        if m.disable_retry_on_network_error && m.status.is_empty() {
            found.wrong(at("status"), "nothing is left to ask another replica for", "add `status: [503]`");
        }
        found.wait(at("initialInterval"), m.initial_interval);
        found.wait(at("timeout"), m.timeout);
    }
    if let Some(m) = &spec.grpc_web {
        found.not_empty(&at("allowOrigins"), &m.allow_origins);
    }
}
