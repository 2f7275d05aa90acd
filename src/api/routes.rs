//! The route table: every path with its method, its role, its query, its shapes and who carries it out.
//!
//! Here: [`TABLE`] and [`find`]. Not here: what a route does. From the same lines come the dispatch, the
//! roles, the allowed methods, the metrics' labels and the OpenAPI document (`openapi`).

mod params;

use std::sync::LazyLock;

use futures::future::BoxFuture;
use http::{Method, Uri};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;
use warp::reply::Response;

use super::{
    Limits, audit,
    auth::Role::{self, Admin, Edge, None as Nobody, Read, Write},
    backups, builds,
    class::Class,
    cluster, events, jobs, logs, nodes, openapi,
    problem::Failure,
    read,
    reply::{JSON, NDJSON, OCTETS, TEXT},
    request::{self, Request},
    rollouts, scale, secrets, table, tokens, traefik, watch, wire,
    wire::{Object, Written},
    write,
};
use params::{APPLY, AUDIT, BUILD, DELETE, EVENTS, LIST, LIST_REPLICAS, LOGS, PLAN, PUT, WATCH};

use crate::model::{
    Kind, NodeStatus, ReplicaStatus, ServiceSpec, ServiceStatus, config::ConfigSpec, middleware::MiddlewareSpec,
    node::NodeSpec, route::RouteSpec, secret::SecretSpec, status::RouteStatus,
};

/// Carries a request out.
pub type Run = fn(Request) -> BoxFuture<'static, Result<Response, Failure>>;
type Shape = fn(&mut SchemaGenerator) -> Schema;

/// A body's media type and shape.
#[derive(Clone, Copy)]
pub struct Content {
    /// `application/json`, …
    pub media: &'static str,
    /// Its schema; none: bytes or text.
    pub shape: Option<Shape>,
}

/// A query parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param {
    /// As in the query.
    pub name: &'static str,
    /// For people.
    pub about: &'static str,
    /// Whether it may stand more than once.
    pub many: bool,
}

/// One route.
pub struct Route {
    /// `GET`, `PUT`, `POST`, `DELETE`.
    pub method: &'static str,
    /// `/api/v1/services/{name}`.
    pub path: &'static str,
    segments: Vec<&'static str>,
    /// The kind it is about.
    pub kind: Option<Kind>,
    /// Who may.
    pub role: Role,
    /// What it is to the server. Of a list that can be watched: the list.
    pub class: Class,
    /// What it does, in a line.
    pub about: &'static str,
    /// Its query.
    pub query: &'static [Param],
    /// What it takes.
    pub takes: Vec<Content>,
    /// What it gives with 200.
    pub gives: Vec<Content>,
    /// Whether it takes a build's context rather than a document.
    pub context: bool,
    /// Whether it is a write: it takes an idempotency key and a reason.
    pub write: bool,
    /// Who carries it out.
    pub run: Run,
}

/// What a method and a path lead to.
pub enum Found<'p> {
    /// A route and the `{name}` in the path, still encoded.
    Route(&'static Route, &'p str),
    /// The path exists, with these methods.
    Methods(Vec<&'static str>),
    /// Settled, but not built.
    Unbuilt(&'static str),
    /// Nothing.
    Nothing,
}

/// Finds the route of a request.
#[must_use]
pub fn find<'p>(method: &Method, path: &'p str) -> Found<'p> {
    let segments: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
    let mut methods = Vec::new();
    for route in TABLE.iter() {
        let Some(name) = route.fits(&segments) else { continue };
        if route.method == method.as_str() {
            return Found::Route(route, name);
        }
        methods.push(route.method);
    }
    if !methods.is_empty() {
        return Found::Methods(methods);
    }
    match segments.as_slice() {
        ["api", "v1", kind @ ("redis" | "builds" | "volumes" | "migrations" | "leases"), ..] => {
            Found::Unbuilt(UNBUILT_KINDS.iter().find(|k| *k == kind).copied().unwrap_or("this kind"))
        }
        ["api", "v1", _, _, "exec"] => Found::Unbuilt("exec"),
        ["api", "v1", "nodes", _, "drain"] => Found::Unbuilt("drain"),
        _ => Found::Nothing,
    }
}
const UNBUILT_KINDS: [&str; 5] = ["redis", "builds", "volumes", "migrations", "leases"];

