//! What a container was started with, and what it has after a restart.

use super::*;

impl World {
    async fn config(&self, text: &str) {
        self.declare(
            "c",
            Spec::Config(ConfigSpec { data: [("a".to_owned(), text.to_owned())].into(), ..ConfigSpec::default() }),
        )
        .await;
    }
    async fn secret(&self, text: &str) {
        let spec = serde_json::from_value(json!({ "stringData": { "a": text } })).unwrap();
        self.declare("s", Spec::Secret(spec)).await;
    }
    /// Which references the container has as they are now.
    fn synced(&self, key: &Arc<str>) -> Vec<(String, bool)> {
        let view = crate::reconcile::view::service(&self.store.state(), "web").unwrap();
        let had = self.reported(key).contents;
        view.contents.iter().map(|(reference, now)| (reference.clone(), had.get(reference) == Some(now))).collect()
    }
}

#[tokio::test]
async fn a_container_is_known_to_have_the_content_that_it_was_started_with() {
    let mut world = World::new().await;
    world.config("one").await;
    world.secret("one").await;
    let spec = json!({ "configs": [{ "source": "c" }], "secrets": [{ "source": "s", "env": "S" }, { "source": "s" }] });
    let key = world.service("web", spec).await;
    world.pass(&key).await;
    let synced = |file: bool, variable: bool| {
        vec![("configs/c".to_owned(), file), ("secrets/s".to_owned(), file), ("secrets/s=S".to_owned(), variable)]
    };
    assert_eq!(world.synced(&key), synced(true, true));
    world.config("two").await;
    world.secret("two").await;
    world.pass(&key).await;
    assert_eq!(world.synced(&key), synced(false, false), "nothing reaches a running container");
    world.write_report(&key).await;
    world.restart_agent().await;
    world.pass(&key).await;
    assert_eq!(world.synced(&key), synced(false, false), "and another agent knows it too");
    // Started again, the same container has new files and its old variables; a new one has all.
    world.engine.crash(&key, 1);
    world.hear(&key, &["die"]);
    world.pass(&key).await;
    assert_eq!(world.synced(&key), synced(true, false));
    world.hear(&key, &["kill", "die"]);
    world.engine.hand_remove(&key);
    world.hear(&key, &["destroy"]);
    world.pass(&key).await;
    assert_eq!(world.synced(&key), synced(true, true));
}

#[tokio::test]
async fn only_files_of_this_cluster_are_swept() {
    let world = World::new().await;
    let key = world.service("web", json!({ "configs": [{ "source": "conf" }] })).await;
    world
        .declare("conf", Spec::Config(ConfigSpec { data: [("a".into(), "1".into())].into(), ..ConfigSpec::default() }))
        .await;
    world.pass(&key).await;
    let files = world.run.path().join("files");
    for (name, owner) in [("old-1-zzzzz", Some(world.lineage())), ("theirs", Some("another".into())), ("older", None)] {
        std::fs::create_dir(files.join(name)).unwrap();
        if let Some(owner) = owner {
            std::fs::write(files.join(name).join("lineage"), owner).unwrap();
        }
    }
    world.agent.sweep_files();
    let mut left: Vec<_> =
        std::fs::read_dir(files).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, ["older", "theirs", "web-1-abcde"]);
}
