//! Stored objects as reads show them, without parsing their specs.
//!
//! Invariant: of a Secret only its [`SecretView`] leaves; stored fields that this version does not know
//! are shown as they are.

use std::{borrow::Cow, cell::OnceCell, collections::BTreeMap};

use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    problem::Failure,
    wire::{self, ReplicaSpec, UsageStatus},
};
use crate::{
    edge::Addresses,
    model::{
        Condition, ConditionStatus, ConditionType, Kind, Meta, NodeStatus, Object, ObjectKey, Reason, Replica,
        ReplicaStatus, ServiceStatus, Status,
        meta::API_VERSION,
        node::{NodeSpec, Role},
        secret::{SealedSecret, SecretView},
        status::RouteStatus,
    },
    plan::{
        edge::{Doors, programmed},
        routes::{self, Finding, Table, Verdict},
        why::{self, usage::Users},
    },
    reconcile::{self, view},
    store::{State, seal::Sealer},
};

/// What the canonical form of a Service with routes has in it.
const ROUTES: &[u8] = b"\"routes\":";

/// An object on its way out, borrowed from a state. On the wire it is a [`wire::Object`].
pub type Shown<'s> = wire::Object<Spec<'s>, Seen<'s>>;

/// A spec on its way out.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Spec<'s> {
    /// As stored.
    Stored(&'s RawValue),
    /// A Secret without its values.
    Secret(SecretView),
    /// A placement.
    Replica(Box<ReplicaSpec>),
}

