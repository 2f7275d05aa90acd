//! Who answers: backends made into Traefik's services.
//!
//! Here: [`Services::of_route`], the servers of a Route with their weights and how they are connected to; [`endpoints`],
//! those of one Service and port. Not here: which replicas are endpoints (`input`), what a request passes before.
//! Invariant: every service of ours names a transport that closes idle connections after a second: what is open to a
//! server on its way out is then a request.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::SocketAddr,
    sync::{Arc, LazyLock},
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
pub(super) static TRANSPORT: LazyLock<Name> = LazyLock::new(|| "default-transport".into());
/// An idle connection is closed after this.
const IDLE: Period = Period::secs(1);

/// The services of a Route.
#[derive(Default)]
pub(super) struct Made {
    /// Name of the one that a router names.
    pub(super) name: Name,
    pub(super) services: Vec<(Name, Service)>,
    pub(super) transport: Option<(Name, ServersTransport)>,
    /// Who answers, for people.
    pub(super) servers: Arc<[Name]>,
    /// Backends, for people.
    pub(super) named: Vec<Name>,
    /// Backends without a ready replica while others have one.
    pub(super) unanswered: Vec<Name>,
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

/// What answers in the words of a backend: made once, however many Routes say the same.
#[derive(Clone)]
struct Answering {
    /// For people.
    label: Name,
    servers: Arc<[Server]>,
    urls: Arc<[Name]>,
    /// It may be asked for its health.
    checked: bool,
}
impl Answering {
    fn of(label: Name, urls: Vec<Name>, checked: bool) -> Self {
        let servers = urls.iter().map(|url| Server { url: url.clone() }).collect();
        Self { label, servers, urls: urls.into(), checked }
    }
}

/// Makes the services of Routes.
pub(super) struct Services<'i> {
    input: &'i Input,
    /// What answers for a Service, at a port that was written, by a scheme.
    known: HashMap<(&'i str, Option<u16>, Scheme), Result<Answering, Refusal>>,
    pub(super) sent: Sent,
}

impl<'i> Services<'i> {
    pub(super) fn new(input: &'i Input) -> Self {
        Self { input, known: HashMap::new(), sent: Sent::default() }
    }

    /// Makes the services of a Route.
    pub(super) fn of_route(&mut self, owner: &Owner, spec: &'i RouteSpec, short: Option<&'i Shorthand>) -> Made {
        let mut made = Made::default();
        let transport = transport(owner, spec, &mut made);
        let check = spec.load_balancer.health_check.as_ref();
        let mut children: Vec<(Name, &Backend, Answering)> = Vec::with_capacity(spec.backends.len());
        for (i, backend) in spec.backends.iter().enumerate().filter(|(_, b)| b.weight > 0) {
            let answering = match (&backend.service, &backend.url) {
                (Some(service), _) => self.answering(service, (backend, short), check).unwrap_or_else(|why| {
                    made.refusals.push(why);
                    Answering::of(format!("svc/{service}").into(), Vec::new(), true)
                }),
                (None, Some(url)) => {
                    let url = Name::from(url.as_str());
                    Answering::of(url.clone(), vec![url], true)
                }
                (None, None) => continue,
            };
            made.named.push(answering.label.clone());
            if answering.servers.is_empty() {
                made.unanswered.push(answering.label.clone());
            }
            children.push((owner.name(format_args!("b{i}")), backend, answering));
        }
        made.servers = match children.as_slice() {
            [(.., one)] => one.urls.clone(),
            several => several.iter().flat_map(|(.., one)| one.urls.iter().cloned()).collect(),
        };
        // Requests go to those that can answer, whatever the weights say of the others.
        if !made.servers.is_empty() {
            children.retain(|(.., one)| !one.servers.is_empty());
        } else {
            children.truncate(1);
        }
        let cookie = |suffix: &str| spec.load_balancer.sticky.as_ref().map(|s| Box::new(sticky(owner, s, suffix)));
        for (name, backend, one) in &children {
            let servers = one.servers.clone();
            let mut balancer = balancer(&spec.load_balancer, backend, servers, transport.clone(), cookie(""));
            if !one.checked {
                // The agent is no replica: nothing of it, and nothing beside it, is there to be asked for its health.
                balancer.health_check = None;
            }
            made.services.push((name.clone(), Service::LoadBalancer(balancer)));
        }
        made.name = match children.as_slice() {
            [(name, ..)] => name.clone(),
            several => {
                let name = owner.name("");
                let services = several
                    .iter()
                    .map(|(name, backend, _)| Share { name: name.clone(), weight: backend.weight })
                    .collect();
                let weighted = Weighted { services, sticky: cookie("-group") };
                made.services.push((name.clone(), Service::Weighted(weighted)));
                name
            }
        };
        made
    }

