//! The replicated store: one history of commands in a Raft log, one state machine in memory.
//!
//! Here, from the outside in: [`open`](open()) and [`Store`]; [`Client`], which reads, watches and
//! proposes; [`command`] and [`put`], what may change the state; [`state`] and its pure, total
//! [`apply`]; [`seal`] for Secrets; [`backup`] and [`rescue`], to go on from elsewhere. Inside: `proposer` (groups become entries), `leading` (the
//! token), `keeper` (snapshots), `machine`, `log` and `log_thread` (group commit) over a `disk` with its
//! `witness` (a tail that is missing is noticed) and `quarantine` (a damaged one stays closed); `room` (it stops before the disk is full); `metrics`, what all of them count.
//! Not here: deciding what to change (`plan`), carrying it out (`reconcile`).
//! Invariant: an acknowledged change is on the disk of a majority, whatever is killed.

pub mod apply;
pub mod audit;
pub mod backup;
pub mod client;
mod clock;
pub mod command;
mod disk;
pub mod durable;
pub mod fault;
mod keeper;
pub mod keys;
mod leading;
mod log;
mod log_thread;
mod machine;
mod member;
mod metrics;
mod open;
mod packed;
mod proposer;
pub mod put;
mod quarantine;
mod raft;
mod rebuild;
mod record;
pub mod rekey;
pub mod rescue;
pub mod ring;
pub mod room;
pub mod seal;
mod sled_disk;
mod snapshot;
pub mod state;
pub mod testing;
mod witness;

pub use client::{Client, ProposeError, RaftStatus};
pub use keeper::Pace;
pub use member::FOLDER;
pub use open::{OpenError, Options, Store, is_there, open};
pub use quarantine::Verdict;
pub use raft::Profile;
pub use rebuild::REPLACED;
pub use state::State;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod cutting;
#[cfg(test)]
mod mutants;
#[cfg(test)]
mod mutated;
#[cfg(test)]
mod tests;
