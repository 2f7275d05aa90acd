//! What can go wrong for the person at the command line, and with which exit code it ends.
//!
//! Here: [`CliError`], its exit codes, its hints, and how it is printed: `error:` with the chain of causes,
//! then `hint:`. Not here: clap's own usage errors (clap prints them and ends with 2).
//! Invariant: an error prints each cause once, and never a control character that came from a server.

use std::{fmt::Write as _, io, path::PathBuf, time::Duration};

use super::text::clean;
use crate::api::wire::{ManifestFault, Problem};

/// How a token is brought.
const TOKEN: &str =
    "set CONSTELLATION_TOKEN_FILE=<data dir>/admin.token (or CONSTELLATION_TOKEN), or use the socket as root";

/// How a command ended. Scripts depend on the numbers: never change one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// The answer is "no" or "differs"; a wait ran out.
    No,
    /// Wrong usage or an invalid manifest.
    Usage,
    /// No connection or no quorum.
    NoConnection,
    /// Not allowed.
    NotAllowed,
    /// Not found.
    NotFound,
    /// Something moved meanwhile.
    Conflict,
    /// Ctrl-C ended a wait; the change goes on.
    Interrupted,
    /// The agent's own codes.
    Agent(u8),
}

impl Exit {
    /// The process's exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::No => 1,
            Self::Usage => 2,
            Self::NoConnection => 3,
            Self::NotAllowed => 4,
            Self::NotFound => 5,
            Self::Conflict => 6,
            // 128 and the number of the signal, as shells say it.
            Self::Interrupted => 130,
            Self::Agent(code) => code,
        }
    }
}

/// One fault as a line: of a change without a text `svc/db: spec.replicas: only one`, of a manifest `web.yaml:12:9: spec.ports[0].published: 70000 is no port; 1 to 65535`.
fn fault(fault: &ManifestFault) -> String {
    let mut line = String::new();
    if !fault.source.is_empty() {
        let _ = write!(line, "{}:", fault.source);
    }
    for place in [fault.line, fault.column].into_iter().take_while(|place| *place > 0) {
        let _ = write!(line, "{place}:");
    }
    if !line.is_empty() {
        line.push(' ');
    }
    if !fault.path.is_empty() {
        let _ = write!(line, "{}: ", fault.path);
    }
    line.push_str(&fault.message);
    if let Some(fix) = fault.fix.as_deref().filter(|fix| !fix.is_empty()) {
        let _ = write!(line, "; {fix}");
    }
    line
}

