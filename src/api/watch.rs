//! Lists and watches of one kind.
//!
//! Each watcher reads the ring of changes from the newest state at its own pace: there is no queue that
//! one slow client could fill for the others. When its position left the ring it is told so and ends.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use warp::reply::Response;

use super::{
    heavy,
    objects::{Reader, Shown},
    problem::Failure,
    reply::{self, Closed, NDJSON, Sink},
    request::Request,
    select::Selector,
    wire::{List, Resync, WatchLine, WatchOp},
};
use crate::{
    edge::Addresses,
    model::{Index, Kind, ObjectKey, Replica},
    store::{
        Client, State,
        seal::Sealer,
        state::{Change, Changed, Gone},
    },
};

/// Changes that are made into lines at one time.
const BATCH: usize = 64;
/// How long a position that this node has not reached yet is waited for.
const CATCH_UP: std::time::Duration = std::time::Duration::from_secs(2);

/// `GET /api/v1/{kind}`.
///
/// # Errors
/// 400, 410, 429.
pub async fn list_or_watch(mut request: Request) -> Result<Response, Failure> {
    let filter = Filter::read(&request)?;
    if !request.query.flag("watch")? {
        if request.query.get("fromIndex").is_some() {
            return Err(Failure::bad_request("fromIndex is for watches").hint("add watch=true"));
        }
        let state = request.server.shared.store.state();
        let size = heavy::stored(&state, filter.kind);
        let list = move || reply::json(&List { items: filter.list(&state)?, index: state.index().0 });
        return heavy::run(&request.server, size, list).await?;
    }
    let from = position(&request).await?;
    let store = request.server.shared.store.clone();
    // A position that is gone is said with a status, before the stream begins.
    store.state().changes_after(from).map(|_| ()).map_err(Failure::gone)?;
    let stream = reply::stream(&mut request, NDJSON, |sink| watch(store, filter, from, sink))?;
    Ok(reply::from(stream, from))
}

/// Where a stream begins: `fromIndex`, or now.
///
/// # Errors
/// 400 when it is no number, 410 when this node does not reach it soon.
pub async fn position(request: &Request) -> Result<Index, Failure> {
    let mut states = request.server.shared.store.watch();
    let Some(from) = request.query.number("fromIndex")?.map(Index) else {
        return Ok(states.borrow().index());
    };
    let reached = states.wait_for(|s| s.index() >= from);
    match tokio::time::timeout(CATCH_UP, reached).await {
        Ok(Ok(_)) => Ok(from),
        Ok(Err(_)) | Err(_) => Err(Failure::ahead(from, request.server.shared.store.state().index())),
    }
}

/// What a reader that fell behind is told.
#[must_use]
pub fn resync(gone: Gone) -> Resync {
    Resync { resync: gone.oldest.0.saturating_sub(1) }
}

async fn watch(store: Client, filter: Filter, mut position: Index, sink: Sink) -> Result<(), Closed> {
    let mut states = store.watch();
    loop {
        let state = states.borrow_and_update().clone();
        let batch = match filter.batch(&state, position) {
            Ok(batch) => batch,
            Err(gone) => return sink.line(&resync(gone)).await,
        };
        drop(state);
        for line in batch.lines {
            sink.send(line).await?;
        }
        position = batch.position;
        if !batch.more && sink.wait(states.changed()).await?.is_err() {
            return Ok(());
        }
    }
}

struct Batch {
    lines: Vec<Bytes>,
    position: Index,
    more: bool,
}

/// Which objects of a kind are meant.
struct Filter {
    kind: Kind,
    labels: Selector,
    service: Option<String>,
    node: Option<String>,
    /// What the table of routes is made with: who opens Secrets, where this node's agent and Traefik are.
    sealer: Arc<Sealer>,
    edge: Addresses,
}

