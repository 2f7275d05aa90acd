//! Checks of a Service of `mode: job` or `cron`, and of fields that only they have.

use super::{
    service::{items, text},
    storage,
};
use crate::{
    manifest::{shape::Walk, tree::Node},
    model::{
        Period,
        schedule::{Schedule, Wrong},
    },
};

/// Fields of jobs.
const OWN: [&str; 7] =
    ["schedule", "timeZone", "concurrencyPolicy", "completions", "backoffLimit", "activeDeadline", "ttlAfterFinished"];
/// Fields of what runs until it is stopped, and why a job has none of them.
const OTHERS: [(&str, &str); 5] = [
    ("update", "a job is not rolled out: a run that began ends with the revision that it began with"),
    ("rollback", "a job is not rolled out: a run that began ends with the revision that it began with"),
    ("routes", "a job answers no requests"),
    ("autoRestart", "a job is never restarted: another attempt follows one that failed"),
    ("hooks", "a job is not rolled out: what is to precede its command belongs into it"),
];

/// Checks what `mode` allows, and the schedule.
pub(super) fn check(walk: &mut Walk<'_, '_>, spec: &Node) {
    let mode = text(spec, "mode").unwrap_or("replicated");
    if !matches!(mode, "job" | "cron") {
        for field in OWN {
            if let Some(node) = spec.get(field) {
                let which = if matches!(field, "schedule" | "timeZone") { "cron" } else { "job" };
                let message = format!("is of jobs; this service is `mode: {mode}`");
                walk.wrong(node.at, &format!("spec.{field}"), message, format!("write `mode: {which}`, or remove it"));
            }
        }
        return;
    }
    for (field, message) in OTHERS {
        // An empty list asks for nothing.
        let asked = |n: &&Node| field != "routes" || !n.items().is_empty();
        if let Some(node) = spec.get(field).filter(asked) {
            walk.wrong(node.at, &format!("spec.{field}"), message, "remove it");
        }
    }
    if let Some(node) = spec.get("replicas").filter(|node| node.as_u64() == Some(0)) {
        let message = "of a job it says how many run at once";
        walk.wrong(node.at, "spec.replicas", message, "write 1 or more; `suspend: true` stops it");
    }
    restart(walk, spec);
    concurrency(walk, spec);
    if let Some(node) = spec.get("activeDeadline")
        && node.as_text().and_then(|t| t.parse::<Period>().ok()).is_some_and(|period| period.0.is_zero())
    {
        walk.wrong(node.at, "spec.activeDeadline", "no run could end in time", "write 10m, or leave it out");
    }
    schedule(walk, spec, mode);
}

fn restart(walk: &mut Walk<'_, '_>, spec: &Node) {
    let Some(node) = spec.get("restart") else { return };
    let fix = match node.as_text().unwrap_or_default() {
        "no" | "on-failure" => return,
        counted if counted.starts_with("on-failure:") => {
            let count = counted.trim_start_matches("on-failure:");
            format!("write `backoffLimit: {count}` and leave `restart` out")
        }
        _ => "leave it out; `backoffLimit` says how often another attempt follows one that failed".to_owned(),
    };
    walk.wrong(node.at, "spec.restart", "a job ends by itself and is not restarted", fix);
}

fn concurrency(walk: &mut Walk<'_, '_>, spec: &Node) {
    let Some(node) = spec.get("concurrencyPolicy").filter(|n| n.as_text() == Some("allow")) else { return };
    let state = items(spec, "volumes").iter().filter(|m| storage::is_state(m)).find_map(|m| text(m, "source"));
    if let Some(source) = state {
        let message = format!("{source} is `state`: two runs must never write it at once");
        walk.wrong(node.at, "spec.concurrencyPolicy", message, "write `forbid` or `replace`");
    }
}

fn schedule(walk: &mut Walk<'_, '_>, spec: &Node, mode: &str) {
    if mode == "job" {
        for field in ["schedule", "timeZone"] {
            if let Some(node) = spec.get(field) {
                let message = "a job runs once for each revision and whenever asked";
                walk.wrong(node.at, &format!("spec.{field}"), message, "write `mode: cron`, or remove it");
            }
        }
        return;
    }
    let Some(node) = spec.get("schedule") else {
        walk.wrong(spec.at, "spec.schedule", "is missing", "write it like `schedule: \"30 4 * * *\"` or \"@daily\"");
        return;
    };
    let zone = text(spec, "timeZone").unwrap_or("UTC");
    let Err(wrong) = Schedule::parse(node.as_text().unwrap_or_default(), zone) else { return };
    match (wrong, spec.get("timeZone")) {
        (Wrong::Zone, Some(zone)) => {
            let shown = walk.show(zone);
            let fix = "write its name in the tz database, like Europe/Berlin or UTC";
            walk.wrong(zone.at, "spec.timeZone", format!("there is no time zone {shown}"), fix);
        }
        (wrong, _) => {
            let shown = walk.show(node);
            let fix = "write minute, hour, day of the month, month and day of the week, like \"30 4 * * mon-fri\"; or a word \
                       like \"@daily\"";
            walk.wrong(node.at, "spec.schedule", format!("{shown} is no schedule: {wrong}"), fix);
        }
    }
}
