//! A configuration file as a tree in which every node knows its line and column.
//!
//! Here: [`read`] of YAML or JSON. Not here: what the keys mean (`file`).
//! Invariant: one document, no aliases, no control characters, at most [`DEPTH`] deep, no key twice in a mapping.

use saphyr_parser::{Event, Parser};

/// Deepest nesting: a list of mappings of lists needs four.
const DEPTH: usize = 16;

/// Line and column, both from 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct At {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tree {
    pub(super) at: At,
    pub(super) value: Value,
}

/// What it holds. Scalars are texts until somebody checks them: `peerPort: 7444` and `--peer-port 7444` mean one
/// thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Scalar(String),
    List(Vec<Tree>),
    Map(Vec<Entry>),
}

/// One key of a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) at: At,
    pub(super) value: Tree,
}

/// What cannot be read: where, what, what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub(super) at: At,
    pub(super) message: String,
    pub(super) fix: &'static str,
}

/// What neither YAML nor JSON allows to stand in a text as it is.
fn is_control(c: char) -> bool {
    c < ' ' && !matches!(c, '\t' | '\n' | '\r')
}

/// A list or mapping whose end has not come yet.
struct Open {
    at: At,
    key: Option<(String, At)>,
    value: Value,
}

/// The file's only document; none of a file without one, or with comments only. Of a key that stands twice the
/// first counts, and `twice` says so.
pub(super) fn read(text: &str, twice: &mut Vec<Unreadable>) -> Result<Option<Tree>, Unreadable> {
    let wrong = |at: At, message: String, fix: &'static str| Err(Unreadable { at, message, fix });
    // The parser takes a NUL for the end of the text: what stands behind it would be ignored in silence.
    if let Some((good, rest)) = text.find(is_control).and_then(|at| text.split_at_checked(at)) {
        let line = good.rsplit('\n').next().unwrap_or_default();
        let at = At { line: good.matches('\n').count() + 1, column: line.chars().count() + 1 };
        let code = rest.chars().next().map_or(0, u32::from);
        return wrong(at, format!("the control character U+{code:04X}"), "remove it");
    }
    let (mut open, mut root, mut documents): (Vec<Open>, Option<Tree>, usize) = (Vec::new(), None, 0);
    for event in Parser::new_from_str(text) {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                let at = At { line: error.marker().line(), column: error.marker().col() + 1 };
                return wrong(at, format!("not readable: {}", error.info()), "write KEY: VALUE lines, as YAML or JSON");
            }
        };
        let at = At { line: span.start.line(), column: span.start.col() + 1 };
        let done = match event {
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd | Event::Nothing => continue,
            Event::DocumentStart(_) if documents == 0 => {
                documents = 1;
                continue;
            }
            Event::DocumentStart(_) => {
                return wrong(at, "a second document begins".into(), "an agent has one configuration: remove the ---");
            }
            Event::MappingStart(..) | Event::SequenceStart(..) if open.len() >= DEPTH => {
                return wrong(at, format!("nested more than {DEPTH} deep"), "this is no configuration of an agent");
            }
            Event::MappingStart(..) => {
                open.push(Open { at, key: None, value: Value::Map(Vec::new()) });
                continue;
            }
            Event::SequenceStart(..) => {
                open.push(Open { at, key: None, value: Value::List(Vec::new()) });
                continue;
            }
            Event::Alias(_) => return wrong(at, "an alias".into(), "write the value out"),
            Event::Scalar(text, ..) => match open.last_mut() {
                Some(Open { key: key @ None, value: Value::Map(_), .. }) => {
                    *key = Some((text.into_owned(), at));
                    continue;
                }
                Some(_) | None => Tree { at, value: Value::Scalar(text.into_owned()) },
            },
            Event::MappingEnd | Event::SequenceEnd => match open.pop() {
                Some(Open { at, value, .. }) => Tree { at, value },
                None => continue,
            },
        };
        match open.last_mut() {
            None => root = Some(done),
            Some(Open { value: Value::List(items), .. }) => items.push(done),
            Some(Open { key, value: Value::Map(entries), .. }) => {
                let Some((key, key_at)) = key.take() else {
                    return wrong(done.at, "a key that is no text".into(), "write KEY: VALUE lines");
                };
                if let Some(first) = entries.iter().find(|e| e.key == key) {
                    let message = format!("{key} stands twice: in line {} too", first.at.line);
                    twice.push(Unreadable { at: key_at, message, fix: "remove one of the two" });
                } else {
                    entries.push(Entry { key, at: key_at, value: done });
                }
            }
            // A scalar is never open.
            Some(Open { value: Value::Scalar(_), .. }) => {}
        }
    }
    Ok(root.filter(|tree| !matches!(&tree.value, Value::Scalar(text) if matches!(text.as_str(), "" | "~"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `key@line:column` and values in order.
    fn told(tree: &Tree, out: &mut String) {
        match &tree.value {
            Value::Scalar(text) => out.push_str(&format!("{text:?}@{}:{} ", tree.at.line, tree.at.column)),
            Value::List(items) => {
                out.push('[');
                items.iter().for_each(|item| told(item, out));
                out.push(']');
            }
            Value::Map(entries) => {
                out.push('{');
                for entry in entries {
                    out.push_str(&format!("{}@{}:{}=", entry.key, entry.at.line, entry.at.column));
                    told(&entry.value, out);
                }
                out.push('}');
            }
        }
    }

    #[test]
    fn every_node_knows_its_place_at_any_depth() {
        let text = "peerPort: 1\n# grants\nlist:\n  - {a: b, c: [d]}\n  - e\n";
        let mut out = String::new();
        told(&read(text, &mut Vec::new()).unwrap().unwrap(), &mut out);
        assert_eq!(out, r#"{peerPort@1:1="1"@1:11 list@3:1=[{a@4:6="b"@4:9 c@4:12=["d"@4:16 ]}"e"@5:5 ]}"#);
        let mut json = String::new();
        told(&read("{\"a\": {\"b\": 1}}", &mut Vec::new()).unwrap().unwrap(), &mut json);
        assert_eq!(json, r#"{a@1:2={b@1:8="1"@1:13 }}"#);
        for nothing in ["", "# only this\n", "~"] {
            assert_eq!(read(nothing, &mut Vec::new()), Ok(None), "{nothing:?}");
        }
    }

    #[test]
    fn what_is_no_configuration_is_refused_with_its_line() {
        let deep = "[".repeat(40);
        for (text, line, said) in [
            ("a: 1\n  b: 2\n", 2, "not readable"),
            ("a: &x 1\nb: *x\n", 2, "an alias"),
            ("a: 1\n---\nb: 2\n", 2, "a second document"),
            ("? {a: b}\n: c\n", 1, "a key that is no text"),
            ("peerPort: 1\n\0joinPort: 2\n", 2, "the control character U+0000"),
            (deep.as_str(), 1, "nested more than 16 deep"),
        ] {
            let fault = read(text, &mut Vec::new()).unwrap_err();
            assert!(fault.message.contains(said) && fault.at.line == line, "{text:?}: {fault:?}");
        }
        let mut twice = Vec::new();
        let tree = read("a: 1\nb: 2\na: 3\n", &mut twice).unwrap().unwrap();
        assert_eq!((twice.len(), twice[0].at.line), (1, 3), "{twice:?}");
        assert!(matches!(&tree.value, Value::Map(entries) if entries.len() == 2), "{tree:?}");
    }
}
