//! Events as ndjson.

use serde_json::{Value, json};

use super::rig::{Rig, config, service};
use crate::{
    model::{EventType, Kind, NewEvent, Reason, Uid, event::Subject},
    store::{command::Command, ring},
};

/// So many events, each of an object of its own, so that none is folded.
pub async fn happen(rig: &Rig, prefix: &str, count: usize) {
    let event = |n: usize| NewEvent {
        kind: if n.is_multiple_of(2) { EventType::Normal } else { EventType::Warning },
        reason: Reason::Started,
        object: Subject {
            kind: Kind::Replica,
            name: format!("{prefix}{n}").into(),
            uid: Uid(format!("{prefix}{n}").into()),
        },
        node: Some("n1".into()),
        message: "it happened".into(),
        time: 1,
        count: 1,
    };
    for first in (0..count).step_by(2_000) {
        let events = (first..count.min(first + 2_000)).map(event).collect();
        rig.propose(vec![Command::RecordObservations { statuses: vec![], events }]).await;
    }
}

pub fn name(event: &Value) -> &str {
    event["object"]["name"].as_str().unwrap_or_else(|| panic!("{event}"))
}

async fn kept(rig: &Rig, query: &str) -> Vec<Value> {
    let mut stream = rig.ask("GET", &format!("/api/v1/events?fromIndex=0&follow=false&{query}")).stream().await;
    let mut all = Vec::new();
    while let Some(event) = stream.line().await {
        all.push(event);
    }
    all
}

#[tokio::test]
async fn an_event_has_the_settled_shape() {
    let rig = Rig::new().await;
    rig.apply(&service("web", "nginx:1", 1).to_string()).await;
    let events = kept(&rig, "names=svc/web").await;
    assert_eq!(events.len(), 1, "{events:?}");
    let event = &events[0];
    let uid = rig.read("/api/v1/services/web").await["metadata"]["uid"].take();
    assert_eq!(event["object"], json!({"kind": "Service", "name": "web", "uid": uid}));
    assert_eq!((&event["type"], &event["reason"], &event["count"]), (&json!("Normal"), &json!("Created"), &json!(1)));
    assert!(event["index"].is_u64() && event["time"].is_u64() && event["firstSeen"].is_u64(), "{event}");
    assert_eq!(event["message"], "created, generation 1");
}

#[tokio::test]
async fn events_are_chosen_by_kind_name_and_type() {
    let rig = Rig::new().await;
    rig.apply(&json!([config("web", "1"), service("web", "nginx:1", 1), service("db", "pg:1", 1)]).to_string()).await;
    happen(&rig, "r", 4).await;
    let table: [(&str, &[&str]); 6] = [
        ("kinds=service", &["db", "web"]),
        ("kinds=Config,svc&names=web", &["web", "web"]),
        ("names=configs/web", &["web"]),
        ("types=warning", &["r1", "r3"]),
        ("types=Warning&types=Normal&kinds=replicas", &["r0", "r1", "r2", "r3"]),
        ("names=none", &[]),
    ];
    for (query, want) in table {
        let events = kept(&rig, query).await;
        let mut names: Vec<&str> = events.iter().map(name).collect();
        names.sort_unstable();
        assert_eq!(names, want, "{query}");
    }
}

#[tokio::test]
async fn a_reader_that_comes_back_goes_on_where_it_was() {
    const EVENTS: usize = 600;
    let rig = Rig::new().await;
    let start = rig.index();
    let happening = async {
        for n in 0..EVENTS / 20 {
            happen(&rig, &format!("e{n}-"), 20).await;
        }
    };
    let reading = async {
        let (mut at, mut seen) = (start, Vec::new());
        while seen.len() < EVENTS {
            let path = format!("/api/v1/events?fromIndex={at}&kinds=replica");
            let mut stream = rig.ask("GET", &path).stream().await;
            for _ in 0..(seen.len() % 90 + 1).min(EVENTS - seen.len()) {
                let event = stream.line().await.expect("the next event");
                at = event["index"].as_u64().unwrap();
                seen.push(name(&event).to_owned());
            }
        }
        seen
    };
    let ((), seen) = tokio::join!(happening, reading);
    let want: Vec<String> = (0..EVENTS).map(|n| format!("e{}-{}", n / 20, n % 20)).collect();
    assert_eq!(seen, want);
}

#[tokio::test]
async fn an_event_that_is_not_kept_is_gone_and_zero_is_not() {
    let rig = Rig::new().await;
    let old = rig.index();
    happen(&rig, "r", ring::EVENTS + 50).await;
    for query in ["", "&follow=false", "&kinds=Service"] {
        let answer = rig.get(&format!("/api/v1/events?fromIndex={old}{query}")).await;
        assert_eq!(answer.problem(), (410, "gone".into()), "{query}");
        assert!(answer.json()["index"].as_u64().unwrap() > old);
    }
    let oldest = rig.get(&format!("/api/v1/events?fromIndex={old}")).await.json()["index"].as_u64().unwrap();
    let mut all = rig.ask("GET", "/api/v1/events?fromIndex=0").stream().await;
    assert_eq!(all.line().await.unwrap()["index"], oldest);
}
