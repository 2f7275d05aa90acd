//! Networks, the network mode, and the two meanings of `dns`.

use super::super::{
    fields::service::DNS_NAMES,
    shape::Walk,
    tree::{Node, Value},
};

/// A list of names or objects, or compose's mapping.
pub(in crate::manifest) fn rewrite(walk: &mut Walk<'_, '_>, node: Node, path: &str) -> Option<Node> {
    super::named(walk, node, path, "the name of a network")
}

/// `service:NAME` is known and not built.
pub(in crate::manifest) fn mode(walk: &mut Walk<'_, '_>, node: Node, path: &str) -> Option<Node> {
    match node.as_text() {
        Some(text) if text.starts_with("service:") => {
            walk.wrong(node.at, path, format!("{text:?} is not built yet"), "this version has bridge, host, none");
            None
        }
        Some(text) if text.starts_with("container:") => {
            walk.wrong(
                node.at,
                path,
                format!("{text:?} names a container, and containers are replaced"),
                "write bridge, host or none",
            );
            None
        }
        _ => Some(node),
    }
}

/// Name servers as a text or a list. A mapping is about the service's own names, which is not built.
pub(in crate::manifest) fn dns(walk: &mut Walk<'_, '_>, node: Node, path: &str) -> Option<Node> {
    if matches!(node.value, Value::Map(_)) {
        walk.later(node.at, &node, &DNS_NAMES, path);
        return None;
    }
    super::one_or_many(walk, node, path)
}
