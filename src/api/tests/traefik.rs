//! What Traefik is told, by long poll.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{
    client::Wire,
    rig::{DOCUMENT, Rig, soon, until},
};

/// Longer than any answer that is given at once.
const HOLD: Duration = Duration::from_millis(400);

/// Rig, token, and the bytes of a poll.
async fn edge() -> (Rig, Vec<u8>) {
    let rig = Rig::with(|l| l.hold = HOLD).await;
    let token = rig.token("edge", "edge").await;
    let poll = rig.ask("GET", "/traefik/config").token(Some(&token)).bytes();
    (rig, poll)
}

async fn polled(wire: &mut Wire) -> Bytes {
    let answer = wire.answer().await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{answer:?}");
    answer.body.into()
}

#[tokio::test]
async fn who_is_new_is_answered_at_once_and_who_has_it_waits_for_another() {
    let (rig, poll) = edge().await;
    for _ in 0..2 {
        let mut wire = rig.tcp().await;
        let began = Instant::now();
        wire.write(&poll).await;
        assert_eq!(polled(&mut wire).await, DOCUMENT);
        assert!(began.elapsed() < HOLD, "{:?}: it was new", began.elapsed());
        let began = Instant::now();
        wire.write(&poll).await;
        assert_eq!(polled(&mut wire).await, DOCUMENT, "the same when there is no other");
        assert!(began.elapsed() >= HOLD, "{:?}: it had it", began.elapsed());
    }
    let mut wire = rig.tcp().await;
    wire.write(&poll).await;
    polled(&mut wire).await;
    for document in ["one", "two"] {
        wire.write(&poll).await;
        until("the poll", || rig.offer.silent(Instant::now()) == Some(Duration::ZERO)).await;
        rig.offer.put(document.into());
        assert_eq!(polled(&mut wire).await, document);
    }
    // Made while nobody asked: it is not missed.
    rig.offer.put("three".into());
    let began = Instant::now();
    wire.write(&poll).await;
    assert_eq!(polled(&mut wire).await, "three");
    assert!(began.elapsed() < HOLD, "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_administrator_sees_it_and_counts_as_no_edge() {
    let (rig, _) = edge().await;
    let answer = rig.get("/traefik/config").await;
    assert_eq!((answer.status, answer.body), (200, DOCUMENT.to_vec()));
    assert_eq!(rig.offer.silent(Instant::now()), None);
}

#[tokio::test]
async fn those_who_wait_take_no_place_of_others_and_have_few_themselves() {
    let rig = Rig::with(|l| {
        l.classes.edge.at_once = 2;
        l.classes.control.at_once = 1;
    })
    .await;
    let token = rig.token("edge", "edge").await;
    let poll = rig.ask("GET", "/traefik/config").token(Some(&token)).bytes();
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut wire = rig.tcp().await;
        wire.write(&poll).await;
        polled(&mut wire).await;
        wire.write(&poll).await;
        held.push(wire);
    }
    // Which of the two is refused does not matter: both places are taken sooner or later.
    soon("a refusal", async {
        loop {
            let answer = rig.ask("GET", "/traefik/config").token(Some(&token)).send().await;
            if answer.status != 200 {
                return assert_eq!(answer.problem(), (429, "too-many-requests".into()));
            }
        }
    })
    .await;
    assert_eq!(rig.get("/api/v1/status").await.status, 200);
    assert_eq!(rig.get("/api/v1/configs").await.status, 200);
    rig.offer.put("new".into());
    for mut wire in held {
        assert_eq!(polled(&mut wire).await, "new");
    }
}

#[tokio::test]
async fn the_end_of_the_server_is_a_whole_document_and_that_of_the_token_is_not() {
    let mut rig = Rig::with(|l| l.hold = Duration::from_secs(3_600)).await;
    let mut wires = Vec::new();
    for name in ["one", "two"] {
        let token = rig.token(name, "edge").await;
        let poll = rig.ask("GET", "/traefik/config").token(Some(&token)).bytes();
        let mut wire = rig.tcp().await;
        wire.write(&poll).await;
        polled(&mut wire).await;
        wire.write(&poll).await;
        wires.push(wire);
    }
    assert_eq!(rig.ask("DELETE", "/api/v1/tokens/one").send().await.status, 200);
    assert_eq!(wires[0].answer().await.problem(), (401, "wrong-token".into()));
    rig.ended().await;
    assert_eq!(polled(&mut wires[1]).await, DOCUMENT);
}
