//! Text of others within a line of ours: what could steer a terminal, or look like another text, is written out.

use std::borrow::Cow;

/// The same with what could steer a terminal written out, `\u{1b}[2J`: where it matters that it was there.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    let steers = |c: char| c.is_control() || reorders(c);
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let written = |c: char| if steers(c) { c.escape_unicode().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(written).collect())
}

/// The same of a text that is ours.
#[must_use]
pub fn made_visible(text: String) -> String {
    match visible(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(written) => written,
    }
}

/// Characters that reorder what stands around them: a name could look like another one.
#[must_use]
pub const fn reorders(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_steer_a_terminal_is_written_out() {
        assert_eq!(visible("a\x1b[2J\nb\u{202e}ß"), "a\\u{1b}[2J\\u{a}b\\u{202e}ß");
        assert!(matches!(visible("svc/web ✓"), Cow::Borrowed(_)));
        assert_eq!(made_visible("a\u{85}".into()), "a\\u{85}");
        assert_eq!(made_visible("a".into()), "a");
    }
}
