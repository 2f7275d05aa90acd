//! Events on a WebSocket, by a client of another make.

use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::net::{TcpStream, UnixStream};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest as _,
        protocol::frame::{
            Frame,
            coding::{Data as OpData, OpCode},
        },
    },
};

use super::{
    client::Io,
    events::{happen, name},
    rig::{Rig, TOKEN, config, soon, until},
};
use crate::store::ring;

pub struct Socket(pub WebSocketStream<Box<dyn Io>>);

impl Socket {
    pub async fn open(rig: &Rig, path: &str) -> Result<Self, Error> {
        let io: Box<dyn Io> = Box::new(TcpStream::connect(rig.address).await.unwrap());
        let mut request = format!("ws://test{path}").into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
        soon("a WebSocket", client_async(request, io)).await.map(|(socket, _)| Self(socket))
    }
    /// With the header that says where it begins.
    async fn started(rig: &Rig, path: &str) -> (Self, u64) {
        let io: Box<dyn Io> = Box::new(UnixStream::connect(&rig.socket).await.unwrap());
        let opened = soon("a WebSocket", client_async(format!("ws://test{path}"), io)).await;
        let (socket, head) = opened.unwrap();
        (Self(socket), head.headers()["x-constellation-index"].to_str().unwrap().parse().unwrap())
    }
    /// Over the Unix socket, whose buffers are small.
    pub async fn unix(rig: &Rig, path: &str) -> Self {
        let io: Box<dyn Io> = Box::new(UnixStream::connect(&rig.socket).await.unwrap());
        Self(soon("a WebSocket", client_async(format!("ws://test{path}"), io)).await.unwrap().0)
    }
    pub async fn next(&mut self) -> Option<Message> {
        soon("a frame", self.0.next()).await.and_then(Result::ok)
    }
    /// The next text, as JSON.
    pub async fn event(&mut self) -> Value {
        loop {
            match self.next().await {
                Some(Message::Text(text)) => return serde_json::from_str(&text).unwrap(),
                Some(Message::Ping(_) | Message::Pong(_)) => {}
                other => panic!("{other:?} instead of an event"),
            }
        }
    }
    /// The code of the close that comes next.
    pub async fn closed(&mut self) -> u16 {
        loop {
            match self.next().await {
                Some(Message::Close(Some(frame))) => return frame.code.into(),
                Some(Message::Ping(_) | Message::Pong(_)) => {}
                other => panic!("{other:?} instead of a close"),
            }
        }
    }
}

