//! The cluster, Raft, health and metrics.

use std::collections::BTreeMap;

use prometheus_client::{encoding::text::encode, registry::Registry};
use warp::reply::Response;

use super::{
    problem::Failure,
    reply::{self, JSON},
    request::Request,
    wire::{Check, ClusterStatus, Health, MetricFamily, MetricsReport, RaftLeader, Readiness, Sample, report::Ratio},
};
use crate::{
    model::{Condition, ConditionStatus, ConditionType, Desired, Kind, ReplicaPhase, ReplicaStatus},
    store::{Client, State, room::Free},
};

/// Media type that Prometheus asks for.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `GET /api/v1/status`.
///
/// # Errors
/// Never for a reason of the caller.
pub async fn status(request: Request) -> Result<Response, Failure> {
    let shared = &request.server.shared;
    let state = shared.store.state();
    let (cluster, full) = (state.cluster(), full(&shared.store));
    reply::json(&ClusterStatus {
        name: cluster.map_or_else(String::new, |c| c.name.to_string()),
        cluster: cluster.map_or_else(String::new, |c| c.cluster.to_string()),
        lineage: cluster.map_or_else(String::new, |c| c.lineage.to_string()),
        recovery: cluster.map_or(0, |c| c.recovery),
        restored: state.unconfirmed().cloned(),
        index: state.index().0,
        now: shared.store.now(),
        version: env!("CARGO_PKG_VERSION").into(),
        node: shared.node.to_string(),
        leader: state.leader().map(|l| l.node.to_string()),
        writable: writable(&shared.store) && full.is_none(),
        full,
        voters: u32::try_from(shared.store.raft_status().voters.len()).unwrap_or(u32::MAX),
        nodes: ratio(
            state
                .objects(Kind::Node)
                .map(|o| state.node_status(&o.meta.name).is_some_and(|s| holds(&s.conditions, ConditionType::Ready))),
        ),
        services: ratio(state.objects(Kind::Service).map(|o| {
            state.service_status(&o.meta.name).is_some_and(|s| {
                s.observed_generation == o.meta.generation && holds(&s.conditions, ConditionType::Ready)
            })
        })),
        replicas: ratio(
            state
                .replicas()
                .filter(|r| r.desired == Desired::Run && r.hook.is_none())
                .map(|r| state.replica_status(&r.name).is_some_and(well)),
        ),
    })
}

fn well(status: &ReplicaStatus) -> bool {
    status.phase == ReplicaPhase::Completed || (status.ready && !status.is_unknown())
}

fn holds(conditions: &[Condition], kind: ConditionType) -> bool {
    conditions.iter().any(|c| c.kind == kind && c.status == ConditionStatus::True)
}

fn ratio(ready: impl Iterator<Item = bool>) -> Ratio {
    ready.fold(Ratio::default(), |r, is| Ratio { ready: r.ready + u32::from(is), total: r.total + 1 })
}

/// What the disk lacks, when changes are refused for want of room.
fn full(store: &Client) -> Option<String> {
    store.room().filter(Free::is_low).map(|free| free.to_string())
}

/// Whether a leader is known that would take a write.
fn writable(store: &Client) -> bool {
    store.leadership().borrow().is_some() || {
        let raft = store.raft_status();
        raft.leader.is_some_and(|leader| leader != raft.member)
    }
}

/// `GET /api/v1/raft/status`.
///
/// # Errors
/// Never for a reason of the caller.
pub async fn raft_status(request: Request) -> Result<Response, Failure> {
    reply::json(&request.server.shared.store.raft_status())
}

/// `GET /api/v1/raft/leader`.
///
/// # Errors
/// 404 while nobody has led.
pub async fn leader(request: Request) -> Result<Response, Failure> {
    let shared = &request.server.shared;
    let state = shared.store.state();
    let Some(leader) = state.leader() else {
        return Err(Failure::new(404, "no-leader", "Nobody leads", "this node knows of no leader yet").at(&state));
    };
    reply::json(&RaftLeader {
        member: leader.member,
        node: leader.node.clone(),
        incarnation: leader.incarnation,
        token: leader.token.0,
        here: *shared.store.leadership().borrow() == Some(leader.token),
    })
}

/// `GET /health`.
///
/// # Errors
/// Never.
pub async fn health(_: Request) -> Result<Response, Failure> {
    reply::json(&Health { status: "alive".into() })
}

