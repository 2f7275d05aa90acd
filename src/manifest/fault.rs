//! What is wrong with a manifest: where, what, and what to do.
//!
//! Here: [`ManifestError`], as people and programs read it, and [`Faults`], where one pass over a text
//! collects them. Not here: what counts as wrong (`shape`, `check`).
//! Invariant: every error has a line, a column and a fix; a Secret's values are in none of them, and nothing that
//! steers a terminal.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::tree::Pos;
use crate::model::visible::{made_visible, visible};

/// More errors than this in one text are counted, not listed.
const MOST_ERRORS: usize = 100;

/// One thing that is wrong in a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManifestError {
    /// File name, or `request`.
    pub source: String,
    /// Number of the document in the file, from 1.
    pub document: usize,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The deepest field that is wrong, like `spec.ports[0].published`; empty for the text itself.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub fix: String,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.source, self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if !self.fix.is_empty() {
            write!(f, "; {}", self.fix)?;
        }
        Ok(())
    }
}

// By hand: the field `source` is a file name, not a cause.
impl std::error::Error for ManifestError {}

/// The errors of one text while it is read.
pub(super) struct Faults {
    source: String,
    /// Number of the document that is being read, from 1.
    pub(super) document: usize,
    /// Where the text ends: the parser puts what is missing there behind it.
    pub(super) end: Pos,
    list: Vec<ManifestError>,
    more: usize,
}

impl Faults {
    pub(super) fn new(source: &str) -> Self {
        Self { source: source.into(), document: 1, end: Pos { line: usize::MAX, column: 1 }, list: Vec::new(), more: 0 }
    }

    pub(super) fn push(&mut self, at: Pos, path: &str, message: impl Into<String>, fix: impl Into<String>) {
        if self.list.len() >= MOST_ERRORS {
            self.more += 1;
            return;
        }
        let at = at.min(self.end);
        self.list.push(ManifestError {
            source: self.source.clone(),
            document: self.document,
            line: at.line,
            column: at.column,
            path: visible(path).into_owned(),
            message: made_visible(message.into()),
            fix: made_visible(fix.into()),
        });
    }

    /// How many were found so far: a pass compares it before and after.
    pub(super) fn count(&self) -> usize {
        self.list.len() + self.more
    }

    /// Whether something is wrong with a field or below it, in the document that is being read.
    pub(super) fn found_in(&self, path: &str) -> bool {
        let path = visible(path);
        let below =
            |p: &str| p.strip_prefix(&*path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        self.list.iter().any(|f| f.document == self.document && below(&f.path))
    }

    /// All of them, in the order of the text.
    pub(super) fn into_list(mut self) -> Vec<ManifestError> {
        self.list.sort_by(|a, b| (a.line, a.column, &a.path).cmp(&(b.line, b.column, &b.path)));
        if let (true, Some(last)) = (self.more > 0, self.list.last_mut()) {
            last.fix = format!("{}; {} more errors are not listed", last.fix, self.more);
        }
        self.list
    }
}

/// `known` that a person who wrote `wrong` most likely meant.
pub(super) fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = wrong.to_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&wrong, &name.to_lowercase()), name))
        .filter(|(score, _)| *score >= 0.84)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}
