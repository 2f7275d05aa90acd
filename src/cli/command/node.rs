//! `node ls`, `node cordon`, `node uncordon`.

use super::{get, outcomes};
use crate::cli::{
    args::NodeCommand,
    client::{Api, Change},
    failure::CliError,
    screen::Screen,
};

/// Runs a `node` command.
///
/// # Errors
/// As the API.
pub async fn node(api: &Api, screen: &Screen, command: &NodeCommand) -> Result<(), CliError> {
    let (verb, nodes, reason) = match command {
        NodeCommand::Ls { output } => return get::nodes(api, screen, *output).await,
        NodeCommand::Cordon { nodes, reason } => ("cordon", nodes, reason),
        NodeCommand::Uncordon { nodes, reason } => ("uncordon", nodes, reason),
    };
    for name in nodes {
        let change = Change { reason: reason.as_deref(), ..Change::default() };
        let answer = api.node(name, verb, change).await?;
        outcomes(screen, &answer, &format!(" ({verb}ed)"))?;
    }
    Ok(())
}
