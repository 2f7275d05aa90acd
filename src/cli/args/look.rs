//! Arguments of the commands that only look.
//!
//! Here: get, describe, why, events, ps, logs, status, node, version. Not here: what they do (`cli::command`).

use clap::{Args, Subcommand, ValueEnum};

use super::Form;
use crate::{
    cli::names::{self, KindOrKey},
    model::{ObjectKey, Period},
};

/// `get`.
#[derive(Debug, Args)]
pub struct Get {
    /// Kind (svc, route, mw, config, secret, node, replica) or KIND/NAME
    #[arg(value_name = "KIND", value_parser = names::kind_or_key)]
    pub what: KindOrKey,
    /// Only these objects: names after a kind, KIND/NAME after KIND/NAME
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Form of the output
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Output,
    /// Go on with each change; json is one change a line, {"index","op","object"}
    #[arg(short, long)]
    pub watch: bool,
    /// Only objects with these labels: key=value, key!=value, key, !key; commas mean "and". Of replicas: their service's
    #[arg(short = 'l', long = "selector", value_name = "SELECTOR", conflicts_with = "names")]
    pub selector: Option<String>,
    /// Times as dates instead of ages
    #[arg(long)]
    pub timestamps: bool,
}

/// Form of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Columns
    #[value(alias = "text")]
    Table,
    /// More columns
    Wide,
    /// As the API gives it
    Json,
    /// As a manifest
    Yaml,
    /// KIND/NAME
    Name,
}

/// `describe`.
#[derive(Debug, Args)]
pub struct Describe {
    /// Which object; a name alone is a service, and one like web.1 a replica
    #[arg(value_name = "KIND/NAME", value_parser = names::key_or_name)]
    pub object: ObjectKey,
    /// Form of the output; json: object, replicas, differences and events as the API gives them
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Form,
    /// Times as dates instead of ages
    #[arg(long)]
    pub timestamps: bool,
}

/// `why`.
#[derive(Debug, Args)]
pub struct Why {
    /// Which object; a name alone is a service, and one like web.1 a replica
    #[arg(value_name = "KIND/NAME", value_parser = names::key_or_name)]
    pub object: ObjectKey,
    /// Only this slot of a service: a number, or a node's name for a global one
    #[arg(long, value_name = "SLOT")]
    pub replica: Option<String>,
    /// The answer as the API gives it
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Form,
    /// Times as dates instead of ages
    #[arg(long)]
    pub timestamps: bool,
}

/// `events`.
#[derive(Debug, Args)]
pub struct Events {
    /// Go on with what happens from now on
    #[arg(short, long)]
    pub watch: bool,
    /// Only what concerns this object; a service's replicas too
    #[arg(long = "for", value_name = "KIND/NAME", value_parser = names::key)]
    pub object: Option<ObjectKey>,
    /// Only these types
    #[arg(long, value_name = "TYPE", value_delimiter = ',', ignore_case = true)]
    pub types: Vec<EventKind>,
    /// Only what happened in this time
    #[arg(long, value_name = "DURATION")]
    pub since: Option<Period>,
    /// Only what stands after this index
    #[arg(long, value_name = "N")]
    pub from_index: Option<u64>,
    /// Form of the output; json is one event a line
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Lines,
    /// Times as dates instead of ages
    #[arg(long)]
    pub timestamps: bool,
}

/// Form of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Lines {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// Type of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum EventKind {
    /// The course of things
    Normal,
    /// Worth a look
    Warning,
}

/// `ps`.
#[derive(Debug, Args)]
pub struct Ps {
    /// Only these services
    #[arg(value_name = "SVC", value_parser = names::service)]
    pub services: Vec<String>,
    /// Form of the output; json: the replicas as the API gives them
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Output,
    /// Only replicas of services with these labels: key=value, key!=value, key, !key; commas mean "and"
    #[arg(short = 'l', long = "selector", value_name = "SELECTOR")]
    pub selector: Option<String>,
    /// Times as dates instead of ages
    #[arg(long)]
    pub timestamps: bool,
    /// Refused with the command that does it: many would type it, and a guess at a typing error helps nobody.
    #[arg(short, long, hide = true)]
    pub watch: bool,
}

/// `logs`.
#[derive(Debug, Args)]
pub struct Logs {
    /// Which service
    #[arg(value_name = "SVC", value_parser = names::service)]
    pub service: String,
    /// Go on with new lines
    #[arg(short, long)]
    pub follow: bool,
    /// Only the last lines of each replica
    #[arg(long, value_name = "N")]
    pub tail: Option<u32>,
    /// Only lines of this time
    #[arg(long, value_name = "DURATION")]
    pub since: Option<Period>,
    /// Only this slot: a number, a node's name for a global service, or preDeploy and postDeploy for hooks
    #[arg(long, value_name = "SLOT")]
    pub replica: Option<String>,
    /// Ended replicas too; with --replica those of that slot, and hooks of earlier revisions
    #[arg(long)]
    pub all_replicas: bool,
    /// The time of each line
    #[arg(long)]
    pub timestamps: bool,
}

/// `status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Form of the output
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Form,
}

/// `node …`.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// List nodes
    #[command(after_help = "Examples:\n  constellation node ls\n  constellation node ls -o json")]
    Ls {
        /// Form of the output
        #[arg(short, long, value_enum, default_value = "wide")]
        output: Output,
    },
    /// Take nothing new on a node; what runs there stays
    #[command(
        after_help = "Examples:\n  constellation node cordon n1 -m \"new disk\"\n  constellation node cordon n1 n2"
    )]
    Cordon(Cordon),
    /// Take new replicas on a node again
    #[command(after_help = "Examples:\n  constellation node uncordon n1")]
    Uncordon(Cordon),
}

/// `node cordon`, `node uncordon`.
#[derive(Debug, Args)]
pub struct Cordon {
    /// Which nodes
    #[arg(value_name = "NODE", required = true, value_parser = names::node)]
    pub nodes: Vec<String>,
    /// Form of the output; json: what became of each node
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Form,
    /// Why, kept with the change
    #[arg(short = 'm', long = "message", value_name = "TEXT")]
    pub reason: Option<String>,
}

/// `version`.
#[derive(Debug, Args)]
pub struct Version {
    /// Only this program's; no agent is asked
    #[arg(long)]
    pub client: bool,
    /// Form of the output; json: version, commit, API and manifest schema of both
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Form,
}
