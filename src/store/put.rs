//! From what people declare to the command that stores it.
//!
//! Here: canonical bytes, a Service's hash, a Secret's seal, what a declaration leaves
//! to what is there ([`completed`]), a value drawn anew ([`redrawn`]). Not here:
//! reading text (`manifest`), the effect of the command ([`super::apply`]).
//! Why a Secret's put names the object it was sealed over: uid and version are part of the seal; if
//! another write came between, apply refuses it as a conflict and the caller converts again.

use std::{borrow::Cow, collections::BTreeMap};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::model::{
    Declared, Object, ObjectKey, Spec, Uid,
    declared::canonical,
    node::NodeSpec,
    rotation::{EdgeFile, Generate, TRAEFIK_FILE, VALUE, ValueFrom},
    secret::{SECRET_LIMIT, SealedSecret, SecretSpec},
};

use super::{
    command::PutObject,
    seal::{SealError, Sealer, Values},
    state::State,
};

/// Why an object cannot be stored.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// Only whoever runs the command has the file or the variable.
    #[error("spec.valueFrom.{field} is not for the server")]
    OfClient {
        /// `file`, `env`, `command`.
        field: &'static str,
    },
    /// A Secret cannot be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A value has no JSON form.
    #[error("the spec has no canonical form")]
    Canonical(#[from] serde_json::Error),
    /// Nobody but a person knows its value.
    #[error("the value of {0} is not drawn by the cluster")]
    NotDrawn(ObjectKey),
    /// What makes the configuration of Traefik, and its token, is not here.
    #[error("the configuration of {0} is not made by what wrote it")]
    NotMade(ObjectKey),
    /// With another value of this length it would be.
    #[error("{key} would have more than {SECRET_LIMIT} bytes")]
    TooLarge {
        /// The Secret.
        key: ObjectKey,
    },
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

/// A declaration with what it leaves to the object that is there, or to the cluster: the roles of a Node, and the drawn
/// value of a Secret. A value that is there stays; only one that is not is drawn. What Traefik is started with is made
/// before this, because a token is made with it.
///
/// A plan compares this, so that it and the write are of one mind.
///
/// # Errors
/// [`PutError::Unreadable`], [`PutError::Seal`], [`PutError::OfClient`], [`PutError::NotMade`].
pub fn completed<'d>(declared: &'d Declared, sealer: &Sealer, state: &State) -> Result<Cow<'d, Declared>, PutError> {
    let old = state.object(&declared.key());
    let with = |spec| Cow::Owned(Declared { spec, ..declared.clone() });
    match (&declared.spec, old) {
        (Spec::Node(spec), Some(old)) => {
            let had: NodeSpec = stored(old)?;
            Ok(with(Spec::Node(spec.clone().keeping_roles_of(&had))))
        }
        (Spec::Secret(spec), old) => {
            let Some(from) = &spec.value_from else { return Ok(Cow::Borrowed(declared)) };
            if let Some(field) = from.of_client() {
                return Err(PutError::OfClient { field });
            }
            let had = |key: &str| match old {
                Some(old) => Ok::<_, PutError>(sealer.open(&stored::<SealedSecret>(old)?, &old.meta.uid)?.remove(key)),
                None => Ok(None),
            };
            if let Some(EdgeFile {}) = from.edge {
                if spec.data.contains_key(TRAEFIK_FILE) {
                    return Ok(Cow::Borrowed(declared));
                }
                let value = had(TRAEFIK_FILE)?.ok_or_else(|| PutError::NotMade(declared.key()))?;
                return Ok(with(Spec::Secret(spec.with(TRAEFIK_FILE, &value))));
            }
            let Some(generate) = &from.generate else { return Ok(Cow::Borrowed(declared)) };
            let value = had(VALUE)?.unwrap_or_else(|| draw(generate));
            Ok(with(Spec::Secret(spec.with_value(&value))))
        }
        (Spec::Config(spec), _) => match spec.value_from.clone().map(|from| ValueFrom::from(from).of_client()) {
            Some(Some(field)) => Err(PutError::OfClient { field }),
            Some(None) | None => Ok(Cow::Borrowed(declared)),
        },
        (Spec::Service(_) | Spec::Route(_) | Spec::Middleware(_), _) | (Spec::Node(_), None) => {
            Ok(Cow::Borrowed(declared))
        }
    }
}

/// A value as [`Generate`] says.
#[must_use]
pub fn draw(generate: &Generate) -> Zeroizing<Vec<u8>> {
    use rand::seq::IndexedRandom as _;
    let (characters, mut rng) = (generate.charset.characters(), rand::rng());
    Zeroizing::new((0..generate.length).filter_map(|_| characters.choose(&mut rng).copied()).collect())
}