impl Filter {
    fn read(request: &Request) -> Result<Self, Failure> {
        Ok(Self {
            kind: request.kind()?,
            labels: Selector::read(request.query.get("labels").unwrap_or_default())?,
            service: request.query.get("service").map(str::to_owned),
            node: request.query.get("node").map(str::to_owned),
            sealer: request.server.shared.sealer.clone(),
            edge: request.server.shared.addresses,
        })
    }
    fn takes(&self, replica: &Replica) -> bool {
        self.service.as_deref().is_none_or(|s| *replica.service == *s)
            && self.node.as_deref().is_none_or(|n| *replica.node == *n)
    }

    fn list<'s>(&'s self, state: &'s State) -> Result<Vec<Shown<'s>>, Failure> {
        let reader = Reader::new(state, &self.sealer, self.edge);
        if self.kind == Kind::Replica {
            let shown = state.replicas().filter(|r| self.takes(r)).map(|r| reader.replica(r));
            return Ok(shown.filter(|o| self.labels.fits(&o.metadata.labels)).collect());
        }
        state.objects(self.kind).filter(|o| self.labels.fits(&o.meta.labels)).map(|o| reader.declared(o)).collect()
    }

    fn batch(&self, state: &State, after: Index) -> Result<Batch, Gone> {
        let changes: Vec<&Arc<Change>> = state.changes_after(after)?.take(BATCH).collect();
        let more = changes.len() == BATCH;
        let position = match (more, changes.last()) {
            (true, Some(last)) => last.index,
            // Everything was looked at, what is not a change too.
            _ => state.index().max(after),
        };
        // Of several status changes of one object the last is shown: all show the newest status.
        let last: HashMap<&ObjectKey, Index> =
            changes.iter().filter(|c| c.key.kind == self.kind).map(|c| (&c.key, c.index)).collect();
        let reader = Reader::new(state, &self.sealer, self.edge);
        let lines = changes
            .iter()
            .filter(|c| c.key.kind == self.kind)
            .filter(|c| c.what != Changed::Status || last.get(&c.key) == Some(&c.index))
            .filter_map(|c| self.line(state, &reader, c))
            .collect();
        Ok(Batch { lines, position, more })
    }

    fn line<'s>(&self, state: &'s State, reader: &Reader<'s>, change: &'s Change) -> Option<Bytes> {
        let (op, object) = match &change.what {
            Changed::Put { object, .. } if self.labels.fits(&object.meta.labels) => {
                (WatchOp::Put, reader.declared(object))
            }
            // Whoever selects by label lets go of what fitted before, and hears nothing of what never did.
            Changed::Put { object, relabelled } => {
                relabelled.as_ref().filter(|labels| self.labels.fits(labels))?;
                (WatchOp::Delete, reader.declared(object))
            }
            Changed::Deleted(object) if self.labels.fits(&object.meta.labels) => {
                (WatchOp::Delete, reader.declared(object))
            }
            Changed::Deleted(_) => return None,
            Changed::Replica(replica) => (WatchOp::Put, self.replica(reader, replica)?),
            Changed::ReplicaForgotten(replica) => (WatchOp::Delete, self.replica(reader, replica)?),
            Changed::Edge => return None,
            Changed::Status if change.key.kind == Kind::Replica => {
                (WatchOp::Put, self.replica(reader, state.replica(&change.key.name)?)?)
            }
            Changed::Status => {
                let object = state.object(&change.key).filter(|o| self.labels.fits(&o.meta.labels))?;
                (WatchOp::Put, reader.declared(object))
            }
        };
        // What cannot be read was logged where it was found; the others go on.
        reply::line(&WatchLine { index: change.index.0, op, object: object.ok()? }).ok()
    }

    fn replica<'s>(&self, reader: &Reader<'s>, replica: &'s Replica) -> Option<Result<Shown<'s>, Failure>> {
        let shown = reader.replica(replica);
        (self.takes(replica) && (self.labels.is_empty() || self.labels.fits(&shown.metadata.labels)))
            .then_some(Ok(shown))
    }
}
