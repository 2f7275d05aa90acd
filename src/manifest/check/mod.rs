//! What a shape cannot say: forms of names and addresses, and fields that contradict each other.
//!
//! Here: names, labels, Config, Secret and Node. `values`: where their values come from; `service`: the Service; `storage`: its mounts and files;
//! `network`: its ports and names; `kernel`: its limits and capabilities; `job`: its runs; `probe`: health and readiness;
//! `hooks`: commands around them. Not here: whether another object exists (a warning of the plan, and later a
//! reason: it may be applied in any order).
//! Invariant: a check reads the canonical form and changes nothing.

mod hooks;
mod job;
mod kernel;
mod network;
mod probe;
pub(super) mod route;
mod service;
mod storage;
pub(super) mod values;

use std::collections::HashMap;

use base64::Engine as _;

use super::{
    shape::{Walk, join},
    tree::{Entry, Node},
};
use crate::model::{Kind, config::CONFIG_LIMIT, meta::is_label, secret::SECRET_LIMIT};

/// Checks metadata and spec of one document.
pub(super) fn document(walk: &mut Walk<'_, '_>, kind: Kind, metadata: &Node, spec: &Node) {
    if let Some(node) = metadata.get("name") {
        let most = if kind == Kind::Service { 50 } else { 63 };
        name(walk, node, "metadata.name", most);
    }
    if let Some(node) = metadata.get("managedBy") {
        name(walk, node, "metadata.managedBy", 63);
    }
    labels(walk, metadata);
    match kind {
        Kind::Service => service::check(walk, metadata.get("name").and_then(Node::as_text), spec),
        Kind::Config => {
            values::check(walk, spec);
            data(walk, spec, CONFIG_LIMIT, "1 MiB");
        }
        Kind::Secret => {
            values::check(walk, spec);
            data(walk, spec, SECRET_LIMIT, "500 kB");
            secret(walk, spec);
        }
        Kind::Node => node(walk, spec),
        // Theirs are checked as types.
        Kind::Route | Kind::Middleware | Kind::Replica => {}
    }
}

/// The nearest text that is one.
fn as_label(text: &str, most: usize) -> Option<String> {
    let words: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let short: String = words.trim_matches('-').chars().take(most).collect();
    Some(short.trim_matches('-').to_owned()).filter(|s| !s.is_empty())
}

fn name(walk: &mut Walk<'_, '_>, node: &Node, path: &str, most: usize) {
    let text = node.as_text().unwrap_or_default();
    if is_label(text, most) {
        return;
    }
    let rule = format!("a name has 1 to {most} of a-z, 0-9 and -, and neither begins nor ends with -");
    let fix = as_label(text, most).map_or_else(|| rule.clone(), |better| format!("write {better:?}: {rule}"));
    walk.wrong(node.at, path, format!("{text:?} is not a name"), fix);
}

/// `[PREFIX/]NAME`, as Kubernetes writes keys of labels.
fn is_label_key(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(p, n)| (Some(p), n));
    is_label_word(name) && prefix.is_none_or(|p| p.len() <= 253 && p.split('.').all(|part| is_label(part, 63)))
}

