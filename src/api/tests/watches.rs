//! Watches: resumed at an index, without loss and without a change twice.

use std::time::Duration;

use serde_json::{Value, json};

use super::rig::{Rig, config, service, soon};
use crate::{
    model::{ObjectKey, Status},
    store::{command::Command, ring},
};

fn brief(line: &Value) -> String {
    let object = &line["object"];
    format!(
        "{} {} {}",
        line["op"].as_str().unwrap(),
        object["metadata"]["name"].as_str().unwrap(),
        object["spec"]["data"]["a"].as_str().unwrap_or("-")
    )
}

#[tokio::test]
async fn a_watch_shows_puts_and_deletes_of_its_kind_with_their_indexes() {
    let rig = Rig::new().await;
    rig.apply(&config("before", "1").to_string()).await;
    let from_now = rig.ask("GET", "/api/v1/configs?watch=true").stream();
    let mut now = from_now.await;
    let mut all = rig.ask("GET", "/api/v1/configs?watch=true&fromIndex=0").stream().await;
    rig.apply(&json!([config("c", "1"), service("web", "nginx:1", 1)]).to_string()).await;
    rig.apply(&config("c", "2").to_string()).await;
    rig.ask("DELETE", "/api/v1/configs/c").send().await;
    let want = ["put c 1", "put c 2", "delete c 2"];
    let lines = now.lines(3).await;
    assert_eq!(lines.iter().map(brief).collect::<Vec<_>>(), want);
    let indexes: Vec<u64> = lines.iter().map(|l| l["index"].as_u64().unwrap()).collect();
    assert!(indexes.is_sorted_by(|a, b| a < b), "{indexes:?}");
    assert_eq!(lines[1]["index"], lines[1]["object"]["metadata"]["resourceVersion"]);
    let lines = all.lines(4).await;
    assert_eq!(brief(&lines[0]), "put before 1");
    assert_eq!(lines[1..].iter().map(brief).collect::<Vec<_>>(), want);
}

#[tokio::test]
async fn a_watch_that_is_cut_again_and_again_loses_nothing_and_repeats_nothing_while_writes_go_on() {
    const WRITES: usize = 400;
    let rig = Rig::new().await;
    let list = rig.read("/api/v1/configs").await;
    let writing = async {
        for n in 0..WRITES {
            rig.apply(&config(&format!("c{}", n % 7), &n.to_string()).to_string()).await;
        }
    };
    let reading = async {
        let mut at = list["index"].as_u64().unwrap();
        let mut seen = Vec::new();
        while seen.len() < WRITES {
            let mut watch = rig.ask("GET", &format!("/api/v1/configs?watch=true&fromIndex={at}")).stream().await;
            // A few at a time, then the connection is dropped with whatever is on its way.
            for _ in 0..(seen.len() % 23 + 1).min(WRITES - seen.len()) {
                let line = watch.line().await.expect("the next change");
                at = line["index"].as_u64().unwrap();
                seen.push(line["object"]["spec"]["data"]["a"].as_str().unwrap().parse::<usize>().unwrap());
            }
        }
        seen
    };
    let ((), seen) = tokio::join!(writing, reading);
    assert_eq!(seen, (0..WRITES).collect::<Vec<_>>());
}

#[tokio::test]
async fn one_write_of_many_objects_comes_whole() {
    let rig = Rig::new().await;
    let mut watch = rig.ask("GET", "/api/v1/configs?watch=true").stream().await;
    let many: Vec<Value> = (0..300).map(|n| config(&format!("c{n}"), "1")).collect();
    rig.apply(&Value::from(many).to_string()).await;
    let mut names: Vec<String> = watch.lines(300).await.iter().map(brief).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 300);
}

#[tokio::test]
async fn who_watches_by_label_is_told_to_let_go() {
    let rig = Rig::new().await;
    let labelled = |app: &str| {
        let mut object = config("c", "1");
        object["metadata"]["labels"] = json!({"app": app});
        object.to_string()
    };
    let mut watch = rig.ask("GET", "/api/v1/configs?watch=true&labels=app=web").stream().await;
    rig.apply(&config("other", "1").to_string()).await;
    rig.apply(&labelled("web")).await;
    rig.apply(&config("other", "2").to_string()).await;
    rig.apply(&labelled("db")).await;
    rig.apply(&labelled("queue")).await;
    rig.ask("DELETE", "/api/v1/configs/other").send().await;
    rig.apply(&labelled("web")).await;
    rig.ask("DELETE", "/api/v1/configs/c").send().await;
    let ops: Vec<String> = watch.lines(4).await.iter().map(brief).collect();
    assert_eq!(ops, ["put c 1", "delete c 1", "put c 1", "delete c 1"], "of what never fitted nothing is said");
}

