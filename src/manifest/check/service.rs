//! Checks of a Service: its container's settings and its orchestration.

use super::{hooks, job, kernel, network, probe, repeated, storage};
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
    network::check(walk, spec);
    resources(walk, spec);
    environment(walk, spec);
    kernel::check(walk, spec);
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

#[rustfmt::skip]
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

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
