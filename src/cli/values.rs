//! Values that a manifest takes from where the command runs: a file, a variable, the output of a program.
//!
//! Here: [`Fetcher`], which reads them with bounds on size and time. Not here: where they stand in a manifest
//! (`manifest`), drawing one (the cluster does).
//! Invariants: a manifest runs a program only when whoever runs the command said so; no message holds a value.

use std::{
    fs,
    io::{self, Read as _},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use zeroize::Zeroizing;

use crate::{
    manifest::Unfetched,
    model::{config::CONFIG_LIMIT, rotation::ValueFrom},
};

/// Longest run of a program, with what it leaves behind holding its output open.
const RUN: Duration = Duration::from_secs(60);
/// Between two looks at whether it ended.
const LOOK: Duration = Duration::from_millis(10);
/// More is no value of ours; the smaller limit of a Secret is checked later.
const MOST: usize = CONFIG_LIMIT;

type Fetched = Result<Option<Zeroizing<Vec<u8>>>, Unfetched>;

/// What may be done to have a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Programs {
    /// Programs are run.
    Run,
    /// A manifest that asks for one is refused.
    Refuse,
    /// They are left alone: the manifest is only checked.
    Leave,
}

/// Fetches values.
pub struct Fetcher<'e> {
    env: &'e dyn Fn(&str) -> Option<String>,
    programs: Programs,
}

impl<'e> Fetcher<'e> {
    /// With this environment.
    #[must_use]
    pub fn new(env: &'e dyn Fn(&str) -> Option<String>, programs: Programs) -> Self {
        Self { env, programs }
    }

    /// For files only.
    #[must_use]
    pub fn files() -> Self {
        Self { env: &|_| None, programs: Programs::Refuse }
    }

    /// The value; nothing when it is left for later.
    ///
    /// # Errors
    /// [`Unfetched`] says what is wrong and what to do.
    pub fn fetch(&self, from: &ValueFrom, folder: &Path) -> Fetched {
        if let Some(file) = &from.file {
            return self::file(&folder.join(file)).map(Some);
        }
        if let Some(name) = &from.env {
            let value = (self.env)(name).ok_or_else(|| Unfetched {
                message: format!("the variable {name} is not set"),
                fix: format!("set it: export {name}=…"),
            })?;
            return Ok(Some(Zeroizing::new(value.into_bytes())));
        }
        match (&from.command, self.programs) {
            (None, _) | (Some(_), Programs::Leave) => Ok(None),
            (Some(command), Programs::Run) => run(command, folder, RUN).map(Some),
            (Some(command), Programs::Refuse) => Err(Unfetched {
                message: format!("asks to run {:?}", command.join(" ")),
                fix: "add --allow-commands if you trust this manifest".into(),
            }),
        }
    }
}

/// As it is, with the newline at its end: a key or certificate has one.
fn file(path: &Path) -> Result<Zeroizing<Vec<u8>>, Unfetched> {
    let unreadable = |error: io::Error| Unfetched {
        message: format!("{} cannot be read: {error}", path.display()),
        fix: "the path is meant from the manifest's own folder".into(),
    };
    let facts = fs::metadata(path).map_err(unreadable)?;
    if !facts.is_file() {
        return Err(unreadable(io::Error::other("it is no regular file")));
    }
    let file = fs::File::open(path).map_err(unreadable)?;
    bounded(file, usize::try_from(facts.len()).unwrap_or(MOST)).map_err(unreadable)
}

/// At most [`MOST`] bytes, read into one piece of memory: pieces that were left behind would not be wiped.
fn bounded(source: impl io::Read, expected: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut value = Zeroizing::new(Vec::with_capacity(expected.min(MOST) + 1));
    source.take(MOST as u64 + 1).read_to_end(&mut value)?;
    if value.len() > MOST {
        return Err(io::Error::other(format!("it has more than {MOST} bytes")));
    }
    Ok(value)
}

