//! Defaults, short forms, compose's spelling: what comes out is the canonical long form.

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::model::service::{DataPolicy, MIN_HEALTHY_TIME, Mode, PullPolicy, ReadinessSource, Restart};

#[test]
fn what_is_not_written_is_as_on_the_page() {
    let Spec::Service(spec) = good(&service("")).declared.spec else { panic!("a Service") };
    let container = &spec.container;
    assert_eq!((spec.mode, spec.wanted(), spec.suspend), (Mode::Replicated, 1, false));
    assert_eq!((container.pull_policy, container.restart), (PullPolicy::Missing, Restart::Always));
    assert_eq!(container.grace().as_secs(), 10);
    for (asked, runs) in [(0, 0), (3, 3), (10, 10), (60, MIN_HEALTHY_TIME.as_secs())] {
        let [asked, runs] = [asked, runs].map(Duration::from_secs);
        assert_eq!(container.readiness(false, asked), ReadinessSource::RunningFor(runs));
    }
    let auto = &container.auto_restart;
    let times = (auto.backoff.0.as_secs(), auto.max_backoff.0.as_secs());
    assert_eq!((auto.on_unhealthy, auto.after, times), (true, 3, (10, 300)));
    // Nothing of it is written out: a default that changes later reaches what was never decided.
    assert_eq!(canonical_spec(&service("")), json!({ "image": "nginx:1.27" }));
    assert_eq!(
        canonical_spec(&service("readiness: {http: {port: 80}}"))["readiness"],
        json!({ "http": { "path": "/", "port": 80, "status": "200-399" }, "interval": "5s", "timeout": "3s",
            "successThreshold": 1, "failureThreshold": 3 })
    );
}

#[test]
fn a_short_form_becomes_the_long_form() {
    let table = [
        ("command: nginx -g 'daemon off;'", "command", json!(["nginx", "-g", "daemon off;"])),
        ("entrypoint: /bin/sh", "entrypoint", json!(["/bin/sh"])),
        ("user: 1000", "user", json!("1000")),
        ("group_add: [44]", "groupAdd", json!(["44"])),
        ("environment: [A=b, C=, D=e=f]", "environment", json!({ "A": "b", "C": "", "D": "e=f" })),
        (
            "environment: {A: 1.10, B: yes, C: true, D: 0440}",
            "environment",
            json!({ "A": "1.10", "B": "yes", "C": "true", "D": "0440" }),
        ),
        ("labels: [a=b, c]", "labels", json!({ "a": "b", "c": "" })),
        ("ports: [80]", "ports", json!([{ "target": 80 }])),
        ("ports: [\"8080:80\"]", "ports", json!([{ "target": 80, "published": 8080 }])),
        ("ports: [8080:80]", "ports", json!([{ "target": 80, "published": 8080 }])),
        (
            "ports: [\"127.0.0.1:53:53/udp\"]",
            "ports",
            json!([{ "target": 53, "published": 53, "protocol": "udp", "hostIp": "127.0.0.1" }]),
        ),
        (
            "ports: [\"9090-9091:80-81\"]",
            "ports",
            json!([{ "target": 80, "published": 9090 }, { "target": 81, "published": 9091 }]),
        ),
        (
            "ports: [{target: 80, published: \"8080\", mode: host, protocol: tcp}]",
            "ports",
            json!([{ "target": 80, "published": 8080 }]),
        ),
        ("expose: [\"3000-3001\", \"53/udp\", 80]", "expose", json!([3000, 3001, 53, 80])),
        ("volumes: [\"data:/data\"]", "volumes", json!([{ "type": "volume", "source": "data", "target": "/data" }])),
        (
            "volumes: [\"/srv/a:/a:ro,rslave\"]",
            "volumes",
            json!([{ "type": "bind", "source": "/srv/a", "target": "/a", "readOnly": true, "bind": { "propagation": "rslave" } }]),
        ),
        (
            "volumes: [\"/srv//db/:/a\", {type: bind, source: /srv/./b//, target: /b}]",
            "volumes",
            json!([{ "type": "bind", "source": "/srv/db", "target": "/a" }, { "type": "bind", "source": "/srv/b", "target": "/b" }]),
        ),
        (
            "volumes: [{type: volume, source: dd, target: /d, read_only: true, data_policy: auto}]",
            "volumes",
            json!([{ "type": "volume", "source": "dd", "target": "/d", "readOnly": true }]),
        ),
        ("tmpfs: /tmp", "tmpfs", json!(["/tmp"])),
        ("dns: 192.0.2.1", "dns", json!(["192.0.2.1"])),
        ("dns_search: example.com", "dnsSearch", json!(["example.com"])),
        ("extra_hosts: [\"db:192.0.2.1\", \"v6=[::1]\"]", "extraHosts", json!({ "db": "192.0.2.1", "v6": "::1" })),
        ("ulimits: {nofile: 1024}", "ulimits", json!({ "nofile": { "soft": 1024, "hard": 1024 } })),
        ("devices: [{source: /dev/a, permissions: rw}]", "devices", json!(["/dev/a:/dev/a:rw"])),
        ("networks: [back]", "networks", json!([{ "name": "back" }])),
        (
            "networks: {back: {aliases: [a]}, front: }",
            "networks",
            json!([{ "name": "back", "aliases": ["a"] }, { "name": "front" }]),
        ),
        ("depends_on: [db]", "dependsOn", json!([{ "name": "db", "condition": "service_started", "required": true }])),
        (
            "depends_on: {db: {condition: service_healthy, restart: false}}",
            "dependsOn",
            json!([{ "name": "db", "condition": "service_healthy", "required": true }]),
        ),
        ("secrets: [key]", "secrets", json!([{ "source": "key" }])),
        (
            "configs: [{source: a, mode: 0440, uid: \"7\"}]",
            "configs",
            json!([{ "source": "a", "mode": "0440", "uid": 7 }]),
        ),
        (
            "healthcheck: {test: curl -f localhost}",
            "healthcheck",
            json!({ "test": ["CMD-SHELL", "curl -f localhost"] }),
        ),
        ("healthcheck: {test: [NONE]}", "healthcheck", json!({ "disable": true })),
        ("mem_limit: 512m", "resources", json!({ "limits": { "memory": "512Mi" } })),
        (
            "cpus: 0.5\nmem_reservation: 64m\npids_limit: 50",
            "resources",
            json!({ "reservations": { "memory": "64Mi" }, "limits": { "cpus": "500m", "pids": 50 } }),
        ),
        ("stop_grace_period: 90s", "stopGracePeriod", json!("1m30s")),
        ("shm_size: 1.5g", "shmSize", json!("1536Mi")),
        ("restart: no", "restart", json!("no")),
        ("read_only: true\ncap_drop: [ALL]", "readOnly", json!(true)),
        (
            "readiness: {exec: test -f /ok}",
            "readiness",
            json!({ "exec": ["test", "-f", "/ok"], "interval": "5s", "timeout": "3s", "successThreshold": 1, "failureThreshold": 3 }),
        ),
    ];
    for (written_as, field, long) in table {
        let text = service(written_as);
        assert_eq!(canonical_spec(&text)[field], long, "{written_as}");
        again(&text);
    }
}

