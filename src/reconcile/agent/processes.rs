//! What the kernel says of a process, without the engine.

/// The main process of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    /// It runs.
    Runs,
    /// It ran while the engine answered, and does not any more.
    Gone,
    /// It never was seen: the engine is another machine's, or this agent has its own processes.
    Unseen,
}

/// What became of a process. `seen`: its number and beginning as they were while the engine answered; `began`: what
/// runs under its number now.
pub fn look(seen: &mut Option<(i64, u64)>, pid: i64, began: Option<u64>, silent: bool) -> Process {
    match (*seen, began) {
        (Some((known, at)), now) if known == pid => {
            // The number may be another process's by now.
            if now == Some(at) { Process::Runs } else { Process::Gone }
        }
        (_, Some(began)) if !silent => {
            *seen = Some((pid, began));
            Process::Runs
        }
        _ => Process::Unseen,
    }
}

/// When a process began, in clock ticks since the machine did; none: it does not run. The number of a process that
/// ended is given to another one sooner or later, together with this moment it is one process's own.
///
/// Source: `proc_pid_stat(5)`, fields 3 (state) and 22 (starttime).
pub fn began(pid: i64) -> Option<u64> {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The second field is a name in brackets, and may hold anything.
fn parse(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    // One that ended and was not collected yet, or is being removed.
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_was_seen_once_is_not_mistaken_for_another() {
        let mut seen = None;
        assert_eq!(look(&mut seen, 7, Some(1), true), Process::Unseen, "it may be anybody's");
        assert_eq!(look(&mut seen, 7, None, false), Process::Unseen);
        assert_eq!(look(&mut seen, 7, Some(1), false), Process::Runs);
        for silent in [false, true] {
            assert_eq!(look(&mut seen, 7, None, silent), Process::Gone);
            assert_eq!(look(&mut seen, 7, Some(2), silent), Process::Gone, "its number was given away");
            assert_eq!(look(&mut seen, 7, Some(1), silent), Process::Runs);
        }
        assert_eq!(look(&mut seen, 8, Some(3), false), Process::Runs, "it was started again");
    }

    #[test]
    fn a_process_has_a_beginning_as_long_as_it_runs() {
        let stat = |state: &str| {
            format!("42 (a) b (c) {state} 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 9 10 11\n")
        };
        assert_eq!(parse(&stat("S")), Some(987_654));
        assert_eq!(parse(&stat("Z")), None);
        assert_eq!((parse(""), parse("1 (x) S"), parse("no")), (None, None, None));
        let own = began(std::process::id().into());
        assert!(own.is_some() && own == began(std::process::id().into()));
        assert_eq!(began(0), None);
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let pid = i64::from(child.id());
        let at = began(pid);
        assert!(at.is_some());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_ne!(began(pid), at);
    }
}
