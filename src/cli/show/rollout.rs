//! `rollout status` and `rollout history`.

use crate::{
    api::wire::RolloutReport,
    cli::text::{self, Times},
    model::{ConditionStatus, ConditionType, Left, Reason, RolloutPhase, Tried},
};

/// How far it is, in a few lines.
#[must_use]
pub fn status(report: &RolloutReport, times: Times) -> String {
    let counts = report.replicas;
    let numbers = format!("{}/{} ready, {} up to date", counts.good(), counts.desired, counts.updated);
    let Some(rollout) = &report.rollout else { return format!("svc/{}: nobody has looked at it yet\n", report.name) };
    let (target, message) = (rollout.target, text::clean(&rollout.message));
    let took = rollout.ended_at.map(|end| text::duration(end.saturating_sub(rollout.started_at)));
    let took = took.map(|took| format!(", {took}")).unwrap_or_default();
    let mut lines = vec![match rollout.phase {
        RolloutPhase::Progressing => format!(
            "svc/{} is on its way to revision {target} since {} ({numbers})",
            report.name,
            times.at(rollout.started_at)
        ),
        RolloutPhase::Complete => {
            format!("svc/{} successfully rolled out (revision {target}, {numbers}{took})", report.name)
        }
        RolloutPhase::RollingBack => {
            format!("svc/{} goes back to revision {target} ({numbers}): {message}", report.name)
        }
        RolloutPhase::RolledBack => {
            format!("svc/{} rolled back to revision {target} ({numbers}{took}): {message}", report.name)
        }
        RolloutPhase::Halted => {
            format!("svc/{} stands still on its way to revision {target} ({numbers}): {message}", report.name)
        }
    }];
    if target != rollout.newest {
        lines.push(format!("declared is revision {}, which does not run", rollout.newest));
    }
    if rollout.phase == RolloutPhase::Complete && !rollout.message.is_empty() {
        lines.push(match rollout.reason.filter(|_| target == rollout.newest) {
            Some(reason) => format!("warning: {reason}: {message} (nothing is taken back)"),
            None => message.into_owned(),
        });
    }
    let hooks = report.conditions.iter().find(|c| c.kind == ConditionType::HooksSucceeded);
    if rollout.phase == RolloutPhase::Complete
        && let Some(hooks) = hooks
    {
        match hooks.status {
            ConditionStatus::True => lines.push("its postDeploy hooks have succeeded".into()),
            ConditionStatus::Unknown => {
                lines.push(format!("its postDeploy hooks have not ended: {}", text::clean(&hooks.message)))
            }
            // The rollout's own fault, until a restart begins another.
            ConditionStatus::False if rollout.reason.is_some() => {}
            ConditionStatus::False => {
                lines.push(format!(
                    "warning: {}: {} (nothing is taken back)",
                    hooks.reason,
                    text::clean(&hooks.message)
                ));
            }
        }
    }
    let key = format!("svc/{}", text::clean(&report.name));
    if let Some(paused) = &rollout.paused {
        let (by, why) = (text::clean(&paused.by), paused.why.as_deref().map(text::clean));
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        lines.push(format!("paused by {by} {}{why}", times.around(paused.at)));
        lines.push(format!("`constellation rollout resume {key}` lets it go on"));
    }
    let waits = report.conditions.iter().find(|c| c.reason == Reason::WaitingForPromotion);
    if let Some(waits) = waits.filter(|_| rollout.phase == RolloutPhase::Progressing && rollout.paused.is_none()) {
        lines.push(format!("it waits for a word: {}", text::clean(&waits.message)));
        lines.push(format!(
            "`constellation rollout promote {key}` lets the others follow, `rollout undo {key}` goes back"
        ));
    }
    lines.extend(rollout.log_tail.iter().map(|line| format!("  | {}", text::clean(line))));
    lines.push(String::new());
    lines.join("\n")
}

/// The revisions, newest first.
#[must_use]
pub fn history(report: &RolloutReport) -> String {
    let rows: Vec<Vec<String>> = report
        .revisions
        .iter()
        .map(|r| {
            let marks = [(r.target, "wanted"), (r.stable, "worked last")];
            let marks: Vec<&str> = marks.into_iter().filter(|(is, _)| *is).map(|(_, mark)| mark).collect();
            vec![
                r.revision.to_string(),
                r.generation.to_string(),
                r.replicas.to_string(),
                r.tried.as_ref().map_or_else(|| "-".into(), |tried| Times::Absolute.at(tried.began_at)),
                text::clean(&r.image).into_owned(),
                text::or_dash(&short(r.resolved.as_deref().unwrap_or_default())).into_owned(),
                text::or_dash(&marks.join(", ")).into_owned(),
                r.tried.as_ref().map_or_else(|| "-".into(), ended),
            ]
        })
        .collect();
    text::table(0, &["REVISION", "GENERATION", "REPLICAS", "BEGAN", "IMAGE", "RESOLVED", "NOTE", "ENDED"], &rows)
}

