//! What a service manager is told: ready, reloading, stopping, alive.
//!
//! Here: the datagrams of systemd's `sd_notify(3)` and when an agent counts as alive. Not here: the unit
//! (`constellation.service` beside this file), what a reload takes over (`reload`).
//! Invariant: `WATCHDOG=1` is said only after the loops and Raft's thread have answered; a process that is stuck
//! says nothing, and its manager starts it again. An engine that is silent and a quorum that is lost are no
//! reason: they do not get better by that.

use std::{
    ffi::OsString,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::store::Client;

/// Between two looks when nobody wants to know whether the agent lives.
const STATUS: Duration = Duration::from_secs(10);

/// The way to the service manager; without one everything here does nothing.
#[derive(Debug, Default)]
pub struct Notify {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notify {
    /// As `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` say.
    pub fn of_environment(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let Some(name) = variable("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return Self::default() };
        let socket = match open(&name) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!(%error, socket = ?name, "the service manager cannot be told anything");
                None
            }
        };
        let number = |name: &str| variable(name).and_then(|text| text.into_string().ok()?.parse::<u64>().ok());
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|micros| ours && *micros > 0).map(Duration::from_micros);
        Self { socket, watchdog }
    }

    /// Says some `NAME=VALUE` lines. A manager that does not listen is no error.
    pub fn say(&self, lines: &str) {
        let Some((socket, address)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(lines.as_bytes(), address) {
            tracing::debug!(%error, lines, "the service manager was not told");
        }
    }

    /// `RELOADING=1`, with the time that its protocol wants.
    pub fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }
}

fn open(name: &OsString) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that is stuck must not make us so.
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

/// Asks the task of the loops whether it still runs.
pub type Questions = mpsc::Sender<oneshot::Sender<()>>;

/// Answers in the task of the loops: when one of them blocks it, nobody answers.
pub async fn answer(mut questions: mpsc::Receiver<oneshot::Sender<()>>) {
    while let Some(asker) = questions.recv().await {
        // Who asked may have given up.
        let _ = asker.send(());
    }
}

/// Whether loops and store still answer; a stuck one never does.
pub async fn lives(loops: &Questions, store: &Client) -> bool {
    let (asker, answered) = oneshot::channel();
    loops.send(asker).await.is_ok() && answered.await.is_ok() && store.answers().await
}

/// What an agent does, in a line of `systemctl status`.
#[must_use]
pub fn status(node: &str, store: &Client) -> String {
    let raft = store.raft_status();
    let role = match raft.leader {
        Some(leader) if leader == raft.member => "leads".to_owned(),
        Some(leader) => format!("follows member {leader}"),
        None => "has no leader".to_owned(),
    };
    let services = store.state().objects(crate::model::Kind::Service).count();
    format!("node {node} {role}; {services} services")
}

