//! `agent config`: an agent's settings, without starting one.

use serde::Serialize;

use super::agent::{faulty, read};
use crate::{
    cli::{
        args::{ConfigCheck, ConfigCommand, ConfigShow, Form},
        failure::{CliError, Exit},
        screen::Screen,
        text::{clean, or_dash, table},
    },
    config::{AgentFlags, ConfigError, Fault, Shown, example},
};

/// Runs `agent config …`.
///
/// # Errors
/// A configuration that is wrong (2).
pub fn config(command: ConfigCommand) -> Result<(), CliError> {
    match command {
        ConfigCommand::Show(args) => show(&args),
        ConfigCommand::Check(args) => check(args),
        ConfigCommand::Example => Screen::default().print(&example::example()),
        ConfigCommand::Schema => Screen::default().json(&example::schema()),
    }
}

/// What `config show` prints for programs.
#[derive(Debug, Serialize)]
struct Settings {
    /// The file that was read.
    file: Option<String>,
    settings: Vec<Shown>,
}

/// What `config check` prints for programs.
#[derive(Debug, Serialize)]
struct Checked {
    valid: bool,
    file: Option<String>,
    faults: Vec<Fault>,
}

fn show(args: &ConfigShow) -> Result<(), CliError> {
    let config = read(&args.flags).map_err(|error| faulty(&error, Exit::Usage))?;
    let screen = Screen::of(args.output);
    if args.output == Form::Text {
        screen.print(&told(&config.shown()))?;
    }
    let file = config.file.as_ref().map(|path| path.display().to_string());
    screen.answer(&Settings { file, settings: config.shown() })
}

/// A row for each setting.
fn told(settings: &[Shown]) -> String {
    let row = |shown: &Shown| {
        let from = match (shown.from, &shown.place) {
            ("file", Some(place)) => place.clone(),
            (word, Some(place)) => format!("{word} {place}"),
            (word, None) => word.to_owned(),
        };
        let value = or_dash(shown.value.as_deref().unwrap_or_default()).into_owned();
        [shown.key.to_owned(), clean(&value).into_owned(), clean(&from).into_owned()]
            .into_iter()
            .chain([if shown.live { "reload" } else { "restart" }.to_owned()])
            .collect::<Vec<_>>()
    };
    table(0, &["KEY", "VALUE", "FROM", "CHANGES AT"], &settings.iter().map(row).collect::<Vec<_>>())
}

fn check(args: ConfigCheck) -> Result<(), CliError> {
    let flags = AgentFlags { config: args.file, ..AgentFlags::default() };
    let screen = Screen::of(args.output);
    let read = read(&flags);
    let named = || flags.config.as_ref().map(|path| path.display().to_string());
    let (file, faults) = match &read {
        Ok(config) => (config.file.as_ref().map(|path| path.display().to_string()), Vec::new()),
        Err(ConfigError { faults }) => (named(), faults.clone()),
    };
    if args.output == Form::Text && faults.is_empty() {
        let what = file
            .as_deref()
            .map_or("no file: the environment and the defaults are".into(), |file| format!("{} is", clean(file)));
        screen.line(&format!("{what} valid"))?;
    }
    screen.answer(&Checked { valid: faults.is_empty(), file, faults })?;
    read.map(|_| ()).map_err(|error| faulty(&error, Exit::Usage))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_what_holds_where_it_stands_and_when_a_change_counts() {
        let shown = |key, value: Option<&str>, from, place: Option<&str>, live| Shown {
            key,
            value: value.map(Into::into),
            from,
            place: place.map(Into::into),
            live,
        };
        let rows = told(&[
            shown("peerPort", Some("1"), "file", Some("/etc/a.yaml:1:11"), false),
            shown("logFilter", Some("debug"), "environment", Some("RUST_LOG"), true),
            shown("advertiseAddress", None, "default", None, false),
        ]);
        insta::assert_snapshot!(rows);
    }
}
