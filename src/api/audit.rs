//! `GET /api/v1/audit`, and records of what is no write of the store.
//!
//! Not here: records of writes: every write leaves its own (`store::audit`). Denied requests: `denied`.

use std::sync::Arc;

use warp::reply::Response;

use super::{problem::Failure, reply, request::Request, wire::AuditList};
use crate::{
    model::{AuditRecord, Kind, ObjectKey},
    store::{
        audit::Asked,
        command::{Command, Group},
    },
};

/// Records in an answer unless it is said.
const LIMIT: usize = 100;
/// Records in an answer at most.
const LIMIT_MAX: usize = 1_000;

/// `GET /api/v1/audit`.
///
/// # Errors
/// 400 for a broken query.
pub async fn list(request: Request) -> Result<Response, Failure> {
    let store = &request.server.shared.store;
    let (state, query) = (store.state(), &request.query);
    let limit = query.number("limit")?.unwrap_or(LIMIT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Failure::bad_request(format!("limit={limit} is not 1 to {LIMIT_MAX}")));
    }
    let after = query.number::<u64>("after")?;
    let wanted = Wanted {
        after: after.unwrap_or(0),
        from_index: query.number("fromIndex")?.unwrap_or(0),
        since: match query.get("since") {
            None => 0,
            Some(text) => {
                let age = humantime::parse_duration(text)
                    .map_err(|_| Failure::bad_request(format!("since={text} is no age")).hint("like 10m or 1h30m"))?;
                store.now().saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
            }
        },
        who: query.get("who"),
        object: query.get("object").map(object),
    };
    let audit = state.audit();
    let mut items: Vec<Arc<AuditRecord>> = match after {
        Some(_) => audit.records().filter(|r| wanted.takes(r)).take(limit + 1).cloned().collect(),
        None => audit.records().rev().filter(|r| wanted.takes(r)).take(limit + 1).cloned().collect(),
    };
    let more = items.len() > limit;
    items.truncate(limit);
    if after.is_none() {
        items.reverse();
    }
    reply::json(&AuditList {
        items: items.into_iter().map(Arc::unwrap_or_clone).collect(),
        more,
        oldest: audit.records().next().map_or(0, |r| r.number),
        newest: audit.number(),
        index: state.index().0,
    })
}

/// `service/web` is `svc/web`; what is no kind stays as it is.
fn object(text: &str) -> String {
    let named = text.split_once('/').and_then(|(kind, name)| Some(ObjectKey::new(Kind::parse(kind)?, name)));
    named.map_or_else(|| text.to_owned(), |key| key.to_string())
}

struct Wanted<'q> {
    after: u64,
    from_index: u64,
    since: u64,
    who: Option<&'q str>,
    object: Option<String>,
}

impl Wanted<'_> {
    fn takes(&self, record: &AuditRecord) -> bool {
        record.number > self.after
            && (self.from_index == 0 || record.index.0 > self.from_index)
            && record.time >= self.since
            && self.who.is_none_or(|who| *record.who == *who || record.who.strip_prefix("token ") == Some(who))
            && self.object.as_ref().is_none_or(|object| record.objects.iter().any(|o| *o.object == **object))
    }
}

/// What a record says of a request.
#[must_use]
pub fn asked(request: &Request) -> Asked {
    Asked {
        method: request.route.method.into(),
        path: request.call.0.uri.path().into(),
        from: request.call.0.peer.origin().into(),
        own: None,
    }
}

/// Leaves a record of something that is no write of the store. It begins only when this is good.
///
/// # Errors
/// Those of every write.
pub async fn record(request: &Request, object: String) -> Result<(), Failure> {
    let shared = &request.server.shared;
    let group = Group {
        actor: request.caller.name.clone(),
        reason: request.reason()?,
        request: Some(asked(request)),
        commands: vec![Command::RecordAudit { object: object.into() }],
        ..Group::default()
    };
    let recorded = shared.store.propose(group, shared.limits.propose).await;
    recorded.map(|_| ()).map_err(|error| Failure::write(&error, &shared.store.state()))
}
