//! The replicated store: one history of commands in a Raft log, one state machine in memory.
//!
//! Here: what may change the state ([`command`]), the state and its pure, total `apply` ([`state`]),
//! and, behind [`Client`], Raft over sled. Not here: deciding what to change (`plan`), carrying it out (`reconcile`).

pub mod apply;
pub mod client;
pub mod command;
pub mod ring;
pub mod state;

pub use client::{Client, ProposeError};
pub use state::State;
