//! Golden files of what people read, from values as they come over the wire.

use serde_json::{Value, json};

use super::{describe, events, objects, plan, replicas, why};
use crate::{
    api::wire::{Difference, Object, PlanAnswer, ServiceReport, WhyReport},
    cli::{replicas::Replicas, text, text::Times},
    model::{Event, Kind, ObjectKey},
};

const NOW: u64 = 1_788_400_000_000;
const TIMES: Times = Times::RelativeTo(NOW);

fn ago(seconds: u64) -> u64 {
    NOW - seconds * 1000
}

fn object(kind: &str, name: &str, age: u64, spec: Value, status: Value) -> Object {
    let metadata = json!({
        "name": name, "uid": "0123456789abcdef0123456789abcdef", "generation": 14, "resourceVersion": 18441,
        "createdAt": ago(age), "labels": {"app": "shop"}, "managedBy": "home",
    });
    let mut value = json!({"apiVersion": "constellation.dev/v1", "kind": kind, "metadata": metadata, "spec": spec});
    if !status.is_null() {
        value["status"] = status;
    }
    serde_json::from_value(value).unwrap()
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": message,
           "lastTransitionTime": ago(250), "observedGeneration": 14})
}

fn service(name: &str, image: &str, ready: (u32, u32), first: Value) -> Object {
    let counts = json!({"desired": ready.1, "running": ready.0, "ready": ready.0, "updated": ready.1});
    let reservations = json!({"reservations": {"cpus": "500m", "memory": "1Gi"}});
    object(
        "Service",
        name,
        1_036_800,
        json!({"image": image, "replicas": ready.1, "resources": reservations}),
        json!({"conditions": [first], "observedGeneration": 14, "replicas": counts, "revision": 3}),
    )
}

fn replica(service: &str, slot: u32, suffix: &str, desired: &str, age: u64, status: Value) -> Object {
    let decision = json!({"node": "n1", "score": 71, "considered": [
        {"node": "n1", "score": 71, "rejections": []},
        {"node": "n4", "score": 0, "rejections": [
            {"filter": "constraint", "reason": "NoNodeFits", "message": "constraint node.labels.gpu == true: it is \"no\""}]}]});
    object(
        "Replica",
        &format!("{service}-{slot}-{suffix}"),
        age,
        json!({"service": service, "slot": slot, "display": format!("{service}.{slot}"), "revision": 14,
               "specHash": "ab", "node": "n1", "epoch": "0.7", "desired": desired, "decision": decision}),
        status,
    )
}

fn running(health: &str) -> Value {
    json!({"phase": "Running", "ready": health == "healthy", "message": "", "since": ago(170), "health": health,
           "restarts": 0, "container": "0123456789abcdef", "address": "172.18.0.3",
           "reason": if health == "healthy" { Value::Null } else { json!("Unhealthy") }})
}

fn replicas_of_web() -> Vec<Object> {
    let exit = json!({"code": 137, "oomKilled": true, "at": ago(40), "logTail": []});
    vec![
        replica("web", 1, "aaaaa", "Run", 180, running("healthy")),
        replica(
            "web",
            1,
            "zzzzz",
            "Stop",
            172_800,
            json!({"phase": "Stopped", "ready": false, "message": "", "since": ago(180),
            "health": "", "restarts": 0, "lastExit": {"code": 0, "oomKilled": false, "at": ago(180)}}),
        ),
        replica(
            "web",
            2,
            "bbbbb",
            "Run",
            52,
            json!({"phase": "BackOff", "ready": false, "reason": "CrashLoopBackOff",
            "message": "", "since": ago(12), "nextAttempt": NOW + 20_000, "health": "-", "restarts": 1, "lastExit": exit}),
        ),
        replica("web", 3, "ccccc", "Run", 5, Value::Null),
        replica("db", 1, "ddddd", "Run", 50_000, running("unhealthy")),
    ]
}

fn table(kind: Kind, items: &[Object], wide: bool) -> String {
    let around =
        objects::Around { wide, times: TIMES, replicas: &replicas_of_web(), services: &services(), leader: Some("n1") };
    let rows: Vec<_> = items.iter().map(|o| objects::row(o, &around)).collect();
    text::table(0, &objects::header(kind, wide), &rows)
}

