//! What requests pass: Middlewares, and what stands within a Route, made into Traefik's.
//!
//! Here: [`Middlewares`], which makes each one once, when something first names it; what every Route gets
//! ([`resilience`], [`to_https`]). Not here: what a middleware may say (`model::route::problems`).
//! Invariant: one that cannot be made (it does not exist, its Secret is missing, it leads back to itself) keeps out of
//! service whatever names it: a page behind a password is never served without.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use super::{
    Name, Reason, Refusal, auth,
    document::{
        Auth, Buffering, Compress, ContentType, Document, Errors, ForwardAuth, Middleware, RedirectScheme, Service,
    },
    input::{At, Input, Material, Owner},
    refusal,
    services::{self, Sent},
};
use crate::model::{
    middleware::{Chain, CircuitBreaker, MiddlewareSpec, Retry},
    route::{MiddlewareRef, NETWORK, Resilience, Retries, RetryMethods, outside, problems::of_middleware},
};

/// Sends to HTTPS.
pub(super) static TO_HTTPS: LazyLock<Name> = LazyLock::new(|| "default-to-https".into());
/// Asks another replica when one takes no byte.
pub(super) static RETRY: LazyLock<Name> = LazyLock::new(|| "default-retry".into());
/// Most middlewares that lead into each other.
const DEEPEST: usize = 16;
/// Where no request is ever answered: what asks there fails, and lets nobody pass.
const NOWHERE: &str = "127.0.0.1:0";

/// A middleware that may be named by a router.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// In Traefik.
    pub(super) name: Name,
    /// It wants clients to be asked for a certificate.
    pub(super) asks_client: bool,
}

/// All that were made so far.
pub(super) struct Middlewares<'i> {
    input: &'i Input,
    known: BTreeMap<&'i str, Result<Found, Refusal>>,
    /// For the document.
    pub(super) made: BTreeMap<Name, Middleware>,
    /// Services that they ask.
    pub(super) services: BTreeMap<Name, Service>,
    pub(super) sent: Sent,
}

impl<'i> Middlewares<'i> {
    pub(super) fn new(input: &'i Input) -> Self {
        Self { input, known: BTreeMap::new(), made: BTreeMap::new(), services: BTreeMap::new(), sent: Sent::default() }
    }

    /// The `number`-th of an owner. What stands within it goes into `own`: it is served only if the owner is.
    pub(super) fn of(
        &mut self,
        owner: &Owner,
        number: usize,
        reference: &MiddlewareRef,
        own: &mut Vec<(Name, Middleware)>,
    ) -> Result<Found, Refusal> {
        match reference {
            MiddlewareRef::Name(name) => self.named(name, &mut BTreeSet::new()),
            MiddlewareRef::Inline(spec) => {
                let name = owner.name(format_args!("m{number}"));
                let (made, asks_client) = self.make(&name, spec, &mut BTreeSet::new())?;
                own.push((name.clone(), made));
                Ok(Found { name, asks_client })
            }
        }
    }

    fn named(&mut self, name: &str, within: &mut BTreeSet<String>) -> Result<Found, Refusal> {
        let absent = || refusal(Reason::MiddlewareNotFound, format!("mw/{name} does not exist"));
        let (key, spec) = self.input.middlewares.get_key_value(name).ok_or_else(absent)?;
        if let Some(known) = self.known.get(&**key) {
            return known.clone();
        }
        if within.len() >= DEEPEST || !within.insert(name.to_owned()) {
            let message = format!("mw/{name} leads back to itself, or through more than {DEEPEST} others");
            return Err(refusal(Reason::MiddlewareNotFound, message));
        }
        let traefik = Name::from(format!("mw-{name}"));
        let result = match of_middleware("", spec).into_iter().next() {
            Some(problem) => {
                let message = format!("mw/{name}: {}: {}", problem.path, problem.message);
                Err(refusal(Reason::MiddlewareNotFound, message))
            }
            None => self
                .make(&traefik, spec, within)
                .map_err(|why| Refusal { message: format!("mw/{name}: {}", why.message), ..why }),
        };
        within.remove(name);
        let found = result.map(|(made, asks_client)| {
            self.made.insert(traefik.clone(), made);
            Found { name: traefik, asks_client }
        });
        // What was cut short by depth may be whole when it is asked for by itself.
        if found.is_ok() || within.is_empty() {
            self.known.insert(&**key, found.clone());
        }
        found
    }

