//! Published ports: `8080:80/udp`, `127.0.0.1:8080:80`, ranges, and compose's long form.

use super::super::{
    shape::{MOST_ITEMS, Walk, camel},
    tree::{Entry, Node, Value},
};

const FORMS: &str = "write it like \"8080:80\", \"127.0.0.1:8080:80/udp\" or {target: 80, published: 8080}";

/// Every port in the long form; a range becomes one entry for each port.
pub(in crate::manifest) fn rewrite(walk: &mut Walk<'_, '_>, node: Node, path: &str) -> Option<Node> {
    let Value::List(items) = node.value else { return Some(node) };
    let mut out = Vec::new();
    for (i, item) in items.into_iter().enumerate() {
        let here = format!("{path}[{i}]");
        // The list is too long already, and the walk says so.
        if out.len() > MOST_ITEMS {
            break;
        }
        match &item.value {
            Value::Text(_) | Value::Number(..) => {
                match expand(item.raw().unwrap_or_default()) {
                    Ok(ports) => out.extend(ports.into_iter().map(|p| Node { index: Some(i), ..p.long(&item) })),
                    Err(problem) => {
                        let found = walk.show(&item);
                        walk.wrong(item.at, &here, format!("{found} {problem}"), FORMS);
                    }
                };
            }
            Value::Map(_) => out.extend(long(walk, item, &here).map(|p| Node { index: Some(i), ..p })),
            _ => {
                let found = walk.show(&item);
                walk.wrong(item.at, &here, format!("expected a port, found {found}"), FORMS);
            }
        }
    }
    Some(Node::list(node.at, out))
}

/// Container ports: numbers, or compose's texts with a protocol.
pub(in crate::manifest) fn expose(walk: &mut Walk<'_, '_>, node: Node, path: &str) -> Option<Node> {
    let Value::List(items) = node.value else { return Some(node) };
    let mut out = Vec::new();
    for (i, item) in items.into_iter().enumerate() {
        if out.len() > MOST_ITEMS {
            break;
        }
        let Some(text) = item.as_text() else {
            out.push(Node { index: Some(i), ..item });
            continue;
        };
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        match range(ports) {
            Ok((low, high)) if matches!(protocol, "tcp" | "udp") => {
                let number = |p| Node { index: Some(i), ..Node::number(item.at, u64::from(p)) };
                out.extend((low..=high).map(number));
            }
            _ => {
                let found = walk.show(&item);
                walk.wrong(
                    item.at,
                    &format!("{path}[{i}]"),
                    format!("{found} is not a container port"),
                    "write a number, like 8080",
                );
            }
        }
    }
    Some(Node::list(node.at, out))
}

struct Short {
    host_ip: Option<String>,
    published: Option<u16>,
    target: u16,
    protocol: Option<String>,
}

impl Short {
    fn long(self, item: &Node) -> Node {
        let text = |t: String| Node::text(item.at, t);
        let number = |n: u16| Node::number(item.at, u64::from(n));
        let mut fields = vec![("target", number(self.target))];
        fields.extend(self.published.map(|p| ("published", number(p))));
        fields.extend(self.protocol.map(|p| ("protocol", text(p))));
        fields.extend(self.host_ip.map(|ip| ("hostIp", text(ip))));
        Node::map(item.at, fields)
    }
}

/// `[[IP:]PUBLISHED:]TARGET[/PROTOCOL]`, each port or range of ports.
fn expand(text: &str) -> Result<Vec<Short>, String> {
    let (ports, protocol) = match text.split_once('/') {
        Some((ports, protocol @ ("tcp" | "udp" | "sctp"))) => (ports, Some(protocol.to_owned())),
        Some((_, other)) => return Err(format!("has the protocol {other:?}, not tcp, udp or sctp")),
        None => (text, None),
    };
    let (before, target) = ports.rsplit_once(':').map_or((None, ports), |(b, t)| (Some(b), t));
    let (ip, published) = match before {
        None => (None, None),
        Some(before) => match before.rsplit_once(':') {
            Some((ip, published)) => (Some(ip), Some(published)),
            None => (None, Some(before)),
        },
    };
    let host_ip = match ip.map(|ip| ip.strip_prefix('[').and_then(|i| i.strip_suffix(']')).unwrap_or(ip)) {
        Some(ip) if ip.parse::<std::net::IpAddr>().is_err() => {
            return Err(format!("has {ip:?} in the place of an address"));
        }
        ip => ip.map(str::to_owned),
    };
    let (low, high) = range(target)?;
    let published = match published {
        // `127.0.0.1::80`: a port that Docker chooses, on that address.
        None => None,
        Some("") if host_ip.is_some() => None,
        Some(published) => Some(range(published)?),
    };
    if let Some((from, to)) = published
        && to - from != high - low
    {
        return Err("has ranges of different length: which port would belong to which?".into());
    }
    let port = |n: u16| Short {
        host_ip: host_ip.clone(),
        published: published.map(|(from, _)| from + (n - low)),
        target: n,
        protocol: protocol.clone(),
    };
    Ok((low..=high).map(port).collect())
}

