//! Asking a person for what must not be seen.
//!
//! Here: [`Hidden`], a terminal that does not show what is typed, and [`ask`]. Not here: what is asked for.

use std::io::{self, IsTerminal as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::{failure::CliError, screen::Screen};

/// Bytes of a line at most.
const LINE: u64 = 4_096;

/// A terminal that does not show what is typed, until this is dropped.
pub struct Hidden(Termios);

impl Hidden {
    /// Hides what is typed.
    ///
    /// # Errors
    /// When standard input is no terminal.
    pub fn new() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut hidden = before.clone();
        hidden.local_modes -= LocalModes::ECHO;
        tcsetattr(io::stdin(), OptionalActions::Flush, &hidden)?;
        Ok(Self(before))
    }
}
impl Drop for Hidden {
    fn drop(&mut self) {
        // The terminal may be gone: then nobody sees anything.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Asks for a line. `otherwise`: what to do where nobody can be asked.
///
/// # Errors
/// When standard input is no terminal, or nothing is typed.
pub fn ask(screen: &Screen, what: &str, otherwise: &str) -> Result<Zeroizing<String>, CliError> {
    if !io::stdin().is_terminal() {
        return Err(CliError::usage("nobody can be asked here", otherwise));
    }
    screen.aside(&format!("{what}; end with the return key:"));
    let hidden = Hidden::new().map_err(CliError::Output)?;
    let mut line = Zeroizing::new(String::with_capacity(LINE as usize));
    let read = io::BufRead::read_line(&mut io::Read::take(io::stdin().lock(), LINE), &mut line);
    drop(hidden);
    read.map_err(|source| CliError::File { doing: "read", path: "standard input".into(), source })?;
    while line.ends_with(['\n', '\r']) {
        line.pop();
    }
    if line.is_empty() { Err(CliError::usage("nothing was typed", otherwise)) } else { Ok(line) }
}
