//! The edge: where the world reaches this node's services.
//!
//! Here: [`watch`], the loop; [`file`], what the node's Traefik is started with, [`offer`], what it is handed when it asks,
//! [`readback`], what it was seen to serve, and [`line`](mod@line), asking for that; [`inflight`], what is still under way to
//! a replica; [`splice`], the public ports, whose connections go to Traefik; [`hold`], which keeps requests waiting while a
//! service with one replica is swapped. And what these two share: [`pump`] (bytes both ways), [`header`] (who the client was).
//! Not here: which ports and routes there are (`plan`), the answer to Traefik's request (`api::traefik`).
//! Invariant: nothing here reads or changes what passes through, but for the heads that [`hold`] forwards.

pub mod file;
pub mod header;
pub mod hold;
pub mod inflight;
pub mod line;
pub mod offer;
pub mod pump;
pub mod readback;
pub mod splice;
pub mod watch;

pub use file::Addresses;
pub use offer::{Document, Offer, Offered, Told};
