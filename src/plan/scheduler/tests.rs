use proptest::prelude::*;

use super::*;
use crate::model::{
    Condition, NodeStatus, Uid,
    node::NodeSpec,
    service::{Amounts, Healthcheck, NetworkMode, Port},
    status::EngineInfo,
};

/// A node that works: four cores, eight GiB, amd64, API 1.41.
fn node(name: &str) -> NodeView {
    NodeView {
        name: name.into(),
        uid: Uid(format!("uid-{name}").into()),
        labels: BTreeMap::new(),
        spec: NodeSpec::first(),
        status: Some(NodeStatus {
            engine: EngineInfo {
                version: "20.10.24".into(),
                api_version: "1.41".into(),
                os: "linux".into(),
                arch: "amd64".into(),
                ..EngineInfo::default()
            },
            cpus: Millicores(4000),
            memory: Bytes(8 << 30),
            ..NodeStatus::default()
        }),
        reserved: (Millicores(0), Bytes(0)),
        ports: Vec::new(),
        replicas: BTreeMap::new(),
        data: Vec::new(),
        lineage: Uid("0123456789abcdef".into()),
    }
}
fn uid() -> Uid {
    Uid("uid-web".into())
}
fn holder(service: &str, slot: Slot) -> Holder {
    Holder { service: service.into(), uid: Uid(format!("uid-{service}").into()), slot, leaving: false }
}
/// A mount at `/data`, a bind unless it says otherwise.
fn mount(with: serde_json::Value) -> Mount {
    let mut json = serde_json::json!({"type": "bind", "target": "/data"});
    json.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
    serde_json::from_value(json).unwrap()
}
fn with_mount(with: serde_json::Value) -> ServiceSpec {
    let mut spec = ServiceSpec::default();
    spec.container.volumes.push(mount(with));
    spec
}
fn decide(spec: &ServiceSpec, nodes: &[NodeView]) -> Decision {
    let (service, slot) = ("web".into(), Slot::Number(1));
    place(&Request { service: &service, uid: &uid(), generation: 1, slot: &slot, spec, image: None, homes: &[] }, nodes)
}
fn port(published: Option<u16>, host_ip: Option<&str>) -> Port {
    Port {
        name: None,
        target: 80,
        published,
        protocol: Default::default(),
        host_ip: host_ip.map(Into::into),
        app_protocol: None,
    }
}
fn volume(source: &str, per_replica: bool) -> Mount {
    serde_json::from_value(
        serde_json::json!({"type": "volume", "source": source, "target": "/data", "perReplica": per_replica}),
    )
    .unwrap()
}

