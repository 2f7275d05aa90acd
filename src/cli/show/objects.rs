//! Tables of objects: `get svc`, `get nodes -o wide`, `get secrets`, …

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{readiness, replicas};
use crate::{
    api::wire::{Object, ReplicaSpec, SecretView, UsageStatus},
    cli::text::{self, Times},
    model::{
        Bytes, Condition, ConditionStatus, ConditionType, Desired, Kind, Millicores, NodeStatus, Reason, ReplicaStatus,
        RunState, ServiceStatus,
        node::NodeSpec,
        route::{MiddlewareRef, RouteSpec},
    },
};

/// What a table needs beside its rows.
#[derive(Debug, Clone)]
pub struct Around<'a> {
    /// More columns.
    pub wide: bool,
    /// How times are shown.
    pub times: Times,
    /// Every replica; empty when no column asks for them.
    pub replicas: &'a [Object],
    /// Every service; empty when no column asks for them.
    pub services: &'a [Object],
    /// The leader's node.
    pub leader: Option<&'a str>,
}

/// The columns of a kind.
#[must_use]
pub fn header(kind: Kind, wide: bool) -> Vec<&'static str> {
    let (mut columns, more): (Vec<&str>, &[&str]) = match kind {
        Kind::Service => (
            vec!["NAME", "MODE", "READY", "UP-TO-DATE", "IMAGE", "NODES", "STATUS", "AGE"],
            &["GENERATION", "REVISION", "SET"],
        ),
        Kind::Replica => (
            vec!["NAME", "REPLICA", "NODE", "DESIRED", "CURRENT", "READY", "REV", "RESTARTS", "AGE"],
            &["HEALTH", "ADDRESS", "EPOCH", "CONTAINER"],
        ),
        Kind::Node => (
            vec!["NAME", "STATUS", "ROLES", "AVAIL", "AGE", "VERSION"],
            &["ADDRESS", "CPU(req/cap)", "MEM(req/cap)", "REPLICAS", "ENGINE", "ARCH"],
        ),
        Kind::Route => {
            (vec!["NAME", "HOSTS", "BACKENDS", "ENTRYPOINTS", "STATUS", "AGE"], &["MIDDLEWARES", "GENERATION", "SET"])
        }
        Kind::Middleware => (vec!["NAME", "MIDDLEWARE", "AGE"], &["GENERATION", "SET"]),
        Kind::Config => (vec!["NAME", "KEYS", "BYTES", "IN-USE", "AGE"], &["GENERATION", "SET"]),
        Kind::Secret => (vec!["NAME", "TYPE", "VERSION", "KEYS", "IN-USE", "AGE"], &["GENERATION", "DIGEST", "SET"]),
    };
    if wide {
        columns.extend(more);
    }
    columns
}

/// The widths of a list that goes on: later rows stand under the first ones.
#[must_use]
pub fn widths(header: &[&str], rows: &[Vec<String>]) -> Vec<usize> {
    let widths = text::widths(header, rows);
    widths.into_iter().zip(header).map(|(width, column)| width.max(usual(column))).collect()
}

/// How wide a column's values usually get.
fn usual(column: &str) -> usize {
    match column {
        "STATUS" => "NotReady: MinimumReplicasUnavailable".len(),
        "CURRENT" => "BackOff: CrashLoopBackOff, next in 20s".len(),
        "HEALTH" => "unhealthy".len(),
        "ADDRESS" => "172.18.0.100".len(),
        "CONTAINER" => "0123456789ab".len(),
        "NODE" | "NODES" | "AGE" => "59m59s".len(),
        _ => column.len(),
    }
}

