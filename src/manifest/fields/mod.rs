//! Every field of the manifest page: its shape, and whether it works yet.
//!
//! Here: the envelope, Config, Secret and Node. `service`: the Service. `route`: Route and Middleware. Adding a feature moves its field from
//! `later` to `works` and gives it a place in `model`; a test fails when only one of the two is done.

mod route;
pub(super) mod service;

use super::{
    forms,
    shape::{Field, Shape, State, cluster_only, later, required, word, works},
};
use crate::model::{Kind, middleware::HUB_ONLY};

/// `metadata`.
pub(super) static METADATA: &[Field] = &[
    required("name", Shape::Text, "name: web"),
    works("labels", Shape::Form(forms::pairs, &Shape::Map(&Shape::Loose))),
    works("annotations", Shape::Form(forms::pairs, &Shape::Map(&Shape::Loose))),
    works("managedBy", Shape::Text),
    cluster_only("generation"),
    works("resourceVersion", Shape::Int(0, i64::MAX)),
    cluster_only("uid"),
    cluster_only("createdAt"),
    later("generateName", Shape::Text),
];

/// Kinds that are planned: a document of one is understood, and refused.
pub(super) const LATER_KINDS: [&str; 8] =
    ["Issuer", "DNSProvider", "Redis", "Build", "Volume", "Migration", "Lease", "Backup"];

/// The spec of a kind; none for one that people do not write.
pub(super) fn spec(kind: Kind) -> Option<Shape> {
    static SERVICE: Shape = Shape::Object(service::SPEC);
    match kind {
        Kind::Service => Some(Shape::Form(forms::service, &SERVICE)),
        Kind::Config => Some(Shape::Object(CONFIG)),
        Kind::Secret => Some(Shape::Object(SECRET)),
        Kind::Node => Some(Shape::Object(NODE)),
        Kind::Route => Some(Shape::Object(route::ROUTE)),
        Kind::Middleware => Some(Shape::Object(route::MIDDLEWARE)),
        Kind::Replica => None,
    }
}

const VALUE_FROM: Shape = Shape::Object(&[
    works("file", Shape::Text),
    works("env", Shape::Text),
    works("command", Shape::Form(forms::command, &Shape::List(&Shape::Loose))),
    works(
        "generate",
        Shape::Object(&[
            works("length", Shape::Int(1, 4096)),
            works("charset", word(&["alnum", "hex", "base64", "ascii"])),
        ]),
    ),
    works("edge", Shape::Object(&[])),
]);
const ROTATION: Shape = Shape::Object(&[
    works("strategy", STRATEGY),
    works("signal", Shape::Text),
    works("graceVersions", Shape::Int(0, 100)),
    works("every", Shape::Duration),
]);
const CONFIG_ROTATION: Shape = Shape::Object(&[
    works("strategy", STRATEGY),
    works("signal", Shape::Text),
    works("graceVersions", Shape::Int(0, 100)),
    Field {
        name: "every",
        shape: Shape::Duration,
        state: State::Elsewhere(
            "a Config is never drawn anew",
            "remove it, or write a Secret with `valueFrom: {generate: {}}`",
        ),
    },
]);
const STRATEGY: Shape = word(&["rolling", "reload", "manual"]);
// Nothing is drawn that everybody may read.
const CONFIG_VALUE_FROM: Shape = Shape::Object(&[
    works("file", Shape::Text),
    works("env", Shape::Text),
    works("command", Shape::Form(forms::command, &Shape::List(&Shape::Loose))),
    later("generate", Shape::Any),
]);

/// A Config's spec.
pub(super) static CONFIG: &[Field] = &[
    works("data", Shape::Map(&Shape::Loose)),
    works("valueFrom", CONFIG_VALUE_FROM),
    works("rotation", CONFIG_ROTATION),
    works("keepVersions", Shape::Int(1, 50)),
    later("template", Shape::Bool),
];