fn is_label_word(text: &str) -> bool {
    let edge = |c: Option<u8>| c.is_some_and(|b| b.is_ascii_alphanumeric());
    text.len() <= 63
        && edge(text.bytes().next())
        && edge(text.bytes().last())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn labels(walk: &mut Walk<'_, '_>, metadata: &Node) {
    for (field, values) in [("labels", true), ("annotations", false)] {
        for entry in metadata.get(field).map(Node::entries).unwrap_or_default() {
            let path = format!("metadata.{field}.{}", entry.key);
            if !is_label_key(&entry.key) {
                let fix = "letters, digits, -, _ and . (at most 63), a prefix with / before it if you like: team, example.com/team";
                walk.wrong(entry.at, &path, format!("{:?} is not a key", entry.key), fix);
            }
            let text = entry.value.as_text().unwrap_or_default();
            if values && !text.is_empty() && !is_label_word(text) {
                let fix = "letters, digits, -, _ and ., at most 63; longer texts go into `annotations`";
                walk.wrong(entry.value.at, &path, format!("{text:?} is not a label's value"), fix);
            }
            if !values && text.len() > 256 << 10 {
                walk.wrong(entry.value.at, &path, "longer than 256 KiB", "keep long texts in a Config");
            }
        }
    }
}

/// Keys are file names; the sum of all is bounded.
fn data(walk: &mut Walk<'_, '_>, spec: &Node, limit: usize, limit_text: &str) {
    let mut total = 0;
    let fields = ["data", "stringData"].into_iter().filter_map(|f| spec.get(f).map(|n| (f, n)));
    for entry in fields.clone().flat_map(|(f, n)| n.entries().iter().map(move |e| (f, e))) {
        let (field, entry) = entry;
        let path = format!("spec.{field}.{}", entry.key);
        let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let good =
            (1..=253).contains(&entry.key.len()) && entry.key.bytes().all(word) && !matches!(&*entry.key, "." | "..");
        if !good {
            let fix = "letters, digits, -, _ and .: a key is the name of a file";
            walk.wrong(entry.at, &path, format!("{:?} is not a key", entry.key), fix);
        }
        let text = entry.value.as_text().unwrap_or_default();
        let mut length = text.len();
        if walk.secret && field == "data" {
            match base64::engine::general_purpose::STANDARD.decode(text.split_ascii_whitespace().collect::<String>()) {
                Ok(bytes) => length = bytes.len(),
                Err(_) => walk.wrong(
                    entry.value.at,
                    &path,
                    "the value is not base64",
                    "write plain text below `stringData`, or encode it: printf %s VALUE | base64 -w0",
                ),
            }
        }
        total += entry.key.len() + length;
    }
    if total > limit {
        let message = format!("holds {total} bytes, more than {limit_text}");
        walk.wrong(spec.at, "spec", message, "split it, or keep large files in a volume");
    }
    let (plain, encoded) = (spec.get("stringData"), spec.get("data"));
    let encoded: HashMap<&str, &Entry> =
        encoded.map(Node::entries).unwrap_or_default().iter().map(|e| (e.key.as_str(), e)).collect();
    for entry in plain.map(Node::entries).unwrap_or_default() {
        if let Some(other) = encoded.get(entry.key.as_str()) {
            let message = format!("`{}` stands in `data` too, in line {}", entry.key, other.at.line);
            walk.wrong(entry.at, &format!("spec.stringData.{}", entry.key), message, "remove one of the two");
        }
    }
    let wrong = ["spec.data", "spec.stringData"].iter().any(|path| walk.found_in(path));
    if fields.map(|(_, n)| n.entries().len()).sum::<usize>() == 0 && spec.get("valueFrom").is_none() && !wrong {
        let field = if walk.secret { "stringData" } else { "data" };
        walk.wrong(spec.at, &join("spec", field), "holds no key", format!("add `{field}: {{name: value}}`"));
    }
}

/// Keys that a type of Secret stands for.
fn secret(walk: &mut Walk<'_, '_>, spec: &Node) {
    let Some(kind) = spec.get("type") else { return };
    let keys: &[&str] = match kind.as_text().unwrap_or_default() {
        "registry" => &["server", "username", "password"],
        "tls" => &["tls.crt", "tls.key"],
        "basicAuth" => &["username", "password"],
        "cloudflare" => &["token"],
        "password" => &["value"],
        _ => &[],
    };
    for key in keys {
        let there = |field| {
            spec.get(field).is_some_and(|d| d.entry(key).is_some()) || walk.found_in(&format!("spec.{field}.{key}"))
        };
        let comes = *key == "value" && spec.get("valueFrom").is_some();
        if !comes && !["data", "stringData"].into_iter().any(there) {
            let message = format!("a Secret of this type has the key `{key}`");
            walk.wrong(
                kind.at,
                "spec.type",
                message,
                format!("add `{key}` below `stringData`, or write `type: opaque`"),
            );
        }
    }
}

fn node(walk: &mut Walk<'_, '_>, spec: &Node) {
    if let Some(roles) = spec.get("roles") {
        if roles.items().is_empty() {
            walk.wrong(roles.at, "spec.roles", "a node has at least one role", "write [agent], or leave `roles` out");
        }
        repeated(walk, roles, "spec.roles");
    }
}

/// Reports an item of a list of texts that stands there twice.
fn repeated(walk: &mut Walk<'_, '_>, list: &Node, path: &str) {
    for (i, item) in list.items().iter().enumerate() {
        if list.items().iter().take(i).any(|earlier| earlier.raw() == item.raw()) {
            let shown = walk.show(item);
            walk.wrong(
                item.at,
                &format!("{path}[{}]", item.place(i)),
                format!("{shown} stands twice"),
                "remove one of the two",
            );
        }
    }
}
