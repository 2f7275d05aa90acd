//! A document as a tree in which every node knows where it stands in the text.
//!
//! Here: [`Node`], walking it by path, turning it into JSON. Not here: reading text (`read`),
//! rewriting short forms (`shape`, `forms`).
//! Invariant: a rewritten node keeps the position of what it was written as, so that a path in the
//! canonical form leads back to the line the person wrote.

use serde_json::Number;

/// A place in the text: line and column in characters, both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Pos {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// One node of a document.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) at: Pos,
    pub(super) value: Value,
    /// Written without quotes: its type may follow from what an interpolation put there.
    pub(super) plain: bool,
    /// An interpolation put (a part of) it there: text and number may stand for each other.
    pub(super) interpolated: bool,
    /// Its number in the list as it was written: items before it may be gone, or be several now.
    pub(super) index: Option<usize>,
}

/// What a node holds. Booleans and numbers keep their text: `0440` and `1.10` mean more than their value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool, Box<str>),
    Number(Number, Box<str>),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One field of a mapping.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) at: Pos,
    pub(super) value: Node,
}

impl Node {
    pub(super) fn new(at: Pos, value: Value) -> Self {
        Self { at, value, plain: false, interpolated: false, index: None }
    }
    pub(super) fn text(at: Pos, text: impl Into<String>) -> Self {
        Self::new(at, Value::Text(text.into()))
    }
    pub(super) fn number(at: Pos, number: impl Into<Number>) -> Self {
        let number = number.into();
        let raw = number.to_string().into();
        Self::new(at, Value::Number(number, raw))
    }
    pub(super) fn yes(at: Pos) -> Self {
        Self::new(at, Value::Bool(true, "true".into()))
    }
    pub(super) fn list(at: Pos, items: Vec<Self>) -> Self {
        Self::new(at, Value::List(items))
    }
    /// A mapping whose fields all stand at `at`: what a short form becomes.
    pub(super) fn map(at: Pos, fields: Vec<(&str, Self)>) -> Self {
        let entries =
            fields.into_iter().map(|(key, value)| Entry { key: key.into(), at: value.at, value }).collect::<Vec<_>>();
        Self::new(at, Value::Map(entries))
    }

    /// Its number in the list as it was written; `here`: in the list as it stands.
    pub(super) fn place(&self, here: usize) -> usize {
        self.index.unwrap_or(here)
    }
    pub(super) fn is_null(&self) -> bool {
        self.value == Value::Null
    }
    /// A scalar as it was written; none for null, lists and mappings.
    pub(super) fn raw(&self) -> Option<&str> {
        match &self.value {
            Value::Bool(_, raw) | Value::Number(_, raw) => Some(raw),
            Value::Text(text) => Some(text),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }
    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
    pub(super) fn as_u64(&self) -> Option<u64> {
        match &self.value {
            Value::Number(number, _) => number.as_u64(),
            _ => None,
        }
    }
    pub(super) fn is_true(&self) -> bool {
        matches!(self.value, Value::Bool(true, _))
    }
    pub(super) fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|e| e.key == key)
    }
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|e| &e.value)
    }
    /// What it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(..) => "true or false",
            Value::Number(..) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// Where the deepest existing part of `path` stands (`ports[0].target`, relative to this node).
    pub(super) fn position(&self, path: &str) -> Pos {
        let mut node = self;
        for step in path.split(['.', '[']).map(|s| s.trim_end_matches(']')).filter(|s| !s.is_empty()) {
            let next = match &node.value {
                Value::Map(_) => node.get(step),
                Value::List(items) => step.parse::<usize>().ok().and_then(|i| items.get(i)),
                _ => None,
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node.at
    }

    /// The same as JSON. A repeated key was reported before; the last one is kept.
    pub(super) fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(b, _) => Json::Bool(*b),
            Value::Number(n, _) => Json::Number(n.clone()),
            Value::Text(t) => Json::String(t.clone()),
            Value::List(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Value::Map(entries) => Json::Object(entries.iter().map(|e| (e.key.clone(), e.value.to_json())).collect()),
        }
    }
}