#[test]
fn each_filter_says_what_stands_in_the_way() {
    let spec = |change: fn(&mut ServiceSpec)| {
        let mut spec = ServiceSpec::default();
        change(&mut spec);
        spec
    };
    let bent = |change: fn(&mut NodeView)| {
        let mut node = node("n1");
        change(&mut node);
        node
    };
    let table = [
        ("cordoned", spec(|_| {}), bent(|n| n.spec.schedulable = false), "schedulable", Reason::Cordoned, "cordoned"),
        ("never reported", spec(|_| {}), bent(|n| n.status = None), "docker", Reason::HealthUnknown, "not reported"),
        (
            "engine away",
            spec(|_| {}),
            bent(|n| {
                if let Some(status) = &mut n.status {
                    status.conditions.push(Condition {
                        kind: ConditionType::DockerReachable,
                        status: ConditionStatus::False,
                        reason: Reason::DockerDown,
                        message: "no such file".into(),
                        last_transition_time: 0,
                        observed_generation: 0,
                    });
                }
            }),
            "docker",
            Reason::DockerDown,
            "no such file",
        ),
        ("no agent", spec(|_| {}), bent(|n| n.spec.roles = vec![Role::Edge]), "role", Reason::NoNodeFits, "role agent"),
        (
            "label missing",
            spec(|s| s.placement.constraints = vec!["node.labels.gpu == true".into()]),
            node("n1"),
            "constraint",
            Reason::NoNodeFits,
            "constraint node.labels.gpu == true: it is not set",
        ),
        (
            "label differs",
            spec(|s| s.placement.constraints = vec!["node.labels.gpu == true".into()]),
            bent(|n| drop(n.labels.insert("gpu".into(), "no".into()))),
            "constraint",
            Reason::NoNodeFits,
            "constraint node.labels.gpu == true: it is \"no\"",
        ),
        (
            "other architecture",
            spec(|s| s.container.platform = Some("linux/arm64".into())),
            node("n1"),
            "architecture",
            Reason::ArchitectureMismatch,
            "platform linux/arm64: the engine is linux/amd64",
        ),
        (
            "engine too old",
            spec(|s| {
                s.container.healthcheck =
                    Some(Healthcheck { start_interval: Some(crate::model::Period::secs(1)), ..Healthcheck::default() });
            }),
            node("n1"),
            "engine",
            Reason::EngineTooOld,
            "healthcheck.startInterval needs API 1.44; engine 20.10.24 has 1.41",
        ),
        (
            "port held",
            spec(|s| s.container.ports = vec![port(Some(8080), Some("127.0.0.1"))]),
            bent(|n| n.ports.push((None, 8080, Default::default(), "api.1".into()))),
            "port",
            Reason::PortConflict,
            "port 8080/tcp is held by api.1",
        ),
        (
            "memory",
            spec(|s| s.container.resources.reservations.memory = Some(Bytes(1 << 30))),
            bent(|n| n.reserved.1 = Bytes(7 << 30)),
            "capacity",
            Reason::NoNodeFits,
            "memory: wants 1Gi, free 768Mi of 8Gi (256Mi kept for the host, 7Gi placed)",
        ),
        (
            "cpu",
            spec(|s| s.container.resources.reservations.cpus = Some(Millicores(3950))),
            node("n1"),
            "capacity",
            Reason::NoNodeFits,
            "cpu: wants 3950m, free 3900m of 4 (100m kept for the host, 0 placed)",
        ),
    ];
    for (case, spec, node, filter, reason, message) in table {
        let decision = decide(&spec, &[node]);
        assert_eq!(decision.node, None, "{case}");
        let [rejection] = &decision.considered[0].rejections[..] else { panic!("{case}: {decision:?}") };
        assert_eq!((rejection.filter.as_str(), rejection.reason), (filter, reason), "{case}");
        assert!(rejection.message.contains(message), "{case}: {}", rejection.message);
    }
}

#[test]
fn ports_clash_only_where_addresses_overlap() {
    for (held, wanted, clash) in [
        (None, None, true),
        (Some("127.0.0.1"), None, true),
        (Some("0.0.0.0"), Some("127.0.0.1"), true),
        (Some("127.0.0.1"), Some("127.0.0.1"), true),
        (Some("127.0.0.1"), Some("10.0.0.1"), false),
    ] {
        let mut n = node("n1");
        n.ports.push((held.map(Into::into), 80, Default::default(), "x.1".into()));
        let mut spec = ServiceSpec::default();
        spec.container.ports = vec![port(Some(80), wanted)];
        assert_eq!(decide(&spec, &[n.clone()]).node.is_none(), clash, "{held:?} {wanted:?}");
        spec.container.ports = vec![port(None, wanted)];
        assert!(decide(&spec, &[n.clone()]).node.is_some(), "a port that the engine chooses clashes with nothing");
        spec.container.network_mode = NetworkMode::Host;
        assert_eq!(decide(&spec, &[n]).node.is_none(), clash, "the host's network makes every port fixed");
    }
}

#[test]
fn a_local_image_and_data_bind_a_replica_to_their_node() {
    let nodes = [node("n1"), node("n2"), node("n3")];
    let (service, spec) = ("web".into(), ServiceSpec::default());
    let image = ResolvedImage::Local { id: "sha256:0123456789abcdef".into(), node: Uid("uid-n2".into()) };
    let slot = Slot::Number(2);
    let request = Request {
        service: &service,
        uid: &uid(),
        generation: 1,
        slot: &slot,
        spec: &spec,
        image: Some(&image),
        homes: &[],
    };
    assert_eq!(place(&request, &nodes).node.as_deref(), Some("n2"));
    let home =
        |source: &str, node: &str| Home { source: source.into(), node: Uid(format!("uid-{node}").into()), own: true };
    let homes = [home("db-2_01234567", "n3"), home("db-1_01234567", "n1"), home("db_x_01234567", "n1")];
    for (source, per_replica, wanted) in [("db", true, Some("n3")), ("db_x", false, Some("n1"))] {
        let mut spec = ServiceSpec::default();
        spec.container.volumes = vec![volume(source, per_replica)];
        let request = Request { spec: &spec, image: None, homes: &homes, ..request };
        assert_eq!(place(&request, &nodes).node.as_deref(), wanted, "{source}");
    }
}

