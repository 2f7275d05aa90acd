//! From a Replica's revision to what the engine is given. Pure.
//!
//! Here: names, labels, mounts and networks of one container. Not here: making it (`runtime`),
//! whether to make it (`plan::agent`), the content of files (`super::files`).
//! Invariant: labels say everything that adoption after a restart needs; the spec hash among them is
//! the stored one, never computed again.

use std::collections::BTreeMap;

use crate::{
    model::{
        Replica, Uid,
        service::{ContainerSpec, Mount, MountKind, NetworkAttachment, NetworkMode},
    },
    runtime::{self, Attachment, ContainerPlan, EngineRestart, MountPlan, NetworkPlan, PublishedPort},
};

/// Names of our container labels.
pub mod label {
    /// Survives a restore; decides adoption.
    pub const LINEAGE: &str = "constellation.lineage";
    /// The cluster.
    pub const CLUSTER: &str = "constellation.cluster";
    /// The Service's name.
    pub const SERVICE: &str = "constellation.service";
    /// The Replica's full name.
    pub const REPLICA: &str = "constellation.replica";
    /// The Service's identity.
    pub const SERVICE_UID: &str = "constellation.service-uid";
    /// The slot.
    pub const SLOT: &str = "constellation.slot";
    /// Number of the revision.
    pub const REVISION: &str = "constellation.revision";
    /// Fencing token of the placement.
    pub const EPOCH: &str = "constellation.epoch";
    /// Stored hash of the revision.
    pub const SPEC_HASH: &str = "constellation.spec-hash";
    /// Index of the Replica in the log: an agent that has not read so far leaves the container alone.
    pub const INDEX: &str = "constellation.index";
    /// Says to other tools that somebody looks after it.
    pub const MANAGED: &str = "constellation.managed";
}

/// What a container is made from, besides its revision.
#[derive(Debug, Clone)]
pub struct Circumstances<'a> {
    /// Survives a restore.
    pub lineage: &'a Uid,
    /// This cluster.
    pub cluster: &'a Uid,
    /// Address that published ports bind to when the spec names none.
    pub advertise: Option<&'a str>,
    /// Image id or `repository@digest`.
    pub image: &'a str,
    /// Files of configs and secrets, written already: host path → path inside.
    pub files: &'a [(String, String)],
    /// Variables from secrets.
    pub variables: &'a BTreeMap<String, String>,
    /// The engine's own restart policy.
    pub restart: EngineRestart,
}

/// Docker's name of a named volume.
#[must_use]
pub fn volume_name(mount: &Mount, slot: &str, lineage: &Uid) -> String {
    mount.volume_name(slot, lineage)
}

/// Docker's name of a network.
#[must_use]
pub fn network_name(name: &str, lineage: &Uid) -> String {
    format!("{name}_{}", lineage.short())
}

/// Docker names of the networks a replica joins; the first one holds the default route and its address.
#[must_use]
pub fn networks(spec: &ContainerSpec, lineage: &Uid) -> Vec<String> {
    match spec.network_mode {
        NetworkMode::Host | NetworkMode::None => Vec::new(),
        NetworkMode::Bridge if spec.networks.is_empty() => vec![network_name("default", lineage)],
        NetworkMode::Bridge => in_order(spec).into_iter().map(|n| network_name(&n.name, lineage)).collect(),
    }
}

/// Networks by priority. Stable: of equal priority the first written stays first.
fn in_order(spec: &ContainerSpec) -> Vec<&NetworkAttachment> {
    let mut wanted: Vec<_> = spec.networks.iter().collect();
    wanted.sort_by_key(|n| std::cmp::Reverse(n.priority.unwrap_or(0)));
    wanted
}

/// Labels of a replica's container.
#[must_use]
pub fn labels(replica: &Replica, spec: &ContainerSpec, lineage: &Uid, cluster: &Uid) -> BTreeMap<String, String> {
    let mut labels = spec.labels.clone();
    for (name, value) in [
        (label::LINEAGE, lineage.to_string()),
        (label::CLUSTER, cluster.to_string()),
        (label::SERVICE, replica.service.to_string()),
        (label::REPLICA, replica.name.to_string()),
        (label::SERVICE_UID, replica.service_uid.to_string()),
        (label::SLOT, replica.slot.to_string()),
        (label::REVISION, replica.revision.to_string()),
        (label::EPOCH, replica.epoch.to_string()),
        (label::SPEC_HASH, replica.spec_hash.clone()),
        (label::INDEX, replica.index.to_string()),
        (label::MANAGED, "1".into()),
    ] {
        labels.insert(name.into(), value);
    }
    labels
}

