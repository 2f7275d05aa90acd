//! Texts that are too large, too deep, or not quite text; and YAML's traps.

use super::*;

/// The only error of a text: line, column, words.
fn only(text: &[u8]) -> (usize, usize, String) {
    let parsed = parse("a.yaml", text, &Options::default());
    assert_eq!((parsed.errors.len(), parsed.documents.len()), (1, 0), "{:#?}", parsed.errors);
    let error = &parsed.errors[0];
    assert!(!error.fix.is_empty(), "{error}");
    (error.line, error.column, format!("{}: {}", error.path, error.message))
}

#[test]
fn a_text_that_would_grow_is_stopped() {
    let large = vec![b'#'; read::MOST_BYTES + 1];
    assert_eq!(only(&large).2, ": the text has 4194305 bytes, more than 4 MiB");
    let (line, column, message) = only(format!("a: {}", "[".repeat(60)).as_bytes());
    assert_eq!((line, column, message.as_str()), (1, 51, ": nested deeper than 48 levels"));
    assert!(only(format!("a: {}", "[".repeat(1_000_000)).as_bytes()).2.contains("recursion limit"));
    let block: String = (0..60).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
    assert_eq!(only(block.as_bytes()).0, 49);
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..12 {
        bomb += &format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 10].join(", "));
    }
    assert!(only(bomb.as_bytes()).2.contains("aliases that repeat too much"));
    let wide = format!("apiVersion: constellation.dev/v1\nlist: [{}]", "1,".repeat(100_000));
    assert!(only(wide.as_bytes()).2.contains("more than 100000 values"));
}

#[test]
fn a_short_text_does_not_become_a_large_object() {
    let ranges = vec!["1-1000"; 5000].join(", ");
    for field in ["ports", "expose", "dns", "imagePullSecrets"] {
        let found = errors(&service(&format!("{field}: [{ranges}]")));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].contains("items, more than 1000"), "{found:#?}");
    }
    let found = errors(&service("ports: [1-1000, 1001]"));
    assert!(found.len() == 1 && found[0].contains("1001 items, more than 1000"), "{found:#?}");
    assert_eq!(canonical_spec(&service("ports: [1-1000]"))["ports"].as_array().unwrap().len(), 1000);
}

#[test]
fn many_documents_are_read_and_too_many_are_not() {
    let text = |n: usize| -> String {
        (0..n)
            .map(|i| format!("--- {{apiVersion: constellation.dev/v1, kind: Node, metadata: {{name: n{i}}}}}\n"))
            .collect()
    };
    let parsed = read_text(&text(1000));
    assert_eq!((parsed.errors.len(), parsed.documents.len()), (0, 1000), "{:#?}", parsed.errors.first());
    let found = errors(&text(1001));
    assert!(found.len() == 1 && found[0].starts_with("web.yaml:1001:1: more than 1000 documents"), "{found:#?}");
    let list = read_text(&format!("[{}]", vec!["{}"; 1001].join(",")));
    assert_eq!(list.errors.len(), 1, "{:#?}", list.errors);
    // A hundred errors are listed, the others counted.
    let many = read_text(&"a: 1\n---\n".repeat(300));
    assert_eq!(many.errors.len(), 100);
    assert!(many.errors[99].fix.ends_with("; 200 more errors are not listed"), "{}", many.errors[99].fix);
}

#[test]
fn what_is_no_text_is_shown_where_it_begins() {
    let (line, column, message) = only(b"a: b\nc: \xc3\xa4\xff\n");
    assert_eq!((line, column), (2, 5), "{message}");
    let (line, column, message) = only("apiVersion: constellation.dev/v1\nä: \0\n".as_bytes());
    assert_eq!((line, column, message.as_str()), (2, 4, ": the control character U+0000"));
    // Behind a NUL the parser sees nothing: what stands there must not be lost in silence.
    let cut = format!("{}\0  replicas: 3\n", service("init: true"));
    assert!(only(cut.as_bytes()).2.contains("U+0000"));
    assert_eq!(
        only(service("environment: {A: \"a\\0b\"}").as_bytes()).2,
        "spec.environment.A: the text holds a NUL character"
    );
    assert_eq!(only(b"\x1b[31m").2, ": the control character U+001B");
    let steers = errors(&service("\"a\\e[2J\": 1"));
    assert!(steers.len() == 1 && steers[0].contains("unknown field `a\\u{1b}[2J`"), "{steers:?}");
}

