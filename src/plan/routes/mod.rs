//! Which requests from outside go where: Routes, Middlewares and the `routes` of Services made into what Traefik is told.
//!
//! Here: [`table`], from everything that is declared and ready ([`Input`]) to Traefik's document and to what was left out
//! of it and why ([`Table`]). `verdict`: what is said of one that asks; `document`: Traefik's words as types; `claims`:
//! who has a host and path; `middlewares`, `services`, `auth`: the parts of a router.
//! Not here: handing it to Traefik and reading it back (`edge`), opening Secrets (`reconcile`), what a person may write
//! (`manifest`, `model::route::problems`).
//! Invariants: no clock and no IO; equal inputs give equal bytes; whatever one object says, the part of every older
//! object stays as it is; every name in the document was made here, of names that were checked; what cannot be carried
//! out safely (a middleware or certificate that is missing) is left out, never served without it.
//! Why one router for each host, path and entry point: Traefik asks the longest rule first, and a Route of many hosts
//! would so come before another's longer path.

mod auth;
mod claims;
mod document;
mod input;
mod middlewares;
mod services;
#[cfg(test)]
mod tests;
mod verdict;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::{
    auth::Certificates,
    claims::{Claim, Claims},
    document::{ClientAuth, NOBODY, Router, RouterTls, SHUT, TlsOptions},
    middlewares::{Middlewares, RETRY, TO_HTTPS, called},
    services::{Made, Services},
    verdict::{Refusal, refusal},
};
pub use self::{
    document::{Document, Marker, Middleware, PROBE, Service},
    input::{Backing, Endpoint, Input, Material, Owner, Reached, Stored, endpoints},
    services::Sent,
    verdict::{Finding, LeftOut, Verdict, conditions},
};
use crate::model::{
    Kind, ObjectKey, Reason,
    route::{EntryPoint, PathKind, PathMatch, RouteSpec, Shorthand, TlsMode, TlsVersion, problems::of_route},
};

/// What Traefik is told, and what was left out.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// What Traefik is told, without a marker.
    pub document: Document,
    /// What is said of each Route, and of each Service with `routes`.
    pub said: BTreeMap<ObjectKey, Verdict>,
    /// What is served, for people.
    pub entries: Vec<Entry>,
    /// Entry points that something is served at.
    pub entry_points: BTreeSet<EntryPoint>,
    /// Where requests go.
    pub sent: Sent,
}

/// One thing that is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Host, or `-` for a raw rule.
    pub host: String,
    /// `/api`, `=/api` for exactly this, `~expression`; or the raw rule.
    pub path: String,
    /// Where requests come in.
    pub entry_point: EntryPoint,
    /// Over TLS.
    pub tls: bool,
    /// `route/blog`, `svc/web`.
    #[schemars(with = "String")]
    pub by: ObjectKey,
    /// Name of its router in Traefik.
    pub router: Name,
    /// What a request passes, names of Traefik.
    pub middlewares: Vec<Name>,
    /// What it passes of what was written: a Middleware's name, or `inline`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passes: Vec<Name>,
    /// Who answers; empty: nobody, or a redirect.
    pub servers: Arc<[Name]>,
    /// It sends to HTTPS.
    pub redirect: bool,
}

/// Makes the table.
#[must_use]
pub fn table(input: &Input) -> Table {
    let all = all(input);
    let mut said = BTreeMap::new();
    let mut making = Making::new(input, all.len());
    for asked in &all {
        let verdict = said.entry(asked.owner.key.clone()).or_default();
        Turn { asked, verdict, making: &mut making }.run();
    }
    making.done(said)
}

/// Everything that asks for routers, the oldest first.
fn all(input: &Input) -> Vec<Asked<'_>> {
    let mut all: Vec<Asked<'_>> = Vec::with_capacity(input.routes.len());
    for route in &input.routes {
        let owner = Owner { key: ObjectKey::new(Kind::Route, route.name.clone()), number: 0 };
        all.push(Asked { owner, created_at: route.created_at, spec: route.spec.clone(), short: None });
    }
    for (name, service) in &input.services {
        for (number, short) in service.declared.routes.iter().enumerate() {
            let owner = Owner { key: ObjectKey::service(name.clone()), number };
            let spec = Arc::new(short.expanded(name, service.declared.ports.first().copied()));
            all.push(Asked { owner, created_at: service.created_at, spec, short: Some(short) });
        }
    }
    all.sort_by(|a, b| (a.created_at, &a.owner).cmp(&(b.created_at, &b.owner)));
    all
}