/// What a container is to be limited to, in the form in which the engine's answer is kept.
#[must_use]
pub fn limits(spec: &ContainerSpec) -> BTreeMap<&'static str, String> {
    let (limits, reservations) = (&spec.resources.limits, &spec.resources.reservations);
    runtime::plan::limits(limits.cpus, limits.memory, reservations.memory, limits.pids)
}

/// What the engine is given for one Replica.
#[must_use]
pub fn plan(replica: &Replica, spec: &ContainerSpec, c: &Circumstances<'_>) -> ContainerPlan {
    let slot = replica.slot.to_string();
    let mut environment = spec.environment.clone();
    environment.extend(c.variables.clone());
    let mut mounts: Vec<MountPlan> = spec.volumes.iter().map(|m| mount(m, &slot, c.lineage)).collect();
    mounts.extend(c.files.iter().map(|(source, target)| MountPlan::Bind {
        source: source.clone(),
        target: target.clone(),
        read_only: true,
        propagation: None,
    }));
    ContainerPlan {
        name: replica.name.to_string(),
        image: c.image.to_owned(),
        platform: spec.platform.clone(),
        labels: labels(replica, spec, c.lineage, c.cluster),
        command: spec.command.clone(),
        entrypoint: spec.entrypoint.clone(),
        working_dir: spec.working_dir.clone(),
        user: spec.user.clone(),
        group_add: spec.group_add.clone(),
        hostname: match spec.network_mode {
            NetworkMode::Host => None,
            NetworkMode::Bridge | NetworkMode::None => {
                Some(spec.hostname.clone().unwrap_or_else(|| hostname(&replica.service, &slot)))
            }
        },
        environment,
        ports: ports(spec, c.advertise),
        expose: spec.expose.clone(),
        mounts,
        tmpfs: spec
            .tmpfs
            .iter()
            .map(|t| t.split_once(':').map_or((t.clone(), String::new()), |(p, o)| (p.into(), o.into())))
            .collect(),
        healthcheck: spec.healthcheck.clone(),
        cpus: spec.resources.limits.cpus,
        memory: spec.resources.limits.memory,
        memory_reservation: spec.resources.reservations.memory,
        pids: spec.resources.limits.pids,
        devices: spec.devices.clone(),
        cap_add: spec.cap_add.clone(),
        cap_drop: spec.cap_drop.clone(),
        sysctls: spec.sysctls.clone(),
        ulimits: spec.ulimits.clone(),
        extra_hosts: spec.extra_hosts.clone(),
        dns: spec.dns.clone(),
        dns_search: spec.dns_search.clone(),
        dns_opt: spec.dns_opt.clone(),
        network: network(replica, spec, c.lineage),
        logging: spec.logging.clone(),
        stop_signal: spec.stop_signal.clone(),
        stop_timeout: spec.grace().as_secs().max(1),
        init: spec.init,
        ipc: spec.ipc.clone(),
        pid: spec.pid.clone(),
        privileged: spec.privileged,
        security_opt: spec.security_opt.clone(),
        read_only: spec.read_only,
        shm_size: spec.shm_size,
        restart: c.restart,
    }
}

/// A host name has at most 63 characters; the slot at its end is what tells replicas apart.
fn hostname(service: &str, slot: &str) -> String {
    let room = 62usize.saturating_sub(slot.len());
    let service: String = service.chars().take(room).collect();
    format!("{service}-{slot}").chars().take(63).collect()
}

fn ports(spec: &ContainerSpec, advertise: Option<&str>) -> Vec<PublishedPort> {
    spec.ports
        .iter()
        // With the host's network a port is the host's already.
        .filter(|_| spec.network_mode == NetworkMode::Bridge)
        .map(|p| PublishedPort {
            target: p.target,
            protocol: p.protocol,
            host_ip: p.host_ip.clone().or_else(|| advertise.map(str::to_owned)),
            published: p.published,
        })
        .collect()
}

fn mount(mount: &Mount, slot: &str, lineage: &Uid) -> MountPlan {
    let target = mount.target.clone();
    match mount.kind {
        MountKind::Bind => MountPlan::Bind {
            source: mount.source.clone().unwrap_or_default(),
            target,
            read_only: mount.read_only,
            propagation: mount.bind.propagation.clone(),
        },
        MountKind::Volume => MountPlan::Volume {
            name: volume_name(mount, slot, lineage),
            target,
            read_only: mount.read_only,
            nocopy: mount.volume.nocopy,
            must_exist: mount.policy().remembered(),
        },
        MountKind::Tmpfs => MountPlan::Tmpfs { target, size: mount.tmpfs.size, mode: mount.tmpfs.mode },
    }
}

