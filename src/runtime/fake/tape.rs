//! Logs: what programs say, or the pieces that a test gives where whole lines will not do.
//!
//! A tape is for one reading, and stands before what the container says; it need not have a container.

use std::collections::{BTreeMap, VecDeque};

use futures::{
    StreamExt as _,
    future::ready,
    stream::{self, BoxStream},
};
use tokio::sync::mpsc;

use super::Fake;
use crate::runtime::{LogChunk, LogQuery, RuntimeError, names::identifier};

type Piece = Result<LogChunk, RuntimeError>;

/// Pieces of a tape that wait for its reader.
const PIECES: usize = 64;

/// Where a reading comes from.
enum Source {
    Tape(mpsc::Receiver<Piece>),
    /// The container's lines, from this one on.
    Lines(usize),
}

/// Tapes that wait for their readers, and who read so far.
#[derive(Default)]
pub(super) struct Tapes {
    waiting: BTreeMap<String, VecDeque<mpsc::Receiver<Piece>>>,
    asked: Vec<(String, LogQuery)>,
}

impl Fake {
    /// The next reading of a container's log gets the pieces that are sent here, and ends when the sender is
    /// dropped.
    #[must_use]
    pub fn tape(&self, container: &str) -> mpsc::Sender<Piece> {
        let (send, tape) = mpsc::channel(PIECES);
        self.change(|state| state.tapes.waiting.entry(container.into()).or_default().push_back(tape));
        send
    }
    /// Whose log was read so far, and which part.
    #[must_use]
    pub fn readings(&self) -> Vec<(String, LogQuery)> {
        self.look().tapes.asked.clone()
    }

    pub(super) fn read_log(&self, id: String, query: LogQuery) -> BoxStream<'static, Piece> {
        let begun = self.answer(None, |state| {
            identifier(&id, "container")?;
            state.tapes.asked.push((id.clone(), query.clone()));
            match state.tapes.waiting.get_mut(&id).and_then(VecDeque::pop_front) {
                Some(tape) => Ok(Source::Tape(tape)),
                None => state.log_start(&id, &query).map(Source::Lines),
            }
        });
        match begun {
            Ok(Source::Tape(tape)) => {
                stream::unfold(tape, |mut tape| async { Some((tape.recv().await?, tape)) }).boxed()
            }
            Ok(Source::Lines(from)) => self.lines(id, query, from),
            Err(error) => stream::once(ready(Err(error))).boxed(),
        }
    }

    /// What a container says, from a line on.
    fn lines(&self, id: String, query: LogQuery, from: usize) -> BoxStream<'static, Piece> {
        let (fake, changed) = (self.clone(), self.0.changed.subscribe());
        stream::unfold((fake, changed, from), move |(fake, mut changed, next)| {
            let (id, query) = (id.clone(), query.clone());
            async move {
                loop {
                    changed.borrow_and_update();
                    let (line, open) = fake.look().log_line(&id, next, &query);
                    match line {
                        Some(chunk) => return Some((chunk, (fake, changed, next + 1))),
                        None if !query.follow || !open => return None,
                        None => changed.changed().await.ok()?,
                    }
                }
            }
        })
        .map(Ok)
        .boxed()
    }
}
