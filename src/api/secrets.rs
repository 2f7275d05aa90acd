//! Secrets beside whole documents: some keys, a new version, the versions there are, and another key under all of them.
//!
//! Here: set, rotate, history (of Configs too), rekey. Not here: sealing (`store::seal`), what a version is
//! (`store::apply::versions`), deleting (`write`).
//! Invariants: no answer holds a value; the old key is forgotten only when nothing that it sealed is left, in the state
//! or on its way there. A rekey that was cut off leaves both keys and everything open; the leader goes on with it.

use std::collections::BTreeMap;

use warp::reply::Response;

use super::{
    audit,
    commit::{Change, Commit},
    documents,
    made::Maker,
    problem::Failure,
    reply,
    request::Request,
    wire::{History, Rekeyed, SecretRotate, SecretSet, VersionView},
    write,
};
use crate::{
    model::{
        Declared, Kind, Object, ObjectKey, Spec, Uid, Version,
        config::ConfigSpec,
        rotation::{TRAEFIK_FILE, VALUE, ValueFrom},
        secret::{SealedSecret, SecretKind, SecretSpec},
    },
    reconcile::view,
    store::{
        State,
        command::Command,
        put::{encoded, put_completed},
        rekey::{By, RekeyError, Turn, go_on, opens},
        seal::{Sealer, Values},
    },
};

/// Turns of a rekey at most; each seals what the one before missed.
const ROUNDS: usize = 16;

/// `POST /api/v1/secrets/{name}/set`: writes some keys. A Secret that is not there is made.
///
/// # Errors
/// 422, and those of every write.
pub async fn set(mut request: Request) -> Result<Response, Failure> {
    let body = request.bytes().await?;
    let asked: SecretSet = request.json(&body)?;
    let key = request.key()?;
    let sealer = request.server.shared.sealer.clone();
    let answer = Commit::of(&request, body)?
        .if_at(write::if_match(&request, &key)?)
        .run(move |state| {
            let old = Opened::of(state, &key, &sealer)?;
            let mut data = old.as_ref().map(|old| encoded(&old.values)).unwrap_or_default();
            for gone in &asked.remove {
                if data.remove(gone).is_none() {
                    return Err(Failure::unprocessable(format!("{key} has no key {gone}")));
                }
            }
            data.extend(asked.data.clone());
            // A value that somebody gave is not drawn any more.
            let kept = |name: &str| data.contains_key(name) && !asked.data.contains_key(name);
            let from = old.as_ref().map(|old| old.from(kept)).unwrap_or_default();
            changed(state, &key, &sealer, old.as_ref(), data, from)
        })
        .await?;
    reply::json(&answer)
}

/// `POST /api/v1/secrets/{name}/rotate`: a new version, drawn or with the values of an earlier one.
///
/// # Errors
/// 404, 422, and those of every write.
pub async fn rotate(mut request: Request) -> Result<Response, Failure> {
    let body = request.bytes().await?;
    let asked: SecretRotate = if body.is_empty() { SecretRotate::default() } else { request.json(&body)? };
    let key = request.key()?;
    let (sealer, maker, role) = (request.server.shared.sealer.clone(), Maker::of(&request), request.caller.role);
    let answer = Commit::of(&request, body)?
        .if_at(write::if_match(&request, &key)?)
        .run(move |state| {
            let Some(number) = asked.to_version else {
                let object = state.object(&key).ok_or_else(|| Failure::absent(&key))?;
                let read = vec![(key.clone(), Some(object.meta.resource_version))];
                return Ok(Change { commands: maker.renew(object, role, state)?, read });
            };
            let old = Opened::of(state, &key, &sealer)?.ok_or_else(|| Failure::absent(&key))?;
            let kept = version(state, &old.object.meta.uid, number).ok_or_else(|| {
                Failure::unprocessable(format!("version {number} of {key} is not kept"))
                    .hint(format!("constellation secret history {}", key.name))
            })?;
            let before: SealedSecret = kept.parse().map_err(|e| Failure::unreadable(&key, e))?;
            if old.sealed.edge.is_some() {
                let detail = format!("version {number} of {key} has a token that is not valid any more");
                return Err(Failure::unprocessable(detail).hint(format!("constellation secret rotate {}", key.name)));
            }
            let values = sealer.open(&before, &old.object.meta.uid).map_err(|e| closed(&key, &e))?;
            let from = old.from(|name| values.contains_key(name));
            changed(state, &key, &sealer, Some(&old), encoded(&values), from)
        })
        .await?;
    reply::json(&answer)
}

/// `GET /api/v1/{kind}/{name}/history`.
///
/// # Errors
/// 404.
pub async fn history(request: Request) -> Result<Response, Failure> {
    let state = request.server.shared.store.state();
    let key = request.key()?;
    let object = state.object(&key).ok_or_else(|| Failure::absent(&key))?;
    let view = |version: &Version| {
        let object = version.kept.as_ref().unwrap_or(object);
        let digest = match object.kind {
            Kind::Secret => object.parse::<SealedSecret>().ok().map(|s| s.digest),
            Kind::Config | Kind::Service | Kind::Node | Kind::Route | Kind::Middleware | Kind::Replica => {
                object.parse::<ConfigSpec>().ok().and_then(|c| c.digest(None))
            }
        };
        VersionView {
            version: version.number,
            made_at: version.made_at,
            by: version.by.clone(),
            reason: version.reason.clone(),
            digest: digest.unwrap_or_default(),
            current: version.kept.is_none(),
        }
    };
    let versions = state.versions(&object.meta.uid).rev().map(|version| view(version)).collect();
    let next_rotation = view::schedule(&state, object).map(|s| s.due());
    reply::json(&History { versions, next_rotation, index: state.index().0 })
}

