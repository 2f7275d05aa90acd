//! Errors: `application/problem+json` after RFC 9457, with a stable `type`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::manifest::ManifestError;

/// Where the types of problems live; the last segment names one.
pub const TYPES: &str = "https://constellation.dev/problems/";

/// An error as every route answers it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// Stable address of this kind of problem; programs compare it.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem in words.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What happened this time.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Each fault of a manifest, with its place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ManifestFault>,
    /// Index of the state at this node; for 410 the oldest that is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// Name of the leader's node as this node knows it; on failed writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// Members that answer and members that vote, `1/1`; on failed writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quorum: Option<String>,
}

impl Problem {
    /// Last segment of the type: `conflict`.
    #[must_use]
    pub fn slug(&self) -> &str {
        self.kind.strip_prefix(TYPES).unwrap_or(&self.kind)
    }
}

/// One fault of a manifest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ManifestFault {
    /// File, or `request`; of a change that brings no text of its own (scale), the object.
    pub source: String,
    /// Number of the document, from 1; absent without a text.
    #[serde(skip_serializing_if = "is_none")]
    pub document: usize,
    /// Line, from 1; absent without a text.
    #[serde(skip_serializing_if = "is_none")]
    pub line: usize,
    /// Column, from 1; absent where only the line is known.
    #[serde(skip_serializing_if = "is_none")]
    pub column: usize,
    /// `spec.ports[0].published`.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
const fn is_none(place: &usize) -> bool {
    *place == 0
}

impl From<&ManifestError> for ManifestFault {
    fn from(error: &ManifestError) -> Self {
        Self {
            source: error.source.clone(),
            document: error.document,
            line: error.line,
            column: error.column,
            path: error.path.clone(),
            message: error.message.clone(),
            fix: Some(error.fix.clone()).filter(|fix| !fix.is_empty()),
        }
    }
}