/// Everything a command can fail with.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The arguments do not make sense together.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to write instead.
        hint: Option<String>,
    },
    /// Manifests with errors, each with its place and its fix.
    #[error("{}", manifests(.0.len()))]
    Manifests(Vec<ManifestFault>),
    /// Flags, environment or file of an agent are wrong.
    #[error("{}", configuration(.faults.len()))]
    Configuration {
        /// One per line.
        faults: Vec<String>,
        /// What ended: an agent, or a command that looks at its configuration.
        exit: Exit,
    },
    /// A file of the user cannot be read or written.
    #[error("cannot {doing} {}", .path.display())]
    File {
        /// `read`, `write`.
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nobody answers at the address.
    #[error("no agent answers at {endpoint}")]
    NoConnection {
        /// Where.
        endpoint: String,
        /// Why.
        #[source]
        source: io::Error,
        /// Whether the operating system refused for want of rights.
        denied: bool,
    },
    /// The agent took the request and did not answer in time.
    #[error("{endpoint} gave no answer to {what} within {limit:?}")]
    Deadline {
        /// Where.
        endpoint: String,
        /// Which request.
        what: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The connection broke.
    #[error("the connection to {endpoint} broke during {what}")]
    Broken {
        /// Where.
        endpoint: String,
        /// Which request.
        what: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A change was sent, and nobody knows whether it was made.
    #[error("the outcome of {what} is unknown: {tries} tries, no answer")]
    Unknown {
        /// Which request.
        what: String,
        /// How often it was sent, always with one idempotency key.
        tries: u32,
        /// What the last try said.
        #[source]
        source: Box<CliError>,
    },
    /// The API refused.
    #[error("{}", refusal(.0))]
    Refused(Box<Problem>),
    /// The answer is not what this version understands.
    #[error("{endpoint} gave an answer to {what} that this version does not understand")]
    Answer {
        /// Where.
        endpoint: String,
        /// Which request.
        what: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer is "no".
    #[error("{message}")]
    No {
        /// What is not so.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// Some of many changes were not made; why was said when each failed.
    #[error("{message}")]
    Partly {
        /// Which.
        message: String,
        /// How the first that failed would have ended the process.
        exit: Exit,
    },
    /// Somebody pressed Ctrl-C while a change was awaited; what that means was said.
    #[error("interrupted; the change goes on")]
    Interrupted,
    /// Standard output is gone.
    #[error("cannot write the output")]
    Output(#[source] io::Error),
    /// The agent ended with an error.
    #[error("the agent stopped")]
    Agent {
        /// Its exit code.
        code: u8,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
        /// What to do.
        hint: Option<String>,
    },
}

fn manifests(errors: usize) -> String {
    if errors == 1 { "1 error in the manifests".into() } else { format!("{errors} errors in the manifests") }
}

fn configuration(errors: usize) -> String {
    if errors == 1 { "1 error in the configuration".into() } else { format!("{errors} errors in the configuration") }
}

fn refusal(refusal: &Problem) -> String {
    let mut text = match (refusal.title.as_str(), refusal.detail.as_str()) {
        ("", "") => format!("the API answered {}", refusal.status),
        (title, "") => title.to_owned(),
        ("", detail) => detail.to_owned(),
        (title, detail) if detail.starts_with(title) => detail.to_owned(),
        (title, detail) => format!("{title}: {detail}"),
    };
    // Whoever reads about a failed write asks next who leads and how far the log is.
    if let Some(quorum) = &refusal.quorum {
        let leader = refusal.leader.as_deref().unwrap_or("none");
        let _ = write!(text, " (leader {leader}, quorum {quorum}");
        if let Some(index) = refusal.index {
            let _ = write!(text, ", index {index}");
        }
        text.push(')');
    }
    text
}

impl CliError {
    /// A usage error.
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: Some(hint.into()) }
    }

    /// How the process ends.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage { .. } | Self::Manifests(_) | Self::File { .. } => Exit::Usage,
            Self::Partly { exit, .. } | Self::Configuration { exit, .. } => *exit,
            Self::NoConnection { denied: true, .. } => Exit::NotAllowed,
            Self::NoConnection { .. } | Self::Deadline { .. } | Self::Broken { .. } | Self::Unknown { .. } => {
                Exit::NoConnection
            }
            Self::Refused(refusal) => match refusal.status {
                401 | 403 => Exit::NotAllowed,
                404 => Exit::NotFound,
                409 => Exit::Conflict,
                502..=504 => Exit::NoConnection,
                400..=499 if refusal.status != 410 && refusal.status != 429 => Exit::Usage,
                _ => Exit::No,
            },
            Self::No { .. } | Self::Answer { .. } => Exit::No,
            Self::Interrupted => Exit::Interrupted,
            // `constellation get svc | head` is not a failure.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
            Self::Output(_) => Exit::No,
            Self::Agent { code, .. } => Exit::Agent(*code),
        }
    }

    /// Whether a change that ended so may have been made all the same. Of those that went out and were not
    /// answered, `transport` makes [`CliError::Unknown`]; the others were answered, and the answer got lost.
    #[must_use]
    pub fn leaves_open(&self) -> bool {
        match self {
            Self::Unknown { .. } | Self::Deadline { .. } | Self::Broken { .. } | Self::Answer { .. } => true,
            // 504 is our own word for it; 502 is one that stands between.
            Self::Refused(problem) => matches!(problem.status, 502 | 504),
            Self::Usage { .. }
            | Self::Manifests(_)
            | Self::Configuration { .. }
            | Self::File { .. }
            | Self::NoConnection { .. }
            | Self::No { .. }
            | Self::Partly { .. }
            | Self::Interrupted
            | Self::Output(_)
            | Self::Agent { .. } => false,
        }
    }

    /// What the person can do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Usage { hint, .. } | Self::No { hint, .. } | Self::Agent { hint, .. } => hint.clone(),
            Self::NoConnection { denied: true, .. } => Some(
                "the socket is for root and the agent's user: use sudo, or --api http://127.0.0.1:7443 with \
                 CONSTELLATION_TOKEN_FILE=<data dir>/admin.token"
                    .into(),
            ),
            Self::NoConnection { .. } => Some(
                "start an agent with `constellation agent` (as root), or say where one is: --api URL or \
                 CONSTELLATION_API (unix:///run/constellation/api.sock, http://127.0.0.1:7443)"
                    .into(),
            ),
            Self::Deadline { .. } => {
                Some("is the machine busy or its engine stuck? `constellation status` says more".into())
            }
            Self::Unknown { .. } => {
                Some("run the same command again: it says what stands, and what is done stays done".into())
            }
            // The API's own hint is for whoever writes a client.
            Self::Refused(refusal) if refusal.slug() == "no-token" => Some(TOKEN.into()),
            Self::Refused(refusal) => refusal.hint.clone().or_else(|| match refusal.status {
                401 | 403 => Some(TOKEN.into()),
                409 => Some("look at it again with `constellation plan`, then apply the new plan".into()),
                _ => None,
            }),
            Self::Answer { .. } => {
                Some("compare `constellation version`: client and server may be of different releases".into())
            }
            Self::Manifests(_)
            | Self::Configuration { .. }
            | Self::File { .. }
            | Self::Broken { .. }
            | Self::Partly { .. }
            | Self::Interrupted
            | Self::Output(_) => None,
        }
    }

    /// What went wrong and what caused it, each once.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        let mut last = text.clone();
        while let Some(cause) = source {
            let said = cause.to_string();
            // A cause that its parent already quotes would be read twice.
            if !last.ends_with(&said) {
                let _ = write!(text, ": {said}");
            }
            last = said;
            source = cause.source();
        }
        text
    }

    /// What is printed on standard error; empty when there is nothing worth saying.
    #[must_use]
    pub fn report(&self) -> String {
        let quiet = match self {
            Self::Output(error) => error.kind() == io::ErrorKind::BrokenPipe,
            Self::Interrupted => true,
            _ => false,
        };
        if quiet {
            return String::new();
        }
        let mut text = String::new();
        let lines: Vec<String> = match self {
            Self::Manifests(errors) => errors.iter().map(fault).collect(),
            Self::Configuration { faults, .. } => faults.clone(),
            Self::Refused(refusal) => refusal.errors.iter().map(fault).collect(),
            _ => Vec::new(),
        };
        for line in &lines {
            let _ = writeln!(text, "{}", clean(line));
        }
        let _ = writeln!(text, "error: {}", clean(&self.chain()));
        if let Some(hint) = self.hint() {
            let _ = writeln!(text, "hint: {}", clean(&hint));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16) -> CliError {
        CliError::Refused(Box::new(Problem { status, title: "No".into(), ..Problem::default() }))
    }

    #[test]
    fn statuses_become_the_settled_exit_codes() {
        for (status, code) in [
            (400, 2),
            (401, 4),
            (403, 4),
            (404, 5),
            (409, 6),
            (410, 1),
            (413, 2),
            (422, 2),
            (429, 1),
            (500, 1),
            (503, 3),
        ] {
            assert_eq!(refused(status).exit().code(), code, "{status}");
        }
    }

    #[test]
    fn a_missing_token_is_told_in_the_words_of_the_command_line() {
        let problem = |slug: &str| Problem {
            kind: format!("{}{slug}", crate::api::wire::problem::TYPES),
            status: 401,
            hint: Some("as the API says".into()),
            ..Problem::default()
        };
        let hint = |slug| CliError::Refused(Box::new(problem(slug))).hint().unwrap();
        assert!(hint("no-token").contains("CONSTELLATION_TOKEN_FILE"));
        assert_eq!(hint("wrong-token"), "as the API says");
    }

    #[test]
    fn a_report_prints_the_chain_once_and_then_the_hint() {
        let error = CliError::NoConnection {
            endpoint: "http://127.0.0.1:1".into(),
            source: io::Error::new(io::ErrorKind::ConnectionRefused, "Connection refused"),
            denied: false,
        };
        let report = error.report();
        assert!(
            report.starts_with("error: no agent answers at http://127.0.0.1:1: Connection refused\nhint: start"),
            "{report}"
        );
        assert_eq!(report.lines().count(), 2);
    }

    #[test]
    fn manifest_errors_come_one_per_line_before_the_sum() {
        let located = ManifestFault {
            source: "web.yaml".into(),
            line: 12,
            column: 9,
            path: "spec.ports[0].published".into(),
            message: "70000 is no port".into(),
            fix: Some("1 to 65535".into()),
            ..ManifestFault::default()
        };
        let refusal = Problem { status: 422, title: "Invalid".into(), errors: vec![located], ..Problem::default() };
        assert_eq!(
            CliError::Refused(Box::new(refusal)).report(),
            "web.yaml:12:9: spec.ports[0].published: 70000 is no port; 1 to 65535\nerror: Invalid\n"
        );
    }

    #[test]
    fn a_fault_without_a_text_names_the_object_and_no_place() {
        let unplaced = ManifestFault {
            source: "svc/db".into(),
            path: "spec.replicas".into(),
            message: "only one".into(),
            ..ManifestFault::default()
        };
        let said = CliError::Manifests(vec![unplaced.clone(), ManifestFault { line: 3, ..unplaced }]).report();
        let wanted =
            "svc/db: spec.replicas: only one\nsvc/db:3: spec.replicas: only one\nerror: 2 errors in the manifests\n";
        assert_eq!(said, wanted);
    }

    #[test]
    fn a_closed_pipe_is_silent() {
        let error = CliError::Output(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((error.exit().code(), error.report().as_str()), (0, ""));
    }

    #[test]
    fn control_characters_of_a_server_do_not_reach_the_terminal() {
        let refusal = Problem { status: 404, detail: "\x1b[2Jgone".into(), ..Problem::default() };
        assert_eq!(CliError::Refused(Box::new(refusal)).report(), "error: gone\n");
    }
}
