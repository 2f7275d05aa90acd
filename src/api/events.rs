//! The event stream: ndjson for a plain GET, one frame an event on a WebSocket.
//!
//! Each subscriber reads the ring of events at its own pace, as watches do (`watch`). On a WebSocket
//! every frame has a deadline, an idle connection is pinged, and one that does not answer is closed.

use std::{collections::BTreeSet, future::Future, sync::Arc, time::Duration};

use futures::{FutureExt, SinkExt, StreamExt};
use tokio::time::timeout;
use warp::{
    Reply,
    reply::Response,
    ws::{Message, WebSocket},
};

use super::{
    Server,
    accept::named,
    guard,
    problem::Failure,
    reply::{self, Closed, NDJSON, Sink, StreamPermit},
    request::{Query, Request},
    watch::{position, resync},
};
use crate::{
    model::{Event, EventType, Index, Kind},
    store::{Client, State, state::Gone},
};

/// Events that are taken from the ring at one time.
const BATCH: usize = 64;
/// Clients have nothing to say but pings and a close.
const INCOMING: usize = 4 << 10;
/// For the close handshake.
const GOODBYE: Duration = Duration::from_secs(1);
/// An idle client that has not answered so many pings is gone. Pings are counted, not time: a machine that
/// slept has asked nobody meanwhile.
const SILENCE: u32 = 3;

/// `GET /api/v1/events`.
///
/// # Errors
/// 400, 410, 429: on a WebSocket before the upgrade.
pub async fn events(mut request: Request) -> Result<Response, Failure> {
    let filter = Filter::read(&request.query)?;
    let from = position(&request).await?;
    let store = request.server.shared.store.clone();
    store.state().events_after(from).map(|_| ()).map_err(Failure::gone)?;
    if let Some(upgrade) = request.upgrade.take() {
        if request.query.get("follow").is_some() && !request.query.flag("follow")? {
            return Err(
                Failure::bad_request("follow=false is not for WebSockets").hint("a plain GET ends after what is kept")
            );
        }
        return socket(request, upgrade, filter, from);
    }
    let follow = request.query.get("follow").is_none() || request.query.flag("follow")?;
    let stream = reply::stream(&mut request, NDJSON, |sink| lines(store, filter, from, follow, sink))?;
    Ok(reply::from(stream, from))
}

/// `GET /ws`.
///
/// # Errors
/// As [`events`]; 426 without an upgrade.
pub async fn socket_only(request: Request) -> Result<Response, Failure> {
    if request.upgrade.is_none() {
        return Err(Failure::new(426, "upgrade-required", "A WebSocket is needed", "this path speaks WebSocket only")
            .hint("GET /api/v1/events gives the same as ndjson"));
    }
    events(request).await
}

async fn lines(store: Client, filter: Filter, mut at: Index, follow: bool, sink: Sink) -> Result<(), Closed> {
    let mut states = store.watch();
    loop {
        let state = states.borrow_and_update().clone();
        let batch = match filter.batch(&state, at) {
            Ok(batch) => batch,
            Err(gone) => return sink.line(&resync(gone)).await,
        };
        drop(state);
        for event in &batch.events {
            sink.line(&**event).await?;
        }
        at = batch.position;
        if batch.more {
            continue;
        }
        if !follow || sink.wait(states.changed()).await?.is_err() {
            return Ok(());
        }
    }
}

fn socket(mut request: Request, upgrade: warp::ws::Ws, filter: Filter, from: Index) -> Result<Response, Failure> {
    let permit = reply::permit(&mut request)?;
    // After the upgrade nobody waits for this task but the server's own list.
    let alive = request.server.tasks.token();
    let upgrade = upgrade.max_message_size(INCOMING).max_frame_size(INCOMING);
    let reply = upgrade.on_upgrade(move |socket| async move {
        let client = named(request.call.0.peer.address);
        let subscriber = Subscriber { socket, server: request.server.clone(), client, unanswered: 0 };
        request.server.cut.run_until_cancelled(subscriber.run(filter, from, &permit)).await;
        // The request holds the permit of its connection.
        drop((request, permit, alive));
    });
    Ok(reply::from(reply.into_response(), from))
}

/// The other end went away, or does not take what it is given.
struct Lost;

struct Subscriber {
    socket: WebSocket,
    server: Arc<Server>,
    /// For the log.
    client: String,
    /// Pings since it was last heard.
    unanswered: u32,
}

impl Subscriber {
    async fn run(mut self, filter: Filter, from: Index, permit: &StreamPermit) {
        let served = tokio::select! {
            served = self.serve(&filter, from) => served,
            () = permit.ends() => Ok(Message::close_with(1008_u16, "the token is not valid any more")),
        };
        let Ok(close) = served else { return };
        if self.send(close).await.is_ok() {
            // The other side's close, so that the last frame arrives; not for ever.
            let closed = async { while self.socket.next().await.is_some_and(|m| m.is_ok()) {} };
            let _ = timeout(GOODBYE, closed).await;
        }
    }

