//! One cause after another, injected into the real engine, agent or store: `why` names each with a code of its own,
//! in plain words and with what helps, and `describe` says the same.
//!
//! Here: the table, which is printed. Not here: that a cause goes away again (`reasons`, `repair`).

use std::{path::Path, process::Command};

use serde_json::Value;

use crate::{
    agent::{Agent, HELLO, service},
    lab::Lab,
    proxy::{Fault, Proxy, What},
    wait::{eventually, secs},
};

/// Says who runs it, and ends when asked.
const SLEEPER: &str = "image: constellation-test/busybox:1
command: [sh, -c, 'trap \"exit 0\" TERM; while :; do sleep 0.1; done']
stopGracePeriod: 1s
";

/// One cause, as it is told.
struct Told {
    cause: &'static str,
    reason: String,
    words: String,
    hint: String,
}

/// What was found so far.
#[derive(Default)]
struct Table(Vec<Told>);

impl Table {
    /// Waits until `why` gives the reason, with these words, and a hint that has those; then looks at `describe`.
    #[track_caller]
    fn find(&mut self, agent: &Agent<'_>, cause: &'static str, object: &str, reason: &str, words: &str, helps: &str) {
        let told =
            eventually(secs(60), &format!("{cause}: {object} gives {reason} with {words:?} and {helps:?}"), || {
                let said = agent.cli(&["why", object, "-o", "json"]).exits(0).out;
                let why: Value = serde_json::from_str(&said).map_err(|e| format!("{e}: {said}"))?;
                let text = |d: &Value, field: &str| d[field].as_str().unwrap_or_default().to_owned();
                let fits = |d: &&Value| {
                    text(d, "reason") == reason
                        && format!("{} {}", text(d, "message"), d["log"]).contains(words)
                        && text(d, "hint").contains(helps)
                };
                let found = why["differences"].as_array().into_iter().flatten().find(fits).ok_or(said.clone())?;
                let chain: Vec<&str> =
                    why["chain"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                let words = if chain.is_empty() { text(found, "message") } else { chain.join(" <- ") };
                Ok(Told { cause, reason: reason.to_owned(), words, hint: text(found, "hint") })
            });
        // Words for people, from both commands.
        eventually(secs(10), &format!("{cause}: describe says {reason}"), || {
            let why = agent.cli(&["why", object]).exits(0).out;
            let whole = if object.starts_with("replica/") {
                why.clone()
            } else {
                agent.cli(&["describe", object]).exits(0).out
            };
            let all = [&why, &whole];
            if all.iter().all(|said| said.contains(reason)) { Ok(()) } else { Err(format!("{why}\n{whole}")) }
        });
        self.0.push(told);
    }
    fn print(&self) {
        for told in &self.0 {
            eprintln!("{} | {} | {} | {}", told.cause, told.reason, told.words, told.hint);
        }
    }
}

/// A file system of its own, gone with this value.
struct Disk(std::path::PathBuf);

impl Disk {
    fn mount(at: &Path) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let done = Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(at).status().unwrap();
        assert!(done.success());
        Self(at.into())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// What lies in the declaration, or beside it.
#[test]
fn what_was_declared_names_its_causes() {
    let lab = Lab::take();
    let mut agent = Agent::prepared(&lab);
    let proxy = Proxy::before(lab.docker.socket(), agent.path("engine.sock"));
    agent.docker_host = Some(proxy.host());
    let mut table = Table::default();
    let (disk, free) = (agent.path("disk"), agent.path("free"));
    std::fs::create_dir_all(&free).unwrap();
    std::os::unix::fs::symlink("/", free.join("way-out")).unwrap();
    agent.flags.extend(["--grants-bind-roots".into(), free.display().to_string()]);
    agent.spawn();
    agent.wait_until_ready();
    let mounted = Disk::mount(&disk);
    let (open, private) = (&lab.registry, &lab.private_registry);
    let foreign =
        lab.docker.run(&["run", "-d", "--name", "proxy", "-p", "127.0.0.1:18081:8080", "constellation/hello:1"]);
    let mut listener = lab.inside("/bin/busybox").args(["nc", "-l", "-p", "18082"]).spawn().unwrap();
    let image = |image: &str| SLEEPER.replace("constellation-test/busybox:1", image);
    let with = |more: &str| format!("{SLEEPER}{more}\n");
    let bind = |source: &str| with(&format!("volumes: [{{type: bind, source: {source}, target: /data}}]"));
    let declared = [
        ("nowhere", image(&format!("{open}/team/nothing:1"))),
        ("closed", image(&format!("{private}/team/secret:1"))),
        ("far", image("127.0.0.1:5999/team/far:1")),
        ("first", with("ports: ['127.0.0.1:18080:8080']")),
        ("second", with("ports: ['127.0.0.1:18080:8080']")),
        ("third", with("ports: ['127.0.0.1:18081:8080']")),
        ("fourth", with("ports: ['127.0.0.1:18082:8080']")),
        ("blind", with("secrets: [{source: db-url}]")),
        ("lost", with("configs: [{source: app}]")),
        ("unbound", bind("/no/such/place")),
        ("strayed", bind(free.join("way-out").to_str().unwrap())),
        ("data", bind(disk.to_str().unwrap())),
        ("late", with("dependsOn: [{name: sick, condition: service_healthy}]")),
        (
            "sick",
            with("readiness: {http: {port: 8080, path: /up}, interval: 300ms}\nautoRestart: {onUnhealthy: false}"),
        ),
        (
            "crash",
            image("constellation-test/busybox:1")
                .replace("trap \"exit 0\" TERM; while :; do sleep 0.1; done", "echo no-such-table >&2; exit 3"),
        ),
        (
            "greedy",
            with("resources: {limits: {memory: 8Mi}}")
                .replace("while :; do sleep 0.1; done", "sleep 1; tail /dev/zero"),
        ),
        ("modern", with("healthcheck: {test: [CMD, 'true'], startInterval: 1s}")),
        ("picky", with("placement: {constraints: ['node.labels.gpu == intel']}")),
        ("large", with("resources: {reservations: {memory: 900Gi}}")),
        ("many", with("resources: {reservations: {cpus: 900}}")),
        ("resting", with("suspend: true")),
        ("bare", with("devices: [/dev/no-such-device]")),
        ("foreign", with("platform: linux/s390x")),
        ("odd", with("user: nobody-at-all")),
    ];
    let manifest: String = declared.iter().map(|(name, spec)| service(name, spec)).collect();
    agent.apply_with(&manifest, &["-d"]).exits(0);
    for (cause, object, reason, words, helps) in [
        ("image not found", "svc/nowhere", "ImageNotFound", "nothing", "constellation build DIR -t"),
        ("pull refused", "svc/closed", "ImagePullRefused", "team/secret:1", "imagePullSecrets"),
        ("registry unreachable", "svc/far", "RegistryUnreachable", "5999", "constellation build DIR -t"),
        ("port of another service", "svc/second", "PortConflict", "held by first.1", "ports[].published"),
        ("port of a foreign container", "svc/third", "PortConflict", "held by container proxy", "docker stop proxy"),
        ("port of a process", "svc/fourth", "PortConflict", &format!("(pid {})", listener.id()), "stop "),
        ("secret missing", "svc/blind", "SecretMissing", "db-url", "apply Secret db-url"),
        ("config missing", "svc/lost", "ConfigMissing", "app", "apply Config app"),
        ("bind source missing", "svc/unbound", "BindSourceMissing", "/no/such/place", "createHostPath"),
        ("not granted", "svc/strayed", "NotGranted", "way-out is in a directory of grants.bindRoots", "grants.admin"),
        (
            "dependency not ready",
            "svc/late",
            "WaitingForDependency",
            "service sick is not ready",
            "constellation why svc/sick",
        ),
        ("unhealthy", "svc/sick", "Unhealthy", "GET :8080/up", "constellation logs sick"),
        ("crash loop", "svc/crash", "CrashLoopBackOff", "exit 3", "constellation logs crash"),
        ("last words of a crash", "svc/crash", "CrashLoopBackOff", "no-such-table", "constellation logs crash"),
        ("out of memory", "svc/greedy", "OOMKilled", "killed for want of memory", "resources.limits.memory"),
        ("engine too old", "svc/modern", "EngineTooOld", "API 1.44", "upgrade the engine"),
        ("no node fits: constraint", "svc/picky", "NoNodeFits", "gpu", "get nodes"),
        ("no node fits: memory", "svc/large", "NoNodeFits", "memory: wants", "get nodes"),
        ("no node fits: cpu", "svc/many", "NoNodeFits", "cpu: wants", "get nodes"),
        ("suspended", "svc/resting", "Suspended", "suspend", "suspend: false"),
        ("device missing", "svc/bare", "DeviceMissing", "no-such-device", "/dev"),
        ("another architecture", "svc/foreign", "ArchitectureMismatch", "s390x", "platform"),
        ("a setting that the engine refuses", "svc/odd", "EngineRefused", "nobody-at-all", "correct the setting"),
        ("a slot without a replica", "replica/picky.1", "NoNodeFits", "gpu", "get nodes"),
    ] {
        table.find(&agent, cause, object, reason, words, helps);
    }
    // When it is tried again is told.
    let why = agent.get("/api/v1/services/crash/why");
    assert!(why["differences"][0]["nextAttempt"].as_u64().is_some(), "{why}");
    let said = agent.cli(&["why", "svc/late"]).exits(0).out;
    let chain = "svc/late is not ready <- late.1 is waiting <- service sick is not ready yet <- svc/sick is not ready <- sick.1 is running";
    assert!(said.contains(chain), "{said}");

    agent.wait_until_settled("data", secs(20));
    // The disk is gone before the container is.
    drop(mounted);
    lab.docker.run(&["rm", "-f", &lab.docker.runs("data", 1).unwrap()[0].id]);
    table.find(&agent, "data missing", "svc/data", "DataMissing", disk.to_str().unwrap(), "mount its disk");
    proxy.plan(Fault::always("POST", "/containers/create", What::Answer(500, "write /x: no space left on device")));
    agent.apply_with(&service("full", SLEEPER), &["-d"]).exits(0);
    table.find(&agent, "disk full", "svc/full", "DiskFull", "no space left", "docker system df");
    proxy.clear();

    listener.kill().unwrap();
    listener.wait().unwrap();
    lab.docker.run(&["rm", "-f", &foreign]);
    table.print();
    assert!(table.0.len() >= 25, "{}", table.0.len());
    for told in &table.0 {
        assert!(!told.words.is_empty() && !told.hint.is_empty(), "{}: {} {}", told.cause, told.words, told.hint);
    }
}

/// What somebody does to containers and to the engine.
#[test]
fn what_somebody_did_names_its_causes() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let mut table = Table::default();
    agent.apply(&["stopped", "paused", "changed"].map(|name| service(name, HELLO)).concat());
    agent.apply(&service("asked", &format!("{SLEEPER}readiness: {{exec: ['true'], interval: 300ms}}\n")));
    agent.apply(&service("plain", &format!("{SLEEPER}restart: unless-stopped\n")));
    let id = |name: &str| lab.docker.runs(name, 1).unwrap()[0].id.clone();
    lab.docker.run(&["stop", "-t", "1", &id("plain")]);
    table.find(&agent, "stopped by hand", "svc/plain", "StoppedByHand", "somebody stopped it", "docker start");
    lab.docker.run(&["pause", &id("paused")]);
    table.find(&agent, "paused by hand", "svc/paused", "DriftDetected", "paused", "docker unpause");
    lab.docker.run(&["update", "--memory", "128m", "--memory-swap", "256m", &id("changed")]);
    table.find(&agent, "changed by hand", "svc/changed", "ChangedByHand", "memory is 128Mi", "docker rm -f");
    agent.cli(&["node", "cordon", "n1"]).exits(0);
    agent.apply_with(&service("new", SLEEPER), &["-d"]).exits(0);
    table.find(&agent, "cordoned", "svc/new", "Cordoned", "cordoned", "constellation node uncordon n1");
    agent.cli(&["node", "uncordon", "n1"]).exits(0);
    agent.wait_until_settled("new", secs(20));

    let thaw = lab.freeze_engine();
    table.find(&agent, "engine frozen", "node/n1", "DockerUnresponsive", "gave no answer", "systemctl status docker");
    table.find(
        &agent,
        "works while its engine is frozen",
        "svc/stopped",
        "DockerUnresponsive",
        "stopped.1 works",
        "systemctl",
    );
    table.find(
        &agent,
        "unknown while its engine is frozen",
        "svc/asked",
        "DockerUnresponsive",
        "gave no answer",
        "systemctl",
    );
    drop(thaw);
    agent.wait_until_settled("new", secs(30));
    lab.engine("stop");
    table.find(&agent, "engine down", "node/n1", "DockerDown", "does not answer", "systemctl status docker");
    table.find(
        &agent,
        "service of an engine that is down",
        "svc/stopped",
        "DockerDown",
        "does not answer",
        "systemctl",
    );
    lab.engine("start");
    agent.wait_until_settled("new", secs(40));
    table.print();
}
