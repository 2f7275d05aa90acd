//! How far this node's Traefik is, and when the log is told.
//!
//! Here: [`Progress`], from documents that were made and markers that were read back to the newest index that is served;
//! [`record`], whether anybody waits to hear of it; [`Drains`], when a replica has answered its last request.
//! Not here: making documents (`plan::routes`), asking Traefik (`edge`), waiting for it (`plan::rollout`).
//! Invariant: an index is served when the document that was read back is the one that follows from the log up to it: one
//! that is older than another that was read back never counts, nor what a Traefik before this one served. What is told moves nothing that is told of, so that the log is at rest when all is.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::routes::Finding;
use crate::model::{Edge, Index, Reason};

/// A Traefik that asks for nothing for so long is not counted on; of one that asks and does not do what it was given so
/// long, that is said.
pub const SILENT: Duration = Duration::from_secs(10);

/// One that is silent leaves the set of edges so much later: what goes through it by way of the public ports has ended by
/// then. It may send requests where it was told to, and nobody waits for that any more.
pub const PARTING: Duration = Duration::from_secs(6);

/// Who comes while Traefik asks for nothing waits for the next one for so long; then the public ports are shut.
pub const AWAY: Duration = Duration::from_secs(30);

/// Looks without a connection, one after another, before a replica counts as drained.
const LOOKS: u32 = 2;

/// Most documents that are waited for at one time; of more the oldest are not.
const OFFERED: usize = 64;

/// What Traefik was given and what it was seen to serve.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Number of each document from the one that is served on, and the newest index whose table it is.
    offered: VecDeque<(u64, Index)>,
    /// Number of the one that is served; 0: of none of these is it known.
    read: u64,
    /// Newest index that is served.
    served: Option<Index>,
}

impl Progress {
    /// The state at this index was made into the document of this number, which may be the one before.
    pub fn made(&mut self, index: Index, number: u64) {
        match self.offered.back_mut() {
            Some((last, until)) if *last == number => *until = index,
            _ => {
                self.offered.push_back((number, index));
                if self.offered.len() > OFFERED {
                    self.offered.pop_front();
                }
            }
        }
        if self.read == number {
            self.served = Some(index);
        }
    }
    /// Traefik serves the document of this number; whether that is news.
    pub fn read(&mut self, number: u64) -> bool {
        let Some((_, until)) = self.offered.iter().find(|(offered, _)| *offered == number && number > self.read) else {
            return false;
        };
        (self.read, self.served) = (number, Some(*until));
        self.offered.retain(|(offered, _)| *offered >= number);
        true
    }
    /// Another Traefik has come, and has nothing yet: one that was counted on still is, and serves nothing.
    pub fn reset(&mut self) {
        self.served = self.served.map(|_| Index::default());
        self.unread();
    }
    /// Traefik is silent: what it serves is not known any more.
    pub fn forget(&mut self) {
        self.served = None;
        self.unread();
    }
    /// Who comes is given the newest.
    fn unread(&mut self) {
        self.read = 0;
        let newest = self.offered.len().saturating_sub(1);
        self.offered.drain(..newest);
    }
    /// Number of the oldest document that is to be read back; none: the newest was.
    #[must_use]
    pub fn outstanding(&self) -> Option<u64> {
        self.offered.iter().map(|(number, _)| *number).find(|number| *number > self.read)
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
/// `told`: what was written last. An edge that is not in the log any more was left out because it did not follow: it comes
/// back when it does.
#[must_use]
pub fn record(
    recorded: Option<&Edge>,
    told: Option<Index>,
    served: Option<Index>,
    asked: Index,
    leaving: &[Leaving],
    drained: &BTreeSet<Arc<str>>,
) -> Option<News> {
    let Some(served) = served else { return recorded.is_some().then_some(News::Gone) };
    let drained: BTreeSet<Arc<str>> =
        leaving.iter().map(|l| &l.replica).filter(|name| drained.contains(*name)).cloned().collect();
    let Some(edge) = recorded else { return (told != Some(served)).then_some(News::Serves { served, drained }) };
    if served < edge.served {
        // Another Traefik.
        return Some(News::Serves { served, drained });
    }
    let waited = leaving.iter().map(|l| l.index).chain([asked]);
    let news = waited.into_iter().any(|index| edge.served < index && index <= served);
    // One that is gone from the log is no news.
    let left = drained.difference(&edge.drained).next().is_some();
    (news || left).then_some(News::Serves { served, drained })
}

/// The public ports of a node with the role edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doors<'s> {
    /// The node.
    pub node: &'s str,
    /// Why not all that routes ask for are open, as it says.
    pub shut: Option<(Reason, String)>,
}

impl Doors<'_> {
    /// Why one of these ports is not open here. What is said of no port is said of all.
    fn shut(&self, ports: &BTreeSet<u16>) -> Option<(Reason, String)> {
        let (reason, message) = self.shut.as_ref()?;
        let port = |said: &str| said.strip_prefix("port ")?.split(' ').next()?.parse::<u16>().ok();
        let ours: Vec<&str> =
            message.split("; ").filter(|said| port(said).is_none_or(|port| ports.contains(&port))).collect();
        (!ours.is_empty()).then(|| (*reason, format!("on {}: {}", self.node, ours.join("; "))))
    }
}

