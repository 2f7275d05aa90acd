//! What a person can do about a reason. Commands and field names, never our types.
//!
//! Not here: reasons that the loops resolve by themselves; they have no hint.

use crate::{
    model::{Decision, Kind, Reason, Replica, Run},
    plan::{
        rollout, told,
        view::{Missing, ReplicaView, ServiceView},
    },
};

/// What follows an update that went wrong.
pub(super) fn of_rollback(service: &str, revision: u64) -> String {
    format!(
        "mend what went wrong and apply again; or `constellation rollout undo svc/{service} --to-revision {revision}` tries it again"
    )
}

/// About a `postDeploy` that failed.
pub(super) fn of_hook(service: &str) -> String {
    format!("the replicas stay; do by hand what it was to do, or mend it and apply another revision of svc/{service}")
}

/// About what waits for a person's word.
pub(super) fn of_hold(reason: Reason, service: &str) -> Option<String> {
    match reason {
        Reason::Paused => Some(format!("constellation rollout resume svc/{service}")),
        Reason::WaitingForPromotion => Some(format!("constellation rollout promote svc/{service}")),
        _ => None,
    }
}

/// About data that somebody else writes.
const ONE_WRITER: &str = "one service at a time: delete or suspend the other, or write `dataPolicy: shared` on the \
                          mounts of both if they may write at once";

/// About an image that cannot be resolved.
#[must_use]
pub fn of_image(reason: Reason, image: &str) -> Option<String> {
    match reason {
        Reason::ImageNotFound => Some(format!("correct `image`, or make it here: constellation build DIR -t {image}")),
        Reason::ImagePullRefused => {
            Some("apply a Secret of type registry for that registry and name it in `imagePullSecrets`".into())
        }
        Reason::RegistryUnreachable => {
            let fix = "check that the node reaches the registry, which is asked again by itself";
            Some(format!("{fix}; or make the image here: constellation build DIR -t {image}"))
        }
        Reason::DockerDown | Reason::DockerUnresponsive => Some("check the engine: systemctl status docker".into()),
        _ => None,
    }
}

/// About an image that a node cannot fetch before what works there is stopped for it; the node asks again by itself.
pub(super) fn of_next_image(reason: Reason, image: &str, node: &str) -> Option<String> {
    match reason {
        Reason::ImageNotFound => Some(format!("push {image}, or correct the name in `image` and apply it")),
        Reason::ImagePullRefused => {
            Some("apply a Secret of type registry for that registry, named in `imagePullSecrets`".into())
        }
        Reason::RegistryUnreachable => Some(format!("check that {node} reaches the registry of {image}")),
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
        Reason::NoNodeFits if rejections.any(|r| r.filter == "data" && r.reason == reason) => ONE_WRITER.into(),
        Reason::PortConflict => "free the port, or change `ports[].published`".into(),
        Reason::EngineTooOld => "take the field out, or upgrade the engine".into(),
        Reason::ArchitectureMismatch => "change `platform`, or add a node of that architecture".into(),
        Reason::DockerDown | Reason::DockerUnresponsive => "check the engine: systemctl status docker".into(),
        Reason::Cordoned => match &decision.considered[..] {
            [] => return None,
            [one] => format!("constellation node uncordon {}", one.node),
            [first, more @ ..] => format!("constellation node uncordon {} (or one of {} more)", first.node, more.len()),
        },
        Reason::DataMissing => "the data has to be on the node: bring its node back".into(),
        _ => "compare with `constellation get nodes -o wide`; change constraints or reservations, or add a node".into(),
    })
}

