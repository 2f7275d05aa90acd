//! What people declare and what the cluster says back: the vocabulary of the house.
//!
//! Here: kinds and their specs ([`service`], [`config`], [`secret`], [`node`], [`route`], [`middleware`]), what the
//! cluster makes from them ([`revision`], [`replica`], [`rollout`], [`job`], [`volume`]), what it says of them
//! ([`condition`], [`reason`], [`event`], [`status`]), what an engine says ([`engine`]), who may ask and who did
//! ([`token`], [`audit`]), which power over a host there is ([`power`]), and the words both use
//! ([`meta`], [`quantity`], [`constraint`], [`schedule`]); and how the texts of others are shown ([`visible`]).
//! Not here: reading YAML (`manifest`), deciding anything (`plan`), storing (`store`).
//! Invariant: every type here is a plain value; nothing reads a clock, a file or a socket.
//! Next: `manifest` (text → these types), `store::state` (where they live).

pub mod audit;
pub mod condition;
pub mod config;
pub mod constraint;
pub mod declared;
pub mod edge;
pub mod engine;
pub mod event;
pub mod job;
pub mod meta;
pub mod middleware;
#[cfg(test)]
mod mutated;
pub mod node;
pub mod power;
pub mod profile;
pub mod published;
pub mod quantity;
pub mod reason;
pub mod reference;
pub mod replica;
pub mod revision;
pub mod rollout;
pub mod rotation;
pub mod route;
pub mod rule;
pub mod schedule;
pub mod secret;
pub mod service;
pub mod status;
#[cfg(test)]
pub mod testing;
pub mod token;
pub mod version;
pub mod visible;
pub mod volume;

pub use audit::AuditRecord;
pub use condition::{Condition, ConditionStatus, ConditionType};
pub use declared::{Declared, Spec};
pub use edge::Edge;
pub use event::{Event, EventType, NewEvent};
pub use job::{JobRecord, Run, RunState};
pub use meta::{Epoch, Index, Kind, Meta, Object, ObjectKey, Uid};
pub use power::{Grants, Power};
pub use profile::Profile;
pub use quantity::{Bytes, Millicores, Period};
pub use reason::Reason;
pub use replica::{Decision, Desired, Draining, HookRun, Replica, Slot};
pub use revision::{Left, Resolution, ResolvedImage, Revision, Tried};
pub use rollout::{Paused, Rollout, RolloutPhase};
pub use service::{ServiceSpec, Stage};
pub use status::{NextImage, NodeStatus, ReplicaPhase, ReplicaStatus, ServiceStatus, Status};
pub use token::{Token, TokenRole};
pub use version::Version;
pub use volume::Volume;
