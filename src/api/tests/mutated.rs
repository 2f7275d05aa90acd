//! Requests, bodies and frames, changed as no client should change them.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    time::timeout,
};

use super::rig::{Rig, config, service, soon};
use crate::{
    api::{
        documents,
        problem::Failure,
        request::{Format, Query, decode},
        routes::Param,
        select::Selector,
    },
    manifest,
    mutate::{Mutations, files, plain, survives, survives_text},
};

/// A refusal is the client's fault, and says what it is.
fn refused(failure: &Failure) {
    let problem = failure.problem();
    assert!((400..500).contains(&failure.status()), "{problem:?}");
    plain(&problem.title);
    plain(&problem.detail);
    problem.hint.iter().for_each(|hint| plain(hint));
    for error in &problem.errors {
        plain(&error.message);
        assert!(error.line > 0 && error.document > 0, "{error:?}");
    }
}

#[test]
fn bodies_survive_what_is_sent() {
    let (one, two) = (config("a", "1"), service("web", "redis:7", 2));
    let envelope = serde_json::json!({ "objects": [one, two], "preconditions": { "svc/web": 7, "config/a": null }, "set": "home" });
    let mut corpus = files("manifests", &["yaml"]);
    // What the short way has to judge by itself: names, keys and texts at their edges.
    let edges =
        [("a-1", "x"), ("app-config-2", "\t"), ("b", "\u{e9}\n")].map(|(name, value)| config(name, value).to_string());
    corpus.extend(edges.map(String::into_bytes));
    corpus.extend([one.to_string(), format!("[{one},\n {two}]"), envelope.to_string()].map(String::into_bytes));
    survives(Mutations::of("bodies", corpus, 3_000), |body| {
        for format in [Format::Json, Format::Yaml] {
            if let Err(failure) = documents::many(body, format) {
                refused(&failure);
            }
        }
        // The short way through JSON takes nothing that the long one does not take, and takes it for the same.
        if let (Ok(short), b'{') = (documents::many(body, Format::Json), body.first().unwrap_or(&0))
            && let [item] = short.items.as_slice()
        {
            let long = manifest::parse("request", body, &manifest::Options::default());
            if !String::from_utf8_lossy(body).contains("objects") {
                assert!(long.errors.is_empty(), "{:?}", long.errors);
                assert_eq!(long.documents.len(), 1);
                assert_eq!(long.documents[0].declared, item.declared);
            }
        }
    });
}

#[test]
fn queries_and_selectors_survive_what_is_sent() {
    const KNOWN: &[Param] =
        &[Param { name: "fromIndex", about: "", many: false }, Param { name: "kinds", about: "", many: true }];
    let corpus = ["fromIndex=12&kinds=Service,Node&kinds=a%20b+c", "fromIndex", "app=web,tier!=db,gpu,!old", "a==b"];
    survives_text(Mutations::of("queries", corpus, 5_000), |text| {
        match Query::read(text, KNOWN) {
            Ok(query) => {
                let _ = query.list("kinds");
                for failure in [query.number::<u64>("fromIndex").err(), query.flag("fromIndex").err()].iter().flatten()
                {
                    refused(failure);
                }
            }
            Err(failure) => refused(&failure),
        }
        if let Err(failure) = Selector::read(text) {
            refused(&failure);
        }
        assert!(decode(text, true).is_none_or(|decoded| decoded.len() <= text.len()));
    });
}

/// How long something more is waited for: a stream has no end.
const PATIENCE: Duration = Duration::from_millis(200);

/// Sends bytes over a connection of their own and answers with what comes back, or nothing more within [`PATIENCE`].
async fn exchange(rig: &Rig, bytes: &[u8]) -> Vec<u8> {
    let mut stream = soon("connecting", UnixStream::connect(&rig.socket)).await.unwrap();
    let mut back = Vec::new();
    // The server may hang up before it read all.
    if soon("writing", stream.write_all(bytes)).await.is_ok() && stream.shutdown().await.is_ok() {
        let _ = timeout(PATIENCE, stream.read_to_end(&mut back)).await;
    }
    back
}

