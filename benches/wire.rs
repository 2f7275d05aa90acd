//! Durable writes per second as clients see them: our REST API beside etcd's gRPC, in one run.
//!
//! Both servers are processes of their own with one member and their data on the same disk; both clients
//! live here and speak over loopback. Each writer waits for the answer to its last write. 1 kB a write.
//! Medians of interleaved rounds, and each goes first in turn: the machine is shared and the disk remembers.
//! `tests/setup/bench.sh` sets everything up.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};

#[path = "../tests/e2e/agent.rs"]
mod agent;
#[path = "../tests/e2e/docker.rs"]
mod docker;
mod etcd;
#[path = "../tests/e2e/http.rs"]
mod http;
#[path = "../tests/e2e/lab.rs"]
mod lab;
#[path = "../tests/e2e/wait.rs"]
mod wait;

const SPAN: Duration = Duration::from_secs(5);
const VALUE: usize = 1_000;
/// Objects of each writer.
const KEYS: u64 = 100;
const ROUNDS: usize = 3;

use etcd::{Etcd, Failure};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let etcd = Etcd::start().await?;
    let lab = lab::Lab::take();
    let agent = agent::Agent::start(&lab);
    let ours = agent.tcp().trim_start_matches("http://").to_owned();
    let token = agent.token();
    println!(
        "durable writes/s of {VALUE} bytes over loopback, one member, median of {ROUNDS} interleaved runs of {} s",
        SPAN.as_secs()
    );
    println!("{:>8} {:>12} {:>12} {:>7}", "writers", "ours (REST)", "etcd (gRPC)", "ratio");
    for writers in [1, 64, 256] {
        let (mut mine, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            for turn in [round, round + 1] {
                if turn % 2 == 0 {
                    mine.push(rest_puts(&ours, &token, writers).await?);
                } else {
                    theirs.push(etcd.puts(writers, KEYS, VALUE, SPAN).await?);
                }
            }
        }
        let (mine, theirs) = (median(mine), median(theirs));
        println!("{writers:>8} {mine:>12.0} {theirs:>12.0} {:>7.2}", mine / theirs);
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
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
    // No two runs write the same values: what is equal is no change, and costs less.
    let run: u64 = rand::random();
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
                     \"spec\":{{\"data\":{{\"value\":\"{run:016x}{n:0>digits$}\"}}}}}}]",
                    n % KEYS,
                    digits = VALUE - 16
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
                let answer: serde_json::Value = serde_json::from_slice(&body)?;
                let result = answer["objects"][0]["result"].as_str();
                assert!(matches!(result, Some("created" | "configured")), "{answer}");
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
    }
    measure(all, &done, begun).await
}
