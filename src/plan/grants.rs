//! What of the host a service takes for itself: power that not everybody who may write has.
//!
//! Here: [`needs`], which names each field and the grant that it asks for, and [`reaches`], the same of routes; [`only_counts`], whether a change
//! leaves alone how that power is used; what a node refuses to carry out ([`refused`], [`leads_astray`]).
//! Not here: which powers there are and what a path needs (`model::power`), who is asking (`api::grants`), following
//! a link (`reconcile`).
//! Invariant: a field is harmless because it is known to be, never because it is not known.

use crate::model::{
    Grants, Kind, Power, ServiceSpec, Spec,
    middleware::MiddlewareSpec,
    power::Places,
    route::{MiddlewareRef, outside},
    service::{ContainerSpec, Logging, Mount, MountKind, NetworkMode},
};

/// One field that needs a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// Which grant.
    pub power: Power,
    /// `spec.privileged`.
    pub field: String,
}

impl Need {
    /// Whether a directory in `grants.bindRoots` would do instead of the grant.
    #[must_use]
    pub fn has_place(&self) -> bool {
        self.power == Power::Binds && !self.field.ends_with(EXTERNAL)
    }
}

/// The field of a volume that nobody here made. An engine's volume may be any folder of the host, or another project's.
const EXTERNAL: &str = ".external";

/// Options that take power away.
const CONFINES: [&str; 3] = ["no-new-privileges", "no-new-privileges=true", "no-new-privileges:true"];

/// Log drivers that keep what a container says on its host. Others make the engine, which is root in the host's
/// network, connect to an address or a socket that the options name.
const KEEPS_LOGS: [&str; 4] = ["json-file", "local", "journald", "none"];

/// Options of log drivers that say how much is kept and what is written beside a line: no address, no path.
const OF_KEPT_LOGS: [&str; 14] = [
    "max-size",
    "max-file",
    "compress",
    "labels",
    "labels-regex",
    "env",
    "env-regex",
    "tag",
    "mode",
    "max-buffer-size",
    "cache-disabled",
    "cache-max-size",
    "cache-max-file",
    "cache-compress",
];

/// Limits with which a process gets ahead of the host's own, as with the capability `SYS_NICE`.
const GETS_AHEAD: [&str; 2] = ["nice", "rtprio"];

/// Every field of a container that needs a grant, in the order of the fields.
///
/// Every field is named, the harmless ones with the reason: what is new does not compile until it is judged.
#[must_use]
pub fn needs(c: &ContainerSpec, places: &Places) -> Vec<Need> {
    let ContainerSpec {
        volumes,
        devices,
        cap_add,
        sysctls,
        ulimits,
        network_mode,
        logging,
        ipc,
        pid,
        privileged,
        security_opt,
        // What runs, inside. Whoever has the power of the service chooses it (`api::grants`).
        image: _,
        command: _,
        entrypoint: _,
        working_dir: _,
        environment: _,
        platform: _,
        pull_policy: _,
        init: _,
        // Who it is inside. A process is root there when nothing is said, so this gives nothing more.
        user: _,
        group_add: _,
        hostname: _,
        // Commands of these run inside, as its own processes; the agent's own probes ask its address, and tell no answer.
        healthcheck: _,
        readiness: _,
        // What it is reached by: the host's ports are there to be published.
        ports: _,
        expose: _,
        // Bridges of the cluster's own, by names that carry its lineage; files of its own below /etc. Whatever a name
        // leads to can be reached by its address too.
        networks: _,
        extra_hosts: _,
        dns: _,
        dns_search: _,
        dns_opt: _,
        // Memory. `dev` among the options of a tmpfs makes no device: the kernel opens those of `devices` only.
        tmpfs: _,
        shm_size: _,
        // Less than without.
        cap_drop: _,
        read_only: _,
        resources: _,
        // Content of the cluster's own, from directories that nobody else on the host can enter, whatever its mode.
        configs: _,
        secrets: _,
        image_pull_secrets: _,
        // The cluster's own begin with `constellation.` and are written last.
        labels: _,
        // When it starts and ends.
        stop_signal: _,
        stop_grace_period: _,
        depends_on: _,
        restart: _,
        auto_restart: _,
    } = c;
    let mut all = Vec::new();
    let mut need = |power, field: String| all.push(Need { power, field });
    for (i, mount) in volumes.iter().enumerate() {
        if let Some((power, field)) = of_mount(mount, places) {
            need(power, format!("spec.volumes[{i}]{field}"));
        }
    }
    if !devices.is_empty() {
        need(Power::Devices, "spec.devices".into());
    }
    if !cap_add.is_empty() {
        need(Power::Capabilities, "spec.capAdd".into());
    }
    if !sysctls.is_empty() {
        need(Power::Sysctls, "spec.sysctls".into());
    }
    for name in ulimits.keys().filter(|name| GETS_AHEAD.contains(&name.as_str())) {
        need(Power::Capabilities, format!("spec.ulimits.{name}"));
    }
    match network_mode {
        NetworkMode::Host => need(Power::HostNetwork, "spec.networkMode".into()),
        NetworkMode::Bridge | NetworkMode::None => {}
    }
    if let Some(Logging { driver, options }) = logging {
        if !KEEPS_LOGS.contains(&driver.as_str()) {
            need(Power::HostNetwork, "spec.logging.driver".into());
        }
        for name in options.keys().filter(|name| !OF_KEPT_LOGS.contains(&name.as_str())) {
            need(Power::HostNetwork, format!("spec.logging.options.{name}"));
        }
    }
    if !matches!(ipc.as_deref(), None | Some("private" | "shareable" | "none")) {
        need(Power::HostIpc, "spec.ipc".into());
    }
    if pid.is_some() {
        need(Power::HostPid, "spec.pid".into());
    }
    if *privileged {
        need(Power::Privileged, "spec.privileged".into());
    }
    for (i, _) in security_opt.iter().enumerate().filter(|(_, o)| !CONFINES.contains(&o.as_str())) {
        need(Power::Unconfined, format!("spec.securityOpt[{i}]"));
    }
    all
}

