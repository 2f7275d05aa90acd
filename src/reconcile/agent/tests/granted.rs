//! Power over the host: what the configuration of this node gives to nobody is not carried out, and what runs goes on.

use std::{collections::BTreeSet, os::unix::fs::symlink};

use super::*;
use crate::model::{Power, power::Places};

impl World {
    /// Another configuration: what the role admin has, and what is free to mount.
    fn grant(&self, admin: &[Power], roots: &[&std::path::Path]) {
        let roots = roots.iter().map(|root| root.display().to_string()).collect();
        let places = Places { roots, ..Places::default() };
        let grants = Grants { admin: admin.iter().copied().collect(), places, ..Grants::default() };
        self.grants.send_replace(Arc::new(grants));
    }
    /// Its reason and message, when nothing was made.
    async fn refuses(&self, key: &Arc<str>) -> String {
        self.engine.calls();
        self.pass(key).await;
        assert_eq!(
            self.says(key),
            (ReplicaPhase::BackOff, Some(Reason::NotGranted), false),
            "{:?}",
            self.reported(key)
        );
        let made: Vec<_> = self.engine.calls().into_iter().filter(|call| call.starts_with("create")).collect();
        assert_eq!(made, [""; 0]);
        self.reported(key).message
    }
    async fn binding(&self, name: &str, source: &std::path::Path) -> Arc<str> {
        self.service(name, json!({ "volumes": [{ "type": "bind", "source": source, "target": "/d" }] })).await
    }
}

