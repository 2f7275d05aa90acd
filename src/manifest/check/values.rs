//! Checks of where a Config's or Secret's value comes from, and what follows a new one.
//!
//! Here: fields that contradict each other, and what is understood and not built. Not here: fetching ([`fetched`] asks
//! whoever reads the manifest to).

use super::service::is_signal;
use crate::{
    manifest::{
        Options,
        fault::Faults,
        shape::Walk,
        tree::{Entry, Node},
    },
    model::{
        Period, Spec,
        config::CONFIG_LIMIT,
        rotation::{EVERY_MAX, EVERY_MIN, TRAEFIK_FILE, VALUE, ValueFrom},
        secret::{SECRET_LIMIT, SecretSpec},
    },
};

/// Checks `valueFrom` and `rotation`.
pub(super) fn check(walk: &mut Walk<'_, '_>, spec: &Node) {
    if let Some(from) = spec.get("valueFrom") {
        value_from(walk, spec, from);
    }
    if let Some(rotation) = spec.get("rotation") {
        self::rotation(walk, spec, rotation);
    }
}

fn value_from(walk: &mut Walk<'_, '_>, spec: &Node, from: &Node) {
    let ways: Vec<&Entry> = from.entries().iter().collect();
    let one = if walk.secret { "`file`, `env`, `command`, `generate` or `edge`" } else { "`file`, `env` or `command`" };
    match ways[..] {
        // What it says was refused.
        [] if walk.found_in("spec.valueFrom.generate") => {}
        [] => walk.wrong(from.at, "spec.valueFrom", "says nothing", format!("write one of {one}")),
        [_] => {}
        [_, second, ..] => {
            let message = "a value comes from one place";
            walk.wrong(second.at, &format!("spec.valueFrom.{}", second.key), message, format!("keep one of {one}"));
        }
    }
    for entry in ways {
        let path = format!("spec.valueFrom.{}", entry.key);
        let empty = entry.value.as_text().is_some_and(str::is_empty);
        match entry.key.as_str() {
            "command" if entry.value.items().is_empty() => {
                walk.wrong(
                    entry.value.at,
                    &path,
                    "no program is named",
                    "write it as a list: [\"program\", \"argument\"]",
                );
            }
            "file" | "env" if empty => walk.wrong(entry.value.at, &path, "is empty", "name it"),
            _ => {}
        }
    }
    let fills = if from.get("edge").is_some() { TRAEFIK_FILE } else { VALUE };
    for field in ["data", "stringData"] {
        if let Some(there) = spec.get(field).and_then(|data| data.entry(fills)) {
            let message = format!("`valueFrom` gives `{fills}` too, in line {}", from.at.line);
            walk.wrong(there.at, &format!("spec.{field}.{fills}"), message, "remove one of the two");
        }
    }
}

fn rotation(walk: &mut Walk<'_, '_>, spec: &Node, rotation: &Node) {
    let strategy = rotation.get("strategy").and_then(Node::as_text).unwrap_or("rolling");
    if let Some(node) = rotation.get("signal") {
        let written = node.as_text().unwrap_or_default();
        if !is_signal(written) {
            let message = format!("{written:?} is not a signal");
            walk.wrong(node.at, "spec.rotation.signal", message, "write it like SIGHUP");
        } else if strategy != "reload" {
            let message = format!("`strategy: {strategy}` sends no signal");
            walk.wrong(node.at, "spec.rotation.signal", message, "write `strategy: reload`, or remove `signal`");
        }
    }
    if let Some(node) = rotation.get("graceVersions").filter(|n| n.as_u64() != Some(1)) {
        let message = "is not built yet: a replica keeps the one version it has until it is replaced";
        walk.wrong(node.at, "spec.rotation.graceVersions", message, "write 1, or remove it");
    }
    if let Some(node) = rotation.get("every") {
        every(walk, spec, node);
    }
}

fn every(walk: &mut Walk<'_, '_>, spec: &Node, node: &Node) {
    const PATH: &str = "spec.rotation.every";
    let from = spec.get("valueFrom").and_then(|from| from.entries().first());
    match from {
        Some(entry) if entry.key == "generate" => {}
        // What it says was refused.
        _ if walk.found_in("spec.valueFrom") => {}
        Some(entry) => {
            let message = format!("the value comes from `valueFrom.{}`, and the cluster cannot ask there", entry.key);
            let fix = "write `valueFrom: {generate: {}}`, or remove `every` and apply again when the value changes";
            walk.wrong(node.at, PATH, message, fix);
        }
        None => {
            let message = "the value is given by hand, and the cluster draws only what it drew before";
            let fix = "write `valueFrom: {generate: {}}`, or remove `every` and use `constellation secret set`";
            walk.wrong(node.at, PATH, message, fix);
        }
    }
    let Some(asked) = node.as_text().and_then(|text| text.parse::<Period>().ok()) else { return };
    if asked < EVERY_MIN {
        let message = format!("{asked} is less than {EVERY_MIN}: each new value replaces every replica that uses it");
        walk.wrong(node.at, PATH, message, format!("write {EVERY_MIN} or more"));
    } else if asked > EVERY_MAX {
        let days = EVERY_MAX.0.as_secs() / 86_400;
        let message = format!("{asked} is more than {days} days: nobody would see it come");
        walk.wrong(node.at, PATH, message, format!("write {days}d or less"));
    }
}

/// Puts the value in that only the client can fetch. What is wrong stands where the manifest asks for it.
pub(in crate::manifest) fn fetched(spec: &mut Spec, node: &Node, options: &Options<'_>, faults: &mut Faults) {
    let (Some(fetch), Some(folder)) = (options.values, &options.resolve_paths) else { return };
    let from: Option<ValueFrom> = match spec {
        Spec::Config(spec) => spec.value_from.clone().map(ValueFrom::from),
        Spec::Secret(spec) => spec.value_from.clone(),
        Spec::Service(_) | Spec::Node(_) | Spec::Route(_) | Spec::Middleware(_) => None,
    };
    let Some((from, field)) = from.and_then(|from| from.of_client().map(|field| (from, field))) else { return };
    let path = format!("spec.valueFrom.{field}");
    let at = node.position(&format!("valueFrom.{field}"));
    let limit = if matches!(spec, Spec::Secret(_)) { SECRET_LIMIT } else { CONFIG_LIMIT };
    let value = match fetch(&from, folder) {
        Ok(Some(value)) => value,
        Ok(None) => return,
        Err(problem) => return faults.push(at, &path, problem.message, problem.fix),
    };
    if value.len() > limit {
        return faults.push(at, &path, format!("gives {} bytes, more than {limit}", value.len()), "split it");
    }
    match spec {
        Spec::Secret(spec) => *spec = SecretSpec { value_from: None, ..spec.with_value(&value) },
        Spec::Config(spec) => match std::str::from_utf8(&value) {
            Ok(text) => {
                spec.data.insert(VALUE.into(), text.to_owned());
                spec.value_from = None;
            }
            Err(_) => faults.push(at, &path, "gives no UTF-8 text", "keep what is not text in a Secret"),
        },
        Spec::Service(_) | Spec::Node(_) | Spec::Route(_) | Spec::Middleware(_) => {}
    }
}