/// A stored Secret with its value drawn anew and all else as it is: what `secret rotate` and the schedule write.
///
/// # Errors
/// [`PutError::NotDrawn`], [`PutError::TooLarge`], and those of [`put`].
pub fn redrawn(object: &Object, sealer: &Sealer, state: &State) -> Result<PutObject, PutError> {
    let sealed: SealedSecret = stored(object)?;
    let Some(generate) = &sealed.generate else { return Err(PutError::NotDrawn(object.key())) };
    renewed(object, (VALUE, draw(generate)), sealer, state)
}

/// A stored Secret with another value under one key and all else as it is.
///
/// # Errors
/// [`PutError::TooLarge`], and those of [`put`].
pub fn renewed(
    object: &Object,
    (name, value): (&str, Zeroizing<Vec<u8>>),
    sealer: &Sealer,
    state: &State,
) -> Result<PutObject, PutError> {
    let (key, meta) = (object.key(), &object.meta);
    let sealed: SealedSecret = stored(object)?;
    let mut values = sealer.open(&sealed, &meta.uid)?;
    values.insert(name.into(), value);
    if values.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() > SECRET_LIMIT {
        return Err(PutError::TooLarge { key });
    }
    let spec = SecretSpec {
        kind: sealed.kind,
        data: encoded(&values),
        value_from: Some(ValueFrom { generate: sealed.generate, edge: sealed.edge, ..ValueFrom::default() }),
        rotation: sealed.rotation,
        keep_versions: sealed.keep_versions,
        ..SecretSpec::default()
    };
    let declared = Declared {
        name: meta.name.clone(),
        labels: meta.labels.clone(),
        annotations: meta.annotations.clone(),
        spec: Spec::Secret(spec),
    };
    put_completed(&declared, None, sealer, state, meta.uid.clone())
}

/// Values as a declaration holds them.
#[must_use]
pub fn encoded(values: &Values) -> BTreeMap<String, String> {
    values.iter().map(|(key, value)| (key.clone(), STANDARD.encode(value))).collect()
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
    put_completed(&*completed(declared, sealer, state)?, managed_by, sealer, state, new_uid)
}

