//! Which requests from outside go where: Routes, Middlewares and the `routes` of Services made into what Traefik is told.
//!
//! Here: [`table`], from everything that is declared and ready ([`Input`]) to Traefik's document and to what was left out
//! of it and why ([`Table`]); [`conditions`], what is said of one Route. `document`: Traefik's words as types; `claims`:
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

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::{
    claims::{Claim, Claims},
    document::{ClientAuth, Router, RouterTls, TlsOptions},
    middlewares::Middlewares,
};
pub use self::{
    document::{Document, Marker, Middleware, PROBE, Service},
    input::{Backing, Endpoint, Input, Material, Owner, Reached, Stored, endpoints},
    services::Sent,
};
use crate::model::{
    Condition, ConditionStatus, ConditionType, Kind, ObjectKey, Reason,
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

/// A statement of the table about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether it is so.
    pub holds: bool,
    /// Its cause.
    pub reason: Reason,
    /// For people.
    pub message: String,
}

/// What is said of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// It is taken as it is written.
    pub accepted: Finding,
    /// Everything that it names is there.
    pub resolved: Finding,
    /// Somebody can answer.
    pub answered: Finding,
    /// What of it is not served.
    pub left_out: Vec<LeftOut>,
}
impl Default for Verdict {
    fn default() -> Self {
        let good = |reason, message: &str| Finding { holds: true, reason, message: message.into() };
        Self {
            accepted: good(Reason::Accepted, ""),
            resolved: good(Reason::ResolvedRefs, ""),
            answered: good(Reason::UpToDate, ""),
            left_out: Vec::new(),
        }
    }
}

/// A part of an object that is not served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeftOut {
    /// `web.example.com/api on websecure`, or the whole of it.
    pub what: String,
    /// Why.
    pub reason: Reason,
    /// For people.
    pub message: String,
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
    pub router: String,
    /// What a request passes, names of Traefik.
    pub middlewares: Vec<String>,
    /// Who answers; empty: nobody, or a redirect.
    pub servers: Vec<String>,
    /// It sends to HTTPS.
    pub redirect: bool,
}

/// Why something cannot be served.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    reason: Reason,
    message: String,
}
fn refusal(reason: Reason, message: impl Into<String>) -> Refusal {
    Refusal { reason, message: message.into() }
}

/// Makes the table.
#[must_use]
pub fn table(input: &Input) -> Table {
    let mut table = Table::default();
    let mut claims = Claims::default();
    let mut middlewares = Middlewares::new(input);
    for asked in all(input) {
        let key = asked.owner.key.clone();
        let verdict = table.said.entry(key).or_default().clone();
        let mut turn = Turn { input, asked, verdict, table: &mut table, middlewares: &mut middlewares };
        turn.run(&mut claims);
        let Turn { asked, verdict, .. } = turn;
        table.said.insert(asked.owner.key, verdict);
    }
    claims.tell(&mut table.said);
    table.document.http.middlewares.extend(middlewares.made);
    table.sent.extend(middlewares.sent);
    for (name, service) in middlewares.services {
        table.document.http.services.insert(name, service);
    }
    services::default_transport(&mut table.document);
    table
}

