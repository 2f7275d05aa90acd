//! Clients that are slower than what happens: they hold up nobody and are told what they missed.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    events::{happen, name},
    rig::{Rig, config, until},
    sockets::Socket,
    watches::fill,
};
use crate::store::ring;

#[tokio::test]
async fn a_slow_websocket_holds_up_no_other_and_is_sent_to_resync() {
    let rig = Rig::with(|l| l.write = Duration::from_secs(60)).await;
    let mut slow = Socket::unix(&rig, "/ws?kinds=replica").await;
    let mut fast = Socket::open(&rig, "/ws?kinds=replica").await.unwrap();
    for round in 0..4 {
        happen(&rig, &format!("r{round}-"), ring::EVENTS / 2).await;
        for n in 0..ring::EVENTS / 2 {
            assert_eq!(name(&fast.event().await), format!("r{round}-{n}"));
        }
    }
    let mut seen = 0;
    let last = loop {
        let event = slow.event().await;
        if event.get("resync").is_some() {
            break event;
        }
        assert_eq!(name(&event), format!("r{}-{}", seen / (ring::EVENTS / 2), seen % (ring::EVENTS / 2)));
        seen += 1;
    };
    assert!(seen < ring::EVENTS, "it was not slow");
    assert_eq!(slow.closed().await, 1008);
    // From there everything that is kept comes.
    let mut again = Socket::open(&rig, &format!("/ws?fromIndex={}", last["resync"])).await.unwrap();
    let first = again.event().await;
    assert_eq!(first["index"], last["resync"].as_u64().unwrap() + 1);
}

#[tokio::test]
async fn a_slow_watch_ends_with_where_to_go_on() {
    let rig = Rig::with(|l| l.write = Duration::from_secs(60)).await;
    rig.node().await;
    let mut slow = rig.ask("GET", "/api/v1/configs?watch=true").socket().stream().await;
    let mut fast = rig.ask("GET", "/api/v1/configs?watch=true").stream().await;
    for round in 0..8 {
        let many: Vec<Value> =
            (0..50).map(|n| config(&format!("c{n}"), &format!("{round}{}", "x".repeat(2_000)))).collect();
        rig.apply(&Value::from(many).to_string()).await;
        assert_eq!(fast.lines(50).await.len(), 50);
    }
    fill(&rig, ring::CHANGES).await;
    rig.apply(&config("last", "1").to_string()).await;
    assert_eq!(fast.line().await.unwrap()["object"]["metadata"]["name"], "last");
    let mut lines = Vec::new();
    while let Some(line) = slow.line().await {
        lines.push(line);
    }
    let end = lines.pop().unwrap();
    assert!(lines.len() < 400 && lines.iter().all(|l| l["op"] == "put"), "it was not slow: {}", lines.len());
    let from = end["resync"].as_u64().unwrap_or_else(|| panic!("{end}"));
    let mut again = rig.ask("GET", &format!("/api/v1/configs?watch=true&fromIndex={from}")).stream().await;
    assert_eq!(again.line().await.unwrap()["object"]["metadata"]["name"], "last");
}

/// What the agent logs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut() {
    let log = Log::default();
    let writer = log.clone();
    let writer = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _said_here = tracing::subscriber::set_default(writer);
    let rig = Rig::with(|l| l.write = Duration::from_millis(100)).await;
    let big: Vec<Value> = (0..8).map(|n| config(&format!("c{n}"), &"x".repeat(400_000))).collect();
    for object in big {
        rig.apply(&object.to_string()).await;
    }
    let mut list = rig.unix().await;
    list.write(rig.ask("GET", "/api/v1/configs").socket().bytes()).await;
    let mut watch = rig.unix().await;
    watch.write(rig.ask("GET", "/api/v1/configs?watch=true&fromIndex=0").socket().bytes()).await;
    let socket = Socket::unix(&rig, "/ws").await;
    happen(&rig, "r", ring::EVENTS).await;
    until("the end of all three", || rig.shared.http.connections.get() == 0).await;
    let got = list.read_to_close().await.len();
    assert!(got < 3_000_000, "{got} bytes: it was not slow");
    drop((watch, socket));
    let said = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert_eq!(said.matches("took nothing for 100ms and was cut").count(), 3, "{said}");
    assert!(said.contains("at the socket"), "{said}");
    assert_eq!(rig.read("/api/v1/status").await["node"], json!("n1"));
}
