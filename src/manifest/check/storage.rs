//! Checks of what a container sees in its file system: mounts, tmpfs, devices, configs and secrets.

use super::{
    is_label,
    service::{entries, is_variable, items, text},
};
use crate::{
    manifest::{
        shape::Walk,
        tree::{Node, Pos},
    },
    model::service::{DataPolicy, Mount},
};

/// Checks everything that is mounted.
pub(super) fn check(walk: &mut Walk<'_, '_>, spec: &Node) {
    let mut targets = Vec::new();
    mounts(walk, spec, &mut targets);
    tmpfs(walk, spec, &mut targets);
    files(walk, spec, &mut targets);
    for (i, (target, at, path)) in targets.iter().enumerate() {
        if let Some((_, first, _)) = targets.iter().take(i).find(|(t, _, _)| t == target) {
            let message = format!("{target:?} is mounted twice: in line {} too", first.line);
            walk.wrong(*at, path, message, "choose another target for one of the two");
        }
    }
    devices(walk, spec);
    if let Some(node) = spec.get("workingDir") {
        absolute(walk, node, "spec.workingDir");
    }
}

/// Target, where it stands, its path.
type Target = (String, Pos, String);

/// Whether it is an absolute path that names something; reports it otherwise.
fn absolute(walk: &mut Walk<'_, '_>, node: &Node, path: &str) -> bool {
    let written = node.as_text().unwrap_or_default();
    let good = written.starts_with('/') && !written.split('/').any(|part| part == "..");
    if !good {
        walk.wrong(node.at, path, format!("{written:?} is not an absolute path"), "write it from /, without ..");
    }
    good
}

fn target(walk: &mut Walk<'_, '_>, node: &Node, path: &str, targets: &mut Vec<Target>) {
    if !absolute(walk, node, path) {
        return;
    }
    let written = node.as_text().unwrap_or_default();
    let plain = written.trim_end_matches('/');
    if plain.is_empty() {
        walk.wrong(node.at, path, "the root of the container cannot be mounted over", "choose a folder below /");
        return;
    }
    targets.push((plain.to_owned(), node.at, path.to_owned()));
}

fn mounts(walk: &mut Walk<'_, '_>, spec: &Node, targets: &mut Vec<Target>) {
    let global = text(spec, "mode") == Some("global");
    let replicas = spec.get("replicas").and_then(Node::as_u64).unwrap_or(1);
    for (i, mount) in items(spec, "volumes").iter().enumerate() {
        let path = format!("spec.volumes[{}]", mount.place(i));
        if let Some(node) = mount.get("target") {
            target(walk, node, &format!("{path}.target"), targets);
        }
        let kind = text(mount, "type").unwrap_or_default();
        source(walk, mount, kind, &path);
        for option in ["bind", "volume", "tmpfs"].into_iter().filter(|o| *o != kind && !kind.is_empty()) {
            if let Some(node) = mount.get(option) {
                let message = format!("a mount of `type: {kind}` has no options of a {option}");
                walk.wrong(
                    node.at,
                    &format!("{path}.{option}"),
                    message,
                    format!("remove it, or write `type: {option}`"),
                );
            }
        }
        for flag in ["perReplica", "external"] {
            if let Some(node) = mount.get(flag).filter(|n| n.is_true() && kind != "volume") {
                let message = "is for named volumes only";
                walk.wrong(
                    node.at,
                    &format!("{path}.{flag}"),
                    message,
                    "remove it, or write `type: volume` and a name as `source`",
                );
            }
        }
        let per_replica = mount.get("perReplica").is_some_and(Node::is_true);
        if let Some(node) = mount.get("external").filter(|n| n.is_true() && per_replica) {
            let message = "one volume with exactly this name cannot be one for each replica";
            walk.wrong(node.at, &format!("{path}.external"), message, "remove `external` or `perReplica`");
        }
        if let Some(node) = mount.get("dataPolicy").filter(|_| kind == "tmpfs") {
            walk.wrong(node.at, &format!("{path}.dataPolicy"), "memory keeps no data", "remove it");
        }
        if is_state(mount) && replicas > 1 && !global && !per_replica {
            let fix = match kind {
                "volume" => {
                    "write `perReplica: true` for a volume for each, or `dataPolicy: shared` if they may share it"
                }
                _ => "write `replicas: 1`, `readOnly: true`, or `dataPolicy: shared` if they may share it",
            };
            let message = format!("{replicas} replicas would write the same data (dataPolicy: state)");
            walk.wrong(mount.at, &path, message, fix);
        }
    }
}

/// Whether nobody else may write a mount's data at the same time.
pub(super) fn is_state(mount: &Node) -> bool {
    serde_json::from_value::<Mount>(mount.to_json()).is_ok_and(|m| m.policy() == DataPolicy::State)
}

