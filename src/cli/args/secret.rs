//! Arguments of `secret`.
//!
//! Here: which, and that no value is one of them: the list of processes shows arguments to everybody. Not here: what
//! they do (`cli::command::secret`).

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Delete, Form, Waiting};
use crate::{
    cli::names,
    model::{Kind, ObjectKey},
};

/// `secret …`.
#[derive(Debug, Subcommand)]
pub enum SecretCommand {
    /// Write keys of a secret; the others stay, and one that does not exist is made
    #[command(
        after_help = "Examples:\n  constellation secret set db password=-      asks without showing it, on a terminal\n  \
        pass show db | constellation secret set db password=-\n  \
        constellation secret set tls --from-file tls.crt=site.crt --from-file tls.key=site.key\n  \
        pwgen 40 1 | constellation secret set session --value-stdin\n\n\
        Of standard input the newline at the end is left out; a file is taken as it is."
    )]
    Set(SetSecret),
    /// List secrets with their versions; never a value
    #[command(
        after_help = "Examples:\n  constellation secret ls\n  constellation secret ls -o json | jq '.items[].spec.version'"
    )]
    Ls {
        /// Form of the output
        #[arg(short, long, value_enum, default_value = "text")]
        output: Form,
    },
    /// Draw a new value, or bring an earlier version back as the newest one
    #[command(
        after_help = "Examples:\n  constellation secret rotate session\n  constellation secret rotate db --to-version 3\n\n\
        Services that use it are replaced replica by replica, unless its `rotation` says otherwise. Only a secret with\n\
        `valueFrom: {generate: …}` is drawn; give another one its new value with `secret set`."
    )]
    Rotate(RotateSecret),
    /// List the versions that are kept: when, by whom, digest; never a value
    #[command(
        after_help = "Examples:\n  constellation secret history db\n  constellation secret history db -o json | jq '.versions[0].by'"
    )]
    History {
        /// Its name
        #[arg(value_name = "NAME", value_parser = names::label)]
        name: String,
        /// Form of the output
        #[arg(short, long, value_enum, default_value = "text")]
        output: Form,
    },
    /// Delete secrets, as `delete secret/NAME` does; one that a service names only with --force
    #[command(after_help = "Examples:\n  constellation secret rm old older -y")]
    Rm(RmSecret),
    /// Seal every secret with a new key and forget the old one; values and containers stay as they are
    #[command(after_help = "Examples:\n  constellation secret rekey -m disk-lost\n\n\
        Ended half-way it leaves both keys in the data directory's seal.key and everything open; asked again, it goes on.\n\
        A backup that was made before needs the key of then.")]
    Rekey {
        /// Form of the output
        #[arg(short, long, value_enum, default_value = "text")]
        output: Form,
        /// Why, kept with the change
        #[arg(short = 'm', long = "message", value_name = "TEXT")]
        reason: Option<String>,
    },
}

/// `secret set`.
#[derive(Debug, Args)]
pub struct SetSecret {
    /// Its name
    #[arg(value_name = "NAME", value_parser = names::label)]
    pub name: String,
    /// Key whose value comes from standard input, at most one
    #[arg(value_name = "KEY=-", value_parser = from_stdin, conflicts_with = "value_stdin")]
    pub key: Option<String>,
    /// Key and file that holds its value
    #[arg(long, value_name = "KEY=PATH", value_parser = from_file)]
    pub from_file: Vec<(String, PathBuf)>,
    /// The value of the key `value` comes from standard input
    #[arg(long)]
    pub value_stdin: bool,
    /// Key that goes
    #[arg(long, value_name = "KEY")]
    pub remove: Vec<String>,
    /// Form of the output
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Form,
    /// Why, kept with the change
    #[arg(short = 'm', long = "message", value_name = "TEXT")]
    pub reason: Option<String>,
}

/// `secret rotate`.
#[derive(Debug, Args)]
pub struct RotateSecret {
    /// Its name
    #[arg(value_name = "NAME", value_parser = names::label)]
    pub name: String,
    /// With the values of this version
    #[arg(long, value_name = "N")]
    pub to_version: Option<u64>,
    /// Form of the output
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Form,
    /// Why, kept with the change
    #[arg(short = 'm', long = "message", value_name = "TEXT")]
    pub reason: Option<String>,
}

/// `secret rm`.
#[derive(Debug, Args)]
pub struct RmSecret {
    /// Which
    #[arg(value_name = "NAME", required = true, value_parser = names::label)]
    pub names: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// One that a service names, too
    #[arg(long)]
    pub force: bool,
    /// Form of the output
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Form,
    /// Why, kept with the change
    #[arg(short = 'm', long = "message", value_name = "TEXT")]
    pub reason: Option<String>,
}

impl RmSecret {
    /// As a deletion of any objects.
    #[must_use]
    pub fn delete(&self) -> Delete {
        Delete {
            objects: self.names.iter().map(|name| ObjectKey::new(Kind::Secret, name.as_str())).collect(),
            files: Vec::new(),
            yes: self.yes,
            force: self.force,
            ignore_not_found: false,
            output: self.output,
            waiting: Waiting { reason: self.reason.clone(), ..Waiting::none() },
        }
    }
}

fn from_stdin(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((key, "-")) if !key.is_empty() => Ok(key.to_owned()),
        // The value is not repeated: it stands in the list of processes already.
        Some((key, _)) => Err(format!(
            "a value is no argument: everybody on this machine can read it; write {key}=- and give it on standard input"
        )),
        None => Err("write KEY=- and give the value on standard input".into()),
    }
}

fn from_file(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((key, path)) if !key.is_empty() && !path.is_empty() => Ok((key.to_owned(), path.into())),
        _ => Err("write KEY=PATH".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_never_an_argument() {
        assert_eq!(from_stdin("password=-"), Ok("password".into()));
        for text in ["password=hunter2", "=-", "hunter2"] {
            let error = from_stdin(text).unwrap_err();
            assert!(!error.contains("hunter2") && error.contains("standard input"), "{error}");
        }
        assert_eq!(from_file("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(from_file("a=").is_err() && from_file("a").is_err());
    }
}