#[tokio::test]
async fn a_status_is_a_put_with_an_index_of_its_own_and_the_version_as_before() {
    let rig = Rig::new().await;
    rig.node().await;
    rig.apply(&service("web", "nginx:1", 1).to_string()).await;
    let version = rig.read("/api/v1/services/web").await["metadata"]["resourceVersion"].clone();
    let mut services = rig.ask("GET", "/api/v1/services?watch=true").stream().await;
    let mut replicas = rig.ask("GET", "/api/v1/replicas?watch=true&service=web").stream().await;
    let status = crate::model::ServiceStatus { observed_generation: 1, ..Default::default() };
    rig.observe(ObjectKey::service("web"), Status::Service(status)).await;
    let line = services.line().await.unwrap();
    assert_eq!((&line["op"], &line["object"]["metadata"]["resourceVersion"]), (&json!("put"), &version));
    assert!(line["index"].as_u64() > version.as_u64());
    assert_eq!(line["object"]["status"]["observedGeneration"], 1);
    rig.place("web", 1).await;
    let line = replicas.line().await.unwrap();
    assert_eq!((&line["op"], &line["object"]["spec"]["display"]), (&json!("put"), &json!("web.1")));
}

#[tokio::test]
async fn a_position_that_is_not_kept_or_not_reached_is_gone() {
    let rig = Rig::new().await;
    rig.node().await;
    let ahead = rig.get(&format!("/api/v1/configs?watch=true&fromIndex={}", rig.index() + 1_000)).await;
    assert_eq!(ahead.problem(), (410, "gone".into()));
    assert_eq!(ahead.json()["index"], rig.index());
    let old = rig.index();
    fill(&rig, ring::CHANGES + 10).await;
    for kind in ["configs", "nodes"] {
        let answer = rig.get(&format!("/api/v1/{kind}?watch=true&fromIndex={old}")).await;
        assert_eq!(answer.problem(), (410, "gone".into()));
        let oldest = answer.json()["index"].as_u64().unwrap();
        assert!(oldest > old, "{answer:?}");
        let (head, _) = rig.ask("GET", &format!("/api/v1/{kind}?watch=true&fromIndex={oldest}")).open().await;
        assert_eq!(head.status, 200, "the oldest that is kept is a position");
    }
    let mut all = rig.ask("GET", "/api/v1/nodes?watch=true&fromIndex=0").stream().await;
    assert_eq!(all.line().await.unwrap()["op"], "put", "0 is never gone");
}

/// So many changes of a node's status.
pub async fn fill(rig: &Rig, changes: usize) {
    let key = ObjectKey::node("n1");
    let uid = rig.shared.store.state().object(&key).unwrap().meta.uid.clone();
    let mut left = changes;
    while left > 0 {
        let now = left.min(1_000);
        let statuses = (0..now).map(|n| {
            let mut status = crate::model::NodeStatus::default();
            status.engine.version = format!("{left}.{n}");
            (key.clone(), uid.clone(), Status::Node(status))
        });
        rig.propose(vec![Command::RecordObservations { statuses: statuses.collect(), events: vec![] }]).await;
        left -= now;
    }
}

#[tokio::test]
async fn a_watch_waits_for_a_position_that_is_about_to_come() {
    let rig = Rig::new().await;
    let next = rig.index() + 1;
    let path = format!("/api/v1/configs?watch=true&fromIndex={next}");
    let opening = rig.ask("GET", &path).stream();
    let (mut watch, _) = tokio::join!(opening, async {
        rig.apply(&config("c", "1").to_string()).await;
        rig.apply(&config("d", "1").to_string()).await;
    });
    assert_eq!(brief(&watch.line().await.unwrap()), "put d 1", "after the asked index only");
}

#[tokio::test]
async fn an_idle_watch_shows_that_it_lives() {
    let rig = Rig::with(|l| l.heartbeat = Duration::from_millis(20)).await;
    let mut watch = rig.ask("GET", "/api/v1/configs?watch=true").stream().await;
    for _ in 0..3 {
        assert_eq!(soon("a heartbeat", watch.raw_line()).await.as_deref(), Some(""));
    }
    rig.apply(&config("c", "1").to_string()).await;
    assert_eq!(brief(&watch.line().await.unwrap()), "put c 1");
}