/// The canonical form reads back as the same object and prints as the same text.
pub(super) fn again(text: &str) {
    let document = good(text);
    let long = written(&document).unwrap();
    let printed = yaml::print(&long).unwrap();
    let second = good(&printed);
    assert_eq!(document.declared, second.declared, "{printed}");
    assert_eq!(written(&second).unwrap(), long, "{printed}");
}

#[test]
fn every_field_that_works_prints_as_it_reads() {
    for (_, _, text, _) in fields::documents().filter(|(works, ..)| *works) {
        if !text.contains("kind: Secret") {
            again(&text);
        }
    }
}

#[test]
fn what_a_mount_means_follows_the_page() {
    let policy = |mount: &str| {
        let Spec::Service(spec) = good(&service(&format!("volumes: [{mount}]"))).declared.spec else {
            panic!("a Service")
        };
        spec.container.volumes[0].policy()
    };
    for (mount, means) in [
        ("\"data:/data\"", DataPolicy::State),
        ("\"data:/data:ro\"", DataPolicy::Shared),
        ("\"/srv/a:/a\"", DataPolicy::State),
        ("\"/srv/a:/a:ro\"", DataPolicy::Shared),
        ("\"/var/run/docker.sock:/s\"", DataPolicy::Host),
        ("\"/run/dbus:/run/dbus:ro\"", DataPolicy::Host),
        ("\"/procedures:/a\"", DataPolicy::State),
        ("{type: volume, source: aa, target: /a, dataPolicy: cache}", DataPolicy::Cache),
    ] {
        assert_eq!(policy(mount), means, "{mount}");
    }
}