fn refused(opened: Result<Socket, Error>) -> u16 {
    match opened {
        Err(Error::Http(answer)) => answer.status().as_u16(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was opened"),
    }
}

#[tokio::test]
async fn each_frame_is_an_event_and_a_client_resumes_at_its_index() {
    let rig = Rig::new().await;
    let start = rig.index();
    for path in ["/api/v1/events", "/ws"] {
        let mut first = Socket::open(&rig, &format!("{path}?kinds=config")).await.unwrap();
        let own = path.rsplit('/').next().unwrap();
        rig.apply(&config(&format!("{own}-a"), "1").to_string()).await;
        let event = first.event().await;
        assert_eq!((name(&event), &event["reason"]), (&*format!("{own}-a"), &"Created".into()));
        drop(first);
        rig.apply(&config(&format!("{own}-b"), "1").to_string()).await;
        let again = format!("{path}?kinds=config&fromIndex={}", event["index"]);
        let mut second = Socket::open(&rig, &again).await.unwrap();
        assert_eq!(name(&second.event().await), format!("{own}-b"));
    }
    let mut all = Socket::open(&rig, &format!("/ws?fromIndex={start}")).await.unwrap();
    assert_eq!(name(&all.event().await), "events-a");
}

#[tokio::test]
async fn what_is_wrong_is_said_before_the_upgrade() {
    let rig = Rig::with(|l| l.classes.watch.at_once = 1).await;
    assert_eq!(refused(Socket::open(&rig, "/ws?kinds=Pod").await), 400);
    assert_eq!(refused(Socket::open(&rig, "/ws?follow=false").await), 400, "it would go on all the same");
    assert_eq!(refused(Socket::open(&rig, "/ws?kinds=node&follow=false&fromIndex=0").await), 400);
    assert_eq!(refused(Socket::open(&rig, "/nowhere").await), 404);
    assert_eq!(rig.get("/ws").await.problem(), (426, "upgrade-required".into()));
    let old = rig.index();
    happen(&rig, "r", ring::EVENTS + 10).await;
    assert_eq!(refused(Socket::open(&rig, &format!("/ws?fromIndex={old}")).await), 410);
    let _open = Socket::open(&rig, "/ws").await.unwrap();
    assert_eq!(refused(Socket::open(&rig, "/ws").await), 429);
    let io = TcpStream::connect(rig.address).await.unwrap();
    match soon("an answer", client_async("ws://test/ws", io)).await {
        Err(Error::Http(answer)) => assert_eq!(answer.status().as_u16(), 401),
        other => panic!("{:?}", other.map(|_| ())),
    }
}

#[tokio::test]
async fn an_idle_client_is_pinged_and_one_that_does_not_answer_is_closed() {
    let rig = Rig::with(|l| l.heartbeat = Duration::from_millis(100)).await;
    let mut alive = Socket::open(&rig, "/ws").await.unwrap();
    // This one reads bytes and never answers a ping.
    let mut deaf = rig.unix().await;
    deaf.write(
        "GET /ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )
    .await;
    assert_eq!(deaf.head().await.unwrap().status, 101);
    let alive_on = async {
        for _ in 0..8 {
            assert!(matches!(alive.next().await, Some(Message::Ping(_))));
        }
    };
    let (frames, ()) = tokio::join!(deaf.read_to_close(), alive_on);
    assert!(frames.iter().all(|b| [0x89, 0].contains(b)), "only pings: {frames:?}");
    rig.apply(&config("c", "1").to_string()).await;
    assert_eq!(name(&alive.event().await), "c");
}

#[tokio::test]
async fn a_client_that_closes_or_talks_too_much_gives_its_place_back() {
    let rig = Rig::with(|l| l.classes.watch.at_once = 1).await;
    let until_free = || until("the place", || rig.shared.http.streams.get() == 0);
    let mut polite = Socket::open(&rig, "/ws").await.unwrap();
    polite.0.send(Message::Text("hello".into())).await.unwrap();
    polite.0.close(None).await.unwrap();
    while polite.next().await.is_some() {}
    until_free().await;
    let rude = Socket::open(&rig, "/ws").await.unwrap();
    drop(rude);
    until_free().await;
    let mut loud = Socket::open(&rig, "/ws").await.unwrap();
    // It may be cut off before all of it is taken.
    let _ = loud.0.send(Message::Binary(vec![0; 1 << 20].into())).await;
    until_free().await;
    until("the connections' end", || rig.shared.http.connections.get() == 0).await;
    drop(loud);
}

#[tokio::test]
async fn whoever_begins_now_is_told_where_that_was() {
    let rig = Rig::new().await;
    rig.apply(&config("before", "1").to_string()).await;
    let now = rig.index();
    let (socket, at) = Socket::started(&rig, "/ws?kinds=config").await;
    // It is lost before anything was sent: what happens meanwhile is not.
    drop(socket);
    assert_eq!(at, now);
    rig.apply(&config("meanwhile", "1").to_string()).await;
    let mut again = Socket::open(&rig, &format!("/ws?kinds=config&fromIndex={at}")).await.unwrap();
    assert_eq!(name(&again.event().await), "meanwhile");
    for (path, want) in [
        ("/api/v1/events?follow=false", rig.index()),
        ("/api/v1/events?fromIndex=1", 1),
        ("/api/v1/configs?watch=true", rig.index()),
        ("/api/v1/configs?watch=true&fromIndex=0", 0),
    ] {
        let (head, _wire) = rig.ask("GET", path).open().await;
        assert_eq!(head.header("x-constellation-index"), Some(&*want.to_string()), "{path}");
    }
}

#[tokio::test]
async fn a_message_that_is_too_large_is_closed_with_1009() {
    let rig = Rig::new().await;
    for path in ["/ws", "/api/v1/events"] {
        let mut loud = Socket::open(&rig, path).await.unwrap();
        loud.0.send(Message::Text("x".repeat(5_000).into())).await.unwrap();
        assert_eq!(loud.closed().await, 1009, "{path}");
        // In pieces it is no smaller.
        let mut pieces = Socket::open(&rig, path).await.unwrap();
        for n in 0..3_u8 {
            let data = if n == 0 { OpData::Text } else { OpData::Continue };
            let frame = Frame::message(vec![b'x'; 2_000], OpCode::Data(data), n == 2);
            pieces.0.send(Message::Frame(frame)).await.unwrap();
        }
        assert_eq!(pieces.closed().await, 1009, "{path}");
    }
    let metrics = rig.get("/metrics").await;
    assert!(metrics.text().contains("constellation_api_cut_total{cause=\"Loud\"} 4\n"), "{metrics:?}");
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_cut_while_it_is_told_events() {
    let rig = Rig::with(|l| l.heartbeat = Duration::from_millis(100)).await;
    let mut deaf = rig.tcp().await;
    deaf.write(
        rig.ask("GET", "/ws")
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .bytes(),
    )
    .await;
    assert_eq!(deaf.head().await.unwrap().status, 101);
    let news = async {
        for n in 0.. {
            happen(&rig, &format!("n{n}-"), 1).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            if rig.shared.http.streams.get() == 0 {
                return;
            }
        }
    };
    soon("its end", news).await;
}

#[tokio::test]
async fn a_websocket_keeps_its_seat_when_others_want_in() {
    let rig = Rig::with(|l| l.connections = 2).await;
    let mut first = Socket::open(&rig, "/ws").await.unwrap();
    let mut second = Socket::open(&rig, "/ws").await.unwrap();
    tokio::time::sleep(crate::api::crowd::GRACE * 2).await;
    assert_eq!(rig.get("/health").await.status, 503);
    rig.apply_at_the_socket(&config("c", "1").to_string()).await;
    assert_eq!((name(&first.event().await), name(&second.event().await)), ("c", "c"));
}
