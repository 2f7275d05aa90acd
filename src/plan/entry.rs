//! Which public ports this node opens, closes and tries again.
//!
//! Here: [`plan`], from what is wanted, open and failed to the next [`Steps`]; [`serving`], what the node says of
//! it. Not here: sockets (`edge::splice`), which entry points a Route asks for (`plan::routes`).
//! Invariant: a port that nothing asks for is not held; one that cannot be opened never keeps another one shut.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use super::told;
use crate::model::{ConditionStatus, Reason};

/// Public addresses, and where Traefik takes their connections; none: it has no routes yet, and who comes waits.
/// `[::]:80` is both families.
pub type Wanted = BTreeMap<SocketAddr, Option<SocketAddr>>;

/// What is asked of the public ports of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Those that are to be open.
    pub ports: Wanted,
    /// Why none of those is that routes ask for.
    pub shut: Option<Shut>,
    /// Moves when a Traefik is not counted on any more, which may go on as it was told: what goes through it ends.
    pub cut: u64,
}

/// No Traefik takes what would come to the ports that routes ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shut {
    /// Those ports.
    pub ports: BTreeSet<u16>,
    /// A Traefik asks what it is to do, and was not seen to do it.
    pub asks: bool,
    /// Where one is expected to ask.
    pub api: SocketAddr,
    /// What is known of the cluster's own.
    pub own: Own,
}

/// The cluster's own Traefik for a node, as far as it got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Own {
    /// No Secret has the file of one.
    Undeclared,
    /// No Service uses that Secret.
    Unused {
        /// Its name.
        secret: Arc<str>,
    },
    /// The Service that does has no replica on the node.
    Nowhere {
        /// Its name.
        service: Arc<str>,
    },
    /// Its replica does not run.
    Down {
        /// Name of the Service.
        service: Arc<str>,
    },
    /// Its replica runs.
    Runs {
        /// Name of the Secret.
        secret: Arc<str>,
    },
}

/// A port in use is tried again so often, milliseconds: it is to be taken back within two seconds of being free.
pub const RETRY: u64 = 500;

/// Why a port is not open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Somebody has it: `container NAME` or `NAME (pid N)`; none: it cannot be seen who.
    Held(Option<String>),
    /// The agent has not the right.
    NotPermitted,
    /// In the system's words.
    Other(String),
}

/// The last attempt at a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// When it was made, milliseconds on the caller's clock.
    pub at: u64,
    /// What came of it.
    pub fault: Fault,
}

/// What is to be done now, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Steps {
    /// Listeners to end; what they accepted goes on.
    pub close: Vec<SocketAddr>,
    /// Listeners whose next connections go elsewhere, or wait.
    pub turn: Vec<(SocketAddr, Option<SocketAddr>)>,
    /// Attempts that nobody waits for any more.
    pub forget: Vec<SocketAddr>,
    /// Listeners to open.
    pub open: Vec<(SocketAddr, Option<SocketAddr>)>,
    /// When to ask again, at the latest, though nothing changes.
    pub again: Option<u64>,
}

/// Compares what is wanted with what is open, and what failed with the time, milliseconds.
#[must_use]
pub fn plan(wanted: &Wanted, open: &Wanted, failed: &BTreeMap<SocketAddr, Failed>, now: u64) -> Steps {
    let mut steps = Steps {
        close: open.keys().filter(|at| !wanted.contains_key(at)).copied().collect(),
        forget: failed.keys().filter(|at| !wanted.contains_key(at)).copied().collect(),
        ..Steps::default()
    };
    for (at, to) in wanted {
        match (open.get(at), failed.get(at).map(|f| f.at.saturating_add(RETRY))) {
            (Some(old), _) if old != to => steps.turn.push((*at, *to)),
            (Some(_), _) => {}
            (None, Some(due)) if due > now => steps.again = Some(steps.again.map_or(due, |first| first.min(due))),
            (None, _) => steps.open.push((*at, *to)),
        }
    }
    steps
}

/// What a node says of its public ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serving {
    /// Whether all are open.
    pub status: ConditionStatus,
    /// Why.
    pub reason: Reason,
    /// For people.
    pub message: String,
}

