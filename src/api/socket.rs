//! WebSockets: becoming one, and serving one that listens to events.
//!
//! Here: [`Handshake`] (RFC 6455, 4.2) and [`serve`]. Not here: which events (`feed`), whether it may (`events`).
//! Every write has a deadline, an idle client is pinged, and one that does not answer is closed; one that says
//! too much is closed with 1009. Not warp's own: its buffers are 128 KiB for each connection, before a byte
//! was read, and it hides why a read failed.

use std::{convert::Infallible, sync::Arc, time::Duration};

use futures::{FutureExt as _, SinkExt as _, StreamExt as _};
use http::{
    Extensions, HeaderMap, HeaderValue, Method, StatusCode,
    header::{CONNECTION, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE},
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::AsyncReadExt as _,
    time::{Instant, sleep_until, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};
use warp::reply::Response;

use super::{
    Server,
    accept::{Peer, named},
    feed::Feed,
    guard,
    metrics::Cut,
    reply::StreamPermit,
    watch::resync,
};

/// Clients have nothing to say but pings and a close.
const INCOMING: usize = 4 << 10;
/// Bytes read at a time: mostly a pong. Every connection has such a buffer.
const READ: usize = 512;
/// Bytes gathered before a write. Every connection that was told something has such a buffer.
const WRITE: usize = 2 << 10;
/// For the close handshake.
const GOODBYE: Duration = Duration::from_secs(1);
/// From our answer to the connection that is ours.
const UPGRADE_TIME: Duration = Duration::from_secs(5);
/// An idle client that has not answered so many pings is gone. Pings are counted, not time: a machine that
/// slept has asked nobody meanwhile.
const SILENCE: u32 = 3;

/// A request that wants to become a WebSocket, as it should be written.
#[derive(Debug)]
pub struct Handshake {
    upgrade: OnUpgrade,
    accept: String,
}

impl Handshake {
    /// Takes it out of a request; none when this is no such request.
    pub fn take(method: &Method, headers: &HeaderMap, extensions: &mut Extensions) -> Option<Self> {
        let has = |name: HeaderName, token: &str| {
            let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            values.flat_map(|v| v.split(',')).any(|t| t.trim().eq_ignore_ascii_case(token))
        };
        let asked = method == Method::GET
            && has(CONNECTION, "upgrade")
            && has(UPGRADE, "websocket")
            && has(SEC_WEBSOCKET_VERSION, "13");
        let key = headers.get(SEC_WEBSOCKET_KEY).filter(|_| asked)?;
        Some(Self { upgrade: extensions.remove::<OnUpgrade>()?, accept: derive_accept_key(key.as_bytes()) })
    }
    /// The answer with which it becomes one, and what it becomes.
    #[must_use]
    pub fn answer(self) -> (Response, OnUpgrade) {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        if let Ok(accept) = HeaderValue::from_str(&self.accept) {
            headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        }
        (response, self.upgrade)
    }
}

/// Serves one that listens to `feed`, until it goes, is cut, may not listen any more, or the server stops.
pub async fn serve(upgrade: OnUpgrade, feed: Feed, peer: Arc<Peer>, permit: StreamPermit, server: Arc<Server>) {
    let Ok(Ok(upgraded)) = timeout(UPGRADE_TIME, upgrade).await else { return };
    let config = WebSocketConfig::default()
        .max_message_size(Some(INCOMING))
        .max_frame_size(Some(INCOMING))
        .read_buffer_size(READ)
        .write_buffer_size(WRITE);
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
    let due = Instant::now() + server.shared.limits.heartbeat;
    let listener = Listener { socket, server: server.clone(), peer, unanswered: 0, due };
    server.cut.run_until_cancelled(listener.run(feed, &permit)).await;
}

/// Why it is not served any more.
enum End {
    /// There is a reason, which it is told.
    Close(CloseCode, &'static str),
    /// The other end went away, or does not take what it is given.
    Lost,
}

struct Listener {
    socket: WebSocketStream<TokioIo<Upgraded>>,
    server: Arc<Server>,
    peer: Arc<Peer>,
    /// Pings since it was last heard.
    unanswered: u32,
    /// When it is pinged next: it is pinged while it is told something too.
    due: Instant,
}

impl Listener {
    async fn run(mut self, feed: Feed, permit: &StreamPermit) {
        let ended = tokio::select! {
            ended = self.tell(feed) => ended,
            () = permit.ends() => Err(End::Close(CloseCode::Policy, "the token is not valid any more")),
        };
        let Err(End::Close(code, reason)) = ended else { return };
        let close = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
        if self.send([close]).await.is_err() {
            return;
        }
        // The other side's close, or what else it sends, so that the last frame arrives; not for ever.
        let closed = async {
            while self.socket.next().await.is_some_and(|message| message.is_ok()) {}
            let mut rest = [0; READ];
            while self.socket.get_mut().read(&mut rest).await.is_ok_and(|n| n > 0) {}
        };
        let _ = timeout(GOODBYE, closed).await;
    }

    /// Until there is a reason to end.
    async fn tell(&mut self, mut feed: Feed) -> Result<Infallible, End> {
        let stop = self.server.stop.clone();
        loop {
            let texts = match feed.take() {
                Ok(texts) => texts,
                Err(gone) => {
                    let text = serde_json::to_string(&resync(gone)).unwrap_or_default();
                    self.send([Message::text(text)]).await?;
                    return Err(End::Close(CloseCode::Policy, "fell behind"));
                }
            };
            if !texts.is_empty() {
                self.send(texts.into_iter().map(Message::Text)).await?;
                while let Some(message) = self.socket.next().now_or_never() {
                    self.hear(message)?;
                }
                if stop.is_cancelled() {
                    return Err(GOING_AWAY);
                }
                continue;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return Err(GOING_AWAY),
                () = feed.news() => {}
                message = self.socket.next() => self.hear(message)?,
                () = sleep_until(self.due) => self.ping().await?,
            }
        }
    }

    async fn ping(&mut self) -> Result<(), End> {
        if self.unanswered == SILENCE {
            tracing::warn!(client = %self.client(), "a WebSocket answered no ping and was cut");
            self.server.shared.http.cut(Cut::Silent);
            return Err(End::Lost);
        }
        self.unanswered += 1;
        self.due = Instant::now() + self.server.shared.limits.heartbeat;
        self.send([Message::Ping(bytes::Bytes::new())]).await
    }

    fn hear(&mut self, message: Option<Result<Message, Error>>) -> Result<(), End> {
        match message {
            // A close was answered by the socket itself.
            Some(Ok(message)) if !message.is_close() => {
                self.unanswered = 0;
                self.due = Instant::now() + self.server.shared.limits.heartbeat;
                Ok(())
            }
            Some(Err(Error::Capacity(_))) => {
                self.server.shared.http.cut(Cut::Loud);
                Err(End::Close(CloseCode::Size, "clients have nothing to say here"))
            }
            Some(Ok(_) | Err(_)) | None => Err(End::Lost),
        }
    }

    /// Gives it some messages, with one write where they are small.
    async fn send(&mut self, messages: impl IntoIterator<Item = Message>) -> Result<(), End> {
        let limit = self.server.shared.limits.write;
        let sending = async {
            for message in messages {
                self.socket.feed(message).await?;
            }
            self.socket.flush().await
        };
        let stalled = match timeout(limit, sending).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => guard::is_stall(&error),
            Err(_) => true,
        };
        if stalled {
            tracing::warn!(client = %self.client(), "a WebSocket took nothing for {limit:?} and was cut");
            self.server.shared.http.cut(Cut::Stalled);
        }
        Err(End::Lost)
    }

    /// For the log.
    fn client(&self) -> String {
        named(self.peer.address)
    }
}

const GOING_AWAY: End = End::Close(CloseCode::Away, "going away");
