//! `doctor`: the look at this machine, on a screen.

use std::fmt::Write as _;

use super::agent::read;
use crate::{
    cli::{
        args::{Doctor, Form},
        failure::{CliError, Exit},
        screen::Screen,
        text::{clean, count},
    },
    doctor::{self, Check, Level, Report},
};

/// Runs `doctor`.
///
/// # Errors
/// When standard output is gone. A problem is no error but the answer no.
pub async fn doctor(args: &Doctor) -> Result<Exit, CliError> {
    let screen = Screen::of(args.output);
    let report = match read(&args.flags) {
        Ok(config) => {
            let mut report = doctor::examine(&config).await;
            let file = config.file.as_ref().map_or("no file".to_owned(), |path| path.display().to_string());
            report.checks.insert(0, Check::ok("configuration", file));
            report
        }
        // Nobody knows then which engine and which directories are meant.
        Err(error) => Report::of(vec![Check::problem(
            "configuration",
            error.to_string().replace('\n', "; "),
            "mend it (`constellation agent config check`), and ask again: the rest depends on it",
        )]),
    };
    if args.output == Form::Text {
        screen.print(&told(&report))?;
    }
    screen.answer(&report)?;
    Ok(if report.healthy { Exit::Done } else { Exit::No })
}

/// A line for each check, what to do below it, and the sum.
fn told(report: &Report) -> String {
    let width = report.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for check in &report.checks {
        let word = match check.level {
            Level::Ok => "ok",
            Level::Skipped => "skipped",
            Level::Warning => "warning",
            Level::Problem => "PROBLEM",
        };
        // Writing to a String does not fail.
        let _ = writeln!(out, "{word:<8} {:<width$}  {}", check.name, clean(&check.found));
        if let Some(advice) = &check.advice {
            let _ = writeln!(out, "{:<8} {:<width$}  -> {}", "", "", clean(advice));
        }
    }
    let number = |level| report.checks.iter().filter(|check| check.level == level).count();
    let (problems, warnings) = (number(Level::Problem), number(Level::Warning));
    let _ = writeln!(out, "\n{}, {}", count(problems, "problem"), count(warnings, "warning"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_stands_above_what_to_do() {
        let report = Report::of(vec![
            Check::ok("engine", "Docker 29.3.1"),
            Check::skipped("clock", "nobody says"),
            Check::warning("live-restore", "off", "switch it on"),
            Check::problem("data directory", "\u{1b}[2Jin memory", "choose another"),
        ]);
        insta::assert_snapshot!(told(&report));
    }
}
