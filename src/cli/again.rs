//! Whether a stream that ended is opened again: one answer for `get -w` and `events -w`.
//!
//! Here: [`Again`], which counts and waits. Not here: the wait for a change, which reads three streams under one
//! deadline (`follow`).
//! Invariant: what heals by itself is waited for (an agent that restarts, one that is full or without a quorum), and
//! not for ever; a position that is not kept any more is told, never passed over in silence.

use std::time::Duration;

use tokio::time::Instant;

use super::failure::CliError;

/// Failures in a row before it gives up: about half a minute. A stream that was open for a while is no failure.
const LIMIT: u32 = 10;
/// Pause after the first; each further one is longer by as much.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest pause, in first ones.
const LONGEST: u32 = 8;
/// A stream that lived this long was none that failed.
const LIVED: Duration = Duration::from_secs(30);

/// From where a stream is opened again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// Where it ended.
    Last,
    /// Somewhere else: what followed is not kept (410).
    Missed,
}

/// How often a stream ended without a line between.
#[derive(Debug, Default)]
pub struct Again {
    ended: u32,
    /// When it was opened again last.
    since: Option<Instant>,
}

impl Again {
    /// A line came.
    pub fn heard(&mut self) {
        self.ended = 0;
    }

    /// Waits after a stream ended.
    ///
    /// # Errors
    /// What it ended with, when that does not heal or did not for long.
    pub async fn after(&mut self, ended: Result<(), CliError>) -> Result<From, CliError> {
        let lived = self.since.is_some_and(|since| since.elapsed() >= LIVED);
        if lived && matches!(ended, Ok(()) | Err(CliError::Broken { .. })) {
            self.ended = 0;
        }
        self.ended += 1;
        let from = match ended {
            Ok(()) => From::Last,
            Err(error) if self.ended >= LIMIT => return Err(error),
            Err(CliError::Broken { .. } | CliError::NoConnection { denied: false, .. } | CliError::Deadline { .. }) => {
                From::Last
            }
            Err(CliError::Refused(problem)) if matches!(problem.status, 429 | 503) => From::Last,
            Err(CliError::Refused(problem)) if problem.status == 410 => From::Missed,
            Err(error) => return Err(error),
        };
        tokio::time::sleep(PAUSE * self.ended.min(LONGEST)).await;
        self.since = Some(Instant::now());
        Ok(from)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::api::wire::Problem;

    fn refused(status: u16) -> CliError {
        CliError::Refused(Box::new(Problem { status, ..Problem::default() }))
    }

    fn away(denied: bool) -> CliError {
        CliError::NoConnection { endpoint: "x".into(), source: io::ErrorKind::NotFound.into(), denied }
    }

    #[tokio::test(start_paused = true)]
    async fn what_heals_is_tried_again_and_what_does_not_is_told() {
        for (ended, from) in [
            (Ok(()), Some(From::Last)),
            (Err(away(false)), Some(From::Last)),
            (Err(refused(429)), Some(From::Last)),
            (Err(refused(503)), Some(From::Last)),
            (Err(refused(410)), Some(From::Missed)),
            (Err(away(true)), None),
            (Err(refused(403)), None),
            (Err(refused(404)), None),
        ] {
            let said = format!("{ended:?}");
            assert_eq!(Again::default().after(ended).await.ok(), from, "{said}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_gives_up_in_the_end_unless_something_was_heard() {
        let mut again = Again::default();
        for _ in 1..LIMIT {
            assert!(again.after(Err(refused(503))).await.is_ok());
        }
        again.heard();
        for _ in 1..LIMIT {
            assert!(again.after(Err(refused(503))).await.is_ok());
        }
        assert!(again.after(Ok(())).await.is_ok(), "a quiet end is none that must be told");
        assert!(again.after(Err(refused(503))).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_stream_outlives_any_number_of_restarts() {
        let mut again = Again::default();
        let broken = || CliError::Broken { endpoint: "x".into(), what: "a watch".into(), source: "it ended".into() };
        for _ in 0..3 * LIMIT {
            tokio::time::sleep(LIVED).await;
            assert!(again.after(Err(broken())).await.is_ok());
            assert!(again.after(Err(away(false))).await.is_ok(), "the agent starts again");
        }
    }
}
