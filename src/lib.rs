//! Constellation runs containers on 1 to 50 Docker machines: people declare services as YAML, a replicated
//! store keeps what they declared, loops drive real Docker to match it, and the difference between the
//! two can be read, watched and explained.
//!
//! One binary is agent and command line. This is the map of the house; each room's first lines say what is
//! in it, what is not, and what always holds there.
//!
//! # The floors
//!
//! A room imports only rooms below it.
//!
//! | Floor | Rooms |
//! |---|---|
//! | The whole | [`agent`] wires a node together; [`cli`] talks to one; [`doctor`] looks at its machine |
//! | What acts | [`reconcile`]: the loops; [`edge`]: what Traefik is told, public ports and held requests; [`api`]: REST, WebSocket, who may do what |
//! | What it acts with | [`store`]: Raft, the state machine, the log on disk; [`runtime`]: the container engine; [`controller`]: queue, backoff, runner |
//! | What decides | [`plan`]: scheduler, rollout, routes, jobs, node, change, why; [`manifest`]: text to model; [`config`]: an agent's settings |
//! | What is | [`model`]: kinds, conditions, reasons, events |
//! | Below all | `allocator`: memory of the process; `mutate`, in tests: what outsiders could send |
//!
//! # The life of one apply
//!
//! 1. `constellation apply -f web.yaml`: [`cli::source`] reads files, [`manifest`] turns text into a
//!    [`model::Declared`] with every default written out, or says at which line it cannot.
//! 2. The API shows what would happen, without doing it: [`plan::change`] on one state of the store.
//! 3. [`api::write`] proposes a group of commands with preconditions ([`store::command`]); the group becomes one
//!    entry of the Raft log, is on the disk ([`store::Store`]), and is applied by the pure [`store::apply`].
//!    Only then is it acknowledged. A changed container part has become a new [`model::Revision`].
//! 4. On the leader, [`reconcile::resolver`] asks which image a reference means now and writes it into the
//!    revision; [`reconcile::rollout`] asks [`plan::rollout`], and that [`plan::scheduler`], which replicas to
//!    place, take off their routes, stop or replace, one step at a time, and which hooks come before and after them. What cannot be read off the replicas (which
//!    revision is wanted, which one worked) is the record [`model::Rollout`]. Of a job, [`plan::jobs`] says which run begins
//!    and which attempt follows; its runs are the [`model::JobRecord`].
//! 5. On the node, [`reconcile::agent`] looks at engine and store, asks [`plan::agent`] for the next step of one
//!    Replica, and carries it out through the [`runtime`]: pull, create, start, stop, remove.
//! 6. What is seen goes back through [`reconcile::reporter`] as status; [`plan::why`], one pure function over desired
//!    and observed, turns it into conditions, differences with reason codes, and events.
//! 7. `GET …/status`, `GET …/why` and the event stream ([`api::events`]) tell whoever asks; `apply` waits on them.
//!
//! A loop never believes that a call did what it asked: it looks again. What triggers a pass (a store
//! change, an engine event, a timer) is a hint; what the pass sees decides.
//!
//! # What holds everywhere
//!
//! - **Decisions are values.** [`plan`] and [`store::apply`] read no clock, do no IO, draw no random number: times,
//!   uids and seeds come in with the question. So the same function serves the loop, `plan`, `why` and a test.
//! - **Data is never risked unasked.** No volume or bind directory is deleted, made or started empty implicitly;
//!   two containers never write the same data; containers without our lineage's label are never touched.
//! - **Acknowledged is durable.** An answer to a write is given after `fdatasync`, and a store that cannot be
//!   trusted ends the process (exit 74, or 78 when a person has to decide) instead of guessing.
//! - **Everything has a bound.** Waits have deadlines, queues a length, retries a backoff with jitter.
//! - **Input is not trusted.** No manifest, request or file can make it panic; every refusal says where and what to do.
//! - **Versions mix.** What is stored or sent is self-describing; a field that is added has a default.

pub mod agent;
mod allocator;
pub mod api;
pub mod cli;
pub mod config;
pub mod controller;
pub mod doctor;
pub mod edge;
pub mod manifest;
pub mod model;
#[cfg(test)]
mod mutate;
pub mod plan;
pub mod reconcile;
pub mod runtime;
pub mod store;

/// For the whole process, its threads and those of its crates.
#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;
