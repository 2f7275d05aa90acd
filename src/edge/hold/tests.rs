use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinHandle,
    time::timeout,
};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn bounds() -> Limits {
    Limits::within(1 << 20)
}

struct Rig {
    target: watch::Sender<Target>,
    holds: Holds,
    hold: Hold,
    stop: CancellationToken,
}

async fn rig(limits: Limits, hold: Duration) -> Rig {
    let (target, receiver) = watch::channel(Target { endpoint: None, hold });
    let stop = CancellationToken::new();
    let holds = Holds::new(limits, stop.clone());
    let hold = holds.open(receiver).await.unwrap();
    Rig { target, holds, hold, stop }
}

impl Rig {
    fn ready(&self, at: SocketAddr) {
        self.target.send_modify(|t| t.endpoint = Some(at));
    }
    /// Writes a request as it is.
    async fn raw(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.hold.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }
}

async fn all(mut stream: TcpStream) -> String {
    let mut said = Vec::new();
    timeout(20 * SECOND, stream.read_to_end(&mut said)).await.unwrap().unwrap();
    String::from_utf8_lossy(&said).into_owned()
}

/// Answers every request with its method, path and body; `/head` with its headers, `/none` without a body.
async fn endpoint(listener: TcpListener, seen: Arc<AtomicUsize>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let seen = seen.clone();
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            seen.fetch_add(1, Ordering::Relaxed);
            async move {
                if request.uri().path() == "/none" {
                    let unchanged = Response::builder().status(304).header("etag", "\"7\"").header("keep-alive", "x=1");
                    return Ok::<_, Infallible>(unchanged.body(Full::default()).unwrap());
                }
                if let Some(protocol) = upgraded(request.headers()) {
                    let mut switched = Response::builder().status(101).body(Full::default()).unwrap();
                    upgrade_to(switched.headers_mut(), protocol);
                    tokio::spawn(async move {
                        let mut io = TokioIo::new(hyper::upgrade::on(&mut request).await.unwrap());
                        let mut word = [0; 4];
                        while io.read_exact(&mut word).await.is_ok() {
                            word.make_ascii_uppercase();
                            io.write_all(&word).await.unwrap();
                        }
                    });
                    return Ok(switched);
                }
                let (parts, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let text = if parts.uri.path() == "/head" {
                    format!("{:?} {:?}", parts.uri, parts.headers).into_bytes()
                } else {
                    [format!("{} {} ", parts.method, parts.uri).as_bytes(), &body].concat()
                };
                Ok(Response::new(Full::new(Bytes::from(text))))
            }
        });
        tokio::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            let _ = connection.with_upgrades().await;
        });
    }
}

/// Runs an endpoint: where, and how many requests it saw.
async fn started() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (at, seen) = (listener.local_addr().unwrap(), Arc::default());
    tokio::spawn(endpoint(listener, Arc::clone(&seen)));
    (at, seen)
}

async fn ask(at: SocketAddr, method: Method, body: Vec<u8>, path: &str) -> (StatusCode, Vec<u8>) {
    let stream = TcpStream::connect(at).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", "a").body(Full::new(Bytes::from(body)));
    let response = sender.send_request(request.unwrap()).await.unwrap();
    let status = response.status();
    (status, response.into_body().collect().await.unwrap().to_bytes().to_vec())
}

