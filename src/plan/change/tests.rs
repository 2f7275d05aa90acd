use serde_json::{Value, json};

use super::*;
use crate::{
    model::{
        Meta, ServiceSpec,
        config::ConfigSpec,
        node::NodeSpec,
        rotation::{ConfigRotation, Strategy},
        secret::SealedSecret,
        testing::meta,
    },
    plan::rollout::cluster::Cluster,
};

fn declared(name: &str, spec: Spec) -> Declared {
    Declared { name: name.into(), labels: BTreeMap::new(), annotations: BTreeMap::new(), spec }
}
fn service(spec: Value) -> Spec {
    Spec::Service(Box::new(serde_json::from_value(spec).unwrap()))
}
fn put(declared: &Declared) -> Wish<'_> {
    Wish::Put { declared, managed_by: None, digest: None }
}
fn stored(kind: Kind, name: &str, spec: &impl Serialize, digest: Option<&str>) -> (ObjectKey, Arc<Object>) {
    let meta = Meta { generation: 3, resource_version: Index(17), ..meta(name) };
    let object = Object { kind, meta, spec: canonical(spec).unwrap(), digest: digest.map(Into::into) };
    (object.key(), Arc::new(object))
}
/// A cluster in which `web` runs as declared.
fn running(nodes: usize, spec: Value) -> World {
    let spec: ServiceSpec = serde_json::from_value(spec).unwrap();
    let mut cluster = Cluster::new(nodes, spec.clone());
    cluster.settle();
    World {
        index: Index(99),
        objects: BTreeMap::from([stored(Kind::Service, "web", &spec, None)]),
        services: BTreeMap::from([("web".into(), cluster.view)]),
        nodes: cluster.nodes,
    }
}
/// `- web.2 n1`, `-/+ web.1 n1 …`.
fn told(change: &ObjectChange) -> Vec<String> {
    change
        .operations
        .iter()
        .map(|o| format!("{} {} {}", o.op, o.replica, o.node.as_deref().unwrap_or("nowhere")))
        .collect()
}

#[test]
fn a_new_service_shows_its_replicas_and_an_equal_one_nothing() {
    let world = running(1, json!({"image": "a", "replicas": 2}));
    let (new, same) = (
        declared("api", service(json!({"image": "b", "replicas": 2}))),
        declared("web", service(json!({"image": "a", "replicas": 2}))),
    );
    let plan = plan(&[put(&new), put(&same)], &world);
    assert_eq!(plan.objects.iter().map(|o| o.result).collect::<Vec<_>>(), [Outcome::Created, Outcome::Unchanged]);
    assert_eq!(told(&plan.objects[0]), ["+ api.1 n1", "+ api.2 n1"]);
    assert!(plan.objects[0].operations[0].score.is_some());
    assert_eq!((told(&plan.objects[1]).len(), plan.objects[1].fields.len(), plan.objects[1].generation), (0, 0, 3));
    assert_eq!(plan.preconditions, BTreeMap::from([("svc/api".into(), None), ("svc/web".into(), Some(17))]));
    assert_eq!(plan.index, Index(99));
}

#[test]
fn fields_are_named_as_in_the_manifest_and_say_whether_they_replace() {
    let world = running(
        1,
        json!({"image": "a", "replicas": 1, "environment": {"A": "1", "B": "2"},
        "ports": [{"target": 80}], "command": ["x", "y"]}),
    );
    let new = declared(
        "web",
        service(json!({"image": "b", "replicas": 2, "environment": {"A": "1", "C": "3"},
        "ports": [{"target": 81}, {"target": 82}], "command": ["x", "z"]})),
    );
    let plan = plan(&[put(&new)], &world);
    let fields: Vec<String> = plan.objects[0]
        .fields
        .iter()
        .map(|f| {
            let show = |v: &Option<Value>| v.as_ref().map_or("-".into(), ToString::to_string);
            format!("{} {} {}{}", f.path, show(&f.from), show(&f.to), if f.forces_replace { " replace" } else { "" })
        })
        .collect();
    assert_eq!(
        fields,
        [
            "spec.command [\"x\",\"y\"] [\"x\",\"z\"] replace",
            "spec.environment[B] \"2\" - replace",
            "spec.environment[C] - \"3\" replace",
            "spec.image \"a\" \"b\" replace",
            "spec.ports[0].target 80 81 replace",
            "spec.ports[1] - {\"target\":82} replace",
            "spec.replicas 1 2",
        ]
    );
    assert_eq!(told(&plan.objects[0]), ["+/- web.1 n1", "+ web.2 n1"]);
    assert_eq!(plan.objects[0].operations[0].order.as_deref(), Some("start-first"));
    assert_eq!(plan.objects[0].generation, 4);
}

