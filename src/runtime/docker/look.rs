//! From the engine's answers to our values. Pure.
//!
//! Here: containers, images, events. Not here: the calls.
//! Invariant: total; what an engine leaves out becomes the empty value, never a panic.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use bollard::models::{
    ContainerInspectResponse, ContainerStateStatusEnum, ContainerSummary, ContainerSummaryStateEnum, EventMessage,
    HealthStatusEnum, HostConfig, ImageInspect, PortBinding, RestartPolicyNameEnum,
};

use super::super::{Container, ContainerState, EngineRestart, Image, RuntimeEvent, Summary, names, plan};
use crate::model::{Bytes, Millicores};

/// What Go writes for "never".
const NEVER: &str = "0001-01-01T00:00:00Z";
/// Longest output of a health check that is passed on.
const HEALTH_LOG_MAX: usize = 1_000;

pub(super) fn summary(from: ContainerSummary) -> Option<Summary> {
    use ContainerSummaryStateEnum as S;
    // A container has one name without a further slash; the others are links to it.
    let names = from.names.unwrap_or_default();
    let name = names.iter().map(|n| n.trim_start_matches('/')).find(|n| !n.contains('/')).unwrap_or_default();
    let networks = from.network_settings.and_then(|n| n.networks).unwrap_or_default();
    Some(Summary {
        networks: networks.into_keys().collect(),
        id: from.id?.into(),
        name: name.to_owned(),
        labels: from.labels.unwrap_or_default().into_iter().collect(),
        state: match from.state.unwrap_or(S::EMPTY) {
            S::EMPTY | S::CREATED => ContainerState::Created,
            S::RUNNING | S::STOPPING => ContainerState::Running,
            S::PAUSED => ContainerState::Paused,
            S::RESTARTING => ContainerState::Restarting,
            S::EXITED => ContainerState::Exited,
            S::REMOVING => ContainerState::Removing,
            S::DEAD => ContainerState::Dead,
        },
    })
}

pub(super) fn container(from: ContainerInspectResponse) -> Container {
    use ContainerStateStatusEnum as S;
    let state = from.state.unwrap_or_default();
    let settings = from.network_settings.unwrap_or_default();
    let host = from.host_config.unwrap_or_default();
    let limits = limits(&host);
    let policy = host.restart_policy.and_then(|p| p.name);
    let health = state.health.unwrap_or_default();
    let config = from.config.unwrap_or_default();
    let networks = settings.networks.unwrap_or_default();
    Container {
        id: from.id.unwrap_or_default().into(),
        name: from.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        stop_signal: config.stop_signal.as_deref().and_then(names::signal),
        stop_timeout: config.stop_timeout.and_then(|seconds| u64::try_from(seconds).ok()),
        labels: config.labels.unwrap_or_default().into_iter().collect(),
        state: match state.status.unwrap_or(S::EMPTY) {
            S::EMPTY | S::CREATED => ContainerState::Created,
            S::RUNNING | S::STOPPING => ContainerState::Running,
            S::PAUSED => ContainerState::Paused,
            S::RESTARTING => ContainerState::Restarting,
            S::REMOVING => ContainerState::Removing,
            S::EXITED => ContainerState::Exited,
            S::DEAD => ContainerState::Dead,
        },
        image_id: from.image.unwrap_or_default(),
        exit_code: state.exit_code.unwrap_or(0),
        oom_killed: state.oom_killed.unwrap_or(false),
        error: state.error.unwrap_or_default(),
        started_at: moment(state.started_at),
        finished_at: moment(state.finished_at),
        health: match health.status.unwrap_or(HealthStatusEnum::EMPTY) {
            HealthStatusEnum::EMPTY | HealthStatusEnum::NONE => None,
            HealthStatusEnum::STARTING => Some("starting".into()),
            HealthStatusEnum::HEALTHY => Some("healthy".into()),
            HealthStatusEnum::UNHEALTHY => Some("unhealthy".into()),
        },
        health_log: health
            .log
            .and_then(|log| log.into_iter().next_back())
            .and_then(|last| last.output)
            .map(|output| output.trim().chars().take(HEALTH_LOG_MAX).collect::<String>())
            .filter(|output| !output.is_empty()),
        networks: networks.keys().cloned().collect(),
        addresses: networks
            .into_iter()
            .filter_map(|(network, e)| {
                let text = e.ip_address.filter(|a| !a.is_empty()).or(e.global_ipv6_address)?;
                Some((network, text.parse::<IpAddr>().ok()?))
            })
            .collect(),
        published: settings
            .ports
            .unwrap_or_default()
            .into_iter()
            .filter_map(|(port, bindings)| Some((port, places(bindings?))).filter(|(_, places)| !places.is_empty()))
            .collect(),
        restart: match policy {
            Some(RestartPolicyNameEnum::ALWAYS | RestartPolicyNameEnum::UNLESS_STOPPED) => EngineRestart::UnlessStopped,
            Some(RestartPolicyNameEnum::EMPTY | RestartPolicyNameEnum::NO | RestartPolicyNameEnum::ON_FAILURE)
            | None => EngineRestart::No,
        },
        limits,
        pid: state.pid.unwrap_or(0),
    }
}

