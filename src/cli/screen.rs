//! Where a command's output goes: standard output, coloured only where that is wanted.
//!
//! Here: [`Screen`], which turns a broken pipe into a quiet end instead of a panic, and what is known about
//! the terminals. Not here: what is printed (`show`, `text`).
//! Invariant: a command that changes something is not ended by its output. `delete a b | head -1` deletes both,
//! and its exit code is that of the deletions.

use std::{
    cell::Cell,
    io::{self, BufRead as _, IsTerminal as _, Write as _},
};

use owo_colors::OwoColorize as _;
use serde::Serialize;

use super::{args::Form, failure::CliError, form::Unanswered, text};

/// Standard output and standard error of one command.
#[derive(Debug, Default)]
pub struct Screen {
    /// Of the answer. When it is a program's, words for people go to standard error.
    form: Form,
    /// Whether the command goes on without standard output.
    goes_on: bool,
    /// Whether standard output is gone.
    gone: Cell<bool>,
    /// Whether the answer was given.
    answered: Cell<bool>,
}

impl Screen {
    /// Of a command that looks: without a standard output it ends.
    #[must_use]
    pub fn of(form: Form) -> Self {
        Self { form, ..Self::default() }
    }

    /// Of a command that changes something: it goes on without a standard output.
    #[must_use]
    pub fn of_change(form: Form) -> Self {
        Self { form, goes_on: true, ..Self::default() }
    }

    /// Prints text for people as it is.
    ///
    /// # Errors
    /// When standard output is gone and the command only looks; a broken pipe ends it quietly.
    pub fn print(&self, text: &str) -> Result<(), CliError> {
        if self.form != Form::Text {
            // Nobody to hear it is no error: the answer goes another way.
            let _ = anstream::stderr().lock().write_all(text.as_bytes());
            return Ok(());
        }
        self.out(text)
    }

    /// Prints an answer in a form for programs; people have been told it in words already.
    ///
    /// # Errors
    /// As [`Screen::print`].
    pub fn answer<T: Serialize>(&self, value: &T) -> Result<(), CliError> {
        self.answered.set(true);
        match self.form {
            Form::Text => Ok(()),
            Form::Json => self.json(value),
            Form::Yaml => self.out(&yaml(value)?),
        }
    }

    /// Says to a program why there is no answer, unless there was one.
    pub fn unanswered(&self, error: &CliError) {
        if !self.answered.get() && !matches!(error, CliError::Output(_)) {
            // The error itself goes to standard error and into the exit code, whoever reads this.
            let _ = self.answer(&Unanswered::from(error));
        }
    }

    fn out(&self, text: &str) -> Result<(), CliError> {
        if self.gone.get() {
            return Ok(());
        }
        let result = out(text);
        match &result {
            Err(error) if self.goes_on => {
                self.gone.set(true);
                let report = error.report();
                if !report.is_empty() {
                    self.aside(report.trim_end());
                }
                Ok(())
            }
            Ok(()) | Err(_) => result,
        }
    }

    /// Prints one line.
    ///
    /// # Errors
    /// As [`Screen::print`].
    pub fn line(&self, text: &str) -> Result<(), CliError> {
        self.print(&format!("{text}\n"))
    }

    /// Prints a line that a container wrote: at a terminal without what could steer it, else as it is.
    ///
    /// # Errors
    /// As [`Screen::print`].
    pub fn log(&self, before: &str, line: &str) -> Result<(), CliError> {
        if io::stdout().is_terminal() {
            return self.line(&format!("{before}{}", text::coloured_line(line)));
        }
        let mut out = io::stdout().lock();
        let written = out.write_all(format!("{before}{line}\n").as_bytes()).and_then(|()| out.flush());
        written.map_err(CliError::Output)
    }

    /// Prints a value as JSON over many lines.
    ///
    /// # Errors
    /// As [`Screen::print`].
    pub fn json<T: Serialize>(&self, value: &T) -> Result<(), CliError> {
        self.out(&format!(
            "{}\n",
            text::json(&serde_json::to_string_pretty(value).map_err(|e| CliError::Output(e.into()))?)
        ))
    }

