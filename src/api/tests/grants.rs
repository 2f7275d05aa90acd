//! Power over the host: who may give it, and that nobody else uses it.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};

use super::{
    client::Answer,
    rig::{Rig, config, service},
};
use crate::model::{Grants, Power, power::Places};

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
    ];
    assert_eq!(table.iter().map(|(power, ..)| *power).collect::<Vec<_>>(), Power::ALL);
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