/// Says that the agent lives and what it does, until `stop`. `alive` may never answer.
pub async fn beat(
    notify: Arc<Notify>,
    alive: impl AsyncFn() -> bool,
    status: impl Fn() -> String,
    stop: CancellationToken,
) {
    if notify.socket.is_none() {
        return stop.cancelled().await;
    }
    // Half of what it waits, as sd_watchdog_enabled(3) advises: one that is late is not the end.
    let period = notify.watchdog.map_or(STATUS, |limit| limit / 2).max(Duration::from_millis(1));
    let (mut ticks, mut said) = (interval(period), String::new());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        if notify.watchdog.is_some() {
            if timeout(period, alive()).await == Ok(true) {
                notify.say("WATCHDOG=1");
            } else {
                tracing::warn!(within = ?period, "loops or store gave no answer; the service manager is not told that they live");
            }
        }
        let now = status();
        if now != said {
            notify.say(&format!("STATUS={now}"));
            said = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::store::testing::memory;

    /// A manager's end, and the agent's.
    fn pair(name: &str, further: &[(&str, String)]) -> (UnixDatagram, Notify) {
        let address = match name.strip_prefix('@') {
            Some(abstracted) => SocketAddr::from_abstract_name(abstracted).unwrap(),
            None => SocketAddr::from_pathname(name).unwrap(),
        };
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        manager.set_nonblocking(true).unwrap();
        let further: Vec<(String, String)> = further.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect();
        let notify = Notify::of_environment(|asked| match asked {
            "NOTIFY_SOCKET" => Some(name.into()),
            _ => further.iter().find(|(n, _)| n == asked).map(|(_, v)| v.into()),
        });
        (manager, notify)
    }

    fn heard(manager: &UnixDatagram) -> Vec<String> {
        let mut all = Vec::new();
        let mut buffer = [0; 512];
        while let Ok(length) = manager.recv(&mut buffer) {
            all.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        all
    }

    #[test]
    fn a_manager_hears_what_is_said_at_a_path_and_at_an_abstract_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify").display().to_string();
        for name in [path, format!("@constellation-test-{}", std::process::id())] {
            let (manager, notify) = pair(&name, &[]);
            notify.say("READY=1");
            notify.reloading();
            let heard = heard(&manager);
            assert_eq!(heard[0], "READY=1");
            let (reloading, at) = heard[1].split_once('\n').unwrap();
            assert_eq!(reloading, "RELOADING=1");
            assert!(at.strip_prefix("MONOTONIC_USEC=").unwrap().parse::<u64>().unwrap() > 0, "{at}");
        }
        Notify::of_environment(|_| None).say("nobody is there");
    }

    #[test]
    fn a_watchdog_of_another_process_is_not_ours() {
        let dir = tempfile::tempdir().unwrap();
        let pid = std::process::id();
        for (i, (pid, usec, expected)) in [
            (Some(pid), "4000000", Some(Duration::from_secs(4))),
            (None, "4000000", Some(Duration::from_secs(4))),
            (Some(pid + 1), "4000000", None),
            (None, "0", None),
            (None, "soon", None),
        ]
        .into_iter()
        .enumerate()
        {
            let mut further = vec![("WATCHDOG_USEC", usec.to_owned())];
            further.extend(pid.map(|pid| ("WATCHDOG_PID", pid.to_string())));
            let (_manager, notify) = pair(dir.path().join(i.to_string()).to_str().unwrap(), &further);
            assert_eq!(notify.watchdog, expected, "{pid:?} {usec}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_answers_is_said_to_live() {
        let dir = tempfile::tempdir().unwrap();
        let (manager, notify) =
            pair(dir.path().join("n").to_str().unwrap(), &[("WATCHDOG_USEC", "10000000".to_owned())]);
        let (stop, stuck) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)));
        let asked = stuck.clone();
        let alive = async move || {
            if asked.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            true
        };
        let beating = tokio::spawn(beat(Arc::new(notify), alive, || "node n1 leads".into(), stop.clone()));
        tokio::time::sleep(Duration::from_secs(12)).await;
        assert_eq!(heard(&manager), ["WATCHDOG=1", "STATUS=node n1 leads", "WATCHDOG=1", "WATCHDOG=1"]);
        stuck.store(true, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(heard(&manager), Vec::<String>::new(), "it is stuck");
        stuck.store(false, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(12)).await;
        assert!(heard(&manager).contains(&"WATCHDOG=1".to_owned()), "it lives again");
        stop.cancel();
        beating.await.unwrap();
    }

    #[tokio::test]
    async fn loops_that_are_blocked_do_not_live() {
        let store = memory("n1").await;
        let (loops, questions) = mpsc::channel(1);
        let limit = Duration::from_millis(200);
        assert!(timeout(limit, lives(&loops, &store)).await.is_err(), "nobody answers yet");
        let answering = tokio::spawn(answer(questions));
        assert!(timeout(Duration::from_secs(20), lives(&loops, &store)).await.unwrap());
        answering.abort();
        let _ = answering.await;
        assert_eq!(timeout(limit, lives(&loops, &store)).await, Ok(false), "they ended");
        assert!(status("n1", &store).starts_with("node n1 leads; 0 services"), "{}", status("n1", &store));
    }
}
