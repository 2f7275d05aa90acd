//! Clients of all manners.

use std::{
    io::{self, Write as _},
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use futures::{SinkExt as _, StreamExt as _};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    sync::{Notify, Semaphore},
    time::sleep,
};
use tokio_tungstenite::{
    client_async_with_config,
    tungstenite::{Message, client::IntoClientRequest as _, protocol::WebSocketConfig},
};

/// That try to connect at one time.
const AT_ONCE: usize = 64;

#[derive(Clone)]
pub struct Server {
    pub address: SocketAddr,
    pub token: String,
}

impl Server {
    /// From an address of its own, somewhere in 127/8.
    async fn connect(&self, number: u64, buffer: Option<u32>) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        let spread = (number + 1).wrapping_mul(0x9e37_79b1);
        let [a, b, c] = [(spread >> 8) as u8, (spread >> 16) as u8, (spread % 253 + 1) as u8];
        socket.bind(SocketAddr::new(IpAddr::from([127, a, b, c]), 0))?;
        socket.connect(self.address).await
    }
    fn head(&self, line: &str) -> String {
        format!("{line} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n", self.token)
    }
}

fn say(line: &str) {
    // One write, so that nothing else stands between.
    let _parent_is_gone = std::io::stdout().lock().write_all(format!("{line}\n").as_bytes());
}

#[derive(Default)]
struct Seen {
    open: AtomicU64,
    lost: AtomicU64,
    frames: AtomicU64,
}

/// So many that listen and answer pings.
pub async fn live(server: Server, count: u64) {
    let seen = Arc::new(Seen::default());
    let newest: Arc<Vec<AtomicU64>> = Arc::new((0..count).map(|_| AtomicU64::new(0)).collect());
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    for number in 0..count {
        let (server, seen, newest, turns) = (server.clone(), seen.clone(), newest.clone(), turns.clone());
        tokio::spawn(async move {
            if let Err(error) = listen(&server, number, &seen, &newest[number as usize], &turns).await {
                eprintln!("listener {number}: {error}");
            }
            seen.lost.fetch_add(1, Relaxed);
        });
    }
    loop {
        sleep(Duration::from_millis(500)).await;
        let index = newest.iter().map(|n| n.load(Relaxed)).min().unwrap_or(0);
        let [open, lost, frames] = [&seen.open, &seen.lost, &seen.frames].map(|n| n.load(Relaxed));
        say(&format!("open={open} lost={lost} frames={frames} index={index}"));
    }
}

async fn listen(
    server: &Server,
    number: u64,
    seen: &Seen,
    newest: &AtomicU64,
    turns: &Semaphore,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let turn = turns.acquire().await?;
    let io = server.connect(number, None).await?;
    // One in ten hears every change of the prober, the others one name.
    let query = if number.is_multiple_of(10) { "kinds=config" } else { "kinds=config&names=beacon" };
    let mut request = format!("ws://x/ws?{query}").into_client_request()?;
    request.headers_mut().insert("authorization", format!("Bearer {}", server.token).parse()?);
    let config = WebSocketConfig::default().read_buffer_size(1 << 10).write_buffer_size(0);
    let (mut socket, _) = client_async_with_config(request, io, Some(config)).await?;
    drop(turn);
    seen.open.fetch_add(1, Relaxed);
    while let Some(message) = socket.next().await {
        match message? {
            Message::Text(text) => {
                seen.frames.fetch_add(1, Relaxed);
                let index = text.strip_prefix("{\"index\":").and_then(|rest| rest.split_once(',')?.0.parse().ok());
                newest.fetch_max(index.ok_or_else(|| format!("no index first: {text}"))?, Relaxed);
            }
            Message::Close(frame) => return Err(format!("closed: {frame:?}").into()),
            // The pong goes out with it.
            _ => socket.flush().await?,
        }
    }
    Err("it ended".into())
}

/// How many of one manner were opened, saw their end, and when the last did.
#[derive(Default)]
struct Ends {
    opened: AtomicU64,
    ended: AtomicU64,
    slowest: AtomicU64,
}

impl Ends {
    fn end(&self, began: Instant) {
        self.slowest.fetch_max(began.elapsed().as_millis() as u64, Relaxed);
        self.ended.fetch_add(1, Relaxed);
    }
}

/// So many of each manner.
pub async fn bad(server: Server, heads: u64, bodies: u64, stalled: u64) {
    let (head, body, stall) = (Arc::new(Ends::default()), Arc::new(Ends::default()), Arc::new(Ends::default()));
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let drain = Arc::new(Notify::new());
    let half = server.head("GET /api/v1/status");
    let upload = format!("{}content-length: 100000\r\n\r\n[", server.head("POST /api/v1/apply"));
    for number in 0..heads + bodies {
        let (kind, first, pace) = if number < heads { (&head, &half, 2_000) } else { (&body, &upload, 1_000) };
        let (server, kind, first, turns) = (server.clone(), kind.clone(), first.clone(), turns.clone());
        tokio::spawn(async move { trickle(&server, number, &kind, &first, pace, &turns).await });
    }
    for number in 0..stalled {
        let (server, stall, turns, drain) = (server.clone(), stall.clone(), turns.clone(), drain.clone());
        tokio::spawn(async move { take_nothing(&server, heads + bodies + number, &stall, &turns, &drain).await });
    }
    tokio::spawn(async move {
        let mut lines = tokio::io::BufReader::new(tokio::io::stdin()).lines();
        while let Ok(Some(_)) = lines.next_line().await {
            drain.notify_waiters();
        }
    });
    loop {
        sleep(Duration::from_millis(500)).await;
        let opened: u64 = [&head, &body, &stall].map(|ends| ends.opened.load(Relaxed)).iter().sum();
        let mut line = format!("opened={opened}");
        for (name, ends) in [("heads", &head), ("bodies", &body), ("stalled", &stall)] {
            let (ended, slowest) = (ends.ended.load(Relaxed), ends.slowest.load(Relaxed));
            line.push_str(&format!(" {name}={ended} {name}-ms={slowest}"));
        }
        say(&line);
    }
}

/// Sends something, then a byte now and then, until it is cut.
async fn trickle(server: &Server, number: u64, ends: &Ends, first: &str, pace: u64, turns: &Semaphore) {
    let turn = turns.acquire().await.unwrap();
    let mut io = server.connect(number, None).await.unwrap();
    drop(turn);
    let began = Instant::now();
    ends.opened.fetch_add(1, Relaxed);
    let mut sent = io.write_all(first.as_bytes()).await;
    let mut answer = [0; 256];
    while sent.is_ok() {
        tokio::select! {
            read = io.read(&mut answer) => if !read.is_ok_and(|n| n > 0) { break },
            () = sleep(Duration::from_millis(pace)) => sent = io.write_all(b" ").await,
        }
    }
    ends.end(began);
}

/// Asks for everything and takes nothing, until it is told to see how it ended.
async fn take_nothing(server: &Server, number: u64, ends: &Ends, turns: &Semaphore, drain: &Notify) {
    let drained = drain.notified();
    tokio::pin!(drained);
    drained.as_mut().enable();
    let turn = turns.acquire().await.unwrap();
    let mut io = server.connect(number, Some(2_048)).await.unwrap();
    drop(turn);
    let began = Instant::now();
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    io.write_all(format!("{}{upgrade}", server.head("GET /ws?fromIndex=0")).as_bytes()).await.unwrap();
    ends.opened.fetch_add(1, Relaxed);
    drained.await;
    let mut rest = vec![0; 4 << 10];
    while io.read(&mut rest).await.is_ok_and(|n| n > 0) {}
    ends.end(began);
}
