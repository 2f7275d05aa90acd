//! Tokens: made, told once, used, revoked.

use std::time::Duration;

use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    client_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};

use super::{
    client::Answer,
    rig::{Rig, config, soon},
};

/// What is cut, is cut within this time.
const CUT: Duration = Duration::from_secs(2);

impl Rig {
    /// Makes a token; its text.
    pub async fn token(&self, name: &str, role: &str) -> String {
        let made = self.make(&json!({"name": name, "role": role})).await;
        assert_eq!(made.status, 200, "{made:?}");
        made.json()["token"].as_str().unwrap().to_owned()
    }
    async fn make(&self, body: &Value) -> Answer {
        self.post("/api/v1/tokens", &body.to_string()).await
    }
    async fn revoke(&self, name: &str) -> Answer {
        self.ask("DELETE", &format!("/api/v1/tokens/{name}")).send().await
    }
}

#[tokio::test]
async fn a_token_is_told_once_and_is_shown_without_its_secret() {
    let rig = Rig::new().await;
    let made = rig.make(&json!({"name": "ci", "role": "write", "ttl": "30d"})).await.json();
    let token = made["token"].as_str().unwrap();
    let secret = token.rsplit('_').next().unwrap();
    assert_eq!((made["role"].as_str(), made["createdBy"].as_str()), (Some("write"), Some("admin-token")));
    let lifetime = made["expiresAt"].as_u64().unwrap() - made["createdAt"].as_u64().unwrap();
    assert_eq!(lifetime, 30 * 86_400_000);
    let list = rig.get("/api/v1/tokens").await;
    assert_eq!(list.json()["items"][0]["name"], "ci");
    let hash = rig.shared.store.state().tokens().next().unwrap().hash.clone();
    assert!(!list.text().contains(secret) && !list.text().contains(&hash), "{list:?}");
    let names: Vec<String> = list.json()["items"][0].as_object().unwrap().keys().cloned().collect();
    assert_eq!(names, ["createdAt", "createdBy", "expired", "expiresAt", "id", "name", "role"]);

    let applied = rig.ask("POST", "/api/v1/apply").token(Some(token)).body(config("c", "1").to_string()).send().await;
    assert_eq!(applied.status, 200, "{applied:?}");
    assert_eq!(rig.ask("GET", "/api/v1/tokens").token(Some(token)).send().await.problem(), (403, "forbidden".into()));
    assert_eq!(rig.make(&json!({"name": "ci", "role": "read"})).await.problem(), (409, "token-exists".into()));
    assert_eq!(rig.revoke("ci").await.json()["name"], "ci");
    assert_eq!(rig.ask("GET", "/api/v1/status").token(Some(token)).send().await.problem(), (401, "wrong-token".into()));
    assert_eq!(rig.revoke("ci").await.problem(), (404, "not-found".into()));
}

#[tokio::test]
async fn what_is_no_token_is_not_made() {
    let rig = Rig::new().await;
    for (body, status) in [
        (json!({"name": "", "role": "read"}), 422),
        (json!({"name": "a\nb", "role": "read"}), 422),
        (json!({"name": "Ci", "role": "read"}), 422),
        (json!({"name": "a".repeat(64), "role": "read"}), 422),
        (json!({"name": "ci", "role": "boss"}), 422),
        (json!({"name": "ci", "role": "none"}), 422),
        (json!({"name": "ci"}), 422),
        (json!({"name": "ci", "role": "read", "ttl": "0"}), 422),
        (json!({"name": "ci", "role": "read", "ttl": "999999d"}), 422),
        (json!({"name": "ci", "role": "read", "token": "mine"}), 422),
    ] {
        let answer = rig.make(&body).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
    }
    assert_eq!(rig.shared.store.state().tokens().count(), 0);
}

