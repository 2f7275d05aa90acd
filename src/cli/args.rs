//! The arguments of every command, with their help and examples.
//!
//! Here: what may be typed. Not here: what it does (`command`), the agent's flags (`config`).
//! Invariant: a flag that is accepted works.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub mod change;
pub mod look;

pub use self::{change::*, look::*};
use crate::{config::AgentFlags, model::Period};

/// Runs and watches containers on one to fifty Docker machines.
#[derive(Debug, Parser)]
#[command(
    name = "constellation",
    version,
    about,
    max_term_width = 110,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done, 1 the answer is no or differs, 2 wrong usage or invalid manifest,\n\
                  3 no connection or no quorum, 4 not allowed, 5 not found, 6 conflict.\n\n\
                  Start with `constellation agent` as root, then `constellation apply -f examples/hello.yaml`."
)]
pub struct Cli {
    /// Where the API is: unix:///run/constellation/api.sock or http://127.0.0.1:7443 [env: CONSTELLATION_API].
    /// A token comes from CONSTELLATION_TOKEN or CONSTELLATION_TOKEN_FILE.
    #[arg(long, global = true, value_name = "URL", help_heading = "Connection")]
    pub api: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run this machine's agent: it keeps the cluster's state and drives the engine
    #[command(
        after_help = "Examples:\n  constellation agent\n  constellation agent --config /etc/constellation/agent.yaml\n  \
        constellation agent --data-dir ./data --run-dir ./run --api-address 127.0.0.1:0\n\n\
        More exit codes: 74 the store failed (start again), 78 the data is damaged (a person decides).\n\
        RUST_LOG chooses what is logged: warn,constellation=debug"
    )]
    Agent(AgentFlags),
    /// Everything else asks an agent.
    #[command(flatten)]
    Client(Client),
}

/// What to ask an agent for.
#[derive(Debug, Subcommand)]
pub enum Client {
    /// Show what manifests would change, ask, change it and wait until it is ready
    #[command(
        after_help = "Examples:\n  constellation apply -f web.yaml\n  constellation apply -f deploy/ -y -m \"new logo\"\n  \
        constellation apply -f deploy/ --set home --prune\n  constellation plan -f deploy/ --out change.plan && constellation apply --plan change.plan -y"
    )]
    Apply(Apply),
    /// Show what manifests would change: fields, operations, nodes and why (exit 0 nothing, 1 changes, 2+ error)
    #[command(
        after_help = "Examples:\n  constellation plan -f deploy/\n  constellation plan -f - -o json < web.yaml\n  constellation plan -f deploy/ --out change.plan"
    )]
    Plan(Plan),
    /// Compare: with -f the manifests with what is declared, without it what is declared with what runs
    #[command(
        after_help = "Examples:\n  constellation diff -f deploy/     what a commit would change (exit 0 same, 1 differs)\n  \
        constellation diff                what is not as declared, and why\n  constellation diff svc/web"
    )]
    Diff(Diff),
    /// Check manifests without an agent
    #[command(
        after_help = "Examples:\n  constellation validate -f deploy/\n  cat web.yaml | constellation validate -f -"
    )]
    Validate(Validate),
    /// List objects or show one
    #[command(
        visible_alias = "ls",
        after_help = "Examples:\n  constellation get svc\n  constellation get svc/web -o yaml\n  \
        constellation get replicas -l app=shop -w\n  constellation get nodes -o wide"
    )]
    Get(Get),
    /// Show one object whole: declaration, conditions, replicas, differences, events
    #[command(visible_alias = "inspect", after_help = "Example:\n  constellation describe svc/web")]
    Describe(Describe),
    /// Say why something is not as declared, and what to do
    #[command(after_help = "Examples:\n  constellation why svc/web\n  constellation why svc/web --replica 2")]
    Why(Why),
    /// Delete objects and wait until their containers are gone; data stays
    #[command(
        visible_alias = "rm",
        after_help = "Examples:\n  constellation delete svc/web\n  constellation delete -f deploy/ -y"
    )]
    Delete(Delete),
    /// Show what happened
    #[command(
        after_help = "Examples:\n  constellation events -w\n  constellation events --for svc/web --types Warning --since 1h\n  \
        constellation events --from-index 18442 -o json"
    )]
    Events(Events),
    /// List replicas with their containers, ended ones too
    #[command(after_help = "Examples:\n  constellation ps\n  constellation ps web")]
    Ps(Ps),
    /// Change the number of replicas and wait until they are ready
    #[command(after_help = "Example:\n  constellation scale svc/web=5")]
    Scale(Scale),
    /// Show what a service writes
    #[command(
        after_help = "Examples:\n  constellation logs web -f\n  constellation logs web --replica 2 --tail 100 --timestamps"
    )]
    Logs(Logs),
    /// Build an image on the node from a directory
    #[command(
        after_help = "Examples:\n  constellation build . -t web:1.9\n  constellation build examples/hello -t hello:2 --build-arg VERSION=2"
    )]
    Build(Build),
    /// Show the cluster on one screen
    Status(Status),
    /// Show nodes and say whether they take new replicas
    #[command(subcommand)]
    Node(NodeCommand),
    /// Print the JSON Schema of a manifest document
    Schema,
    /// Show the version of this program and of the agent
    Version(Version),
}

