//! What a replica needs before a start and can be read from the state alone: image, dependencies,
//! Configs and Secrets.
//!
//! Here: [`gate`], and which objects would open it. Pure but for opening seals.
//! Not here: what only the engine or the disk know (`super::prepare`).

use std::{collections::BTreeMap, io, sync::Arc};

use zeroize::Zeroizing;

use crate::{
    model::{
        Desired, Kind, ObjectKey, Reason, ReplicaPhase, Resolution, Revision, RunState, ServiceSpec, Uid,
        config::ConfigSpec,
        secret::SealedSecret,
        service::{ContainerSpec, Dependency, DependencyCondition},
    },
    plan::{agent::Gate, told},
    reconcile::files::{self, FileMount, Missing, Origin, Values, Wanted},
    store::{State, seal::Sealer},
};

/// A gate that is shut, and the objects whose change may open it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shut {
    /// Why.
    pub gate: Gate,
    /// What to watch. A Service stands for its image, its replicas and their statuses.
    pub waits_for: Vec<ObjectKey>,
}

/// The first thing that is missing; none: nothing is. `first`: it never ran before, so that
/// dependencies count.
#[must_use]
pub fn gate(
    state: &State,
    sealer: &Sealer,
    service: &str,
    revision: &Revision,
    spec: &ContainerSpec,
    first: bool,
) -> Option<Shut> {
    let own = || vec![ObjectKey::service(service)];
    match &revision.image {
        Resolution::Resolved { .. } => {}
        Resolution::Pending => {
            let message = format!("{} is not resolved yet", spec.image);
            return Some(Shut { gate: Gate { reason: Reason::ImageUnresolved, message }, waits_for: own() });
        }
        Resolution::Failed { reason, message, .. } => {
            return Some(Shut { gate: Gate { reason: *reason, message: message.clone() }, waits_for: own() });
        }
    }
    if first {
        for dependency in &spec.depends_on {
            if let Some(message) = unmet(state, dependency) {
                let gate = Gate { reason: Reason::WaitingForDependency, message };
                return Some(Shut { gate, waits_for: vec![ObjectKey::service(dependency.name.as_str())] });
            }
        }
    }
    match contents(state, sealer, spec) {
        Ok(_) => None,
        Err((missing, waits_for)) => {
            Some(Shut { gate: Gate { reason: missing.reason, message: missing.message }, waits_for: vec![waits_for] })
        }
    }
}

/// What is missing of a dependency; none: it is met.
fn unmet(state: &State, dependency: &Dependency) -> Option<String> {
    let name = dependency.name.as_str();
    let Some(service) = state.object(&ObjectKey::service(name)) else {
        return dependency.required.then(|| told::absent(Kind::Service, name));
    };
    if dependency.condition == DependencyCondition::ServiceCompletedSuccessfully
        && service.parse::<ServiceSpec>().is_ok_and(|spec| spec.mode.is_job())
    {
        return (!completed(state, &service.meta.uid)).then(|| told::not_yet(dependency));
    }
    let replicas: Vec<_> =
        state.replicas_of(&service.meta.uid).filter(|r| r.desired == Desired::Run && r.hook.is_none()).collect();
    let status = |name: &Arc<str>| state.replica_status(name);
    let phase = |name: &Arc<str>| status(name).map(|s| s.phase);
    let met = match dependency.condition {
        DependencyCondition::ServiceStarted => {
            // The containers of a job go after a while, its runs stay known.
            state.job(&service.meta.uid).is_some_and(|job| job.runs.iter().any(|run| run.ended_at.is_some()))
                || replicas.iter().any(|r| {
                    let phase = phase(&r.name);
                    matches!(phase, Some(ReplicaPhase::Running | ReplicaPhase::Completed | ReplicaPhase::Failed))
                })
        }
        DependencyCondition::ServiceHealthy => {
            replicas.iter().any(|r| status(&r.name).is_some_and(|s| s.ready && !s.is_unknown()))
        }
        DependencyCondition::ServiceCompletedSuccessfully => {
            !replicas.is_empty() && replicas.iter().all(|r| phase(&r.name) == Some(ReplicaPhase::Completed))
        }
    };
    (!met).then(|| told::not_yet(dependency))
}

