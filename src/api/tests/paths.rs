//! Paths, methods, queries and headers that lead nowhere.

use std::time::Duration;

use super::rig::{Rig, config, until};

#[tokio::test]
async fn a_path_that_leads_nowhere_is_404_with_a_reason() {
    let rig = Rig::new().await;
    rig.apply(&config("c", "1").to_string()).await;
    let table = [
        ("/", "no-route"),
        ("//", "no-route"),
        ("/api", "no-route"),
        ("/api/v1/services/", "no-route"),
        ("/api/v1//services", "no-route"),
        ("/api/v1/configs/c/", "no-route"),
        ("/api/v1/pods", "no-route"),
        ("/API/v1/configs", "no-route"),
        ("/api/v1/configs/../secrets", "no-route"),
        ("/api/v1/services/../../../etc/passwd", "no-route"),
        ("/api/v1/configs/..", "not-found"),
        ("/api/v1/configs/%2e%2e%2fsecrets", "not-found"),
        ("/api/v1/configs/%2e%2e", "not-found"),
        ("/api/v1/configs/%00", "not-found"),
        ("/api/v1/configs/%22%0d%0aset-cookie:%20x", "not-found"),
        ("/api/v1/configs/C", "not-found"),
        ("/api/v1/redis", "not-built-yet"),
        ("/api/v1/nodes/n1/drain", "not-built-yet"),
    ];
    for (path, slug) in table {
        let answer = rig.get(path).await;
        assert_eq!(answer.problem(), (404, slug.to_owned()), "{path}");
        assert_eq!(answer.header("set-cookie"), None, "{path}");
    }
    for path in ["/api/v1/configs/%zz", "/api/v1/configs/%", "/api/v1/configs/%f", "/api/v1/configs/%ff"] {
        assert_eq!(rig.get(path).await.problem(), (400, "bad-request".into()), "{path}");
    }
    assert_eq!(rig.read("/api/v1/configs/%63").await["metadata"]["name"], "c", "an escape is what it stands for");
}

#[tokio::test]
async fn another_method_is_405_and_says_which_are_meant() {
    let rig = Rig::new().await;
    let table = [
        ("POST", "/api/v1/services", "GET"),
        ("POST", "/api/v1/services/web", "GET, PUT, DELETE"),
        ("PATCH", "/api/v1/configs/c", "GET, PUT, DELETE"),
        ("PUT", "/api/v1/replicas/web-1-abcde", "GET"),
        ("DELETE", "/api/v1/replicas/web-1-abcde", "GET"),
        ("GET", "/api/v1/apply", "POST"),
        ("DELETE", "/health", "GET"),
        ("OPTIONS", "/api/v1/status", "GET"),
        ("FOO", "/api/v1/services/web/scale", "GET, PUT"),
    ];
    for (method, path, allow) in table {
        let answer = rig.ask(method, path).send().await;
        assert_eq!(answer.problem(), (405, "method-not-allowed".into()), "{method} {path}");
        assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
    }
}

#[tokio::test]
async fn a_query_parameter_that_is_not_known_is_refused_everywhere() {
    let rig = Rig::new().await;
    for route in crate::api::routes::TABLE.iter() {
        let path = format!("{}?nonsense=1", route.path.replace("{name}", "x"));
        let answer = rig.ask(route.method, &path).send().await;
        assert_eq!(answer.problem(), (400, "bad-request".into()), "{} {path}", route.method);
    }
    let near = rig.get("/api/v1/services?lables=app").await.json();
    assert_eq!(near["hint"], "did you mean labels?");
    for query in ["watch=ja", "fromIndex=3", "watch=true&fromIndex=x", "labels=a%20in%20(b)", "watch=%zz"] {
        let path = format!("/api/v1/services?{query}");
        assert_eq!(rig.get(&path).await.problem(), (400, "bad-request".into()), "{path}");
    }
    for query in ["kinds=Pod", "types=Loud", "names=pod/x", "fromIndex=-1", "follow=ja"] {
        let path = format!("/api/v1/events?{query}");
        assert_eq!(rig.get(&path).await.problem(), (400, "bad-request".into()), "{path}");
    }
}

#[tokio::test]
async fn heads_that_are_no_http_end_the_connection_and_harm_nobody() {
    let rig = Rig::with(|l| l.head = Duration::from_millis(200)).await;
    let long = "x".repeat(1_000_000);
    let many: String = (0..100).map(|n| format!("h{n}: x\r\n")).collect();
    let table = [
        ("\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\x03\x03\r\n\r\n".to_owned(), "TLS"),
        ("GET\r\n\r\n".to_owned(), "half a line"),
        (format!("GET /{long} HTTP/1.1\r\nhost: x\r\n\r\n"), "a long path"),
        (format!("GET /health HTTP/1.1\r\nhost: x\r\nx: {long}\r\n\r\n"), "a long header"),
        (format!("GET /health HTTP/1.1\r\nhost: x\r\n{many}\r\n"), "many headers"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), "HTTP/2"),
        ("GET /health HTTP/1.1\r\nbad header\r\n\r\n".to_owned(), "a header without a colon"),
        (
            "POST /api/v1/apply HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef".to_owned(),
            "two lengths",
        ),
    ];
    for (bytes, what) in table {
        let mut wire = rig.tcp().await;
        wire.try_write(bytes).await;
        let all = wire.read_to_close().await;
        let text = String::from_utf8_lossy(&all);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4") || text.starts_with("HTTP/1.1 5"), "{what}: {text}");
    }
    assert_eq!(rig.get("/health").await.status, 200);
    until("every connection's end", || rig.shared.http.connections.get() == 0).await;
}
