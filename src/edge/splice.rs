//! The public ports of this node: opened while a Route asks for them, spliced to Traefik.
//!
//! Here: [`Splices`], one task that owns the listeners, and what becomes of each connection. Not here: which ports
//! there are and when one in use is tried again (`plan::entry`), moving bytes ([`super::pump`]), what is said before the server
//! speaks ([`greeting`]), what who waited in vain is told ([`sorry`]).
//! Traefik's own entry points are static, and its process ends with each of its updates; the agent's do neither.
//! A client that comes while Traefik is not there, or listens and has no routes yet, is kept. How long a client may say nothing is
//! Traefik's to decide: it ends such connections, and they end here.

mod greeting;
mod sorry;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Semaphore, watch},
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::greeting::{Heard, greet};
use super::{
    header,
    pump::{self, Passed},
};
use crate::{
    model::ConditionStatus,
    plan::entry::{self, Asked, Failed, Fault, Serving, Wanted},
    runtime::{Runtime, holder::holder},
};

/// Bounds of the public ports.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at one time; who comes then waits in the kernel's queue.
    pub connections: usize,
    /// Of them, those of one source: an IPv4 address, or the 64 bits of an IPv6 network. Who comes then is sent away.
    pub of_one: usize,
    /// How long a client is kept while Traefik is not there: longer than one takes to be replaced.
    pub hold: Duration,
    /// How long one way of a connection may be silent once the other has ended.
    pub linger: Duration,
    /// How long what is in flight may take when the agent ends, or when Traefik is not counted on any more.
    pub end: Duration,
}

impl Limits {
    /// For a process that may have so many files open: a quarter of them. Each connection has two.
    #[must_use]
    pub fn within(files: usize) -> Self {
        let connections = (files / 8).clamp(64, 16_384);
        Self {
            connections,
            of_one: (connections / 2).max(64),
            hold: Duration::from_secs(30),
            linger: Duration::from_secs(300),
            end: Duration::from_secs(5),
        }
    }
    /// Files that may be open because of them.
    #[must_use]
    pub const fn files(&self) -> usize {
        2 * self.connections
    }
}

/// Connections that the kernel keeps until they are accepted, of each port.
const BACKLOG: u32 = 4_096;
/// One attempt to reach Traefik; it is on this machine.
const CONNECT: Duration = Duration::from_secs(1);
/// Between two such attempts.
const PAUSE: Duration = Duration::from_millis(50);
/// So many servers are told the same, when those before broke it off unheard.
const ATTEMPTS: usize = 3;
/// How long it may take to find out who holds a port.
const LOOK: Duration = Duration::from_secs(2);
/// Between two such looks at one port.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// A connection whose server spoke last, and nothing since, waits for the client's next request.
const QUIET: Duration = Duration::from_millis(200);

/// The public ports.
pub struct Splices {
    /// Who is asked whether a container has a port.
    pub runtime: Arc<dyn Runtime>,
    /// Bounds.
    pub limits: Limits,
    /// Which ports, and where to.
    pub asked: watch::Receiver<Asked>,
    /// What the node says of it.
    pub serving: watch::Sender<Option<Serving>>,
}

/// One open port.
struct Door {
    to: watch::Sender<Option<SocketAddr>>,
    close: CancellationToken,
    accepting: JoinHandle<()>,
}

impl Door {
    /// The port is free when this returns.
    async fn shut(self) {
        self.close.cancel();
        // It accepts, and does nothing that could panic.
        let _ = self.accepting.await;
    }
}

/// What all connections share.
struct Shared {
    limits: Limits,
    seats: Arc<Semaphore>,
    sources: Mutex<BTreeMap<IpAddr, usize>>,
    /// Moves when what goes through Traefik is to end.
    cut: watch::Sender<u64>,
    /// The agent ends.
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// One connection of a source.
struct Guest {
    from: IpAddr,
    shared: Arc<Shared>,
}

impl Guest {
    /// None: it has all that one may have.
    fn of(client: SocketAddr, shared: &Arc<Shared>) -> Option<Self> {
        let from = match client.ip().to_canonical() {
            IpAddr::V6(six) => IpAddr::V6(Ipv6Addr::from_bits(six.to_bits() >> 64 << 64)),
            four => four,
        };
        let mut sources = shared.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let count = sources.entry(from).or_default();
        if *count >= shared.limits.of_one {
            return None;
        }
        *count += 1;
        drop(sources);
        Some(Self { from, shared: shared.clone() })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut sources = self.shared.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = sources.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                sources.remove(&self.from);
            }
        }
    }
}

