//! Who may give a service power over its host.
//!
//! Here: admission by the caller's role, as the agent's configuration grants it (`model::power`): of every command that
//! is committed for a caller ([`admit`], called by `commit`), and of the name of an image that is built ([`may_name`]).
//! Not here: what needs a grant (`plan::grants`), whether the node carries it out (`reconcile::agent`).
//! Whoever lacks a grant that a service needs may count its replicas, change its labels and delete it, and not
//! change what its containers run, nor a Config or Secret that they read.

use std::{cell::OnceCell, collections::BTreeSet, sync::Arc};

use super::{
    auth::{Caller, Role},
    documents::Item,
    problem::Failure,
    wire::ManifestFault,
};
use crate::{
    model::{
        Desired, Grants, Index, Kind, ObjectKey, Power, Replica, Rollout, ServiceSpec, Spec, Uid,
        reference::ImageReference, secret::SealedSecret,
    },
    plan::grants::{Need, needs, only_counts, reaches, reads},
    store::{State, command::Command},
};

/// One field that a caller may not write.
struct Refused {
    field: String,
    message: String,
    fix: String,
}

/// What these commands rest on, when their caller may give all of them.
///
/// # Errors
/// 403 with each field that needs a grant; 500 when a stored spec cannot be read.
pub(super) fn admit(
    commands: &[Command],
    state: &State,
    (caller, grants): (&Caller, &Grants),
) -> Result<Vec<(ObjectKey, Option<Index>)>, Failure> {
    let (role, at_work) = (caller.role, AtWork::of(state));
    let (mut read, mut faults) = (Vec::new(), Vec::new());
    let puts = commands.iter().filter_map(|command| if let Command::Put(put) = command { Some(put) } else { None });
    for put in puts {
        let key = ObjectKey::new(put.kind, put.name.clone());
        let wanted = match put.kind {
            Kind::Service => Some(serde_json::from_slice(&put.spec).map_err(|e| Failure::unreadable(&key, e))?),
            Kind::Config | Kind::Secret | Kind::Node | Kind::Route | Kind::Middleware | Kind::Replica => None,
        };
        let reaching = match put.kind {
            Kind::Route => {
                Some(Spec::Route(serde_json::from_slice(&put.spec).map_err(|e| Failure::unreadable(&key, e))?))
            }
            Kind::Middleware => {
                Some(Spec::Middleware(serde_json::from_slice(&put.spec).map_err(|e| Failure::unreadable(&key, e))?))
            }
            Kind::Service => wanted.clone().map(|spec| Spec::Service(Box::new(spec))),
            Kind::Config | Kind::Secret | Kind::Node | Kind::Replica => None,
        };
        let same = state.object(&key).is_some_and(|old| old.spec == put.spec);
        let outward = reaching.as_ref().filter(|_| !same).map(|spec| outward(spec, role, grants)).unwrap_or_default();
        let refused = refused(&key, wanted.as_ref(), &at_work, role, grants)?;
        for Refused { field, message, fix } in refused.into_iter().chain(outward) {
            let (source, fix) = (key.to_string(), Some(fix));
            faults.push(ManifestFault { source, path: field, message, fix, ..ManifestFault::default() });
        }
        if wanted.is_some_and(|spec| lacks(&spec, role, grants).next().is_some()) {
            read.push((key.clone(), state.version(&key)));
        }
    }
    for command in commands {
        let Command::SetRollout { service, uid, rollout, .. } = command else { continue };
        faults.extend(undone(service, uid, rollout, state, (role, grants))?);
    }
    if faults.is_empty() { Ok(read) } else { Err(Failure::not_granted(role, faults).by(&caller.name)) }
}

/// What a role has no grant for in a revision that it brings back. The newest is what somebody could declare.
fn undone(
    service: &Arc<str>,
    uid: &Uid,
    rollout: &Rollout,
    state: &State,
    (role, grants): (Role, &Grants),
) -> Result<Vec<ManifestFault>, Failure> {
    let key = ObjectKey::service(service.clone());
    let stays = state.rollout(uid).is_some_and(|old| old.target == rollout.target);
    let newest = state.newest_revision(uid).is_some_and(|newest| newest.number == rollout.target);
    let Some(revision) = state.revision(uid, rollout.target).filter(|_| !stays && !newest) else {
        return Ok(Vec::new());
    };
    let spec: ServiceSpec = serde_json::from_slice(&revision.spec).map_err(|e| Failure::unreadable(&key, e))?;
    let lacking = lacks(&spec, role, grants);
    Ok(lacking
        .map(|need| ManifestFault {
            source: key.to_string(),
            message: format!(
                "revision {} needs the grant {}, which the role {} does not have",
                revision.number,
                need.power,
                role.name()
            ),
            fix: Some(fix(role, grants, &need)),
            path: need.field,
            ..ManifestFault::default()
        })
        .collect())
}