#[test]
fn scaling_replaces_nothing_and_a_deletion_stops_all() {
    let world = running(1, json!({"image": "a", "replicas": 3}));
    let fewer = declared("web", service(json!({"image": "a", "replicas": 1})));
    assert_eq!(told(&plan(&[put(&fewer)], &world).objects[0]), ["- web.3 n1", "- web.2 n1"]);
    let gone = plan(&[Wish::Delete(ObjectKey::service("web"))], &world);
    assert_eq!((gone.objects[0].result, gone.objects[0].operations.len()), (Outcome::Deleted, 3));
    let nothing = plan(&[Wish::Delete(ObjectKey::service("no"))], &world);
    assert_eq!(nothing.objects[0].result, Outcome::Unchanged);
}

#[test]
fn the_plan_names_the_node_that_is_then_chosen() {
    let spec = json!({"image": "a", "replicas": 5});
    let cluster = Cluster::new(3, serde_json::from_value(spec.clone()).unwrap());
    let world = World { nodes: cluster.nodes.clone(), ..World::default() };
    let new = declared("web", service(spec));
    let planned: Vec<_> = plan(&[put(&new)], &world).objects[0].operations.iter().map(|o| o.node.clone()).collect();
    let real: Vec<_> = cluster
        .plan()
        .steps
        .into_iter()
        .map(|s| match s {
            crate::plan::rollout::Step::Place { node, .. } => Some(node.0),
            _ => None,
        })
        .collect();
    assert_eq!(planned, real);
}

#[test]
fn what_goes_makes_room_and_what_does_not_fit_says_why() {
    let port = json!({"image": "a", "ports": [{"target": 80, "published": 80, "hostIp": "127.0.0.1"}]});
    let world = running(1, port.clone());
    let api = declared("api", service(port));
    let clash = plan(&[put(&api)], &world);
    assert_eq!(told(&clash.objects[0]), ["+ api.1 nowhere"]);
    assert_eq!(clash.objects[0].operations[0].reason, Reason::PortConflict);
    assert!(
        clash
            .warnings
            .iter()
            .any(|w| w.starts_with("svc/api: api.1 fits on no node: n1: port 80/tcp is held by web.1")),
        "{:?}",
        clash.warnings
    );
    let room = plan(&[put(&api), Wish::Delete(ObjectKey::service("web"))], &world);
    assert_eq!(told(&room.objects[0]), ["+ api.1 n1"]);
    // A cordon in the same plan counts too.
    let cordon = declared("n1", Spec::Node(NodeSpec { schedulable: false, ..NodeSpec::first() }));
    let other = declared("other", service(json!({"image": "a"})));
    assert_eq!(told(&plan(&[put(&other), put(&cordon)], &world).objects[0]), ["+ other.1 nowhere"]);
}

#[test]
fn a_secret_shows_names_version_and_digest_and_nothing_else() {
    let sealed: SealedSecret = serde_json::from_value(
        json!({"type": "opaque", "version": 2, "digest": "d2", "sealed": {"a": "xx", "b": "yy"}}),
    )
    .unwrap();
    let world =
        World { objects: BTreeMap::from([stored(Kind::Secret, "db", &sealed, Some("d2"))]), ..World::default() };
    let new = declared(
        "db",
        Spec::Secret(serde_json::from_value(json!({"stringData": {"a": "hush", "c": "hush"}})).unwrap()),
    );
    let wish = |digest: &str| Wish::Put { declared: &new, managed_by: None, digest: Some(digest.into()) };
    let changed = plan(&[wish("d3")], &world);
    let paths: Vec<&str> = changed.objects[0].fields.iter().map(|f| f.path.as_str()).collect();
    assert_eq!(paths, ["spec.data[b]", "spec.data[c]", "spec.version", "spec.digest"]);
    assert!(!serde_json::to_string(&changed).unwrap().contains("hush"));
    let same = declared(
        "db",
        Spec::Secret(serde_json::from_value(json!({"stringData": {"a": "hush", "b": "hush"}})).unwrap()),
    );
    let same = plan(&[Wish::Put { declared: &same, managed_by: None, digest: Some("d2".into()) }], &world);
    assert_eq!(same.objects[0].result, Outcome::Unchanged);
}

