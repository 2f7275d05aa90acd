//! Configs, secrets and mounts inside containers.

use crate::{
    agent::{Agent, HELLO, service},
    lab::Lab,
    wait::{eventually, secs},
};

const OBJECTS: &str = "apiVersion: constellation.dev/v1
kind: Config
metadata: {name: app}
spec: {data: {one.conf: 'first', two.conf: 'second'}}
---
apiVersion: constellation.dev/v1
kind: Secret
metadata: {name: key}
spec: {stringData: {key: tr0ub4dor}}
";

const USES: &str = "configs:
  - {source: app, target: /etc/app, uid: 7, gid: 8, mode: '0440'}
  - {source: app/one.conf, target: /one}
secrets:
  - {source: key}
  - {source: key, env: KEY}
";

#[test]
fn configs_and_secrets_are_files_with_owner_and_mode() {
    let lab = Lab::take();
    let mut agent = Agent::start(&lab);
    agent.apply(&format!("{OBJECTS}{}", service("app", &format!("{HELLO}{USES}"))));
    let inside = |lab: &Lab, script: &str| {
        let id = lab.docker.runs("app", 1).unwrap()[0].id.clone();
        lab.docker.run(&["exec", &id, "sh", "-c", script])
    };
    let check = |lab: &Lab| {
        let stat = "stat -c '%a %u %g' /etc/app/one.conf /etc/app/two.conf /one /run/secrets/key";
        assert_eq!(inside(lab, stat), "440 7 8\n440 7 8\n444 0 0\n400 0 0");
        let cat = "cat /etc/app/one.conf /etc/app/two.conf /one /run/secrets/key; echo $KEY";
        assert_eq!(inside(lab, cat), "firstsecondfirsttr0ub4dortr0ub4dor");
    };
    check(&lab);
    // A container of the same replica made anew has them too; so has one that outlived its agent.
    agent.kill();
    agent.spawn();
    agent.wait_until_ready();
    lab.docker.run(&["rm", "-f", &lab.docker.running("app")[0].id]);
    eventually(secs(20), "it runs again", || lab.docker.runs("app", 1));
    agent.wait_until_settled("app", secs(20));
    check(&lab);
    // Nothing that is read back holds the value.
    for args in [["get", "secret", "key", "-o", "yaml"], ["get", "secret", "key", "-o", "json"]] {
        let said = agent.cli(&args).exits(0);
        assert!(!said.out.contains("tr0ub4dor") && !said.out.contains("dHIwdWI0ZG9y"), "{}", said.out);
    }
    let store = lab.inside("grep").args(["-rlaE", "tr0ub4dor|dHIwdWI0ZG9y"]).arg(agent.path("data")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&store.stdout), "", "sealed at rest");
}

#[test]
fn a_changed_secret_is_configured_and_an_equal_one_is_unchanged() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    agent.apply(OBJECTS);
    let same = agent.apply(OBJECTS);
    assert_eq!(same.out.lines().filter(|l| l.contains("unchanged")).count(), 2, "{}", same.out);
    let other = agent.apply(&OBJECTS.replace("tr0ub4dor", "correct-horse"));
    assert!(other.out.lines().any(|l| l.contains("secret/key") && l.contains("configured")), "{}", other.out);
}

#[test]
fn a_missing_bind_source_is_a_reason_and_is_not_made() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let directory = agent.path("srv");
    let spec = format!("{HELLO}volumes: [{{type: bind, source: {}, target: /srv}}]\n", directory.display());
    agent.apply_with(&service("files", &spec), &["-d"]).exits(0);
    agent.wait_for_reason("files", "BindSourceMissing", secs(20));
    assert!(!directory.exists(), "a missing source is never made unasked");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("x"), "here").unwrap();
    agent.wait_until_settled("files", secs(40));
    let id = lab.docker.runs("files", 1).unwrap()[0].id.clone();
    assert_eq!(lab.docker.run(&["exec", &id, "cat", "/srv/x"]), "here");
}

#[test]
fn a_volume_that_was_used_and_is_gone_is_not_started_empty() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    agent.apply(&service("db", &format!("{HELLO}volumes: [{{type: volume, source: data, target: /data}}]\n")));
    agent.cli(&["scale", "svc/db=0"]).exits(0);
    eventually(secs(20), "none runs", || {
        let left = lab.docker.managed(Some("db"));
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    lab.docker.run(&["volume", "rm", &lab.docker.run(&["volume", "ls", "-q"])]);
    agent.cli(&["scale", "svc/db=1", "-d"]).exits(0);
    agent.wait_for_reason("db", "DataMissing", secs(20));
    assert!(lab.docker.running("db").is_empty());
}

#[test]
fn a_volume_that_its_driver_mounts_only_while_it_is_used_is_shared_by_replicas_that_come_and_go() {
    let lab = Lab::take();
    let agent = Agent::start(&lab);
    let name = "late";
    lab.docker.run(&["volume", "create", "-d", "local", "-o", "type=tmpfs", "-o", "device=tmpfs", name]);
    let mount =
        format!("volumes: [{{type: volume, source: {name}, target: /data, external: true, dataPolicy: shared}}]\n");
    // The first one finds it unmounted, the second one mounted.
    agent.apply(&service("late", &format!("{HELLO}{mount}replicas: 2\n")));
    let two = eventually(secs(20), "both run", || lab.docker.runs("late", 2));
    lab.docker.run(&["rm", "-f", &two[0].id]);
    eventually(secs(20), "another runs beside the one that held it mounted", || {
        let now = lab.docker.runs("late", 2)?;
        now.iter().all(|c| c.id != two[0].id).then_some(now).ok_or_else(|| "not yet".into())
    });
    agent.cli(&["delete", "svc/late", "-y"]).exits(0);
    lab.docker.run(&["volume", "rm", name]);
}
