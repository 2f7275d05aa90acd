//! Words and numbers for people: cleaned text, ages, times, tables.
//!
//! Here: pure functions from values to text. Not here: where the text goes (`screen`).
//! Invariant: whatever came from a server passes [`clean`] before it is printed.

use std::borrow::Cow;

use comfy_table::{ContentArrangement, Table};

use crate::model::visible::reorders;
pub use crate::model::visible::visible;

/// Removes what could steer a terminal: escape sequences whole, then every other control character.
/// A tab stays; a line break becomes a space.
#[must_use]
pub fn clean(text: &str) -> Cow<'_, str> {
    let steers = |c: char| (c.is_control() && c != '\t') || reorders(c);
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => skip_escape(&mut rest),
            '\u{9b}' => skip_csi(&mut rest),
            '\n' => out.push(' '),
            '\t' => out.push('\t'),
            c if c.is_control() || reorders(c) => {}
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// A line of a log for a terminal: its colours (SGR) stay and end with it, all else that steers goes.
#[must_use]
pub fn coloured_line(line: &str) -> Cow<'_, str> {
    if !line.contains("\u{1b}[") {
        return clean(line);
    }
    let (mut out, mut coloured, mut rest) = (String::with_capacity(line.len()), false, line);
    // From one colour to the next: between them nothing may stay but text.
    while let Some((at, end)) = colour(rest) {
        out.push_str(&clean(&rest[..at]));
        out.push_str(&rest[at..end]);
        coloured = true;
        rest = &rest[end..];
    }
    out.push_str(&clean(rest));
    if coloured {
        out.push_str("\u{1b}[0m");
    }
    Cow::Owned(out)
}

/// Where the first whole sequence of colours begins and ends: `ESC [`, digits, `;` and `:`, `m`.
#[must_use]
pub fn colour(text: &str) -> Option<(usize, usize)> {
    text.match_indices("\u{1b}[").find_map(|(at, _)| {
        let body = &text[at + 2..];
        let length = body.bytes().take_while(|b| b.is_ascii_digit() || matches!(b, b';' | b':')).count();
        (body.as_bytes().get(length) == Some(&b'm')).then_some((at, at + 2 + length + 1))
    })
}

/// JSON text without characters that could steer a terminal. `serde_json` escapes those below U+0020; the
/// rest stands only within strings, where an escape means the same.
#[must_use]
pub fn json(text: &str) -> Cow<'_, str> {
    use std::fmt::Write as _;
    let steers = |c: char| matches!(c, '\u{7f}'..='\u{9f}' | '\u{61c}' | '\u{200e}' | '\u{200f}') || reorders(c);
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let escaped = text.chars().fold(String::with_capacity(text.len() + 16), |mut out, c| {
        if steers(c) {
            // Writing to a String cannot fail; all of them have four digits.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
        out
    });
    Cow::Owned(escaped)
}

fn skip_escape(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match rest.peek().copied() {
        Some('[') => {
            rest.next();
            skip_csi(rest);
        }
        // OSC, DCS, PM, APC: up to BEL or ESC \, and never past a line.
        Some(']' | 'P' | '^' | '_') => {
            rest.next();
            while let Some(c) = rest.peek().copied() {
                if c == '\n' {
                    return;
                }
                rest.next();
                if c == '\u{7}' || c == '\u{9c}' {
                    return;
                }
                if c == '\u{1b}' {
                    if rest.peek() == Some(&'\\') {
                        rest.next();
                    }
                    return;
                }
            }
        }
        // Two- and three-character sequences: intermediates, then one final character.
        Some(c) if (' '..='~').contains(&c) => {
            while let Some(c) = rest.next_if(|c| (' '..='~').contains(c)) {
                if !(' '..='/').contains(&c) {
                    return;
                }
            }
        }
        _ => {}
    }
}

fn skip_csi(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    while let Some(c) = rest.next_if(|c| (' '..='~').contains(c)) {
        if ('@'..='~').contains(&c) {
            return;
        }
    }
}

