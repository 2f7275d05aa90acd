//! A plan as text: changed fields, operations, nodes and why.

use std::fmt::Write as _;

use serde_json::Value;

use crate::{
    api::wire::{FieldChange, Operation, PlanAnswer, PlanObject},
    cli::text::{self, clean},
    model::{ObjectKey, replica::Considered},
    plan::change::Outcome,
};

/// How much of a plan is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Fields, operations, warnings and notes.
    Whole,
    /// Fields only.
    Fields,
}

/// Whether anything would change.
#[must_use]
pub fn changes(plan: &PlanAnswer) -> bool {
    plan.objects.iter().any(|object| object.result != Outcome::Unchanged)
}

/// The whole text.
#[must_use]
pub fn text(plan: &PlanAnswer, detail: Detail, set: Option<&str>) -> String {
    let number = |result: Outcome| plan.objects.iter().filter(|o| o.result == result).count();
    let mut out = String::new();
    if detail == Detail::Whole {
        let _ = writeln!(
            out,
            "Plan at index {}   ({} to change, {} to add, {} to delete, {} unchanged)\n",
            plan.index,
            number(Outcome::Configured),
            number(Outcome::Created),
            number(Outcome::Deleted),
            number(Outcome::Unchanged)
        );
    }
    for object in plan.objects.iter().filter(|o| o.result != Outcome::Unchanged) {
        out.push_str(&self::object(object, detail, set));
    }
    for (title, said) in [("Warnings", &plan.warnings), ("Notes", &plan.notes)] {
        if detail == Detail::Whole && !said.is_empty() {
            let _ = writeln!(out, "{title}");
            for line in said {
                let _ = writeln!(out, "  {}", clean(line));
            }
        }
    }
    out
}

fn object(object: &PlanObject, detail: Detail, set: Option<&str>) -> String {
    let key = ObjectKey::new(object.kind, object.name.clone()).to_string();
    let key = clean(&key);
    let mut out = match object.result {
        Outcome::Created => format!("+ {key}"),
        Outcome::Configured => format!("~ {key}"),
        Outcome::Deleted => format!("- {key}"),
        Outcome::Unchanged => format!("  {key}"),
    };
    if object.result == Outcome::Deleted
        && let Some(set) = set
    {
        let _ = write!(out, "   (not in the manifests of set {set:?}, --prune)");
    }
    let counts = object.fields.iter().any(|f| f.path.starts_with("spec"));
    if object.result == Outcome::Configured && counts && object.generation > 1 {
        let _ = write!(out, "   generation {} -> {}", object.generation - 1, object.generation);
    }
    out.push('\n');
    let rows: Vec<Vec<String>> = object.fields.iter().map(field).collect();
    if !rows.is_empty() {
        out.push_str(&text::table(4, &[], &rows));
    }
    if detail == Detail::Whole && !object.operations.is_empty() {
        out.push_str("  operations\n");
        let rows: Vec<Vec<String>> = object.operations.iter().map(operation).collect();
        out.push_str(&text::table(4, &[], &rows));
    }
    out
}

fn field(change: &FieldChange) -> Vec<String> {
    let (sign, said) = match (&change.from, &change.to) {
        (None, Some(to)) => ("+", value(to)),
        (Some(from), None) => ("-", value(from)),
        (Some(from), Some(to)) => ("~", format!("{} -> {}", value(from), value(to))),
        (None, None) => ("~", "changed".to_owned()),
    };
    let force = if change.forces_replace { "(forces replace)" } else { "" };
    vec![format!("{sign} {}", change.path), said, force.to_owned()]
}

/// Text that is plainly text stands without quotes; everything else as JSON.
fn value(value: &Value) -> String {
    match value {
        Value::String(text) => {
            let plain = |c: char| c.is_alphanumeric() || "._-/:@+".contains(c);
            let like_other = matches!(text.as_str(), "true" | "false" | "null") || text.parse::<f64>().is_ok();
            if !text.is_empty() && text.chars().all(plain) && !like_other { text.clone() } else { value.to_string() }
        }
        other => other.to_string(),
    }
}

fn operation(operation: &Operation) -> Vec<String> {
    let place = match &operation.node {
        Some(node) => format!("{} on {node}", operation.replica),
        None => operation.replica.clone(),
    };
    let mut facts: Vec<String> = Vec::new();
    let others: Vec<String> = operation.rejected.iter().map(other).collect();
    match operation.score {
        Some(score) if others.is_empty() => facts.push(format!("score {score}")),
        Some(score) => facts.push(format!("score {score} ({})", others.join("; "))),
        // The detail names each node and what it lacks.
        None if !operation.detail.is_empty() => {}
        None => facts.extend(others),
    }
    // A detail says more than the code, and a score more than `Scheduled`.
    if !operation.detail.is_empty() {
        facts.push(operation.detail.clone());
    } else if operation.score.is_none() {
        facts.push(operation.reason.to_string());
    }
    vec![operation.op.to_string(), place, operation.order.clone().unwrap_or_default(), facts.join(", ")]
}

/// A node that was looked at and not chosen: `n2: 64`, `n4 rejected: constraint …`.
fn other(node: &Considered) -> String {
    let whys: Vec<&str> = node.rejections.iter().map(|r| r.message.as_str()).collect();
    if whys.is_empty() {
        format!("{} scored {}", node.node, node.score)
    } else {
        format!("{} rejected: {}", node.node, whys.join(", "))
    }
}
