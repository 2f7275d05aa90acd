//! Keys: a write that comes again is answered again, not done again.

use super::{
    client::Answer,
    rig::{Rig, config, service},
};
use crate::{
    model::{Declared, Kind, ObjectKey, Spec, Uid, config::ConfigSpec},
    store::{
        command::{Command, Group, Idempotency},
        keys::KEYS,
        put as store,
    },
};

async fn put(rig: &Rig, key: &str, value: &str) -> Answer {
    let body = config("c", value).to_string();
    rig.ask("PUT", "/api/v1/configs/c").header("idempotency-key", key).body(body).send().await
}

#[tokio::test]
async fn the_same_key_gets_the_same_answer_and_another_request_is_refused() {
    let rig = Rig::new().await;
    let first = put(&rig, "k1", "1").await;
    assert_eq!(first.json()["objects"][0]["result"], "created");
    put(&rig, "k2", "2").await;
    let index = rig.index();
    assert_eq!(put(&rig, "k1", "1").await.json(), first.json());
    assert_eq!(rig.index(), index, "it was not done again");
    assert_eq!(rig.read("/api/v1/configs/c").await["spec"]["data"]["a"], "2");
    assert_eq!(put(&rig, "k1", "other").await.problem(), (409, "key-reused".into()));
    let elsewhere = rig.ask("DELETE", "/api/v1/configs/c").header("idempotency-key", "k1").send().await;
    assert_eq!(elsewhere.problem(), (409, "key-reused".into()));
    let dry = rig.ask("PUT", "/api/v1/configs/c?dryRun=true").header("idempotency-key", "k3");
    assert_eq!(dry.body(config("c", "3").to_string()).send().await.status, 200);
    assert_eq!(put(&rig, "k3", "3").await.json()["objects"][0]["result"], "configured", "a dry run uses no key up");
}

#[tokio::test]
async fn a_refusal_is_remembered_too() {
    let rig = Rig::new().await;
    put(&rig, "k0", "1").await;
    let stale = || {
        let ask = rig.ask("PUT", "/api/v1/configs/d").header("idempotency-key", "k1").header("if-match", "\"1\"");
        ask.body(config("d", "1").to_string()).send()
    };
    let first = stale().await;
    assert_eq!(first.problem(), (409, "conflict".into()));
    let again = stale().await;
    assert_eq!((again.problem(), &again.json()["detail"]), (first.problem(), &first.json()["detail"]));
}

#[tokio::test]
async fn deletes_scales_and_secrets_keep_their_answers() {
    let rig = Rig::new().await;
    rig.apply(&service("web", "nginx:1", 1).to_string()).await;
    let secret = r#"{"apiVersion":"constellation.dev/v1","kind":"Secret","metadata":{"name":"s"},"spec":{"stringData":{"a":"b"}}}"#;
    let asks = [
        ("PUT", "/api/v1/services/web/scale", r#"{"replicas":3}"#),
        ("PUT", "/api/v1/secrets/s", secret),
        ("DELETE", "/api/v1/services/web", ""),
    ];
    for (number, (method, path, body)) in asks.into_iter().enumerate() {
        let ask = || rig.ask(method, path).header("idempotency-key", &format!("k{number}")).body(body).send();
        let first = ask().await;
        assert_eq!(first.status, 200, "{path}: {first:?}");
        assert_eq!(ask().await.json(), first.json(), "{method} {path}");
    }
}

#[tokio::test]
async fn many_clients_with_one_key_write_once() {
    let rig = Rig::new().await;
    let answers = futures::future::join_all((0..16).map(|_| put(&rig, "k", "1"))).await;
    for answer in &answers {
        assert_eq!(answer.json(), answers[0].json());
    }
    assert_eq!(answers[0].json()["objects"][0]["result"], "created");
}

#[tokio::test]
async fn a_key_that_cannot_be_one_is_refused_before_anything_is_written() {
    let rig = Rig::new().await;
    let before = rig.index();
    for key in ["", "schlüssel", &"k".repeat(256)] {
        assert_eq!(put(&rig, key, "1").await.problem(), (400, "bad-request".into()), "{key:?}");
    }
    assert_eq!(rig.index(), before);
}

#[tokio::test]
async fn what_is_gone_meanwhile_is_answered_as_it_was() {
    let rig = Rig::new().await;
    rig.apply(&service("web", "nginx:1", 1).to_string()).await;
    let ask = |body: &'static str| {
        rig.ask("PUT", "/api/v1/services/web/scale").header("idempotency-key", "k").body(body).send()
    };
    let first = ask(r#"{"replicas":3}"#).await;
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(rig.ask("DELETE", "/api/v1/services/web").send().await.status, 200);
    let index = rig.index();
    assert_eq!(ask(r#"{"replicas":3}"#).await.json(), first.json());
    assert_eq!(rig.index(), index);
    assert_eq!(ask(r#"{"replicas":4}"#).await.problem(), (409, "key-reused".into()));
}

#[tokio::test]
async fn applying_the_same_again_and_again_leaves_the_memory_of_keys_to_others() {
    let rig = Rig::new().await;
    assert_eq!(put(&rig, "k1", "1").await.json()["objects"][0]["result"], "created");
    let unchanged = put(&rig, "k2", "1").await;
    assert_eq!(unchanged.json()["objects"][0]["result"], "unchanged");
    // More loops than there is room for keys, against the state itself.
    let mut state = (*rig.shared.store.state()).clone();
    let object = state.object(&ObjectKey::new(Kind::Config, "c")).unwrap().clone();
    let declared = Declared {
        name: "c".into(),
        labels: [].into(),
        annotations: [].into(),
        spec: Spec::Config(object.parse::<ConfigSpec>().unwrap()),
    };
    let same = store::put(&declared, None, &rig.shared.sealer, &state, Uid::from_bytes([1; 16])).unwrap();
    for n in 0..=KEYS {
        let group = Group {
            idempotency: Some(Idempotency { key: format!("loop{n}").into(), request: "r".into() }),
            commands: vec![Command::Put(same.clone())],
            ..Group::default()
        };
        let answer = state.apply(&group);
        assert!(answer.is_ok(), "{n}: {answer:?}");
    }
}
