//! What an installation needs beside the program itself: the unit file, completions, manual pages.
//!
//! The program prints them, so that they are of its own version and need no files beside it.

use std::{fs, path::Path};

use clap::CommandFactory as _;

use crate::cli::{
    args::{Cli, Completion, Man, Unit},
    failure::CliError,
    screen::Screen,
};

/// The unit; `@BINARY@` stands for the program.
const UNIT: &str = include_str!("../../agent/constellation.service");

/// Runs `agent unit`.
///
/// # Errors
/// A path that a unit cannot name.
pub fn unit(args: &Unit) -> Result<(), CliError> {
    let binary = match &args.binary {
        Some(path) => path.clone(),
        None => std::env::current_exe().map_err(|source| CliError::File {
            doing: "find",
            path: "/proc/self/exe".into(),
            source,
        })?,
    };
    Screen::default().print(&unit_of(&binary)?)
}

fn unit_of(binary: &Path) -> Result<String, CliError> {
    let wrong = || {
        let fix = "write an absolute path without blanks, quotes, $ or %";
        CliError::usage(format!("{} cannot stand in a unit", binary.display()), fix)
    };
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !"\"'\\%$;".contains(c);
    let path = binary.to_str().filter(|path| path.starts_with('/') && path.chars().all(plain)).ok_or_else(wrong)?;
    Ok(UNIT.replace("@BINARY@", path))
}

/// Runs `completion`.
///
/// # Errors
/// When standard output is gone.
pub fn completion(args: &Completion) -> Result<(), CliError> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "constellation", &mut text);
    Screen::default().print(&String::from_utf8_lossy(&text))
}

/// Runs `man`.
///
/// # Errors
/// When the directory cannot be written.
pub fn man(args: &Man) -> Result<(), CliError> {
    let written = fs::create_dir_all(&args.directory)
        .and_then(|()| clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), &args.directory));
    written.map_err(|source| CliError::File { doing: "write", path: args.directory.clone(), source })
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;
    use clap_complete::Shell;

    use super::*;

    #[test]
    fn the_unit_starts_the_program_that_is_named() {
        let unit = unit_of(Path::new("/usr/local/bin/constellation")).unwrap();
        // What the exit codes of an agent mean, and that its containers and their secrets outlive it.
        for line in [
            "ExecStart=/usr/local/bin/constellation agent",
            "Type=notify",
            "Restart=always",
            "RestartPreventExitStatus=78",
            "RuntimeDirectoryPreserve=yes",
        ] {
            assert!(unit.lines().any(|l| l == line), "{line}");
        }
        for wrong in ["constellation", "/opt/a b/constellation", "/opt/%n", "/opt/$HOME/x"] {
            assert!(unit_of(Path::new(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_command_has_a_page_and_every_shell_its_completions() {
        let dir = tempfile::tempdir().unwrap();
        man(&Man { directory: dir.path().join("man1") }).unwrap();
        for name in ["", "-apply", "-agent", "-agent-config", "-agent-config-show", "-doctor"] {
            let page = dir.path().join(format!("man1/constellation{name}.1"));
            let page = fs::read_to_string(&page).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
            assert!(page.contains(if name.is_empty() { "Exit codes" } else { "Examples" }), "{name}");
        }
        for shell in Shell::value_variants() {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "constellation", &mut text);
            assert!(String::from_utf8(text).unwrap().contains("doctor"), "{shell}");
        }
    }
}
