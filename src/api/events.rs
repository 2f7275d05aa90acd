//! The event stream: ndjson for a plain GET, one frame an event on a WebSocket.
//!
//! Here: the routes. Not here: which events, and reading them once for all ([`feed`](super::feed)); the WebSocket
//! itself ([`socket`](super::socket)). Each listener reads at its own pace, as watches do (`watch`).

use bytes::{BufMut as _, Bytes, BytesMut};
use warp::reply::Response;

use super::{
    feed::{Feed, Filter},
    problem::Failure,
    reply::{self, Closed, NDJSON, Sink},
    request::Request,
    socket,
    watch::{position, resync},
};
use crate::{model::Index, store::Client};

/// `GET /api/v1/events`.
///
/// # Errors
/// 400, 410, 429: on a WebSocket before the upgrade.
pub async fn events(mut request: Request) -> Result<Response, Failure> {
    let filter = Filter::read(&request.query)?;
    let from = position(&request).await?;
    let server = request.server.clone();
    let store = server.shared.store.clone();
    store.state().events_after(from).map(|_| ()).map_err(Failure::gone)?;
    let follow = request.query.get("follow").is_none() || request.query.flag("follow")?;
    if let Some(handshake) = request.upgrade.take() {
        if !follow {
            return Err(
                Failure::bad_request("follow=false is not for WebSockets").hint("a plain GET ends after what is kept")
            );
        }
        let permit = reply::permit(&mut request)?;
        let (answer, upgrade) = handshake.answer();
        let peer = request.call.0.peer.clone();
        peer.turn().hold();
        let feed = server.hub.feed(filter, from);
        server.tasks.spawn(socket::serve(upgrade, feed, peer, permit, server.clone()));
        return Ok(reply::from(answer, from));
    }
    let stream = if follow {
        let feed = server.hub.feed(filter, from);
        reply::stream(&mut request, NDJSON, |sink| told(feed, sink))
    } else {
        reply::stream(&mut request, NDJSON, |sink| kept(store, filter, from, sink))
    };
    Ok(reply::from(stream?, from))
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

/// What is kept, and no more.
async fn kept(store: Client, filter: Filter, mut at: Index, sink: Sink) -> Result<(), Closed> {
    loop {
        let batch = match filter.batch(&store.state(), at) {
            Ok(batch) => batch,
            Err(gone) => return sink.line(&resync(gone)).await,
        };
        for event in &batch.events {
            sink.line(&**event).await?;
        }
        if !batch.more {
            return Ok(());
        }
        at = batch.position;
    }
}

/// What is told, for as long as somebody listens.
async fn told(mut feed: Feed, sink: Sink) -> Result<(), Closed> {
    loop {
        match feed.take() {
            Ok(texts) if texts.is_empty() => sink.wait(feed.news()).await?,
            Ok(texts) => sink.send(lines(texts.iter().map(|text| text.as_str()))).await?,
            Err(gone) => return sink.line(&resync(gone)).await,
        }
    }
}

/// Each on a line of its own, in one piece.
fn lines<'t>(texts: impl Iterator<Item = &'t str> + Clone) -> Bytes {
    let mut piece = BytesMut::with_capacity(texts.clone().map(|text| text.len() + 1).sum());
    for text in texts {
        piece.extend_from_slice(text.as_bytes());
        piece.put_u8(b'\n');
    }
    piece.freeze()
}
