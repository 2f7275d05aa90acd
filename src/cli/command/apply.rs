//! `apply` and `scale`: plan, ask, write, wait.

use std::path::Path;

use super::{env, goals, outcomes, plan::Saved, wait};
use crate::{
    api::wire::{ApplyAnswer, ApplyRequest, PlanAnswer},
    cli::{
        args::{Apply, DryRun, Scale},
        client::{Api, Change},
        failure::CliError,
        screen::Screen,
        show,
        source::{self, Manifests},
        text::clean,
    },
    model::Kind,
};

/// Runs `apply`.
///
/// # Errors
/// As the API and the wait; when nobody can be asked and `-y` is missing.
pub async fn apply(api: &Api, screen: &Screen, args: &Apply) -> Result<(), CliError> {
    let (wanted, prune, plan) = match &args.plan {
        Some(file) => saved(file)?,
        None => read(screen, args)?,
    };
    if args.dry_run == Some(DryRun::Client) {
        return checked(screen, &wanted);
    }
    if args.dry_run == Some(DryRun::Server) {
        let change = Change { reason: args.waiting.reason.as_deref(), prune: prune.as_deref(), dry_run: true };
        let answer = api.apply(&wanted, change).await?;
        return outcomes(screen, &answer, " (dry run)");
    }
    let plan = match plan {
        Some(plan) => plan,
        None => api.plan(&wanted, prune.as_deref()).await?,
    };
    let changes = show::plan::changes(&plan);
    if changes {
        screen.signs(&show::plan::text(&plan, show::plan::Detail::Whole, prune.as_deref()))?;
        if !args.yes && !ask(screen)? {
            return Err(CliError::No { message: "nothing was changed".into(), hint: None });
        }
    }
    // Exactly what was shown is written, or nothing.
    let wanted = ApplyRequest { preconditions: plan.preconditions, ..wanted };
    let change = Change { reason: args.waiting.reason.as_deref(), prune: prune.as_deref(), dry_run: false };
    let answer = api.apply(&wanted, change).await?;
    outcomes(screen, &answer, "")?;
    wait(api, screen, &answer, &args.waiting).await?;
    if !args.waiting.detach {
        unready(api, screen, &answer).await;
    }
    Ok(())
}

type Wanted = (ApplyRequest, Option<String>, Option<PlanAnswer>);

fn read(screen: &Screen, args: &Apply) -> Result<Wanted, CliError> {
    let manifests = source::read(&args.files, &env)?;
    if args.prune {
        source::whole(&manifests)?;
    }
    let Manifests { documents, warnings, .. } = manifests;
    for warning in &warnings {
        screen.aside(&format!("warning: {}", clean(warning)));
    }
    let wanted =
        ApplyRequest { objects: source::documents(&documents)?, set: args.set.clone(), ..ApplyRequest::default() };
    Ok((wanted, args.prune.then(|| args.set.clone()).flatten(), None))
}

fn saved(file: &Path) -> Result<Wanted, CliError> {
    let saved = Saved::read(file)?;
    let wanted = ApplyRequest { objects: saved.documents, set: saved.set.clone(), ..ApplyRequest::default() };
    let prune = saved.prune.then_some(saved.set).flatten();
    Ok((wanted, prune, Some(saved.plan)))
}

/// `Apply? [y/N]`, where there is somebody to ask.
fn ask(screen: &Screen) -> Result<bool, CliError> {
    if !screen.interactive() {
        return Err(CliError::usage("nobody can be asked: this is no terminal", "add -y to change without asking"));
    }
    screen.confirm("Apply?")
}

fn checked(screen: &Screen, wanted: &ApplyRequest) -> Result<(), CliError> {
    for object in &wanted.objects {
        let text = |pointer: &str| object.pointer(pointer).and_then(serde_json::Value::as_str).unwrap_or_default();
        let kind = Kind::parse(text("/kind")).map_or("?", Kind::short);
        screen.line(&format!("{kind}/{} valid (dry run, no agent asked)", text("/metadata/name")))?;
    }
    Ok(())
}

/// Says which services that were not changed do not work: silence would look like health.
async fn unready(api: &Api, screen: &Screen, answer: &ApplyAnswer) {
    let awaited = goals(answer);
    let Ok(list) = api.list(Kind::Service).await else { return };
    for object in &list.items {
        let name = &object.metadata.name;
        let ours = answer.objects.iter().any(|o| o.kind == Kind::Service && *o.name == **name);
        if !ours || awaited.iter().any(|(awaited, _)| awaited == name) {
            continue;
        }
        let state = show::objects::state(object);
        if state.starts_with("NotReady") {
            screen.aside(&format!("warning: svc/{name} is unchanged and {state}: constellation why svc/{name}"));
        }
    }
}

/// Runs `scale`.
///
/// # Errors
/// As the API and the wait.
pub async fn scale(api: &Api, screen: &Screen, args: &Scale) -> Result<(), CliError> {
    let mut all = ApplyAnswer::default();
    for target in &args.targets {
        let change = Change { reason: args.waiting.reason.as_deref(), ..Change::default() };
        let answer = api.scale(&target.service, target.replicas, change).await?;
        outcomes(screen, &answer, "")?;
        all.index = answer.index;
        all.objects.extend(answer.objects);
    }
    wait(api, screen, &all, &args.waiting).await
}