#[tokio::test]
async fn two_hundred_requests_of_all_methods_are_answered_when_the_endpoint_comes() {
    let rig = rig(bounds(), 20 * SECOND).await;
    let methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND", "MKCOL"];
    let at = rig.hold.address;
    let asked: Vec<JoinHandle<()>> = (0..200_usize)
        .map(|i| {
            let method: Method = methods[i % methods.len()].parse().unwrap();
            // From nothing to more than the buffers between two sockets.
            let body = vec![b'a' + (i % 26) as u8; [0, 1, 1_000, 70_000, 3_000_000][i / 10 % 5]];
            tokio::spawn(async move {
                let path = format!("/r/{i}?q=%20");
                let (status, heard) = ask(at, method.clone(), body.clone(), &path).await;
                assert_eq!(status, StatusCode::OK, "{method} {i}");
                let expected = [format!("{method} {path} ").as_bytes(), &body].concat();
                let expected = if method == Method::HEAD { Vec::new() } else { expected };
                assert!(heard == expected, "{method} {i}: {} bytes", heard.len());
            })
        })
        .collect();
    // All of them wait.
    let waiting = async {
        while rig.holds.connections.available_permits() > bounds().connections - 200 {
            sleep(PAUSE).await;
        }
    };
    timeout(20 * SECOND, waiting).await.unwrap();
    // Named before it listens: refused at first.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free = listener.local_addr().unwrap();
    drop(listener);
    rig.ready(free);
    sleep(4 * PAUSE).await;
    let seen = Arc::<AtomicUsize>::default();
    tokio::spawn(endpoint(TcpListener::bind(free).await.unwrap(), seen.clone()));
    for one in asked {
        timeout(40 * SECOND, one).await.unwrap().unwrap();
    }
    assert_eq!(seen.load(Ordering::Relaxed), 200, "each was sent once");
}

#[tokio::test]
async fn an_upgrade_is_held_and_then_speaks_both_ways() {
    let rig = rig(bounds(), 20 * SECOND).await;
    let mut client =
        rig.raw("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: mine\r\n\r\n").await;
    sleep(2 * PAUSE).await;
    rig.ready(started().await.0);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(20 * SECOND, client.read_u8()).await.unwrap().unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    assert!(head.starts_with("http/1.1 101") && head.contains("upgrade: mine"), "{head}");
    let mut word = [0; 4];
    for _ in 0..2 {
        client.write_all(b"ping").await.unwrap();
        client.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"PING");
    }
    // It outlives the listener, and ends with the agent.
    let Rig { hold, holds, stop, target: _target } = rig;
    drop(hold);
    sleep(LINGER + 4 * PAUSE).await;
    client.write_all(b"ping").await.unwrap();
    client.read_exact(&mut word).await.unwrap();
    stop.cancel();
    timeout(20 * SECOND, holds.ended()).await.unwrap();
    assert!(!matches!(client.read(&mut word).await, Ok(1..)));
}

