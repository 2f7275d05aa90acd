//! Backups over the API, and the word for a restored one.

use serde_json::json;

use super::rig::Rig;
use crate::store::backup::{Backup, Keys, draw_key};

#[tokio::test]
async fn a_backup_holds_what_was_acknowledged_before_and_is_recorded() {
    use age::secrecy::ExposeSecret as _;
    let rig = Rig::new().await;
    let secret = json!({"apiVersion": "constellation.dev/v1", "kind": "Secret", "metadata": {"name": "pw"},
                        "spec": {"stringData": {"value": "canary-77aa"}}});
    assert_eq!(rig.post("/api/v1/apply", &json!({"objects": [secret]}).to_string()).await.status, 200);
    let (secret, public) = draw_key();
    let asked = json!({"recipients": [public]}).to_string();
    let answer = rig.post("/api/v1/backups", &asked).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/octet-stream")));
    let open = Backup::open(&answer.body, &Keys::of_file(secret.expose_secret()).unwrap()).unwrap();
    assert_eq!((open.state.hash(), open.opens().unwrap()), (rig.shared.store.state().hash(), 1));
    let audit = rig.read("/api/v1/audit?object=backup").await;
    assert_eq!(audit["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_seals_nothing_is_refused_with_what_to_do() {
    let rig = Rig::new().await;
    let index = rig.index();
    for (body, said) in [
        (json!({}), "one of the two"),
        (json!({"recipients": []}), "one of the two"),
        (json!({"recipients": ["age1x"], "passphrase": "long enough"}), "one of the two"),
        (json!({"recipients": ["ssh-ed25519 AAAA"]}), "age1"),
        (json!({"passphrase": "short"}), "fewer than 8"),
    ] {
        let answer = rig.post("/api/v1/backups", &body.to_string()).await;
        assert_eq!(answer.status, 422, "{body}: {}", answer.text());
        assert!(answer.text().contains(said) && answer.text().contains("hint"), "{}", answer.text());
        assert!(!answer.text().contains("long enough"), "a passphrase is told to nobody");
    }
    assert_eq!(rig.index(), index);
}

#[tokio::test]
async fn without_a_restored_backup_there_is_nothing_to_confirm() {
    let rig = Rig::new().await;
    let report = rig.read("/api/v1/cluster/restore").await;
    assert_eq!((report.get("from"), &report["steps"]), (None, &json!([])));
    let answer = rig.post("/api/v1/cluster/restore", r#"{"shown": ""}"#).await;
    assert_eq!(answer.problem(), (409, "nothing-restored".into()));
}
