//! The loops: each reads, asks a planner in `plan`, records, and carries out.
//!
//! Here, one file a loop: [`rollout`] (leader: replicas of a Service, placement included),
//! [`resolver`] (leader: image references), [`status`] (leader: conditions of Services),
//! [`rotation`] (leader: values of Secrets by schedule), [`rekey`] (leader: a change of the key that was cut off),
//! [`agent`] (every node: its own containers), [`node`] (every node: its own registration).
//! And what they share: [`view`] and [`routes`] (state → planners' inputs), [`container`] (revision → what the engine is
//! given), [`files`], [`data`], [`disk`], [`prober`], [`reporter`].
//! Not here: decisions (`plan`), the queue and backoff (`controller`), the engine (`runtime`).
//! Invariant: a loop may be dropped at any `.await` and run again: proposals carry preconditions and
//! engine calls are keyed by the Replica's name.

use std::time::Duration;

/// Between two looks at whether a restored backup was confirmed; until then the loops change nothing.
const UNCONFIRMED: Duration = Duration::from_secs(1);

pub mod agent;
pub mod container;
pub mod data;
pub mod disk;
pub mod files;
pub mod leader;
pub mod node;
pub mod prober;
pub mod registry;
pub mod rekey;
pub mod reporter;
pub mod resolver;
pub mod rollout;
pub mod rotation;
pub mod routes;
pub mod status;
pub mod triggers;
pub mod view;
pub mod wakes;
