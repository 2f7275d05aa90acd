//! Sentences that a status carries and that are known again where a way out is named.
//!
//! Here: one function for each, for who writes it and for who looks for it: a name that happens to stand in
//! another sentence is then nobody's. Not here: the ways out (`why`).

use crate::model::{
    Kind,
    service::{Dependency, DependencyCondition},
};

/// `config app does not exist`.
#[must_use]
pub fn absent(kind: Kind, name: &str) -> String {
    format!("{} {name} does not exist", kind.name().to_lowercase())
}

/// `config app has no key b`. What it has may follow, after `; it has `.
#[must_use]
pub fn lacks(kind: Kind, name: &str, key: &str) -> String {
    format!("{} {name} has no key {key}", kind.name().to_lowercase())
}

/// `service redis is not ready yet`: a dependency that is there and is waited for.
#[must_use]
pub fn not_yet(dependency: &Dependency) -> String {
    let what = match dependency.condition {
        DependencyCondition::ServiceStarted => "has not started",
        DependencyCondition::ServiceHealthy => "is not ready",
        DependencyCondition::ServiceCompletedSuccessfully => "has not completed",
    };
    format!("service {} {what} yet", dependency.name)
}

/// A container that somebody froze.
#[must_use]
pub fn paused(container: &str) -> String {
    format!("somebody paused the container; `docker unpause {container}` lets it go on")
}
