//! A run that a person asks for.
//!
//! Here: [`asked`]. Not here: who may (`api`), what follows ([`super::plan`]).

use super::begun::{UNDER_WAY, make_way};
use crate::model::{JobRecord, job::Trigger, service::Concurrency};
use crate::plan::view::ServiceView;

/// Why it cannot be begun, and what a person can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What is in the way.
    pub message: String,
    /// What can be done.
    pub hint: String,
    /// Another run is in the way: later it can be.
    pub busy: bool,
}

/// The record with one more run.
///
/// # Errors
/// When none may begin now.
pub fn asked(view: &ServiceView, by: &str, now: u64) -> Result<JobRecord, Refused> {
    let name = format!("svc/{}", view.name);
    let refused = |message: String, hint: String, busy| Err(Refused { message, hint, busy });
    let Some((_, spec)) = view.declared.as_ref() else {
        return refused(format!("{name} does not exist"), "apply it".into(), false);
    };
    if !spec.mode.is_job() {
        let message =
            format!("{name} is no job: its replicas run until they are stopped (mode: {})", spec.mode.as_str());
        let hint = format!("`constellation rollout restart {name}` replaces them; `mode: job` makes it one");
        return refused(message, hint, false);
    }
    if spec.suspend {
        return refused(format!("{name} is suspended"), "set `suspend: false` and apply again".into(), false);
    }
    let Some(newest) = view.newest() else {
        return refused(format!("{name} has no revision yet"), "ask again in a moment".into(), false);
    };
    let mut record = view.job.as_deref().cloned().unwrap_or_default();
    if let Err(busy) = make_way(&mut record, spec.concurrency_policy, now) {
        let shows = format!("`constellation job ls {}` shows", view.name);
        let (message, hint) = match spec.concurrency_policy {
            Concurrency::Forbid => (
                format!("run {busy} of {name} is under way, and concurrencyPolicy is forbid"),
                format!("{shows} how far it is; wait, or declare allow or replace"),
            ),
            Concurrency::Allow | Concurrency::Replace => (
                format!("{UNDER_WAY} runs of {name} are under way"),
                format!("{shows} them; wait until some have ended"),
            ),
        };
        return refused(message, hint, true);
    }
    // It is of the newest revision: that needs no run of its own any more.
    record.spec_run = record.spec_run.max(newest.number);
    record.begin(Trigger::Hand { by: by.into() }, newest.number, spec.wanted_completions(), now);
    Ok(record)
}
