//! Logs and builds: what the engine says, as ndjson or as text.

use std::{collections::BTreeMap, str::FromStr as _};

use serde_json::{Value, json};

use super::rig::{Rig, service, until};
use crate::{
    model::{ObjectKey, ReplicaPhase, ReplicaStatus, Status},
    runtime::{LogChunk, RuntimeError},
};

fn chunk(stderr: bool, text: &str) -> Result<LogChunk, RuntimeError> {
    Ok(LogChunk { stderr, bytes: text.to_owned().into() })
}

async fn running(rig: &Rig, slot: u32, container: &str, started: &str) {
    seen(rig, slot, ReplicaPhase::Running, container, started).await;
}

async fn seen(rig: &Rig, slot: u32, phase: ReplicaPhase, container: &str, started: &str) {
    let status = ReplicaStatus {
        phase,
        container: Some(container.into()),
        started_at: Some(started.into()),
        ..ReplicaStatus::default()
    };
    rig.observe(ObjectKey::replica(format!("web-{slot}-abcde").as_str()), Status::Replica(status)).await;
}

async fn web(rig: &Rig) {
    rig.node().await;
    rig.apply(&service("web", "nginx:1", 2).to_string()).await;
    for slot in [1, 2] {
        rig.place("web", slot).await;
        running(rig, slot, &format!("c{slot}"), "1").await;
    }
}

fn line(value: &Value) -> (&str, &str, &str) {
    let text = |field: &str| value[field].as_str().unwrap();
    (text("replica"), text("stream"), text("line"))
}

#[tokio::test]
async fn logs_of_a_service_are_lines_of_all_its_replicas() {
    let rig = Rig::new().await;
    web(&rig).await;
    let (one, two) = (rig.engine.tape("c1"), rig.engine.tape("c2"));
    one.try_send(chunk(false, "half a ")).unwrap();
    one.try_send(chunk(true, "an error\n")).unwrap();
    one.try_send(chunk(false, "line\r\nno end")).unwrap();
    two.try_send(chunk(false, "other\n")).unwrap();
    drop((one, two));
    let mut stream = rig.ask("GET", "/api/v1/services/web/logs?tail=5&since=7").stream().await;
    let mut lines = stream.lines(4).await;
    assert_eq!(stream.line().await, None, "it ends without follow");
    lines.sort_by_key(|l| line(l).0.to_owned());
    assert_eq!(
        lines.iter().map(line).collect::<Vec<_>>(),
        [
            ("web-1-abcde", "stderr", "an error"),
            ("web-1-abcde", "stdout", "half a line"),
            ("web-1-abcde", "stdout", "no end"),
            ("web-2-abcde", "stdout", "other"),
        ]
    );
    for (container, query) in rig.engine.readings() {
        assert_eq!((query.tail, query.since), (Some(5), Some(7)), "{container}");
    }
    assert_eq!(rig.engine.readings().len(), 2);
}

#[tokio::test]
async fn followed_logs_go_on_over_a_restart() {
    let rig = Rig::new().await;
    web(&rig).await;
    let first = rig.engine.tape("c1");
    first.try_send(chunk(false, "before\n")).unwrap();
    let mut stream = rig.ask("GET", "/api/v1/replicas/web-1-abcde/logs?follow=true").stream().await;
    assert_eq!(line(&stream.line().await.unwrap()).2, "before");
    let second = rig.engine.tape("c1");
    second.try_send(chunk(false, "after\n")).unwrap();
    drop(first);
    running(&rig, 1, "c1", "2").await;
    assert_eq!(line(&stream.line().await.unwrap()).2, "after");
    drop(stream);
    until("the reader's end", || second.is_closed()).await;
}