fn source(walk: &mut Walk<'_, '_>, mount: &Node, kind: &str, path: &str) {
    let here = format!("{path}.source");
    match (kind, mount.get("source")) {
        ("bind", Some(node)) => {
            absolute(walk, node, &here);
        }
        ("volume", Some(node)) => {
            let name = node.as_text().unwrap_or_default();
            let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
            let good = (2..=200).contains(&name.len())
                && name.bytes().all(word)
                && name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
            if !good {
                let fix = "2 to 200 letters, digits, _, . and -; a path on the host is `type: bind`";
                walk.wrong(node.at, &here, format!("{name:?} is not the name of a volume"), fix);
            }
        }
        ("tmpfs", Some(node)) => walk.wrong(node.at, &here, "memory has no source", "remove it"),
        ("bind", None) => walk.wrong(mount.at, &here, "`source` is missing", "add `source: /path/on/the/host`"),
        ("volume", None) => {
            let fix = "add `source: NAME`: an anonymous volume would be lost with its container";
            walk.wrong(mount.at, &here, "`source` is missing", fix);
        }
        _ => {}
    }
}

fn tmpfs(walk: &mut Walk<'_, '_>, spec: &Node, targets: &mut Vec<Target>) {
    for (i, node) in items(spec, "tmpfs").iter().enumerate() {
        let path = format!("spec.tmpfs[{}]", node.place(i));
        let written = node.as_text().unwrap_or_default();
        let place = written.split(':').next().unwrap_or_default();
        target(walk, &Node::text(node.at, place), &path, targets);
    }
}

fn files(walk: &mut Walk<'_, '_>, spec: &Node, targets: &mut Vec<Target>) {
    let mut variables: Vec<&str> = entries(spec, "environment").iter().map(|e| e.key.as_str()).collect();
    for (field, folder) in [("configs", ""), ("secrets", "/run/secrets")] {
        for (i, file) in items(spec, field).iter().enumerate() {
            let path = format!("spec.{field}[{}]", file.place(i));
            let Some(source) = file.get("source") else { continue };
            let written = source.as_text().unwrap_or_default();
            let (object, key) = written.split_once('/').map_or((written, None), |(o, k)| (o, Some(k)));
            if !is_label(object, 63) || key.is_some_and(|k| k.is_empty() || k.contains('/')) {
                let message = format!("{written:?} is not NAME or NAME/KEY");
                walk.wrong(
                    source.at,
                    &format!("{path}.source"),
                    message,
                    format!("write the name of one of the {field}, a key after / if only one is meant"),
                );
                continue;
            }
            if let Some(env) = file.get("env") {
                variable(walk, file, env, &path, &mut variables);
                continue;
            }
            match file.get("target") {
                Some(node) => target(walk, node, &format!("{path}.target"), targets),
                None => {
                    // One key has its own file name below the object's default place.
                    let place = format!("{folder}/{}", key.unwrap_or(object));
                    targets.push((place, source.at, path));
                }
            }
        }
    }
}

fn variable<'n>(walk: &mut Walk<'_, '_>, file: &'n Node, env: &'n Node, path: &str, variables: &mut Vec<&'n str>) {
    let here = format!("{path}.env");
    let name = env.as_text().unwrap_or_default();
    if !is_variable(name) {
        walk.wrong(
            env.at,
            &here,
            format!("{name:?} is not the name of a variable"),
            "no spaces and no =; names are like DB_PASSWORD",
        );
    }
    for field in ["target", "uid", "gid", "mode"] {
        if let Some(node) = file.get(field) {
            let message = "a variable is no file";
            walk.wrong(node.at, &format!("{path}.{field}"), message, format!("remove `{field}` or `env`"));
        }
    }
    if variables.contains(&name) {
        walk.wrong(
            env.at,
            &here,
            format!("{name} is set twice"),
            "remove it from `environment`, or choose another name",
        );
    }
    variables.push(name);
    walk.warnings.push(format!("{path}: {name} holds a secret as a variable: `docker inspect` on its node shows it"));
}

fn devices(walk: &mut Walk<'_, '_>, spec: &Node) {
    for (i, node) in items(spec, "devices").iter().enumerate() {
        let written = node.as_text().unwrap_or_default();
        let parts: Vec<&str> = written.split(':').collect();
        let rights = |p: &str| !p.is_empty() && p.bytes().all(|b| matches!(b, b'r' | b'w' | b'm'));
        let path = |p: &str| p.starts_with('/') && p.len() > 1;
        let good = match *parts.as_slice() {
            [host] => path(host),
            [host, second] => path(host) && (path(second) || rights(second)),
            [host, inside, third] => path(host) && path(inside) && rights(third),
            _ => false,
        };
        if !good {
            let message = format!("{written:?} is not HOST[:CONTAINER[:rwm]]");
            walk.wrong(
                node.at,
                &format!("spec.devices[{}]", node.place(i)),
                message,
                "write it like /dev/dri:/dev/dri:rw",
            );
        }
    }
}
