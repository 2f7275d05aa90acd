//! What the table is made from: objects, endpoints, and what of Secrets was opened for it.
//!
//! Here: [`Input`] and its parts; [`Input::secrets_named`], which tells the shell what to open; [`endpoints`], which
//! replicas of a Service may get requests. Not here: opening and reading (`reconcile`).
//! Why an endpoint has ports of its own: while a Service is updated, and after an update that was gone back from, its
//! replicas listen where their own revision says, not where the declaration does.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use zeroize::Zeroizing;

use super::Name;
use crate::{
    model::{
        Desired, Kind, ObjectKey, ReplicaPhase, ReplicaStatus, ServiceSpec,
        middleware::MiddlewareSpec,
        route::{MiddlewareRef, RouteSpec, Shorthand},
        service::NetworkMode,
    },
    plan::{
        rollout::spec_of,
        view::{ReplicaView, ServiceView},
    },
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
    /// Ports of the host that are the agent's own and its Traefik's: no Service has them, whatever it says.
    pub reserved: BTreeSet<u16>,
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
    /// As it is declared.
    pub declared: Reached,
    /// The replicas that may get requests.
    pub endpoints: Vec<Endpoint>,
}

/// How a spec says that its containers are reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reached {
    /// Ports that it names, the default first.
    pub ports: Vec<u16>,
    /// It is in the host's network: what it does not name may be somebody else's.
    pub host_network: bool,
    /// The short form.
    pub routes: Vec<Shorthand>,
}

impl From<&ServiceSpec> for Reached {
    fn from(spec: &ServiceSpec) -> Self {
        let container = &spec.container;
        let host_network = container.network_mode == NetworkMode::Host;
        let mut ports = container.expose.clone();
        ports.extend(container.ports.iter().map(|p| p.target));
        // What is probed on the host may be for the host alone, as Traefik's own API is.
        if !host_network {
            ports.extend(container.readiness.iter().filter_map(|r| r.http.as_ref()).map(|p| p.port));
            ports.extend(container.readiness.iter().filter_map(|r| r.tcp.as_ref()).map(|p| p.port));
        }
        Self { ports, host_network, routes: spec.routes.clone() }
    }
}

/// Which port of a Service is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum At<'a> {
    /// This one, of whichever replica.
    Written(u16),
    /// The default.
    Default,
    /// The one of this short form.
    Short(&'a Shorthand),
}

impl Reached {
    /// The port as it is declared here.
    pub(super) fn port(&self, at: At<'_>) -> Option<u16> {
        let first = self.ports.first().copied();
        match at {
            At::Written(port) => Some(port),
            At::Default => first,
            At::Short(short) => short.port.or(first),
        }
    }
    /// The port of a replica of this revision, where another one is declared now.
    fn earlier(&self, at: At<'_>, declared: u16) -> u16 {
        let first = self.ports.first().copied();
        match at {
            At::Written(port) => port,
            At::Default => first.unwrap_or(declared),
            At::Short(short) => {
                let mut same = self.routes.iter().filter(|own| (&own.host, &own.path) == (&short.host, &short.path));
                let alike = same.clone().find(|own| own.entry_points == short.entry_points).or_else(|| same.next());
                match alike {
                    Some(own) => own.port.or(first).unwrap_or(declared),
                    // A host that is new since then.
                    None if self.ports.contains(&declared) => declared,
                    None => first.unwrap_or(declared),
                }
            }
        }
    }
}

/// A replica that may get requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name.
    pub replica: Arc<str>,
    /// Where it is.
    pub address: IpAddr,
    /// What its revision says, when that is not what is declared now.
    pub own: Option<Arc<Reached>>,
}

impl Endpoint {
    /// Where it is asked; none: nothing of its own is there.
    pub(super) fn at(&self, input: &Input, backing: &Backing, at: At<'_>, declared: u16) -> Option<SocketAddr> {
        let port = self.own.as_ref().map_or(declared, |own| own.earlier(at, declared));
        self.has(input, backing, port).then(|| SocketAddr::new(self.address, port))
    }
    /// Whether a port is its own: a container's all are.
    pub(super) fn has(&self, input: &Input, backing: &Backing, port: u16) -> bool {
        let reached = self.own.as_deref().unwrap_or(&backing.declared);
        !reached.host_network || (reached.ports.contains(&port) && !input.reserved.contains(&port))
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
    pub(super) fn name(&self, part: impl fmt::Display) -> Name {
        match self.key.kind {
            Kind::Service => format!("s{}{part}-{}", self.number, self.key.name).into(),
            _ => format!("r{part}-{}", self.key.name).into(),
        }
    }
}

impl Input {
    /// Whether anything asks to be served.
    #[must_use]
    pub fn asks(&self) -> bool {
        !self.routes.is_empty() || self.services.values().any(|service| !service.declared.routes.is_empty())
    }
    /// Names of the Secrets that Routes, Services and Middlewares name: what has to be opened for the document.
    #[must_use]
    pub fn secrets_named(&self) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        found.extend(self.routes.iter().filter_map(|r| r.spec.tls.secret_ref.as_deref()));
        let short = self.services.values().flat_map(|s| &s.declared.routes);
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

/// The replicas that may get requests: they shall run, are not on their way out, and are ready by what was seen last. One
/// whose engine is silent is left out: nobody knows of it. `leaving`: replicas that count though they are on their way out.
#[must_use]
pub fn endpoints(view: &ServiceView, leaving: &[Arc<str>]) -> Vec<Endpoint> {
    let declared = view.declared.as_ref().map(|(_, spec)| &**spec);
    let mut known: BTreeMap<u64, Option<Arc<Reached>>> = BTreeMap::new();
    let mut found: Vec<Endpoint> = Vec::new();
    for r in &view.replicas {
        let leaves = leaving.contains(&r.replica.name);
        let stays = r.replica.draining.is_none() || leaves;
        let Some(status) = r.status.as_ref().filter(|_| stays && runs(view, r, leaves)) else { continue };
        // The same container part was declared under another number too, when somebody went there and back.
        let newest = view.newest().is_some_and(|newest| newest.spec_hash == r.replica.spec_hash);
        let of_revision = || spec_of(view, r.replica.revision).map(|spec| Arc::new(Reached::from(&spec)));
        let own = if newest { None } else { known.entry(r.replica.revision).or_insert_with(of_revision).clone() };
        let host_network =
            || own.as_ref().map_or_else(|| newest && declared.is_some_and(in_host_network), |own| own.host_network);
        let address = match &status.address {
            Some(address) => address.parse().ok(),
            None => host_network().then_some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        };
        found.extend(address.map(|address| Endpoint { replica: r.replica.name.clone(), address, own }));
    }
    found.sort_unstable_by(|a, b| (a.address, &a.replica).cmp(&(b.address, &b.replica)));
    found
}

fn in_host_network(spec: &ServiceSpec) -> bool {
    spec.container.network_mode == NetworkMode::Host
}

/// Whether it may answer; one that leaves may be at a request though it is not ready.
fn runs(view: &ServiceView, r: &ReplicaView, leaves: bool) -> bool {
    let ready = |s: &ReplicaStatus| (s.ready || leaves) && s.phase == ReplicaPhase::Running && !s.is_unknown();
    r.replica.desired == Desired::Run && r.replica.service_uid == view.uid && r.status.as_ref().is_some_and(ready)
}