/// What a mount needs, and below it the field that says so.
fn of_mount(mount: &Mount, places: &Places) -> Option<(Power, &'static str)> {
    let Mount {
        kind,
        source,
        external,
        // Inside; over /proc and /sys the engine mounts nothing of anybody's.
        target: _,
        // What is written, it may write; what is read may hold secrets. Both need the same.
        read_only: _,
        // To make a directory, and to see what is mounted below it later, needs what the path needs.
        bind: _,
        // Of a volume that is the cluster's own, and memory.
        volume: _,
        tmpfs: _,
        // For moves and placement.
        data_policy: _,
        per_replica: _,
    } = mount;
    match kind {
        MountKind::Bind => Some((places.power(source.as_deref().unwrap_or_default())?, "")),
        MountKind::Volume => external.then_some((Power::Binds, EXTERNAL)),
        MountKind::Tmpfs => None,
    }
}

/// Every field of a Route, a Middleware or the `routes` of a Service that makes Traefik, which is in the host's network,
/// ask an address that is no Service: whatever listens on the host or beside it can be reached so.
#[must_use]
pub fn reaches(spec: &Spec) -> Vec<Need> {
    let mut found = Vec::new();
    let mut need = |field: String| found.push(Need { power: Power::HostNetwork, field });
    let outward = |m: &MiddlewareSpec| m.forward_auth.as_ref().is_some_and(|auth| outside(&auth.address).is_some());
    let inline = |list: &[MiddlewareRef], at: &str, need: &mut dyn FnMut(String)| {
        for (i, one) in list.iter().enumerate() {
            if matches!(one, MiddlewareRef::Inline(spec) if outward(spec)) {
                need(format!("spec.{at}middlewares[{i}].forwardAuth.address"));
            }
        }
    };
    match spec {
        Spec::Route(route) => {
            for (i, _) in route.backends.iter().enumerate().filter(|(_, b)| b.url.is_some()) {
                need(format!("spec.backends[{i}].url"));
            }
            if route.load_balancer.health_check.as_ref().is_some_and(|check| check.follow_redirects) {
                need("spec.loadBalancer.healthCheck.followRedirects".into());
            }
            inline(&route.middlewares, "", &mut need);
        }
        Spec::Middleware(spec) if outward(spec) => need("spec.forwardAuth.address".into()),
        Spec::Service(service) => {
            for (i, route) in service.routes.iter().enumerate() {
                inline(&route.middlewares, &format!("routes[{i}]."), &mut need);
            }
        }
        Spec::Middleware(_) | Spec::Config(_) | Spec::Secret(_) | Spec::Node(_) => {}
    }
    found
}

/// Whether two declarations differ in how many replicas run alone: whoever may do no more than that does not use
/// the power of the service.
#[must_use]
pub fn only_counts(old: &ServiceSpec, new: &ServiceSpec) -> bool {
    let counted = |spec: &ServiceSpec| ServiceSpec { replicas: None, suspend: false, ..spec.clone() };
    counted(old) == counted(new)
}

/// Whether a service reads this Config or Secret: what stands in it may be what the container runs.
#[must_use]
pub fn reads(spec: &ServiceSpec, kind: Kind, name: &str) -> bool {
    let c = &spec.container;
    match kind {
        Kind::Config => c.configs.iter().any(|file| file.object() == name),
        Kind::Secret => {
            c.secrets.iter().any(|file| file.object() == name) || c.image_pull_secrets.iter().any(|s| s == name)
        }
        Kind::Service | Kind::Node | Kind::Route | Kind::Middleware | Kind::Replica => false,
    }
}

