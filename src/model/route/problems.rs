//! What is wrong with a Route or a Middleware by itself: two fields that contradict each other, a text that Traefik
//! could not take.
//!
//! Here: [`of_route`], [`of_shorthand`], [`of_middleware`]. Asked by `manifest`, which adds line and column, and again by
//! `plan::routes`, since another version may have written what is stored.
//! `middleware`: one paragraph for each of those. Not here: whether what is named exists (`plan::routes`).

mod middleware;

use std::{collections::BTreeSet, fmt::Display};

use super::{
    Backend, EntryPoint, MiddlewareRef, NETWORK, PathKind, PathMatch, Resilience, RouteSpec, RouteTls, Shorthand,
    TlsMode,
};
use crate::model::{Period, meta::is_label, middleware::MiddlewareSpec, rule};

/// Most hosts times paths of one Route: each is a router of its own.
pub const MOST_PAIRS: usize = 200;
/// Longest name of a header.
const LONGEST_HEADER: usize = 256;
/// Longest wait that a field may name.
const LONGEST_WAIT: Period = Period::secs(24 * 3600);

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The field, below `spec`.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub fix: String,
}

#[derive(Default)]
struct Found(Vec<Problem>);

impl Found {
    /// `path`: written only here. With every table thousands of fields are checked, and nearly all are right.
    fn wrong(&mut self, path: impl Display, message: impl Into<String>, fix: impl Into<String>) {
        self.0.push(Problem { path: path.to_string(), message: message.into(), fix: fix.into() });
    }
    fn wait(&mut self, path: impl Display, wait: Option<Period>) {
        if let Some(wait) = wait.filter(|w| w.0.is_zero() || *w > LONGEST_WAIT) {
            self.wrong(path, format!("{wait} is no wait"), "write more than 0 and at most 24h");
        }
    }
    fn name(&mut self, path: impl Display, name: &str) {
        if !is_label(name, 63) {
            self.wrong(path, format!("{name:?} is not the name of an object"), "1 to 63 of a-z, 0-9 and -");
        }
    }
    fn regex(&mut self, path: impl Display, text: &str) {
        if let Err(why) = rule::regex(text) {
            self.wrong(path, format!("{text:?} {why}"), "write an expression as Go reads it");
        }
    }
    fn path(&mut self, path: impl Display, text: &str) {
        if !rule::is_path(text) {
            self.wrong(path, format!("{text:?} is not a path"), "begin it with /, without spaces, quotes, ? and #");
        }
    }
    fn header(&mut self, path: impl Display, name: &str) {
        if name.len() > LONGEST_HEADER {
            // Traefik reads no document with a key of 1,024 characters.
            self.wrong(path, format!("is longer than {LONGEST_HEADER} bytes"), "write a shorter name");
        } else if http::HeaderName::try_from(name).is_err() {
            self.wrong(path, format!("{name:?} is not the name of a header"), "write it like X-Request-Id");
        }
    }
    fn text(&mut self, path: impl Display, text: &str) {
        if text.is_empty() || text.len() > 4096 || text.chars().any(char::is_control) {
            self.wrong(path, "is empty, longer than 4096 bytes, or holds a control character", "write it on one line");
        }
    }
    /// `404`, `500-599`.
    fn status(&mut self, path: impl Display, text: &str) {
        let status = |t: &str| t.parse::<u16>().ok().filter(|s| t.len() == 3 && (100..=599).contains(s));
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        if !matches!((status(low), status(high)), (Some(low), Some(high)) if low <= high) {
            self.wrong(path, format!("{text:?} is not a status"), "write it like 503 or \"500-599\"");
        }
    }
    fn host(&mut self, path: impl Display, host: &str) {
        if !rule::is_host(host) {
            let lower = host.to_ascii_lowercase();
            let fix = if rule::is_host(&lower) {
                format!("write {lower}")
            } else {
                "write it like web.example.com or *.example.com".to_owned()
            };
            self.wrong(path, format!("{host:?} is not a host name"), fix);
        }
    }
    fn not_empty(&mut self, path: &str, list: &[String]) {
        if list.is_empty() {
            self.wrong(path, "is empty", "name at least one");
        }
    }
}

