//! Checks of the health check and the readiness probe.

use super::service::{items, text};
use crate::{
    manifest::{shape::Walk, tree::Node},
    model::Period,
};

/// Checks both.
pub(super) fn check(walk: &mut Walk<'_, '_>, spec: &Node) {
    healthcheck(walk, spec);
    readiness(walk, spec);
}

fn period(node: &Node) -> Option<Period> {
    node.as_text().and_then(|t| t.parse().ok())
}

fn healthcheck(walk: &mut Walk<'_, '_>, spec: &Node) {
    let Some(check) = spec.get("healthcheck") else { return };
    if check.get("disable").is_some_and(Node::is_true) {
        for entry in check.entries().iter().filter(|e| e.key != "disable") {
            let path = format!("spec.healthcheck.{}", entry.key);
            walk.wrong(entry.at, &path, "the health check is switched off", "remove it, or remove `disable`");
        }
        return;
    }
    for field in ["interval", "timeout", "startPeriod", "startInterval"] {
        // Docker reads 0 as its own default; what is shorter than a millisecond it refuses.
        let short = |p: Period| p.0.as_micros() > 0 && p.0.as_micros() < 1000;
        if let Some(node) = check.get(field).filter(|n| period(n).is_some_and(short)) {
            walk.wrong(node.at, &format!("spec.healthcheck.{field}"), "shorter than a millisecond", "write 1s or more");
        }
    }
}

fn readiness(walk: &mut Walk<'_, '_>, spec: &Node) {
    let Some(probe) = spec.get("readiness") else { return };
    let kinds: Vec<&str> = ["http", "tcp", "exec"].into_iter().filter(|k| probe.get(k).is_some()).collect();
    match kinds.as_slice() {
        [] => walk.wrong(
            probe.at,
            "spec.readiness",
            "says nothing to probe",
            "add one of http, tcp, exec: `http: {port: 8080}`",
        ),
        [_] => {}
        [_, second, ..] => {
            let at = probe.entry(second).map_or(probe.at, |e| e.at);
            let message = format!("more than one probe: {}", kinds.join(", "));
            walk.wrong(at, &format!("spec.readiness.{second}"), message, "keep one of http, tcp, exec");
        }
    }
    if text(spec, "networkMode") == Some("none")
        && let Some(kind) = ["http", "tcp"].into_iter().find(|k| probe.get(k).is_some())
    {
        let at = probe.entry(kind).map_or(probe.at, |e| e.at);
        let message = "a container with `networkMode: none` cannot be reached";
        walk.wrong(at, &format!("spec.readiness.{kind}"), message, "probe it with exec");
    }
    if let Some(http) = probe.get("http") {
        if let Some(node) = http.get("path").filter(|n| n.as_text().is_some_and(|t| !is_path(t))) {
            let shown = walk.show(node);
            walk.wrong(
                node.at,
                "spec.readiness.http.path",
                format!("{shown} is not the path of a URL"),
                "begin it with /, without spaces",
            );
        }
        if let Some(node) = http.get("status").filter(|n| n.as_text().is_some_and(|t| !are_statuses(t))) {
            let shown = walk.show(node);
            walk.wrong(
                node.at,
                "spec.readiness.http.status",
                format!("{shown} is not a range of statuses"),
                "write it like 200-399 or 200,204",
            );
        }
        for entry in http.get("headers").map(Node::entries).unwrap_or_default() {
            let path = format!("spec.readiness.http.headers.{}", entry.key);
            let name = http::HeaderName::try_from(entry.key.as_str()).is_ok();
            if !name || http::HeaderValue::try_from(entry.value.as_text().unwrap_or_default()).is_err() {
                walk.wrong(entry.at, &path, "not a header", "write it like X-Probe: constellation");
            }
        }
    }
    if probe.get("exec").is_some() && items(probe, "exec").is_empty() {
        let at = probe.get("exec").map_or(probe.at, |n| n.at);
        walk.wrong(at, "spec.readiness.exec", "names no command", "write it like [\"/bin/check\"]");
    }
    for field in ["interval", "timeout"] {
        if let Some(node) = probe.get(field).filter(|n| period(n).is_some_and(|p| p.0.as_millis() < 10)) {
            walk.wrong(node.at, &format!("spec.readiness.{field}"), "shorter than 10 ms", "write 1s or more");
        }
    }
}

fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic())
}

/// `200`, `200-399`, `200,204`.
fn are_statuses(text: &str) -> bool {
    let status = |t: &str| t.trim().parse::<u16>().ok().filter(|s| (100..=599).contains(s));
    text.split(',').all(|part| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        matches!((status(low), status(high)), (Some(low), Some(high)) if low <= high)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_numbers_and_ranges() {
        for good in ["200", "200-399", "200,204", "200-299, 401"] {
            assert!(are_statuses(good), "{good}");
        }
        for bad in ["", "ok", "99", "600", "399-200", "200-", "2xx"] {
            assert!(!are_statuses(bad), "{bad}");
        }
    }
}
