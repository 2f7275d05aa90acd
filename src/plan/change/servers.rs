//! Who keeps the cluster's log: at least one node with the role `server`.
//!
//! Here: [`without`]. A plan warns of it, the API refuses it. Not here: who votes (`store`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::model::node::{NodeSpec, Role};

/// Why it is not done.
pub const LAST: &str =
    "it is the last node with the role server, which keeps the cluster's log and the key of its Secrets";

/// Nodes from which the role would be taken although no other node has it then. `nodes`: as they are;
/// `wanted`: those that are written.
#[must_use]
pub fn without<'s>(
    nodes: impl IntoIterator<Item = (Arc<str>, &'s NodeSpec)>,
    wanted: impl IntoIterator<Item = (Arc<str>, &'s NodeSpec)>,
) -> BTreeSet<Arc<str>> {
    let server = |(name, spec): (Arc<str>, &NodeSpec)| (name, spec.roles.contains(&Role::Server));
    let before: BTreeMap<_, bool> = nodes.into_iter().map(server).collect();
    let mut after = before.clone();
    after.extend(wanted.into_iter().map(server));
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
        fn each(node: &(Arc<str>, NodeSpec)) -> (Arc<str>, &NodeSpec) {
            (node.0.clone(), &node.1)
        }
        let named = |all: &[(&str, &str)]| -> Vec<(Arc<str>, NodeSpec)> {
            let spec = |what: &str| if what == "server" { server.clone() } else { agent.clone() };
            all.iter().map(|(name, what)| ((*name).into(), spec(what))).collect()
        };
        let table: [(&[_], &[_], &[&str]); 5] = [
            (&[("a", "server")], &[("a", "agent")], &["a"]),
            (&[("a", "server")], &[("a", "server")], &[]),
            (&[("a", "server"), ("b", "server")], &[("a", "agent")], &[]),
            (&[("a", "server"), ("b", "server"), ("c", "agent")], &[("a", "agent"), ("b", "agent")], &["a", "b"]),
            (&[("a", "server"), ("b", "agent")], &[("a", "agent"), ("b", "server")], &[]),
        ];
        for (nodes, wanted, taken) in table {
            let (before, after) = (named(nodes), named(wanted));
            let found = without(before.iter().map(each), after.iter().map(each));
            assert_eq!(found.iter().map(|n| &**n).collect::<Vec<_>>(), taken, "{nodes:?} {wanted:?}");
        }
    }
}
