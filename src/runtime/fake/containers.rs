//! The lives of the fake's containers. No clock and no task: the caller brings both.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use super::{Ends, State};
use crate::runtime::{
    Container, ContainerPlan, ContainerState, EngineRestart, LogChunk, LogQuery, MountPlan, NetworkPlan, RuntimeError,
    RuntimeEvent, names, names::identifier, plan::UNASKED,
};

/// Where the fake's wall clock begins, seconds since 1970.
const EPOCH: i64 = 1_700_000_000;
/// First port of those that the engine chooses.
const FIRST_PORT: u64 = 32_768;

/// A container and what an inspection does not show.
pub(super) struct Entry {
    pub container: Container,
    pub plan: ContainerPlan,
    /// Volumes that nobody named: of the image's paths at which nothing is mounted.
    pub anonymous: Vec<String>,
    /// Lines: second they were written in, from standard error or not, the text.
    log: Vec<(i64, bool, String)>,
    /// Counts its starts.
    run: u64,
    /// Somebody asked it to end: the engine does not start it again.
    pub asked_to_end: bool,
    /// Failures of its health check in a row.
    unwell: u32,
}

/// What came of asking a container to end.
pub(super) enum Stopping {
    /// It does not run any more.
    Done,
    /// Its program did not end: this run goes on until the grace is over.
    Listening(u64),
}

/// A health check that was taught.
pub(super) struct HealthCheck {
    pub interval: Duration,
    retries: u32,
    code: i64,
    output: String,
}

pub(super) fn missing(id: &str) -> RuntimeError {
    RuntimeError::NotFound { what: format!("container {id}") }
}

pub(super) fn mountpoint(volume: &str) -> String {
    format!("/nowhere/{volume}")
}

/// A second of the fake's clock in nanoseconds since 1970.
pub(super) fn nanos(clock: i64) -> i64 {
    (EPOCH + clock) * 1_000_000_000
}

fn moment(second: i64) -> String {
    jiff::Timestamp::from_second(second).map_or_else(|_| String::new(), |t| t.to_string())
}

impl State {
    pub fn find(&self, id: &str) -> Option<&Entry> {
        self.containers.get(id).or_else(|| self.containers.values().find(|e| e.container.name == id))
    }
    pub fn find_mut(&mut self, id: &str) -> Option<&mut Entry> {
        let id = self.find(id)?.container.id.clone();
        self.containers.get_mut(&id)
    }
    pub fn is_running(&self, id: &str) -> bool {
        self.find(id).is_some_and(|e| matches!(e.container.state, ContainerState::Running | ContainerState::Paused))
    }

    pub fn create(&mut self, plan: ContainerPlan) -> Result<Arc<str>, RuntimeError> {
        identifier(&plan.name, "container")?;
        if let Some(other) = self.containers.values().find(|e| e.container.name == plan.name) {
            let message = format!("the name {:?} is in use by container {}", plan.name, other.container.id);
            return Err(RuntimeError::Conflict { message });
        }
        let image = self.images.find(&plan.image)?.ok_or_else(|| RuntimeError::ImageNotFound {
            image: plan.image.clone(),
            message: format!("No such image: {}", plan.image),
        })?;
        let (image_id, volumes) = (image.id.clone(), image.volumes.clone());
        for network in joined(&plan) {
            self.must_have_network(network)?;
        }
        for mount in &plan.mounts {
            match mount {
                MountPlan::Bind { source, .. } if !std::path::Path::new(source).exists() => {
                    return Err(RuntimeError::BindSourceMissing { path: source.clone() });
                }
                MountPlan::Volume { name, must_exist, .. } => {
                    if self.lose_volumes {
                        self.volumes.remove(name);
                    }
                    let labels = || must_exist.then(|| (UNASKED.to_owned(), "1".to_owned())).into_iter().collect();
                    self.volumes.entry(name.clone()).or_insert_with(labels);
                }
                MountPlan::Bind { .. } | MountPlan::Tmpfs { .. } => {}
            }
        }
        let unmounted: Vec<String> = volumes.into_iter().filter(|path| !plan.mounts_at(path)).collect();
        let id = self.make(plan, image_id);
        let anonymous = (0..unmounted.len()).map(|n| format!("{id}{n:052x}")).collect::<Vec<_>>();
        self.volumes.extend(anonymous.iter().map(|name| (name.clone(), BTreeMap::new())));
        if let Some(entry) = self.containers.get_mut(&id) {
            entry.anonymous = anonymous;
        }
        Ok(id)
    }