/// One row.
#[must_use]
pub fn row(object: &Object, around: &Around<'_>) -> Vec<String> {
    let age = around.times.at(object.metadata.created_at);
    let name = object.metadata.name.to_string();
    let set = object.metadata.managed_by.clone().unwrap_or_else(|| "-".into());
    let generation = object.metadata.generation.to_string();
    let (mut cells, more) = match object.kind {
        Kind::Service => {
            let status: Option<ServiceStatus> = status(object);
            let (cells, revision) = service(object, name, age, status.as_ref(), around);
            (cells, vec![generation, revision, set])
        }
        Kind::Replica => replica(object, name, age, around.times),
        Kind::Node => node(object, name, age, around),
        Kind::Route => {
            let (cells, middlewares) = route(object, name, age);
            (cells, vec![middlewares, generation, set])
        }
        Kind::Middleware => {
            let which = object.spec.as_object().and_then(|spec| spec.keys().next()).cloned();
            (vec![name, which.unwrap_or_else(dash), age], vec![generation, set])
        }
        Kind::Config => {
            let data = object.spec.get("data").and_then(Value::as_object);
            let bytes: usize = data.into_iter().flatten().map(|(k, v)| k.len() + v.as_str().map_or(0, str::len)).sum();
            let keys = data.map_or(0, serde_json::Map::len);
            (vec![name, keys.to_string(), bytes.to_string(), in_use(object), age], vec![generation, set])
        }
        Kind::Secret => match SecretView::deserialize(&object.spec) {
            Ok(view) => {
                let kind = serde_json::to_value(view.kind).ok();
                let kind = kind.as_ref().and_then(Value::as_str).unwrap_or("-").to_owned();
                let digest = view.digest.get(..12).unwrap_or(&view.digest).to_owned();
                (
                    vec![name, kind, view.version.to_string(), view.keys.join(","), in_use(object), age],
                    vec![generation, digest, set],
                )
            }
            Err(_) => (vec![name, dash(), dash(), dash(), in_use(object), age], vec![generation, dash(), set]),
        },
    };
    if around.wide {
        cells.extend(more);
    }
    cells
}

fn dash() -> String {
    "-".into()
}

/// A status as a type; one that this version cannot read is as good as none.
fn status<T: DeserializeOwned>(object: &Object) -> Option<T> {
    object.status.as_ref().and_then(|status| serde_json::from_value(status.clone()).ok())
}

fn in_use(object: &Object) -> String {
    let usage: Option<UsageStatus> = status(object);
    let condition = usage.and_then(|u| u.conditions.into_iter().find(|c| c.kind == ConditionType::InUse));
    condition.map_or_else(dash, |c| match c.status {
        ConditionStatus::True => "yes".into(),
        ConditionStatus::False => "no".into(),
        ConditionStatus::Unknown => "unknown".into(),
    })
}

fn text<'a>(object: &'a Object, field: &str) -> Option<&'a str> {
    object.spec.get(field).and_then(Value::as_str)
}

/// `Ready`, `Completed`, `Suspended`, `NotReady: ImageNotFound`: how a service, replica or node stands.
#[must_use]
pub fn state(object: &Object) -> String {
    if object.spec.get("suspend").and_then(Value::as_bool) == Some(true) {
        return "Suspended".into();
    }
    let conditions = object.status.as_ref().and_then(|s| s.get("conditions")).and_then(|c| Vec::deserialize(c).ok());
    let conditions: Vec<Condition> = conditions.unwrap_or_default();
    let state = readiness(&conditions);
    // How far the edges are changes by itself; what is left out does not.
    let unserved = |c: &&Condition| {
        c.kind == ConditionType::RoutesProgrammed
            && c.status == ConditionStatus::False
            && c.reason != Reason::EdgeBehind
    };
    if let Some(condition) = conditions.iter().find(unserved).filter(|_| state == "Ready") {
        return format!("Ready, routes: {}", condition.reason);
    }
    let failed = |c: &Condition| c.kind == ConditionType::HooksSucceeded && c.status == ConditionStatus::False;
    if state == "Ready" && conditions.iter().any(failed) {
        return "Ready, postDeploy failed".into();
    }
    // Good although not all of it is ready: what is not has done its work and ended.
    let status = status::<ServiceStatus>(object).filter(|_| object.kind == Kind::Service);
    if let Some(job) = status.as_ref().and_then(|s| s.job.as_ref()).filter(|_| state == "Ready") {
        return match job.runs.last().map(|run| run.state) {
            Some(RunState::Running) => "Running".into(),
            Some(RunState::Succeeded | RunState::Failed) => "Completed".into(),
            None => state,
        };
    }
    match status.map(|s| s.replicas) {
        Some(counts) if state == "Ready" && counts.ready < counts.desired => "Completed".into(),
        Some(_) | None => state,
    }
}