/// The class of a request, and how many bytes its body may have.
#[must_use]
pub fn bounds(method: &Method, uri: &Uri, limits: &Limits) -> (Class, u64) {
    match find(method, uri.path()) {
        Found::Route(route, _) => {
            let body = if route.context { limits.context } else { limits.body };
            (if route.watches(uri.query().unwrap_or_default()) { Class::Watch } else { route.class }, body)
        }
        Found::Methods(_) | Found::Unbuilt(_) | Found::Nothing => (Class::Read, limits.body),
    }
}

impl Route {
    fn fits<'p>(&self, segments: &[&'p str]) -> Option<&'p str> {
        if self.segments.len() != segments.len() {
            return None;
        }
        let mut name = "";
        for (own, given) in self.segments.iter().zip(segments) {
            match *own {
                "{name}" if !given.is_empty() => name = given,
                own if own == *given => {}
                _ => return None,
            }
        }
        Some(name)
    }
    /// Whether a query asks a list to be watched.
    fn watches(&self, query: &str) -> bool {
        self.query.iter().any(|p| p.name == WATCH)
            && query.split('&').any(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                request::decode(name, true).as_deref() == Some(WATCH) && !matches!(value, "false" | "0")
            })
    }
    /// Its class is that of its method until another is named.
    fn new(method: &'static str, path: &'static str, role: Role, about: &'static str, run: Run) -> Self {
        Self {
            method,
            path,
            segments: path.strip_prefix('/').unwrap_or(path).split('/').collect(),
            kind: None,
            role,
            class: if method == "GET" { Class::Read } else { Class::Change },
            about,
            query: &[],
            takes: Vec::new(),
            gives: Vec::new(),
            context: false,
            write: false,
            run,
        }
    }
    fn class(mut self, class: Class) -> Self {
        self.class = class;
        self
    }
    fn kind(mut self, kind: Kind) -> Self {
        self.kind = Some(kind);
        self
    }
    fn query(mut self, query: &'static [Param]) -> Self {
        self.query = query;
        self
    }
    fn takes<T: JsonSchema>(mut self, media: &'static str) -> Self {
        self.takes.push(Content { media, shape: Some(|g| g.subschema_for::<T>()) });
        self
    }
    /// A write of declared objects.
    fn writes(self) -> Self {
        self.keyed().gives::<wire::ApplyAnswer>(JSON)
    }
    /// A write with an answer of its own.
    fn keyed(mut self) -> Self {
        self.write = true;
        self
    }
    fn takes_context(mut self) -> Self {
        self.takes.push(Content { media: "application/x-tar", shape: None });
        self.context = true;
        self
    }
    fn gives<T: JsonSchema>(mut self, media: &'static str) -> Self {
        self.gives.push(Content { media, shape: Some(|g| g.subschema_for::<T>()) });
        self
    }
    fn gives_bytes(mut self) -> Self {
        self.gives.push(Content { media: OCTETS, shape: None });
        self
    }
    fn gives_text(mut self) -> Self {
        self.gives.push(Content { media: TEXT, shape: None });
        self
    }
}

