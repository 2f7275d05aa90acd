//! The command about runs of jobs.
//!
//! Here: keeping their record, and telling its turns as events. Not here: deciding any of it (`plan::jobs`).

use std::sync::Arc;

use crate::{
    model::{
        Index, JobRecord, Kind, Object, Reason, Run, RunState, Uid,
        event::Subject,
        job::{Skipped, Trigger},
    },
    store::{
        command::Refusal,
        state::{Changed, State},
    },
};

impl State {
    pub(super) fn set_job(
        &mut self,
        at: u64,
        service: &Uid,
        job: &JobRecord,
        based_on: Option<Index>,
    ) -> Result<(), Refusal> {
        let Some(object) = self.object_by_uid(service).filter(|o| o.kind == Kind::Service).cloned() else {
            return Err(Refusal::Invalid(format!("there is no service {service}")));
        };
        let old = self.jobs.get(service).cloned();
        let found = old.as_ref().map(|r| r.resource_version);
        if found != based_on {
            return Err(Refusal::Conflict { key: object.key(), expected: based_on, found });
        }
        self.fits(&object, old.as_deref(), job).map_err(Refusal::Invalid)?;
        let last = old.as_ref().map_or(0, |old| old.last);
        let kept = |version: Index| {
            let begun = |run: &Run| if run.number > last { version } else { run.index };
            let runs = job.runs.iter().map(|run| Run { index: begun(run), ..run.clone() }).collect();
            JobRecord { runs, resource_version: version, ..job.clone() }
        };
        if old.as_ref().is_some_and(|old| **old == kept(old.resource_version)) {
            return Ok(());
        }
        let index = self.step();
        self.jobs.insert(service.clone(), Arc::new(kept(index)));
        // The Service's own version stays: an end of a run must not fail a user's write.
        self.changed(index, object.key(), Changed::Status);
        self.tell_job(at, &object, old.as_deref(), job);
        Ok(())
    }

    /// Whether a record may follow another.
    fn fits(&self, object: &Object, old: Option<&JobRecord>, job: &JobRecord) -> Result<(), String> {
        let name = &object.meta.name;
        if job.last < old.map_or(0, |old| old.last) || job.runs.iter().any(|run| run.number > job.last) {
            return Err(format!("the runs of svc/{name} were counted further already"));
        }
        if job.runs.windows(2).any(|pair| pair[0].number >= pair[1].number) {
            return Err(format!("the runs of svc/{name} do not follow one another"));
        }
        for run in &job.runs {
            let before = old.and_then(|old| old.run(run.number));
            if before.is_some_and(|before| !before.runs() && before.state != run.state) {
                return Err(format!("run {} of svc/{name} has ended", run.number));
            }
            if before.is_none() && old.is_some_and(|old| run.number <= old.last) {
                return Err(format!("run {} of svc/{name} was forgotten", run.number));
            }
            if run.runs() && self.revision(&object.meta.uid, run.revision).is_none() {
                return Err(format!("svc/{name} has no revision {}", run.revision));
            }
        }
        Ok(())
    }

    /// The turns of its runs as events.
    fn tell_job(&mut self, at: u64, object: &Object, old: Option<&JobRecord>, new: &JobRecord) {
        let subject = || Subject { kind: Kind::Service, name: object.meta.name.clone(), uid: object.meta.uid.clone() };
        if let Some(Skipped { count, message, .. }) = &new.skipped
            && old.and_then(|old| old.skipped.as_ref()) != new.skipped.as_ref()
        {
            let what =
                if *count == 1 { "a run was let pass".to_owned() } else { format!("{count} runs were let pass") };
            self.warn(at, Reason::RunSkipped, subject(), None, format!("{what}: {message}"));
        }
        for run in &new.runs {
            let before = old.and_then(|old| old.run(run.number));
            let number = run.number;
            if before.is_none() {
                let why = match &run.trigger {
                    Trigger::Spec => format!("revision {} is new", run.revision),
                    Trigger::Schedule { .. } => "its schedule".to_owned(),
                    Trigger::Hand { by } => format!("{by} asked for it"),
                };
                self.event(at, Reason::RunStarted, subject(), None, format!("run {number} begins: {why}"));
            }
            if before.is_some_and(|before| before.state == run.state) {
                continue;
            }
            match run.state {
                RunState::Running => {}
                RunState::Succeeded => {
                    self.event(at, Reason::RunSucceeded, subject(), None, format!("run {number} succeeded"));
                }
                RunState::Failed => {
                    let reason = run.reason.unwrap_or(Reason::Failed);
                    let message = format!("run {number} failed: {reason}: {}", run.message);
                    self.warn(at, Reason::RunFailed, subject(), None, message);
                }
            }
        }
    }
}
