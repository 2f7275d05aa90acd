//! When a job of `mode: cron` is due.
//!
//! Here: [`Schedule`], five fields of cron and a time zone, and the times that follow from it. Pure: the rules of the
//! zones are part of the program, so that every node reckons alike whatever its machine knows. Not here: what follows
//! from a time that has come (`plan::jobs`).
//! Where clocks are put forward, what is due in the gap at a fixed time is due right after it; where they are put back,
//! what is due at a fixed time is due once, and what is due every so often goes on. Both days of the month and of the
//! week given: either is enough, as cron has it.

use std::sync::OnceLock;

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{
    Timestamp,
    tz::{TimeZone, TimeZoneDatabase},
};

/// Longest text of one.
const LONGEST: usize = 128;
/// Words for five fields.
const WORDS: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
/// The fields, and what each may be.
const FIELDS: [(&str, &str); 5] = [
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day of the month", "1 to 31"),
    ("month", "1 to 12 or jan to dec"),
    ("day of the week", "0 to 7 or sun to sat"),
];
/// A leap year, from which on a time has to come: 29 February may be eight years away.
const REFERENCE: i64 = 1_704_067_200_000;

/// What is wrong with a schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// It is none.
    #[error("{0}")]
    Fields(String),
    /// No such day ever comes.
    #[error("no such day ever comes")]
    Never,
    /// There is no such zone.
    #[error("there is no time zone of that name")]
    Zone,
}

/// When something is due.
#[derive(Debug, Clone)]
pub struct Schedule {
    cron: Cron,
    zone: TimeZone,
}

impl Schedule {
    /// `*/5 8-18 * * mon-fri`, `@daily`; `Europe/Berlin`, `UTC`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(schedule: &str, zone: &str) -> Result<Self, Wrong> {
        let zone = self::zone(zone)?;
        let cron = fields(schedule)?;
        let made = Self { cron, zone };
        if made.next_due(u64::try_from(REFERENCE).unwrap_or_default()).is_none() {
            return Err(Wrong::Never);
        }
        Ok(made)
    }

    /// The first time after a time, both in milliseconds since 1970; none: too far away.
    #[must_use]
    pub fn next_due(&self, after: u64) -> Option<u64> {
        let from = Timestamp::from_millisecond(i64::try_from(after).ok()?).ok()?.to_zoned(self.zone.clone());
        let next = self.cron.find_next_occurrence(&from, false).ok()?.timestamp().as_millisecond();
        u64::try_from(next).ok().filter(|next| *next > after)
    }

    /// A time as people in that zone write it: `2026-03-29T03:00:00+02:00`.
    #[must_use]
    pub fn told(&self, at: u64) -> String {
        let time = i64::try_from(at).ok().and_then(|at| Timestamp::from_millisecond(at).ok());
        time.map_or_else(
            || "never".into(),
            |time| {
                let zoned = time.to_zoned(self.zone.clone());
                zoned.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
            },
        )
    }
}

/// A time zone by its name.
///
/// # Errors
/// When there is none of that name.
pub fn zone(name: &str) -> Result<TimeZone, Wrong> {
    static RULES: OnceLock<TimeZoneDatabase> = OnceLock::new();
    RULES.get_or_init(TimeZoneDatabase::bundled).get(name).map_err(|_| Wrong::Zone)
}

