//! Changes made one after the other: one that fails keeps none of the others from being tried and awaited.
//!
//! Here: [`Each`], which keeps what came of them. Not here: the changes (`delete`, `scale`), the wait (`follow`).
//! Why the first failure's exit code: it is the one that a person reads first, and with one object nothing else
//! could be meant. Why not go on without a connection: each try would wait as long as the first.

use super::{outcomes, wait};
use crate::{
    api::wire::ApplyAnswer,
    cli::{
        args::Waiting,
        client::Api,
        failure::{CliError, Exit},
        form::{Action, Changed, ChangedObject, Failed},
        screen::Screen,
        text,
    },
    model::ObjectKey,
};

/// What came of some changes.
#[derive(Debug, Default)]
pub struct Each {
    /// What was done.
    answer: ApplyAnswer,
    /// The same with what was not.
    changed: Changed,
    failed: Vec<(ObjectKey, CliError)>,
    untried: Vec<ObjectKey>,
    /// What people read behind each object that was changed.
    suffix: String,
    /// What was said before any of them.
    said: Vec<String>,
}

impl Each {
    /// With these words behind each object that was changed.
    pub fn of(suffix: &str) -> Self {
        Self { suffix: suffix.to_owned(), ..Self::default() }
    }

    /// With what was said before any of them.
    pub fn warned(warnings: &[String]) -> Self {
        Self { said: warnings.to_vec(), ..Self::default() }
    }

    /// One was made.
    ///
    /// # Errors
    /// As [`Screen::print`]: none where the screen is one of a change.
    pub fn made(&mut self, screen: &Screen, answer: ApplyAnswer) -> Result<(), CliError> {
        outcomes(screen, &answer, &self.suffix)?;
        self.changed.answer(&answer);
        self.answer.index = answer.index;
        self.answer.objects.extend(answer.objects);
        Ok(())
    }

    /// What was done so far.
    #[must_use]
    pub const fn answer(&self) -> &ApplyAnswer {
        &self.answer
    }

    /// One was to be deleted and is not there, which is as good.
    pub fn absent(&mut self, screen: &Screen, key: &ObjectKey) {
        screen.aside(&format!("{key} does not exist"));
        self.changed.objects.push(ChangedObject::new(key.kind, &key.name, Action::Absent));
    }

    /// One failed. Whether the others are worth a try.
    pub fn failed(&mut self, key: &ObjectKey, error: CliError) -> bool {
        let worth = error.exit() != Exit::NoConnection;
        let action = if error.leaves_open() { Action::Unknown } else { Action::Failed };
        let object = ChangedObject::new(key.kind, &key.name, action);
        self.changed.objects.push(ChangedObject { error: Some(Failed::from(&error)), ..object });
        self.failed.push((key.clone(), error));
        worth
    }

    /// These were left out.
    pub fn untried<'k>(&mut self, keys: impl IntoIterator<Item = &'k ObjectKey>) {
        for key in keys {
            self.changed.objects.push(ChangedObject::new(key.kind, &key.name, Action::Untried));
            self.untried.push(key.clone());
        }
    }

    /// Waits for those that were made, prints the answer, and says what failed. `done`: "deleted".
    ///
    /// # Errors
    /// The only failure as it is; several as one error with the exit code of the first. A wait that failed
    /// beside them is told before.
    pub async fn finish(mut self, api: &Api, screen: &Screen, waiting: &Waiting, done: &str) -> Result<(), CliError> {
        let alone = self.answer.objects.is_empty() && self.failed.len() == 1 && self.untried.is_empty();
        if !alone {
            // At once: the wait for the others may be long.
            for (key, error) in &self.failed {
                let was = if error.leaves_open() { "was perhaps" } else { "was not" };
                screen.aside(&format!("{key} {was} {done}:\n{}", error.report().trim_end()));
            }
        }
        let followed = wait(api, screen, &self.answer, waiting).await;
        self.changed.waited(&followed.services);
        self.changed.warn(&self.said);
        screen.answer(&self.changed)?;
        if self.failed.is_empty() {
            return followed.result;
        }
        if let Err(error) = followed.result
            && !matches!(error, CliError::Interrupted)
        {
            screen.aside(error.report().trim_end());
        }
        Err(self.error(alone, done))
    }

    /// One error for all.
    fn error(mut self, alone: bool, done: &str) -> CliError {
        if alone && let Some((_, error)) = self.failed.pop() {
            return error;
        }
        let all = self.changed.objects.len();
        let exit = self.failed.first().map_or(Exit::No, |(_, error)| error.exit());
        let failed = self.failed.iter().map(|(key, error)| match error.leaves_open() {
            true => format!("{key} (outcome unknown)"),
            false => key.to_string(),
        });
        let names: Vec<String> = failed.chain(self.untried.iter().map(ToString::to_string)).collect();
        let message = format!("{} of {} not {done}: {}", names.len(), text::count(all, "object"), names.join(", "));
        CliError::Partly { message, exit }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        api::wire::{ObjectOutcome, Problem},
        cli::args::Form,
        model::Kind,
        store::command::Outcome,
    };

    fn refused(status: u16) -> CliError {
        CliError::Refused(Box::new(Problem { status, title: "No".into(), ..Problem::default() }))
    }

    #[test]
    fn the_only_failure_is_told_as_it_is() {
        let mut each = Each::default();
        assert!(each.failed(&ObjectKey::service("a"), refused(404)));
        assert!(matches!(each.error(true, "deleted"), CliError::Refused(p) if p.status == 404));
    }

    #[test]
    fn of_many_the_first_gives_the_code_and_all_are_named() {
        let mut each = Each::default();
        let outcome = ObjectOutcome {
            kind: Kind::Service,
            name: "b".into(),
            result: Outcome::Deleted,
            generation: 1,
            resource_version: 3,
        };
        let answer = ApplyAnswer { index: 3, objects: vec![outcome], ..ApplyAnswer::default() };
        assert!(each.failed(&ObjectKey::service("a"), refused(404)));
        each.made(&Screen::of_change(Form::Json), answer).unwrap();
        assert!(!each.failed(&ObjectKey::service("c"), refused(503)), "without a connection no other is tried");
        each.untried([&ObjectKey::service("d")]);
        let actions: Vec<Action> = each.changed.objects.iter().map(|o| o.action).collect();
        assert_eq!(actions, [Action::Failed, Action::Deleted, Action::Failed, Action::Untried]);
        let error = each.error(false, "deleted");
        assert_eq!(error.exit().code(), 5);
        assert_eq!(error.to_string(), "3 of 4 objects not deleted: svc/a, svc/c, svc/d");
    }

    #[test]
    fn what_may_have_been_done_is_not_said_to_have_failed() {
        let late = || CliError::Deadline { endpoint: "x".into(), what: "DELETE".into(), limit: Duration::ZERO };
        let unknown = CliError::Unknown { what: "DELETE".into(), tries: 3, source: Box::new(late()) };
        let mut each = Each::default();
        for (name, error) in [("a", refused(504)), ("b", unknown), ("c", late()), ("d", refused(503))] {
            assert!(!each.failed(&ObjectKey::service(name), error), "{name}: no other is tried");
        }
        let actions: Vec<Action> = each.changed.objects.iter().map(|o| o.action).collect();
        assert_eq!(actions, [Action::Unknown, Action::Unknown, Action::Unknown, Action::Failed]);
        let said = each.error(false, "deleted").to_string();
        assert!(said.contains("svc/a (outcome unknown), svc/b (outcome unknown)") && said.ends_with("svc/d"), "{said}");
    }
}
