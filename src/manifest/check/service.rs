//! Checks of a Service: its container's settings and its orchestration.

use std::{collections::HashMap, net::IpAddr};

use super::{hooks, is_label, job, probe, repeated, storage};
use crate::{
    manifest::{
        fault::nearest,
        shape::Walk,
        tree::{Entry, Node},
    },
    model::{Bytes, Millicores, Period, constraint::Constraint, reference::ImageReference, service::STOP_GRACE_MAX},
};

/// Checks everything of a Service's spec.
pub(super) fn check(walk: &mut Walk<'_, '_>, name: Option<&str>, spec: &Node) {
    image(walk, spec);
    replicas(walk, spec);
    job::check(walk, spec);
    update(walk, spec);
    grace(walk, spec);
    ports(walk, spec);
    network(walk, spec);
    resources(walk, spec);
    environment(walk, spec);
    kernel(walk, spec);
    process(walk, spec);
    references(walk, name, spec);
    storage::check(walk, spec);
    probe::check(walk, spec);
    hooks::check(walk, spec);
}

/// Entries of a mapping field.
pub(super) fn entries<'n>(spec: &'n Node, field: &str) -> &'n [Entry] {
    spec.get(field).map(Node::entries).unwrap_or_default()
}
/// Items of a list field.
pub(super) fn items<'n>(spec: &'n Node, field: &str) -> &'n [Node] {
    spec.get(field).map(Node::items).unwrap_or_default()
}
/// A text field of a node.
pub(super) fn text<'n>(node: &'n Node, field: &str) -> Option<&'n str> {
    node.get(field).and_then(Node::as_text)
}

fn image(walk: &mut Walk<'_, '_>, spec: &Node) {
    if let Some(node) = spec.get("image")
        && let Err(error) = ImageReference::parse(node.as_text().unwrap_or_default())
    {
        // Its words end with what to do.
        let text = error.to_string();
        let (message, fix) = text.split_once("; ").unwrap_or((&text, "write it like nginx:1.27"));
        walk.wrong(node.at, "spec.image", message, fix);
    }
    if let Some(node) = spec.get("platform") {
        let parts: Vec<&str> = node.as_text().unwrap_or_default().split('/').collect();
        let word = |p: &&str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if !(2..=3).contains(&parts.len()) || !parts.iter().all(word) {
            let shown = walk.show(node);
            walk.wrong(
                node.at,
                "spec.platform",
                format!("{shown} is not a platform"),
                "write it like linux/amd64 or linux/arm/v7",
            );
        }
    }
}

fn grace(walk: &mut Walk<'_, '_>, spec: &Node) {
    let Some(node) = spec.get("stopGracePeriod") else { return };
    let asked = node.as_text().and_then(|t| t.parse::<Period>().ok());
    if asked.is_some_and(|asked| asked.0 > STOP_GRACE_MAX) {
        let message = format!("{} is longer than an hour", walk.show(node));
        walk.wrong(node.at, "spec.stopGracePeriod", message, "write at most 1h: a longer stop would be cut short");
    }
}

fn replicas(walk: &mut Walk<'_, '_>, spec: &Node) {
    if let (Some("global"), Some(node)) = (text(spec, "mode"), spec.get("replicas")) {
        let message = "a global service runs once on each node that fits";
        walk.wrong(node.at, "spec.replicas", message, "remove `replicas`, or write `mode: replicated`");
    }
    let constraints = spec.get("placement").map(|p| items(p, "constraints")).unwrap_or_default();
    for (i, node) in constraints.iter().enumerate() {
        if let Err(error) = node.as_text().unwrap_or_default().parse::<Constraint>() {
            let path = format!("spec.placement.constraints[{}]", node.place(i));
            let message = format!("{:?} is not a constraint: {}", error.text, error.problem);
            walk.wrong(
                node.at,
                &path,
                message,
                "write it like \"node.labels.gpu == intel\", \"node.role != edge\" or \"node.labels.ssd exists\"",
            );
        }
    }
    if let Some(auto) = spec.get("autoRestart") {
        let period =
            |field, default| text(auto, field).and_then(|t| t.parse::<Period>().ok()).unwrap_or(Period::secs(default));
        if period("backoff", 10) > period("maxBackoff", 300) {
            let at = auto.get("maxBackoff").or_else(|| auto.get("backoff")).map_or(auto.at, |n| n.at);
            walk.wrong(
                at,
                "spec.autoRestart.maxBackoff",
                "is shorter than `backoff`",
                "make it at least as long as `backoff`",
            );
        }
    }
}