#[test]
fn replicas_spread_before_they_fill() {
    let mut nodes = [node("n1"), node("n2"), node("n3")];
    let service: Arc<str> = "web".into();
    for slot in 1..=6 {
        let slot = Slot::Number(slot);
        let spec = ServiceSpec::default();
        let request = Request {
            service: &service,
            uid: &uid(),
            generation: 1,
            slot: &slot,
            spec: &spec,
            image: None,
            homes: &[],
        };
        let chosen = place(&request, &nodes).node.unwrap();
        nodes.iter_mut().find(|n| n.name == chosen).unwrap().take(&holder("web", slot.clone()), &spec);
    }
    assert!(nodes.iter().all(|n| n.replicas["web"] == 2), "{:?}", nodes.map(|n| n.replicas));
}

#[test]
fn above_64_nodes_the_best_are_kept_and_each_filter_counts() {
    let mut nodes: Vec<NodeView> = (0..100).map(|n| node(&format!("n{n:03}"))).collect();
    nodes.iter_mut().take(30).for_each(|n| n.spec.schedulable = false);
    let decision = decide(&ServiceSpec::default(), &nodes);
    assert_eq!((decision.considered.len(), &decision.rejected_by), (16, &BTreeMap::from([("schedulable".into(), 30)])));
    assert_eq!(decision.node.as_ref(), Some(&decision.considered[0].node));
}

#[test]
fn state_has_one_writer_on_a_node_whatever_the_services() {
    use serde_json::json;
    let volume = json!({"type": "volume", "source": "data"});
    let exact = json!({"type": "volume", "source": "data_01234567", "external": true});
    let shared = json!({"source": "/srv/x", "dataPolicy": "shared"});
    let reads = json!({"source": "/srv/x", "readOnly": true});
    let table = [
        ("same volume", volume.clone(), volume.clone(), true),
        ("same volume by its exact name", volume.clone(), exact, true),
        ("another volume", json!({"type": "volume", "source": "other"}), volume.clone(), false),
        ("its own volume for each", json!({"type": "volume", "source": "data", "perReplica": true}), volume, false),
        ("same path, written otherwise", json!({"source": "/srv/./x/"}), json!({"source": "/srv/x"}), true),
        ("a directory of it", json!({"source": "/srv"}), json!({"source": "/srv/x/"}), true),
        ("what it lies in", json!({"source": "/srv/x/y"}), json!({"source": "/srv/x"}), true),
        ("all there is", json!({"source": "/"}), json!({"source": "/srv/x"}), true),
        ("a longer name beside it", json!({"source": "/srv/x"}), json!({"source": "/srv/xy"}), false),
        ("a neighbour", json!({"source": "/srv/y"}), json!({"source": "/srv/x"}), false),
        ("a directory of what is shared", shared.clone(), json!({"source": "/srv/x/y"}), true),
        ("both share", shared.clone(), shared.clone(), false),
        ("one shares, the other does not", shared.clone(), json!({"source": "/srv/x"}), true),
        ("the other way round", json!({"source": "/srv/x"}), shared, true),
        ("a reader", reads.clone(), json!({"source": "/srv/x"}), false),
        ("beside a reader", json!({"source": "/srv/x"}), reads, false),
    ];
    for (case, held, wanted, clash) in table {
        let (held, wanted) = (with_mount(held), with_mount(wanted));
        for (leaving, reason) in [(false, Reason::NoNodeFits), (true, Reason::ReplicaSetUpdated)] {
            let mut n = node("n1");
            n.take(&Holder { leaving, ..holder("other", Slot::Number(1)) }, &held);
            let decision = decide(&wanted, &[n]);
            let told = decision.considered[0].rejections.first();
            assert_eq!(told.map(|r| (r.filter.as_str(), r.reason)), clash.then_some(("data", reason)), "{case}");
            assert!(told.is_none_or(|r| r.message.contains("other.1")), "{case}: {told:?}");
            assert_eq!(comes_free(&decision).is_some(), clash && leaving, "{case}");
        }
        // Its own slot is the rollout's matter: the old one stops before the new one is placed.
        let mut n = node("n1");
        n.take(&holder("web", Slot::Number(1)), &held);
        assert_eq!(decide(&wanted, &[n]).node.as_deref(), Some("n1"), "{case}");
    }
}