    /// Who answers for a backend. Where Traefik asks for health, in the host's network, has to be a port of its own too.
    fn answering(
        &mut self,
        service: &'i str,
        (backend, short): (&Backend, Option<&'i Shorthand>),
        check: Option<&Check>,
    ) -> Result<Answering, Refusal> {
        if let (Some(port), Some(backing)) = (check.and_then(|check| check.port), self.input.services.get(service))
            && !backing.endpoints.iter().all(|endpoint| endpoint.has(self.input, backing, port))
        {
            let why = format!(
                "svc/{service} is in the host's network and does not name the port {port} of \
                 `loadBalancer.healthCheck`: add it to its `expose`"
            );
            return Err(refusal(Reason::BackendNotFound, why));
        }
        let at = match (short, backend.port) {
            // Its replicas may each be asked elsewhere: no other backend is in the same words.
            (Some(short), _) => return self.found(service, At::Short(short), backend.scheme),
            (None, Some(port)) => At::Written(port),
            (None, None) => At::Default,
        };
        let words = (service, backend.port, backend.scheme);
        if let Some(known) = self.known.get(&words) {
            return known.clone();
        }
        let found = self.found(service, at, backend.scheme);
        self.known.insert(words, found.clone());
        found
    }

    fn found(&mut self, service: &str, at: At<'_>, scheme: Scheme) -> Result<Answering, Refusal> {
        let Found { port, mut servers, waits } = endpoints(self.input, service, at, &mut self.sent)?;
        // What waits for a replica speaks plain HTTP only.
        if waits && scheme != Scheme::Http {
            servers.clear();
        }
        let url = |a: SocketAddr| format!("{}://{a}", scheme.as_str()).into();
        let label = format!("svc/{service}:{port}").into();
        Ok(Answering::of(label, servers.into_iter().map(url).collect(), !waits))
    }
}

fn balancer(
    spec: &LoadBalancer,
    backend: &Backend,
    servers: Arc<[Server]>,
    servers_transport: Name,
    sticky: Option<Box<Sticky>>,
) -> Balancer {
    let health_check = spec.health_check.as_ref().map(|check| {
        Box::new(HealthCheck {
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
        })
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
fn transport(owner: &Owner, spec: &RouteSpec, made: &mut Made) -> Name {
    let asked = &spec.load_balancer.servers_transport;
    let response = spec.resilience.timeout.or(asked.timeouts.response_header);
    if !asked.insecure_skip_verify && response.is_none() && asked.timeouts.dial.is_none() {
        return TRANSPORT.clone();
    }
    let name = owner.name("t");
    let forwarding_timeouts =
        Forwarding { dial_timeout: asked.timeouts.dial, response_header_timeout: response, idle_conn_timeout: IDLE };
    let transport = ServersTransport { insecure_skip_verify: asked.insecure_skip_verify, forwarding_timeouts };
    made.transport = Some((name.clone(), transport));
    name
}

/// Adds the transport that most use.
pub(super) fn default_transport(document: &mut Document) {
    if document.http.services.is_empty() {
        return;
    }
    let forwarding_timeouts = Forwarding { dial_timeout: None, response_header_timeout: None, idle_conn_timeout: IDLE };
    let transport = ServersTransport { insecure_skip_verify: false, forwarding_timeouts };
    document.http.servers_transports.insert(TRANSPORT.clone(), transport);
}

/// A service of one Service and port, for a middleware that asks it.
pub(super) fn plain(servers: Vec<SocketAddr>) -> Service {
    let servers = servers.into_iter().map(|a| Server { url: format!("http://{a}").into() }).collect();
    let backend = Backend::default();
    Service::LoadBalancer(balancer(&LoadBalancer::default(), &backend, servers, TRANSPORT.clone(), None))
}
