//! What the table is made from: objects, endpoints, and what of Secrets was opened for it.
//!
//! Here: [`Input`] and its parts; [`Input::secrets_named`], which tells the shell what to open; [`addresses`], which
//! replicas of a Service may get requests. Not here: opening and reading (`reconcile`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::{
    model::{
        Desired, Kind, ObjectKey, ReplicaPhase, ServiceSpec,
        middleware::MiddlewareSpec,
        route::{MiddlewareRef, RouteSpec, Shorthand},
        service::NetworkMode,
    },
    plan::view::{ReplicaView, ServiceView},
};

/// Everything that the table reads.
#[derive(Debug, Clone, Default)]
pub struct Input {
    /// Routes.
    pub routes: Vec<Stored<RouteSpec>>,
    /// Middlewares by name.
    pub middlewares: BTreeMap<Arc<str>, Arc<MiddlewareSpec>>,
    /// Services by name, with what they have of routes and endpoints.
    pub services: BTreeMap<Arc<str>, Backing>,
    /// What of Secrets is named by the others.
    pub secrets: BTreeMap<Arc<str>, Material>,
    /// Where requests wait for a Service and port that has no endpoint for a moment.
    pub holds: BTreeMap<(Arc<str>, u16), SocketAddr>,
}

/// An object with what decides who was first.
#[derive(Debug, Clone)]
pub struct Stored<S> {
    /// Its name.
    pub name: Arc<str>,
    /// Cluster time of creation.
    pub created_at: u64,
    /// What it says.
    pub spec: Arc<S>,
}

/// A Service as the table needs it.
#[derive(Debug, Clone, Default)]
pub struct Backing {
    /// Cluster time of creation.
    pub created_at: u64,
    /// Ports that it names, the default first.
    pub ports: Vec<u16>,
    /// It is in the host's network: what it does not name may be somebody else's.
    pub host_network: bool,
    /// The short form.
    pub routes: Vec<Shorthand>,
    /// Addresses of the replicas that may get requests.
    pub addresses: Vec<IpAddr>,
}

impl Backing {
    /// From a Service's spec.
    #[must_use]
    pub fn of(created_at: u64, spec: &ServiceSpec, addresses: Vec<IpAddr>) -> Self {
        let container = &spec.container;
        let mut ports = container.expose.clone();
        ports.extend(container.ports.iter().map(|p| p.target));
        ports.extend(container.readiness.iter().filter_map(|r| r.http.as_ref()).map(|p| p.port));
        ports.extend(container.readiness.iter().filter_map(|r| r.tcp.as_ref()).map(|p| p.port));
        Self {
            created_at,
            ports,
            host_network: container.network_mode == NetworkMode::Host,
            routes: spec.routes.clone(),
            addresses,
        }
    }
}

/// What is known of a Secret.
#[derive(Clone)]
pub enum Material {
    /// Its values.
    Open(BTreeMap<String, Zeroizing<Vec<u8>>>),
    /// Only the names of its values: enough for conditions, and for nothing that Traefik reads.
    Closed(BTreeSet<String>),
}
impl Material {
    /// A value as text; the empty one where only its name is known.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match self {
            Self::Open(values) => values.get(key).map(|value| std::str::from_utf8(value).unwrap_or_default()),
            Self::Closed(keys) => keys.contains(key).then_some(""),
        }
    }
    pub(super) fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }
}
impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Material(…)")
    }
}

/// Who says what a router does: a Route, or a Service by its short form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// The object.
    pub key: ObjectKey,
    /// Which of a Service's `routes`.
    pub number: usize,
}
impl Owner {
    /// A name in Traefik's document that no other owner and no other part has: what stands before the first `-` says
    /// whose and which it is, and is never a name of a user.
    pub(super) fn name(&self, part: &str) -> String {
        match self.key.kind {
            Kind::Service => format!("s{}{part}-{}", self.number, self.key.name),
            _ => format!("r{part}-{}", self.key.name),
        }
    }
}

impl Input {
    /// Names of the Secrets that Routes, Services and Middlewares name: what has to be opened for the document.
    #[must_use]
    pub fn secrets_named(&self) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        found.extend(self.routes.iter().filter_map(|r| r.spec.tls.secret_ref.as_deref()));
        let short = self.services.values().flat_map(|s| &s.routes);
        found.extend(short.clone().filter_map(|r| r.tls.secret_ref.as_deref()));
        found.extend(self.middlewares.values().filter_map(|m| secret_of(m)));
        let listed = self.routes.iter().flat_map(|r| &r.spec.middlewares).chain(short.flat_map(|r| &r.middlewares));
        found.extend(listed.filter_map(|m| match m {
            MiddlewareRef::Inline(spec) => secret_of(spec),
            MiddlewareRef::Name(_) => None,
        }));
        found
    }
}

fn secret_of(spec: &MiddlewareSpec) -> Option<&str> {
    let users = spec.basic_auth.as_ref().map(|a| &a.secret_ref).or(spec.digest_auth.as_ref().map(|a| &a.secret_ref));
    let tls = || spec.forward_auth.as_ref()?.tls.as_ref()?.secret_ref.as_ref();
    users.or_else(tls).map(String::as_str)
}

/// Addresses of the replicas that may get requests: they shall run, are not on their way out, and are ready by what was
/// seen last. One whose engine is silent is left out: nobody knows of it.
#[must_use]
pub fn addresses(view: &ServiceView) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = view.replicas.iter().filter_map(|r| address(view, r)).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// The one field of a kept spec that says where its ports are.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mode {
    #[serde(default)]
    network_mode: NetworkMode,
}

fn address(view: &ServiceView, r: &ReplicaView) -> Option<IpAddr> {
    let status = r.status.as_ref()?;
    let runs = r.replica.desired == Desired::Run && r.replica.draining.is_none() && r.replica.service_uid == view.uid;
    if !runs || !status.ready || status.phase != ReplicaPhase::Running || status.is_unknown() {
        return None;
    }
    if let Some(address) = &status.address {
        return address.parse().ok();
    }
    let kept = view.revisions.get(&r.replica.revision)?;
    match serde_json::from_slice::<Mode>(&kept.spec).ok()?.network_mode {
        NetworkMode::Host => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        NetworkMode::Bridge | NetworkMode::None => None,
    }
}