/// Whether every live edge serves what was declared up to an index, and somebody comes there by these public ports. What
/// is shut of them on some nodes only is told all the same.
#[must_use]
pub fn programmed<'e>(
    edges: impl Iterator<Item = &'e Edge>,
    declared: Index,
    doors: &[Doors<'_>],
    ports: &BTreeSet<u16>,
) -> Finding {
    let (mut live, mut new, mut behind) = (0, Vec::new(), Vec::new());
    for edge in edges {
        live += 1;
        match edge.served {
            Index(0) => new.push(&*edge.node),
            served if served < declared => behind.push(&*edge.node),
            _ => {}
        }
    }
    let mut said = match (doors.is_empty(), live) {
        (true, 0) => vec!["no node has the role edge".to_owned()],
        (false, 0) => vec!["no node has a Traefik that serves routes".to_owned()],
        (_, _) => Vec::new(),
    };
    let lags = [(new, "serves nothing yet".to_owned()), (behind, format!("does not serve index {declared} yet"))];
    for (nodes, what) in lags {
        if !nodes.is_empty() {
            said.push(format!("Traefik on {} {what}", nodes.join(", ")));
        }
    }
    let shut: Vec<(Reason, String)> = doors.iter().filter_map(|doors| doors.shut(ports)).collect();
    let reason = match (live, shut.first()) {
        (0, _) => Reason::NoEdge,
        _ if !said.is_empty() => Reason::EdgeBehind,
        (_, Some((reason, _))) if shut.len() == doors.len() => *reason,
        _ => Reason::Programmed,
    };
    said.extend(shut.into_iter().map(|(_, message)| message));
    Finding { holds: reason == Reason::Programmed, reason, message: said.join("; ") }
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
        assert!(progress.read(1) && !progress.read(1));
        assert_eq!((progress.outstanding(), progress.served()), (None, Some(Index(7))));
        progress.made(Index(9), 1);
        assert_eq!(progress.served(), Some(Index(9)), "the same document");
        progress.made(Index(11), 2);
        assert_eq!((progress.outstanding(), progress.served()), (Some(2), Some(Index(9))));
        progress.read(1);
        assert_eq!(progress.served(), Some(Index(9)), "an answer that came late");
        progress.read(2);
        assert_eq!(progress.served(), Some(Index(11)));
        progress.reset();
        assert_eq!((progress.outstanding(), progress.served()), (Some(2), Some(Index(0))), "another Traefik");
        progress.made(Index(12), 2);
        assert_eq!(progress.served(), Some(Index(0)), "it has not read it");
        progress.read(2);
        assert_eq!(progress.served(), Some(Index(12)));
        progress.forget();
        assert_eq!((progress.outstanding(), progress.served()), (Some(2), None));
        progress.made(Index(13), 2);
        assert_eq!(progress.served(), None, "nobody knows");
        progress.reset();
        assert_eq!(progress.served(), None, "still");
    }

    #[test]
    fn a_document_before_the_newest_counts_when_it_is_read_back() {
        let mut progress = Progress::default();
        // They change faster than Traefik follows: it is always behind, and moves all the same.
        for number in 1..=200_u64 {
            progress.made(Index(number * 10), number);
            if number > 3 {
                assert!(progress.read(number - 3), "{number}");
                assert_eq!(progress.served(), Some(Index((number - 3) * 10)));
                assert_eq!(progress.outstanding(), Some(number - 2));
            }
        }
        assert!(!progress.read(150) && progress.served() == Some(Index(1_970)), "it was past that");
        assert!(!progress.read(999), "not of this process");
        // Without an answer not all are kept.
        (201..2_000).for_each(|number| progress.made(Index(number * 10), number));
        assert!(progress.offered.len() <= OFFERED && progress.read(1_999) && progress.outstanding().is_none());
    }

    #[test]
    fn the_log_is_told_only_what_somebody_waits_for() {
        let names = |names: &[&str]| -> BTreeSet<Arc<str>> { names.iter().map(|n| (*n).into()).collect() };
        let edge = |served, drained| Edge { node: "n1".into(), served: Index(served), at: 1, drained: names(drained) };
        let leaving = |index| vec![Leaving { replica: "a".into(), index: Index(index) }];
        let told = |served, drained: &[&str]| Some(News::Serves { served: Index(served), drained: names(drained) });
        type Case = (&'static str, Option<Edge>, Option<u64>, u64, Vec<Leaving>, Vec<&'static str>);
        let table: [(Case, Option<News>); 11] = [
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
            (("another Traefik, which has nothing yet", Some(edge(9, &[])), Some(0), 9, vec![], vec![]), told(0, &[])),
        ];
        for ((case, recorded, served, asked, leaving, drained), want) in table {
            let got = record(recorded.as_ref(), None, served.map(Index), Index(asked), &leaving, &names(&drained));
            assert_eq!(got, want, "{case}");
        }
        // One that was left out because it does not follow does not come back as it was.
        let again = |served| record(None, Some(Index(5)), Some(Index(served)), Index(9), &leaving(8), &names(&[]));
        assert_eq!((again(5), again(8)), (None, told(8, &[])));
    }

    #[test]
    fn what_is_declared_is_programmed_when_every_live_edge_serves_it() {
        let edge =
            |node: &str, served| Edge { node: node.into(), served: Index(served), at: 1, drained: BTreeSet::new() };
        let (all, declared) = ([edge("n1", 7), edge("n2", 5), edge("n3", 4)], Index(6));
        let open = [Doors { node: "n1", shut: None }];
        let say = |edges: &[Edge], doors: &[Doors<'_>]| {
            let found = programmed(edges.iter(), declared, doors, &[80].into());
            assert_eq!(found.holds, found.reason == Reason::Programmed);
            (found.holds, found.message)
        };
        assert_eq!(say(&all[..1], &open), (true, String::new()));
        assert_eq!(say(&all, &open), (false, "Traefik on n2, n3 does not serve index 6 yet".into()));
        assert_eq!(say(&[edge("n1", 0)], &open), (false, "Traefik on n1 serves nothing yet".into()));
        assert_eq!(say(&[], &open), (false, "no node has a Traefik that serves routes".into()));
        assert_eq!(say(&[], &[]), (false, "no node has the role edge".into()));
        let shut = |node, said: &str| Doors { node, shut: Some((Reason::PortConflict, said.into())) };
        let none = "no node has a Traefik that serves routes; on n1: shut: 80; no Traefik is declared";
        assert_eq!(say(&[], &[shut("n1", "shut: 80; no Traefik is declared")]), (false, none.into()));
        let held = "port 80 is held by a (pid 1); port 443 is held by b (pid 2)";
        let told = "on n1: port 80 is held by a (pid 1)";
        assert_eq!(say(&all[..1], &[shut("n1", held)]), (false, told.into()), "nobody comes there");
        let other = Doors { node: "n2", ..open[0].clone() };
        assert_eq!(say(&all[..1], &[shut("n1", held), other]), (true, told.into()), "not everywhere");
        assert_eq!(
            say(&all[..1], &[shut("n1", "port 443 is held by b (pid 2)")]),
            (true, String::new()),
            "not asked for"
        );
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
            let first = record(None, None, Some(Index(served)), Index(asked), &leaving, &done);
            let Some(News::Serves { served: at, drained }) = first else { panic!("{first:?}") };
            let edge = Edge { node: "n1".into(), served: at, at: 1, drained };
            for later in served..served + 5 {
                let again = record(Some(&edge), None, Some(Index(later)), Index(asked.min(served)), &leaving, &done);
                prop_assert!(again.is_none() || index > served, "{again:?}");
            }
        }
    }
}
