//! The command line: everything a person types.
//!
//! Here: the arguments ([`args`]), the way to an API ([`endpoint`], [`transport`]), and what goes wrong
//! ([`failure`]). Not here: what the API decides (`api`), the agent itself (`agent`).
//! Invariant: nothing from a server is printed before [`text::clean`] has seen it; exit codes are those of
//! [`failure::Exit`] and nothing else.

pub mod client;
pub mod endpoint;
pub mod failure;
pub mod names;
pub mod screen;
pub mod text;
pub mod transport;
