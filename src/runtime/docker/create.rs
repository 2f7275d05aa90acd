//! From a [`ContainerPlan`] to the engine's own words. Pure.
//!
//! Here: every field of the plan, none ignored. Not here: the call, the plan's making
//! (`reconcile::container`).
//! Invariant: what cannot be said to this engine is an error, never left out in silence.
//! Networks: engines before API 1.44 take one at create; the others are connected before the start.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, DeviceMapping, EndpointIpamConfig, EndpointSettings, HealthConfig, HostConfig,
    HostConfigLogConfig, Mount, MountBindOptions, MountBindOptionsPropagationEnum, MountTmpfsOptions, MountType,
    MountVolumeOptions, NetworkingConfig, PortBinding, ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};

use super::super::{
    Attachment, ContainerPlan, EngineRestart, MountPlan, NetworkPlan, PublishedPort, RuntimeError, plan::UNASKED,
};
use crate::model::service::Healthcheck;

/// Label of a container that still has to join networks before its first start; the attachments as JSON.
/// It lets a process that did not make the container finish it.
pub(super) const PENDING_NETWORKS: &str = "constellation.pending-networks";

/// What is sent to make one container.
#[derive(Debug)]
pub(super) struct Request {
    pub body: ContainerCreateBody,
    /// Networks to connect after the create and before the start.
    pub later: Vec<Attachment>,
}