#[test]
fn line_ends_and_marks_change_nothing() {
    let text = service("ports: [\"8080:80\"]\ncommand: |\n  sh -c\n  'a b'");
    let plain = good(&text).declared;
    assert_eq!(good(&text.replace('\n', "\r\n")).declared, plain);
    assert_eq!(good(&format!("\u{feff}{text}")).declared, plain);
    assert_eq!(good(&format!("# a\n---\n{text}...\n")).declared, plain);
    let wrong = service("replicas: x").replace('\n', "\r\n");
    assert_eq!(read_text(&wrong).errors[0].line, 6);
    for empty in ["", "\n", "# nothing\n", "---\n", "---\n---\n", "~"] {
        let parsed = read_text(empty);
        assert_eq!((parsed.errors.len(), parsed.documents.len()), (0, 0), "{empty:?} {:#?}", parsed.errors);
    }
}

#[test]
fn a_tab_is_named() {
    let (line, column, message) = only(service("\tinit: true").replace("  \t", "\t").as_bytes());
    assert_eq!(line, 6, "{column} {message}");
    assert!(message.contains("tab"), "{message}");
}

#[test]
fn a_key_that_stands_twice_is_an_error() {
    let (line, column, message) = only(service("init: true\ninit: false").as_bytes());
    assert_eq!((line, column), (7, 3));
    assert!(message.contains("line 6 and in line 7"), "{message}");
    assert_eq!(only(service("environment: {A: 1, B: 2, A: 3}").as_bytes()).1, 29);
    assert_eq!(only(service("environment: [A=1, A=2]").as_bytes()).1, 22);
}

#[test]
fn numbers_and_words_mean_one_thing() {
    for (field, message) in [
        ("replicas: 1e999", "spec.replicas: expected a whole number, found \"1e999\""),
        ("replicas: 1.5", "spec.replicas: expected a whole number, found \"1.5\""),
        ("replicas: -1", "spec.replicas: -1 is out of range"),
        ("replicas: 99999999999999999999", "spec.replicas: 99999999999999999999 is out of range"),
        ("replicas: \"3\"", "spec.replicas: expected a whole number, found \"3\""),
        ("replicas: .inf", "spec.replicas: expected a whole number, found \".inf\""),
        ("shmSize: 1e999", "spec.shmSize: expected a size, found \"1e999\""),
        ("resources: {limits: {cpus: .nan}}", "spec.resources.limits.cpus: expected an amount of CPU, found \".nan\""),
        ("expose: [0120]", "spec.expose[0]: 0120 begins with 0, which some read as octal"),
        ("ports: [{target: 080}]", "spec.ports[0].target: 080 begins with 0, which some read as octal"),
        ("readOnly: on", "spec.readOnly: expected true or false, found \"on\""),
        ("init: \"true\"", "spec.init: expected true or false, found \"true\""),
        ("hostname: 1.10", "spec.hostname: expected text, found \"1.10\""),
        ("configs: [{source: a, mode: 440}]", "spec.configs[0].mode: \"440\" is not mode bits in octal"),
        ("image: !!binary nginx", ": the tag !!binary has no meaning here"),
    ] {
        let found = only(service(field).as_bytes()).2;
        assert!(found.starts_with(message), "{field}: {found}");
    }
    assert_eq!(canonical_spec(&service("expose: [0o120, 0x51, 8e1]"))["expose"], serde_json::json!([80, 81, 80]));
    assert_eq!(canonical_spec(&service("replicas: 3.0"))["replicas"], 3);
}

#[test]
fn anchors_and_merge_keys_work_within_a_document() {
    let text = service(
        "environment: &base {A: \"1\", B: \"2\"}\nlabels:\n  <<: *base\n  B: \"3\"\nlogging:\n  driver: local\n  options:\n    <<: [{A: x}, *base]",
    );
    let spec = canonical_spec(&text);
    assert_eq!(spec["labels"], serde_json::json!({ "A": "1", "B": "3" }));
    assert_eq!(spec["logging"]["options"], serde_json::json!({ "A": "x", "B": "2" }));
    assert!(only(service("labels: {<<: a}").as_bytes()).2.contains("a merge key takes a mapping"));
    assert!(errors(&service("labels: &a {b: *a}"))[0].contains("inside its own anchor"));
    assert!(only(service("labels: *nothing").as_bytes()).2.contains("unknown anchor"));
}
