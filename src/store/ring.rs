//! The rings of events and changes: bounded histories that watchers read at their own pace.
//!
//! Invariant: a repeat of an event (object, reason, message class) is shown again at a new index with
//! its greater count and the first `firstSeen`; the older entry leaves. So a flapping replica cannot
//! push everything else out.

use std::sync::Arc;

use imbl::{OrdMap, Vector};
use serde::{Deserialize, Serialize};

use super::state::Change;
use crate::model::{Event, Index, Reason, Uid};

/// Events kept at most.
pub const EVENTS: usize = 10_000;
/// Bytes of their messages and names at most.
pub const EVENT_BYTES: usize = 4 << 20;
/// Changes kept at most.
pub const CHANGES: usize = 10_000;

/// What makes two events the same: object, reason, message without its numbers.
type Class = (Uid, Reason, Arc<str>);

/// The ring of events.
#[derive(Debug, Clone, Default)]
pub struct Events {
    by_index: OrdMap<Index, Arc<Event>>,
    by_class: OrdMap<Class, Index>,
    bytes: usize,
    /// Newest index that left for want of room; repeats that moved on do not count.
    dropped: Index,
}

impl Events {
    /// Adds an event at its index, folding it with the newest of its class.
    pub fn push(&mut self, mut event: Event) {
        let class = class(&event);
        if let Some(old) = self.by_class.get(&class).copied().and_then(|i| self.by_index.remove(&i)) {
            self.bytes -= weight(&old);
            event.count += old.count;
            event.first_seen = old.first_seen;
        }
        self.bytes += weight(&event);
        self.by_class.insert(class, event.index);
        self.by_index.insert(event.index, Arc::new(event));
        while self.by_index.len() > EVENTS || (self.bytes > EVENT_BYTES && self.by_index.len() > 1) {
            let Some((_, oldest)) = self.by_index.get_min().cloned() else { break };
            self.by_index.remove(&oldest.index);
            self.by_class.remove(&self::class(&oldest));
            self.bytes -= weight(&oldest);
            self.dropped = oldest.index;
        }
    }
    /// All, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<Event>> {
        self.by_index.values()
    }
    /// Those after an index, oldest first.
    pub fn after(&self, index: Index) -> impl Iterator<Item = &Arc<Event>> {
        self.by_index.range(index.next()..).map(|(_, e)| e)
    }
    /// Newest index that is not kept any more.
    #[must_use]
    pub fn dropped(&self) -> Index {
        self.dropped
    }
    /// For a snapshot.
    #[must_use]
    pub fn pack(&self) -> PackedEvents {
        PackedEvents { dropped: self.dropped, events: self.iter().map(|e| (**e).clone()).collect() }
    }
    /// From a snapshot.
    #[must_use]
    pub fn unpack(packed: PackedEvents) -> Self {
        let mut ring = Self { dropped: packed.dropped, ..Self::default() };
        for event in packed.events {
            ring.bytes += weight(&event);
            ring.by_class.insert(class(&event), event.index);
            ring.by_index.insert(event.index, Arc::new(event));
        }
        ring
    }
}

/// Events in a snapshot.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct PackedEvents {
    dropped: Index,
    events: Vec<Event>,
}

fn class(event: &Event) -> Class {
    let class: String = event.message.chars().filter(|c| !c.is_ascii_digit()).collect();
    (event.object.uid.clone(), event.reason, class.into())
}
fn weight(event: &Event) -> usize {
    event.message.len() + event.object.name.len() + 128
}

/// Adds a change; answers the index of the one that left for it.
pub fn push_change(changes: &mut Vector<Arc<Change>>, change: Arc<Change>) -> Option<Index> {
    changes.push_back(change);
    if changes.len() > CHANGES { changes.pop_front().map(|left| left.index) } else { None }
}
