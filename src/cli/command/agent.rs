//! `agent`: runs a node in this process.
//!
//! Here: configuration, the log, the runtime with its threads. Not here: the node itself (`agent`), looking at
//! the configuration (`settings`).

use std::{io::IsTerminal as _, sync::Arc};

use tokio_util::sync::CancellationToken;
use tracing_subscriber::{
    EnvFilter, filter::filter_fn, fmt, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _,
};

use crate::{
    agent::{self, AgentError, reload::Reload},
    allocator,
    cli::{
        failure::{CliError, Exit},
        log::{OneLine, Records},
    },
    config::{self, AgentConfig, AgentFlags, ConfigError, LogFormat},
};

/// Runs `agent` until SIGTERM or SIGINT.
///
/// # Errors
/// A wrong configuration (78), or why the agent ended: 74 a disk failed, 78 a person has to decide, 1 anything
/// else.
pub fn agent(flags: AgentFlags) -> Result<Exit, CliError> {
    // Not 2: whatever starts an agent again and again has to tell this from a failure that passes.
    let config = read(&flags).map_err(|error| faulty(&error, Exit::Agent(78)))?;
    let filter = log(&config)?;
    let reload = Reload { read: Arc::new(move || read(&flags)), filter: Box::new(filter) };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .on_thread_park(allocator::rest)
        .enable_all()
        .build()
        .map_err(|source| CliError::Usage { message: format!("no threads: {source}"), hint: None })?;
    let ended = runtime.block_on(agent::run(config, reload, CancellationToken::new()));
    // What still blocks a thread must not hold up the end.
    runtime.shutdown_background();
    ended.map(|()| Exit::Done).map_err(failed)
}

/// The configuration that these flags, the environment and the file make.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(flags: &AgentFlags) -> Result<AgentConfig, ConfigError> {
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    let mut config = config::load(flags, std::env::vars_os(), &host, Some(config::USUAL_FILE.as_ref()))?;
    config.passed_over = config.passed_over.filter(|other| !config::same_engine(other, &config.docker_host));
    Ok(config)
}

/// Wrong settings, as a command ends with them.
#[must_use]
pub fn faulty(error: &ConfigError, exit: Exit) -> CliError {
    CliError::Configuration { faults: error.faults.iter().map(ToString::to_string).collect(), exit }
}

fn failed(error: AgentError) -> CliError {
    CliError::Agent { code: error.exit_code(), hint: error.hint(), source: Box::new(error) }
}

/// Whether what a library says may be logged at all. bollard tells whole requests below info, and with them the
/// variables of containers: values of Secrets, where they were asked for as variables.
fn is_harmless(record: &tracing::Metadata<'_>) -> bool {
    *record.level() <= tracing::Level::INFO || !record.target().starts_with("bollard")
}

/// Begins the log on standard error; what it gives changes later what is logged.
fn log(config: &AgentConfig) -> Result<impl Fn(&str) -> Result<(), String> + Send + Sync + use<>, CliError> {
    let wrong = |why: String| CliError::Configuration {
        faults: vec![format!("logFilter: {why}; write it like warn,constellation=info")],
        exit: Exit::Agent(78),
    };
    let filter = EnvFilter::try_new(&config.log_filter).map_err(|e| wrong(e.to_string()))?;
    let (filter, handle) = reload::Layer::new(filter);
    let registry = tracing_subscriber::registry().with(filter).with(filter_fn(is_harmless));
    let begun = match config.log_format {
        LogFormat::Text => {
            let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            let records = if colours { Records::Coloured } else { Records::Plain };
            let lines = move || OneLine { to: std::io::stderr(), records };
            registry.with(fmt::layer().with_writer(lines).with_ansi(colours).with_target(false)).try_init()
        }
        LogFormat::Json => {
            let lines = || OneLine { to: std::io::stderr(), records: Records::Json };
            registry.with(fmt::layer().json().with_writer(lines)).try_init()
        }
    };
    begun.map_err(|e| wrong(e.to_string()))?;
    Ok(move |filter: &str| {
        let filter = EnvFilter::try_new(filter).map_err(|e| e.to_string())?;
        handle.reload(filter).map_err(|e| e.to_string())
    })
}
