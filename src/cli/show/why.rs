//! `why`: each difference with its reason, and what a person can do.

use std::fmt::Write as _;

use crate::{
    api::wire::{Difference, ServiceReport, WhyReport},
    cli::text::{self, Times, clean},
    model::{Condition, ConditionStatus, Kind, ObjectKey, Reason, ReplicaPhase},
};

/// Log lines of a failed container that are shown.
const TAIL: usize = 10;

/// The object's first condition, the way from it to its cause, its differences, and what can be done.
#[must_use]
pub fn report(key: &ObjectKey, conditions: &[Condition], why: &WhyReport, times: Times) -> String {
    let differences = &why.differences;
    let mut out = key.to_string();
    if let Some(first) = conditions.first() {
        let age = match times {
            Times::RelativeTo(_) => format!("for {}", times.at(first.last_transition_time)),
            Times::Absolute => format!("since {}", times.at(first.last_transition_time)),
        };
        let _ = write!(out, "  {}={}  {age}", first.kind, first.status);
        if first.status != ConditionStatus::True {
            let _ = write!(out, "  {}", first.reason);
        }
    }
    out.push('\n');
    if differences.is_empty() {
        out.push_str("  nothing differs: everything is as declared\n");
        return out;
    }
    if why.chain.len() > 1 {
        let links: Vec<String> = why.chain.iter().map(|link| clean(link).into_owned()).collect();
        let _ = writeln!(out, "  {}", links.join(" <- "));
    }
    let rows: Vec<Vec<String>> = differences
        .iter()
        .map(|d| {
            vec![
                d.path.clone(),
                text::or_dash(&d.desired).into_owned(),
                text::or_dash(&d.actual).into_owned(),
                d.reason.to_string(),
                d.since.map_or_else(|| "-".into(), |since| times.at(since)),
                d.next_attempt.map_or_else(|| "-".into(), |next| times.around(next)),
            ]
        })
        .collect();
    out.push_str(&text::table(2, &["WHAT", "DESIRED", "ACTUAL", "REASON", "SINCE", "NEXT"], &rows));
    let mut said: Vec<&str> = Vec::new();
    for difference in differences {
        if !difference.message.is_empty() && !said.contains(&difference.message.as_str()) {
            said.push(&difference.message);
            let _ = writeln!(out, "  {}: {}", clean(&difference.path), clean(&difference.message));
        }
        for line in difference.log.iter().rev().take(TAIL).rev() {
            let _ = writeln!(out, "    | {}", clean(line));
        }
    }
    let remedies = remedies(key, differences);
    if !remedies.is_empty() {
        out.push_str("What you can do\n");
        out.push_str(&text::table(2, &[], &remedies));
    }
    out
}

/// What the answer advises, else commands that fit the reason; each once.
fn remedies(key: &ObjectKey, differences: &[Difference]) -> Vec<Vec<String>> {
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut add = |command: String, why: &str| {
        if !rows.iter().any(|row| row[0] == command) {
            rows.push(vec![command, why.to_owned()]);
        }
    };
    for difference in differences {
        if let Some(hint) = &difference.hint {
            add(hint.clone(), "");
            continue;
        }
        match difference.reason {
            Reason::CrashLoopBackOff | Reason::OOMKilled | Reason::Unhealthy | Reason::Failed
                if key.kind == Kind::Service =>
            {
                add(format!("constellation logs {} --tail 50 --all-replicas", key.name), "what the container says");
            }
            Reason::NoNodeFits | Reason::FailedScheduling => {
                add("constellation get nodes -o wide".into(), "what each node has and takes");
            }
            Reason::HostConflict => add("constellation route ls".into(), "who has which host"),
            Reason::MiddlewareNotFound => add("constellation get middlewares".into(), "what there is"),
            Reason::NoEdge => add("constellation status".into(), "which node has no Traefik, and why"),
            Reason::SecretMissing => add("constellation get secrets".into(), "what there is"),
            Reason::ConfigMissing => add("constellation get configs".into(), "what there is"),
            Reason::Cordoned => add(format!("constellation node uncordon {}", key.name), "take new replicas again"),
            _ => {}
        }
    }
    add(format!("constellation events --for {key}"), "what happened");
    rows
}

/// The last log lines of each container that failed, newest state of each slot; of hooks those of the newest revision.
#[must_use]
pub fn last_words(report: &ServiceReport) -> String {
    let mut out = String::new();
    for row in &report.replicas {
        // What did its work says nothing of what went wrong.
        // What a hook said of an earlier revision says nothing of this one.
        let hook = row.display != format!("{}.{}", report.name, row.slot);
        if hook && row.desired.revision != report.revision {
            continue;
        }
        let Some(actual) = row.actual.as_ref().filter(|a| a.state != ReplicaPhase::Completed) else { continue };
        let Some(exit) = actual.last_exit.as_ref().filter(|exit| !actual.ready && !exit.log_tail.is_empty()) else {
            continue;
        };
        let oom = if exit.oom_killed { ", killed for want of memory" } else { "" };
        let how =
            if exit.why.is_empty() { format!("exit {}{oom}", exit.code) } else { format!("unhealthy: {}", exit.why) };
        let _ = writeln!(out, "last lines of {} ({}):", clean(&row.display), clean(&how));
        for line in exit.log_tail.iter().rev().take(TAIL).rev() {
            let _ = writeln!(out, "  | {}", clean(line));
        }
    }
    out
}