    fn secret(&self, name: &str) -> Result<&'i Material, Refusal> {
        let absent = || refusal(Reason::SecretMissing, format!("secret/{name} does not exist"));
        self.input.secrets.get(name).ok_or_else(absent)
    }

    fn users(&self, name: &str, digest: bool) -> Result<Vec<String>, Refusal> {
        let wrong = |why: String| refusal(Reason::SecretMissing, format!("secret/{name} {why}"));
        auth::users(self.secret(name)?, digest).map_err(wrong)
    }

    /// One of them, `name` being its own in Traefik. With it: whether clients have to be asked for a certificate.
    fn make(
        &mut self,
        name: &str,
        spec: &MiddlewareSpec,
        within: &mut BTreeSet<String>,
    ) -> Result<(Middleware, bool), Refusal> {
        macro_rules! as_declared {
            ($($field:ident => $variant:ident),+) => {
                $(if let Some(m) = &spec.$field { return Ok((Middleware::$variant(m.clone()), false)); })+
            };
        }
        as_declared!(
            add_prefix => AddPrefix, strip_prefix => StripPrefix, strip_prefix_regex => StripPrefixRegex,
            replace_path => ReplacePath, replace_path_regex => ReplacePathRegex, ip_allow_list => IpAllowList,
            headers => Headers, rate_limit => RateLimit, redirect_regex => RedirectRegex, in_flight_req => InFlightReq,
            circuit_breaker => CircuitBreaker, retry => Retry, grpc_web => GrpcWeb
        );
        if let Some(m) = &spec.pass_tls_client_cert {
            return Ok((Middleware::PassTlsClientCert(m.clone()), true));
        }
        if let Some(m) = &spec.chain {
            let (mut middlewares, mut asks_client) = (Vec::new(), false);
            for name in &m.middlewares {
                let found = self.named(name, within)?;
                asks_client |= found.asks_client;
                middlewares.push(found.name.to_string());
            }
            return Ok((Middleware::Chain(Chain { middlewares }), asks_client));
        }
        let made = if let Some(m) = &spec.errors {
            let at = m.port.map_or(At::Default, At::Written);
            let found = services::endpoints(self.input, &m.service, at, &mut self.sent)?;
            let service = Name::from(format!("e{name}"));
            self.services.insert(service.clone(), services::plain(found.servers));
            let (status, query, status_rewrites) = (m.status.clone(), m.query.clone(), m.status_rewrites.clone());
            Middleware::Errors(Errors { status, service, query, status_rewrites })
        } else if let Some(m) = &spec.redirect_scheme {
            let port = m.port.map(|p| p.to_string());
            Middleware::RedirectScheme(RedirectScheme { scheme: m.scheme.clone(), port, permanent: m.permanent })
        } else if let Some(m) = &spec.basic_auth {
            Middleware::BasicAuth(Auth {
                users: self.users(&m.secret_ref, false)?,
                realm: m.realm.clone(),
                remove_header: m.remove_header,
                header_field: m.header_field.clone(),
            })
        } else if let Some(m) = &spec.digest_auth {
            Middleware::DigestAuth(Auth {
                users: self.users(&m.secret_ref, true)?,
                realm: m.realm.clone(),
                remove_header: m.remove_header,
                header_field: m.header_field.clone(),
            })
        } else if let Some(m) = &spec.forward_auth {
            Middleware::ForwardAuth(self.forward_auth(m)?)
        } else if let Some(m) = &spec.buffering {
            Middleware::Buffering(Buffering {
                max_request_body_bytes: m.max_request_body_bytes,
                mem_request_body_bytes: m.mem_request_body_bytes,
                max_response_body_bytes: m.max_response_body_bytes,
                mem_response_body_bytes: m.mem_response_body_bytes,
                retry_expression: m.retry_expression.clone(),
            })
        } else if let Some(m) = &spec.compress {
            Middleware::Compress(Compress {
                excluded_content_types: m.excluded_content_types.clone(),
                included_content_types: m.included_content_types.clone(),
                min_response_body_bytes: m.min_response_body_bytes.unwrap_or(1024),
                encodings: m.encodings.clone(),
                default_encoding: m.default_encoding.clone(),
            })
        } else if spec.content_type.is_some() {
            Middleware::ContentType(ContentType { auto_detect: true })
        } else {
            return Err(refusal(Reason::MiddlewareNotFound, "it is no middleware that this version knows"));
        };
        Ok((made, false))
    }

    fn forward_auth(&mut self, m: &crate::model::middleware::ForwardAuth) -> Result<ForwardAuth, Refusal> {
        let address = match outside(&m.address) {
            None => {
                let (scheme, rest) = m.address.split_once("://").unwrap_or(("http", &m.address));
                let (authority, tail) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
                let (service, port) = authority.split_once(':').unwrap_or((authority, ""));
                let at = port.parse().map_or(At::Default, At::Written);
                let found = services::endpoints(self.input, service, at, &mut self.sent)?;
                // What waits for a replica speaks plain HTTP only.
                let place = found.servers.first().filter(|_| !found.waits || scheme == "http");
                let place = place.map_or_else(|| NOWHERE.to_owned(), ToString::to_string);
                format!("{scheme}://{place}{tail}")
            }
            Some(_) => m.address.clone(),
        };
        let tls = match m.tls.as_ref() {
            Some(tls) => match &tls.secret_ref {
                Some(name) => {
                    let wrong = |why: String| refusal(Reason::SecretMissing, format!("secret/{name} {why}"));
                    Some(auth::forward_tls(self.secret(name)?, tls.insecure_skip_verify).map_err(wrong)?)
                }
                None => Some(super::document::ForwardTls {
                    ca: None,
                    cert: None,
                    key: None,
                    insecure_skip_verify: tls.insecure_skip_verify,
                }),
            },
            None => None,
        };
        Ok(ForwardAuth {
            address,
            tls,
            trust_forward_header: m.trust_forward_header,
            auth_response_headers: m.auth_response_headers.clone(),
            auth_response_headers_regex: m.auth_response_headers_regex.clone(),
            auth_request_headers: m.auth_request_headers.clone(),
            add_auth_cookies_to_response: m.add_auth_cookies_to_response.clone(),
            header_field: m.header_field.clone(),
            forward_body: m.forward_body,
            max_body_size: m.max_body_size,
            max_response_body_size: m.max_response_body_size,
            preserve_location_header: m.preserve_location_header,
            preserve_request_method: m.preserve_request_method,
        })
    }
}