fn services() -> Vec<Object> {
    vec![
        service("web", "ghcr.io/acme/web:1.9", (1, 3), condition("Ready", "False", "CrashLoopBackOff", "web.2 ends")),
        service("db", "postgres:17", (1, 1), condition("Ready", "True", "UpToDate", "")),
        object("Service", "new", 2, json!({"image": "x", "mode": "global"}), Value::Null),
        object("Service", "idle", 9000, json!({"image": "x", "suspend": true}), Value::Null),
    ]
}

#[test]
fn tables_of_every_kind() {
    let node = object(
        "Node",
        "n1",
        3_542_400,
        json!({"roles": ["server", "agent"], "schedulable": false}),
        json!({"conditions": [condition("Ready", "True", "NodeReady", "")], "version": "0.1.0", "cpus": "8",
               "memory": "16Gi", "addresses": ["100.64.0.1"], "kernel": "6.1",
               "engine": {"id": "e", "version": "20.10.24", "apiVersion": "1.41", "os": "linux", "arch": "amd64", "rootless": false}}),
    );
    let in_use = json!({"conditions": [condition("InUse", "True", "UpToDate", "")]});
    let config = object("Config", "app", 90, json!({"data": {"a.conf": "x = 1", "b.conf": "y"}}), in_use);
    let secret = object(
        "Secret",
        "db",
        90,
        json!({"type": "basicAuth", "version": 2, "digest": "0123456789abcdef", "keys": ["password", "username"]}),
        Value::Null,
    );
    let all = [
        (Kind::Service, services()),
        (Kind::Replica, replicas_of_web()),
        (Kind::Node, vec![node]),
        (Kind::Config, vec![config]),
        (Kind::Secret, vec![secret]),
    ];
    let text: String = all
        .iter()
        .flat_map(|(kind, items)| [table(*kind, items, false), table(*kind, items, true), "\n".to_owned()])
        .collect();
    insta::assert_snapshot!(text);
}

#[test]
fn describe_of_a_secret_says_which_replicas_run_with_which_version() {
    let late = condition("RotationComplete", "False", "ReplicaSetUpdated", "svc/web: older in 1 of 3 replicas");
    let status = json!({"conditions": [condition("Ready", "True", "UpToDate", ""), late], "nextRotation": NOW + 14_400_000,
        "versions": [
            {"version": 4, "current": true, "kept": true, "replicas": 2, "services": {"api": 1, "web": 1}},
            {"version": 3, "current": false, "kept": true, "replicas": 1, "services": {"web": 1}},
            {"version": 1, "current": false, "kept": false, "replicas": 1, "services": {"web": 1}},
            {"current": false, "kept": false, "replicas": 1, "services": {"web": 1}}]});
    let secret = object("Secret", "db", 90, json!({"type": "opaque", "version": 4, "keys": ["value"]}), status);
    let (why, known) = (WhyReport::default(), Replicas::from_list(&[]));
    let whole = describe::Whole { object: &secret, replicas: &[], why: &why, events: &[], known: &known, times: TIMES };
    insta::assert_snapshot!(describe::text(&whole));
}

#[test]
fn later_rows_of_a_list_that_goes_on_stand_under_the_first() {
    let header = objects::header(Kind::Service, false);
    let row =
        |status: &str| ["web", "replicated", "1/1", "1", "web:1", "n1", status, "3m12s"].map(str::to_owned).to_vec();
    let widths = objects::widths(&header, &[row("Ready")]);
    let age = |status: &str| text::row(&widths, &row(status)).find("3m12s");
    for status in ["NotReady: CrashLoopBackOff", "NotReady: MinimumReplicasUnavailable"] {
        assert_eq!(age(status), age("Ready"), "{status}");
    }
}

#[test]
fn ps_keeps_what_was_there_before_below_what_runs() {
    let all = replicas_of_web();
    insta::assert_snapshot!(format!("{}\n{}", replicas::ps(&all, false, TIMES), replicas::ps(&all[4..], true, TIMES)));
}

#[test]
fn what_ends_by_itself_shall_be_completed_until_it_is_taken_away() {
    let ended = json!({"phase": "Completed", "ready": false, "message": "", "since": ago(40), "health": "", "restarts": 0,
        "lastExit": {"code": 0, "oomKilled": false, "at": ago(40)}});
    let hook = |suffix: &str, desired: &str| {
        let mut hook = replica("web", 0, suffix, desired, 50, ended.clone());
        hook.spec["display"] = json!("web.preDeploy");
        hook.spec["runsOnce"] = json!(true);
        hook
    };
    let all = [hook("aaaaa", "Run"), hook("bbbbb", "Stop"), replica("web", 1, "ccccc", "Run", 50, running("healthy"))];
    let text = replicas::ps(&all, false, TIMES);
    let shown: Vec<Vec<&str>> =
        text.lines().skip(1).map(|line| line.trim_start_matches(" \\_").split_whitespace().take(3).collect()).collect();
    let wanted = [["web.preDeploy", "n1", "Completed"], ["web.preDeploy", "n1", "Stopped"], ["web.1", "n1", "Running"]];
    assert_eq!(shown, wanted, "{text}");
}

