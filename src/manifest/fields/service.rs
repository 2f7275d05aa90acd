//! Every field of a Service: the container part, then the orchestration part.

use super::{PORT, TAINT_EFFECT};
use crate::manifest::{
    forms::{self, files, health, mounts, networks, ports},
    shape::{Field, Shape, State, later, only, required, word, works},
};

const TEXTS: Shape = Shape::Form(forms::one_or_many, &Shape::List(&Shape::Loose));
const WORDS: Shape = Shape::Form(forms::command, &Shape::List(&Shape::Loose));
pub(super) const PAIRS: Shape = Shape::Form(forms::pairs, &Shape::Map(&Shape::Loose));
pub(super) const NAMES: Shape = Shape::List(&Shape::Text);
const COUNT: Shape = Shape::Int(0, 1_000_000);

/// A Service's spec.
pub(in crate::manifest) static SPEC: &[Field] = &[
    // ---- the container: what works
    required("image", Shape::Text, "image: NAME:TAG"),
    works("pullPolicy", Shape::Word { now: &["missing", "always", "never"], later: &["build"] }),
    works("imagePullSecrets", NAMES),
    works("platform", Shape::Text),
    works("command", WORDS),
    works("entrypoint", WORDS),
    works("workingDir", Shape::Text),
    works("user", Shape::Loose),
    works("groupAdd", Shape::List(&Shape::Loose)),
    works("hostname", Shape::Text),
    works("environment", Shape::Form(forms::environment, &Shape::Map(&Shape::Loose))),
    works("ports", Shape::Form(ports::rewrite, &Shape::List(&Shape::Object(PORTS)))),
    works("expose", Shape::Form(ports::expose, &Shape::List(&PORT))),
    works("volumes", Shape::Form(mounts::rewrite, &Shape::List(&Shape::Object(MOUNT)))),
    works("tmpfs", TEXTS),
    works("healthcheck", Shape::Form(health::rewrite, &Shape::Object(HEALTHCHECK))),
    works("readiness", Shape::Object(READINESS)),
    works("resources", Shape::Object(RESOURCES)),
    works("devices", Shape::Form(forms::devices, &NAMES)),
    works("capAdd", NAMES),
    works("capDrop", NAMES),
    works("sysctls", PAIRS),
    works("ulimits", Shape::Form(forms::ulimits, &Shape::Map(&Shape::Object(ULIMIT)))),
    works("labels", PAIRS),
    works("extraHosts", Shape::Form(forms::hosts, &Shape::Map(&Shape::Text))),
    works("dns", Shape::Form(networks::dns, &Shape::List(&Shape::Text))),
    works("dnsSearch", TEXTS),
    works("dnsOpt", TEXTS),
    works("networks", Shape::Form(networks::rewrite, &Shape::List(&Shape::Object(NETWORK)))),
    works("networkMode", Shape::Form(networks::mode, &word(&["bridge", "host", "none"]))),
    works("logging", Shape::Object(LOGGING)),
    works("stopSignal", Shape::Text),
    works("stopGracePeriod", Shape::Duration),
    works("init", Shape::Bool),
    works("ipc", word(&["private", "shareable", "host", "none"])),
    works("pid", word(&["host"])),
    works("privileged", Shape::Bool),
    works("securityOpt", NAMES),
    works("readOnly", Shape::Bool),
    works("shmSize", Shape::Size),
    works("configs", Shape::Form(files::rewrite, &Shape::List(&Shape::Object(CONFIG_FILE)))),
    works("secrets", Shape::Form(files::rewrite, &Shape::List(&Shape::Object(SECRET_FILE)))),
    works("dependsOn", Shape::Form(forms::dependencies, &Shape::List(&Shape::Object(DEPENDENCY)))),
    works("restart", Shape::Form(forms::restart, &Shape::Text)),
    works(
        "autoRestart",
        Shape::Object(&[
            works("onUnhealthy", Shape::Bool),
            works("after", Shape::Int(1, 1000)),
            works("backoff", Shape::Duration),
            works("maxBackoff", Shape::Duration),
        ]),
    ),
    // ---- the container: not built
    later("build", Shape::Form(forms::build, &Shape::Object(BUILD))),
    later("imageResolve", word(&["once", "always", "never"])),
    later("domainname", Shape::Text),
    later("containerName", Shape::Text),
    later("exactContainerName", Shape::Bool),
    later("envFile", TEXTS),
    later(
        "envFrom",
        Shape::List(&Shape::Object(&[
            works("secretRef", Shape::Text),
            works("configRef", Shape::Text),
            works("prefix", Shape::Text),
        ])),
    ),
    later("gpus", Shape::Any),
    later("deviceCgroupRules", NAMES),
    later("uts", word(&["host"])),
    later("usernsMode", word(&["host"])),
    later("cgroup", word(&["host", "private"])),
    later("cgroupParent", Shape::Text),
    later("oomScoreAdj", Shape::Int(-1000, 1000)),
    later("cpuShares", Shape::Int(0, 262_144)),
    later("cpuset", Shape::Loose),
    later("memSwapLimit", Shape::Size),
    later("runtime", Shape::Text),
    later("storageOpt", PAIRS),
    later("annotations", PAIRS),
    later("attach", Shape::Bool),
    later("tty", Shape::Bool),
    later("stdinOpen", Shape::Bool),
    later("macAddress", Shape::Text),
    later("blkioConfig", Shape::Any),
    later("profiles", NAMES),
    // ---- orchestration: what works
    works("mode", word(&["replicated", "global", "job", "cron"])),
    works("replicas", Shape::Int(0, 1000)),
    works("placement", Shape::Object(PLACEMENT)),
    works("update", Shape::Object(UPDATE)),
    works("rollback", Shape::Object(&[works("parallelism", COUNT), works("order", ORDER)])),
    works(
        "hooks",
        Shape::Object(&[
            works("preDeploy", HOOKS),
            works("postStart", INSIDE),
            works("preStop", INSIDE),
            works("postDeploy", HOOKS),
        ]),
    ),
    works("revisionHistoryLimit", Shape::Int(0, 1000)),
    works("suspend", Shape::Bool),
    works("routes", Shape::List(&Shape::Object(super::route::SHORTHAND))),
    works("schedule", Shape::Text),
    works("timeZone", Shape::Text),
    works("concurrencyPolicy", word(&["forbid", "allow", "replace"])),
    works("completions", Shape::Int(1, 1000)),
    works("backoffLimit", Shape::Int(0, 1000)),
    works("activeDeadline", Shape::Duration),
    works("ttlAfterFinished", Shape::Duration),
    // ---- orchestration: not built
    later("priority", Shape::Int(-1_000_000, 1_000_000)),
    later("failover", Shape::Object(FAILOVER)),
    later("migration", Shape::Object(MIGRATION)),
    later(
        "rebalance",
        Shape::Object(&[works("mode", word(&["auto", "never"])), works("minResidence", Shape::Duration)]),
    ),
    later("disruption", Shape::Object(&[works("minAvailable", COUNT), works("maxUnavailable", COUNT)])),
    later("autoscale", Shape::Any),
];

