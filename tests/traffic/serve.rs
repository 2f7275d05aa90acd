//! A server with the faults of real ones.
//!
//! `/`: 1 kB; `/slow?ms=5000`: the same, later; `/fail`: 500; `/echo`: a WebSocket; `/head`: the request's own head, as
//! it came; `/ready`: 200, after `/sick` 503, until `/well`; a line tells each change. Each answer says the version, from `VERSION`. Variables:
//! `START_MS`, how long it is not ready after its start; `BROKEN`, set: it says some lines and ends.
//! On SIGTERM it accepts nothing more, finishes what is in flight, tells WebSockets that it goes away, and ends;
//! `--abrupt` ends at once, in the middle of everything.

use std::{
    convert::Infallible,
    net::{Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role, frame::coding::CloseCode},
    },
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Bytes of an answer.
const SIZE: usize = 1_024;
/// The longest that an answer can be asked to take, milliseconds.
const SLOWEST: u64 = 600_000;

struct Server {
    version: String,
    sick: AtomicBool,
    said_ready: AtomicBool,
    ready_at: Instant,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Serves until `stop`.
pub async fn run(port: u64, abrupt: bool, stop: CancellationToken) {
    if std::env::var_os("BROKEN").is_some() {
        (1..=12).for_each(|line| println!("cannot start: reason {line}"));
        std::process::exit(1);
    }
    let variable = |name| std::env::var(name).unwrap_or_default();
    let start = Duration::from_millis(variable("START_MS").parse().unwrap_or(0));
    let server = Arc::new(Server {
        version: variable("VERSION"),
        sick: AtomicBool::new(false),
        said_ready: AtomicBool::new(false),
        ready_at: Instant::now() + start,
        stop: stop.clone(),
        tasks: TaskTracker::new(),
    });
    let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, u16::try_from(port).unwrap()));
    let listener = TcpListener::bind(address).await.unwrap();
    println!("version {} serves at {}", server.version, listener.local_addr().unwrap());
    accept(listener, &server).await;
    if abrupt {
        std::process::exit(0);
    }
    server.tasks.close();
    server.tasks.wait().await;
    println!("version {} has ended", server.version);
}

async fn accept(listener: TcpListener, server: &Arc<Server>) {
    while let Some(accepted) = server.stop.run_until_cancelled(listener.accept()).await {
        let Ok((stream, _)) = accepted else { continue };
        let _ = stream.set_nodelay(true);
        let (answering, stop) = (server.clone(), server.stop.clone());
        let service = hyper::service::service_fn(move |request| {
            let server = answering.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        server.tasks.spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            tokio::pin!(connection);
            tokio::select! {
                _ = connection.as_mut() => return,
                () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
            }
            let _ = connection.await;
        });
    }
}