/// The routes of one kind: its list, its objects, its reasons.
macro_rules! kind {
    ($table:ident, $kind:expr, $plural:literal, $spec:ty, $status:ty, $list:expr) => {
        $table.push(
            Route::new("GET", concat!("/api/v1/", $plural), Read, "Lists or watches objects.", |r| {
                Box::pin(watch::list_or_watch(r))
            })
            .kind($kind)
            .query($list)
            .gives::<wire::List<Object<$spec, $status>>>(JSON)
            .gives::<wire::WatchLine<Object<$spec, $status>>>(NDJSON),
        );
        $table.push(
            Route::new("GET", concat!("/api/v1/", $plural, "/{name}"), Read, "One object.", |r| Box::pin(read::one(r)))
                .kind($kind)
                .gives::<Object<$spec, $status>>(JSON),
        );
        $table.push(
            Route::new("GET", concat!("/api/v1/", $plural, "/{name}/why"), Read, "What differs and why.", |r| {
                Box::pin(read::why(r))
            })
            .kind($kind)
            .gives::<wire::WhyReport>(JSON),
        );
    };
}
/// Writing one object of a kind.
macro_rules! written {
    ($table:ident, $kind:expr, $plural:literal, $spec:ty, $role:expr) => {
        $table.push(
            Route::new("PUT", concat!("/api/v1/", $plural, "/{name}"), $role, "Writes one object.", |r| {
                Box::pin(write::put_one(r))
            })
            .kind($kind)
            .query(PUT)
            .takes::<Written<$spec>>(JSON)
            .takes::<Written<$spec>>("application/yaml")
            .writes(),
        );
        $table.push(
            Route::new("DELETE", concat!("/api/v1/", $plural, "/{name}"), $role, "Deletes one object.", |r| {
                Box::pin(write::delete_one(r))
            })
            .kind($kind)
            .query(DELETE)
            .writes(),
        );
    };
}

/// Every route.
pub static TABLE: LazyLock<Vec<Route>> = LazyLock::new(table);