const PORTS: &[Field] = &[
    works("name", Shape::Text),
    required("target", PORT, "target: 80"),
    works("published", PORT),
    works("protocol", word(&["tcp", "udp", "sctp"])),
    works("hostIp", Shape::Text),
    works("appProtocol", Shape::Text),
    // `host` is what works, and is taken off by the rewrite.
    later("mode", Shape::Word { now: &["host"], later: &["edge", "leader"] }),
];

const MOUNT: &[Field] = &[
    required("type", Shape::Word { now: &["bind", "volume", "tmpfs"], later: &["image"] }, "type: volume"),
    works("source", Shape::Text),
    required("target", Shape::Text, "target: /data"),
    works("readOnly", Shape::Bool),
    works(
        "bind",
        Shape::Object(&[
            works("createHostPath", Shape::Bool),
            works("propagation", word(&["rprivate", "private", "rshared", "shared", "rslave", "slave"])),
            later("selinux", word(&["z", "Z"])),
        ]),
    ),
    works("volume", Shape::Object(&[works("nocopy", Shape::Bool), later("subpath", Shape::Text)])),
    works(
        "tmpfs",
        Shape::Object(&[works("size", Shape::Size), works("mode", Shape::Form(forms::octal, &Shape::Text))]),
    ),
    works("dataPolicy", word(&["state", "shared", "config", "cache", "host"])),
    works("perReplica", Shape::Bool),
    works("external", Shape::Bool),
    later("exclude", NAMES),
    later("owner", Shape::Loose),
];

