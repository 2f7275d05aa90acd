//! Classes of requests, and callers that ask too often.

use std::time::Duration;

use super::rig::{Rig, config, until};
use crate::api::{Limits, rates::Rate};

#[tokio::test]
async fn a_full_class_is_told_when_to_come_again_and_no_other_feels_it() {
    let rig = Rig::with(|l| l.classes.watch.at_once = 2).await;
    let _first = rig.ask("GET", "/api/v1/configs?watch=true").stream().await;
    let _second = rig.ask("GET", "/api/v1/events").stream().await;
    let refused = rig.get("/api/v1/services?watch=true").await;
    assert_eq!(refused.problem(), (429, "too-many-streams".into()));
    assert!(refused.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
    for path in ["/health", "/ready", "/api/v1/status", "/api/v1/configs"] {
        assert_ne!(rig.get(path).await.status, 429, "{path}");
    }
    rig.apply(&config("c", "1").to_string()).await;
    let metrics = rig.get("/metrics").await;
    for line in [
        "constellation_api_in_flight{class=\"Watch\"} 2\n",
        "constellation_api_in_flight{class=\"Change\"} 0\n",
        "constellation_api_refused_total{class=\"Watch\",cause=\"Places\"} 1\n",
    ] {
        assert!(metrics.text().contains(line), "{line}: {metrics:?}");
    }
}

#[tokio::test]
async fn whoever_sends_a_body_slowly_takes_no_place_of_those_who_change() {
    let rig = Rig::with(|l| l.classes.change.at_once = 1).await;
    let whole = rig.ask("POST", "/api/v1/apply").body(config("slow", "1").to_string()).bytes();
    let mut slow = Vec::new();
    for _ in 0..5 {
        let mut wire = rig.tcp().await;
        wire.write(&whole[..whole.len() - 5]).await;
        slow.push(wire);
    }
    until("all of them", || rig.shared.http.connections.get() == 5).await;
    rig.apply(&config("c", "1").to_string()).await;
    for mut wire in slow {
        wire.write(&whole[whole.len() - 5..]).await;
        assert_eq!(wire.answer().await.status, 200);
    }
}

#[tokio::test]
async fn wrong_tokens_are_refused_after_some_and_a_good_one_is_let_in_all_the_same() {
    let rig = Rig::with(|l| l.wrong_tokens = Rate { per_second: 1, burst: 3 }).await;
    let guess = |token: Option<&'static str>| rig.ask("GET", "/api/v1/configs").token(token).send();
    for n in 0..3 {
        assert_eq!(guess(Some("wrong")).await.problem(), (401, "wrong-token".into()), "{n}");
    }
    for token in ["wrong", "another"] {
        let refused = guess(Some(token)).await;
        assert_eq!(refused.problem(), (429, "too-many-requests".into()));
        assert_eq!(refused.header("connection"), Some("close"));
        assert_eq!(refused.header("retry-after"), Some("1"));
    }
    assert_eq!(rig.get("/api/v1/configs").await.status, 200, "a good token");
    assert_eq!(guess(None).await.status, 401, "that is no guess");
    assert_eq!(rig.ask("GET", "/api/v1/configs").socket().send().await.status, 200, "the socket");
    let metrics = rig.get("/metrics").await;
    let line = "constellation_api_refused_total{class=\"Read\",cause=\"WrongTokens\"} 2\n";
    assert!(metrics.text().contains(line), "{metrics:?}");
}

#[tokio::test]
async fn each_class_has_its_own_deadline() {
    let rig = Rig::with(|l| l.classes.change.deadline = Duration::from_millis(50)).await;
    let half = |path: &str| {
        let whole = rig.ask("POST", path).body(config("c", "1").to_string()).bytes();
        whole[..whole.len() - 5].to_vec()
    };
    let (mut change, mut plan) = (rig.tcp().await, rig.tcp().await);
    plan.write(half("/api/v1/plan")).await;
    change.write(half("/api/v1/apply")).await;
    assert_eq!(change.answer().await.problem(), (408, "timeout".into()));
    plan.write(&config("c", "1").to_string().as_bytes()[config("c", "1").to_string().len() - 5..]).await;
    assert_eq!(plan.answer().await.status, 200, "it has another");
}

#[test]
fn the_files_of_the_process_are_shared_out() {
    let say = |files| {
        let l = Limits::within(files);
        (l.connections, l.per_source, l.socket, l.classes.watch.at_once, l.classes.logs.at_once)
    };
    assert_eq!(say(1_024), (768, 192, 128, 576, 64));
    assert_eq!(say(20_000), (17_952, 4_488, 1_024, 12_000, 256));
    assert_eq!(say(usize::MAX).0, 32_768);
    assert_eq!(say(0).0, 64, "some must do");
    for files in [512, 1_024, 4_096, 20_000, 65_536] {
        let l = Limits::within(files);
        assert!(l.connections + l.socket + l.classes.logs.at_once < files, "{files}: {l:?}");
    }
}