#[test]
fn every_warning_has_its_cause() {
    let world = running(1, json!({"image": "a"}));
    let config = declared(
        "nginx",
        Spec::Config(ConfigSpec {
            data: BTreeMap::from([("a.conf".into(), "x\ny".into()), ("c.conf".into(), "xyz\n".into())]),
            ..ConfigSpec::default()
        }),
    );
    let new = declared(
        "api",
        service(json!({
            "image": "b",
            "volumes": [{"type": "bind", "source": "/srv/x", "target": "/data"}],
            "ports": [{"target": 8080, "published": 8080}],
            "environment": {"DB_PASSWORD": "hush", "DB_PASSWORD_FILE": "/run/secrets/db"},
            "secrets": [{"source": "db", "env": "DB"}],
            "configs": [{"source": "nginx/b.conf"}, {"source": "nginx/a.conf"}],
            "dependsOn": [{"name": "cache"}, {"name": "metrics", "required": false}],
        })),
    );
    let plan = plan(&[put(&config), put(&new)], &world);
    let expected = [
        "svc/api: Config nginx has no key b.conf; replicas wait for it",
        "svc/api: Secret db does not exist; replicas wait for it",
        "svc/api: Service cache does not exist; it waits for it",
        "svc/api: Service metrics does not exist and is not required",
        "svc/api: no healthcheck (unless the image has one); readiness falls back to TCP 8080",
        "svc/api: environment[DB_PASSWORD] looks like a secret and is stored in clear; use `secrets` with `env: DB_PASSWORD`",
        "published on every address of the host (0.0.0.0), unless its agent has an advertise address: svc/api 8080; \
         set `hostIp` to narrow it",
    ];
    assert_eq!(plan.warnings, expected);
    let note = "svc/api: /srv/x at /data: dataPolicy state (chosen for you): moves with the replica, never two containers at once";
    assert_eq!(plan.notes, [note]);
    assert_eq!(
        plan.objects[0].fields[0].to,
        Some(Value::from(format!("(2 lines, 3 bytes, {})", &blake3::hash(b"x\ny").to_hex()[..8])))
    );
    let one = plan.objects[0].fields[1].to.as_ref().and_then(Value::as_str);
    assert!(one.is_some_and(|text| text.starts_with("(1 line, 4 bytes, ")), "{one:?}");
}

#[test]
fn another_policy_of_data_that_is_there_is_a_warning_and_a_new_mount_a_note() {
    let volume = |target: &str, policy: Option<&str>| {
        let mut mount = json!({"type": "volume", "source": "db", "target": target});
        policy.into_iter().for_each(|p| mount["dataPolicy"] = p.into());
        mount
    };
    let world = running(1, json!({"image": "a", "volumes": [volume("/db", None)]}));
    let told = |volumes: Value| {
        let new = declared("web", service(json!({"image": "b", "volumes": volumes})));
        let plan = plan(&[put(&new)], &world);
        let warnings: Vec<_> = plan.warnings.into_iter().filter(|w| w.contains("dataPolicy")).collect();
        (warnings, plan.notes)
    };
    let (warnings, notes) = told(json!([volume("/db", Some("cache"))]));
    let expected = "svc/web: db at /db: dataPolicy cache (as written) instead of state: may be empty after a move; \
                    it was: moves with the replica, never two containers at once";
    assert_eq!((warnings, notes), (vec![expected.to_owned()], Vec::new()));
    assert_eq!(told(json!([volume("/db", Some("state"))])), Default::default(), "the same, in writing");
    let (warnings, notes) = told(json!([volume("/db", None), volume("/new", Some("shared"))]));
    let expected = "svc/web: db at /new: dataPolicy shared (as written): must be present wherever it runs";
    assert_eq!((warnings, notes), (Vec::new(), vec![expected.to_owned()]));
}

