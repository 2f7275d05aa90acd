//! Arguments of the commands about who may do what.
//!
//! Here: token, audit. Not here: what they do (`cli::command`).

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
    #[arg(value_name = "NAME", value_parser = names::token)]
    pub name: String,
    /// Form of the output
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Form,
    /// Why, kept with the change
    #[arg(short = 'm', long = "message", value_name = "TEXT")]
    pub reason: Option<String>,
}

/// `audit`.
#[derive(Debug, Args)]
pub struct Audit {
    /// Only what this caller did: the name of a token, admin-token, root@socket, "uid 1000@socket"
    #[arg(long, value_name = "NAME")]
    pub who: Option<String>,
    /// Only what this object was part of: svc/web, node/n1, token/ci, image/web:1
    #[arg(long = "for", value_name = "KIND/NAME", value_parser = names::about)]
    pub object: Option<String>,
    /// Only this last time
    #[arg(long, value_name = "DURATION")]
    pub since: Option<Period>,
    /// At most so many, the newest
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub limit: u16,
    /// Form of the output; wide: with numbers, indexes and addresses
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: AuditForm,
    /// Times as dates instead of ages
    #[arg(long)]
    pub timestamps: bool,
}

/// Form of the audit record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AuditForm {
    /// For people
    #[value(alias = "table")]
    Text,
    /// More columns
    Wide,
    /// As the API gives it
    Json,
    /// The same as YAML
    Yaml,
}

impl From<AuditForm> for Form {
    fn from(form: AuditForm) -> Self {
        match form {
            AuditForm::Text | AuditForm::Wide => Self::Text,
            AuditForm::Json => Self::Json,
            AuditForm::Yaml => Self::Yaml,
        }
    }
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
    /// Read the configuration of Traefik, with its TLS keys, and nothing else
    Edge,
}

impl From<RoleName> for TokenRole {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Read => Self::Read,
            RoleName::Write => Self::Write,
            RoleName::Admin => Self::Admin,
            RoleName::Edge => Self::Edge,
        }
    }
}