#[tokio::test]
async fn a_lost_answer_is_not_told_again() {
    let rig = Rig::new().await;
    let ask =
        || rig.ask("POST", "/api/v1/tokens").header("idempotency-key", "k").body(r#"{"name":"ci","role":"read"}"#);
    assert_eq!(ask().send().await.status, 200);
    let again = ask().send().await;
    assert_eq!(again.problem(), (409, "token-told".into()));
    assert!(again.json()["hint"].as_str().unwrap().contains("token revoke ci"), "{again:?}");
    let revoke = || rig.ask("DELETE", "/api/v1/tokens/ci").header("idempotency-key", "r");
    assert_eq!(revoke().send().await.json(), revoke().send().await.json(), "a revocation may come again");
}

#[tokio::test]
async fn a_key_is_its_callers_own() {
    let rig = Rig::new().await;
    let (one, two) = (rig.token("one", "write").await, rig.token("two", "write").await);
    let ask = async |token: &str, value: &str| {
        let ask = rig.ask("PUT", "/api/v1/configs/c").token(Some(token)).header("idempotency-key", "k");
        ask.body(config("c", value).to_string()).send().await
    };
    let first = ask(&one, "1").await;
    assert_eq!(first.json()["objects"][0]["result"], "created");
    let other = ask(&two, "1").await;
    assert_eq!(other.json()["objects"][0]["result"], "unchanged", "not the answer of another: {other:?}");
    assert_eq!(ask(&two, "2").await.status, 200, "nor does it learn that the key was used");
    assert_eq!(ask(&one, "1").await.json(), first.json());
    let reused = ask(&one, "3").await;
    assert_eq!(reused.problem(), (409, "key-reused".into()));
    assert_eq!(reused.json()["detail"], "the idempotency key \"k\" was used for another request");
    rig.revoke("one").await;
    let namesake = rig.token("one", "write").await;
    assert_eq!(ask(&namesake, "2").await.status, 200, "whoever has the name later is another");
}

async fn socket(rig: &Rig, token: &str) -> impl futures::Stream<Item = Message> + Unpin + use<> {
    let mut request = "ws://test/ws?fromIndex=0".into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let io = TcpStream::connect(rig.address).await.unwrap();
    let (socket, _) = soon("a WebSocket", client_async(request, io)).await.unwrap();
    Box::pin(socket.filter_map(async |message| message.ok()))
}

#[tokio::test]
async fn what_a_token_opened_ends_with_it() {
    for how in ["revoked", "expired"] {
        let rig = Rig::new().await;
        let ttl = if how == "expired" { json!("1s") } else { Value::Null };
        let made = rig.make(&json!({"name": "eye", "role": "read", "ttl": ttl})).await.json();
        let token = made["token"].as_str().unwrap();
        let mut socket = socket(&rig, token).await;
        let mut watch = rig.ask("GET", "/api/v1/configs?watch=true").token(Some(token)).stream().await;
        let mut kept = rig.ask("GET", "/api/v1/configs?watch=true").stream().await;
        assert!(matches!(soon("an event", socket.next()).await, Some(Message::Text(_))));
        if how == "revoked" {
            rig.revoke("eye").await;
        }
        let ends = async {
            assert_eq!(watch.line().await, None);
            loop {
                match socket.next().await {
                    Some(Message::Close(frame)) => break frame.unwrap(),
                    Some(_) => {}
                    None => panic!("no close"),
                }
            }
        };
        let frame = tokio::time::timeout(CUT + Duration::from_secs(1), ends).await.expect(how);
        assert_eq!((u16::from(frame.code), &*frame.reason), (1008, "the token is not valid any more"), "{how}");
        rig.apply(&config("c", "1").to_string()).await;
        assert_eq!(kept.line().await.unwrap()["op"], "put", "the stream of another goes on");
        let slug = if how == "expired" { "expired-token" } else { "wrong-token" };
        assert_eq!(rig.ask("GET", "/api/v1/status").token(Some(token)).send().await.problem(), (401, slug.into()));
    }
}
