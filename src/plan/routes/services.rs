//! Who answers: backends made into Traefik's services.
//!
//! Here: [`of_route`], the servers of a Route with their weights and how they are connected to; [`endpoints`], those of
//! one Service and port. Not here: which replicas are endpoints (`input`), what a request passes before.
//! Invariant: every service of ours names a transport that closes idle connections after a second: what is open to a
//! server on its way out is then a request.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use super::{
    Name, Reason, Refusal,
    document::{
        Balancer, Cookie, Document, Forwarding, HealthCheck, Passive, Server, ServersTransport, Service, Share, Sticky,
        Weighted,
    },
    input::{At, Input, Owner},
    refusal,
};
use crate::model::{
    Period,
    route::{Backend, HealthCheck as Check, LoadBalancer, RouteSpec, Scheme, Shorthand, Strategy},
};

/// The transport of everything that asks for nothing else.
pub(super) const TRANSPORT: &str = "default-transport";
/// An idle connection is closed after this.
const IDLE: Period = Period::secs(1);

/// The services of a Route.
#[derive(Default)]
pub(super) struct Made {
    /// Name of the one that a router names.
    pub(super) name: String,
    pub(super) services: BTreeMap<String, Service>,
    pub(super) transport: BTreeMap<String, ServersTransport>,
    /// Who answers, for people.
    pub(super) servers: Vec<String>,
    /// Backends, for people.
    pub(super) named: Vec<String>,
    /// Backends without a ready replica while others have one.
    pub(super) unanswered: Vec<String>,
    /// What is not there.
    pub(super) refusals: Vec<Refusal>,
}

/// Where requests go: by Service and port, and by replica.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sent {
    /// Every Service and port that is asked, with its endpoints; none of them: it has none now. What somebody wrote the
    /// port of comes last: a replica's own revision knows better where it is.
    pub places: BTreeMap<(Name, u16), BTreeSet<(bool, SocketAddr)>>,
    /// Where each replica is asked.
    pub replicas: BTreeMap<Name, BTreeSet<SocketAddr>>,
    /// Places that were asked in the same words: the same answer stands here already. Whether the port was written.
    known: BTreeSet<(Name, u16, bool)>,
}
impl Sent {
    fn place(&mut self, name: &Name, port: u16, found: &[(&Name, SocketAddr)], at: At<'_>) {
        let written = matches!(at, At::Written(_));
        if !matches!(at, At::Short(_)) && !self.known.insert((name.clone(), port, written)) {
            return;
        }
        let place = self.places.entry((name.clone(), port)).or_default();
        for (replica, address) in found {
            self.replicas.entry((*replica).clone()).or_default().insert(*address);
            place.insert((written, *address));
        }
    }
    pub(super) fn extend(&mut self, other: Self) {
        for (place, addresses) in other.places {
            self.places.entry(place).or_default().extend(addresses);
        }
        for (replica, addresses) in other.replicas {
            self.replicas.entry(replica).or_default().extend(addresses);
        }
    }
}

/// Who answers for a Service and port.
pub(super) struct Found {
    /// As it is declared.
    pub(super) port: u16,
    pub(super) servers: Vec<SocketAddr>,
    /// It is where requests wait.
    pub(super) waits: bool,
}