/// About a replica that does not work.
#[must_use]
pub fn of_replica(reason: Reason, of: &ReplicaView, view: &ServiceView) -> Option<String> {
    let replica = &of.replica;
    let (service, slot, node) = (&replica.service, &replica.slot, &replica.node);
    // The agent's words name what it waits for.
    let told = of.status.as_ref().map_or("", |s| &s.message);
    Some(match reason {
        Reason::CrashLoopBackOff | Reason::Unhealthy | Reason::Failed | Reason::Completed | Reason::Exited => {
            format!("constellation logs {service} --replica {slot} --tail 50")
        }
        Reason::OOMKilled => "raise `resources.limits.memory`, or let it use less".into(),
        Reason::PortConflict => match told::holder(told) {
            Some(holder) => {
                let stop = match holder.strip_prefix("container ") {
                    Some(containers) => format!("docker stop {}", containers.replace(", ", " ")),
                    None => format!("stop {holder}"),
                };
                format!("{stop} on {node}, or change `ports[].published`")
            }
            None => format!("free the port on {node}, or change `ports[].published`"),
        },
        Reason::ChangedByHand => format!(
            "docker rm -f {} on {node}: it is made anew as declared; or declare it under `resources.limits`",
            replica.name
        ),
        Reason::SecretMissing | Reason::ConfigMissing | Reason::WaitingForDependency => {
            // What does not exist is told beside the replica: the same words, so that they stand there once.
            let lacks = view.missing.iter().find(|m| m.reason() == reason && is_told(m, told));
            return lacks.and_then(of_missing).or_else(|| match reason {
                Reason::SecretMissing => Some("correct the Secret that it names".into()),
                Reason::ConfigMissing => Some("correct the Config that it names".into()),
                _ => {
                    let spec = rollout::spec_of(view, replica.revision)?;
                    let waits_for = spec.container.depends_on.iter().find(|d| told::not_yet(d) == told)?;
                    Some(format!("constellation why svc/{}", waits_for.name))
                }
            });
        }
        Reason::DriftDetected if told == told::paused(&replica.name) => format!("docker unpause {}", replica.name),
        Reason::BindSourceMissing => {
            format!("make the directory on {node}, or set `bind.createHostPath: true` on the mount")
        }
        // Of a replica that has a node: it is its data that another one has.
        Reason::NoNodeFits => ONE_WRITER.into(),
        Reason::StoppedByHand => format!("docker start {}", replica.name),
        Reason::DockerDown | Reason::DockerUnresponsive => {
            format!("check the engine on {node}: systemctl status docker")
        }
        Reason::EngineTooOld => format!("take the field out, or upgrade the engine on {node}"),
        Reason::DiskFull => format!("make room on {node}: docker system df"),
        Reason::DeviceMissing => format!("check `devices` against /dev on {node}"),
        Reason::EngineRefused if told::is_on_disk(told) => format!(
            "on {node}, set `runDir` in the agent's configuration to a directory on a tmpfs; then: systemctl restart \
             constellation"
        ),
        Reason::EngineRefused => "correct the setting that the engine names".into(),
        Reason::NotGranted => format!(
            "on {node}, add the grant to grants.admin, or what a link leads to to grants.bindRoots, in the agent's \
             configuration; then: systemctl reload constellation"
        ),
        Reason::RestoreUnconfirmed => "constellation backup confirm".into(),
        Reason::ArchitectureMismatch => "change `platform`, or the image".into(),
        Reason::ImageNotFound | Reason::ImagePullRefused | Reason::RegistryUnreachable => {
            let spec = rollout::spec_of(view, replica.revision);
            return of_image(reason, spec.as_ref().map_or("IMAGE", |s| s.container.image.as_str()));
        }
        _ => return None,
    })
}

/// Whether the agent's words are about this.
fn is_told(missing: &Missing, told: &str) -> bool {
    match &missing.key {
        None => told == told::absent(missing.kind, &missing.name),
        Some(key) => told
            .strip_prefix(&told::lacks(missing.kind, &missing.name, key))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("; it has ")),
    }
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