#[test]
fn a_volume_that_another_service_left_is_found_where_it_is_and_a_global_service_has_its_own_everywhere() {
    let spec = with_mount(serde_json::json!({"type": "volume", "source": "data"}));
    let (nodes, service, uid) = ([node("n1"), node("n2")], "web".into(), uid());
    let home = |node: &str, own| Home { source: "data_01234567".into(), node: Uid(format!("uid-{node}").into()), own };
    for (homes, slot, chosen) in [
        (vec![home("n2", false)], Slot::Number(1), "n2"),
        (vec![home("n1", false)], Slot::Number(1), "n1"),
        (vec![home("n1", false), home("n2", true)], Slot::Number(1), "n2"),
        (vec![home("n1", true)], Slot::Node("n2".into()), "n2"),
    ] {
        let request = Request {
            service: &service,
            uid: &uid,
            generation: 1,
            slot: &slot,
            spec: &spec,
            image: None,
            homes: &homes,
        };
        assert_eq!(place(&request, &nodes).node.as_deref(), Some(chosen), "{homes:?}");
    }
}

#[test]
fn what_is_taken_is_given_back() {
    let mut spec = ServiceSpec::default();
    spec.container.ports = vec![port(Some(80), None)];
    spec.container.resources.reservations = Amounts { cpus: Some(Millicores(10)), memory: Some(Bytes(10)) };
    let mut n = node("n1");
    spec.container.volumes = vec![mount(serde_json::json!({"source": "/srv/x"}))];
    let web = holder("web", Slot::Number(1));
    n.take(&web, &spec);
    assert_eq!(n.data.len(), 1);
    assert_eq!((n.reserved, n.ports.len(), n.replicas["web"]), ((Millicores(10), Bytes(10)), 1, 1));
    n.release(&web, &spec);
    assert!(n.data.is_empty());
    assert_eq!((n.reserved, n.ports.len(), n.replicas["web"]), ((Millicores(0), Bytes(0)), 0, 0));
}

proptest! {
    #[test]
    fn a_refused_node_is_never_chosen_and_the_order_of_nodes_decides_nothing(
        bent in prop::collection::vec((any::<bool>(), 0u64..9, 0u32..4), 1..9),
        slot in 1u32..9,
        wanted in 0u64..9,
    ) {
        let mut nodes: Vec<NodeView> = bent.iter().enumerate().map(|(i, (cordoned, gib, own))| {
            let mut n = node(&format!("n{i}"));
            n.spec.schedulable = !cordoned;
            n.reserved.1 = Bytes(gib << 30);
            n.replicas.insert("web".into(), *own);
            n
        }).collect();
        let mut spec = ServiceSpec::default();
        spec.container.resources.reservations.memory = Some(Bytes(wanted << 30));
        let (service, slot) = ("web".into(), Slot::Number(slot));
        let request = Request { service: &service, uid: &uid(), generation: 7, slot: &slot, spec: &spec, image: None, homes: &[] };
        let decision = place(&request, &nodes);
        prop_assert_eq!(decision.considered.len(), nodes.len());
        let fits = |n: &NodeView| n.spec.schedulable && (n.reserved.1.0 + (wanted << 30) + (256 << 20) <= 8 << 30 || wanted == 0);
        match &decision.node {
            Some(chosen) => prop_assert!(nodes.iter().any(|n| n.name == *chosen && fits(n))),
            None => prop_assert!(!nodes.iter().any(fits)),
        }
        prop_assert!(decision.score <= 100);
        nodes.reverse();
        prop_assert_eq!(place(&request, &nodes), decision);
    }
}
