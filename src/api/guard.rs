//! Bounds of one connection: how long a write may hang, how many bytes a body may have.
//!
//! Here: [`Patient`], an IO whose writes fail when the client takes too little for too long, [`Turn`], which
//! tells it and others what is under way, and [`Metered`], a body that ends with an error beyond its limit,
//! chunked or not, and when it comes too slowly.
//! Not here: the deadline of a request's head (hyper) and of an answer (`accept`).

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

/// How long an answer goes on after its client has said that it sends nothing more.
const GOODBYE: Duration = Duration::from_secs(2);

/// A client that gives or takes fewer bytes in the time it has is as good as gone.
pub const LEAST: usize = 1_024;

/// What is under way on a connection.
#[derive(Debug, Clone)]
pub struct Turn(Arc<Facts>);

#[derive(Debug)]
struct Facts {
    state: AtomicU8,
    began: Instant,
    /// Milliseconds from `began` to the newest state in which others may take the place.
    since: AtomicU64,
}

/// Nothing is under way.
const IDLE: u8 = 0;
/// An answer is being made.
const ANSWERING: u8 = 1;
/// hyper has the whole answer and has not flushed it.
const MADE: u8 = 2;
/// A body is waited for.
const UPLOADING: u8 = 3;
/// It is a WebSocket.
const HELD: u8 = 4;

/// What a connection is worth when others want its place, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Worth {
    /// It asks for nothing.
    Idle,
    /// It is sending a body.
    Uploading,
}