/// A Secret's spec.
pub(super) static SECRET: &[Field] = &[
    works("type", word(&["opaque", "registry", "tls", "basicAuth", "cloudflare", "password"])),
    works("data", Shape::Map(&Shape::Text)),
    works("stringData", Shape::Map(&Shape::Loose)),
    works("valueFrom", VALUE_FROM),
    works("rotation", ROTATION),
    works("keepVersions", Shape::Int(1, 50)),
];

const TAINT_EFFECT: Shape = word(&["NoSchedule", "PreferNoSchedule", "NoExecute"]);
const AMOUNTS: Shape = Shape::Object(&[works("cpus", Shape::Cpu), works("memory", Shape::Size)]);
const PORT: Shape = Shape::Int(1, 65535);

/// A Node's spec.
pub(super) static NODE: &[Field] = &[
    works("roles", Shape::List(&word(&["server", "agent", "edge", "builder"]))),
    works("schedulable", Shape::Bool),
    works("reserved", AMOUNTS),
    works("capacityOverride", AMOUNTS),
    later(
        "drain",
        Shape::Object(&[
            works("deadline", Shape::Duration),
            works("ignoreGlobal", Shape::Bool),
            works("message", Shape::Text),
        ]),
    ),
    later(
        "taints",
        Shape::List(&Shape::Object(&[
            required("key", Shape::Text, "key: battery"),
            works("value", Shape::Loose),
            works("effect", TAINT_EFFECT),
        ])),
    ),
    later(
        "addresses",
        Shape::List(&Shape::Object(&[
            works("type", word(&["mesh", "internal", "public", "hostname"])),
            required("address", Shape::Text, "address: 192.0.2.1"),
        ])),
    ),
    later("sharedPaths", Shape::List(&Shape::Text)),
    later("dataRoots", Shape::List(&Shape::Text)),
    later(
        "edge",
        Shape::Object(&[
            works("publicAddresses", Shape::List(&Shape::Text)),
            works("httpPort", PORT),
            works("httpsPort", PORT),
            works("weight", Shape::Int(0, 1000)),
        ]),
    ),
    later("failureDomain", Shape::Text),
    later("dockerHost", Shape::Text),
    later(
        "maintenanceWindows",
        Shape::List(&Shape::Object(&[
            required("cron", Shape::Text, "cron: \"0 3 * * *\""),
            required("duration", Shape::Duration, "duration: 1h"),
        ])),
    ),
];

/// What to do instead of a middleware that only Traefik Hub has.
pub(super) fn sold(name: &str, among: &'static [Field]) -> Option<&'static str> {
    let middlewares = std::ptr::eq(among, route::MIDDLEWARE);
    (middlewares && HUB_ONLY.contains(&name))
        .then_some("only Traefik Hub has it; remove it, or let a Service decide with `forwardAuth`")
}

/// What to write for a field of compose that has no place here.
pub(super) fn compose_hint(name: &str) -> Option<&'static str> {
    Some(match name {
        "deploy" => "write what stands below it directly into spec: replicas, mode, placement, resources, restart",
        "scale" => "write `replicas`",
        "links" | "externalLinks" => "remove it: services reach each other by name",
        "extends" | "include" => "write the fields out, or use a YAML anchor",
        "version" | "services" => "write one document with `kind: Service` for each service",
        "memSwappiness" | "cpuQuota" | "cpuPeriod" | "cpuCount" | "cpuPercent" | "cpuRtPeriod" | "cpuRtRuntime" => {
            "write `resources.limits.cpus` and `resources.limits.memory`"
        }
        "memory" | "cpu" | "limits" | "reservations" => {
            "write `resources.limits.memory`, `resources.limits.cpus`, or the same below `resources.reservations`"
        }
        "restartPolicy" => "write `restart: on-failure:3`, or another of no, always, unless-stopped",
        "healthCheck" => "did you mean `healthcheck`?",
        "ports" => return None,
        "env" => "did you mean `environment`?",
        "volumeMounts" | "mounts" => "did you mean `volumes`?",
        "labelFile" => "write `labels` out",
        "postStart" | "preStop" => "write it below `hooks`: postStart: [{command: [./warm-up]}]",
        _ => return None,
    })
}
