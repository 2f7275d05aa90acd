//! Checks of how a container is reached and what it reaches: its ports, networks and names.

use std::{collections::HashMap, net::IpAddr};

use super::{
    is_label,
    service::{entries, items, text},
};
use crate::manifest::{shape::Walk, tree::Node};

/// Checks all of them.
pub(super) fn check(walk: &mut Walk<'_, '_>, spec: &Node) {
    ports(walk, spec);
    network(walk, spec);
}

fn ports(walk: &mut Walk<'_, '_>, spec: &Node) {
    let ports = items(spec, "ports");
    // By port and protocol, so that a long list is not held against itself.
    let mut published: HashMap<(u64, &str), Vec<&Node>> = HashMap::new();
    for (i, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{}]", port.place(i));
        if let Some(ip) = port.get("hostIp")
            && ip.as_text().is_none_or(|t| t.parse::<IpAddr>().is_err())
        {
            let shown = walk.show(ip);
            walk.wrong(
                ip.at,
                &format!("{path}.hostIp"),
                format!("{shown} is not an address"),
                "write an IP address, like 192.0.2.1",
            );
        }
        let Some(number) = port.get("published").and_then(Node::as_u64) else { continue };
        let any = |p: &Node| text(p, "hostIp").is_none_or(|ip| matches!(ip, "0.0.0.0" | "::"));
        let same = |other: &&&Node| any(other) || any(port) || text(other, "hostIp") == text(port, "hostIp");
        let others = published.entry((number, text(port, "protocol").unwrap_or("tcp"))).or_default();
        let first = others.iter().find(same).map(|p| p.at.line);
        others.push(port);
        if let Some(line) = first {
            let node = port.get("published").unwrap_or(port);
            let message = format!("{} is published twice: in line {line} too", walk.show(node).trim_matches('"'));
            walk.wrong(
                node.at,
                &format!("{path}.published"),
                message,
                "choose another port, or another `hostIp` for both",
            );
        }
    }
}

fn network(walk: &mut Walk<'_, '_>, spec: &Node) {
    let mode = text(spec, "networkMode").unwrap_or("bridge");
    for (field, why) in [("ports", "publishes nothing"), ("networks", "joins no other network")] {
        if let Some(node) = spec.get(field).filter(|n| mode != "bridge" && !n.items().is_empty()) {
            let message = format!("a container with `networkMode: {mode}` {why}");
            walk.wrong(
                node.at,
                &format!("spec.{field}"),
                message,
                format!("remove `{field}`, or write `networkMode: bridge`"),
            );
        }
    }
    let many =
        text(spec, "mode") == Some("global") || spec.get("replicas").and_then(Node::as_u64).is_some_and(|n| n > 1);
    let networks = items(spec, "networks");
    for (i, network) in networks.iter().enumerate() {
        let path = format!("spec.networks[{}]", network.place(i));
        let Some(name) = network.get("name") else { continue };
        let text_of = name.as_text().unwrap_or_default();
        if !is_label(text_of, 50) {
            walk.wrong(
                name.at,
                &format!("{path}.name"),
                format!("{text_of:?} is not the name of a network"),
                "1 to 50 of a-z, 0-9 and -",
            );
        }
        if networks.iter().take(i).any(|n| text(n, "name") == Some(text_of)) {
            walk.wrong(name.at, &format!("{path}.name"), format!("{text_of:?} stands twice"), "remove one of the two");
        }
        for (j, alias) in items(network, "aliases").iter().enumerate() {
            host_name(walk, alias, &format!("{path}.aliases[{}]", alias.place(j)));
        }
        for (field, six) in [("ipv4Address", false), ("ipv6Address", true)] {
            let Some(node) = network.get(field) else { continue };
            let path = format!("{path}.{field}");
            if node.as_text().and_then(|t| t.parse::<IpAddr>().ok()).is_none_or(|ip| ip.is_ipv6() != six) {
                let shown = walk.show(node);
                let example = if six { "2001:db8::7" } else { "172.20.0.7" };
                walk.wrong(
                    node.at,
                    &path,
                    format!("{shown} is not such an address"),
                    format!("write it like {example}"),
                );
            } else if many {
                walk.wrong(
                    node.at,
                    &path,
                    "several replicas cannot have one address",
                    "remove it, or write `replicas: 1`",
                );
            }
        }
    }
    for (i, node) in items(spec, "dns").iter().enumerate() {
        if node.as_text().is_none_or(|t| t.parse::<IpAddr>().is_err()) {
            let shown = walk.show(node);
            walk.wrong(
                node.at,
                &format!("spec.dns[{}]", node.place(i)),
                format!("{shown} is not an address"),
                "write the IP address of a name server",
            );
        }
    }
    for entry in entries(spec, "extraHosts") {
        let address = entry.value.as_text().unwrap_or_default();
        if address != "host-gateway" && address.parse::<IpAddr>().is_err() {
            let path = format!("spec.extraHosts.{}", entry.key);
            walk.wrong(
                entry.value.at,
                &path,
                format!("{address:?} is not an address"),
                "write an IP address or host-gateway",
            );
        }
    }
    if let Some(node) = spec.get("hostname") {
        host_name(walk, node, "spec.hostname");
    }
}

fn host_name(walk: &mut Walk<'_, '_>, node: &Node, path: &str) {
    let name = node.as_text().unwrap_or_default();
    let part = |p: &str| is_label(&p.to_ascii_lowercase().replace('_', "-"), 63);
    if name.len() > 253 || !name.split('.').all(part) {
        walk.wrong(
            node.at,
            path,
            format!("{name:?} is not a host name"),
            "letters, digits and -, parts joined by dots",
        );
    }
}
