//! Every error that a route can answer: made here, so that types, titles and hints are in one place.
//!
//! Here: [`Failure`], from causes to RFC 9457. Not here: its shape on the wire (`wire::problem`).
//! Invariant: a `type` is never renamed; each names one thing that a caller does differently.

use std::{sync::Arc, time::Duration};

use http::{
    HeaderValue,
    header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use warp::reply::Response;

use super::{
    auth::Role,
    class::Class,
    crowd::NoSeat,
    rates::Rate,
    wire::{ManifestFault, Problem, problem::TYPES},
};
use crate::{
    model::{Index, Kind, ObjectKey, visible::made_visible},
    runtime::RuntimeError,
    store::{ProposeError, State, command::Refusal, state::Gone},
};

/// An error on its way out.
#[derive(Debug)]
pub struct Failure(Box<Inner>);

#[derive(Debug)]
struct Inner {
    problem: Problem,
    retry_after: Option<u64>,
    allow: Option<String>,
    authenticate: bool,
    close: bool,
    /// Who was denied, for the log of this node alone.
    by: Option<Arc<str>>,
}

impl Failure {
    /// A problem by the last segment of its type.
    #[must_use]
    pub fn new(status: u16, slug: &str, title: &str, detail: impl Into<String>) -> Self {
        let problem = Problem {
            kind: format!("{TYPES}{slug}"),
            title: title.to_owned(),
            status,
            detail: detail.into(),
            ..Problem::default()
        };
        Self(Box::new(Inner { problem, retry_after: None, allow: None, authenticate: false, close: false, by: None }))
    }
    /// What to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.problem.hint = Some(hint.into());
        self
    }
    fn retry_after(mut self, seconds: u64) -> Self {
        self.0.retry_after = Some(seconds);
        self
    }
    fn authenticate(mut self) -> Self {
        self.0.authenticate = true;
        self
    }
    /// Whoever leads, as this node knows it, and the index of its state.
    #[must_use]
    pub fn at(mut self, state: &State) -> Self {
        self.0.problem.index.get_or_insert(state.index().0);
        self.0.problem.leader = state.leader().map(|l| l.node.to_string());
        self
    }
    /// Members that answer and members that vote.
    #[must_use]
    pub fn quorum(mut self, answering: usize, voters: usize) -> Self {
        self.0.problem.quorum = Some(format!("{answering}/{voters}"));
        self
    }
    /// Whose request it was.
    #[must_use]
    pub fn by(mut self, caller: &Arc<str>) -> Self {
        self.0.by = Some(caller.clone());
        self
    }
    /// Whose request it was, where that is known and of use.
    #[must_use]
    pub fn whose(&self) -> Option<&str> {
        self.0.by.as_deref()
    }
    /// HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.0.problem.status
    }
    /// As it goes over the wire.
    #[must_use]
    pub fn problem(&self) -> &Problem {
        &self.0.problem
    }

    /// No token where one is needed.
    #[must_use]
    pub fn no_token() -> Self {
        Self::new(401, "no-token", "A token is needed", "the request carries no token")
            .hint("send `Authorization: Bearer TOKEN`; the first token stands in admin.token in the agent's data directory")
            .authenticate()
    }
    /// Not `Bearer TOKEN`.
    #[must_use]
    pub fn malformed_token() -> Self {
        Self::new(401, "wrong-token", "The token is not known", "the Authorization header is not `Bearer TOKEN`")
            .hint("send `Authorization: Bearer TOKEN`")
            .authenticate()
    }
    /// A token that nobody made.
    #[must_use]
    pub fn wrong_token() -> Self {
        Self::new(401, "wrong-token", "The token is not known", "the token is not one of this cluster")
            .hint("it may be revoked, or of another cluster; the first token stands in admin.token in the agent's data directory")
            .authenticate()
    }
    /// A token of ours whose time is over. Only whoever has the secret hears it.
    #[must_use]
    pub fn expired_token(name: &str) -> Self {
        Self::new(401, "expired-token", "The token has expired", format!("the token {name} has expired"))
            .hint("make another: constellation token create NAME --role read|write|admin")
            .authenticate()
    }
    /// No such token.
    #[must_use]
    pub fn no_such_token(name: &str) -> Self {
        Self::new(404, "not-found", "No such token", format!("there is no token {name}"))
            .hint("constellation token ls lists those there are")
    }
    /// A user at the socket that is neither root nor the agent's.
    #[must_use]
    pub fn stranger(uid: u32) -> Self {
        Self::new(401, "no-token", "A token is needed", format!("user {uid} is neither root nor the agent's user"))
            .hint("use sudo, or send a token")
            .authenticate()
    }
    /// Known, but not allowed to.
    #[must_use]
    pub fn forbidden(has: Role, needed: Role) -> Self {
        Self::new(
            403,
            "forbidden",
            "Not allowed",
            format!("the token's role is {}, {} is needed", has.name(), needed.name()),
        )
        .hint(format!("use a token of the role {}", needed.name()))
    }
    /// No document for Traefik has been made yet.
    #[must_use]
    pub fn no_document() -> Self {
        Self::new(503, "no-document", "No document yet", "this node has not worked out its routes yet").retry_after(1)
    }
    /// Power over the host that this role may not give.
    #[must_use]
    pub fn not_granted(role: Role, errors: Vec<ManifestFault>) -> Self {
        let detail = format!("the role {} has no grant for power over the host", role.name());
        let mut failure = Self::new(403, "not-granted", "Not granted", detail)
            .hint("use a token of the role admin, or leave these fields out");
        failure.0.problem.errors = errors;
        failure
    }
    /// No such path.
    #[must_use]
    pub fn no_route(path: &str) -> Self {
        Self::new(404, "no-route", "No such path", format!("there is no {path}"))
            .hint("GET /openapi.json lists every path")
    }
    /// A path that is settled and not built.
    #[must_use]
    pub fn not_built(what: &str) -> Self {
        Self::new(404, "not-built-yet", "Not built yet", format!("{what} is not built yet in this version"))
    }
    /// Another method is meant.
    #[must_use]
    pub fn method(method: &str, allowed: &[&str]) -> Self {
        let allowed = allowed.join(", ");
        let mut failure = Self::new(
            405,
            "method-not-allowed",
            "Method not allowed",
            format!("{method} is not for this path; it takes {allowed}"),
        );
        failure.0.allow = Some(allowed);
        failure
    }
    /// No such object.
    #[must_use]
    pub fn absent(key: &ObjectKey) -> Self {
        Self::new(404, "not-found", "No such object", format!("{key} does not exist"))
            .hint(format!("constellation get {} lists what there is", key.kind.plural()))
    }
    /// A query or header that cannot be read.
    #[must_use]
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(400, "bad-request", "The request cannot be read", made_visible(detail.into()))
    }
    /// The documents have faults.
    #[must_use]
    pub fn invalid(errors: Vec<ManifestFault>) -> Self {
        let detail = match errors.as_slice() {
            [only] => only.message.clone(),
            _ => format!("{} faults", errors.len()),
        };
        let mut failure = Self::new(422, "invalid-manifest", "The manifest is not valid", detail);
        failure.0.problem.errors = errors;
        failure
    }
    /// A stored spec that this version cannot read: a newer one may have written it.
    #[must_use]
    pub fn unreadable(key: &ObjectKey, error: impl std::fmt::Display) -> Self {
        Self::internal(format!("the stored spec of {key} cannot be read: {error}"))
    }
    /// A value that cannot be carried out.
    #[must_use]
    pub fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(422, "invalid", "The request cannot be carried out", made_visible(detail.into()))
    }
    /// A body of another kind.
    #[must_use]
    pub fn media_type(given: &str, wanted: &str) -> Self {
        Self::new(415, "unsupported-media-type", "Unsupported media type", format!("{given:?} is not understood here"))
            .hint(format!("send Content-Type: {wanted}"))
    }
    /// A body with too many bytes.
    #[must_use]
    pub fn body_too_large(limit: u64) -> Self {
        let mut failure =
            Self::new(413, "too-large", "The request is too large", format!("the body has more than {limit} bytes"));
        failure.0.close = true;
        failure
    }
    /// The request's own deadline.
    #[must_use]
    pub fn late(limit: Duration) -> Self {
        let mut failure =
            Self::new(408, "timeout", "The request took too long", format!("it was not done within {limit:?}"));
        failure.0.close = true;
        failure
    }
    /// A body that comes too slowly.
    #[must_use]
    pub fn slow_body(error: &dyn std::error::Error) -> Self {
        let cause = std::iter::successors(Some(error), |e| e.source()).last().unwrap_or(error);
        let mut failure = Self::new(408, "timeout", "The request took too long", format!("its body is slow: {cause}"));
        failure.0.close = true;
        failure
    }
    /// The deadline came while the store had the change.
    #[must_use]
    pub fn unanswered(limit: Duration) -> Self {
        let mut failure = Self::unknown_outcome(format!("the change was proposed and not answered within {limit:?}"));
        failure.0.close = true;
        failure
    }
    fn unknown_outcome(detail: String) -> Self {
        Self::new(504, "unknown-outcome", "The outcome is not known", detail)
            .hint("it may still happen: read the object before you repeat, or repeat with the same Idempotency-Key")
    }
    /// A position that is not kept any more.
    #[must_use]
    pub fn gone(gone: Gone) -> Self {
        let mut failure = Self::new(410, "gone", "This position is not kept any more", gone.to_string())
            .hint("list again and go on from the list's index, or use fromIndex=0 for the oldest that is kept");
        failure.0.problem.index = Some(gone.oldest.0);
        failure
    }
    /// A position that this node has not reached.
    #[must_use]
    pub fn ahead(asked: Index, here: Index) -> Self {
        let mut failure = Self::new(
            410,
            "gone",
            "This position does not exist",
            format!("index {asked} is ahead of this node's {here}"),
        )
        .hint("list again: the position may be of another cluster, or of one that was restored");
        failure.0.problem.index = Some(here.0);
        failure
    }
    /// Every place of a class is taken.
    #[must_use]
    pub fn no_place(class: Class, limit: usize) -> Self {
        match class {
            Class::Watch | Class::Logs => {
                Self::new(429, "too-many-streams", "Too many streams", format!("{limit} streams are open already"))
                    .retry_after(5)
            }
            Class::Control | Class::Change | Class::Read | Class::Edge => {
                let detail = format!("{limit} requests of the class {} are in flight already", class.name());
                Self::new(429, "too-many-requests", "Too many requests", detail).retry_after(1)
            }
        }
    }
    /// A caller changes more often than it may.
    #[must_use]
    pub fn too_often(rate: Rate, wait: Duration) -> Self {
        let detail = format!("more than {} changes a second, {} at once", rate.per_second, rate.burst);
        Self::new(429, "too-many-requests", "Too many requests", detail)
            .hint("nothing was written; send many objects in one apply")
            .retry_after(wait.as_secs() + 1)
    }
    /// A source has sent too many wrong tokens.
    #[must_use]
    pub fn too_many_wrong_tokens(wait: Duration) -> Self {
        let detail = "this address sent too many tokens that are not known";
        let mut failure = Self::new(429, "too-many-requests", "Too many requests", detail)
            .hint("a request with a token of this cluster is still answered")
            .retry_after(wait.as_secs() + 1);
        failure.0.close = true;
        failure
    }
    /// A connection that is not taken.
    #[must_use]
    pub fn no_seat(why: NoSeat) -> Self {
        let detail = match why {
            NoSeat::Source => "this address has too many connections already",
            NoSeat::Full => "every connection that this node takes is in use",
        };
        let mut failure = Self::new(503, "too-many-connections", "Too many connections", detail).retry_after(1);
        failure.0.close = true;
        failure
    }
    /// A broken invariant of ours.
    #[must_use]
    pub fn internal(detail: impl Into<String>) -> Self {
        let failure = Self::new(500, "internal", "The agent failed", detail);
        tracing::error!(detail = failure.0.problem.detail, "a request failed for a reason of ours");
        failure
    }
    /// Kinds that the cluster makes itself.
    #[must_use]
    pub fn read_only(kind: Kind) -> Self {
        Self::unprocessable(format!("a {kind} is made by the cluster and cannot be written"))
    }

    /// What the engine said.
    #[must_use]
    pub fn engine(error: &RuntimeError) -> Self {
        let (status, slug, title) = match error {
            RuntimeError::Down { .. } => (503, "engine-down", "The engine does not answer"),
            RuntimeError::Unresponsive { .. } => (504, "engine-unresponsive", "The engine gave no answer in time"),
            RuntimeError::NotFound { .. } => (404, "not-on-engine", "The engine does not have it"),
            RuntimeError::ImageNotFound { .. } => (502, "image-not-found", "The image does not exist"),
            RuntimeError::ImageRefused { .. } => (502, "image-refused", "The registry refused"),
            RuntimeError::RegistryUnreachable { .. } => (502, "registry-unreachable", "The registry gave no answer"),
            RuntimeError::DiskFull { .. } => (507, "disk-full", "The engine's disk is full"),
            RuntimeError::CommandHung { .. }
            | RuntimeError::Conflict { .. }
            | RuntimeError::PortTaken { .. }
            | RuntimeError::BindSourceMissing { .. }
            | RuntimeError::DeviceMissing { .. }
            | RuntimeError::Refused { .. }
            | RuntimeError::Failed { .. } => (502, "engine-failed", "The engine refused or failed"),
        };
        let failure = Self::new(status, slug, title, error.to_string());
        match error {
            RuntimeError::Down { .. } | RuntimeError::Unresponsive { .. } => {
                failure.hint("check the engine: systemctl status docker")
            }
            _ => failure,
        }
    }

    /// Why a build came to nothing: what its steps say is the builder's business, the rest the engine's.
    #[must_use]
    pub fn build(error: &RuntimeError) -> Self {
        match error {
            RuntimeError::Refused { message } | RuntimeError::Failed { message } => {
                Self::new(422, "build-failed", "The build failed", message.clone())
            }
            other => Self::engine(other),
        }
    }

    /// Why a write has no good answer.
    #[must_use]
    pub fn write(error: &ProposeError, state: &State) -> Self {
        let detail = error.to_string();
        let failure = match error {
            ProposeError::Refused(refusal) => Self::refused(refusal),
            ProposeError::NoQuorum(_) => Self::new(503, "no-quorum", "The cluster takes no writes now", detail)
                .hint("nothing was written; try again when a majority of the servers is up (constellation status)")
                .retry_after(2),
            ProposeError::Unknown(_) => Self::unknown_outcome(detail),
            ProposeError::NoRoom(_) => {
                Self::new(507, "disk-full", "The disk of the data directory is almost full", detail)
                    .hint("nothing was written; make room there, then try again: changes are taken again by themselves")
                    .retry_after(10)
            }
            ProposeError::Busy(_) => Self::new(429, "busy", "The store is busy", detail)
                .hint("nothing was written; try again")
                .retry_after(1),
            ProposeError::TooLarge { .. } => Self::new(413, "too-large", "The change is too large", detail)
                .hint("apply fewer or smaller objects at a time"),
            ProposeError::Closed => Self::new(503, "stopping", "The agent is stopping", detail).retry_after(5),
        };
        failure.at(state)
    }

    fn refused(refusal: &Refusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            Refusal::Conflict { .. } | Refusal::Placed { .. } | Refusal::EdgeSpoke { .. } => {
                Self::new(409, "conflict", "Somebody else changed it", detail)
                    .hint("read it again, or make the plan anew, and repeat")
            }
            Refusal::OtherSet { .. } => Self::new(409, "other-set", "It belongs to another set", detail)
                .hint("apply it with the set it belongs to, or delete it there first"),
            Refusal::NotFound { key } => Self::absent(key),
            Refusal::InUse { .. } => Self::new(409, "in-use", "It is in use", detail)
                .hint("cordon the node, move or delete what it has, and end its agent first"),
            Refusal::NoToken { name } => Self::no_such_token(name),
            Refusal::TokenExists { .. } => Self::new(409, "token-exists", "There is a token of this name", detail)
                .hint("choose another name, or revoke it first: constellation token revoke NAME"),
            Refusal::TooManyTokens { .. } => Self::new(409, "too-many-tokens", "Too many tokens", detail)
                .hint("revoke those that nobody uses: constellation token ls"),
            Refusal::KeyReused { .. } => Self::new(409, "key-reused", "The idempotency key was used before", detail)
                .hint("use a new key for another request"),
            Refusal::TooManyKeys => Self::new(429, "too-many-keys", "Too many idempotency keys", detail)
                .hint("nothing was written; try again, or without a key")
                .retry_after(60),
            Refusal::AlreadyFormed => Self::new(409, "already-formed", "The cluster exists already", detail),
            Refusal::Invalid(_) => Self::unprocessable(detail),
        }
    }

    /// The answer to a connection that no server speaks on, as bytes.
    #[must_use]
    pub fn raw(self) -> Vec<u8> {
        let Inner { problem, retry_after, .. } = *self.0;
        let reason = http::StatusCode::from_u16(problem.status).ok().and_then(|s| s.canonical_reason()).unwrap_or("");
        let body = serde_json::to_string(&problem).unwrap_or_default();
        let wait = retry_after.map_or_else(String::new, |seconds| format!("retry-after: {seconds}\r\n"));
        let (status, length) = (problem.status, body.len());
        format!(
            "HTTP/1.1 {status} {reason}\r\ncontent-type: application/problem+json\r\n{wait}connection: close\r\n\
             content-length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    }

    /// The answer.
    #[must_use]
    pub fn into_response(self) -> Response {
        let Inner { problem, retry_after, allow, authenticate, close, by: _ } = *self.0;
        // A problem is plain data: it always has a JSON form.
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = Response::new(body.into());
        *response.status_mut() =
            http::StatusCode::from_u16(problem.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(allow) = allow.and_then(|a| HeaderValue::from_str(&a).ok()) {
            headers.insert(ALLOW, allow);
        }
        if authenticate {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