#[test]
fn services_that_wait_for_each_other_are_named_once() {
    let of = |name: &str, on: &[&str]| {
        let on: Vec<Value> = on.iter().map(|n| json!({"name": n})).collect();
        declared(name, service(json!({"image": "a", "expose": [80], "dependsOn": on})))
    };
    let all = [of("c", &["a"]), of("a", &["b"]), of("b", &["c", "d"]), of("d", &[])];
    let wishes: Vec<Wish<'_>> = all.iter().map(put).collect();
    let told: Vec<String> =
        plan(&wishes, &World::default()).warnings.into_iter().filter(|w| w.contains("each other")).collect();
    assert_eq!(told, ["svc/a -> svc/b -> svc/c -> svc/a wait for each other"]);
}

#[test]
fn what_is_deleted_and_still_named_is_said() {
    let mut world = running(1, json!({"image": "a", "secrets": [{"source": "db"}]}));
    let sealed: SealedSecret =
        serde_json::from_value(json!({"type": "opaque", "version": 1, "digest": "d", "sealed": {}})).unwrap();
    world.objects.extend([stored(Kind::Secret, "db", &sealed, Some("d"))]);
    let plan = plan(&[Wish::Delete(ObjectKey::new(Kind::Secret, "db"))], &world);
    assert_eq!(plan.warnings, ["secret/db: svc/web names it"]);
}

#[test]
fn whoever_deletes_the_last_traefik_is_told_what_ends_with_it() {
    let mut world = running(1, json!({"image": "traefik", "secrets": [{"source": "file"}]}));
    let sealed: SealedSecret =
        serde_json::from_value(json!({"type": "opaque", "version": 1, "digest": "d", "sealed": {}, "edge": {}}))
            .unwrap();
    world.objects.extend([stored(Kind::Secret, "file", &sealed, Some("d"))]);
    let told = |wishes: &[Wish<'_>], world: &World| -> Vec<String> {
        plan(wishes, world).warnings.into_iter().filter(|w| w.contains("Traefik ends with it")).collect()
    };
    let gone = |key: &str| format!("{key}: Traefik ends with it: no route is served, and the public ports are shut");
    assert_eq!(told(&[Wish::Delete(ObjectKey::service("web"))], &world), [gone("svc/web")]);
    assert_eq!(told(&[Wish::Delete(ObjectKey::new(Kind::Secret, "file"))], &world), [gone("secret/file")]);
    let other = declared("other", service(json!({"image": "traefik", "secrets": [{"source": "file"}]})));
    assert_eq!(told(&[put(&other), Wish::Delete(ObjectKey::service("web"))], &world), [""; 0], "another one is there");
    let plain = running(1, json!({"image": "a"}));
    assert_eq!(told(&[Wish::Delete(ObjectKey::service("web"))], &plain), [""; 0]);
}

#[test]
fn an_update_that_no_node_takes_leaves_the_old_one() {
    let world = running(1, json!({"image": "a"}));
    let large = declared("web", service(json!({"image": "b", "resources": {"reservations": {"memory": "1Ti"}}})));
    let plan = plan(&[put(&large)], &world);
    assert!(plan.objects[0].operations[0].detail.starts_with("the old one stays: n1: memory: wants 1Ti"));
}

