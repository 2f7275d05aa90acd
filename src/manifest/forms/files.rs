//! Configs and secrets of a service: a name alone, or the long form.

use super::super::{
    shape::Walk,
    tree::{Node, Value},
};

/// A name becomes `{source: NAME}`.
#[allow(clippy::unnecessary_wraps)]
pub(in crate::manifest) fn rewrite(_: &mut Walk<'_, '_>, node: Node, _: &str) -> Option<Node> {
    let Value::List(items) = node.value else { return Some(node) };
    let long = |item: Node| match item.value {
        Value::Text(_) => Node::map(item.at, vec![("source", item.clone())]),
        _ => item,
    };
    Some(Node::list(node.at, items.into_iter().map(long).collect()))
}
