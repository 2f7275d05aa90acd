//! What a configuration that is read again changes in a running agent.

use super::{AgentConfig, settings::SETTINGS};

/// What differs between what an agent runs with and what is written now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Keys that a reload takes over.
    pub taken: Vec<&'static str>,
    /// Keys that only a restart takes over: they stay as they are.
    pub waiting: Vec<&'static str>,
}

/// Compares two configurations: `running` and the one that was read now.
#[must_use]
pub fn change(running: &AgentConfig, read: &AgentConfig) -> Change {
    let differ = SETTINGS.into_iter().filter(|setting| running.value(*setting) != read.value(*setting));
    let (taken, waiting) = differ.partition::<Vec<_>, _>(|setting| setting.is_live());
    let keys = |settings: Vec<super::Setting>| settings.into_iter().map(|setting| setting.key()).collect();
    Change { taken: keys(taken), waiting: keys(waiting) }
}
