//! A look at a machine before and while it runs an agent: what is in order, what is not, what to do.
//!
//! Here: [`examine`], from a configuration to a [`Report`]; the facts that it reads ([`probe`], [`listening`],
//! [`disk`], [`clear`]) and the judgement of each ([`engine`], [`machine`], [`holes`]). Not here: what is printed
//! (`cli::command::doctor`), what an agent checks as it starts (`agent`).
//! Invariants: a judgement is a pure function of facts; every look is bounded in time, and an engine or a disk that
//! does not answer is a finding; nothing is changed but a trial file that is removed again.

pub mod clear;
pub mod disk;
pub mod engine;
pub mod holes;
pub mod listening;
pub mod machine;
#[cfg(test)]
mod mutated;
pub mod probe;

use std::path::Path;

use serde::Serialize;

use crate::config::AgentConfig;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be, or only good to know.
    Ok,
    /// It could not be looked at.
    Skipped,
    /// It works, and may hurt one day.
    Warning,
    /// An agent will not work, or data and secrets are not safe.
    Problem,
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it came out.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Check {
    /// As it should be.
    pub fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, level: Level::Ok, found: found.into(), advice: None }
    }
    /// It could not be looked at, and why.
    pub fn skipped(name: &'static str, why: impl Into<String>) -> Self {
        Self { name, level: Level::Skipped, found: why.into(), advice: None }
    }
    /// It may hurt one day.
    pub fn warning(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, level: Level::Warning, found: found.into(), advice: Some(advice.into()) }
    }
    /// It has to be mended.
    pub fn problem(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, level: Level::Problem, found: found.into(), advice: Some(advice.into()) }
    }
}

/// All that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether there is no problem; warnings are allowed.
    pub healthy: bool,
    /// In the order in which things depend on each other.
    pub checks: Vec<Check>,
}

impl Report {
    /// Of these checks.
    #[must_use]
    pub fn of(checks: Vec<Check>) -> Self {
        Self { healthy: checks.iter().all(|check| check.level != Level::Problem), checks }
    }
}

/// Looks at this machine with the eyes of an agent of this configuration.
pub async fn examine(config: &AgentConfig) -> Report {
    let data = config.data_dir.clone();
    let survey = probe::survey(&config.docker_host).await;
    let mut checks = engine::judge(&survey, probe::rotates().as_ref());
    checks.extend(machine::judge(&probe::machine(data.clone()).await));
    let at = data.clone();
    checks.push(disk::judge_room(
        "room of the data directory",
        &probe::blocking(move || disk::room(&at)).await,
        disk::DATA,
    ));
    if let Some(root) = survey.ok().map(|survey| survey.root).filter(|root| !root.is_empty()) {
        let room = probe::blocking(move || disk::room(Path::new(&root))).await;
        checks.push(disk::judge_room("room of the engine", &room, disk::ENGINE));
    }
    let at = data.clone();
    checks.push(disk::judge_syncs(&probe::blocking(move || disk::syncs(&at)).await));
    let at = data.clone();
    checks.push(disk::judge_data(&probe::blocking(move || disk::data(&at)).await));
    let descriptors = probe::blocking(move || Ok(probe::descriptors(&data))).await;
    let process = match &descriptors {
        Ok(probe::Descriptors::OfAgent { pid, .. }) => pid.to_string(),
        Ok(probe::Descriptors::OfShell { .. }) | Err(_) => "self".to_owned(),
    };
    let at = config.run_dir.clone();
    checks.push(clear::judge(&config.run_dir, &probe::blocking(move || clear::look(&at, &process)).await));
    checks.push(machine::judge_descriptors(&descriptors));
    let (wanted, looked) = (listening::wanted(config), listening::wanted(config));
    checks.extend(listening::judge(&wanted, &probe::blocking(move || Ok(listening::held(&looked))).await));
    Report::of(checks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_allowed_and_a_problem_is_not() {
        let (fine, skipped) = (Check::ok("a", "b"), Check::skipped("a", "b"));
        let (warning, problem) = (Check::warning("a", "b", "c"), Check::problem("a", "b", "c"));
        assert!(Report::of(vec![fine, skipped, warning.clone()]).healthy);
        assert!(!Report::of(vec![warning, problem]).healthy);
    }
}
