//! Manifests as they go wrong: one error each, at the right place, with what to do.

use std::fmt::Write as _;

use super::*;

fn twelve() -> Vec<(&'static str, String)> {
    let head = "apiVersion: constellation.dev/v1\nkind: Service\nmetadata:\n  name: web\n";
    let with = |spec: &str| format!("{head}spec:\n{spec}");
    vec![
        ("bad indent", with("  image: nginx:1.27\n   replicas: 2\n")),
        ("wrong type", with("  image: nginx:1.27\n  replicas: two\n")),
        ("unknown field with a near name", with("  image: nginx:1.27\n  replicsa: 2\n")),
        ("unknown kind", with("  image: nginx:1.27\n").replace("kind: Service", "kind: Servise")),
        ("duplicate name", format!("{0}---\n{0}", with("  image: nginx:1.27\n"))),
        ("bad name", with("  image: nginx:1.27\n").replace("name: web", "name: Web_1")),
        ("bad duration", with("  image: nginx:1.27\n  stopGracePeriod: 10 minutes\n")),
        ("bad size", with("  image: nginx:1.27\n  resources:\n    limits:\n      memory: 512Mb1\n")),
        ("port out of range", with("  image: nginx:1.27\n  ports:\n    - target: 80\n      published: 70000\n")),
        ("missing image", with("  replicas: 2\n")),
        ("bad compose short form", with("  image: nginx:1.27\n  ports:\n    - \"8080:http\"\n")),
        ("secret reference without a source", with("  image: nginx:1.27\n  secrets:\n    - target: /run/secrets/a\n")),
    ]
}

