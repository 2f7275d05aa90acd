//! A command in a container.
//!
//! Two things take time and mean different things: the engine, until the command runs, and the command.
//! A loaded engine needs seconds to begin a process; that is no fault of what it begins. So the caller's
//! limit counts from when the engine says that the process is there, and the engine has its own
//! ([`limits::EXEC`]). Not here: what follows (`reconcile::prober`).
//! Invariant: [`RuntimeError::CommandHung`] is said of a command that the engine saw running for its
//! whole limit, and of nothing else.

use std::{
    collections::HashMap,
    sync::{MutexGuard, PoisonError},
    time::Duration,
};

use bollard::{exec::StartExecResults, models::ExecConfig};
use futures::StreamExt as _;
use tokio::time::{Instant, timeout_at};

use super::{Engine, error::Subject};
use crate::runtime::{ExecResult, RuntimeError, limits, names::identifier};

/// Output of a command that is kept: the end of it.
const EXEC_OUTPUT_MAX: usize = 4 * 1024;
/// Commands whose end was not seen that are remembered: containers that somebody removed take theirs along.
const BEGUN: usize = 1_024;
/// Between two looks at a command whose output has ended: the engine notes the code a moment later.
const ENDING: Duration = Duration::from_millis(5);
/// The longest of these pauses.
const ENDING_MAX: Duration = Duration::from_millis(200);

/// The longest wait for output of a command that has ended.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A container and a command in it.
pub(super) type Key = (String, Vec<String>);

/// A command whose end was not seen yet.
pub(super) struct Begun {
    /// The engine's id of it.
    exec: String,
    /// When the engine was asked to run it.
    asked: Instant,
    /// Since when the engine is known to run it.
    since: Option<Instant>,
}

