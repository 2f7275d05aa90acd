//! Events as lines.

use crate::{
    cli::{
        replicas::Replicas,
        text::{self, Times},
    },
    model::Event,
};

/// The columns.
pub const HEADER: [&str; 8] = ["INDEX", "LAST SEEN", "TYPE", "REASON", "OBJECT", "NODE", "COUNT", "MESSAGE"];

/// One row.
#[must_use]
pub fn row(event: &Event, known: &Replicas, times: Times) -> Vec<String> {
    vec![
        event.index.to_string(),
        times.at(event.time),
        format!("{:?}", event.kind),
        event.reason.to_string(),
        known.display(&event.object),
        event.node.as_deref().unwrap_or("-").to_owned(),
        event.count.to_string(),
        text::clean(&event.message).into_owned(),
    ]
}

/// A line of a stream, whose widths cannot be known: those that fit most.
#[must_use]
pub fn line<C: AsRef<str>>(cells: &[C]) -> String {
    const WIDTHS: [usize; 8] = [8, 10, 7, 16, 26, 10, 5, 0];
    text::row(&WIDTHS, cells)
}
