//! What is said of a Route, or of a Service with `routes`.
//!
//! Here: [`Verdict`] and the statements that it is made of, and [`conditions`], its words on a Route. Not here: who comes to
//! it (`super::table`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{Condition, ConditionStatus, ConditionType, Reason};

/// A statement of the table about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether it is so.
    pub holds: bool,
    /// Its cause.
    pub reason: Reason,
    /// For people.
    pub message: String,
}

/// What is said of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// It is taken as it is written.
    pub accepted: Finding,
    /// Everything that it names is there.
    pub resolved: Finding,
    /// Somebody can answer.
    pub answered: Finding,
    /// What of it is not served.
    pub left_out: Vec<LeftOut>,
}
impl Default for Verdict {
    fn default() -> Self {
        let good = |reason, message: &str| Finding { holds: true, reason, message: message.into() };
        Self {
            accepted: good(Reason::Accepted, ""),
            resolved: good(Reason::ResolvedRefs, ""),
            answered: good(Reason::UpToDate, ""),
            left_out: Vec::new(),
        }
    }
}

/// A part of an object that is not served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeftOut {
    /// `web.example.com/api on websecure`, or the whole of it.
    pub what: String,
    /// Hosts that it is of; empty: all of the object's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Why.
    pub reason: Reason,
    /// For people.
    pub message: String,
}

/// Why something cannot be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub reason: Reason,
    pub message: String,
}
pub(super) fn refusal(reason: Reason, message: impl Into<String>) -> Refusal {
    Refusal { reason, message: message.into() }
}

/// What is said of a Route: `Ready` first. `programmed`: whether every live edge serves it as the table has it; none
/// where nobody can tell.
#[must_use]
pub fn conditions(
    verdict: &Verdict,
    programmed: Option<&Finding>,
    old: &[Condition],
    (generation, now): (u64, u64),
) -> Vec<Condition> {
    let condition = |kind, status: ConditionStatus, finding: &Finding| {
        let before = old.iter().find(|c| c.kind == kind && c.status == status);
        Condition {
            kind,
            status,
            reason: finding.reason,
            message: finding.message.clone(),
            last_transition_time: before.map_or(now, |c| c.last_transition_time),
            observed_generation: generation,
        }
    };
    let parts = [&verdict.accepted, &verdict.resolved, &verdict.answered];
    let worst = parts.into_iter().chain(programmed).find(|f| !f.holds);
    let good = Finding { holds: true, reason: Reason::UpToDate, message: verdict.answered.message.clone() };
    let of = |finding: &Finding| ConditionStatus::from(finding.holds);
    let ready = worst.unwrap_or(&good);
    let mut all = vec![
        condition(ConditionType::Ready, of(ready), ready),
        condition(ConditionType::Accepted, of(&verdict.accepted), &verdict.accepted),
        condition(ConditionType::ResolvedRefs, of(&verdict.resolved), &verdict.resolved),
    ];
    all.extend(programmed.map(|finding| condition(ConditionType::Programmed, of(finding), finding)));
    all
}
