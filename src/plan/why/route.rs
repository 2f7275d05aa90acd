//! What keeps a Route from being served as it is written, as differences.

use super::Difference;
use crate::plan::routes::Verdict;

/// What differs of a Route.
#[must_use]
pub fn route(verdict: &Verdict, since: u64) -> Vec<Difference> {
    let mut found: Vec<Difference> = Vec::new();
    for part in &verdict.left_out {
        found.push(
            Difference::new(part.what.clone(), "served", "left out", part.reason).because(part.message.clone(), since),
        );
    }
    let told = |found: &[Difference], message: &str| found.iter().any(|d| d.message == message);
    for (path, finding) in [("backends", &verdict.resolved), ("endpoints", &verdict.answered)] {
        if !finding.holds && !told(&found, &finding.message) {
            found.push(
                Difference::new(path, "there", "missing", finding.reason).because(finding.message.clone(), since),
            );
        }
    }
    found
}