/// The statement about what is asked; none: nothing is. What needs most of a person comes first.
#[must_use]
pub fn serving(asked: &Asked, failed: &BTreeMap<SocketAddr, Failed>) -> Option<Serving> {
    let Asked { ports: wanted, shut: without, .. } = asked;
    let ports = || wanted.keys().map(|at| at.port().to_string()).collect::<Vec<_>>().join(", ");
    let shut: Vec<(SocketAddr, &Fault)> = wanted.keys().filter_map(|at| Some((*at, &failed.get(at)?.fault))).collect();
    let reason = |(_, fault): &(SocketAddr, &Fault)| match fault {
        Fault::Held(_) => Reason::PortConflict,
        Fault::NotPermitted => Reason::PortForbidden,
        Fault::Other(_) => Reason::PortUnavailable,
    };
    match shut.first() {
        _ if wanted.is_empty() => without.as_ref().map(|shut| Serving {
            status: ConditionStatus::False,
            reason: if shut.asks { Reason::EdgeBehind } else { Reason::NoEdge },
            message: shut.told(),
        }),
        None => Some(Serving {
            status: ConditionStatus::True,
            reason: Reason::PortsOpen,
            message: format!("open: {}", ports()),
        }),
        Some(first) => Some(Serving {
            status: ConditionStatus::False,
            reason: shut.iter().map(reason).min().unwrap_or_else(|| reason(first)),
            message: shut.iter().map(|(at, fault)| sentence(*at, fault)).collect::<Vec<_>>().join("; "),
        }),
    }
}

impl Shut {
    fn told(&self) -> String {
        let ports = self.ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
        if self.asks {
            return format!(
                "shut: {ports}; the Traefik that asks for its routes does not serve them, and its log says why"
            );
        }
        let none = match &self.own {
            Own::Undeclared => "no Traefik is declared; `constellation apply -f manifests/traefik.yaml` has one".into(),
            Own::Unused { secret } => format!(
                "no service uses secret/{secret}, which has Traefik's file: the one of `manifests/traefik.yaml` does"
            ),
            Own::Nowhere { service } => {
                format!("svc/{service}, which is Traefik, has no replica here: `constellation why svc/{service}`")
            }
            Own::Down { service } => {
                format!("svc/{service}, which is Traefik, does not run here: `constellation why svc/{service}`")
            }
            Own::Runs { secret } => format!(
                "Traefik runs and does not ask for its routes at http://{}/traefik/config, where the agent listens: if its file \
                 names another address, `constellation secret rotate {secret}` makes it anew",
                self.api
            ),
        };
        format!("shut: {ports}; {none}")
    }
}