impl Splices {
    /// Opens and closes until `stop`; then nothing is accepted, and what is in flight ends in its time or is cut.
    pub async fn run(mut self, stop: CancellationToken) {
        let shared = Arc::new(Shared {
            limits: self.limits.clone(),
            seats: Arc::new(Semaphore::new(self.limits.connections)),
            sources: Mutex::default(),
            cut: watch::Sender::default(),
            stop: stop.clone(),
            tasks: TaskTracker::new(),
        });
        let began = Instant::now();
        let (mut doors, mut open) = (BTreeMap::<SocketAddr, Door>::new(), Wanted::new());
        let mut failed = BTreeMap::<SocketAddr, Failed>::new();
        let mut looks = Looks::default();
        loop {
            let asked = self.asked.borrow_and_update().clone();
            shared.cut.send_if_modified(|cut| std::mem::replace(cut, asked.cut) != asked.cut);
            let now = || u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let steps = entry::plan(&asked.ports, &open, &failed, now());
            for at in steps.close {
                open.remove(&at);
                if let Some(door) = doors.remove(&at) {
                    door.shut().await;
                    tracing::info!(%at, "public port closed");
                }
            }
            for (at, to) in steps.turn {
                open.insert(at, to);
                if let Some(door) = doors.get(&at) {
                    door.to.send_replace(to);
                }
            }
            for at in steps.forget {
                failed.remove(&at);
                looks.forget(at);
            }
            for (at, to) in steps.open {
                match listen(at) {
                    Ok(listener) => {
                        failed.remove(&at);
                        looks.forget(at);
                        open.insert(at, to);
                        doors.insert(at, door(listener, to, &shared));
                        tracing::info!(%at, "public port open");
                    }
                    Err(error) => {
                        let fault = match error.kind() {
                            io::ErrorKind::AddrInUse => {
                                looks.at(at, &self.runtime);
                                Fault::Held(looks.found(at))
                            }
                            io::ErrorKind::PermissionDenied => Fault::NotPermitted,
                            _ => Fault::Other(error.to_string()),
                        };
                        failed.insert(at, Failed { at: now(), fault });
                    }
                }
            }
            // Not said before it can be said who has it.
            if !looks.first() {
                self.say(entry::serving(&asked, &failed));
            }
            let again = steps.again.into_iter().chain(failed.values().map(|f| f.at + entry::RETRY)).min();
            let again = again.map_or(began + Duration::from_secs(3_600), |at| began + Duration::from_millis(at));
            tokio::select! {
                () = stop.cancelled() => break,
                Ok(()) = self.asked.changed() => {}
                () = sleep_until(again) => {}
                Some(Ok((at, found))) = looks.tasks.join_next() => {
                    looks.learn(at, found.clone());
                    if let Some(Failed { fault: Fault::Held(by), .. }) = failed.get_mut(&at) {
                        *by = found;
                    }
                }
            }
        }
        for (_, door) in doors {
            door.shut().await;
        }
        shared.tasks.close();
        shared.tasks.wait().await;
    }

    fn say(&self, new: Option<Serving>) {
        self.serving.send_if_modified(|said| {
            let news = *said != new;
            if news {
                match &new {
                    Some(new) if new.status == ConditionStatus::False => {
                        tracing::warn!(reason = %new.reason, "public ports: {}", new.message);
                    }
                    Some(new) => tracing::info!(reason = %new.reason, "public ports: {}", new.message),
                    None => tracing::info!("no public port is asked for"),
                }
                *said = new;
            }
            news
        });
    }
}

/// Who holds the ports that are in use, as far as it was found out.
#[derive(Default)]
struct Looks {
    tasks: JoinSet<(SocketAddr, Option<String>)>,
    begun: BTreeMap<SocketAddr, Instant>,
    under_way: BTreeSet<SocketAddr>,
    found: BTreeMap<SocketAddr, Option<String>>,
}

impl Looks {
    /// Looks, unless it did a moment ago.
    fn at(&mut self, at: SocketAddr, runtime: &Arc<dyn Runtime>) {
        let recent = self.begun.get(&at).is_some_and(|begun| begun.elapsed() < LOOK_AGAIN);
        if recent || !self.under_way.insert(at) {
            return;
        }
        self.begun.insert(at, Instant::now());
        let runtime = runtime.clone();
        self.tasks.spawn(async move { (at, timeout(LOOK, holder(&*runtime, at.port())).await.ok().flatten()) });
    }
    fn found(&self, at: SocketAddr) -> Option<String> {
        self.found.get(&at).cloned().flatten()
    }
    fn learn(&mut self, at: SocketAddr, found: Option<String>) {
        self.under_way.remove(&at);
        // It may be open or unwanted by now.
        if self.begun.contains_key(&at) {
            self.found.insert(at, found);
        }
    }
    fn forget(&mut self, at: SocketAddr) {
        self.begun.remove(&at);
        self.found.remove(&at);
    }
    /// Whether nothing is known yet of some port.
    fn first(&self) -> bool {
        self.begun.keys().any(|at| !self.found.contains_key(at))
    }
}

