//! Who keeps the cluster's log: at least one node with the role `server`.
//!
//! Here: [`without`]. A plan warns of it, the API refuses it. Not here: who votes (`store`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::model::node::{NodeSpec, Role};

/// Why it is not done.
pub const NONE_LEFT: &str =
    "no node with the role server would be left, and one has to keep the cluster's log and the key of its Secrets";

/// Nodes from which the role would be taken although no other node has it then. `nodes`: as they are;
/// `wanted`: those that are written, none for one that goes.
#[must_use]
pub fn without<'s>(
    nodes: impl IntoIterator<Item = (Arc<str>, &'s NodeSpec)>,
    wanted: impl IntoIterator<Item = (Arc<str>, Option<&'s NodeSpec>)>,
) -> BTreeSet<Arc<str>> {
    let server = |spec: &NodeSpec| spec.roles.contains(&Role::Server);
    let before: BTreeMap<_, bool> = nodes.into_iter().map(|(name, spec)| (name, server(spec))).collect();
    let mut after = before.clone();
    after.extend(wanted.into_iter().map(|(name, spec)| (name, spec.is_some_and(server))));
    if after.values().any(|server| *server) {
        return BTreeSet::new();
    }
    before.into_iter().filter(|(_, server)| *server).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_server_stays_one() {
        let server = NodeSpec::first();
        let agent = NodeSpec { roles: vec![Role::Agent], ..NodeSpec::first() };
        let named = |all: &[(&str, &str)]| -> Vec<(Arc<str>, Option<&NodeSpec>)> {
            let spec = |what: &str| match what {
                "server" => Some(&server),
                "gone" => None,
                _ => Some(&agent),
            };
            all.iter().map(|(name, what)| ((*name).into(), spec(what))).collect()
        };
        let table: [(&[_], &[_], &[&str]); 8] = [
            (&[("a", "server")], &[("a", "agent")], &["a"]),
            (&[("a", "server")], &[("a", "server")], &[]),
            (&[("a", "server"), ("b", "server")], &[("a", "agent")], &[]),
            (&[("a", "server"), ("b", "server"), ("c", "agent")], &[("a", "agent"), ("b", "agent")], &["a", "b"]),
            (&[("a", "server"), ("b", "agent")], &[("a", "agent"), ("b", "server")], &[]),
            (&[("a", "server"), ("b", "agent")], &[("a", "gone")], &["a"]),
            (&[("a", "server"), ("b", "agent")], &[("b", "gone")], &[]),
            (&[("a", "server"), ("b", "server")], &[("a", "gone")], &[]),
        ];
        for (nodes, wanted, taken) in table {
            let before = named(nodes).into_iter().filter_map(|(name, spec)| Some((name, spec?)));
            let found = without(before, named(wanted));
            assert_eq!(found.iter().map(|n| &**n).collect::<Vec<_>>(), taken, "{nodes:?} {wanted:?}");
        }
    }
}