#[test]
fn two_writers_of_the_same_data_are_told_and_so_is_who_is_not_done_with_it() {
    let spec = json!({"image": "a", "volumes": [{"type": "volume", "source": "data", "target": "/data"}]});
    let world = running(1, spec.clone());
    let new = declared("api", service(spec.clone()));
    let both = plan(&[put(&new)], &world);
    assert_eq!(told(&both.objects[0]), ["+ api.1 nowhere"]);
    let clash = "svc/api: data_01234567 is written by svc/web too: one at a time, the other waits; \
                 write `dataPolicy: shared` on both mounts if they may write at once";
    assert!(both.warnings.iter().any(|w| w == clash), "{:#?}", both.warnings);
    // A rename: the old one goes in the same change.
    let renamed = plan(&[Wish::Delete(ObjectKey::service("web")), put(&new)], &world);
    assert_eq!(told(&renamed.objects[1]), ["+ api.1 n1"]);
    let waits = "svc/api: data_01234567 is held by web.1: it starts when that has stopped";
    assert!(renamed.warnings.iter().any(|w| w == waits), "{:#?}", renamed.warnings);
    assert!(!renamed.warnings.iter().any(|w| w == clash));
    // On another node it is other data.
    let mut elsewhere = spec;
    elsewhere["placement"] = json!({"constraints": ["node.hostname == n2"]});
    let elsewhere = declared("api", service(elsewhere));
    let mut world = world;
    world.nodes.push(crate::plan::rollout::cluster::node("n2"));
    world.services.get_mut("web").unwrap().declared.as_mut().unwrap().1 = Arc::new(
        serde_json::from_value(
            json!({"image": "a", "volumes": [{"type": "volume", "source": "data", "target": "/data"}],
            "placement": {"constraints": ["node.hostname == n1"]}}),
        )
        .unwrap(),
    );
    let apart = plan(&[put(&elsewhere)], &world);
    assert!(!apart.warnings.iter().any(|w| w.contains("data_01234567")), "{:#?}", apart.warnings);
}

#[test]
fn replicas_that_keep_the_old_content_are_counted() {
    let mut world = running(1, json!({"image": "a", "replicas": 2, "configs": [{"source": "nginx/a.conf"}]}));
    let config = |text: &str| ConfigSpec {
        data: [("a.conf", text), ("b.conf", "x")].map(|(k, v)| (k.into(), v.into())).into(),
        rotation: ConfigRotation { strategy: Strategy::Manual, ..ConfigRotation::default() },
        ..ConfigSpec::default()
    };
    let old = config("1");
    world.objects.extend([stored(Kind::Config, "nginx", &old, None)]);
    for r in &mut world.services.get_mut("web").unwrap().replicas {
        let digest = old.digest(Some("a.conf")).unwrap();
        r.status.as_mut().unwrap().contents.insert("configs/nginx/a.conf".into(), digest);
    }
    let told = |wishes: &[Wish<'_>], world: &World| -> Vec<String> {
        plan(wishes, world).warnings.into_iter().filter(|w| w.contains("old content")).collect()
    };
    let new = declared("nginx", Spec::Config(config("2")));
    let expected = "config/nginx: 2 running replicas of svc/web keep the old content until they are replaced";
    assert_eq!(told(&[put(&new)], &world), [expected]);
    // Another key is not theirs.
    let mut beside = old;
    beside.data.insert("b.conf".into(), "y".into());
    let beside = declared("nginx", Spec::Config(beside));
    assert_eq!(told(&[put(&beside)], &world), [""; 0]);
    // What is replaced in the same change takes it in.
    let next = json!({"image": "b", "replicas": 2, "configs": [{"source": "nginx/a.conf"}]});
    let next = declared("web", service(next));
    assert_eq!(told(&[put(&new), put(&next)], &world), [""; 0]);
    world.services.get_mut("web").unwrap().replicas.pop();
    assert_eq!(
        told(&[put(&new)], &world),
        ["config/nginx: 1 running replica of svc/web keeps the old content until it is replaced"]
    );
    // Unless it is to be brought to them.
    for (strategy, said) in [
        (Strategy::Rolling, "config/nginx: 1 running replica of svc/web is replaced for it"),
        (Strategy::Reload, "config/nginx: 1 running replica of svc/web: files are replaced where they are"),
    ] {
        let mut new = config("2");
        new.rotation.strategy = strategy;
        let new = declared("nginx", Spec::Config(new));
        let warnings = plan(&[put(&new)], &world).warnings;
        assert!(warnings.iter().any(|w| w == said), "{warnings:?}");
    }
}

