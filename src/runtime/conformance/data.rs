//! What a container is joined to: networks, volumes, host paths, ports.

use std::collections::BTreeSet;

use super::*;
use crate::{
    model::service::Protocol,
    runtime::{Attachment, MountPlan, NamedVolume, NetworkPlan, PublishedPort, RuntimeError},
};

impl World {
    async fn network(&self, suffix: &str) -> Attachment {
        let network = self.name(suffix);
        self.runtime.ensure_network(network.clone(), self.labels()).await.unwrap();
        Attachment { network, aliases: vec![format!("{suffix}-alias")], ..Attachment::default() }
    }
    fn joined(&self, suffix: &str, networks: &[&Attachment]) -> ContainerPlan {
        let networks = networks.iter().map(|&a| a.clone()).collect();
        ContainerPlan { network: NetworkPlan::Join(networks), ..self.plan(suffix, Program::Serves) }
    }
}

pub async fn a_network_is_made_once(world: &World) {
    let name = world.name("net");
    // At once, as thirty starts ask for it.
    let asked = (0..8).map(|_| world.runtime.ensure_network(name.clone(), world.labels()));
    for answer in futures::future::join_all(asked).await {
        answer.unwrap();
    }
    // Two of one name would refuse every container that names it.
    let attachment = Attachment { network: name.clone(), ..Attachment::default() };
    let id = world.run(world.joined("user", &[&attachment])).await;
    assert!(world.look(&id).await.addresses.contains_key(&name));
}

pub async fn a_container_joins_all_its_networks(world: &World) {
    let (front, back) = (world.network("front").await, world.network("back").await);
    let one = world.run(world.joined("one", &[&front, &back])).await;
    let two = world.run(world.joined("two", &[&front])).await;
    let (first, second) = (world.look(&one).await, world.look(&two).await);
    assert_eq!(first.addresses.keys().collect::<Vec<_>>(), [&back.network, &front.network]);
    assert_eq!(second.addresses.keys().collect::<Vec<_>>(), [&front.network]);
    assert_ne!(first.addresses[&front.network], second.addresses[&front.network]);
    // An agent that did not make it sees the same labels.
    assert_eq!(first.labels[LABEL], world.prefix);
    world.runtime.stop(one.clone(), Some(Duration::from_secs(20))).await.unwrap();
    assert_eq!(world.look(&one).await.addresses, [].into(), "an address is lent for one run");
    world.runtime.start(one.clone()).await.unwrap();
    assert_eq!(world.look(&one).await.addresses.len(), 2, "and the networks are for all of them");
    let alone = world.run(world.plan("alone", Program::Serves)).await;
    assert_eq!(world.look(&alone).await.addresses, [].into());
}

pub async fn a_network_that_is_missing_is_named(world: &World) {
    let here = world.network("here").await;
    let gone = Attachment { network: world.name("gone"), ..Attachment::default() };
    for (case, networks) in [("only", vec![&gone]), ("second", vec![&here, &gone])] {
        // Engines say it at different moments.
        let answer = match world.runtime.create(world.joined(case, &networks)).await {
            Ok(id) => world.runtime.start(id.to_string()).await,
            Err(error) => Err(error),
        };
        assert_eq!(answer, Err(RuntimeError::NotFound { what: format!("network {}", gone.network) }), "{case}");
        world.runtime.remove(world.name(case)).await.unwrap();
    }
}

pub async fn a_volume_is_made_once_and_outlives_its_container(world: &World) {
    let name = world.name("data");
    assert_eq!(world.runtime.volume(name.clone()).await.unwrap(), None);
    let at = world.runtime.ensure_volume(name.clone(), world.labels()).await.unwrap();
    assert!(at.starts_with('/'), "{at}");
    assert_eq!(world.runtime.ensure_volume(name.clone(), world.labels()).await.unwrap(), at);
    let found = Some(NamedVolume { path: at, unasked: false, mounted_late: false, folder: None });
    assert_eq!(world.runtime.volume(name.clone()).await.unwrap(), found);
    assert_eq!(world.runtime.volume(world.name("dat")).await.unwrap(), None, "by its whole name only");
    let mount = MountPlan::Volume {
        name: name.clone(),
        target: "/data".into(),
        read_only: false,
        nocopy: false,
        must_exist: false,
    };
    let plan = ContainerPlan { mounts: vec![mount], ..world.plan("user", Program::Serves) };
    let id = world.run(plan).await;
    world.runtime.remove(id).await.unwrap();
    assert_eq!(world.runtime.volume(name).await.unwrap(), found);
}

