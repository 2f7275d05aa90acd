//! `${VAR}` in a manifest, filled in by the client: the log holds literals.
//!
//! Here: `${VAR}`, `${VAR:-default}`, `${VAR-default}`, `${VAR:+other}`, `${VAR:?message}`, `$$` for one `$`.
//! A `$` before anything else stays, so that `$HOME` in a command reaches the shell.
//! Invariant: never called for a Secret. A variable that is not set is an error, not an empty text:
//! compose only warns, and half a command is worse than none.

use super::{
    fault::Faults,
    scalar,
    tree::{Node, Value},
};

/// Finds a variable where the client runs.
pub type Lookup<'o> = &'o dyn Fn(&str) -> Option<String>;

/// Deepest default within a default.
const MOST_NESTED: usize = 8;
/// Longest text that one interpolation may make.
const MOST_BYTES: usize = 1 << 20;

/// Fills in every scalar below a node; keys stay as they are.
pub(super) fn fill(node: &mut Node, path: &str, lookup: Lookup<'_>, faults: &mut Faults) {
    match &mut node.value {
        Value::List(items) => {
            for (i, item) in items.iter_mut().enumerate() {
                fill(item, &format!("{path}[{i}]"), lookup, faults);
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                fill(&mut entry.value, &super::shape::join(path, &entry.key), lookup, faults);
            }
        }
        Value::Text(text) if text.contains('$') => match replace(text, lookup, 0) {
            Ok(new) if new != *text => {
                node.interpolated = true;
                node.value = if node.plain { scalar::resolve(&new) } else { Value::Text(new) };
            }
            Ok(_) => {}
            Err((message, fix)) => faults.push(node.at, path, message, fix),
        },
        Value::Text(_) | Value::Null | Value::Bool(..) | Value::Number(..) => {}
    }
}

type Problem = (String, String);

fn replace(text: &str, lookup: Lookup<'_>, depth: usize) -> Result<String, Problem> {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = after.strip_prefix('{') {
            let end = closing(after).ok_or_else(|| {
                ("`${` has no `}`".to_owned(), "close it, or write `$${` for the characters themselves".to_owned())
            })?;
            let (inside, tail) = after.split_at(end);
            out.push_str(&expression(inside, lookup, depth)?);
            rest = tail.get(1..).unwrap_or_default();
        } else {
            out.push('$');
            rest = after;
        }
        if out.len() > MOST_BYTES {
            return Err(("variables make the text longer than 1 MiB".into(), "shorten their values".into()));
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// Where the brace closes that was opened before `text`.
fn closing(text: &str) -> Option<usize> {
    let (mut open, mut before) = (0usize, ' ');
    for (i, c) in text.char_indices() {
        match c {
            '{' if before == '$' => open += 1,
            '}' if open == 0 => return Some(i),
            '}' => open -= 1,
            _ => {}
        }
        before = c;
    }
    None
}

fn expression(inside: &str, lookup: Lookup<'_>, depth: usize) -> Result<String, Problem> {
    let end = inside.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inside.len());
    let (name, operation) = inside.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        let message = format!("`${{{inside}}}` does not begin with the name of a variable");
        return Err((message, format!("write `$${{{inside}}}` for the characters themselves")));
    }
    if depth >= MOST_NESTED {
        return Err(("defaults are nested too deep".into(), "set the variable instead".into()));
    }
    let value = lookup(name);
    let filled = value.clone().filter(|v| !v.is_empty());
    let nested = |text: &str| replace(text, lookup, depth + 1);
    let operators = [(":-", 0), (":+", 1), (":?", 2), ("-", 3), ("+", 4), ("?", 5)];
    let found = operators.iter().find_map(|(o, n)| operation.strip_prefix(o).map(|rest| (*n, rest)));
    let missing = |message: &str| {
        let message =
            if message.is_empty() { format!("the variable {name} is not set") } else { format!("{name}: {message}") };
        Err((message, format!("set {name} where the client runs, or write `${{{name}:-default}}`")))
    };
    match found {
        None if operation.is_empty() => value.map_or_else(|| missing(""), Ok),
        Some((0, default)) => filled.map_or_else(|| nested(default), Ok),
        Some((3, default)) => value.map_or_else(|| nested(default), Ok),
        Some((1, other)) => filled.map_or_else(|| Ok(String::new()), |_| nested(other)),
        Some((4, other)) => value.map_or_else(|| Ok(String::new()), |_| nested(other)),
        Some((2, message)) => filled.map_or_else(|| missing(message), Ok),
        Some((_, message)) => value.map_or_else(|| missing(message), Ok),
        None => {
            let message = format!("`{operation}` after a variable means nothing");
            Err((message, "write ${VAR}, ${VAR:-default}, ${VAR:+other} or ${VAR:?message}".into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_mean_what_compose_means() {
        let lookup = |name: &str| match name {
            "A" => Some("a".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        for (text, filled) in [
            ("${A}", "a"),
            ("x${A}y$$z", "xay$z"),
            ("$HOME $", "$HOME $"),
            ("$${A}", "${A}"),
            ("${B:-b}", "b"),
            ("${EMPTY:-b}", "b"),
            ("${EMPTY-b}", ""),
            ("${B-}", ""),
            ("${B:-${A}}", "a"),
            ("${B:-${C:-c}}d", "cd"),
            ("${A:+other}${B:+other}", "other"),
            ("${A:?must}", "a"),
        ] {
            assert_eq!(replace(text, &lookup, 0).unwrap(), filled, "{text}");
        }
        for bad in ["${B}", "${", "${A", "${1}", "${}", "${B:?say so}", "${EMPTY:?x}", "${A:}", "${A b}"] {
            assert!(replace(bad, &lookup, 0).is_err(), "{bad}");
        }
    }
}
