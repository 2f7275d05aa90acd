//! Arguments of the commands that need no agent to answer: this machine, its agent's settings, installing.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use clap_complete::Shell;

use super::Form;
use crate::config::AgentFlags;

/// Arguments of `agent`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct AgentArgs {
    /// Of the agent that is run.
    #[command(flatten)]
    pub flags: AgentFlags,
    /// Something else than running it.
    #[command(subcommand)]
    pub command: Option<AgentCommand>,
}

/// What else there is to an agent.
#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    /// Show or check the settings that an agent would run with
    #[command(
        subcommand,
        after_help = "Examples:\n  constellation agent config show\n  constellation agent config check /etc/constellation/agent.yaml\n  \
        constellation agent config example > /etc/constellation/agent.yaml"
    )]
    Config(ConfigCommand),
    /// Print the unit file with which systemd runs an agent
    #[command(after_help = "Examples:\n  constellation agent unit > /etc/systemd/system/constellation.service\n  \
        constellation agent unit --binary /opt/constellation/bin/constellation")]
    Unit(Unit),
}

/// Arguments of `agent unit`.
#[derive(Debug, Args)]
pub struct Unit {
    /// The program that it starts; without it the one that runs now
    #[arg(long, value_name = "PATH")]
    pub binary: Option<PathBuf>,
}

/// What to do with an agent's settings.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show each setting with where it comes from; takes the flags of the agent; secrets are hidden
    #[command(
        after_help = "Examples:\n  constellation agent config show\n  constellation agent config show --config agent.yaml --peer-port 8444\n  \
        constellation agent config show -o json | jq -r '.settings[] | select(.from != \"default\") | .key'\n\n\
        What a reload (SIGHUP, `systemctl reload constellation`) takes over says so in CHANGES AT."
    )]
    Show(Box<ConfigShow>),
    /// Say everything that is wrong with a configuration file and the environment (exit 0 good, 2 wrong)
    #[command(
        after_help = "Examples:\n  constellation agent config check\n  constellation agent config check agent.yaml\n  \
        constellation agent config check agent.yaml -o json | jq '.faults[] | {line, column, message, fix}'"
    )]
    Check(ConfigCheck),
    /// Print a configuration file with every key, what it means and its default
    #[command(after_help = "Examples:\n  constellation agent config example > /etc/constellation/agent.yaml")]
    Example,
    /// Print the JSON Schema of a configuration file, for editors
    #[command(after_help = "Examples:\n  constellation agent config schema > agent.schema.json")]
    Schema,
}

/// Arguments of `agent config show`.
#[derive(Debug, Args)]
pub struct ConfigShow {
    /// Of the agent.
    #[command(flatten)]
    pub flags: AgentFlags,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Form,
}

/// Arguments of `agent config check`.
#[derive(Debug, Args)]
pub struct ConfigCheck {
    /// The file; without it the one that an agent would read
    pub file: Option<PathBuf>,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Form,
}

/// Arguments of `doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Of the agent that runs here, or shall.
    #[command(flatten)]
    pub flags: AgentFlags,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Form,
}

/// Arguments of `completion`.
#[derive(Debug, Args)]
pub struct Completion {
    /// Which shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Arguments of `man`.
#[derive(Debug, Args)]
pub struct Man {
    /// The directory, which is made if it is not there
    pub directory: PathBuf,
}
