//! A store without files, for tests and simulation: the same Raft, proposer and state machine over the
//! in-memory disk. It lives as long as its clients.

use super::{
    client::Client,
    open::{OpenError, open_in_memory},
};

/// A cluster of one node in memory, formed and leading.
///
/// # Panics
/// When it does not start: a test has nothing else to do then.
pub async fn memory(node: &str) -> Client {
    match try_memory(node).await {
        Ok(client) => client,
        #[allow(clippy::panic)]
        Err(error) => panic!("a store in memory does not start: {error}"),
    }
}

/// As [`memory`], for callers that do not want to panic.
///
/// # Errors
/// [`OpenError::Raft`].
pub async fn try_memory(node: &str) -> Result<Client, OpenError> {
    Ok(open_in_memory(node).await?.into_client())
}
