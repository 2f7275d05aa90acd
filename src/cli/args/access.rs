//! Arguments of the commands about who may do what.
//!
//! Here: token. Not here: what they do (`cli::command`).

use clap::{Args, Subcommand, ValueEnum};

use super::Form;
use crate::{
    cli::names,
    model::{Period, TokenRole},
};

/// `token …`.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it on the last line; it is told this once
    #[command(after_help = "Examples:\n  constellation token create ci --role write --ttl 30d\n  \
        constellation token create grafana --role read -o json | jq -r .token > token && chmod 600 token\n\n\
        A client takes it from CONSTELLATION_TOKEN or CONSTELLATION_TOKEN_FILE, never from an argument: the list of\n\
        processes shows those to everybody.")]
    Create(CreateToken),
    /// List tokens, expired ones too; never a secret
    #[command(
        after_help = "Examples:\n  constellation token ls\n  constellation token ls -o json | jq '.items[] | .name'"
    )]
    Ls {
        /// Form of the output
        #[arg(short, long, value_enum, default_value = "text")]
        output: Form,
    },
    /// Revoke a token: it is not known any more, and what it opened ends
    #[command(
        after_help = "Examples:\n  constellation token revoke ci\n  constellation token revoke ci -m \"laptop lost\""
    )]
    Revoke(RevokeToken),
}

/// `token create`.
#[derive(Debug, Args)]
pub struct CreateToken {
    /// Its name, for lists and for the audit record
    #[arg(value_name = "NAME", value_parser = names::label)]
    pub name: String,
    /// What it may do
    #[arg(long, value_enum)]
    pub role: RoleName,
    /// How long it is valid, like 12h or 30d; without it until it is revoked
    #[arg(long, value_name = "DURATION")]
    pub ttl: Option<Period>,
    /// Form of the output; json: the token and what is kept of it
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Form,
    /// Why, kept with the change
    #[arg(short = 'm', long = "message", value_name = "TEXT")]
    pub reason: Option<String>,
}

/// `token revoke`.
#[derive(Debug, Args)]
pub struct RevokeToken {
    /// Its name
    #[arg(value_name = "NAME", value_parser = names::label)]
    pub name: String,
    /// Form of the output
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Form,
    /// Why, kept with the change
    #[arg(short = 'm', long = "message", value_name = "TEXT")]
    pub reason: Option<String>,
}

/// A role as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RoleName {
    /// See everything but values of secrets
    Read,
    /// Also change declared objects, and build
    Write,
    /// Everything: nodes and tokens too
    Admin,
}

impl From<RoleName> for TokenRole {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Read => Self::Read,
            RoleName::Write => Self::Write,
            RoleName::Admin => Self::Admin,
        }
    }
}
