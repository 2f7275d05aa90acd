//! Checks of hooks: what they run, for how long, and where.

use super::service::{items, text};
use crate::{
    manifest::{shape::Walk, tree::Node},
    model::{Period, reference::ImageReference, service::HOOK_TIMEOUT_MAX},
};

/// Checks all of them.
pub(super) fn check(walk: &mut Walk<'_, '_>, spec: &Node) {
    let Some(hooks) = spec.get("hooks") else { return };
    for entry in hooks.entries() {
        let list = items(hooks, &entry.key);
        for (i, hook) in list.iter().enumerate() {
            one(walk, hook, &format!("spec.hooks.{}[{}]", entry.key, hook.place(i)));
        }
        if entry.key == "preStop" {
            together(walk, &entry.value, list);
        }
    }
}

fn one(walk: &mut Walk<'_, '_>, hook: &Node, path: &str) {
    if let Some(node) = hook.get("command").filter(|node| node.items().iter().all(|n| n.as_text() == Some(""))) {
        walk.wrong(node.at, &format!("{path}.command"), "names no command", "write it like [\"./migrate\"]");
    }
    if let Some(node) = hook.get("image")
        && let Err(error) = ImageReference::parse(node.as_text().unwrap_or_default())
    {
        let text = error.to_string();
        let (message, fix) = text.split_once("; ").unwrap_or((&text, "write it like nginx:1.27"));
        walk.wrong(node.at, &format!("{path}.image"), message, fix);
    }
    let Some(node) = hook.get("timeout") else { return };
    let path = format!("{path}.timeout");
    match node.as_text().and_then(|t| t.parse::<Period>().ok()) {
        Some(asked) if asked.0 > HOOK_TIMEOUT_MAX => {
            let message = format!("{asked} is longer than an hour");
            walk.wrong(node.at, &path, message, "write at most 1h, and run what takes longer as a service of its own");
        }
        Some(asked) if asked.0.is_zero() => walk.wrong(node.at, &path, "nothing is done in no time", "write 30s"),
        Some(_) | None => {}
    }
}

/// A stop waits for all of them.
fn together(walk: &mut Walk<'_, '_>, list: &Node, hooks: &[Node]) {
    let timeout = |hook: &Node| text(hook, "timeout").map_or(Some(Period::secs(300)), |t| t.parse().ok());
    let all: u64 = hooks.iter().filter_map(timeout).map(|period: Period| period.0.as_secs()).sum();
    if hooks.len() > 1 && all > HOOK_TIMEOUT_MAX.as_secs() && !walk.found_in("spec.hooks.preStop") {
        let message = format!("a stop would wait up to {} for them", Period::secs(all));
        walk.wrong(list.at, "spec.hooks.preStop", message, "set `timeout` of each so that all take at most 1h");
    }
}
