//! `job ls`.

use crate::{
    api::wire::{JobList, JobReport, RunView},
    cli::text::{self, Times},
    model::{RunState, job::Trigger},
};

/// Every job, with its last run and its next.
#[must_use]
pub fn jobs(list: &JobList, times: Times) -> String {
    let rows: Vec<Vec<String>> = list
        .items
        .iter()
        .map(|job| {
            let last = job.runs.first();
            let next = match job.next_due {
                _ if job.suspend => "suspended".into(),
                Some(due) => text::absolute(due),
                None => "-".into(),
            };
            vec![
                job.name.to_string(),
                job.mode.as_str().to_owned(),
                text::or_dash(&schedule(job)).into_owned(),
                last.map_or_else(|| "-".into(), |run| run.number.to_string()),
                last.map_or_else(|| "-".into(), state),
                last.map_or_else(|| "-".into(), |run| times.at(run.started_at)),
                next,
            ]
        })
        .collect();
    text::table(0, &["NAME", "MODE", "SCHEDULE", "RUN", "STATE", "BEGAN", "NEXT"], &rows)
}

fn schedule(job: &JobReport) -> String {
    match (&job.schedule, job.time_zone.as_deref()) {
        (Some(schedule), Some(zone)) if zone != "UTC" => text::clean(&format!("{schedule} {zone}")).into_owned(),
        (Some(schedule), _) => text::clean(schedule).into_owned(),
        (None, _) => String::new(),
    }
}

fn state(run: &RunView) -> String {
    match (run.state, run.reason) {
        (RunState::Failed, Some(reason)) => format!("Failed: {reason}"),
        (state, _) => state.to_string(),
    }
}

/// The runs of one job, newest first.
#[must_use]
pub fn runs(job: &JobReport, times: Times) -> String {
    let rows: Vec<Vec<String>> = job
        .runs
        .iter()
        .map(|run| {
            let began = match &run.trigger {
                Trigger::Spec => format!("revision {}", run.revision),
                Trigger::Schedule { due } => format!("due {}", text::absolute(*due)),
                Trigger::Hand { by } => text::clean(by).into_owned(),
            };
            let took = run.ended_at.map(|end| text::duration(end.saturating_sub(run.started_at)));
            vec![
                run.number.to_string(),
                state(run),
                format!("{}/{}", run.succeeded, run.completions),
                run.failed.to_string(),
                began,
                times.at(run.started_at),
                took.unwrap_or_else(|| "-".into()),
                text::or_dash(&text::clean(&run.message)).into_owned(),
            ]
        })
        .collect();
    let mut shown =
        text::table(0, &["RUN", "STATE", "COMPLETED", "FAILED", "BEGUN BY", "BEGAN", "TOOK", "MESSAGE"], &rows);
    if let Some(skipped) = &job.skipped {
        let count = text::count(usize::try_from(skipped.count).unwrap_or(usize::MAX), "run");
        shown.push_str(&format!("let pass last: {count}, {}\n", text::clean(&skipped.message)));
    }
    if let Some(due) = job.next_due {
        shown.push_str(&format!("next: {}\n", text::absolute(due)));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Reason, job::Skipped, service::Mode};

    fn run(number: u64, state: RunState, trigger: Trigger) -> RunView {
        RunView {
            number,
            trigger,
            revision: 1,
            state,
            started_at: 1_000,
            ended_at: (state != RunState::Running).then_some(13_000),
            succeeded: u32::from(state == RunState::Succeeded),
            completions: 1,
            failed: 0,
            reason: (state == RunState::Failed).then_some(Reason::DeadlineExceeded),
            message: if state == RunState::Failed { "it took \u{1b}[1mlonger than 5m".into() } else { String::new() },
            log_tail: Vec::new(),
            replicas: Vec::new(),
            index: number,
        }
    }
    fn report(runs: Vec<RunView>) -> JobReport {
        JobReport {
            index: 9,
            name: "backup".into(),
            mode: Mode::Cron,
            schedule: Some("@daily".into()),
            time_zone: Some("Europe/Berlin".into()),
            suspend: false,
            next_due: Some(1_774_742_400_000),
            skipped: None,
            runs,
        }
    }

    #[test]
    fn a_job_is_a_row_with_its_last_run_and_its_next() {
        let by = Trigger::Hand { by: "root@socket".into() };
        let one = report(vec![run(2, RunState::Failed, by), run(1, RunState::Succeeded, Trigger::Spec)]);
        let shown = jobs(&JobList { index: 9, items: vec![one, report(vec![])] }, Times::new(true));
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[0].starts_with("NAME    MODE  SCHEDULE"), "{shown}");
        assert!(lines[1].contains("@daily Europe/Berlin") && lines[1].contains("Failed: DeadlineExceeded"), "{shown}");
        assert!(lines[1].ends_with("2026-03-29 00:00:00Z") || lines[1].contains("2026-03-29"), "{shown}");
        assert!(lines[2].contains("  -  "), "{shown}");
    }

    #[test]
    fn runs_say_what_began_them_and_what_was_let_pass() {
        let by = Trigger::Hand { by: "root@socket".into() };
        let due = Trigger::Schedule { due: 1_774_742_400_000 };
        let skipped = Skipped { due: 5, count: 3, message: "nobody was there".into() };
        let job = report(vec![run(2, RunState::Failed, by), run(1, RunState::Succeeded, due)]);
        let shown = runs(&JobReport { skipped: Some(skipped), ..job }, Times::new(true));
        assert!(shown.contains("root@socket") && shown.contains("due 2026-03-29"), "{shown}");
        assert!(shown.contains("12s") && shown.contains("it took longer than 5m"), "{shown}");
        assert!(shown.contains("let pass last: 3 runs, nobody was there\nnext: "), "{shown}");
    }
}
