//! The edge: where the world reaches this node's services.
//!
//! Here: [`splice`], the public ports, whose connections go to Traefik; [`hold`], which keeps requests waiting while
//! a service with one replica is swapped. And what they share: [`pump`] (bytes both ways), [`header`] (who the
//! client was). Not here: which ports and routes there are (`plan`).
//! Invariant: nothing here reads or changes what passes through, but for the heads that [`hold`] forwards.

pub mod header;
pub mod hold;
pub mod pump;
pub mod splice;
