//! Real manifests, changed as nobody should change them.

use super::*;
use crate::mutate::{Mutations, files, plain, survives};

/// Every manifest of the repository, the broken ones too, and their canonical form as JSON.
fn corpus() -> Vec<Vec<u8>> {
    let yaml = ["manifests", "examples", "tests/fixtures"].iter().flat_map(|folder| files(folder, &["yaml"]));
    let mut corpus: Vec<Vec<u8>> = yaml.collect();
    let client = Options { resolve_paths: Some("/a".into()), ..Options::default() };
    let json = corpus.iter().flat_map(|text| parse("a", text, &client).documents);
    let json: Vec<Vec<u8>> = json.map(|d| written(&d).unwrap().to_string().into_bytes()).collect();
    assert!(corpus.len() > 15 && json.len() > 5, "{} and {}", corpus.len(), json.len());
    corpus.extend(json);
    corpus
}

/// What every answer has to be, whatever the text.
fn answers(text: &[u8], options: &Options<'_>) {
    let parsed = parse("a.yaml", text, options);
    let lines = 1 + text.iter().filter(|b| matches!(b, b'\n' | b'\r')).count();
    for error in &parsed.errors {
        plain(&error.to_string());
        plain(&error.fix);
        assert!((1..=lines).contains(&error.line) && error.column > 0, "{error} of {lines} lines");
        assert!(error.document > 0 && error.source == "a.yaml", "{error:?}");
    }
    for skipped in &parsed.skipped {
        plain(&skipped.to_string());
        assert!((1..=lines).contains(&skipped.line), "{skipped} of {lines} lines");
    }
    for document in &parsed.documents {
        document.warnings.iter().for_each(|warning| plain(warning));
        circle(document);
    }
}

/// What is printed, as YAML or as JSON, reads as the same object.
fn circle(document: &Document) {
    let canonical = written(document).unwrap();
    for text in [canonical.to_string(), yaml::print(&canonical).unwrap()] {
        let again = parse("again", text.as_bytes(), &Options::default());
        assert!(again.errors.is_empty(), "{text}\n{:#?}", again.errors);
        assert_eq!(again.documents.len(), 1, "{text}");
        assert_eq!(written(&again.documents[0]).unwrap(), canonical, "{text}");
    }
}

#[test]
fn manifests_survive_what_a_request_holds() {
    survives(Mutations::of("manifests", corpus(), 1_200), |text| answers(text, &Options::default()));
}

#[test]
fn manifests_survive_what_a_client_reads() {
    survives(Mutations::of("manifests of a client", corpus(), 800), |text| {
        // One that is long, one that means something in YAML, and none.
        let lookup = |name: &str| match name.len() {
            0..3 => Some("x".repeat(5_000)),
            3 => Some("{a: [1]}\u{1b}".to_owned()),
            _ => None,
        };
        answers(text, &Options { resolve_paths: Some("/a".into()), interpolate: Some(&lookup), ..Options::default() });
    });
}

/// One field at a time: the short forms meet more than a whole document lets them.
#[test]
fn fields_survive_what_is_written() {
    let fields = fields::rows(fields::SERVICE).map(|(.., field)| field.to_owned());
    let more = [
        "ports: [\"127.0.0.1:8000-8010:80-90/udp\"]",
        "mounts: [\"./a:/b:ro\", {type: volume, source: data, target: /d}]",
        "healthcheck: {test: [CMD, a], interval: 1m30s}",
        "command: \"a 'b c' \\\"d\\\" e\\\\ f\"",
        "environment: [A=1, B, \"C=${A:-x}\"]",
        "restart: on-failure:3",
        "resources: {limits: {cpus: 0.5, memory: 1.5g}}",
    ];
    let corpus: Vec<String> = fields.chain(more.map(str::to_owned)).collect();
    survives(Mutations::of("fields", corpus, 2_500), |field| {
        let mut text =
            b"apiVersion: constellation.dev/v1\nkind: Service\nmetadata: {name: web}\nspec:\n  image: a\n".to_vec();
        for line in field.split_inclusive(|b| *b == b'\n') {
            text.extend_from_slice(b"  ");
            text.extend_from_slice(line);
        }
        answers(&text, &Options::default());
    });
}
