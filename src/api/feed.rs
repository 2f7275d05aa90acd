//! Events for many who listen: read once, made into text once, and told in one go.
//!
//! Here: [`Hub`], which follows the store for all listeners, [`Feed`], what one listener reads, and [`Filter`],
//! which events are meant. Not here: how they are sent (`events`, `socket`).
//! All listeners of one filter share a channel, and all channels the text of an event. A listener reads its
//! channel at its own pace; one that is behind what the channel keeps (it resumes, or is slow) reads the ring of
//! the store by itself until it has caught up.
//! Why not each by itself: ten thousand that wake at every change of the store, look through it and make the
//! same text take both cores from whoever makes the changes. With many listeners the hub also waits a moment
//! between two rounds, so that several events go out with one write each.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_util::sync::CancellationToken;

use super::{problem::Failure, request::Query};
use crate::{
    model::{Event, EventType, Index, Kind},
    store::{Client, State, state::Gone},
};

/// Events that a listener takes at one time.
const BATCH: usize = 64;
/// Bytes of text that all channels keep together.
const KEPT: usize = 16 << 20;
/// What each keeps, however many there are: enough for those who keep up. The ring has the rest.
const KEPT_EACH: std::ops::RangeInclusive<usize> = (4 << 10)..=(256 << 10);
/// To tell one listener takes about so long.
const EACH: Duration = Duration::from_micros(20);
/// Between two rounds at most.
const ROUND: Duration = Duration::from_millis(250);
/// Shorter is no pause: the timer counts in milliseconds.
const NO_PAUSE: Duration = Duration::from_millis(2);

/// Follows the store for all who listen to its events.
#[derive(Debug)]
pub struct Hub {
    store: Client,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// How far the events are in the channels.
    upto: Index,
    channels: HashMap<Filter, Weak<Channel>>,
}

/// The events of one filter.
#[derive(Debug)]
struct Channel {
    filter: Filter,
    kept: Mutex<Kept>,
    news: watch::Sender<()>,
}

#[derive(Debug)]
struct Kept {
    /// Nothing is missing after this index.
    after: Index,
    upto: Index,
    texts: VecDeque<(Index, Utf8Bytes)>,
    bytes: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here panics while it is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    /// Nobody listens yet.
    #[must_use]
    pub fn new(store: Client) -> Arc<Self> {
        let inner = Inner { upto: store.state().index(), channels: HashMap::new() };
        Arc::new(Self { store, inner: Mutex::new(inner) })
    }

    /// Follows the store until `stop` or the store's end.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut states = self.store.watch();
        while let Some(Ok(())) = stop.run_until_cancelled(states.changed()).await {
            let state = states.borrow_and_update().clone();
            let pause = EACH.saturating_mul(self.tell(&state)).min(ROUND);
            drop(state);
            if pause >= NO_PAUSE {
                stop.run_until_cancelled(tokio::time::sleep(pause)).await;
            }
        }
    }

    /// Brings all channels to a state; how many were told.
    fn tell(&self, state: &State) -> u32 {
        let mut inner = lock(&self.inner);
        let from = std::mem::replace(&mut inner.upto, state.index());
        inner.channels.retain(|_, channel| channel.strong_count() > 0);
        let room = (KEPT / inner.channels.len().max(1)).clamp(*KEPT_EACH.start(), *KEPT_EACH.end());
        let new: Option<Vec<(&Arc<Event>, Option<Utf8Bytes>)>> =
            state.events_after(from).ok().map(|events| events.map(|event| (event, None)).collect());
        let Some(mut new) = new else {
            // More happened than is kept: each listener finds out what it missed.
            for channel in inner.channels.values().filter_map(Weak::upgrade) {
                channel.restart(state.index());
            }
            return 0;
        };
        let mut told = 0;
        for channel in inner.channels.values().filter_map(Weak::upgrade) {
            if channel.add(&mut new, state.index(), room) {
                told += u32::try_from(channel.news.receiver_count()).unwrap_or(u32::MAX);
                channel.news.send_replace(());
            }
        }
        told
    }

    /// What one listener reads, from an index on.
    #[must_use]
    pub fn feed(&self, filter: Filter, at: Index) -> Feed {
        let mut inner = lock(&self.inner);
        let upto = inner.upto;
        let channel = inner.channels.get(&filter).and_then(Weak::upgrade).unwrap_or_else(|| {
            let kept = Kept { after: upto, upto, texts: VecDeque::new(), bytes: 0 };
            let channel = Channel { filter: filter.clone(), kept: Mutex::new(kept), news: watch::Sender::new(()) };
            let channel = Arc::new(channel);
            inner.channels.insert(filter, Arc::downgrade(&channel));
            channel
        });
        Feed { news: channel.news.subscribe(), channel, store: self.store.clone(), at }
    }
}

impl Channel {
    /// Adds what its filter takes; whether that was anything.
    fn add(&self, new: &mut [(&Arc<Event>, Option<Utf8Bytes>)], upto: Index, room: usize) -> bool {
        let mut kept = lock(&self.kept);
        let mut added = false;
        for (event, text) in new.iter_mut().filter(|(event, _)| self.filter.takes(event)) {
            let text = text.get_or_insert_with(|| self::text(event)).clone();
            kept.bytes += text.len();
            kept.texts.push_back((event.index, text));
            added = true;
        }
        kept.upto = upto;
        while kept.bytes > room {
            let Some((index, text)) = kept.texts.pop_front() else { break };
            kept.bytes -= text.len();
            kept.after = index;
        }
        added
    }
    fn restart(&self, at: Index) {
        *lock(&self.kept) = Kept { after: at, upto: at, texts: VecDeque::new(), bytes: 0 };
        self.news.send_replace(());
    }
}

