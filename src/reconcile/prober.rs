//! Readiness of this node's replicas, asked from outside: HTTP, TCP or a command.
//!
//! Here: one task for each running container that has a probe; the newest verdict of each stays in
//! memory and a change of it names the replica. Counting is pure ([`streak`]).
//! Not here: the engine's own health checks and what follows a verdict (`plan::agent`).
//! Invariant: each probe ends within its timeout; a probe of a container that is gone is cancelled.
//! Why fast at first: a container is ready some milliseconds after its start, not at the next interval.

mod http;
pub mod streak;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{net::TcpStream, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::streak::Streak;
use super::wakes::Wakes;
use crate::{model::service::Readiness, plan::agent::report::Verdict, runtime::Runtime};

/// What to probe.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The container.
    pub container: Arc<str>,
    /// The engine's `StartedAt`: a restarted container is probed anew.
    pub started_at: String,
    /// How.
    pub readiness: Readiness,
    /// Where; none when the container has no network.
    pub address: Option<IpAddr>,
}

struct Watched {
    target: Target,
    verdict: Arc<Mutex<Verdict>>,
    stop: CancellationToken,
}

/// Probes containers.
pub struct Prober {
    runtime: Arc<dyn Runtime>,
    wakes: Wakes,
    watched: Mutex<BTreeMap<Arc<str>, Watched>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Prober {
    /// Makes one. `wakes` hears of replicas whose verdict changed; all probing ends with `stop`.
    #[must_use]
    pub fn new(runtime: Arc<dyn Runtime>, wakes: Wakes, stop: CancellationToken) -> Self {
        Self { runtime, wakes, watched: Mutex::default(), tasks: TaskTracker::new(), stop }
    }

    /// Probes this target from now on, in place of an earlier one of the replica. `was_ready`: a
    /// verdict from before this agent, which stands until a probe says otherwise.
    pub fn watch(&self, replica: &Arc<str>, target: Target, was_ready: bool) {
        let mut watched = self.lock();
        if watched.get(replica).is_some_and(|w| w.target == target) {
            return;
        }
        let first = if was_ready { Verdict::healthy() } else { Verdict::starting(String::new()) };
        let (verdict, stop) = (Arc::new(Mutex::new(first)), self.stop.child_token());
        let probing = probe_on(
            self.runtime.clone(),
            replica.clone(),
            target.clone(),
            was_ready,
            verdict.clone(),
            self.wakes.clone(),
        );
        let until = stop.clone();
        self.tasks.spawn(async move {
            let _ = until.run_until_cancelled(probing).await;
        });
        if let Some(old) = watched.insert(replica.clone(), Watched { target, verdict, stop }) {
            old.stop.cancel();
        }
    }

    /// The newest verdict on a replica; none while it is not probed.
    #[must_use]
    pub fn verdict(&self, replica: &str) -> Option<Verdict> {
        self.lock().get(replica).map(|w| w.verdict.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Probes a replica no more.
    pub fn forget(&self, replica: &str) {
        if let Some(old) = self.lock().remove(replica) {
            old.stop.cancel();
        }
    }

    /// Waits until every probe has ended; the caller has cancelled them.
    pub async fn closed(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Arc<str>, Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn probe_on(
    runtime: Arc<dyn Runtime>,
    replica: Arc<str>,
    target: Target,
    was_ready: bool,
    verdict: Arc<Mutex<Verdict>>,
    wakes: Wakes,
) {
    let (started, mut streak) = (tokio::time::Instant::now(), Streak::new(&target.readiness, was_ready));
    loop {
        let outcome = probe(&*runtime, &target).await;
        let new = streak.note(outcome, started.elapsed());
        let changed = {
            let mut kept = verdict.lock().unwrap_or_else(PoisonError::into_inner);
            let changed = (kept.ready, kept.health, kept.counts) != (new.ready, new.health, new.counts);
            *kept = new;
            changed
        };
        if changed {
            wakes.wake(&replica);
        }
        tokio::time::sleep(streak.pause(started.elapsed())).await;
    }
}

/// One probe.
///
/// # Errors
/// What did not work, for people.
pub async fn probe(runtime: &dyn Runtime, target: &Target) -> Result<(), String> {
    let Readiness { http, tcp, exec, timeout: limit, .. } = &target.readiness;
    let limit = limit.0.max(Duration::from_millis(1));
    let at = |port: u16| {
        target.address.map(|a| SocketAddr::new(a, port)).ok_or("the container has no address to probe".to_owned())
    };
    match (http, tcp, exec) {
        (Some(request), _, _) => http::get(request, at(request.port)?, limit).await,
        (None, Some(tcp), _) => {
            let to = at(tcp.port)?;
            match timeout(limit, TcpStream::connect(to)).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(format!("tcp {to}: {error}")),
                Err(_) => Err(format!("tcp {to}: no answer within {limit:?}")),
            }
        }
        (None, None, Some(command)) => match runtime.exec(target.container.to_string(), command.clone(), limit).await {
            Ok(result) if result.code == 0 => Ok(()),
            Ok(result) => {
                let last = result.output.lines().last().unwrap_or_default();
                Err(format!("{}: exit {}: {}", command.join(" "), result.code, streak::clip(last)))
            }
            Err(error) => Err(format!("{}: {error}", command.join(" "))),
        },
        (None, None, None) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;
    use crate::model::service::HttpProbe;

    fn http(port: u16, status: &str) -> HttpProbe {
        serde_json::from_value(serde_json::json!({ "path": "/health", "port": port, "status": status })).unwrap()
    }

    #[tokio::test]
    async fn a_get_is_good_when_its_status_is_accepted() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let mut asked = Vec::new();
            for answer in ["HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut buffer = [0; 1024];
                let read = stream.read(&mut buffer).await.unwrap();
                asked.push(String::from_utf8_lossy(&buffer[..read]).into_owned());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            asked
        });
        let limit = Duration::from_secs(5);
        assert_eq!(http::get(&http(at.port(), "200-399"), at, limit).await, Ok(()));
        let refused = http::get(&http(at.port(), "200-399"), at, limit).await.unwrap_err();
        assert!(refused.contains("500"), "{refused}");
        let asked = server.await.unwrap();
        assert!(asked[0].starts_with("GET /health HTTP/1.1\r\n"), "{}", asked[0]);
        assert!(asked[0].to_lowercase().contains(&format!("host: {at}")), "{}", asked[0]);
    }

    #[tokio::test]
    async fn a_silent_server_is_given_up_in_time() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let silent = http::get(&http(at.port(), "200"), at, Duration::from_millis(50)).await.unwrap_err();
        assert!(silent.contains("no answer within"), "{silent}");
        drop(listener);
        assert!(http::get(&http(at.port(), "200"), at, Duration::from_secs(5)).await.is_err());
    }
}