/// Everything that asks for routers, the oldest first.
fn all(input: &Input) -> Vec<Asked<'_>> {
    let mut all: Vec<Asked<'_>> = Vec::with_capacity(input.routes.len());
    for route in &input.routes {
        let owner = Owner { key: ObjectKey::new(Kind::Route, route.name.clone()), number: 0 };
        all.push(Asked { owner, created_at: route.created_at, spec: Cow::Borrowed(&route.spec), short: None });
    }
    for (name, service) in &input.services {
        for (number, short) in service.declared.routes.iter().enumerate() {
            let owner = Owner { key: ObjectKey::service(name.clone()), number };
            let spec = Cow::Owned(short.expanded(name, service.declared.ports.first().copied()));
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
    spec: Cow<'i, RouteSpec>,
    short: Option<&'i Shorthand>,
}

/// The work on one of them.
struct Turn<'t, 'i> {
    input: &'i Input,
    asked: Asked<'i>,
    verdict: Verdict,
    table: &'t mut Table,
    middlewares: &'t mut Middlewares<'i>,
}

impl Turn<'_, '_> {
    fn run(&mut self, claims: &mut Claims) {
        let (spec, owner) = (self.asked.spec.clone(), self.asked.owner.clone());
        if let Some(problem) = of_route(&spec).into_iter().next() {
            let field =
                if owner.key.kind == Kind::Service { format!("routes[{}]", owner.number) } else { "spec".into() };
            let message = format!("{field}: {}: {}; {}", problem.path, problem.message, problem.fix);
            return self.leave_out("all of it", refusal(Reason::InvalidRoute, message), Part::Accepted);
        }
        let wanted = self.wanted(&spec);
        let options = match self.needs(&spec) {
            Ok(needs) => needs,
            Err(why) => {
                // Whoever was first stays first: what is missing may come back.
                for claim in &wanted {
                    let _ = claims.take(claim, None, &owner);
                }
                return self.leave_out("all of it", why, Part::Resolved);
            }
        };
        let made = services::of_route(self.input, &owner, (&spec, self.asked.short), &mut self.table.sent);
        for why in made.refusals {
            self.blame(Part::Resolved, &why);
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
            let tls = claim.secure().then_some(options.tls.as_str());
            if let Err(why) = claims.take(claim, tls, &owner) {
                self.leave_out(&claim.to_string(), why, Part::Accepted);
                continue;
            }
            served = true;
            self.router(i, claim, &options, &made.name, &made.servers);
        }
        if served {
            self.table.document.http.services.extend(made.services);
            self.table.document.http.servers_transports.extend(made.transport);
            self.table.document.http.middlewares.extend(options.own);
            if let Some(certificate) = options.certificate
                && !self.table.document.tls.certificates.contains(&certificate)
            {
                self.table.document.tls.certificates.push(certificate);
            }
        }
    }

    /// What it claims: each host and path at each entry point; with a certificate and no entry point named, plain HTTP
    /// for the redirect too.
    fn wanted(&self, spec: &RouteSpec) -> Vec<Claim> {
        let every = [PathMatch { kind: PathKind::Prefix, value: "/".into() }];
        let paths: &[PathMatch] = if spec.paths.is_empty() { &every } else { &spec.paths };
        let mut entered: Vec<(EntryPoint, bool)> = spec.entered().into_iter().map(|e| (e, false)).collect();
        if spec.tls.mode == TlsMode::Secret && spec.entry_points.is_empty() {
            entered.push((EntryPoint::Web, true));
        }
        let mut claims = Vec::new();
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

    /// What has to be there before anything of it may be served: its middlewares and its certificate.
    fn needs(&mut self, spec: &RouteSpec) -> Result<Needs, Refusal> {
        let owner = &self.asked.owner;
        let mut names = Vec::new();
        let (mut own, mut asks_client) = (BTreeMap::new(), false);
        for (i, reference) in spec.middlewares.iter().enumerate() {
            let found = self.middlewares.of(owner, i, reference, &mut own)?;
            asks_client |= found.asks_client;
            names.push(found.name);
        }
        middlewares::resilience(owner, &spec.resilience, &mut names, &mut own);
        let mut certificate = None;
        if let Some(name) = spec.tls.secret_ref.as_ref().filter(|_| spec.tls.mode == TlsMode::Secret) {
            let missing = |why: &str| refusal(Reason::SecretMissing, format!("secret/{name} {why}"));
            let secret = self.input.secrets.get(name.as_str()).ok_or_else(|| missing("does not exist"))?;
            certificate = Some(auth::certificate(secret).map_err(|why| missing(&why))?);
        }
        let version = match spec.tls.min_version {
            TlsVersion::V12 => "tls12",
            TlsVersion::V13 => "tls13",
        };
        let tls = if asks_client { format!("{version}-client") } else { version.to_owned() };
        Ok(Needs { names, own, certificate, tls, asks_client, version: spec.tls.min_version })
    }

    fn router(&mut self, number: usize, claim: &Claim, needs: &Needs, service: &str, servers: &[String]) {
        let owner = &self.asked.owner;
        let name = owner.name(&format!("{number}{}", claim.letter()));
        let secure = claim.secure();
        let (middlewares, service) = if claim.redirect {
            (vec![middlewares::TO_HTTPS.to_owned()], "noop@internal".to_owned())
        } else {
            (needs.names.clone(), service.to_owned())
        };
        let document = &mut self.table.document;
        if claim.redirect {
            middlewares::to_https(document);
        }
        if !claim.redirect && needs.names.iter().any(|n| n == middlewares::RETRY) {
            middlewares::default_retry(document);
        }
        let tls = secure.then(|| {
            let client_auth = needs.asks_client.then_some(ClientAuth { client_auth_type: "RequestClientCert" });
            let min_version = if needs.version == TlsVersion::V13 { "VersionTLS13" } else { "VersionTLS12" };
            document.tls.options.insert(needs.tls.clone(), TlsOptions { min_version, client_auth });
            RouterTls { options: needs.tls.clone() }
        });
        let (host, path) = claim.shown();
        self.table.entry_points.insert(claim.entry_point);
        self.table.entries.push(Entry {
            host,
            path,
            entry_point: claim.entry_point,
            tls: secure,
            by: owner.key.clone(),
            router: name.clone(),
            middlewares: middlewares.clone(),
            servers: if claim.redirect { Vec::new() } else { servers.to_vec() },
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
        document.http.routers.insert(name, router);
    }

    fn leave_out(&mut self, what: &str, why: Refusal, part: Part) {
        self.blame(part, &why);
        let Refusal { reason, message } = why;
        self.verdict.left_out.push(LeftOut { what: what.to_owned(), reason, message });
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

/// Which statement something counts against.
#[derive(Clone, Copy)]
enum Part {
    Accepted,
    Resolved,
    Answered,
}

/// What a router needs beside its service.
struct Needs {
    names: Vec<String>,
    own: BTreeMap<String, Middleware>,
    certificate: Option<document::Certificate>,
    tls: String,
    asks_client: bool,
    version: TlsVersion,
}

/// What is said of a Route: `Ready` first. `programmed`: whether every live edge serves it as the table has it; none
/// where nobody can tell.
#[must_use]
pub fn conditions(
    verdict: &Verdict,
    programmed: Option<&Finding>,
    old: &[Condition],
    (generation, now): (u64, u64),
) -> Vec<Condition> {
    let condition = |kind, status: ConditionStatus, finding: &Finding| {
        let before = old.iter().find(|c| c.kind == kind && c.status == status);
        Condition {
            kind,
            status,
            reason: finding.reason,
            message: finding.message.clone(),
            last_transition_time: before.map_or(now, |c| c.last_transition_time),
            observed_generation: generation,
        }
    };
    let parts = [&verdict.accepted, &verdict.resolved, &verdict.answered];
    let worst = parts.into_iter().chain(programmed).find(|f| !f.holds);
    let good = Finding { holds: true, reason: Reason::UpToDate, message: verdict.answered.message.clone() };
    let of = |finding: &Finding| ConditionStatus::from(finding.holds);
    let ready = worst.unwrap_or(&good);
    let mut all = vec![
        condition(ConditionType::Ready, of(ready), ready),
        condition(ConditionType::Accepted, of(&verdict.accepted), &verdict.accepted),
        condition(ConditionType::ResolvedRefs, of(&verdict.resolved), &verdict.resolved),
    ];
    all.extend(programmed.map(|finding| condition(ConditionType::Programmed, of(finding), finding)));
    all
}

/// Names that a person may look for with `route show`: the hosts and rules that are served or left out.
#[must_use]
pub fn concerns(entry: &Entry, host: &str) -> bool {
    let wild = entry
        .host
        .strip_prefix('*')
        .is_some_and(|rest| host.strip_suffix(rest).is_some_and(|first| !first.is_empty() && !first.contains('.')));
    entry.host == host || wild || (entry.host == "-" && entry.path.contains(host))
}

/// A name as Traefik and the objects share it.
type Name = Arc<str>;