#[test]
fn twelve_broken_manifests_have_one_error_each() {
    let mut shown = String::new();
    for (case, text) in twelve() {
        let parsed = read_text(&text);
        assert_eq!(parsed.errors.len(), 1, "{case}: {:#?}", parsed.errors);
        assert!(!parsed.errors[0].fix.is_empty(), "{case}");
        writeln!(shown, "# {case}").unwrap();
        for (number, line) in text.lines().enumerate() {
            writeln!(shown, "{:>3} {line}", number + 1).unwrap();
        }
        writeln!(shown, "=> {}\n", parsed.errors[0]).unwrap();
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn what_is_wrong_is_told_all_at_once_and_with_a_way_out() {
    let table = [
        "command: echo 'a",
        "ports: [\"80:90:100:110\", 80.5, {published: 80}]",
        "ports: [\"8080:80\", \"8080:81\"]",
        "ports: [{target: 80, mode: ingress}]",
        "volumes: [/data, \"a:b:c:d\", \"./conf:/conf\", \"~/a:/a\", \"data:relative\"]",
        "volumes: [\"a:/a\", \"b:/a/\"]",
        "replicas: 2\nvolumes: [\"data:/data\"]",
        "memory: 512m",
        "mem_limit: 512m\nresources: {limits: {memory: 1g}}",
        "stop_grace_period: 5s\nstopGracePeriod: 6s",
        "stopGracePeriod: 10",
        "readOnly: yes",
        "user: [a]",
        "hostname: 5",
        "deploy: {replicas: 2}",
        "env: {A: b}",
        "readiness: {}",
        "readiness: {tcp: {port: 80}, http: {port: 80}}",
        "readiness: {http: {port: 80, path: health}}",
        "networkMode: host\nports: [\"80:80\"]",
        "mode: global\nreplicas: 3",
        "placement: {constraints: [\"node.labels.a = b\"]}",
        "capAdd: [NET_ADMN]",
        "stopSignal: SIGTREM",
        "restart: sometimes",
        "dependsOn: [web]",
        "secrets: [{source: a, env: A, target: /a}]",
        "configs: [{source: a/b/c}]",
        "devices: [dri]",
        "environment: [A]",
        "healthcheck: {test: [curl, localhost]}",
        "update: {order: fastest}",
        "image: \"a b\"",
        "hooks: {preStop: [{command: []}], postStart: [{command: [a], image: b}, {command: [a], timeout: 2h}]}",
        "hooks: {preStop: [{command: [a], timeout: 40m}, {command: b c, timeout: 21m}]}",
        "hooks: {preStop: [{image: a}, {command: [a], onFailure: retry}]}",
    ];
    let mut shown = String::new();
    for fields in table {
        let text = service(fields);
        let found = errors(&text);
        assert!(!found.is_empty(), "{fields}");
        writeln!(shown, "{fields}").unwrap();
        for error in found {
            writeln!(shown, "  {error}").unwrap();
        }
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn an_item_is_named_by_its_number_in_the_text() {
    for (fields, path) in [
        ("volumes: [bad, \"data:relative\"]", "spec.volumes[1].target"),
        ("ports: [\"80-85\", bad, {published: 90}]", "spec.ports[2].target"),
        ("ports: [\"80-85\", \"1:90\", \"1:91\"]", "spec.ports[2].published"),
        ("expose: [\"80-85\", bad, 0]", "spec.expose[2]"),
        ("capAdd: [1, NET_ADMN]", "spec.capAdd[1]"),
        ("networks: [5, back, Back]", "spec.networks[2].name"),
        ("dependsOn: [5, db, db]", "spec.dependsOn[2].name"),
    ] {
        let parsed = read_text(&service(fields));
        assert_eq!(parsed.errors.last().map(|e| e.path.as_str()), Some(path), "{fields}: {:#?}", parsed.errors);
    }
}

#[test]
fn a_secret_shows_its_values_in_no_error() {
    let text = "apiVersion: constellation.dev/v1\nkind: Secret\nmetadata: {name: a}\nspec:\n  type: s3cr3t\n  \
                data: {a: 's3cr3t!', b: [s3cr3t]}\n  stringData: {c: {d: s3cr3t}}\n";
    let found = errors(text);
    assert_eq!(found.len(), 4, "{found:#?}");
    assert!(!found.join("").contains("s3cr3t"), "{found:#?}");
}

#[test]
fn a_key_with_a_wrong_value_is_not_told_as_missing_too() {
    for (spec, path) in [
        ("data: {password: {}}", "spec.data.password"),
        ("stringData: [a]", "spec.stringData"),
        ("type: tls, stringData: {tls.crt: a, tls.key: [b]}", "spec.stringData.tls.key"),
    ] {
        let parsed = read_text(&format!(
            "apiVersion: constellation.dev/v1\nkind: Secret\nmetadata: {{name: a}}\nspec: {{{spec}}}\n"
        ));
        assert_eq!(parsed.errors.iter().map(|e| e.path.as_str()).collect::<Vec<_>>(), [path], "{:#?}", parsed.errors);
    }
}

#[test]
fn one_broken_document_does_not_hide_the_others() {
    let text =
        format!("{}---\na: [\n---\n{}---\n{}", service("replicas: x"), service("init: true"), service("tty: no"));
    let parsed = read_text(&text);
    let found: Vec<(usize, usize)> = parsed.errors.iter().map(|e| (e.document, e.line)).collect();
    assert_eq!(found, [(1, 6), (2, 9), (4, 22)], "{:#?}", parsed.errors);
    assert_eq!(parsed.documents.iter().map(|d| (d.index, d.line)).collect::<Vec<_>>(), [(3, 10)]);
}

#[test]
fn a_stop_that_would_be_cut_short_is_refused() {
    let spec = |time: &str| {
        let head = "apiVersion: constellation.dev/v1\nkind: Service\nmetadata: {name: web}\n";
        errors(&format!("{head}spec: {{image: a, stopGracePeriod: {time}}}\n"))
    };
    assert_eq!(spec("1h"), [""; 0]);
    let found = spec("61m");
    let [one] = &found[..] else { panic!("{found:?}") };
    assert!(one.contains("spec.stopGracePeriod") && one.contains("longer than an hour; write at most 1h"), "{one}");
}

#[test]
fn a_value_is_drawn_by_schedule_only_where_the_cluster_draws_it_and_not_all_the_time() {
    let found = |kind: &str, spec: &str, every: &str| {
        let text = format!(
            "apiVersion: constellation.dev/v1\nkind: {kind}\nmetadata: {{name: db}}\nspec:\n  {spec}\n  rotation:\n    every: {every}\n"
        );
        errors(&text)
    };
    let (drawn, given) = ("valueFrom: {generate: {}}", "stringData: {a: b}");
    for every in ["1h", "60m", "24h", "30d", "400d"] {
        assert_eq!(found("Secret", drawn, every), Vec::<String>::new(), "{every}");
    }
    let far = "write 400d or less";
    for (kind, spec, every, said, fix) in [
        ("Secret", drawn, "59m59s", "59m59s is less than 1h", "write 1h or more"),
        ("Secret", drawn, "0s", "0s is less than 1h", "write 1h or more"),
        ("Secret", drawn, "401d", "is more than 400 days", far),
        ("Secret", drawn, "80000h", "is more than 400 days", far),
        ("Secret", drawn, "daily", "expected a duration", "write it like"),
        ("Secret", given, "24h", "given by hand", "constellation secret set"),
        ("Secret", "valueFrom: {file: a}", "24h", "`valueFrom.file`", "valueFrom: {generate: {}}"),
        ("Secret", "valueFrom: {command: [a]}", "24h", "`valueFrom.command`", "valueFrom: {generate: {}}"),
        ("Config", "data: {a: b}", "24h", "a Config is never drawn", "write a Secret"),
    ] {
        let found = found(kind, spec, every);
        assert_eq!(found.len(), 1, "{kind} {spec} {every}: {found:?}");
        let one = &found[0];
        assert!(one.starts_with("web.yaml:7:"), "{one}");
        assert!(one.contains("spec.rotation.every: ") && one.contains(said) && one.contains(fix), "{one}");
    }
    assert_eq!(found("Secret", given, "5m").len(), 2, "each fault is told");
}