/// As [`put`], of what leaves nothing open.
///
/// # Errors
/// See [`PutError`].
pub fn put_completed(
    declared: &Declared,
    managed_by: Option<String>,
    sealer: &Sealer,
    state: &State,
    new_uid: Uid,
) -> Result<PutObject, PutError> {
    let old = state.object(&declared.key());
    let uid = old.map_or(new_uid, |o| o.meta.uid.clone());
    let (spec, spec_hash) = match &declared.spec {
        Spec::Service(spec) => (canonical(spec)?, Some(spec.container_hash()?)),
        Spec::Config(spec) => (canonical(spec)?, None),
        Spec::Node(spec) => (canonical(spec)?, None),
        Spec::Route(spec) => (canonical(spec)?, None),
        Spec::Middleware(spec) => (canonical(spec)?, None),
        Spec::Secret(spec) => {
            let before = old.map(|o| stored::<SealedSecret>(o)).transpose()?;
            let sealed = sealed(spec, before, sealer, &uid)?;
            (canonical(&sealed)?, Some(sealed.identity()))
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

/// What is stored of a Secret: as it was when its values are the same, else a new version.
fn sealed(
    spec: &SecretSpec,
    before: Option<SealedSecret>,
    sealer: &Sealer,
    uid: &Uid,
) -> Result<SealedSecret, SealError> {
    match before {
        Some(before) if before.digest == sealer.digest(spec, Some(&before.digest)) => Ok(SealedSecret {
            generate: spec.generate().cloned(),
            rotation: spec.rotation.clone(),
            keep_versions: spec.keep_versions,
            ..before
        }),
        before => sealer.seal(spec, uid, before.map_or(1, |b| b.version + 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Kind, rotation::Charset},
        store::command::{Command, Group, Outcome},
    };

    fn secret(json: serde_json::Value) -> Declared {
        let spec = Spec::Secret(serde_json::from_value(json).unwrap());
        Declared { name: "s".into(), labels: [].into(), annotations: [].into(), spec }
    }
    struct Cluster(State, Sealer);
    impl Cluster {
        fn apply(&mut self, declared: &Declared) -> Outcome {
            let put = put(declared, None, &self.1, &self.0, Uid::from_bytes([7; 16])).unwrap();
            let group = Group { commands: vec![Command::Put(put)], ..Group::default() };
            self.0.apply(&group).unwrap().objects[0].result
        }
        fn stored(&self) -> (u64, String) {
            let object = self.0.object(&ObjectKey::new(Kind::Secret, "s")).unwrap();
            let sealed: SealedSecret = object.parse().unwrap();
            let value = self.1.open(&sealed, &object.meta.uid).unwrap().remove(VALUE).unwrap();
            (sealed.version, String::from_utf8(value.to_vec()).unwrap())
        }
    }

    #[test]
    fn a_value_is_drawn_once_and_what_stands_around_it_may_change() {
        let mut cluster = Cluster(State::default(), Sealer::ephemeral());
        let drawn =
            |length| secret(serde_json::json!({"valueFrom": {"generate": {"length": length, "charset": "hex"}}}));
        assert_eq!(cluster.apply(&drawn(40)), Outcome::Created);
        let first = cluster.stored();
        assert!(first.0 == 1 && first.1.len() == 40 && first.1.bytes().all(|b| b.is_ascii_hexdigit()), "{first:?}");
        assert_eq!(cluster.apply(&drawn(40)), Outcome::Unchanged);
        assert_eq!(cluster.apply(&drawn(20)), Outcome::Configured, "the next value is drawn in another way");
        assert_eq!(cluster.stored(), first);
        assert_eq!(cluster.apply(&drawn(20)), Outcome::Unchanged);
        let written = secret(serde_json::json!({"stringData": {"value": "x"}}));
        assert_eq!(cluster.apply(&written), Outcome::Configured);
        assert_eq!(cluster.stored(), (2, "x".into()));
        assert_eq!(cluster.apply(&drawn(20)), Outcome::Configured, "it has a value");
        assert_eq!(cluster.stored(), (2, "x".into()));
    }

    #[test]
    fn a_value_drawn_anew_changes_nothing_around_it() {
        let mut cluster = Cluster(State::default(), Sealer::ephemeral());
        let policy = serde_json::json!({"strategy": "manual", "every": "24h"});
        let declared = secret(serde_json::json!({"type": "password", "stringData": {"user": "ann"},
            "valueFrom": {"generate": {"length": 8}}, "rotation": policy, "keepVersions": 3}));
        cluster.apply(&declared);
        let before = cluster.stored();
        let key = ObjectKey::new(Kind::Secret, "s");
        let object = cluster.0.object(&key).unwrap().clone();
        let put = redrawn(&object, &cluster.1, &cluster.0).unwrap();
        let group = Group { commands: vec![Command::Put(put)], ..Group::default() };
        assert_eq!(cluster.0.apply(&group).unwrap().objects[0].result, Outcome::Configured);
        let after = cluster.stored();
        assert!((before.0, after.0) == (1, 2) && before.1 != after.1 && after.1.len() == 8, "{before:?} {after:?}");
        assert_eq!(cluster.apply(&declared), Outcome::Unchanged, "the manifest is still what is there");
        cluster.apply(&secret(serde_json::json!({"stringData": {"value": "x"}})));
        let given = cluster.0.object(&key).unwrap().clone();
        let error = redrawn(&given, &cluster.1, &cluster.0).unwrap_err();
        assert!(matches!(error, PutError::NotDrawn(_)), "{error}");
    }

    #[test]
    fn another_key_makes_nothing_look_changed() {
        let mut cluster = Cluster(State::default(), Sealer::ephemeral());
        let written = secret(serde_json::json!({"stringData": {"value": "x"}, "keepVersions": 3}));
        cluster.apply(&written);
        cluster.1.begin_new_key().unwrap();
        assert_eq!(cluster.apply(&written), Outcome::Unchanged);
        let other = secret(serde_json::json!({"stringData": {"value": "y"}, "keepVersions": 3}));
        assert_eq!(cluster.apply(&other), Outcome::Configured);
        assert_eq!(cluster.stored(), (2, "y".into()));
        assert_eq!(cluster.apply(&other), Outcome::Unchanged);
    }

    #[test]
    fn a_server_fetches_no_file() {
        let cluster = Cluster(State::default(), Sealer::ephemeral());
        let asks = secret(serde_json::json!({"valueFrom": {"file": "/etc/shadow"}}));
        let error = put(&asks, None, &cluster.1, &cluster.0, Uid::from_bytes([7; 16])).unwrap_err();
        assert!(matches!(error, PutError::OfClient { field: "file" }), "{error}");
    }

    #[test]
    fn drawn_values_use_their_characters_and_differ() {
        for charset in [Charset::Alnum, Charset::Hex, Charset::Base64, Charset::Ascii] {
            let draw = || draw(&Generate { length: 4096, charset });
            let seen: std::collections::BTreeSet<u8> = draw().iter().copied().collect();
            let all: std::collections::BTreeSet<u8> = charset.characters().iter().copied().collect();
            assert_eq!(seen, all, "{charset:?}");
            assert_ne!(draw(), draw());
        }
    }
}
