//! Why an agent ends, how, and what a person can do.

use std::{io, path::PathBuf, sync::Arc};

use crate::{
    runtime::RuntimeError,
    store::{OpenError, durable},
};

/// Why an agent ended.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A directory cannot be used.
    #[error("{}: cannot be used", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another agent has the data directory.
    #[error("the data directory {} is in use by {owner}", path.display())]
    DataInUse {
        /// Which.
        path: PathBuf,
        /// By whom.
        owner: String,
    },
    /// Another agent drives the engine.
    #[error("the engine {engine} is driven by another agent: {owner}")]
    EngineInUse {
        /// The engine's id.
        engine: String,
        /// By whom.
        owner: String,
    },
    /// The data directory is that of a node with another name.
    #[error("the data directory is that of the node {is}, and the name {asked} is asked for")]
    Renamed {
        /// Whose it is.
        is: Arc<str>,
        /// What it shall be called.
        asked: Arc<str>,
    },
    /// The store knows another node by this name.
    #[error("the node {0} of the store has another identity than node.json of the data directory says")]
    Impostor(Arc<str>),
    /// The engine runs without root.
    #[error("the engine at {0} is rootless: its containers' addresses cannot be reached from this host")]
    Rootless(String),
    /// The engine's address is none.
    #[error("{0} is no address of an engine")]
    Engine(String, #[source] RuntimeError),
    /// The API cannot listen.
    #[error("the API cannot listen at {at}")]
    Listen {
        /// Where.
        at: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Signals cannot be heard.
    #[error("signals cannot be heard")]
    Signals(#[source] io::Error),
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store failed while it ran.
    #[error("the store failed: {0}")]
    Store(String),
    /// A part ended that must not end.
    #[error("{0} ended unexpectedly")]
    Ended(&'static str),
}

impl AgentError {
    /// What the process ends with: 74 a disk failed (start again), 78 damage, a wrong directory or a wrong
    /// setting (a person decides), 1 what may pass by itself.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Open(error) => error.exit_code(),
            Self::Directory { source, .. } if durable::waits_for_a_person(source) => 78,
            Self::Store(_) | Self::Directory { .. } => 74,
            Self::Renamed { .. } | Self::Impostor(_) | Self::Rootless(_) | Self::Engine(..) => 78,
            Self::DataInUse { .. }
            | Self::EngineInUse { .. }
            | Self::Listen { .. }
            | Self::Signals(_)
            | Self::Ended(_) => 1,
        }
    }
    /// What the user can do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Open(error) => Some(error.hint()),
            Self::Directory { path, source } => Some(match source.kind() {
                io::ErrorKind::InvalidData => "bring it back from a copy of the data directory".into(),
                _ if durable::waits_for_a_person(source) => {
                    "run as root, or choose --data-dir and --run-dir of your own".into()
                }
                _ => format!("look at the disk of {} (room, mount), then start the agent again", path.display()),
            }),
            Self::DataInUse { .. } => Some("stop that agent, or choose another --data-dir".into()),
            Self::EngineInUse { .. } => Some("stop that agent, or choose another --docker-host".into()),
            Self::Renamed { is, .. } => {
                Some(format!("start it with --node-name {is}: a node keeps its name, or all it runs would be removed"))
            }
            Self::Impostor(_) => Some("bring back the node.json that belongs to the store beside it".into()),
            Self::Rootless(_) => Some("choose an engine that runs as root with --docker-host".into()),
            Self::Engine(..) => Some("write --docker-host like unix:///var/run/docker.sock".into()),
            Self::Listen { .. } => Some("choose --api-address and --api-socket that are free".into()),
            Self::Store(_) => Some("look at the disk of the data directory, then start the agent again".into()),
            Self::Signals(_) | Self::Ended(_) => None,
        }
    }
}