/// Which manifests.
#[derive(Debug, Args)]
pub struct Files {
    /// File, directory (read recursively: *.yaml, *.yml, *.json) or - for standard input
    #[arg(short = 'f', long = "file", value_name = "PATH", required = true)]
    pub files: Vec<PathBuf>,
}

/// How long to wait for a change.
#[derive(Debug, Clone, Args)]
pub struct Waiting {
    /// Return as soon as the change is accepted
    #[arg(short, long)]
    pub detach: bool,
    /// Longest wait until everything is ready
    #[arg(long, default_value = "10m", value_name = "DURATION")]
    pub timeout: Period,
    /// Why, kept with the change
    #[arg(short = 'm', long = "message", value_name = "TEXT")]
    pub reason: Option<String>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_that_takes_arguments_shows_an_example() {
        for command in Cli::command().get_subcommands() {
            let simple = ["status", "node", "schema", "version", "help"];
            if !simple.contains(&command.get_name()) {
                let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(after.contains("constellation "), "{}", command.get_name());
            }
        }
    }

    #[test]
    fn what_people_type_is_understood_or_refused() {
        for (line, good) in [
            ("apply -f a.yaml -f b/ -y -m why --timeout 5m", true),
            ("apply --plan x.plan -y", true),
            ("apply", false),
            ("apply -f a --prune", false),
            ("apply -f a --prune --set home", true),
            ("apply -f a --plan b", false),
            ("apply -f a --dry-run=client", true),
            ("apply -f a --dry-run=other", false),
            ("plan -f . -o json --out p", true),
            ("plan", false),
            ("diff", true),
            ("diff svc/web -f x", false),
            ("get svc", true),
            ("get svc/web -w", true),
            ("get services web -o yaml", true),
            ("get services -l app=web -o name", true),
            ("get services web -l app=web", false),
            ("get bogus", false),
            ("describe svc/web", true),
            ("describe web", false),
            ("why svc/web --replica 2", true),
            ("delete svc/web config/x", true),
            ("delete", false),
            ("events -w --for svc/web --types warning --since 1h --from-index 0 -o json", true),
            ("events --types Bad", false),
            ("ps web svc/db", true),
            ("scale svc/web=5", true),
            ("scale web=0", true),
            ("scale web", false),
            ("scale web=-1", false),
            ("logs web -f --tail 10 --since 5m --replica 1 --timestamps", true),
            ("logs web --replica 1 --all-replicas", false),
            ("build . -t web:1 --build-arg A=B --target x --no-cache --pull", true),
            ("build .", false),
            ("node cordon n1 -m disk", true),
            ("node", false),
            ("version --client", true),
            ("schema", true),
            ("--api http://127.0.0.1:1 status", true),
            ("status --api http://127.0.0.1:1", true),
            ("aply -f x", false),
        ] {
            let arguments = std::iter::once("constellation").chain(line.split(' '));
            assert_eq!(Cli::try_parse_from(arguments).is_ok(), good, "{line}");
        }
    }
}