fn service(
    object: &Object,
    name: String,
    age: String,
    status: Option<&ServiceStatus>,
    around: &Around<'_>,
) -> (Vec<String>, String) {
    let counts = status.map(|s| s.replicas).unwrap_or_default();
    let nodes: BTreeSet<&str> = around
        .replicas
        .iter()
        .filter(|r| text(r, "service") == Some(&object.metadata.name) && text(r, "desired") == Some("Run"))
        .filter_map(|r| text(r, "node"))
        .collect();
    let nodes = if nodes.is_empty() { dash() } else { nodes.into_iter().collect::<Vec<_>>().join(",") };
    // What is declared does not run: a revision before it does.
    let back = status.is_some_and(|s| s.conditions.iter().any(|c| c.reason == Reason::RolledBack));
    let image = text(object, "image").unwrap_or("-");
    let cells = vec![
        name,
        text(object, "mode").unwrap_or("replicated").to_owned(),
        format!("{}/{}", counts.good(), counts.desired),
        counts.updated.to_string(),
        if back { format!("{image} (rolled back)") } else { image.to_owned() },
        nodes,
        state(object),
        age,
    ];
    (cells, status.map_or_else(dash, |s| s.revision.to_string()))
}

fn route(object: &Object, name: String, age: String) -> (Vec<String>, String) {
    let Ok(spec) = RouteSpec::deserialize(&object.spec) else {
        return (vec![name, dash(), dash(), dash(), state(object), age], dash());
    };
    let joined = |list: Vec<String>| if list.is_empty() { dash() } else { list.join(",") };
    let backends = spec.backends.iter().map(|b| match (&b.service, b.port) {
        (Some(service), Some(port)) => format!("{service}:{port}"),
        (Some(service), None) => service.clone(),
        (None, _) => b.url.clone().unwrap_or_default(),
    });
    let middlewares = spec.middlewares.iter().map(|m| match m {
        MiddlewareRef::Name(name) => name.clone(),
        MiddlewareRef::Inline(spec) => spec.name().to_owned(),
    });
    let hosts = if spec.hosts.is_empty() { spec.rule.clone().into_iter().collect() } else { spec.hosts.clone() };
    let entry_points = spec.entered().into_iter().map(|e| e.to_string()).collect();
    let cells = vec![name, joined(hosts), joined(backends.collect()), joined(entry_points), state(object), age];
    (cells, joined(middlewares.collect()))
}

fn replica(object: &Object, name: String, age: String, times: Times) -> (Vec<String>, Vec<String>) {
    let status: Option<ReplicaStatus> = status(object);
    let Ok(spec) = ReplicaSpec::deserialize(&object.spec) else {
        return (vec![name], Vec::new());
    };
    let of = |field: Option<String>| field.filter(|text| !text.is_empty()).unwrap_or_else(dash);
    let container = status.as_ref().and_then(|s| s.container.as_ref()).map(|id| id.chars().take(12).collect());
    let cells = vec![
        name,
        spec.display.clone(),
        spec.node.to_string(),
        replicas::desired(&spec).into(),
        replicas::current(status.as_ref(), times),
        match &status {
            Some(s) if s.ready && s.is_unknown() => "unknown".into(),
            Some(s) if s.ready => "yes".into(),
            Some(_) | None => "no".into(),
        },
        spec.revision.to_string(),
        status.as_ref().map_or_else(|| "0".into(), |s| s.restarts.to_string()),
        age,
    ];
    let more = vec![
        of(status.as_ref().map(|s| s.health.clone())),
        of(status.as_ref().and_then(|s| s.address.clone())),
        spec.epoch.clone(),
        of(container),
    ];
    (cells, more)
}

fn node(object: &Object, name: String, age: String, around: &Around<'_>) -> (Vec<String>, Vec<String>) {
    let status: Option<NodeStatus> = status(object);
    let spec = NodeSpec::deserialize(&object.spec).ok();
    let schedulable = spec.as_ref().is_none_or(|s| s.schedulable);
    let mut state = state(object);
    if !schedulable {
        state.push_str(",SchedulingDisabled");
    }
    let leads = around.leader == Some(&object.metadata.name);
    let roles: Vec<String> = spec
        .iter()
        .flat_map(|s| &s.roles)
        .map(
            |role| {
                if leads && *role == crate::model::node::Role::Server { format!("{role}*") } else { role.to_string() }
            },
        )
        .collect();
    let (cpus, memory, replicas) = requested(&object.metadata.name, around);
    let version = status.as_ref().map_or_else(dash, |s| s.version.clone());
    let cells =
        vec![name, state, roles.join(","), if schedulable { "active" } else { "cordoned" }.into(), age, version];
    let more = match &status {
        Some(s) => vec![
            s.addresses.first().cloned().unwrap_or_else(dash),
            format!("{}/{}", cores(cpus), cores(s.cpus)),
            format!("{}/{}", gibi(memory), gibi(s.memory)),
            replicas.to_string(),
            s.engine.version.clone(),
            s.engine.arch.clone(),
        ],
        None => vec![dash(), dash(), dash(), replicas.to_string(), dash(), dash()],
    };
    (cells, more)
}

