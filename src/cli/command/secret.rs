//! `secret set`, `ls`, `rotate`, `history`, `rm`, `rekey`.
//!
//! Invariant: a value goes from a file or standard input into the request, and nowhere else: no argument, no output.

use std::{
    io::{self, IsTerminal as _, Read as _},
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::{delete, outcomes};
use crate::{
    api::wire::{History, SecretRotate, SecretSet},
    cli::{
        args::{Form, RotateSecret, SecretCommand, SetSecret},
        client::{Api, Change},
        failure::CliError,
        form::Changed,
        hidden::Hidden,
        screen::Screen,
        text::{self, Times},
        values::Fetcher,
    },
    model::{
        Kind, ObjectKey,
        rotation::{VALUE, ValueFrom},
        secret::SECRET_LIMIT,
    },
};

/// Runs a `secret` command.
///
/// # Errors
/// As the API; when a value cannot be read.
pub async fn secret(api: &Api, screen: &Screen, command: &SecretCommand) -> Result<(), CliError> {
    match command {
        SecretCommand::Set(args) => set(api, screen, args).await,
        SecretCommand::Ls { output } => list(api, screen, *output).await,
        SecretCommand::Rotate(args) => rotate(api, screen, args).await,
        SecretCommand::History { name, output } => history(api, screen, name, *output).await,
        SecretCommand::Rm(args) => delete::delete(api, screen, &args.delete()).await,
        SecretCommand::Rekey { output, reason } => {
            let change = Change { reason: reason.as_deref(), ..Change::default() };
            let done = api.rekey(change).await?;
            if *output != Form::Text {
                return screen.answer(&done);
            }
            screen.line(&format!("{} sealed with the new key {}", text::count(done.resealed, "value"), done.key))
        }
    }
}

async fn set(api: &Api, screen: &Screen, args: &SetSecret) -> Result<(), CliError> {
    let mut wanted = SecretSet { remove: args.remove.clone(), ..SecretSet::default() };
    let stdin = if args.value_stdin { Some(VALUE) } else { args.key.as_deref() };
    if stdin.is_none() && args.from_file.is_empty() && args.remove.is_empty() {
        return Err(CliError::usage("no key is named", "write KEY=-, --from-file KEY=PATH or --value-stdin"));
    }
    let fetcher = Fetcher::files();
    for (key, path) in &args.from_file {
        let from = ValueFrom { file: Some(path.display().to_string()), ..ValueFrom::default() };
        let fetched = fetcher
            .fetch(&from, Path::new("."))
            .map_err(|problem| CliError::usage(problem.message, "name a file that can be read"))?;
        wanted.data.insert(key.clone(), STANDARD.encode(fetched.unwrap_or_default()));
    }
    if let Some(key) = stdin {
        wanted.data.insert(key.to_owned(), STANDARD.encode(standard_input(screen, &args.name, key)?));
    }
    let change = Change { reason: args.reason.as_deref(), ..Change::default() };
    let answer = api.set_secret(&args.name, &wanted, change).await?;
    told(screen, &answer)
}

async fn rotate(api: &Api, screen: &Screen, args: &RotateSecret) -> Result<(), CliError> {
    let change = Change { reason: args.reason.as_deref(), ..Change::default() };
    let answer = api.rotate_secret(&args.name, &SecretRotate { to_version: args.to_version }, change).await?;
    told(screen, &answer)
}

fn told(screen: &Screen, answer: &crate::api::wire::ApplyAnswer) -> Result<(), CliError> {
    outcomes(screen, answer, "")?;
    let mut changed = Changed::default();
    changed.answer(answer);
    screen.answer(&changed)
}

/// The value, without the newline at its end. On a terminal it is asked for and not shown.
fn standard_input(screen: &Screen, name: &str, key: &str) -> Result<Zeroizing<Vec<u8>>, CliError> {
    let stdin = io::stdin();
    let _hidden = if stdin.is_terminal() {
        screen.aside(&format!("value of {key} in secret/{name}, not shown; end with the return key:"));
        Some(Hidden::new().map_err(CliError::Output)?)
    } else {
        None
    };
    let mut value = Zeroizing::new(Vec::with_capacity(SECRET_LIMIT + 2));
    let mut input = stdin.lock().take(SECRET_LIMIT as u64 + 2);
    let read = if stdin.is_terminal() {
        io::BufRead::read_until(&mut input, b'\n', &mut value)
    } else {
        input.read_to_end(&mut value)
    };
    read.map_err(|source| CliError::File { doing: "read", path: "standard input".into(), source })?;
    if value.last() == Some(&b'\n') {
        value.pop();
    }
    if value.is_empty() {
        return Err(CliError::usage(
            "standard input is empty",
            "a value has a byte at least; --remove KEY takes a key away",
        ));
    }
    Ok(value)
}

async fn list(api: &Api, screen: &Screen, output: Form) -> Result<(), CliError> {
    let list = api.list(Kind::Secret).await?;
    if output != Form::Text {
        return screen.answer(&list);
    }
    let field = |spec: &serde_json::Value, name: &str| match spec.get(name) {
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(serde_json::Value::Array(keys)) => keys.iter().filter_map(|k| k.as_str()).collect::<Vec<_>>().join(","),
        Some(other) => other.to_string(),
        None => "-".into(),
    };
    let times = Times::new(false);
    let rows: Vec<Vec<String>> = list
        .items
        .iter()
        .map(|o| {
            let name = o.metadata.name.to_string();
            let [kind, version, keys] = ["type", "version", "keys"].map(|f| field(&o.spec, f));
            vec![name, kind, version, keys, times.at(o.metadata.created_at)]
        })
        .collect();
    if rows.is_empty() {
        screen.aside("no secrets; make one: constellation secret set NAME KEY=-");
        return Ok(());
    }
    screen.print(&text::table(0, &["NAME", "TYPE", "VERSION", "KEYS", "AGE"], &rows))
}

async fn history(api: &Api, screen: &Screen, name: &str, output: Form) -> Result<(), CliError> {
    let history = api.history(&ObjectKey::new(Kind::Secret, name)).await?;
    if output != Form::Text {
        return screen.answer(&history);
    }
    let times = Times::new(false);
    screen.print(&versions(&history, times))?;
    if let Some(next) = history.next_rotation {
        screen.aside(&next_rotation(next, times));
    }
    Ok(())
}

/// When the cluster draws the next value. One that is due and not drawn waits for the last one to arrive.
fn next_rotation(next: u64, times: Times) -> String {
    let when = times.around(next);
    if when.ends_with(" ago") {
        return format!("next value due {when}: it waits for the newest one to arrive");
    }
    format!("next value: {when}")
}

fn versions(history: &History, times: Times) -> String {
    let rows: Vec<Vec<String>> = history
        .versions
        .iter()
        .map(|v| {
            vec![
                format!("{}{}", v.version, if v.current { " (current)" } else { "" }),
                times.at(v.made_at),
                if v.by.is_empty() { "-".into() } else { v.by.to_string() },
                v.digest.clone(),
                v.reason.as_deref().unwrap_or_default().to_owned(),
            ]
        })
        .collect();
    text::table(0, &["VERSION", "AGE", "BY", "DIGEST", "WHY"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::wire::VersionView;

    #[test]
    fn versions_are_a_table() {
        let view = |version, by: &str, current: bool| VersionView {
            version,
            made_at: 40_000,
            by: by.into(),
            reason: current.then(|| "lost".into()),
            digest: "01-ab".into(),
            current,
        };
        let history = History {
            versions: vec![view(2, "token \x1b[2Jboss", true), view(1, "", false)],
            next_rotation: Some(220_000),
            index: 9,
        };
        let said = versions(&history, Times::RelativeTo(100_000));
        let lines: Vec<&str> = said.lines().map(str::trim_end).collect();
        assert_eq!(
            lines,
            [
                "VERSION      AGE  BY          DIGEST  WHY",
                "2 (current)  1m   token boss  01-ab   lost",
                "1            1m   -           01-ab",
            ]
        );
        assert_eq!(next_rotation(220_000, Times::RelativeTo(100_000)), "next value: in 2m");
        let late = next_rotation(40_000, Times::RelativeTo(100_000));
        assert_eq!(late, "next value due 1m ago: it waits for the newest one to arrive");
    }
}
