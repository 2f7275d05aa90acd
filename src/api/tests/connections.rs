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
    let rig = Rig::with(|l| l.classes.change.deadline = SHORT).await;
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
async fn whoever_asks_for_nothing_makes_room_for_a_newcomer() {
    let rig = Rig::with(|l| l.connections = 3).await;
    let mut idle = rig.tcp().await;
    idle.write(rig.ask("GET", "/health").bytes()).await;
    assert_eq!(idle.answer().await.status, 200);
    let mut half = rig.tcp().await;
    half.write("GET /health HTT").await;
    let whole = rig.ask("POST", "/api/v1/apply").body(config("c", "1").to_string()).bytes();
    let mut slow = rig.tcp().await;
    slow.write(&whole[..whole.len() - 5]).await;
    until("all three", || rig.shared.http.connections.get() == 3).await;
    let mut watches = Vec::new();
    for gone in [&mut idle, &mut half, &mut slow] {
        watches.push(rig.ask("GET", "/api/v1/configs?watch=true").stream().await);
        assert_eq!(gone.read_to_close().await, b"", "the oldest, and a body last");
    }
    // Streams stay; whoever comes now is told so, and the socket has seats of its own.
    let refused = rig.get("/health").await;
    assert_eq!(refused.problem(), (503, "too-many-connections".into()));
    assert_eq!(refused.header("retry-after"), Some("1"));
    let metrics = rig.ask("GET", "/metrics").socket().send().await;
    for line in ["constellation_api_cut_total{cause=\"Room\"} 3\n", "constellation_api_cut_total{cause=\"Full\"} 1\n"] {
        assert!(metrics.text().contains(line), "{line}: {metrics:?}");
    }
    rig.apply_at_the_socket(&config("c", "1").to_string()).await;
    for watch in &mut watches {
        assert_eq!(watch.line().await.unwrap()["object"]["metadata"]["name"], "c");
    }
    drop(watches.pop());
    until("a free seat", || rig.shared.http.connections.get() == 2).await;
    assert_eq!(rig.get("/health").await.status, 200);
}

#[tokio::test]
async fn one_source_has_its_share_of_the_connections() {
    let rig = Rig::with(|l| l.per_source = 2).await;
    let mut watches = Vec::new();
    for _ in 0..2 {
        watches.push(rig.ask("GET", "/api/v1/configs?watch=true").stream().await);
    }
    assert_eq!(rig.get("/health").await.problem(), (503, "too-many-connections".into()));
    let from = tokio::net::TcpSocket::new_v4().unwrap();
    from.bind("127.0.0.77:0".parse().unwrap()).unwrap();
    let mut other = Wire::new(soon("connecting", from.connect(rig.address)).await.unwrap());
    other.write(rig.ask("GET", "/health").bytes()).await;
    assert_eq!(other.answer().await.status, 200, "another source");
}

#[tokio::test]
async fn a_body_that_trickles_is_cut_before_its_deadline() {
    let rig = Rig::with(|l| l.upload = Duration::from_millis(200)).await;
    let body = config("c", &"x".repeat(100_000)).to_string();
    let whole = rig.ask("POST", "/api/v1/apply").body(&body).bytes();
    let mut wire = rig.tcp().await;
    wire.write(&whole[..whole.len() - body.len()]).await;
    let trickle = async {
        for byte in body.as_bytes() {
            tokio::time::sleep(Duration::from_millis(5)).await;
            if !wire.try_write([*byte]).await {
                break;
            }
            if rig.shared.http.connections.get() == 0 {
                break;
            }
        }
    };
    soon("the end of the trickle", trickle).await;
    let answer = String::from_utf8_lossy(&wire.read_to_close().await).into_owned();
    assert!(answer.is_empty() || answer.contains("its body is slow"), "{answer}");
    // One that is slow and steady is taken.
    let mut steady = rig.tcp().await;
    for piece in whole.chunks(10_000) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        steady.write(piece).await;
    }
    assert_eq!(steady.answer().await.status, 200);
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
    drop(socket);
    until("the WebSocket's seat", || rig.shared.http.connections.get() == 2).await;
    let mut fourth = rig.tcp().await;
    fourth.write(rig.ask("GET", "/health").bytes()).await;
    assert_eq!(fourth.answer().await.status, 200, "the seat of the WebSocket is free");
    drop((watch, third, fourth));
    until("every place's return", || rig.shared.http.connections.get() == 0 && rig.shared.http.streams.get() == 0)
        .await;
}

#[tokio::test]
async fn streams_over_the_limit_are_refused_with_when_to_come_again() {
    let rig = Rig::with(|l| l.classes.watch.at_once = 2).await;
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
