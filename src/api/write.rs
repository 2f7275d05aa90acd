//! Writes of declared objects: apply, plan, PUT, DELETE.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use http::header::{HeaderName, IF_MATCH, IF_NONE_MATCH};
use warp::reply::Response;

use super::{
    auth::Role,
    commit::{Change, Commit},
    documents::{self, Documents, Item},
    heavy,
    made::{self, Maker},
    problem::Failure,
    reply,
    request::Request,
};
use crate::{
    model::{Declared, Index, Kind, ObjectKey, ServiceSpec, Spec, Uid, node::NodeSpec},
    plan::{change::servers, why},
    store::{
        State,
        command::{Command, Refusal},
        put::{PutError, put_completed},
    },
};

/// `POST /api/v1/apply`.
///
/// # Errors
/// 400, 403, 409, 413, 415, 422, 429, 503, 504.
pub async fn apply(mut request: Request) -> Result<Response, Failure> {
    let body = request.bytes().await?;
    let asked = Arc::new(Asked::read(&request, &body).await?);
    request.caller.must_be(asked.role())?;
    if let Some(key) = asked.documents.deletes.first() {
        return Err(Failure::bad_request(format!("deletes: {key}: only a plan takes objects that shall go"))
            .hint("DELETE /api/v1/KIND/NAME deletes one, ?prune=SET those that a set has no more"));
    }
    let maker = Maker::of(&request);
    let commit = Commit::of(&request, body)?.if_at(asked.documents.preconditions.clone());
    let wanted = asked.clone();
    let mut answer = commit.run(move |state| wanted.change(state, &maker)).await?;
    answer.warnings.extend(asked.warnings());
    reply::json(&answer)
}

/// `PUT /api/v1/{kind}/{name}`.
///
/// # Errors
/// As [`apply`].
pub async fn put_one(mut request: Request) -> Result<Response, Failure> {
    let body = request.bytes().await?;
    let key = request.key()?;
    let (format, text, about) = (request.format(&body)?, body.clone(), key.clone());
    let parse = move || documents::one(&text, format, &about);
    let (item, expected) = heavy::run(&request.server, body.len(), parse).await??;
    let mut preconditions = if_match(&request, &key)?;
    if let (Some(at), true) = (expected, preconditions.is_empty()) {
        preconditions.push((key, Some(at)));
    }
    if made::of_admins(&item.declared) {
        request.caller.must_be(Role::Admin)?;
    }
    let maker = Maker::of(&request);
    let commit = Commit::of(&request, body)?.if_at(preconditions);
    let warnings = item.warnings.clone();
    let mut answer = commit
        .run(move |state| {
            let read = servers_stay(std::slice::from_ref(&item), state, &maker)?;
            Ok(Change { commands: commands(&item, None, state, &maker)?, read })
        })
        .await?;
    answer.warnings.extend(warnings);
    reply::json(&answer)
}

/// `DELETE /api/v1/{kind}/{name}`.
///
/// # Errors
/// 404, 409, 429, 503, 504.
pub async fn delete_one(mut request: Request) -> Result<Response, Failure> {
    let body = request.bytes().await?;
    let key = request.key()?;
    let mut preconditions = if_match(&request, &key)?;
    if let Some(at) = request.query.number("resourceVersion")? {
        preconditions.push((key.clone(), Some(Index(at))));
    }
    let commit = Commit::of(&request, body)?.if_at(preconditions);
    if key == ObjectKey::node(request.server.shared.node.clone()) {
        let by = "its agent answers this request".to_owned();
        return Err(Failure::write(&Refusal::InUse { key, by }.into(), &request.server.shared.store.state()));
    }
    let force = request.query.flag("force")?;
    let answer = commit
        .run(move |state| {
            if !force && state.object(&key).is_some() {
                unused(std::slice::from_ref(&key), &[], state)?;
            }
            let read = if key.kind == Kind::Node { server_stays_without(&key, state)? } else { Vec::new() };
            Ok(Change { commands: made::deletion(key.clone(), state), read })
        })
        .await?;
    reply::json(&answer)
}

/// `If-Match: "18442"` and `If-None-Match: *`.
pub(super) fn if_match(request: &Request, key: &ObjectKey) -> Result<Vec<(ObjectKey, Option<Index>)>, Failure> {
    let mut preconditions = Vec::new();
    let text = |name: &HeaderName| request.headers.get(name).map(|v| v.to_str().unwrap_or("?").trim());
    if let Some(tag) = text(&IF_MATCH) {
        let version = tag.trim_matches('"').parse().map_err(|_| {
            Failure::bad_request(format!("If-Match: {tag} is no resourceVersion")).hint("send the ETag of a read")
        })?;
        preconditions.push((key.clone(), Some(Index(version))));
    }
    match text(&IF_NONE_MATCH) {
        None => {}
        Some("*") => preconditions.push((key.clone(), None)),
        Some(other) => return Err(Failure::bad_request(format!("If-None-Match: {other} is not understood; only *"))),
    }
    Ok(preconditions)
}