/// What is wrong with a Route.
#[must_use]
pub fn of_route(spec: &RouteSpec) -> Vec<Problem> {
    let mut found = Found::default();
    asked(&mut found, spec);
    tls(&mut found, "", &spec.tls, &spec.entry_points);
    middlewares(&mut found, "", &spec.middlewares);
    backends(&mut found, &spec.backends);
    balanced(&mut found, spec);
    resilient(&mut found, &spec.resilience);
    found.0
}

/// What is wrong with the short form, `path` being where it stands.
#[must_use]
pub fn of_shorthand(path: &str, spec: &Shorthand) -> Vec<Problem> {
    let mut found = Found::default();
    found.host(format_args!("{path}.host"), &spec.host);
    if let Some(prefix) = &spec.path {
        found.path(format_args!("{path}.path"), prefix);
    }
    let before = format!("{path}.");
    tls(&mut found, &before, &spec.tls, &spec.entry_points);
    middlewares(&mut found, &before, &spec.middlewares);
    found.0
}

/// What is wrong with a Middleware, `before` being what stands before its fields (`middlewares[0].`).
#[must_use]
pub fn of_middleware(before: &str, spec: &MiddlewareSpec) -> Vec<Problem> {
    let mut found = Found::default();
    middleware::check(&mut found, before, spec);
    found.0
}

fn asked(found: &mut Found, spec: &RouteSpec) {
    if let Some(text) = &spec.rule {
        if let Err(why) = rule::check(text) {
            found.wrong("rule", why, "write it like Host(`web.example.com`) && PathPrefix(`/api`)");
        }
        for (field, there) in [("hosts", !spec.hosts.is_empty()), ("paths", !spec.paths.is_empty())] {
            if there {
                found.wrong(field, "`rule` says it all", format!("remove `{field}`, or remove `rule`"));
            }
        }
        return;
    }
    if spec.hosts.is_empty() {
        found.wrong("hosts", "names no host", "add `hosts: [web.example.com]`, or `rule` for every host");
    }
    for (i, host) in spec.hosts.iter().enumerate() {
        found.host(format_args!("hosts[{i}]"), host);
        if spec.hosts[..i].contains(host) {
            found.wrong(format!("hosts[{i}]"), format!("{host:?} stands twice"), "remove one of the two");
        }
    }
    for (i, PathMatch { kind, value }) in spec.paths.iter().enumerate() {
        let path = format_args!("paths[{i}].value");
        match kind {
            PathKind::Prefix | PathKind::Exact => found.path(path, value),
            PathKind::Regex => found.regex(path, value),
        }
        if spec.paths[..i].contains(&spec.paths[i]) {
            found.wrong(format!("paths[{i}].value"), format!("{value:?} stands twice"), "remove one of the two");
        }
    }
    let pairs = spec.hosts.len() * spec.paths.len().max(1);
    if pairs > MOST_PAIRS {
        found.wrong("hosts", format!("{pairs} pairs of host and path, more than {MOST_PAIRS}"), "write several Routes");
    }
}

fn tls(found: &mut Found, before: &str, tls: &RouteTls, entry_points: &[EntryPoint]) {
    match (tls.mode, &tls.secret_ref) {
        (TlsMode::Secret, None) => {
            found.wrong(format!("{before}tls.secretRef"), "no certificate is named", "name a Secret of `type: tls`");
        }
        (TlsMode::Secret, Some(name)) => found.name(format_args!("{before}tls.secretRef"), name),
        (TlsMode::None, Some(_)) => {
            let path = format!("{before}tls.secretRef");
            found.wrong(path, "`mode: none` uses no certificate", "write `mode: secret`, or remove it");
        }
        (TlsMode::None, None) => {}
    }
    let secure = entry_points.contains(&EntryPoint::Websecure);
    if secure && tls.mode == TlsMode::None {
        let path = format!("{before}entryPoints");
        found.wrong(path, "`websecure` needs a certificate", "add `tls: {mode: secret, secretRef: NAME}`");
    }
    let unique: BTreeSet<_> = entry_points.iter().collect();
    if unique.len() != entry_points.len() {
        found.wrong(format!("{before}entryPoints"), "one stands twice", "remove one of the two");
    }
}

