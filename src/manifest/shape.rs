//! The shape of a field, and the walk that holds a document against it.
//!
//! Here: [`Shape`] and [`Field`], the words of the tables in `fields`, and [`Walk`], which renames
//! compose's spelling, rewrites short forms, checks every value and refuses what is not built.
//! Not here: the tables (`fields`), the short forms (`forms`), what needs two fields (`check`).
//! Invariant: a value that is returned has its shape; one that has not is reported at its own place.
//! Why a table and not the types: the types of `model` hold only what works, and serde stops at the
//! first error. A test holds the table against the types.

use super::{
    Options,
    fault::{Faults, nearest},
    tree::{Entry, Node, Pos, Value},
};
use crate::model::{Bytes, Millicores, Period};

/// Most items of a list, ranges of ports written out: a short text must not become a large object.
pub(super) const MOST_ITEMS: usize = 1000;

/// What may stand in a field.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// Text; a number or a boolean needs quotes.
    Text,
    /// Text; a number or a boolean is taken as it is written.
    Loose,
    /// true or false.
    Bool,
    /// A whole number within bounds.
    Int(i64, i64),
    /// An amount of bytes.
    Size,
    /// An amount of CPU.
    Cpu,
    /// A length of time.
    Duration,
    /// One of these words; `later`: those that are not built.
    Word { now: &'static [&'static str], later: &'static [&'static str] },
    /// A name as text, or this.
    NameOr(&'static Shape),
    /// A list.
    List(&'static Shape),
    /// Names of the user's own → values.
    Map(&'static Shape),
    /// Named fields.
    Object(&'static [Field]),
    /// Rewritten into its long form, then checked.
    Form(Rewrite, &'static Shape),
    /// Not looked into: only for fields that are refused anyway.
    Any,
}

/// Turns a short form into the long form. None: it was wrong, and that was reported.
pub(super) type Rewrite = fn(&mut Walk<'_, '_>, Node, &str) -> Option<Node>;

/// One field of an object.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) state: State,
}

/// What becomes of a field that was written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It works.
    Works,
    /// It works and must be there; an example.
    Required(&'static str),
    /// It works with this value only, which is the default and left out; others are as [`State::Later`].
    Only(&'static str),
    /// Its shape is checked, then it is refused.
    Later,
    /// It works in another kind only: what is wrong with it here, and what to do.
    Elsewhere(&'static str, &'static str),
    /// The cluster writes it, people do not.
    ClusterOnly,
}

pub(super) const fn works(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, state: State::Works }
}
pub(super) const fn required(name: &'static str, shape: Shape, example: &'static str) -> Field {
    Field { name, shape, state: State::Required(example) }
}
pub(super) const fn later(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, state: State::Later }
}
pub(super) const fn only(name: &'static str, value: &'static str, shape: Shape) -> Field {
    Field { name, shape, state: State::Only(value) }
}
pub(super) const fn cluster_only(name: &'static str) -> Field {
    Field { name, shape: Shape::Any, state: State::ClusterOnly }
}
pub(super) const fn word(now: &'static [&'static str]) -> Shape {
    Shape::Word { now, later: &[] }
}

/// One document on its way to the canonical form.
pub(super) struct Walk<'w, 'o> {
    pub(super) faults: &'w mut Faults,
    pub(super) options: &'w Options<'o>,
    pub(super) warnings: Vec<String>,
    /// The document is a Secret: its values stand in no message.
    pub(super) secret: bool,
}

impl Walk<'_, '_> {
    pub(super) fn wrong(&mut self, at: Pos, path: &str, message: impl Into<String>, fix: impl Into<String>) {
        self.faults.push(at, path, message, fix);
    }

    /// Whether something was found wrong with a field or below it: it has no place in the canonical form then.
    pub(super) fn found_in(&self, path: &str) -> bool {
        self.faults.found_in(path)
    }

    /// A scalar for a message.
    pub(super) fn show(&self, node: &Node) -> String {
        match node.raw() {
            Some(_) if self.secret => "the value".into(),
            Some(raw) if raw.chars().count() > 60 => format!("{:?}…", raw.chars().take(60).collect::<String>()),
            Some(raw) => format!("{raw:?}"),
            None => node.kind().into(),
        }
    }

    fn expected(&mut self, node: &Node, path: &str, what: &str, fix: impl Into<String>) -> Option<Node> {
        let found = self.show(node);
        self.wrong(node.at, path, format!("expected {what}, found {found}"), fix);
        None
    }

    /// Holds a node against a shape and returns its canonical form; none when it is wrong.
    pub(super) fn value(&mut self, node: Node, shape: &Shape, path: &str) -> Option<Node> {
        if node.items().len() > MOST_ITEMS {
            let message = format!("{} items, more than {MOST_ITEMS}", node.items().len());
            self.wrong(node.at, path, message, "shorten the list");
            return None;
        }
        match *shape {
            Shape::Any => Some(node),
            Shape::Form(rewrite, inner) => {
                let node = rewrite(self, node, path)?;
                self.value(node, inner, path)
            }
            Shape::Text => self.text(node, path, false),
            Shape::Loose => self.text(node, path, true),
            Shape::Bool => self.boolean(node, path),
            Shape::Int(low, high) => self.int(node, path, low, high),
            Shape::NameOr(inner) => match node.value {
                Value::Map(_) => self.value(node, inner, path),
                _ => self.text(node, path, false),
            },
            Shape::Size => self.amount::<Bytes>(node, path, "a size", "write it like 512Mi or 1Gi"),
            Shape::Cpu => self.amount::<Millicores>(node, path, "an amount of CPU", "write it like \"0.5\" or 500m"),
            Shape::Duration => self.amount::<Period>(node, path, "a duration", "write it like 10s or 1m30s"),
            Shape::Word { now, later } => self.word(node, path, now, later),
            Shape::List(inner) => {
                let Value::List(items) = node.value else {
                    return self.expected(&node, path, "a list", "write each item on a line of its own after `- `");
                };
                let items = items.into_iter().enumerate().filter_map(|(i, item)| {
                    let place = item.place(i);
                    let item = self.value(item, inner, &format!("{path}[{place}]"))?;
                    Some(Node { index: Some(place), ..item })
                });
                Some(Node::list(node.at, items.collect()))
            }
            Shape::Map(inner) => {
                let Value::Map(entries) = node.value else {
                    return self.expected(
                        &node,
                        path,
                        "a mapping",
                        "write each entry on a line of its own, as `name: value`",
                    );
                };
                let entries = entries.into_iter().filter_map(|entry| {
                    let value = self.value(entry.value, inner, &format!("{path}.{}", entry.key))?;
                    Some(Entry { value, ..entry })
                });
                Some(Node::new(node.at, Value::Map(entries.collect())))
            }
            Shape::Object(fields) => self.object(node, fields, path),
        }
    }

    fn text(&mut self, node: Node, path: &str, loose: bool) -> Option<Node> {
        match node.raw().map(str::to_owned) {
            Some(raw) if raw.contains('\0') => {
                let fix = "remove it; binary data goes base64 into a Secret's `data`";
                self.wrong(node.at, path, "the text holds a NUL character", fix);
                None
            }
            Some(raw) if loose || node.interpolated || node.as_text().is_some() => {
                Some(Node { value: Value::Text(raw), ..node })
            }
            Some(raw) if !self.secret => self.expected(&node, path, "text", format!("put it in quotes: \"{raw}\"")),
            _ => self.expected(&node, path, "text", "write one value, in quotes if it looks like a number"),
        }
    }

    fn boolean(&mut self, node: Node, path: &str) -> Option<Node> {
        match (&node.value, node.raw()) {
            (Value::Bool(..), _) => Some(node),
            (_, Some(raw @ ("true" | "false"))) if node.interpolated => {
                let value = Value::Bool(raw == "true", raw.into());
                Some(Node { value, ..node })
            }
            _ => self.expected(&node, path, "true or false", "write true or false, without quotes"),
        }
    }

    fn int(&mut self, node: Node, path: &str, low: i64, high: i64) -> Option<Node> {
        let number = match &node.value {
            Value::Number(n, _) => n.as_i64().or_else(|| n.as_f64().filter(|f| f.fract() == 0.0).map(|f| f as i64)),
            Value::Text(t) if node.interpolated => t.parse().ok(),
            _ => None,
        };
        // YAML 1.1 and C read 010 as eight, YAML 1.2 as ten.
        if let Value::Number(_, raw) = &node.value
            && raw.len() > 1
            && raw.bytes().all(|b| b.is_ascii_digit())
            && raw.starts_with('0')
        {
            let bare = raw.trim_start_matches('0');
            let fix = format!("write {}, or 0o… for octal", if bare.is_empty() { "0" } else { bare });
            let message = format!("{raw} begins with 0, which some read as octal");
            self.wrong(node.at, path, message, fix);
            return None;
        }
        let range = if high == i64::MAX { format!("{low} or more") } else { format!("from {low} to {high}") };
        match number {
            Some(n) if (low..=high).contains(&n) => Some(Node { value: Node::number(node.at, n).value, ..node }),
            Some(_) => {
                let found = self.show(&node).trim_matches('"').to_owned();
                self.wrong(node.at, path, format!("{found} is out of range"), format!("write a whole number {range}"));
                None
            }
            None => {
                self.expected(&node, path, "a whole number", format!("write a number {range}, without quotes or unit"))
            }
        }
    }

    fn amount<T: std::str::FromStr>(&mut self, node: Node, path: &str, what: &str, fix: &str) -> Option<Node> {
        let unit_missing = what == "a duration" && matches!(node.value, Value::Number(..)) && node.raw() != Some("0");
        match node.raw() {
            Some(raw) if raw.parse::<T>().is_ok() && !matches!(node.value, Value::Bool(..)) => {
                let text = raw.to_owned();
                Some(Node { value: Value::Text(text), ..node })
            }
            Some(raw) if unit_missing => {
                let fix = format!("write it with its unit: {raw}s");
                let found = self.show(&node);
                self.wrong(node.at, path, format!("expected {what}, found {found} without a unit"), fix);
                None
            }
            _ => self.expected(&node, path, what, fix),
        }
    }

    fn word(&mut self, node: Node, path: &str, now: &[&str], later: &[&str]) -> Option<Node> {
        let raw = node.raw().unwrap_or_default();
        if now.contains(&raw) {
            return Some(Node { value: Value::Text(raw.to_owned()), ..node });
        }
        let choice = now.join(", ");
        if later.contains(&raw) {
            let message = format!("`{raw}` is not built yet");
            self.wrong(node.at, path, message, format!("this version has {choice}"));
            return None;
        }
        let near = nearest(raw, now.iter().chain(later).copied());
        let fix = near
            .map_or_else(|| format!("write one of: {choice}"), |n| format!("did you mean {n}? It is one of: {choice}"));
        self.expected(&node, path, &format!("one of {choice}"), fix)
    }

    fn object(&mut self, node: Node, fields: &'static [Field], path: &str) -> Option<Node> {
        let at = node.at;
        let Value::Map(entries) = node.value else {
            let names: Vec<_> = fields.iter().filter(|f| f.state != State::Later).map(|f| f.name).take(6).collect();
            return self.expected(
                &node,
                path,
                "a mapping",
                format!("write its fields as `name: value`: {}", names.join(", ")),
            );
        };
        let mut out: Vec<Entry> = Vec::new();
        // Field, where it stands, how it is spelled.
        let mut met: Vec<(&'static str, Pos, String)> = Vec::new();
        for entry in entries {
            let name = camel(&entry.key);
            let Some(field) = fields.iter().find(|f| f.name == name) else {
                self.unknown(&entry, fields, path);
                continue;
            };
            let below = join(path, field.name);
            if let Some((_, first, spelling)) = met.iter().find(|(n, ..)| *n == field.name) {
                // The same spelling twice was reported by the reader; this is `stop_signal` beside `stopSignal`.
                if *spelling != entry.key {
                    let message = format!("written twice: in line {} and in line {}", first.line, entry.at.line);
                    self.wrong(entry.at, &below, message, "remove one of the two");
                }
                continue;
            }
            met.push((field.name, entry.at, entry.key.clone()));
            match field.state {
                State::ClusterOnly => {
                    self.wrong(entry.at, &below, format!("`{}` is written by the cluster", field.name), "remove it");
                }
                State::Elsewhere(message, fix) => self.wrong(entry.at, &below, message, fix),
                State::Only(value) if entry.value.is_null() || entry.value.raw() == Some(value) => {}
                State::Later | State::Only(_) => self.later(entry.at, &entry.value, &field.shape, &below),
                State::Works | State::Required(_) => {
                    // `environment:` with nothing after it is the same as no `environment`.
                    if entry.value.is_null() {
                        met.pop();
                        continue;
                    }
                    if let Some(value) = self.value(entry.value, &field.shape, &below) {
                        out.push(Entry { key: field.name.into(), at: entry.at, value });
                    }
                }
            }
        }
        for field in fields {
            if let State::Required(example) = field.state
                && !met.iter().any(|(name, ..)| *name == field.name || INSTEAD.contains(&(field.name, name)))
            {
                let fix = format!("add `{example}`");
                self.wrong(at, &join(path, field.name), format!("`{}` is missing", field.name), fix);
            }
        }
        Some(Node::new(at, Value::Map(out)))
    }

    /// Checks the shape of a field that is not built and refuses it.
    pub(super) fn later(&mut self, at: Pos, value: &Node, shape: &Shape, path: &str) {
        let before = self.faults.count();
        if !value.is_null() {
            self.value(value.clone(), shape, path);
        }
        if self.faults.count() == before {
            self.refuse(at, value, path);
        }
    }

    /// Refuses every leaf of a field that is known but not built.
    fn refuse(&mut self, at: Pos, node: &Node, path: &str) {
        let entries = node.entries();
        if entries.is_empty() {
            self.wrong(at, path, "not built yet", "remove it: this version would ignore it");
        }
        for entry in entries {
            self.refuse(entry.at, &entry.value, &join(path, &camel(&entry.key)));
        }
    }

    fn unknown(&mut self, entry: &Entry, fields: &'static [Field], path: &str) {
        let wanted = camel(&entry.key);
        let near = nearest(&wanted, fields.iter().filter(|f| f.state != State::ClusterOnly).map(|f| f.name));
        let fix = if (path, wanted.as_str()) == ("metadata", "namespace") {
            "remove it: there are no namespaces; group objects by labels, prune them by `--set`".to_owned()
        } else if let Some(hint) = super::fields::sold(&wanted, fields) {
            let message = format!("`{}` is not a part of Traefik's open-source edition", entry.key);
            self.wrong(entry.at, &join(path, &entry.key), message, hint);
            return;
        } else if let Some(hint) = super::fields::compose_hint(&wanted).filter(|_| path == "spec") {
            hint.to_owned()
        } else if let Some(near) = near {
            format!("did you mean `{near}`?")
        } else {
            let names: Vec<_> =
                fields.iter().filter(|f| !matches!(f.state, State::Later | State::ClusterOnly)).collect();
            match names.len() {
                0..=14 => format!("known: {}", names.iter().map(|f| f.name).collect::<Vec<_>>().join(", ")),
                _ => "remove it; `constellation schema` lists every field".to_owned(),
            }
        };
        self.wrong(entry.at, &join(path, &entry.key), format!("unknown field `{}`", entry.key), fix);
    }
}

/// What may stand in the place of a field that must be there: refused itself, so that one error is enough.
const INSTEAD: [(&str, &str); 3] = [("image", "build"), ("source", "content"), ("name", "generateName")];

/// `path.name`; the name alone at the top.
pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// compose's spelling in ours: `stop_grace_period` → `stopGracePeriod`.
pub(super) fn camel(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut up = false;
    for c in name.chars() {
        match c {
            '_' if !out.is_empty() => up = true,
            c if up => {
                out.extend(c.to_uppercase());
                up = false;
            }
            c => out.push(c),
        }
    }
    match out.as_str() {
        "memswapLimit" => "memSwapLimit".into(),
        _ => out,
    }
}
