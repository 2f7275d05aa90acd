//! Connections: slow heads, slow bodies, too many of them, pipelines, halves.

use std::time::Duration;

use super::{
    client::Wire,
    rig::{Rig, config, soon, until},
};

const SHORT: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_head_that_does_not_come_is_cut() {
    let rig = Rig::with(|l| l.head = SHORT).await;
    let mut silent = rig.tcp().await;
    let mut half = rig.unix().await;
    half.write("GET /health HTTP/1.1\r\nhost: x\r\n").await;
    let mut idle = rig.tcp().await;
    idle.write(rig.ask("GET", "/health").bytes()).await;
    assert_eq!(idle.answer().await.status, 200);
    let trickle = async {
        let mut wire = rig.tcp().await;
        let head = format!("GET /health HTTP/1.1\r\nx: {}", "x".repeat(60_000));
        let mut pace = tokio::time::interval(Duration::from_millis(5));
        for byte in head.as_bytes() {
            pace.tick().await;
            if !wire.try_write([*byte]).await {
                return;
            }
        }
        panic!("the whole head was taken");
    };
    let cut = async |wire: &mut Wire| assert!(!String::from_utf8_lossy(&wire.read_to_close().await).contains("200 OK"));
    tokio::join!(cut(&mut silent), cut(&mut half), cut(&mut idle), soon("the end of the trickle", trickle));
    until("every connection's end", || rig.shared.http.connections.get() == 0).await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_408() {
    let rig = Rig::with(|l| l.request = SHORT).await;
    let body = config("c", "1").to_string();
    let whole = rig.ask("POST", "/api/v1/apply").body(&body).bytes();
    let mut wire = rig.tcp().await;
    wire.write(&whole[..whole.len() - 5]).await;
    let answer = wire.answer().await;
    assert_eq!(answer.problem(), (408, "timeout".into()));
    assert_eq!(answer.header("connection"), Some("close"));
    wire.read_to_close().await;
    assert_eq!(rig.get("/api/v1/configs/c").await.status, 404);
    // A stream goes on after its head.
    let mut watch = rig.ask("GET", "/api/v1/configs?watch=true").stream().await;
    tokio::time::sleep(SHORT * 2).await;
    rig.apply(&body).await;
    assert!(watch.line().await.is_some());
}

#[tokio::test]
async fn a_body_that_breaks_off_writes_nothing() {
    let rig = Rig::new().await;
    let whole = rig.ask("POST", "/api/v1/apply").body(config("c", "1").to_string()).bytes();
    let mut wire = rig.tcp().await;
    wire.write(&whole[..whole.len() - 5]).await;
    drop(wire);
    let mut chunked = rig.tcp().await;
    chunked.write(rig.ask("POST", "/api/v1/apply").header("transfer-encoding", "chunked").bytes()).await;
    chunked.write("5\r\n{\"api\r\nzz\r\n").await;
    let answer = String::from_utf8_lossy(&chunked.read_to_close().await).into_owned();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    until("every connection's end", || rig.shared.http.connections.get() == 0).await;
    assert_eq!(rig.get("/api/v1/configs/c").await.status, 404);
}

#[tokio::test]
async fn more_connections_than_the_limit_wait_and_are_then_served() {
    let rig = Rig::with(|l| l.connections = 3).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut wire = rig.tcp().await;
        wire.write(rig.ask("GET", "/health").bytes()).await;
        assert_eq!(wire.answer().await.status, 200);
        open.push(wire);
    }
    let mut more = Vec::new();
    for _ in 0..5 {
        let mut wire = rig.tcp().await;
        wire.write(rig.ask("GET", "/health").header("connection", "close").bytes()).await;
        more.push(wire);
    }
    // Whoever is served can still ask, and the socket has places of its own.
    open[0].write(rig.ask("GET", "/metrics").bytes()).await;
    let metrics = open[0].answer().await;
    assert!(metrics.text().contains("constellation_api_connections 3\n"), "{metrics:?}");
    let mut at_the_socket = Vec::new();
    for _ in 0..3 {
        let mut wire = rig.unix().await;
        wire.write(rig.ask("GET", "/metrics").socket().bytes()).await;
        assert_eq!(wire.answer().await.status, 200);
        at_the_socket.push(wire);
    }
    assert_eq!(rig.shared.http.connections.get(), 6, "a full port locks nobody out of the socket");
    drop(at_the_socket);
    open.clear();
    for mut wire in more {
        assert_eq!(wire.answer().await.status, 200);
    }
}