fn middlewares(found: &mut Found, before: &str, list: &[MiddlewareRef]) {
    for (i, one) in list.iter().enumerate() {
        let path = format_args!("{before}middlewares[{i}]");
        match one {
            MiddlewareRef::Name(name) => found.name(path, name),
            MiddlewareRef::Inline(spec) => middleware::check(found, &format!("{path}."), spec),
        }
    }
}

/// Whether a URL is one that Traefik asks as it is written: `http://ADDRESS[:PORT][/path]`.
fn url(found: &mut Found, path: impl Display, text: &str, schemes: &[&str], paths: bool) {
    let parts = schemes.iter().find_map(|s| text.strip_prefix(&format!("{s}://")));
    let good = parts.is_some_and(|rest| {
        let (authority, tail) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let parsed = authority.parse::<http::uri::Authority>();
        let named =
            parsed.is_ok_and(|a| !a.host().is_empty() && (!a.as_str().contains(':') || a.port_u16() != Some(0)));
        named && !authority.contains('@') && (tail.is_empty() || (paths && tail.bytes().all(|b| b.is_ascii_graphic())))
    });
    if !good || text.len() > 2048 {
        let tail = if paths { "[/path]" } else { "" };
        let fix = format!("write it like {}://ADDRESS[:PORT]{tail}", schemes.join(" or "));
        found.wrong(path, format!("{text:?} is not such a URL"), fix);
    }
}

fn backends(found: &mut Found, list: &[Backend]) {
    if list.is_empty() {
        found.wrong("backends", "names nobody who answers", "add `- {service: web, port: 8080}`");
    }
    if list.len() > 50 {
        found.wrong("backends", format!("{} backends, more than 50", list.len()), "shorten the list");
    }
    for (i, backend) in list.iter().enumerate() {
        let path = format_args!("backends[{i}]");
        match (&backend.service, &backend.url) {
            (Some(name), None) => found.name(format_args!("{path}.service"), name),
            (None, Some(text)) => {
                url(found, format_args!("{path}.url"), text, &["http", "https", "h2c"], false);
                if backend.port.is_some() {
                    found.wrong(format!("{path}.port"), "the URL names the port", "write it into `url`");
                }
                if backend.scheme != super::Scheme::Http {
                    found.wrong(format!("{path}.scheme"), "the URL names the scheme", "write it into `url`");
                }
            }
            (None, None) => found.wrong(path, "names nobody who answers", "add `service: NAME`"),
            (Some(_), Some(_)) => {
                found.wrong(format!("{path}.url"), "`service` answers already", "remove one of the two")
            }
        }
    }
    if !list.is_empty() && list.iter().all(|b| b.weight == 0) {
        found.wrong("backends", "every weight is 0: nobody answers", "write a weight above 0");
    }
}