/// What an apply or a plan asks for.
pub(super) struct Asked {
    pub(super) documents: Documents,
    /// Set of the documents that name none.
    pub(super) set: Option<String>,
    /// Set whose other objects go.
    pub(super) prune: Option<String>,
}

impl Asked {
    pub(super) async fn read(request: &Request, body: &Bytes) -> Result<Self, Failure> {
        for name in [IF_MATCH, IF_NONE_MATCH] {
            if request.headers.contains_key(&name) {
                let hint =
                    "send {\"objects\": […], \"preconditions\": {\"svc/web\": 18442}}, or metadata.resourceVersion";
                return Err(
                    Failure::bad_request(format!("{name} is about one object, this path about many")).hint(hint)
                );
            }
        }
        let (format, text) = (request.format(body)?, body.clone());
        let documents = heavy::run(&request.server, body.len(), move || documents::many(&text, format)).await??;
        let prune = match request.query.get("prune") {
            Some("" | "true" | "false") => {
                return Err(Failure::bad_request("prune names the set to prune").hint("send ?prune=SET"));
            }
            other => other.map(str::to_owned),
        };
        let set = request.query.get("set").map(str::to_owned).or_else(|| documents.set.clone());
        let set = match (set, &prune) {
            (Some(set), Some(prune)) if set != *prune => {
                let detail = format!("the objects belong to the set {set}, and {prune} shall be pruned");
                return Err(Failure::bad_request(detail).hint("prune the set that is applied"));
            }
            (set, prune) => set.or_else(|| prune.clone()),
        };
        if documents.items.is_empty() && documents.deletes.is_empty() && prune.is_none() {
            return Err(Failure::unprocessable("the request has no documents"));
        }
        Ok(Self { documents, set, prune })
    }

    /// Who may write it: a machine's own labels and policy are its administrator's, on every path, and so are tokens.
    fn role(&self) -> Role {
        let of_admins = self.documents.items.iter().any(|item| made::of_admins(&item.declared));
        if of_admins { Role::Admin } else { Role::Write }
    }

    /// Objects of the pruned set that the request does not name, those that name others first.
    pub(super) fn pruned(&self, state: &State) -> Vec<(ObjectKey, Index)> {
        let Some(set) = &self.prune else { return Vec::new() };
        let named: BTreeSet<ObjectKey> = self.documents.items.iter().map(|i| i.declared.key()).collect();
        // A machine is not taken out of the cluster because a file is gone.
        [Kind::Route, Kind::Service, Kind::Middleware, Kind::Secret, Kind::Config]
            .into_iter()
            .flat_map(|kind| state.objects(kind))
            .filter(|o| o.meta.managed_by.as_ref() == Some(set))
            .map(|o| (o.key(), o.meta.resource_version))
            .filter(|(key, _)| !named.contains(key))
            .collect()
    }

    fn change(&self, state: &State, maker: &Maker) -> Result<Change, Failure> {
        let mut change = Change { read: servers_stay(&self.documents.items, state, maker)?, ..Change::default() };
        for item in &self.documents.items {
            change.commands.extend(commands(item, self.set.clone(), state, maker)?);
        }
        let pruned = self.pruned(state);
        let gone: Vec<ObjectKey> = pruned.iter().map(|(key, _)| key.clone()).collect();
        unused(&gone, &self.documents.items, state)?;
        for (key, version) in pruned {
            change.read.push((key.clone(), Some(version)));
            change.commands.extend(made::deletion(key, state));
        }
        Ok(change)
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        let each =
            self.documents.items.iter().flat_map(|i| i.warnings.iter().map(|w| format!("{}: {w}", i.declared.key())));
        each.collect()
    }
}

/// A document with what it leaves to the object that is there.
pub(super) fn as_written<'i>(item: &'i Item, state: &State, maker: &Maker) -> Result<Cow<'i, Declared>, Failure> {
    maker.complete(&item.declared, state).map(|(declared, _)| declared)
}

/// What a write of Nodes rests on: a manifest leaves their roles as they are, and one of them stays a server.
fn servers_stay(items: &[Item], state: &State, maker: &Maker) -> Result<Vec<(ObjectKey, Option<Index>)>, Failure> {
    if items.iter().all(|item| item.declared.kind() != Kind::Node) {
        return Ok(Vec::new());
    }
    let (before, read) = nodes(state)?;
    let wanted = items.iter().map(|item| as_written(item, state, maker)).collect::<Result<Vec<_>, _>>()?;
    let wanted = wanted.iter().filter_map(|declared| match &declared.spec {
        Spec::Node(spec) => Some((declared.name.clone(), Some(spec))),
        Spec::Service(_) | Spec::Config(_) | Spec::Secret(_) | Spec::Route(_) | Spec::Middleware(_) => None,
    });
    match servers::without(before.iter().map(|(name, spec)| (name.clone(), spec)), wanted).first() {
        Some(name) => Err(Failure::unprocessable(format!("{}: {}", ObjectKey::node(name.clone()), servers::NONE_LEFT))
            .hint("leave `roles` out to keep what the node has, or make another node a server first")),
        None => Ok(read),
    }
}