/// What two replicas of a slot at once would do, and numbers that fit each other.
fn update(walk: &mut Walk<'_, '_>, spec: &Node) {
    for policy in ["update", "rollback"] {
        let Some(node) = spec.get(policy).and_then(|p| p.get("order")) else { continue };
        if node.as_text() != Some("start-first") {
            continue;
        }
        let volumes = items(spec, "volumes").iter();
        let state = volumes.filter(|m| storage::is_state(m)).find_map(|m| text(m, "source"));
        let fixed =
            items(spec, "networks").iter().find(|n| n.get("ipv4Address").is_some() || n.get("ipv6Address").is_some());
        let message = match (state, fixed) {
            (Some(source), _) => format!("{source} is `state`: two replicas must never write it at once"),
            (None, Some(_)) => "a fixed address belongs to one container at a time".to_owned(),
            (None, None) => continue,
        };
        walk.wrong(node.at, &format!("spec.{policy}.order"), message, "write `order: auto` or stop-first");
    }
    let Some(update) = spec.get("update") else { return };
    let period = |field: &str| text(update, field).and_then(|t| t.parse::<Period>().ok());
    if let (Some(healthy), Some(deadline)) = (period("minHealthyTime"), period("progressDeadline"))
        && healthy >= deadline
        && let Some(node) = update.get("progressDeadline")
    {
        let message = format!("{deadline} is not longer than minHealthyTime, {healthy}");
        walk.wrong(
            node.at,
            "spec.update.progressDeadline",
            message,
            "make it longer: no replica could become good in time",
        );
    }
    if let Some(node) = update.get("autoPromote").filter(|node| !node.is_true())
        && update.get("canary").and_then(Node::as_u64).unwrap_or(0) == 0
    {
        let message = "there is no canary that could wait for a word";
        walk.wrong(node.at, "spec.update.autoPromote", message, "add `canary: 1`, or remove it");
    }
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

fn resources(walk: &mut Walk<'_, '_>, spec: &Node) {
    let Some(resources) = spec.get("resources") else { return };
    let find = |group: &str, field: &str| resources.get(group).and_then(|g| g.get(field));
    let size = |n: &Node| n.as_text().and_then(|t| t.parse::<Bytes>().ok());
    let cpu = |n: &Node| n.as_text().and_then(|t| t.parse::<Millicores>().ok());
    for group in ["reservations", "limits"] {
        if let Some(node) = find(group, "cpus").filter(|n| cpu(n).is_some_and(|c| c.0 == 0)) {
            walk.wrong(
                node.at,
                &format!("spec.resources.{group}.cpus"),
                "no CPU at all",
                "write 10m or more, or leave it out",
            );
        }
    }
    if let Some(node) = find("limits", "memory").filter(|n| size(n).is_some_and(|s| s.0 < 6 << 20)) {
        walk.wrong(node.at, "spec.resources.limits.memory", "Docker takes no limit below 6Mi", "write 6Mi or more");
    }
    let message = "more is reserved than the limit allows";
    let fix = "lower the reservation or raise the limit";
    if let (Some(r), Some(l)) = (find("reservations", "memory"), find("limits", "memory"))
        && size(r) > size(l)
    {
        walk.wrong(r.at, "spec.resources.reservations.memory", message, fix);
    }
    if let (Some(r), Some(l)) = (find("reservations", "cpus"), find("limits", "cpus"))
        && cpu(r) > cpu(l)
    {
        walk.wrong(r.at, "spec.resources.reservations.cpus", message, fix);
    }
    if let Some(node) = spec.get("shmSize").filter(|n| size(n).is_some_and(|s| s.0 == 0)) {
        walk.wrong(node.at, "spec.shmSize", "no memory at all", "write 64Mi or more, or leave it out");
    }
}

/// Whether a text may be the name of a variable.
pub(super) fn is_variable(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c == '=' || c.is_whitespace() || c.is_control())
}

