//! Data with a single writer, under other names than the scheduler knows it by.

use std::os::unix::fs::symlink;

use super::*;

impl World {
    async fn writes(&self, name: &str, kind: &str, source: &str) -> Arc<str> {
        let external = kind == "volume";
        let mount = json!({ "type": kind, "source": source, "target": "/d", "external": external });
        self.service(name, json!({ "volumes": [mount] })).await
    }
    /// Whether it was made and runs; else who it waits for.
    async fn runs(&self, key: &Arc<str>) -> Result<(), String> {
        self.engine.calls();
        self.pass(key).await;
        if self.says(key).0 == ReplicaPhase::Running {
            return Ok(());
        }
        assert_eq!(self.says(key), (ReplicaPhase::BackOff, Some(Reason::NoNodeFits), false));
        assert!(!self.engine.calls().iter().any(|call| call.starts_with("create") || call.starts_with("start")));
        Err(self.reported(key).message)
    }
}

#[tokio::test]
async fn data_has_one_writer_whatever_leads_to_it() {
    let mut world = World::new().await;
    let root = world.run.path().canonicalize().unwrap();
    let at = |name: &str| root.join(name).display().to_string();
    std::fs::create_dir_all(at("srv/db/deep")).unwrap();
    std::fs::create_dir_all(at("srv/other")).unwrap();
    symlink(at("srv"), at("mnt")).unwrap();
    world.engine.bind_volume("folder", &at("srv/db"));
    let first = world.writes("db1", "bind", &at("srv/db")).await;
    assert_eq!(world.runs(&first).await, Ok(()));
    let mut waiting = Vec::new();
    for (name, kind, source) in [
        ("link", "bind", at("mnt/db")),
        ("above", "bind", at("mnt")),
        ("below", "bind", at("mnt/db/deep")),
        ("volume", "volume", "folder".to_owned()),
    ] {
        let key = world.writes(name, kind, &source).await;
        let told = world.runs(&key).await.unwrap_err();
        assert!(told.contains("is written by container db1-1-abcde"), "{name}: {told}");
        waiting.push(key);
    }
    let elsewhere = world.writes("else", "bind", &at("mnt/other")).await;
    assert_eq!(world.runs(&elsewhere).await, Ok(()));
    // Another agent knows it from what is declared.
    world.restart_agent().await;
    world.pass(&first).await;
    assert!(world.runs(&waiting[0]).await.is_err());
    world.told_to_stop(std::slice::from_ref(&first)).await;
    while world.woken_at_once().await.is_some() {}
    world.pass(&first).await;
    assert_eq!(world.woken_at_once().await.as_ref(), Some(&waiting[0]), "it goes on by itself");
    assert_eq!(world.runs(&waiting[0]).await, Ok(()));
    assert!(world.runs(&waiting[3]).await.unwrap_err().contains("link-1-abcde"));
}

#[tokio::test]
async fn of_two_that_start_at_once_one_waits() {
    let world = World::new().await;
    let root = world.run.path().canonicalize().unwrap();
    std::fs::create_dir(root.join("db")).unwrap();
    symlink("db", root.join("link")).unwrap();
    let at = |name: &str| root.join(name).display().to_string();
    let (a, b) = (world.writes("a", "bind", &at("db")).await, world.writes("b", "bind", &at("link")).await);
    let starts = |world: &World| world.engine.calls().iter().filter(|call| call.starts_with("start")).count();
    tokio::join!(world.pass(&a), world.pass(&b));
    assert_eq!(starts(&world), 1);
    // Both are there and end: what is started again is looked at too.
    let (ran, waits) = if world.says(&a).0 == ReplicaPhase::Running { (a, b) } else { (b, a) };
    world.engine.crash(&ran, 1);
    world.hear(&ran, &["die"]);
    world.later(60);
    world.pass(&waits).await;
    let told = world.says(&waits);
    world.pass(&ran).await;
    let both = [world.says(&ran).0, world.says(&waits).0];
    assert_eq!(both.iter().filter(|phase| **phase == ReplicaPhase::Running).count(), 1, "{told:?} {both:?}");
}