#[allow(clippy::too_many_lines)] // a table
fn table() -> Vec<Route> {
    let mut t = Vec::new();
    // The commonest first: they are looked for in this order.
    kind!(t, Kind::Service, "services", ServiceSpec, ServiceStatus, LIST);
    written!(t, Kind::Service, "services", ServiceSpec, Write);
    kind!(t, Kind::Config, "configs", ConfigSpec, wire::UsageStatus, LIST);
    written!(t, Kind::Config, "configs", ConfigSpec, Write);
    kind!(t, Kind::Replica, "replicas", wire::ReplicaSpec, ReplicaStatus, LIST_REPLICAS);
    kind!(t, Kind::Secret, "secrets", wire::SecretView, wire::UsageStatus, LIST);
    written!(t, Kind::Secret, "secrets", SecretSpec, Write);
    kind!(t, Kind::Node, "nodes", NodeSpec, NodeStatus, LIST);
    written!(t, Kind::Node, "nodes", NodeSpec, Admin);
    kind!(t, Kind::Route, "routes", RouteSpec, RouteStatus, LIST);
    written!(t, Kind::Route, "routes", RouteSpec, Write);
    t.push(
        Route::new("GET", "/api/v1/route-table", Read, "What is served from outside, and what is left out.", |r| {
            Box::pin(table::show(r))
        })
        .gives::<wire::RouteTable>(JSON),
    );
    kind!(t, Kind::Middleware, "middlewares", MiddlewareSpec, Value, LIST);
    written!(t, Kind::Middleware, "middlewares", MiddlewareSpec, Write);
    t.extend([
        Route::new("GET", "/api/v1/services/{name}/status", Read, "Desired beside actual, for each replica.", |r| {
            Box::pin(read::service_report(r))
        })
        .kind(Kind::Service)
        .gives::<wire::ServiceReport>(JSON),
        Route::new("GET", "/api/v1/services/{name}/scale", Read, "Replicas wanted.", |r| Box::pin(scale::get(r)))
            .kind(Kind::Service)
            .gives::<wire::Scale>(JSON),
        Route::new("PUT", "/api/v1/services/{name}/scale", Write, "Changes the replicas wanted.", |r| {
            Box::pin(scale::put(r))
        })
        .kind(Kind::Service)
        .query(PUT)
        .takes::<wire::Scale>(JSON)
        .writes(),
        Route::new("GET", "/api/v1/services/{name}/logs", Read, "Logs of its replicas.", |r| {
            Box::pin(logs::of_service(r))
        })
        .kind(Kind::Service)
        .class(Class::Logs)
        .query(LOGS)
        .gives::<wire::LogLine>(NDJSON)
        .gives_text(),
        Route::new("GET", "/api/v1/replicas/{name}/logs", Read, "Logs of one replica.", |r| {
            Box::pin(logs::of_replica(r))
        })
        .kind(Kind::Replica)
        .class(Class::Logs)
        .query(LOGS)
        .gives::<wire::LogLine>(NDJSON)
        .gives_text(),
        Route::new("POST", "/api/v1/nodes/{name}/cordon", Admin, "The node takes nothing new.", |r| {
            Box::pin(nodes::cordon(r))
        })
        .kind(Kind::Node)
        .query(PUT)
        .writes(),
        Route::new("POST", "/api/v1/nodes/{name}/uncordon", Admin, "The node takes replicas again.", |r| {
            Box::pin(nodes::uncordon(r))
        })
        .kind(Kind::Node)
        .query(PUT)
        .writes(),
        Route::new("GET", "/api/v1/services/{name}/rollout", Read, "How far its rollout is; its revisions.", |r| {
            Box::pin(rollouts::get(r))
        })
        .kind(Kind::Service)
        .gives::<wire::RolloutReport>(JSON),
        Route::new(
            "POST",
            "/api/v1/services/{name}/rollout",
            Write,
            "Pauses, resumes, restarts, promotes, undoes.",
            |r| Box::pin(rollouts::post(r)),
        )
        .kind(Kind::Service)
        .takes::<wire::RolloutOrder>(JSON)
        .writes(),
        Route::new("GET", "/api/v1/jobs", Read, "Every job, with its runs.", |r| Box::pin(jobs::list(r)))
            .gives::<wire::JobList>(JSON),
        Route::new("GET", "/api/v1/services/{name}/runs", Read, "The runs of a job.", |r| Box::pin(jobs::runs(r)))
            .kind(Kind::Service)
            .gives::<wire::JobReport>(JSON),
        Route::new("POST", "/api/v1/services/{name}/runs", Write, "Begins a run of a job.", |r| Box::pin(jobs::run(r)))
            .kind(Kind::Service)
            .writes(),
        Route::new("GET", "/api/v1/audit", Admin, "Who changed what: the newest records, oldest first.", |r| {
            Box::pin(audit::list(r))
        })
        .query(AUDIT)
        .gives::<wire::AuditList>(JSON),
        Route::new("POST", "/api/v1/secrets/{name}/set", Write, "Writes some keys; no answer holds a value.", |r| {
            Box::pin(secrets::set(r))
        })
        .kind(Kind::Secret)
        .query(PUT)
        .takes::<wire::SecretSet>(JSON)
        .writes(),
        Route::new("POST", "/api/v1/secrets/{name}/rotate", Write, "A new version: drawn, or an earlier one.", |r| {
            Box::pin(secrets::rotate(r))
        })
        .kind(Kind::Secret)
        .query(PUT)
        .takes::<wire::SecretRotate>(JSON)
        .writes(),
        Route::new("GET", "/api/v1/secrets/{name}/history", Read, "Its versions; never a value.", |r| {
            Box::pin(secrets::history(r))
        })
        .kind(Kind::Secret)
        .gives::<wire::History>(JSON),
        Route::new("GET", "/api/v1/configs/{name}/history", Read, "Its versions.", |r| Box::pin(secrets::history(r)))
            .kind(Kind::Config)
            .gives::<wire::History>(JSON),
        Route::new("POST", "/api/v1/cluster/rekey", Admin, "Seals every Secret with a new key.", |r| {
            Box::pin(secrets::rekey(r))
        })
        .gives::<wire::Rekeyed>(JSON),
        Route::new("POST", "/api/v1/backups", Admin, "A backup of the store, sealed.", |r| {
            Box::pin(backups::create(r))
        })
        // It changes nothing, and takes its time.
        .class(Class::Logs)
        .takes::<wire::BackupRequest>(JSON)
        .gives_bytes(),
        Route::new("GET", "/api/v1/cluster/restore", Read, "What confirming a restored backup would change.", |r| {
            Box::pin(backups::restore(r))
        })
        .gives::<wire::RestoreReport>(JSON),
        Route::new("POST", "/api/v1/cluster/restore", Admin, "Confirms a restored backup: it is carried out.", |r| {
            Box::pin(backups::confirm(r))
        })
        .takes::<wire::RestoreConfirm>(JSON)
        .writes(),
        Route::new("GET", "/api/v1/tokens", Admin, "The tokens; never a secret.", |r| Box::pin(tokens::list(r)))
            .gives::<wire::List<wire::TokenView>>(JSON),
        Route::new("POST", "/api/v1/tokens", Admin, "Makes a token; its secret is told once.", |r| {
            Box::pin(tokens::create(r))
        })
        .takes::<wire::TokenRequest>(JSON)
        .keyed()
        .gives::<wire::TokenMade>(JSON),
        Route::new("DELETE", "/api/v1/tokens/{name}", Admin, "Revokes a token: what was opened with it ends.", |r| {
            Box::pin(tokens::revoke(r))
        })
        .keyed()
        .gives::<wire::TokenRevoked>(JSON),
        Route::new("POST", "/api/v1/apply", Write, "Writes objects, all or none.", |r| Box::pin(write::apply(r)))
            .query(APPLY)
            .takes::<wire::ApplyRequest>(JSON)
            .takes::<Value>("application/yaml")
            .writes(),
        Route::new("POST", "/api/v1/plan", Read, "What an apply would do, and why.", |r| Box::pin(write::plan(r)))
            // It changes nothing: whoever may only read takes no place of those who write.
            .class(Class::Read)
            .query(PLAN)
            .takes::<wire::ApplyRequest>(JSON)
            .takes::<Value>("application/yaml")
            .gives::<wire::PlanAnswer>(JSON),
        Route::new("POST", "/api/v1/builds", Write, "Builds an image on this node's engine.", |r| {
            Box::pin(builds::build(r))
        })
        .class(Class::Logs)
        .query(BUILD)
        .takes_context()
        .gives::<wire::BuildLine>(NDJSON),
        Route::new("GET", "/api/v1/events", Read, "Events, as ndjson or on a WebSocket.", |r| {
            Box::pin(events::events(r))
        })
        .class(Class::Watch)
        .query(EVENTS)
        .gives::<wire::Event>(NDJSON),
        Route::new("GET", "/ws", Read, "Events on a WebSocket.", |r| Box::pin(events::socket_only(r)))
            .class(Class::Watch)
            .query(EVENTS)
            .gives::<wire::Event>(NDJSON),
        Route::new("GET", "/api/v1/status", Read, "The cluster in a few numbers.", |r| Box::pin(cluster::status(r)))
            .class(Class::Control)
            .gives::<wire::ClusterStatus>(JSON),
        Route::new("GET", "/api/v1/raft/status", Read, "Raft as this node sees it.", |r| {
            Box::pin(cluster::raft_status(r))
        })
        .class(Class::Control)
        .gives::<wire::RaftStatus>(JSON),
        Route::new("GET", "/api/v1/raft/leader", Read, "Who leads.", |r| Box::pin(cluster::leader(r)))
            .class(Class::Control)
            .gives::<wire::RaftLeader>(JSON),
        Route::new("GET", "/api/v1/metrics", Read, "The metrics as JSON.", |r| Box::pin(cluster::metrics_json(r)))
            .class(Class::Control)
            .gives::<wire::MetricsReport>(JSON),
        Route::new("GET", "/metrics", Read, "The metrics for Prometheus.", |r| Box::pin(cluster::metrics_text(r)))
            .class(Class::Control)
            .gives_text(),
        Route::new("GET", "/health", Nobody, "Answers as long as the process can.", |r| Box::pin(cluster::health(r)))
            .class(Class::Control)
            .gives::<wire::Health>(JSON),
        Route::new("GET", "/ready", Nobody, "Whether this node can serve.", |r| Box::pin(cluster::ready(r)))
            .class(Class::Control)
            .gives::<wire::Readiness>(JSON),
        Route::new("GET", "/traefik/config", Edge, "What Traefik is to do; held until there is something new.", |r| {
            Box::pin(traefik::config(r))
        })
        .class(Class::Edge)
        .gives::<Value>(JSON),
        Route::new("GET", "/openapi.json", Read, "This description.", |r| Box::pin(openapi::document(r)))
            .gives::<Value>(JSON),
    ]);
    t
}

#[cfg(test)]
mod tests;
