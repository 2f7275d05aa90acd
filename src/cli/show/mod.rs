//! What answers look like to a person: pure functions from wire values to text.
//!
//! Here: one file per thing shown. Not here: asking (`client`), printing (`screen`).
//! Invariant: nothing here reads a clock; times come in as [`super::text::Times`].

pub mod describe;
pub mod events;
pub mod job;
pub mod objects;
pub mod plan;
pub mod replicas;
pub mod rollout;
#[cfg(test)]
mod tests;
pub mod why;

use crate::model::{Condition, ConditionStatus, ConditionType};

/// `Ready`, `NotReady: ImageNotFound`, `Unknown: HealthUnknown`, `Pending` when nobody has reported.
#[must_use]
pub fn readiness(conditions: &[Condition]) -> String {
    match conditions.iter().find(|c| c.kind == ConditionType::Ready) {
        None => "Pending".into(),
        Some(c) => match c.status {
            ConditionStatus::True => "Ready".into(),
            ConditionStatus::False => format!("NotReady: {}", c.reason),
            ConditionStatus::Unknown => format!("Unknown: {}", c.reason),
        },
    }
}
