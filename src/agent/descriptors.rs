//! File descriptors: as many as the system lets this process have.
//!
//! The soft limit is low on many systems for the sake of `select`, which nobody here calls. What the API may
//! take of them is its own business ([`crate::api::Limits::within`]).

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one; how many there are then.
pub fn raise() -> usize {
    let found = getrlimit(Resource::Nofile);
    let files = if found.current == found.maximum {
        found.current
    } else {
        match setrlimit(Resource::Nofile, Rlimit { current: found.maximum, maximum: found.maximum }) {
            Ok(()) => found.maximum,
            Err(error) => {
                tracing::warn!(%error, "the limit of open files cannot be raised");
                found.current
            }
        }
    };
    // None: there is no limit.
    files.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX))
}
