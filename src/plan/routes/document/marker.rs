//! The name of a document, by which it is read back what Traefik serves.
//!
//! Here: [`Marker`], and what Traefik has of it. Not here: where it stands in the bytes (`shown`), asking for it (`edge`).

use std::fmt;

use super::{NOBODY, Name, Router};
use crate::model::{Index, route::EntryPoint};

/// Name of the configuration that was served, for reading it back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Marker {
    /// Index of the state that it was made from.
    pub index: Index,
    /// Tells several apart that were made from one state: holds come and go without an index.
    pub sub: u64,
}
impl Marker {
    /// Header of the answers of whatever has it.
    pub const HEADER: &str = "X-Constellation-Generation";

    /// As it is displayed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (index, sub) = text.strip_prefix("gen-")?.split_once('-')?;
        Some(Self { index: Index(index.parse().ok()?), sub: sub.parse().ok()? })
    }

    /// What Traefik has of it: a router that answers this machine alone, at every entry point, before all others.
    pub(super) fn router(name: &Name) -> Router {
        Router {
            entry_points: vec![EntryPoint::Web, EntryPoint::Websecure],
            rule: format!("Host(`{PROBE}`) && ClientIP(`127.0.0.1`)"),
            priority: Some(FIRST),
            middlewares: vec![name.clone()],
            service: NOBODY.clone(),
            tls: None,
        }
    }
}

/// Whom the agent asks for when it reads back what is served: no name in the world ends so (RFC 6761, section 6.4).
pub const PROBE: &str = "served.constellation.invalid";

/// Traefik keeps the numbers above it for itself.
const FIRST: i64 = i64::MAX - 1_000;

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gen-{}-{}", self.index, self.sub)
    }
}
