//! `plan` and the file that it writes for `apply --plan`.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::env;
use crate::{
    api::wire::{ApplyRequest, PlanAnswer},
    cli::{
        args::{Form, Plan},
        client::Api,
        failure::{CliError, Exit},
        screen::Screen,
        show, source,
        text::clean,
        values::Programs,
    },
};

/// Version of the file's form.
const FORM: u32 = 1;

/// A plan with the documents it was made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Saved {
    /// `FORM`.
    pub form: u32,
    /// What the API answered; its preconditions hold or the apply is refused.
    #[serde(flatten)]
    pub plan: PlanAnswer,
    /// What shall be applied.
    pub documents: Vec<Value>,
    /// Set of the objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<String>,
    /// Whether the set is pruned.
    #[serde(default)]
    pub prune: bool,
}

impl Saved {
    /// Reads a file that [`Saved::write`] wrote.
    ///
    /// # Errors
    /// When it cannot be read or is no such file.
    pub fn read(path: &Path) -> Result<Self, CliError> {
        let text = fs::read(path).map_err(failed("read", path))?;
        let wrong = |why: String| {
            CliError::usage(
                format!("{} is no plan: {why}", path.display()),
                "make one with `constellation plan -f … --out FILE`",
            )
        };
        let saved: Self = serde_json::from_slice(&text).map_err(|source| wrong(source.to_string()))?;
        if saved.form != FORM {
            return Err(wrong(format!("its form is {}, this version knows {FORM}", saved.form)));
        }
        Ok(saved)
    }

    /// Writes it so that only its owner can read it: documents may hold secrets. A file that is there is
    /// replaced whole.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), CliError> {
        let write = || -> io::Result<()> {
            let text = serde_json::to_vec_pretty(self)?;
            let mut temporary = path.as_os_str().to_owned();
            temporary.push(format!(".{:016x}", rand::random::<u64>()));
            let temporary = PathBuf::from(temporary);
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            let done = file.write_all(&text).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&temporary, path));
            if done.is_err() {
                let _ = fs::remove_file(&temporary);
            }
            done
        };
        write().map_err(failed("write", path))
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CliError + use<> {
    let path = path.to_owned();
    move |source| CliError::File { doing, path, source }
}

/// Runs `plan`: 0 nothing to do, 1 something would change.
///
/// # Errors
/// Whatever goes wrong has an exit code of 2 or more, so that it is not read as "changes".
pub async fn plan(api: &Api, screen: &Screen, args: &Plan) -> Result<Exit, CliError> {
    let (wanted, plan) =
        ask(api, screen, (&args.files.files, args.programs.allowed()), args.set.as_deref(), args.prune).await?;
    match args.output {
        Form::Json | Form::Yaml => screen.answer(&plan)?,
        Form::Text if show::plan::changes(&plan) => {
            let set = args.set.as_deref();
            screen.signs(&show::plan::text(&plan, show::plan::Detail::Whole, set))?;
        }
        Form::Text => {
            screen.line(&format!("Nothing to change at index {}", plan.index))?;
            for warning in &plan.warnings {
                screen.aside(&format!("warning: {}", clean(warning)));
            }
        }
    }
    let changes = show::plan::changes(&plan);
    if let Some(path) = &args.out {
        let saved = Saved { form: FORM, plan, documents: wanted.objects, set: args.set.clone(), prune: args.prune };
        saved.write(path)?;
        screen.aside(&format!("plan written: constellation apply --plan {}", path.display()));
    }
    Ok(if changes { Exit::No } else { Exit::Done })
}

/// Reads manifests and asks for their plan.
///
/// # Errors
/// As [`source::read`] and the API.
pub async fn ask(
    api: &Api,
    screen: &Screen,
    (files, programs): (&[PathBuf], Programs),
    set: Option<&str>,
    prune: bool,
) -> Result<(ApplyRequest, PlanAnswer), CliError> {
    let manifests = source::read(files, &env, Some(programs))?;
    if prune {
        source::whole(&manifests)?;
    }
    for warning in &manifests.warnings {
        screen.aside(&format!("warning: {}", clean(warning)));
    }
    let wanted = ApplyRequest {
        objects: source::documents(&manifests.documents)?,
        set: set.map(str::to_owned),
        ..ApplyRequest::default()
    };
    let plan = api.plan(&wanted, set.filter(|_| prune)).await?;
    Ok((wanted, plan))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_plan_survives_its_file_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.plan");
        let preconditions = [("svc/web".to_owned(), Some(7)), ("svc/new".to_owned(), None)].into();
        let saved = Saved {
            form: FORM,
            plan: PlanAnswer { index: crate::model::Index(9), preconditions, ..PlanAnswer::default() },
            documents: vec![serde_json::json!({"kind": "Service"})],
            set: Some("home".into()),
            prune: true,
        };
        fs::write(&path, "an older one").unwrap();
        saved.write(&path).unwrap();
        assert_eq!(Saved::read(&path).unwrap(), saved);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn another_file_is_no_plan() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.plan");
        for text in ["{}", "kind: Service", r#"{"form": 99, "documents": []}"#] {
            fs::write(&path, text).unwrap();
            assert_eq!(Saved::read(&path).unwrap_err().exit().code(), 2, "{text}");
        }
    }
}