/// Whether the newest run of a job succeeded, and its newest revision waits for none.
fn completed(state: &State, service: &Uid) -> bool {
    let Some(job) = state.job(service) else { return false };
    let newest = state.newest_revision(service).map_or(0, |r| r.number);
    job.newest().is_some_and(|run| run.state == RunState::Succeeded && run.revision >= newest)
}

/// Files and variables of a replica, in clear.
pub struct Contents {
    /// Files to mount.
    pub mounts: Vec<FileMount>,
    /// Variables from secrets.
    pub variables: BTreeMap<String, String>,
}

impl Contents {
    /// What keeps files from where they would come to lie: those of a Secret are written only to memory. `memory`:
    /// what came of looking for it.
    pub(super) fn may_lie(&self, memory: io::Result<()>) -> Option<Gate> {
        // The Secret is there and right: it is the node that cannot have it.
        let error = memory.err().filter(|_| self.mounts.iter().any(|mount| mount.secret))?;
        Some(Gate { reason: Reason::EngineRefused, message: told::on_disk(&error.to_string()) })
    }
}

/// What the Configs and Secrets of a spec contain.
///
/// # Errors
/// The first that is missing, and the object that would bring it.
pub fn contents(state: &State, sealer: &Sealer, spec: &ContainerSpec) -> Result<Contents, (Missing, ObjectKey)> {
    let mut contents = Contents { mounts: Vec::new(), variables: BTreeMap::new() };
    let all = spec.configs.iter().map(|r| (r, Origin::Config)).chain(spec.secrets.iter().map(|r| (r, Origin::Secret)));
    for (reference, origin) in all {
        let kind = match origin {
            Origin::Config => Kind::Config,
            Origin::Secret => Kind::Secret,
        };
        let key = ObjectKey::new(kind, reference.object());
        let values = values(state, sealer, &key, origin).map_err(|missing| (missing, key.clone()))?;
        match files::wanted(reference, origin, values.as_ref()).map_err(|missing| (missing, key))? {
            Wanted::Mount(mount) => contents.mounts.push(mount),
            Wanted::Variable(name, value) => {
                contents.variables.insert(name, value);
            }
        }
    }
    Ok(contents)
}

/// Values of a Config or Secret; none when it does not exist.
fn values(state: &State, sealer: &Sealer, key: &ObjectKey, origin: Origin) -> Result<Option<Values>, Missing> {
    let Some(object) = state.object(key) else { return Ok(None) };
    match origin {
        Origin::Config => {
            let spec: ConfigSpec = object.parse().map_err(|e| Missing {
                reason: Reason::ConfigMissing,
                message: format!("config {} cannot be read by this version: {e}", key.name),
            })?;
            let zeroizing = |(k, v): (String, String)| (k, Zeroizing::new(v.into_bytes()));
            Ok(Some(spec.data.into_iter().map(zeroizing).collect()))
        }
        Origin::Secret => {
            let unreadable = |e: String| Missing {
                reason: Reason::SecretMissing,
                message: format!("secret {} cannot be opened on this node: {e}", key.name),
            };
            let sealed: SealedSecret = object.parse().map_err(|e| unreadable(e.to_string()))?;
            sealer.open(&sealed, &object.meta.uid).map(Some).map_err(|e| unreadable(e.to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_secret_needs_memory_and_its_lack_is_the_nodes() {
        let contents = |secrets: &[bool]| Contents {
            mounts: secrets
                .iter()
                .map(|secret| FileMount {
                    target: "/s".into(),
                    files: BTreeMap::new(),
                    owner: (0, 0),
                    mode: 0o400,
                    secret: *secret,
                    reference: "secrets/s".into(),
                })
                .collect(),
            variables: BTreeMap::new(),
        };
        let none = || Err(io::Error::other("/run/c/files is on a disk"));
        assert_eq!(contents(&[true]).may_lie(Ok(())), None);
        assert_eq!(contents(&[false]).may_lie(none()), None);
        let gate = contents(&[false, true]).may_lie(none()).unwrap();
        assert_eq!(gate.reason, Reason::EngineRefused);
        assert!(told::is_on_disk(&gate.message) && gate.message.ends_with("/run/c/files is on a disk"), "{gate:?}");
    }
}
