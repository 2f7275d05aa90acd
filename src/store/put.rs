//! From what people declare to the command that stores it.
//!
//! Here: canonical bytes, a Service's hash, a Secret's seal, what a Node keeps ([`with_kept_roles`]). Not here:
//! reading text (`manifest`), the effect of the command ([`super::apply`]).
//! Why a Secret's put names the object it was sealed over: uid and version are part of the seal; if
//! another write came between, apply refuses it as a conflict and the caller converts again.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

use crate::model::{Declared, Object, ObjectKey, Spec, Uid, declared::canonical, node::NodeSpec, secret::SealedSecret};

use super::{
    command::PutObject,
    seal::{SealError, Sealer},
    state::State,
};

/// Why an object cannot be stored.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// A Secret cannot be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A value has no JSON form.
    #[error("the spec has no canonical form")]
    Canonical(#[from] serde_json::Error),
    /// What is stored was written by a version that knows more: it is not written over.
    #[error("the stored spec of {key} cannot be read")]
    Unreadable {
        /// The object.
        key: ObjectKey,
        /// What is the matter with it.
        #[source]
        error: serde_json::Error,
    },
}

fn stored<T: DeserializeOwned>(object: &Object) -> Result<T, PutError> {
    object.parse().map_err(|error| PutError::Unreadable { key: object.key(), error })
}

/// A declaration with what it leaves to the object that is there: the roles of a Node.
///
/// A plan compares this, so that it and the write are of one mind.
///
/// # Errors
/// [`PutError::Unreadable`].
pub fn with_kept_roles<'d>(declared: &'d Declared, state: &State) -> Result<Cow<'d, Declared>, PutError> {
    let (Spec::Node(spec), Some(old)) = (&declared.spec, state.object(&declared.key())) else {
        return Ok(Cow::Borrowed(declared));
    };
    let had: NodeSpec = stored(old)?;
    Ok(Cow::Owned(Declared { spec: Spec::Node(spec.clone().keeping_roles_of(&had)), ..declared.clone() }))
}

/// Converts a declared object. `new_uid` is used when the object does not exist yet.
///
/// # Errors
/// See [`PutError`].
pub fn put(
    declared: &Declared,
    managed_by: Option<String>,
    sealer: &Sealer,
    state: &State,
    new_uid: Uid,
) -> Result<PutObject, PutError> {
    let old = state.object(&declared.key());
    let uid = old.map_or(new_uid, |o| o.meta.uid.clone());
    let (spec, spec_hash) = match &with_kept_roles(declared, state)?.spec {
        Spec::Service(spec) => (canonical(spec)?, Some(spec.container_hash()?)),
        Spec::Config(spec) => (canonical(spec)?, None),
        Spec::Node(spec) => (canonical(spec)?, None),
        Spec::Secret(spec) => {
            let before = old.map(|o| stored::<SealedSecret>(o)).transpose()?;
            let version = before.map_or(1, |b| b.version + u64::from(b.digest != sealer.digest(spec)));
            let sealed = sealer.seal(spec, &uid, version)?;
            (canonical(&sealed)?, Some(sealed.digest))
        }
    };
    Ok(PutObject {
        kind: declared.kind(),
        name: declared.name.clone(),
        labels: declared.labels.clone(),
        annotations: declared.annotations.clone(),
        managed_by,
        spec,
        based_on: old.map(|o| o.meta.resource_version),
        uid,
        spec_hash,
    })
}
