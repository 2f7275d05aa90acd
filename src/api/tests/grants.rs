//! Power over the host: who may give it, and that nobody else uses it.

use serde_json::{Value, json};

use super::{
    client::Answer,
    rig::{Rig, config, service},
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