fn environment(walk: &mut Walk<'_, '_>, spec: &Node) {
    for entry in entries(spec, "environment") {
        if !is_variable(&entry.key) {
            let path = format!("spec.environment.{}", entry.key);
            walk.wrong(
                entry.at,
                &path,
                format!("{:?} is not the name of a variable", entry.key),
                "no spaces and no =; names are like LOG_LEVEL",
            );
        }
    }
    for entry in entries(spec, "labels") {
        if entry.key.is_empty() || entry.key.starts_with("constellation.") {
            let message = format!("the label {:?} is taken", entry.key);
            walk.wrong(
                entry.at,
                &format!("spec.labels.{}", entry.key),
                message,
                "labels that begin with `constellation.` are the cluster's own; choose another",
            );
        }
    }
}

const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];
#[rustfmt::skip]
const CAPABILITIES: [&str; 42] = [
    "ALL", "AUDIT_CONTROL", "AUDIT_READ", "AUDIT_WRITE", "BLOCK_SUSPEND", "BPF", "CHECKPOINT_RESTORE", "CHOWN",
    "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "IPC_LOCK", "IPC_OWNER", "KILL", "LEASE", "LINUX_IMMUTABLE",
    "MAC_ADMIN", "MAC_OVERRIDE", "MKNOD", "NET_ADMIN", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_RAW", "PERFMON",
    "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYSLOG", "SYS_ADMIN", "SYS_BOOT", "SYS_CHROOT", "SYS_MODULE", "SYS_NICE",
    "SYS_PACCT", "SYS_PTRACE", "SYS_RAWIO", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "WAKE_ALARM",
];
#[rustfmt::skip]
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

