//! Short forms and compose's forms, rewritten into the long form.
//!
//! Here: those of scalars, lists and mappings, and the few fields of a Service that move. `ports`, `mounts`,
//! `networks`, `files`, `health`: the larger ones. Not here: whether the result makes sense (`check`).
//! Invariant: what is already in the long form passes unchanged, so that the canonical form reads as itself.

pub(super) mod files;
pub(super) mod health;
pub(super) mod mounts;
pub(super) mod networks;
pub(super) mod ports;
mod words;

use super::{
    shape::{Walk, camel},
    tree::{Entry, Node, Pos, Value},
};

/// One text or a list of them.
#[allow(clippy::unnecessary_wraps)]
pub(super) fn one_or_many(_: &mut Walk<'_, '_>, node: Node, _: &str) -> Option<Node> {
    Some(match node.value {
        Value::List(_) => node,
        _ => Node::list(node.at, vec![node]),
    })
}

/// A command as a list, or as one text that is split as a shell would.
pub(super) fn command(walk: &mut Walk<'_, '_>, node: Node, path: &str) -> Option<Node> {
    let Some(text) = node.as_text() else { return Some(node) };
    match words::split(text) {
        Ok(words) => Some(Node::list(node.at, words.into_iter().map(|w| Node::text(node.at, w)).collect())),
        Err(problem) => {
            walk.wrong(node.at, path, problem, "write it as a list: [\"command\", \"argument\"]");
            None
        }
    }
}

/// `[KEY=VALUE]` or a mapping. An entry without `=` has an empty value, as compose means a label.
pub(super) fn pairs(walk: &mut Walk<'_, '_>, node: Node, path: &str) -> Option<Node> {
    split_pairs(walk, node, path, &['='], Some(""))
}

/// As [`pairs`]; an entry without a value takes it from the environment of the client.
pub(super) fn environment(walk: &mut Walk<'_, '_>, mut node: Node, path: &str) -> Option<Node> {
    if let Value::List(items) = &mut node.value {
        for (i, item) in items.iter_mut().enumerate() {
            let Some(name) = item.as_text().filter(|text| !text.is_empty() && !text.contains('=')) else { continue };
            let (name, empty) = (name.to_owned(), format!("{name}="));
            let value = passed_on(walk, item.at, &format!("{path}[{i}]"), &name, &empty);
            *item = Node::text(item.at, format!("{empty}{value}"));
        }
    }
    let mut node = split_pairs(walk, node, path, &['='], None)?;
    if let Value::Map(entries) = &mut node.value {
        for entry in entries.iter_mut().filter(|e| e.value.is_null()) {
            let (at, empty) = (entry.at, format!("{}: \"\"", entry.key));
            let value = passed_on(walk, at, &format!("{path}.{}", entry.key), &entry.key, &empty);
            entry.value = Node::text(at, value);
        }
    }
    Some(node)
}

/// The value that a variable has where the client runs. Without one that is told, and it is empty. `empty`: how an
/// empty value is written.
fn passed_on(walk: &mut Walk<'_, '_>, at: Pos, path: &str, name: &str, empty: &str) -> String {
    walk.options.interpolate.and_then(|lookup| lookup(name)).unwrap_or_else(|| {
        let fix = format!("write `{empty}` for an empty value, or set it where the client runs");
        walk.wrong(at, path, format!("`{name}` has no value"), fix);
        String::new()
    })
}

/// `[NAME:ADDRESS]`, `[NAME=ADDRESS]` or a mapping.
pub(super) fn hosts(walk: &mut Walk<'_, '_>, node: Node, path: &str) -> Option<Node> {
    let mut node = split_pairs(walk, node, path, &['=', ':'], None)?;
    if let Value::Map(entries) = &mut node.value {
        for entry in entries {
            if let Value::Text(address) = &mut entry.value.value
                && let Some(bare) = address.strip_prefix('[').and_then(|a| a.strip_suffix(']'))
            {
                *address = bare.to_owned();
            }
        }
    }
    Some(node)
}