/// What follows when a replica does not answer: after everything that a person wrote, next to the service.
pub(super) fn resilience(owner: &Owner, asked: &Resilience, names: &mut Vec<Name>, own: &mut Vec<(Name, Middleware)>) {
    if let Some(breaker) = &asked.circuit_breaker {
        let name = owner.name("breaker");
        let breaker = CircuitBreaker { expression: breaker.expression.clone(), ..CircuitBreaker::default() };
        own.push((name.clone(), Middleware::CircuitBreaker(breaker)));
        names.push(name);
    }
    let retries = &asked.retries;
    if retries.attempts < 2 {
        return;
    }
    if *retries == Retries::default() {
        names.push(RETRY.clone());
        return;
    }
    let name = owner.name("retry");
    let retry = Retry {
        attempts: retries.attempts,
        status: retries.on.iter().filter(|on| *on != NETWORK).cloned().collect(),
        max_request_body_bytes: retries.max_body_bytes,
        disable_retry_on_network_error: !retries.on.iter().any(|on| on == NETWORK),
        retry_non_idempotent_method: retries.methods == RetryMethods::All,
        ..Retry::default()
    };
    own.push((name.clone(), Middleware::Retry(retry)));
    names.push(name);
}

/// As who wrote it calls it; none: it is of ours, or of the `resilience` of a Route.
pub(super) fn called(traefik: &str) -> Option<Name> {
    if let Some(name) = traefik.strip_prefix("mw-") {
        return Some(name.into());
    }
    // `rm0-blog`, `s0m1-web`: the number of one that stands in its Route.
    let (part, _) = traefik.split_once('-')?;
    let number = part.trim_start_matches(['r', 's']).trim_start_matches(|c: char| c.is_ascii_digit());
    let inline = number.strip_prefix('m').is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    inline.then(|| "inline".into())
}

/// Adds the one that sends to HTTPS.
pub(super) fn to_https(document: &mut Document) {
    let redirect = RedirectScheme { scheme: "https".into(), port: None, permanent: true };
    document.http.middlewares.insert(TO_HTTPS.clone(), Middleware::RedirectScheme(redirect));
}

/// Adds the retry that most Routes have.
pub(super) fn default_retry(document: &mut Document) {
    let retry = Retry { attempts: Retries::default().attempts, ..Retry::default() };
    document.http.middlewares.insert(RETRY.clone(), Middleware::Retry(retry));
}