/// `POST /api/v1/cluster/rekey`: seals everything with a new key and forgets the old one.
///
/// # Errors
/// When the disk fails, something cannot be opened, or the store takes nothing; asked again, it goes on.
pub async fn rekey(mut request: Request) -> Result<Response, Failure> {
    request.bytes().await?;
    let (reason, shared) = (request.reason()?, &request.server.shared);
    let (sealer, store) = (&shared.sealer, &shared.store);
    let disk = |error: std::io::Error| Failure::internal(format!("the file of the key cannot be written: {error}"));
    // Whoever goes on with one that was cut off comes to its end first.
    let _alone = sealer.rekeying().await;
    // Before there is a new key: one that nothing may be forgotten for would stay beside the old one for ever.
    opens(&store.state(), sealer).map_err(|error| stuck(error, &store.state()))?;
    sealer.begin_new_key().map_err(disk)?;
    let deadline = shared.limits.propose;
    let by = By { actor: request.caller.name.clone(), reason, request: Some(audit::asked(&request)), deadline };
    let mut resealed = 0;
    for _ in 0..ROUNDS {
        match go_on(store, sealer, &by, usize::MAX).await.map_err(|error| stuck(error, &store.state()))? {
            Turn::More(sealed) => resealed += sealed,
            Turn::Done => return reply::json(&Rekeyed { key: sealer.newest_key(), resealed }),
        }
    }
    Err(Failure::internal("secrets were written faster than they were sealed anew; ask again"))
}

fn stuck(error: RekeyError, state: &State) -> Failure {
    match error {
        RekeyError::Disk(error) => Failure::internal(format!("the file of the key cannot be written: {error}")),
        RekeyError::Closed { key, error } => closed(&key, &error),
        RekeyError::Unreadable { key, error } => Failure::unreadable(&key, error),
        RekeyError::Propose(error) => Failure::write(&error, state),
    }
}

/// A Secret with its values in clear.
struct Opened<'s> {
    object: &'s Object,
    sealed: SealedSecret,
    values: Values,
}

impl<'s> Opened<'s> {
    fn of(state: &'s State, key: &ObjectKey, sealer: &Sealer) -> Result<Option<Self>, Failure> {
        let Some(object) = state.object(key) else { return Ok(None) };
        let sealed: SealedSecret = object.parse().map_err(|e| Failure::unreadable(key, e))?;
        let values = sealer.open(&sealed, &object.meta.uid).map_err(|e| closed(key, &e))?;
        Ok(Some(Self { object, sealed, values }))
    }
    /// What of its values is still made by the cluster, when those that `kept` names are as they were.
    fn from(&self, kept: impl Fn(&str) -> bool) -> ValueFrom {
        let SealedSecret { generate, edge, .. } = &self.sealed;
        ValueFrom {
            generate: generate.clone().filter(|_| kept(VALUE)),
            edge: edge.clone().filter(|_| kept(TRAEFIK_FILE)),
            ..ValueFrom::default()
        }
    }
}

fn closed(key: &ObjectKey, error: &crate::store::seal::SealError) -> Failure {
    Failure::new(409, "secret-closed", "A secret does not open", format!("{key} cannot be opened: {error}"))
        .hint(error.hint())
}

fn version<'s>(state: &'s State, uid: &'s Uid, number: u64) -> Option<&'s Object> {
    state.versions(uid).find(|v| v.number == number)?.kept.as_deref()
}

/// The write of these values. `from`: what of them is still made by the cluster.
fn changed(
    state: &State,
    key: &ObjectKey,
    sealer: &Sealer,
    old: Option<&Opened<'_>>,
    data: BTreeMap<String, String>,
    from: ValueFrom,
) -> Result<Change, Failure> {
    let kind = old.map_or(SecretKind::Opaque, |old| old.sealed.kind);
    // Checked like one that a user wrote.
    let item = documents::checked(key, &serde_json::json!({ "type": kind, "data": data }))?;
    let spec = SecretSpec {
        kind,
        data,
        value_from: Some(from).filter(|from| *from != ValueFrom::default()),
        rotation: old.map(|old| old.sealed.rotation.clone()).unwrap_or_default(),
        keep_versions: old.and_then(|old| old.sealed.keep_versions),
        ..SecretSpec::default()
    };
    let meta = old.map(|old| &old.object.meta);
    let declared = Declared {
        name: item.declared.name,
        labels: meta.map(|m| m.labels.clone()).unwrap_or_default(),
        annotations: meta.map(|m| m.annotations.clone()).unwrap_or_default(),
        spec: Spec::Secret(spec),
    };
    let put = put_completed(&declared, None, sealer, state, Uid::from_bytes(rand::random()));
    let put = put.map_err(|error| write::unstored(key, &error))?;
    Ok(Change { commands: vec![Command::Put(put)], read: vec![(key.clone(), meta.map(|m| m.resource_version))] })
}