fn kernel(walk: &mut Walk<'_, '_>, spec: &Node) {
    let host_network = text(spec, "networkMode") == Some("host");
    for entry in entries(spec, "sysctls") {
        let path = format!("spec.sysctls.{}", entry.key);
        let key = entry.key.as_str();
        let own = key.starts_with("net.") || key.starts_with("fs.mqueue.") || key == "kernel.sem";
        let own = own || ["kernel.shm", "kernel.msg"].iter().any(|p| key.starts_with(p));
        if !own {
            let fix = "a container has its own net.*, fs.mqueue.*, kernel.msg*, kernel.sem and kernel.shm*; set others on the host";
            walk.wrong(entry.at, &path, format!("{key:?} is not a parameter of a container"), fix);
        } else if host_network && key.starts_with("net.") {
            walk.wrong(entry.at, &path, "net.* belongs to the host with `networkMode: host`", "set it on the host");
        }
    }
    for entry in entries(spec, "ulimits") {
        let path = format!("spec.ulimits.{}", entry.key);
        if !ULIMITS.contains(&entry.key.as_str()) {
            let fix = nearest(&entry.key, ULIMITS)
                .map_or_else(|| format!("known: {}", ULIMITS.join(", ")), |n| format!("did you mean `{n}`?"));
            walk.wrong(entry.at, &path, format!("{:?} is not a limit of a process", entry.key), fix);
        }
        let limit = |field| entry.value.get(field).and_then(|n| n.raw()?.parse::<i64>().ok());
        if let (Some(soft), Some(hard)) = (limit("soft"), limit("hard"))
            && hard != -1
            && (soft == -1 || soft > hard)
        {
            walk.wrong(
                entry.value.at,
                &path,
                format!("soft {soft} is above hard {hard}"),
                "raise `hard` or lower `soft` (-1: no limit)",
            );
        }
    }
    for field in ["capAdd", "capDrop"] {
        for (i, node) in items(spec, field).iter().enumerate() {
            let written = node.as_text().unwrap_or_default().to_ascii_uppercase();
            let bare = written.strip_prefix("CAP_").unwrap_or(&written);
            if !CAPABILITIES.contains(&bare) {
                let fix = nearest(bare, CAPABILITIES)
                    .map_or_else(|| "see `man 7 capabilities`".into(), |n| format!("did you mean {n}?"));
                let shown = walk.show(node);
                walk.wrong(
                    node.at,
                    &format!("spec.{field}[{}]", node.place(i)),
                    format!("{shown} is not a capability"),
                    fix,
                );
            }
        }
    }
    for (i, node) in items(spec, "securityOpt").iter().enumerate() {
        let option = node.as_text().unwrap_or_default();
        let (key, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
        let path = format!("spec.securityOpt[{}]", node.place(i));
        match key {
            "no-new-privileges" if matches!(value, "" | "true" | "false") => {}
            "apparmor" | "label" | "systempaths" if !value.is_empty() => {}
            "seccomp" if matches!(value, "unconfined" | "builtin") || value.starts_with('{') => {}
            "seccomp" => walk.wrong(
                node.at,
                &path,
                "the engine takes a seccomp profile as text, not as a file",
                "write seccomp=unconfined, or the profile's JSON after seccomp=",
            ),
            _ => walk.wrong(
                node.at,
                &path,
                format!("{option:?} is not a security option"),
                "known: no-new-privileges, apparmor=…, label=…, seccomp=…, systempaths=unconfined",
            ),
        }
    }
}

/// Whether a text is a signal's name or number.
pub(super) fn is_signal(written: &str) -> bool {
    let upper = written.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    let realtime = bare.starts_with("RTMIN") || bare.starts_with("RTMAX");
    SIGNALS.contains(&bare) || realtime || bare.parse::<u8>().is_ok_and(|n| (1..=64).contains(&n))
}

fn process(walk: &mut Walk<'_, '_>, spec: &Node) {
    if let Some(node) = spec.get("stopSignal") {
        let written = node.as_text().unwrap_or_default();
        if !is_signal(written) {
            let upper = written.to_ascii_uppercase();
            let fix = nearest(upper.strip_prefix("SIG").unwrap_or(&upper), SIGNALS)
                .map_or_else(|| "write it like SIGTERM".into(), |n| format!("did you mean SIG{n}?"));
            walk.wrong(node.at, "spec.stopSignal", format!("{written:?} is not a signal"), fix);
        }
    }
    for field in ["user", "groupAdd"] {
        let list = spec.get(field).map(|n| if n.items().is_empty() { std::slice::from_ref(n) } else { n.items() });
        for node in list.unwrap_or_default() {
            if node.as_text().is_some_and(|t| t.is_empty() || t.contains(char::is_whitespace)) {
                let shown = walk.show(node);
                walk.wrong(
                    node.at,
                    &format!("spec.{field}"),
                    format!("{shown} is not a user or group"),
                    "write a name or a number, like 1000:1000",
                );
            }
        }
    }
    if let Some(node) = spec.get("logging").and_then(|l| l.get("driver"))
        && node.as_text() == Some("")
    {
        walk.wrong(node.at, "spec.logging.driver", "the name is empty", "write json-file, local, journald, none, …");
    }
}

/// Names of other objects.
fn references(walk: &mut Walk<'_, '_>, name: Option<&str>, spec: &Node) {
    for (i, node) in items(spec, "imagePullSecrets").iter().enumerate() {
        let path = format!("spec.imagePullSecrets[{}]", node.place(i));
        super::name(walk, node, &path, 63);
    }
    if let Some(list) = spec.get("imagePullSecrets") {
        repeated(walk, list, "spec.imagePullSecrets");
    }
    let dependencies = items(spec, "dependsOn");
    for (i, dependency) in dependencies.iter().enumerate() {
        let Some(node) = dependency.get("name") else { continue };
        let path = format!("spec.dependsOn[{}].name", dependency.place(i));
        super::name(walk, node, &path, 50);
        if node.as_text() == name {
            walk.wrong(node.at, &path, "a service cannot wait for itself", "remove it");
        }
        if dependencies.iter().take(i).any(|d| text(d, "name") == node.as_text()) {
            let shown = walk.show(node);
            walk.wrong(node.at, &path, format!("{shown} stands twice"), "remove one of the two");
        }
    }
}
