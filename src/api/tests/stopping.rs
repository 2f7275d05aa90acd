//! The end: what is in flight ends well, what does not end is cut in time.

use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::{
    rig::{Rig, config, until},
    sockets::Socket,
};

#[tokio::test]
async fn what_is_in_flight_is_answered_and_streams_end() {
    let mut rig = Rig::new().await;
    let body = config("c", "1").to_string();
    let whole = rig.ask("POST", "/api/v1/apply").body(&body).bytes();
    let mut writing = rig.tcp().await;
    writing.write(&whole[..whole.len() - 5]).await;
    let mut idle = rig.tcp().await;
    idle.write(rig.ask("GET", "/health").bytes()).await;
    idle.answer().await;
    let mut watch = rig.ask("GET", "/api/v1/configs?watch=true").stream().await;
    let mut socket = Socket::open(&rig, "/ws").await.unwrap();
    until("all of them", || rig.shared.http.connections.get() == 4).await;
    rig.stop.cancel();
    assert_eq!(idle.read_to_close().await, b"");
    assert_eq!(watch.line().await, None, "the stream ends");
    assert_eq!(socket.closed().await, 1001);
    // Its frame of close answers ours.
    while socket.next().await.is_some() {}
    writing.write(&whole[whole.len() - 5..]).await;
    let answer = writing.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    let address = rig.address;
    rig.ended().await;
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens");
}

#[tokio::test]
async fn what_does_not_end_is_cut_in_time() {
    let stop = Duration::from_millis(200);
    let mut rig = Rig::with(|l| {
        l.stop = stop;
        l.write = Duration::from_secs(60);
    })
    .await;
    let whole = rig.ask("POST", "/api/v1/apply").body(config("c", "1").to_string()).bytes();
    let mut half_body = rig.tcp().await;
    half_body.write(&whole[..whole.len() - 5]).await;
    let mut half_head = rig.tcp().await;
    half_head.write("GET /health HTT").await;
    // These two take nothing: their last words cannot be said.
    let socket = Socket::unix(&rig, "/ws").await;
    let mut watch = rig.unix().await;
    watch.write(rig.ask("GET", "/api/v1/events?fromIndex=0").socket().bytes()).await;
    until("all of them", || rig.shared.http.streams.get() == 2 && rig.shared.http.connections.get() == 4).await;
    super::events::happen(&rig, "r", 8_000).await;
    let began = Instant::now();
    rig.ended().await;
    assert!(began.elapsed() >= stop, "{:?}: what is in flight has its time", began.elapsed());
    assert!(began.elapsed() < stop * 10, "{:?}", began.elapsed());
    assert_eq!(rig.shared.http.streams.get(), 0);
    assert_eq!(rig.shared.http.connections.get(), 0);
    half_body.read_to_close().await;
    drop((socket, watch));
}

#[tokio::test]
async fn nothing_to_end_ends_at_once() {
    let mut rig = Rig::with(|l| l.stop = Duration::from_secs(3_600)).await;
    assert_eq!(rig.get("/health").await.status, 200);
    rig.ended().await;
}
