//! What may stand behind the `?` of each route.

use super::Param;

const fn param(name: &'static str, about: &'static str) -> Param {
    Param { name, about, many: false }
}
const fn many(name: &'static str, about: &'static str) -> Param {
    Param { name, about, many: true }
}
pub(super) const WATCH: &str = "watch";
pub(super) const LIST: &[Param] = &[
    param("labels", "Selector: `app=web,tier!=db,gpu,!old`."),
    param(WATCH, "true: changes as ndjson instead of a list."),
    param("fromIndex", "Changes after this index; 0: from the oldest kept; absent: from now."),
];
pub(super) const LIST_REPLICAS: &[Param] = &[
    param("labels", "Selector over the labels of the replica's Service."),
    param(WATCH, "true: changes as ndjson instead of a list."),
    param("fromIndex", "Changes after this index; 0: from the oldest kept; absent: from now."),
    param("service", "Only replicas of this Service."),
    param("node", "Only replicas on this node."),
];
pub(super) const PUT: &[Param] = &[param("dryRun", "true: answer as if, write nothing.")];
pub(super) const DELETE: &[Param] = &[
    param("dryRun", "true: answer as if, write nothing."),
    param("resourceVersion", "Only at this version; else 409."),
    param("force", "true: a Config or Secret that a service names too."),
];
pub(super) const APPLY: &[Param] = &[
    param("dryRun", "true: answer as if, write nothing."),
    param("set", "Set of the objects, where a document names none."),
    param("prune", "Delete the objects of this set that are not in the request; the objects belong to it."),
];
pub(super) const PLAN: &[Param] = &[
    param("set", "Set of the objects, where a document names none."),
    param("prune", "Plan to delete the objects of this set that are not in the request."),
];
pub(super) const EVENTS: &[Param] = &[
    param("fromIndex", "Events after this index; 0: from the oldest kept; absent: from now."),
    many("kinds", "Kinds of objects, `Service,replica`."),
    many("names", "Names, `web,svc/db`."),
    many("types", "`Normal`, `Warning`."),
    param("follow", "false: end after what is kept. Only without WebSocket."),
];
pub(super) const AUDIT: &[Param] = &[
    param("fromIndex", "Records of changes after this index."),
    param("after", "Records after this number, and the oldest of them first if there are more than `limit`."),
    param("since", "Records of this last time, like `1h`."),
    param("who", "Records of this caller: `admin-token`, `root@socket`, or the name of a token."),
    param("object", "Records about this object: `svc/web`, `token/ci`, `image/web:1`."),
    param("limit", "At most so many; 100, and never more than 1000."),
];
pub(super) const LOGS: &[Param] = &[
    param("follow", "true: go on with new lines."),
    param("tail", "Last lines of each replica."),
    param("since", "Lines since then: seconds since 1970, or an age like `10m`."),
    param("timestamps", "true: with the engine's times."),
    param("replica", "Slot, or a replica's full name."),
    param("allReplicas", "true: ended replicas too, while their containers exist."),
    param("run", "Of a job: only attempts of this run."),
    param("format", "`text` instead of ndjson."),
];
pub(super) const BUILD: &[Param] = &[
    param("tag", "`name:tag` of the image."),
    param("dockerfile", "Path of the Dockerfile in the context; `Dockerfile`."),
    param("target", "Stage to build."),
    param("noCache", "true: use no cache."),
    param("pull", "true: look for newer bases."),
    param("platform", "`os/arch`."),
    many("arg", "`KEY=VALUE`, repeated."),
];
