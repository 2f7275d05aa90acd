//! An API for the tests of commands: it answers as it is told and remembers what it was asked.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;

use super::{client::Api, endpoint::Endpoint, transport::Transport};

/// Paths with their queries, in the order in which they were asked for.
pub type Asked = Arc<Mutex<Vec<String>>>;

/// Serves until the test ends. `answer` says status and body for a path with its query; what it is not told is 404.
pub async fn api(answer: impl Fn(&str) -> Option<(u16, String)> + Send + Sync + 'static) -> (Api, Asked) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (asked, answer) = (Asked::default(), Arc::new(answer));
    let seen = asked.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (seen, answer) = (seen.clone(), answer.clone());
            let service = service_fn(move |request: http::Request<Incoming>| {
                let target = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
                let (status, body) = answer(&target).unwrap_or((404, "{}".into()));
                seen.lock().unwrap().push(target);
                let said = http::Response::builder().status(status).body(Full::new(Bytes::from(body))).unwrap();
                async move { Ok::<_, Infallible>(said) }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    (Api::new(Transport::new(Endpoint::Tcp { host: "127.0.0.1".into(), port }, None)), asked)
}

/// The body of `GET /api/v1/status` at an index.
pub fn status(index: u64) -> String {
    let none = serde_json::json!({"ready": 0, "total": 0});
    serde_json::json!({
        "name": "", "cluster": "c", "lineage": "l", "recovery": 0, "index": index, "now": 1, "version": "0", "node": "n1",
        "writable": true, "voters": 1, "nodes": none, "services": none, "replicas": none
    })
    .to_string()
}
