//! The rings of events and changes: bounded histories that watchers read at their own pace.
//!
//! Invariant: a repeat of an event (object, reason, message class) is shown again at a new index with
//! its greater count and the first `firstSeen`; the older entry leaves. So a flapping replica cannot
//! push everything else out.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use imbl::{OrdMap, Vector};
use serde::{Deserialize, Serialize};

use super::state::{Change, Changed};
use crate::model::{Event, Index, Object, Replica};

/// Events kept at most.
pub const EVENTS: usize = 10_000;
/// Bytes of their messages and names at most.
pub const EVENT_BYTES: usize = 4 << 20;
/// Changes kept at most.
pub const CHANGES: usize = 10_000;
/// Bytes of the objects and Replicas in them at most. Several times an entry, so that a watcher who
/// reads after each entry falls behind only when objects of that size are deleted together.
pub const CHANGE_BYTES: usize = 8 << 20;

/// Losses that are remembered apart.
const LOST: usize = 64;

/// Hash of what makes two events the same. What it finds is compared before it counts.
type Class = u64;

/// The ring of events.
#[derive(Debug, Clone, Default)]
pub struct Events {
    by_index: OrdMap<Index, Arc<Event>>,
    by_class: OrdMap<Class, Index>,
    bytes: usize,
    /// Newest index that left for want of room; repeats that moved on do not count.
    dropped: Index,
    /// Positions between these two were given to events that nobody knows any more.
    lost: Vec<(Index, Index)>,
}

