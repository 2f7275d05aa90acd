//! `apply`: plan, ask, write, wait.

use std::{path::Path, time::Instant};

use super::{env, goals, left, outcomes, plan::Saved, unrouted, wait};
use crate::{
    api::wire::{ApplyAnswer, ApplyRequest, ObjectOutcome, PlanAnswer},
    cli::{
        args::{Apply, DryRun},
        arrival,
        client::{Api, Change},
        failure::CliError,
        form::{Action, Changed, ChangedObject},
        screen::Screen,
        show,
        source::{self, Manifests},
        text::clean,
    },
    model::{Kind, ObjectKey},
    store::command::Outcome,
};

/// Runs `apply`.
///
/// # Errors
/// As the API and the wait; when nobody can be asked and `-y` is missing.
pub async fn apply(api: &Api, screen: &Screen, args: &Apply) -> Result<(), CliError> {
    let Wanted { request, prune, plan, warnings } = match &args.plan {
        Some(file) => saved(file)?,
        None => read(screen, args)?,
    };
    let (prune, reason) = (prune.as_deref(), args.waiting.reason.as_deref());
    let mut changed = Changed::default();
    if args.dry_run == Some(DryRun::Client) {
        checked(screen, &request, &mut changed)?;
        changed.warn(&warnings);
        return screen.answer(&changed);
    }
    if args.dry_run == Some(DryRun::Server) {
        let answer = api.apply(&request, Change { reason, prune, dry_run: true, ..Change::default() }).await?;
        outcomes(screen, &answer, " (dry run)")?;
        changed.answer(&answer);
        changed.warn(&warnings);
        return screen.answer(&Changed { dry_run: true, ..changed });
    }
    let plan = match plan {
        Some(plan) => plan,
        None => api.plan(&request, prune).await?,
    };
    if show::plan::changes(&plan) {
        screen.signs(&show::plan::text(&plan, show::plan::Detail::Whole, prune))?;
        if !args.yes && !ask(screen)? {
            return Err(CliError::No { message: "nothing was changed".into(), hint: None });
        }
    }
    // Exactly what was shown is written, or nothing.
    let request = ApplyRequest { preconditions: plan.preconditions, ..request };
    let services = left::before(api, plan.objects.iter().any(|o| o.result == Outcome::Deleted)).await;
    let answer = api.apply(&request, Change { reason, prune, dry_run: false, ..Change::default() }).await?;
    outcomes(screen, &answer, "")?;
    left::tell(screen, &services, &answer)?;
    let began = Instant::now();
    let mut followed = wait(api, screen, &answer, &args.waiting).await;
    let arrived = match followed.result.is_ok() && !args.waiting.detach {
        true => {
            let limit = args.waiting.timeout.0.saturating_sub(began.elapsed());
            let arrived = arrival::arrive(api, screen, &shared(&answer), limit).await;
            followed.result = arrived.result;
            arrived.objects
        }
        false => Vec::new(),
    };
    changed.answer(&answer);
    changed.warn(&plan.warnings);
    changed.note(&plan.notes);
    changed.warn(&warnings);
    changed.waited(&followed.services);
    changed.arrived(&arrived);
    if followed.result.is_ok() && !args.waiting.detach {
        changed.warn(&unready(api, screen, &answer).await);
        changed.warn(&unrouted::tell(api, screen, &answer).await);
    }
    screen.answer(&changed)?;
    followed.result
}

/// Configs and Secrets that were written.
fn shared(answer: &ApplyAnswer) -> Vec<ObjectKey> {
    let written = |o: &&ObjectOutcome| matches!(o.result, Outcome::Created | Outcome::Configured);
    let shared = answer.objects.iter().filter(|o| matches!(o.kind, Kind::Config | Kind::Secret));
    shared.filter(written).map(|o| ObjectKey::new(o.kind, o.name.as_str())).collect()
}

/// What shall be applied.
struct Wanted {
    request: ApplyRequest,
    /// Set to prune.
    prune: Option<String>,
    /// The plan that was made before.
    plan: Option<PlanAnswer>,
    /// Of the manifests.
    warnings: Vec<String>,
}

fn read(screen: &Screen, args: &Apply) -> Result<Wanted, CliError> {
    let manifests = source::read(&args.files, &env, Some(args.programs.allowed()))?;
    if args.prune {
        source::whole(&manifests)?;
    }
    let Manifests { documents, warnings, .. } = manifests;
    for warning in &warnings {
        screen.aside(&format!("warning: {}", clean(warning)));
    }
    let request =
        ApplyRequest { objects: source::documents(&documents)?, set: args.set.clone(), ..ApplyRequest::default() };
    Ok(Wanted { request, prune: args.prune.then(|| args.set.clone()).flatten(), plan: None, warnings })
}

fn saved(file: &Path) -> Result<Wanted, CliError> {
    let saved = Saved::read(file)?;
    // A dry run keeps them too: it tells the conflict that the apply would end with.
    let request = ApplyRequest {
        objects: saved.documents,
        set: saved.set.clone(),
        preconditions: saved.plan.preconditions.clone(),
        ..ApplyRequest::default()
    };
    let prune = saved.prune.then_some(saved.set).flatten();
    Ok(Wanted { request, prune, plan: Some(saved.plan), warnings: Vec::new() })
}

/// `Apply? [y/N]`, where there is somebody to ask.
fn ask(screen: &Screen) -> Result<bool, CliError> {
    if !screen.interactive() {
        return Err(CliError::usage("nobody can be asked: this is no terminal", "add -y to change without asking"));
    }
    screen.confirm("Apply?")
}

fn checked(screen: &Screen, request: &ApplyRequest, changed: &mut Changed) -> Result<(), CliError> {
    changed.dry_run = true;
    for object in &request.objects {
        let text = |pointer: &str| object.pointer(pointer).and_then(serde_json::Value::as_str).unwrap_or_default();
        let (kind, name) = (Kind::parse(text("/kind")), text("/metadata/name"));
        screen.line(&format!("{}/{name} valid (dry run, no agent asked)", kind.map_or("?", Kind::short)))?;
        changed.objects.extend(kind.map(|kind| ChangedObject::new(kind, name, Action::Valid)));
    }
    Ok(())
}

/// Says which services that were not changed do not work: silence would look like health.
async fn unready(api: &Api, screen: &Screen, answer: &ApplyAnswer) -> Vec<String> {
    let awaited = goals(answer);
    let Ok(list) = api.list(Kind::Service).await else { return Vec::new() };
    let mut warnings = Vec::new();
    for object in &list.items {
        let name = &object.metadata.name;
        let ours = answer.objects.iter().any(|o| o.kind == Kind::Service && *o.name == **name);
        if !ours || awaited.iter().any(|(awaited, _)| awaited == name) {
            continue;
        }
        let state = show::objects::state(object);
        if state.starts_with("NotReady") {
            let warning = format!("svc/{name}: unchanged and {state}: constellation why svc/{name}");
            screen.aside(&format!("warning: {}", clean(&warning)));
            warnings.push(warning);
        }
    }
    warnings
}
