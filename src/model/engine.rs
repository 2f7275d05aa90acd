//! What an engine says of a container, in the words of decisions.
//!
//! Here: values that `plan` decides on and `runtime` brings. Not here: everything else that an engine is told or asked
//! (`runtime`).

/// Docker's states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerState {
    /// Made, never started.
    Created,
    /// Its process runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Between two runs by the engine's own restart policy.
    Restarting,
    /// Its process ended.
    Exited,
    /// The engine could not remove it.
    Dead,
    /// Being removed.
    Removing,
}

/// Docker's own restart policy, of which we use two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EngineRestart {
    /// Only we restart it.
    #[default]
    No,
    /// The engine restarts it when we are not there.
    UnlessStopped,
}
