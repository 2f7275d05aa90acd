//! Lists and single objects.

use serde_json::{Value, json};

use super::rig::{Rig, config, service};
use crate::model::{ObjectKey, ReplicaPhase, ReplicaStatus, Status};

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|o| o["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_list_is_sorted_says_its_index_and_can_be_narrowed_by_labels() {
    let rig = Rig::new().await;
    assert_eq!(rig.read("/api/v1/services").await["items"], json!([]));
    let mut gpu = service("gpu", "x:1", 1);
    gpu["metadata"]["labels"] = json!({"app": "web", "gpu": ""});
    rig.apply(&json!([service("web", "x:1", 1), gpu, service("db", "x:1", 1)]).to_string()).await;
    let list = rig.read("/api/v1/services").await;
    assert_eq!((names(&list), &list["index"]), (vec!["db", "gpu", "web"], &json!(rig.index())));
    let table: [(&str, &[&str]); 6] = [
        ("app=web", &["gpu", "web"]),
        ("app%3Dweb,!gpu", &["web"]),
        ("app!=web", &["db"]),
        ("gpu", &["gpu"]),
        ("app=none", &[]),
        ("", &["db", "gpu", "web"]),
    ];
    for (labels, want) in table {
        let list = rig.read(&format!("/api/v1/services?labels={labels}")).await;
        assert_eq!(names(&list), want, "{labels}");
    }
}

#[tokio::test]
async fn an_object_is_shown_with_spec_status_and_a_tag_that_moves_with_it() {
    let rig = Rig::new().await;
    rig.apply(&config("c", "1").to_string()).await;
    let answer = rig.get("/api/v1/configs/c").await;
    let object = answer.json();
    assert_eq!((&object["apiVersion"], &object["kind"]), (&json!("constellation.dev/v1"), &json!("Config")));
    assert_eq!(object["spec"], json!({"data": {"a": "1"}}));
    let meta = &object["metadata"];
    assert_eq!((&meta["name"], &meta["generation"]), (&json!("c"), &json!(1)));
    assert!(meta["uid"].as_str().is_some_and(|u| !u.is_empty()) && meta["createdAt"].as_u64().is_some_and(|c| c > 0));
    assert_eq!(answer.header("etag").unwrap(), format!("\"{}\"", meta["resourceVersion"]));
    let condition = &object["status"]["conditions"][0];
    assert!(condition["type"].is_string() && condition["reason"].is_string(), "{object}");
    assert!(["True", "False", "Unknown"].contains(&condition["status"].as_str().unwrap()), "{object}");
    rig.apply(&config("c", "2").to_string()).await;
    assert_ne!(rig.get("/api/v1/configs/c").await.header("etag"), answer.header("etag"));
    let absent = rig.get("/api/v1/configs/none").await;
    assert_eq!(absent.problem(), (404, "not-found".into()));
    assert!(absent.json()["detail"].as_str().unwrap().contains("none"));
}

#[tokio::test]
async fn a_status_moves_no_version() {
    let rig = Rig::new().await;
    rig.apply(&service("web", "nginx:1", 1).to_string()).await;
    let before = rig.get("/api/v1/services/web").await;
    let mut status = crate::model::ServiceStatus { observed_generation: 1, ..Default::default() };
    status.replicas.desired = 1;
    rig.observe(ObjectKey::service("web"), Status::Service(status)).await;
    let after = rig.get("/api/v1/services/web").await;
    assert_eq!(after.header("etag"), before.header("etag"));
    let status = after.json()["status"].take();
    assert_eq!(status["observedGeneration"], 1);
    assert_eq!(status["replicas"], json!({"desired": 1, "running": 0, "ready": 0, "updated": 0}));
}

#[tokio::test]
async fn replicas_are_found_by_service_node_and_the_labels_of_their_service() {
    let rig = Rig::new().await;
    rig.node().await;
    rig.apply(&json!([service("web", "nginx:1", 2), service("db", "pg:1", 1)]).to_string()).await;
    for (name, slot) in [("web", 1), ("web", 2), ("db", 1)] {
        rig.place(name, slot).await;
    }
    let status = ReplicaStatus { phase: ReplicaPhase::Running, ready: true, ..ReplicaStatus::default() };
    rig.observe(ObjectKey::replica("web-1-abcde"), Status::Replica(status)).await;
    let table: [(&str, &[&str]); 5] = [
        ("", &["db-1-abcde", "web-1-abcde", "web-2-abcde"]),
        ("?service=web", &["web-1-abcde", "web-2-abcde"]),
        ("?node=n1&service=db", &["db-1-abcde"]),
        ("?node=n2", &[]),
        ("?labels=app=web", &["web-1-abcde", "web-2-abcde"]),
    ];
    for (query, want) in table {
        assert_eq!(names(&rig.read(&format!("/api/v1/replicas{query}")).await), want, "{query}");
    }
    let one = rig.read("/api/v1/replicas/web-1-abcde").await;
    let spec = &one["spec"];
    assert_eq!((&spec["service"], &spec["display"], &spec["slot"]), (&json!("web"), &json!("web.1"), &json!(1)));
    assert_eq!((&spec["node"], &spec["desired"], &spec["epoch"]), (&json!("n1"), &json!("Run"), &json!("0.1")));
    assert_eq!((&one["status"]["phase"], &one["status"]["ready"]), (&json!("Running"), &json!(true)));
    assert_eq!(rig.get("/api/v1/replicas/web-9-abcde").await.status, 404);
}