/// Where requests for a Service and port go: its endpoints, or with none where they wait; none of both is no error.
pub(super) fn endpoints(input: &Input, service: &str, at: At<'_>, sent: &mut Sent) -> Result<Found, Refusal> {
    let absent = |why: String| refusal(Reason::BackendNotFound, why);
    let Some((name, backing)) = input.services.get_key_value(service) else {
        return Err(absent(format!("svc/{service} does not exist")));
    };
    let Some(port) = backing.declared.port(at) else {
        return Err(absent(format!("svc/{service} names no port: write `port` here, or `expose` there")));
    };
    if backing.declared.host_network && input.reserved.contains(&port) {
        let why =
            format!("svc/{service} is in the host's network, where the port {port} is the agent's or its Traefik's");
        return Err(absent(why));
    }
    let asked = backing.endpoints.iter().filter_map(|e| e.at(input, backing, at, port).map(|at| (&e.replica, at)));
    let found: Vec<(&Name, SocketAddr)> = asked.collect();
    if found.is_empty() && backing.declared.host_network && !backing.declared.ports.contains(&port) {
        let why =
            format!("svc/{service} is in the host's network and does not name the port {port}: add it to its `expose`");
        return Err(absent(why));
    }
    sent.place(name, port, &found, at);
    let mut servers: Vec<SocketAddr> = found.into_iter().map(|(_, at)| at).collect();
    servers.sort_unstable();
    servers.dedup();
    let waits = backing.endpoints.is_empty();
    if waits {
        servers.extend(input.holds.get(&(name.clone(), port)));
    }
    Ok(Found { port, servers, waits })
}

/// Makes the services of a Route.
pub(super) fn of_route(
    input: &Input,
    owner: &Owner,
    (spec, short): (&RouteSpec, Option<&Shorthand>),
    sent: &mut Sent,
) -> Made {
    let mut made = Made::default();
    let transport = transport(owner, spec, &mut made);
    let check = spec.load_balancer.health_check.as_ref();
    let mut children: Vec<(String, &Backend, bool, Vec<Server>)> = Vec::new();
    for (i, backend) in spec.backends.iter().enumerate().filter(|(_, b)| b.weight > 0) {
        let mut checked = true;
        let (label, servers) = match (&backend.service, &backend.url) {
            (Some(service), _) => match answering(input, service, (backend, short), check, sent) {
                Ok(Found { port, servers, waits }) => {
                    // What waits for a replica speaks plain HTTP only.
                    let servers = if waits && backend.scheme != Scheme::Http { Vec::new() } else { servers };
                    let url = |a: SocketAddr| Server { url: format!("{}://{a}", backend.scheme.as_str()) };
                    checked = !waits;
                    (format!("svc/{service}:{port}"), servers.into_iter().map(url).collect())
                }
                Err(why) => {
                    made.refusals.push(why);
                    (format!("svc/{service}"), Vec::new())
                }
            },
            (None, Some(url)) => (url.clone(), vec![Server { url: url.clone() }]),
            (None, None) => continue,
        };
        made.named.push(label.clone());
        if servers.is_empty() {
            made.unanswered.push(label);
        }
        made.servers.extend(servers.iter().map(|s| s.url.clone()));
        children.push((owner.name(&format!("b{i}")), backend, checked, servers));
    }
    // Requests go to those that can answer, whatever the weights say of the others.
    if children.iter().any(|(.., servers)| !servers.is_empty()) {
        children.retain(|(.., servers)| !servers.is_empty());
    } else {
        children.truncate(1);
    }
    let cookie = |suffix: &str| spec.load_balancer.sticky.as_ref().map(|s| sticky(owner, s, suffix));
    for (name, backend, checked, servers) in &children {
        let mut balancer = balancer(&spec.load_balancer, backend, servers.clone(), transport.clone(), cookie(""));
        if !checked {
            // The agent is no replica: nothing of it, and nothing beside it, is there to be asked for its health.
            balancer.health_check = None;
        }
        made.services.insert(name.clone(), Service::LoadBalancer(balancer));
    }
    made.name = match children.as_slice() {
        [(name, ..)] => name.clone(),
        several => {
            let name = owner.name("");
            let services = several
                .iter()
                .map(|(name, backend, ..)| Share { name: name.clone(), weight: backend.weight })
                .collect();
            made.services.insert(name.clone(), Service::Weighted(Weighted { services, sticky: cookie("-group") }));
            name
        }
    };
    made
}

