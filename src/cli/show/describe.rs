//! `describe`: one object whole.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Deserialize as _;
use serde_json::Value;

use super::{events, replicas};
use crate::{
    api::wire::{Object, UsageStatus, VersionUse, WhyReport},
    cli::{
        replicas::Replicas,
        text::{self, Times, clean},
    },
    model::{Condition, Decision, Event, Kind, ObjectKey},
};

/// Everything that is known of one object.
#[derive(Debug)]
pub struct Whole<'a> {
    /// The object.
    pub object: &'a Object,
    /// Its replicas, when it is a service.
    pub replicas: &'a [Object],
    /// What differs.
    pub why: &'a WhyReport,
    /// Its newest events, oldest first.
    pub events: &'a [Event],
    /// Names of replicas.
    pub known: &'a Replicas,
    /// How times are shown.
    pub times: Times,
}

/// The whole text.
#[must_use]
pub fn text(whole: &Whole<'_>) -> String {
    let Whole { object, times, .. } = whole;
    let meta = &object.metadata;
    let key = ObjectKey::new(object.kind, meta.name.clone());
    let created = match times {
        Times::RelativeTo(_) => format!("{} ago ({})", times.at(meta.created_at), text::absolute(meta.created_at)),
        Times::Absolute => times.at(meta.created_at),
    };
    let mut rows: Vec<Vec<String>> = vec![
        vec!["Name:".into(), meta.name.to_string()],
        vec!["Kind:".into(), object.kind.to_string()],
        vec!["Labels:".into(), pairs(&meta.labels)],
        vec!["Annotations:".into(), pairs(&meta.annotations)],
        vec!["Set:".into(), meta.managed_by.clone().unwrap_or_else(|| "-".into())],
        vec!["Created:".into(), created],
        vec!["Generation:".into(), meta.generation.to_string()],
        vec!["Resource version:".into(), meta.resource_version.to_string()],
        vec!["Uid:".into(), meta.uid.to_string()],
    ];
    if let Some(observed) = object.status.as_ref().and_then(|s| s.get("observedGeneration")) {
        rows.push(vec!["Observed generation:".into(), observed.to_string()]);
    }
    let usage: Option<UsageStatus> = match object.kind {
        Kind::Config | Kind::Secret => object.status.as_ref().and_then(|s| UsageStatus::deserialize(s).ok()),
        Kind::Service | Kind::Node | Kind::Route | Kind::Middleware | Kind::Replica => None,
    };
    if let Some(next) = usage.as_ref().and_then(|u| u.next_rotation) {
        rows.push(vec!["Next value:".into(), format!("{} ({})", times.around(next), text::absolute(next))]);
    }
    let mut out = text::table(0, &[], &rows);
    section(&mut out, "Spec", &yaml(&object.spec));
    let conditions: Vec<Condition> = object
        .status
        .as_ref()
        .and_then(|s| s.get("conditions"))
        .and_then(|c| Vec::deserialize(c).ok())
        .unwrap_or_default();
    if !conditions.is_empty() {
        let rows: Vec<Vec<String>> = conditions
            .iter()
            .map(|c| {
                let since = times.at(c.last_transition_time);
                vec![c.kind.to_string(), c.status.to_string(), c.reason.to_string(), since, c.message.clone()]
            })
            .collect();
        section(&mut out, "Conditions", &text::table(2, &["TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"], &rows));
    }
    if let Some(usage) = usage.filter(|u| !u.versions.is_empty()) {
        section(&mut out, "Versions in use", &versions(&usage));
    }
    // What the status says beyond its conditions.
    if let Some(Value::Object(status)) = &object.status {
        let shown = ["conditions", "observedGeneration", "versions", "nextRotation"];
        let rest: serde_json::Map<_, _> = status
            .iter()
            .filter(|(name, _)| !shown.contains(&name.as_str()))
            .map(|(n, v)| (n.clone(), v.clone()))
            .collect();
        if !rest.is_empty() {
            section(&mut out, "Status", &yaml(&Value::Object(rest)));
        }
    }
    if !whole.replicas.is_empty() {
        let table = replicas::ps(whole.replicas, false, *times);
        section(&mut out, "Replicas", &table.lines().map(|line| format!("  {line}\n")).collect::<String>());
        section(&mut out, "Placement", &placement(whole.replicas));
    }
    if !whole.why.differences.is_empty() {
        let said = super::why::report(&key, &[], whole.why, *times);
        // Its first line names the object, which stands above already.
        let said: String = said.lines().skip(1).map(|line| format!("{line}\n")).collect();
        section(&mut out, "Differences", &said);
    }
    if !whole.events.is_empty() {
        let rows: Vec<Vec<String>> = whole.events.iter().map(|e| events::row(e, whole.known, *times)).collect();
        section(&mut out, "Events", &text::table(2, &events::HEADER, &rows));
    }
    out
}

/// How many replicas run with which version.
fn versions(usage: &UsageStatus) -> String {
    let row = |v: &VersionUse| {
        let number = v.version.map_or_else(|| "unknown".into(), |n| n.to_string());
        let mark = match (v.current, v.kept) {
            (true, _) => " (current)",
            (false, true) => "",
            (false, false) => " (not kept)",
        };
        let services = v.services.iter().map(|(name, count)| format!("svc/{name}: {count}"));
        vec![format!("{number}{mark}"), v.replicas.to_string(), services.collect::<Vec<_>>().join(", ")]
    };
    let rows: Vec<Vec<String>> = usage.versions.iter().map(row).collect();
    text::table(2, &["VERSION", "REPLICAS", "USED BY"], &rows)
}

fn section(out: &mut String, title: &str, body: &str) {
    if !body.is_empty() {
        let _ = write!(out, "\n{title}:\n{body}");
    }
}

fn pairs(map: &BTreeMap<String, String>) -> String {
    if map.is_empty() {
        return "-".into();
    }
    map.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", ")
}

/// YAML, indented, each line cleaned.
fn yaml(value: &Value) -> String {
    if value.as_object().is_some_and(serde_json::Map::is_empty) {
        return String::new();
    }
    let text = serde_yaml::to_string(value).unwrap_or_else(|_| value.to_string());
    text.lines().map(|line| format!("  {}\n", clean(line))).collect()
}

/// Why each replica that shall run is where it is.
fn placement(items: &[Object]) -> String {
    let mut out = String::new();
    for object in items {
        let text = |field: &str| object.spec.get(field).and_then(Value::as_str);
        if text("desired") != Some("Run") {
            continue;
        }
        let Some(decision) = object.spec.get("decision").and_then(|d| Decision::deserialize(d).ok()) else { continue };
        let _ = write!(
            out,
            "  {} on {}: score {}",
            clean(text("display").unwrap_or_default()),
            clean(text("node").unwrap_or_default()),
            decision.score
        );
        for other in &decision.considered {
            let whys: Vec<&str> = other.rejections.iter().map(|r| r.message.as_str()).collect();
            if !whys.is_empty() {
                let _ = write!(out, "; {} rejected: {}", clean(&other.node), clean(&whys.join(", ")));
            } else if decision.node.as_ref() != Some(&other.node) {
                let _ = write!(out, "; {} scored {}", clean(&other.node), other.score);
            }
        }
        out.push('\n');
    }
    out
}
