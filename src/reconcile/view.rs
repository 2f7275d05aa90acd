//! From the state to what planners read.
//!
//! Here: [`service`], [`services`], [`nodes`], [`world`], [`users`] with [`shared`], [`schedule`]. Only reading and parsing: no decision.
//! Invariant: what this version cannot read (a newer one wrote it) gives no view at all, so that no
//! planner takes it for deleted or empty.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use serde::Deserialize;

use crate::{
    model::{
        Bytes, Kind, Millicores, Object, ObjectKey, Replica, ReplicaPhase, Revision, ServiceSpec, Uid, Volume,
        config::ConfigSpec,
        rotation::{Rotation, Strategy},
        secret::SealedSecret,
        service::{ContainerSpec, FileRef},
    },
    plan::{
        rotation::Schedule,
        view::{Home, Missing, NodeView, ReplicaView, ServiceView, World},
        why::usage::{Content, Kept, Shared, Users},
    },
    store::State,
};

/// A Service and all that bears its name; none when there is nothing, or when this version cannot
/// read its spec: then leave it alone.
#[must_use]
pub fn service(state: &State, name: &str) -> Option<ServiceView> {
    let replicas = state.replicas().filter(|r| *r.service == *name).map(|r| replica(state, r)).collect();
    assemble(state, name, replicas)
}

/// Every Service that can be read, deleted ones with replicas left too, by name.
#[must_use]
pub fn services(state: &State) -> Vec<ServiceView> {
    let mut replicas: BTreeMap<Arc<str>, Vec<ReplicaView>> = BTreeMap::new();
    for r in state.replicas() {
        replicas.entry(r.service.clone()).or_default().push(replica(state, r));
    }
    let mut names: BTreeSet<Arc<str>> = state.objects(Kind::Service).map(|o| o.meta.name.clone()).collect();
    names.extend(replicas.keys().cloned());
    names.iter().filter_map(|name| assemble(state, name, replicas.remove(name).unwrap_or_default())).collect()
}

/// Who uses Configs and Secrets.
#[must_use]
pub fn users(state: &State) -> Users {
    Users::new(services(state), nodes(state))
}

/// A Config or Secret with its versions; none when this version cannot read it.
#[must_use]
pub fn shared(state: &State, object: &Object) -> Option<Shared> {
    let content = |object: &Object| match object.kind {
        Kind::Config => Some(Content::Config(Box::new(object.parse().ok()?))),
        Kind::Secret => Some(Content::Secret(object.parse::<SealedSecret>().ok()?.content().to_owned())),
        Kind::Service | Kind::Node | Kind::Route | Kind::Middleware | Kind::Replica => None,
    };
    // What it is now is known even where nobody noted its versions.
    let now = content(object)?;
    let meta = &object.meta;
    let mut versions: Vec<Kept> = state
        .versions(&meta.uid)
        .rev()
        .filter_map(|v| {
            let content = v.kept.as_ref().map_or_else(|| Some(now.clone()), |kept| content(kept))?;
            Some(Kept { number: v.number, made_at: v.made_at, content })
        })
        .collect();
    if versions.is_empty() {
        let number = object.parse::<SealedSecret>().map_or(meta.generation, |s| s.version);
        versions.push(Kept { number, made_at: meta.created_at, content: now });
    }
    let (name, uid) = (meta.name.clone(), meta.uid.clone());
    let (generation, created_at) = (meta.generation, meta.created_at);
    Some(Shared { kind: object.kind, name, uid, generation, created_at, versions })
}

/// When a Secret is drawn anew, if somebody said so.
#[must_use]
pub fn schedule(state: &State, object: &Object) -> Option<Schedule> {
    let sealed: SealedSecret = (object.kind == Kind::Secret).then(|| object.parse().ok()).flatten()?;
    let every = sealed.generate.and(sealed.rotation.every)?;
    let newest = state.versions(&object.meta.uid).rev().find(|v| v.kept.is_none());
    Some(Schedule { every, made_at: newest.map_or(object.meta.created_at, |v| v.made_at) })
}

