//! `node ls`, `node cordon`, `node uncordon`.

use super::{each::Each, get};
use crate::{
    cli::{
        args::{Cordon, NodeCommand, Waiting},
        client::{Api, Change},
        failure::CliError,
        screen::Screen,
    },
    model::ObjectKey,
};

/// Runs a `node` command.
///
/// # Errors
/// As the API; of several, as [`Each::finish`].
pub async fn node(api: &Api, screen: &Screen, command: &NodeCommand) -> Result<(), CliError> {
    match command {
        NodeCommand::Ls { output } => get::nodes(api, screen, *output).await,
        NodeCommand::Cordon(args) => change(api, screen, "cordon", args).await,
        NodeCommand::Uncordon(args) => change(api, screen, "uncordon", args).await,
    }
}

async fn change(api: &Api, screen: &Screen, verb: &str, args: &Cordon) -> Result<(), CliError> {
    let done = format!("{verb}ed");
    let mut each = Each::of(&format!(" ({done})"));
    for (i, name) in args.nodes.iter().enumerate() {
        let change = Change { reason: args.reason.as_deref(), ..Change::default() };
        match api.node(name, verb, change).await {
            Ok(answer) => each.made(screen, answer)?,
            Err(error) => {
                if !each.failed(&ObjectKey::node(name.as_str()), error) {
                    let rest: Vec<ObjectKey> =
                        args.nodes.iter().skip(i + 1).map(|n| ObjectKey::node(n.as_str())).collect();
                    each.untried(&rest);
                    break;
                }
            }
        }
    }
    each.finish(api, screen, &Waiting::none(), &done).await
}