/// Who answers for a backend. Where Traefik asks for health, in the host's network, has to be a port of its own too.
fn answering(
    input: &Input,
    service: &str,
    (backend, short): (&Backend, Option<&Shorthand>),
    check: Option<&Check>,
    sent: &mut Sent,
) -> Result<Found, Refusal> {
    let at = match (short, backend.port) {
        (Some(short), _) => At::Short(short),
        (None, Some(port)) => At::Written(port),
        (None, None) => At::Default,
    };
    if let (Some(port), Some(backing)) = (check.and_then(|check| check.port), input.services.get(service))
        && !backing.endpoints.iter().all(|endpoint| endpoint.has(input, backing, port))
    {
        let why = format!(
            "svc/{service} is in the host's network and does not name the port {port} of `loadBalancer.healthCheck`: \
             add it to its `expose`"
        );
        return Err(refusal(Reason::BackendNotFound, why));
    }
    endpoints(input, service, at, sent)
}

fn balancer(
    spec: &LoadBalancer,
    backend: &Backend,
    servers: Vec<Server>,
    servers_transport: String,
    sticky: Option<Sticky>,
) -> Balancer {
    let health_check = spec.health_check.as_ref().map(|check| HealthCheck {
        path: check.path.clone(),
        port: check.port,
        scheme: check.scheme,
        method: check.method.clone(),
        status: check.status,
        interval: check.interval,
        unhealthy_interval: check.unhealthy_interval,
        timeout: check.timeout,
        hostname: check.hostname.clone(),
        follow_redirects: check.follow_redirects,
        headers: check.headers.clone(),
    });
    let passive_health_check = spec.passive_health_check.as_ref().map(|check| Passive {
        failure_window: check.failure_window.unwrap_or(Period::secs(10)),
        max_failed_attempts: check.max_failed_attempts.unwrap_or(1),
    });
    Balancer {
        servers,
        strategy: Some(spec.strategy).filter(|s| *s != Strategy::Wrr),
        pass_host_header: backend.preserve_host,
        servers_transport,
        sticky,
        health_check,
        passive_health_check,
    }
}

fn sticky(owner: &Owner, spec: &crate::model::route::Sticky, suffix: &str) -> Sticky {
    let cookie = &spec.cookie;
    let derived = || format!("constellation-{}", &blake3::hash(owner.name("").as_bytes()).to_hex()[..8]);
    Sticky {
        cookie: Cookie {
            name: cookie.name.clone().unwrap_or_else(derived) + suffix,
            secure: cookie.secure,
            http_only: cookie.http_only,
            same_site: cookie.same_site,
            max_age: cookie.max_age,
            path: cookie.path.clone(),
            domain: cookie.domain.clone(),
        },
    }
}

/// Name of the transport that a Route uses; its own when it asks for one.
fn transport(owner: &Owner, spec: &RouteSpec, made: &mut Made) -> String {
    let asked = &spec.load_balancer.servers_transport;
    let response = spec.resilience.timeout.or(asked.timeouts.response_header);
    if !asked.insecure_skip_verify && response.is_none() && asked.timeouts.dial.is_none() {
        return TRANSPORT.into();
    }
    let name = owner.name("t");
    made.transport.insert(
        name.clone(),
        ServersTransport {
            insecure_skip_verify: asked.insecure_skip_verify,
            forwarding_timeouts: Forwarding {
                dial_timeout: asked.timeouts.dial,
                response_header_timeout: response,
                idle_conn_timeout: IDLE,
            },
        },
    );
    name
}

/// Adds the transport that most use.
pub(super) fn default_transport(document: &mut Document) {
    if document.http.services.is_empty() {
        return;
    }
    let forwarding_timeouts = Forwarding { dial_timeout: None, response_header_timeout: None, idle_conn_timeout: IDLE };
    let transport = ServersTransport { insecure_skip_verify: false, forwarding_timeouts };
    document.http.servers_transports.insert(TRANSPORT.into(), transport);
}

/// A service of one Service and port, for a middleware that asks it.
pub(super) fn plain(servers: Vec<SocketAddr>) -> Service {
    let servers = servers.into_iter().map(|a| Server { url: format!("http://{a}") }).collect();
    let backend = Backend::default();
    Service::LoadBalancer(balancer(&LoadBalancer::default(), &backend, servers, TRANSPORT.into(), None))
}