/// A listener; of the unspecified IPv6 address for both families, or for IPv4 where the machine has no other.
fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    let open = |at: SocketAddr| {
        let socket = if at.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }?;
        // Connections of the one before, which are in their last state, keep nobody out.
        socket.set_reuseaddr(true)?;
        if at.is_ipv6() {
            rustix::net::sockopt::set_ipv6_v6only(&socket, !at.ip().is_unspecified())?;
        }
        socket.bind(at)?;
        socket.listen(BACKLOG)
    };
    match open(at) {
        Err(error)
            if at.is_ipv6()
                && at.ip().is_unspecified()
                && [rustix::io::Errno::AFNOSUPPORT, rustix::io::Errno::ADDRNOTAVAIL]
                    .iter()
                    .any(|e| error.raw_os_error() == Some(e.raw_os_error())) =>
        {
            open(SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), at.port()))
        }
        result => result,
    }
}

fn door(listener: TcpListener, to: Option<SocketAddr>, shared: &Arc<Shared>) -> Door {
    let (to, target) = watch::channel(to);
    let close = CancellationToken::new();
    let accepting = tokio::spawn(accept(listener, target, shared.clone(), close.clone()));
    Door { to, close, accepting }
}

async fn accept(
    listener: TcpListener,
    to: watch::Receiver<Option<SocketAddr>>,
    shared: Arc<Shared>,
    close: CancellationToken,
) {
    let accepting = async {
        loop {
            // Never closed.
            let Ok(seat) = shared.seats.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((client, from)) => {
                    let Some(guest) = Guest::of(from, &shared) else {
                        tracing::debug!(client = %from, "a client was sent away: it has too many connections");
                        continue;
                    };
                    let (to, served) = (to.clone(), shared.clone());
                    shared.tasks.spawn(async move {
                        if let Err(error) = connection(client, from, to, &served).await {
                            tracing::debug!(client = %from, %error, "a connection was broken off");
                        }
                        drop((seat, guest));
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(PAUSE).await;
                }
            }
        }
    };
    close.run_until_cancelled(accepting).await;
}

async fn connection(
    mut client: TcpStream,
    from: SocketAddr,
    mut to: watch::Receiver<Option<SocketAddr>>,
    shared: &Shared,
) -> io::Result<()> {
    pump::keep_alive(&client)?;
    let header = header::encode(from, client.local_addr()?);
    let (mut said, passed) = (Vec::new(), Passed::default());
    let end = Instant::now() + shared.limits.hold;
    for last in (0..ATTEMPTS).rev().map(|left| left == 0) {
        let mut server = match shared.stop.run_until_cancelled(reach(&mut to, end)).await {
            None => return Ok(()),
            Some(Ok(server)) => server,
            Some(Err(error)) => {
                sorry::say(client, &said).await;
                return Err(error);
            }
        };
        server.set_nodelay(true)?;
        let mut cut = shared.cut.subscribe();
        let heard = tokio::select! {
            heard = greet(&mut client, &mut server, &header, &mut said, &passed) => heard?,
            () = ending(shared, &mut cut, &passed) => return Ok(()),
        };
        match heard {
            Heard::Yes => {
                drop(said);
                return tokio::select! {
                    result = pump::between(&mut client, &mut server, shared.limits.linger, &passed) => result,
                    () = ending(shared, &mut cut, &passed) => Ok(()),
                };
            }
            // It stopped before it had accepted this.
            Heard::No(error) if !last && greeting::repeatable(&said, &error) => sleep(PAUSE).await,
            Heard::No(error) => {
                pump::break_off(&client);
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Traefik, waited for while it is not there.
async fn reach(to: &mut watch::Receiver<Option<SocketAddr>>, end: Instant) -> io::Result<TcpStream> {
    loop {
        // In a block of its own: what `wait_for` lends may not wait with us. It ends with the port.
        let address = async { to.wait_for(Option::is_some).await.ok().and_then(|to| *to) };
        let address = timeout_at(end, address).await.ok().flatten().ok_or(io::ErrorKind::TimedOut)?;
        let attempt = timeout_at(end.min(Instant::now() + CONNECT), TcpStream::connect(address)).await;
        match attempt.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(server) => return Ok(server),
            Err(error) if Instant::now() + PAUSE >= end => {
                tracing::debug!(%address, %error, "Traefik is not there");
                return Err(error);
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// Returns when a connection is to be cut, because the agent ends or Traefik is not counted on: at once if nothing is in
/// flight.
async fn ending(shared: &Shared, cut: &mut watch::Receiver<u64>, passed: &Passed) {
    tokio::select! {
        () = shared.stop.cancelled() => {}
        // The sender lives as long as this.
        _ = cut.changed() => {}
    }
    let end = Instant::now() + shared.limits.end;
    while Instant::now() < end && (passed.awaits_answer() || passed.at().elapsed() < QUIET) {
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests;
