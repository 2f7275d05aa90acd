//! Good answers: JSON, text, and streams of lines.
//!
//! Here: [`json`], and [`stream`], which runs a producer in a task of its own and gives its
//! lines to one client at that client's pace. Not here: errors (`problem`), WebSockets (`socket`).
//! Invariant: a stream holds a permit, ends with its client, with its token, with the server, or by itself, and an idle
//! one of JSON shows an empty line now and then, so that a dead client is found.

use std::{convert::Infallible, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, header::CONTENT_TYPE};
use serde::Serialize;
use tokio::sync::mpsc;
use warp::reply::Response;

use super::{Server, accept::Open, auth::Right, class::Place, problem::Failure, request::Request};
use crate::model::Index;

/// Lines that wait for one client: it takes them at its own pace.
const WAITING: usize = 16;

/// Media type of streams.
pub const NDJSON: &str = "application/x-ndjson";
/// Media type of most answers.
pub const JSON: &str = "application/json";
/// Media type of files.
pub const OCTETS: &str = "application/octet-stream";
/// Media type of logs for people.
pub const TEXT: &str = "text/plain; charset=utf-8";

/// 200 with JSON.
///
/// # Errors
/// When a value has no JSON form.
pub fn json<T: Serialize>(value: &T) -> Result<Response, Failure> {
    let body = serde_json::to_vec(value).map_err(|e| Failure::internal(format!("an answer has no JSON form: {e}")))?;
    Ok(whole(JSON, body))
}

/// 200 with a whole body.
#[must_use]
pub fn whole(media: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(body.into().into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

/// Index after which a stream begins: whoever began "from now" can resume before anything was sent.
pub const START: HeaderName = HeaderName::from_static("x-constellation-index");

/// The same answer, with the index after which it begins.
#[must_use]
pub fn from(mut response: Response, start: Index) -> Response {
    response.headers_mut().insert(START, HeaderValue::from(start.0));
    response
}

/// One JSON value and a newline.
///
/// # Errors
/// When the value has no JSON form.
pub fn line<T: Serialize>(value: &T) -> Result<Bytes, serde_json::Error> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line.into())
}

/// The client is gone, or the server stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

/// Where a producer puts its lines.
#[derive(Debug)]
pub struct Sink {
    lines: mpsc::Sender<Bytes>,
    /// None: what it sends is for people, and an empty line would stand among theirs.
    heartbeat: Option<Duration>,
    server: Arc<Server>,
}

impl Sink {
    /// Gives one piece to the client; waits while too many wait for it.
    ///
    /// # Errors
    /// [`Closed`]: the producer shall end.
    pub async fn send(&self, piece: Bytes) -> Result<(), Closed> {
        tokio::select! {
            sent = self.lines.send(piece) => sent.map_err(|_| Closed),
            () = self.server.stop.cancelled() => Err(Closed),
        }
    }
    /// One JSON value as a line.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn line<T: Serialize>(&self, value: &T) -> Result<(), Closed> {
        match line(value) {
            Ok(line) => self.send(line).await,
            Err(error) => {
                tracing::error!(%error, "a line has no JSON form");
                Err(Closed)
            }
        }
    }
    /// Waits for something and shows meanwhile that the stream lives.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn wait<F: Future>(&self, what: F) -> Result<F::Output, Closed> {
        tokio::pin!(what);
        loop {
            tokio::select! {
                biased;
                () = self.server.stop.cancelled() => return Err(Closed),
                () = self.lines.closed() => return Err(Closed),
                done = &mut what => return Ok(done),
                () = beat(self.heartbeat) => self.send(Bytes::from_static(b"\n")).await?,
            }
        }
    }
}

async fn beat(pace: Option<Duration>) {
    match pace {
        Some(pace) => tokio::time::sleep(pace).await,
        None => std::future::pending().await,
    }
}

/// The right to one long-lived stream.
#[derive(Debug)]
pub struct StreamPermit {
    right: Right,
    _place: Place,
    _open: Open,
}

impl StreamPermit {
    /// Ends when the stream must: its token is not valid any more.
    pub async fn ends(&self) {
        self.right.ends().await;
    }
}

/// The place of a request, for as long as its stream is open.
///
/// # Errors
/// 429 when it had to give it back for its body and all are taken now.
pub fn permit(request: &mut Request) -> Result<StreamPermit, Failure> {
    let server = &request.server;
    let place = request.place.take().map_or_else(|| server.places.enter(request.call.0.class), Ok)?;
    let right = request.caller.right(&server.shared.store);
    Ok(StreamPermit { right, _place: place, _open: Open::new(&server.shared.http.streams) })
}

/// 200 with what `produce` sends. It runs in a task of its own, which the server waits for at its end.
///
/// # Errors
/// 429 when too many streams are open.
pub fn stream<P, F>(request: &mut Request, media: &'static str, produce: P) -> Result<Response, Failure>
where
    P: FnOnce(Sink) -> F,
    F: Future<Output = Result<(), Closed>> + Send + 'static,
{
    Ok(stream_with(permit(request)?, &request.server, media, produce))
}

/// The same with a permit that was taken before something that may take its time.
pub fn stream_with<P, F>(permit: StreamPermit, server: &Arc<Server>, media: &'static str, produce: P) -> Response
where
    P: FnOnce(Sink) -> F,
    F: Future<Output = Result<(), Closed>> + Send + 'static,
{
    let (lines, mut waiting) = mpsc::channel::<Bytes>(WAITING);
    let heartbeat = (media == NDJSON).then_some(server.shared.limits.heartbeat);
    let sink = Sink { lines, heartbeat, server: server.clone() };
    let producing = produce(sink);
    let cut = server.cut.clone();
    server.tasks.spawn(async move {
        tokio::select! {
            // Closed: the client went away, which is how most streams end.
            _ = producing => {}
            () = cut.cancelled() => {}
            () = permit.ends() => {}
        }
    });
    let lines = futures::stream::poll_fn(move |cx| waiting.poll_recv(cx).map(|piece| piece.map(Ok::<_, Infallible>)));
    let mut response = warp::Reply::into_response(warp::reply::stream(lines));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
