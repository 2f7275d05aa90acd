//! Durable writes per second as clients see them: our REST API beside etcd's gRPC, in one run.
//!
//! Both servers are processes of their own with one member and their data on the same disk; both clients
//! live here and speak over loopback. Each writer waits for the answer to its last write. 1 kB a write.
//! `ETCD` names etcd's client address; `tests/setup/bench.sh` sets everything up.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};

#[path = "../tests/e2e/agent.rs"]
mod agent;
#[path = "../tests/e2e/docker.rs"]
mod docker;
#[path = "../tests/e2e/http.rs"]
mod http;
#[path = "../tests/e2e/lab.rs"]
mod lab;
#[path = "../tests/e2e/wait.rs"]
mod wait;

const SPAN: Duration = Duration::from_secs(5);
const VALUE: usize = 1_000;
/// Writers share connections, as a program with a client library does.
const CONNECTIONS: usize = 16;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let etcd = std::env::var("ETCD").map_err(|_| "ETCD is not set: run `make bench`")?;
    let lab = lab::Lab::take();
    let agent = agent::Agent::start(&lab);
    let ours = agent.tcp().trim_start_matches("http://").to_owned();
    let token = agent.token();
    println!("durable writes/s of {VALUE} bytes over loopback, one member, {} s each", SPAN.as_secs());
    println!("{:>8} {:>12} {:>12} {:>7}", "writers", "ours (REST)", "etcd (gRPC)", "ratio");
    for writers in [1, 64, 256] {
        let theirs = etcd_puts(&etcd, writers).await?;
        let mine = rest_puts(&ours, &token, writers).await?;
        println!("{writers:>8} {mine:>12.0} {theirs:>12.0} {:>7.2}", mine / theirs);
    }
    Ok(())
}

/// Runs the writers until the span is over; completed writes per second.
async fn measure(mut writers: JoinSet<Result<(), Failure>>, done: &AtomicU64, begun: Instant) -> Result<f64, Failure> {
    while let Some(ended) = writers.join_next().await {
        ended??;
    }
    #[allow(clippy::cast_precision_loss)] // far below 2^52
    Ok(done.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64())
}

async fn rest_puts(address: &str, token: &str, writers: usize) -> Result<f64, Failure> {
    let done = Arc::new(AtomicU64::new(0));
    let mut all = JoinSet::new();
    let begun = Instant::now();
    for writer in 0..writers {
        // HTTP/1.1 has no multiplexing: a connection for each writer.
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(TcpStream::connect(address).await?)).await?;
        tokio::spawn(connection);
        let (address, token, done) = (address.to_owned(), token.to_owned(), done.clone());
        all.spawn(async move {
            for n in 0_u64.. {
                if begun.elapsed() >= SPAN {
                    break;
                }
                let body = format!(
                    "[{{\"apiVersion\":\"constellation.dev/v1\",\"kind\":\"Config\",\"metadata\":{{\"name\":\"w{writer}-{}\"}},\
                     \"spec\":{{\"data\":{{\"value\":\"{n:0>VALUE$}\"}}}}}}]",
                    n % 100
                );
                let request = hyper::Request::post("/api/v1/apply")
                    .header("host", &address)
                    .header("authorization", format!("Bearer {token}"))
                    .header("content-type", "application/json")
                    .body(Full::new(Bytes::from(body)))?;
                let answer = sender.send_request(request).await?;
                let status = answer.status();
                let body = answer.into_body().collect().await?.to_bytes();
                if !status.is_success() {
                    return Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into());
                }
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
    }
    measure(all, &done, begun).await
}

async fn etcd_puts(address: &str, writers: usize) -> Result<f64, Failure> {
    let mut connections = Vec::new();
    for _ in 0..writers.min(CONNECTIONS) {
        let (sender, connection) = h2::client::handshake(TcpStream::connect(address).await?).await?;
        tokio::spawn(connection);
        connections.push(sender);
    }
    let done = Arc::new(AtomicU64::new(0));
    let mut all = JoinSet::new();
    let begun = Instant::now();
    for writer in 0..writers {
        let (sender, done) = (connections[writer % connections.len()].clone(), done.clone());
        let address = address.to_owned();
        all.spawn(async move {
            for n in 0_u64.. {
                if begun.elapsed() >= SPAN {
                    break;
                }
                put(sender.clone(), &address, &format!("w{writer}-{}", n % 100), &format!("{n:0>VALUE$}")).await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
    }
    measure(all, &done, begun).await
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
    let request = hyper::Request::post(format!("http://{address}/etcdserverpb.KV/Put"))
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