/// `GET /ready`.
///
/// # Errors
/// Never for a reason of the caller; 503 with the checks is an answer.
pub async fn ready(request: Request) -> Result<Response, Failure> {
    let shared = &request.server.shared;
    let checks = checks(&shared.store, &shared.store.state(), &shared.node);
    let ready = checks.iter().all(|c| c.ok);
    let mut response = reply::json(&Readiness { ready, checks })?;
    if !ready {
        *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(response)
}

/// Asked without a token and often: everything is read from memory, nothing asks the engine.
fn checks(store: &Client, state: &State, node: &str) -> Vec<Check> {
    let check = |name: &str, ok, good: String, bad: &str| Check {
        name: name.into(),
        ok,
        message: if ok { good } else { bad.into() },
    };
    let (cluster, full) = (state.cluster(), full(store));
    let name = cluster.map_or_else(String::new, |c| c.name.to_string());
    let leader = state.leader().map_or_else(String::new, |l| l.node.to_string());
    let engine = state.node_status(node).and_then(|s| {
        s.conditions.iter().find(|c| c.kind == ConditionType::DockerReachable).map(|c| (c, s.engine.version.clone()))
    });
    let reachable = engine.as_ref().is_some_and(|(c, _)| c.status == ConditionStatus::True);
    vec![
        check("cluster", cluster.is_some(), format!("part of {name}"), "this node is not part of a cluster yet"),
        check("leader", writable(store), format!("{leader} leads"), "no leader takes writes now"),
        check(
            "disk",
            full.is_none(),
            "the disk of the data directory has room".into(),
            full.as_deref().unwrap_or_default(),
        ),
        check(
            "engine",
            reachable,
            engine.as_ref().map_or_else(String::new, |(_, version)| format!("engine {version} answers")),
            &engine.as_ref().map_or_else(|| "the agent has not reported yet".to_owned(), |(c, _)| c.message.clone()),
        ),
    ]
}

/// `GET /metrics`.
///
/// # Errors
/// 500 when a metric cannot be written.
pub async fn metrics_text(request: Request) -> Result<Response, Failure> {
    Ok(reply::whole(OPENMETRICS, exposition(&request.server.shared.registry)?))
}

/// `GET /api/v1/metrics`.
///
/// # Errors
/// As [`metrics_text`].
pub async fn metrics_json(request: Request) -> Result<Response, Failure> {
    let report = MetricsReport { metrics: families(&exposition(&request.server.shared.registry)?) };
    let body = serde_json::to_vec(&report).map_err(|e| Failure::internal(e.to_string()))?;
    Ok(reply::whole(JSON, body))
}

fn exposition(registry: &Registry) -> Result<String, Failure> {
    let mut text = String::new();
    encode(&mut text, registry).map_err(|e| Failure::internal(format!("a metric cannot be written: {e}")))?;
    Ok(text)
}

/// The registry has one way out, the text form: the JSON is read from it, so that both say the same.
fn families(text: &str) -> Vec<MetricFamily> {
    let mut families: Vec<MetricFamily> = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
            families.push(MetricFamily { name: name.into(), help: help.into(), ..MetricFamily::default() });
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "unknown"));
            match families.last_mut().filter(|f| f.name == name) {
                Some(family) => family.kind = kind.into(),
                None => families.push(MetricFamily { name: name.into(), kind: kind.into(), ..MetricFamily::default() }),
            }
        } else if !line.starts_with('#')
            && let (Some(family), Some(sample)) = (families.last_mut(), sample(line))
        {
            family.samples.push(sample);
        }
    }
    families
}

fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, rest)) = series.split_once('{') else {
        return Some(Sample { name: series.into(), labels: BTreeMap::new(), value });
    };
    let mut labels = BTreeMap::new();
    let mut rest = rest.strip_suffix('}')?;
    while let Some((key, after)) = rest.split_once("=\"") {
        let mut text = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => text.push(match chars.next()?.1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => text.push(other),
            }
        };
        labels.insert(key.trim_start_matches(',').to_owned(), text);
        rest = after.get(end + 1..)?;
    }
    Some(Sample { name: name.into(), labels, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_is_read_back_with_its_labels() {
        let text = "# HELP a_b Counts.\n# TYPE a_b counter\na_b_total{route=\"/x\",why=\"a \\\"b\\\", c\"} 3\na_b_total 1.5\n\
                    # HELP g Is.\n# TYPE g gauge\ng 7\n# EOF\n";
        let families = families(text);
        assert_eq!(families.len(), 2);
        assert_eq!((families[0].kind.as_str(), families[0].help.as_str()), ("counter", "Counts."));
        assert_eq!(families[0].samples[0].labels["why"], "a \"b\", c");
        assert_eq!(families[0].samples[0].value, 3.0);
        assert_eq!(families[0].samples[1], Sample { name: "a_b_total".into(), value: 1.5, ..Sample::default() });
        assert_eq!(families[1].samples[0].value, 7.0);
    }
}