pub async fn a_volume_that_was_to_be_there_and_is_made_with_the_container_is_known_by_it(world: &World) {
    let (there, gone) = (world.name("there"), world.name("gone"));
    world.runtime.ensure_volume(there.clone(), world.labels()).await.unwrap();
    let mount = |name: &String| MountPlan::Volume {
        name: name.clone(),
        target: format!("/{name}"),
        read_only: false,
        nocopy: false,
        must_exist: true,
    };
    let plan = ContainerPlan { mounts: vec![mount(&there), mount(&gone)], ..world.plan("user", Program::Serves) };
    let id = world.create(plan).await;
    for (name, unasked) in [(there, false), (gone.clone(), true)] {
        assert_eq!(world.runtime.volume(name).await.unwrap().map(|v| v.unasked), Some(unasked));
    }
    world.runtime.remove(id).await.unwrap();
    world.runtime.ensure_volume(gone.clone(), world.labels()).await.unwrap();
    assert!(world.runtime.volume(gone).await.unwrap().unwrap().unasked, "nobody takes it for another one later");
}

pub async fn what_ran_leaves_its_anonymous_volumes(world: &World) {
    let (request, _) = world.build(&format!("FROM {IMAGE}\nVOLUME /anonymous\nVOLUME /named\n")).await;
    let named = world.name("data");
    world.runtime.ensure_volume(named.clone(), world.labels()).await.unwrap();
    let plan = |suffix: &str| ContainerPlan {
        image: request.tag.clone(),
        mounts: vec![MountPlan::Volume {
            name: named.clone(),
            target: "/named".into(),
            read_only: false,
            nocopy: false,
            must_exist: false,
        }],
        ..world.plan(suffix, Program::Serves)
    };
    let here = async |volume: &String| world.runtime.volume(volume.clone()).await.unwrap().is_some();
    let ran = world.run(plan("ran")).await;
    let never = world.create(plan("never")).await;
    for (id, stays) in [(ran, true), (never, false)] {
        let anonymous = world.anonymous(&id).await;
        assert_eq!(anonymous.len(), 1, "{anonymous:?}");
        assert!(here(&anonymous[0]).await);
        world.runtime.remove(id).await.unwrap();
        assert_eq!(here(&anonymous[0]).await, stays, "what a program may have written stays");
        assert!(here(&named).await, "what has a name stays whatever its container did");
    }
}

pub async fn a_bind_without_a_source_is_named(world: &World) {
    let path = format!("/nowhere/{}", world.prefix);
    let mount = MountPlan::Bind { source: path.clone(), target: "/data".into(), read_only: true, propagation: None };
    let plan = ContainerPlan { mounts: vec![mount], ..world.plan("bound", Program::Serves) };
    assert_eq!(world.runtime.create(plan).await, Err(RuntimeError::BindSourceMissing { path }));
    assert_eq!(world.runtime.inspect(world.name("bound")).await, Ok(None), "and nothing is left behind");
}

/// On a bridge of its own: publishing needs one.
async fn publishing(world: &World, suffix: &str, net: &Attachment, published: Option<u16>) -> ContainerPlan {
    let host_ip = Some("127.0.0.1".into());
    let port = PublishedPort { target: 8080, protocol: Protocol::Tcp, host_ip, published };
    ContainerPlan { ports: vec![port], ..world.joined(suffix, &[net]) }
}

