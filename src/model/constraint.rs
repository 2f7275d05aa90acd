//! The small language of `placement.constraints`: text → value, and what it says of a node.
//!
//! `node.labels.KEY`, `node.role`, `node.hostname` or `node.arch`, then `== value`, `!= value`,
//! `in (a, b)` or `exists`. A missing label is equal to nothing, so `!=` holds for it.
//! Used by `manifest` (refuses at the door what cannot be read) and `plan::scheduler` (decides).

use std::{fmt, str::FromStr};

/// One constraint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    /// What is looked at.
    pub subject: Subject,
    /// What must hold for it.
    pub test: Test,
}

/// What of a node is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A label.
    Label(String),
    /// Its roles: any of them may match.
    Role,
    /// Its name.
    Hostname,
    /// Architecture of its engine, as Docker calls it: `amd64`, `arm64`.
    Arch,
}

/// What must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// It is this.
    Is(String),
    /// It is not this; a missing one is not.
    IsNot(String),
    /// It is one of these.
    In(Vec<String>),
    /// It is there.
    Exists,
}

/// What is wrong with a constraint, with an example of a right one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a constraint: {problem}; write it like \"node.labels.gpu == intel\"")]
pub struct ConstraintError {
    /// What stood there.
    pub text: String,
    /// What is wrong.
    pub problem: String,
}

impl Constraint {
    /// Whether it holds, given every value that the node has for the subject (none: it has no such).
    #[must_use]
    pub fn holds(&self, values: &[&str]) -> bool {
        match &self.test {
            Test::Is(wanted) => values.contains(&wanted.as_str()),
            Test::IsNot(unwanted) => !values.contains(&unwanted.as_str()),
            Test::In(wanted) => values.iter().any(|v| wanted.iter().any(|w| w == v)),
            Test::Exists => !values.is_empty(),
        }
    }
}

impl FromStr for Constraint {
    type Err = ConstraintError;
    fn from_str(text: &str) -> Result<Self, ConstraintError> {
        let wrong = |problem: &str| ConstraintError { text: text.into(), problem: problem.into() };
        let trimmed = text.trim();
        let end = trimmed.find(|c: char| c.is_whitespace() || c == '=' || c == '!').unwrap_or(trimmed.len());
        let (subject, rest) = trimmed.split_at(end);
        let subject = match subject {
            "node.role" => Subject::Role,
            "node.hostname" => Subject::Hostname,
            "node.arch" => Subject::Arch,
            other => match other.strip_prefix("node.labels.") {
                Some(key) if !key.is_empty() => Subject::Label(key.into()),
                _ => return Err(wrong("it must begin with node.labels.KEY, node.role, node.hostname or node.arch")),
            },
        };
        let rest = rest.trim();
        let value = |text: &str| match unquoted(text) {
            "" => Err(wrong("the value is missing")),
            value if value.contains(char::is_whitespace) => Err(wrong("a value has no spaces")),
            value => Ok(value.to_owned()),
        };
        let test = if let Some(v) = rest.strip_prefix("==") {
            Test::Is(value(v)?)
        } else if let Some(v) = rest.strip_prefix("!=") {
            Test::IsNot(value(v)?)
        } else if rest == "exists" {
            Test::Exists
        } else if let Some(list) = rest.strip_prefix("in").map(str::trim) {
            let inner = list.strip_prefix('(').and_then(|l| l.strip_suffix(')'));
            let inner = inner.ok_or_else(|| wrong("`in` wants a list like (a, b)"))?;
            Test::In(inner.split(',').map(value).collect::<Result<_, _>>()?)
        } else {
            return Err(wrong("after the subject comes ==, !=, in (…) or exists"));
        };
        Ok(Self { subject, test })
    }
}

fn unquoted(text: &str) -> &str {
    let text = text.trim();
    let inner = |q: char| text.strip_prefix(q).and_then(|t| t.strip_suffix(q));
    inner('"').or_else(|| inner('\'')).unwrap_or(text)
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label(key) => write!(f, "node.labels.{key}"),
            Self::Role => f.write_str("node.role"),
            Self::Hostname => f.write_str("node.hostname"),
            Self::Arch => f.write_str("node.arch"),
        }
    }
}
impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.test {
            Test::Is(v) => write!(f, "{} == {v}", self.subject),
            Test::IsNot(v) => write!(f, "{} != {v}", self.subject),
            Test::In(list) => write!(f, "{} in ({})", self.subject, list.join(", ")),
            Test::Exists => write!(f, "{} exists", self.subject),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraints_are_read_and_printed_canonically() {
        for (text, canonical) in [
            ("node.labels.gpu == intel", "node.labels.gpu == intel"),
            ("node.labels.gpu==intel", "node.labels.gpu == intel"),
            (" node.role != edge ", "node.role != edge"),
            ("node.hostname in (a,b , 'c')", "node.hostname in (a, b, c)"),
            ("node.labels.a.b/c exists", "node.labels.a.b/c exists"),
            ("node.arch == \"arm64\"", "node.arch == arm64"),
        ] {
            assert_eq!(text.parse::<Constraint>().unwrap().to_string(), canonical, "{text}");
        }
        for bad in [
            "",
            "gpu == a",
            "node.labels. == a",
            "node.labels.a",
            "node.labels.a =",
            "node.labels.a = b",
            "node.role ==",
            "node.role in a",
            "node.role in (a,)",
            "node.role == a b",
            "node.roles == a",
            "node.role exists now",
        ] {
            assert!(bad.parse::<Constraint>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_missing_label_is_equal_to_nothing() {
        for (text, values, holds) in [
            ("node.labels.a == x", vec![], false),
            ("node.labels.a != x", vec![], true),
            ("node.labels.a exists", vec![], false),
            ("node.labels.a exists", vec![""], true),
            ("node.labels.a in (x, y)", vec!["y"], true),
            ("node.role == edge", vec!["agent", "edge"], true),
            ("node.role != edge", vec!["agent", "edge"], false),
        ] {
            assert_eq!(text.parse::<Constraint>().unwrap().holds(&values), holds, "{text} {values:?}");
        }
    }
}
