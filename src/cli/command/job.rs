//! `job ls`, `job run`, `job logs`.

use std::time::Duration;

use super::logs;
use crate::{
    cli::{
        args::{Form, JobCommand, JobLogs, JobRun, Logs, Waiting},
        client::{Api, Change},
        failure::{CliError, Exit},
        follow::{self, Awaited},
        screen::Screen,
        show,
        text::{self, Times},
        wait::Aim,
    },
    model::ObjectKey,
};

/// Runs a `job` command.
///
/// # Errors
/// As the API; when a run that is followed fails.
pub async fn job(api: &Api, screen: &Screen, command: &JobCommand) -> Result<Exit, CliError> {
    match command {
        JobCommand::Ls { service: None, output } => {
            let list = api.jobs().await?;
            match output {
                Form::Text => screen.print(&show::job::jobs(&list, Times::new(false)))?,
                Form::Json | Form::Yaml => screen.answer(&list)?,
            }
        }
        JobCommand::Ls { service: Some(service), output } => {
            let report = api.runs(service).await?;
            match output {
                Form::Text => screen.print(&show::job::runs(&report, Times::new(false)))?,
                Form::Json | Form::Yaml => screen.answer(&report)?,
            }
        }
        JobCommand::Run(args) => run(api, screen, args).await?,
        JobCommand::Logs(args) => read(api, screen, args).await?,
    }
    Ok(Exit::Done)
}

async fn run(api: &Api, screen: &Screen, args: &JobRun) -> Result<(), CliError> {
    let Waiting { detach, timeout, reason } = &args.waiting;
    let change = Change { reason: reason.as_deref(), ..Change::default() };
    let answer = api.run(&args.service, change).await?;
    for warning in &answer.warnings {
        screen.aside(&format!("warning: {}", text::clean(warning)));
    }
    let report = api.runs(&args.service).await?;
    // The newest that stood when this was answered is the one that was asked for.
    let begun = report.runs.iter().find(|run| run.index <= answer.index).map(|run| run.number);
    let key = ObjectKey::service(args.service.as_str());
    let result = match begun {
        Some(number) if !detach => {
            screen.line(&format!("{key}: run {number} begins"))?;
            let goals = vec![(key.name.clone(), Aim::Ran { run: number })];
            let limit = timeout.0.max(Duration::from_millis(1));
            let from = answer.index.saturating_sub(1);
            follow::follow(api, screen, Awaited { goals, from, limit, lines: false }).await.result
        }
        Some(number) => screen.line(&format!("{key}: run {number} begins")),
        None => screen.line(&format!("{key}: a run was begun, and is not kept any more")),
    };
    if args.output != Form::Text {
        screen.answer(&api.runs(&args.service).await?)?;
    }
    result
}

async fn read(api: &Api, screen: &Screen, args: &JobLogs) -> Result<(), CliError> {
    let report = api.runs(&args.service).await?;
    let newest = report.runs.first().map(|run| run.number);
    let Some(number) = args.run.or(newest) else {
        let message = format!("svc/{} never ran", args.service);
        let hint = Some(format!("constellation job run {}", args.service));
        return Err(CliError::No { message, hint });
    };
    let asked = Logs {
        service: args.service.clone(),
        follow: args.follow,
        tail: args.tail,
        since: None,
        replica: None,
        all_replicas: true,
        timestamps: args.timestamps,
    };
    let read = logs::read(api, screen, &asked, Some(number)).await;
    let gone = match &read {
        Ok(found) => !found,
        Err(error) => error.exit() == Exit::NotFound,
    };
    // What was stopped has no container any more, and its last lines stand in the record.
    let kept = report.runs.iter().find(|run| run.number == number).filter(|run| gone && !run.log_tail.is_empty());
    let Some(run) = kept else { return read.map(|_| ()) };
    screen.aside(&format!("the containers of run {number} are gone; these are the last lines that were kept:"));
    run.log_tail.iter().try_for_each(|line| screen.log("", line))
}
