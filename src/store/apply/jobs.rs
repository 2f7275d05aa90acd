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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{ObjectKey, Replica, ReplicaPhase, ReplicaStatus, Status, testing::replica},
        store::command::{Command, Group, testing::put},
    };

    fn uid(text: &str) -> Uid {
        Uid(text.into())
    }
    fn apply(state: &mut State, command: Command) -> Result<(), Refusal> {
        state.apply(&Group { at: 7, commands: vec![command], ..Group::default() }).map(|_| ())
    }
    fn set(state: &mut State, edit: impl FnOnce(&mut JobRecord)) -> Result<(), Refusal> {
        let old = state.job(&uid("web")).cloned();
        let mut job = old.as_deref().cloned().unwrap_or_default();
        edit(&mut job);
        let based_on = old.map(|old| old.resource_version);
        apply(state, Command::SetJob { service: "web".into(), uid: uid("web"), job: Box::new(job), based_on })
    }
    fn begin(job: &mut JobRecord) {
        job.begin(Trigger::Spec, 1, 2, 5);
    }
    fn attempt(name: &str, run: u64) -> Command {
        let own = replica("web", 1);
        let replica = Replica {
            name: name.into(),
            uid: uid(name),
            service_uid: uid("web"),
            node_uid: uid("n1"),
            run: Some(run),
            ..own
        };
        Command::Place { replica, beside: None }
    }
    /// A job with one run under way.
    fn job() -> State {
        let mut state = State::default();
        apply(&mut state, put(Kind::Node, "n1")).unwrap();
        apply(&mut state, put(Kind::Service, "web")).unwrap();
        set(&mut state, begin).unwrap();
        state
    }

    #[test]
    fn what_a_record_may_not_become_is_refused() {
        let ends = |job: &mut JobRecord| job.runs[0].end(RunState::Succeeded, 9);
        let mut state = job();
        set(&mut state, ends).unwrap();
        set(&mut state, begin).unwrap();
        set(&mut state, |job| job.runs.retain(Run::runs)).unwrap();
        set(&mut state, |job| job.runs[0].end(RunState::Failed, 9)).unwrap();
        type Edit = fn(&mut JobRecord);
        let table: [(&str, Edit, &str); 6] = [
            ("it runs again", |job| job.runs[0].state = RunState::Running, "run 2 of svc/web has ended"),
            ("it ends otherwise", |job| job.runs[0].state = RunState::Succeeded, "run 2 of svc/web has ended"),
            ("one comes back", |job| job.runs.insert(0, Run { number: 1, ..Run::default() }), "run 1 of svc/web was"),
            ("counted back", |job| job.last = 1, "were counted further already"),
            ("out of order", |job| job.runs.push(job.runs[0].clone()), "do not follow one another"),
            (
                "of no revision",
                |job| {
                    job.begin(Trigger::Spec, 7, 1, 5);
                },
                "svc/web has no revision 7",
            ),
        ];
        for (case, edit, wanted) in table {
            let before = state.hash();
            let refused = set(&mut state, edit).unwrap_err().to_string();
            assert!(refused.contains(wanted), "{case}: {refused}");
            assert_eq!(state.hash(), before, "{case}");
        }
        // Two that read the same: the second is told.
        let command = |based_on| {
            let job = Box::new(JobRecord { last: 9, ..JobRecord::default() });
            Command::SetJob { service: "web".into(), uid: uid("web"), job, based_on }
        };
        let stale = apply(&mut state, command(Some(Index(1))));
        assert!(matches!(stale, Err(Refusal::Conflict { .. })), "{stale:?}");
        let stale = apply(&mut state, command(None));
        assert!(matches!(stale, Err(Refusal::Conflict { .. })), "{stale:?}");
    }

    #[test]
    fn an_attempt_is_of_a_run_under_way_and_one_at_a_time_has_a_slot() {
        let mut state = job();
        apply(&mut state, attempt("a", 1)).unwrap();
        assert!(apply(&mut state, attempt("b", 1)).unwrap_err().to_string().contains("is held by a"));
        let status = ReplicaStatus { phase: ReplicaPhase::Failed, ..ReplicaStatus::default() };
        let statuses = vec![(ObjectKey::replica("a"), uid("a"), Status::Replica(status))];
        apply(&mut state, Command::RecordObservations { statuses, events: vec![] }).unwrap();
        apply(&mut state, attempt("b", 1)).unwrap();
        set(&mut state, |job| job.runs[0].end(RunState::Succeeded, 9)).unwrap();
        for run in [1, 2] {
            let refused = apply(&mut state, attempt("c", run)).unwrap_err().to_string();
            assert_eq!(refused, format!("run {run} of svc/web is not under way"));
        }
    }

    #[test]
    fn every_turn_is_told_once() {
        let mut state = job();
        set(&mut state, |_| {}).unwrap();
        set(&mut state, |job| job.runs[0].failed = 1).unwrap();
        set(&mut state, |job| job.runs[0].fail(Reason::DeadlineExceeded, "too long".into(), 9)).unwrap();
        let skipped = |job: &mut JobRecord| {
            job.skipped = Some(Skipped { due: 5, count: 2, message: "nobody was there".into() });
        };
        set(&mut state, skipped).unwrap();
        set(&mut state, skipped).unwrap();
        let told: Vec<String> = state
            .events()
            .filter(|e| e.object.name == "web".into())
            .map(|e| format!("{} {}", e.reason, e.message))
            .collect();
        assert_eq!(
            told[1..],
            [
                "RunStarted run 1 begins: revision 1 is new",
                "RunFailed run 1 failed: DeadlineExceeded: too long",
                "RunSkipped 2 runs were let pass: nobody was there",
            ]
        );
    }
}
