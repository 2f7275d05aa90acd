//! What keeps a Route from being served as it is written, as differences. The table is made from the state alone: since when
//! something is so stands nowhere, and is not said.

use super::Difference;
use crate::plan::routes::{Finding, Verdict};

/// What differs of a Route.
#[must_use]
pub fn route(verdict: &Verdict) -> Vec<Difference> {
    let mut found: Vec<Difference> = Vec::new();
    for part in &verdict.left_out {
        found.push(
            Difference::new(part.what.clone(), "served", "left out", part.reason).because(part.message.clone(), None),
        );
    }
    let told = |found: &[Difference], message: &str| found.iter().any(|d| d.message == message);
    for (path, finding) in [("backends", &verdict.resolved), ("endpoints", &verdict.answered)] {
        if !finding.holds && !told(&found, &finding.message) {
            found
                .push(Difference::new(path, "there", "missing", finding.reason).because(finding.message.clone(), None));
        }
    }
    found
}

/// What differs of a Route, and which edges do not serve it.
#[must_use]
pub fn of_route(verdict: &Verdict, programmed: &Finding) -> Vec<Difference> {
    let mut found = route(verdict);
    found.extend(late("edges", &found, programmed));
    found
}

/// That not every edge serves what is right by itself.
fn late(path: &str, found: &[Difference], programmed: &Finding) -> Option<Difference> {
    let late = found.is_empty() && !programmed.holds;
    let (reason, message) = (programmed.reason, programmed.message.clone());
    late.then(|| Difference::new(path, "served", "not by every edge", reason).because(message, None))
}

/// What would not be served of an object, in a line each, whoever is ready to answer.
#[must_use]
pub fn unserved(verdict: &Verdict) -> Vec<String> {
    let left = verdict.left_out.iter().map(|part| {
        let what = if part.message.contains(&part.what) { String::new() } else { format!("{} ", part.what) };
        (format!("{what}left out ({})", part.reason), &part.message)
    });
    let told = verdict.left_out.iter().any(|part| part.message == verdict.resolved.message);
    let lacks = Some(&verdict.resolved).filter(|finding| !finding.holds && !told);
    let nobody = if verdict.answered.holds { "" } else { "; requests get 503" };
    let lacks = lacks.map(|finding| format!("not all of it answers ({}): {}{nobody}", finding.reason, finding.message));
    left.map(|(what, why)| format!("{what}: {why}")).chain(lacks).collect()
}

/// What differs of the `routes` of a Service; that none of its replicas is ready is said of those.
#[must_use]
pub fn of_service(verdict: &Verdict, programmed: &Finding) -> Vec<Difference> {
    let ready = Finding { holds: true, ..verdict.answered.clone() };
    let mut found = route(&Verdict { answered: ready, ..verdict.clone() });
    found.extend(late("routes", &found, programmed));
    for difference in found.iter_mut().filter(|d| d.path != "routes") {
        difference.path = format!("routes/{}", difference.path);
    }
    found
}