/// Its output without the newline at the end, as a shell takes it.
fn run(command: &[String], folder: &Path, limit: Duration) -> Result<Zeroizing<Vec<u8>>, Unfetched> {
    let failed = |message: String| Unfetched { message, fix: format!("run it in {}", folder.display()) };
    let Some((program, arguments)) = command.split_first() else {
        return Err(failed("no program is named".into()));
    };
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(format!("{program} cannot be run: {error}")))?;
    let output = child.stdout.take();
    let deadline = Instant::now() + limit;
    let (hand, read) = mpsc::channel();
    // Nobody waits for this thread: a child that the program left behind may hold the pipe for ever.
    std::thread::spawn(move || {
        let _nobody_listens = hand.send(output.map(|output| bounded(output, MOST)).transpose());
    });
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => std::thread::sleep(LOOK),
            Ok(None) => {
                // What it printed so far is no value.
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed(format!("{program} did not end within {limit:?}")));
            }
            Err(error) => return Err(failed(format!("{program}: {error}"))),
        }
    };
    if !status.success() {
        return Err(failed(format!("{program} failed: {status}")));
    }
    let read = read.recv_timeout(deadline.saturating_duration_since(Instant::now())).map_err(|error| match error {
        mpsc::RecvTimeoutError::Timeout => failed(format!(
            "{program} ended, and something that it started holds its output open after {limit:?}; end it, or send its output elsewhere"
        )),
        mpsc::RecvTimeoutError::Disconnected => failed(format!("{program}: its output cannot be read")),
    })?;
    let mut value = read
        .map_err(|error| failed(format!("{program}: {error}")))?
        .ok_or_else(|| failed(format!("{program} has no output")))?;
    if value.last() == Some(&b'\n') {
        value.pop();
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Option<String> {
        (name == "A").then(|| "from env".into())
    }
    fn ask(from: serde_json::Value, programs: Programs) -> Result<Option<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.txt"), "from file\n").unwrap();
        let fetched = Fetcher::new(&env, programs).fetch(&serde_json::from_value(from).unwrap(), folder.path());
        fetched
            .map(|v| v.map(|v| String::from_utf8(v.to_vec()).unwrap()))
            .map_err(|u| format!("{}; {}", u.message, u.fix))
    }

    #[test]
    fn a_value_comes_from_a_file_a_variable_or_a_program() {
        let run = |words: &[&str]| serde_json::json!({ "command": words });
        for (from, programs, value) in [
            (serde_json::json!({"file": "a.txt"}), Programs::Refuse, Some("from file\n")),
            (serde_json::json!({"env": "A"}), Programs::Refuse, Some("from env")),
            (run(&["cat", "a.txt"]), Programs::Run, Some("from file")),
            (run(&["false"]), Programs::Leave, None),
            (serde_json::json!({"generate": {}}), Programs::Run, None),
        ] {
            assert_eq!(ask(from.clone(), programs), Ok(value.map(str::to_owned)), "{from}");
        }
    }

    #[test]
    fn what_a_program_leaves_behind_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let words = |script: &str| ["sh".to_owned(), "-c".into(), script.into()];
        let (begun, limit) = (Instant::now(), Duration::from_millis(500));
        let error = run(&words("echo hunter2; sleep 20 & exit 0"), folder.path(), limit).unwrap_err();
        assert!(error.message.contains("holds its output open after 500ms"), "{}", error.message);
        assert!(!error.message.contains("hunter2"), "{}", error.message);
        let error = run(&words("exec sleep 20"), folder.path(), limit).unwrap_err();
        assert!(error.message.contains("did not end within 500ms"), "{}", error.message);
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        let value = run(&words("echo x; sleep 2 >/dev/null &"), folder.path(), RUN).unwrap();
        assert_eq!(*value, b"x", "who holds nothing open is no concern of ours");
    }

    #[test]
    fn what_is_missing_is_said_with_what_to_do() {
        let run = |words: &[&str]| serde_json::json!({ "command": words });
        for (from, programs, parts) in [
            (serde_json::json!({"file": "b.txt"}), Programs::Run, ["b.txt cannot be read", "own folder"]),
            (serde_json::json!({"file": "."}), Programs::Run, ["no regular file", "own folder"]),
            (serde_json::json!({"env": "B"}), Programs::Run, ["B is not set", "export B"]),
            (run(&["cat", "a.txt"]), Programs::Refuse, ["asks to run \"cat a.txt\"", "--allow-commands"]),
            (run(&["sh", "-c", "echo hunter2; exit 3"]), Programs::Run, ["sh failed", "exit status: 3"]),
            (run(&["no-such-program"]), Programs::Run, ["cannot be run", "run it in"]),
            (run(&["cat", "/dev/zero"]), Programs::Run, ["cat", "run it in"]),
        ] {
            let error = ask(from.clone(), programs).unwrap_err();
            assert!(parts.iter().all(|part| error.contains(part)), "{from}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
