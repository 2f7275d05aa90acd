//! Classes of requests: each has places and a deadline of its own.
//!
//! Here: [`Class`], [`Bound`], and [`Places`], which lets in so many of each class at one time. Not here: the
//! class of a route (`routes`), connections (`crowd`), rates (`rates`).
//! Why classes: ten thousand watchers, or readers of logs that take nothing, are many requests in flight; in
//! one pool they would leave no place for a change or for `/health`. What has no place is refused at once and
//! told when to come again: a queue would only hide that there are too many.
//! Invariant: a place is given back while a body is waited for, so that slow uploads take none.

use std::{sync::Arc, time::Duration};

use prometheus_client::{encoding::EncodeLabelValue, metrics::gauge::Gauge};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    accept::Open,
    metrics::{ClassLabels, HttpMetrics, Refusal},
    problem::Failure,
};

/// What a request is to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Class {
    /// Small and always wanted: health, readiness, metrics, who leads.
    Control,
    /// Changes what is declared.
    Change,
    /// Reads objects.
    Read,
    /// Stays and is told: watches, events, WebSockets.
    Watch,
    /// Stays and costs the engine too: logs, builds.
    Logs,
    /// Stays until the configuration of Traefik is another one.
    Edge,
}

impl Class {
    /// All, in the order of [`Places`].
    pub const ALL: [Self; 6] = [Self::Control, Self::Change, Self::Read, Self::Watch, Self::Logs, Self::Edge];

    /// As in problems.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Change => "change",
            Self::Read => "read",
            Self::Watch => "watch",
            Self::Logs => "logs",
            Self::Edge => "edge",
        }
    }
}

/// How many of a class, and how long each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// At one time; more are refused.
    pub at_once: usize,
    /// From a request's head, or its whole body, to its answer's head; streams go on after it.
    pub deadline: Duration,
}

/// The bound of each class.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// See [`Class::Control`].
    pub control: Bound,
    /// See [`Class::Change`].
    pub change: Bound,
    /// See [`Class::Read`].
    pub read: Bound,
    /// See [`Class::Watch`].
    pub watch: Bound,
    /// See [`Class::Logs`].
    pub logs: Bound,
    /// See [`Class::Edge`].
    pub edge: Bound,
}

impl Bounds {
    /// The bound of one class.
    #[must_use]
    pub const fn of(&self, class: Class) -> Bound {
        match class {
            Class::Control => self.control,
            Class::Change => self.change,
            Class::Read => self.read,
            Class::Watch => self.watch,
            Class::Logs => self.logs,
            Class::Edge => self.edge,
        }
    }
}

impl Default for Bounds {
    fn default() -> Self {
        let bound = |at_once, seconds| Bound { at_once, deadline: Duration::from_secs(seconds) };
        Self {
            control: bound(256, 5),
            // The store takes 10 s at most for its answer, and a change may be made anew when it collides.
            change: bound(1_024, 30),
            read: bound(1_024, 30),
            watch: bound(12_000, 10),
            logs: bound(256, 30),
            // A node has one Traefik; its answer is held for 20 s at most.
            edge: bound(64, 30),
        }
    }
}

/// The places of every class.
#[derive(Debug)]
pub struct Places {
    bounds: Bounds,
    free: [Arc<Semaphore>; Class::ALL.len()],
    in_flight: [Gauge; Class::ALL.len()],
    metrics: HttpMetrics,
}

impl Places {
    /// All of them free.
    #[must_use]
    pub fn new(bounds: Bounds, metrics: HttpMetrics) -> Self {
        let free = Class::ALL.map(|class| Arc::new(Semaphore::new(bounds.of(class).at_once)));
        let in_flight = Class::ALL.map(|class| metrics.in_flight.get_or_create_owned(&ClassLabels { class }));
        Self { bounds, free, in_flight, metrics }
    }

    /// Takes a place of a class.
    ///
    /// # Errors
    /// 429 when all are taken.
    pub fn enter(&self, class: Class) -> Result<Place, Failure> {
        let free = &self.free[class as usize];
        let Ok(permit) = free.clone().try_acquire_owned() else {
            self.metrics.refuse(class, Refusal::Places);
            return Err(Failure::no_place(class, self.bounds.of(class).at_once));
        };
        Ok(Place { class, _permit: permit, _open: Open::new(&self.in_flight[class as usize]) })
    }
}

/// A request's place: free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    class: Class,
    _permit: OwnedSemaphorePermit,
    _open: Open,
}

impl Place {
    /// Of which class.
    #[must_use]
    pub const fn class(&self) -> Class {
        self.class
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn a_full_class_refuses_and_takes_nothing_from_the_others() {
        let mut bounds = Bounds::default();
        bounds.watch.at_once = 2;
        let places = Places::new(bounds, HttpMetrics::register(&mut Registry::default()));
        let mut held: Vec<Place> = (0..2).map(|_| places.enter(Class::Watch).unwrap()).collect();
        assert_eq!(places.enter(Class::Watch).unwrap_err().status(), 429);
        for class in Class::ALL {
            assert_eq!(places.enter(class).is_ok(), class != Class::Watch, "{class:?}");
        }
        held.pop();
        assert_eq!(places.enter(Class::Watch).unwrap().class(), Class::Watch);
    }
}
