//! etcd as a peer: a server of one member, and a load of independent writers over gRPC.
//!
//! Here: [`Etcd`], which uses the server that `ETCD` names or starts one of its own, and [`Etcd::puts`].
//! The client speaks HTTP/2 by hand: a put is one field for the key and one for the value.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::{net::TcpStream, task::JoinSet};

/// Writers share connections, as a program with a client library does.
const CONNECTIONS: usize = 16;
/// How long a server may take to answer.
const START: Duration = Duration::from_secs(20);

pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A server.
pub struct Etcd {
    address: String,
    own: Option<(Child, tempfile::TempDir)>,
}

impl Drop for Etcd {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.own {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Etcd {
    /// The server that `ETCD` names (`host:port`), or a fresh one on a free port of loopback.
    pub async fn start() -> Result<Self, Failure> {
        if let Ok(address) = std::env::var("ETCD") {
            return Ok(Self { address, own: None });
        }
        let dir = tempfile::Builder::new().prefix("etcd-").tempdir_in("/var/tmp")?;
        let port = || Ok::<_, Failure>(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port());
        let (client, peer) = (format!("127.0.0.1:{}", port()?), format!("http://127.0.0.1:{}", port()?));
        let url = format!("http://{client}");
        let child = Command::new("etcd")
            .args(["--data-dir", &dir.path().join("data").display().to_string()])
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .args(["--auto-compaction-mode", "revision", "--auto-compaction-retention", "1000"])
            .args(["--quota-backend-bytes", "8589934592"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("etcd does not start ({e}): apt-get install --no-install-recommends etcd-server"))?;
        let etcd = Self { address: client, own: Some((child, dir)) };
        let begun = Instant::now();
        loop {
            match etcd.try_one().await {
                Ok(()) => return Ok(etcd),
                Err(e) if begun.elapsed() > START => return Err(format!("etcd does not answer: {e}").into()),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    async fn try_one(&self) -> Result<(), Failure> {
        let (sender, connection) = h2::client::handshake(TcpStream::connect(&self.address).await?).await?;
        tokio::spawn(connection);
        put(sender, &self.address, "ready", "1").await
    }

    /// Durable puts per second: each writer waits for the answer to its last put. `keys` for each writer.
    pub async fn puts(&self, writers: usize, keys: u64, value: usize, span: Duration) -> Result<f64, Failure> {
        let mut connections = Vec::new();
        for _ in 0..writers.min(CONNECTIONS) {
            let (sender, connection) = h2::client::handshake(TcpStream::connect(&self.address).await?).await?;
            tokio::spawn(connection);
            connections.push(sender);
        }
        let done = Arc::new(AtomicU64::new(0));
        let mut all = JoinSet::new();
        let begun = Instant::now();
        for writer in 0..writers {
            let (sender, done) = (connections[writer % connections.len()].clone(), done.clone());
            let address = self.address.clone();
            all.spawn(async move {
                for n in 0_u64.. {
                    if begun.elapsed() >= span {
                        break;
                    }
                    put(sender.clone(), &address, &format!("w{writer}-{}", n % keys), &format!("{n:0>value$}")).await?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<_, Failure>(())
            });
        }
        while let Some(ended) = all.join_next().await {
            ended??;
        }
        #[allow(clippy::cast_precision_loss)] // far below 2^52
        Ok(done.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64())
    }
}

/// One `etcdserverpb.KV/Put`: field 1 is the key, field 2 the value.
async fn put(sender: h2::client::SendRequest<Bytes>, address: &str, key: &str, value: &str) -> Result<(), Failure> {
    let mut message = BytesMut::new();
    for (tag, field) in [(0x0a, key), (0x12, value)] {
        message.put_u8(tag);
        let mut length = field.len();
        while length >= 0x80 {
            message.put_u8(u8::try_from(length & 0x7f)? | 0x80);
            length >>= 7;
        }
        message.put_u8(u8::try_from(length)?);
        message.put_slice(field.as_bytes());
    }
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0); // not compressed
    frame.put_u32(u32::try_from(message.len())?);
    frame.put(message);
    let request = http::Request::post(format!("http://{address}/etcdserverpb.KV/Put"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())?;
    let mut sender = sender.ready().await?;
    let (answer, mut body) = sender.send_request(request, false)?;
    body.send_data(frame.freeze(), true)?;
    let mut stream = answer.await?.into_body();
    while let Some(chunk) = stream.data().await {
        stream.flow_control().release_capacity(chunk?.len())?;
    }
    let status = stream.trailers().await?.and_then(|t| Some(t.get("grpc-status")?.to_str().ok()?.to_owned()));
    if status.as_deref() == Some("0") { Ok(()) } else { Err(format!("etcd answered {status:?}").into()) }
}