/// Puts a plan into the engine's words. `all_networks`: the engine takes all networks at create;
/// `start_interval`: it knows this field of health checks.
pub(super) fn request(plan: &ContainerPlan, all_networks: bool, start_interval: bool) -> Result<Request, RuntimeError> {
    let (network_mode, first, later) = networks(&plan.network, all_networks);
    let mut labels: HashMap<String, String> = map(&plan.labels);
    if !later.is_empty() {
        let text = serde_json::to_string(&later).map_err(|e| refused(format!("networks: {e}")))?;
        labels.insert(PENDING_NETWORKS.into(), text);
    }
    let mut exposed: Vec<String> = plan.expose.iter().map(|port| format!("{port}/tcp")).collect();
    exposed.extend(plan.ports.iter().map(key));
    exposed.sort();
    exposed.dedup();
    let body = ContainerCreateBody {
        hostname: plan.hostname.clone(),
        user: plan.user.clone(),
        exposed_ports: some(exposed),
        env: some(plan.environment.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        cmd: plan.command.clone(),
        healthcheck: plan.healthcheck.as_ref().map(|check| health(check, start_interval)),
        image: Some(plan.image.clone()),
        working_dir: plan.working_dir.clone(),
        entrypoint: plan.entrypoint.clone(),
        labels: Some(labels),
        stop_signal: plan.stop_signal.clone(),
        stop_timeout: Some(signed(plan.stop_timeout)),
        host_config: Some(host(plan, network_mode)?),
        networking_config: (!first.is_empty()).then(|| NetworkingConfig {
            endpoints_config: Some(first.into_iter().map(|a| (a.network.clone(), endpoint(&a))).collect()),
        }),
        ..ContainerCreateBody::default()
    };
    Ok(Request { body, later })
}

fn host(plan: &ContainerPlan, network_mode: String) -> Result<HostConfig, RuntimeError> {
    Ok(HostConfig {
        memory: plan.memory.map(|b| signed(b.0)),
        memory_reservation: plan.memory_reservation.map(|b| signed(b.0)),
        nano_cpus: plan.cpus.map(|c| signed(c.0.saturating_mul(1_000_000))),
        pids_limit: plan.pids.map(i64::from),
        devices: some(plan.devices.iter().map(|d| device(d)).collect::<Result<_, _>>()?),
        ulimits: some(
            plan.ulimits
                .iter()
                .map(|(name, limit)| ResourcesUlimits {
                    name: Some(name.clone()),
                    soft: Some(limit.soft),
                    hard: Some(limit.hard),
                })
                .collect(),
        ),
        init: plan.init,
        log_config: plan.logging.as_ref().map(|logging| HostConfigLogConfig {
            typ: Some(logging.driver.clone()),
            config: Some(map(&logging.options)),
        }),
        network_mode: Some(network_mode),
        port_bindings: some_map(bindings(&plan.ports)),
        restart_policy: Some(restart(plan.restart)),
        mounts: some(plan.mounts.iter().map(mount).collect::<Result<_, _>>()?),
        cap_add: some(plan.cap_add.clone()),
        cap_drop: some(plan.cap_drop.clone()),
        dns: some(plan.dns.clone()),
        dns_options: some(plan.dns_opt.clone()),
        dns_search: some(plan.dns_search.clone()),
        extra_hosts: some(plan.extra_hosts.iter().map(|(name, address)| format!("{name}:{address}")).collect()),
        group_add: some(plan.group_add.clone()),
        ipc_mode: plan.ipc.clone(),
        pid_mode: plan.pid.clone(),
        privileged: Some(plan.privileged),
        readonly_rootfs: Some(plan.read_only),
        security_opt: some(plan.security_opt.clone()),
        tmpfs: some_map(map(&plan.tmpfs)),
        shm_size: plan.shm_size.map(|b| signed(b.0)),
        sysctls: some_map(map(&plan.sysctls)),
        ..HostConfig::default()
    })
}

/// The mode, the networks to name at create, and those to connect afterwards.
fn networks(plan: &NetworkPlan, all: bool) -> (String, Vec<Attachment>, Vec<Attachment>) {
    match plan {
        NetworkPlan::None => ("none".into(), Vec::new(), Vec::new()),
        NetworkPlan::Host => ("host".into(), Vec::new(), Vec::new()),
        NetworkPlan::Join(attachments) => match attachments.split_first() {
            None => ("none".into(), Vec::new(), Vec::new()),
            Some((first, _)) if all => (first.network.clone(), attachments.clone(), Vec::new()),
            Some((first, rest)) => (first.network.clone(), vec![first.clone()], rest.to_vec()),
        },
    }
}

/// One network's settings.
pub(super) fn endpoint(attachment: &Attachment) -> EndpointSettings {
    let fixed = attachment.ipv4.is_some() || attachment.ipv6.is_some();
    EndpointSettings {
        aliases: some(attachment.aliases.clone()),
        ipam_config: fixed.then(|| EndpointIpamConfig {
            ipv4_address: attachment.ipv4.clone(),
            ipv6_address: attachment.ipv6.clone(),
            link_local_ips: None,
        }),
        ..EndpointSettings::default()
    }
}

/// A restart policy in the engine's words.
pub(super) fn restart(restart: EngineRestart) -> RestartPolicy {
    let name = match restart {
        EngineRestart::No => RestartPolicyNameEnum::NO,
        EngineRestart::UnlessStopped => RestartPolicyNameEnum::UNLESS_STOPPED,
    };
    RestartPolicy { name: Some(name), maximum_retry_count: None }
}

fn health(check: &Healthcheck, start_interval: bool) -> HealthConfig {
    let nanos =
        |period: Option<crate::model::Period>| period.map(|p| i64::try_from(p.0.as_nanos()).unwrap_or(i64::MAX));
    if check.disable {
        return HealthConfig { test: Some(vec!["NONE".into()]), ..HealthConfig::default() };
    }
    HealthConfig {
        // Without a test of its own the image's is used, with these timings.
        test: some(check.test.clone()),
        interval: nanos(check.interval),
        timeout: nanos(check.timeout),
        retries: check.retries.map(i64::from),
        start_period: nanos(check.start_period),
        start_interval: nanos(check.start_interval).filter(|_| start_interval),
    }
}

fn mount(plan: &MountPlan) -> Result<Mount, RuntimeError> {
    Ok(match plan {
        MountPlan::Bind { source, target, read_only, propagation } => Mount {
            typ: Some(MountType::BIND),
            source: Some(source.clone()),
            target: Some(target.clone()),
            read_only: Some(*read_only),
            bind_options: match propagation {
                Some(text) => {
                    Some(MountBindOptions { propagation: Some(propagated(text)?), ..MountBindOptions::default() })
                }
                None => None,
            },
            ..Mount::default()
        },
        MountPlan::Volume { name, target, read_only, nocopy, must_exist } => Mount {
            typ: Some(MountType::VOLUME),
            source: Some(name.clone()),
            target: Some(target.clone()),
            read_only: Some(*read_only),
            volume_options: (*nocopy || *must_exist).then(|| MountVolumeOptions {
                no_copy: nocopy.then_some(true),
                // Of a volume that exists the engine leaves the labels as they are.
                labels: must_exist.then(|| HashMap::from([(UNASKED.to_owned(), "1".to_owned())])),
                ..MountVolumeOptions::default()
            }),
            ..Mount::default()
        },
        MountPlan::Tmpfs { target, size, mode } => Mount {
            typ: Some(MountType::TMPFS),
            target: Some(target.clone()),
            tmpfs_options: Some(MountTmpfsOptions {
                size_bytes: size.map(|b| signed(b.0)),
                mode: mode.map(i64::from),
                options: None,
            }),
            ..Mount::default()
        },
    })
}

fn propagated(text: &str) -> Result<MountBindOptionsPropagationEnum, RuntimeError> {
    use MountBindOptionsPropagationEnum as P;
    Ok(match text {
        "private" => P::PRIVATE,
        "rprivate" => P::RPRIVATE,
        "shared" => P::SHARED,
        "rshared" => P::RSHARED,
        "slave" => P::SLAVE,
        "rslave" => P::RSLAVE,
        other => return Err(refused(format!("{other:?} is no mount propagation; write rprivate, rshared or rslave"))),
    })
}

/// `host[:container[:rwm]]`; a middle part of permissions only is the engine's own short form.
fn device(text: &str) -> Result<DeviceMapping, RuntimeError> {
    let permissions = |p: &str| !p.is_empty() && p.bytes().all(|b| matches!(b, b'r' | b'w' | b'm'));
    let (source, target, allowed) = match *text.split(':').collect::<Vec<_>>().as_slice() {
        [source] => (source, source, "rwm"),
        [source, p] if permissions(p) => (source, source, p),
        [source, target] => (source, target, "rwm"),
        [source, target, p] if permissions(p) => (source, target, p),
        _ => return Err(refused(format!("device {text:?} is not host[:container[:rwm]]"))),
    };
    Ok(DeviceMapping {
        path_on_host: Some(source.into()),
        path_in_container: Some(target.into()),
        cgroup_permissions: Some(allowed.into()),
    })
}

fn bindings(ports: &[PublishedPort]) -> HashMap<String, Option<Vec<PortBinding>>> {
    let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
    for port in ports {
        bindings.entry(key(port)).or_default().get_or_insert_default().push(PortBinding {
            host_ip: port.host_ip.clone(),
            // An empty one is chosen by the engine.
            host_port: Some(port.published.map_or_else(String::new, |p| p.to_string())),
        });
    }
    bindings
}

fn key(port: &PublishedPort) -> String {
    format!("{}/{}", port.target, port.protocol)
}
fn map(from: &std::collections::BTreeMap<String, String>) -> HashMap<String, String> {
    from.iter().map(|(k, v)| (k.clone(), v.clone())).collect()
}
fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}
fn some_map<V>(map: HashMap<String, V>) -> Option<HashMap<String, V>> {
    (!map.is_empty()).then_some(map)
}
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
fn refused(message: String) -> RuntimeError {
    RuntimeError::Refused { message }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{
        Bytes, Millicores, Period,
        service::{Logging, Protocol, Ulimit},
    };

    fn text(s: &str) -> String {
        s.into()
    }
    fn port(target: u16, published: Option<u16>, protocol: Protocol) -> PublishedPort {
        PublishedPort { target, protocol, host_ip: Some("127.0.0.1".into()), published }
    }

    #[test]
    fn every_field_of_the_plan_reaches_the_engine() {
        let one = |k: &str, v: &str| std::collections::BTreeMap::from([(text(k), text(v))]);
        let plan = ContainerPlan {
            name: text("web-1"),
            image: text("sha256:1"),
            platform: Some(text("linux/amd64")),
            labels: one("a", "b"),
            command: Some(vec![text("run")]),
            entrypoint: Some(vec![text("/entry")]),
            working_dir: Some(text("/srv")),
            user: Some(text("1:1")),
            group_add: vec![text("video")],
            hostname: Some(text("web")),
            environment: one("K", "a=b"),
            ports: vec![port(80, Some(8080), Protocol::Tcp), port(53, None, Protocol::Udp)],
            expose: vec![9000],
            mounts: vec![
                MountPlan::Bind {
                    source: text("/src"),
                    target: text("/dst"),
                    read_only: true,
                    propagation: Some(text("rslave")),
                },
                MountPlan::Volume {
                    name: text("v"),
                    target: text("/v"),
                    read_only: false,
                    nocopy: true,
                    must_exist: false,
                },
                MountPlan::Tmpfs { target: text("/t"), size: Some(Bytes(1 << 20)), mode: Some(0o1777) },
            ],
            tmpfs: one("/run", "size=1m"),
            healthcheck: Some(Healthcheck {
                test: vec![text("CMD"), text("true")],
                interval: Some(Period(Duration::from_secs(2))),
                timeout: Some(Period(Duration::from_secs(1))),
                retries: Some(4),
                start_period: Some(Period(Duration::from_secs(3))),
                start_interval: Some(Period(Duration::from_millis(500))),
                disable: false,
            }),
            cpus: Some(Millicores(1500)),
            memory: Some(Bytes(64 << 20)),
            memory_reservation: Some(Bytes(32 << 20)),
            pids: Some(64),
            devices: vec![text("/dev/fuse"), text("/dev/a:/dev/b:r"), text("/dev/c:rw")],
            cap_add: vec![text("NET_ADMIN")],
            cap_drop: vec![text("ALL")],
            sysctls: one("net.core.somaxconn", "99"),
            ulimits: [(text("nofile"), Ulimit { soft: 1, hard: 2 })].into(),
            extra_hosts: one("db", "10.0.0.1"),
            dns: vec![text("10.0.0.53")],
            dns_search: vec![text("lan")],
            dns_opt: vec![text("ndots:1")],
            network: NetworkPlan::Join(vec![
                Attachment {
                    network: text("front"),
                    aliases: vec![text("web")],
                    ipv4: Some(text("10.9.0.2")),
                    ipv6: Some(text("fd00::2")),
                },
                Attachment { network: text("back"), aliases: vec![text("web")], ..Attachment::default() },
            ]),
            logging: Some(Logging { driver: text("local"), options: one("max-size", "1m") }),
            stop_signal: Some(text("SIGQUIT")),
            stop_timeout: 7,
            init: Some(true),
            ipc: Some(text("private")),
            pid: Some(text("host")),
            privileged: true,
            security_opt: vec![text("no-new-privileges")],
            read_only: true,
            shm_size: Some(Bytes(1 << 20)),
            restart: EngineRestart::UnlessStopped,
        };
        let old = request(&plan, false, false).unwrap();
        insta::assert_json_snapshot!("the_whole_plan", sorted(&old.body));
        assert_eq!(old.later.len(), 1, "an engine before API 1.44 takes one network at create");
        let new = request(&plan, true, true).unwrap();
        assert!(new.later.is_empty());
        assert_eq!(new.body.networking_config.unwrap().endpoints_config.unwrap().len(), 2);
        assert_eq!(new.body.healthcheck.unwrap().start_interval, Some(500_000_000));
    }

    /// Maps of the engine's types have no order of their own.
    fn sorted(body: &ContainerCreateBody) -> serde_json::Value {
        fn order(value: serde_json::Value) -> serde_json::Value {
            match value {
                serde_json::Value::Object(map) => {
                    let map: std::collections::BTreeMap<_, _> = map.into_iter().map(|(k, v)| (k, order(v))).collect();
                    serde_json::Value::Object(map.into_iter().collect())
                }
                serde_json::Value::Array(list) => serde_json::Value::Array(list.into_iter().map(order).collect()),
                other => other,
            }
        }
        order(serde_json::to_value(body).unwrap())
    }

    #[test]
    fn a_disabled_health_check_switches_the_images_off() {
        let plan = ContainerPlan {
            healthcheck: Some(Healthcheck { disable: true, ..Healthcheck::default() }),
            ..ContainerPlan::default()
        };
        let body = request(&plan, false, false).unwrap().body;
        assert_eq!(body.healthcheck.unwrap().test, Some(vec![text("NONE")]));
    }

    #[test]
    fn what_cannot_be_said_is_refused() {
        let bind = MountPlan::Bind {
            source: text("/a"),
            target: text("/a"),
            read_only: false,
            propagation: Some(text("sideways")),
        };
        for plan in [
            ContainerPlan { devices: vec![text("/dev/a:/dev/b:x")], ..ContainerPlan::default() },
            ContainerPlan { mounts: vec![bind], ..ContainerPlan::default() },
        ] {
            assert!(matches!(request(&plan, false, false), Err(RuntimeError::Refused { .. })));
        }
    }

    #[test]
    fn a_port_published_twice_keeps_both_addresses() {
        let ports = [port(80, Some(1), Protocol::Tcp), port(80, Some(2), Protocol::Tcp)];
        let bindings = bindings(&ports);
        assert_eq!(bindings["80/tcp"].as_ref().map(Vec::len), Some(2));
    }
}
