//! When the cluster draws a new value of a Secret by itself.
//!
//! Here: [`plan`], from what `rotation.every` says and how far the last value has come to the next [`Step`]. Not here:
//! who uses what ([`super::why::usage`]), drawing (`store::put`), carrying it out (`reconcile::rotation`).
//! Invariants: the age of the newest value decides and nothing else: days of silence are one rotation, and a value
//! whose time lies in the future is young, whatever the clock says. None while an earlier one is on its way: replicas
//! would be replaced for a value that is old before it arrives, and a halted rollout would be driven on.

use crate::model::Period;

use super::why::usage::Rollout;

/// Longest time until the next look: timers stand still while a machine sleeps, cluster time does not.
pub const LOOK: u64 = 10 * 60_000;
/// Time until the next look while something is in the way.
pub const RECHECK: u64 = 30_000;

/// What is declared, and how old the newest value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// `rotation.every`.
    pub every: Period,
    /// When the newest version was made, cluster time in milliseconds.
    pub made_at: u64,
}

impl Schedule {
    /// When the next value is due, cluster time in milliseconds.
    #[must_use]
    pub fn due(&self) -> u64 {
        let every = u64::try_from(self.every.0.as_millis()).unwrap_or(u64::MAX);
        self.made_at.saturating_add(every)
    }
}

/// What is done for one Secret now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It has no schedule.
    Nothing,
    /// A new value is drawn.
    Rotate,
    /// Another look after so many milliseconds.
    Wait(u64),
    /// A new value is due and something is in its way; another look after so many milliseconds.
    Hold(u64),
}

/// Decides for one Secret. `now`: cluster time in milliseconds.
#[must_use]
pub fn plan(schedule: Option<Schedule>, rollout: &Rollout, now: u64) -> Step {
    let Some(schedule) = schedule else { return Step::Nothing };
    match (schedule.due().saturating_sub(now), rollout) {
        (0, Rollout::Complete) => Step::Rotate,
        (0, Rollout::Moving(_) | Rollout::Halted(_)) => Step::Hold(RECHECK),
        (left, _) => Step::Wait(left.min(LOOK)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: u64 = 3_600_000;

    #[test]
    fn a_value_is_drawn_when_it_is_due_and_nothing_is_in_the_way() {
        let day = |made_at| Some(Schedule { every: Period::secs(86_400), made_at });
        let (moving, halted) = (Rollout::Moving("svc/web".into()), Rollout::Halted("svc/web".into()));
        let table = [
            ("no schedule", None, Rollout::Complete, 99 * HOUR, Step::Nothing),
            ("young", day(HOUR), Rollout::Complete, 2 * HOUR, Step::Wait(LOOK)),
            ("about to be due", day(HOUR), Rollout::Complete, 25 * HOUR - 7, Step::Wait(7)),
            ("due to the millisecond", day(HOUR), Rollout::Complete, 25 * HOUR, Step::Rotate),
            ("nobody looked for days", day(HOUR), Rollout::Complete, 500 * HOUR, Step::Rotate),
            ("the last one is on its way", day(HOUR), moving.clone(), 26 * HOUR, Step::Hold(RECHECK)),
            ("the last one is halted", day(HOUR), halted, 26 * HOUR, Step::Hold(RECHECK)),
            ("on its way and young", day(HOUR), moving, 2 * HOUR, Step::Wait(LOOK)),
            ("made in the future", day(90 * HOUR), Rollout::Complete, HOUR, Step::Wait(LOOK)),
            ("made at the end of time", day(u64::MAX), Rollout::Complete, u64::MAX - 1, Step::Wait(1)),
        ];
        for (case, schedule, rollout, now, step) in table {
            assert_eq!(plan(schedule, &rollout, now), step, "{case}");
        }
    }

    fn rollout() -> impl Strategy<Value = Rollout> {
        prop_oneof![
            3 => Just(Rollout::Complete),
            1 => Just(Rollout::Moving(String::new())),
            1 => Just(Rollout::Halted(String::new())),
        ]
    }

    proptest! {
        /// Looks at any moments, in any order of time: the clock may stand still, jump ahead and jump back.
        #[test]
        fn values_come_no_faster_than_declared(
            every in 1..96u64,
            looks in prop::collection::vec((0..2_000u64, rollout()), 1..200),
        ) {
            let mut schedule = Schedule { every: Period::secs(every * 3_600), made_at: 0 };
            let (mut drawn, mut latest) = (Vec::new(), 0);
            for (hours, rollout) in looks {
                let now = hours * HOUR;
                latest = latest.max(now);
                match plan(Some(schedule), &rollout, now) {
                    Step::Rotate => {
                        prop_assert_eq!(&rollout, &Rollout::Complete);
                        prop_assert!(now - schedule.made_at >= every * HOUR);
                        schedule.made_at = now;
                        drawn.push(now);
                        let again = plan(Some(schedule), &rollout, now);
                        prop_assert!(matches!(again, Step::Wait(1..=LOOK)), "{:?} right after one", again);
                    }
                    Step::Wait(next) => prop_assert!((1..=LOOK).contains(&next) && now + next <= schedule.due()),
                    Step::Hold(next) => prop_assert!(next > 0 && now >= schedule.due() && rollout != Rollout::Complete),
                    Step::Nothing => prop_assert!(false, "there is a schedule"),
                }
            }
            prop_assert!(drawn.len() as u64 <= latest / (every * HOUR), "{} in {}", drawn.len(), latest);
        }
    }
}
