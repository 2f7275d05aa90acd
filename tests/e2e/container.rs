//! Every field of the container part, as the engine and the process inside see it.

use serde_json::{Value, json};

use crate::{
    agent::{Agent, HELLO, service},
    lab::Lab,
};

const EVERYTHING: &str = "\
image: constellation/hello:1
entrypoint: [/bin/sh, -c]
command: ['while :; do sleep 1; done']
workingDir: /tmp
user: '1000:1001'
groupAdd: ['44']
hostname: box
environment: {A: one, B: '2'}
ports: ['127.0.0.1:18099:8080', '18100:8081/udp']
expose: [9000]
volumes:
  - {type: bind, source: SOURCE, target: /in, readOnly: true, bind: {propagation: rprivate}}
  - {type: volume, source: kept, target: /kept}
  - {type: tmpfs, target: /fast, tmpfs: {size: 1Mi}}
tmpfs: ['/scratch:size=65536']
healthcheck: {test: [CMD, 'true'], interval: 2s, timeout: 1s, retries: 4, startPeriod: 3s}
readiness: {exec: ['true'], interval: 500ms}
resources:
  reservations: {cpus: 0.1, memory: 16Mi}
  limits: {cpus: 0.5, memory: 64Mi, pids: 40}
devices: ['/dev/null:/dev/nothing:r']
capAdd: [NET_ADMIN]
capDrop: [MKNOD]
sysctls: {net.ipv4.ip_unprivileged_port_start: '80'}
ulimits: {nofile: {soft: 100, hard: 200}}
labels: {tier: front}
extraHosts: {gate: host-gateway, fixed: 10.9.8.7}
dns: [127.0.0.11]
dnsSearch: [lab.example]
dnsOpt: ['ndots:2']
networks:
  - {name: front, aliases: [shop], priority: 10}
  - back
logging: {driver: json-file, options: {max-size: 1m}}
stopSignal: SIGUSR1
stopGracePeriod: 1s
init: true
ipc: private
securityOpt: ['no-new-privileges']
readOnly: true
shmSize: 8Mi
pullPolicy: never
platform: linux/amd64
restart: on-failure
autoRestart: {onUnhealthy: false}
";

