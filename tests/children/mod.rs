//! Tests that start themselves again as a child, to kill it or to look at what it did.
//!
//! Here: [`child`], [`run`], what it says ([`say`]), and [`scratch`] folders.

// Each test uses a part of it.
#![allow(dead_code)]

use std::{
    env,
    fs::File,
    io::{Read as _, Seek as _, Write as _},
    path::Path,
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// This very test binary again, to run one of its tests.
pub fn child(test: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).stdin(Stdio::null());
    command
}

/// A folder for what is read once: a sync there costs nothing.
pub fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// Runs a child to its end, within a bound. Answers how it ended and what it wrote to standard output and to
/// standard error; none when it had to be killed.
pub fn run(command: &mut Command, limit: Duration) -> (Option<ExitStatus>, String, String) {
    // Files: no child waits until somebody reads.
    let (mut out, mut err) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    command.stdout(out.try_clone().unwrap()).stderr(err.try_clone().unwrap());
    let (mut child, begun) = (command.spawn().unwrap(), Instant::now());
    let status = loop {
        match child.try_wait().unwrap() {
            None if begun.elapsed() < limit => thread::sleep(Duration::from_millis(2)),
            None => {
                child.kill().unwrap();
                child.wait().unwrap();
                break None;
            }
            ended => break ended,
        }
    };
    let text = |file: &mut File| {
        let mut bytes = Vec::new();
        file.rewind().and_then(|()| file.read_to_end(&mut bytes)).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    (status, text(&mut out), text(&mut err))
}

/// On standard output, in one write, so that a kill cuts lines and does not mix them.
pub fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush()).unwrap();
}
