//! The command line: everything a person types.
//!
//! Here: the arguments ([`args`]), what each command does ([`command`]), the way to an API ([`endpoint`],
//! [`transport`], [`client`]), what people see ([`show`], [`text`], [`screen`]) and programs
//! ([`form`]), waiting for a change ([`wait`], [`follow`]), manifests from files ([`source`]), a build's context ([`context`]), and what goes
//! wrong ([`failure`]). Not here: what the API decides (`api`), the agent itself (`agent`).
//! Invariants: nothing from a server is printed before [`text::clean`] has seen it; exit codes are those of
//! [`failure::Exit`] and nothing else. Next: [`run`].

pub mod again;
pub mod args;
pub mod arrival;
pub mod client;
pub mod command;
pub mod context;
pub mod dockerignore;
pub mod endpoint;
pub mod failure;
pub mod follow;
pub mod form;
pub mod hidden;
pub mod log;
#[cfg(test)]
mod mutated;
pub mod names;
pub mod progress;
pub mod replicas;
pub mod screen;
pub mod show;
pub mod source;
#[cfg(test)]
mod testing;
pub mod text;
pub mod transport;
pub mod values;
pub mod wait;

use self::{
    args::{
        AgentCommand, BackupCommand, Cli, Client, Command, JobCommand, NodeCommand, RolloutCommand, RouteCommand,
        SecretCommand, TokenCommand,
    },
    client::Api,
    command::{
        agent, apply, audit, backup, build, delete, diff, doctor, env, events, get, install, job, logs, look, node,
        plan, rescue, rollout, route, scale, secret, settings, token, validate, version,
    },
    endpoint::Endpoint,
    failure::{CliError, Exit},
    screen::Screen,
    transport::Transport,
};

/// Runs one command to its end.
///
/// # Errors
/// As the command; [`CliError::exit`] says how the process ends.
pub fn run(cli: Cli) -> Result<Exit, CliError> {
    match cli.command {
        // It has threads and a runtime of its own.
        Command::Agent(agent) => match agent.command {
            Some(AgentCommand::Config(command)) => settings::config(command).map(|()| Exit::Done),
            Some(AgentCommand::Unit(args)) => install::unit(&args).map(|()| Exit::Done),
            None => agent::agent(agent.flags),
        },
        Command::Rescue(args) => rescue::rescue(&args),
        Command::Completion(args) => install::completion(&args).map(|()| Exit::Done),
        Command::Man(args) => install::man(&args).map(|()| Exit::Done),
        Command::Doctor(args) => alone(doctor::doctor(&args)),
        Command::Client(command) => alone(ask(command, cli.api.as_deref())),
    }
}

/// Runs a command on this thread: one request at a time needs no more; files are read on others.
fn alone(command: impl Future<Output = Result<Exit, CliError>>) -> Result<Exit, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| CliError::Usage { message: format!("no runtime: {source}"), hint: None })?;
    let exit = runtime.block_on(command);
    // A read of standard input or of a dead disk that nobody waits for must not hold the process up.
    runtime.shutdown_background();
    exit
}

/// The API that the arguments or the environment name.
fn api(given: Option<&str>) -> Result<Api, CliError> {
    let named = given.map(str::to_owned).or_else(|| env("CONSTELLATION_API").filter(|text| !text.is_empty()));
    let endpoint: Endpoint = named.map_or_else(|| Ok(Endpoint::default()), |text| text.parse())?;
    Ok(Api::new(Transport::new(endpoint, endpoint::token(env)?)))
}