#[tokio::test]
async fn what_no_role_has_is_not_made_and_what_runs_goes_on() {
    let world = World::new().await;
    let privileged = json!({ "privileged": true });
    let (old, new) = (world.service("old", privileged.clone()).await, world.service("new", privileged).await);
    world.pass(&old).await;
    assert_eq!(world.says(&old).0, ReplicaPhase::Running);
    let (stop, agent) = (CancellationToken::new(), world.agent.clone());
    let ended = stop.clone();
    let watching = tokio::spawn(async move { agent.watch_grants(&ended).await });
    world.grant(&[Power::Binds], &[]);
    // Heard before there is anything to try again.
    tokio::task::yield_now().await;
    let said = world.refuses(&new).await;
    assert!(said.starts_with("spec.privileged needs the grant privileged"), "{said}");
    world.later(600);
    world.pass(&old).await;
    assert_eq!(world.says(&old), (ReplicaPhase::Running, None, true));
    // Its process ends: the container is there, and is started again.
    world.engine.crash(&old, 1);
    world.hear(&old, &["die"]);
    world.pass(&old).await;
    assert_eq!(world.says(&old).0, ReplicaPhase::Running);
    // A new container of it is not made.
    world.engine.hand_remove(&old);
    world.hear(&old, &["destroy"]);
    world.later(600);
    world.refuses(&old).await;
    // Granted again, it is tried at once.
    world.grant(&[Power::Privileged], &[]);
    let woken = world.agent.wakes.stream().take(2).collect::<BTreeSet<_>>();
    let woken = tokio::time::timeout(WAIT, woken).await.expect("both are named");
    assert_eq!(woken, BTreeSet::from([old, new.clone()]));
    world.pass(&new).await;
    assert_eq!(world.says(&new).0, ReplicaPhase::Running);
    stop.cancel();
    tokio::time::timeout(WAIT, watching).await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_free_to_mount_has_to_lead_there() {
    let world = World::new().await;
    let dir = world.run.path().canonicalize().unwrap();
    let at = |name: &str| dir.join(name);
    for name in ["disk/app", "disk/deep", "disk/late", "disk/moved", "other"] {
        std::fs::create_dir_all(at(name)).unwrap();
    }
    // The root is a link itself.
    symlink(at("disk"), at("srv")).unwrap();
    symlink(at("other"), at("disk/out")).unwrap();
    symlink(at("disk/deep"), at("disk/in")).unwrap();
    symlink("/", at("disk/all")).unwrap();
    world.grant(&[], &[&at("srv")]);
    for name in ["app", "in"] {
        let key = world.binding(name, &at("srv").join(name)).await;
        world.pass(&key).await;
        assert_eq!(world.says(&key).0, ReplicaPhase::Running, "{name}: {:?}", world.reported(&key));
    }
    // An administrator's grants are not those of whoever wrote it.
    world.grant(&Power::ALL, &[&at("srv")]);
    for (name, leads, power) in [("out", at("other"), "binds"), ("all", "/".into(), "dockerSocket")] {
        let key = world.binding(name, &at("srv").join(name)).await;
        let said = world.refuses(&key).await;
        let words = [format!("leads to {}", leads.display()), format!("the grant {power}"), "spec.volumes[0]".into()];
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    }
    let missing = world.binding("missing", &at("srv/none")).await;
    world.pass(&missing).await;
    assert_eq!(world.says(&missing).1, Some(Reason::BindSourceMissing));

    // Admitted as a directory, and a link by the time that it is made.
    let late = world.binding("late", &at("srv/late")).await;
    std::fs::remove_dir(at("disk/late")).unwrap();
    symlink(at("other"), at("disk/late")).unwrap();
    world.refuses(&late).await;
    // A link by the time that it is started again: an engine follows it anew.
    let moved = world.binding("moved", &at("srv/moved")).await;
    world.pass(&moved).await;
    std::fs::remove_dir(at("disk/moved")).unwrap();
    symlink(at("other"), at("disk/moved")).unwrap();
    world.engine.crash(&moved, 1);
    world.hear(&moved, &["die"]);
    world.later(600);
    world.refuses(&moved).await;
    assert_ne!(world.engine.container(&moved).unwrap().state, ContainerState::Running);
}

#[tokio::test]
async fn a_link_to_the_engine_s_socket_is_the_socket() {
    let world = World::new().await;
    let dir = world.run.path().canonicalize().unwrap();
    let (socket, link) = (dir.join("engine.sock"), dir.join("link"));
    std::fs::write(&socket, "").unwrap();
    symlink(&socket, &link).unwrap();
    let granted = |admin: &[Power]| {
        let sockets = vec![socket.display().to_string()];
        let places = Places { sockets, ..Places::default() };
        Arc::new(Grants { admin: admin.iter().copied().collect(), places, ..Grants::default() })
    };
    world.grants.send_replace(granted(&[Power::Binds]));
    let key = world.binding("sly", &link).await;
    let said = world.refuses(&key).await;
    assert!(said.contains("leads to") && said.contains("the grant dockerSocket"), "{said}");
    world.grants.send_replace(granted(&[Power::Binds, Power::DockerSocket]));
    world.later(600);
    world.pass(&key).await;
    assert_eq!(world.says(&key).0, ReplicaPhase::Running);
}

#[tokio::test]
async fn a_volume_that_is_a_folder_of_the_host_is_mounted_like_one() {
    let world = World::new().await;
    let dir = world.run.path().canonicalize().unwrap();
    let at = |name: &str| dir.join(name);
    for name in ["disk/app", "other"] {
        std::fs::create_dir_all(at(name)).unwrap();
    }
    symlink(at("other"), at("disk/out")).unwrap();
    let volume = async |name: &str, folder: &std::path::Path| {
        world.engine.bind_volume(name, &folder.display().to_string());
        let mount =
            json!({ "type": "volume", "source": name, "target": "/d", "external": true, "dataPolicy": "shared" });
        world.service(name, json!({ "volumes": [mount] })).await
    };
    // Somebody has the grant, and a root says which folders are harmless.
    world.grant(&[Power::Binds], &[&at("disk")]);
    for (name, folder) in [("app", at("disk/app")), ("other", at("other"))] {
        let key = volume(name, &folder).await;
        world.pass(&key).await;
        assert_eq!(world.says(&key).0, ReplicaPhase::Running, "{name}: {:?}", world.reported(&key));
    }
    let said = world.refuses(&volume("out", &at("disk/out")).await).await;
    assert!(said.contains(&format!("leads to {}", at("other").display())) && said.contains("grant binds"), "{said}");
    let said = world.refuses(&volume("run", std::path::Path::new("/var/run")).await).await;
    assert!(said.contains("spec.volumes[0] needs the grant dockerSocket"), "{said}");
    world.grant(&[], &[&at("disk")]);
    let said = world.refuses(&volume("app2", &at("disk/app")).await).await;
    assert!(said.starts_with("spec.volumes[0].external needs the grant binds"), "{said}");
}