impl Turn {
    /// Nothing is under way yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self(Arc::new(Facts { state: AtomicU8::new(IDLE), began: now, since: AtomicU64::new(0) }))
    }
    /// A request is, for as long as this lives and until what was answered is flushed.
    #[must_use]
    pub fn begin(&self) -> InTurn {
        self.0.state.store(ANSWERING, Ordering::Relaxed);
        InTurn(self.clone())
    }
    /// Its body is waited for.
    pub fn uploads(&self) {
        self.stamp();
        self.0.state.store(UPLOADING, Ordering::Relaxed);
    }
    /// Its body is here.
    pub fn uploaded(&self) {
        self.0.state.store(ANSWERING, Ordering::Relaxed);
    }
    /// It has become a WebSocket: nobody takes its place.
    pub fn hold(&self) {
        self.0.state.store(HELD, Ordering::Relaxed);
    }
    /// What it is worth and for how long it has been that; none while it is answered.
    #[must_use]
    pub fn worth(&self, now: Instant) -> Option<(Worth, Duration)> {
        let worth = match self.0.state.load(Ordering::Relaxed) {
            IDLE => Worth::Idle,
            UPLOADING => Worth::Uploading,
            _ => return None,
        };
        let since = self.0.began + Duration::from_millis(self.0.since.load(Ordering::Relaxed));
        Some((worth, now.saturating_duration_since(since)))
    }
    fn is_under_way(&self) -> bool {
        matches!(self.0.state.load(Ordering::Relaxed), ANSWERING | MADE | UPLOADING)
    }
    fn flushed(&self) {
        // The time first: whoever sees the state sees it too, or an older one at worst.
        if self.0.state.load(Ordering::Relaxed) == MADE {
            self.stamp();
            // Failed when the next one began meanwhile.
            let _ = self.0.state.compare_exchange(MADE, IDLE, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
    fn stamp(&self) {
        let since = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.since.store(since, Ordering::Relaxed);
    }
}

/// See [`Turn::begin`].
#[derive(Debug)]
pub struct InTurn(Turn);

impl Drop for InTurn {
    fn drop(&mut self) {
        // Failed when it is a WebSocket by now.
        let state = &self.0.0.state;
        let _ = state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| (state != HELD).then_some(MADE));
    }
}

/// An IO that gives up on a peer that takes nothing.
///
/// The alarm is set when a write has to wait and cleared when [`LEAST`] bytes, or all there were, have gone
/// through since: streams that are idle, or slow but alive, are not cut.
/// A client may close its half and wait for the answer, or be gone: both look alike. hyper takes it for
/// gone at once (or, told otherwise, never looks), so the end is kept from it for [`GOODBYE`] while a
/// request is under way: time for every answer but a stream, and a stream ends soon after its client.
#[derive(Debug)]
pub struct Patient<IO> {
    io: IO,
    limit: Duration,
    alarm: Option<Pin<Box<Sleep>>>,
    /// Bytes taken since the alarm was set.
    taken: usize,
    turn: Turn,
    ended: Option<Pin<Box<Sleep>>>,
}

impl<IO> Patient<IO> {
    /// Writes may hang for `limit`.
    pub fn new(io: IO, limit: Duration, turn: Turn) -> Self {
        Self { io, limit, alarm: None, taken: 0, turn, ended: None }
    }
    fn judge(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(done) = &written {
            self.taken += done.as_ref().map_or(0, |n| *n);
            if self.taken >= LEAST {
                self.alarm = None;
            }
            return written;
        }
        if self.alarm.is_none() {
            self.taken = 0;
        }
        let limit = self.limit;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(alarm.as_mut().poll(cx));
        self.alarm = None;
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

/// Whether a client was given up because it took nothing.
#[must_use]
pub fn is_stall(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::TimedOut) {
            return true;
        }
        cause = error.source();
    }
    false
}

impl<IO: AsyncRead + Unpin> AsyncRead for Patient<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ended.is_none() {
            let before = buf.filled().len();
            ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
            if buf.filled().len() > before || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        if self.turn.is_under_way() {
            let ended = self.ended.get_or_insert_with(|| Box::pin(tokio::time::sleep(GOODBYE)));
            ready!(ended.as_mut().poll(cx));
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Patient<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.judge(cx, written)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.judge(cx, written)
    }
    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
    // A socket's flush is always done at once: it says nothing about the peer. hyper asks for it when it
    // has written all it had.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.turn.flushed();
        self.alarm = None;
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Whether a body went over its limit: warp hides a body's error, this flag survives.
#[derive(Debug, Clone, Default)]
pub struct Over(Arc<AtomicBool>);

impl Over {
    /// Whether it did.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// An answer's body: its request is under way until it has been taken.
#[derive(Debug)]
pub struct Answering<B> {
    /// The body.
    pub inner: B,
    /// That it is.
    pub turn: InTurn,
}

impl<B: Body + Unpin> Body for Answering<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }
    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A body that may have so many bytes, and of which so many must come in a time.
///
/// Only the time counts in which it is waited for: whoever reads it may be slower than who sends it.
#[derive(Debug)]
pub struct Metered<B> {
    inner: B,
    left: u64,
    over: Over,
    limit: Duration,
    alarm: Option<Pin<Box<Sleep>>>,
    /// What is left of the time for the next [`LEAST`] bytes, and how many of them came.
    patience: Duration,
    came: usize,
}

impl<B> Metered<B> {
    /// At most `bytes`; `over` says afterwards whether there were more. [`LEAST`] in each `limit`.
    pub fn new(inner: B, bytes: u64, over: Over, limit: Duration) -> Self {
        Self { inner, left: bytes, over, limit, alarm: None, patience: limit, came: 0 }
    }

    fn came(&mut self, bytes: usize) {
        if let Some(alarm) = self.alarm.take() {
            self.patience = alarm.deadline().saturating_duration_since(tokio::time::Instant::now());
        }
        self.came += bytes;
        if self.came >= LEAST {
            (self.came, self.patience) = (0, self.limit);
        }
    }
}

impl<B> Body for Metered<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) else {
            let patience = self.patience;
            let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
            ready!(alarm.as_mut().poll(cx));
            let slow = format!("fewer than {LEAST} bytes came in {:?}", self.limit);
            return Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::TimedOut, slow).into())));
        };
        let Some(frame) = frame else { return Poll::Ready(None) };
        let frame = frame.map_err(Into::into)?;
        if let Some(data) = frame.data_ref() {
            self.came(data.len());
            match self.left.checked_sub(data.len() as u64) {
                Some(left) => self.left = left,
                None => {
                    self.left = 0;
                    self.over.0.store(true, Ordering::Relaxed);
                    return Poll::Ready(Some(Err("the body is over its limit".into())));
                }
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }
    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
