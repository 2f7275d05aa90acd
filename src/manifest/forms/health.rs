//! Docker's health check: its test as a text or a list, and `NONE`.

use super::super::{
    shape::Walk,
    tree::{Entry, Node, Value},
};

/// A text is run by a shell; `NONE` switches the image's check off.
pub(in crate::manifest) fn rewrite(walk: &mut Walk<'_, '_>, mut node: Node, path: &str) -> Option<Node> {
    let Value::Map(entries) = &mut node.value else { return Some(node) };
    let Some(found) = entries.iter().position(|e| e.key == "test") else { return Some(node) };
    let test = &entries[found].value;
    let at = test.at;
    match &test.value {
        Value::Text(text) if text == "NONE" => off(entries, found),
        Value::Text(_) => {
            let words = vec![Node::text(at, "CMD-SHELL"), test.clone()];
            entries[found].value = Node::list(at, words);
        }
        Value::List(items) => match (items.first().and_then(Node::as_text), items.len()) {
            (Some("NONE"), 1) => off(entries, found),
            (Some("CMD"), 2..) | (Some("CMD-SHELL"), 2) | (None, 0) => {}
            _ => {
                walk.wrong(
                    at,
                    &format!("{path}.test"),
                    "the test begins with none of CMD, CMD-SHELL, NONE, or has too few or too many words",
                    "write [\"CMD\", \"program\", \"argument\"], [\"CMD-SHELL\", \"one line\"] or one text",
                );
                entries.remove(found);
            }
        },
        _ => {}
    }
    Some(node)
}

fn off(entries: &mut Vec<Entry>, test: usize) {
    let at = entries.remove(test).at;
    entries.retain(|e| e.key != "disable");
    entries.push(Entry { key: "disable".into(), at, value: Node::yes(at) });
}