/// The first field with power that no role has, as this node says it; none: it may carry out all of them. Where a
/// path leads on its disks is another question: [`leads_astray`].
#[must_use]
pub fn refused(spec: &ContainerSpec, grants: &Grants) -> Option<String> {
    let refused = needs(spec, &grants.places).into_iter().find(|need| !grants.has(need.power))?;
    Some(lacking(&refused.field, refused.power))
}

/// What a node says of a bind mount whose path leads to another place than it is written: none, when it may be
/// mounted all the same. `written`: the places as the configuration names them; `on_disk`: where they lie.
///
/// Who wrote the service is not known here: what anybody may mount because it is in a root has to be in one.
#[must_use]
pub fn leads_astray(field: &str, source: &str, real: &str, grants: &Grants, on_disk: &Places) -> Option<String> {
    let power = on_disk.power(real)?;
    if grants.places.power(source).is_none() {
        let which = match power {
            Power::DockerSocket => "reaches the engine's socket",
            _ => "is in none of them",
        };
        return Some(format!(
            "{field}: {source} is in a directory of grants.bindRoots and leads to {real}, which {which}; mounted under \
             that path it needs the grant {power}"
        ));
    }
    (!grants.has(power)).then(|| format!("{source} leads to {real}: {}", lacking(field, power)))
}

