//! `rollout status`, `history`, `undo`, `pause`, `resume`, `restart`, `promote`.

use std::{sync::Arc, time::Duration};

use crate::{
    api::wire::{RolloutAction, RolloutOrder},
    cli::{
        args::{Form, RolloutCommand, RolloutStatus, RolloutWord, Waiting},
        client::{Api, Change},
        failure::{CliError, Exit},
        follow::{self, Awaited},
        screen::Screen,
        show,
        text::{self, Times},
        wait::Aim,
    },
    model::{ObjectKey, RolloutPhase},
};

/// Runs a `rollout` command.
///
/// # Errors
/// As the API; when what is waited for does not come.
pub async fn rollout(api: &Api, screen: &Screen, command: &RolloutCommand) -> Result<Exit, CliError> {
    match command {
        RolloutCommand::Status(args) => return status(api, screen, args).await,
        RolloutCommand::History { service, output } => {
            let report = api.rollout(service).await?;
            match output {
                Form::Text => screen.print(&show::rollout::history(&report))?,
                Form::Json | Form::Yaml => screen.answer(&report)?,
            }
        }
        RolloutCommand::Undo { to_revision, word } => {
            say(api, screen, word, RolloutAction::Undo, *to_revision).await?;
        }
        RolloutCommand::Pause(word) => say(api, screen, word, RolloutAction::Pause, None).await?,
        RolloutCommand::Resume(word) => say(api, screen, word, RolloutAction::Resume, None).await?,
        RolloutCommand::Restart(word) => say(api, screen, word, RolloutAction::Restart, None).await?,
        RolloutCommand::Promote(word) => say(api, screen, word, RolloutAction::Promote, None).await?,
    }
    Ok(Exit::Done)
}

async fn status(api: &Api, screen: &Screen, args: &RolloutStatus) -> Result<Exit, CliError> {
    let report = api.rollout(&args.service).await?;
    if args.watch {
        // A status from before its last word says nothing: it may be of a pause that is over.
        let since = report.rollout.as_ref().map_or(0, |r| r.resource_version.0);
        let goals = vec![(Arc::from(args.service.as_str()), Aim::Rolled { since })];
        // What happened since it began is told first.
        let from = report.rollout.as_ref().map_or(report.index, |r| r.resource_version.0.saturating_sub(1));
        let followed = follow::follow(
            api,
            screen,
            Awaited { goals, from, limit: args.timeout.0, lines: args.output == Form::Json },
        )
        .await;
        if args.output != Form::Text {
            screen.answer(&api.rollout(&args.service).await?)?;
        }
        return followed.result.map(|()| Exit::Done);
    }
    if args.output == Form::Text {
        screen.print(&show::rollout::status(&report, Times::new(false)))?;
    } else {
        screen.answer(&report)?;
    }
    let bad = |phase| matches!(phase, RolloutPhase::RolledBack | RolloutPhase::RollingBack | RolloutPhase::Halted);
    Ok(if report.rollout.is_some_and(|r| bad(r.phase)) { Exit::No } else { Exit::Done })
}

/// Says a word about a rollout, and waits for what it asks for.
async fn say(
    api: &Api,
    screen: &Screen,
    word: &RolloutWord,
    action: RolloutAction,
    to_revision: Option<u64>,
) -> Result<(), CliError> {
    let Waiting { detach, timeout, reason } = &word.waiting;
    let change = Change { reason: reason.as_deref(), ..Change::default() };
    let answer = api.order(&word.service, &RolloutOrder { action, to_revision }, change).await?;
    let key = ObjectKey::service(word.service.as_str());
    for warning in &answer.warnings {
        screen.aside(&format!("warning: {}", text::clean(warning)));
    }
    let done = match action {
        RolloutAction::Pause => "its rollout is paused",
        RolloutAction::Resume => "its rollout goes on",
        RolloutAction::Restart => "its replicas are replaced",
        RolloutAction::Promote => "the others follow",
        RolloutAction::Undo => "another revision comes back",
    };
    screen.line(&format!("{key}: {done}"))?;
    let result = if *detach || action == RolloutAction::Pause {
        Ok(())
    } else {
        let since = api.rollout(&word.service).await?.rollout.map_or(0, |r| r.resource_version.0);
        let goals = vec![(key.name.clone(), Aim::Rolled { since })];
        let limit = timeout.0.max(Duration::from_millis(1));
        let from = answer.index.saturating_sub(1);
        follow::follow(api, screen, Awaited { goals, from, limit, lines: false }).await.result
    };
    if word.output != Form::Text {
        screen.answer(&api.rollout(&word.service).await?)?;
    }
    result
}