const HEALTHCHECK: &[Field] = &[
    works("test", NAMES),
    works("interval", Shape::Duration),
    works("timeout", Shape::Duration),
    works("retries", Shape::Int(0, 1000)),
    works("startPeriod", Shape::Duration),
    works("startInterval", Shape::Duration),
    works("disable", Shape::Bool),
];

const READINESS: &[Field] = &[
    works(
        "http",
        Shape::Object(&[
            works("path", Shape::Text),
            required("port", PORT, "port: 8080"),
            works("host", Shape::Text),
            works("headers", PAIRS),
            works("status", Shape::Loose),
            only("scheme", "http", Shape::Word { now: &["http"], later: &["https"] }),
        ]),
    ),
    works("tcp", Shape::Object(&[required("port", PORT, "port: 8080")])),
    works("exec", WORDS),
    works("interval", Shape::Duration),
    works("timeout", Shape::Duration),
    works("successThreshold", Shape::Int(1, 1000)),
    works("failureThreshold", Shape::Int(1, 1000)),
];

const RESOURCES: &[Field] = &[
    works(
        "reservations",
        Shape::Object(&[works("cpus", Shape::Cpu), works("memory", Shape::Size), later("devices", Shape::Any)]),
    ),
    works(
        "limits",
        Shape::Object(&[
            works("cpus", Shape::Cpu),
            works("memory", Shape::Size),
            works("pids", Shape::Int(1, 4_194_304)),
        ]),
    ),
];

const ULIMIT: &[Field] = &[
    required("soft", Shape::Int(-1, i64::MAX), "soft: 1024"),
    required("hard", Shape::Int(-1, i64::MAX), "hard: 1024"),
];

const NETWORK: &[Field] = &[
    required("name", Shape::Text, "name: default"),
    works("aliases", NAMES),
    works("ipv4Address", Shape::Text),
    works("ipv6Address", Shape::Text),
    works("priority", Shape::Int(i32::MIN as i64, i32::MAX as i64)),
];

const LOGGING: &[Field] = &[required("driver", Shape::Text, "driver: json-file"), works("options", PAIRS)];

const CONFIG_FILE: &[Field] = &[
    required("source", Shape::Text, "source: NAME"),
    works("target", Shape::Text),
    works("uid", Shape::Form(forms::id, &Shape::Int(0, u32::MAX as i64))),
    works("gid", Shape::Form(forms::id, &Shape::Int(0, u32::MAX as i64))),
    works("mode", Shape::Form(forms::octal, &Shape::Text)),
    later("content", Shape::Text),
];
const SECRET_FILE: &[Field] = &[
    required("source", Shape::Text, "source: NAME"),
    works("target", Shape::Text),
    works("uid", Shape::Form(forms::id, &Shape::Int(0, u32::MAX as i64))),
    works("gid", Shape::Form(forms::id, &Shape::Int(0, u32::MAX as i64))),
    works("mode", Shape::Form(forms::octal, &Shape::Text)),
    works("env", Shape::Text),
];

const DEPENDENCY: &[Field] = &[
    required("name", Shape::Text, "name: db"),
    works("condition", word(&["service_started", "service_healthy", "service_completed_successfully"])),
    works("required", Shape::Bool),
    only("restart", "false", Shape::Bool),
];