/// A status on its way out.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Seen<'s> {
    /// Of a Service.
    Service(Cow<'s, ServiceStatus>),
    /// Of a Node.
    Node(&'s NodeStatus),
    /// Of a Replica.
    Replica(&'s ReplicaStatus),
    /// Of a Config or Secret.
    Usage(UsageStatus),
    /// Of a Route.
    Route(RouteStatus),
}

/// Reads objects from one state.
pub struct Reader<'s> {
    state: &'s State,
    sealer: &'s Sealer,
    edge: Addresses,
    /// Only Configs and Secrets need to know who uses them: read when first asked.
    users: OnceCell<Users>,
    /// Only Routes need the table of routes.
    routes: OnceCell<(Table, Vec<Doors<'s>>)>,
}

impl<'s> Reader<'s> {
    /// Of this state, on a node whose agent and Traefik are there.
    #[must_use]
    pub fn new(state: &'s State, sealer: &'s Sealer, edge: Addresses) -> Self {
        Self { state, sealer, edge, users: OnceCell::new(), routes: OnceCell::new() }
    }

    /// A declared object, with its status as the state has it.
    ///
    /// # Errors
    /// When its stored bytes are no JSON: a fault of ours.
    pub fn declared(&self, object: &'s Object) -> Result<Shown<'s>, Failure> {
        let key = object.key();
        let broken = |e: serde_json::Error| Failure::unreadable(&key, e);
        let spec = match object.kind {
            Kind::Secret => Spec::Secret(SecretView::from(&object.parse::<SealedSecret>().map_err(broken)?)),
            Kind::Service | Kind::Config | Kind::Node | Kind::Route | Kind::Middleware | Kind::Replica => {
                Spec::Stored(serde_json::from_slice(&object.spec).map_err(broken)?)
            }
        };
        let status = match (object.kind, self.state.status(&key)) {
            (Kind::Config | Kind::Secret, _) => Some(Seen::Usage(self.usage(object))),
            (Kind::Route, _) => self.route(object).map(Seen::Route),
            (_, Some(Status::Service(s))) => Some(Seen::Service(self.routed(object, s))),
            (_, Some(Status::Node(s))) => Some(Seen::Node(s)),
            (_, Some(Status::Replica(s))) => Some(Seen::Replica(s)),
            (_, None) => None,
        };
        Ok(Shown { api_version: API_VERSION.into(), kind: object.kind, metadata: object.meta.clone(), spec, status })
    }

    /// What the table says of a Route. It is made from the state alone: since when it is so stands nowhere.
    fn route(&self, object: &Object) -> Option<RouteStatus> {
        let (verdict, programmed) = self.said(object)?;
        let conditions = of_routes(verdict, &programmed, object);
        Some(RouteStatus { conditions, observed_generation: object.meta.generation })
    }

    /// What the table says of an object, and whether every live edge serves it as it is declared.
    fn said(&self, object: &Object) -> Option<(&Verdict, Finding)> {
        let made = || (table(self.state, (self.sealer, &self.edge)), doors(self.state));
        let (table, doors) = self.routes.get_or_init(made);
        said(self.state, (table, doors), object)
    }

    /// The status of a Service, with what the table and the edges say of its `routes`.
    fn routed(&self, object: &Object, status: &'s ServiceStatus) -> Cow<'s, ServiceStatus> {
        if !asks(object) {
            return Cow::Borrowed(status);
        }
        let Some((verdict, programmed)) = self.said(object) else { return Cow::Borrowed(status) };
        let mut status = status.clone();
        status.conditions.push(routes_programmed(verdict, &programmed, &object.meta));
        Cow::Owned(status)
    }

    fn usage(&self, object: &Object) -> UsageStatus {
        let users = self.users.get_or_init(|| view::users(self.state));
        let (usage, next_rotation) = match view::shared(self.state, object) {
            Some(shared) => (users.of(&shared), view::schedule(self.state, object).map(|s| s.due())),
            None => return UsageStatus::default(),
        };
        UsageStatus { conditions: usage.conditions, versions: usage.versions, next_rotation }
    }

    /// A Replica. It carries the labels of its Service.
    #[must_use]
    pub fn replica(&self, replica: &'s Replica) -> Shown<'s> {
        let spec = ReplicaSpec {
            service: replica.service.clone(),
            slot: replica.slot.clone(),
            display: replica.display(),
            revision: replica.revision,
            spec_hash: replica.spec_hash.clone(),
            node: replica.node.clone(),
            epoch: replica.epoch.to_string(),
            desired: replica.desired,
            runs_once: replica.runs_once(),
            hook: replica.hook.as_ref().map(|_| replica.label()),
            stop_reason: replica.stop_reason,
            draining: replica.draining,
            decision: replica.decision.clone(),
        };
        Shown {
            api_version: API_VERSION.into(),
            kind: Kind::Replica,
            metadata: Meta {
                name: replica.name.clone(),
                labels: self.labels(replica),
                annotations: BTreeMap::new(),
                managed_by: None,
                uid: replica.uid.clone(),
                generation: 1,
                resource_version: replica.resource_version,
                created_at: replica.created_at,
            },
            spec: Spec::Replica(Box::new(spec)),
            status: self.state.replica_status(&replica.name).map(Seen::Replica),
        }
    }

    fn labels(&self, replica: &Replica) -> BTreeMap<String, String> {
        self.state
            .object(&ObjectKey::service(replica.service.clone()))
            .filter(|o| o.meta.uid == replica.service_uid)
            .map(|o| o.meta.labels.clone())
            .unwrap_or_default()
    }

    /// The object of a key, whatever its kind.
    ///
    /// # Errors
    /// 404 when there is none.
    pub fn find(&self, key: &ObjectKey) -> Result<Shown<'s>, Failure> {
        match key.kind {
            Kind::Replica => self.state.replica(&key.name).map(|r| self.replica(r)).ok_or_else(|| Failure::absent(key)),
            Kind::Service | Kind::Config | Kind::Secret | Kind::Node | Kind::Route | Kind::Middleware => {
                self.declared(self.state.object(key).ok_or_else(|| Failure::absent(key))?)
            }
        }
    }
}

/// As the edges make it, from opened Secrets: what is left out there is left out here. Nothing of it is shown but what it
/// says of objects.
fn table(state: &State, (sealer, edge): (&Sealer, &Addresses)) -> Table {
    routes::table(&reconcile::routes::input(state, Some(sealer), edge))
}

/// Whether a Service may have routes; a spec without them is not looked through twice.
fn asks(object: &Object) -> bool {
    object.spec.windows(ROUTES.len()).any(|bytes| bytes == ROUTES)
}

/// What is said of the `routes` of a Service.
fn routes_programmed(verdict: &Verdict, programmed: &Finding, meta: &Meta) -> Condition {
    let worst = [&verdict.accepted, &verdict.resolved].into_iter().find(|finding| !finding.holds);
    let Finding { holds, reason, message } = worst.cloned().unwrap_or_else(|| {
        // What is accepted may be told of others that ask for the same.
        let words = [&programmed.message, &verdict.accepted.message].map(String::as_str);
        let said: Vec<&str> = words.into_iter().filter(|words| !words.is_empty()).collect();
        Finding { message: said.join("; "), ..programmed.clone() }
    });
    Condition {
        kind: ConditionType::RoutesProgrammed,
        status: holds.into(),
        reason,
        message,
        last_transition_time: meta.created_at,
        observed_generation: meta.generation,
    }
}

/// The conditions of an object that the table of routes gives it: of a Route all, of a Service the one of its `routes`,
/// whose `Ready` is about its replicas.
pub(super) fn of_routes(verdict: &Verdict, programmed: &Finding, object: &Object) -> Vec<Condition> {
    let at = (object.meta.generation, object.meta.created_at);
    match object.kind {
        Kind::Service => vec![routes_programmed(verdict, programmed, &object.meta)],
        _ => routes::conditions(verdict, Some(programmed), &[], at),
    }
}

/// What a table says of an object, and whether every live edge serves it as it is declared.
pub(super) fn said<'t>(
    state: &State,
    (table, doors): (&'t Table, &[Doors<'_>]),
    object: &Object,
) -> Option<(&'t Verdict, Finding)> {
    let key = object.key();
    let verdict = table.said.get(&key)?;
    if table.entries.iter().all(|entry| entry.by != key) {
        let why = [&verdict.accepted, &verdict.resolved].into_iter().find(|finding| !finding.holds);
        let reason = why.map_or(Reason::EdgeBehind, |finding| finding.reason);
        return Some((verdict, Finding { holds: false, reason, message: "none of it is served".into() }));
    }
    let edges = state.edges().map(|(_, edge)| &**edge);
    let ports = table.entries.iter().filter(|entry| entry.by == key).map(|entry| entry.entry_point.port());
    Some((verdict, programmed(edges, object.meta.resource_version, doors, &ports.collect())))
}

/// What each node with the role edge says of its public ports.
pub(super) fn doors(state: &State) -> Vec<Doors<'_>> {
    let is_edge = |spec: NodeSpec| spec.roles.contains(&Role::Edge);
    let edges = state.objects(Kind::Node).filter(|node| node.parse().is_ok_and(is_edge));
    let shut = |c: &&Condition| c.kind == ConditionType::EdgeServing && c.status == ConditionStatus::False;
    let said = |name| state.node_status(name).and_then(|s| s.conditions.iter().find(shut));
    let door = |c: &'_ Condition| (c.reason, c.message.clone());
    edges.map(|node| Doors { node: &node.meta.name, shut: said(&node.meta.name).map(door) }).collect()
}

/// From an object to what keeps it from being as declared, in plain words; of a Service only.
#[must_use]
pub fn chain(state: &State, key: &ObjectKey, now: u64) -> Vec<String> {
    let view = (key.kind == Kind::Service).then(|| view::service(state, &key.name)).flatten();
    view.map_or_else(Vec::new, |v| why::chain(&v, &|name| view::service(state, name), &view::nodes(state), now))
}

/// What differs of an object, and why.
///
/// # Errors
/// 404 when there is no such object.
pub fn differences(
    state: &State,
    here: (&Sealer, &Addresses),
    key: &ObjectKey,
    now: u64,
) -> Result<Vec<why::Difference>, Failure> {
    let absent = || Failure::absent(key);
    match key.kind {
        Kind::Service => {
            let unreadable = || Failure::internal(format!("{key} was written by a newer version"));
            let view = match (view::service(state, &key.name), state.object(key)) {
                (Some(view), _) => view,
                (None, Some(_)) => return Err(unreadable()),
                (None, None) => return Err(absent()),
            };
            let mut found = why::differences(&view, &view::nodes(state), now);
            if let Some(object) = state.object(key).filter(|object| asks(object)) {
                let table = table(state, here);
                let said = said(state, (&table, &doors(state)), object);
                found.extend(
                    said.into_iter().flat_map(|(verdict, programmed)| why::route::of_service(verdict, &programmed)),
                );
            }
            Ok(found)
        }
        Kind::Replica => {
            let Some(replica) = state.replica(&key.name) else {
                // `web.1`: a slot that has no replica yet has reasons all the same.
                let service = key.name.split_once('.').map(|(service, _)| service).ok_or_else(absent)?;
                let view = view::service(state, service).ok_or_else(absent)?;
                return why::slot(&view, &key.name, &view::nodes(state), now).ok_or_else(absent);
            };
            let view = view::service(state, &replica.service).ok_or_else(absent)?;
            Ok(why::replica(&view, &key.name, &view::nodes(state), now))
        }
        Kind::Node => {
            let nodes = view::nodes(state);
            Ok(why::node(nodes.iter().find(|n| n.name == key.name).ok_or_else(absent)?))
        }
        Kind::Route => {
            let object = state.object(key).ok_or_else(absent)?;
            let table = table(state, here);
            let said = said(state, (&table, &doors(state)), object);
            Ok(said.map(|(verdict, programmed)| why::route::of_route(verdict, &programmed)).unwrap_or_default())
        }
        Kind::Middleware => state.object(key).map(|_| Vec::new()).ok_or_else(absent),
        Kind::Config | Kind::Secret => {
            let services = view::services(state);
            let found = why::shared(key.kind, &key.name, &services);
            // What does not exist and is named by a service is a difference; what nobody names is not there.
            if found.is_empty() && state.object(key).is_none() {
                return Err(absent());
            }
            Ok(found)
        }
    }
}
