//! `agent`: runs a node in this process.
//!
//! Here: configuration, the log, the runtime with its threads. Not here: the node itself (`agent`).

use std::io::IsTerminal as _;

use tokio_util::sync::CancellationToken;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{
    agent::{self, AgentError},
    cli::failure::{CliError, Exit},
    config::{self, AgentConfig, AgentFlags, LogFormat},
};

/// What is logged when `RUST_LOG` does not say otherwise: of the libraries only what goes wrong.
const FILTER: &str = "warn,constellation=info";

/// Runs `agent` until SIGTERM or SIGINT.
///
/// # Errors
/// A wrong configuration (78), or why the agent ended: 74 a disk failed, 78 a person has to decide, 1 anything
/// else.
pub fn agent(flags: &AgentFlags) -> Result<Exit, CliError> {
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    let mut config = config::load(flags, std::env::vars_os(), &host)
        .map_err(|error| CliError::Configuration(error.faults.iter().map(ToString::to_string).collect()))?;
    config.passed_over = config.passed_over.filter(|other| !config::same_engine(other, &config.docker_host));
    log(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|source| CliError::Usage { message: format!("no threads: {source}"), hint: None })?;
    let ended = runtime.block_on(agent::run(config, CancellationToken::new()));
    // What still blocks a thread must not hold up the end.
    runtime.shutdown_background();
    ended.map(|()| Exit::Done).map_err(failed)
}

fn failed(error: AgentError) -> CliError {
    CliError::Agent { code: error.exit_code(), hint: error.hint(), source: Box::new(error) }
}

/// Begins the log on standard error.
fn log(config: &AgentConfig) -> Result<(), CliError> {
    let wrong =
        |why: String| CliError::Configuration(vec![format!("RUST_LOG: {why}; write it like RUST_LOG={FILTER}")]);
    let filter = match std::env::var("RUST_LOG") {
        Ok(text) if !text.trim().is_empty() => EnvFilter::try_new(text).map_err(|e| wrong(e.to_string()))?,
        Ok(_) | Err(_) => EnvFilter::new(FILTER),
    };
    let registry = tracing_subscriber::registry().with(filter);
    let begun = match config.log_format {
        LogFormat::Text => {
            let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            registry.with(fmt::layer().with_writer(std::io::stderr).with_ansi(colours).with_target(false)).try_init()
        }
        LogFormat::Json => registry.with(fmt::layer().json().with_writer(std::io::stderr)).try_init(),
    };
    begun.map_err(|e| wrong(e.to_string()))
}
