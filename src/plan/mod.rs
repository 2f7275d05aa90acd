//! The decisions: functions from values to values, no clock, no IO, no randomness.
//!
//! Here: what planners read ([`view`]); where a replica goes ([`scheduler`]) and when ([`rollout`], and of what ends by itself [`jobs`]); when a Secret is drawn anew
//! ([`rotation`]); which requests from outside go where ([`routes`]); what a node does for its replicas ([`agent`]); which
//! public ports it opens ([`entry`]), how far its Traefik is ([`edge`]) and when requests wait ([`holds`]); what a change would do ([`change`]), and what of
//! the host it takes ([`grants`]); why something is not
//! as declared ([`why`]), with the sentences that are written and known again ([`told`]). The same functions serve the real loops, `plan`, `why` and the tests.
//! Not here: carrying anything out (`reconcile`).

pub mod agent;
pub mod change;
pub mod edge;
pub mod entry;
pub mod grants;
pub mod holds;
pub mod jobs;
pub mod rollout;
pub mod rotation;
pub mod routes;
pub mod scheduler;
pub mod told;
pub mod view;
pub mod why;