#[tokio::test]
async fn a_followed_log_that_breaks_off_is_read_on_and_no_line_comes_twice() {
    let rig = Rig::new().await;
    web(&rig).await;
    rig.engine.foreign("c1", BTreeMap::new());
    let at = |second: u32, text: &str| chunk(false, &format!("2026-01-01T00:00:{second:02}.500000000Z {text}"));
    let first = rig.engine.tape("c1");
    first.try_send(at(1, "one\n")).unwrap();
    first.try_send(at(2, "two\n")).unwrap();
    // The engine restarts, the container does not; then the connection breaks.
    let second = rig.engine.tape("c1");
    for line in [at(1, "one\n"), at(2, "two\n"), at(2, "two again\n"), at(3, "long "), at(3, "line\n")] {
        second.try_send(line).unwrap();
    }
    second.try_send(Err(RuntimeError::Failed { message: "reset".into() })).unwrap();
    let third = rig.engine.tape("c1");
    third.try_send(at(3, "long ")).unwrap();
    third.try_send(at(3, "line\n")).unwrap();
    third.try_send(at(4, "last\n")).unwrap();
    drop((first, second));
    let mut stream = rig.ask("GET", "/api/v1/replicas/web-1-abcde/logs?follow=true&tail=9").stream().await;
    let lines = stream.lines(6).await;
    assert_eq!(
        lines.iter().map(|l| (line(l).1, line(l).2)).collect::<Vec<_>>(),
        [
            ("stdout", "one"),
            ("stdout", "two"),
            ("stdout", "two again"),
            ("stdout", "long line"),
            ("error", "the engine failed: reset"),
            ("stdout", "last"),
        ]
    );
    let since = jiff::Timestamp::from_str("2026-01-01T00:00:01Z").unwrap().as_second();
    let asked: Vec<_> = rig.engine.readings().into_iter().map(|(_, query)| (query.tail, query.since)).collect();
    assert_eq!(asked.first(), Some(&(Some(9), None)), "{asked:?}");
    assert!(asked.contains(&(None, Some(since))), "{asked:?}");
    // The container ends: so does its log, and it is not asked for again.
    rig.engine.crash("c1", 0);
    drop(third);
    let asked = rig.engine.readings().len();
    let next = rig.engine.tape("c1");
    next.try_send(at(5, "of another life\n")).unwrap();
    running(&rig, 1, "c1", "2").await;
    assert_eq!(line(&stream.line().await.unwrap()).2, "of another life");
    assert_eq!(rig.engine.readings().len(), asked + 1);
}

#[tokio::test]
async fn logs_as_text_are_for_people_and_what_cannot_be_read_is_said() {
    let rig = Rig::new().await;
    web(&rig).await;
    rig.engine.tape("c1").try_send(chunk(false, "hello\n")).unwrap();
    let answer = rig.get("/api/v1/services/web/logs?format=text&replica=1").await;
    assert_eq!((answer.header("content-type"), answer.text()), (Some("text/plain; charset=utf-8"), "web.1 | hello\n"));
    let mut stream = rig.ask("GET", "/api/v1/services/web/logs?replica=2").stream().await;
    let failed = stream.line().await.unwrap();
    assert_eq!(line(&failed), ("web-2-abcde", "error", "container c2 does not exist"));
    assert_eq!(failed["error"]["status"], 404, "{failed}");
    let table = [("services/none", 404), ("replicas/none", 404), ("services/web", 200)];
    for (path, status) in table {
        assert_eq!(rig.get(&format!("/api/v1/{path}/logs")).await.status, status, "{path}");
    }
    for (query, status) in [("replica=9", 404), ("format=xml", 400), ("since=yesterday", 400), ("tail=-1", 400)] {
        assert_eq!(rig.get(&format!("/api/v1/services/web/logs?{query}")).await.status, status, "{query}");
    }
}

#[tokio::test]
async fn an_engine_that_does_not_answer_is_told_before_anything_is_read() {
    let rig = Rig::new().await;
    web(&rig).await;
    rig.engine.down(true);
    for query in ["", "?follow=true", "?format=text"] {
        let refused = rig.get(&format!("/api/v1/services/web/logs{query}")).await;
        assert_eq!(refused.problem(), (503, "engine-down".into()), "{query}");
    }
    assert!(rig.engine.readings().is_empty());
    let built = rig.ask("POST", "/api/v1/builds?tag=x").media("application/x-tar").body("x").send().await;
    let last: Value = serde_json::from_str(built.text().trim()).unwrap();
    assert_eq!(last["error"]["status"], 503, "{last}");
    // Where no container was made yet the engine has nothing to say.
    rig.apply(&service("idle", "nginx:1", 1).to_string()).await;
    assert_eq!(rig.get("/api/v1/services/idle/logs").await.status, 200);
}

