//! Counting probe answers into verdicts. Pure.
//!
//! Rules: ready after `successThreshold` good answers in a row, not ready after `failureThreshold` bad
//! ones; before the first good answer nothing counts as bad health, the container may be slow to start.
//! Silence of the engine counts as neither: it says nothing of the container.

use std::time::Duration;

use crate::{
    model::service::Readiness,
    plan::agent::report::{Health, Verdict},
};

/// Longest text of a probe that is kept.
const TEXT: usize = 200;

/// What one probe came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It works.
    Good,
    /// It does not; why, for people.
    Bad(String),
    /// Nobody asked it: the engine did not begin the command. Why, for people.
    Silence(String),
}

/// Answers in a row.
#[derive(Debug, Clone)]
pub struct Streak {
    good: u32,
    bad: u32,
    ready: bool,
    was_ready: bool,
    command: bool,
    success: u32,
    failure: u32,
    interval: Duration,
}

impl Streak {
    /// Begins to count.
    #[must_use]
    pub fn new(readiness: &Readiness, was_ready: bool) -> Self {
        Self {
            good: 0,
            bad: 0,
            ready: was_ready,
            was_ready,
            command: readiness.exec.is_some(),
            success: readiness.success_threshold.max(1),
            failure: readiness.failure_threshold.max(1),
            interval: readiness.interval.0.max(Duration::from_millis(100)),
        }
    }

    /// Counts an answer, given so long after the container was seen to run.
    pub fn note(&mut self, answer: Answer, elapsed: Duration) -> Verdict {
        let message = match answer {
            Answer::Good => {
                (self.good, self.bad) = (self.good.saturating_add(1), 0);
                self.ready |= self.good >= self.success;
                self.was_ready |= self.ready;
                String::new()
            }
            Answer::Bad(message) => {
                (self.good, self.bad) = (0, self.bad.saturating_add(1));
                self.ready &= self.bad < self.failure;
                clip(&message)
            }
            Answer::Silence(message) => clip(&message),
        };
        let late = elapsed >= self.interval.saturating_mul(self.failure);
        let health = match (self.ready, self.was_ready, self.bad >= self.failure) {
            (true, _, _) => Health::Healthy,
            (false, true, _) => Health::Unhealthy,
            (false, false, true) if late => Health::Unhealthy,
            (false, false, _) => Health::Starting,
        };
        Verdict { ready: self.ready, health, counts: self.was_ready, message, changes_at: None }
    }

    /// How long to wait before the next probe.
    #[must_use]
    pub fn pause(&self, elapsed: Duration) -> Duration {
        if self.ready || self.was_ready {
            return self.interval;
        }
        // A command costs the engine a process: not as often as a connection.
        let quick = match elapsed.as_secs() {
            0..2 => Duration::from_millis(if self.command { 500 } else { 100 }),
            2..10 => Duration::from_millis(if self.command { 1_000 } else { 250 }),
            10..60 => Duration::from_secs(1),
            _ => self.interval,
        };
        quick.min(self.interval)
    }
}

/// A text as it may be shown: one line, bounded, without control characters.
#[must_use]
pub fn clip(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(readiness: &Readiness, was_ready: bool, answers: &str) -> Vec<(bool, Health, bool)> {
        let mut streak = Streak::new(readiness, was_ready);
        answers
            .chars()
            .enumerate()
            .map(|(n, c)| {
                let answer = match c {
                    '+' => Answer::Good,
                    '-' => Answer::Bad("no".into()),
                    _ => Answer::Silence("the engine gave no answer".into()),
                };
                let v = streak.note(answer, Duration::from_secs(5 * n as u64));
                (v.ready, v.health, v.counts)
            })
            .collect()
    }

    #[test]
    fn thresholds_make_verdicts_and_a_slow_start_is_no_illness() {
        use Health::{Healthy, Starting, Unhealthy};
        let one = Readiness::tcp(80);
        assert_eq!(
            run(&one, false, "--+--+---"),
            [
                (false, Starting, false),
                (false, Starting, false),
                (true, Healthy, true),
                (true, Healthy, true),
                (true, Healthy, true),
                (true, Healthy, true),
                (true, Healthy, true),
                (true, Healthy, true),
                (false, Unhealthy, true),
            ]
        );
        // Never good: said to be unhealthy in time, but no reason for a restart.
        assert_eq!(run(&one, false, "----").last(), Some(&(false, Unhealthy, false)));
        // Good before this agent came: three bad answers are needed as ever.
        assert_eq!(run(&one, true, "--").last(), Some(&(true, Healthy, true)));
        let twice = Readiness { success_threshold: 2, ..one };
        assert_eq!(run(&twice, false, "+-++").last(), Some(&(true, Healthy, true)));
        assert!(!run(&twice, false, "+-+").iter().any(|v| v.0));
    }

    #[test]
    fn silence_of_the_engine_is_neither_good_nor_bad() {
        use Health::{Healthy, Starting, Unhealthy};
        let one = Readiness::tcp(80);
        assert!(run(&one, true, "????????").iter().all(|v| *v == (true, Healthy, true)));
        assert!(run(&one, false, "????????").iter().all(|v| *v == (false, Starting, false)));
        // What was counted before it stays counted, on both sides.
        assert_eq!(run(&one, true, "--??-").last(), Some(&(false, Unhealthy, true)));
        assert_eq!(run(&one, true, "--?+?--").last(), Some(&(true, Healthy, true)));
        let twice = Readiness { success_threshold: 2, ..one };
        assert_eq!(run(&twice, false, "+?+").last(), Some(&(true, Healthy, true)));
    }

    #[test]
    fn probes_are_quick_until_the_first_good_one() {
        let mut streak = Streak::new(&Readiness::tcp(80), false);
        assert_eq!(streak.pause(Duration::ZERO), Duration::from_millis(100));
        assert_eq!(streak.pause(Duration::from_secs(5)), Duration::from_millis(250));
        streak.note(Answer::Good, Duration::ZERO);
        assert_eq!(streak.pause(Duration::ZERO), Duration::from_secs(5));
        assert_eq!(clip("a\u{1b}[31m\nb"), "a[31mb");
    }
}