#[tokio::test]
async fn a_websocket_and_a_watch_keep_the_place_of_their_connection() {
    let rig = Rig::with(|l| l.connections = 3).await;
    let socket = super::sockets::Socket::open(&rig, "/ws").await.unwrap();
    let watch = rig.ask("GET", "/api/v1/configs?watch=true").stream().await;
    let mut third = rig.tcp().await;
    third.write(rig.ask("GET", "/metrics").bytes()).await;
    let metrics = third.answer().await;
    assert!(metrics.text().contains("constellation_api_connections 3\n"), "{metrics:?}");
    assert!(metrics.text().contains("constellation_api_streams 2\n"), "{metrics:?}");
    let mut fourth = rig.tcp().await;
    fourth.write(rig.ask("GET", "/health").bytes()).await;
    drop(socket);
    assert_eq!(fourth.answer().await.status, 200, "the place of the WebSocket is free");
    drop((watch, third, fourth));
    until("every place's return", || rig.shared.http.connections.get() == 0 && rig.shared.http.streams.get() == 0)
        .await;
}

#[tokio::test]
async fn streams_over_the_limit_are_refused_with_when_to_come_again() {
    let rig = Rig::with(|l| l.streams = 2).await;
    let first = rig.ask("GET", "/api/v1/configs?watch=true").stream().await;
    let _second = rig.ask("GET", "/api/v1/events").stream().await;
    for path in ["/api/v1/services?watch=true", "/api/v1/events", "/api/v1/events?follow=false&fromIndex=0"] {
        let answer = rig.get(path).await;
        assert_eq!(answer.problem(), (429, "too-many-streams".into()), "{path}");
        assert!(answer.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
    }
    assert_eq!(rig.get("/api/v1/configs").await.status, 200, "a list is no stream");
    drop(first);
    until("a place", || rig.shared.http.streams.get() < 2).await;
    rig.ask("GET", "/api/v1/configs?watch=true").stream().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let rig = Rig::new().await;
    let mut all = Vec::new();
    for n in 0..20 {
        all.extend(rig.ask("PUT", "/api/v1/configs/c").body(config("c", &n.to_string()).to_string()).bytes());
        all.extend(rig.ask("GET", "/api/v1/configs/c").bytes());
    }
    all.extend(rig.ask("GET", "/nowhere").bytes());
    let mut wire = rig.tcp().await;
    wire.write(all).await;
    for n in 0..20 {
        assert_eq!(wire.answer().await.status, 200);
        assert_eq!(wire.answer().await.json()["spec"]["data"]["a"], n.to_string());
    }
    assert_eq!(wire.answer().await.status, 404);
}

#[tokio::test]
async fn a_client_that_closes_its_half_gives_its_place_back() {
    let rig = Rig::with(|l| l.connections = 2).await;
    for path in ["/api/v1/configs?watch=true", "/api/v1/events", "/health"] {
        let mut wire = rig.tcp().await;
        wire.write(rig.ask("GET", path).bytes()).await;
        assert_eq!(wire.head().await.unwrap().status, 200, "{path}");
        wire.half_close().await;
        wire.read_to_close().await;
    }
    let mut silent = rig.tcp().await;
    silent.half_close().await;
    assert_eq!(silent.read_to_close().await, b"");
    until("every place's return", || rig.shared.http.connections.get() == 0 && rig.shared.http.streams.get() == 0)
        .await;
}

#[tokio::test]
async fn a_client_that_says_all_and_closes_its_half_at_once_still_gets_its_answer() {
    let rig = Rig::new().await;
    for n in 0..6 {
        let body = config(&format!("c{n}"), &"x".repeat(400_000)).to_string();
        let asks = [("GET", "/health", ""), ("POST", "/api/v1/apply", &*body), ("GET", "/api/v1/configs", "")];
        for (method, path, body) in asks {
            // Small buffers: the list does not fit into them.
            let mut wire = rig.unix().await;
            wire.write(rig.ask(method, path).body(body).bytes()).await;
            wire.half_close().await;
            let answer = wire.answer().await;
            assert_eq!((answer.status, wire.read_to_close().await), (200, vec![]), "{method} {path}");
            answer.json();
        }
    }
}

#[tokio::test]
async fn a_thousand_clients_at_once_are_all_answered() {
    let rig = Rig::with(|l| l.connections = 64).await;
    let all = (0..1_000).map(|n| rig.get(if n % 2 == 0 { "/health" } else { "/api/v1/status" }));
    let answers = futures::future::join_all(all).await;
    assert!(answers.iter().all(|a| a.status == 200));
    until("every connection's end", || rig.shared.http.connections.get() == 0).await;
}