const PLACEMENT: &[Field] = &[
    works("constraints", NAMES),
    later(
        "preferences",
        Shape::List(&Shape::Object(&[
            works("spread", Shape::Text),
            works("prefer", Shape::Text),
            works("avoid", Shape::Text),
            works("weight", Shape::Int(0, 1000)),
        ])),
    ),
    later("maxReplicasPerNode", COUNT),
    later("colocateWith", NAMES),
    later(
        "tolerations",
        Shape::List(&Shape::Object(&[
            works("key", Shape::Text),
            works("value", Shape::Loose),
            works("effect", TAINT_EFFECT),
        ])),
    ),
];

const HOOKS: Shape = Shape::List(&Shape::Object(&[
    required("command", WORDS, "command: [\"./migrate\"]"),
    works("image", Shape::Text),
    works("timeout", Shape::Duration),
    works("onFailure", word(&["abort", "continue"])),
]));
/// Hooks in the replica's own container.
const INSIDE: Shape = Shape::List(&Shape::Object(&[
    required("command", WORDS, "command: [\"./warm-up\"]"),
    Field {
        name: "image",
        shape: Shape::Text,
        state: State::Elsewhere("it runs in the container of the replica, which has its image", "remove it"),
    },
    works("timeout", Shape::Duration),
    works("onFailure", word(&["abort", "continue"])),
]));

const ORDER: Shape = word(&["auto", "start-first", "stop-first"]);
const UPDATE: &[Field] = &[
    works("parallelism", COUNT),
    works("order", ORDER),
    works("delay", Shape::Duration),
    works("minHealthyTime", Shape::Duration),
    works("progressDeadline", Shape::Duration),
    works("maxFailures", COUNT),
    works("failureAction", word(&["rollback", "pause", "continue"])),
    works("canary", COUNT),
    works("autoPromote", Shape::Bool),
    works("holdRequests", Shape::Duration),
    works("drainTimeout", Shape::Duration),
];

const FAILOVER: &[Field] = &[
    works("enabled", Shape::Bool),
    works("after", Shape::Duration),
    works("onNodeLoss", word(&["wait", "restartEmpty", "restoreBackup", "promoteReplica"])),
    works("lease", word(&["pinned", "ttl"])),
    works("maxStaleness", Shape::Duration),
    works("fenceTTL", Shape::Duration),
    works("onReturn", word(&["keepReplacement", "keepOriginal", "bestScore"])),
];

const MIGRATION: &[Field] = &[
    works("maxDowntime", Shape::Duration),
    works("precopy", Shape::Bool),
    works("verify", word(&["full", "metadata"])),
    works("retainSource", Shape::Duration),
    works("bandwidth", Shape::Size),
    works("preQuiesce", HOOKS),
    works("postStart", HOOKS),
];

const BUILD: &[Field] = &[
    works("ref", Shape::Text),
    works("context", Shape::Text),
    works("dockerfile", Shape::Text),
    works("dockerfileInline", Shape::Text),
    works("args", PAIRS),
    works("target", Shape::Text),
    works("platforms", NAMES),
    works("labels", PAIRS),
    works("tags", NAMES),
    works("secrets", Shape::Any),
    works("ssh", Shape::Any),
    works("cacheFrom", NAMES),
    works("cacheTo", NAMES),
    works("noCache", Shape::Bool),
    works("pull", Shape::Bool),
    works("network", Shape::Text),
    works("shmSize", Shape::Size),
    works("extraHosts", Shape::Form(forms::hosts, &Shape::Map(&Shape::Text))),
    works("additionalContexts", PAIRS),
    works("provenance", Shape::Any),
    works("sbom", Shape::Any),
    works("builder", Shape::Any),
    works("output", Shape::Any),
    works("trigger", Shape::Any),
    works("keep", COUNT),
];

/// What an external DNS name or an internal alias is written as: the orchestration side of `dns`.
pub(in crate::manifest) const DNS_NAMES: Shape = Shape::Object(&[
    works("internal", Shape::Object(&[works("aliases", NAMES), works("ttl", Shape::Duration)])),
    works(
        "external",
        Shape::List(&Shape::Object(&[
            required("provider", Shape::Text, "provider: NAME"),
            required("name", Shape::Text, "name: web.example.com"),
            works("type", Shape::Text),
            works("proxied", Shape::Bool),
            works("ttl", Shape::Duration),
        ])),
    ),
]);