#[tokio::test]
async fn a_container_that_is_gone_is_no_failure_once_its_replica_has_ended() {
    let rig = Rig::new().await;
    web(&rig).await;
    for phase in [ReplicaPhase::Completed, ReplicaPhase::Failed] {
        seen(&rig, 2, phase, "c2", "1").await;
        let mut stream = rig.ask("GET", "/api/v1/services/web/logs?replica=2").stream().await;
        let said = stream.line().await.unwrap();
        assert_eq!((line(&said).2, &said["error"]), ("container c2 does not exist", &Value::Null), "{phase:?}");
    }
    // It ends while it is read.
    let tape = rig.engine.tape("c1");
    tape.try_send(chunk(false, "working\n")).unwrap();
    let mut stream = rig.ask("GET", "/api/v1/services/web/logs?replica=1&follow=true").stream().await;
    assert_eq!(line(&stream.line().await.unwrap()).2, "working");
    seen(&rig, 1, ReplicaPhase::Completed, "c1", "1").await;
    tape.try_send(Err(RuntimeError::NotFound { what: "container c1".into() })).unwrap();
    let said = stream.line().await.unwrap();
    assert_eq!((line(&said).1, &said["error"]), ("error", &Value::Null), "{said}");
}

#[tokio::test]
async fn a_busy_engine_is_asked_for_logs_and_only_under_a_permit() {
    let rig = Rig::new().await;
    web(&rig).await;
    rig.engine.overload(true);
    rig.engine.tape("c1").try_send(chunk(false, "hello\n")).unwrap();
    let mut stream = rig.ask("GET", "/api/v1/services/web/logs?replica=1").stream().await;
    assert_eq!(line(&stream.line().await.unwrap()).2, "hello");
    let full = Rig::with(|limits| limits.classes.logs.at_once = 0).await;
    web(&full).await;
    full.engine.down(true);
    assert_eq!(full.get("/api/v1/services/web/logs").await.status, 429, "nothing is asked without one");
}

#[tokio::test]
async fn a_build_takes_its_context_as_it_comes_and_ends_with_an_image() {
    let rig = Rig::new().await;
    let build = |query: &str| rig.ask("POST", &format!("/api/v1/builds?{query}")).media("application/x-tar");
    rig.engine.with_image("base:1");
    let mut context = tar::Builder::new(Vec::new());
    for (name, content) in [("Dockerfile", b"FROM base:1\n".to_vec()), ("data", vec![7; 100_000])] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        context.append_data(&mut header, name, content.as_slice()).unwrap();
    }
    let answer = build("tag=me/app:1&arg=A=b%20c&arg=D=").body(context.into_inner().unwrap()).send().await;
    let lines: Vec<Value> = answer.text().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(lines[0], json!({"output": "Step 1/1 : FROM base:1"}));
    assert!(lines.last().unwrap()["image"].as_str().is_some_and(|id| id.starts_with("sha256:")), "{lines:?}");
    assert_eq!(rig.engine.calls(), [r#"build me/app:1 {"A": "b c", "D": ""}"#]);
    for query in ["", "tag=", "tag=x&arg=novalue", "tag=x&pull=maybe"] {
        assert_eq!(build(query).body("x").send().await.problem(), (400, "bad-request".into()), "{query}");
    }
}

#[tokio::test]
async fn a_context_over_its_limit_is_the_last_line_of_its_build() {
    let rig = Rig::with(|l| l.context = 1_000).await;
    let announced = rig.ask("POST", "/api/v1/builds?tag=x").body(vec![0; 2_000]).send().await;
    assert_eq!(announced.problem(), (413, "too-large".into()));
    let ask = rig.ask("POST", "/api/v1/builds?tag=x").header("transfer-encoding", "chunked");
    let (head, mut wire) = ask.open().await;
    assert_eq!(head.status, 200);
    for _ in 0..4 {
        wire.try_write(format!("190\r\n{}\r\n", "x".repeat(0x190))).await;
    }
    let last = wire.line().await.unwrap();
    assert_eq!((&last["error"]["status"], wire.line().await), (&json!(413), None), "{last}");
}

#[tokio::test]
async fn no_empty_line_stands_among_logs_for_people() {
    let rig = Rig::with(|l| l.heartbeat = std::time::Duration::from_millis(10)).await;
    web(&rig).await;
    let log = rig.engine.tape("c1");
    let (head, mut text) = rig.ask("GET", "/api/v1/services/web/logs?format=text&replica=1&follow=true").open().await;
    assert_eq!(head.status, 200);
    // The same silence, as programs hear it.
    let mut json = rig.ask("GET", "/api/v1/events").stream().await;
    for _ in 0..5 {
        assert_eq!(json.raw_line().await.unwrap(), "");
    }
    log.try_send(chunk(false, "hello\n")).unwrap();
    assert_eq!(text.raw_line().await.unwrap(), "web.1 | hello");
}
