//! Lines of streams: watches, logs, builds. An event of the event stream is a [`crate::model::Event`].
//!
//! All are ndjson: one object a line. An empty line says only that the stream lives.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Object, Problem};

/// One change in a watch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WatchLine<O = Object> {
    /// Where it stands in the history: the position to resume from.
    pub index: u64,
    /// What happened.
    pub op: WatchOp,
    /// The object after the change; before it when it was deleted.
    pub object: O,
}

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WatchOp {
    /// It was written, or its status changed.
    Put,
    /// It is gone.
    Delete,
}

/// The last line to a reader that fell behind: what it missed is not kept any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Resync {
    /// `fromIndex` that gives everything that is still kept.
    pub resync: u64,
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogLine {
    /// Full name of the replica.
    pub replica: String,
    /// `stdout` or `stderr`; `error` when the log of this replica cannot be read (any more).
    pub stream: String,
    /// The line, without its end.
    pub line: String,
    /// When, RFC 3339, as the engine noted it; only with `timestamps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Why it cannot be read. None where nothing failed: the container of a replica that ended is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Box<Problem>>,
}

/// One line of a build: output, then either an image or an error.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BuildLine {
    /// What the engine says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Last line of a good build: id of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Last line of a failed build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Problem>,
}