    /// Puts a container there, whatever its plan says.
    pub fn make(&mut self, plan: ContainerPlan, image_id: String) -> Arc<str> {
        self.made += 1;
        let id: Arc<str> = format!("{:012}", self.made).into();
        let container = Container {
            id: id.clone(),
            name: plan.name.clone(),
            labels: plan.labels.clone(),
            state: ContainerState::Created,
            image_id,
            exit_code: 0,
            oom_killed: false,
            error: String::new(),
            started_at: String::new(),
            finished_at: String::new(),
            health: None,
            health_log: None,
            networks: joined(&plan).map(str::to_owned).collect(),
            addresses: BTreeMap::new(),
            published: BTreeMap::new(),
            restart: plan.restart,
            stop_signal: plan.stop_signal.as_deref().and_then(names::signal),
            stop_timeout: Some(plan.stop_timeout),
            limits: plan.limits(),
            pid: 0,
        };
        let anonymous = Vec::new();
        let entry = Entry { container, plan, anonymous, log: Vec::new(), run: 0, asked_to_end: false, unwell: 0 };
        self.containers.insert(id.clone(), entry);
        self.say(&id, "create");
        id
    }

    /// Starts it, running or not; answers which run it is.
    pub fn begin(&mut self, id: &str) -> Result<u64, RuntimeError> {
        let Entry { container, plan, .. } = self.find(id).ok_or_else(|| missing(id))?;
        let (id, plan) = (container.id.clone(), plan.clone());
        let program = self.program(plan.command.as_deref().unwrap_or_default());
        let published = match self.startable(&plan, &program.ends) {
            Ok(published) => published,
            Err(error) => {
                if let Some(entry) = self.containers.get_mut(&id) {
                    if entry.run > 0 {
                        entry.container.state = ContainerState::Exited;
                    }
                    (entry.container.exit_code, entry.container.error) = (128, error.to_string());
                }
                return Err(error);
            }
        };
        let at = self.say(&id, "start");
        let number = self.number(&id);
        let entry = self.containers.get_mut(&id).ok_or_else(|| missing(&id))?;
        entry.run += 1;
        (entry.asked_to_end, entry.unwell) = (false, 0);
        let c = &mut entry.container;
        (c.state, c.started_at, c.pid) = (ContainerState::Running, moment(at), 1_000 + i64::from(number));
        (c.exit_code, c.oom_killed, c.published) = (0, false, published);
        c.error.clear();
        let checked = plan.healthcheck.as_ref().is_some_and(|h| !h.disable && !h.test.is_empty());
        (c.health, c.health_log) = (checked.then(|| "starting".into()), None);
        c.addresses = addresses(&plan, &c.networks, number);
        let lines =
            program.says.iter().flat_map(|(err, text)| text.split_inclusive('\n').map(|l| (at, *err, l.into())));
        entry.log.extend(lines);
        let run = entry.run;
        if let Ends::ByItself(code) = program.ends {
            self.end(&id, code);
        }
        Ok(run)
    }

    /// What it publishes, when nothing stands against a start.
    fn startable(&self, plan: &ContainerPlan, ends: &Ends) -> Result<BTreeMap<String, Vec<String>>, RuntimeError> {
        for network in joined(plan) {
            self.must_have_network(network)?;
        }
        if *ends == Ends::Missing {
            let program = plan.command.as_deref().and_then(<[String]>::first).map_or("", String::as_str);
            let message = format!("exec: {program:?}: no such file or directory");
            return Err(RuntimeError::Refused { message });
        }
        let mut published = BTreeMap::<String, Vec<String>>::new();
        if joined(plan).next().is_none() {
            return Ok(published);
        }
        let taken = |port: u16, protocol: &str| {
            let all = self.containers.values().flat_map(|e| &e.container.published);
            all.filter(|(inside, _)| inside.ends_with(protocol))
                .flat_map(|(_, outside)| outside)
                .any(|outside| outside.rsplit_once(':').is_some_and(|(_, p)| p == port.to_string()))
        };
        let mut chosen = Vec::new();
        for port in &plan.ports {
            let protocol = format!("/{}", port.protocol);
            let mut free = (0u64..).map(|n| u16::try_from(FIRST_PORT + n % 28_000).unwrap_or(u16::MAX));
            let host = match port.published {
                Some(port) if taken(port, &protocol) => {
                    let message = format!("Bind for port {port} failed: port is already allocated");
                    return Err(RuntimeError::PortTaken { port, message });
                }
                Some(port) => port,
                None => free.find(|&p| !taken(p, &protocol) && !chosen.contains(&p)).unwrap_or_default(),
            };
            chosen.push(host);
            let ip = port.host_ip.as_deref().unwrap_or("0.0.0.0");
            published.entry(format!("{}{protocol}", port.target)).or_default().push(format!("{ip}:{host}"));
        }
        published.values_mut().for_each(|places| places.sort());
        Ok(published)
    }