/// How a rollout ended, when, and with what went wrong.
fn ended(tried: &Tried) -> String {
    let (how, why) = match (&tried.left, tried.phase) {
        (Some(Left::Undone { by, why }), _) => {
            (format!("undone by {}", text::clean(by)), text::clean(why.as_deref().unwrap_or_default()))
        }
        (Some(Left::Superseded { by_revision }), _) => (format!("superseded by revision {by_revision}"), "".into()),
        (None, phase) => {
            let how = match phase {
                RolloutPhase::Progressing => "under way",
                RolloutPhase::Complete => "complete",
                RolloutPhase::RollingBack => "goes back",
                RolloutPhase::RolledBack => "rolled back",
                RolloutPhase::Halted => "stands still",
            };
            (how.to_owned(), text::clean(&tried.message))
        }
    };
    let at = tried.ended_at.map(|at| format!(" {}", Times::Absolute.at(at))).unwrap_or_default();
    let why = if why.is_empty() { String::new() } else { format!(": {why}") };
    format!("{how}{at}{why}")
}

/// An image with the first characters of its digest, as Docker prints it.
fn short(image: &str) -> String {
    let shown = |(name, hex): (&str, &str)| format!("{name}sha256:{}", hex.chars().take(12).collect::<String>());
    text::clean(&image.split_once("sha256:").map_or_else(|| image.to_owned(), shown)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::wire::RevisionView,
        model::{Condition, Rollout, rollout::Paused, status::ReplicaCounts},
    };

    fn report(rollout: Rollout) -> RolloutReport {
        let revision = |revision, target| RevisionView {
            revision,
            generation: revision,
            image: format!("web:{revision}"),
            resolved: (revision == 1).then(|| format!("web@sha256:{}", "1234567890abcdef".repeat(4))),
            replicas: if target { 3 } else { 0 },
            target,
            stable: target,
            tried: (revision == 2).then(|| Tried {
                began_at: 1_000,
                phase: RolloutPhase::RolledBack,
                message: "web.1: exit 1".into(),
                ..Tried::default()
            }),
        };
        RolloutReport {
            index: 9,
            name: "web".into(),
            rollout: Some(rollout),
            replicas: ReplicaCounts { desired: 3, running: 3, ready: 3, updated: 3, completed: 0 },
            conditions: Vec::new(),
            revisions: vec![revision(2, false), revision(1, true)],
        }
    }

    #[test]
    fn the_end_of_a_rollout_says_how_when_and_why() {
        let undone = |why: Option<&str>| Some(Left::Undone { by: "ann".into(), why: why.map(Into::into) });
        let at = Some(1_000);
        for (phase, left, ended_at, message, said) in [
            (RolloutPhase::Progressing, None, None, "", "under way"),
            (RolloutPhase::Complete, None, at, "", "complete 1970-01-01T00:00:01Z"),
            (RolloutPhase::RolledBack, None, at, "exit 1", "rolled back 1970-01-01T00:00:01Z: exit 1"),
            (RolloutPhase::Complete, undone(Some("500s")), at, "x", "undone by ann 1970-01-01T00:00:01Z: 500s"),
            (RolloutPhase::Progressing, undone(None), at, "", "undone by ann 1970-01-01T00:00:01Z"),
            (
                RolloutPhase::Progressing,
                Some(Left::Superseded { by_revision: 3 }),
                at,
                "",
                "superseded by revision 3 1970-01-01T00:00:01Z",
            ),
        ] {
            let tried = Tried { began_at: 0, phase, message: message.into(), ended_at, left };
            assert_eq!(ended(&tried), said);
        }
    }

    #[test]
    fn what_went_wrong_stands_with_its_last_words() {
        let rollout = Rollout {
            target: 1,
            newest: 2,
            phase: RolloutPhase::RolledBack,
            reason: Some(Reason::CrashLoopBackOff),
            message: "web.1: exit 1".into(),
            log_tail: vec!["no \u{1b}[31mdatabase".into()],
            started_at: 1_000,
            ended_at: Some(39_000),
            ..Rollout::default()
        };
        assert_eq!(
            status(&report(rollout), Times::new(true)),
            "svc/web rolled back to revision 1 (3/3 ready, 3 up to date, 38s): web.1: exit 1\n\
             declared is revision 2, which does not run\n  | no database\n"
        );
        let done = Rollout { target: 2, newest: 2, phase: RolloutPhase::Complete, ..Rollout::default() };
        assert!(
            status(&report(done), Times::new(true)).starts_with("svc/web successfully rolled out (revision 2, 3/3")
        );
        let rollout = Rollout { target: 2, newest: 2, ..Rollout::default() };
        let paused = Some(Paused { by: "ada".into(), at: 0, why: Some("the disks are slow".into()) });
        let said = status(&report(Rollout { paused, ..rollout.clone() }), Times::new(true));
        assert!(said.contains("paused by ada ") && said.contains(": the disks are slow\n"), "{said}");
        assert!(said.contains("`constellation rollout resume svc/web`"), "{said}");
        let mut canary = report(rollout);
        canary.conditions.push(Condition {
            kind: ConditionType::Progressing,
            status: ConditionStatus::False,
            reason: Reason::WaitingForPromotion,
            message: "web.2: the canary is good".into(),
            last_transition_time: 0,
            observed_generation: 2,
        });
        let said = status(&canary, Times::new(true));
        assert!(
            said.contains("it waits for a word: web.2: the canary is good\n`constellation rollout promote svc/web`")
        );
        assert_eq!(
            history(&report(Rollout::default())),
            "REVISION  GENERATION  REPLICAS  BEGAN                 IMAGE  RESOLVED                 NOTE                 ENDED\n\
             2         2           0         1970-01-01T00:00:01Z  web:2  -                        -                    rolled back: web.1: exit 1\n\
             1         1           3         -                     web:1  web@sha256:1234567890ab  wanted, worked last  -\n"
        );
    }
}
