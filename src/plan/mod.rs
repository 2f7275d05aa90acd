//! The decisions: functions from values to values, no clock, no IO, no randomness.
//!
//! Here: what planners read ([`view`]), what a node does for its replicas ([`agent`]). Not here: carrying anything out (`reconcile`).

pub mod agent;
pub mod change;
pub mod rollout;
pub mod scheduler;
pub mod view;
pub mod why;
