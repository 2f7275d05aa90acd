//! Power over the host: who may give it, and that nobody else uses it.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};

use super::{
    client::Answer,
    rig::{Rig, config, service},
};
use crate::{
    model::{Desired, Grants, ObjectKey, Power, Reason, ReplicaPhase, ReplicaStatus, Status, power::Places},
    store::command::Command,
};

fn privileged(image: &str) -> Value {
    let mut all = service("vpn", image, 1);
    all["spec"]["privileged"] = true.into();
    all["spec"]["configs"] = json!([{"source": "c", "target": "/etc/vpn.conf"}]);
    all
}

#[tokio::test]
async fn a_writer_gives_no_power_and_uses_none() {
    let rig = Rig::new().await;
    rig.node().await;
    let ci = rig.token("ci", "write").await;
    let apply = async |query: &str, body: &Value| -> Answer {
        let path = format!("/api/v1/apply{query}");
        rig.ask("POST", &path).token(Some(&ci)).body(body.to_string()).send().await
    };
    let put = async |path: &str, body: Value| rig.ask("PUT", path).token(Some(&ci)).body(body.to_string()).send().await;
    let refused = |answer: Answer| {
        assert_eq!(answer.problem(), (403, "not-granted".into()), "{answer:?}");
        answer.json()["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["path"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let before = rig.index();
    let mut sly = service("sly", "nginx:1", 1);
    sly["spec"]["volumes"] = json!(["/var/run:/host"]);
    sly["spec"]["pid"] = "host".into();
    for query in ["", "?dryRun=true"] {
        assert_eq!(refused(apply(query, &sly).await), ["spec.volumes[0]", "spec.pid"], "{query}");
    }
    assert_eq!(refused(put("/api/v1/services/vpn", privileged("vpn:1")).await), ["spec.privileged"]);
    assert_eq!(rig.index(), before, "nothing was written");

    let plan = |token: Option<&str>, body: &Value| {
        let token = token.map(str::to_owned);
        let body = body.to_string();
        let ask = rig.ask("POST", "/api/v1/plan").body(body);
        async move { if let Some(t) = token { ask.token(Some(&t)).send().await } else { ask.send().await }.json() }
    };
    let warned = plan(Some(&ci), &sly).await["warnings"].to_string();
    assert!(
        warned.contains("svc/sly: spec.pid: needs the grant hostPid") && warned.contains("apply will refuse it"),
        "{warned}"
    );
    let noted = plan(None, &sly).await;
    assert!(noted["notes"].to_string().contains("spec.volumes[0] uses host power, dockerSocket"), "{noted}");
    assert!(!noted["warnings"].to_string().contains("refuse"), "{noted}");

    // An administrator may. Then a writer counts, relabels and deletes, and no more.
    rig.apply(&json!([privileged("vpn:1"), config("c", "1"), config("free", "1")]).to_string()).await;
    assert_eq!(refused(apply("", &privileged("evil:1")).await), ["spec.privileged"]);
    let scaled = put("/api/v1/services/vpn/scale", json!({"replicas": 2})).await;
    assert_eq!(scaled.status, 200, "{scaled:?}");
    let mut relabelled = privileged("vpn:1");
    relabelled["metadata"]["labels"] = json!({"team": "net"});
    relabelled["spec"]["replicas"] = 3.into();
    assert_eq!(apply("", &relabelled).await.status, 200);
    assert_eq!(refused(apply("", &config("c", "2")).await), [""], "the container may run what stands in it");
    assert_eq!(refused(put("/api/v1/configs/c", config("c", "2")).await), [""]);
    assert_eq!(apply("", &config("free", "2")).await.status, 200);
    let harmless = apply("", &service("vpn", "nginx:1", 1)).await;
    assert_eq!(harmless.status, 200, "power may be taken away: {harmless:?}");
    assert_eq!(refused(apply("", &privileged("vpn:1")).await), ["spec.privileged"], "and is not given back");
    let metrics = rig.get("/metrics").await;
    assert!(metrics.text().contains("constellation_api_denied_total{why=\"not-granted\"}"));
}

/// A service that asks for each power, and the field that it asks with.
fn asking() -> Vec<(Power, Value, &'static str)> {
    let table = vec![
        (Power::Privileged, json!({"privileged": true}), "spec.privileged"),
        (Power::Capabilities, json!({"capAdd": ["NET_ADMIN"]}), "spec.capAdd"),
        (Power::Devices, json!({"devices": ["/dev/dri"]}), "spec.devices"),
        (Power::HostNetwork, json!({"networkMode": "host"}), "spec.networkMode"),
        (Power::HostPid, json!({"pid": "host"}), "spec.pid"),
        (Power::HostIpc, json!({"ipc": "host"}), "spec.ipc"),
        (Power::DockerSocket, json!({"volumes": ["/var/run/docker.sock:/d"]}), "spec.volumes[0]"),
        (Power::Sysctls, json!({"sysctls": {"net.core.somaxconn": "1"}}), "spec.sysctls"),
        (Power::Unconfined, json!({"securityOpt": ["seccomp=unconfined"]}), "spec.securityOpt[0]"),
        (Power::Binds, json!({"volumes": ["/etc:/d"]}), "spec.volumes[0]"),
        (
            Power::Binds,
            json!({"volumes": [{"type": "volume", "source": "media", "target": "/d", "external": true}]}),
            "spec.volumes[0].external",
        ),
        (Power::HostNetwork, json!({"logging": {"driver": "gelf"}}), "spec.logging.driver"),
        (
            Power::HostNetwork,
            json!({"logging": {"driver": "local", "options": {"syslog-address": "tcp://10.0.0.1"}}}),
            "spec.logging.options.syslog-address",
        ),
        (Power::Capabilities, json!({"ulimits": {"rtprio": 99}}), "spec.ulimits.rtprio"),
    ];
    assert_eq!(table.iter().map(|(power, ..)| *power).collect::<BTreeSet<_>>(), Power::ALL.into());
    table
}

#[tokio::test]
async fn each_role_has_what_the_configuration_grants_it_and_nothing_else() {
    let rig = Rig::new().await;
    rig.node().await;
    let ci = rig.token("ci", "write").await;
    let dry = async |token: Option<&str>, fields: &Value| -> Answer {
        let mut body = service("s", "nginx:1", 1);
        body["spec"].as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let ask = rig.ask("POST", "/api/v1/apply?dryRun=true").body(body.to_string());
        if let Some(token) = token { ask.token(Some(token)).send().await } else { ask.send().await }
    };
    let refusal = |answer: Answer, field: &str, words: &[String]| {
        assert_eq!(answer.problem(), (403, "not-granted".into()), "{answer:?}");
        let errors = answer.json()["errors"].clone();
        assert_eq!((errors.as_array().unwrap().len(), errors[0]["path"].as_str()), (1, Some(field)), "{errors}");
        let said = format!("{} {}", errors[0]["message"], errors[0]["fix"]);
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    };
    for (power, fields, field) in asking() {
        // A fresh install: the administrator all, the writer none.
        rig.grants.send_replace(Arc::default());
        assert_eq!(dry(None, &fields).await.status, 200, "{power}");
        let way = ["let an administrator".to_owned(), format!("grant {power}"), format!("add {power} to grants.write")];
        refusal(dry(Some(&ci), &fields).await, field, &way);
        // The other way round.
        let grants = Grants { admin: [].into(), write: [power].into(), ..Grants::default() };
        rig.grants.send_replace(Arc::new(grants));
        assert_eq!(dry(Some(&ci), &fields).await.status, 200, "{power}");
        refusal(dry(None, &fields).await, field, &[format!("add {power} to grants.admin")]);
        // Every power but this one.
        let others: BTreeSet<Power> = Power::ALL.into_iter().filter(|p| *p != power).collect();
        let grants = Grants { admin: others.clone(), write: others, ..Grants::default() };
        rig.grants.send_replace(Arc::new(grants));
        for token in [None, Some(&*ci)] {
            let answer = dry(token, &fields).await;
            assert!(!answer.json().to_string().contains("let an administrator"), "{answer:?}");
            refusal(answer, field, &[]);
        }
    }
}

fn secret(value: Value) -> Value {
    json!({"apiVersion": "constellation.dev/v1", "kind": "Secret", "metadata": {"name": "key"}, "spec": value})
}

#[tokio::test]
async fn no_door_leads_a_writer_to_what_a_service_with_power_reads() {
    let rig = Rig::new().await;
    rig.node().await;
    let ci = rig.token("ci", "write").await;
    let doors = [
        ("POST", "/api/v1/apply", secret(json!({"stringData": {"run": "evil"}}))),
        ("PUT", "/api/v1/secrets/key", secret(json!({"stringData": {"run": "evil"}}))),
        ("POST", "/api/v1/secrets/key/set", json!({"data": {"run": "ZXZpbA=="}})),
        ("POST", "/api/v1/secrets/key/set", json!({"data": {"run": "ZXZpbA=="}, "remove": ["value"]})),
        ("POST", "/api/v1/secrets/key/rotate", json!({"toVersion": 1})),
        ("POST", "/api/v1/secrets/key/rotate", json!({})),
    ];
    let through = async |token: Option<&str>, (method, path, body): &(&str, &str, Value)| -> Answer {
        let ask = rig.ask(method, path).body(body.to_string());
        if token.is_some() { ask.token(token).send().await } else { ask.send().await }
    };
    let mut vpn = service("vpn", "vpn:1", 1);
    vpn["spec"]["privileged"] = true.into();
    vpn["spec"]["secrets"] = json!(["key"]);
    rig.apply(&vpn.to_string()).await;
    // The Secret is not there yet: whoever makes it says what the service reads.
    for door in &doors[..3] {
        assert_eq!(through(Some(&ci), door).await.problem(), (403, "not-granted".into()), "{door:?}");
    }
    let drawn = secret(json!({"valueFrom": {"generate": {}}}));
    rig.apply(&drawn.to_string()).await;
    assert_eq!(rig.post("/api/v1/secrets/key/rotate", "{}").await.status, 200);
    let before = rig.index();
    for door in &doors {
        let answer = through(Some(&ci), door).await;
        assert_eq!(answer.problem(), (403, "not-granted".into()), "{door:?}: {answer:?}");
        let said = answer.json()["errors"][0].to_string();
        assert!(said.contains("svc/vpn reads it and uses host power, privileged"), "{said}");
    }
    assert_eq!(rig.index(), before, "nothing was written");
    for door in doors.iter().rev() {
        assert_eq!(through(None, door).await.status, 200, "an administrator may: {door:?}");
    }
    // With the grant, or when nobody with power reads it, a writer may too.
    let grants = Grants { write: [Power::Privileged].into(), ..Grants::default() };
    rig.grants.send_replace(Arc::new(grants));
    assert_eq!(through(Some(&ci), &doors[2]).await.status, 200);
    rig.grants.send_replace(Arc::default());
    rig.apply(&service("vpn", "vpn:1", 1).to_string()).await;
    assert_eq!(through(Some(&ci), &doors[0]).await.status, 200);
}

#[tokio::test]
async fn what_an_old_container_with_power_reads_is_not_a_writer_s_while_it_runs() {
    let rig = Rig::new().await;
    rig.node().await;
    let ci = rig.token("ci", "write").await;
    let write =
        async |body: &Value| rig.ask("POST", "/api/v1/apply").token(Some(&ci)).body(body.to_string()).send().await;
    rig.apply(&json!([privileged("vpn:1"), config("c", "1")]).to_string()).await;
    let old = rig.place("vpn", 1).await;
    // An image that is not to be had: the old one goes on, with what it reads.
    let mut harmless = privileged("nowhere.example.org/none:1");
    harmless["spec"]["privileged"] = false.into();
    assert_eq!(write(&harmless).await.status, 200, "power may be taken away");
    let refused = async |why: &str| {
        let answer = write(&config("c", "2")).await;
        assert_eq!(answer.problem(), (403, "not-granted".into()), "{why}: {answer:?}");
        let said = answer.json()["errors"][0].to_string();
        assert!(said.contains("svc/vpn, whose revision 1 still runs, reads it and uses host power"), "{said}");
    };
    refused("it runs").await;
    let stop = Command::SetDesired { replica: old.as_str().into(), desired: Desired::Stop, reason: Reason::Deleted };
    rig.propose(vec![stop]).await;
    refused("it is told to stop, and runs").await;
    let gone = rig.ask("DELETE", "/api/v1/services/vpn").token(Some(&ci)).send().await;
    assert_eq!(gone.status, 200, "{gone:?}");
    refused("its service is gone, and it runs").await;
    let ended = ReplicaStatus { phase: ReplicaPhase::Stopped, ..ReplicaStatus::default() };
    rig.observe(ObjectKey::replica(old.as_str()), Status::Replica(ended)).await;
    assert_eq!(write(&config("c", "2")).await.status, 200, "nothing reads it any more");
}

#[tokio::test]
async fn a_writer_builds_no_image_under_the_name_that_a_service_with_power_runs() {
    let rig = Rig::new().await;
    rig.node().await;
    let ci = rig.token("ci", "write").await;
    let digest = format!("pinned:1@sha256:{}", "0".repeat(64));
    let services = [("one", "docker.io/library/vpn:1"), ("two", "team/tool"), ("three", digest.as_str())];
    for (name, image) in services {
        let mut body = service(name, image, 1);
        body["spec"]["privileged"] = true.into();
        rig.apply(&body.to_string()).await;
    }
    rig.apply(&service("web", "web:1", 1).to_string()).await;
    let build = async |token: Option<&str>, tag: &str| {
        let ask = rig.ask("POST", &format!("/api/v1/builds?tag={tag}")).media("application/x-tar").body("tar");
        if token.is_some() { ask.token(token).send().await } else { ask.send().await }
    };
    for tag in ["vpn:1", "library/vpn:1", "index.docker.io/vpn:1", "team/tool", "docker.io/team/tool:latest"] {
        let answer = build(Some(&ci), tag).await;
        assert_eq!(answer.problem(), (403, "not-granted".into()), "{tag}: {answer:?}");
        let said = answer.json()["errors"][0].to_string();
        let words = ["runs this image and uses host power, privileged", "another name", "privileged to grants.write"];
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    }
    assert_eq!(rig.engine.calls(), [""; 0], "nothing was asked of the engine");
    for tag in ["vpn:2", "me/vpn:1", "example.org/vpn:1", "vpn", "pinned:1", "web:1"] {
        assert_eq!(build(Some(&ci), tag).await.status, 200, "{tag}");
    }
    assert_eq!(build(None, "vpn:1").await.status, 200, "an administrator may");
    assert_eq!(build(Some(&ci), "VPN:1").await.problem().0, 400, "no name of an image");
    let grants = Grants { write: [Power::Privileged].into(), ..Grants::default() };
    rig.grants.send_replace(Arc::new(grants));
    assert_eq!(build(Some(&ci), "vpn:1").await.status, 200);
}

#[tokio::test]
async fn a_writer_binds_inside_the_roots_and_nowhere_else() {
    let rig = Rig::new().await;
    rig.node().await;
    let ci = rig.token("ci", "write").await;
    let places = Places { roots: vec!["/srv".into()], ..Places::default() };
    rig.grants.send_replace(Arc::new(Grants { places, ..Grants::default() }));
    let apply = async |source: &str| {
        let mut body = service("web", "nginx:1", 1);
        body["spec"]["volumes"] = json!([{"type": "bind", "source": source, "target": "/d"}]);
        rig.ask("POST", "/api/v1/apply").token(Some(&ci)).body(body.to_string()).send().await
    };
    for inside in ["/srv", "/srv/", "/srv/web/data"] {
        assert_eq!(apply(inside).await.status, 200, "{inside}");
    }
    assert_eq!(apply("/srv/../etc").await.status, 422, "no manifest goes up");
    for (outside, power) in [("/etc", "binds"), ("/srvx", "binds"), ("/", "dockerSocket"), ("/run", "dockerSocket")] {
        let answer = apply(outside).await;
        assert_eq!(answer.problem(), (403, "not-granted".into()), "{outside}: {answer:?}");
        let said = answer.json()["errors"][0].to_string();
        assert!(said.contains(&format!("grant {power}")), "{outside}: {said}");
        assert_eq!(said.contains("grants.bindRoots"), power == "binds", "{outside}: {said}");
    }
    // A root that is taken away is asked for at the next change.
    rig.grants.send_replace(Arc::default());
    assert_eq!(apply("/srv/web/other").await.problem().0, 403);
}
