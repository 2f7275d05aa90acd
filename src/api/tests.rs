//! The API as clients meet it: [`super::serve`] on loopback and on a socket, over a store in memory.
//!
//! Here: one file a theme, on [`rig`] (the server) and [`client`] (raw HTTP/1.1, so that a client can
//! also behave badly). Every wait for the server has a deadline there.

mod audit;
mod backups;
mod bodies;
pub mod client;
mod connections;
mod edges;
pub mod events;
mod grants;
mod idempotency;
mod jobs;
mod limits;
mod mutated;
mod paths;
mod plans;
mod reads;
mod reports;
pub mod rig;
mod roles;
mod rollouts;
mod secrets;
mod sets;
mod slow;
mod sockets;
mod stopping;
mod streams;
mod table;
mod tokens;
mod traefik;
mod watches;
mod writes;
