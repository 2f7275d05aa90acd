//! Who may give a service power over its host.
//!
//! Here: admission of writes by the caller's role, as the agent's configuration grants it (`model::power`).
//! Not here: what needs a grant (`plan::grants`), whether the node carries it out (`reconcile::agent`).
//! Whoever lacks a grant that a service needs may count its replicas, change its labels and delete it, and not
//! change what its containers run, nor a Config or Secret that they read.

use super::{
    auth::{Caller, Role},
    documents::Item,
    problem::Failure,
    wire::ManifestFault,
};
use crate::{
    model::{Grants, Index, Kind, ObjectKey, Power, ServiceSpec, Spec},
    plan::grants::{Need, needs, only_counts, reads},
    store::State,
};

/// One field that a caller may not write.
struct Refused {
    field: String,
    message: String,
    fix: String,
}

/// What a write rests on, when the caller may write all of it.
///
/// # Errors
/// 403 with each field that needs a grant; 500 when a stored spec cannot be read.
pub(super) fn admit<'i>(
    items: impl IntoIterator<Item = &'i Item>,
    state: &State,
    (caller, grants): (&Caller, &Grants),
) -> Result<Vec<(ObjectKey, Option<Index>)>, Failure> {
    let (mut read, mut faults) = (Vec::new(), Vec::new());
    for item in items {
        let key = item.declared.key();
        for Refused { field, message, fix } in refused(item, state, caller.role, grants)? {
            let (source, fix) = (key.to_string(), Some(fix));
            faults.push(ManifestFault { source, path: field, message, fix, ..ManifestFault::default() });
        }
        if let Spec::Service(spec) = &item.declared.spec
            && lacks(spec, caller.role, grants).next().is_some()
        {
            read.push((key.clone(), state.version(&key)));
        }
    }
    if faults.is_empty() { Ok(read) } else { Err(Failure::not_granted(caller.role, faults).by(&caller.name)) }
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
    for item in items {
        let key = item.declared.key();
        let refused = refused(item, state, role, grants)?;
        warnings.extend(refused.into_iter().map(|Refused { field, message, fix }| {
            let at = if field.is_empty() { String::new() } else { format!("{field}: ") };
            format!("{key}: {at}{message}; apply will refuse it: {fix}")
        }));
        if let Spec::Service(spec) = &item.declared.spec {
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
        Role::Read | Role::None => false,
    }
}

/// What a service needs and a role does not have.
fn lacks(spec: &ServiceSpec, role: Role, grants: &Grants) -> impl Iterator<Item = Need> {
    needs(&spec.container, &grants.places).into_iter().filter(move |need| !has(role, grants, need.power))
}

/// Each field that this role may not write, and why.
fn refused(item: &Item, state: &State, role: Role, grants: &Grants) -> Result<Vec<Refused>, Failure> {
    let key = item.declared.key();
    match &item.declared.spec {
        Spec::Service(spec) => {
            let lacking: Vec<Need> = lacks(spec, role, grants).collect();
            let stays = match state.object(&key) {
                _ if lacking.is_empty() => true,
                None => false,
                Some(old) => only_counts(&old.parse().map_err(|e| Failure::unreadable(&key, e))?, spec),
            };
            let each = lacking.into_iter().filter(|_| !stays);
            Ok(each
                .map(|Need { power, field }| Refused {
                    message: format!("needs the grant {power}, which the role {} does not have", role.name()),
                    fix: fix(role, grants, power),
                    field,
                })
                .collect())
        }
        Spec::Config(_) | Spec::Secret(_) => {
            let reader = powerful_reader(&key, state, role, grants)?;
            Ok(reader
                .map(|(by, power)| Refused {
                    field: String::new(),
                    message: format!(
                        "{by} reads it and uses host power, {power}, which the role {} has no grant for",
                        role.name()
                    ),
                    fix: fix(role, grants, power),
                })
                .into_iter()
                .collect())
        }
        Spec::Node(_) => Ok(Vec::new()),
    }
}

/// What to do about a grant that a role does not have.
fn fix(role: Role, grants: &Grants, power: Power) -> String {
    let administrator =
        if role < Role::Admin && has(Role::Admin, grants, power) { "let an administrator apply it, or " } else { "" };
    let directory = if power == Power::Binds { ", or the directory to grants.bindRoots," } else { "" };
    format!("{administrator}add {power} to grants.{}{directory} in the agent's configuration", role.name())
}

/// A service that reads this Config or Secret, and power that it has and this role has not.
fn powerful_reader(
    key: &ObjectKey,
    state: &State,
    role: Role,
    grants: &Grants,
) -> Result<Option<(ObjectKey, Power)>, Failure> {
    // Most services do not name it: only those that do are parsed.
    let names = |spec: &[u8]| spec.windows(key.name.len()).any(|part| part == key.name.as_bytes());
    for object in state.objects(Kind::Service).filter(|o| names(&o.spec)) {
        let spec: ServiceSpec = object.parse().map_err(|e| Failure::unreadable(&object.key(), e))?;
        if reads(&spec, key.kind, &key.name)
            && let Some(need) = lacks(&spec, role, grants).next()
        {
            return Ok(Some((object.key(), need.power)));
        }
    }
    Ok(None)
}
