//! `diff`: manifests against what is declared, or what is declared against what runs.

use super::plan;
use crate::{
    cli::{
        args::{Diff, Form},
        client::Api,
        failure::{CliError, Exit},
        form::{Differing, DifferingObject},
        screen::Screen,
        show,
        text::Times,
    },
    model::{Kind, ObjectKey},
};

/// Runs `diff`: 0 the same, 1 differs.
///
/// # Errors
/// As the API.
pub async fn diff(api: &Api, screen: &Screen, args: &Diff) -> Result<Exit, CliError> {
    if !args.files.is_empty() {
        let (_, plan) = plan::ask(api, screen, (&args.files, args.programs.allowed()), None, false).await?;
        match args.output {
            Form::Text if !show::plan::changes(&plan) => screen.aside("nothing differs"),
            Form::Text => screen.signs(&show::plan::text(&plan, show::plan::Detail::Fields, None))?,
            Form::Json | Form::Yaml => screen.answer(&plan)?,
        }
        return Ok(if show::plan::changes(&plan) { Exit::No } else { Exit::Done });
    }
    let keys = if args.objects.is_empty() { declared(api).await? } else { args.objects.clone() };
    let mut differing = Differing::default();
    for key in keys {
        let why = match api.why(&key).await {
            Ok(why) => why,
            // Deleted since the list was read: there is nothing left to differ.
            Err(CliError::Refused(problem)) if problem.status == 404 && args.objects.is_empty() => continue,
            Err(error) => return Err(error),
        };
        if why.differences.is_empty() {
            continue;
        }
        if args.output == Form::Text {
            screen.print(&show::why::report(&key, &[], &why, Times::new(false)))?;
        }
        let ObjectKey { kind, name } = key;
        differing.objects.push(DifferingObject { kind, name: name.to_string(), differences: why.differences });
    }
    if args.output == Form::Text && differing.objects.is_empty() {
        screen.aside("nothing differs");
    }
    screen.answer(&differing)?;
    Ok(if differing.objects.is_empty() { Exit::Done } else { Exit::No })
}

/// Everything that people declare.
async fn declared(api: &Api) -> Result<Vec<ObjectKey>, CliError> {
    let mut keys = Vec::new();
    for kind in Kind::DECLARED {
        let list = api.list(kind).await?;
        keys.extend(list.items.iter().map(|o| ObjectKey::new(kind, o.metadata.name.clone())));
    }
    Ok(keys)
}