/// A run that failed.
pub(super) fn of_run(service: &str, run: &Run) -> String {
    let number = run.number;
    let again = format!("`constellation job run {service}` tries again");
    match run.reason {
        Some(Reason::DeadlineExceeded) => format!("{again}; `activeDeadline` says how long it may take"),
        Some(Reason::BackoffLimitExceeded) => {
            format!("`constellation job logs {service} --run {number}` shows what it wrote; {again}")
        }
        Some(_) | None => again,
    }
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
        Reason::PortConflict => {
            Some(format!("stop what holds the port on {node}: it is taken back within two seconds"))
        }
        Reason::DiskFull => Some(format!("make room on {node}: docker system df")),
        Reason::HealthUnknown | Reason::NodeNotReady => {
            Some(format!("check the agent on {node}: systemctl status constellation"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        model::{Decision, Kind, Reason, ReplicaPhase, ReplicaStatus, ServiceSpec, replica::Considered},
        plan::{
            rollout::cluster::{Cluster, spec},
            told,
            view::Missing,
            why::differences,
        },
    };

    /// Hints of a Service whose one replica waits for this.
    fn hints(
        declared: ServiceSpec,
        missing: impl IntoIterator<Item = Missing>,
        reason: Reason,
        message: &str,
    ) -> Vec<String> {
        let mut cluster = Cluster::new(1, declared);
        cluster.settle();
        cluster.view.missing = missing.into_iter().collect();
        let (phase, reason, message) = (ReplicaPhase::Waiting, Some(reason), message.into());
        cluster.find("web-1-00001").status = Some(ReplicaStatus { phase, reason, message, ..ReplicaStatus::default() });
        differences(&cluster.view, &cluster.nodes, 1_000).into_iter().filter_map(|d| d.hint).collect()
    }

    #[test]
    fn what_a_replica_waits_for_is_named() {
        let mut waits = spec("a", 1);
        let on = |name: &str| serde_json::from_value(serde_json::json!({"name": name})).unwrap();
        waits.container.depends_on = vec![on("red"), on("redis")];
        let told = "service redis has not started yet";
        assert_eq!(hints(waits.clone(), None, Reason::WaitingForDependency, told), ["constellation why svc/redis"]);
        waits.container.depends_on = vec![on("service"), on("started"), on("redis")];
        assert_eq!(hints(waits, None, Reason::WaitingForDependency, told), ["constellation why svc/redis"]);
        let missing = |key: Option<&str>| {
            Some(Missing { kind: Kind::Config, name: "app".into(), key: key.map(Into::into), required: true })
        };
        let (apply, add) = ("apply Config app", "add the key b to Config app and apply it");
        let reason = Reason::ConfigMissing;
        assert_eq!(hints(spec("a", 1), missing(None), reason, "config app does not exist"), [apply, apply]);
        let told = "config app has no key b; it has a";
        assert_eq!(hints(spec("a", 1), missing(Some("b")), reason, told), [add, add]);
        // What the sentence names beside is not what it is about.
        let both = [Missing { name: "a".into(), ..missing(None).unwrap() }, missing(Some("b")).unwrap()];
        let found = hints(spec("a", 1), both, reason, told);
        assert_eq!(found, ["apply Config a", add, add], "{found:?}");
        let told = "config other is not text and cannot be a variable";
        assert_eq!(hints(spec("a", 1), None, reason, told), ["correct the Config that it names"]);
    }

    #[test]
    fn who_holds_a_port_is_stopped_by_one_command() {
        let hint = |told: &str| hints(spec("a", 1), None, Reason::PortConflict, told);
        let stop = |what: &str| [format!("{what} on n1, or change `ports[].published`")];
        assert_eq!(hint("port 80 is held by container proxy"), stop("docker stop proxy"));
        assert_eq!(hint("port 80 is held by container a, b, c"), stop("docker stop a b c"));
        assert_eq!(hint("port 80 is held by nginx (pid 7)"), stop("stop nginx (pid 7)"));
    }

    #[test]
    fn a_secret_that_would_lie_on_a_disk_is_not_what_has_to_be_corrected() {
        let told = told::on_disk("/var/run/c/files is on a disk, and no tmpfs can be mounted there");
        let found = hints(spec("a", 1), None, Reason::EngineRefused, &told);
        assert!(found.len() == 1 && found[0].contains("`runDir`"), "{found:?}");
        let found = hints(spec("a", 1), None, Reason::EngineRefused, "invalid cpuset");
        assert_eq!(found, ["correct the setting that the engine names"]);
    }

    #[test]
    fn the_way_out_of_a_pause_and_of_a_cordon_is_a_command() {
        let told = "somebody paused the container; `docker unpause web-1-00001` lets it go on";
        assert_eq!(hints(spec("a", 1), None, Reason::DriftDetected, told), ["docker unpause web-1-00001"]);
        for told in ["is removed", "somebody paused the container; `docker unpause web-2-00002` lets it go on"] {
            assert_eq!(hints(spec("a", 1), None, Reason::DriftDetected, told), [""; 0]);
        }
        let node = |name: &str| Considered { node: name.into(), score: 0, rejections: Vec::new() };
        let hint = |nodes: &[&str]| {
            let considered = nodes.iter().map(|n| node(n)).collect();
            super::of_placement(Reason::Cordoned, &Decision { considered, ..Decision::default() }).unwrap()
        };
        assert_eq!(hint(&["n1"]), "constellation node uncordon n1");
        assert_eq!(hint(&["n1", "n2", "n3"]), "constellation node uncordon n1 (or one of 2 more)");
    }
}