fn sentence(at: SocketAddr, fault: &Fault) -> String {
    let port = at.port();
    match fault {
        Fault::Held(Some(holder)) => told::held(port, holder),
        Fault::Held(None) => told::held(port, "a process that the agent cannot see"),
        Fault::NotPermitted => {
            format!("port {port} needs root or CAP_NET_BIND_SERVICE, and the agent has neither")
        }
        Fault::Other(words) => format!("port {port} cannot be opened at {}: {words}", at.ip()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }
    fn set<const N: usize>(pairs: [(&str, &str); N]) -> Wanted {
        pairs.into_iter().map(|(a, b)| (at(a), (!b.is_empty()).then(|| at(b)))).collect()
    }
    fn held(by: Option<&str>, since: u64) -> Failed {
        Failed { at: since, fault: Fault::Held(by.map(Into::into)) }
    }

    #[test]
    fn a_port_is_held_only_while_it_is_wanted_and_tried_again_in_time() {
        const WEB: (&str, &str) = ("[::]:80", "127.0.0.1:18080");
        const SECURE: (&str, &str) = ("[::]:443", "127.0.0.1:18443");
        let (web, secure) = ((at(WEB.0), Some(at(WEB.1))), (at(SECURE.0), Some(at(SECURE.1))));
        let none = BTreeMap::new;
        let failed = |since| BTreeMap::from([(web.0, held(None, since))]);
        let table = [
            ("nothing", set([]), set([]), none(), Steps::default()),
            ("the first route", set([WEB]), set([]), none(), Steps { open: vec![web], ..Steps::default() }),
            ("all is well", set([WEB, SECURE]), set([WEB, SECURE]), none(), Steps::default()),
            ("the last route goes", set([]), set([WEB]), none(), Steps { close: vec![web.0], ..Steps::default() }),
            (
                "Traefik listens elsewhere",
                set([("[::]:80", "127.0.0.1:1")]),
                set([WEB]),
                none(),
                Steps { turn: vec![(web.0, Some(at("127.0.0.1:1")))], ..Steps::default() },
            ),
            (
                "Traefik is being replaced",
                set([("[::]:80", "")]),
                set([WEB]),
                none(),
                Steps { turn: vec![(web.0, None)], ..Steps::default() },
            ),
            (
                "another address of the same port",
                set([("10.0.0.1:80", WEB.1)]),
                set([WEB]),
                none(),
                Steps { close: vec![web.0], open: vec![(at("10.0.0.1:80"), web.1)], ..Steps::default() },
            ),
            (
                "one in use waits, the other opens",
                set([WEB, SECURE]),
                set([]),
                failed(9_900),
                Steps { open: vec![secure], again: Some(9_900 + RETRY), ..Steps::default() },
            ),
            ("its time has come", set([WEB]), set([]), failed(9_500), Steps { open: vec![web], ..Steps::default() }),
            (
                "nobody wants it any more",
                set([]),
                set([]),
                failed(9_900),
                Steps { forget: vec![web.0], ..Steps::default() },
            ),
        ];
        for (case, wanted, open, failed, steps) in table {
            assert_eq!(plan(&wanted, &open, &failed, 10_000), steps, "{case}");
        }
    }

    #[test]
    fn what_a_node_says_names_port_and_process() {
        let both = set([("[::]:80", "127.0.0.1:1"), ("[::]:443", "127.0.0.1:2")]);
        let one = |fault: Fault| BTreeMap::from([(at("[::]:80"), Failed { at: 0, fault })]);
        assert_eq!(serving(&Asked::default(), &one(Fault::NotPermitted)), None, "nothing is asked for");
        let both = Asked { ports: both, ..Asked::default() };
        let said = |failed: &BTreeMap<_, _>| {
            let said = serving(&both, failed).unwrap();
            (said.status, said.reason, said.message)
        };
        let no = ConditionStatus::False;
        assert_eq!(said(&BTreeMap::new()), (ConditionStatus::True, Reason::PortsOpen, "open: 80, 443".into()));
        assert_eq!(
            said(&one(Fault::Held(Some("nginx (pid 7)".into())))),
            (no, Reason::PortConflict, "port 80 is held by nginx (pid 7)".into())
        );
        let (_, reason, message) = said(&one(Fault::Held(None)));
        assert_eq!(
            (reason, told::holder(&message)),
            (Reason::PortConflict, Some("a process that the agent cannot see"))
        );
        let (_, reason, message) = said(&one(Fault::NotPermitted));
        assert!(reason == Reason::PortForbidden && message.contains("CAP_NET_BIND_SERVICE"), "{message}");
        let mut two = one(Fault::Other("no such address".into()));
        two.insert(at("[::]:443"), held(Some("x (pid 1)"), 0));
        let (_, reason, message) = said(&two);
        assert_eq!(reason, Reason::PortConflict, "a conflict comes first, wherever it stands");
        assert_eq!(message, "port 80 cannot be opened at ::: no such address; port 443 is held by x (pid 1)");
        let without = |asks, own| {
            let shut = Some(Shut { ports: [443, 80].into(), asks, api: at("127.0.0.1:7443"), own });
            let said = serving(&Asked { shut, ..Asked::default() }, &BTreeMap::new()).unwrap();
            assert_eq!((said.status, said.reason), (no, if asks { Reason::EdgeBehind } else { Reason::NoEdge }));
            said.message
        };
        let name = || Arc::<str>::from("traefik");
        for (own, says) in [
            (Own::Undeclared, "shut: 80, 443; no Traefik is declared; `constellation apply -f manifests/traefik.yaml`"),
            (Own::Unused { secret: name() }, "shut: 80, 443; no service uses secret/traefik"),
            (Own::Nowhere { service: name() }, "shut: 80, 443; svc/traefik, which is Traefik, has no replica here"),
            (Own::Down { service: name() }, "shut: 80, 443; svc/traefik, which is Traefik, does not run here"),
            (
                Own::Runs { secret: name() },
                "shut: 80, 443; Traefik runs and does not ask for its routes at http://127.0.0.1:7443/",
            ),
        ] {
            let message = without(false, own.clone());
            assert!(message.starts_with(says), "{message}");
            assert_eq!(message.contains("secret rotate traefik"), own == Own::Runs { secret: name() }, "{message}");
        }
        assert!(without(true, Own::Undeclared).ends_with("its log says why"));
    }
}
