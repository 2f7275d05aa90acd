//! The last words of a container that ended.
//!
//! Not here: when they are asked for (`look`).

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use tokio::time::timeout;

use super::{Agent, containers::nanos};
use crate::{
    reconcile::prober::streak::clip,
    runtime::{Container, LogQuery},
};

/// Lines kept of the log of a container that ended.
const TAIL: usize = 10;
/// Longest wait for them: a restart is worth more.
const TAIL_WAIT: Duration = Duration::from_secs(2);

impl Agent {
    /// The last lines of a container's last run.
    pub(super) async fn tail(&self, key: &Arc<str>, container: &Container) -> Vec<String> {
        let from = self.with(key, |m| {
            let exit = m.attempts.last_exit.as_ref();
            run_began(&container.started_at, exit.map(|e| e.finished_at.as_str()))
        });
        let tail = u32::try_from(TAIL).unwrap_or(u32::MAX);
        let since = from.map(|at| at.div_euclid(1_000_000_000));
        let query = LogQuery { tail: Some(tail), since, timestamps: true, ..LogQuery::default() };
        let mut log = self.runtime.logs(container.id.to_string(), query);
        let mut text = Vec::new();
        let reading = async {
            while let Some(Ok(chunk)) = log.next().await {
                text.extend_from_slice(&chunk.bytes);
                // Ten lines may be long ones.
                if text.len() > 64 << 10 {
                    break;
                }
            }
        };
        let _ = timeout(TAIL_WAIT, reading).await;
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<String> =
            text.lines().filter_map(|l| line_of_run(l, from)).map(clip).filter(|l| !l.is_empty()).collect();
        lines.into_iter().rev().take(TAIL).rev().collect()
    }
}

/// A moment between a container's run before and its last one, nanoseconds since 1970. An engine notes a start
/// when the first lines are written already, and an end when the last ones are not yet: half-way tells the
/// runs apart.
fn run_began(started: &str, finished_before: Option<&str>) -> Option<i64> {
    let started = nanos(started)?;
    let before = finished_before.and_then(nanos).filter(|end| *end <= started);
    Some(before.map_or(started - 500_000_000, |end| end + (started - end) / 2))
}

/// A line without its time; none when that is before the run.
fn line_of_run(line: &str, from: Option<i64>) -> Option<&str> {
    match line.split_once(' ').map(|(stamp, text)| (nanos(stamp), text)) {
        Some((Some(at), text)) => from.is_none_or(|from| at >= from).then_some(text),
        // No engine's time: the line goes on from the piece before it.
        Some((None, _)) | None => Some(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutate::{Mutations, survives_text};

    #[test]
    fn moments_survive_any_engine() {
        let corpus = ["2026-01-01T00:00:01.4Z new words", "1677-09-21T00:12:43.2Z", "2262-04-11T23:47:16Z a"];
        survives_text(Mutations::of("moments", corpus, 2_000), |line| {
            let stamp = line.split(' ').next().unwrap_or_default();
            let from = run_began(stamp, Some("2025-12-31T00:00:00Z")).or(run_began(stamp, Some(stamp)));
            let kept = line_of_run(line, from).unwrap_or_default();
            assert!(line.ends_with(kept));
        });
    }

    #[test]
    fn the_lines_of_a_run_are_told_from_those_before_it() {
        let from = run_began("2026-01-01T00:00:01.4Z", Some("2026-01-01T00:00:01.0Z"));
        for (case, line, found) in [
            ("the run before", "2026-01-01T00:00:00.9Z old", None),
            ("written late by it", "2026-01-01T00:00:01.1Z old", None),
            ("written before its start was noted", "2026-01-01T00:00:01.35Z new words", Some("new words")),
            ("without a time", "the rest of it", Some("the rest of it")),
        ] {
            assert_eq!(line_of_run(line, from), found, "{case}");
        }
        assert_eq!(line_of_run("2026-01-01T00:00:01.35Z a", run_began("2026-01-01T00:00:01.4Z", None)), Some("a"));
        assert_eq!(line_of_run("2026-01-01T00:00:01Z a", run_began("", None)), Some("a"), "never started");
    }
}