/// What a container is limited to now: as it was made, or as somebody changed it since.
fn limits(host: &HostConfig) -> BTreeMap<&'static str, String> {
    let number = |n: Option<i64>| u64::try_from(n.unwrap_or(0)).ok().filter(|n| *n > 0);
    // Either way of saying it is one limit.
    let quota = number(host.cpu_quota)
        .map(|q| Millicores(q.saturating_mul(1_000) / number(host.cpu_period).unwrap_or(100_000)));
    let cpus = number(host.nano_cpus).map(|n| Millicores(n / 1_000_000)).or(quota);
    let pids = number(host.pids_limit).and_then(|n| u32::try_from(n).ok());
    let mut limits =
        plan::limits(cpus, number(host.memory).map(Bytes), number(host.memory_reservation).map(Bytes), pids);
    limits.extend(number(host.cpu_shares).map(|n| ("cpu shares", n.to_string())));
    let sets = host.cpuset_cpus.as_ref().filter(|set| !set.is_empty());
    limits.extend(sets.map(|set| ("cpuset", set.clone())));
    limits
}

/// Where one port is published: `0.0.0.0:8080`, `[fd00::1]:8080`.
fn places(bindings: Vec<PortBinding>) -> Vec<String> {
    let mut places: BTreeSet<String> = bindings
        .into_iter()
        .filter_map(|binding| {
            let ip = binding.host_ip.unwrap_or_default();
            let ip = if ip.contains(':') { format!("[{ip}]") } else { ip };
            Some(format!("{ip}:{}", binding.host_port?))
        })
        .collect();
    // With IPv6 the engine lists a port that is open on all addresses twice.
    let doubles: Vec<String> = places
        .iter()
        .filter(|place| place.strip_prefix("[::]:").is_some_and(|port| places.contains(&format!("0.0.0.0:{port}"))))
        .cloned()
        .collect();
    places.retain(|place| !doubles.contains(place));
    places.into_iter().collect()
}

fn moment(text: Option<String>) -> String {
    text.filter(|t| t != NEVER).unwrap_or_default()
}

pub(super) fn image(from: ImageInspect) -> Image {
    let config = from.config.unwrap_or_default();
    let test = config.healthcheck.and_then(|h| h.test).unwrap_or_default();
    let mut exposed: Vec<u16> = config
        .exposed_ports
        .unwrap_or_default()
        .iter()
        .filter_map(|port| match port.split_once('/') {
            None => port.parse().ok(),
            Some((number, "tcp")) => number.parse().ok(),
            Some(_) => None,
        })
        .collect();
    exposed.sort_unstable();
    let mut volumes: Vec<String> = config.volumes.unwrap_or_default().into_iter().collect();
    volumes.sort_unstable();
    Image {
        id: from.id.unwrap_or_default(),
        digests: from.repo_digests.unwrap_or_default(),
        arch: from.architecture.unwrap_or_default(),
        os: from.os.unwrap_or_default(),
        has_healthcheck: test.first().is_some_and(|t| t != "NONE"),
        exposed,
        volumes,
    }
}

