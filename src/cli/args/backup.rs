//! Arguments of `backup`.
//!
//! Not here: what it does (`cli::command::backup`).

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Form;
use crate::model::Period;

/// `backup …`.
#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// Write a sealed backup of what is declared, with the keys of its secrets; everything goes on meanwhile
    #[command(after_help = "Examples:\n  constellation backup create --recipient age1… home.age\n  \
        constellation backup create --recipient age1… /mnt/nas/home-$(date +%F).age\n  \
        constellation backup create --passphrase-file phrase home.age\n  \
        constellation backup create --recipient age1… - | ssh nas 'cat > home.age'\n\n\
        `constellation backup key` makes a recipient; without one it asks for a passphrase. It holds services, configs,\n\
        secrets, nodes, placements and the keys of the secrets; not the data in volumes and bind mounts, nor images.\n\
        It is an age file: `age -d -i backup.key home.age | tar t` opens it too. A file that is there is never replaced.")]
    Create(CreateBackup),
    /// Open a backup, make a store of it in a folder that goes away, and compare; no agent is asked (exit 1: it is no good)
    #[command(after_help = "Examples:\n  constellation backup verify -i backup.key home.age\n  \
        constellation backup verify --passphrase-file phrase home.age -o json | jq '{index, hash}'")]
    Verify(VerifyBackup),
    /// Fill the empty data directory of this machine from a backup; the agent must not run
    #[command(after_help = "Examples:\n  constellation backup restore -i backup.key home.age\n  \
        constellation backup restore -i backup.key home.age --data-dir /var/lib/constellation --node n1\n\n\
        Then start the agent: it takes over the containers that run, and starts and stops nothing until\n\
        `constellation backup confirm`. It is a new cluster with the old data: tokens are gone, and the administrator's\n\
        is a new one. Containers, volumes and bind mounts are not touched.")]
    Restore(RestoreBackup),
    /// Show what a restored backup would start and stop, ask, and let it
    #[command(
        after_help = "Examples:\n  constellation backup confirm --dry-run     only show (exit 0 nothing waits, 1 something does)\n  \
        constellation backup confirm\n  constellation backup confirm -y -o json"
    )]
    Confirm(ConfirmBackup),
    /// Make a pair of keys: backups are sealed to the public one and opened with the secret one
    #[command(
        after_help = "Examples:\n  constellation backup key backup.key     prints the public key, which is no secret\n\n\
        Keep the file away from this machine: without it no backup opens, and with it every one does."
    )]
    Key(BackupKey),
}

/// `backup create`.
#[derive(Debug, Args)]
pub struct CreateBackup {
    /// The file; - for standard output
    pub file: PathBuf,
    /// Seal it to this public key, age1…; may be said more than once
    #[arg(long, value_name = "KEY", conflicts_with = "passphrase_file")]
    pub recipient: Vec<String>,
    /// Seal it with the passphrase in the first line of this file
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Form,
    /// Why, kept in the audit record
    #[arg(short = 'm', long = "message", value_name = "TEXT")]
    pub reason: Option<String>,
}

/// What opens a backup.
#[derive(Debug, Args)]
pub struct Opens {
    /// The file with the secret key, as `backup key` writes it
    #[arg(short = 'i', long, value_name = "FILE", conflicts_with = "passphrase_file")]
    pub identity: Option<PathBuf>,
    /// The file with the passphrase in its first line; without both it is asked for
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// `backup verify`.
#[derive(Debug, Args)]
pub struct VerifyBackup {
    /// The backup
    pub file: PathBuf,
    /// What opens it.
    #[command(flatten)]
    pub opens: Opens,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Form,
}

/// `backup restore`.
#[derive(Debug, Args)]
pub struct RestoreBackup {
    /// The backup
    pub file: PathBuf,
    /// What opens it.
    #[command(flatten)]
    pub opens: Opens,
    /// Data directory of the agent [env: CONSTELLATION_DATA_DIR] [default: as the agent's]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// Configuration file of the agent [env: CONSTELLATION_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Which node of the backup this machine becomes, if there are several
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Form,
}

/// `backup confirm`.
#[derive(Debug, Args)]
pub struct ConfirmBackup {
    /// Do not ask
    #[arg(short, long, conflicts_with = "dry_run")]
    pub yes: bool,
    /// Only show what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Go on although this node has not said what runs there; may be said more than once
    #[arg(long, value_name = "NODE")]
    pub without: Vec<String>,
    /// How long the nodes may take to say what runs on them
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    pub timeout: Period,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Form,
    /// Why, kept with the change
    #[arg(short = 'm', long = "message", value_name = "TEXT")]
    pub reason: Option<String>,
}

/// `backup key`.
#[derive(Debug, Args)]
pub struct BackupKey {
    /// Where the secret key is written, readable by you alone; never replaced
    pub file: PathBuf,
    /// Form of the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Form,
}
