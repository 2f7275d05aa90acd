//! What each command does: asks, shows, waits.
//!
//! Here: one file per command or family. Not here: arguments (`args`), looks (`show`), the wait (`follow`).

pub mod agent;
pub mod apply;
pub mod audit;
pub mod backup;
pub mod build;
pub mod delete;
pub mod diff;
pub mod doctor;
pub mod each;
pub mod events;
pub mod get;
pub mod install;
pub mod job;
pub mod left;
pub mod logs;
pub mod look;
pub mod node;
pub mod plan;
pub mod rescue;
pub mod rollout;
pub mod route;
pub mod scale;
pub mod secret;
pub mod settings;
pub mod token;
pub mod unrouted;
pub mod validate;
pub mod version;

use std::{sync::Arc, time::Duration};

use super::{
    args::Waiting,
    client::Api,
    failure::CliError,
    follow::{self, Awaited, Followed},
    form::{WaitState, Waited},
    screen::Screen,
    text::clean,
    wait::Aim,
};
use crate::{
    api::wire::ApplyAnswer,
    model::{Kind, ObjectKey},
    store::command::Outcome,
};

/// Looks a variable up in the environment.
#[must_use]
pub fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Prints one line per object, `svc/web configured`, and the warnings beside them.
fn outcomes(screen: &Screen, answer: &ApplyAnswer, suffix: &str) -> Result<(), CliError> {
    for object in &answer.objects {
        let result = match object.result {
            Outcome::Created => "created",
            Outcome::Configured => "configured",
            Outcome::Unchanged => "unchanged",
            Outcome::Deleted => "deleted",
        };
        let key = ObjectKey::new(object.kind, object.name.as_str()).to_string();
        screen.line(&format!("{} {result}{suffix}", clean(&key)))?;
    }
    for warning in &answer.warnings {
        screen.aside(&format!("warning: {}", clean(warning)));
    }
    Ok(())
}

/// What is awaited after a change: each service that it made, changed or deleted.
fn goals(answer: &ApplyAnswer) -> Vec<(Arc<str>, Aim)> {
    let services = answer.objects.iter().filter(|object| object.kind == Kind::Service);
    services
        .filter_map(|object| {
            let aim = match object.result {
                Outcome::Created | Outcome::Configured => Aim::Ready { generation: object.generation },
                Outcome::Deleted => Aim::Gone,
                Outcome::Unchanged => return None,
            };
            Some((object.name.as_str().into(), aim))
        })
        .collect()
}

/// Waits for what a change asked for, unless the user does not want to.
async fn wait(api: &Api, screen: &Screen, answer: &ApplyAnswer, waiting: &Waiting) -> Followed {
    if waiting.detach {
        let detached = || Waited { state: WaitState::Detached, message: "nobody waited".into() };
        let services = goals(answer).into_iter().map(|(name, _)| (name, detached())).collect();
        return Followed { services, result: Ok(()) };
    }
    let limit = waiting.timeout.0.max(Duration::from_millis(1));
    follow::follow(api, screen, Awaited { goals: goals(answer), from: before(answer), limit, lines: false }).await
}

/// The index right before a change. The index of an object that stayed as it was is of another time.
fn before(answer: &ApplyAnswer) -> u64 {
    let moved = answer.objects.iter().filter(|object| object.result != Outcome::Unchanged);
    let first = moved.map(|object| object.resource_version).filter(|version| *version > 0).min();
    first.map_or(answer.index, |first| first.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::wire::ObjectOutcome;

    #[test]
    fn a_change_begins_with_what_it_moved() {
        let object = |result, resource_version| ObjectOutcome {
            kind: Kind::Service,
            name: "web".into(),
            result,
            generation: 1,
            resource_version,
        };
        for (objects, from) in [
            (vec![object(Outcome::Unchanged, 3), object(Outcome::Configured, 41), object(Outcome::Deleted, 42)], 40),
            (vec![object(Outcome::Deleted, 42)], 41),
            (vec![object(Outcome::Unchanged, 3)], 50),
            (vec![], 50),
        ] {
            let answer = ApplyAnswer { index: 50, objects, ..ApplyAnswer::default() };
            assert_eq!(before(&answer), from, "{answer:?}");
        }
    }
}