impl Events {
    /// Adds an event at its index, folding it with the newest of its class.
    pub fn push(&mut self, mut event: Event) {
        let before = self.by_class.insert(class(&event), event.index).and_then(|i| self.by_index.remove(&i));
        if let Some(old) = before {
            if same(&old, &event) {
                self.bytes -= weight(&old);
                event.count += old.count;
                event.first_seen = old.first_seen;
            } else {
                // Another class of the same hash: it stays, and its next repeat begins anew.
                self.by_index.insert(old.index, old);
            }
        }
        self.bytes += weight(&event);
        self.by_index.insert(event.index, Arc::new(event));
        while self.by_index.len() > EVENTS || (self.bytes > EVENT_BYTES && self.by_index.len() > 1) {
            let Some(oldest) = self.by_index.get_min().map(|(_, oldest)| oldest.clone()) else { break };
            self.by_index.remove(&oldest.index);
            let class = class(&oldest);
            if self.by_class.get(&class) == Some(&oldest.index) {
                self.by_class.remove(&class);
            }
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
    /// Whoever was told of events between these two knows of others than there are: they begin anew. What is kept stays.
    pub fn lose(&mut self, last: Index, next: Index) {
        self.lost.push((last, next));
        if self.lost.len() > LOST {
            // Of the oldest nobody follows any more; they become one.
            let second = self.lost.remove(1);
            self.lost[0].1 = second.1;
        }
    }
    /// The oldest position to go on from, when what came after this one is not known.
    #[must_use]
    pub fn gone(&self, index: Index) -> Option<Index> {
        if index < self.dropped {
            return Some(self.dropped.next());
        }
        self.lost.iter().find(|(last, next)| *last < index && index < *next).map(|(_, next)| *next)
    }
    /// Newest index that is not kept any more.
    #[must_use]
    pub fn dropped(&self) -> Index {
        self.dropped
    }
    /// For a snapshot.
    #[must_use]
    pub fn pack(&self) -> PackedEvents {
        PackedEvents {
            dropped: self.dropped,
            lost: self.lost.clone(),
            events: self.iter().map(|e| (**e).clone()).collect(),
        }
    }
    /// From a snapshot.
    #[must_use]
    pub fn unpack(packed: PackedEvents) -> Self {
        let mut ring = Self { dropped: packed.dropped, lost: packed.lost, ..Self::default() };
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
    #[serde(default)]
    lost: Vec<(Index, Index)>,
    events: Vec<Event>,
}

/// A message without its numbers.
fn words(event: &Event) -> impl Iterator<Item = &[u8]> {
    event.message.as_bytes().split(u8::is_ascii_digit).filter(|words| !words.is_empty())
}
/// Object, reason and message without its numbers make a class.
fn class(event: &Event) -> Class {
    let mut hasher = DefaultHasher::new();
    (&event.object.uid, event.reason).hash(&mut hasher);
    words(event).for_each(|words| hasher.write(words));
    hasher.finish()
}
fn same(a: &Event, b: &Event) -> bool {
    a.object.uid == b.object.uid && a.reason == b.reason && words(a).flatten().eq(words(b).flatten())
}
fn weight(event: &Event) -> usize {
    event.message.len() + event.object.name.len() + 128
}

/// The ring of changes. Not in snapshots: after a restart a watcher lists again.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// By index, oldest first.
    list: Vector<Arc<Change>>,
    bytes: usize,
    /// Newest index that is not kept.
    dropped: Index,
}

impl Changes {
    /// A ring that begins after an index.
    #[must_use]
    pub fn since(index: Index) -> Self {
        Self { dropped: index, ..Self::default() }
    }
    /// Adds a change; the oldest leave until there is room. The newest one always stays.
    pub fn push(&mut self, change: Change) {
        self.bytes += change_weight(&change);
        self.list.push_back(Arc::new(change));
        while self.list.len() > CHANGES || (self.bytes > CHANGE_BYTES && self.list.len() > 1) {
            let Some(oldest) = self.list.pop_front() else { break };
            self.bytes -= change_weight(&oldest);
            self.dropped = oldest.index;
        }
    }
    /// Those after an index, oldest first.
    pub fn after(&self, index: Index) -> impl Iterator<Item = &Arc<Change>> {
        // Sorted by index: the tail after a binary search.
        let start = match self.list.binary_search_by(|c| c.index.cmp(&index)) {
            Ok(found) => found + 1,
            Err(place) => place,
        };
        self.list.focus().narrow(start..).into_iter()
    }
    /// Newest index whose changes are not kept.
    #[must_use]
    pub fn dropped(&self) -> Index {
        self.dropped
    }
}

/// About what a change keeps in memory. Never shared with the state for long: what is written again
/// lives on only here.
fn change_weight(change: &Change) -> usize {
    let texts = |map: &BTreeMap<String, String>| map.iter().map(|(k, v)| k.len() + v.len() + 64).sum::<usize>();
    let object = |o: &Object| o.spec.len() + texts(&o.meta.labels) + texts(&o.meta.annotations);
    let replica = |r: &Replica| {
        let rejections = r.decision.considered.iter().flat_map(|c| &c.rejections).map(|r| 64 + r.message.len());
        r.decision.considered.len() * 64 + rejections.sum::<usize>() + 512
    };
    256 + match &change.what {
        Changed::Put { object: o, relabelled } => object(o) + relabelled.as_ref().map_or(0, texts),
        Changed::Deleted(o) => object(o),
        Changed::Replica(r) | Changed::ReplicaForgotten(r) => replica(r),
        Changed::Status | Changed::Edge => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EventType, Kind, Reason, Uid, event::Subject};

    fn event(index: u64, object: &str, message: &str) -> Event {
        Event {
            index: Index(index),
            time: index,
            kind: EventType::Normal,
            reason: Reason::Started,
            object: Subject { kind: Kind::Replica, name: object.into(), uid: Uid(object.into()) },
            node: None,
            message: message.into(),
            count: 1,
            first_seen: index,
        }
    }

    #[test]
    fn a_repeat_is_shown_again_with_its_count_and_first_time() {
        let mut ring = Events::default();
        for (index, object, message) in [(1, "a", "exit 1"), (2, "b", "exit 1"), (3, "a", "exit 2"), (4, "a", "killed")]
        {
            ring.push(event(index, object, message));
        }
        let seen: Vec<_> = ring.iter().map(|e| (e.index.0, e.count, e.first_seen)).collect();
        assert_eq!(seen, [(2, 1, 2), (3, 2, 1), (4, 1, 4)]);
        assert_eq!(ring.dropped(), Index(0), "a repeat that moved on is not lost");
    }

    #[test]
    fn the_ring_is_bounded_by_number_and_by_bytes_and_says_what_left() {
        let mut ring = Events::default();
        for index in 1..=EVENTS as u64 + 5 {
            ring.push(event(index, &format!("o{index}"), "x"));
        }
        assert_eq!((ring.iter().count(), ring.dropped()), (EVENTS, Index(5)));
        let long = "x".repeat(1 << 20);
        for index in 0..8u64 {
            ring.push(event(20_000 + index, &format!("long{index}"), &long));
        }
        assert!(ring.bytes <= EVENT_BYTES);
        assert_eq!(ring.bytes, ring.iter().map(|e| weight(e)).sum::<usize>());
        assert_eq!(ring.by_class.len(), ring.by_index.len());
    }

    #[test]
    fn two_classes_of_one_hash_stay_two() {
        let mut ring = Events::default();
        ring.push(event(1, "a", "exit 1"));
        let other = event(2, "b", "killed");
        // As if both had the same hash.
        ring.by_class.insert(class(&other), Index(1));
        ring.push(other);
        assert_eq!(ring.iter().map(|e| (e.index.0, e.count)).collect::<Vec<_>>(), [(1, 1), (2, 1)]);
        assert_eq!(ring.bytes, ring.iter().map(|e| weight(e)).sum::<usize>());
    }

    #[test]
    fn a_flapping_object_pushes_nothing_else_out() {
        let mut ring = Events::default();
        ring.push(event(1, "quiet", "x"));
        for index in 2..20_000 {
            ring.push(event(index, "flapping", &format!("attempt {index}")));
        }
        assert_eq!(ring.iter().next().map(|e| e.index), Some(Index(1)));
    }

    #[test]
    fn a_packed_ring_is_the_same_ring() {
        let mut ring = Events::default();
        ring.push(event(1, "a", "exit 1"));
        let mut again = Events::unpack(ring.pack());
        again.push(event(2, "a", "exit 2"));
        assert_eq!(again.iter().map(|e| e.count).collect::<Vec<_>>(), [2]);
    }
}