    /// Until there is a reason to close: the frame that says it.
    async fn serve(&mut self, filter: &Filter, mut at: Index) -> Result<Message, Lost> {
        let mut states = self.server.shared.store.watch();
        let stop = self.server.stop.clone();
        loop {
            let state = states.borrow_and_update().clone();
            let batch = match filter.batch(&state, at) {
                Ok(batch) => batch,
                Err(gone) => {
                    let text = serde_json::to_string(&resync(gone)).unwrap_or_default();
                    self.send(Message::text(text)).await?;
                    return Ok(Message::close_with(1008_u16, "fell behind"));
                }
            };
            drop(state);
            for event in &batch.events {
                let Ok(text) = serde_json::to_string(&**event) else { continue };
                self.send(Message::text(text)).await?;
            }
            at = batch.position;
            while let Some(message) = self.socket.next().now_or_never() {
                self.hear(message)?;
            }
            if batch.more {
                if stop.is_cancelled() {
                    return Ok(going_away());
                }
                continue;
            }
            let idle = self.idle(async { states.changed().await.is_err() }, &stop).await?;
            if let Some(close) = idle {
                return Ok(close);
            }
        }
    }

    /// Waits for news, answers the other side, and asks whether it is still there.
    async fn idle(
        &mut self,
        news: impl Future<Output = bool>,
        stop: &tokio_util::sync::CancellationToken,
    ) -> Result<Option<Message>, Lost> {
        let heartbeat = self.server.shared.limits.heartbeat;
        tokio::pin!(news);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(Some(going_away())),
                ended = &mut news => return Ok(ended.then(going_away)),
                message = self.socket.next() => self.hear(message)?,
                () = tokio::time::sleep(heartbeat) => {
                    if self.unanswered == SILENCE {
                        tracing::warn!(client = self.client, "a WebSocket answered no ping and was cut");
                        return Err(Lost);
                    }
                    self.unanswered += 1;
                    self.send(Message::ping(Vec::new())).await?;
                }
            }
        }
    }

    fn hear(&mut self, message: Option<Result<Message, warp::Error>>) -> Result<(), Lost> {
        match message {
            // A close was answered by the socket itself.
            Some(Ok(message)) if !message.is_close() => {
                self.unanswered = 0;
                Ok(())
            }
            Some(Ok(_) | Err(_)) | None => Err(Lost),
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), Lost> {
        let limit = self.server.shared.limits.write;
        let stalled = match timeout(limit, self.socket.send(message)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => guard::is_stall(&error),
            Err(_) => true,
        };
        if stalled {
            tracing::warn!(client = self.client, "a WebSocket took nothing for {limit:?} and was cut");
        }
        Err(Lost)
    }
}

fn going_away() -> Message {
    Message::close_with(1001_u16, "going away")
}

struct Batch {
    events: Vec<Arc<Event>>,
    position: Index,
    more: bool,
}

/// Which events are meant; an empty list means all.
#[derive(Debug, Default)]
struct Filter {
    kinds: BTreeSet<Kind>,
    names: Vec<(Option<Kind>, String)>,
    types: BTreeSet<EventType>,
}

impl Filter {
    fn read(query: &Query) -> Result<Self, Failure> {
        let kinds = query.list("kinds").iter().map(|k| kind(k)).collect::<Result<_, _>>()?;
        let names = query
            .list("names")
            .iter()
            .map(|name| match name.split_once('/') {
                Some((k, name)) => kind(k).map(|k| (Some(k), name.to_owned())),
                None => Ok((None, name.clone())),
            })
            .collect::<Result<_, _>>()?;
        let types = query
            .list("types")
            .iter()
            .map(|t| match t.to_ascii_lowercase().as_str() {
                "normal" => Ok(EventType::Normal),
                "warning" => Ok(EventType::Warning),
                _ => Err(Failure::bad_request(format!("types={t}: there are Normal and Warning"))),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { kinds, names, types })
    }
    fn takes(&self, event: &Event) -> bool {
        let object = &event.object;
        (self.kinds.is_empty() || self.kinds.contains(&object.kind))
            && (self.types.is_empty() || self.types.contains(&event.kind))
            && (self.names.is_empty()
                || self.names.iter().any(|(k, n)| k.is_none_or(|k| k == object.kind) && **n == *object.name))
    }
    fn batch(&self, state: &State, after: Index) -> Result<Batch, Gone> {
        let mut batch = Batch { events: Vec::new(), position: state.index().max(after), more: false };
        for event in state.events_after(after)?.filter(|e| self.takes(e)) {
            if batch.events.len() == BATCH {
                batch.more = true;
                break;
            }
            batch.events.push(event.clone());
        }
        if let (true, Some(last)) = (batch.more, batch.events.last()) {
            batch.position = last.index;
        }
        Ok(batch)
    }
}

fn kind(text: &str) -> Result<Kind, Failure> {
    Kind::parse(text).ok_or_else(|| {
        Failure::bad_request(format!("there is no kind {text:?}")).hint("known: Service, Config, Secret, Node, Replica")
    })
}