/// Every Node, with what is placed there.
#[must_use]
pub fn nodes(state: &State) -> Vec<NodeView> {
    Reader::default().nodes(state)
}

/// Reads again and again, and parses each revision once: a revision never changes.
#[derive(Debug, Default)]
pub struct Reader(Mutex<Specs>);

/// Parsed revisions kept at most; more are parsed anew, which costs time and nothing else.
const KEPT: usize = 4_096;

impl Reader {
    /// As [`nodes`].
    #[must_use]
    pub fn nodes(&self, state: &State) -> Vec<NodeView> {
        read_nodes(state, &mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

type Specs = HashMap<(Uid, u64), Option<Arc<ServiceSpec>>>;

fn parsed(specs: &mut Specs, revision: &Revision) -> Option<Arc<ServiceSpec>> {
    let key = (revision.service.clone(), revision.number);
    if specs.len() >= KEPT && !specs.contains_key(&key) {
        specs.clear();
    }
    specs.entry(key).or_insert_with(|| serde_json::from_slice(&revision.spec).ok().map(Arc::new)).clone()
}

fn read_nodes(state: &State, specs: &mut Specs) -> Vec<NodeView> {
    let lineage = state.cluster().map_or_else(|| Uid("".into()), |c| c.lineage.clone());
    let mut nodes: Vec<NodeView> = state
        .objects(Kind::Node)
        .filter_map(|object| {
            Some(NodeView {
                name: object.meta.name.clone(),
                uid: object.meta.uid.clone(),
                labels: object.meta.labels.clone(),
                spec: object.parse().ok()?,
                status: state.node_status(&object.meta.name).cloned(),
                reserved: (Millicores(0), Bytes(0)),
                ports: Vec::new(),
                replicas: BTreeMap::new(),
                data: Vec::new(),
                lineage: lineage.clone(),
            })
        })
        .collect();
    let place: HashMap<Uid, usize> = nodes.iter().enumerate().map(|(i, n)| (n.uid.clone(), i)).collect();
    for replica in state.replicas() {
        // A container that is being stopped still holds what it has.
        let phase = state.replica_status(&replica.name).map(|s| s.phase);
        if phase == Some(ReplicaPhase::Stopped) {
            continue;
        }
        let Some(node) = place.get(&replica.node_uid).and_then(|i| nodes.get_mut(*i)) else { continue };
        let spec = state.revision(&replica.service_uid, replica.revision).and_then(|r| parsed(specs, r));
        match spec {
            Some(spec) => node.hold(replica, phase, replica.altered(&spec).as_ref().unwrap_or(&spec)),
            None if phase.is_some_and(ReplicaPhase::ended) => {}
            None => *node.replicas.entry(replica.service.clone()).or_default() += 1,
        }
    }
    nodes
}

/// Everything, for a plan of changes.
#[must_use]
pub fn world(state: &State) -> World {
    World {
        index: state.index(),
        services: services(state).into_iter().map(|s| (s.name.clone(), s)).collect(),
        nodes: nodes(state),
        objects: Kind::DECLARED
            .into_iter()
            .flat_map(|kind| state.objects(kind))
            .map(|o| (o.key(), o.clone()))
            .collect(),
    }
}

fn replica(state: &State, replica: &Arc<Replica>) -> ReplicaView {
    ReplicaView { replica: replica.clone(), status: state.replica_status(&replica.name).cloned() }
}

fn assemble(state: &State, name: &str, replicas: Vec<ReplicaView>) -> Option<ServiceView> {
    let (declared, uid) = match state.object(&ObjectKey::service(name)) {
        Some(object) => {
            let spec: ServiceSpec = object.parse().ok()?;
            (Some((object.meta.clone(), Arc::new(spec))), object.meta.uid.clone())
        }
        None => (None, replicas.first()?.replica.service_uid.clone()),
    };
    let (hooks, replicas) = replicas.into_iter().partition(|r| r.replica.hook.is_some());
    let missing = declared.as_ref().map_or_else(Vec::new, |(_, spec)| missing(state, spec));
    let job = declared.as_ref().is_some_and(|(_, spec)| spec.mode.is_job());
    Some(ServiceView {
        name: name.into(),
        contents: declared.as_ref().map(|(_, spec)| contents(state, &spec.container)).unwrap_or_default(),
        strategies: declared.as_ref().map(|(_, spec)| strategies(state, &spec.container)).unwrap_or_default(),
        revisions: state.revisions(&uid).map(|r| (r.number, r.clone())).collect(),
        // What was a job once may have a record still, and the other way round.
        rollout: state.rollout(&uid).filter(|_| !job).cloned(),
        job: state.job(&uid).filter(|_| job).cloned(),
        edges: state.edges().map(|(_, edge)| edge.clone()).collect(),
        status: state.service_status(name).cloned(),
        homes: state.volumes().filter_map(|v| home(state, name, v)).collect(),
        uid,
        declared,
        replicas,
        hooks,
        missing,
    })
}

/// What a record of data says to a Service. A path means another directory on each node; a volume's name is
/// the cluster's, so that who takes it over finds it where it is, unless its node is gone.
fn home(state: &State, service: &str, volume: &Volume) -> Option<Home> {
    let own = volume.services.iter().any(|s| **s == *service);
    let there = || state.objects(Kind::Node).any(|n| n.meta.uid == volume.node);
    let named = !volume.source.starts_with('/');
    (own || (named && there())).then(|| Home { source: volume.source.clone(), node: volume.node.clone(), own })
}

/// Digests of the Configs and Secrets that a spec names, by reference. A Secret counts as a whole: without
/// opening it only the keyed digest of all its values is known.
#[must_use]
pub fn contents(state: &State, spec: &ContainerSpec) -> BTreeMap<String, String> {
    let configs = spec.configs.iter().filter_map(|r| {
        let object = state.object(&ObjectKey::new(Kind::Config, r.object()))?;
        Some((r.label(Kind::Config), object.parse::<ConfigSpec>().ok()?.digest(r.key())?))
    });
    let secrets = spec.secrets.iter().filter_map(|r| {
        let object = state.object(&ObjectKey::new(Kind::Secret, r.object()))?;
        let secret: SealedSecret = object.parse().ok()?;
        // What lacks the key is no newer content: nothing could be started with it.
        r.key()
            .is_none_or(|key| secret.sealed.contains_key(key))
            .then(|| (r.label(Kind::Secret), secret.content().to_owned()))
    });
    configs.chain(secrets).collect()
}

/// What is declared about changes of the Configs and Secrets that a spec names, by reference, where it is not the default.
#[must_use]
pub fn strategies(state: &State, spec: &ContainerSpec) -> BTreeMap<String, Strategy> {
    rotations(state, spec).map(|(reference, rotation)| (reference, rotation.strategy)).collect()
}

/// The whole of it.
pub fn rotations<'a>(state: &'a State, spec: &'a ContainerSpec) -> impl Iterator<Item = (String, Rotation)> + 'a {
    /// The field that both kinds have.
    #[derive(Deserialize)]
    struct Look {
        #[serde(default)]
        rotation: Rotation,
    }
    let configs = spec.configs.iter().map(|r| (Kind::Config, r));
    configs.chain(spec.secrets.iter().map(|r| (Kind::Secret, r))).filter_map(|(kind, reference)| {
        let look: Look = state.object(&ObjectKey::new(kind, reference.object()))?.parse().ok()?;
        (!look.rotation.is_default()).then(|| (reference.label(kind), look.rotation))
    })
}

/// References of a spec to what does not exist.
fn missing(state: &State, spec: &ServiceSpec) -> Vec<Missing> {
    let container = &spec.container;
    let mut missing = Vec::new();
    let configs = container.configs.iter().map(|r| (Kind::Config, r));
    let secrets = container.secrets.iter().map(|r| (Kind::Secret, r));
    for (kind, reference) in configs.chain(secrets) {
        missing.extend(missing_file(state, kind, reference));
    }
    for name in &container.image_pull_secrets {
        if state.object(&ObjectKey::new(Kind::Secret, name.as_str())).is_none() {
            missing.push(Missing { kind: Kind::Secret, name: name.clone(), key: None, required: false });
        }
    }
    for dependency in &container.depends_on {
        if state.object(&ObjectKey::service(dependency.name.as_str())).is_none() {
            let (name, required) = (dependency.name.clone(), dependency.required);
            missing.push(Missing { kind: Kind::Service, name, key: None, required });
        }
    }
    missing
}

fn missing_file(state: &State, kind: Kind, reference: &FileRef) -> Option<Missing> {
    let lacks = |key| Some(Missing { kind, name: reference.object().to_owned(), key, required: true });
    let Some(object) = state.object(&ObjectKey::new(kind, reference.object())) else { return lacks(None) };
    let key = reference.key()?;
    let has = match kind {
        Kind::Secret => object.parse::<SealedSecret>().is_ok_and(|s| s.sealed.contains_key(key)),
        Kind::Config | Kind::Service | Kind::Node | Kind::Route | Kind::Middleware | Kind::Replica => {
            object.parse::<ConfigSpec>().is_ok_and(|c| c.data.contains_key(key))
        }
    };
    if has { None } else { lacks(Some(key.to_owned())) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        model::{Declared, Desired, Index, ReplicaStatus, Spec, Status, testing::replica as replica_of},
        store::{
            command::{Command, Group},
            put::put,
            seal::Sealer,
        },
    };

    struct Lab {
        state: State,
        sealer: Sealer,
        made: u8,
    }
    impl Lab {
        fn new() -> Self {
            let mut lab = Self { state: State::default(), sealer: Sealer::ephemeral(), made: 0 };
            lab.put("n1", Spec::Node(crate::model::node::NodeSpec::first()));
            lab
        }
        fn run(&mut self, command: Command) {
            self.state.apply(&Group { commands: vec![command], ..Group::default() }).unwrap();
        }
        fn put(&mut self, name: &str, spec: Spec) {
            self.made += 1;
            let uid = Uid::from_bytes([self.made; 16]);
            let declared = Declared { name: name.into(), labels: BTreeMap::new(), annotations: BTreeMap::new(), spec };
            let put = put(&declared, None, &self.sealer, &self.state, uid).unwrap();
            self.run(Command::Put(put));
        }
        fn service(&mut self, name: &str, spec: Value) {
            self.put(name, Spec::Service(Box::new(serde_json::from_value(spec).unwrap())));
        }
        fn place(&mut self, service: &str, slot: u32) -> Arc<str> {
            let uid = self.state.object(&ObjectKey::service(service)).unwrap().meta.uid.clone();
            let revision = self.state.newest_revision(&uid).unwrap().clone();
            let node_uid = self.state.object(&ObjectKey::node("n1")).unwrap().meta.uid.clone();
            let replica = Replica {
                service_uid: uid,
                revision: revision.number,
                spec_hash: revision.spec_hash.clone(),
                node_uid,
                ..replica_of(service, slot)
            };
            let name = replica.name.clone();
            self.run(Command::Place { replica, beside: None });
            name
        }
        fn report(&mut self, name: &str, phase: ReplicaPhase) {
            let uid = self.state.replica(name).unwrap().uid.clone();
            let status = Status::Replica(ReplicaStatus { phase, ..ReplicaStatus::default() });
            let statuses = vec![(ObjectKey::replica(name), uid, status)];
            self.run(Command::RecordObservations { statuses, events: vec![] });
        }
    }

    #[test]
    fn nodes_count_what_still_holds_something() {
        let mut lab = Lab::new();
        let spec = json!({"image": "a", "replicas": 2, "ports": [{"target": 80, "published": 80}],
            "resources": {"reservations": {"memory": "1Gi", "cpus": "500m"}}});
        lab.service("web", spec);
        let (first, second) = (lab.place("web", 1), lab.place("web", 2));
        let reader = Reader::default();
        let held = |lab: &Lab| {
            let node = reader.nodes(&lab.state).remove(0);
            assert_eq!(nodes(&lab.state)[0].reserved, node.reserved, "the cache changes nothing");
            (node.reserved.1.0 >> 30, node.ports.len(), node.replicas.get("web").copied().unwrap_or(0))
        };
        assert_eq!(held(&lab), (2, 2, 2));
        let stop = |name: &Arc<str>| Command::SetDesired {
            replica: name.clone(),
            desired: Desired::Stop,
            reason: crate::model::Reason::ScaledDown,
        };
        lab.run(stop(&second));
        assert_eq!(held(&lab), (2, 2, 2), "what is being stopped still holds it");
        lab.report(&second, ReplicaPhase::Stopped);
        assert_eq!(held(&lab), (1, 1, 1));
        lab.report(&first, ReplicaPhase::Failed);
        assert_eq!(held(&lab), (0, 0, 0));
    }

    #[test]
    fn what_is_referred_to_and_not_there_is_missing() {
        let mut lab = Lab::new();
        lab.put("nginx", Spec::Config(serde_json::from_value(json!({"data": {"a.conf": "x"}})).unwrap()));
        lab.put("db", Spec::Secret(serde_json::from_value(json!({"stringData": {"url": "x"}})).unwrap()));
        lab.service(
            "web",
            json!({"image": "a",
                "configs": [{"source": "nginx"}, {"source": "nginx/a.conf"}, {"source": "nginx/b.conf"}, {"source": "no"}],
                "secrets": [{"source": "db/url"}, {"source": "db/password"}],
                "imagePullSecrets": ["hub"],
                "dependsOn": [{"name": "web"}, {"name": "cache", "required": false}]}),
        );
        let found = service(&lab.state, "web").unwrap().missing;
        let told: Vec<String> = found
            .iter()
            .map(|m| format!("{} {} {} {}", m.kind, m.name, m.key.as_deref().unwrap_or("-"), m.required))
            .collect();
        assert_eq!(
            told,
            [
                "Config nginx b.conf true",
                "Config no - true",
                "Secret db password true",
                "Secret hub - false",
                "Service cache - false",
            ]
        );
    }

    #[test]
    fn a_deleted_service_is_seen_as_long_as_a_replica_is_left_and_an_unreadable_one_not_at_all() {
        let mut lab = Lab::new();
        lab.service("web", json!({"image": "a"}));
        lab.place("web", 1);
        lab.run(Command::Delete { key: ObjectKey::service("web") });
        let gone = service(&lab.state, "web").unwrap();
        assert!(gone.declared.is_none() && gone.replicas.len() == 1 && gone.revisions.len() == 1);
        assert_eq!(services(&lab.state).len(), 1);
        // A newer version wrote a field that this one does not know.
        let mut newer = Lab::new();
        newer.service("web", json!({"image": "a"}));
        newer.place("web", 1);
        let object = newer.state.object(&ObjectKey::service("web")).unwrap().clone();
        newer.run(Command::Put(crate::store::command::PutObject {
            kind: Kind::Service,
            name: "web".into(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            managed_by: None,
            spec: br#"{"image":"a","quantum":true}"#.to_vec(),
            based_on: Some(object.meta.resource_version),
            uid: object.meta.uid.clone(),
            spec_hash: object.digest.clone(),
        }));
        let read = service(&newer.state, "web");
        assert!(read.is_none() && services(&newer.state).is_empty(), "it must not look deleted: {read:?}");
    }

    #[test]
    fn data_that_was_mounted_once_has_a_home() {
        let mut lab = Lab::new();
        lab.service("db", json!({"image": "a"}));
        let node = lab.state.object(&ObjectKey::node("n1")).unwrap().meta.uid.clone();
        lab.run(Command::InitialiseVolume {
            volume: Volume {
                key: "n1/bind:/srv/db".into(),
                uid: Uid("v".into()),
                source: "/srv/db".into(),
                node: node.clone(),
                initialised_at: 0,
                filesystem: "f".into(),
                shared: false,
                services: vec!["db".into()],
                resource_version: Index(0),
            },
        });
        assert_eq!(service(&lab.state, "db").unwrap().homes, [Home { source: "/srv/db".into(), node, own: true }]);
    }
}