/// `3s`, `4m10s`, `25m`, `3h20m`, `26h`, `12d`. Two units only while both still matter.
#[must_use]
pub fn duration(millis: u64) -> String {
    let seconds = millis / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |a: u64, unit: &str, b: u64, small: &str| {
        if b == 0 { format!("{a}{unit}") } else { format!("{a}{unit}{b}{small}") }
    };
    match seconds {
        0..60 => format!("{seconds}s"),
        60..600 => two(minutes, "m", seconds % 60, "s"),
        600..3600 => format!("{minutes}m"),
        3600..36_000 => two(hours, "h", minutes % 60, "m"),
        36_000..172_800 => format!("{hours}h"),
        _ => format!("{days}d"),
    }
}

/// How times are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// As ages, seen from this moment in milliseconds since 1970.
    RelativeTo(u64),
    /// As RFC 3339, in UTC.
    Absolute,
}

impl Times {
    /// Ages from now, or absolute.
    #[must_use]
    pub fn new(absolute: bool) -> Self {
        if absolute { Self::Absolute } else { Self::RelativeTo(now()) }
    }
    /// A moment, in milliseconds since 1970: `3m12s` or `2026-09-03T02:00:00Z`.
    #[must_use]
    pub fn at(self, moment: u64) -> String {
        match self {
            Self::RelativeTo(now) => duration(now.saturating_sub(moment)),
            Self::Absolute => absolute(moment),
        }
    }
    /// `3m ago`, `in 20s`, or the moment.
    #[must_use]
    pub fn around(self, moment: u64) -> String {
        match self {
            Self::RelativeTo(now) if moment > now => format!("in {}", duration(moment - now)),
            Self::RelativeTo(now) => format!("{} ago", duration(now - moment)),
            Self::Absolute => absolute(moment),
        }
    }
}

/// The wall clock, milliseconds since 1970.
#[must_use]
pub fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}

/// RFC 3339 in UTC, to the second.
#[must_use]
pub fn absolute(moment: u64) -> String {
    i64::try_from(moment)
        .ok()
        .and_then(|m| jiff::Timestamp::from_millisecond(m).ok())
        .map_or_else(|| "-".into(), |t| t.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// `12:01:07` of a moment, local time.
#[must_use]
pub fn clock(moment: u64) -> String {
    i64::try_from(moment)
        .ok()
        .and_then(|m| jiff::Timestamp::from_millisecond(m).ok())
        .map_or_else(|| "-".into(), |t| t.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S").to_string())
}

/// `-` for nothing.
#[must_use]
pub fn or_dash(text: &str) -> Cow<'_, str> {
    if text.is_empty() { Cow::Borrowed("-") } else { clean(text) }
}

/// Columns of text, two spaces apart, without lines; `indent` spaces before each row.
/// Nothing is wrapped or cut: a row is a line, for grep and for scripts.
#[must_use]
pub fn table<C: AsRef<str>>(indent: usize, header: &[&str], rows: &[Vec<C>]) -> String {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    if !header.is_empty() {
        table.set_header(header.iter().copied());
    }
    for row in rows {
        table.add_row(row.iter().map(|cell| clean(cell.as_ref()).into_owned()));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    if rows.is_empty() && header.is_empty() {
        return String::new();
    }
    let pad = " ".repeat(indent);
    table.lines().map(|line| format!("{pad}{}\n", line.trim_end())).collect()
}

/// The widths of [`table`]'s columns.
#[must_use]
pub fn widths<C: AsRef<str>>(header: &[&str], rows: &[Vec<C>]) -> Vec<usize> {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(clean(cell.as_ref()).chars().count());
        }
    }
    widths
}

/// A further row under a table whose widths are known; what is wider pushes the rest to the right.
#[must_use]
pub fn row<C: AsRef<str>>(widths: &[usize], cells: &[C]) -> String {
    use std::fmt::Write as _;
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        // Writing to a String cannot fail.
        let _ = write!(line, "{:<width$}  ", clean(cell.as_ref()));
    }
    line.truncate(line.trim_end().len());
    line
}

