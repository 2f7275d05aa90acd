//! What goes wrong at an engine.

use std::time::Duration;

/// What an engine can answer instead of a result. One variant for each thing a caller does differently.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeError {
    /// Its socket does not exist or refuses.
    #[error("the engine at {address} does not answer: {message}")]
    Down {
        /// Where it was looked for.
        address: String,
        /// What the attempt said.
        message: String,
    },
    /// It took the call and gave no answer.
    #[error("the engine gave no answer to {op} within {limit:?}")]
    Unresponsive {
        /// What was asked.
        op: &'static str,
        /// How long was waited.
        limit: Duration,
    },
    /// A command in a container did not end in its time; the engine itself answers.
    #[error("{message}")]
    CommandHung {
        /// Which, and for how long.
        message: String,
    },
    /// There is no such container, image, network or volume.
    #[error("{what} does not exist")]
    NotFound {
        /// `container x`, `network y`, …
        what: String,
    },
    /// The name is taken, or the object is in use.
    #[error("{message}")]
    Conflict {
        /// The engine's words.
        message: String,
    },
    /// A port is held by something else.
    #[error("port {port} is in use: {message}")]
    PortTaken {
        /// The host port.
        port: u16,
        /// The engine's words.
        message: String,
    },
    /// A registry has no such image.
    #[error("image {image} not found: {message}")]
    ImageNotFound {
        /// As it was asked for.
        image: String,
        /// The registry's words.
        message: String,
    },
    /// A registry refused.
    #[error("image {image} refused: {message}")]
    ImageRefused {
        /// As it was asked for.
        image: String,
        /// The registry's words.
        message: String,
    },
    /// A registry gave no answer.
    #[error("registry of {image} unreachable: {message}")]
    RegistryUnreachable {
        /// As it was asked for.
        image: String,
        /// What the attempt said.
        message: String,
    },
    /// No room on the disk.
    #[error("the engine's disk is full: {message}")]
    DiskFull {
        /// The engine's words.
        message: String,
    },
    /// The source of a bind mount does not exist.
    #[error("bind source {path} does not exist")]
    BindSourceMissing {
        /// On the host.
        path: String,
    },
    /// A host device does not exist.
    #[error("device missing: {message}")]
    DeviceMissing {
        /// The engine's words.
        message: String,
    },
    /// It refused the settings; trying again will not help.
    #[error("the engine refused: {message}")]
    Refused {
        /// The engine's words.
        message: String,
    },
    /// It failed inside; trying again may help.
    #[error("the engine failed: {message}")]
    Failed {
        /// The engine's words.
        message: String,
    },
}