fn lacking(field: &str, power: Power) -> String {
    format!("{field} needs the grant {power}, which the configuration of this node's agent gives to no role")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(fields: serde_json::Value) -> ServiceSpec {
        let mut all = serde_json::json!({"image": "nginx:1"});
        all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }
    fn names(spec: &ServiceSpec) -> Vec<String> {
        needs(&spec.container, &Places::default())
            .into_iter()
            .map(|need| format!("{} {}", need.power, need.field))
            .collect()
    }

    #[test]
    fn each_field_that_reaches_the_host_needs_its_grant() {
        let table = [
            (serde_json::json!({}), vec![]),
            (serde_json::json!({"privileged": true}), vec!["privileged spec.privileged"]),
            (serde_json::json!({"capAdd": ["NET_ADMIN"], "capDrop": ["ALL"]}), vec!["capabilities spec.capAdd"]),
            (serde_json::json!({"devices": ["/dev/dri"]}), vec!["devices spec.devices"]),
            (serde_json::json!({"sysctls": {"net.core.somaxconn": "1"}}), vec!["sysctls spec.sysctls"]),
            (serde_json::json!({"networkMode": "host"}), vec!["hostNetwork spec.networkMode"]),
            (serde_json::json!({"networkMode": "none", "ipc": "private"}), vec![]),
            (serde_json::json!({"pid": "host", "ipc": "host"}), vec!["hostIpc spec.ipc", "hostPid spec.pid"]),
            (serde_json::json!({"ipc": "container:x"}), vec!["hostIpc spec.ipc"]),
            (serde_json::json!({"securityOpt": ["no-new-privileges", "no-new-privileges:true"]}), vec![]),
            (
                serde_json::json!({"securityOpt": ["no-new-privileges", "seccomp=unconfined", "label=disable"]}),
                vec!["unconfined spec.securityOpt[1]", "unconfined spec.securityOpt[2]"],
            ),
            (serde_json::json!({"securityOpt": ["no-new-privileges=false"]}), vec!["unconfined spec.securityOpt[0]"]),
            (
                serde_json::json!({"ulimits": {
                    "nice": {"soft": 40, "hard": 40}, "nofile": {"soft": 9, "hard": 9}, "rtprio": {"soft": 99, "hard": 99}
                }}),
                vec!["capabilities spec.ulimits.nice", "capabilities spec.ulimits.rtprio"],
            ),
        ];
        for (fields, want) in table {
            assert_eq!(names(&spec(fields.clone())), want, "{fields}");
        }
    }

    fn mounting(kind: &str, source: &str) -> ContainerSpec {
        let mount: Mount =
            serde_json::from_value(serde_json::json!({"type": kind, "source": source, "target": "/x"})).unwrap();
        ContainerSpec { volumes: vec![mount], ..spec(serde_json::json!({})).container }
    }
    fn rooted(admin: &[Power]) -> Grants {
        let places = Places { roots: vec!["/srv".into()], ..Places::default() };
        Grants { admin: admin.iter().copied().collect(), places, ..Grants::default() }
    }

    #[test]
    fn a_mount_needs_what_its_path_is() {
        let needed = |kind: &str, source: &str| {
            needs(&mounting(kind, source), &rooted(&[]).places).first().map(|need| need.power)
        };
        for (source, power) in [
            ("/var/run/docker.sock", Some(Power::DockerSocket)),
            ("/", Some(Power::DockerSocket)),
            ("", Some(Power::DockerSocket)),
            ("/etc", Some(Power::Binds)),
            ("/srv/../etc", Some(Power::Binds)),
            ("/srv/app", None),
        ] {
            assert_eq!(needed("bind", source), power, "{source}");
        }
        assert_eq!(needed("volume", "run"), None);
        let mut volume = mounting("volume", "run");
        volume.volumes[0].external = true;
        let need = needs(&volume, &rooted(&[]).places).remove(0);
        assert_eq!((need.power, need.field.as_str()), (Power::Binds, "spec.volumes[0].external"));
        assert!(!need.has_place(), "no directory of the configuration makes it harmless");
        assert!(needs(&mounting("bind", "/etc"), &Places::default()).remove(0).has_place());
    }

    #[test]
    fn a_log_driver_that_connects_needs_the_host_s_network() {
        let needed = |driver: &str, options: &[&str]| {
            let options: serde_json::Map<_, _> = options.iter().map(|o| ((*o).to_owned(), "x".into())).collect();
            names(&spec(serde_json::json!({"logging": {"driver": driver, "options": options}})))
        };
        for driver in KEEPS_LOGS {
            assert_eq!(needed(driver, &["max-size", "labels", "tag"]), [""; 0], "{driver}");
        }
        for driver in ["syslog", "gelf", "fluentd", "awslogs", "splunk", "gcplogs", "me/plugin:1", "", "JSON-FILE"] {
            assert_eq!(needed(driver, &[]), ["hostNetwork spec.logging.driver"], "{driver}");
        }
        assert_eq!(
            needed("json-file", &["gelf-address", "max-file", "syslog-tls-key"]),
            ["hostNetwork spec.logging.options.gelf-address", "hostNetwork spec.logging.options.syslog-tls-key"]
        );
    }

    #[test]
    fn a_node_carries_out_what_some_role_has() {
        let privileged = spec(serde_json::json!({"privileged": true})).container;
        let said = refused(&privileged, &rooted(&[Power::Binds])).unwrap();
        assert!(said.starts_with("spec.privileged needs the grant privileged"), "{said}");
        let writers = Grants { write: [Power::Privileged].into(), ..rooted(&[]) };
        assert_eq!(refused(&privileged, &writers), None);
        assert_eq!(refused(&mounting("bind", "/srv/x"), &rooted(&[])), None);
        assert!(refused(&mounting("bind", "/etc"), &rooted(&[Power::Privileged])).is_some());
    }

    #[test]
    fn what_is_in_a_root_has_to_lead_there() {
        let on_disk = Places { roots: vec!["/mnt/disk".into()], ..Places::default() };
        let says = |source: &str, real: &str, admin: &[Power]| {
            leads_astray("spec.volumes[0]", source, real, &rooted(admin), &on_disk).unwrap_or_default()
        };
        // The root itself is a link to a disk.
        assert_eq!(says("/srv/app", "/mnt/disk/app", &[]), "");
        // Whatever an administrator may: somebody else may have written it.
        let out = says("/srv/app", "/etc", &Power::ALL);
        assert!(out.contains("/srv/app is in a directory of grants.bindRoots and leads to /etc"), "{out}");
        let socket = says("/srv/sock", "/run/docker.sock", &Power::ALL);
        assert!(socket.contains("needs the grant dockerSocket"), "{socket}");
        // From outside, what it leads to counts as well.
        assert_eq!(says("/link", "/mnt/disk/app", &[Power::Binds]), "");
        assert_eq!(says("/link", "/etc", &[Power::Binds]), "");
        assert_eq!(says("/link", "/run/docker.sock", &Power::ALL), "");
        let link = says("/link", "/run/docker.sock", &[Power::Binds]);
        assert!(
            link.starts_with("/link leads to /run/docker.sock: spec.volumes[0] needs the grant dockerSocket"),
            "{link}"
        );
    }

    #[test]
    fn whoever_only_counts_uses_no_power() {
        let old = spec(serde_json::json!({"privileged": true, "replicas": 1}));
        let changed = |fields: serde_json::Value| {
            let mut all = serde_json::to_value(&old).unwrap();
            all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            only_counts(&old, &serde_json::from_value(all).unwrap())
        };
        assert!(changed(serde_json::json!({})) && changed(serde_json::json!({"replicas": 3, "suspend": true})));
        for fields in [
            serde_json::json!({"image": "evil:1"}),
            serde_json::json!({"command": ["sh"]}),
            serde_json::json!({"environment": {"LD_PRELOAD": "/x"}}),
            serde_json::json!({"mode": "global"}),
            serde_json::json!({"hooks": {"postStart": [{"command": ["sh"]}]}}),
            serde_json::json!({"placement": {"constraints": ["node.name == n2"]}}),
        ] {
            assert!(!changed(fields.clone()), "{fields}");
        }
    }
}