pub async fn a_port_is_held_by_one_container(world: &World) {
    let net = world.network("net").await;
    let port = 20_000 + rand::random::<u16>() % 10_000;
    let first = world.run(publishing(world, "first", &net, Some(port)).await).await;
    assert_eq!(world.look(&first).await.published, [("8080/tcp".to_owned(), vec![format!("127.0.0.1:{port}")])].into());
    let second = world.create(publishing(world, "second", &net, Some(port)).await).await;
    match world.runtime.start(second.clone()).await {
        Err(RuntimeError::PortTaken { port: taken, .. }) => assert_eq!(taken, port),
        other => panic!("{other:?}"),
    }
    let refused = world.look(&second).await;
    assert_eq!((refused.state, refused.pid, refused.started_at.as_str()), (ContainerState::Created, 0, ""));
    assert!(refused.error.contains(&port.to_string()), "{refused:?}");
    world.runtime.stop(first.clone(), Some(Duration::from_secs(20))).await.unwrap();
    assert_eq!(world.look(&first).await.published, [].into());
    world.runtime.start(second.clone()).await.expect("free now");
    let running = world.look(&second).await;
    assert_eq!((running.state, running.error.as_str()), (ContainerState::Running, ""));
}

pub async fn a_port_that_nobody_chose_is_told(world: &World) {
    let net = world.network("net").await;
    let mut ports = Vec::new();
    for suffix in ["a", "b"] {
        let id = world.run(publishing(world, suffix, &net, None).await).await;
        let published = world.look(&id).await.published["8080/tcp"].concat();
        let port: u16 = published.strip_prefix("127.0.0.1:").unwrap().parse().unwrap();
        assert!(port > 1_024, "{published}");
        ports.push(port);
    }
    assert_ne!(ports[0], ports[1]);
}

pub async fn a_port_that_is_published_often_is_told_each_time(world: &World) {
    let net = world.network("net").await;
    let port = 20_000 + rand::random::<u16>() % 10_000;
    let plan = publishing(world, "often", &net, Some(port)).await;
    let (first, other) = (plan.ports[0].clone(), |ip: &str, published| PublishedPort {
        host_ip: Some(ip.into()),
        published,
        ..plan.ports[0].clone()
    });
    let ports = vec![first, other("127.0.0.2", Some(port + 1)), other("127.0.0.3", None)];
    let id = world.run(ContainerPlan { ports, ..plan.clone() }).await;
    let published = world.look(&id).await.published;
    let places = &published["8080/tcp"];
    assert_eq!(places[..2], [format!("127.0.0.1:{port}"), format!("127.0.0.2:{}", port + 1)]);
    assert!(places.len() == 3 && places[2].starts_with("127.0.0.3:"), "{published:?}");
}

pub async fn what_was_taken_off_a_network_is_put_back(world: &World) {
    let (front, back) = (world.name("front"), world.name("back"));
    for network in [&front, &back] {
        world.runtime.ensure_network(network.clone(), world.labels()).await.unwrap();
    }
    let attachment = |network: &String| Attachment { network: network.clone(), ..Attachment::default() };
    let networks = NetworkPlan::Join(vec![attachment(&front), attachment(&back)]);
    let id = world.run(ContainerPlan { network: networks, ..world.plan("serves", Program::Serves) }).await;
    let on = async || {
        let listed = world.runtime.list(LABEL.into(), world.prefix.clone()).await.unwrap();
        let (listed, found) = (listed[0].networks.clone(), world.look(&id).await);
        assert_eq!((&listed, found.addresses.len()), (&found.networks, listed.len()), "list and inspection agree");
        listed
    };
    let both: BTreeSet<String> = [front.clone(), back.clone()].into();
    assert_eq!(on().await, both);
    world.disconnect(&id, &back).await;
    assert_eq!(on().await, [front].into());
    for _ in 0..2 {
        world.runtime.connect(id.clone(), vec![attachment(&back)]).await.expect("once or twice");
        assert_eq!(on().await, both);
    }
    let nowhere = world.runtime.connect(id, vec![attachment(&world.name("nowhere"))]).await;
    assert!(matches!(nowhere, Err(RuntimeError::NotFound { .. })), "{nowhere:?}");
}