#[test]
fn why_says_what_differs_and_what_to_do() {
    let differences: Vec<Difference> = serde_json::from_value(json!([
        {"path": "replicas/web.2", "desired": "running, ready", "actual": "ended 3 times", "reason": "CrashLoopBackOff",
         "message": "exit 1 after 2s", "since": ago(250), "nextAttempt": NOW + 20_000},
        {"path": "secrets/db-url", "desired": "exists", "actual": "missing", "reason": "SecretMissing",
         "message": "secret/db-url does not exist", "since": ago(10), "hint": "apply secret/db-url"},
    ]))
    .unwrap();
    let conditions = [serde_json::from_value(condition("Ready", "False", "CrashLoopBackOff", "")).unwrap()];
    let key = ObjectKey::service("web");
    let good = [serde_json::from_value(condition("Ready", "True", "UpToDate", "")).unwrap()];
    let first = WhyReport { differences: differences[..1].to_vec(), chain: vec!["svc/web is not ready".into()] };
    let chain = ["svc/web is not ready", "web.2 is waiting", "secret db-url does not exist"].map(String::from).to_vec();
    let report = WhyReport { differences, chain };
    let text = [
        why::report(&key, &conditions, &report, TIMES),
        why::report(&key, &good, &WhyReport::default(), TIMES),
        why::report(&key, &good, &first, Times::Absolute),
    ];
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn the_last_words_of_a_container_are_shown_cleaned() {
    let report: ServiceReport = serde_json::from_value(json!({
        "index": 1, "name": "web", "generation": 1, "observedGeneration": 1, "revision": 1, "conditions": [],
        "counts": {"desired": 1, "running": 0, "ready": 0, "updated": 1},
        "replicas": [{
            "replica": "web-1-aaaaa", "display": "web.1", "slot": 1, "node": "n1", "createdAt": 0,
            "desired": {"state": "Run", "revision": 1, "specHash": "x", "epoch": "0.1"},
            "actual": {"state": "BackOff", "ready": false, "since": 0, "health": "-", "restarts": 2,
                       "lastExit": {"code": 1, "oomKilled": false, "at": 0,
                                    "logTail": (1..=12).map(|n| format!("line {n}\u{1b}[2J")).collect::<Vec<_>>()}},
        }],
    }))
    .unwrap();
    insta::assert_snapshot!(why::last_words(&report));
}

#[test]
fn the_last_words_of_a_hook_are_those_of_the_revision_that_is_spoken_of() {
    let row = |revision: u64, display: &str| {
        json!({
            "replica": format!("web-x-{revision}"), "display": display, "slot": 0, "node": "n1", "createdAt": 0,
            "desired": {"state": "Run", "revision": revision, "specHash": "x", "epoch": "0.1"},
            "actual": {"state": "Failed", "ready": false, "since": 0, "health": "-", "restarts": 0,
                       "lastExit": {"code": 1, "oomKilled": false, "at": 0, "logTail": [format!("of {revision}")]}},
        })
    };
    let hook = "web.preDeploy";
    for (case, rows, said) in [
        ("an earlier one", vec![row(1, hook)], vec![]),
        ("the newest", vec![row(1, hook), row(2, hook)], vec!["of 2"]),
        ("a replica", vec![row(1, "web.0")], vec!["of 1"]),
    ] {
        let report: ServiceReport = serde_json::from_value(json!({
            "index": 1, "name": "web", "generation": 2, "observedGeneration": 2, "revision": 2, "conditions": [],
            "counts": {"desired": 1, "running": 0, "ready": 0, "updated": 1}, "replicas": rows,
        }))
        .unwrap();
        let told = why::last_words(&report);
        let lines: Vec<&str> = told.lines().filter_map(|line| line.strip_prefix("  | ")).collect();
        assert_eq!(lines, said, "{case}");
    }
}

fn change() -> PlanAnswer {
    serde_json::from_value(json!({
        "index": 18442,
        "preconditions": {"svc/web": 18400},
        "objects": [
            {"kind": "Service", "name": "web", "result": "configured", "generation": 15, "fields": [
                {"path": "spec.image", "from": "ghcr.io/acme/web:1.8", "to": "ghcr.io/acme/web:1.9", "forcesReplace": true},
                {"path": "spec.environment[LOG_LEVEL]", "to": "very loud", "forcesReplace": true},
                {"path": "spec.environment[PORT]", "from": "80"},
                {"path": "spec.replicas", "from": 3, "to": 4}],
             "operations": [
                {"op": "-/+", "replica": "web.1", "node": "n1", "order": "stop-first", "reason": "ReplicaSetUpdated",
                 "detail": "the image changes"},
                {"op": "+", "replica": "web.4", "node": "n1", "reason": "Scheduled", "score": 71, "rejected": [
                    {"node": "n2", "score": 64, "rejections": []},
                    {"node": "n4", "score": 0, "rejections": [
                        {"filter": "constraint", "reason": "NoNodeFits", "message": "constraint node.labels.gpu != true"}]}]},
                {"op": "+", "replica": "web.5", "reason": "NoNodeFits", "detail": "n1: memory: 4Gi asked, 1Gi free", "rejected": [
                    {"node": "n1", "score": 0, "rejections": [
                        {"filter": "capacity", "reason": "NoNodeFits", "message": "memory: 4Gi asked, 1Gi free"}]}]}]},
            {"kind": "Config", "name": "app", "result": "created", "generation": 1},
            {"kind": "Secret", "name": "db", "result": "unchanged", "generation": 2},
            {"kind": "Service", "name": "old", "result": "deleted", "generation": 3, "operations": [
                {"op": "-", "replica": "old.1", "node": "n1", "reason": "ServiceDeleted"}]},
        ],
        "warnings": ["svc/web: secret/none does not exist"],
        "notes": ["svc/web: data at /data: dataPolicy state (chosen for you): moves with the replica"],
    }))
    .unwrap()
}

#[test]
fn a_plan_shows_fields_operations_nodes_and_why() {
    let plan = change();
    assert!(plan::changes(&plan));
    let whole = plan::text(&plan, plan::Detail::Whole, Some("home"));
    let fields = plan::text(&plan, plan::Detail::Fields, None);
    insta::assert_snapshot!(format!("{whole}\n== diff\n{fields}"));
}

fn happened() -> Vec<Event> {
    let event = |index: u64, kind: &str, reason: &str, object: &str, name: &str, count: u64, message: &str| {
        json!({"index": index, "time": ago(18_450 - index), "type": kind, "reason": reason, "message": message, "count": count,
               "object": {"kind": object, "name": name, "uid": "u"}, "node": "n1", "firstSeen": ago(60)})
    };
    serde_json::from_value(json!([
        event(18439, "Normal", "Scheduled", "Replica", "web-4-aaaaa", 1, "score 71; 3 nodes considered, 1 rejected"),
        event(18441, "Warning", "Unhealthy", "Replica", "web-2-bbbbb", 3, "GET :8080/healthz: 500\u{1b}[0m"),
        event(18442, "Normal", "Configured", "Service", "web", 1, "generation 15"),
    ]))
    .unwrap()
}

#[test]
fn events_are_a_table_and_a_stream_of_lines() {
    let known = Replicas::default();
    let rows: Vec<Vec<String>> = happened().iter().map(|e| events::row(e, &known, TIMES)).collect();
    let lines: Vec<String> =
        std::iter::once(events::line(&events::HEADER)).chain(rows.iter().map(|row| events::line(row))).collect();
    insta::assert_snapshot!(format!("{}\n{}", text::table(0, &events::HEADER, &rows), lines.join("\n")));
}

#[test]
fn describe_is_everything_on_one_page() {
    let replicas = replicas_of_web();
    let differences: Vec<Difference> = serde_json::from_value(json!([
        {"path": "replicas/web.2", "desired": "running", "actual": "ended", "reason": "CrashLoopBackOff",
         "message": "exit 1", "since": ago(250)}]))
    .unwrap();
    let whole = describe::Whole {
        object: &services()[0],
        replicas: &replicas[..4],
        why: &WhyReport { differences, chain: Vec::new() },
        events: &happened(),
        known: &Replicas::from_list(&replicas),
        times: TIMES,
    };
    insta::assert_snapshot!(describe::text(&whole));
}