/// Whether the server still does what it is there for.
async fn serves(rig: &Rig, name: &str) {
    rig.apply_at_the_socket(&config(name, "1").to_string()).await;
    let read = rig.ask("GET", &format!("/api/v1/configs/{name}")).socket().send().await;
    assert_eq!(read.status, 200, "{read:?}");
}

#[tokio::test]
async fn requests_survive_what_is_sent() {
    let rig = Rig::new().await;
    rig.node().await;
    rig.apply(&service("web", "redis:7", 1).to_string()).await;
    let ask = |method: &str, path: &str| rig.ask(method, path).header("connection", "close");
    let change = service("web", "redis:8", 2).to_string();
    let corpus = [
        ask("GET", "/api/v1/status").bytes(),
        ask("GET", "/api/v1/services?labels=app%3Dweb,tier!%3Ddb").bytes(),
        ask("GET", "/api/v1/services/web/why").socket().bytes(),
        ask("GET", "/api/v1/events?follow=false&fromIndex=1&kinds=service").bytes(),
        ask("GET", "/api/v1/audit?limit=5&after=1&since=10m&who=x").bytes(),
        ask("GET", "/api/v1/services/web/logs?tail=5&since=1h30m&timestamps").bytes(),
        ask("POST", "/api/v1/apply?dryRun=true").header("idempotency-key", "k1").body(&change).bytes(),
        ask("POST", "/api/v1/plan").header("content-type", "application/json; charset=utf-8").body(&change).bytes(),
        ask("PUT", "/api/v1/services/web")
            .header("if-match", "\"3\"")
            .header("x-change-reason", "why not")
            .body(&change)
            .bytes(),
        ask("PUT", "/api/v1/services/web/scale").header("if-none-match", "*").body("{\"replicas\": 3}").bytes(),
        ask("DELETE", "/api/v1/configs/c?force=true&resourceVersion=3").bytes(),
        ask("POST", "/api/v1/tokens").body("{\"name\":\"ci\",\"role\":\"read\",\"expiresIn\":\"30d\"}").bytes(),
        b"POST /api/v1/apply HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n0\r\n\r\n"
            .to_vec(),
    ];
    for (number, request) in Mutations::of("requests", corpus, 250).enumerate() {
        let back = exchange(&rig, &request).await;
        let head = String::from_utf8_lossy(back.get(..12).unwrap_or(&back)).into_owned();
        let status = head.strip_prefix("HTTP/1.1 ").or_else(|| head.strip_prefix("HTTP/1.0 "));
        assert!(back.is_empty() || status.is_some(), "{head:?}");
        assert!(status.is_none_or(|status| status != "500"), "{}", String::from_utf8_lossy(&back));
        if number % 100 == 0 {
            serves(&rig, &format!("r{number}")).await;
        }
    }
    serves(&rig, "last").await;
}

#[tokio::test]
async fn sockets_survive_what_is_sent() {
    let rig = Rig::new().await;
    let upgrade = "GET /ws HTTP/1.1\r\nhost: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    // Masked with zeros, as RFC 6455 allows.
    let frame = |first: u8, text: &str| {
        let length = 0x80 | u8::try_from(text.len()).unwrap();
        [&[first, length, 0, 0, 0, 0][..], text.as_bytes()].concat()
    };
    let corpus = [
        frame(0x89, "ping"),
        frame(0x81, "hello"),
        [frame(0x01, "hel"), frame(0x80, "lo")].concat(),
        frame(0x88, "\u{3}\u{e8}bye"),
        frame(0x82, "\u{0}\u{1}"),
        [&[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0][..], b"long form"].concat(),
    ];
    for (number, frames) in Mutations::of("frames", corpus, 60).enumerate() {
        let mut request = upgrade.as_bytes().to_vec();
        request.extend_from_slice(&frames);
        let back = exchange(&rig, &request).await;
        assert!(back.is_empty() || back.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&back));
        if number % 50 == 0 {
            serves(&rig, &format!("s{number}")).await;
        }
    }
    serves(&rig, "last").await;
}