#[test]
fn every_field_reaches_the_engine() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let source = agent.path("in");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("file"), "from the host").unwrap();
    let spec = EVERYTHING.replace("SOURCE", source.to_str().unwrap()).replace("linux/amd64", &platform(&lab));
    agent.apply(&service("all", &spec));
    let id = lab.docker.runs("all", 1).unwrap()[0].id.clone();
    let seen: Value = serde_json::from_str(&lab.docker.inspect(&id, "{{json .}}")).unwrap();
    let at = |pointer: &str| seen.pointer(pointer).cloned().unwrap_or(Value::Null);
    for (pointer, expected) in [
        ("/Config/Entrypoint", json!(["/bin/sh", "-c"])),
        ("/Config/Cmd", json!(["while :; do sleep 1; done"])),
        ("/Config/WorkingDir", json!("/tmp")),
        ("/Config/User", json!("1000:1001")),
        ("/HostConfig/GroupAdd", json!(["44"])),
        ("/Config/Hostname", json!("box")),
        ("/HostConfig/PortBindings/8080~1tcp", json!([{"HostIp": "127.0.0.1", "HostPort": "18099"}])),
        ("/HostConfig/PortBindings/8081~1udp/0/HostPort", json!("18100")),
        ("/Config/ExposedPorts/9000~1tcp", json!({})),
        ("/HostConfig/Tmpfs/~1scratch", json!("size=65536")),
        ("/Config/Healthcheck/Test", json!(["CMD", "true"])),
        ("/Config/Healthcheck/Interval", json!(2_000_000_000_u64)),
        ("/Config/Healthcheck/Timeout", json!(1_000_000_000_u64)),
        ("/Config/Healthcheck/StartPeriod", json!(3_000_000_000_u64)),
        ("/Config/Healthcheck/Retries", json!(4)),
        ("/HostConfig/NanoCpus", json!(500_000_000_u64)),
        ("/HostConfig/Memory", json!(64 << 20)),
        ("/HostConfig/MemoryReservation", json!(16 << 20)),
        ("/HostConfig/PidsLimit", json!(40)),
        ("/HostConfig/Devices/0/PathInContainer", json!("/dev/nothing")),
        ("/HostConfig/Devices/0/CgroupPermissions", json!("r")),
        ("/HostConfig/Sysctls/net.ipv4.ip_unprivileged_port_start", json!("80")),
        ("/HostConfig/Ulimits", json!([{"Name": "nofile", "Soft": 100, "Hard": 200}])),
        ("/Config/Labels/tier", json!("front")),
        ("/HostConfig/Dns", json!(["127.0.0.11"])),
        ("/HostConfig/DnsSearch", json!(["lab.example"])),
        ("/HostConfig/DnsOptions", json!(["ndots:2"])),
        ("/HostConfig/LogConfig", json!({"Type": "json-file", "Config": {"max-size": "1m"}})),
        ("/Config/StopSignal", json!("SIGUSR1")),
        ("/Config/StopTimeout", json!(1)),
        ("/HostConfig/Init", json!(true)),
        ("/HostConfig/IpcMode", json!("private")),
        ("/HostConfig/SecurityOpt", json!(["no-new-privileges"])),
        ("/HostConfig/ReadonlyRootfs", json!(true)),
        ("/HostConfig/ShmSize", json!(8 << 20)),
        ("/HostConfig/Privileged", json!(false)),
    ] {
        assert_eq!(at(pointer), expected, "{pointer}");
    }
    let all = |pointer: &str| at(pointer).to_string();
    for (pointer, part) in [
        ("/Config/Env", "A=one"),
        ("/Config/Env", "B=2"),
        ("/HostConfig/CapAdd", "NET_ADMIN"),
        ("/HostConfig/CapDrop", "MKNOD"),
        ("/HostConfig/ExtraHosts", "fixed:10.9.8.7"),
        ("/HostConfig/ExtraHosts", "gate:host-gateway"),
        ("/NetworkSettings/Networks", "front_"),
        ("/NetworkSettings/Networks", "back_"),
        ("/NetworkSettings/Networks", "\"shop\""),
    ] {
        assert!(all(pointer).contains(part), "{part} in {pointer}: {}", all(pointer));
    }
    let inside = |script: &str| lab.docker.run(&["exec", &id, "sh", "-c", script]);
    assert_eq!(inside("cat /in/file; id -u; id -g; hostname"), "from the host1000\n1001\nbox");
    let refused = lab.docker.attempt(&["exec", &id, "sh", "-c", "echo x > /in/file || echo x > /here"]);
    assert!(refused.is_err(), "read-only: {refused:?}");
    let mounted = inside("df -k /fast /scratch /dev/shm | tail -n 3 | awk '{print $6, $2}'");
    assert_eq!(mounted, "/fast 1024\n/scratch 64\n/dev/shm 8192");
}

#[test]
fn the_namespaces_of_the_host_can_be_had() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let spec = format!("{HELLO}networkMode: host\npid: host\nipc: host\n");
    agent.apply(&service("host", &spec));
    agent.apply(&service("alone", "image: constellation/hello:1\nnetworkMode: none\nreadiness: {exec: ['true']}\n"));
    let mode = |name: &str| {
        let id = lab.docker.runs(name, 1).unwrap()[0].id.clone();
        let form = "{{.HostConfig.NetworkMode}} {{.HostConfig.PidMode}} {{.HostConfig.IpcMode}}";
        lab.docker.inspect(&id, form)
    };
    assert_eq!(mode("host"), "host host host");
    assert_eq!(mode("alone"), "none  private");
}

/// The platform of the engine, as a manifest names it.
fn platform(lab: &Lab) -> String {
    lab.docker.run(&["version", "--format", "{{.Server.Os}}/{{.Server.Arch}}"])
}
