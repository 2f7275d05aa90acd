//! The decisions: functions from values to values, no clock, no IO, no randomness.
//!
//! Here: what planners read ([`view`]). Not here: carrying anything out (`reconcile`).

pub mod view;
