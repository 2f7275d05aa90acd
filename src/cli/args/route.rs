//! Arguments of `route`.

use clap::Subcommand;

use super::Form;

/// `route …`.
#[derive(Debug, Subcommand)]
pub enum RouteCommand {
    /// List what is served from outside, and what is left out
    #[command(after_help = "Examples:\n  constellation route ls\n  constellation route ls -o json")]
    Ls {
        /// Form of the output; json: the table as the API gives it
        #[arg(short, long, value_enum, default_value = "text")]
        output: Form,
    },
    /// Show who answers for a host, what requests pass on the way, and what of it is left out
    #[command(after_help = "Examples:\n  constellation route show web.example.com\n  \
        constellation route show web.example.com -o json\n\nexit 1: nothing is served for this host")]
    Show {
        /// Host name
        #[arg(value_name = "HOST")]
        host: String,
        /// Form of the output
        #[arg(short, long, value_enum, default_value = "text")]
        output: Form,
    },
}
