//! `delete`: objects by name or by manifests; waits until their containers are gone.

use super::{each::Each, env, left};
use crate::{
    api::wire::ApplyRequest,
    cli::{
        args::Delete,
        client::{Api, Change},
        failure::CliError,
        screen::Screen,
        source, text,
    },
    model::{Kind, ObjectKey},
};

/// Runs `delete`.
///
/// # Errors
/// As the API and the wait, of several as [`Each::finish`]; when nobody can be asked and `-y` is missing.
pub async fn delete(api: &Api, screen: &Screen, args: &Delete) -> Result<(), CliError> {
    let (keys, by_files) = if args.files.is_empty() {
        (args.objects.clone(), false)
    } else {
        (source::keys_to_delete(&source::read(&args.files, &env, None)?.documents), true)
    };
    let warnings = lost(api, &keys).await;
    for warning in &warnings {
        screen.aside(&format!("warning: {}", text::clean(warning)));
    }
    if !args.yes {
        if !screen.interactive() {
            return Err(CliError::usage("nobody can be asked: this is no terminal", "add -y to delete without asking"));
        }
        for key in &keys {
            screen.line(&format!("- {key}"))?;
        }
        screen.line("Volumes and directories with data stay where they are.")?;
        if !screen.confirm(&format!("Delete {}?", text::count(keys.len(), "object")))? {
            return Err(CliError::No { message: "nothing was deleted".into(), hint: None });
        }
    }
    let services = left::before(api, keys.iter().any(|key| key.kind == Kind::Service)).await;
    let mut each = Each::warned(&warnings);
    for (i, key) in keys.iter().enumerate() {
        let change = Change { reason: args.waiting.reason.as_deref(), force: args.force, ..Change::default() };
        match api.delete(key, change).await {
            Ok(answer) => each.made(screen, answer)?,
            // What manifests name and nobody applied is as good as deleted.
            Err(CliError::Refused(problem)) if problem.status == 404 && (args.ignore_not_found || by_files) => {
                each.absent(screen, key);
            }
            Err(error) => {
                if !each.failed(key, error) {
                    each.untried(keys.iter().skip(i + 1));
                    break;
                }
            }
        }
    }
    left::tell(screen, &services, each.answer())?;
    each.finish(api, screen, &args.waiting, "deleted").await
}

/// What others lose, as a plan says it; that it could not be asked keeps nobody from deleting.
async fn lost(api: &Api, keys: &[ObjectKey]) -> Vec<String> {
    let deletes = keys.iter().map(ToString::to_string).collect();
    let wanted = ApplyRequest { deletes, ..ApplyRequest::default() };
    let plan = api.plan(&wanted, None).await;
    plan.map_or_else(|error| vec![format!("what others lose by it could not be asked: {error}")], |plan| plan.warnings)
}