/// How a replica reaches networks.
#[must_use]
pub fn network(replica: &Replica, spec: &ContainerSpec, lineage: &Uid) -> NetworkPlan {
    // Every container answers to its service's name and to its own on each network.
    let names = || match replica.hook {
        // It serves nobody.
        Some(_) => Vec::new(),
        None => vec![replica.service.to_string(), format!("{}-{}", replica.service, replica.slot)],
    };
    match spec.network_mode {
        NetworkMode::Host => NetworkPlan::Host,
        NetworkMode::None => NetworkPlan::None,
        NetworkMode::Bridge if spec.networks.is_empty() => NetworkPlan::Join(vec![Attachment {
            network: network_name("default", lineage),
            aliases: names(),
            ..Attachment::default()
        }]),
        NetworkMode::Bridge => NetworkPlan::Join(
            in_order(spec)
                .into_iter()
                .map(|n| Attachment {
                    network: network_name(&n.name, lineage),
                    aliases: names().into_iter().chain(n.aliases.iter().cloned()).collect(),
                    ipv4: n.ipv4_address.clone(),
                    ipv6: n.ipv6_address.clone(),
                })
                .collect(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Epoch, Index, testing};

    fn replica() -> Replica {
        Replica {
            service_uid: Uid("s".into()),
            revision: 3,
            spec_hash: "h3".into(),
            epoch: Epoch::new(0, 7),
            index: Index(42),
            ..testing::replica("web", 1)
        }
    }
    fn made(spec: &ContainerSpec) -> ContainerPlan {
        let lineage = Uid("0123456789abcdef".into());
        let c = Circumstances {
            lineage: &lineage,
            cluster: &lineage,
            advertise: None,
            image: "sha256:1",
            files: &[("/run/c/f".into(), "/etc/f".into())],
            variables: &BTreeMap::from([("PASSWORD".into(), "x".into())]),
            restart: EngineRestart::No,
        };
        plan(&replica(), spec, &c)
    }

    #[test]
    fn the_labels_say_whose_it_is_and_a_user_cannot_forge_them() {
        let spec = ContainerSpec {
            labels: BTreeMap::from([("a".into(), "b".into()), (label::EPOCH.into(), "9.9".into())]),
            ..ContainerSpec::default()
        };
        let labels = made(&spec).labels;
        for (name, value) in [
            ("a", "b"),
            (label::EPOCH, "0.7"),
            (label::SPEC_HASH, "h3"),
            (label::REPLICA, "web-1-abcde"),
            (label::INDEX, "42"),
        ] {
            assert_eq!(labels.get(name).map(String::as_str), Some(value), "{name}");
        }
    }

    #[test]
    fn volumes_carry_the_lineage_unless_they_are_external() {
        let lineage = Uid("0123456789abcdef".into());
        let volume = |external, per_replica| Mount {
            kind: MountKind::Volume,
            source: Some("data".into()),
            target: "/data".into(),
            read_only: false,
            bind: Default::default(),
            volume: Default::default(),
            tmpfs: Default::default(),
            data_policy: None,
            per_replica,
            external,
        };
        for (external, per_replica, name) in
            [(false, false, "data_01234567"), (false, true, "data-2_01234567"), (true, false, "data")]
        {
            assert_eq!(volume_name(&volume(external, per_replica), "2", &lineage), name);
        }
    }

    #[test]
    fn the_network_of_highest_priority_is_joined_first() {
        let attach =
            |name: &str, priority| NetworkAttachment { name: name.into(), priority, ..NetworkAttachment::default() };
        let spec =
            ContainerSpec { networks: vec![attach("a", None), attach("b", Some(5))], ..ContainerSpec::default() };
        let NetworkPlan::Join(joined) = made(&spec).network else { panic!("not joined") };
        assert_eq!(joined.iter().map(|a| a.network.as_str()).collect::<Vec<_>>(), ["b_01234567", "a_01234567"]);
        assert!(joined.iter().all(|a| a.aliases.contains(&"web".into())));
    }

    #[test]
    fn files_are_mounted_read_only_and_secrets_become_variables() {
        let plan = made(&ContainerSpec::default());
        assert_eq!(plan.environment.get("PASSWORD").map(String::as_str), Some("x"));
        assert!(matches!(&plan.mounts[..], [MountPlan::Bind { read_only: true, .. }]));
        assert_eq!(plan.hostname.as_deref(), Some("web-1"));
        assert_eq!(hostname(&"x".repeat(50), &"n".repeat(63)).len(), 63);
    }
}