#[test]
fn ports_without_an_address_are_told_once_for_all_services_and_only_when_they_are_new() {
    let world = running(1, json!({"image": "a", "ports": [{"target": 80, "published": 80}]}));
    let told = |wishes: &[Wish<'_>]| -> Vec<String> {
        plan(wishes, &world).warnings.into_iter().filter(|w| w.contains("0.0.0.0")).collect()
    };
    let ports =
        json!([{"target": 80, "published": 80}, {"target": 81}, {"target": 82, "published": 82, "hostIp": "::1"}]);
    let (web, api) =
        (declared("web", service(json!({"image": "b", "ports": ports}))), json!({"target": 1, "published": 1}));
    let api = declared("api", service(json!({"image": "b", "ports": [api]})));
    let expected = "published on every address of the host (0.0.0.0), unless its agent has an advertise address: \
                    svc/web a port that the engine chooses; svc/api 1; set `hostIp` to narrow it";
    assert_eq!(told(&[put(&web), put(&api)]), [expected]);
    let same = declared("web", service(json!({"image": "b", "ports": [{"target": 80, "published": 80}]})));
    assert_eq!(told(&[put(&same)]), [""; 0]);
}

#[test]
fn a_file_that_becomes_a_directory_is_told() {
    let mut world =
        running(1, json!({"image": "a", "configs": [{"source": "nginx"}, {"source": "nginx/a", "target": "/a"}]}));
    let config = |keys: &[&str]| ConfigSpec {
        data: keys.iter().map(|k| ((*k).into(), "x".into())).collect(),
        ..ConfigSpec::default()
    };
    let told = |world: &World, keys: &[&str]| -> Vec<String> {
        let new = declared("nginx", Spec::Config(config(keys)));
        plan(&[put(&new)], world).warnings.into_iter().filter(|w| w.contains("instead of")).collect()
    };
    world.objects.extend([stored(Kind::Config, "nginx", &config(&["a"]), None)]);
    let becomes = |had: &str, is: &str| {
        format!(
            "config/nginx: it has {had}: in new containers of svc/web /nginx is {is}; to choose, name nginx/KEY there"
        )
    };
    assert_eq!(told(&world, &["a", "b"]), [becomes("2 keys instead of one key", "a directory, no longer a file")]);
    assert_eq!(told(&world, &["b"]), [""; 0], "still one file");
    world.objects.extend([stored(Kind::Config, "nginx", &config(&["a", "b"]), None)]);
    assert_eq!(told(&world, &["a"]), [becomes("one key instead of 2 keys", "a file, no longer a directory")]);
    assert_eq!(told(&world, &["a", "b", "c"]), [""; 0]);
    let (new, api) = (
        declared("nginx", Spec::Config(config(&["a"]))),
        declared("api", service(json!({"image": "b", "configs": [{"source": "nginx"}]}))),
    );
    let told = plan(&[put(&new), put(&api)], &world).warnings;
    assert!(told.iter().all(|w| !w.contains("svc/api /nginx")), "it was nothing before: {told:#?}");
    // A variable takes one value.
    let mut world = running(1, json!({"image": "a", "secrets": [{"source": "db", "env": "DB"}]}));
    let sealed: SealedSecret =
        serde_json::from_value(json!({"type": "opaque", "version": 1, "digest": "d", "sealed": {"a": "x"}})).unwrap();
    world.objects.extend([stored(Kind::Secret, "db", &sealed, None)]);
    let spec = serde_json::from_value(json!({"stringData": {"a": "x", "b": "x"}})).unwrap();
    let new = declared("db", Spec::Secret(spec));
    let told = plan(&[put(&new)], &world).warnings;
    let expected = "secret/db: it has 2 keys instead of one key: svc/web cannot fill in the variable DB; name the key there: db/KEY";
    assert!(told.iter().any(|w| w == expected), "{told:#?}");
}

#[test]
fn replicas_that_stay_where_they_would_not_be_placed_are_named() {
    let world = running(2, json!({"image": "a", "replicas": 2}));
    let narrow = |image: &str| {
        let constraints = json!({"constraints": ["node.hostname == n1"]});
        declared("web", service(json!({"image": image, "replicas": 2, "placement": constraints})))
    };
    let told = |new: &Declared| -> Vec<String> {
        plan(&[put(new)], &world).warnings.into_iter().filter(|w| w.contains("until replaced")).collect()
    };
    let there = world.services["web"].replicas.iter().find(|r| *r.replica.node == *"n2").unwrap();
    let expected = format!(
        "svc/web: {} would not be placed on n2 now and runs there until replaced: constraint node.hostname == n1: it is \"n2\"",
        there.replica.display()
    );
    assert_eq!(told(&narrow("a")), [expected]);
    assert_eq!(told(&narrow("b")), [""; 0], "they are replaced");
}