/// One Route, or one of the `routes` of a Service.
struct Asked<'i> {
    owner: Owner,
    created_at: u64,
    spec: Arc<RouteSpec>,
    short: Option<&'i Shorthand>,
}

/// What the table is made of so far.
struct Making<'i> {
    claims: Claims<'i>,
    certificates: Certificates<'i>,
    middlewares: Middlewares<'i>,
    services: Services<'i>,
    document: Document,
    entries: Vec<Entry>,
    entry_points: BTreeSet<EntryPoint>,
    /// Routers and services of the document, which is put in order once.
    routers: Vec<(Name, Router)>,
    answering: Vec<(Name, Service)>,
}

impl<'i> Making<'i> {
    fn new(input: &'i Input, about: usize) -> Self {
        Self {
            claims: Claims::default(),
            certificates: Certificates::new(input),
            middlewares: Middlewares::new(input),
            services: Services::new(input),
            document: Document::default(),
            entries: Vec::with_capacity(about),
            entry_points: BTreeSet::new(),
            routers: Vec::with_capacity(about),
            answering: Vec::with_capacity(about),
        }
    }

    fn done(self, mut said: BTreeMap<ObjectKey, Verdict>) -> Table {
        let Self { claims, certificates, middlewares, services, mut document, .. } = self;
        claims.tell(&mut said);
        let passed = |name: &Name| self.routers.iter().any(|(_, router)| router.middlewares.contains(name));
        if passed(&TO_HTTPS) {
            middlewares::to_https(&mut document);
        }
        if passed(&RETRY) {
            middlewares::default_retry(&mut document);
        }
        let shut = self.routers.iter().any(|(_, router)| router.service == *SHUT);
        document.http.middlewares.extend(middlewares.made);
        document.http.routers = self.routers.into_iter().collect();
        document.http.services = self.answering.into_iter().chain(middlewares.services).collect();
        document.http.services.extend(shut.then(|| (SHUT.clone(), services::plain(Vec::new()))));
        document.tls.certificates = certificates.made;
        services::default_transport(&mut document);
        let mut sent = services.sent;
        sent.extend(middlewares.sent);
        Table { document, said, entries: self.entries, entry_points: self.entry_points, sent }
    }
}

/// The work on one of those that ask.
struct Turn<'t, 'i> {
    asked: &'i Asked<'i>,
    verdict: &'t mut Verdict,
    making: &'t mut Making<'i>,
}

