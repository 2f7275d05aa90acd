//! What a person would notice: reads and a small write, again and again, each on a connection of its own.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::agent::{Agent, ask_tcp, config};

const EVERY: Duration = Duration::from_millis(20);

pub struct Prober {
    stop: Arc<AtomicBool>,
    /// Probes so far, of all kinds.
    asked: Arc<AtomicUsize>,
    probes: Vec<JoinHandle<Probe>>,
}

/// What one kind of probe saw.
pub struct Probe {
    pub name: &'static str,
    pub count: usize,
    pub failed: Vec<String>,
    /// Milliseconds, sorted.
    took: Vec<f64>,
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |share: f64| self.took.get(((self.took.len() as f64 - 1.0) * share) as usize).copied().unwrap_or(0.0);
        let (p50, p99, max, failed) = (at(0.5), at(0.99), at(1.0), self.failed.len());
        write!(f, "{:>7} {p50:>7.1} {p99:>7.1} {max:>7.1} {failed:>7}", self.count)
    }
}

impl Prober {
    pub fn start(agent: &Agent) -> Self {
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let asks: [(&'static str, &'static str, &'static str); 3] = [
            ("GET /health", "GET", "/health"),
            ("GET status", "GET", "/api/v1/status"),
            ("PUT config", "PUT", "/api/v1/configs/probe"),
        ];
        let probes = asks.map(|(name, method, path)| {
            let (stop, asked) = (stop.clone(), asked.clone());
            let (address, token) = (agent.address, agent.token.clone());
            std::thread::spawn(move || {
                let mut probe = Probe { name, count: 0, failed: Vec::new(), took: Vec::new() };
                while !stop.load(Ordering::Relaxed) {
                    let value = probe.count.to_string();
                    let body = if method == "PUT" { config("probe", &value).to_string() } else { String::new() };
                    let began = Instant::now();
                    match ask_tcp(address, &token, method, path, &body) {
                        Ok(_) => probe.took.push(began.elapsed().as_secs_f64() * 1e3),
                        Err(error) => probe.failed.push(error.to_string()),
                    }
                    probe.count += 1;
                    asked.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(EVERY.saturating_sub(began.elapsed()));
                }
                probe.took.sort_by(f64::total_cmp);
                probe
            })
        });
        Self { stop, asked, probes: probes.into() }
    }
    /// Probes so far, of all kinds.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
    pub fn end(self) -> Vec<Probe> {
        self.stop.store(true, Ordering::Relaxed);
        self.probes.into_iter().map(|probe| probe.join().unwrap()).collect()
    }
}