/// `1 object`, `2 objects`.
#[must_use]
pub fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_steers_no_terminal_and_says_the_same() {
        let value = serde_json::json!({
            "name": "a\u{9b}31mred\u{7f}", "bidi\u{202e}": ["x\u{2066}y\u{200f}z\u{61c}"], "plain": "größer \u{1f600} \u{1b}[0m\n",
        });
        for text in [serde_json::to_string(&value).unwrap(), serde_json::to_string_pretty(&value).unwrap()] {
            let said = json(&text);
            let harmless = |c: char| (c == '\n' || !c.is_control()) && !reorders(c) && !"\u{200f}\u{61c}".contains(c);
            assert!(said.chars().all(harmless), "{said:?}");
            assert!(said.contains("a\\u009b31mred\\u007f") && said.contains("größer"), "{said}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&said).unwrap(), value);
        }
        assert!(matches!(json("{\"a\":\"größer\"}"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_further_row_stands_under_its_columns() {
        let (header, rows) = (["NAME", "STATUS", "AGE"], vec![vec!["größer", "Ready", "1s"]]);
        let widths = widths(&header, &rows);
        let whole = table(0, &header, &rows);
        assert_eq!(whole.lines().nth(1), Some(row(&widths, &rows[0]).as_str()));
        assert_eq!(row(&widths, &["a", "NotReady", "2s"]), "a       NotReady  2s");
    }

    #[test]
    fn nothing_that_steers_a_terminal_is_left() {
        for (dirty, cleaned) in [
            ("plain", "plain"),
            ("\x1b[31mred\x1b[0m", "red"),
            ("\x1b]0;title\x07after", "after"),
            ("\x1b]8;;http://x\x1b\\link", "link"),
            ("\x1b(Bascii", "ascii"),
            ("\x1b", ""),
            ("\u{9b}2Jgone", "gone"),
            ("two\nlines\r", "two lines"),
            ("tab\tstays", "tab\tstays"),
            ("bell\x07 back\x08", "bell back"),
            ("nul\0", "nul"),
            ("a\u{202e}b", "ab"),
            ("ümläut ✓", "ümläut ✓"),
        ] {
            assert_eq!(clean(dirty), cleaned, "{dirty:?}");
        }
    }

    #[test]
    fn a_log_keeps_its_colours_and_steers_nothing_else() {
        for (line, shown) in [
            ("plain\ttext", "plain\ttext"),
            ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m\x1b[0m"),
            ("\x1b[1;38:5:4mblue", "\x1b[1;38:5:4mblue\x1b[0m"),
            ("\x1b[2Jgone\x07", "gone"),
            ("\x1b[2J\x1b[31mred\x1b]0;title\x07", "\x1b[31mred\x1b[0m"),
            ("over\rwritten", "overwritten"),
            ("\x1b[31", ""),
            ("\x1b]0;\x1b[32mtitle\x07x", "\x1b[32mtitlex\x1b[0m"),
            ("\u{9b}2Jgone\x1b[0m", "gone\x1b[0m\x1b[0m"),
        ] {
            assert_eq!(coloured_line(line), shown, "{line:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn clean_text_has_no_controls_and_cleaning_again_changes_nothing(text in "(.|\\x1b\\[|\\x1b\\[3[0-9]m|\\x1b\\]){0,32}") {
            let once = clean(&text).into_owned();
            proptest::prop_assert!(!once.chars().any(|c| c.is_control() && c != '\t'));
            proptest::prop_assert_eq!(clean(&once), once.as_str());
            let log = coloured_line(&text).into_owned();
            let colourless = std::iter::successors(Some(log), |l| colour(l).map(|(at, end)| format!("{}{}", &l[..at], &l[end..])));
            let bare = colourless.last().unwrap_or_default();
            proptest::prop_assert!(!bare.chars().any(|c| c.is_control() && c != '\t'), "{:?}", bare);
        }
    }

    #[test]
    fn ages_lose_detail_as_they_grow() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (250, "4m10s"),
            (1500, "25m"),
            (3600, "1h"),
            (12_000, "3h20m"),
            (93_600, "26h"),
            (1_036_800, "12d"),
        ] {
            assert_eq!(duration(seconds * 1000), text, "{seconds}");
        }
    }

    #[test]
    fn moments_are_ages_or_utc() {
        let times = Times::RelativeTo(100_000);
        assert_eq!((times.at(90_000), times.around(90_000)), ("10s".into(), "10s ago".into()));
        assert_eq!((times.at(110_000), times.around(110_000)), ("0s".into(), "in 10s".into()));
        assert_eq!(Times::Absolute.at(1_788_400_000_000), "2026-09-03T01:46:40Z");
    }

    #[test]
    fn tables_have_no_trailing_blanks_and_one_line_per_row() {
        let text = table(2, &["NAME", "AGE"], &[vec!["web", "3m"], vec!["postgres\n", "-"]]);
        assert_eq!(text, "  NAME       AGE\n  web        3m\n  postgres   -\n");
    }
}
