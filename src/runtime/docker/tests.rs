//! What only a real engine can show. The rest is `runtime::conformance`.

use std::collections::BTreeSet;

use super::*;
use crate::{
    model::service::{Healthcheck, Protocol, Ulimit},
    runtime::{
        Attachment, ContainerState, MountPlan, NetworkPlan, PublishedPort,
        conformance::{PATIENCE, Program, World, on_docker, raw},
    },
};

#[tokio::test]
async fn an_engine_that_is_not_there_is_down_and_named() {
    let docker = Docker::connect("unix:///nowhere/docker.sock").unwrap();
    for _ in 0..2 {
        match docker.info().await {
            Err(RuntimeError::Down { address, message }) => {
                assert_eq!(address, "unix:///nowhere/docker.sock");
                assert!(message.contains("/nowhere/docker.sock"), "{message}");
            }
            other => panic!("{other:?}"),
        }
    }
    let events: Vec<_> = docker.events("a".into(), "b".into(), None).collect().await;
    assert!(matches!(events.as_slice(), [Err(RuntimeError::Down { .. })]), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_says_nothing_is_unresponsive_after_the_deadline() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let docker = Docker::connect(&format!("tcp://{}", listener.local_addr().unwrap())).unwrap();
    assert!(matches!(docker.list("a".into(), "b".into()).await, Err(RuntimeError::Unresponsive { op: "list", .. })));
}

/// A container for commands, with what they are to find.
async fn shell(world: &World, plan: ContainerPlan) -> String {
    world.run(ContainerPlan { name: world.name("shell"), image: plan.image.clone(), ..plan }).await
}

/// What a script in a container writes.
async fn script(world: &World, id: &str, script: &str) -> String {
    let command = ["sh", "-c", script].map(str::to_owned).into();
    world.runtime.exec(id.to_owned(), command, PATIENCE).await.unwrap().output.trim().to_owned()
}

#[tokio::test]
async fn each_field_of_a_plan_reaches_the_process() {
    on_docker(async |world| {
        let strings = |all: &[&str]| all.iter().map(|&s| s.to_owned()).collect::<Vec<_>>();
        let pairs = |all: &[(&str, &str)]| {
            all.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>()
        };
        let bind = tempfile::tempdir().unwrap();
        std::fs::write(bind.path().join("here"), "on the host").unwrap();
        let (source, data) = (bind.path().to_str().unwrap().to_owned(), world.name("data"));
        world.runtime.ensure_volume(data.clone(), world.labels()).await.unwrap();
        let net = world.name("net");
        world.runtime.ensure_network(net.clone(), world.labels()).await.unwrap();
        let plan = ContainerPlan {
            entrypoint: Some(strings(&["sh", "-c", "echo $0 $1; echo ready; exec sleep 1000"])),
            command: Some(strings(&["zero", "one"])),
            working_dir: Some("/www".into()),
            user: Some("1000:1001".into()),
            group_add: strings(&["1002"]),
            hostname: Some("captain".into()),
            environment: pairs(&[("GREETING", "hello = \"you\""), ("EMPTY", "")]),
            mounts: vec![
                MountPlan::Bind {
                    source,
                    target: "/bind".into(),
                    read_only: true,
                    propagation: Some("rprivate".into()),
                },
                MountPlan::Volume {
                    name: data,
                    target: "/data".into(),
                    read_only: true,
                    nocopy: true,
                    must_exist: false,
                },
                MountPlan::Tmpfs { target: "/memory".into(), size: Some(Bytes(1 << 20)), mode: Some(0o1770) },
            ],
            tmpfs: pairs(&[("/scratch", "size=2m,mode=1777")]),
            cpus: Some(Millicores(500)),
            memory: Some(Bytes(64 << 20)),
            pids: Some(77),
            devices: strings(&["/dev/null:/dev/ours:r"]),
            cap_add: strings(&["NET_ADMIN"]),
            cap_drop: strings(&["CHOWN"]),
            sysctls: pairs(&[("net.ipv4.ip_unprivileged_port_start", "81")]),
            // Not `nofile`: runc itself races with that one (opencontainers/runc#4195).
            ulimits: [("memlock".to_owned(), Ulimit { soft: 524_288, hard: 1_048_576 })].into(),
            extra_hosts: pairs(&[("elsewhere", "10.9.8.7")]),
            dns: strings(&["10.1.1.1"]),
            dns_search: strings(&["example.org"]),
            dns_opt: strings(&["ndots:3"]),
            network: NetworkPlan::Join(vec![Attachment { network: net, ..Attachment::default() }]),
            init: Some(true),
            read_only: true,
            shm_size: Some(Bytes(3 << 20)),
            security_opt: strings(&["no-new-privileges"]),
            ..world.plan("shell", Program::Serves)
        };
        let id = shell(world, plan).await;
        let log = world.log(&id, LogQuery::default()).await.0;
        assert_eq!(log, "zero one\nready\n", "command after entrypoint");
        let mount = |path: &str| format!("grep ' {path} ' /proc/mounts | cut -d' ' -f3,4 | tr ' ' ,");
        let size = |path: &str| format!("df -k {path} | tail -1 | awk '{{print $2}}'");
        let cgroup = |v1: &str, v2: &str| format!("cat /sys/fs/cgroup/{v1} 2>/dev/null || cat /sys/fs/cgroup/{v2}");
        let has_capability = |n: u32| format!("echo $(( 0x$(grep CapBnd /proc/self/status | cut -f2) >> {n} & 1 ))");
        for (what, ask, want) in [
            ("working_dir", "pwd".to_owned(), "/www"),
            ("user", "id -u; id -g".into(), "1000\n1001"),
            ("group_add", "id -G".into(), "1001 1002"),
            ("hostname", "hostname".into(), "captain"),
            ("environment", "echo \"$GREETING\" \"${EMPTY-unset}\"".into(), "hello = \"you\""),
            ("bind", "cat /bind/here".into(), "on the host"),
            ("bind read-only", "touch /bind/x 2>&1 | grep -c Read-only".into(), "1"),
            ("volume read-only", "touch /data/x 2>&1 | grep -c Read-only".into(), "1"),
            ("tmpfs mount", mount("/memory") + " | cut -d, -f1", "tmpfs"),
            ("tmpfs size", size("/memory"), "1024"),
            ("tmpfs mode", "stat -c %a /memory".into(), "1770"),
            ("tmpfs by option", size("/scratch"), "2048"),
            ("shm_size", size("/dev/shm"), "3072"),
            ("cpus", cgroup("cpu/cpu.cfs_quota_us", "cpu.max | cut -d' ' -f1"), "50000"),
            ("memory", cgroup("memory/memory.limit_in_bytes", "memory.max"), "67108864"),
            ("pids", cgroup("pids/pids.max", "pids.max"), "77"),
            ("devices", "stat -c %t,%T /dev/ours".into(), "1,3"),
            ("cap_add", has_capability(12), "1"),
            ("cap_drop", has_capability(0), "0"),
            ("capabilities not named", has_capability(21), "0"),
            ("sysctls", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start".into(), "81"),
            ("ulimits", "ulimit -Sl; ulimit -Hl".into(), "512\n1024"),
            ("extra_hosts", "grep elsewhere /etc/hosts | cut -f1".into(), "10.9.8.7"),
            ("dns_search", "grep -c 'search example.org' /etc/resolv.conf".into(), "1"),
            ("dns_opt", "grep -c ndots:3 /etc/resolv.conf".into(), "1"),
            ("init", "cat /proc/1/comm".into(), "docker-init"),
            ("read_only", "touch /x 2>&1 | grep -c Read-only".into(), "1"),
            ("security_opt", "grep NoNewPrivs /proc/self/status | cut -f2".into(), "1"),
        ] {
            assert_eq!(script(world, &id, &ask).await, want, "{what}: {ask}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_hosts_network_and_processes_are_the_hosts() {
    on_docker(async |world| {
        let plan = ContainerPlan {
            network: NetworkPlan::Host,
            pid: Some("host".into()),
            ..world.plan("shell", Program::Serves)
        };
        let id = shell(world, plan).await;
        let seen = world.look(&id).await;
        assert_eq!(seen.addresses, [].into(), "the host's are nobody's own");
        let bridge = script(world, &id, "test -d /sys/class/net/docker0 && echo sees it").await;
        assert_eq!(bridge, "sees it");
        assert_eq!(script(world, &id, &format!("test -d /proc/{} && echo sees it", seen.pid)).await, "sees it");
    })
    .await;
}

#[tokio::test]
async fn an_image_keeps_its_own_when_a_plan_says_nothing() {
    on_docker(async |world| {
        // The plan's command takes the place of the image's, an empty plan leaves it.
        let plan = ContainerPlan { command: None, ..world.plan("own", Program::Serves) };
        let id = world.create(ContainerPlan { image: "constellation/hello:1".into(), ..plan }).await;
        world.runtime.start(id.clone()).await.unwrap();
        assert_eq!(world.look(&id).await.state, ContainerState::Running);
        let port = PublishedPort { target: 8080, protocol: Protocol::Tcp, host_ip: None, published: None };
        let net = world.name("net");
        world.runtime.ensure_network(net.clone(), world.labels()).await.unwrap();
        let plan = ContainerPlan {
            command: None,
            image: "constellation/hello:1".into(),
            ports: vec![port],
            network: NetworkPlan::Join(vec![Attachment { network: net, ..Attachment::default() }]),
            healthcheck: Some(Healthcheck { disable: true, ..Healthcheck::default() }),
            ..world.plan("published", Program::Serves)
        };
        let id = world.create(plan).await;
        world.runtime.start(id.clone()).await.unwrap();
        let published = world.look(&id).await.published;
        assert_eq!(published.keys().collect::<Vec<_>>(), ["8080/tcp"]);
        let places = &published["8080/tcp"];
        // The engine chooses a port for each family: another one for IPv6 where somebody has the first there.
        let ports: BTreeSet<_> = places.iter().filter_map(|at| at.rsplit_once(':')).map(|(_, port)| port).collect();
        assert!(places[0].starts_with("0.0.0.0:") && ports.len() == places.len(), "each once: {published:?}");
    })
    .await;
}

#[tokio::test]
async fn whoever_wants_too_much_memory_is_told_apart() {
    on_docker(async |world| {
        // Not at once: an engine that has just started a process does not watch its memory yet.
        let command = ["sh", "-c", "sleep 1; exec dd if=/dev/zero of=/dev/null bs=100M count=1"].map(str::to_owned);
        let plan = ContainerPlan {
            command: Some(command.into()),
            memory: Some(Bytes(16 << 20)),
            ..world.plan("hungry", Program::Serves)
        };
        let id = world.create(plan).await;
        world.runtime.start(id.clone()).await.unwrap();
        assert_eq!(world.until_exited(&id).await.exit_code, 137);
        // The engine may hear of the reason a moment after the end.
        world.until(&id, "is known to have wanted too much", |c| c.oom_killed).await;
    })
    .await;
}

/// A process that ended between a create and the joins leaves a container with one network. Whoever
/// starts it joins the others first.
#[tokio::test]
async fn networks_that_were_left_out_are_joined_before_the_first_start() {
    on_docker(async |world| {
        let mut attachments = Vec::new();
        for suffix in ["a", "b", "c"] {
            let network = world.name(suffix);
            world.runtime.ensure_network(network.clone(), world.labels()).await.unwrap();
            attachments.push(Attachment { network, aliases: vec![suffix.into()], ..Attachment::default() });
        }
        let plan = ContainerPlan { network: NetworkPlan::Join(attachments), ..world.plan("left", Program::Serves) };
        let request = create::request(&plan, false, false).unwrap();
        assert_eq!(request.later.len(), 2);
        let options = bollard::query_parameters::CreateContainerOptions { name: Some(plan.name), ..Default::default() };
        let id = raw().await.create_container(Some(options), request.body).await.unwrap().id;
        assert_eq!(world.runtime.start(id.clone()).await, Ok(()));
        let joined = world.look(&id).await.addresses;
        assert_eq!(joined.keys().cloned().collect::<Vec<_>>(), ["a", "b", "c"].map(|s| world.name(s)));
    })
    .await;
}

#[tokio::test]
async fn a_network_that_somebody_removed_is_made_anew() {
    on_docker(async |world| {
        let net = world.name("net");
        let joined = |suffix: &str| {
            let attachment = Attachment { network: net.clone(), ..Attachment::default() };
            ContainerPlan { network: NetworkPlan::Join(vec![attachment]), ..world.plan(suffix, Program::Serves) }
        };
        world.runtime.ensure_network(net.clone(), world.labels()).await.unwrap();
        raw().await.remove_network(&net).await.unwrap();
        // What was seen a moment ago is believed, until a container misses it.
        world.runtime.ensure_network(net.clone(), world.labels()).await.unwrap();
        let missed = match world.runtime.create(joined("first")).await {
            Ok(id) => world.runtime.start(id.to_string()).await,
            Err(error) => Err(error),
        };
        assert_eq!(missed, Err(RuntimeError::NotFound { what: format!("network {net}") }));
        world.runtime.ensure_network(net.clone(), world.labels()).await.unwrap();
        let id = world.run(joined("second")).await;
        assert!(world.look(&id).await.addresses.contains_key(&net));
    })
    .await;
}

/// Old engines make a second network of one name without a word.
#[tokio::test]
async fn of_several_networks_of_one_name_one_stays_that_is_used_or_old() {
    on_docker(async |world| {
        let net = world.name("net");
        let docker = raw().await;
        let request = |labels: BTreeMap<String, String>| bollard::models::NetworkCreateRequest {
            name: net.clone(),
            labels: Some(labels.into_iter().collect()),
            ..Default::default()
        };
        let make = async || docker.create_network(request(world.labels())).await.map(|made| made.id);
        let left = async || {
            let all = docker.list_networks(None).await.unwrap().into_iter();
            all.filter(|n| n.name.as_ref() == Some(&net)).map(|n| n.id.unwrap()).collect::<Vec<_>>()
        };
        let another = || Docker::connect(&std::env::var("CONSTELLATION_TEST_DOCKER_HOST").unwrap()).unwrap();

        let oldest = make().await.unwrap();
        // An engine that refuses a second one needs no care.
        let Ok(_) = make().await else { return };
        make().await.unwrap();
        another().ensure_network(net.clone(), world.labels()).await.unwrap();
        assert_eq!(left().await, std::slice::from_ref(&oldest));

        // One that was begun earlier may be seen later: the younger one is in use by then.
        let network = NetworkPlan::Join(vec![Attachment { network: net.clone(), ..Attachment::default() }]);
        let id = world.run(ContainerPlan { network, ..world.plan("user", Program::Serves) }).await;
        let late = make().await.unwrap();
        let engine = another();
        let mut found = engine.0.networks_named(&net, &world.labels()).await.unwrap();
        assert_eq!(found.iter().map(|n| n.id.as_str()).collect::<Vec<_>>(), [oldest.as_str(), &late]);
        found.reverse();
        engine.0.keep_one_network(found).await.unwrap();
        let used = oldest;
        assert_eq!(left().await, std::slice::from_ref(&used), "the one that a container uses");
        world.runtime.remove(id).await.unwrap();

        // Labels that are not ours: a person's, which nobody here removes.
        let other: BTreeMap<_, _> = [("other".to_owned(), "yes".to_owned())].into();
        another().ensure_network(net.clone(), other.clone()).await.unwrap();
        assert_eq!(left().await, std::slice::from_ref(&used), "one of that name is enough");
        docker.create_network(request(other.into_iter().chain(world.labels()).collect())).await.unwrap();
        another().ensure_network(net.clone(), [("third".to_owned(), "yes".to_owned())].into()).await.unwrap();
        assert_eq!(left().await.len(), 2);
        another().ensure_network(net.clone(), world.labels()).await.unwrap();
        assert_eq!(left().await, [used]);
    })
    .await;
}

#[tokio::test]
async fn everything_is_asked_for_at_once() {
    on_docker(async |world| {
        let net = world.name("net");
        let one = async |n: usize| {
            world.runtime.ensure_network(net.clone(), world.labels()).await?;
            let attachment = Attachment { network: net.clone(), ..Attachment::default() };
            let network = NetworkPlan::Join(vec![attachment]);
            let plan = ContainerPlan { network, ..world.plan(&format!("c{n}"), Program::Serves) };
            let id = world.runtime.create(plan).await?.to_string();
            world.runtime.start(id.clone()).await?;
            // Two who remove one: both are told when it is gone.
            let (a, b) = tokio::join!(world.runtime.remove(id.clone()), world.runtime.remove(id.clone()));
            a?;
            b?;
            assert_eq!(world.runtime.inspect(id).await?, None);
            Ok::<_, RuntimeError>(())
        };
        for answer in futures::future::join_all((0..8).map(one)).await {
            answer.unwrap();
        }
    })
    .await;
}

/// A way to the engine on which what a command says comes late.
fn slow_of_speech(at: &std::path::Path, engine: String, late: std::time::Duration) -> tokio::task::JoinHandle<()> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::UnixListener::bind(at).unwrap();
    tokio::spawn(async move {
        let mut open = tokio::task::JoinSet::new();
        while let Ok((from, _)) = listener.accept().await {
            let to = tokio::net::UnixStream::connect(&engine).await.unwrap();
            open.spawn(async move {
                let ((mut ask, mut tell), (mut answers, mut asks)) = (from.into_split(), to.into_split());
                let (mut asked, mut answer) = ([0; 8192], [0; 8192]);
                let mut spoken = None;
                loop {
                    tokio::select! {
                        n = ask.read(&mut asked) => {
                            let Ok(n @ 1..) = n else { return };
                            if String::from_utf8_lossy(&asked[..n]).contains("/start HTTP/1.1\r\n") {
                                spoken = Some(0);
                            }
                            asks.write_all(&asked[..n]).await.unwrap();
                        }
                        n = answers.read(&mut answer) => {
                            let Ok(n @ 1..) = n else { return };
                            // The head of the answer is not late.
                            if let Some(pieces) = &mut spoken {
                                if *pieces > 0 { tokio::time::sleep(late).await }
                                *pieces += 1;
                            }
                            if tell.write_all(&answer[..n]).await.is_err() { return }
                        }
                    }
                }
            });
        }
    })
}

#[tokio::test]
async fn what_a_command_said_last_is_heard_after_its_end() {
    on_docker(async |world| {
        let id = shell(world, world.plan("shell", Program::Serves)).await;
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("engine.sock");
        let engine = std::env::var("CONSTELLATION_TEST_DOCKER_HOST").unwrap();
        let engine = engine.strip_prefix("unix://").unwrap().to_owned();
        let way = slow_of_speech(&at, engine, std::time::Duration::from_millis(300));
        let docker = Docker::connect(&format!("unix://{}", at.display())).unwrap();
        // So short a limit is looked after often: the end is known before the words are read.
        let limit = std::time::Duration::from_millis(1600);
        let said = docker.exec(id, vec!["echo".into(), "last".into()], limit).await.unwrap();
        assert_eq!(said, ExecResult { code: 0, output: "last\n".into() });
        way.abort();
    })
    .await;
}

/// A way to the engine that can be cut: connections end, new ones are refused.
fn way(at: &std::path::Path, engine: String) -> tokio::task::JoinHandle<()> {
    let listener = tokio::net::UnixListener::bind(at).unwrap();
    tokio::spawn(async move {
        let mut open = tokio::task::JoinSet::new();
        while let Ok((mut from, _)) = listener.accept().await {
            let engine = engine.clone();
            open.spawn(async move {
                if let Ok(mut to) = tokio::net::UnixStream::connect(engine).await {
                    let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
                }
            });
        }
    })
}

#[tokio::test]
async fn a_lost_engine_is_told_and_found_again_by_the_next_call() {
    on_docker(async |world| {
        let host = std::env::var("CONSTELLATION_TEST_DOCKER_HOST").unwrap();
        let real = host.strip_prefix("unix://").expect("the tests' engine has a socket");
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("docker.sock");
        let engine = Docker::connect(&format!("unix://{}", at.display())).unwrap();
        assert!(matches!(engine.info().await, Err(RuntimeError::Down { .. })), "before it comes");
        for round in 0..2 {
            let open = way(&at, real.to_owned());
            let info = engine.info().await.unwrap();
            assert_eq!(info, world.runtime.info().await.unwrap());
            let id = world.run(world.plan(&format!("r{round}"), Program::Serves)).await;
            let mut events = engine.events("constellation-test".into(), world.prefix.clone(), Some(0));
            assert!(events.next().await.unwrap().is_ok());
            let mut log = engine.logs(id.clone(), LogQuery { follow: true, ..LogQuery::default() });
            assert!(log.next().await.unwrap().is_ok());
            open.abort();
            assert!(open.await.unwrap_err().is_cancelled());
            std::fs::remove_file(&at).unwrap();
            // What was open ends; whether with an error is the moment's choice.
            let ends = async { tokio::join!(events.collect::<Vec<_>>(), log.collect::<Vec<_>>()) };
            let (events, log) = tokio::time::timeout(PATIENCE, ends).await.expect("streams end with their engine");
            assert!(log.iter().all(Result::is_err), "{log:?}");
            assert!(events.iter().filter(|e| e.is_err()).count() <= 1, "{events:?}");
            for _ in 0..2 {
                let lost = engine.inspect(id.clone()).await;
                assert!(matches!(lost, Err(RuntimeError::Down { .. })), "unknown, not absent: {lost:?}");
            }
        }
    })
    .await;
}