impl<'i> Turn<'_, 'i> {
    fn run(mut self) {
        let (spec, owner): (&'i RouteSpec, &'i Owner) = (&self.asked.spec, &self.asked.owner);
        if let Some(problem) = of_route(spec).into_iter().next() {
            let field =
                if owner.key.kind == Kind::Service { format!("routes[{}]", owner.number) } else { "spec".into() };
            let message = format!("{field}: {}: {}; {}", problem.path, problem.message, problem.fix);
            return self.leave_out("all of it", Vec::new(), refusal(Reason::InvalidRoute, message), Part::Accepted);
        }
        let wanted = wanted(spec);
        let needs = match self.needs(spec) {
            Ok(needs) => needs,
            Err(why) => {
                // Whoever was first stays first: what is missing may come back. And nobody gets in meanwhile by a route that
                // asks for less, of the whole host for example.
                for (i, claim) in wanted.iter().enumerate() {
                    if self.making.claims.take(claim, None, &owner.key).is_ok() {
                        self.shut(i, claim);
                    }
                }
                let message = format!("{}; requests get 503 until then", why.message);
                return self.leave_out(&several(&wanted), Vec::new(), Refusal { message, ..why }, Part::Resolved);
            }
        };
        let made = self.making.services.of_route(owner, spec, self.asked.short);
        for why in &made.refusals {
            self.blame(Part::Resolved, why);
        }
        if made.servers.is_empty() {
            let message = format!("none of {} has a ready replica: requests get 503", made.named.join(", "));
            self.blame(Part::Answered, &refusal(Reason::NoReadyEndpoint, message));
        } else if !made.unanswered.is_empty() && self.verdict.answered.holds {
            self.verdict.answered.message =
                format!("{} has no ready replica, the others answer", made.unanswered.join(", "));
        }
        let mut served = false;
        for (i, claim) in wanted.iter().enumerate() {
            let tls = claim.secure().then_some(needs.tls);
            if let Err(why) = self.making.claims.take(claim, tls, &owner.key) {
                let host = claim.host().map(str::to_owned);
                self.leave_out(&claim.to_string(), host.into_iter().collect(), why, Part::Accepted);
                continue;
            }
            served = true;
            self.router(i, claim, &needs, &made);
        }
        if served {
            self.making.answering.extend(made.services);
            self.making.document.http.servers_transports.extend(made.transport);
            self.making.document.http.middlewares.extend(needs.own);
            if let Some(name) = needs.certificate {
                self.making.certificates.serve(name);
            }
        }
    }

    /// What has to be there before anything of it may be served: its middlewares and its certificate.
    fn needs(&mut self, spec: &'i RouteSpec) -> Result<Needs<'i>, Refusal> {
        let owner = &self.asked.owner;
        let mut names = Vec::with_capacity(spec.middlewares.len() + 2);
        let (mut own, mut asks_client) = (Vec::new(), false);
        for (i, reference) in spec.middlewares.iter().enumerate() {
            let found = self.making.middlewares.of(owner, i, reference, &mut own)?;
            asks_client |= found.asks_client;
            names.push(found.name);
        }
        middlewares::resilience(owner, &spec.resilience, &mut names, &mut own);
        let certificate = spec.tls.secret_ref.as_deref().filter(|_| spec.tls.mode == TlsMode::Secret);
        if let Some(name) = certificate {
            self.making.certificates.check(name)?;
        }
        let tls = match (spec.tls.min_version, asks_client) {
            (TlsVersion::V12, false) => "tls12",
            (TlsVersion::V12, true) => "tls12-client",
            (TlsVersion::V13, false) => "tls13",
            (TlsVersion::V13, true) => "tls13-client",
        };
        Ok(Needs { names, own, certificate, tls, asks_client, version: spec.tls.min_version })
    }

    /// Answers with 503.
    fn shut(&mut self, number: usize, claim: &Claim<'i>) {
        let making = &mut *self.making;
        let tls = claim.secure().then(|| {
            let options = TlsOptions { min_version: "VersionTLS12", client_auth: None };
            making.document.tls.options.entry("tls12").or_insert(options);
            RouterTls { options: "tls12" }
        });
        making.entry_points.insert(claim.entry_point);
        let router = Router {
            entry_points: vec![claim.entry_point],
            rule: claim.rule_text(),
            priority: Some(claim.priority()),
            middlewares: Vec::new(),
            service: SHUT.clone(),
            tls,
        };
        making.routers.push((self.asked.owner.name(format_args!("{number}{}", claim.letter())), router));
    }

    fn router(&mut self, number: usize, claim: &Claim<'i>, needs: &Needs<'i>, made: &Made) {
        let owner = &self.asked.owner;
        let name = owner.name(format_args!("{number}{}", claim.letter()));
        let secure = claim.secure();
        let (middlewares, service, servers) = if claim.redirect {
            (vec![TO_HTTPS.clone()], NOBODY.clone(), Arc::default())
        } else {
            (needs.names.clone(), made.name.clone(), made.servers.clone())
        };
        let making = &mut *self.making;
        let tls = secure.then(|| {
            let client_auth = needs.asks_client.then_some(ClientAuth { client_auth_type: "RequestClientCert" });
            let min_version = if needs.version == TlsVersion::V13 { "VersionTLS13" } else { "VersionTLS12" };
            making.document.tls.options.insert(needs.tls, TlsOptions { min_version, client_auth });
            RouterTls { options: needs.tls }
        });
        let (host, path) = claim.shown();
        making.entry_points.insert(claim.entry_point);
        making.entries.push(Entry {
            host,
            path,
            entry_point: claim.entry_point,
            tls: secure,
            by: owner.key.clone(),
            router: name.clone(),
            passes: middlewares.iter().filter_map(|name| called(name)).collect(),
            middlewares: middlewares.clone(),
            servers,
            redirect: claim.redirect,
        });
        let router = Router {
            entry_points: vec![claim.entry_point],
            rule: claim.rule_text(),
            priority: Some(claim.priority()),
            middlewares,
            service,
            tls,
        };
        making.routers.push((name, router));
    }

    fn leave_out(&mut self, what: &str, hosts: Vec<String>, why: Refusal, part: Part) {
        self.blame(part, &why);
        let Refusal { reason, message } = why;
        self.verdict.left_out.push(LeftOut { what: what.to_owned(), hosts, reason, message });
    }

    fn blame(&mut self, part: Part, why: &Refusal) {
        let finding = match part {
            Part::Accepted => &mut self.verdict.accepted,
            Part::Resolved => &mut self.verdict.resolved,
            Part::Answered => &mut self.verdict.answered,
        };
        // The first says why; a thousand more say it again.
        if finding.holds {
            *finding = Finding { holds: false, reason: why.reason, message: why.message.clone() };
        }
    }
}

