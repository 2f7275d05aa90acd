//! When requests for a Service wait, and at which of its ports they come.
//!
//! Here: [`held`], whether a Service without an endpoint is only being swapped; [`ports`], where routes send requests
//! of each Service. Not here: the listener at which they wait (`edge::hold`).
//! Why not every Service without an endpoint: one that is down for another reason answers sooner with an error.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{
    routes::{Input, table},
    view::ReplicaView,
};
use crate::model::{Desired, ServiceSpec};

/// How long each request waits for a Service without an endpoint, and until when they do, cluster time in milliseconds:
/// while a replica is on its way out, and as long again after the newest step of a swap, an end or a placement.
#[must_use]
pub fn held(spec: &ServiceSpec, replicas: &[ReplicaView], now: u64) -> Option<(Duration, u64)> {
    let hold = spec.update.hold_requests.0;
    if spec.suspend || spec.replicas == Some(0) {
        return None;
    }
    let step = replicas.iter().filter_map(|r| {
        let ended = r.status.as_ref().is_some_and(|status| status.phase.ended());
        match (r.replica.draining, r.replica.desired) {
            // Until its end is known the next one does not come.
            (Some(_), _) | (None, Desired::Stop) if !ended => Some(now),
            // The next may not be placed yet.
            (Some(draining), _) => Some(draining.at.max(r.status.as_ref().map_or(0, |status| status.since))),
            (None, Desired::Run) if !ended => Some(r.replica.created_at),
            (None, Desired::Run | Desired::Stop) => None,
        }
    });
    let until = step.max()?.saturating_add(u64::try_from(hold.as_millis()).unwrap_or(u64::MAX));
    (until > now).then_some((hold, until))
}

/// Ports at which routes, and what requests pass, ask each Service, whether it has endpoints now or not.
#[must_use]
pub fn ports(input: &Input) -> BTreeMap<Arc<str>, BTreeSet<u16>> {
    let mut found: BTreeMap<Arc<str>, BTreeSet<u16>> = BTreeMap::new();
    for (name, port) in table(input).sent.places.into_keys() {
        found.entry(name).or_default().insert(port);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            Index, Reason, Replica, ReplicaPhase, ReplicaStatus,
            replica::Draining,
            route::{RouteSpec, Shorthand},
            testing::replica,
        },
        plan::routes::{Backing, Reached, Stored},
    };

    #[test]
    fn requests_wait_while_a_replica_is_swapped_and_not_while_it_is_down() {
        use ReplicaPhase::{BackOff, Running, Starting, Stopped};
        let at = |created_at| Replica { created_at, ..replica("web", 1) };
        let leaving = |at_| {
            let draining = Some(Draining { reason: Reason::Superseded, index: Index(1), at: at_ });
            Replica { draining, ..at(0) }
        };
        let stopped = |replica| Replica { desired: Desired::Stop, ..replica };
        let plain = || serde_json::json!({"image": "a"});
        let zero = || serde_json::json!({"image": "a", "replicas": 0});
        let table = [
            ("it goes", plain(), vec![(leaving(30_000), Running)], Some(75_000)),
            ("it stops", plain(), vec![(stopped(at(1_000)), Running)], Some(75_000)),
            (
                "it is gone, and the next is not placed",
                plain(),
                vec![(stopped(leaving(50_000)), Stopped)],
                Some(65_000),
            ),
            ("the next starts", plain(), vec![(leaving(50_000), Stopped), (at(55_000), Starting)], Some(70_000)),
            ("the next does not come", plain(), vec![(leaving(30_000), Stopped), (at(31_000), Starting)], None),
            ("it crashes", plain(), vec![(at(1_000), BackOff)], None),
            ("it shall have none", zero(), vec![(stopped(leaving(50_000)), Stopped)], None),
            ("it has none", plain(), vec![], None),
        ];
        for (case, spec, replicas, want) in table {
            let spec: ServiceSpec = serde_json::from_value(spec).unwrap();
            let one = |(replica, phase): (Replica, ReplicaPhase)| ReplicaView {
                replica: Arc::new(replica),
                status: Some(ReplicaStatus { phase, ..ReplicaStatus::default() }),
            };
            let replicas: Vec<ReplicaView> = replicas.into_iter().map(one).collect();
            let found = held(&spec, &replicas, 60_000);
            assert_eq!(found.map(|(_, until)| until), want, "{case}");
            assert!(found.is_none_or(|(hold, _)| hold == Duration::from_secs(15)), "{case}");
        }
    }

    #[test]
    fn ports_are_known_without_endpoints_and_each_service_has_its_own() {
        let backing = |ports: &[u16], routes| {
            let declared = Reached { ports: ports.to_vec(), routes, ..Reached::default() };
            Backing { declared, ..Backing::default() }
        };
        let short: Shorthand = serde_json::from_value(serde_json::json!({"host": "a.example.com"})).unwrap();
        let route: RouteSpec = serde_json::from_value(serde_json::json!({
            "hosts": ["b.example.com"], "backends": [{"service": "api", "port": 9000}, {"service": "web"}],
        }))
        .unwrap();
        let input = Input {
            routes: vec![Stored { name: "r".into(), created_at: 1, spec: Arc::new(route) }],
            services: [
                ("web".into(), backing(&[8080, 1], vec![short])),
                ("api".into(), backing(&[7], vec![])),
                ("aside".into(), backing(&[8080], vec![])),
            ]
            .into(),
            ..Input::default()
        };
        let of = |ports: &[u16]| ports.iter().copied().collect::<BTreeSet<_>>();
        let found = ports(&input);
        assert_eq!(found, [("web".into(), of(&[8080])), ("api".into(), of(&[9000]))].into());
    }
}
