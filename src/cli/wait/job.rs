//! How far a job is, for whoever waits.

use super::{Progress, because};
use crate::model::{Condition, ConditionStatus, RunState, status::JobStatus};

fn unseen() -> Progress {
    Progress::Waiting("not looked at yet".into())
}

/// How far a job is that was declared: one that runs by a schedule waits for its time.
pub(super) fn done(job: &JobStatus, condition: &Condition) -> Progress {
    match (job.runs.last(), job.next_due) {
        _ if job.waits => Progress::Waiting(because(condition)),
        (Some(run), Some(_)) if run.state == RunState::Failed => Progress::Reached(run.told()),
        (_, Some(_)) if condition.status == ConditionStatus::True => Progress::Reached(condition.message.clone()),
        (_, Some(_)) | (None, None) => Progress::Waiting(because(condition)),
        (Some(run), None) if run.state == RunState::Running && condition.status == ConditionStatus::False => {
            Progress::Waiting(format!("{}; {}", run.told(), because(condition)))
        }
        (Some(run), None) => ran(run.number, Some(job)),
    }
}

/// How far a run is.
pub(super) fn ran(number: u64, job: Option<&JobStatus>) -> Progress {
    let Some(job) = job else { return unseen() };
    let Some(run) = job.runs.iter().find(|run| run.number == number) else {
        let newer = job.runs.iter().any(|run| run.number > number);
        return if newer { Progress::Lost(format!("run {number} is not kept any more")) } else { unseen() };
    };
    match run.state {
        RunState::Running => Progress::Waiting(run.told()),
        RunState::Succeeded => Progress::Reached(run.told()),
        RunState::Failed => Progress::Lost(run.told()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ConditionType, Reason, status::RunStatus};

    #[derive(Debug, PartialEq)]
    enum Kind {
        Waiting,
        Reached,
        Lost,
    }
    fn kind(progress: &Progress) -> Kind {
        match progress {
            Progress::Waiting(_) => Kind::Waiting,
            Progress::Reached(_) => Kind::Reached,
            Progress::Lost(_) | Progress::Paused(_) | Progress::Asks(_) => Kind::Lost,
        }
    }
    fn run(number: u64, state: RunState) -> RunStatus {
        RunStatus { number, state, completions: 1, ..RunStatus::default() }
    }
    fn job(runs: &[RunStatus], next_due: Option<u64>, waits: bool) -> JobStatus {
        JobStatus { runs: runs.to_vec(), next_due, waits }
    }

    #[test]
    fn a_job_arrives_with_the_end_of_its_run_and_a_schedule_at_once() {
        use ConditionStatus::{False, True};
        let (running, done_, failed) =
            (run(4, RunState::Running), run(4, RunState::Succeeded), run(4, RunState::Failed));
        for (case, job, status, wanted) in [
            ("its run is about to begin", job(&[], None, true), False, Kind::Waiting),
            ("an older run ended", job(std::slice::from_ref(&done_), None, true), True, Kind::Waiting),
            ("under way", job(std::slice::from_ref(&running), None, false), True, Kind::Waiting),
            ("its engine refuses it", job(&[running], None, false), False, Kind::Waiting),
            ("done", job(&[done_], None, false), True, Kind::Reached),
            ("failed", job(std::slice::from_ref(&failed), None, false), False, Kind::Lost),
            ("a schedule", job(&[], Some(9), false), True, Kind::Reached),
            ("a schedule whose last run failed", job(&[failed], Some(9), false), False, Kind::Reached),
            ("a schedule without its image", job(&[], Some(9), false), False, Kind::Waiting),
        ] {
            let condition = Condition {
                kind: ConditionType::Ready,
                status,
                reason: Reason::Starting,
                message: "next at noon".into(),
                last_transition_time: 0,
                observed_generation: 2,
            };
            assert_eq!(kind(&done(&job, &condition)), wanted, "{case}");
        }
    }

    #[test]
    fn a_run_is_followed_to_its_own_end() {
        for (case, runs, wanted) in [
            ("not seen yet", vec![run(3, RunState::Succeeded)], Kind::Waiting),
            ("under way", vec![run(4, RunState::Running), run(5, RunState::Succeeded)], Kind::Waiting),
            ("done", vec![run(4, RunState::Succeeded)], Kind::Reached),
            ("failed", vec![run(4, RunState::Failed)], Kind::Lost),
            ("forgotten", vec![run(9, RunState::Succeeded)], Kind::Lost),
        ] {
            assert_eq!(kind(&ran(4, Some(&job(&runs, None, false)))), wanted, "{case}");
        }
        assert_eq!(kind(&ran(4, None)), Kind::Waiting);
    }
}
