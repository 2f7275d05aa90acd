//! Requests at a fixed rate, whatever becomes of them.
//!
//! Each is due at a moment that was known at the start, and its latency counts from there: one that had to wait
//! because others did not come back is not left out (no coordinated omission).

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::TcpStream,
    sync::{Mutex, Semaphore},
    task::JoinSet,
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    exchange,
    report::{Answered, Failure, Report},
};

/// Requests under way at one time.
const AT_ONCE: usize = 4_096;
/// Requests of one run.
const MOST: u64 = 10_000_000;

/// What is asked.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Whom.
    pub to: SocketAddr,
    /// The host in the request.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// Requests a second.
    pub rate: u64,
    /// For how long.
    pub lasts: Duration,
    /// How long each may take.
    pub timeout: Duration,
    /// Each over a connection of its own; otherwise one that is free is used again.
    pub fresh: bool,
}

/// Asks until the time is over or `stop`, then waits for what is under way.
pub async fn run(plan: Plan, stop: CancellationToken) -> Report {
    let began = Instant::now();
    let plan = Arc::new(plan);
    let idle = Arc::<Mutex<Vec<TcpStream>>>::default();
    let seats = Arc::new(Semaphore::new(AT_ONCE));
    let (mut report, mut asked) = (Report::default(), JoinSet::new());
    for number in 0..MOST {
        let due = Duration::from_nanos(number * 1_000_000_000 / plan.rate.max(1));
        if due >= plan.lasts || stop.run_until_cancelled(sleep_until(began + due)).await.is_none() {
            break;
        }
        while let Some(Ok((due, outcome))) = asked.try_join_next() {
            report.add(due, outcome);
        }
        let Ok(seat) = seats.clone().try_acquire_owned() else {
            report.add(due, Err((Failure::Unsent, format!("{AT_ONCE} are under way"))));
            continue;
        };
        let (plan, idle) = (plan.clone(), idle.clone());
        asked.spawn(async move {
            let _seat = seat;
            let outcome = timeout_at(began + due + plan.timeout, one(&plan, &idle)).await;
            let outcome = outcome.unwrap_or_else(|_| Err((Failure::Timeout, format!("{:?}", plan.timeout))));
            (due, outcome.map(|version| Answered { took: (began + due).elapsed(), version }))
        });
    }
    while let Some(Ok((due, outcome))) = asked.join_next().await {
        report.add(due, outcome);
    }
    report
}

async fn one(plan: &Plan, idle: &Mutex<Vec<TcpStream>>) -> Result<String, (Failure, String)> {
    let found = if plan.fresh { None } else { free(&mut *idle.lock().await) };
    let mut stream = match found {
        Some(stream) => stream,
        None => exchange::connect(plan.to).await?,
    };
    let answer = exchange::ask(&mut stream, &plan.host, &plan.path, plan.fresh).await?;
    if answer.keeps {
        idle.lock().await.push(stream);
    }
    Ok(answer.version)
}

/// A connection that is still open: what the server has ended meanwhile is no failure of it.
fn free(idle: &mut Vec<TcpStream>) -> Option<TcpStream> {
    let open = |stream: &TcpStream| {
        let nothing = stream.try_read(&mut [0]);
        nothing.is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock)
    };
    while let Some(stream) = idle.pop() {
        if open(&stream) {
            return Some(stream);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
        time::sleep,
    };

    use super::*;

    const GOOD: &str = "HTTP/1.1 200 OK\r\nX-Version: 1\r\nContent-Length: 2\r\n\r\nok";

    fn plan(to: SocketAddr) -> Plan {
        let lasts = Duration::from_secs(1);
        let timeout = Duration::from_millis(1_500);
        Plan { to, host: "a".into(), path: "/".into(), rate: 100, lasts, timeout, fresh: false }
    }

    /// Answers every request on every connection with the same words; without `keeps`, and ends.
    async fn always(words: &'static str, keeps: bool) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut asked = [0; 1_024];
                    while stream.read(&mut asked).await.is_ok_and(|n| n > 0) {
                        stream.write_all(words.as_bytes()).await.unwrap();
                        if !keeps {
                            return;
                        }
                    }
                });
            }
        });
        at
    }

    #[tokio::test]
    async fn each_way_to_fail_is_told_apart() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let table = [
            ("nobody listens", free, Failure::Connect),
            ("no answer", always("", false).await, Failure::Reset),
            ("half a head", always("HTTP/1.1 200 OK\r\nContent-Le", false).await, Failure::Reset),
            (
                "half a body",
                always("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", false).await,
                Failure::ShortBody,
            ),
            ("a no", always("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", true).await, Failure::Status),
            ("silence", always("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", true).await, Failure::Timeout),
        ];
        for (case, to, failure) in table {
            let report = run(plan(to), CancellationToken::new()).await;
            assert_eq!(report.failed(failure), 100, "{case}: {}", report.json());
        }
        let report = run(plan(always(GOOD, true).await), CancellationToken::new()).await;
        assert_eq!(
            (report.json()["answered"].as_u64(), report.json()["versions"]["1"].as_u64()),
            (Some(100), Some(100))
        );
        let fresh = Plan { fresh: true, ..plan(always(GOOD, false).await) };
        assert_eq!(run(fresh, CancellationToken::new()).await.json()["answered"], 100);
    }

    #[tokio::test]
    async fn a_server_that_stands_still_is_felt_by_every_request_that_was_due_meanwhile() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        // One after the other, after half a second in which it does nothing.
        tokio::spawn(async move {
            sleep(Duration::from_millis(500)).await;
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut asked = [0; 1_024];
                let _ = stream.read(&mut asked).await;
                let _ = stream.write_all(GOOD.as_bytes()).await;
            }
        });
        let report = run(Plan { fresh: true, ..plan(to) }, CancellationToken::new()).await;
        let waited = report.sorted().into_iter().filter(|took| *took >= Duration::from_millis(100)).count();
        assert!((35..=80).contains(&waited), "40 were due more than 100 ms before the end of it: {waited}");
    }
}