/// Longest range that is written out.
const MOST_PORTS: u16 = 1000;

/// `80` or `8000-8010`.
fn range(text: &str) -> Result<(u16, u16), String> {
    let port = |text: &str| match text.parse::<u32>() {
        Ok(port @ 1..=65535) if !text.starts_with('+') => u16::try_from(port).map_err(|e| e.to_string()),
        Ok(_) => Err(format!("has port {text}, which is out of range (1 to 65535)")),
        Err(_) => Err(format!("has {text:?} in the place of a port")),
    };
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let (low, high) = (port(low)?, port(high)?);
    if high < low {
        return Err(format!("has the range {text}, which ends before it begins"));
    }
    if high - low >= MOST_PORTS {
        return Err(format!("has the range {text}, longer than {MOST_PORTS} ports"));
    }
    Ok((low, high))
}

/// Compose writes `published` as text and `mode: host` out.
fn long(walk: &mut Walk<'_, '_>, mut item: Node, path: &str) -> Option<Node> {
    let Value::Map(entries) = &mut item.value else { return None };
    let mut good = true;
    entries.retain_mut(|entry| match camel(&entry.key).as_str() {
        "published" => {
            good &= published(walk, entry, path);
            true
        }
        // What works is what it says.
        "mode" if entry.value.raw() == Some("host") => false,
        "mode" => {
            let found = walk.show(&entry.value);
            let here = format!("{path}.mode");
            match entry.value.raw() {
                Some("edge" | "leader") => {
                    walk.wrong(entry.value.at, &here, format!("{found} is not built yet"), "this version has host")
                }
                Some("ingress") => {
                    walk.wrong(entry.value.at, &here, "`ingress` is Swarm's", "write `mode: host`, or leave it out")
                }
                _ => walk.wrong(
                    entry.value.at,
                    &here,
                    format!("expected host, found {found}"),
                    "write `mode: host`, or leave it out",
                ),
            }
            good = false;
            false
        }
        _ => true,
    });
    good.then_some(item)
}

fn published(walk: &mut Walk<'_, '_>, entry: &mut Entry, path: &str) -> bool {
    let Some(text) = entry.value.as_text() else { return true };
    match range(text) {
        Ok((low, high)) if low == high => {
            entry.value = Node::number(entry.value.at, u64::from(low));
            return true;
        }
        Ok(_) => walk.wrong(
            entry.value.at,
            &format!("{path}.published"),
            "a range of which one port is taken is not built",
            "write one port, or leave `published` out and Docker chooses one",
        ),
        Err(problem) => {
            let found = walk.show(&entry.value);
            walk.wrong(
                entry.value.at,
                &format!("{path}.published"),
                format!("{found} {problem}"),
                "write a number from 1 to 65535",
            );
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<Vec<String>, String> {
        let one = |p: Short| {
            let part = |o: Option<String>| o.unwrap_or_else(|| "-".into());
            format!(
                "{} {} {} {}",
                part(p.host_ip),
                part(p.published.map(|p| p.to_string())),
                p.target,
                part(p.protocol)
            )
        };
        expand(text).map(|ports| ports.into_iter().map(one).collect())
    }

    #[test]
    fn short_forms_mean_what_compose_means() {
        for (text, ports) in [
            ("80", vec!["- - 80 -"]),
            ("8080:80", vec!["- 8080 80 -"]),
            ("8080:80/udp", vec!["- 8080 80 udp"]),
            ("127.0.0.1:8080:80", vec!["127.0.0.1 8080 80 -"]),
            ("127.0.0.1::80", vec!["127.0.0.1 - 80 -"]),
            ("[::1]:8080:80", vec!["::1 8080 80 -"]),
            ("::1:8080:80", vec!["::1 8080 80 -"]),
            ("3000-3001", vec!["- - 3000 -", "- - 3001 -"]),
            ("9090-9091:8080-8081", vec!["- 9090 8080 -", "- 9091 8081 -"]),
        ] {
            assert_eq!(shown(text).unwrap(), ports, "{text}");
        }
        for bad in
            ["", ":", "a", "80:", ":80", "0", "65536", "8000-8010:80", "9-8", "1-60000", "80/tls", "x:1:2", "+80"]
        {
            assert!(shown(bad).is_err(), "{bad}");
        }
    }
}
