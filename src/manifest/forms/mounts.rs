//! Mounts: `name:/data:ro`, `./folder:/data`, and sources in one way of writing: relative ones are made
//! absolute by the client.

use std::path::{Component, Path, PathBuf};

use super::super::{
    shape::{Walk, camel},
    tree::{Entry, Node, Pos, Value},
};

const FORMS: &str =
    "write it like \"data:/data\", \"/srv/data:/data:ro\" or {type: volume, source: data, target: /data}";

/// Every mount in the long form.
pub(in crate::manifest) fn rewrite(walk: &mut Walk<'_, '_>, node: Node, path: &str) -> Option<Node> {
    let Value::List(items) = node.value else { return Some(node) };
    let mut out = Vec::new();
    for (i, item) in items.into_iter().enumerate() {
        let here = format!("{path}[{i}]");
        let long = match &item.value {
            Value::Text(text) => short(walk, &item, text, &here),
            Value::Map(_) => Some(long(item)),
            _ => {
                let found = walk.show(&item);
                walk.wrong(item.at, &here, format!("expected a mount, found {found}"), FORMS);
                None
            }
        };
        let whole = long.and_then(|mount| resolve(walk, mount, &here));
        out.extend(whole.map(|mount| Node { index: Some(i), ..mount }));
    }
    Some(Node::list(node.at, out))
}

/// `[SOURCE:]TARGET[:OPTIONS]`.
fn short(walk: &mut Walk<'_, '_>, item: &Node, text: &str, path: &str) -> Option<Node> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match *parts.as_slice() {
        [source, target] => (source, target, ""),
        [source, target, options] => (source, target, options),
        [_] => {
            let message = format!("{text:?} names no source: an anonymous volume would be lost with its container");
            walk.wrong(item.at, path, message, format!("name the volume: \"data:{text}\""));
            return None;
        }
        _ => {
            walk.wrong(item.at, path, format!("{text:?} is not SOURCE:TARGET[:OPTIONS]"), FORMS);
            return None;
        }
    };
    if source.is_empty() || target.is_empty() {
        walk.wrong(item.at, path, format!("{text:?} is not SOURCE:TARGET[:OPTIONS]"), FORMS);
        return None;
    }
    let bind = source.starts_with(['/', '.', '~']);
    let word = |t: &str| Node::text(item.at, t);
    let mut fields =
        vec![("type", word(if bind { "bind" } else { "volume" })), ("source", word(source)), ("target", word(target))];
    for option in options.split(',').filter(|o| !o.is_empty()) {
        match option {
            "rw" => {}
            "ro" => fields.push(("readOnly", Node::yes(item.at))),
            "nocopy" if !bind => fields.push(("volume", Node::map(item.at, vec![("nocopy", Node::yes(item.at))]))),
            "rprivate" | "private" | "rshared" | "shared" | "rslave" | "slave" if bind => {
                fields.push(("bind", Node::map(item.at, vec![("propagation", word(option))])));
            }
            "z" | "Z" => {
                walk.wrong(
                    item.at,
                    path,
                    format!("the option {option} (SELinux) is not built yet"),
                    "remove it, and label the path on the host",
                );
                return None;
            }
            other => {
                let known = if bind { "ro, rw, rprivate, rshared, rslave" } else { "ro, rw, nocopy" };
                walk.wrong(item.at, path, format!("{other:?} is not an option of a mount"), format!("known: {known}"));
                return None;
            }
        }
    }
    Some(Node::map(item.at, fields))
}

/// `dataPolicy: auto` is the same as none.
fn long(mut item: Node) -> Node {
    if let Value::Map(entries) = &mut item.value {
        entries.retain(|e| !(camel(&e.key) == "dataPolicy" && e.value.raw() == Some("auto")));
    }
    item
}

/// Makes a relative source of a bind absolute, from the folder of the file, and writes every one alike:
/// what is compared with what is recorded, and shared by services, is one path.
fn resolve(walk: &mut Walk<'_, '_>, mut mount: Node, path: &str) -> Option<Node> {
    let is_bind = mount.get("type").and_then(Node::as_text) == Some("bind");
    let Some((at, source)) = mount.get("source").and_then(|s| Some((s.at, s.as_text()?.to_owned()))) else {
        return Some(mount);
    };
    if !is_bind {
        return Some(mount);
    }
    if source.starts_with('/') {
        set_source(&mut mount, at, slashes(&source));
        return Some(mount);
    }
    let here = format!("{path}.source");
    if source.starts_with('~') {
        walk.wrong(at, &here, format!("{source:?} depends on who runs the client"), "write the path out, from /");
        return None;
    }
    let Some(folder) = &walk.options.resolve_paths else {
        let message = format!("{source:?} is a relative path, and a server cannot know from where");
        walk.wrong(
            at,
            &here,
            message,
            "write an absolute path; `constellation apply -f FILE` makes it absolute by itself",
        );
        return None;
    };
    let absolute = plain(&folder.join(&source));
    let Some(text) = absolute.to_str() else {
        walk.wrong(at, &here, "the folder of the file has a name that is not UTF-8", "write an absolute path");
        return None;
    };
    let copied = ["readOnly", "read_only"].iter().any(|k| mount.get(k).is_some_and(Node::is_true))
        && !["dataPolicy", "data_policy"].iter().any(|k| mount.get(k).is_some());
    set_source(&mut mount, at, text.to_owned());
    if copied && let Value::Map(entries) = &mut mount.value {
        // Later it can no longer be seen that the path was relative.
        entries.push(Entry { key: "dataPolicy".into(), at, value: Node::text(at, "config") });
    }
    Some(mount)
}

fn set_source(mount: &mut Node, at: Pos, source: String) {
    if let Value::Map(entries) = &mut mount.value
        && let Some(entry) = entries.iter_mut().find(|e| e.key == "source")
    {
        entry.value = Node::text(at, source);
    }
}

/// `/srv//db/` as `/srv/db`. A `..` stays, to be refused: what it leads to may depend on a link.
fn slashes(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    format!("/{}", parts.join("/"))
}

/// Without `.` and `..`, by words alone: the path need not exist here.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}