#[test]
fn a_client_completes_what_a_server_refuses() {
    let lookup = |name: &str| (name == "TAG").then(|| "1.27".to_owned());
    let client =
        Options { resolve_paths: Some("/home/a/app".into()), interpolate: Some(&lookup), ..Options::default() };
    let text =
        service("image: nginx:${TAG}\nreplicas: ${N:-3}\nvolumes: [\"./conf/../web:/web:ro\"]\nenvironment: [TAG]");
    let parsed = parse("web.yaml", text.as_bytes(), &client);
    assert!(parsed.errors.is_empty(), "{:#?}", parsed.errors);
    assert_eq!(
        written(&parsed.documents[0]).unwrap()["spec"],
        json!({ "image": "nginx:1.27", "replicas": 3, "environment": { "TAG": "1.27" }, "volumes": [
            { "type": "bind", "source": "/home/a/app/web", "target": "/web", "readOnly": true, "dataPolicy": "config" }] })
    );
    let found = errors(&service("volumes: [\"./web:/web\"]\nenvironment: [TAG]"));
    assert_eq!(found.len(), 2, "{found:#?}");
    // A secret's text may hold ${…} of its own.
    let secret =
        "apiVersion: constellation.dev/v1\nkind: Secret\nmetadata: {name: a}\nspec: {stringData: {a: \"${TAG}\"}}";
    let parsed = parse("a.yaml", secret.as_bytes(), &client);
    let Spec::Secret(spec) = &parsed.documents[0].declared.spec else { panic!("a Secret") };
    assert_eq!(spec.string_data["a"], "${TAG}");
    // A compose file in the same folder is passed over by a client.
    let parsed = parse("compose.yaml", b"services: {web: {image: nginx}}\n", &client);
    assert_eq!((parsed.errors.len(), parsed.skipped.len()), (0, 1));
    for environment in ["[\"A=1\", B]", "{B: }"] {
        let (text, lookup) = (service(&format!("environment: {environment}")), |_: &str| None);
        let client = Options { interpolate: Some(&lookup), ..client.clone() };
        let parsed = parse("web.yaml", text.as_bytes(), &client);
        let [one] = &parsed.errors[..] else { panic!("{environment}: {:#?}", parsed.errors) };
        assert_eq!(one.message, "`B` has no value", "{environment}");
        assert!(one.fix.ends_with("for an empty value, or set it where the client runs"), "{}", one.fix);
    }
}

#[test]
fn a_document_of_others_is_skipped_with_its_place_and_what_to_do() {
    let client = Options { resolve_paths: Some("/home/a".into()), interpolate: None, ..Options::default() };
    for (text, told) in [
        (
            "kind: Pod\napiVersion: v1\n",
            "a.yaml:2:13: skipped: its apiVersion is \"v1\"; write `apiVersion: constellation.dev/v1` if",
        ),
        (
            "---\nsome: {other: file}\n",
            "a.yaml:2:1: skipped: it has no `apiVersion`; add `apiVersion: constellation.dev/v1` if",
        ),
        ("services: {web: {image: a}}\n", "a.yaml:1:1: skipped: this is a compose file; write each of its services as"),
    ] {
        let parsed = parse("a.yaml", text.as_bytes(), &client);
        let [one] = &parsed.skipped[..] else { panic!("{text}: {parsed:#?}") };
        assert!(one.to_string().starts_with(told), "{one}");
    }
}

#[test]
fn json_reads_as_yaml_does() {
    let yaml = good(&service("ports: [\"80:80\"]\nenvironment: {A: \"\u{1f600}\"}"));
    let json = serde_json::to_string_pretty(&written(&yaml).unwrap()).unwrap().replace('\u{1f600}', "\\ud83d\\ude00");
    assert_eq!(good(&json).declared, yaml.declared);
    let list = read_text(&format!("[{json}, {}]", json.replace("\"web\"", "\"api\"")));
    assert_eq!((list.errors.len(), list.documents.len()), (0, 2), "{:#?}", list.errors);
}

#[test]
fn tls_without_a_certificate_is_no_tls_and_says_so() {
    let route = |tls: &str| service(&format!("expose: [80]\nroutes:\n- host: a.example\n{tls}"));
    let warned = good(&route("  tls: {}")).warnings;
    assert!(warned.len() == 1 && warned[0].starts_with("spec.routes[0].tls names no certificate"), "{warned:?}");
    for chosen in ["", "  tls: {mode: none}", "  tls: {mode: secret, secretRef: cert}"] {
        assert_eq!(good(&route(chosen)).warnings, [""; 0], "{chosen}");
    }
}
