//! Readiness of this node's replicas, asked from outside: HTTP, TCP or a command.
//!
//! Here: one task for each running container that has a probe; the newest verdict of each stays in
//! memory and a change of it names the replica. Counting is pure ([`streak`]).
//! Not here: the engine's own health checks and what follows a verdict (`plan::agent`).
//! Invariants: each probe ends within its timeout, which counts from when the container is really asked;
//! a probe of a container that is gone is cancelled; what the engine does not do says nothing of the
//! container.
//! Why fast at first: a container is ready some milliseconds after its start, not at the next interval.
//! Why few commands at once, and not all in the same moment: each costs the engine a process, and a
//! hundred together keep it from everything else. Waiting for a turn is not the container's time.

mod http;
pub mod streak;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rand::Rng as _;
use tokio::{
    net::TcpStream,
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::streak::{Answer, Streak};
use super::wakes::Wakes;
use crate::{
    model::service::Readiness,
    plan::agent::report::Verdict,
    runtime::{Runtime, RuntimeError},
};

/// Commands that run at once on one engine.
const EXECS: usize = 8;
/// A probe that has waited for its turn for so many of its intervals says so.
const PATIENCE: u32 = 3;
/// Commands of containers that come up together begin spread over this time.
const SPREAD: Duration = Duration::from_millis(500);

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
    execs: Arc<Semaphore>,
    wakes: Wakes,
    watched: Mutex<BTreeMap<Arc<str>, Watched>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Prober {
    /// Makes one. `wakes` hears of replicas whose verdict changed; all probing ends with `stop`.
    #[must_use]
    pub fn new(runtime: Arc<dyn Runtime>, wakes: Wakes, stop: CancellationToken) -> Self {
        let (watched, tasks) = (Mutex::default(), TaskTracker::new());
        Self { runtime, execs: Arc::new(Semaphore::new(EXECS)), wakes, watched, tasks, stop }
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
        let probing = Probing {
            runtime: self.runtime.clone(),
            execs: self.execs.clone(),
            replica: replica.clone(),
            target: target.clone(),
            verdict: verdict.clone(),
            wakes: self.wakes.clone(),
        };
        let until = stop.clone();
        self.tasks.spawn(async move {
            let _ = until.run_until_cancelled(probing.go_on(was_ready)).await;
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

/// One container's probes.
struct Probing {
    runtime: Arc<dyn Runtime>,
    execs: Arc<Semaphore>,
    replica: Arc<str>,
    target: Target,
    verdict: Arc<Mutex<Verdict>>,
    wakes: Wakes,
}

impl Probing {
    async fn go_on(self, was_ready: bool) {
        let readiness = &self.target.readiness;
        let (mut started, mut streak) = (tokio::time::Instant::now(), Streak::new(readiness, was_ready));
        let spread = match (was_ready, &readiness.exec) {
            // The verdict stands meanwhile.
            (true, _) => streak.pause(Duration::ZERO),
            (false, Some(_)) => SPREAD.min(streak.pause(Duration::ZERO)),
            (false, None) => Duration::ZERO,
        };
        let chance: f64 = rand::rng().random_range(0.0..1.0);
        tokio::time::sleep(spread.mul_f64(chance)).await;
        loop {
            let answer = {
                let asked = tokio::time::Instant::now();
                let _turn = match readiness.exec {
                    Some(_) => self.turn(&mut streak, asked - started).await,
                    None => None,
                };
                started += asked.elapsed();
                probe(&*self.runtime, &self.target).await
            };
            let new = streak.note(answer, started.elapsed());
            self.say(new, false);
            tokio::time::sleep(streak.pause(started.elapsed())).await;
        }
    }
}

impl Probing {
    /// Waits for a turn. Whoever waits long says so: its verdict stands meanwhile, and nobody asks.
    async fn turn(&self, streak: &mut Streak, running: Duration) -> Option<SemaphorePermit<'_>> {
        let mut turn = pin!(self.execs.acquire());
        let patience = self.target.readiness.interval.0.max(Duration::from_secs(1)) * PATIENCE;
        let turn = match timeout(patience, &mut turn).await {
            Ok(turn) => turn,
            Err(_) => {
                let message = format!("waits for its turn: {EXECS} commands run at once");
                self.say(streak.note(Answer::Silence(message), running), true);
                turn.await
            }
        };
        // Nobody closes it: an error cannot be, and would only mean no limit.
        turn.ok()
    }

    /// Keeps a verdict; one that changed, or that is `news`, names the replica.
    fn say(&self, new: Verdict, news: bool) {
        let changed = {
            let mut kept = self.verdict.lock().unwrap_or_else(PoisonError::into_inner);
            let changed = (kept.ready, kept.health, kept.counts) != (new.ready, new.health, new.counts);
            *kept = new;
            changed
        };
        if changed || news {
            self.wakes.wake(&self.replica);
        }
    }
}

/// One probe.
async fn probe(runtime: &dyn Runtime, target: &Target) -> Answer {
    let Readiness { http, tcp, exec, timeout: limit, .. } = &target.readiness;
    let limit = limit.0.max(Duration::from_millis(1));
    let at = |port: u16| {
        target.address.map(|a| SocketAddr::new(a, port)).ok_or("the container has no address to probe".to_owned())
    };
    let asked = match (http, tcp, exec) {
        (Some(request), _, _) => match at(request.port) {
            Ok(to) => http::get(request, to, limit).await,
            Err(none) => Err(none),
        },
        (None, Some(tcp), _) => match at(tcp.port) {
            Ok(to) => match timeout(limit, TcpStream::connect(to)).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(format!("tcp {to}: {error}")),
                Err(_) => Err(format!("tcp {to}: no answer within {limit:?}")),
            },
            Err(none) => Err(none),
        },
        (None, None, Some(command)) => return run(runtime, target.container.to_string(), command, limit).await,
        (None, None, None) => Ok(()),
    };
    asked.map_or_else(Answer::Bad, |()| Answer::Good)
}

/// A probe by a command: bad is one that ended badly or went on too long in the container, not one that
/// the engine did not begin.
async fn run(runtime: &dyn Runtime, container: String, command: &[String], limit: Duration) -> Answer {
    match runtime.exec(container, command.to_vec(), limit).await {
        Ok(result) if result.code == 0 => Answer::Good,
        Ok(result) => {
            let last = result.output.lines().last().unwrap_or_default();
            Answer::Bad(format!("{}: exit {}: {}", command.join(" "), result.code, streak::clip(last)))
        }
        Err(error @ RuntimeError::CommandHung { .. }) => Answer::Bad(error.to_string()),
        Err(error) => Answer::Silence(format!("{}: {error}", command.join(" "))),
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;
    use crate::{
        model::service::HttpProbe,
        plan::agent::report::Health,
        runtime::fake::{Ends, Fake, Program},
    };

    /// Containers `c0`, `c1`, … that run on a fake, each probed by a command every five seconds.
    fn probed(count: usize, was_ready: bool) -> (Fake, Prober, Vec<Arc<str>>) {
        let fake = Fake::new();
        let prober = Prober::new(Arc::new(fake.clone()), Wakes::default(), CancellationToken::new());
        let readiness: Readiness = serde_json::from_value(serde_json::json!({ "exec": ["check"] })).unwrap();
        let names: Vec<Arc<str>> = (0..count).map(|n| format!("c{n}").into()).collect();
        for name in &names {
            fake.foreign(name, BTreeMap::new());
            let container = fake.container(name).unwrap();
            let (container, started_at) = (container.id, container.started_at);
            let target = Target { container, started_at, readiness: readiness.clone(), address: None };
            prober.watch(name, target, was_ready);
        }
        (fake, prober, names)
    }
    fn ends(ends: Ends) -> Program {
        Program { says: Vec::new(), ends }
    }
    async fn seconds(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_engine_that_begins_no_command_makes_nobody_sick() {
        let (fake, prober, names) = probed(1, true);
        let said = || prober.verdict(&names[0]).unwrap();
        seconds(10).await;
        fake.silence_execs(true);
        seconds(600).await;
        assert_eq!((said().ready, said().health), (true, Health::Healthy), "{said:?}", said = said());
        assert!(said().message.contains("gave no answer to exec"), "and why is told: {}", said().message);
        fake.silence_execs(false);
        fake.down(true);
        seconds(600).await;
        assert_eq!(said().health, Health::Healthy, "{:?}", said());
        fake.down(false);
        fake.hand_stop("c0");
        seconds(600).await;
        assert_eq!(said().health, Health::Healthy, "that it does not run is told otherwise: {:?}", said());
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_that_fails_or_hangs_in_the_container_counts() {
        for bad in [Ends::ByItself(1), Ends::Missing, Ends::At(Vec::new())] {
            let (fake, prober, names) = probed(1, true);
            seconds(10).await;
            fake.teach(vec!["check".into()], ends(bad.clone()));
            seconds(60).await;
            let said = prober.verdict(&names[0]).unwrap();
            assert_eq!((said.ready, said.health, said.counts), (false, Health::Unhealthy, true), "{bad:?}: {said:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn few_commands_run_at_once_and_waiting_for_a_turn_is_no_failure() {
        let (fake, prober, names) = probed(100, false);
        fake.silence_execs(true);
        seconds(29).await;
        assert_eq!(fake.execs(), EXECS);
        fake.silence_execs(false);
        seconds(10).await;
        let ready = |name: &&Arc<str>| prober.verdict(name).unwrap().ready;
        assert_eq!(names.iter().filter(ready).count(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_waits_long_for_its_turn_says_so_and_its_verdict_stands() {
        let (fake, prober, names) = probed(EXECS + 1, true);
        seconds(10).await;
        let waits = || {
            let said: Vec<_> = names.iter().map(|name| prober.verdict(name).unwrap()).collect();
            assert!(said.iter().all(|v| v.health == Health::Healthy), "{said:?}");
            said.iter().filter(|v| v.message.contains("waits for its turn: 8 commands run at once")).count()
        };
        // The engine lets each command hang until its own limit.
        fake.silence_execs(true);
        seconds(10).await;
        assert_eq!(waits(), 0, "a few intervals are nothing");
        seconds(15).await;
        assert_eq!(waits(), 1);
        fake.silence_execs(false);
        seconds(60).await;
        assert_eq!(waits(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_probes_that_begin_together_are_spread_over_their_interval() {
        let (fake, _prober, _) = probed(100, true);
        seconds(1).await;
        let first = fake.execs();
        assert!((1..60).contains(&first), "{first} of 100 in the first of five seconds");
        // The clock's timers end up to a millisecond late.
        tokio::time::sleep(Duration::from_millis(4_010)).await;
        assert!(fake.execs() >= 100, "{}", fake.execs());
    }

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
