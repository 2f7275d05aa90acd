//! The process: arguments in, exit code out.

use std::process::ExitCode;

use clap::Parser as _;
use constellation::cli::{self, args::Cli};

fn main() -> ExitCode {
    // Wrong usage ends here, with clap's message and code 2.
    let cli = Cli::parse();
    match cli::run(cli) {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(error) => {
            let report = error.report();
            if !report.is_empty() {
                cli::screen::Screen::default().aside(report.trim_end());
            }
            ExitCode::from(error.exit().code())
        }
    }
}