impl Engine {
    pub(super) async fn exec(
        &self,
        id: &str,
        command: Vec<String>,
        limit: Duration,
    ) -> Result<ExecResult, RuntimeError> {
        identifier(id, "container")?;
        let key = (id.to_owned(), command);
        self.last_one_ended(&key, limit).await?;
        let (subject, command) = (Subject::Container(id), &key.1);
        let config = ExecConfig {
            cmd: Some(command.clone()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..ExecConfig::default()
        };
        let made = self.call(limits::EXEC, subject, |d| async move { d.create_exec(id, config).await }).await?;
        let exec = made.id.as_str();
        // Before it begins: this call may be given up at any time from here on.
        let asked = Instant::now();
        remember(&mut self.commands(), key.clone(), Begun { exec: exec.to_owned(), asked, since: None });
        let started = self.call(limits::EXEC, subject, |d| async move { d.start_exec(exec, None).await }).await?;
        let mut output = match started {
            StartExecResults::Attached { output, .. } => Some(output),
            StartExecResults::Detached => None,
        };
        let pace = (limit / 8).clamp(Duration::from_millis(20), Duration::from_secs(1));
        let (mut look_at, mut since, mut ending) = (Instant::now() + pace, None, ENDING);
        let mut kept = Vec::new();
        let code = loop {
            // Read to the end even when enough is kept. The clock is asked as well: a command that
            // never stops talking always has a piece ready.
            if let Some(pieces) = &mut output
                && Instant::now() < look_at
            {
                match timeout_at(look_at, pieces.next()).await {
                    Ok(Some(piece)) => {
                        let piece = piece.map_err(|error| self.translated(&error, subject))?;
                        keep(&mut kept, &piece.into_bytes());
                        continue;
                    }
                    Ok(None) => output = None,
                    Err(_) => {}
                }
            }
            let state = self.call(limits::INSPECT, subject, |d| async move { d.inspect_exec(exec).await }).await?;
            if let Some(code) = state.exit_code.filter(|_| state.running != Some(true)) {
                break code;
            }
            let now = Instant::now();
            match since {
                Some(since) if now >= since + limit => return Err(limits::hung(command, limit)),
                Some(since) => look_at = since + limit,
                None if runs(state.running, state.pid) => {
                    since = Some(now);
                    look_at = now + limit;
                    if let Some(begun) = self.commands().get_mut(&key) {
                        begun.since = since;
                    }
                }
                None if asked.elapsed() >= limits::EXEC.limit => return Err(limits::EXEC.missed()),
                None => look_at = now + pace,
            }
            if output.is_none() {
                tokio::time::sleep(ending).await;
                ending = (ending * 2).min(ENDING_MAX);
            }
        };
        self.commands().remove(&key);
        // It ended between two looks: what it said last may still be on its way. Not for long: what it left
        // running in the background may hold its output open.
        let until = Instant::now() + LAST_WORDS;
        while let Some(pieces) = &mut output
            && Instant::now() < until
            && let Ok(Some(Ok(piece))) = timeout_at(until, pieces.next()).await
        {
            keep(&mut kept, &piece.into_bytes());
        }
        Ok(ExecResult { code, output: String::from_utf8_lossy(&kept).into_owned() })
    }

    /// Whether the same command may begin: the last run of it, whose end nobody saw, is over.
    async fn last_one_ended(&self, key: &Key, limit: Duration) -> Result<(), RuntimeError> {
        let Some(exec) = self.commands().get(key).map(|b| b.exec.clone()) else { return Ok(()) };
        let subject = Subject::Container(&key.0);
        let found = self.find(limits::INSPECT, subject, |d| async move { d.inspect_exec(&exec).await }).await?;
        let mut commands = self.commands();
        let Some(found) = found.filter(|e| e.running == Some(true)) else {
            commands.remove(key);
            return Ok(());
        };
        let now = Instant::now();
        // The engine was slow with it, and had been given up: its time begins when it is seen.
        let since = match commands.get_mut(key) {
            Some(begun) if runs(found.running, found.pid) => *begun.since.get_or_insert(now),
            Some(_) | None => now,
        };
        Err(if now >= since + limit { limits::still_runs(&key.1) } else { limits::EXEC.missed() })
    }

    pub(super) fn commands(&self) -> MutexGuard<'_, HashMap<Key, Begun>> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a piece of output; what came first makes room.
fn keep(kept: &mut Vec<u8>, piece: &[u8]) {
    kept.extend_from_slice(&piece[piece.len().saturating_sub(EXEC_OUTPUT_MAX)..]);
    kept.drain(..kept.len().saturating_sub(EXEC_OUTPUT_MAX));
}

/// Remembers a command, and forgets the oldest when there are too many.
fn remember(commands: &mut HashMap<Key, Begun>, key: Key, begun: Begun) {
    commands.insert(key, begun);
    if commands.len() > BEGUN
        && let Some(oldest) = commands.iter().min_by_key(|(_, b)| b.asked).map(|(key, _)| key.clone())
    {
        commands.remove(&oldest);
    }
}

/// Whether a process is there: an engine says "running" before there is one.
fn runs(running: Option<bool>, pid: Option<i64>) -> bool {
    running == Some(true) && pid.is_some_and(|pid| pid > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_output_the_end_is_kept() {
        let mut kept = b"first".to_vec();
        keep(&mut kept, &[b'a'; EXEC_OUTPUT_MAX - 4]);
        assert_eq!((kept.len(), &kept[..5]), (EXEC_OUTPUT_MAX, &b"irsta"[..]));
        keep(&mut kept, &[&[b'b'; 2 * EXEC_OUTPUT_MAX][..], b"last"].concat());
        assert_eq!((kept.len(), &kept[kept.len() - 5..]), (EXEC_OUTPUT_MAX, &b"blast"[..]));
    }

    #[test]
    fn of_commands_whose_end_nobody_sees_the_newest_are_remembered() {
        let (mut commands, began) = (HashMap::new(), Instant::now());
        for n in 0..BEGUN + 10 {
            let asked = began + Duration::from_secs(u64::try_from(n).unwrap());
            remember(&mut commands, (format!("c{n}"), vec![]), Begun { exec: "e".into(), asked, since: None });
        }
        assert_eq!(commands.len(), BEGUN);
        assert!(!commands.contains_key(&("c9".into(), vec![])) && commands.contains_key(&("c10".into(), vec![])));
    }
}
