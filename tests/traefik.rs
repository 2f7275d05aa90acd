//! Documents of ours in the real Traefik: every middleware of its open-source edition is taken, and the common ones do
//! what they say.
//!
//! `CONSTELLATION_TEST_TRAEFIK` is the program (`make test` sets it). It runs on loopback, with ports that were free a
//! moment before, and polls its document from here.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::BTreeMap,
    env,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use constellation::{
    model::{Index, middleware::MiddlewareSpec},
    plan::routes::{Backing, Endpoint, Input, Marker, Material, Reached, Stored, Table, table},
};
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// Longest wait for anything.
const LIMIT: Duration = Duration::from_secs(30);

/// An answer: status, head in lower case, body.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

/// One request on a connection of its own.
fn ask(to: SocketAddr, host: &str, path: &str, headers: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&to, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n")?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_default();
    Ok(Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() })
}

/// Answers each request on a port of its own by what `answer` makes of its head.
fn serve(answer: impl Fn(&str) -> (u16, String, Vec<u8>) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = answer.clone();
            thread::spawn(move || {
                let _ = one(stream, &*answer);
            });
        }
    });
    address
}

/// Status, further heads and body of a request's answer.
type Reply = (u16, String, Vec<u8>);

fn one(mut stream: TcpStream, answer: &dyn Fn(&str) -> Reply) -> std::io::Result<()> {
    stream.set_read_timeout(Some(LIMIT))?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte)? == 0 {
            return Ok(());
        }
        head.push(byte[0]);
    }
    let (status, headers, body) = answer(&String::from_utf8_lossy(&head));
    write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n", body.len())?;
    stream.write_all(&body)
}

/// A Traefik that polls what is given to it.
struct Traefik {
    child: Child,
    web: SocketAddr,
    api: SocketAddr,
    document: Arc<Mutex<Vec<u8>>>,
    generation: u64,
    _home: tempfile::TempDir,
}

impl Drop for Traefik {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

impl Traefik {
    fn start() -> Self {
        let program = env::var("CONSTELLATION_TEST_TRAEFIK")
            .expect("CONSTELLATION_TEST_TRAEFIK names the program; make test sets it");
        let document = Arc::new(Mutex::new(table(&Input::default()).document.bytes(Marker::default()).unwrap()));
        let given = document.clone();
        let provider = serve(move |_| (200, String::new(), given.lock().unwrap().clone()));
        let (web, secure, api, home) = (free(), free(), free(), tempfile::tempdir().unwrap());
        let child = Command::new(program)
            .args([
                format!("--entryPoints.web.address={web}"),
                format!("--entryPoints.websecure.address={secure}"),
                format!("--entryPoints.traefik.address={api}"),
                "--api.insecure=true".into(),
                "--global.checkNewVersion=false".into(),
                "--global.sendAnonymousUsage=false".into(),
                format!("--providers.http.endpoint=http://{provider}/"),
                "--providers.http.pollInterval=50ms".into(),
                "--providers.providersThrottleDuration=0s".into(),
                "--log.level=ERROR".into(),
            ])
            .current_dir(home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, web, api, document, generation: 0, _home: home }
    }

