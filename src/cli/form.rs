//! What commands print for programs (`-o json`, `-o yaml`), where the API has no type that says it.
//!
//! Here: one type for each shape. Not here: lists, plans, reasons and the cluster (`api::wire`), printing (`screen`).
//! Invariant: names are kept as the API's are: fields are added, never renamed.

mod backup;
mod change;

use serde::{Deserialize, Serialize};

pub use self::{backup::*, change::*};
use crate::{
    api::wire::{Difference, Event, ManifestFault, Object},
    manifest::Document,
    model::{Kind, meta::API_VERSION},
    store::rescue::Survey,
};

/// `diff` without manifests: what is not as declared.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Differing {
    /// Objects with a difference; empty when everything is as declared.
    pub objects: Vec<DifferingObject>,
}

/// One object that is not as declared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DifferingObject {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Sorted by path.
    pub differences: Vec<Difference>,
}

/// `describe`: everything that is known of one object.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Described<'a> {
    /// The object.
    pub object: &'a Object,
    /// Its replicas, when it is a service or a node.
    pub replicas: &'a [Object],
    /// What differs.
    pub differences: &'a [Difference],
    /// Its newest events, oldest first.
    pub events: &'a [Event],
}

/// `validate`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// Whether there is no error.
    pub valid: bool,
    /// What the manifests declare; empty with an error.
    pub objects: Vec<Valid>,
    /// Each error with its place.
    pub errors: Vec<ManifestFault>,
    /// Documents that are not ours.
    pub warnings: Vec<String>,
}

/// One good document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Valid {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// File.
    pub source: String,
    /// Its first line.
    pub line: usize,
    /// What works and is worth a second thought.
    pub warnings: Vec<String>,
}

impl From<&Document> for Valid {
    fn from(document: &Document) -> Self {
        Self {
            kind: document.declared.kind(),
            name: document.declared.name.to_string(),
            source: document.source.clone(),
            line: document.line,
            warnings: document.warnings.clone(),
        }
    }
}

/// `build`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Built {
    /// Its name.
    pub image: String,
    /// What the engine calls it: `sha256:…`.
    pub id: String,
}

/// What of a damaged store can be saved.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Savable<'a> {
    /// Why the store is closed; absent: it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed: Option<&'a str>,
    /// What was seen on the way.
    pub seen: &'a [String],
    /// Index of the state that can be saved.
    pub index: u64,
    /// Its newest time, milliseconds since 1970.
    pub time: u64,
    /// Entries of the log that are lost, or `unknown`.
    pub lost: String,
}
impl<'a> Savable<'a> {
    /// As it was found.
    #[must_use]
    pub fn of(survey: &'a Survey) -> Self {
        Self {
            closed: survey.verdict.as_deref(),
            seen: &survey.seen,
            index: survey.state.index().0,
            time: survey.state.time(),
            lost: survey.loss.to_string(),
        }
    }
}

/// A store that goes on.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rescued {
    /// Entries of the log that are lost, or `unknown`.
    pub lost: String,
    /// Where the damaged store is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
}

/// `version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// This program.
    pub client: Program,
    /// The agent; absent with `--client` and when none answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<Server>,
}

/// This program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Of the release.
    pub version: String,
    /// What it was built from; absent when the build was not told (`CONSTELLATION_COMMIT`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The API that it speaks.
    pub api: String,
    /// `apiVersion` of the manifests that it reads.
    pub schema: String,
}

impl Program {
    /// The one that runs.
    #[must_use]
    pub fn this() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            commit: option_env!("CONSTELLATION_COMMIT").filter(|commit| !commit.is_empty()).map(str::to_owned),
            api: "v1".into(),
            schema: API_VERSION.into(),
        }
    }
}

/// The agent that answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Of its release.
    pub version: String,
    /// Where it was asked.
    pub endpoint: String,
    /// Its node.
    pub node: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_version_names_the_api_and_the_schema() {
        let said = serde_json::to_value(Versions { client: Program::this(), server: None }).unwrap();
        assert_eq!(said["client"]["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!((&said["client"]["api"], &said["client"]["schema"]), (&json!("v1"), &json!(API_VERSION)));
        assert_eq!(said.get("server"), None);
    }
}
