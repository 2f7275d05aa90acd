//! Arguments of `rollout`. Not here: what they do (`cli::command::rollout`).

use clap::{Args, Subcommand};

use super::{Form, Waiting};
use crate::{cli::names, model::Period};

/// `rollout …`.
#[derive(Debug, Subcommand)]
pub enum RolloutCommand {
    /// Say how far the rollout of a service is; -w tells it step by step until it ends
    #[command(
        after_help = "Examples:\n  constellation rollout status svc/web\n  constellation rollout status web -w --timeout 5m\n  \
        constellation rollout status web -o json | jq '.rollout.phase'\n  \
        constellation rollout status web -w -o json       each event as a line, then the report\n\n\
        Exit codes: 0 complete or under way, 1 rolled back, standing still, or not complete in time with -w."
    )]
    Status(RolloutStatus),
    /// List the revisions that are kept, with the one that runs and the one that worked last
    #[command(
        after_help = "Examples:\n  constellation rollout history svc/web\n  constellation rollout history web -o json | jq '.revisions[0].image'"
    )]
    History {
        /// Name of the service
        #[arg(value_name = "SERVICE", value_parser = names::service)]
        service: String,
        /// Form of the output
        #[arg(short, long, value_enum, default_value = "text")]
        output: Form,
    },
    /// Bring the replicas of an earlier revision back, with the same image
    #[command(
        after_help = "Examples:\n  constellation rollout undo svc/web\n  constellation rollout undo web --to-revision 14 -m \"500s\"\n\n\
        What is declared stays as it is: `why` tells that another revision runs, and the next apply that changes the\n\
        containers is rolled out as ever."
    )]
    Undo {
        /// The revision; without it, the one that was ready before
        #[arg(long, value_name = "N")]
        to_revision: Option<u64>,
        /// Which service, and how to wait.
        #[command(flatten)]
        word: RolloutWord,
    },
    /// Replace nothing more; what was begun is ended
    #[command(after_help = "Examples:\n  constellation rollout pause svc/web -m \"looks slow\"")]
    Pause(RolloutWord),
    /// Go on with a rollout that is paused or stands still; what has failed of it is let pass
    #[command(after_help = "Examples:\n  constellation rollout resume svc/web")]
    Resume(RolloutWord),
    /// Replace every replica by one of the same revision, as an update would
    #[command(after_help = "Examples:\n  constellation rollout restart svc/web -m \"leaks memory\"")]
    Restart(RolloutWord),
    /// Say that the first replicas are good: the others follow
    #[command(after_help = "Examples:\n  constellation rollout promote svc/web")]
    Promote(RolloutWord),
}

/// `rollout status`.
#[derive(Debug, Args)]
pub struct RolloutStatus {
    /// Name of the service
    #[arg(value_name = "SERVICE", value_parser = names::service)]
    pub service: String,
    /// Tell every step until it is complete and its postDeploy hooks have ended (0), or it is rolled back, stands still or is
    /// paused (1); canaries that are good and wait for `promote` end it too (0)
    #[arg(short, long)]
    pub watch: bool,
    /// With -w: longest wait
    #[arg(long, value_name = "DURATION", default_value = "15m")]
    pub timeout: Period,
    /// Form of the output
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Form,
}

/// A word about a rollout.
#[derive(Debug, Args)]
pub struct RolloutWord {
    /// Name of the service
    #[arg(value_name = "SERVICE", value_parser = names::service)]
    pub service: String,
    /// Form of the output
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Form,
    /// How long to wait.
    #[command(flatten)]
    pub waiting: Waiting,
}
