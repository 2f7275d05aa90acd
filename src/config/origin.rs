//! Where values come from, and what is wrong with them.

use std::{fmt, path::PathBuf};

use serde::Serialize;

use super::settings::NONE;
use crate::model::visible::made_visible;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag of the command, with its name.
    Flag(String),
    /// A variable of the environment, with its name.
    Environment(String),
    /// The configuration file.
    File {
        /// Which.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// Nobody said otherwise.
    Default,
}

impl Origin {
    /// In one word: `flag`, `environment`, `file`, `default`.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Flag(_) => "flag",
            Self::Environment(_) => "environment",
            Self::File { .. } => "file",
            Self::Default => "default",
        }
    }
    /// The place itself: `--peer-port`, `CONSTELLATION_PEER_PORT`, `agent.yaml:3:11`; none of a default.
    #[must_use]
    pub fn place(&self) -> Option<String> {
        match self {
            Self::Flag(name) | Self::Environment(name) => Some(name.clone()),
            Self::File { path, line, column } => Some(format!("{}:{line}:{column}", path.display())),
            Self::Default => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place() {
            Some(place) => f.write_str(&place),
            None => f.write_str(self.word()),
        }
    }
}

/// One value as it was written.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) text: String,
    pub(super) origin: Origin,
    /// Key in the file; a flag and a variable say by themselves what they are.
    pub(super) key: &'static str,
    /// The items of a list in the file, each where it stands; elsewhere a list is one text.
    pub(super) list: Vec<Written>,
}

impl Written {
    /// One value.
    pub(super) const fn new(text: String, origin: Origin, key: &'static str) -> Self {
        Self { text, origin, key, list: Vec::new() }
    }

    /// The values of a list: from the file, or a text with commas; `none` has none.
    pub(super) fn items(&self) -> Vec<Self> {
        if !self.list.is_empty() || self.text.trim() == NONE {
            return self.list.clone();
        }
        let items = self.text.split(',').filter(|item| !item.trim().is_empty());
        items.map(|item| Self::new(item.to_owned(), self.origin.clone(), self.key)).collect()
    }

    /// A fault of this value.
    pub(super) fn fault(&self, message: String, fix: &str) -> Fault {
        let (line, column) = match &self.origin {
            Origin::File { line, column, .. } => (Some(*line), Some(*column)),
            Origin::Flag(_) | Origin::Environment(_) | Origin::Default => (None, None),
        };
        let place = match &self.origin {
            Origin::File { .. } => format!("{}: {}", self.origin, self.key),
            Origin::Flag(_) | Origin::Environment(_) | Origin::Default => self.origin.to_string(),
        };
        Fault { place, line, column, message, fix: fix.into() }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Under which name it was written: `--peer-port`, `CONSTELLATION_PEER_PORT`, `agent.yaml:3:1: peerPort`.
    pub place: String,
    /// Line in the file, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Column in the file, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub fix: String,
}

impl Fault {
    /// One that stands in no line of a file.
    #[must_use]
    pub fn of(place: impl Into<String>, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { place: place.into(), line: None, column: None, message: message.into(), fix: fix.into() }
    }
    /// What somebody wrote stands in it: it shall steer no terminal.
    pub(super) fn made_visible(self) -> Self {
        let [place, message, fix] = [self.place, self.message, self.fix].map(made_visible);
        Self { place, message, fix, ..self }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.place, self.message, self.fix)
    }
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// At least one.
    pub faults: Vec<Fault>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.faults.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}
impl std::error::Error for ConfigError {}