    /// Names of what runs and has this port of the host.
    pub fn publishing(&self, port: u16) -> Vec<String> {
        let holds = |e: &&Entry| e.plan.ports.iter().any(|p| p.published == Some(port));
        let running = self.containers.values().filter(|e| self.is_running(&e.container.id));
        running.filter(holds).map(|e| e.container.name.clone()).collect()
    }

    /// `docker network connect`.
    pub fn connect(&mut self, id: &str, network: &str) -> Result<(), RuntimeError> {
        self.must_have_network(network)?;
        let number = self.number(id);
        let Entry { container, plan, .. } = self.find_mut(id).ok_or_else(|| missing(id))?;
        container.networks.insert(network.to_owned());
        if container.pid != 0 {
            container.addresses = addresses(plan, &container.networks, number);
        }
        Ok(())
    }

    /// Its place among all, for its addresses.
    fn number(&self, id: &str) -> u8 {
        u8::try_from(self.containers.keys().position(|k| **k == *id).unwrap_or(0) % 250).unwrap_or(0)
    }

    fn must_have_network(&self, network: &str) -> Result<(), RuntimeError> {
        match self.networks.contains_key(network) {
            true => Ok(()),
            false => Err(RuntimeError::NotFound { what: format!("network {network}") }),
        }
    }

    /// Its program ended.
    pub fn end(&mut self, id: &str, code: i64) {
        let at = self.say(id, "die");
        let Some(entry) = self.find_mut(id) else { return };
        let again = entry.container.restart == EngineRestart::UnlessStopped && !entry.asked_to_end;
        let c = &mut entry.container;
        c.state = if again { ContainerState::Restarting } else { ContainerState::Exited };
        (c.exit_code, c.finished_at, c.pid) = (code, moment(at), 0);
        (c.addresses, c.published) = (BTreeMap::new(), BTreeMap::new());
    }

    /// Which run ended and is to be followed by another.
    pub fn restarting(&self, id: &str) -> Option<u64> {
        self.find(id).filter(|e| e.container.state == ContainerState::Restarting).map(|e| e.run)
    }

    pub fn ask_to_stop(&mut self, id: &str) -> Stopping {
        let running = self.is_running(id);
        let Some(entry) = self.find_mut(id) else { return Stopping::Done };
        entry.asked_to_end = true;
        if entry.container.state == ContainerState::Restarting {
            entry.container.state = ContainerState::Exited;
        }
        if !running {
            return Stopping::Done;
        }
        let (run, plan) = (entry.run, entry.plan.clone());
        let signal = plan.stop_signal.as_deref().unwrap_or("SIGTERM");
        self.say_signal(id, signal);
        let bare = |signal: &str| signal.trim_start_matches("SIG").to_owned();
        let code = match self.program(plan.command.as_deref().unwrap_or_default()).ends {
            Ends::At(signals) => signals.iter().find(|(s, _)| bare(s) == bare(signal)).map(|(_, code)| *code),
            Ends::ByItself(_) | Ends::Missing => None,
        };
        let Some(code) = code else { return Stopping::Listening(run) };
        self.end(id, code);
        self.say(id, "stop");
        Stopping::Done
    }

    pub fn kill_after_grace(&mut self, id: &str, run: u64) {
        if self.is_running(id) && self.find(id).is_some_and(|e| e.run == run) {
            self.kill(id);
            self.say(id, "stop");
        }
    }

    pub fn kill(&mut self, id: &str) {
        if self.is_running(id) {
            if let Some(entry) = self.find_mut(id) {
                entry.asked_to_end = true;
            }
            self.say_signal(id, "SIGKILL");
            self.end(id, 137);
        }
    }

    pub fn remove(&mut self, id: &str) {
        self.kill(id);
        if let Some(id) = self.find(id).map(|e| e.container.id.clone()) {
            self.say(&id, "destroy");
            let gone = self.containers.remove(&id).filter(|e| e.run == 0);
            for volume in gone.into_iter().flat_map(|e| e.anonymous) {
                self.volumes.remove(&volume);
            }
        }
    }