/// The first of them, and how many more there are.
fn several(claims: &[Claim<'_>]) -> String {
    let first: Vec<String> = claims.iter().take(3).map(Claim::to_string).collect();
    let more = claims.len().saturating_sub(first.len());
    let rest = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{}{rest}", first.join(", "))
}

/// What somebody claims: each host and path at each entry point; with a certificate and no entry point named, plain HTTP
/// for the redirect too.
fn wanted(spec: &RouteSpec) -> Vec<Claim<'_>> {
    static EVERY: LazyLock<[PathMatch; 1]> =
        LazyLock::new(|| [PathMatch { kind: PathKind::Prefix, value: "/".into() }]);
    let paths: &[PathMatch] = if spec.paths.is_empty() { &*EVERY } else { &spec.paths };
    let mut entered: Vec<(EntryPoint, bool)> = spec.entered().into_iter().map(|e| (e, false)).collect();
    if spec.tls.mode == TlsMode::Secret && spec.entry_points.is_empty() {
        entered.push((EntryPoint::Web, true));
    }
    let mut claims = Vec::with_capacity(entered.len() * spec.hosts.len().max(1) * paths.len());
    for entry in entered {
        match &spec.rule {
            Some(rule) => claims.push(Claim::rule(entry, spec.priority, rule)),
            None => claims.extend(
                spec.hosts
                    .iter()
                    .flat_map(|host| paths.iter().map(move |path| Claim::pair(entry, spec.priority, host, path))),
            ),
        }
    }
    claims
}

/// Which statement something counts against.
#[derive(Clone, Copy)]
enum Part {
    Accepted,
    Resolved,
    Answered,
}

/// What a router needs beside its service.
struct Needs<'i> {
    names: Vec<Name>,
    own: Vec<(Name, Middleware)>,
    /// The Secret.
    certificate: Option<&'i str>,
    tls: &'static str,
    asks_client: bool,
    version: TlsVersion,
}

/// Whether what is served concerns a host: it is served for the host, for a wildcard over it, or by a raw rule with these
/// letters in it.
#[must_use]
pub fn concerns(entry: &Entry, host: &str) -> bool {
    covers(&entry.host, host) || (entry.host == "-" && entry.path.contains(host))
}

/// Whether a host that is asked for is this one, or a wildcard over it.
#[must_use]
pub fn covers(asked: &str, host: &str) -> bool {
    let first = asked.strip_prefix('*').and_then(|rest| host.strip_suffix(rest));
    asked == host || first.is_some_and(|first| !first.is_empty() && !first.contains('.'))
}

/// A name as Traefik and the objects share it.
type Name = Arc<str>;
