//! Which texts an engine is given as names. Pure; real engine and fake refuse the same.

use super::RuntimeError;
use crate::model::reference::ImageReference;

/// Names and ids become parts of a path: only what the engine itself takes for one gets there.
pub(super) fn identifier(text: &str, what: &str) -> Result<(), RuntimeError> {
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if first && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')) {
        return Ok(());
    }
    Err(RuntimeError::Refused { message: format!("{text:?} is no name of a {what}") })
}

/// A reference of an image.
pub(super) fn reference(text: &str) -> Result<ImageReference, RuntimeError> {
    ImageReference::parse(text).map_err(|e| RuntimeError::Refused { message: e.to_string() })
}

/// Linux's signals from 1 on.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];
/// First and last of the real-time signals, as engines count them.
const REAL_TIME: [u8; 2] = [34, 64];

/// Number of a signal as engines take it: `15`, `TERM`, `SIGTERM`, `SIGRTMIN+3`.
pub(super) fn signal(text: &str) -> Option<u8> {
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    let upper = text.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    let [first, last] = REAL_TIME;
    let offset = |rest: &str| if rest.is_empty() { Some(0) } else { rest.get(1..)?.parse::<u8>().ok() };
    if let Some(rest) = bare.strip_prefix("RTMIN") {
        return first.checked_add(offset(rest)?);
    }
    if let Some(rest) = bare.strip_prefix("RTMAX") {
        return last.checked_sub(offset(rest)?);
    }
    SIGNALS.iter().zip(1..).find(|(name, _)| **name == bare).map(|(_, number)| number)
}

/// Whether a text is the id of an image, `sha256:…`, and no reference.
pub(super) fn is_image_id(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_has_a_number_however_it_is_written() {
        for (text, number) in [
            ("15", Some(15)),
            ("SIGTERM", Some(15)),
            ("term", Some(15)),
            ("HUP", Some(1)),
            ("SIGKILL", Some(9)),
            ("SIGWINCH", Some(28)),
            ("SIGSYS", Some(31)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("RTMIN", Some(34)),
            ("SIGNONE", None),
            ("", None),
        ] {
            assert_eq!(signal(text), number, "{text}");
        }
    }

    #[test]
    fn a_name_cannot_leave_its_place_in_a_path() {
        for good in ["web-1-abcde", "a_b.c", "0123"] {
            assert!(identifier(good, "container").is_ok(), "{good}");
        }
        for bad in ["", "../info", "a/b", "a?b", "a%2f", "-a", ".a", "a b"] {
            assert!(identifier(bad, "container").is_err(), "{bad}");
        }
    }
}