/// Refuses to take a Config or Secret away from a Service that is there afterwards. Not the store's to refuse: a Service
/// that names one that does not exist may be written at any time, and waits.
fn unused(gone: &[ObjectKey], items: &[Item], state: &State) -> Result<(), Failure> {
    let shared = || gone.iter().filter(|key| matches!(key.kind, Kind::Config | Kind::Secret));
    if shared().next().is_none() {
        return Ok(());
    }
    let mut services: BTreeMap<Arc<str>, Cow<'_, ServiceSpec>> = BTreeMap::new();
    for object in state.objects(Kind::Service).filter(|o| !gone.contains(&o.key())) {
        // What this version cannot read names nothing that it knows of.
        if let Ok(spec) = object.parse() {
            services.insert(object.meta.name.clone(), Cow::Owned(spec));
        }
    }
    for item in items {
        if let Spec::Service(spec) = &item.declared.spec {
            services.insert(item.declared.name.clone(), Cow::Borrowed(spec));
        }
    }
    for key in shared() {
        let users = services.iter().filter(|(_, spec)| why::names(spec, key.kind, &key.name));
        let users: Vec<String> = users.map(|(name, _)| format!("svc/{name}")).collect();
        if !users.is_empty() {
            let by = format!("{} would start no more replica without it", users.join(", "));
            let refusal = Refusal::InUse { key: key.clone(), by };
            return Err(Failure::write(&refusal.into(), state).hint(
                "delete the service or take the reference out of it first; --force (?force=true) deletes it anyway",
            ));
        }
    }
    Ok(())
}

/// The same of a deletion. The store keeps a node that lives; a silent one may still be the only server.
fn server_stays_without(key: &ObjectKey, state: &State) -> Result<Vec<(ObjectKey, Option<Index>)>, Failure> {
    let (before, read) = nodes(state)?;
    let gone = std::iter::once((key.name.clone(), None));
    if servers::without(before.iter().map(|(name, spec)| (name.clone(), spec)), gone).is_empty() {
        return Ok(read);
    }
    let refusal = Refusal::InUse { key: key.clone(), by: servers::NONE_LEFT.to_owned() };
    Err(Failure::write(&refusal.into(), state).hint("make another node a server first"))
}

type Nodes = (Vec<(Arc<str>, NodeSpec)>, Vec<(ObjectKey, Option<Index>)>);

/// Every node, and the versions that were read.
fn nodes(state: &State) -> Result<Nodes, Failure> {
    let mut nodes = Nodes::default();
    for object in state.objects(Kind::Node) {
        let key = object.key();
        let spec = object.parse().map_err(|e| Failure::unreadable(&key, e))?;
        nodes.0.push((key.name.clone(), spec));
        nodes.1.push((key, Some(object.meta.resource_version)));
    }
    Ok(nodes)
}

/// The commands that write a document.
pub(super) fn commands(
    item: &Item,
    set: Option<String>,
    state: &State,
    maker: &Maker,
) -> Result<Vec<Command>, Failure> {
    let key = item.declared.key();
    if key.kind == Kind::Node && state.object(&key).is_none() {
        return Err(Failure::unprocessable(format!("{key} is not part of the cluster"))
            .hint("a node is made by its agent; then its labels and policy can be written"));
    }
    let uid = Uid::from_bytes(rand::random());
    let managed_by = item.managed_by.clone().or(set);
    let (declared, mut commands) = maker.complete(&item.declared, state)?;
    let put = put_completed(&declared, managed_by, &maker.sealer, state, uid);
    commands.push(put.map(Command::Put).map_err(|error| unstored(&key, &error))?);
    Ok(commands)
}

/// Why an object cannot be stored.
pub(super) fn unstored(key: &ObjectKey, error: &PutError) -> Failure {
    match error {
        PutError::OfClient { .. } => Failure::unprocessable(format!("{key}: {error}"))
            .hint("`constellation apply` puts the value in; over the API send it below `data` or `stringData`"),
        PutError::NotDrawn(_) => Failure::unprocessable(error.to_string())
            .hint(format!("give it a new one: constellation secret set {} KEY=-", key.name)),
        PutError::NotMade(_) => Failure::internal(error.to_string()),
        PutError::TooLarge { .. } => Failure::unprocessable(error.to_string()).hint("draw a shorter one, or split it"),
        PutError::Seal(error) => Failure::unprocessable(format!("{key}: {error}")).hint(error.hint()),
        PutError::Canonical(error) => Failure::internal(format!("{key} has no canonical form: {error}")),
        PutError::Unreadable { key, error } => Failure::unreadable(key, error),
    }
}

/// `POST /api/v1/plan`.
///
/// # Errors
/// 400, 413, 415, 422.
pub async fn plan(mut request: Request) -> Result<Response, Failure> {
    let body = request.bytes().await?;
    let asked = Asked::read(&request, &body).await?;
    let (shared, role) = (&request.server.shared, request.caller.role);
    let (state, maker, granted) = (shared.store.state(), Maker::of(&request), shared.granted());
    let size = body.len() + heavy::stored(&state, Kind::Service);
    let plan = move || super::preview::plan(&asked, &state, &maker, (role, &granted));
    heavy::run(&request.server, size, move || reply::json(&plan()?)).await?
}