/// `missing`: the value of an entry without a separator; none: that is wrong.
fn split_pairs(
    walk: &mut Walk<'_, '_>,
    node: Node,
    path: &str,
    separators: &[char],
    missing: Option<&str>,
) -> Option<Node> {
    let Value::List(items) = node.value else { return Some(node) };
    let mut entries: Vec<Entry> = Vec::new();
    for (i, item) in items.into_iter().enumerate() {
        let here = format!("{path}[{i}]");
        let separator = separators[0];
        let Some(text) = item.as_text() else {
            let found = walk.show(&item);
            walk.wrong(
                item.at,
                &here,
                format!("expected NAME{separator}VALUE, found {found}"),
                "or write the list as a mapping",
            );
            continue;
        };
        // The first separator that is there at all decides: `a=b:c` and `a:b` both mean what they look like.
        let split = separators.iter().find_map(|s| text.split_once(*s));
        let (key, value) = match split {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (text.to_owned(), missing.map(str::to_owned)),
        };
        let Some(value) = value.filter(|_| !key.is_empty()) else {
            let found = walk.show(&item);
            walk.wrong(
                item.at,
                &here,
                format!("{found} is not NAME{separator}VALUE"),
                format!("write it as NAME{separator}VALUE"),
            );
            continue;
        };
        if let Some(first) = entries.iter().find(|e| e.key == key) {
            let lines = (first.at.line, item.at.line);
            walk.wrong(
                item.at,
                &here,
                format!("`{key}` stands twice: in line {} and in line {}", lines.0, lines.1),
                "remove one of the two",
            );
            continue;
        }
        entries.push(Entry { key, at: item.at, value: Node::text(item.at, value) });
    }
    Some(Node::new(node.at, Value::Map(entries)))
}

/// `nofile: 1024` or `nofile: {soft, hard}`.
#[allow(clippy::unnecessary_wraps)]
pub(super) fn ulimits(_: &mut Walk<'_, '_>, mut node: Node, _: &str) -> Option<Node> {
    if let Value::Map(entries) = &mut node.value {
        for value in entries.iter_mut().map(|e| &mut e.value) {
            if matches!(value.value, Value::Number(..)) {
                *value = Node::map(value.at, vec![("soft", value.clone()), ("hard", value.clone())]);
            }
        }
    }
    Some(node)
}

/// `host:container:rwm`, or `{source, target, permissions}`.
pub(super) fn devices(walk: &mut Walk<'_, '_>, mut node: Node, path: &str) -> Option<Node> {
    if let Value::List(items) = &mut node.value {
        for (i, item) in items.iter_mut().enumerate() {
            let Value::Map(entries) = &item.value else { continue };
            if let Some(other) = entries.iter().find(|e| !["source", "target", "permissions"].contains(&e.key.as_str()))
            {
                let here = format!("{path}[{i}].{}", other.key);
                walk.wrong(
                    other.at,
                    &here,
                    format!("unknown field `{}`", other.key),
                    "known: source, target, permissions",
                );
                return None;
            }
            let part = |name: &str| item.get(name).and_then(Node::as_text);
            let Some(source) = part("source") else {
                walk.wrong(item.at, &format!("{path}[{i}].source"), "`source` is missing", "add `source: /dev/NAME`");
                return None;
            };
            let text = match (part("target"), part("permissions")) {
                (None, None) => source.to_owned(),
                (target, None) => format!("{source}:{}", target.unwrap_or(source)),
                (target, Some(permissions)) => format!("{source}:{}:{permissions}", target.unwrap_or(source)),
            };
            *item = Node::text(item.at, text);
        }
    }
    Some(node)
}

/// Mode bits: `"0440"`, `0440`, `0o440`; never a decimal number, which would mean other bits.
pub(super) fn octal(walk: &mut Walk<'_, '_>, node: Node, path: &str) -> Option<Node> {
    let written = node.raw().unwrap_or_default();
    let digits = written.strip_prefix("0o").unwrap_or(written);
    let decimal = matches!(node.value, Value::Number(..)) && !written.starts_with('0');
    let bits = u32::from_str_radix(digits, 8).ok().filter(|b| *b <= 0o7777 && !digits.starts_with('+'));
    match bits {
        Some(bits) if !decimal => Some(Node::text(node.at, format!("{bits:04o}"))),
        _ => {
            let found = walk.show(&node);
            walk.wrong(
                node.at,
                path,
                format!("{found} is not mode bits in octal"),
                "write them in quotes, like \"0440\"",
            );
            None
        }
    }
}

/// A numeric id; compose writes it in quotes.
#[allow(clippy::unnecessary_wraps)]
pub(super) fn id(_: &mut Walk<'_, '_>, node: Node, _: &str) -> Option<Node> {
    let number = node.as_text().filter(|t| t.bytes().all(|b| b.is_ascii_digit())).and_then(|t| t.parse::<u64>().ok());
    Some(number.map_or_else(|| node.clone(), |n| Node::number(node.at, n)))
}

/// A list of names, a list of objects, or compose's mapping of name → condition.
pub(super) fn dependencies(walk: &mut Walk<'_, '_>, node: Node, path: &str) -> Option<Node> {
    named(walk, node, path, "the name of a service")
}