/// What the replicas that shall run on a node reserve, and how many there are.
fn requested(node: &str, around: &Around<'_>) -> (Millicores, Bytes, usize) {
    let amount = |service: &Object, field: &str| {
        let found = service.spec.get("resources")?.get("reservations")?.get(field)?;
        Some(found.as_str().map_or_else(|| found.to_string(), str::to_owned))
    };
    let per_service: BTreeMap<&str, (u64, u64)> = around
        .services
        .iter()
        .map(|service| {
            let cpus = amount(service, "cpus").and_then(|t| t.parse::<Millicores>().ok()).unwrap_or_default();
            let memory = amount(service, "memory").and_then(|t| t.parse::<Bytes>().ok()).unwrap_or_default();
            (&*service.metadata.name, (cpus.0, memory.0))
        })
        .collect();
    let here = around.replicas.iter().filter(|r| {
        text(r, "node") == Some(node)
            && r.spec.get("desired").is_some_and(|d| Desired::deserialize(d).ok() == Some(Desired::Run))
    });
    let mut sum = (0, 0, 0);
    for replica in here {
        let (cpus, memory) = text(replica, "service").and_then(|s| per_service.get(s)).copied().unwrap_or_default();
        sum = (sum.0 + cpus, sum.1 + memory, sum.2 + 1);
    }
    (Millicores(sum.0), Bytes(sum.1), sum.2)
}

/// `2.1`, `8`.
fn cores(amount: Millicores) -> String {
    let tenths = amount.0.div_ceil(100);
    if tenths.is_multiple_of(10) { (tenths / 10).to_string() } else { format!("{}.{}", tenths / 10, tenths % 10) }
}

/// `6.0`, `16Gi`: in Gi from one on, in Mi below.
fn gibi(amount: Bytes) -> String {
    if amount.0 == 0 {
        return "0".into();
    }
    if amount.0 < 1 << 30 {
        return format!("{}Mi", amount.0.div_ceil(1 << 20));
    }
    let tenths = u128::from(amount.0) * 10 / (1 << 30);
    format!("{}.{}Gi", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short() {
        for (milli, shown) in [(0, "0"), (8000, "8"), (2100, "2.1"), (50, "0.1")] {
            assert_eq!(cores(Millicores(milli)), shown);
        }
        for (bytes, shown) in [(0, "0"), (128 << 20, "128Mi"), (16 << 30, "16.0Gi"), (3 << 29, "1.5Gi")] {
            assert_eq!(gibi(Bytes(bytes)), shown);
        }
    }

    #[test]
    fn a_service_that_is_not_as_declared_says_so() {
        let service = |kind: &str, reason: &str| -> Object {
            // The leader never says Ready of one that went back.
            let ready = if reason == "RolledBack" { ["False", reason] } else { ["True", "UpToDate"] };
            let condition = |kind: &str, status: &str, reason: &str| {
                serde_json::json!({"type": kind, "status": status, "reason": reason, "message": "",
                                   "lastTransitionTime": 1, "observedGeneration": 1})
            };
            let meta =
                serde_json::json!({"name": "web", "uid": "u", "generation": 1, "resourceVersion": 1, "createdAt": 1});
            serde_json::from_value(serde_json::json!({
                "apiVersion": "constellation.dev/v1", "kind": "Service", "metadata": meta,
                "spec": {"image": "web:2"}, "status": {
                    "conditions": [condition("Ready", ready[0], ready[1]), condition(kind, "False", reason)],
                    "observedGeneration": 1, "revision": 2,
                    "replicas": {"desired": 1, "running": 1, "ready": 1, "updated": 1},
                }
            }))
            .unwrap()
        };
        let times = Times::Absolute;
        let around = Around { wide: false, times, replicas: &[], services: &[], leader: None };
        for (kind, reason, image, said) in [
            ("RoutesProgrammed", "HostConflict", "web:2", "Ready, routes: HostConflict"),
            ("RoutesProgrammed", "EdgeBehind", "web:2", "Ready"),
            ("Progressing", "UpToDate", "web:2", "Ready"),
            ("Progressing", "RolledBack", "web:2 (rolled back)", "NotReady: RolledBack"),
        ] {
            let cells = row(&service(kind, reason), &around);
            assert_eq!((cells[4].as_str(), cells[6].as_str()), (image, said), "{kind} {reason}");
        }
    }
}
