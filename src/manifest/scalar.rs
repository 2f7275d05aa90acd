//! What an unquoted word means: the core schema of YAML 1.2 (`no` and `on` are words, `010` is ten).

use serde_json::Number;

use super::tree::Value;

/// The value of an unquoted scalar.
pub(super) fn resolve(raw: &str) -> Value {
    match raw {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true, raw.into()),
        "false" | "False" | "FALSE" => return Value::Bool(false, raw.into()),
        _ => {}
    }
    match number(raw) {
        Some(number) => Value::Number(number, raw.into()),
        None => Value::Text(raw.into()),
    }
}

fn number(raw: &str) -> Option<Number> {
    let unsigned = raw.strip_prefix(['-', '+']).unwrap_or(raw);
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = raw.strip_prefix(prefix) {
            return u64::from_str_radix(digits, radix).ok().map(Number::from);
        }
    }
    if unsigned.bytes().all(|b| b.is_ascii_digit()) {
        let plain = raw.strip_prefix('+').unwrap_or(raw);
        if let Ok(number) = plain.parse::<u64>() {
            return Some(number.into());
        }
        if let Ok(number) = plain.parse::<i64>() {
            return Some(number.into());
        }
    }
    // Rust also reads `inf`, `nan` and `1_000`; the first check and this one leave only YAML's floats.
    if !unsigned.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-')) {
        return None;
    }
    raw.parse::<f64>().ok().and_then(Number::from_f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_being_words() {
        for word in ["no", "on", "yes", "8080:80", "1.2.3", "1m30s", "512m", ".", "-", "+", "1e", "0x", ".inf", "1_000"]
        {
            assert_eq!(resolve(word), Value::Text(word.into()), "{word}");
        }
    }

    #[test]
    fn numbers_keep_their_text() {
        for (raw, value) in [("0440", 440), ("0o17", 15), ("0x1F", 31), ("7", 7)] {
            assert_eq!(resolve(raw), Value::Number(value.into(), raw.into()), "{raw}");
        }
        assert!(matches!(resolve("-3"), Value::Number(n, _) if n.as_i64() == Some(-3)));
        assert!(matches!(resolve("1.10"), Value::Number(n, raw) if n.as_f64() == Some(1.1) && &*raw == "1.10"));
        assert!(matches!(resolve("1e400"), Value::Text(_)));
    }
}
