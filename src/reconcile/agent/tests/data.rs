//! Data below a replica: what is remembered of it, and what never starts without it.

use super::*;
use crate::model::engine::EngineRestart;

#[tokio::test]
async fn data_that_is_gone_is_never_replaced_by_nothing() {
    let world = World::new().await;
    let spec = json!({ "volumes": [{ "type": "volume", "source": "data", "target": "/data" }] });
    let key = world.service("db", spec).await;
    world.pass(&key).await;
    let volume = world.engine.volumes()[0].clone();
    let record = world.store.state().volume(&format!("{}/volume:{volume}", world.node)).cloned().unwrap();
    assert_eq!((record.source.as_str(), record.services.len()), (volume.as_str(), 1));
    world.engine.calls();
    world.engine.hand_remove(&key);
    world.engine.lose_volume(&volume);
    world.hear(&key, &["destroy"]);
    world.pass(&key).await;
    assert_eq!(world.says(&key), (ReplicaPhase::BackOff, Some(Reason::DataMissing), false));
    assert_eq!(world.engine.calls(), [""; 0]);
}

#[tokio::test]
async fn what_is_shared_is_remembered_for_each_service_and_never_made_again() {
    let world = World::new().await;
    let media = world.run.path().join("media");
    let spec = json!({ "volumes": [
        { "type": "bind", "source": media, "target": "/media", "dataPolicy": "shared", "bind": { "createHostPath": true } },
        { "type": "volume", "source": "data", "target": "/data", "dataPolicy": "shared" },
        { "type": "volume", "source": "scratch", "target": "/scratch", "dataPolicy": "cache" },
    ] });
    let (a, b) = (world.service("a", spec.clone()).await, world.service("b", spec).await);
    world.pass(&a).await;
    world.pass(&b).await;
    let state = world.store.state();
    let mut records: Vec<_> = state.volumes().map(|v| (v.source.clone(), v.shared, v.services.len())).collect();
    records.sort();
    let volumes = world.engine.volumes();
    let data = volumes.iter().find(|v| v.starts_with("data_")).unwrap();
    assert_eq!(records, [(media.display().to_string(), true, 2), (data.clone(), true, 2)]);
    for key in [&a, &b] {
        world.engine.hand_remove(key);
        world.hear(key, &["destroy"]);
    }
    std::fs::remove_dir(&media).unwrap();
    world.pass(&a).await;
    assert_eq!(world.says(&a).1, Some(Reason::DataMissing));
    assert!(!media.exists());
    std::fs::create_dir(&media).unwrap();
    volumes.iter().for_each(|v| world.engine.lose_volume(v));
    world.engine.calls();
    world.pass(&b).await;
    assert_eq!(world.says(&b).1, Some(Reason::DataMissing));
    assert_eq!(world.engine.calls(), [""; 0]);
}

#[tokio::test]
async fn a_bind_directory_is_made_only_when_asked() {
    let world = World::new().await;
    let (asked, not) = (world.run.path().join("asked/deep"), world.run.path().join("not"));
    let mount = |path: &std::path::Path, create: bool| json!({ "volumes": [{ "type": "bind", "source": path, "target": "/d", "bind": { "createHostPath": create } }] });
    let (a, n) = (world.service("a", mount(&asked, true)).await, world.service("n", mount(&not, false)).await);
    world.pass(&a).await;
    world.pass(&n).await;
    assert_eq!(world.says(&a).0, ReplicaPhase::Running);
    assert!(asked.is_dir());
    assert_eq!(world.says(&n).1, Some(Reason::BindSourceMissing));
    assert!(!not.exists());
    assert!(world.store.state().volume(&format!("{}/bind:{}", world.node, asked.display())).is_some());
}

#[tokio::test]
async fn a_volume_that_vanishes_while_its_container_is_made_starts_nothing_empty() {
    let world = World::new().await;
    let spec = json!({ "volumes": [{ "type": "volume", "source": "data", "target": "/data" }] });
    let key = world.service("db", spec).await;
    world.engine.lose_volumes_at_create(true);
    world.pass(&key).await;
    assert_eq!(world.says(&key).1, Some(Reason::DataMissing), "{:?}", world.reported(&key));
    let volume = world.engine.volumes()[0].clone();
    assert_eq!(world.engine.calls(), [&format!("volume {volume}"), "create db-1-abcde", "remove db-1-abcde"]);
    // What the engine made is not taken for the data later, nor by an agent that saw none of it.
    world.engine.lose_volumes_at_create(false);
    let mut world = world;
    world.restart_agent().await;
    world.later(600);
    world.pass(&key).await;
    assert_eq!(world.says(&key).1, Some(Reason::DataMissing));
    let way = format!("docker volume rm {volume}");
    assert!(world.reported(&key).message.contains(&way), "{}", world.reported(&key).message);
    assert_eq!(world.engine.calls(), [""; 0]);
    // Somebody brings it back.
    world.engine.lose_volume(&volume);
    world.engine.ensure_volume(volume, BTreeMap::new()).await.unwrap();
    world.later(600);
    world.pass(&key).await;
    assert_eq!(world.says(&key).0, ReplicaPhase::Running);
}

#[tokio::test]
async fn only_what_needs_no_look_at_its_data_is_left_to_the_engine() {
    let world = World::new().await;
    let bound = world.run.path().join("bound");
    std::fs::create_dir(&bound).unwrap();
    let mount = |kind: &str, policy: &str| {
        let source = if kind == "bind" { json!(bound) } else { json!("data") };
        json!({ "volumes": [{ "type": kind, "source": source, "target": "/d", "dataPolicy": policy }] })
    };
    world.engine.bind_volume("data", &bound.display().to_string());
    let mut external = mount("volume", "cache");
    external["volumes"][0]["external"] = json!(true);
    for (name, spec, engine) in [
        ("none", json!({}), EngineRestart::UnlessStopped),
        ("cache", mount("volume", "cache"), EngineRestart::UnlessStopped),
        ("media", mount("volume", "shared"), EngineRestart::No),
        ("theirs", external, EngineRestart::No),
        ("bound", mount("bind", "cache"), EngineRestart::No),
        ("host", mount("bind", "host"), EngineRestart::No),
    ] {
        let key = world.service(name, spec).await;
        world.pass(&key).await;
        for _ in 0..2 {
            world.later(600);
            world.pass(&key).await;
        }
        assert_eq!(world.says(&key), (ReplicaPhase::Running, None, true), "{name}");
        assert_eq!(world.engine.container(&key).unwrap().restart, engine, "{name}");
    }
}
