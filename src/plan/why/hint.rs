//! What a person can do about a reason. Commands and field names, never our types.
//!
//! Not here: reasons that the loops resolve by themselves; they have no hint.

use crate::{
    model::{Decision, Kind, Reason, Replica},
    plan::view::Missing,
};

/// About an image that cannot be resolved.
#[must_use]
pub fn of_image(reason: Reason, image: &str) -> Option<String> {
    match reason {
        Reason::ImageNotFound => Some(format!("correct `image`, or make it here: constellation build DIR -t {image}")),
        Reason::ImagePullRefused => {
            Some("apply a Secret of type registry for that registry and name it in `imagePullSecrets`".into())
        }
        Reason::RegistryUnreachable => {
            Some("check that the node reaches the registry; it is asked again by itself".into())
        }
        Reason::DockerDown | Reason::DockerUnresponsive => Some("check the engine: systemctl status docker".into()),
        _ => None,
    }
}

/// About something that is referred to and does not exist.
#[must_use]
pub fn of_missing(missing: &Missing) -> Option<String> {
    Some(match (&missing.kind, &missing.key) {
        (Kind::Service, _) => format!("apply Service {0}, or set `required: false` on the dependency", missing.name),
        (kind, Some(key)) => format!("add the key {key} to {kind} {} and apply it", missing.name),
        (kind, None) => format!("apply {kind} {}", missing.name),
    })
}

/// About a slot that no node takes.
#[must_use]
pub fn of_placement(reason: Reason, decision: &Decision) -> Option<String> {
    let mut rejections = decision.considered.iter().flat_map(|c| &c.rejections);
    Some(match reason {
        Reason::NoNodeFits if rejections.any(|r| r.filter == "data" && r.reason == reason) => {
            "one service at a time: delete or suspend the other, or write `dataPolicy: shared` on the mounts of both \
             if they may write at once"
                .into()
        }
        Reason::PortConflict => "free the port, or change `ports[].published`".into(),
        Reason::EngineTooOld => "take the field out, or upgrade the engine".into(),
        Reason::ArchitectureMismatch => "change `platform`, or add a node of that architecture".into(),
        Reason::DockerDown | Reason::DockerUnresponsive => "check the engine: systemctl status docker".into(),
        Reason::Cordoned => "let a node take replicas again: apply its Node with `schedulable: true`".into(),
        Reason::DataMissing => "the data has to be on the node: bring its node back".into(),
        _ => "compare with `constellation get nodes -o wide`; change constraints or reservations, or add a node".into(),
    })
}

/// About a replica that does not work.
#[must_use]
pub fn of_replica(reason: Reason, replica: &Replica) -> Option<String> {
    let (service, slot, node) = (&replica.service, &replica.slot, &replica.node);
    Some(match reason {
        Reason::CrashLoopBackOff | Reason::Unhealthy | Reason::Failed | Reason::Completed | Reason::Exited => {
            format!("constellation logs {service} --replica {slot} --tail 50")
        }
        Reason::OOMKilled => "raise `resources.limits.memory`, or let it use less".into(),
        Reason::PortConflict => format!("free the port on {node}, or change `ports[].published`"),
        Reason::SecretMissing => "apply the Secret that it names".into(),
        Reason::ConfigMissing => "apply the Config that it names".into(),
        Reason::BindSourceMissing => {
            format!("make the directory on {node}, or set `bind.createHostPath: true` on the mount")
        }
        Reason::StoppedByHand => format!("docker start {}", replica.name),
        Reason::DockerDown | Reason::DockerUnresponsive => {
            format!("check the engine on {node}: systemctl status docker")
        }
        Reason::EngineTooOld => format!("take the field out, or upgrade the engine on {node}"),
        Reason::DiskFull => format!("make room on {node}: docker system df"),
        Reason::DeviceMissing => format!("check `devices` against /dev on {node}"),
        Reason::EngineRefused => "correct the setting that the engine names".into(),
        Reason::NotGranted => format!("grant it in the agent's configuration on {node}"),
        Reason::ArchitectureMismatch => "change `platform`, or the image".into(),
        Reason::WaitingForDependency => "constellation why on the service it waits for".into(),
        Reason::ImageNotFound | Reason::ImagePullRefused | Reason::RegistryUnreachable => {
            return of_image(reason, "IMAGE");
        }
        _ => return None,
    })
}

/// About data that a replica had and that is gone: `places` are the volumes and paths.
#[must_use]
pub fn of_data(replica: &Replica, places: impl Iterator<Item = String>) -> String {
    let made: Vec<String> =
        places
            .map(|place| {
                if place.starts_with('/') { format!("mkdir {place}") } else { format!("docker volume create {place}") }
            })
            .collect();
    let made = if made.is_empty() { "make it again".into() } else { made.join("; ") };
    format!(
        "mount its disk on {} again; or, if the data was deleted on purpose: {made}; or, if it may be empty, \
         `dataPolicy: cache` on the mount",
        replica.node
    )
}

/// About a volume that somebody else was to make and that was never there.
#[must_use]
pub fn of_external(replica: &Replica, volume: &str) -> String {
    format!(
        "make it on {}: docker volume create {volume}; or remove `external: true` from the mount, and it is made for you",
        replica.node
    )
}

/// About a container that is not as it would be made now.
#[must_use]
pub fn of_old(service: &str) -> String {
    format!("replace the replicas of {service}: change its container part, a label under `labels` is enough, and apply")
}

/// About a node.
#[must_use]
pub fn of_node(reason: Reason, node: &str) -> Option<String> {
    match reason {
        Reason::DockerDown | Reason::DockerUnresponsive => {
            Some(format!("check the engine on {node}: systemctl status docker"))
        }
        Reason::DiskFull => Some(format!("make room on {node}: docker system df")),
        Reason::HealthUnknown | Reason::NodeNotReady => {
            Some(format!("check the agent on {node}: systemctl status constellation"))
        }
        _ => None,
    }
}
