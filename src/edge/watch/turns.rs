//! What one turn of an edge's loop leaves to the next.
//!
//! Here: [`Turns`], and what becomes of it when Traefik was heard, or came, or went. Not here: the turn ([`super::Edge`]).
//! Invariant: what was known of a Traefik is known of that one alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Instant,
};

use tokio::{sync::watch, task::JoinHandle};

use super::{Made, Offered, Place, own};
use crate::{
    edge::{
        hold::{Hold, Target},
        offer::Seen,
        readback::Served,
    },
    model::Index,
    plan::{
        edge::{Drains, Progress},
        entry::Own,
        routes::Marker,
    },
    store::State,
};

/// A place where requests wait.
pub(super) struct Held {
    pub(super) hold: Hold,
    pub(super) target: watch::Sender<Target>,
}

/// What one turn leaves to the next.
pub(super) struct Turns {
    pub(super) progress: Progress,
    /// The newest table, and the index of its state.
    pub(super) made: Made,
    pub(super) seen: Option<Index>,
    /// A table could not be made: it is tried again then.
    pub(super) broken: Option<Instant>,
    /// Of the document that is offered.
    pub(super) marker: Marker,
    /// Since when Traefik was seen to serve nothing that is newer, while there is something; and whether that was said.
    pub(super) since: Instant,
    pub(super) late: bool,
    /// Last part of the markers of this process: this and the number of the document.
    pub(super) sub: u64,
    /// Which Traefik is there, and the last that was seen to serve a document of ours.
    pub(super) turn: u64,
    pub(super) ready: Option<u64>,
    /// What was counted when it was another.
    pub(super) came: u64,
    pub(super) lost: u64,
    /// When the last one stopped to serve that did.
    pub(super) ended: Option<Instant>,
    /// One was there not long ago; none is.
    pub(super) counted: bool,
    pub(super) gone: bool,
    /// When that began, and how often it did.
    pub(super) parted: Option<Instant>,
    pub(super) cuts: u64,
    /// The log has known of it since it is there.
    pub(super) listed: bool,
    /// From when on it is said that public ports are shut though routes ask for them.
    pub(super) shut: Option<Instant>,
    /// What is known of the cluster's own Traefik, and the index of its state.
    pub(super) own: Option<(Index, Own)>,
    /// How far the log was told to be this edge.
    pub(super) told: Option<Index>,
    /// When the last table was made, and when it is to be made again though nothing changes.
    pub(super) at: Option<Instant>,
    pub(super) again: Option<Instant>,
    pub(super) held: BTreeMap<Place, Held>,
    pub(super) drains: Drains,
    /// Where each replica that is there got requests by the tables of this process.
    pub(super) offered: Offered,
    /// Where the replicas that are on their way out got requests; none: nobody knows.
    pub(super) endpoints: BTreeMap<Arc<str>, Option<BTreeSet<SocketAddr>>>,
    /// Their next look.
    pub(super) look: Option<Instant>,
    pub(super) telling: Option<JoinHandle<()>>,
    /// Traefik was there before this process, and has time to come back.
    pub(super) known: bool,
}

impl Turns {
    pub(super) fn new(began: Instant) -> Self {
        Self {
            progress: Progress::default(),
            made: Made::default(),
            seen: None,
            broken: None,
            marker: Marker::default(),
            since: began,
            late: false,
            sub: rand::random::<u32>().into(),
            turn: 0,
            ready: None,
            came: 0,
            lost: 0,
            ended: None,
            counted: false,
            gone: true,
            parted: None,
            cuts: 0,
            listed: false,
            shut: None,
            own: None,
            told: None,
            at: None,
            again: None,
            held: BTreeMap::new(),
            drains: Drains::default(),
            offered: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            look: None,
            telling: None,
            known: false,
        }
    }

    /// What is known of the cluster's own Traefik: looked at again when something changed that it is made of.
    pub(super) fn own(&mut self, state: &State, node: &str) -> Own {
        let own = match self.own.take() {
            Some((seen, own)) if !own::concerns(state, seen) => own,
            _ => own::find(state, node),
        };
        self.own = Some((state.index(), own.clone()));
        own
    }

    /// Closes the places where requests wait that nobody is told of any more.
    pub(super) fn prune(&mut self) {
        if self.gone || self.progress.outstanding().is_none() {
            // Nobody serves a document that names the others.
            let waits = &self.made.waits;
            self.held.retain(|place, _| waits.contains_key(place));
        }
    }

    /// Traefik was seen to serve something, or nothing any more.
    pub(super) fn heard(&mut self, served: Served, now: Instant) {
        if std::mem::replace(&mut self.lost, served.lost) != served.lost {
            self.ended = Some(now);
            self.another(now);
        }
        // The one that was asked may be gone.
        if served.turn == self.turn && served.turn > 0 {
            (self.ready, self.ended) = (Some(served.turn), None);
            if served.marker.sub.checked_sub(self.sub).is_some_and(|number| self.progress.read(number)) {
                (self.since, self.late) = (now, false);
            }
        }
    }

    /// Those who ask came or went.
    pub(super) fn came(&mut self, seen: Seen, now: Instant) {
        if std::mem::replace(&mut self.came, seen.turn) != seen.turn {
            self.another(now);
        }
    }

    /// Traefik is counted on, or not.
    pub(super) fn parts(&mut self, gone: bool, now: Instant) {
        match (std::mem::replace(&mut self.gone, gone), gone) {
            (false, true) => (self.parted, self.cuts) = (Some(now), self.cuts + 1),
            (true, false) => self.parted = None,
            _ => {}
        }
    }

    /// What was known of a Traefik is not known of the one that is there.
    fn another(&mut self, now: Instant) {
        self.turn += 1;
        self.progress.reset();
        self.since = now;
    }
}