/// A container's event. Its attributes are its labels, beside a few of the engine's own.
pub(super) fn event(from: EventMessage) -> Option<RuntimeEvent> {
    let actor = from.actor?;
    let mut labels: BTreeMap<String, String> = actor.attributes.unwrap_or_default().into_iter().collect();
    let name = labels.remove("name").unwrap_or_default();
    let signal = labels.remove("signal").as_deref().and_then(names::signal);
    for own in ["image", "exitCode", "execDuration", "oldName"] {
        labels.remove(own);
    }
    // `health_status: healthy`: the status is read from the container, not from the hint.
    let action = from.action?;
    let action = action.split(':').next().unwrap_or_default().to_owned();
    let at = from.time_nano.or_else(|| from.time.map(|s| s.saturating_mul(1_000_000_000))).unwrap_or(0);
    Some(RuntimeEvent { container: Arc::from(actor.id?), name, labels, action, signal, at })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_read_from_the_engines_answer() {
        let answer: ContainerInspectResponse = serde_json::from_value(serde_json::json!({
            "Id": "c1", "Name": "/web-1", "Image": "sha256:1",
            "State": {
                "Status": "running", "Pid": 42, "ExitCode": 0, "OOMKilled": false, "Error": "",
                "StartedAt": "2026-01-01T00:00:00.5Z", "FinishedAt": "0001-01-01T00:00:00Z",
                "Health": { "Status": "unhealthy", "FailingStreak": 3, "Log": [
                    { "ExitCode": 1, "Output": "old" }, { "ExitCode": 1, "Output": "connection refused\n" }] }
            },
            "Config": { "Labels": { "a": "b" }, "StopSignal": "SIGRTMIN+3", "StopTimeout": 40 },
            "HostConfig": { "RestartPolicy": { "Name": "unless-stopped" } },
            "NetworkSettings": {
                "Ports": { 
                    "80/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "8081" }, { "HostIp": "0.0.0.0", "HostPort": "49153" },
                               { "HostIp": "::", "HostPort": "49153" }, { "HostIp": "::", "HostPort": "8081" }],
                    "90/tcp": null },
                "Networks": { "front": { "IPAddress": "172.18.0.2" }, "back": { "IPAddress": "" } }
            }
        }))
        .unwrap();
        let got = container(answer);
        assert_eq!((got.name.as_str(), got.state, got.pid), ("web-1", ContainerState::Running, 42));
        assert_eq!((got.started_at.as_str(), got.finished_at.as_str()), ("2026-01-01T00:00:00.5Z", ""));
        assert_eq!((got.health.as_deref(), got.health_log.as_deref()), (Some("unhealthy"), Some("connection refused")));
        assert_eq!(got.addresses, [("front".to_owned(), IpAddr::from([172, 18, 0, 2]))].into());
        let places = ["0.0.0.0:49153", "127.0.0.1:8081", "[::]:8081"].map(str::to_owned);
        assert_eq!(got.published, [("80/tcp".to_owned(), places.to_vec())].into());
        assert_eq!(got.networks, ["back".to_owned(), "front".to_owned()].into());
        assert_eq!(
            (got.restart, got.stop_signal, got.stop_timeout),
            (EngineRestart::UnlessStopped, Some(37), Some(40))
        );
    }

    #[test]
    fn an_empty_answer_is_an_empty_value() {
        let got = container(ContainerInspectResponse::default());
        assert_eq!((got.state, got.health, got.pid), (ContainerState::Created, None, 0));
        assert_eq!(summary(ContainerSummary::default()), None);
    }

    #[test]
    fn an_event_carries_labels_and_its_bare_action() {
        let answer: EventMessage = serde_json::from_value(serde_json::json!({
            "Type": "container", "Action": "health_status: healthy", "timeNano": 5,
            "Actor": { "ID": "c1", "Attributes": { "name": "web-1", "image": "web", "a": "b", "signal": "1" } }
        }))
        .unwrap();
        let got = event(answer).unwrap();
        assert_eq!((got.action.as_str(), got.name.as_str(), got.at), ("health_status", "web-1", 5));
        assert_eq!((got.signal, got.labels), (Some(1), [("a".to_owned(), "b".to_owned())].into()));
    }
}
