//! The transport against a small server of hyper's on loopback and on a socket.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::*;
use http_body_util::{BodyExt as BodyExtras, StreamBody, combinators::BoxBody};
use hyper::body::Frame;
use hyper::{server::conn::http1 as server, service::service_fn};

type Served = http::Response<BoxBody<Bytes, Infallible>>;

/// Serves connections until the test ends; the connection numbers in `cut` (from 0) are closed after the
/// request was read and before an answer is written.
async fn serve(cut: &'static [usize]) -> (Transport, Arc<AtomicUsize>, Arc<std::sync::Mutex<Vec<String>>>) {
    let listener = net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (seen, keys) = (Arc::new(AtomicUsize::new(0)), Arc::new(std::sync::Mutex::new(Vec::new())));
    let (count, recorded) = (seen.clone(), keys.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let number = count.fetch_add(1, Ordering::SeqCst);
            let recorded = recorded.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request: http::Request<Incoming>| {
                    let recorded = recorded.clone();
                    async move {
                        if let Some(key) = request.headers().get("idempotency-key") {
                            recorded.lock().unwrap().push(key.to_str().unwrap().to_owned());
                        }
                        if cut.contains(&number) {
                            return Err("cut");
                        }
                        Ok(answer(request.uri().path(), request.headers()))
                    }
                });
                let _ = server::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (
        Transport::new(Endpoint::Tcp { host: "127.0.0.1".into(), port }, Some(Zeroizing::new("secret".into()))),
        seen,
        keys,
    )
}

fn answer(path: &str, headers: &http::HeaderMap) -> Served {
    let whole = |status: u16, text: &str| {
        http::Response::builder().status(status).body(Full::new(Bytes::from(text.to_owned())).boxed()).unwrap()
    };
    match path {
        "/token" => whole(200, &serde_json::json!(headers[header::AUTHORIZATION].to_str().unwrap()).to_string()),
        "/problem" => whole(409, r#"{"type":"conflict","title":"Conflict","detail":"svc/web moved","status":409}"#),
        "/plain" => whole(503, "no leader"),
        "/silent" => {
            let never = futures::stream::pending::<Result<Frame<Bytes>, Infallible>>();
            http::Response::new(BodyExtras::boxed(StreamBody::new(never)))
        }
        "/lines" => {
            let chunks = ["{\"a\":1}\n{\"a\"", ":2}\n\n", "{\"a\":3}"];
            let stream = futures::stream::iter(chunks.map(|c| Ok(Frame::data(Bytes::from_static(c.as_bytes())))));
            http::Response::new(BodyExtras::boxed(StreamBody::new(stream)))
        }
        "/full" if headers.contains_key("idempotency-key") => {
            whole(429, r#"{"type":"https://constellation.dev/problems/too-many-keys","title":"Full","status":429}"#)
        }
        _ => whole(200, "{}"),
    }
}

fn post(target: &str) -> Request {
    Request { method: Method::POST, ..Request::get(target) }
}

const LIMIT: Duration = Duration::from_secs(5);

#[tokio::test]
async fn the_token_is_sent_as_a_bearer() {
    let (transport, ..) = serve(&[]).await;
    let said: String = transport.send(&Request::get("/token")).await.unwrap().json(LIMIT).await.unwrap();
    assert_eq!(said, "Bearer secret");
}

#[tokio::test]
async fn a_refusal_keeps_status_and_words() {
    let (transport, ..) = serve(&[]).await;
    for (path, exit, text) in [("/problem", 6, "Conflict: svc/web moved"), ("/plain", 3, "no leader")] {
        let error = transport.send(&Request::get(path)).await.unwrap_err();
        assert_eq!((error.exit().code(), error.to_string().as_str()), (exit, text), "{path}");
    }
}

#[tokio::test]
async fn a_stream_is_cut_into_lines_wherever_its_chunks_end() {
    #[derive(serde::Deserialize)]
    struct Line {
        a: u32,
    }
    let (transport, ..) = serve(&[]).await;
    let mut lines = transport.send(&Request::get("/lines")).await.unwrap().lines();
    let mut seen = Vec::new();
    while let Some(line) = lines.next_as::<Line>().await.unwrap() {
        seen.push(line.a);
    }
    assert_eq!(seen, [1, 2, 3]);
}

#[tokio::test]
async fn an_answer_that_never_ends_is_given_up() {
    let (transport, ..) = serve(&[]).await;
    let answer = transport.send(&Request::get("/silent")).await.unwrap();
    let error = answer.bytes(Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(error, CliError::Deadline { .. }), "{error:?}");
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_with_the_same_key() {
    let (transport, seen, keys) = serve(&[0, 1]).await;
    transport.change(post("/x"), "k1").await.unwrap();
    assert_eq!(seen.load(Ordering::SeqCst), 3);
    assert_eq!(*keys.lock().unwrap(), ["k1", "k1", "k1"]);
}

#[tokio::test]
async fn a_change_for_whose_key_there_is_no_room_is_sent_once_without() {
    let (transport, seen, keys) = serve(&[]).await;
    transport.change(post("/full"), "k1").await.unwrap();
    assert_eq!((seen.load(Ordering::SeqCst), keys.lock().unwrap().len()), (2, 1));
    // Not when a try before it may have done it, nor again when its answer is lost.
    let (transport, ..) = serve(&[0]).await;
    let error = transport.change(post("/full"), "k1").await.unwrap_err();
    assert!(matches!(&error, CliError::Refused(p) if p.status == 429), "{error:?}");
    let (transport, seen, _) = serve(&[1]).await;
    let error = transport.change(post("/full"), "k1").await.unwrap_err();
    assert!(matches!(error, CliError::Unknown { .. }), "{error:?}");
    assert_eq!(seen.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn tries_are_bounded_and_the_outcome_is_called_unknown() {
    let (transport, seen, _) = serve(&[0, 1, 2, 3, 4, 5, 6, 7]).await;
    let error = transport.change(post("/x"), "k1").await.unwrap_err();
    assert!(matches!(error, CliError::Unknown { tries: 5, .. }), "{error:?}");
    assert_eq!((seen.load(Ordering::SeqCst), error.exit().code()), (5, 3));
}

#[tokio::test]
async fn without_a_key_nothing_is_sent_twice() {
    let (transport, seen, _) = serve(&[0]).await;
    let error = transport.send(&post("/x")).await.unwrap_err();
    assert!(matches!(error, CliError::Broken { .. }), "{error:?}");
    assert_eq!(seen.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn nobody_there_is_said_at_once_with_a_hint() {
    let dir = tempfile::tempdir().unwrap();
    let transport = Transport::new(Endpoint::Unix(dir.path().join("api.sock")), None);
    let error = transport.change(post("/x"), "k1").await.unwrap_err();
    assert_eq!(error.exit().code(), 3);
    assert!(error.hint().unwrap().contains("constellation agent"));
}

#[tokio::test]
async fn a_unix_socket_carries_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api.sock");
    let listener = net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let service = service_fn(|request: http::Request<Incoming>| async move {
            assert!(request.headers().get(header::AUTHORIZATION).is_none());
            Ok::<_, Infallible>(answer("/", request.headers()))
        });
        let _ = server::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    });
    let transport = Transport::new(Endpoint::Unix(path), None);
    let said: serde_json::Value = transport.send(&Request::get("/")).await.unwrap().json(LIMIT).await.unwrap();
    assert_eq!(said, serde_json::json!({}));
}
