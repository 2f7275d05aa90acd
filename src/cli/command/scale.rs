//! `scale`: numbers of replicas; waits until they are ready.

use super::each::Each;
use crate::{
    cli::{
        args::Scale,
        client::{Api, Change},
        failure::CliError,
        names::ScaleTo,
        screen::Screen,
    },
    model::ObjectKey,
};

/// Runs `scale`.
///
/// # Errors
/// As the API and the wait; of several, as [`Each::finish`].
pub async fn scale(api: &Api, screen: &Screen, args: &Scale) -> Result<(), CliError> {
    let mut each = Each::default();
    let key = |target: &ScaleTo| ObjectKey::service(target.service.as_str());
    for (i, target) in args.targets.iter().enumerate() {
        let change = Change { reason: args.waiting.reason.as_deref(), ..Change::default() };
        match api.scale(&target.service, target.replicas, change).await {
            Ok(answer) => each.made(screen, answer)?,
            Err(error) => {
                if !each.failed(&key(target), error) {
                    let rest: Vec<ObjectKey> = args.targets.iter().skip(i + 1).map(key).collect();
                    each.untried(&rest);
                    break;
                }
            }
        }
    }
    each.finish(api, screen, &args.waiting, "scaled").await
}
