//! What a command does in the fake: what it says and when it ends.

/// What a command does, in a container or executed there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// What it writes as soon as it runs: whether to standard error, and the text.
    pub says: Vec<(bool, String)>,
    /// When it ends.
    pub ends: Ends,
}

/// When a program ends, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ends {
    /// At once, with this code.
    ByItself(i64),
    /// At one of these signals, with its code; the others it ignores.
    At(Vec<(&'static str, i64)>),
    /// It never begins: there is no such program.
    Missing,
}

/// Text to standard output.
#[must_use]
pub fn out(text: &str) -> (bool, String) {
    (false, text.to_owned())
}

/// Text to standard error.
#[must_use]
pub fn err(text: &str) -> (bool, String) {
    (true, text.to_owned())
}