fn fields(schedule: &str) -> Result<Cron, Wrong> {
    let wrong = |what: String| Err(Wrong::Fields(what));
    let text = schedule.trim();
    if text.len() > LONGEST {
        return wrong(format!("longer than {LONGEST} characters"));
    }
    let five = if text.starts_with('@') {
        match text.to_ascii_lowercase().as_str() {
            "@midnight" => "@daily".to_owned(),
            word if WORDS.contains(&word) => word.to_owned(),
            _ => return wrong(format!("there are {}", WORDS.join(", "))),
        }
    } else {
        let count = text.split_ascii_whitespace().count();
        if count != 5 {
            return wrong(format!("it has {count} fields, not 5"));
        }
        let known = |c: char| c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || "*,-/#".contains(c);
        if let Some(other) = text.chars().find(|c| !known(*c)) {
            return wrong(format!("{other:?} has no place in it"));
        }
        text.to_owned()
    };
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    parser.parse(&five).map_err(|error| {
        // Each by itself, so that the one that is wrong can be named.
        let alone = |at: usize, field: &str| {
            let mut all = ["*"; 5];
            all[at] = field;
            parser.parse(&all.join(" "))
        };
        let mut each = five.split_ascii_whitespace().zip(FIELDS).enumerate();
        let first = each.find(|(at, (field, _))| alone(*at, field).is_err());
        Wrong::Fields(match first {
            Some((_, (field, (name, allowed)))) => {
                format!("{field:?} is no {name}, which is {allowed}, `*`, a list `a,b`, a range `a-b` or a step `*/n`")
            }
            None => error.to_string(),
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> u64 {
        u64::try_from(text.parse::<Timestamp>().unwrap().as_millisecond()).unwrap()
    }
    fn next(schedule: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let schedule = Schedule::parse(schedule, zone).unwrap();
        let mut from = at(after);
        let step = |_| {
            from = schedule.next_due(from).unwrap();
            schedule.told(from)
        };
        (0..count).map(step).collect()
    }

    #[test]
    fn fields_names_ranges_steps_and_words() {
        for (schedule, after, wanted) in [
            ("*/15 * * * *", "2026-01-01T00:07:30Z", "2026-01-01T00:15:00+00:00"),
            ("0 0 * * *", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00+00:00"),
            ("30 8-10/2 * * mon-fri", "2026-01-02T08:30:00Z", "2026-01-02T10:30:00+00:00"),
            ("30 8-10/2 * * mon-fri", "2026-01-02T10:30:00Z", "2026-01-05T08:30:00+00:00"),
            ("0 4 1,15 jan,JUL *", "2026-01-16T00:00:00Z", "2026-07-01T04:00:00+00:00"),
            // Sunday is 0 and 7.
            ("0 0 * * 7", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00+00:00"),
            ("0 0 * * 0", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00+00:00"),
            // Either is enough.
            ("0 0 13 * fri", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00+00:00"),
            ("0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00+00:00"),
            ("@daily", "2026-01-01T10:00:00Z", "2026-01-02T00:00:00+00:00"),
            ("@midnight", "2026-01-01T10:00:00Z", "2026-01-02T00:00:00+00:00"),
            ("@hourly", "2026-01-01T10:00:00Z", "2026-01-01T11:00:00+00:00"),
            ("@weekly", "2026-01-01T10:00:00Z", "2026-01-04T00:00:00+00:00"),
        ] {
            assert_eq!(next(schedule, "UTC", after, 1), [wanted], "{schedule} after {after}");
        }
    }

    #[test]
    fn clocks_that_are_put_forward_skip_nothing_at_a_fixed_time() {
        // 02:00 to 03:00 does not exist on 29 March 2026 in Berlin.
        assert_eq!(
            next("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", 3),
            ["2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]
        );
        assert_eq!(
            next("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:15:00Z", 3),
            ["2026-03-29T01:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00"]
        );
    }

    #[test]
    fn clocks_that_are_put_back_repeat_nothing_at_a_fixed_time() {
        // 02:00 to 03:00 comes twice on 25 October 2026 in Berlin.
        assert_eq!(
            next("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
            ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]
        );
        assert_eq!(
            next("*/30 * * * *", "Europe/Berlin", "2026-10-24T23:45:00Z", 5),
            [
                "2026-10-25T02:00:00+02:00",
                "2026-10-25T02:30:00+02:00",
                "2026-10-25T02:00:00+01:00",
                "2026-10-25T02:30:00+01:00",
                "2026-10-25T03:00:00+01:00"
            ]
        );
        // A zone of the other half of the world, by half an hour.
        assert_eq!(
            next("45 1 * * *", "Australia/Lord_Howe", "2026-04-03T20:00:00Z", 2),
            ["2026-04-05T01:45:00+11:00", "2026-04-06T01:45:00+10:30"]
        );
    }

    #[test]
    fn what_is_no_schedule_says_why() {
        for (schedule, wrong) in [
            ("", "it has 0 fields, not 5"),
            ("* * * *", "it has 4 fields, not 5"),
            ("0 * * * * *", "it has 6 fields, not 5"),
            ("* * * * ?", "'?' has no place in it"),
            ("@reboot", "there are @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly"),
            ("0 0 30 2 *", "no such day ever comes"),
            (
                "30 4 * * mon-fry",
                "\"mon-fry\" is no day of the week, which is 0 to 7 or sun to sat, `*`, a list `a,b`, a range `a-b` or \
                 a step `*/n`",
            ),
        ] {
            assert_eq!(Schedule::parse(schedule, "UTC").unwrap_err().to_string(), wrong, "{schedule}");
        }
        for schedule in ["60 * * * *", "* 24 * * *", "a * * * *", "5-1 * * * *", "*/0 * * * *", "0 0 32 * *"] {
            assert!(matches!(Schedule::parse(schedule, "UTC"), Err(Wrong::Fields(_))), "{schedule}");
        }
        assert_eq!(Schedule::parse("@daily", "Europe/Bielefeld").unwrap_err(), Wrong::Zone);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(schedule in "[0-9a-zA-Z*,/#@ ?-]{0,24}", zone in "[A-Za-z/_]{0,12}") {
            let _ = Schedule::parse(&schedule, &zone);
        }
        #[test]
        fn times_follow_one_another(
            minute in 0u32..60, hour in 0u32..24, step in 1u32..24, fixed in any::<bool>(),
            zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
            start in 1_750_000_000_000u64..1_800_000_000_000,
        ) {
            let text = if fixed { format!("{minute} {hour} * * *") } else { format!("{minute} */{step} * * *") };
            let schedule = Schedule::parse(&text, zone).unwrap();
            let mut from = start;
            for _ in 0..40 {
                let next = schedule.next_due(from).unwrap();
                prop_assert!(next > from && next - from <= 49 * 3_600_000, "{} after {}", next, from);
                prop_assert_eq!(next % 60_000, 0);
                // No time between is passed over.
                prop_assert_eq!(schedule.next_due(from + (next - from) / 2), Some(next));
                from = next;
            }
        }
    }
}
