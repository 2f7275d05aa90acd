//! How far this node's Traefik is, and when the log is told.
//!
//! Here: [`Progress`], from documents that were made and markers that were read back to the newest index that is served;
//! [`record`], whether anybody waits to hear of it; [`Drains`], when a replica has answered its last request.
//! Not here: making documents (`plan::routes`), asking Traefik (`edge`), waiting for it (`plan::rollout`).
//! Invariant: an index is served when every document that follows from the log up to it is the one that was read back:
//! an older one never counts. What is told moves nothing that is told of, so that the log is at rest when all is.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::routes::Finding;
use crate::model::{Edge, Index, Reason};

/// A Traefik that asks for nothing, or does not do what it was given, for so long is not counted on.
pub const SILENT: Duration = Duration::from_secs(10);

/// Looks without a connection, one after another, before a replica counts as drained.
const LOOKS: u32 = 2;

/// What Traefik was given and what it was seen to serve.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Number of the newest document.
    number: u64,
    /// Newest index whose table it is.
    until: Index,
    /// Traefik was seen to serve it.
    read: bool,
    /// Newest index that is served.
    served: Option<Index>,
}

impl Progress {
    /// The state at this index was made into the document of this number, which may be the one before.
    pub fn made(&mut self, index: Index, number: u64) {
        self.read &= self.number == number;
        (self.number, self.until) = (number, index);
        if self.read {
            self.served = Some(index);
        }
    }
    /// Traefik serves the document of this number.
    pub fn read(&mut self, number: u64) {
        if self.number == number {
            (self.read, self.served) = (true, Some(self.until));
        }
    }
    /// Traefik is silent: what it serves is not known any more.
    pub fn forget(&mut self) {
        (self.read, self.served) = (false, None);
    }
    /// Number of the document that is to be read back.
    #[must_use]
    pub fn outstanding(&self) -> Option<u64> {
        (self.number > 0 && !self.read).then_some(self.number)
    }
    /// The newest index that is served; none while Traefik is not counted on.
    #[must_use]
    pub fn served(&self) -> Option<Index> {
        self.served
    }
}

/// A replica on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaving {
    /// Its name.
    pub replica: Arc<str>,
    /// Whoever serves what follows from the log up to here sends it nothing.
    pub index: Index,
}

/// What the log is to be told of an edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// It is no live edge any more.
    Gone,
    /// How far it is.
    Serves {
        /// Newest index that is served.
        served: Index,
        /// Replicas on their way out that have answered their last request.
        drained: BTreeSet<Arc<str>>,
    },
}

/// What is to be written into the log of this edge; none: nobody waits for anything that is new.
///
/// `asked`: the newest index at which something changed of what routes are made of, which people wait for.
#[must_use]
pub fn record(
    recorded: Option<&Edge>,
    served: Option<Index>,
    asked: Index,
    leaving: &[Leaving],
    drained: &BTreeSet<Arc<str>>,
) -> Option<News> {
    let Some(served) = served else { return recorded.is_some().then_some(News::Gone) };
    let drained: BTreeSet<Arc<str>> =
        leaving.iter().map(|l| &l.replica).filter(|name| drained.contains(*name)).cloned().collect();
    let Some(edge) = recorded else { return Some(News::Serves { served, drained }) };
    let waited = leaving.iter().map(|l| l.index).chain([asked]);
    let news = waited.into_iter().any(|index| edge.served < index && index <= served);
    // One that is gone from the log is no news.
    let left = drained.difference(&edge.drained).next().is_some();
    (news || left).then_some(News::Serves { served, drained })
}

/// Whether every live edge serves what was declared up to an index.
#[must_use]
pub fn programmed<'e>(edges: impl Iterator<Item = &'e Edge>, declared: Index) -> Finding {
    let (mut live, mut behind) = (0, Vec::new());
    for edge in edges {
        live += 1;
        if edge.served < declared {
            behind.push(&*edge.node);
        }
    }
    let told = |holds, reason, message: String| Finding { holds, reason, message };
    if live == 0 {
        return told(false, Reason::EdgeBehind, "no node has a Traefik that serves routes".into());
    }
    if behind.is_empty() {
        return told(true, Reason::Programmed, String::new());
    }
    let message = format!("Traefik on {} does not serve index {declared} yet", behind.join(", "));
    told(false, Reason::EdgeBehind, message)
}

/// Which replicas on their way out have answered their last request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drains(BTreeMap<Arc<str>, u32>);