/// What a command prints to.
fn screen(command: &Client) -> Screen {
    match command {
        Client::Apply(args) => Screen::of_change(args.output),
        Client::Delete(args) => Screen::of_change(args.output),
        Client::Scale(args) => Screen::of_change(args.output),
        Client::Build(args) => Screen::of_change(args.output),
        Client::Node(NodeCommand::Cordon(args) | NodeCommand::Uncordon(args)) => Screen::of_change(args.output),
        Client::Secret(SecretCommand::Set(args)) => Screen::of_change(args.output),
        Client::Secret(SecretCommand::Rotate(args)) => Screen::of_change(args.output),
        Client::Secret(SecretCommand::Rm(args)) => Screen::of_change(args.output),
        Client::Secret(SecretCommand::Rekey { output, .. }) => Screen::of_change(*output),
        Client::Secret(SecretCommand::Ls { output } | SecretCommand::History { output, .. }) => Screen::of(*output),
        Client::Backup(BackupCommand::Create(args)) => Screen::of_change(args.output),
        Client::Backup(BackupCommand::Verify(args)) => Screen::of_change(args.output),
        Client::Backup(BackupCommand::Restore(args)) => Screen::of_change(args.output),
        Client::Backup(BackupCommand::Confirm(args)) => Screen::of_change(args.output),
        Client::Backup(BackupCommand::Key(args)) => Screen::of_change(args.output),
        Client::Token(TokenCommand::Create(args)) => Screen::of_change(args.output),
        Client::Token(TokenCommand::Revoke(args)) => Screen::of_change(args.output),
        Client::Token(TokenCommand::Ls { output }) => Screen::of(*output),
        Client::Route(RouteCommand::Ls { output } | RouteCommand::Show { output, .. }) => Screen::of(*output),
        Client::Audit(args) => Screen::of(args.output.into()),
        Client::Rollout(RolloutCommand::Status(args)) if args.watch => Screen::of_change(args.output),
        Client::Rollout(RolloutCommand::Status(args)) => Screen::of(args.output),
        Client::Rollout(RolloutCommand::History { output, .. }) => Screen::of(*output),
        Client::Rollout(
            RolloutCommand::Undo { word, .. }
            | RolloutCommand::Pause(word)
            | RolloutCommand::Resume(word)
            | RolloutCommand::Restart(word)
            | RolloutCommand::Promote(word),
        ) => Screen::of_change(word.output),
        Client::Job(JobCommand::Ls { output, .. }) => Screen::of(*output),
        Client::Job(JobCommand::Run(args)) => Screen::of_change(args.output),
        Client::Plan(args) => Screen::of(args.output),
        Client::Diff(args) => Screen::of(args.output),
        Client::Validate(args) => Screen::of(args.output),
        Client::Describe(args) => Screen::of(args.output),
        Client::Why(args) => Screen::of(args.output),
        Client::Status(args) => Screen::of(args.output),
        Client::Version(args) => Screen::of(args.output),
        // Lists and streams: without an answer there is none of their lines.
        Client::Get(_)
        | Client::Events(_)
        | Client::Ps(_)
        | Client::Logs(_)
        | Client::Job(JobCommand::Logs(_))
        | Client::Node(NodeCommand::Ls { .. })
        | Client::Schema => Screen::default(),
    }
}

async fn ask(command: Client, given: Option<&str>) -> Result<Exit, CliError> {
    let screen = screen(&command);
    let result = answer(command, given, &screen).await;
    if let Err(error) = &result {
        screen.unanswered(error);
    }
    result
}

async fn answer(command: Client, given: Option<&str>, screen: &Screen) -> Result<Exit, CliError> {
    let api = || api(given);
    match command {
        Client::Apply(args) => apply::apply(&api()?, screen, &args).await?,
        Client::Plan(args) => return plan::plan(&api()?, screen, &args).await,
        Client::Diff(args) => return diff::diff(&api()?, screen, &args).await,
        Client::Validate(args) => validate::validate(screen, &args)?,
        Client::Get(args) => get::get(&api()?, screen, &args).await?,
        Client::Describe(args) => look::describe(&api()?, screen, &args).await?,
        Client::Why(args) => look::why(&api()?, screen, &args).await?,
        Client::Delete(args) => delete::delete(&api()?, screen, &args).await?,
        Client::Events(args) => events::events(&api()?, screen, &args).await?,
        Client::Ps(args) => look::ps(&api()?, screen, &args).await?,
        Client::Scale(args) => scale::scale(&api()?, screen, &args).await?,
        Client::Rollout(command) => return rollout::rollout(&api()?, screen, &command).await,
        Client::Job(command) => return job::job(&api()?, screen, &command).await,
        Client::Logs(args) => logs::logs(&api()?, screen, &args).await?,
        Client::Build(args) => build::build(&api()?, screen, &args).await?,
        Client::Status(args) => look::status(&api()?, screen, &args).await?,
        Client::Node(command) => node::node(&api()?, screen, &command).await?,
        Client::Audit(args) => audit::audit(&api()?, screen, &args).await?,
        Client::Secret(command) => secret::secret(&api()?, screen, &command).await?,
        Client::Backup(command) => return backup::backup(api, screen, &command).await,
        Client::Route(command) => return route::route(&api()?, screen, &command).await,
        Client::Token(command) => token::token(&api()?, screen, &command).await?,
        Client::Schema => look::schema(screen)?,
        Client::Version(args) => version::version(api, screen, &args).await?,
    }
    Ok(Exit::Done)
}
