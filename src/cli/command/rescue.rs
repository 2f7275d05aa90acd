//! `rescue`: what of a damaged store can be saved, and going on from there.
//!
//! Works on the files of a data directory, without an agent. Not here: what is saved (`store::rescue`).

use std::{path::Path, time::SystemTime};

use super::agent;
use crate::{
    agent::{AgentError, home},
    cli::{
        args::Rescue,
        failure::{CliError, Exit},
        form::{Rescued, Savable},
        screen::Screen,
        text::{absolute, clean, count},
    },
    config::AgentFlags,
    model::Kind,
    store::rescue::{self, Loss, RescueError, Survey},
};

/// Runs `rescue`.
///
/// # Errors
/// When an agent uses the data directory, nothing can be saved, or the loss is another one than was accepted.
pub fn rescue(args: &Rescue) -> Result<Exit, CliError> {
    let screen = Screen::of_change(args.output);
    let result = run(args, &screen);
    if let Err(error) = &result {
        screen.unanswered(error);
    }
    result
}

fn run(args: &Rescue, screen: &Screen) -> Result<Exit, CliError> {
    let flags = AgentFlags { data_dir: args.data_dir.clone(), config: args.config.clone(), ..AgentFlags::default() };
    let config = agent::read(&flags).map_err(|error| agent::faulty(&error, Exit::Usage))?;
    let data = &config.data_dir;
    if !data.exists() {
        return Err(no(format!("{} does not exist", data.display()), "say where the data is: --data-dir DIR"));
    }
    let _held = home::hold(data).map_err(held)?;
    let survey = rescue::survey(data).map_err(|error| failed(error, data))?;
    let loss = survey.loss;
    show(screen, &survey, data)?;
    let Some(accepted) = &args.accept_loss else {
        let to_do = survey.verdict.is_some();
        screen.answer(&Savable::of(&survey))?;
        if !to_do {
            screen.line("the store is not closed: there is nothing to do, start the agent")?;
            return Ok(Exit::Done);
        }
        screen.line("to go on from there, and keep what there is of the damaged store beside it:")?;
        let data = data.display();
        screen.line(&format!("  constellation rescue --single --data-dir {data} --accept-loss {loss}"))?;
        return Ok(Exit::No);
    };
    if survey.verdict.is_none() {
        return Err(no(
            "the store is not closed".into(),
            "start the agent; if it says that its store is damaged, come back",
        ));
    }
    let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let at = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
    let kept = rescue::rescue(data, survey, accepted, at).map_err(|error| failed(error, data))?;
    screen.line("the store goes on from there; start the agent")?;
    if loss != Loss::Nothing {
        screen.line("it starts and stops nothing until: constellation backup confirm")?;
    }
    if let Some(kept) = &kept {
        screen.line(&format!("the damaged one is kept in {}; remove it when you need it no more", kept.display()))?;
    }
    screen.answer(&Rescued { lost: loss.to_string(), kept: kept.map(|path| path.display().to_string()) })?;
    Ok(Exit::Done)
}

fn show(screen: &Screen, survey: &Survey, data: &Path) -> Result<(), CliError> {
    match &survey.verdict {
        Some(why) => screen.line(&format!("the store in {} is closed: {}", data.display(), clean(why)))?,
        None => screen.line(&format!("the store in {}", data.display()))?,
    }
    for seen in &survey.seen {
        screen.line(&format!("  {}", clean(seen)))?;
    }
    let state = &survey.state;
    let name = state.cluster().map_or_else(String::new, |cluster| cluster.name.to_string());
    let kinds = [
        (Kind::Service, "service"),
        (Kind::Route, "route"),
        (Kind::Middleware, "middleware"),
        (Kind::Config, "config"),
        (Kind::Secret, "secret"),
        (Kind::Node, "node"),
    ];
    let kinds = kinds.map(|(kind, noun)| count(state.objects(kind).count(), noun)).join(", ");
    let replicas = count(state.replicas().count(), "replica");
    screen.line(&format!(
        "can be saved: cluster {} at index {}, {kinds}, {replicas}; last written {}",
        clean(&name),
        state.index(),
        absolute(state.time()),
    ))?;
    screen.line(&match survey.loss {
        Loss::Nothing => "lost: nothing that was ever answered".to_owned(),
        Loss::Entries(lost) => format!(
            "lost: the last {} of the log, each one change or several of one moment",
            if lost == 1 { "entry".to_owned() } else { format!("{lost} entries") }
        ),
        Loss::Unknown => "lost: unknown; what was written last is noted nowhere".to_owned(),
    })
}

fn no(message: String, hint: &str) -> CliError {
    CliError::No { message, hint: Some(hint.to_owned()) }
}

fn held(error: AgentError) -> CliError {
    no(error.to_string(), "stop the agent first: a store that runs needs no rescue")
}

fn failed(error: RescueError, data: &Path) -> CliError {
    let hint = match &error {
        RescueError::Io(_) => format!("look at the disk of {} (room, mount, permissions)", data.display()),
        RescueError::Nothing(_) => {
            format!("bring back a copy or a backup, or move {} away to begin anew", data.display())
        }
        RescueError::OtherLoss { .. } => "say the loss that `constellation rescue --single` shows".into(),
    };
    let mut message = error.to_string();
    if let RescueError::Io(cause) = &error {
        message = format!("{message}: {cause}");
    }
    CliError::No { message, hint: Some(hint) }
}
