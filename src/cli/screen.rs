//! Where a command's output goes: standard output, coloured only where that is wanted.
//!
//! Here: [`Screen`], which turns a broken pipe into a quiet end instead of a panic, and what is known about
//! the terminals. Not here: what is printed (`show`, `text`).

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use super::failure::CliError;

/// Standard output and standard error of one command.
#[derive(Debug, Default)]
pub struct Screen;

impl Screen {
    /// Prints text as it is.
    ///
    /// # Errors
    /// When standard output is gone; a broken pipe ends the command quietly.
    pub fn print(&self, text: &str) -> Result<(), CliError> {
        let mut out = anstream::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(CliError::Output)
    }

    /// Prints one line.
    ///
    /// # Errors
    /// As [`Screen::print`].
    pub fn line(&self, text: &str) -> Result<(), CliError> {
        self.print(&format!("{text}\n"))
    }

    /// Says something beside the output, on standard error; nobody to hear it is no error.
    pub fn aside(&self, text: &str) {
        let _ = writeln!(anstream::stderr().lock(), "{text}");
    }

    /// Whether a person sees standard error: only then is there a spinner.
    #[must_use]
    pub fn animates(&self) -> bool {
        io::stderr().is_terminal() && !dumb()
    }

    /// Whether a person can be asked.
    #[must_use]
    pub fn interactive(&self) -> bool {
        io::stdin().is_terminal() && io::stdout().is_terminal()
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

fn dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}