    /// Prints a value as one line of JSON.
    ///
    /// # Errors
    /// As [`Screen::print`].
    pub fn json_line<T: Serialize>(&self, value: &T) -> Result<(), CliError> {
        self.out(&format!("{}\n", text::json(&serde_json::to_string(value).map_err(|e| CliError::Output(e.into()))?)))
    }

    /// Prints a plan or differences, with the signs in colours.
    ///
    /// # Errors
    /// As [`Screen::print`].
    pub fn signs(&self, text: &str) -> Result<(), CliError> {
        self.print(&text.lines().map(|line| format!("{}\n", signed(line))).collect::<String>())
    }

    /// Says something beside the output, on standard error; nobody to hear it is no error.
    pub fn aside(&self, text: &str) {
        let _ = writeln!(anstream::stderr().lock(), "{}", coloured(text));
    }

    /// Whether a person sees standard error: only then is there a spinner.
    #[must_use]
    pub fn animates(&self) -> bool {
        io::stderr().is_terminal() && !dumb()
    }

    /// Whether a person can be asked.
    #[must_use]
    pub fn interactive(&self) -> bool {
        let person = if self.form == Form::Text { io::stdout().is_terminal() } else { io::stderr().is_terminal() };
        io::stdin().is_terminal() && person
    }

    /// Asks a question that only `y` or `yes` answers with yes.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub fn confirm(&self, question: &str) -> Result<bool, CliError> {
        self.print(&format!("{question}  [y/N] "))?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer).map_err(CliError::Output)?;
        Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }
}

fn out(text: &str) -> Result<(), CliError> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(CliError::Output)
}

/// YAML without what could steer a terminal.
fn yaml<T: Serialize>(value: &T) -> Result<String, CliError> {
    let text = serde_yaml::to_string(value).map_err(|e| CliError::Output(io::Error::other(e)))?;
    Ok(text.lines().map(|line| format!("{}\n", text::clean(line))).collect())
}

/// The first word of a line that warns stands out. Where colours are not wanted, they are taken out again.
fn coloured(text: &str) -> String {
    let line = |line: &str| {
        if let Some(rest) = line.strip_prefix("error:") {
            format!("{}{rest}", "error:".red().bold())
        } else if let Some(rest) = line.strip_prefix("warning:") {
            format!("{}{rest}", "warning:".yellow().bold())
        } else if let Some(rest) = line.strip_prefix("hint:") {
            format!("{}{rest}", "hint:".cyan().bold())
        } else {
            line.to_owned()
        }
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// A line of a plan with its sign in the sign's colour.
fn signed(line: &str) -> String {
    let indent = line.len() - line.trim_start().len();
    let (blank, rest) = line.split_at(indent);
    match rest.split_once(' ') {
        Some(("+", rest)) => format!("{blank}{} {rest}", "+".green()),
        Some(("-", rest)) => format!("{blank}{} {rest}", "-".red()),
        Some((sign @ ("~" | "-/+" | "+/-"), rest)) => format!("{blank}{} {rest}", sign.yellow()),
        Some(_) | None => line.to_owned(),
    }
}

fn dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_says_what_json_says_and_steers_nothing() {
        let value = serde_json::json!({"a": ["x: y", "1", "\u{1b}[2J\n- b", "two\nlines\n"], "b": {"c": null}});
        let text = yaml(&value).unwrap();
        assert_eq!(serde_yaml::from_str::<serde_json::Value>(&text).unwrap(), value);
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }

    #[test]
    fn colours_add_nothing_that_stays_when_they_are_taken_out() {
        for text in
            ["error: no\nhint: yes\nwarning: so", "  ~ svc/web   x\n+ a\n    -/+  web.1 on n1\n- b\nplain  text", ""]
        {
            let signs: Vec<String> = text.lines().map(signed).collect();
            for made in [coloured(text), signs.join("\n")] {
                assert_eq!(anstream::adapter::strip_str(&made).to_string(), text);
            }
        }
        assert_ne!(signed("+ a"), "+ a");
    }
}