    pub fn set_restart(&mut self, id: &str, restart: EngineRestart) -> Result<(), RuntimeError> {
        self.find_mut(id).ok_or_else(|| missing(id))?.container.restart = restart;
        self.say(id, "update");
        Ok(())
    }

    /// The check of a container that runs, when its program was taught.
    pub fn health_check(&self, id: &str) -> Option<HealthCheck> {
        let entry = self.find(id).filter(|e| e.container.state == ContainerState::Running)?;
        let check = entry.plan.healthcheck.as_ref().filter(|h| !h.disable)?;
        let program = self.programs.get(check.test.get(1..)?)?;
        let Ends::ByItself(code) = program.ends else { return None };
        Some(HealthCheck {
            interval: check.interval.map_or(Duration::from_secs(30), |p| p.0),
            retries: check.retries.unwrap_or(3),
            code,
            output: program.says.iter().map(|(_, text)| text.as_str()).collect(),
        })
    }

    /// One check of a run; false when there is nothing more to check.
    pub fn checked(&mut self, id: &str, run: u64, check: &HealthCheck) -> bool {
        let Some(entry) = self.find_mut(id).filter(|e| e.run == run && e.container.pid != 0) else { return false };
        entry.unwell = if check.code == 0 { 0 } else { entry.unwell + 1 };
        let text = check.output.trim();
        entry.container.health_log = (!text.is_empty()).then(|| text.to_owned());
        let verdict = match entry.unwell {
            0 => "healthy",
            n if n >= check.retries => "unhealthy",
            _ => return true,
        };
        if entry.container.health.as_deref() != Some(verdict) {
            entry.container.health = Some(verdict.into());
            self.say(id, "health_status");
        }
        true
    }

    /// The first line to read.
    pub fn log_start(&self, id: &str, query: &LogQuery) -> Result<usize, RuntimeError> {
        let log = &self.find(id).ok_or_else(|| missing(id))?.log;
        let tail = query.tail.map_or(0, |n| log.len().saturating_sub(usize::try_from(n).unwrap_or(usize::MAX)));
        let since = log.iter().position(|(at, ..)| query.since.is_none_or(|s| *at >= s)).unwrap_or(log.len());
        Ok(tail.max(since))
    }

    /// One line of a log, and whether there may be more of them later.
    pub fn log_line(&self, id: &str, number: usize, query: &LogQuery) -> (Option<LogChunk>, bool) {
        let Some(entry) = self.find(id) else { return (None, false) };
        let line = entry.log.get(number).map(|(at, stderr, text)| {
            let stamp = if query.timestamps { format!("{} ", moment(*at)) } else { String::new() };
            LogChunk { stderr: *stderr, bytes: format!("{stamp}{text}").into() }
        });
        (line, self.is_running(id))
    }

    /// Tells that a signal was sent.
    pub fn say_signal(&mut self, id: &str, signal: &str) {
        self.say(id, "kill");
        if let Some(event) = self.events.last_mut() {
            event.signal = names::signal(signal);
        }
    }

    /// Tells an event and moves the clock; answers the second.
    pub fn say(&mut self, id: &str, action: &str) -> i64 {
        self.clock += 1;
        let second = EPOCH + self.clock;
        if let Some(Container { id, name, labels, .. }) = self.find(id).map(|e| e.container.clone()) {
            let (at, signal) = (nanos(self.clock), None);
            self.events.push(RuntimeEvent { container: id, name, labels, action: action.into(), signal, at });
        }
        second
    }
}

/// On loopback, each container its own in each network: a probe finds what a test listens with.
fn addresses(plan: &ContainerPlan, on: &BTreeSet<String>, number: u8) -> BTreeMap<String, IpAddr> {
    let numbered = joined(plan).zip(1..=u8::MAX).filter(|(network, _)| on.contains(*network));
    numbered.map(|(network, n)| (network.to_owned(), IpAddr::from([127, 77, n, number + 1]))).collect()
}

/// The networks of a plan.
fn joined(plan: &ContainerPlan) -> impl Iterator<Item = &str> {
    let networks = match &plan.network {
        NetworkPlan::Join(networks) => networks.as_slice(),
        NetworkPlan::None | NetworkPlan::Host => &[],
    };
    networks.iter().map(|a| a.network.as_str())
}
