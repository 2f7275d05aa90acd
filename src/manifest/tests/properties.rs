//! What holds for every text.

use std::collections::BTreeMap;

use proptest::{prelude::*, sample::Index};
use serde_json::json;

use super::*;

fn cases() -> u32 {
    if std::env::var_os("CONSTELLATION_TEST_LONG").is_some() { 2560 } else { 256 }
}

/// Reads as a server and as a client; every error stands within the text.
fn holds(text: &[u8]) -> Result<(), TestCaseError> {
    let lookup = |name: &str| (name.len() < 3).then(|| name.to_owned());
    let client = Options { resolve_paths: Some("/a".into()), interpolate: Some(&lookup), ..Options::default() };
    let shown = String::from_utf8_lossy(text);
    // A carriage return alone ends a line too.
    let lines: Vec<String> = shown.replace("\r\n", "\n").split(['\n', '\r']).map(str::to_owned).collect();
    for options in [Options::default(), client] {
        let parsed = parse("a", text, &options);
        for error in &parsed.errors {
            let line = error.line.checked_sub(1).and_then(|l| lines.get(l));
            let width = line.map(|l| l.chars().count() + 1);
            prop_assert!(width.is_some_and(|w| (1..=w).contains(&error.column)), "{error} in {shown:?}");
            prop_assert!(!error.message.is_empty() && !error.fix.is_empty(), "{error}");
        }
        for document in &parsed.documents {
            prop_assert!(written(document).is_ok());
        }
    }
    Ok(())
}

/// Pieces that mean something to the reader.
const PIECES: [&str; 34] = [
    "\n",
    "  ",
    "- ",
    ": ",
    "{",
    "}",
    "[",
    "]",
    ",",
    "\"",
    "'",
    "|\n",
    ">-\n",
    "&a ",
    "*a",
    "<<: ",
    "!!str ",
    "? ",
    "#",
    "---\n",
    "...\n",
    "%YAML 1.1\n",
    "\t",
    "\r",
    "\u{feff}",
    "${A}",
    "${",
    "$$",
    "1e999",
    "0o7",
    "~",
    "spec:",
    "é",
    "\\u",
];

/// A valid manifest of several fields.
fn valid() -> impl Strategy<Value = String> {
    let lines: Vec<&str> = fields::rows(fields::SERVICE).filter(|(works, ..)| *works).map(|(.., f)| f).collect();
    prop::sample::subsequence(lines, 0..8).prop_map(|lines| {
        // What other fields would not fit.
        let of_jobs = ["schedule", "timeZone", "concurrencyPolicy", "completions", "backoffLimit"];
        let mut known = std::collections::BTreeSet::from(["mode", "networkMode", "activeDeadline", "ttlAfterFinished"]);
        known.extend(of_jobs);
        let unlike = lines.into_iter().filter(|l| known.insert(l.split(':').next().unwrap_or_default()));
        service(&unlike.collect::<Vec<_>>().join("\n"))
    })
}

/// Texts that YAML could mistake for something else.
fn odd_text() -> impl Strategy<Value = String> {
    let traps = [
        "",
        "~",
        "null",
        "yes",
        "no",
        "true",
        "0o7",
        "0x1f",
        "010",
        "1_000",
        "1e3",
        ".inf",
        "a: b",
        "- a",
        "#",
        "a #b",
        " a ",
        "\n",
        "a\n\nb\n",
        "\u{85}",
        "\u{2028}",
        "\u{feff}a",
        "*a",
        "&a",
        "!a",
        "%a",
        "@a",
        "`a",
        "---",
        "...",
        "<<",
        "=",
        "12:30",
        "2001-01-01",
        "\u{1f600}",
        "\r\n",
        "\t",
        "'",
        "\"",
        "\\",
        "{",
        "]",
        "|",
        ">",
    ];
    prop_oneof![prop::sample::select(traps.to_vec()).prop_map(str::to_owned), any::<String>()]
        .prop_map(|text| text.replace('\0', ""))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_it_panic(text in prop::collection::vec(any::<u8>(), 0..256)) {
        holds(&text)?;
    }

    #[test]
    fn no_heap_of_pieces_makes_it_panic(pieces in prop::collection::vec(prop::sample::select(PIECES.to_vec()), 0..48)) {
        holds(pieces.concat().as_bytes())?;
    }

    #[test]
    fn no_change_of_a_good_manifest_makes_it_panic(
        text in valid(),
        changes in prop::collection::vec((any::<Index>(), 0..3usize, prop::sample::select(PIECES.to_vec())), 1..4),
    ) {
        let mut chars: Vec<char> = text.chars().collect();
        for (at, cut, piece) in changes {
            let at = at.index(chars.len());
            let end = (at + cut * 3).min(chars.len() - 1);
            chars.splice(at..end.max(at), piece.chars());
        }
        holds(chars.into_iter().collect::<String>().as_bytes())?;
    }

    #[test]
    fn the_canonical_form_reads_as_itself(text in valid()) {
        forms::again(&text);
    }

    #[test]
    fn no_text_is_changed_on_its_way(
        words in prop::collection::vec(odd_text(), 1..4),
        values in prop::collection::btree_map("[A-Z_]{1,8}", odd_text(), 0..4),
        files in prop::collection::btree_map("[a-z.]{3,8}", odd_text(), 1..4),
    ) {
        let envelope = |kind: &str, spec: serde_json::Value| {
            json!({ "apiVersion": "constellation.dev/v1", "kind": kind, "metadata": { "name": "a" }, "spec": spec })
        };
        let service = envelope("Service", json!({ "image": "a", "command": words, "environment": values }));
        let config = envelope("Config", json!({ "data": files }));
        for text in [yaml::print(&service).unwrap(), service.to_string()] {
            let Spec::Service(spec) = good(&text).declared.spec else { panic!("a Service") };
            prop_assert_eq!(spec.container.command.as_ref(), Some(&words), "{}", text);
            prop_assert_eq!(&spec.container.environment, &values, "{}", text);
        }
        for text in [yaml::print(&config).unwrap(), config.to_string()] {
            let Spec::Config(spec) = good(&text).declared.spec else { panic!("a Config") };
            let data: &BTreeMap<String, String> = &spec.data;
            prop_assert_eq!(data, &files, "{}", text);
        }
    }
}
