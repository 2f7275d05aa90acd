//! Arguments of `job`. Not here: what they do (`cli::command::job`).

use clap::{Args, Subcommand};

use super::{Form, Waiting};
use crate::cli::names;

/// `job …`.
#[derive(Debug, Subcommand)]
pub enum JobCommand {
    /// List jobs with their last run and their next; of one, its runs
    #[command(after_help = "Examples:\n  constellation job ls\n  constellation job ls backup\n  \
        constellation job ls backup -o json | jq '.runs[0].state'")]
    Ls {
        /// Only the runs of this one
        #[arg(value_name = "SVC", value_parser = names::service)]
        service: Option<String>,
        /// Form of the output
        #[arg(short, long, value_enum, default_value = "text")]
        output: Form,
    },
    /// Begin a run now, and follow it to its end
    #[command(
        after_help = "Examples:\n  constellation job run backup\n  constellation job run svc/backup -d -m \"before the move\"\n  \
        constellation job run backup -o json | jq '.runs[0].state'\n\n\
        Exit codes: 0 it succeeded (with -d: it was begun), 1 it failed or did not end in time,\n\
        2 it is suspended or no job, 6 another run is under way and concurrencyPolicy forbids a second."
    )]
    Run(JobRun),
    /// Show what the attempts of a run write
    #[command(
        after_help = "Examples:\n  constellation job logs backup\n  constellation job logs backup --run 7 --timestamps\n  \
        constellation job logs backup -f"
    )]
    Logs(JobLogs),
}

/// `job run`.
#[derive(Debug, Args)]
pub struct JobRun {
    /// Which job
    #[arg(value_name = "SVC", value_parser = names::service)]
    pub service: String,
    /// Form of the output
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Form,
    /// How long to wait.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// `job logs`.
#[derive(Debug, Args)]
pub struct JobLogs {
    /// Which job
    #[arg(value_name = "SVC", value_parser = names::service)]
    pub service: String,
    /// Which run; without it, the newest
    #[arg(long, value_name = "N")]
    pub run: Option<u64>,
    /// Go on with new lines
    #[arg(short, long)]
    pub follow: bool,
    /// Only the last lines of each attempt
    #[arg(long, value_name = "N")]
    pub tail: Option<u32>,
    /// The time of each line
    #[arg(long)]
    pub timestamps: bool,
}
