//! Who may give a service power over its host.
//!
//! Here: admission of writes by the caller's role. Not here: what needs a grant (`plan::grants`).
//! The role `admin` has every grant, `write` has none: it may count the replicas of such a service, change its
//! labels and delete it, and not change what its containers run, nor a Config or Secret that they read.

use super::{
    auth::{Caller, Role},
    documents::Item,
    problem::Failure,
    wire::ManifestFault,
};
use crate::{
    model::{Index, Kind, ObjectKey, ServiceSpec, Spec},
    plan::grants::{Need, needs, only_counts, reads},
    store::State,
};

/// What a write rests on, when the caller may write all of it.
///
/// # Errors
/// 403 with each field that needs a grant; 500 when a stored spec cannot be read.
pub(super) fn admit<'i>(
    items: impl IntoIterator<Item = &'i Item>,
    state: &State,
    caller: &Caller,
) -> Result<Vec<(ObjectKey, Option<Index>)>, Failure> {
    let (mut read, mut faults) = (Vec::new(), Vec::new());
    if caller.role >= Role::Admin {
        return Ok(read);
    }
    for item in items {
        let key = item.declared.key();
        for (field, message) in refused(item, state)? {
            let fix = Some("let an administrator apply it".into());
            faults.push(ManifestFault {
                source: key.to_string(),
                path: field,
                message,
                fix,
                ..ManifestFault::default()
            });
        }
        if let Spec::Service(spec) = &item.declared.spec
            && !needs(spec).is_empty()
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
pub(super) fn told(items: &[Item], state: &State, role: Role) -> Result<(Vec<String>, Vec<String>), Failure> {
    let (mut warnings, mut notes) = (Vec::new(), Vec::new());
    for item in items {
        let key = item.declared.key();
        if role < Role::Admin {
            warnings.extend(refused(item, state)?.into_iter().map(|(field, message)| {
                let at = if field.is_empty() { String::new() } else { format!("{field}: ") };
                format!("{key}: {at}{message}; apply will refuse it")
            }));
        } else if let Spec::Service(spec) = &item.declared.spec {
            notes.extend(needs(spec).iter().map(|Need { power, field }| {
                format!("{key}: {field} uses host power, {power}, which is granted to the role admin")
            }));
        }
    }
    Ok((warnings, notes))
}

/// Each field that a caller without grants may not write, and why.
fn refused(item: &Item, state: &State) -> Result<Vec<(String, String)>, Failure> {
    let key = item.declared.key();
    match &item.declared.spec {
        Spec::Service(spec) => {
            let needed = needs(spec);
            let stays = match state.object(&key) {
                _ if needed.is_empty() => true,
                None => false,
                Some(old) => only_counts(&old.parse().map_err(|e| Failure::unreadable(&key, e))?, spec),
            };
            let each = needed.into_iter().filter(|_| !stays);
            Ok(each
                .map(|need| (need.field, format!("needs the grant {}, which only the role admin has", need.power)))
                .collect())
        }
        Spec::Config(_) | Spec::Secret(_) => {
            let reader = powerful_reader(&key, state)?;
            let why = |by: ObjectKey| {
                (String::new(), format!("{by} reads it and has host power, which only the role admin may use"))
            };
            Ok(reader.map(why).into_iter().collect())
        }
        Spec::Node(_) => Ok(Vec::new()),
    }
}

/// A service with power over its host that reads this Config or Secret.
fn powerful_reader(key: &ObjectKey, state: &State) -> Result<Option<ObjectKey>, Failure> {
    // Most services do not name it: only those that do are parsed.
    let names = |spec: &[u8]| spec.windows(key.name.len()).any(|part| part == key.name.as_bytes());
    for object in state.objects(Kind::Service).filter(|o| names(&o.spec)) {
        let spec: ServiceSpec = object.parse().map_err(|e| Failure::unreadable(&object.key(), e))?;
        if reads(&spec, key.kind, &key.name) && !needs(&spec).is_empty() {
            return Ok(Some(object.key()));
        }
    }
    Ok(None)
}