/// Whether a caller may give an image a name: what a service with power runs is named by whoever has that power.
///
/// # Errors
/// 403; 500 when a stored spec cannot be read.
pub(super) fn may_name(
    image: &ImageReference,
    state: &State,
    (caller, grants): (&Caller, &Grants),
) -> Result<(), Failure> {
    let last = image.repository.rsplit('/').next().unwrap_or_default();
    let runs = |spec: &ServiceSpec| {
        // What names a digest runs the same bytes whatever is under its tag.
        ImageReference::parse(&spec.container.image).is_ok_and(|named| {
            named.digest.is_none() && named.same_repository(image) && named.tag_or_latest() == image.tag_or_latest()
        })
    };
    let Some((by, need)) = AtWork::of(state).powerful(last, runs, caller.role, grants)? else { return Ok(()) };
    let fault = ManifestFault {
        source: format!("image/{image}"),
        path: "tag".into(),
        message: without(&format!("{by} runs this image"), &need, caller.role),
        fix: Some(format!("build it under another name, {}", fix(caller.role, grants, &need))),
        ..ManifestFault::default()
    };
    Err(Failure::not_granted(caller.role, vec![fault]).by(&caller.name))
}

/// What a plan says of it: whether this caller's apply is refused, or which power is granted.
///
/// # Errors
/// 500 when a stored spec cannot be read.
pub(super) fn told(
    items: &[Item],
    state: &State,
    role: Role,
    grants: &Grants,
) -> Result<(Vec<String>, Vec<String>), Failure> {
    let (mut warnings, mut notes) = (Vec::new(), Vec::new());
    let at_work = AtWork::of(state);
    for item in items {
        let key = item.declared.key();
        let wanted = if let Spec::Service(spec) = &item.declared.spec { Some(&**spec) } else { None };
        let refused = refused(&key, wanted, &at_work, role, grants)?;
        let outward = outward(&item.declared.spec, role, grants);
        warnings.extend(refused.into_iter().chain(outward).map(|Refused { field, message, fix }| {
            let at = if field.is_empty() { String::new() } else { format!("{field}: ") };
            format!("{key}: {at}{message}; apply will refuse it: {fix}")
        }));
        if let Some(spec) = wanted {
            let granted =
                needs(&spec.container, &grants.places).into_iter().filter(|need| has(role, grants, need.power));
            notes.extend(granted.map(|Need { power, field }| {
                format!("{key}: {field} uses host power, {power}, which is granted to the role {}", role.name())
            }));
        }
    }
    Ok((warnings, notes))
}

/// Whether a role has a grant.
fn has(role: Role, grants: &Grants, power: Power) -> bool {
    match role {
        Role::Admin => grants.admin.contains(&power),
        Role::Write => grants.write.contains(&power),
        Role::Read | Role::Edge | Role::None => false,
    }
}

/// What a service needs and a role does not have.
fn lacks(spec: &ServiceSpec, role: Role, grants: &Grants) -> impl Iterator<Item = Need> {
    needs(&spec.container, &grants.places).into_iter().filter(move |need| !has(role, grants, need.power))
}

/// Each field that this role may not write, and why. `wanted`: what a Service shall be.
fn refused(
    key: &ObjectKey,
    wanted: Option<&ServiceSpec>,
    at_work: &AtWork<'_>,
    role: Role,
    grants: &Grants,
) -> Result<Vec<Refused>, Failure> {
    if let Some(spec) = wanted {
        let lacking: Vec<Need> = lacks(spec, role, grants).collect();
        let counts = || match at_work.state.object(key) {
            None => Ok(false),
            Some(old) => old.parse().map_err(|e| Failure::unreadable(key, e)).map(|old| only_counts(&old, spec)),
        };
        let tokens = if role == Role::Admin { Vec::new() } else { of_edges(spec, at_work.state) };
        let stays = (lacking.is_empty() && tokens.is_empty()) || counts()?;
        let tokens = tokens.into_iter().filter(|_| !stays);
        let each = lacking.into_iter().filter(|_| !stays);
        return Ok(each
            .map(|need| Refused {
                message: format!("needs the grant {}, which the role {} does not have", need.power, role.name()),
                fix: fix(role, grants, &need),
                field: need.field,
            })
            .chain(tokens)
            .collect());
    }
    match key.kind {
        Kind::Config | Kind::Secret => {
            let reads = |spec: &ServiceSpec| reads(spec, key.kind, &key.name);
            let reader = at_work.powerful(&key.name, reads, role, grants)?;
            let refused = reader.map(|(by, need)| Refused {
                field: String::new(),
                message: without(&format!("{by} reads it"), &need, role),
                fix: fix(role, grants, &need),
            });
            Ok(refused.into_iter().collect())
        }
        Kind::Service | Kind::Node | Kind::Route | Kind::Middleware | Kind::Replica => Ok(Vec::new()),
    }
}