/// An event as it is sent.
fn text(event: &Event) -> Utf8Bytes {
    // An event is plain data: it always has a JSON form.
    serde_json::to_string(event).unwrap_or_default().into()
}

/// What one listener reads.
#[derive(Debug)]
pub struct Feed {
    channel: Arc<Channel>,
    news: watch::Receiver<()>,
    store: Client,
    at: Index,
}

impl Feed {
    /// What is there now, some of it at a time; nothing when it has caught up.
    ///
    /// # Errors
    /// [`Gone`] when its position is not kept any more.
    pub fn take(&mut self) -> Result<Vec<Utf8Bytes>, Gone> {
        self.news.mark_unchanged();
        if let Some(texts) = self.shared() {
            return Ok(texts);
        }
        let state = self.store.state();
        let batch = self.channel.filter.batch(&state, self.at)?;
        self.at = batch.position;
        if batch.events.is_empty() {
            // What came to the channel meanwhile.
            return Ok(self.shared().unwrap_or_default());
        }
        Ok(batch.events.iter().map(|event| text(event)).collect())
    }

    /// From the channel; none when that does not reach back so far.
    fn shared(&mut self) -> Option<Vec<Utf8Bytes>> {
        let kept = lock(&self.channel.kept);
        if self.at < kept.after {
            return None;
        }
        let first = kept.texts.partition_point(|(index, _)| *index <= self.at);
        let new: Vec<_> = kept.texts.range(first..).take(BATCH).cloned().collect();
        self.at = match new.last() {
            Some((last, _)) if new.len() == BATCH => *last,
            _ => self.at.max(kept.upto),
        };
        Some(new.into_iter().map(|(_, text)| text).collect())
    }

    /// Waits until there may be more.
    pub async fn news(&mut self) {
        // Its channel is its own: the sender lives.
        let _ = self.news.changed().await;
    }
}

/// Some events.
pub struct Batch {
    /// They.
    pub events: Vec<Arc<Event>>,
    /// How far was looked.
    pub position: Index,
    /// Whether there are more.
    pub more: bool,
}

/// Which events are meant; an empty list means all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Filter {
    kinds: BTreeSet<Kind>,
    names: Vec<(Option<Kind>, String)>,
    types: BTreeSet<EventType>,
}

impl Filter {
    /// From a query.
    ///
    /// # Errors
    /// 400 for a kind or a type that does not exist.
    pub fn read(query: &Query) -> Result<Self, Failure> {
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
    /// The next ones after an index.
    ///
    /// # Errors
    /// [`Gone`] when that is not kept any more.
    pub fn batch(&self, state: &State, after: Index) -> Result<Batch, Gone> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::tests::{events::happen, rig::Rig};

    fn indexes(texts: &[Utf8Bytes]) -> Vec<u64> {
        let index = |text: &Utf8Bytes| serde_json::from_str::<serde_json::Value>(text).unwrap()["index"].as_u64();
        texts.iter().map(|text| index(text).unwrap()).collect()
    }
    fn all(feed: &mut Feed) -> Vec<Utf8Bytes> {
        std::iter::from_fn(|| Some(feed.take().unwrap()).filter(|t| !t.is_empty())).flatten().collect()
    }

    #[tokio::test]
    async fn listeners_of_one_filter_share_the_text_and_miss_nothing_wherever_they_begin() {
        let rig = Rig::new().await;
        let store = rig.shared.store.clone();
        let hub = Hub::new(store.clone());
        happen(&rig, "before", 100).await;
        let start = store.state().index();
        let (mut first, mut second) = (hub.feed(Filter::default(), start), hub.feed(Filter::default(), start));
        let mut late = hub.feed(Filter::default(), Index(0));
        happen(&rig, "after", 100).await;
        assert_eq!(hub.tell(&store.state()), 3);
        let (one, other) = (all(&mut first), all(&mut second));
        let want: Vec<u64> = store.state().events_after(start).unwrap().map(|e| e.index.0).collect();
        assert_eq!((indexes(&one), want.len()), (want, 100));
        assert!(one.iter().zip(&other).all(|(a, b)| a.as_ptr() == b.as_ptr()), "made once");
        // It reads the ring by itself, then goes on with the others.
        let kept = store.state().events().count();
        assert_eq!(all(&mut late).len(), kept);
        happen(&rig, "more", 1).await;
        hub.tell(&store.state());
        assert_eq!(indexes(&all(&mut late)), indexes(&all(&mut first)));
        assert_eq!(all(&mut second).len(), 1);
        assert!(all(&mut second).is_empty());
        drop((first, second, late));
        hub.tell(&store.state());
        assert!(lock(&hub.inner).channels.is_empty(), "nothing is kept for nobody");
    }

    #[tokio::test]
    async fn a_channel_keeps_so_much_and_whoever_is_behind_reads_the_ring() {
        let rig = Rig::new().await;
        let store = rig.shared.store.clone();
        let hub = Hub::new(store.clone());
        let start = store.state().index();
        let mut slow = hub.feed(Filter::default(), start);
        happen(&rig, "r", 300).await;
        let state = store.state();
        let mut new: Vec<_> = state.events_after(start).unwrap().map(|event| (event, None)).collect();
        assert!(slow.channel.add(&mut new, state.index(), 1_000));
        assert!(lock(&slow.channel.kept).bytes <= 1_000);
        assert_eq!(all(&mut slow).len(), 300);
    }
}