impl Server {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let query = request.uri().query().and_then(|q| q.strip_prefix("ms=")).and_then(|ms| ms.parse().ok());
        let ready = !self.sick.load(Ordering::Relaxed) && Instant::now() >= self.ready_at;
        let mut response = match request.uri().path() {
            "/slow" => {
                tokio::time::sleep(Duration::from_millis(query.unwrap_or(5_000).min(SLOWEST))).await;
                self.page(StatusCode::OK)
            }
            "/fail" => self.page(StatusCode::INTERNAL_SERVER_ERROR),
            "/ready" => {
                if self.said_ready.swap(ready, Ordering::Relaxed) != ready {
                    println!("says ready: {ready}");
                }
                self.page(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE })
            }
            path @ ("/sick" | "/well") => {
                self.sick.store(path == "/sick", Ordering::Relaxed);
                self.page(StatusCode::OK)
            }
            "/head" => {
                Response::new(Full::from(format!("{} {}\n{:#?}\n", request.method(), request.uri(), request.headers())))
            }
            "/echo" => self.echo(request),
            _ => self.page(StatusCode::OK),
        };
        response.headers_mut().insert("x-version", HeaderValue::from_str(&self.version).unwrap());
        response
    }
    fn page(&self, status: StatusCode) -> Response<Full<Bytes>> {
        let page = format!("version {}\n{:.<width$}", self.version, "", width = SIZE);
        let mut response = Response::new(Full::from(page.into_bytes()[..SIZE].to_vec()));
        *response.status_mut() = status;
        response
    }
    fn echo(&self, mut request: Request<Incoming>) -> Response<Full<Bytes>> {
        let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY).cloned() else {
            return self.page(StatusCode::BAD_REQUEST);
        };
        let (upgrade, stop) = (hyper::upgrade::on(&mut request), self.stop.clone());
        self.tasks.spawn(async move {
            let Ok(io) = upgrade.await else { return };
            let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(io), Role::Server, None).await;
            loop {
                tokio::select! {
                    heard = socket.next() => match heard {
                        Some(Ok(word @ (Message::Text(_) | Message::Binary(_)))) => {
                            if socket.send(word).await.is_err() {
                                return;
                            }
                        }
                        Some(Ok(_)) => {}
                        Some(Err(_)) | None => return,
                    },
                    () = stop.cancelled() => break,
                }
            }
            let _ = socket.close(Some(CloseFrame { code: CloseCode::Away, reason: "".into() })).await;
            // Its goodbye.
            let _ =
                tokio::time::timeout(Duration::from_secs(1), async { while socket.next().await.is_some() {} }).await;
        });
        Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_ACCEPT, derive_accept_key(key.as_bytes()))
            .body(Full::default())
            .unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{echo, exchange, load, report::Failure};

    async fn started(version: &str) -> (SocketAddr, Arc<Server>) {
        let server = Arc::new(Server {
            version: version.into(),
            sick: AtomicBool::new(false),
            said_ready: AtomicBool::new(false),
            ready_at: Instant::now(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (at, serving) = (listener.local_addr().unwrap(), server.clone());
        tokio::spawn(async move { accept(listener, &serving).await });
        (at, server)
    }

    #[tokio::test]
    async fn it_answers_as_it_is_asked() {
        let (to, _server) = started("7").await;
        let mut stream = exchange::connect(to).await.unwrap();
        let good = Ok(exchange::Answer { version: "7".into(), keeps: true });
        let refused = |status: &str| Err((Failure::Status, status.to_owned()));
        for (path, answer) in [
            ("/", good.clone()),
            ("/fail", refused("500")),
            ("/ready", good.clone()),
            ("/sick", good.clone()),
            ("/ready", refused("503")),
            ("/well", good.clone()),
            ("/ready", good.clone()),
            ("/slow?ms=10", good.clone()),
            ("/echo", refused("400")),
        ] {
            assert_eq!(exchange::ask(&mut stream, "a", path, false).await, answer, "{path}");
        }
    }

    #[tokio::test]
    async fn asked_to_end_it_finishes_what_is_in_flight() {
        let (to, server) = started("7").await;
        let plan = load::Plan {
            to,
            host: "a".into(),
            path: "/slow?ms=800".into(),
            rate: 50,
            lasts: Duration::from_millis(500),
            timeout: Duration::from_secs(10),
            fresh: false,
        };
        let words = echo::Plan {
            to,
            host: "a".into(),
            path: "/echo".into(),
            sockets: 5,
            every: Duration::from_millis(100),
            lasts: Duration::from_millis(500),
        };
        let stop = CancellationToken::new();
        let (slow, words) = tokio::join!(load::run(plan, stop.clone()), echo::run(words, stop));
        assert_eq!((slow.json()["answered"].as_u64(), words.json()["answered"].as_u64()), (Some(25), Some(25)));
        let asking = tokio::spawn(async move {
            let mut stream = exchange::connect(to).await.unwrap();
            exchange::ask(&mut stream, "a", "/slow?ms=500", false).await
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        server.stop.cancel();
        let answer = asking.await.unwrap().unwrap();
        assert_eq!(answer, exchange::Answer { version: "7".into(), keeps: false });
        server.tasks.close();
        tokio::time::timeout(Duration::from_secs(10), server.tasks.wait()).await.unwrap();
        assert_eq!(exchange::connect(to).await.unwrap_err().0, Failure::Connect);
    }
}
