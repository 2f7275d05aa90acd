//! What Traefik is started with: a file and its token, made together.

use serde_json::{Value, json};

use super::rig::{ADDRESSES, Rig};
use crate::model::{Kind, ObjectKey, secret::SealedSecret};

fn secret(name: &str) -> String {
    json!({"apiVersion": "constellation.dev/v1", "kind": "Secret", "metadata": {"name": name},
           "spec": {"valueFrom": {"edge": {}}}})
    .to_string()
}

impl Rig {
    /// The token in the file of a Secret.
    fn token_of(&self, name: &str) -> String {
        let state = self.shared.store.state();
        let object = state.object(&ObjectKey::new(Kind::Secret, name)).unwrap();
        let values = self.shared.sealer.open(&object.parse::<SealedSecret>().unwrap(), &object.meta.uid).unwrap();
        assert_eq!(values.keys().collect::<Vec<_>>(), ["traefik.yaml"]);
        let file: Value = serde_json::from_slice(&values["traefik.yaml"]).unwrap();
        let header = file["providers"]["http"]["headers"]["Authorization"].as_str().unwrap();
        let token = header.strip_prefix("Bearer ").unwrap().to_owned();
        assert_eq!(serde_json::from_str::<Value>(&ADDRESSES.file(&token)).unwrap(), file);
        token
    }
    async fn polls(&self, token: &str) -> u16 {
        self.ask("GET", "/traefik/config").token(Some(token)).send().await.status
    }
    fn names_of_tokens(&self) -> Vec<String> {
        self.shared.store.state().tokens().map(|t| t.name.to_string()).collect()
    }
}

#[tokio::test]
async fn only_an_administrator_hands_the_token_of_a_traefik_to_a_container() {
    let rig = Rig::new().await;
    let ci = rig.token("ci", "write").await;
    rig.apply(&secret("traefik")).await;
    let with = |image: &str, replicas: u32| {
        let mut all = super::rig::service("thief", image, replicas);
        all["spec"]["secrets"] = json!([{"source": "traefik/traefik.yaml", "target": "/x"}]);
        all.to_string()
    };
    let apply = async |body: String| rig.ask("POST", "/api/v1/apply").token(Some(&ci)).body(body).send().await;
    let answer = apply(with("evil:1", 1)).await;
    assert_eq!(answer.problem(), (403, "not-granted".into()), "{answer:?}");
    assert_eq!(answer.json()["errors"][0]["path"], "spec.secrets[0]");
    let plan = rig.ask("POST", "/api/v1/plan").token(Some(&ci)).body(with("evil:1", 1)).send().await;
    assert!(plan.text().contains("only an administrator may hand on"), "{}", plan.text());
    assert_eq!(rig.apply(&with("good:1", 1)).await["objects"][0]["result"], "created");
    assert_eq!(apply(with("good:1", 2)).await.status, 200, "whoever only counts reads nothing");
    assert_eq!(apply(with("evil:1", 2)).await.problem(), (403, "not-granted".into()));
    let mut other = super::rig::service("other", "nginx:1", 1);
    other["spec"]["secrets"] = json!([{"source": "password", "target": "/x"}]);
    assert_eq!(apply(other.to_string()).await.status, 200, "any other Secret is everybody's");
}

#[tokio::test]
async fn the_file_and_its_token_come_and_go_together() {
    let rig = Rig::new().await;
    assert_eq!(rig.apply(&secret("traefik")).await["objects"][0]["result"], "created");
    let first = rig.token_of("traefik");
    assert_eq!(rig.polls(&first).await, 200);
    assert_eq!(rig.ask("GET", "/api/v1/status").token(Some(&first)).send().await.problem(), (403, "forbidden".into()));
    assert_eq!(rig.names_of_tokens(), ["edge.traefik"]);
    let index = rig.index();
    assert_eq!(rig.apply(&secret("traefik")).await["objects"][0]["result"], "unchanged");
    assert_eq!((rig.index(), rig.token_of("traefik")), (index, first.clone()), "applied again, it stays");

    let rotated = rig.post("/api/v1/secrets/traefik/rotate", "").await;
    assert_eq!(rotated.status, 200, "{rotated:?}");
    let second = rig.token_of("traefik");
    assert_eq!((rig.polls(&first).await, rig.polls(&second).await), (401, 200));
    assert_eq!(rig.apply(&secret("traefik")).await["objects"][0]["result"], "unchanged");
    let back = rig.post("/api/v1/secrets/traefik/rotate", r#"{"toVersion": 1}"#).await;
    assert_eq!(back.problem(), (422, "invalid".into()), "its token is gone");

    // What nobody can use is made anew.
    assert_eq!(rig.ask("DELETE", "/api/v1/tokens/edge.traefik").send().await.status, 200);
    assert_eq!(rig.apply(&secret("traefik")).await["objects"][0]["result"], "configured");
    let third = rig.token_of("traefik");
    assert_eq!(rig.polls(&third).await, 200);
    assert_eq!(rig.ask("DELETE", "/api/v1/secrets/traefik").send().await.status, 200);
    assert_eq!((rig.polls(&third).await, rig.names_of_tokens().len()), (401, 0));
}

#[tokio::test]
async fn only_an_administrator_makes_one_and_a_plan_makes_none() {
    let rig = Rig::new().await;
    let write = rig.token("write", "write").await;
    let refused = |answer: super::client::Answer| assert_eq!(answer.problem(), (403, "forbidden".into()));
    refused(rig.ask("POST", "/api/v1/apply").token(Some(&write)).body(secret("t")).send().await);
    refused(rig.ask("PUT", "/api/v1/secrets/t").token(Some(&write)).body(secret("t")).send().await);
    let index = rig.index();
    for path in ["/api/v1/plan", "/api/v1/apply?dryRun=true"] {
        let answer = rig.post(path, &secret("t")).await;
        assert_eq!(answer.json()["objects"][0]["result"], "created", "{path}: {answer:?}");
        assert!(!answer.text().contains("cst_"), "{answer:?}");
    }
    assert_eq!((rig.index(), rig.names_of_tokens()), (index, vec!["write".to_owned()]));
    rig.apply(&secret("t")).await;
    let plan = rig.post("/api/v1/plan", &secret("t")).await.json();
    assert_eq!(plan["objects"][0]["result"], "unchanged");
    refused(rig.ask("POST", "/api/v1/secrets/t/rotate").token(Some(&write)).body("{}").send().await);
    let shown = rig.read("/api/v1/secrets/t").await;
    assert_eq!((&shown["spec"]["edge"], &shown["spec"]["keys"]), (&json!({}), &json!(["traefik.yaml"])));
}

#[tokio::test]
async fn a_file_that_somebody_gives_is_not_ours_any_more_and_other_keys_may_stand_beside_it() {
    let rig = Rig::new().await;
    rig.apply(&secret("t")).await;
    let set = |data: Value| json!({"data": data}).to_string();
    assert_eq!(rig.post("/api/v1/secrets/t/set", &set(json!({"note": "eA=="}))).await.status, 200);
    assert_eq!(rig.read("/api/v1/secrets/t").await["spec"]["edge"], json!({}));
    assert_eq!(rig.post("/api/v1/secrets/t/set", &set(json!({"traefik.yaml": "eA=="}))).await.status, 200);
    assert_eq!(rig.read("/api/v1/secrets/t").await["spec"].get("edge"), None);
}