#[test]
fn a_global_service_that_fits_nowhere_is_warned_of_unless_a_node_is_made_to_fit() {
    let mut world = running(1, json!({"image": "a"}));
    world.objects.extend([stored(Kind::Node, "n1", &NodeSpec::first(), None)]);
    let spec = json!({"image": "b", "mode": "global", "placement": {"constraints": ["node.labels.disk == ssd"]}});
    let log = declared("log", service(spec));
    let warned = |wishes: &[Wish<'_>]| plan(wishes, &world).warnings.iter().any(|w| w.contains("it fits on no node"));
    let told = plan(&[put(&log)], &world).warnings;
    let lacks = "svc/log: it fits on no node and runs nowhere: n1: constraint node.labels.disk == ssd: it is not set";
    assert!(told.iter().any(|w| w == lacks), "{told:?}");
    let node = Declared {
        labels: BTreeMap::from([("disk".into(), "ssd".into())]),
        ..declared("n1", Spec::Node(NodeSpec::first()))
    };
    assert!(!warned(&[put(&node), put(&log)]));
}

#[test]
fn a_network_is_known_by_the_log_and_by_what_is_applied_with_it() {
    let on = |network: &str| json!({"image": "b", "networks": [{"name": network}]});
    let world = running(1, on("frontend"));
    let warned = |wishes: &[&Declared]| -> Vec<String> {
        let wishes: Vec<_> = wishes.iter().map(|d| put(d)).collect();
        plan(&wishes, &world).warnings.into_iter().filter(|w| w.contains("network")).collect()
    };
    let api = |network| declared("api", service(on(network)));
    let told = |name: &str, more: &str| {
        format!("svc/{name}: network `fronted` is named by no other service and will be created{more}")
    };
    assert_eq!(warned(&[&api("fronted")]), [told("api", "; did you mean `frontend`?")]);
    assert_eq!(warned(&[&api("frontend")]), [""; 0], "the log knows it");
    let db = declared("db", service(on("fronted")));
    assert_eq!(warned(&[&api("fronted"), &db]), [""; 0], "another manifest names it");
    let scaled = declared("web", service(json!({"image": "c", "networks": [{"name": "frontend"}]})));
    assert_eq!(warned(&[&scaled]), [""; 0], "it had it before");
}

#[test]
fn a_replica_that_stops_first_says_how_long_requests_of_its_routes_wait() {
    let spec = |image: &str, routes: Value| json!({"image": image, "replicas": 1, "expose": [80], "update": {"order": "stop-first"}, "routes": routes});
    let detail = |routes: Value| {
        let world = running(1, spec("a", routes.clone()));
        let new = declared("web", service(spec("b", routes)));
        plan(&[put(&new)], &world).objects[0].operations[0].detail.clone()
    };
    let gap = "a gap until the new one is ready";
    assert_eq!(detail(json!([])), gap);
    assert_eq!(detail(json!([{"host": "a.example"}])), format!("{gap}; requests of its routes are held up to 15s"));
    let through = |scheme: &str| {
        let backend = json!({"service": "web", "port": 80, "scheme": scheme});
        let route = serde_json::from_value(json!({"hosts": ["b.example"], "backends": [backend]})).unwrap();
        let (world, route) = (running(1, spec("a", json!([]))), declared("b", Spec::Route(Box::new(route))));
        let new = declared("web", service(spec("b", json!([]))));
        let planned = plan(&[put(&new), put(&route)], &world);
        planned.objects.iter().find_map(|o| o.operations.first().map(|o| o.detail.clone())).unwrap()
    };
    assert_eq!(through("http"), format!("{gap}; requests of its routes are held up to 15s"));
    assert_eq!([through("https"), through("h2c")], [gap, gap], "only plain HTTP is held");
}
