//! Arguments of the commands that change something, or say what a change would do.
//!
//! Here: apply, plan, diff, validate, delete, scale, build. Not here: what they do (`cli::command`).

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Files, Form, Waiting};
use crate::{
    cli::{
        names::{self, ScaleTo},
        values,
    },
    model::ObjectKey,
};

/// `apply`.
#[derive(Debug, Args)]
pub struct Apply {
    /// File, directory (read recursively: *.yaml, *.yml, *.json) or - for standard input
    #[arg(short = 'f', long = "file", value_name = "PATH", required_unless_present = "plan", conflicts_with = "plan")]
    pub files: Vec<PathBuf>,
    /// Apply a plan that `plan --out` wrote; refused when something it looked at moved
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prune", "set"])]
    pub plan: Option<PathBuf>,
    /// Change nothing: check here, or let the server say what it would do (without a value: the server)
    #[arg(long, value_name = "WHERE", num_args = 0..=1, default_missing_value = "server")]
    pub dry_run: Option<DryRun>,
    /// Delete what belongs to the set and stands in none of the manifests
    #[arg(long, requires = "set")]
    pub prune: bool,
    /// Set that the objects belong to
    #[arg(long, value_name = "NAME", value_parser = names::set)]
    pub set: Option<String>,
    /// What a manifest may do.
    #[command(flatten)]
    pub programs: Programs,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Form of the output; json: what became of each object and how the wait ended
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Form,
    /// How long to wait.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// What a manifest may do where the command runs.
#[derive(Debug, Clone, Copy, Args)]
pub struct Programs {
    /// Run the programs that `valueFrom: {command: […]}` names, each in its manifest's folder
    #[arg(long)]
    pub allow_commands: bool,
}

impl Programs {
    /// What is done about a program.
    #[must_use]
    pub const fn allowed(self) -> values::Programs {
        if self.allow_commands { values::Programs::Run } else { values::Programs::Refuse }
    }
}

/// Where a dry run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DryRun {
    /// Manifests are read and checked; no agent is asked
    Client,
    /// The agent says what would become of each object
    Server,
}

/// `plan`.
#[derive(Debug, Args)]
pub struct Plan {
    /// Which manifests.
    #[command(flatten)]
    pub files: Files,
    /// What a manifest may do.
    #[command(flatten)]
    pub programs: Programs,
    /// Plan the deletion of what belongs to the set and stands in none of the manifests
    #[arg(long, requires = "set")]
    pub prune: bool,
    /// Set that the objects belong to
    #[arg(long, value_name = "NAME", value_parser = names::set)]
    pub set: Option<String>,
    /// Form of the output; 1 is the exit code of changes in every form
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Form,
    /// Write plan and documents to a file for `apply --plan` (mode 0600: it may hold secrets)
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// `diff`.
#[derive(Debug, Args)]
pub struct Diff {
    /// Only these objects
    #[arg(value_name = "KIND/NAME", value_parser = names::key, conflicts_with = "files")]
    pub objects: Vec<ObjectKey>,
    /// Manifests to compare with what is declared; - for standard input
    #[arg(short = 'f', long = "file", value_name = "PATH")]
    pub files: Vec<PathBuf>,
    /// What a manifest may do.
    #[command(flatten)]
    pub programs: Programs,
    /// Form of the output; json: with -f as of `plan`, without it the objects that differ
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Form,
}

/// `validate`.
#[derive(Debug, Args)]
pub struct Validate {
    /// Which manifests.
    #[command(flatten)]
    pub files: Files,
    /// Form of the output; json: every error with file, line, column and field
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Form,
}

/// `delete`.
#[derive(Debug, Args)]
pub struct Delete {
    /// Which objects
    #[arg(value_name = "KIND/NAME", value_parser = names::key, required_unless_present = "files", conflicts_with = "files")]
    pub objects: Vec<ObjectKey>,
    /// Delete what these manifests name; - for standard input
    #[arg(short = 'f', long = "file", value_name = "PATH")]
    pub files: Vec<PathBuf>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Delete a config or secret that a service names, too
    #[arg(long)]
    pub force: bool,
    /// An object that does not exist is no error
    #[arg(long)]
    pub ignore_not_found: bool,
    /// Form of the output; json: what became of each object and how the wait ended
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Form,
    /// How long to wait.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// `scale`.
#[derive(Debug, Args)]
pub struct Scale {
    /// Service and number of replicas
    #[arg(value_name = "SVC=N", required = true, value_parser = names::scale)]
    pub targets: Vec<ScaleTo>,
    /// Form of the output; json: what became of each service and how the wait ended
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Form,
    /// How long to wait.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// `build`.
#[derive(Debug, Args)]
pub struct Build {
    /// Directory that the Dockerfile copies from
    #[arg(value_name = "DIR")]
    pub context: PathBuf,
    /// Name of the image
    #[arg(short, long, value_name = "NAME")]
    pub tag: String,
    /// The Dockerfile; DIR/Dockerfile when not given
    #[arg(short = 'f', long = "file", value_name = "PATH")]
    pub dockerfile: Option<PathBuf>,
    /// Argument of the build; without =VALUE from the environment
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub build_arg: Vec<String>,
    /// Stage to build
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// Platform to build for, like linux/arm64
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<String>,
    /// Do not use layers of earlier builds
    #[arg(long)]
    pub no_cache: bool,
    /// Ask the registry for a newer base
    #[arg(long)]
    pub pull: bool,
    /// Print only the id of the image
    #[arg(short, long)]
    pub quiet: bool,
    /// Form of the output; json: the image's name and id
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Form,
}
