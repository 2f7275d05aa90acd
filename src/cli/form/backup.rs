//! What `backup` prints for programs.

use serde::Serialize;

use crate::api::wire::RestoreReport;

/// `backup create`.
#[derive(Debug, Serialize)]
pub struct BackedUp {
    /// The file.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// Its hash.
    pub blake3: String,
}

/// `backup verify`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)] // the fields are the words of `store::backup::About`
pub struct Verified {
    pub name: String,
    pub cluster: String,
    pub index: u64,
    pub time: u64,
    pub node: String,
    pub version: String,
    /// Of the state, as it was found in the store that was made of it.
    pub hash: String,
    /// Whether the hash is the one that was noted when it was made.
    pub as_noted: bool,
    pub services: usize,
    pub configs: usize,
    pub secrets: usize,
    /// Values of Secrets that opened, of kept versions too.
    pub secret_values: usize,
    pub nodes: usize,
    pub replicas: usize,
}

/// `backup restore`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Restored {
    /// The data directory that was filled.
    pub data_dir: String,
    /// The node that this machine is now.
    pub node: String,
    /// The new cluster's identity.
    pub cluster: String,
    /// Index of the backup.
    pub index: u64,
}

/// `backup confirm`.
#[derive(Debug, Serialize)]
pub struct Confirmed {
    /// What was shown.
    #[serde(flatten)]
    pub report: RestoreReport,
    /// Whether it was confirmed.
    pub confirmed: bool,
}

/// `backup key`.
#[derive(Debug, Serialize)]
pub struct DrawnKey {
    /// Where the secret key is.
    pub file: String,
    /// The public one.
    pub public: String,
}