#[tokio::test]
async fn after_the_hold_time_or_over_the_bound_it_says_when_to_come_again() {
    let rig = rig(Limits { held: 1, ..bounds() }, SECOND).await;
    let began = Instant::now();
    let first = rig.raw("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    sleep(SECOND / 2).await;
    let second = all(rig.raw("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await).await;
    assert!(began.elapsed() < SECOND, "at once");
    let first = all(first).await;
    assert!(began.elapsed() >= SECOND);
    for (said, why) in [(first, "in time"), (second, "too many")] {
        let said = said.to_lowercase();
        assert!(said.starts_with("http/1.1 503 ") && said.contains("\r\nretry-after: 1\r\n"), "{said}");
        assert!(said.contains(why), "{said}");
    }
}

#[tokio::test]
async fn a_client_that_goes_while_it_waits_frees_its_place() {
    let rig = rig(Limits { held: 1, ..bounds() }, 60 * SECOND).await;
    let (at, seen) = started().await;
    let gone = rig.raw("POST /gone HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await;
    sleep(4 * PAUSE).await;
    drop(gone);
    let stays = async {
        // Until its place is free it is told to come again.
        loop {
            let asking = tokio::spawn(ask(rig.hold.address, Method::GET, Vec::new(), "/stays"));
            sleep(4 * PAUSE).await;
            if !asking.is_finished() {
                rig.ready(at);
                return asking.await.unwrap();
            }
        }
    };
    let (status, said) = timeout(20 * SECOND, stays).await.unwrap();
    assert_eq!((status, &said[..]), (StatusCode::OK, &b"GET /stays "[..]));
    assert_eq!(seen.load(Ordering::Relaxed), 1, "who went was not forwarded");
}

#[tokio::test]
async fn what_was_sent_is_not_sent_again() {
    let rig = rig(bounds(), 20 * SECOND).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    rig.ready(listener.local_addr().unwrap());
    let asking = tokio::spawn(ask(rig.hold.address, Method::POST, b"once".to_vec(), "/"));
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.read_u8().await.unwrap();
    drop(stream);
    let (status, _) = timeout(20 * SECOND, asking).await.unwrap().unwrap();
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert!(timeout(4 * PAUSE, listener.accept()).await.is_err(), "no second attempt");
}

#[tokio::test]
async fn headers_of_one_hop_stay_there() {
    let rig = rig(bounds(), 20 * SECOND).await;
    rig.ready(started().await.0);
    let asked = "GET http://other/head?x HTTP/1.1\r\nHost: a\r\nConnection: close, X-Hop, te\r\nX-Hop: 1\r\nX-End: 2\r\n\
        Keep-Alive: timeout=5\r\nProxy-Connection: x\r\nTE: trailers\r\nExpect: 100-continue\r\nUpgrade: unasked\r\n\r\n";
    let said = all(rig.raw(asked).await).await;
    let body = said.rsplit_once("\r\n\r\n").unwrap().1;
    assert!(body.starts_with("/head?x "), "{said}");
    for there in ["\"host\": \"a\"", "\"x-end\": \"2\"", "\"te\": \"trailers\"", "\"connection\": \"te\""] {
        assert!(body.contains(there), "{there}: {said}");
    }
    for away in ["x-hop", "keep-alive", "proxy-connection", "expect", "upgrade"] {
        assert!(!body.contains(away), "{away}: {said}");
    }
    let none = all(rig.raw("GET /none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await).await.to_lowercase();
    assert!(none.starts_with("http/1.1 304") && none.contains("etag: \"7\"") && !none.contains("x=1"), "{none}");
}

#[tokio::test]
async fn a_body_waits_with_its_sender() {
    let rig = rig(bounds(), 20 * SECOND).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    rig.ready(listener.local_addr().unwrap());
    let stream = TcpStream::connect(rig.hold.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let sent = Arc::<AtomicUsize>::default();
    let counted = sent.clone();
    let pieces = futures::stream::repeat_with(move || {
        counted.fetch_add(64 << 10, Ordering::Relaxed);
        Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[0; 64 << 10])))
    });
    let request = Request::post("/").header("host", "a").body(StreamBody::new(pieces)).unwrap();
    let _asking = tokio::spawn(async move { sender.send_request(request).await });
    // It takes the connection and reads nothing.
    let (mut endpoint, _) = listener.accept().await.unwrap();
    let full = async {
        loop {
            let before = sent.load(Ordering::Relaxed);
            sleep(SECOND / 2).await;
            if before > 0 && sent.load(Ordering::Relaxed) == before {
                return before;
            }
        }
    };
    let stuck = timeout(20 * SECOND, full).await.unwrap();
    assert!(stuck < 32 << 20, "{stuck} bytes");
    // And goes on when it reads.
    let mut buffer = vec![0; 1 << 20];
    let reads = async {
        while sent.load(Ordering::Relaxed) < stuck + (32 << 20) {
            endpoint.read_exact(&mut buffer).await.unwrap();
        }
    };
    timeout(20 * SECOND, reads).await.unwrap();
}

#[tokio::test]
async fn a_place_that_nobody_asks_at_takes_no_seat_of_another() {
    let rig = rig(Limits { connections: 1, ..bounds() }, 20 * SECOND).await;
    // Both listen before anybody asks.
    let (target, receiver) = watch::channel(Target { endpoint: None, hold: 20 * SECOND });
    let other = rig.holds.open(receiver).await.unwrap();
    let (at, _) = started().await;
    rig.ready(at);
    target.send_modify(|t| t.endpoint = Some(at));
    for place in [other.address, rig.hold.address] {
        let said = timeout(10 * SECOND, ask(place, Method::GET, vec![], "/x")).await.expect("there is a seat");
        assert_eq!(said, (StatusCode::OK, b"GET /x ".to_vec()));
    }
}