/// A list of names, of objects with `name`, or a mapping of name → further fields.
pub(super) fn named(walk: &mut Walk<'_, '_>, node: Node, path: &str, what: &str) -> Option<Node> {
    let at = node.at;
    match node.value {
        Value::List(items) => {
            let long = |item: Node| match item.value {
                Value::Text(_) => Node::map(item.at, vec![("name", item.clone())]),
                _ => item,
            };
            Some(Node::list(at, items.into_iter().map(long).collect()))
        }
        Value::Map(entries) => {
            let mut items = Vec::new();
            for Entry { key, at, value } in entries {
                let mut fields = vec![Entry { key: "name".into(), at, value: Node::text(at, key.clone()) }];
                match value.value {
                    Value::Null => {}
                    Value::Map(more) => fields.extend(more),
                    _ => {
                        let found = walk.show(&value);
                        let here = format!("{path}.{key}");
                        walk.wrong(
                            value.at,
                            &here,
                            format!("expected a mapping, found {found}"),
                            format!("or write a list: - name: {key}"),
                        );
                        continue;
                    }
                }
                items.push(Node::new(at, Value::Map(fields)));
            }
            Some(Node::list(at, items))
        }
        _ => {
            let found = walk.show(&node);
            walk.wrong(at, path, format!("expected a list, found {found}"), format!("write {what} after `- `"));
            None
        }
    }
}

/// The restart policy.
pub(super) fn restart(walk: &mut Walk<'_, '_>, node: Node, path: &str) -> Option<Node> {
    let text = node.as_text().unwrap_or_default();
    let counted = text.strip_prefix("on-failure:").is_some_and(|n| n.parse::<u32>().is_ok_and(|n| n > 0));
    if counted || matches!(text, "no" | "on-failure" | "always" | "unless-stopped") {
        return Some(node);
    }
    let found = walk.show(&node);
    walk.wrong(
        node.at,
        path,
        format!("{found} is not a restart policy"),
        "write one of: no (in quotes where YAML 1.1 reads it as false), on-failure, on-failure:3, always, unless-stopped",
    );
    None
}

/// A build as one text is its context.
#[allow(clippy::unnecessary_wraps)]
pub(super) fn build(_: &mut Walk<'_, '_>, node: Node, _: &str) -> Option<Node> {
    Some(match node.value {
        Value::Text(_) => Node::map(node.at, vec![("context", node.clone())]),
        _ => node,
    })
}

/// Compose's resource fields and where they go.
const MOVED: [(&str, [&str; 2]); 4] = [
    ("memLimit", ["limits", "memory"]),
    ("cpus", ["limits", "cpus"]),
    ("memReservation", ["reservations", "memory"]),
    ("pidsLimit", ["limits", "pids"]),
];

/// Moves `mem_limit` and its like below `resources`.
pub(super) fn service(walk: &mut Walk<'_, '_>, mut node: Node, path: &str) -> Option<Node> {
    let at = node.at;
    let Value::Map(entries) = &mut node.value else { return Some(node) };
    let target = |key: &str| MOVED.iter().find(|(name, _)| *name == camel(key)).map(|(_, to)| *to);
    if !entries.iter().any(|e| target(&e.key).is_some()) {
        return Some(node);
    }
    let (moved, mut kept): (Vec<Entry>, Vec<Entry>) =
        std::mem::take(entries).into_iter().partition(|e| target(&e.key).is_some());
    let resources = child(&mut kept, "resources", moved.first().map_or(at, |e| e.at));
    for entry in moved.into_iter().filter(|e| !e.value.is_null()) {
        let Some([group, field]) = target(&entry.key) else { continue };
        // Whatever else stands there is reported as the wrong type by the walk.
        let Some(resources) = map_mut(resources) else { continue };
        let group_node = child(resources, group, entry.at);
        let Some(fields) = map_mut(group_node) else { continue };
        if let Some(first) = fields.iter().find(|e| e.key == field) {
            let message = format!("means the same as {path}.resources.{group}.{field} in line {}", first.at.line);
            walk.wrong(entry.at, &format!("{path}.{}", entry.key), message, "remove one of the two");
            continue;
        }
        fields.push(Entry { key: field.into(), ..entry });
    }
    *entries = kept;
    Some(node)
}

/// The value of a field, made as an empty mapping when it is not there.
fn child<'e>(entries: &'e mut Vec<Entry>, key: &str, at: super::tree::Pos) -> &'e mut Node {
    let found = entries.iter().position(|e| e.key == key).unwrap_or_else(|| {
        entries.push(Entry { key: key.into(), at, value: Node::new(at, Value::Map(Vec::new())) });
        entries.len() - 1
    });
    let node = &mut entries[found].value;
    if node.is_null() {
        node.value = Value::Map(Vec::new());
    }
    node
}

fn map_mut(node: &mut Node) -> Option<&mut Vec<Entry>> {
    match &mut node.value {
        Value::Map(entries) => Some(entries),
        _ => None,
    }
}