/// Each field that hands a container what a Traefik of the cluster is started with: whoever reads its token reads every key
/// of TLS.
fn of_edges(spec: &ServiceSpec, state: &State) -> Vec<Refused> {
    let of_edge = |name: &str| {
        let object = state.object(&ObjectKey::new(Kind::Secret, name));
        object.and_then(|o| o.parse::<SealedSecret>().ok()).is_some_and(|sealed| sealed.edge.is_some())
    };
    let files = spec.container.secrets.iter().enumerate().filter(|(_, file)| of_edge(file.object()));
    let each = files.map(|(i, file)| Refused {
        field: format!("spec.secrets[{i}]"),
        message: format!(
            "secret/{} holds the token of a Traefik, which only an administrator may hand on",
            file.object()
        ),
        fix: "let an administrator do it".into(),
    });
    each.collect()
}

/// Each field that makes Traefik ask an address that is no Service, when this role may not write it.
fn outward(spec: &Spec, role: Role, grants: &Grants) -> Vec<Refused> {
    let lacking = reaches(spec).into_iter().filter(|need| !has(role, grants, need.power));
    let each = lacking.map(|need| Refused {
        message: format!(
            "asks an address that is no Service: needs the grant {}, which the role {} does not have",
            need.power,
            role.name()
        ),
        fix: fix(role, grants, &need),
        field: need.field,
    });
    each.collect()
}

/// Why what a service with power uses is not everybody's to write.
fn without(uses: &str, need: &Need, role: Role) -> String {
    format!("{uses} and uses host power, {}, which the role {} has no grant for", need.power, role.name())
}

/// What to do about a grant that a role does not have.
fn fix(role: Role, grants: &Grants, need: &Need) -> String {
    let power = need.power;
    let administrator =
        if role != Role::Admin && has(Role::Admin, grants, power) { "let an administrator do it, or " } else { "" };
    let directory = if need.has_place() { ", or the directory to grants.bindRoots," } else { "" };
    format!("{administrator}add {power} to grants.{}{directory} in the agent's configuration", role.name())
}

/// What each Service is declared as, and each revision of which a container may still run: while the image of a new one
/// is not to be had, the old one goes on, and what it reads reaches it.
struct AtWork<'s> {
    state: &'s State,
    /// Name and uid of the Service, number of the revision.
    running: OnceCell<BTreeSet<(&'s Arc<str>, &'s Uid, u64)>>,
}

impl<'s> AtWork<'s> {
    fn of(state: &'s State) -> Self {
        Self { state, running: OnceCell::new() }
    }
    fn running(&self) -> &BTreeSet<(&'s Arc<str>, &'s Uid, u64)> {
        // One that ended by itself and is not told to stop may be started again.
        let ended = |r: &Replica| {
            r.desired == Desired::Stop && self.state.replica_status(&r.name).is_some_and(|s| s.phase.ended())
        };
        let replicas = || self.state.replicas().filter(|r| !ended(r));
        self.running.get_or_init(|| replicas().map(|r| (&r.service, &r.service_uid, r.revision)).collect())
    }

    /// Who does this and has power that this role has not. `word` stands in the spec of each that does.
    fn powerful(
        &self,
        word: &str,
        does: impl Fn(&ServiceSpec) -> bool,
        role: Role,
        grants: &Grants,
    ) -> Result<Option<(String, Need)>, Failure> {
        if Power::ALL.into_iter().all(|power| has(role, grants, power)) {
            return Ok(None);
        }
        let declared = self.state.objects(Kind::Service).map(|o| (o.key(), None, o.spec.as_slice()));
        let running = self.running().iter().filter_map(|(name, uid, number)| {
            let revision = self.state.revision(uid, *number)?;
            Some((ObjectKey::service((*name).clone()), Some(number), revision.spec.as_slice()))
        });
        // Most have nothing to do with it: only those that name it are parsed.
        let names = |spec: &[u8]| spec.windows(word.len().max(1)).any(|part| part == word.as_bytes());
        for (key, number, spec) in declared.chain(running).filter(|(.., spec)| names(spec)) {
            let spec: ServiceSpec = serde_json::from_slice(spec).map_err(|e| Failure::unreadable(&key, e))?;
            if does(&spec)
                && let Some(need) = lacks(&spec, role, grants).next()
            {
                let by = number.map_or_else(|| key.to_string(), |n| format!("{key}, whose revision {n} still runs,"));
                return Ok(Some((by, need)));
            }
        }
        Ok(None)
    }
}