fn balanced(found: &mut Found, spec: &RouteSpec) {
    let balancer = &spec.load_balancer;
    if let Some(cookie) = balancer.sticky.as_ref().map(|s| &s.cookie) {
        let path = "loadBalancer.sticky.cookie";
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_|~".contains(&b);
        if let Some(name) = cookie.name.as_ref().filter(|n| n.is_empty() || n.len() > 128 || !n.bytes().all(token)) {
            found.wrong(
                format!("{path}.name"),
                format!("{name:?} is not the name of a cookie"),
                "letters, digits, - and _",
            );
        }
        if let Some(value) = &cookie.path {
            found.path(format_args!("{path}.path"), value);
        }
        if let Some(domain) = cookie.domain.as_ref().filter(|d| !rule::is_host(d.strip_prefix('.').unwrap_or(d))) {
            found.wrong(format!("{path}.domain"), format!("{domain:?} is not a domain"), "write it like example.com");
        }
    }
    if let Some(check) = &balancer.health_check {
        let path = "loadBalancer.healthCheck";
        let (value, query) = check.path.split_once('?').unwrap_or((&check.path, ""));
        found.path(format_args!("{path}.path"), value);
        if value.starts_with("//") {
            // As in a link another host would follow: Traefik asks nobody then, and sends nobody anything.
            found.wrong(format!("{path}.path"), format!("{value:?} names a host"), "begin it with one /");
        }
        if !query.bytes().all(|b| b.is_ascii_graphic()) {
            found.wrong(format!("{path}.path"), "is not a path", "without spaces");
        }
        for (field, wait) in
            [("interval", check.interval), ("unhealthyInterval", check.unhealthy_interval), ("timeout", check.timeout)]
        {
            found.wait(format_args!("{path}.{field}"), wait);
        }
        if let Some(method) =
            check.method.as_ref().filter(|m| m.is_empty() || !m.bytes().all(|b| b.is_ascii_uppercase()))
        {
            found.wrong(format!("{path}.method"), format!("{method:?} is not a method"), "write it like GET");
        }
        if let Some(host) = &check.hostname {
            found.host(format_args!("{path}.hostname"), host);
        }
        for (name, value) in &check.headers {
            found.header(format_args!("{path}.headers.{name}"), name);
            if http::HeaderValue::try_from(value.as_str()).is_err() {
                found.wrong(format!("{path}.headers.{name}"), "is not the value of a header", "write it on one line");
            }
        }
    }
    if let Some(check) = &balancer.passive_health_check {
        found.wait("loadBalancer.passiveHealthCheck.failureWindow", check.failure_window);
    }
    let timeouts = &balancer.servers_transport.timeouts;
    found.wait("loadBalancer.serversTransport.timeouts.dial", timeouts.dial);
    found.wait("loadBalancer.serversTransport.timeouts.responseHeader", timeouts.response_header);
    if timeouts.response_header.is_some() && spec.resilience.timeout.is_some() {
        let fix = "remove one of the two";
        found.wrong(
            "resilience.timeout",
            "is the same as `loadBalancer.serversTransport.timeouts.responseHeader`",
            fix,
        );
    }
}

fn resilient(found: &mut Found, resilience: &Resilience) {
    let retries = &resilience.retries;
    if !(1..=10).contains(&retries.attempts) {
        found.wrong("resilience.retries.attempts", format!("{} is out of range", retries.attempts), "1 to 10");
    }
    found.not_empty("resilience.retries.on", &retries.on);
    for (i, on) in retries.on.iter().enumerate().filter(|(_, on)| *on != NETWORK) {
        found.status(format_args!("resilience.retries.on[{i}]"), on);
    }
    let statuses = retries.on.iter().any(|on| on != NETWORK);
    if retries.max_body_bytes.is_some() && !statuses {
        let fix = "add a status to `on`, or remove it";
        found.wrong("resilience.retries.maxBodyBytes", "no body is sent again after `network`: no byte was sent", fix);
    }
    if retries.methods != super::RetryMethods::Idempotent && !statuses {
        let fix = "add a status to `on`, or remove it";
        found.wrong("resilience.retries.methods", "after `network` every method is asked again: no byte was sent", fix);
    }
    found.wait("resilience.timeout", resilience.timeout);
    if let Some(breaker) = &resilience.circuit_breaker {
        expression(found, "resilience.circuitBreaker.expression", &breaker.expression, rule::BREAKER);
    }
}

fn expression(found: &mut Found, path: impl Display, text: &str, language: rule::Language) {
    if let Err(why) = rule::expression(text, language) {
        let fix = format!("write it like {}", language.example);
        found.wrong(path, why, fix);
    }
}