    /// Hands a table over and waits until it is served.
    fn serve(&mut self, table: &Table) {
        self.generation += 1;
        let marker = Marker { index: Index(self.generation), sub: 0 };
        *self.document.lock().unwrap() = table.document.bytes(marker).unwrap();
        let (begun, path) = (Instant::now(), format!("/api/http/middlewares/{marker}@http"));
        while !ask(self.api, "a", &path, "").is_ok_and(|a| a.status == 200) {
            assert!(begun.elapsed() < LIMIT, "{marker} is not served: the document was refused");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// A list of Traefik's own API.
    fn list(&self, what: &str) -> Vec<Value> {
        let answer =
            ask(self.api, "a", &format!("/api/http/{what}?per_page=1000"), "Accept-Encoding: identity\r\n").unwrap();
        // Chunked: the list is the longest line.
        let text = answer.body.lines().max_by_key(|l| l.len()).unwrap_or_default();
        serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {}", answer.body))
    }

    fn get(&self, host: &str, path: &str, headers: &str) -> Answer {
        ask(self.web, host, path, headers).unwrap()
    }
}

/// Says what it was asked, as text long enough to be compressed; `/code/503` answers with that status.
fn echo() -> SocketAddr {
    serve(|head| {
        let path = head.split(' ').nth(1).unwrap_or_default();
        let code = path.strip_prefix("/code/").and_then(|c| c.parse().ok()).unwrap_or(200);
        let body = format!("echo {head}{}", "x".repeat(4000));
        (code, "Content-Type: text/plain\r\n".into(), body.into_bytes())
    })
}

/// Services by name, each at one address.
fn services(all: &[(&str, SocketAddr)]) -> BTreeMap<Arc<str>, Backing> {
    let one = |name: &str, address: &SocketAddr| Backing {
        declared: Reached { ports: vec![address.port()], ..Reached::default() },
        endpoints: vec![Endpoint { replica: name.into(), address: address.ip(), own: None }],
        ..Backing::default()
    };
    all.iter().map(|(name, address)| ((*name).into(), one(name, address))).collect()
}

/// A Route of its own for each middleware, at the host of its name.
fn input(middlewares: Value, services: BTreeMap<Arc<str>, Backing>) -> Input {
    let mut input = Input { services, ..Input::default() };
    for (name, spec) in middlewares.as_object().unwrap() {
        let spec: MiddlewareSpec = serde_json::from_value(spec.clone()).unwrap();
        input.middlewares.insert(name.as_str().into(), Arc::new(spec));
        let route = json!({"hosts": [format!("{name}.example")], "backends": [{"service": "web"}], "middlewares": [name],
            "resilience": {"retries": {"attempts": 1}}});
        let spec = Arc::new(serde_json::from_value(route).unwrap());
        input.routes.push(Stored { name: name.as_str().into(), created_at: 1, spec });
    }
    let users = [("username", "ann"), ("password", "secret")];
    let open = |pairs: &[(&str, &str)]| {
        Material::Open(pairs.iter().map(|(k, v)| ((*k).to_owned(), Zeroizing::new(v.as_bytes().to_vec()))).collect())
    };
    input.secrets.insert("users".into(), open(&users));
    input.secrets.insert("digest".into(), open(&[("users", "ann:traefik:a1b2c3d4e5f60718293a4b5c6d7e8f90")]));
    input
}

#[test]
fn every_middleware_is_taken_and_the_common_ones_work() {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    // Fails the first of each two.
    let flaky = serve(move |_| {
        let code = if count.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) { 503 } else { 200 };
        (code, String::new(), b"flaky".to_vec())
    });
    let auth = serve(|head| {
        let good = head.to_ascii_lowercase().contains("x-key: open");
        (if good { 200 } else { 401 }, "X-User: ann\r\n".into(), b"auth".to_vec())
    });
    let pages = serve(|head| (200, String::new(), format!("page {head}").into_bytes()));
    let all = json!({
        "addprefix": {"addPrefix": {"prefix": "/v1"}},
        "stripprefix": {"stripPrefix": {"prefixes": ["/v1"]}},
        "stripregex": {"stripPrefixRegex": {"regex": ["^/v[0-9]+"]}},
        "replacepath": {"replacePath": {"path": "/other"}},
        "replaceregex": {"replacePathRegex": {"regex": "^/a/(.*)", "replacement": "/b/$1"}},
        "chain": {"chain": {"middlewares": ["addprefix", "headers"]}},
        "allow": {"ipAllowList": {"sourceRange": ["127.0.0.0/8"]}},
        "deny": {"ipAllowList": {"sourceRange": ["192.0.2.0/24"], "rejectStatusCode": 404}},
        "headers": {"headers": {"customRequestHeaders": {"X-In": "1"}, "customResponseHeaders": {"X-Out": "2"},
            "frameDeny": true, "forceSTSHeader": true, "stsSeconds": 60, "permissionsPolicy": "camera=()"}},
        "errors": {"errors": {"status": ["500-599"], "service": "pages", "query": "/{status}.html"}},
        "ratelimit": {"rateLimit": {"average": 1, "period": "1h", "burst": 2}},
        "redirectregex": {"redirectRegex": {"regex": "^http://redirectregex\\.example/(.*)", "replacement": "http://new.example/$1"}},
        "redirectscheme": {"redirectScheme": {"scheme": "https", "port": 8443, "permanent": true}},
        "basicauth": {"basicAuth": {"secretRef": "users", "headerField": "X-Who"}},
        "digestauth": {"digestAuth": {"secretRef": "digest"}},
        "forwardauth": {"forwardAuth": {"address": format!("http://auth:{}/check", auth.port()), "authResponseHeaders": ["X-User"],
            "maxBodySize": 10, "forwardBody": true}},
        "noauth": {"forwardAuth": {"address": "http://nobody:9/check"}},
        "inflight": {"inFlightReq": {"amount": 5, "sourceCriterion": {"requestHost": true}}},
        "buffering": {"buffering": {"maxRequestBodyBytes": 1000, "retryExpression": "IsNetworkError() && Attempts() <= 2"}},
        "breaker": {"circuitBreaker": {"expression": "ResponseCodeRatio(500, 600, 0, 600) > 0.30 || LatencyAtQuantileMS(50.0) > 5000",
            "checkPeriod": "1m30s", "responseCode": 503}},
        "compress": {"compress": {"encodings": ["gzip"]}},
        "clientcert": {"passTLSClientCert": {"info": {"sans": true, "subject": {"commonName": true}}}},
        "retry": {"retry": {"attempts": 2, "status": ["503"], "initialInterval": "10ms"}},
        "contenttype": {"contentType": {}},
        "grpcweb": {"grpcWeb": {"allowOrigins": ["*"]}},
    });
    let web = echo();
    let mut services = services(&[("web", web), ("auth", auth), ("pages", pages), ("flaky", flaky)]);
    let declared = Reached { ports: vec![9], ..Reached::default() };
    services.insert("nobody".into(), Backing { declared, ..Backing::default() });
    let mut input = input(all, services);
    for route in &mut input.routes {
        if &*route.name == "retry" {
            Arc::make_mut(&mut route.spec).backends[0].service = Some("flaky".into());
        }
    }
    let used: std::collections::BTreeSet<&str> = input.middlewares.values().map(|m| m.name()).collect();
    assert_eq!(used.len(), MiddlewareSpec::NAMES.len(), "every one is here");
    let made = table(&input);
    for (object, verdict) in &made.said {
        assert!(verdict.accepted.holds && verdict.resolved.holds, "{object}: {verdict:?}");
    }
    let mut traefik = Traefik::start();
    traefik.serve(&made);

    for what in ["middlewares", "routers", "services"] {
        let ours: Vec<Value> = traefik.list(what).into_iter().filter(|v| v["provider"] == "http").collect();
        assert!(ours.len() >= input.routes.len(), "{what}: {}", ours.len());
        for one in ours {
            assert!(one["status"] == "enabled" && one.get("error").is_none(), "{what}: {one}");
        }
    }

    let line = |name: &str, path: &str| {
        let answer = traefik.get(&format!("{name}.example"), path, "");
        assert_eq!(answer.status, 200, "{name}: {}", answer.head);
        answer.body.lines().find(|l| l.contains("echo GET")).unwrap_or_default().to_owned()
    };
    assert!(line("addprefix", "/a").contains("GET /v1/a "));
    assert!(line("stripprefix", "/v1/a").contains("GET /a "));
    assert!(line("stripregex", "/v22/a").contains("GET /a "));
    assert!(line("replacepath", "/a").contains("GET /other "));
    assert!(line("replaceregex", "/a/c").contains("GET /b/c "));
    assert!(line("chain", "/a").contains("GET /v1/a "));
    assert!(line("allow", "/a").contains("GET /a "));
    assert_eq!(traefik.get("deny.example", "/a", "").status, 404);

    let headers = traefik.get("headers.example", "/", "");
    assert!(headers.body.contains("X-In: 1") && headers.head.contains("x-out: 2"), "{}", headers.head);
    assert!(
        headers.head.contains("x-frame-options: deny")
            && headers.head.contains("strict-transport-security: max-age=60")
    );

    let errors = traefik.get("errors.example", "/code/503", "");
    assert!(errors.status == 503 && errors.body.contains("page GET /503.html"), "{} {}", errors.status, errors.body);

    let codes: Vec<u16> = (0..4).map(|_| traefik.get("ratelimit.example", "/", "").status).collect();
    assert_eq!(codes, [200, 200, 429, 429]);

    let moved = traefik.get("redirectregex.example", "/x?y=1", "");
    assert!(moved.status == 302 && moved.head.contains("location: http://new.example/x?y=1"), "{}", moved.head);
    let secure = traefik.get("redirectscheme.example", "/x", "");
    assert!(
        secure.status == 301 && secure.head.contains("location: https://redirectscheme.example:8443/x"),
        "{}",
        secure.head
    );

    assert_eq!(traefik.get("basicauth.example", "/", "").status, 401);
    assert_eq!(traefik.get("basicauth.example", "/", "Authorization: Basic YW5uOndyb25n\r\n").status, 401);
    let inside = traefik.get("basicauth.example", "/", "Authorization: Basic YW5uOnNlY3JldA==\r\n");
    assert!(inside.status == 200 && inside.body.contains("X-Who: ann"), "{} {}", inside.status, inside.body);
    let digest = traefik.get("digestauth.example", "/", "");
    assert!(
        digest.status == 401 && digest.head.contains("www-authenticate: digest realm=\"traefik\""),
        "{}",
        digest.head
    );

    assert_eq!(traefik.get("forwardauth.example", "/", "").status, 401);
    let passed = traefik.get("forwardauth.example", "/", "X-Key: open\r\n");
    assert!(passed.status == 200 && passed.body.contains("X-User: ann"), "{} {}", passed.status, passed.body);
    let closed = traefik.get("noauth.example", "/", "X-Key: open\r\n");
    assert!(closed.status >= 500, "nobody decides, and nobody passes: {}", closed.status);

    let small = traefik.get("compress.example", "/", "Accept-Encoding: gzip\r\n");
    assert!(small.head.contains("content-encoding: gzip") && small.body.len() < 3000, "{}", small.head);
    assert!(!traefik.get("compress.example", "/", "").head.contains("content-encoding"));

    for _ in 0..3 {
        assert_eq!(traefik.get("retry.example", "/", "").status, 200, "the second one answers");
    }
    assert_eq!(seen.load(Ordering::SeqCst), 6, "each was asked twice");
}

#[test]
fn the_worst_texts_are_read_as_they_were_meant_and_freeze_nobody() {
    let odd =
        "\u{7f}\u{80}\u{85}\u{9f} \u{2028} \u{2029} \u{feff}\u{fffe}\u{ffff} \u{1f600} \u{10ffff} \u{0}\t\r\n\"\\";
    let (one, long) = (format!("a{odd} b"), "x".repeat(256));
    let worst = json!({
        "texts": {"headers": {"contentSecurityPolicy": one, "permissionsPolicy": odd, "referrerPolicy": odd,
            "accessControlAllowOriginList": [odd, one], "allowedHosts": [odd], "accessControlExposeHeaders": [odd]}},
        "names": {"headers": {"customResponseHeaders": {long.clone(): "there", "null": "~"}}},
        "plain": {"headers": {"customResponseHeaders": {"X-Plain": "yes"}}},
    });
    let made = table(&input(worst, services(&[("web", echo())])));
    for (object, verdict) in &made.said {
        assert!(verdict.accepted.holds && verdict.resolved.holds, "{object}: {verdict:?}");
    }
    let mut traefik = Traefik::start();
    traefik.serve(&made);
    assert!(traefik.get("plain.example", "/", "").head.contains("x-plain: yes"));
    assert!(traefik.get("names.example", "/", "").head.contains(&format!("{long}: there")));
    let middlewares = traefik.list("middlewares");
    let texts = middlewares.iter().find(|m| m["name"] == "mw-texts@http").unwrap()["headers"].clone();
    assert_eq!((&texts["contentSecurityPolicy"], &texts["permissionsPolicy"]), (&json!(one), &json!(odd)), "{texts}");
    assert_eq!(texts["accessControlAllowOriginList"], json!([odd, one]), "{texts}");
}

#[test]
fn what_is_swapped_is_served_without_a_failure_and_one_bad_object_freezes_nothing() {
    let (one, two) = (echo(), serve(|_| (200, String::new(), b"two".to_vec())));
    let mut traefik = Traefik::start();
    let host = json!({"plain": {"headers": {"customRequestHeaders": {"X": "y"}}}});
    traefik.serve(&table(&input(host.clone(), services(&[("web", one)]))));
    assert!(traefik.get("plain.example", "/", "").body.contains("echo"));
    // The same with objects that nobody can carry out, and with another endpoint.
    let mut hostile = input(host, services(&[("web", two)]));
    let bad = |name: &str, spec: Value| Stored {
        name: name.into(),
        created_at: 9,
        spec: Arc::new(serde_json::from_value(spec).unwrap()),
    };
    let backends = json!([{"service": "web"}]);
    hostile.routes.extend([
        bad("quote", json!({"hosts": ["a`) || Host(`plain.example"], "backends": backends})),
        bad("rule", json!({"rule": "Host(`a`", "backends": backends})),
        bad("empty", json!({"hosts": [], "backends": []})),
        bad("thief", json!({"hosts": ["plain.example"], "backends": [{"service": "nobody"}]})),
        bad("mw", json!({"hosts": ["b.example"], "backends": backends, "middlewares": [{}]})),
        bad("Ä/../x", json!({"rule": "PathPrefix(`/own`)", "backends": backends})),
    ]);
    traefik.serve(&table(&hostile));
    assert_eq!(traefik.get("plain.example", "/", "").body, "two");
    // Nothing at all: no route is left, and the next document is taken again.
    traefik.serve(&table(&Input::default()));
    assert_eq!(traefik.get("plain.example", "/", "").status, 404);
    traefik.serve(&table(&hostile));
    assert_eq!(traefik.get("plain.example", "/", "").body, "two");
}

#[test]
fn an_exact_host_comes_before_a_wildcard_and_an_exact_path_before_a_prefix() {
    let say = |text: &'static str| serve(move |_| (200, String::new(), text.as_bytes().to_vec()));
    let all = [("wild", say("wild")), ("host", say("host")), ("prefix", say("prefix")), ("exact", say("exact"))];
    let mut input = Input { services: services(&all), ..Input::default() };
    let mut add = |name: &str, host: &str, paths: Value| {
        let spec = json!({"hosts": [host], "paths": paths, "backends": [{"service": name}]});
        input.routes.push(Stored {
            name: name.into(),
            created_at: 1,
            spec: Arc::new(serde_json::from_value(spec).unwrap()),
        });
    };
    add("wild", "*.example.com", json!([{"value": "/"}, {"value": "/a/very/long/path/that/is/longer/than/anything"}]));
    add("host", "a.example.com", json!([]));
    add("prefix", "a.example.com", json!([{"value": "/api"}]));
    add("exact", "a.example.com", json!([{"type": "Exact", "value": "/api"}]));
    let mut traefik = Traefik::start();
    traefik.serve(&table(&input));
    for (host, path, who) in [
        ("b.example.com", "/", "wild"),
        ("a.example.com", "/", "host"),
        ("a.example.com", "/a/very/long/path/that/is/longer/than/anything", "host"),
        ("a.example.com", "/api/x", "prefix"),
        ("a.example.com", "/api", "exact"),
    ] {
        assert_eq!(traefik.get(host, path, "").body, who, "{host}{path}");
    }
    assert_eq!(traefik.get("a.b.example.com", "/", "").status, 404, "of one more part");
}

#[test]
fn a_health_check_is_led_nowhere_by_what_it_asks() {
    let (checked, led) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let count = |seen: &Arc<AtomicUsize>| {
        let seen = seen.clone();
        move || seen.fetch_add(1, Ordering::SeqCst)
    };
    let (check, lead) = (count(&checked), count(&led));
    let inner = serve(move |_| {
        lead();
        (200, String::new(), b"inner".to_vec())
    });
    let web = serve(move |_| {
        check();
        (307, format!("Location: http://{inner}/stolen\r\n"), Vec::new())
    });
    let spec = json!({"hosts": ["a.example"], "backends": [{"service": "web"}],
        "loadBalancer": {"healthCheck": {"path": "/health", "method": "POST", "interval": "100ms", "timeout": "1s"}}});
    let spec = Arc::new(serde_json::from_value(spec).unwrap());
    let mut input = Input { services: services(&[("web", web)]), ..Input::default() };
    input.routes.push(Stored { name: "r".into(), created_at: 1, spec });
    let mut traefik = Traefik::start();
    traefik.serve(&table(&input));
    let begun = Instant::now();
    while checked.load(Ordering::SeqCst) < 3 {
        assert!(begun.elapsed() < LIMIT, "it is asked for its health");
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(led.load(Ordering::SeqCst), 0, "nobody is asked whom a replica names");
}