impl Drains {
    /// One look. `open`: connections of each replica that Traefik sends nothing to any more; one whose connections
    /// cannot be counted is not in it.
    pub fn look(&mut self, open: &BTreeMap<Arc<str>, usize>) {
        let looks = |name: &Arc<str>| self.0.get(name).copied().unwrap_or(0);
        // Once drained it stays so: what comes later was not sent by Traefik.
        self.0 = open
            .iter()
            .map(|(name, open)| {
                let before = looks(name);
                (name.clone(), if *open == 0 || before >= LOOKS { before.saturating_add(1) } else { 0 })
            })
            .collect();
    }
    /// Those that nothing is in flight to.
    #[must_use]
    pub fn done(&self) -> BTreeSet<Arc<str>> {
        self.0.iter().filter(|(_, looks)| **looks >= LOOKS).map(|(name, _)| name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_served_is_the_newest_index_of_the_document_that_was_read_back() {
        let mut progress = Progress::default();
        assert_eq!((progress.outstanding(), progress.served()), (None, None));
        progress.made(Index(5), 1);
        progress.made(Index(7), 1);
        assert_eq!((progress.outstanding(), progress.served()), (Some(1), None));
        progress.read(1);
        assert_eq!((progress.outstanding(), progress.served()), (None, Some(Index(7))));
        progress.made(Index(9), 1);
        assert_eq!(progress.served(), Some(Index(9)), "the same document");
        progress.made(Index(11), 2);
        assert_eq!((progress.outstanding(), progress.served()), (Some(2), Some(Index(9))));
        progress.read(1);
        assert_eq!(progress.served(), Some(Index(9)), "an answer that came late");
        progress.read(2);
        assert_eq!(progress.served(), Some(Index(11)));
        progress.forget();
        assert_eq!((progress.outstanding(), progress.served()), (Some(2), None));
        progress.made(Index(12), 2);
        assert_eq!(progress.served(), None, "nobody knows");
    }

    #[test]
    fn the_log_is_told_only_what_somebody_waits_for() {
        let names = |names: &[&str]| -> BTreeSet<Arc<str>> { names.iter().map(|n| (*n).into()).collect() };
        let edge = |served, drained| Edge { node: "n1".into(), served: Index(served), at: 1, drained: names(drained) };
        let leaving = |index| vec![Leaving { replica: "a".into(), index: Index(index) }];
        let told = |served, drained: &[&str]| Some(News::Serves { served: Index(served), drained: names(drained) });
        type Case = (&'static str, Option<Edge>, Option<u64>, u64, Vec<Leaving>, Vec<&'static str>);
        let table: [(Case, Option<News>); 10] = [
            (("no Traefik, and none was", None, None, 9, leaving(3), vec![]), None),
            (("it fell silent", Some(edge(5, &[])), None, 9, vec![], vec![]), Some(News::Gone)),
            (("it came", None, Some(5), 0, vec![], vec![]), told(5, &[])),
            (("nothing new", Some(edge(5, &[])), Some(9), 5, vec![], vec![]), None),
            (("a Route is served", Some(edge(5, &[])), Some(9), 7, vec![], vec![]), told(9, &[])),
            (("a Route is not served yet", Some(edge(5, &[])), Some(6), 7, vec![], vec![]), None),
            (("a replica is out", Some(edge(5, &[])), Some(9), 0, leaving(8), vec![]), told(9, &[])),
            (("it was told", Some(edge(8, &[])), Some(9), 0, leaving(8), vec![]), None),
            (("it is drained", Some(edge(9, &[])), Some(9), 0, leaving(8), vec!["a"]), told(9, &["a"])),
            (("it is gone", Some(edge(9, &["a"])), Some(12), 0, vec![], vec!["a"]), None),
        ];
        for ((case, recorded, served, asked, leaving, drained), want) in table {
            let got = record(recorded.as_ref(), served.map(Index), Index(asked), &leaving, &names(&drained));
            assert_eq!(got, want, "{case}");
        }
    }

    #[test]
    fn what_is_declared_is_programmed_when_every_live_edge_serves_it() {
        let edge =
            |node: &str, served| Edge { node: node.into(), served: Index(served), at: 1, drained: BTreeSet::new() };
        let (all, declared) = ([edge("n1", 7), edge("n2", 5), edge("n3", 4)], Index(6));
        let say = |edges: &[Edge]| {
            let found = programmed(edges.iter(), declared);
            (found.holds, found.message)
        };
        assert_eq!(say(&all[..1]), (true, String::new()));
        assert_eq!(say(&all), (false, "Traefik on n2, n3 does not serve index 6 yet".into()));
        assert_eq!(say(&[]), (false, "no node has a Traefik that serves routes".into()));
    }

    #[test]
    fn a_replica_is_drained_when_two_looks_find_nothing() {
        let mut drains = Drains::default();
        let mut done = |open: &[(&str, usize)]| {
            drains.look(&open.iter().map(|(name, open)| ((*name).into(), *open)).collect());
            drains.done().iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(done(&[("a", 0), ("b", 1)]), [""; 0]);
        assert_eq!(done(&[("a", 0), ("b", 0)]), ["a"]);
        assert_eq!(done(&[("a", 3), ("b", 1)]), ["a"], "somebody else's");
        assert_eq!(done(&[("b", 0)]), [""; 0], "the other is gone");
        assert_eq!(done(&[("b", 0)]), ["b"]);
    }

    proptest! {
        /// What is told once does not make itself told again.
        #[test]
        fn the_log_comes_to_rest(served in 0_u64..20, asked in 0_u64..20, index in 0_u64..20, drained: bool) {
            let leaving = [Leaving { replica: "a".into(), index: Index(index) }];
            let done: BTreeSet<Arc<str>> = drained.then(|| "a".into()).into_iter().collect();
            let first = record(None, Some(Index(served)), Index(asked), &leaving, &done);
            let Some(News::Serves { served: at, drained }) = first else { panic!("{first:?}") };
            let edge = Edge { node: "n1".into(), served: at, at: 1, drained };
            for later in served..served + 5 {
                let again = record(Some(&edge), Some(Index(later)), Index(asked.min(served)), &leaving, &done);
                prop_assert!(again.is_none() || index > served, "{again:?}");
            }
        }
    }
}
